/* A job: how it is doing, what its runs did, what the next one would do. Props: data, view (whose item is its id), may, store, say(text, bad). */
import { el, Component } from '../parts/dom.js';
import { icon } from '../parts/icons.js';
import { plot } from '../parts/plot.js';
import { call, get, part } from '../data/api.js';
import { poll } from '../data/poll.js';
import { bytes, duration, timestamp } from '../data/format.js';
import { guestPath } from '../data/may.js';
import { mergedLog, planOf, progressOf, seriesOf, SIZE_UNITS, startOf, stepOf, TIME_UNITS } from '../data/runs.js';
import { nodeOf } from '../data/store.js';
import { locale, t } from '../words/words.js';
import { columnsOf } from './columns.js';
import { runList } from './runs.js';

const LOG = 1000; // ms between two looks at the log of a run that goes on
const PLOTTED = 96, LISTED = 10; // runs
const FACTS = ['state', 'target', 'last', 'duration', 'next', 'verified', 'schedule', 'rate', 'comment'];

/* Another one: something has happened. */
const markOf = (job) => (job ? [job.pid, job.last_try, job.last_sync, job.fail_count, job.postponed, job.verified, job.disable, job.remove_job].join() : '');

/* A line of the plan in the viewer's language, as far as there are words for it. */
function planLine(line) {
    const said = stepOf(line);
    return said ? said.map(([key, ...values]) => t(key, ...values)).join('; ') : el('span', { lang: 'en' }, line);
}

export class Job extends Component {
    constructor(props) {
        super(props);
        this.state = { plotted: null, listed: null, plan: null, planFault: null, fault: null, lines: [] };
    }

    componentDidMount() {
        this.log = poll(() => this.readLog(), LOG, (lines) => lines && this.setState({ lines }), () => {});
        this.componentDidUpdate();
    }

    componentDidUpdate() {
        const mark = markOf(this.job());
        if (mark && mark !== this.mark) {
            this.mark = mark;
            this.look(this.job(), mark);
        }
        const { box } = this;
        if (box && this.atEnd !== false)
            box.scrollTop = box.scrollHeight;
    }

    componentWillUnmount() {
        this.log.stop();
        this.mark = null;
    }

    job() {
        const { data, view } = this.props;
        return (data.jobs || []).find((one) => one.id === view.item);
    }

    path(job, what) {
        return `/nodes/${part(nodeOf(job, this.props.data.guests))}/replication/${part(job.id)}/${what}`;
    }

    /* What belongs to a mark is only shown while it is the last one. */
    async keep(mark, asked, got, failed) {
        const after = await asked.then(got, failed);
        if (this.mark === mark)
            this.setState(after);
    }

    look(job, mark) {
        this.keep(mark, Promise.all([get(this.path(job, 'history'), { limit: PLOTTED, logs: 0 }), get(this.path(job, 'history'), { limit: LISTED })]),
            ([plotted, listed]) => ({ plotted, listed, fault: null }), (e) => ({ fault: t('failed', t(e.message)) }));
        if (!job.pid)
            this.keep(mark, get(this.path(job, 'plan')), (lines) => ({ plan: planOf(lines), planFault: null }),
                (e) => ({ plan: null, planFault: t(e.message) }));
        this.log.now();
    }

    /* Only what is new of it, and nothing while no run goes on. */
    async readLog() {
        const job = this.job(), { lines } = this.state;
        if (!job || (!job.pid && this.read === this.mark))
            return null;
        this.read = this.mark;
        const ask = (from) => call('GET', this.path(job, 'log'), { start: from, limit: 0 });
        const some = await ask(startOf(lines)), merged = mergedLog(lines, some.data, some.total);
        const now = merged || (await ask(0)).data.map((row) => row.t);
        return now;
    }

    async schedule(job) {
        const { say, store } = this.props;
        try {
            await call('POST', this.path(job, 'schedule_now'));
            say(t('done.scheduled', job.id));
            store.again();
        } catch (e) {
            say(t('failed', t(e.message)), true);
        }
    }

    facts(job) {
        const columns = columnsOf(new Map());
        return el('dl', { class: 'facts' }, FACTS.filter((key) => key !== 'comment' || job.comment).map((key) => columns.find((column) => column.key === key)).map((column) =>
            el('div', { key: column.key, class: `cell-${column.key}` }, el('dt', null, column.label), el('dd', null, column.cell(job)))));
    }

