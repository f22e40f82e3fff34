/* Let a guest live on its replicas on another node. First it is said what that loses; then it needs the guest's number typed. What speaks against it the command
 * line decides, and its words are shown. Props: data, may, guest, target (may be left out), point (a restore point's name; the newest, when left out), done(text),
 * close(). */
import { el, Component } from '../parts/dom.js';
import { Dialog, field } from '../parts/dialog.js';
import { LONG, call, get, part } from '../data/api.js';
import { targetsOf } from '../data/risk.js';
import { duration, timestamp } from '../data/format.js';
import { locale, t } from '../words/words.js';


/* What went wrong, where the dialog is longer than the screen. */
const seen = (box) => box && box.scrollIntoView({ block: 'nearest' });

export class Failover extends Component {
    constructor(props) {
        super(props);
        this.state = { targets: props.target ? [props.target] : [], target: props.target || '', plan: null, done: null, fault: null, typed: '', force: false,
            busy: false };
        this.send = this.send.bind(this);
    }

    componentDidMount() {
        if (this.state.target)
            this.look(this.state.target);
        get('/cluster/replication').then((jobs) => this.offer(targetsOf(jobs, this.props.guest)), (e) => this.setState({ fault: t(e.message) }));
    }

    componentWillUnmount() {
        this.gone = true;
    }

    offer(targets) {
        const online = this.props.data.nodes.filter((node) => node.status === 'online').map((node) => node.node);
        this.setState({ targets });
        if (!this.state.target && targets.length > 0)
            this.look(targets.find((node) => online.includes(node)) || targets[0]);
    }

    /* What would it do there? An answer for a node that is not chosen any more is none, nor is what was confirmed of another one. */
    async look(target) {
        const { guest, point } = this.props, answered = (found) => !this.gone && this.state.target === target && this.setState(found);
        this.setState({ target, plan: null, fault: null, typed: '', force: false });
        try {
            answered({ plan: (await call('GET', `/nodes/${part(target)}/failover/${guest}`, { point }, LONG)).data });
        } catch (e) {
            answered({ fault: t(e.message) });
        }
    }

    async send(event) {
        event.preventDefault();
        const { guest, point } = this.props, { target, force } = this.state;
        this.setState({ busy: true, fault: null });
        try {
            const { data } = await call('POST', `/nodes/${part(target)}/failover/${guest}`, { point, force: force || undefined }, LONG);
            this.setState({ busy: false, done: data });
        } catch (e) {
            const unknown = e.status === 0 || e.status === 595, said = e.status === 0 ? '' : e.message;
            this.setState({ busy: false, fault: [said, unknown && t('failover.unknown', guest)].filter(Boolean).join('\n') });
        }
    }

    lines(said) {
        return el('ul', { class: 'lines' }, said.map((line) => el('li', { key: line }, line)));
    }

    target() {
        const { point } = this.props, { targets, target, busy } = this.state;
        return field({ id: 'failover-target', label: t('failover.target'), kind: 'select', control: { value: target, disabled: busy || Boolean(point),
            onChange: (event) => this.look(event.target.value) }, options: targets.map((name) => el('option', { value: name, selected: name === target }, name)) });
    }

    plan() {
        const { guest } = this.props, { plan, fault, target } = this.state;
        if (!plan)
            return fault ? null : el('p', { class: 'hint', role: 'status' }, t('failover.asking', target));
        const age = plan.time && duration(Math.max(0, Date.now() / 1000 - plan.time), locale());
        return [el('p', { class: 'banner error', role: 'status', key: 'lost' }, plan.time ? t('failover.lost', guest, timestamp(plan.time), age) : t('failover.lost.unknown', guest)),
            el('p', { key: 'move' }, t('failover.move', guest, plan.from, target)), this.lines(plan.said)];
    }

    deliberate() {
        const { guest } = this.props, { plan, force, typed, busy } = this.state;
        const mayForce = this.props.may.may('Sys.Modify', `/nodes/${plan.from}`);
        return [!mayForce ? el('p', { class: 'hint', key: 'force' }, t('failover.force.not', plan.from)) : field({ id: 'failover-force', label: t('failover.force', guest, plan.from), hint: t('failover.force.hint'), control: { type: 'checkbox', checked: force,
            disabled: busy, onChange: (event) => this.setState({ force: event.target.checked }) } }),
        field({ id: 'failover-typed', label: t('failover.type', guest), control: { value: typed, inputmode: 'numeric', autocomplete: 'off', disabled: busy,
            onInput: (event) => this.setState({ typed: event.target.value.trim() }) } })];
    }

    over() {
        const { guest, done, close } = this.props, { done: result, target } = this.state;
        const text = t('done.failover', guest, target);
        return el(Dialog, { title: t('failover.over', guest), close: () => done(text), key: 'over' },
            el('form', { onSubmit: (event) => { event.preventDefault(); done(text); } },
                el('p', { class: 'banner good', role: 'status' }, text), this.lines(result.said),
                el('footer', null, el('button', { type: 'submit', class: 'primary', autofocus: true }, t('close')))));
    }

    render({ guest, close }, { plan, done, fault, typed, busy }) {
        if (done)
            return this.over();
        return el(Dialog, { title: t('failover.title', guest), close, class: 'danger', key: 'plan' },
            el('form', { onSubmit: this.send },
                this.target(), this.plan(), plan ? this.deliberate() : null,
                fault ? el('p', { class: 'banner error', role: 'alert', ref: seen }, fault) : null,
                busy ? el('p', { class: 'hint', role: 'status' }, t('failover.busy')) : null,
                el('footer', null, el('button', { type: 'button', autofocus: true, onClick: close }, t('cancel')),
                    el('button', { type: 'submit', class: 'danger', disabled: busy || !plan || typed !== String(guest) }, t('failover.do')))));
    }
}
