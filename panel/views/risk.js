/* What would be lost if a node died now, of all guests. Props: data, view, may, store, say(text, bad), go(kind, name, page). */
import { el, Component } from '../parts/dom.js';
import { icon } from '../parts/icons.js';
import { get, part } from '../data/api.js';
import { poll } from '../data/poll.js';
import { alarmOf, byPain, inDanger, ofEach } from '../data/risk.js';
import { guestPath } from '../data/may.js';
import { duration } from '../data/format.js';
import { locale, t } from '../words/words.js';
import { time } from './columns.js';
import { Failover } from './failover.js';
import { Table } from './table.js';

const PAUSE = 30000; // ms: each node makes a process of it
const ICONS = { good: 'ok', calm: 'disabled', warn: 'removal', bad: 'error' };

function lost(row) {
    const all = row.newest === undefined ? t('risk.lost.all') : t('risk.lost.since', duration(row.age, locale()));
    const more = [row['left-out'].length > 0 && t('risk.left', row['left-out'].join(', ')), row.error].filter(Boolean);
    const text = [all, ...more].join('; ');
    return el('span', { title: text }, text);
}

function state(row) {
    const alarm = alarmOf(row);
    return el('span', { class: `state ${ICONS[alarm]}` }, icon(ICONS[alarm]), el('span', { class: 'words' }, t(`risk.state.${row.state}`)));
}

function columnsOf(names) {
    const column = (key, width, cell, sort) => ({ key, label: t(`risk.${key}`), width, cell, sort });
    const age = (row, key) => (row[key] === undefined ? t('never') : duration(row[key], locale()));
    return [
        column('guest', 'minmax(6.5rem, 1.5fr)', (row) => [String(row.guest), names.get(row.guest) ? ` (${names.get(row.guest)})` : ''], (row) => row.guest),
        column('state', 'minmax(12rem, 1fr)', state, (row) => row.state),
        column('lost', 'minmax(13rem, 3fr)', lost, (row) => row.rank),
        column('target', '6rem', (row) => row.target || t('never'), (row) => row.target || ''),
        column('age', '7rem', (row) => el('span', { class: `state ${ICONS[alarmOf(row)]}` }, age(row, 'age')), (row) => row.age ?? Infinity),
        column('allowed', '7rem', (row) => age(row, 'allowed'), (row) => row.allowed ?? Infinity),
        column('newest', '10.5rem', (row) => (row.newest ? time(row.newest) : t('never')), (row) => row.newest || 0),
        column('node', '6rem', (row) => row.node, (row) => row.node),
    ];
}

export class Risk extends Component {
    constructor(props) {
        super(props);
        this.state = { rows: null, silent: [], chosen: null, dialog: false };
        this.close = () => this.setState({ dialog: false });
        this.done = (text) => {
            this.close();
            this.props.say(text);
            this.poll.now();
        };
    }

    componentDidMount() {
        this.poll = poll(() => this.ask(), PAUSE, (found) => found && this.setState(found), (e) => this.setState({ silent: [['', e.message]] }));
    }

    /* Nodes are not known at first. */
    componentDidUpdate(before) {
        if (before.data.nodes.length === 0 && this.props.data.nodes.length > 0)
            this.poll.now();
    }

    componentWillUnmount() {
        this.poll.stop();
    }

    async ask() {
        const online = this.props.data.nodes.filter((node) => node.status === 'online').map((node) => node.node);
        if (online.length === 0)
            return null;
        const { rows, silent } = await ofEach(Object.fromEntries(online.map((node) => [node, get(`/nodes/${part(node)}/at-risk`)])));
        return { rows: byPain(rows.flatMap(([, of]) => of)), silent };
    }

    buttons(row) {
        const { may } = this.props;
        const some = row ? may.may('VM.Migrate', guestPath(row.guest)) : may.mayOnSome('VM.Migrate');
        return el('div', { class: 'buttons', role: 'toolbar', 'aria-label': t('risk') }, some ? el('button', { type: 'button', disabled: !row || !row.target,
            onClick: () => this.setState({ dialog: true }) }, icon('failover'), ' ', el('span', null, t('failover'))) : null);
    }

    count(rows) {
        const danger = inDanger(rows).size;
        return danger > 0 ? t('risk.count', danger, new Set(rows.map((row) => row.guest)).size) : t('risk.none');
    }

    body(rows) {
        const { data, go } = this.props, { chosen } = this.state;
        if (!rows)
            return el('p', { class: 'calm', role: 'status' }, t('loading'));
        if (rows.length === 0)
            return el('p', { class: 'calm' }, t('risk.empty'));
        const names = new Map(data.guests.map((guest) => [Number(guest.vmid), guest.name || '']));
        return el(Table, { label: t('risk'), columns: columnsOf(names), rows, chosen, by: 'lost', choose: (id) => this.setState({ chosen: id }),
            open: (row) => go('guest', String(row.guest), 'points') });
    }

    render({ data, may }, { rows, silent, chosen, dialog }) {
        const row = rows && rows.find((one) => one.id === chosen);
        return el('section', { class: 'replication risk', 'aria-label': t('risk') },
            el('div', { class: 'bar' }, this.buttons(row)),
            silent.map(([node, why]) => el('p', { class: 'banner warning', role: 'status', key: node }, node ? t('node.away', node, t(why)) : t('trouble', t(why)))),
            this.body(rows),
            el('p', { class: 'count', role: 'status' }, rows ? this.count(rows) : ''),
            dialog && row ? el(Failover, { data, may, guest: row.guest, target: row.target, done: this.done, close: this.close }) : null);
    }
}
