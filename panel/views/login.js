/* Who are you? Props: notice, done(session). */
import { el, Component } from '../parts/dom.js';
import { field } from '../parts/dialog.js';
import { logIn } from '../data/session.js';
import { t } from '../words/words.js';

const REALMS = ['pam', 'pve'];

export class Login extends Component {
    constructor(props) {
        super(props);
        this.state = { fault: null, busy: false };
        this.send = this.send.bind(this);
    }

    async send(event) {
        event.preventDefault();
        const form = new FormData(event.target);
        this.setState({ busy: true, fault: null });
        try {
            this.props.done(await logIn(form.get('username'), form.get('password'), form.get('realm')));
        } catch (e) {
            this.setState({ busy: false, fault: this.reason(e) });
        }
    }

    reason(e) {
        if (e.message === 'second factor')
            return t('login.factor');
        return e.status === 401 ? t('login.failed') : t('failed', t(e.message));
    }

    render({ notice, tools }, { fault, busy }) {
        return el('main', { class: 'login' },
            el('form', { onSubmit: this.send, 'aria-labelledby': 'login-title' },
                el('p', { class: 'brand' }, 'pvesr ', el('small', null, t('about'))),
                el('h1', { id: 'login-title' }, t('login.title')),
                fault || notice ? el('p', { class: fault ? 'banner error' : 'banner', role: 'alert' }, fault || notice) : null,
                field({ id: 'username', label: t('login.user'), control: { autocomplete: 'username', required: true, autofocus: true, autocapitalize: 'none' } }),
                field({ id: 'password', label: t('login.password'), control: { type: 'password', autocomplete: 'current-password', required: true } }),
                field({ id: 'realm', label: t('login.realm'), kind: 'select', control: {},
                    options: REALMS.map((realm) => el('option', { value: realm }, t(`login.realm.${realm}`))) }),
                el('button', { type: 'submit', class: 'primary', disabled: busy }, t('login.submit'))),
            tools);
    }
}
