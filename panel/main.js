/* The panel: who is there, what they look at, and the view of it. */
import { el, Component, render } from './parts/dom.js';
import { apiOnUnknown } from './data/api.js';
import { logOut, resume, rights } from './data/session.js';
import { createStore } from './data/store.js';
import { hashOf, routeOf } from './data/route.js';
import { languageOf, t, useLanguage } from './words/words.js';
import { Login } from './views/login.js';
import { Frame } from './views/frame.js';
import { toolbar } from './views/tools.js';

const LANGUAGE = 'pvesr.language', THEME = 'pvesr.theme';

function speak(language) {
    document.documentElement.lang = useLanguage(language);
}

function paint(theme) {
    document.documentElement.dataset.theme = theme;
}

class Panel extends Component {
    constructor() {
        super();
        this.state = { session: undefined, notice: null, view: routeOf(location.hash), data: null, theme: localStorage.getItem(THEME) || 'auto' };
        this.store = createStore((data) => this.setState({ data: { ...data } }), () => this.refreshRights());
        this.enter = this.enter.bind(this);
        speak(localStorage.getItem(LANGUAGE) || languageOf(navigator.languages || []));
        paint(this.state.theme);
    }

    componentDidMount() {
        addEventListener('hashchange', () => this.look());
        apiOnUnknown(() => this.leave(t('login.again')));
        resume().then((session) => (session ? this.enter(session) : this.setState({ session: null })));
    }

    enter(session) {
        this.setState({ session, notice: null, data: { ...this.store.data } });
        this.store.begin();
        this.store.view(this.state.view);
    }

    /* Where nobody answers they stay as they were: what is not allowed the server refuses. */
    async refreshRights() {
        const { session } = this.state, may = await rights().catch(() => null);
        if (may && session && session === this.state.session)
            this.setState({ session: { ...session, may } });
    }

    leave(notice) {
        if (!this.state.session)
            return;
        this.store.end();
        logOut();
        this.setState({ session: null, notice });
    }

    look() {
        const view = routeOf(location.hash);
        this.setState({ view });
        if (this.state.session)
            this.store.view(view);
    }

    tools() {
        const { session, theme } = this.state;
        return toolbar({
            theme, session, leave: () => this.leave(null),
            useTheme: (wanted) => {
                localStorage.setItem(THEME, wanted);
                paint(wanted);
                this.setState({ theme: wanted });
            },
            speak: (language) => {
                localStorage.setItem(LANGUAGE, language);
                speak(language);
                this.forceUpdate();
            },
        });
    }

    render(_, { session, notice, view, data }) {
        if (session === undefined)
            return el('p', { class: 'calm', role: 'status' }, t('loading'));
        if (!session)
            return el(Login, { notice, done: this.enter, tools: this.tools() });
        return el(Frame, { session, view, data, store: this.store, tools: () => this.tools(), go: (kind, name, page) => { location.hash = hashOf(kind, name, page); } });
    }
}

render(el(Panel, null), document.body);
