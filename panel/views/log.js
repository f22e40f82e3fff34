/* A job's log, as it grows. Props: job, node, close(). */
import { el, Component } from '../parts/dom.js';
import { Dialog } from '../parts/dialog.js';
import { get, part } from '../data/api.js';
import { poll } from '../data/poll.js';
import { t } from '../words/words.js';

const PAUSE = 1000; // ms

export class Log extends Component {
    constructor(props) {
        super(props);
        this.state = { text: null, fault: null };
    }

    componentDidMount() {
        const { job, node } = this.props;
        this.poll = poll(() => get(`/nodes/${part(node)}/replication/${part(job.id)}/log`, { limit: 0 }), PAUSE,
            (rows) => this.show(rows.map((row) => row.t).join('\n')), (e) => this.setState({ fault: t(e.message) }));
    }

    componentWillUnmount() {
        this.poll.stop();
    }

    /* Who is at the end stays at the end. */
    show(text) {
        const { box } = this, atEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - 8;
        this.setState({ text, fault: null }, () => {
            if (atEnd)
                box.scrollTop = box.scrollHeight;
        });
    }

    render({ job, close }, { text, fault }) {
        return el(Dialog, { title: t('log.title', job.id), close, class: 'wide' },
            fault ? el('p', { class: 'banner error', role: 'alert' }, fault) : null,
            el('pre', { class: 'log', tabindex: '0', role: 'region', 'aria-label': t('log'), ref: (box) => { this.box = box || this.box; } },
                text === null ? t('loading') : text || t('log.empty')));
    }
}
