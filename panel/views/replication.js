/* The jobs of a cluster, a node or a guest. Props: data, view, may, store, say(text, bad). */
import { el, Component } from '../parts/dom.js';
import { icon } from '../parts/icons.js';
import { Grid } from '../parts/grid.js';
import { call, part } from '../data/api.js';
import { compareJobs, matches } from '../data/jobs.js';
import { guestPath } from '../data/may.js';
import { hashOf } from '../data/route.js';
import { nodeOf } from '../data/store.js';
import { t } from '../words/words.js';
import { columnsOf, isShown, keepColumns, shownColumns } from './columns.js';
import { JobForm } from './jobform.js';
import { Remove } from './remove.js';
import { Log } from './log.js';

const NARROW = matchMedia('(max-width: 700px)');
const ROW = 38, CARD = 104; // px, as in panel.css

const placeOf = (view) => (view.kind === 'datacenter' ? 'datacenter' : 'below');

export class Replication extends Component {
    constructor(props) {
        super(props);
        this.state = { chosen: null, words: '', sorted: { key: 'guest', down: false }, dialog: null, narrow: NARROW.matches,
            shown: shownColumns(placeOf(props.view)) };
        this.turned = () => this.setState({ narrow: NARROW.matches });
        this.close = () => this.setState({ dialog: null });
        this.done = (text) => {
            this.close();
            this.props.say(text);
            this.props.store.again();
        };
    }

    componentDidMount() {
        NARROW.addEventListener('change', this.turned);
    }

    componentWillUnmount() {
        NARROW.removeEventListener('change', this.turned);
    }

    rows(columns, names) {
        const { data } = this.props, { words, sorted } = this.state;
        const found = (data.jobs || []).filter((job) => matches(job, words, names.get(job.guest)));
        const by = columns.find((column) => column.key === sorted.key).sort, sign = sorted.down ? -1 : 1;
        return found.map((job) => [by(job), job])
            .sort(([a, x], [b, y]) => (a < b ? -sign : a > b ? sign : compareJobs(x, y)))
            .map(([, job]) => job);
    }

    sort(key) {
        const { sorted } = this.state;
        this.setState({ sorted: { key, down: sorted.key === key && !sorted.down } });
    }

    mayChange(job) {
        return this.props.may.may('VM.Replicate', guestPath(job.guest));
    }

    open(kind, job) {
        if (kind !== 'edit' || this.mayChange(job))
            this.setState({ dialog: { kind, job } });
    }

    async act(method, path, parameters, text) {
        try {
            await call(method, path, parameters);
            this.done(text);
        } catch (e) {
            this.props.say(t('failed', t(e.message)), true);
        }
    }

    schedule(job) {
        this.act('POST', `/nodes/${part(nodeOf(job, this.props.data.guests))}/replication/${part(job.id)}/schedule_now`, {}, t('done.scheduled', job.id));
    }

    enable(job) {
        this.act('PUT', `/cluster/replication/${part(job.id)}`, { disable: job.disable ? 0 : 1 }, t('done.saved', job.id));
    }

    /* Only what the caller may; without a chosen job what needs one is there and waits. */
    buttons(job) {
        const { may, view } = this.props;
        const some = view.kind === 'guest' ? may.may('VM.Replicate', guestPath(view.name)) : may.mayOnSome('VM.Replicate');
        const change = job ? this.mayChange(job) : some;
        const button = (name, act, more = '', needs = true) => el('button', { type: 'button', key: name, class: more, disabled: needs && !job, onClick: act },
            icon(name), ' ', el('span', null, t(name)));
        return el('div', { class: 'buttons', role: 'toolbar', 'aria-label': t('replication') },
            some ? button('add', () => this.open('add', null), '', false) : null,
            change ? [button('edit', () => this.open('edit', job)), button(job && job.disable ? 'enable' : 'disable', () => this.enable(job)),
                button('now', () => this.schedule(job)), button('remove', () => this.open('remove', job))] : null,
            button('log', () => this.open('log', job)),
            button('details', () => { location.hash = hashOf('guest', job.guest, 'job', job.id); }));
    }

    columnMenu(columns) {
        const { shown } = this.state, place = placeOf(this.props.view);
        const toggle = (column) => {
            const next = { ...shown, [column.key]: !isShown(column, shown) };
            keepColumns(place, next);
            this.setState({ shown: next });
        };
        return el('details', { class: 'menu columns' },
            el('summary', null, icon('columns'), ' ', t('columns')),
            el('div', { class: 'choices' }, columns.filter((column) => column.key !== 'guest').map((column) => el('label', { key: column.key },
                el('input', { type: 'checkbox', checked: isShown(column, shown), onChange: () => toggle(column) }), ' ', column.label))));
    }

    dialog(job) {
        const { data, view } = this.props, { dialog } = this.state, node = job && nodeOf(job, data.guests);
        const common = { data, jobs: data.jobs || [], done: this.done, close: this.close, key: dialog.kind };
        switch (dialog.kind) {
        case 'add':
            return el(JobForm, { ...common, job: null, guest: view.kind === 'guest' ? view.name : null });
        case 'edit':
            return el(JobForm, { ...common, job });
        case 'remove':
            return el(Remove, { ...common, job, node });
        default:
            return el(Log, { ...common, job, node });
        }
    }

    body(rows, columns) {
        const { data } = this.props, { chosen, words, sorted, narrow, shown } = this.state;
        if (!data.jobs)
            return el('p', { class: 'calm', role: 'status' }, t(data.trouble ? 'status.unknown' : 'loading'));
        if (rows.length === 0)
            return el('p', { class: 'calm' }, words ? t('empty.filter', words) : t('empty'));
        return el(Grid, { label: t('replication'), columns: narrow ? columns : columns.filter((column) => isShown(column, shown)), rows, chosen, sorted,
            rowHeight: narrow ? CARD : ROW, choose: (id) => this.setState({ chosen: id }), sort: (key) => this.sort(key),
            open: (job) => this.open('edit', job) });
    }

    count(rows) {
        const all = (this.props.data.jobs || []).length;
        if (rows.length !== all)
            return t('count.some', rows.length, all);
        return all === 1 ? t('count.one') : t('count', all);
    }

    render({ data }, { chosen, words, dialog }) {
        if (data.nodes.length === 1)
            return el('p', { class: 'calm' }, t('alone'));
        const names = new Map(data.guests.map((guest) => [Number(guest.vmid), guest.name || '']));
        const columns = columnsOf(names), rows = this.rows(columns, names), job = rows.find((one) => one.id === chosen);
        return el('section', { class: 'replication', 'aria-label': t('replication') },
            el('div', { class: 'bar' }, this.buttons(job),
                el('div', { class: 'tools' },
                    el('input', { type: 'search', 'aria-label': t('filter'), placeholder: t('filter'), value: words,
                        onInput: (event) => this.setState({ words: event.target.value.trim() }) }),
                    this.columnMenu(columns))),
            this.body(rows, columns),
            job && job.error ? el('p', { class: 'banner error' }, `${job.id}: ${job.error}`) : null,
            el('p', { class: 'count', role: 'status' }, data.jobs ? this.count(rows) : ''),
            dialog ? this.dialog(dialog.job) : null);
    }
}
