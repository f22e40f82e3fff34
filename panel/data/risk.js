/* What would be lost, and what there is to go back to: plain values in, plain values out. */

const ANY_AGE = 3 * 604800; // s, where a job says of no age that it is too old, as pvesr at-risk has it

/* 1: as old as it may be. Infinity: nothing is on that target. */
function painOf(row) {
    return row.newest === undefined ? Infinity : row.age / (row.allowed || ANY_AGE);
}

const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

/* Rows of GET /nodes/N/at-risk, of several nodes: the guest that has most to lose first, of each the target that has most of it. Each row gets an `id` and
 * its `rank`. */
export function byPain(rows) {
    const least = new Map();
    for (const row of rows)
        least.set(row.guest, Math.min(painOf(row), least.get(row.guest) ?? Infinity));
    return [...rows]
        .sort((a, b) => compare(least.get(b.guest), least.get(a.guest)) || compare(a.guest, b.guest) || compare(painOf(a), painOf(b)))
        .map((row, rank) => ({ ...row, rank, id: [row.guest, row.node, row.job || ''].join(' ') }));
}

/* good, calm, warn or bad: how it looks. */
export function alarmOf(row) {
    if (row.state === 'ok')
        return row['left-out'].length > 0 || row.error ? 'warn' : 'good';
    if (row.state === 'disabled')
        return 'calm';
    return row.state === 'faulty' ? 'warn' : 'bad';
}

/* Guests of which no target is as it should be. */
export function inDanger(rows) {
    const well = new Set(rows.filter((row) => alarmOf(row) !== 'bad').map((row) => row.guest));
    return new Set(rows.map((row) => row.guest).filter((guest) => !well.has(guest)));
}

/* One of: damaged, aside, changed, part, shown, nodata, whole; as pvesr restore-points says it. */
export function pointState(point) {
    const some = (key) => point.volumes.some((volume) => volume[key]);
    if (some('damaged'))
        return 'damaged';
    if (point.aside)
        return 'aside';
    if (some('changed'))
        return 'changed';
    if (point.lacks)
        return 'part';
    if (some('shown'))
        return 'shown';
    return point.volumes.every((volume) => volume.readable) ? 'whole' : 'nodata';
}

export const sizeOf = (point) => point.volumes.reduce((sum, volume) => sum + volume.size, 0);

/* The nodes to which jobs replicate a guest. `jobs` as GET /cluster/replication gives them. */
export function targetsOf(jobs, guest) {
    return [...new Set(jobs.filter((job) => Number(job.guest) === Number(guest)).map((job) => job.target))].sort();
}

/* The rows of each node that answered, and why others did not. answers: { node → Promise }. */
export async function ofEach(answers) {
    const rows = [], silent = [];
    await Promise.all(Object.entries(answers).map(async ([node, answer]) => {
        try {
            rows.push([node, await answer]);
        } catch (e) {
            if (e.status === 401)
                throw e;
            silent.push([node, e.message]);
        }
    }));
    return { rows, silent: silent.sort(([a], [b]) => compare(a, b)) };
}
