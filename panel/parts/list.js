/* A list of any length of which only what is seen is in the page. Props: items, render(item, index), rowHeight (px), class, attributes of the
 * element that scrolls, `show` (an index that is to be seen when it changes). */
import { el, Component } from './dom.js';

const MARGIN = 8; // rows above and below what is seen

export class VirtualList extends Component {
    constructor(props) {
        super(props);
        this.state = { top: 0, height: 600 };
        this.scrolled = () => this.setState({ top: this.box.scrollTop });
    }

    componentDidMount() {
        this.observer = new ResizeObserver(() => this.setState({ height: this.box.clientHeight }));
        this.observer.observe(this.box);
        this.reveal(this.props.show);
    }

    componentDidUpdate(before) {
        if (before.show !== this.props.show)
            this.reveal(this.props.show);
    }

    componentWillUnmount() {
        this.observer.disconnect();
    }

    reveal(index) {
        if (index === undefined || index < 0)
            return;
        const { rowHeight } = this.props, top = index * rowHeight, { box } = this;
        if (top < box.scrollTop)
            box.scrollTop = top;
        else if (top + rowHeight > box.scrollTop + box.clientHeight)
            box.scrollTop = top + rowHeight - box.clientHeight;
    }

    render({ items, render, rowHeight, attributes, inner }, { top, height }) {
        const first = Math.max(0, Math.floor(top / rowHeight) - MARGIN);
        const last = Math.min(items.length, Math.ceil((top + height) / rowHeight) + MARGIN);
        const rows = items.slice(first, last).map((item, i) => render(item, first + i));
        return el('div', { ...attributes, ref: (box) => { this.box = box || this.box; }, onScroll: this.scrolled },
            el('div', { ...inner, style: `padding-top:${first * rowHeight}px;padding-bottom:${(items.length - last) * rowHeight}px` }, rows));
    }
}
