/* When would a schedule run? Props: none of its own. */
import { el, Component } from '../parts/dom.js';
import { field } from '../parts/dialog.js';
import { get } from '../data/api.js';
import { DEFAULT_SCHEDULE } from '../data/jobs.js';
import { dayAndTime, duration, iso } from '../data/format.js';
import { gapsOf, PRESETS, presetOf } from '../data/schedule.js';
import { locale, t } from '../words/words.js';

const SETTLE = 300; // ms that somebody may think between two keys
const COUNTS = [10, 25, 100];

export class Simulator extends Component {
    constructor(props) {
        super(props);
        this.state = { text: DEFAULT_SCHEDULE, count: COUNTS[0], events: null, fault: null };
    }

    componentDidMount() {
        this.ask(this.state.text, this.state.count);
    }

    componentWillUnmount() {
        clearTimeout(this.timer);
        this.gone = true;
    }

    /* What was asked for last is shown, whichever answer comes last. */
    async ask(text, count) {
        const mine = () => !this.gone && this.state.text === text && this.state.count === count;
        try {
            const events = await get('/cluster/jobs/schedule-analyze', { schedule: text || DEFAULT_SCHEDULE, iterations: count });
            if (mine())
                this.setState({ events, fault: null });
        } catch (e) {
            if (mine())
                this.setState({ events: null, fault: e.fields.schedule || t(e.message) });
        }
    }

    change(text, count, pause) {
        clearTimeout(this.timer);
        this.setState({ text, count });
        this.timer = setTimeout(() => this.ask(text, count), pause);
    }

    form({ text, count, fault }) {
        const preset = presetOf(text);
        return el('form', { class: 'asking', onSubmit: (event) => event.preventDefault() },
            field({ id: 'schedule', label: t('form.schedule'), hint: preset >= 0 ? t(`schedule.${preset}`) : t('schedule.own'), fault,
                control: { value: text, placeholder: DEFAULT_SCHEDULE, maxlength: 128, spellcheck: false, autocomplete: 'off',
                    onInput: (event) => this.change(event.target.value, count, SETTLE) } }),
            field({ id: 'count', label: t('simulator.count'), kind: 'select', control: { value: String(count),
                onChange: (event) => this.change(text, Number(event.target.value), 0) },
            options: COUNTS.map((one) => el('option', { value: String(one), selected: one === count }, String(one))) }));
    }

    presets({ text, count }) {
        return el('div', { class: 'presets', role: 'group', 'aria-label': t('simulator.presets') },
            PRESETS.map((one, i) => el('button', { type: 'button', key: one, title: t(`schedule.${i}`), 'aria-pressed': String(presetOf(text) === i),
                onClick: () => this.change(one, count, 0) }, one)));
    }

    row(event, before) {
        return el('tr', { key: event.timestamp },
            el('td', null, el('time', { datetime: iso(event.timestamp), title: t('simulator.node', event.local) },
                dayAndTime(event.timestamp, locale()), el('span', { class: 'unseen' }, ` (${t('simulator.node', event.local)})`))),
            el('td', null, before === undefined ? t('simulator.in', duration(Math.max(0, event.timestamp - Date.now() / 1000), locale())) :
                `+ ${duration(event.timestamp - before, locale())}`));
    }

    events({ events, fault }) {
        if (!events)
            return fault ? null : el('p', { class: 'calm', role: 'status' }, t('loading'));
        if (events.length === 0)
            return el('p', { class: 'calm', role: 'status' }, t('simulator.none'));
        const gaps = gapsOf(events), zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
        return [el('p', { role: 'status', class: 'hint' }, t('simulator.zone', zone), ' ',
            gaps ? t(gaps[0] === gaps[1] ? 'simulator.gap' : 'simulator.gaps', ...gaps.map((gap) => duration(gap, locale()))) : null),
        el('table', { class: 'events' },
            el('thead', null, el('tr', null, el('th', { scope: 'col' }, t('simulator.when')), el('th', { scope: 'col' }, t('simulator.after')))),
            el('tbody', null, events.map((event, i) => this.row(event, i > 0 ? events[i - 1].timestamp : undefined))))];
    }

    render(_, state) {
        return el('section', { class: 'page', 'aria-label': t('simulator') }, el('p', null, t('simulator.what')), this.form(state), this.presets(state),
            this.events(state));
    }
}
