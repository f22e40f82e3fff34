/* Ask again and again, one request at a time: the next begins `pause` ms (a number, or what tells it then) after the last has ended, and none while nobody looks at the page.
 * Returns { stop, now }: end it; ask at once. `failed` is called for what went wrong, and asking goes on. */
export function poll(ask, pause, got, failed) {
    let timer = null, running = false, again = false, over = false;

    async function round() {
        clearTimeout(timer);
        if (running) {
            again = true;
            return;
        }
        running = true;
        try {
            const result = await ask();
            if (!over)
                got(result);
        } catch (e) {
            if (!over)
                failed(e);
        }
        running = false;
        if (over)
            return;
        const soon = again;
        again = false;
        if (soon || !document.hidden)
            timer = setTimeout(round, soon ? 0 : typeof pause === 'function' ? pause() : pause);
    }

    const shown = () => {
        if (!document.hidden)
            round();
    };
    document.addEventListener('visibilitychange', shown);
    round();
    return {
        now: round,
        stop() {
            over = true;
            clearTimeout(timer);
            document.removeEventListener('visibilitychange', shown);
        },
    };
}
