/* Datacenter, nodes, guests. Props: data, view, go(kind, name). */
import { el, Component } from '../parts/dom.js';
import { icon } from '../parts/icons.js';
import { VirtualList } from '../parts/list.js';
import { hashOf } from '../data/route.js';
import { t } from '../words/words.js';

const ROW = 32;      // px, as --tree-row in panel.css
const OPEN_UP_TO = 50; // guests of a node that is open by itself

/* The rows of the tree, in order. closed: node → true, false, or nothing: by itself. */
export function rowsOf(data, view, closed) {
    const rows = [{ kind: 'datacenter', name: '', level: 1, label: t('datacenter') }];
    const viewed = view.kind === 'guest' && data.guests.find((guest) => String(guest.vmid) === view.name);
    for (const node of data.nodes) {
        const guests = data.guests.filter((guest) => guest.node === node.node);
        const shut = closed[node.node] ?? (guests.length > OPEN_UP_TO && !(viewed && viewed.node === node.node));
        rows.push({ kind: 'node', name: node.node, level: 2, label: node.node, open: guests.length > 0 ? !shut : undefined,
            status: data.silent[node.node] ? 'silent' : node.status || 'unknown' });
        if (!shut)
            for (const guest of guests)
                rows.push({ kind: 'guest', name: String(guest.vmid), level: 3, label: guest.name ? `${guest.vmid} (${guest.name})` : String(guest.vmid),
                    icon: guest.type, status: guest.status || 'unknown' });
    }
    return rows;
}

export class Tree extends Component {
    constructor(props) {
        super(props);
        this.state = { closed: {} };
        this.pressed = this.pressed.bind(this);
    }

    toggle(name, shut) {
        this.setState({ closed: { ...this.state.closed, [name]: shut } });
    }

    pressed(event) {
        const { data, view, go } = this.props, rows = rowsOf(data, view, this.state.closed);
        const at = rows.findIndex((row) => row.kind === view.kind && row.name === view.name), row = rows[at];
        const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
        if (step && rows[at + step])
            go(rows[at + step].kind, rows[at + step].name);
        else if (event.key === 'ArrowRight' && row && row.open === false)
            this.toggle(row.name, false);
        else if (event.key === 'ArrowLeft' && row && row.open)
            this.toggle(row.name, true);
        else
            return;
        event.preventDefault();
    }

    row(row) {
        const { view } = this.props, mine = row.kind === view.kind && row.name === view.name;
        const status = row.status ? t(`status.${row.status}`) : '';
        const twist = (event) => {
            event.preventDefault();
            event.stopPropagation();
            this.toggle(row.name, row.open);
        };
        return el('div', { class: `twig level${row.level}`, role: 'treeitem', key: row.kind + row.name, id: `twig-${row.kind}-${row.name}`,
            'aria-level': String(row.level), 'aria-selected': mine ? 'true' : 'false', 'aria-expanded': row.open === undefined ? null : String(row.open) },
        row.open === undefined ? el('span', { class: 'twist' }) :
            el('span', { class: `twist ${row.open ? 'open' : ''}`, onClick: twist }, icon('open')),
        el('a', { href: hashOf(row.kind, row.name), tabindex: '-1', title: status ? `${row.label}: ${status}` : row.label },
            icon(row.icon || row.kind, row.status || ''), el('span', { class: 'name' }, row.label),
            status ? el('span', { class: row.status === 'silent' || row.status === 'offline' ? 'note' : 'unseen' }, ` ${status}`) : null));
    }

    render({ data, view }, { closed }) {
        const rows = rowsOf(data, view, closed);
        const at = rows.findIndex((row) => row.kind === view.kind && row.name === view.name);
        return el(VirtualList, { items: rows, rowHeight: ROW, show: at, render: (row) => this.row(row),
            attributes: { class: 'tree', role: 'tree', tabindex: '0', 'aria-label': t('menu'), onKeyDown: this.pressed,
                'aria-activedescendant': at >= 0 ? `twig-${rows[at].kind}-${rows[at].name}` : null },
            inner: { role: 'presentation' } });
    }
}
