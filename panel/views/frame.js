/* The page of somebody who is logged in: head, tree, view; on a narrow page the tree and the tools are behind a button.
 * Props: session, view, data, store, tools(), go(kind, name, page). */
import { el, Component } from '../parts/dom.js';
import { icon } from '../parts/icons.js';
import { hashOf, OF_ONE, PAGES } from '../data/route.js';
import { t } from '../words/words.js';
import { Tree } from './tree.js';
import { Replication } from './replication.js';
import { Risk } from './risk.js';
import { Points } from './points.js';
import { Job } from './job.js';
import { Simulator } from './simulator.js';
import { Doctor, mayExamine } from './doctor.js';

const SAID = 6000; // ms that a short message stays
const VIEWS = {
    '': Replication,
    risk: Risk,
    points: Points,
    job: Job,
    simulator: Simulator,
    doctor: Doctor,
};
const labelOf = (page, item) => t(page || 'replication', item);

function titleOf(view, data) {
    if (view.kind === 'datacenter')
        return t('datacenter');
    if (view.kind === 'node')
        return `${t('node')} ${view.name}`;
    const guest = data.guests.find((one) => String(one.vmid) === view.name) || {};
    return [t(guest.type === 'lxc' ? 'ct' : 'vm'), view.name, guest.name ? `(${guest.name})` : ''].filter(Boolean).join(' ');
}

/* What is said above the view, in the order of its weight. */
function notices(view, data) {
    const found = [];
    if (data.trouble)
        found.push(t('trouble', t(data.trouble.message)));
    for (const [node, why] of Object.entries(data.silent))
        found.push(t('node.away', node, t(why)));
    const here = view.kind === 'node' ? view.name : (data.guests.find((guest) => view.kind === 'guest' && String(guest.vmid) === view.name) || {}).node;
    for (const node of data.nodes)
        if (node.status !== 'online' && !data.silent[node.node] && (view.kind === 'datacenter' || node.node === here))
            found.push(t('node.offline', node.node));
    if (data.nodes.length > 0 && view.kind === 'node' && !data.nodes.some((node) => node.node === view.name))
        found.push(t('node.gone', view.name));
    if (data.nodes.length > 0 && view.kind === 'guest' && !here)
        found.push(t('guest.gone', view.name));
    return found;
}

export class Frame extends Component {
    constructor(props) {
        super(props);
        this.state = { said: null, menu: false };
        this.say = (text, bad) => {
            clearTimeout(this.timer);
            this.setState({ said: { text, bad } });
            if (!bad)
                this.timer = setTimeout(() => this.setState({ said: null }), SAID);
        };
    }

    componentWillReceiveProps(next) {
        if (next.view !== this.props.view)
            this.setState({ menu: false });
    }

    componentWillUnmount() {
        clearTimeout(this.timer);
    }

    message() {
        const { said } = this.state;
        return el('div', { class: 'said', role: 'status' }, said ? el('p', { class: said.bad ? 'banner error' : 'banner good' }, said.text,
            el('button', { type: 'button', class: 'plain', 'aria-label': t('close'), onClick: () => this.setState({ said: null }) }, icon('error'))) : null);
    }

    tabs(view) {
        const { may } = this.props.session;
        const pages = PAGES[view.kind].filter((page) => page === view.page || (page === 'doctor' ? mayExamine(may, view) : !OF_ONE.includes(page)));
        return pages.length > 1 ? el('div', { class: 'tabs', role: 'navigation', 'aria-label': t('pages') }, pages.map((page) => el('a', { key: page,
            href: hashOf(view.kind, view.name, page, page === view.page ? view.item : ''), 'aria-current': page === view.page ? 'page' : null }, labelOf(page, view.item)))) : null;
    }

    render({ session, view, data, store, tools, go }, { menu }) {
        const title = titleOf(view, data);
        document.title = `${title} – pvesr`;
        return el('div', { class: `frame ${menu ? 'with-menu' : ''}` },
            el('a', { class: 'skip', href: '#content', onClick: (event) => { event.preventDefault(); document.getElementById('content').focus(); } }, t('skip')),
            el('header', { class: 'top' },
                el('button', { type: 'button', class: 'plain hamburger', 'aria-label': t('menu'), 'aria-expanded': String(menu),
                    onClick: () => this.setState({ menu: !menu }) }, icon('menu')),
                el('span', { class: 'brand' }, 'pvesr', session.cluster ? el('small', null, ` ${session.cluster}`) : null),
                tools()),
            el('nav', { 'aria-label': t('menu') }, el(Tree, { data, view, go }), tools()),
            el('main', { id: 'content', tabindex: '-1' },
                el('h1', null, title, el('small', null, ` ${labelOf(view.page, view.item)}`)),
                this.tabs(view),
                notices(view, data).map((text) => el('p', { class: 'banner warning', role: 'status', key: text }, text)),
                this.message(),
                el(VIEWS[view.page], { key: hashOf(view.kind, view.name, view.page, view.item), data, view, may: session.may, store, say: this.say, go })));
    }
}
