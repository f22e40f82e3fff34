/* Make or change a job. Props: job (null: a new one), jobs, data, guest (a new job's, where it is given), done(text), close(). */
import { el, Component } from '../parts/dom.js';
import { Dialog, field } from '../parts/dialog.js';
import { call, get, part } from '../data/api.js';
import { changesOf, DEFAULT_SCHEDULE, newJob } from '../data/jobs.js';
import { PRESETS, presetOf } from '../data/schedule.js';
import { timestamp } from '../data/format.js';
import { nodeOf } from '../data/store.js';
import { t } from '../words/words.js';

const SETTLE = 300; // ms that somebody may think between two keys

function formOf(job) {
    return { guest: '', target: job.target || '', schedule: job.schedule || '', rate: job.rate === undefined ? '' : String(job.rate),
        comment: job.comment || '', enabled: !job.disable };
}

export class JobForm extends Component {
    constructor(props) {
        super(props);
        this.state = {
            form: { ...formOf(props.job || {}), guest: props.guest || '' }, job: props.job, digest: null, fault: null, fields: {}, busy: false, next: [],
        };
        this.touched = {}; // what was changed here: all else is as the server has it
        this.send = this.send.bind(this);
    }

    componentDidMount() {
        const { job } = this.props;
        this.ask(this.state.form.schedule);
        if (job)
            get(`/cluster/replication/${part(job.id)}`).then((now) => this.setState({ job: now, digest: now.digest, form: { ...formOf(now), ...this.touched } }),
                (e) => this.setState({ fault: t(e.message) }));
    }

    componentWillUnmount() {
        clearTimeout(this.timer);
        this.gone = true;
    }

    /* When would it run? Where the server does not know, nothing is said. */
    ask(schedule) {
        clearTimeout(this.timer);
        this.timer = setTimeout(async () => {
            const next = await get('/cluster/jobs/schedule-analyze', { schedule: schedule || DEFAULT_SCHEDULE, iterations: 3 }).catch(() => []);
            if (!this.gone && schedule === this.state.form.schedule)
                this.setState({ next });
        }, SETTLE);
    }

    change(key, value) {
        this.touched[key] = value;
        this.setState({ form: { ...this.state.form, [key]: value }, fields: { ...this.state.fields, [key]: null } });
        if (key === 'schedule')
            this.ask(value);
    }

    async send(event) {
        event.preventDefault();
        const { jobs, done } = this.props, { job, form, digest } = this.state;
        this.setState({ busy: true, fault: null, fields: {} });
        try {
            if (job) {
                await call('PUT', `/cluster/replication/${part(job.id)}`, { ...changesOf(job, form), digest });
                done(t('done.saved', job.id));
            } else {
                const made = newJob(form, await get('/cluster/replication').catch(() => jobs));
                await call('POST', '/cluster/replication', made);
                done(t('done.created', made.id));
            }
        } catch (e) {
            this.refused(e);
        }
    }

    refused(e) {
        const fields = { ...e.fields };
        if (fields.id && !fields.guest)
            fields.guest = fields.id;
        const known = Object.keys(fields).some((key) => key in this.state.form);
        const changed = /detected modified configuration/.test(e.message);
        this.setState({ busy: false, fields, fault: changed ? t('form.changed') : known ? null : [t(e.message), ...Object.values(e.fields)].join('\n') });
    }

    targets() {
        const { data, job } = this.props, { form } = this.state;
        const here = nodeOf(job || { guest: form.guest }, data.guests);
        return data.nodes.filter((node) => node.status === 'online' && node.node !== here).map((node) => node.node);
    }

    guestField() {
        const { data } = this.props, { form, fields } = this.state;
        return [field({ id: 'guest', label: t('form.guest'), fault: fields.guest, control: { type: 'number', min: 100, max: 999999999, required: true,
            value: form.guest, list: 'guests', autofocus: true, onInput: (event) => this.change('guest', event.target.value) } }),
        el('datalist', { id: 'guests' }, data.guests.slice(0, 500).map((guest) => el('option', { value: String(guest.vmid) }, guest.name || '')))];
    }

    targetField() {
        const { job } = this.props, { form, fields } = this.state;
        if (job)
            return el('p', { class: 'fact' }, el('span', null, t('form.target')), ' ', el('strong', null, job.target));
        const targets = this.targets();
        if (targets.length > 0 && !targets.includes(form.target))
            form.target = targets[0];
        return field({ id: 'target', label: t('form.target'), kind: 'select', fault: fields.target || (targets.length > 0 ? null : t('form.target.none')),
            control: { required: true, value: form.target, onChange: (event) => this.change('target', event.target.value) },
            options: targets.map((name) => el('option', { value: name }, name)) });
    }

    scheduleField() {
        const { form, fields, next } = this.state, preset = presetOf(form.schedule);
        const hint = [preset >= 0 ? t(`schedule.${preset}`) : t('schedule.own'),
            next.length > 0 ? t('form.next', next.map((one) => timestamp(one.timestamp).slice(0, 16)).join(', ')) : ''].filter(Boolean).join(' · ');
        return [field({ id: 'schedule', label: t('form.schedule'), hint, fault: fields.schedule, control: { value: form.schedule, list: 'schedules',
            placeholder: DEFAULT_SCHEDULE, maxlength: 128, spellcheck: false, autocomplete: 'off',
            onInput: (event) => this.change('schedule', event.target.value) } }),
        el('datalist', { id: 'schedules' }, PRESETS.map((one, i) => el('option', { value: one }, t(`schedule.${i}`))))];
    }

    render({ job, close, guest }, { form, fields, fault, busy, digest }) {
        return el(Dialog, { title: job ? t('form.edit', job.id) : t('form.new'), close },
            el('form', { onSubmit: this.send },
                fault ? el('p', { class: 'banner error', role: 'alert' }, fault) : null,
                job || guest ? el('p', { class: 'fact' }, el('span', null, t('form.guest')), ' ', el('strong', null, String(job ? job.guest : guest))) :
                    this.guestField(),
                this.targetField(),
                this.scheduleField(),
                field({ id: 'rate', label: t('form.rate'), fault: fields.rate, control: { type: 'number', min: 1, step: 'any', value: form.rate,
                    placeholder: t('unlimited'), onInput: (event) => this.change('rate', event.target.value) } }),
                field({ id: 'comment', label: t('form.comment'), fault: fields.comment, control: { value: form.comment, maxlength: 4096,
                    onInput: (event) => this.change('comment', event.target.value) } }),
                field({ id: 'enabled', label: t('form.enabled'), control: { type: 'checkbox', checked: form.enabled,
                    onChange: (event) => this.change('enabled', event.target.checked) } }),
                el('footer', null, el('button', { type: 'button', onClick: close }, t('cancel')),
                    el('button', { type: 'submit', class: 'primary', disabled: busy || Boolean(job && !digest) }, t(job ? 'save' : 'create')))));
    }
}
