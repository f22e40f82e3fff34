/* What each target of a guest holds. Props: data, view, may, store, say(text, bad). */
import { el, Component } from '../parts/dom.js';
import { icon } from '../parts/icons.js';
import { get, part } from '../data/api.js';
import { poll } from '../data/poll.js';
import { ofEach, pointState, sizeOf, targetsOf } from '../data/risk.js';
import { guestPath } from '../data/may.js';
import { bytes } from '../data/format.js';
import { locale, t } from '../words/words.js';
import { time } from './columns.js';
import { Failover } from './failover.js';
import { Table } from './table.js';

const PAUSE = 30000; // ms: each target reads its disks
const ALARMS = { damaged: 'bad', changed: 'warn', part: 'warn', nodata: 'calm', aside: 'calm', shown: 'good', whole: 'good' };
const ICONS = { bad: 'error', warn: 'removal', calm: 'disabled', good: 'ok' };

function state(point) {
    const kind = pointState(point), alarm = ALARMS[kind];
    return el('span', { class: `state ${ICONS[alarm]}`, title: (point.lacks || []).join(', ') || null }, icon(ICONS[alarm]),
        el('span', { class: 'words' }, t(`point.state.${kind}`)));
}

function columnsOf() {
    const column = (key, width, cell, sort) => ({ key, label: t(`point.${key}`), width, cell, sort });
    return [
        column('time', '10.5rem', (row) => time(row.time), (row) => row.time),
        column('node', '6rem', (row) => row.node, (row) => row.node),
        column('job', '6rem', (row) => row.job || t('never'), (row) => row.job || ''),
        column('state', 'minmax(15rem, 1fr)', state, pointState),
        column('size', '7rem', (row) => bytes(sizeOf(row), locale()), sizeOf),
        column('name', 'minmax(17rem, 1fr)', (row) => row.name, (row) => row.name),
        column('volumes', 'minmax(6rem, 1fr)', (row) => el('span', { title: volids(row) }, volids(row)), volids),
    ];
}

const volids = (row) => row.volumes.map((volume) => volume.volid).join(', ');

export class Points extends Component {
    constructor(props) {
        super(props);
        this.state = { rows: null, silent: [], problems: [], targets: [], chosen: null, dialog: false };
        this.close = () => this.setState({ dialog: false });
        this.done = (text) => {
            this.close();
            this.props.say(text);
            this.props.store.again();
            this.poll.now();
        };
    }

    componentDidMount() {
        this.poll = poll(() => this.ask(), PAUSE, (found) => this.setState(found), (e) => this.setState({ silent: [['', e.message]] }));
    }

    componentWillUnmount() {
        this.poll.stop();
    }

    async ask() {
        const guest = this.props.view.name, targets = targetsOf(await get('/cluster/replication'), guest);
        const { rows, silent } = await ofEach(Object.fromEntries(targets.map((node) => [node, get(`/nodes/${part(node)}/restore-points/${part(guest)}`)])));
        return {
            silent, targets,
            rows: rows.flatMap(([node, { points }]) => points.map((point) => ({ ...point, node, id: `${node} ${point.name}` }))),
            problems: rows.flatMap(([node, { problems }]) => problems.map((text) => [node, text])),
        };
    }

    /* Of a chosen point; without one it is asked in the dialog. The newest of a node is what it takes anyway. */
    failover() {
        const { data, may, view } = this.props, { rows, chosen } = this.state;
        const row = (rows || []).find((one) => one.id === chosen);
        const newest = row && rows.filter((one) => one.node === row.node && !one.aside).reduce((most, one) => Math.max(most, one.time), 0);
        return el(Failover, { data, may, guest: Number(view.name), target: row && row.node, point: row && (row.aside || row.time !== newest) ? row.name : undefined,
            done: this.done, close: this.close });
    }

    body() {
        const { rows, targets, chosen } = this.state;
        if (!rows)
            return el('p', { class: 'calm', role: 'status' }, t('loading'));
        if (rows.length === 0)
            return el('p', { class: 'calm' }, t(targets.length > 0 ? 'points.empty' : 'points.nojob'));
        return el(Table, { label: t('points'), columns: columnsOf(), rows, chosen, by: 'time', down: true, choose: (id) => this.setState({ chosen: id }),
            open: (row) => this.setState({ chosen: row.id }) });
    }

    commands(row, guest) {
        return el('p', { class: 'banner commands' }, t('points.use', row.node), '\n', el('code', null, `pvesr mount ${guest} ${row.name} /mnt`), '\n',
            el('code', null, `pvesr clone ${guest} ${row.name} ${t('points.newid')}`));
    }

    render({ view, may }, { rows, silent, problems, targets, chosen, dialog }) {
        const row = rows && rows.find((one) => one.id === chosen);
        return el('section', { class: 'replication points', 'aria-label': t('points') },
            may.may('VM.Migrate', guestPath(view.name)) ? el('div', { class: 'bar' },
                el('div', { class: 'buttons', role: 'toolbar', 'aria-label': t('points') }, el('button', { type: 'button', disabled: targets.length === 0,
                    onClick: () => this.setState({ dialog: true }) }, icon('failover'), ' ', el('span', null, t('failover'))))) : null,
            silent.map(([node, why]) => el('p', { class: 'banner warning', role: 'status', key: node }, node ? t('node.away', node, t(why)) : t('trouble', t(why)))),
            problems.map(([node, text]) => el('p', { class: 'banner warning', role: 'status', key: node + text }, `${node}: ${t(text)}`)),
            this.body(),
            row ? this.commands(row, view.name) : null,
            dialog ? this.failover() : null);
    }
}
