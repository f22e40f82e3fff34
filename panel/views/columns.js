/* The columns of the replication grid, and which of them are shown. */
import { el } from '../parts/dom.js';
import { icon } from '../parts/icons.js';
import { DEFAULT_SCHEDULE, notesOf, stateOf } from '../data/jobs.js';
import { duration, iso, megabytes, timestamp, utc } from '../data/format.js';
import { locale, t } from '../words/words.js';

export const time = (seconds) => el('time', { datetime: iso(seconds), title: `${timestamp(seconds)} (${utc(seconds)})` },
    timestamp(seconds).slice(0, 16));

function stateText(job, state) {
    if (state === 'error')
        return job.error;
    return t(state === 'removal' && job.remove_job === 'local' ? 'state.removal.keep' : `state.${state}`);
}

const ICONS = { overdue: 'waiting', gone: 'error', differs: 'removal', unverified: 'removal' };

/* A job may be failing and about to be removed, or too old: all is said. */
function stateCell(job) {
    const state = stateOf(job), text = stateText(job, state), notes = notesOf(job).map((note) => t(...note));
    const more = job.fail_count > 1 ? ` (${t('state.error.times', job.fail_count)})` : '';
    const since = job.overdue ? t('overdue.since', timestamp(job.overdue)) : '';
    return el('span', { class: `state ${state}`, title: [text + more, ...notes, since, job.gone, job.differs, job.unverified, ...(job.kept_aside || [])].filter(Boolean).join('\n') },
        icon(ICONS[state] || state),
        el('span', { class: 'words' }, state === 'error' && job.remove_job ? `${t('state.removal')}. ` : '', [text, ...notes].join(' · ')));
}

function next(job) {
    if (!job.next_sync)
        return t('never');
    return job.next_sync * 1000 <= Date.now() ? t('pending') : time(job.next_sync);
}

function last(job) {
    if (job.pid)
        return t('syncing');
    return job.last_sync ? time(job.last_sync) : t('never');
}

/* names: guest → its name. */
export function columnsOf(names) {
    const column = (key, width, cell, sort, optional) => ({ key, label: t(`job.${key}`), width, cell, sort, optional });
    return [
        column('enabled', '6rem', (job) => el('span', { class: 'switch' }, icon(job.disable ? 'disabled' : 'ok'),
            el('span', { class: 'unseen' }, t(job.disable ? 'no' : 'yes'))), (job) => (job.disable ? 1 : 0)),
        column('id', '6rem', (job) => job.id, (job) => job.guest * 1e6 + job.jobnum, 'hidden'),
        column('guest', 'minmax(6.5rem, 1.5fr)', (job) => [String(job.guest), names.get(job.guest) ? ` (${names.get(job.guest)})` : ''],
            (job) => job.guest * 1e6 + job.jobnum),
        column('number', '3.5rem', (job) => String(job.jobnum), (job) => job.jobnum),
        column('source', '6rem', (job) => job.source || '', (job) => job.source || '', 'hidden'),
        column('target', '5.5rem', (job) => job.target, (job) => job.target),
        column('state', 'minmax(9.5rem, 3fr)', stateCell, (job) => stateOf(job)),
        column('last', '10.5rem', last, (job) => job.last_sync || 0),
        column('duration', '6.5rem', (job) => (job.duration ? duration(job.duration, locale()) : t('never')), (job) => job.duration || 0),
        column('next', '10.5rem', next, (job) => job.next_sync || Infinity),
        column('verified', '10.5rem', (job) => (job.verified ? time(job.verified) : t('never')), (job) => job.verified || 0, 'hidden'),
        column('schedule', 'minmax(7.5rem, 1fr)', (job) => job.schedule || DEFAULT_SCHEDULE, (job) => job.schedule || DEFAULT_SCHEDULE),
        column('rate', '6rem', (job) => (job.rate ? megabytes(job.rate, locale()) : t('unlimited')), (job) => job.rate || Infinity, 'hidden'),
        column('comment', 'minmax(6rem, 2fr)', (job) => job.comment || '', (job) => job.comment || ''),
    ];
}

const stored = (place) => `pvesr.columns.${place}`;

/* Kept apart for the datacenter and for what is below it: column → is it shown? */
export function shownColumns(place) {
    try {
        return JSON.parse(localStorage.getItem(stored(place))) || {};
    } catch {
        return {};
    }
}

export function keepColumns(place, shown) {
    localStorage.setItem(stored(place), JSON.stringify(shown));
}

export const isShown = (column, shown) => shown[column.key] ?? column.optional !== 'hidden';
