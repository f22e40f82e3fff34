/* A grid that sorts its rows itself. Props: label, columns (of parts/grid.js; sort(row) gives what is compared), rows, chosen, choose(id), open(row), key that
 * is sorted by at first. Its narrow rows are cards: see panel.css. */
import { el, Component } from '../parts/dom.js';
import { Grid } from '../parts/grid.js';

const NARROW = matchMedia('(max-width: 700px)');
const ROW = 38, CARD = 104; // px, as in panel.css

export class Table extends Component {
    constructor(props) {
        super(props);
        this.state = { sorted: { key: props.by, down: Boolean(props.down) }, narrow: NARROW.matches };
        this.turned = () => this.setState({ narrow: NARROW.matches });
    }

    componentDidMount() {
        NARROW.addEventListener('change', this.turned);
    }

    componentWillUnmount() {
        NARROW.removeEventListener('change', this.turned);
    }

    sort(key) {
        const { sorted } = this.state;
        this.setState({ sorted: { key, down: sorted.key === key && !sorted.down } });
    }

    render({ rows, columns, ...more }, { sorted, narrow }) {
        const by = columns.find((column) => column.key === sorted.key).sort, sign = sorted.down ? -1 : 1;
        const ordered = rows.map((row) => [by(row), row]).sort(([a], [b]) => (a < b ? -sign : a > b ? sign : 0)).map(([, row]) => row);
        return el(Grid, { ...more, columns, rows: ordered, sorted, sort: (key) => this.sort(key), rowHeight: narrow ? CARD : ROW });
    }
}
