/* What changes, as the server tells it (GET /events): `changed(kind, job)` for each change of a job, `reset()` when there may be some that it did not
 * tell. Browsers open few connections to one server, those of all tabs together: there is none while nobody looks.
 * Returns { node, stop }: whose jobs are told with how they are doing, null while nothing is told; end it. */
const EVENTS = '/api2/json/events';
const AGAIN = 60000; // ms until it is tried once more where the server did not want

export function listen(changed, reset) {
    let source = null, timer = null, name = null;
    const live = { node: null, stop };

    function close() {
        clearTimeout(timer);
        source?.close();
        source = live.node = null;
    }

    function open() {
        source = new EventSource(EVENTS);
        source.onopen = () => { live.node = name; };
        source.onerror = () => {
            live.node = null;
            if (source?.readyState !== EventSource.CLOSED) // else the browser goes on by itself
                return;
            close();
            timer = setTimeout(look, AGAIN);
        };
        source.addEventListener('reset', (event) => {
            live.node = name = JSON.parse(event.data).node;
            reset();
        });
        for (const kind of ['added', 'changed', 'removed'])
            source.addEventListener(kind, (event) => changed(kind, JSON.parse(event.data)));
    }

    function look() {
        close();
        if (!document.hidden)
            open();
    }

    function stop() {
        close();
        document.removeEventListener('visibilitychange', look);
    }

    if (typeof EventSource === 'undefined')
        return live;
    document.addEventListener('visibilitychange', look);
    look();
    return live;
}