    /* What the state has in few words. */
    warnings(job) {
        const kept = job.kept_aside || [];
        return [job.overdue ? t('overdue.since', timestamp(job.overdue)) : null, ...['gone', 'differs', 'unverified'].map((doubt) => (job[doubt] ? `${t(`state.${doubt}`)}: ${job[doubt]}` : null)),
            kept.length > 0 ? `${t('note.kept', kept.length)}: ${kept.join(', ')}` : null, job.postponed ? t('note.postponed', job.postponed) : null,
            ...(job.notes || [])].filter(Boolean)
            .map((text) => el('p', { class: 'banner warning', key: text }, text));
    }

    progress(job) {
        const far = job.pid ? progressOf(this.state.lines) : null;
        if (!job.pid)
            return null;
        if (!far)
            return el('p', { class: 'progress', role: 'status' }, icon('running'), ' ', t('state.running'));
        const known = far.percent !== undefined;
        return el('div', { class: 'progress' },
            el('p', null, icon('running'), ' ', t('progress.volume', far.volume, far.done + 1, far.of)),
            el('progress', { max: '100', value: known ? far.percent : null, 'aria-label': t('progress') }),
            el('p', { class: 'hint' }, [known ? `${far.percent} %` : null, t('progress.sent', far.sent, far.rate),
                known ? t('progress.left', duration(far.left, locale())) : null].filter(Boolean).join(' · ')));
    }

    plots(plotted) {
        const series = seriesOf(plotted, Date.now() / 1000), last = (points) => points[points.length - 1];
        const seconds = (value) => duration(value, locale()), size = (value) => bytes(Math.round(value), locale()), rate = (value) => `${size(value)}/s`;
        const one = (key, format, more) => {
            const points = series[key];
            const words = points.length === 0 ? t('run.none') :
                t('plot.words', format(last(points).value), format(Math.max(...points.map((point) => point.value))));
            return el('div', { key }, plot({ title: t(`plot.${key}`), points, format, words, ...more }));
        };
        return el('div', { class: 'plots' }, one('age', seconds, { units: TIME_UNITS, joined: true }), one('delta', size, { units: SIZE_UNITS }),
            one('duration', seconds, { units: TIME_UNITS }), one('rate', rate, { units: SIZE_UNITS }));
    }

    plan(job) {
        const { plan, planFault } = this.state;
        if (job.pid)
            return el('p', { class: 'hint' }, t('plan.running'));
        if (planFault)
            return el('p', { class: 'banner warning' }, planFault);
        if (!plan)
            return el('p', { class: 'hint', role: 'status' }, t('loading'));
        const when = !job.next_sync ? t('plan.never') : job.next_sync * 1000 <= Date.now() ? t('plan.now') :
            t('plan.at', timestamp(job.next_sync), duration(job.next_sync - Date.now() / 1000, locale()));
        return [el('p', null, when), plan.notes.map((note) => el('p', { class: 'banner', key: note }, planLine(note))),
            el('ul', { class: 'plan' }, plan.volumes.map((volume) => el('li', { key: volume.name }, el('strong', null, volume.name),
                volume.lines.length === 0 ? ` ${t('plan.nothing')}` : el('ul', null, volume.lines.map((line, i) => el('li', { key: i }, planLine(line)))))))];
    }

    /* Who is at its end stays there. */
    logBox(lines) {
        return el('pre', { class: 'log', tabindex: '0', role: 'region', 'aria-label': t('log'), ref: (box) => { this.box = box || this.box; },
            onScroll: ({ target }) => { this.atEnd = target.scrollTop + target.clientHeight >= target.scrollHeight - 8; } },
        lines.length === 0 ? t('log.empty') : lines.join('\n'));
    }

    render({ data, view, may }, { plotted, listed, fault, lines }) {
        const job = this.job();
        if (!job)
            return el('p', { class: 'calm', role: 'status' }, t(data.jobs ? 'job.gone' : 'loading', view.item));
        const mayChange = may.may('VM.Replicate', guestPath(job.guest));
        return el('section', { class: 'page job', 'aria-label': t('job', job.id) },
            this.facts(job), this.warnings(job),
            mayChange ? el('p', null, el('button', { type: 'button', onClick: () => this.schedule(job) }, icon('now'), ' ', t('now'))) : null,
            this.progress(job),
            fault ? el('p', { class: 'banner error', role: 'alert' }, fault) : null,
            plotted ? this.plots(plotted) : null,
            el('h2', null, t('plan.title')), this.plan(job),
            el('h2', null, t('run.title')), listed ? runList(listed) : el('p', { class: 'hint' }, t('loading')),
            el('h2', null, t('log.title', job.id)), this.logBox(lines));
    }
}
