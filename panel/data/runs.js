/* What runs of a job did, from its history and its log: plain values in, plain values out. */

/* The log grows by lines, and a run begins it anew. known: the lines so far; rows, total: as GET …/log gives them from `startOf(known)` on. null:
 * another run's, ask for all. */
export const startOf = (known) => Math.max(0, known.length - 1);

export function mergedLog(known, rows, total) {
    const lines = rows.map((row) => row.t), from = startOf(known);
    if (known.length === 0)
        return lines;
    if (total < known.length || lines[0] !== known[from])
        return null;
    return [...known.slice(0, from), ...lines];
}

const STAMP = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+: /;
const SENDING = /^(\S.*): (\S+ [KMGT]?i?B) sent, (\S+ [KMGT]?i?B\/s)(?:, (\d+) %, (\d+) s left)?$/;
const SENT = /^(\S.*): \S+ [KMGT]?i?B sent in \S+ s$/;

/* How far the run is whose log this is: { volume, done, of (volumes), sent, rate, percent, left (seconds) }; of a stream nobody knows the two last
 * ones. null: it sends nothing now. */
export function progressOf(lines) {
    let now = null, done = 0, of = 0;
    for (const line of lines) {
        const text = line.replace(STAMP, '');
        const volumes = /^volumes => (.*)$/.exec(text), sending = SENDING.exec(text);
        if (volumes)
            of = volumes[1].split(',').length;
        else if (SENT.test(text)) {
            done++;
            now = null;
        } else if (sending) {
            const [, volume, sent, rate, percent, left] = sending;
            now = { volume, sent, rate, ...(percent && { percent: Number(percent), left: Number(left) }) };
        }
    }
    return now && { ...now, done, of: Math.max(of, done + 1) };
}

const OWN = ['ok', 'failed', 'interrupted'];

const ended = (run) => run.duration !== undefined && OWN.includes(run.result);

/* Seconds of the step in which data are sent; else of the whole run. */
function sending(run) {
    const step = (run.steps || []).find((one) => one.name === 'transfer');
    return step && step.seconds > 0 ? step.seconds : run.duration;
}

/* How old the newest restore point on the target was: it grows until a run succeeds, whose point is as old as the run took. */
function ages(done, now) {
    const points = [];
    let newest = null;
    for (const run of done.filter((one) => one.result === 'ok')) {
        const end = run.start + run.duration;
        if (newest !== null && end > newest)
            points.push({ at: end, value: end - newest, peak: true });
        points.push({ at: end, value: run.duration });
        newest = run.start;
    }
    if (newest !== null && now > newest)
        points.push({ at: now, value: now - newest, peak: true });
    return points;
}

/* For the plots: { age, duration, delta, rate }, each an array of { at, value }, oldest first. runs: newest first, as the history has them. */
export function seriesOf(runs, now) {
    const done = runs.filter(ended).reverse(), good = done.filter((run) => run.result === 'ok');
    return {
        age: ages(done, now),
        duration: done.map((run) => ({ at: run.start, value: run.duration, bad: run.result !== 'ok' })),
        delta: good.map((run) => ({ at: run.start, value: run.delta })),
        rate: good.filter((run) => run.bytes > 0 && sending(run) > 0).map((run) => ({ at: run.start, value: run.bytes / sending(run) })),
    };
}

export const TIME_UNITS = [1, 60, 3600, 86400], SIZE_UNITS = [1, ...[1, 2, 3, 4, 5].map((power) => 1024 ** power)];

/* The end of an axis that holds the value: 1, 2 or 5 times a power of ten of one of the units, and no more of a unit than half of the next. */
export function roundUp(value, units) {
    if (!(value > 0))
        return 1;
    const ends = units.map((unit, i) => {
        const count = i > 0 ? Math.max(1, value / unit) : value / unit, power = 10 ** Math.floor(Math.log10(count));
        const end = [1, 2, 5, 10].find((one) => count <= one * power * (1 + 1e-9)) * power * unit;
        return end * 2 <= (units[i + 1] || Infinity) ? end : Infinity;
    });
    return Math.min(...ends);
}

/* What the next run would do: { notes, volumes: [{ name, lines }] }, from the lines of `pvesr plan`, the first of which names the job. */
export function planOf(lines) {
    const plan = { notes: [], volumes: [] };
    for (const line of lines.slice(1))
        if (/^\s/.test(line) && plan.volumes.length > 0)
            plan.volumes.at(-1).lines.push(line.trim());
        else if (/^(note: |destroy |keep )/.test(line))
            plan.notes.push(line);
        else
            plan.volumes.push({ name: line.trim(), lines: [] });
    return plan;
}

/* What the steps of a plan are called; the longer ones first. Why a run does something is said in many more ways: that is shown as it is. */
const STEPS = [
    [/^note: the run would be postponed: (.*)$/, 'plan.postponed'],
    [/^take snapshot '(.*)'$/, 'plan.take'],
    [/^send (\S+) => (\S+)$/, 'plan.delta'],
    [/^send (\S+) => (\S+) \(resumed\)$/, 'plan.delta', 'plan.resumed'],
    [/^send (\S+) in full: (.*)$/, 'plan.full'],
    [/^send (\S+) in full \(resumed\): (.*)$/, 'plan.full', 'plan.resumed'],
    [/^send (\S+) by digests: (.*)$/, 'plan.digests'],
    [/^send (\S+) by digests \(resumed\): (.*)$/, 'plan.digests', 'plan.resumed'],
    [/^remove stale snapshot '(.*)' here$/, 'plan.stale.here'],
    [/^remove stale snapshot '(.*)' on the target$/, 'plan.stale.there'],
    [/^(?:then )?remove '(.*)' here$/, 'plan.remove.here'],
    [/^then remove '(.*)' on the target$/, 'plan.remove.there'],
    [/^destroy the unfinished copy on the target$/, 'plan.destroy.part'],
    [/^destroy '(.*)' on the target: the guest no longer has it$/, 'plan.destroy.gone'],
    [/^destroy '(.*)' on the target: the job is removed$/, 'plan.destroy.removed'],
    [/^keep '(.*)' on the target: it is of a former job '(.*)', older than this one$/, 'plan.keep.former'],
];
const WHY = {
    'what differs from the replica, which is kept aside if it is of value': 'plan.why.differs',
    'to take the place of the replica': 'plan.why.anew',
    'the target has no usable snapshot': 'plan.why.unusable',
    'the target does not have the volume': 'plan.why.none',
};

/* A line of a plan as [key, …values] of the words, one or two; null: there are none for it. */
export function stepOf(line) {
    for (const [shape, key, more] of STEPS) {
        const found = shape.exec(line);
        if (!found)
            continue;
        const values = found.slice(1), why = WHY[values[1]];
        const first = why ? [[key, values[0]], [why]] : [[key, ...values]];
        return more ? [first[0], [more], ...first.slice(1)] : first;
    }
    return null;
}
