/* Remove a job? Props: job, node (the guest's), done(text), close(). */
import { el, Component } from '../parts/dom.js';
import { Dialog, field } from '../parts/dialog.js';
import { call, part } from '../data/api.js';
import { t } from '../words/words.js';

export class Remove extends Component {
    constructor(props) {
        super(props);
        this.state = { keep: false, fault: null, busy: false };
        this.send = this.send.bind(this);
    }

    async send(event) {
        event.preventDefault();
        const { job, done } = this.props;
        this.setState({ busy: true, fault: null });
        try {
            await call('DELETE', `/cluster/replication/${part(job.id)}`, this.state.keep ? { keep: 1 } : {});
            done(t('done.removed', job.id));
        } catch (e) {
            this.setState({ busy: false, fault: t('failed', t(e.message)) });
        }
    }

    render({ job, node, close }, { keep, fault, busy }) {
        return el(Dialog, { title: t('remove.title', job.id), close, class: 'danger' },
            el('form', { onSubmit: this.send },
                fault ? el('p', { class: 'banner error', role: 'alert' }, fault) : null,
                keep ? null : el('p', null, t('remove.text', job.guest, job.target, node)),
                field({ id: 'keep', label: t('remove.keep', job.target), control: { type: 'checkbox', checked: keep,
                    onChange: (event) => this.setState({ keep: event.target.checked }) } }),
                el('footer', null, el('button', { type: 'button', autofocus: true, onClick: close }, t('cancel')),
                    el('button', { type: 'submit', class: 'danger', disabled: busy }, t('remove')))));
    }
}
