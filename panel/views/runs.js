/* The last runs of a job, each with its steps as a bar, its error and its log. */
import { el } from '../parts/dom.js';
import { icon } from '../parts/icons.js';
import { bytes, duration, iso, timestamp, utc } from '../data/format.js';
import { locale, t } from '../words/words.js';

const LOOK = { ok: 'ok', verified: 'ok', removed: 'ok', running: 'running', failed: 'error', differs: 'error', interrupted: 'error' };

/* The names are those of `pvesr history`. Steps of no time to speak of have no piece of the bar. */
function steps(run) {
    const all = (run.steps || []).reduce((sum, step) => sum + step.seconds, 0), shown = (run.steps || []).filter((step) => step.seconds > all / 100);
    if (shown.length === 0)
        return null;
    const words = shown.map((step) => `${step.name} ${duration(step.seconds, locale())}`);
    return [el('div', { class: 'steps', role: 'img', 'aria-label': `${t('run.steps')}: ${words.join(', ')}` }, shown.map((step, i) =>
        el('span', { key: step.name, class: `step tint${i % 4}`, style: `flex-grow:${(100 * step.seconds / all).toFixed(2)}`, title: words[i] }))),
    el('ol', { class: 'step-names' }, shown.map((step, i) => el('li', { key: step.name }, el('span', { class: `swatch tint${i % 4}`, 'aria-hidden': 'true' }), words[i])))];
}

function facts(run) {
    return [run.duration === undefined ? null : duration(run.duration, locale()), t('run.delta', bytes(run.delta, locale())),
        t('run.sent', bytes(run.bytes, locale()))].filter(Boolean).join(' · ');
}

function row(run) {
    const look = LOOK[run.result] || 'waiting';
    return el('details', { key: `${run.start}-${run.result}`, class: 'run' },
        el('summary', null, icon('open', 'twisted'), el('time', { datetime: iso(run.start), title: utc(run.start) }, timestamp(run.start)),
            el('span', { class: `state ${look}` }, icon(look), t(`run.${run.result}`)), el('span', { class: 'facts' }, facts(run))),
        run.error ? el('p', { class: 'banner error' }, run.error) : null,
        steps(run),
        run.log ? el('pre', { class: 'log', tabindex: '0', role: 'region', 'aria-label': t('run.log', timestamp(run.start)) }, run.log) : null);
}

export function runList(runs) {
    return runs.length === 0 ? el('p', { class: 'hint' }, t('run.none')) : el('div', { class: 'runs' }, runs.map(row));
}
