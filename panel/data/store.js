/* What the server said last, for all who show it. `onChange` is told of each change, `onReset` when there may be some that nobody told, and that of anybody's
 * rights is among them; a page's questions end with it. */
import { get, part } from './api.js';
import { compareJobs, withChange, withStates } from './jobs.js';
import { listen } from './live.js';
import { poll } from './poll.js';

const JOBS = 3000, RESOURCES = 10000, SILENCE = 15000; // ms between two questions
const JOBS_LIVE = 60000, JOBS_BESIDE = 10000; // where all that is shown is told by itself; where a part of it is

/* What a guest without a name is called says no more than its number. */
const named = (guest) => ([`VM ${guest.vmid}`, `CT${guest.vmid}`].includes(guest.name) ? { ...guest, name: '' } : guest);

export function createStore(onChange, onReset) {
    const data = { nodes: [], guests: [], jobs: null, trouble: null, silent: {} };
    const later = {}; // node → not before
    let resources = null, jobs = null, live = null, shown = null;
    let told = []; // since the server was asked for the jobs: its answer may be older

    const changed = (more) => {
        Object.assign(data, more);
        onChange(data);
    };

    /* The jobs of one node; its silence is said beside it and is no failure of the page. */
    async function ofNode(node, parameters) {
        try {
            const rows = await get(`/nodes/${part(node)}/replication`, parameters);
            delete data.silent[node];
            delete later[node];
            return rows;
        } catch (e) {
            if (e.status === 401)
                throw e;
            data.silent[node] = e.message;
            later[node] = Date.now() + SILENCE;
            return null;
        }
    }

    /* A node that was silent is left alone for a while: whoever looks at it asks it all the same. */
    async function ofCluster() {
        const now = Date.now();
        const online = data.nodes.filter((node) => node.status === 'online' && !(later[node.node] > now)).map((node) => node.node);
        const [rows, ...states] = await Promise.all([get('/cluster/replication'), ...online.map((node) => ofNode(node))]);
        return withStates(rows, states.filter(Boolean).flat());
    }

    async function ofView(view) {
        if (view.kind === 'datacenter')
            return ofCluster();
        const guest = data.guests.find((one) => view.kind === 'guest' && String(one.vmid) === view.name);
        if (view.kind === 'guest' && !guest)
            return [];
        const rows = await ofNode(guest ? guest.node : view.name, guest ? { guest: guest.vmid } : {});
        return rows || [];
    }

    /* The node whose jobs alone are shown; null: all of them. */
    const nodeShown = () => shown.kind === 'guest' ? data.guests.find((one) => String(one.vmid) === shown.name)?.node : shown.kind === 'node' ? shown.name : null;

    function pause() {
        const node = nodeShown();
        if (!live?.node || (node !== null && node !== live.node))
            return JOBS;
        return node === null && data.nodes.length > 1 ? JOBS_BESIDE : JOBS_LIVE;
    }

    function isShown(job) {
        const node = nodeShown();
        return (node === null || node === live.node) && (shown.kind !== 'guest' || String(job.guest) === shown.name);
    }

    function onTold(kind, job) {
        if (!shown || (kind !== 'removed' && !isShown(job)))
            return;
        told.push([kind, job]);
        if (!data.jobs)
            return;
        const rows = withChange(data.jobs, kind, job);
        if (rows)
            changed({ jobs: rows });
        else
            jobs.now();
    }

    async function ask(view) {
        if (data.nodes.length === 0)
            return null;
        told = [];
        const rows = (await ofView(view)).sort(compareJobs);
        return told.reduce((all, [kind, job]) => withChange(all, kind, job) || all, rows);
    }

    return {
        data,

        begin() {
            resources = poll(() => get('/cluster/resources'), RESOURCES, (rows) => {
                const first = data.nodes.length === 0;
                changed({
                    nodes: rows.filter((row) => row.type === 'node').sort((a, b) => a.node.localeCompare(b.node)),
                    guests: rows.filter((row) => row.type === 'qemu' || row.type === 'lxc').map(named).sort((a, b) => a.vmid - b.vmid),
                    trouble: null,
                });
                if (first && jobs)
                    jobs.now();
            }, (trouble) => changed({ trouble }));
            live = listen(onTold, () => {
                jobs?.now();
                onReset();
            });
        },

        /* Shows another page's jobs from now on. */
        view(view) {
            if (jobs)
                jobs.stop();
            shown = view;
            changed({ jobs: null });
            jobs = poll(() => ask(view), pause,
                (rows) => rows && changed({ jobs: rows, trouble: null }), (trouble) => changed({ trouble }));
        },

        again() {
            if (jobs)
                jobs.now();
        },

        end() {
            for (const one of [resources, jobs])
                if (one)
                    one.stop();
            live?.stop();
            resources = jobs = live = shown = null;
            Object.assign(data, { nodes: [], guests: [], jobs: null, trouble: null, silent: {} });
        },
    };
}

/* Where a job's log is and where it is started: its guest's node. */
export function nodeOf(job, guests) {
    const guest = guests.find((one) => Number(one.vmid) === Number(job.guest));
    return guest ? guest.node : job.source;
}
