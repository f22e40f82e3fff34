/* What is known of jobs: plain values in, plain values out. */

export const DEFAULT_SCHEDULE = '*/15';

/* In the order of the grid: by guest, then by number. */
export function compareJobs(a, b) {
    return a.guest - b.guest || a.jobnum - b.jobnum;
}

/* One of: running, removal, error, disabled, overdue, gone, differs, unverified, waiting, ok, unknown. `job` as GET /nodes/N/replication gives it; what only
 * /cluster/replication gave has no state. */
export function stateOf(job) {
    if (job.pid)
        return 'running';
    if (job.error)
        return 'error';
    if (job.remove_job)
        return 'removal';
    if (job.disable)
        return 'disabled';
    if (job.overdue)
        return 'overdue';
    if (job.gone)
        return 'gone';
    if (job.differs)
        return 'differs';
    if (job.unverified)
        return 'unverified';
    if (job.last_sync === undefined)
        return 'unknown';
    return job.last_sync > 0 ? 'ok' : 'waiting';
}

const POSTPONED = 3; // in a row: now and then one is, as for pvesr status

/* What is to be known beside the state, keys of words/ and what they say it of: [['note.kept', 2], …]. */
export function notesOf(job) {
    const state = stateOf(job);
    return [
        job.overdue && state !== 'overdue' && ['state.overdue'],
        ...['gone', 'differs', 'unverified'].map((doubt) => job[doubt] && state !== doubt && [`state.${doubt}`]),
        job.kept_aside?.length > 0 && ['note.kept', job.kept_aside.length],
        job.postponed >= POSTPONED && ['note.postponed', job.postponed],
    ].filter(Boolean);
}

/* The number of a new job: one more than the highest that is seen. */
export function nextNumber(jobs, guest) {
    return 1 + jobs.reduce((most, job) => Number(job.guest) === Number(guest) ? Math.max(most, job.jobnum) : most, -1);
}

/* The cluster's jobs with what their nodes say of them. */
export function withStates(jobs, states) {
    const known = new Map(states.map((state) => [state.id, state]));
    return jobs.map((job) => known.has(job.id) ? { ...job, ...known.get(job.id) } : job);
}

/* The jobs with a change of one, as GET /events tells it. null: it is a job of another node, which alone knows how it is doing. */
export function withChange(jobs, kind, job) {
    const others = jobs.filter((one) => one.id !== job.id);
    if (kind === 'removed')
        return others;
    return job.last_sync === undefined ? null : [...others, job].sort(compareJobs);
}

/* Every word is in one of the texts that a row shows. */
export function matches(job, words, name = '') {
    const text = [job.id, job.target, job.source, job.schedule, job.comment, job.error, name].join('\n').toLowerCase();
    return words.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

/* What changed in the dialog, as PUT wants it: a field that is what it is by default is deleted. */
export function changesOf(job, form) {
    const changes = {}, deleted = [];
    const put = (key, now, was, byDefault) => {
        if (now === was)
            return;
        if (now === byDefault)
            deleted.push(key);
        else
            changes[key] = now;
    };
    put('schedule', form.schedule.trim() || DEFAULT_SCHEDULE, job.schedule || DEFAULT_SCHEDULE, DEFAULT_SCHEDULE);
    put('rate', form.rate, job.rate === undefined ? '' : String(job.rate), '');
    put('comment', form.comment, job.comment || '', '');
    put('disable', form.enabled ? 0 : 1, job.disable ? 1 : 0, 0);
    if (deleted.length > 0)
        changes.delete = deleted.join(',');
    return changes;
}

/* What POST wants: nothing that is so by default. */
export function newJob(form, jobs) {
    const schedule = form.schedule.trim();
    return {
        id: `${form.guest}-${nextNumber(jobs, form.guest)}`,
        type: 'local',
        target: form.target,
        schedule: schedule && schedule !== DEFAULT_SCHEDULE ? schedule : undefined,
        rate: form.rate || undefined,
        comment: form.comment || undefined,
        disable: form.enabled ? undefined : 1,
    };
}
