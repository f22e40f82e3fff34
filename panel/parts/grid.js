/* A table of any length: one row can be chosen, by mouse or arrow keys; Enter or a double click opens it; a click on a head sorts.
 * Props: label, columns [{ key, label, cell(row), sort(row), width, optional }], rows (key: id), chosen, choose(id), open(row), sorted { key, down }, sort(key),
 * rowHeight. */
import { el, Component } from './dom.js';
import { VirtualList } from './list.js';

const STEPS = { ArrowDown: 1, ArrowUp: -1, PageDown: 15, PageUp: -15, Home: -Infinity, End: Infinity };

export class Grid extends Component {
    constructor(props) {
        super(props);
        this.pressed = this.pressed.bind(this);
    }

    pressed(event) {
        const { rows, chosen, choose, open } = this.props;
        const at = rows.findIndex((row) => row.id === chosen);
        if (event.key === 'Enter' && event.target.closest('button'))
            return; // a head that sorts
        if (event.key === 'Enter' && at >= 0) {
            event.preventDefault();
            open(rows[at]);
        } else if (STEPS[event.key] && rows.length > 0) {
            event.preventDefault();
            choose(rows[Math.min(rows.length - 1, Math.max(0, at + STEPS[event.key]))].id);
        }
    }

    head({ columns, sorted, sort }) {
        return el('div', { class: 'row head', role: 'row', 'aria-rowindex': '1' }, columns.map((column) => {
            const mine = sorted.key === column.key;
            return el('div', { role: 'columnheader', class: `cell ${column.key}`, key: column.key,
                'aria-sort': mine ? (sorted.down ? 'descending' : 'ascending') : 'none' },
            el('button', { type: 'button', onClick: () => sort(column.key) }, column.label,
                el('span', { class: 'order', 'aria-hidden': 'true' }, mine ? (sorted.down ? ' ▾' : ' ▴') : '')));
        }));
    }

    row(row, index) {
        const { columns, chosen, choose, open } = this.props, mine = row.id === chosen;
        return el('div', { class: `row ${row.disable ? 'off' : ''}`, role: 'row', key: row.id, id: `row-${row.id}`, 'aria-rowindex': String(index + 2),
            'aria-selected': mine ? 'true' : 'false', onClick: () => choose(row.id), onDblClick: () => open(row) },
        columns.map((column) => el('div', { role: 'gridcell', class: `cell ${column.key}`, key: column.key, 'data-label': column.label },
            column.cell(row))));
    }

    render({ label, columns, rows, chosen, rowHeight, ...more }) {
        const at = rows.findIndex((row) => row.id === chosen);
        const widths = `--widths: ${columns.map((column) => column.width).join(' ')}`;
        return el('div', { class: 'grid', role: 'grid', 'aria-label': label, 'aria-rowcount': String(rows.length + 1), tabindex: '0', style: widths,
            'aria-activedescendant': at >= 0 ? `row-${chosen}` : null, onKeyDown: this.pressed },
        el('div', { role: 'rowgroup', class: 'heads' }, this.head({ columns, ...more })),
        el(VirtualList, { items: rows, rowHeight, show: at, render: (row, index) => this.row(row, index),
            // what scrolls must be reachable by keys itself
            attributes: { class: 'rows', role: 'rowgroup', tabindex: '0' }, inner: { role: 'presentation' } }));
    }
}
