/* A window over the page: keeps the focus, Escape closes it, and whoever had the focus gets it back. Props: title, class, close(). */
import { el, Component } from './dom.js';
import { t } from '../words/words.js';
import { icon } from './icons.js';

export class Dialog extends Component {
    componentDidMount() {
        this.before = document.activeElement;
        this.box.showModal();
    }

    componentWillUnmount() {
        this.box.close();
        if (this.before && this.before.isConnected)
            this.before.focus();
    }

    render({ title, close, children, ...more }) {
        const cancelled = (event) => {
            event.preventDefault();
            close();
        };
        return el('dialog', { class: more.class, 'aria-labelledby': 'dialog-title', ref: (box) => { this.box = box || this.box; }, onCancel: cancelled },
            el('header', null, el('h2', { id: 'dialog-title' }, title),
                el('button', { type: 'button', class: 'plain', 'aria-label': t('close'), title: t('close'), onClick: close }, icon('error'))),
            children);
    }
}

/* A label, its control, what the server says of it, and a hint. control: attributes; kind 'input' or 'select'. */
export function field({ id, label, kind = 'input', control, hint, fault, options }) {
    const described = [hint && `${id}-hint`, fault && `${id}-fault`].filter(Boolean).join(' ');
    return el('div', { class: `field ${control.type === 'checkbox' ? 'tick' : ''}`, key: id },
        el('label', { for: id }, label),
        el(kind, { id, name: id, 'aria-describedby': described || null, 'aria-invalid': fault ? 'true' : null, ...control }, options),
        hint ? el('p', { class: 'hint', id: `${id}-hint` }, hint) : null,
        fault ? el('p', { class: 'fault', id: `${id}-fault` }, fault) : null);
}
