/* What is left over of replication on a node, and what a person can do about it. Props: view, may. */
import { el, Component } from '../parts/dom.js';
import { icon } from '../parts/icons.js';
import { call, LONG, part } from '../data/api.js';
import { commandsOf } from '../data/findings.js';
import { t } from '../words/words.js';

export const mayExamine = (may, view) => may.may('Sys.Modify', `/nodes/${view.name}`);

const LOOK = { ended: 'ok', removed: 'ok', left: 'removal', kept: 'waiting', takeover: 'unknown' };

function command(text) {
    const copy = navigator.clipboard && (() => navigator.clipboard.writeText(text));
    return el('p', { class: 'command', key: text }, el('code', null, text),
        copy ? el('button', { type: 'button', class: 'plain', 'aria-label': t('copy', text), title: t('copy', text), onClick: copy }, icon('copy')) : null);
}

function row(finding, i) {
    const state = LOOK[finding.state] || 'unknown';
    return el('li', { key: i, class: 'finding' },
        el('p', null, el('span', { class: `state ${state}` }, icon(state), t(`doctor.${finding.state}`)),
            finding.volid === '-' ? null : el('strong', null, finding.volid)),
        el('p', { class: 'text' }, finding.text),
        commandsOf(finding).map(command));
}

export class Doctor extends Component {
    constructor(props) {
        super(props);
        this.state = { busy: false, found: null, fault: null };
        this.examine = this.examine.bind(this);
    }

    componentWillUnmount() {
        this.gone = true;
    }

    async examine() {
        this.setState({ busy: true, fault: null });
        let after;
        try {
            after = { found: (await call('POST', `/nodes/${part(this.props.view.name)}/doctor`, {}, LONG)).data };
        } catch (e) {
            after = { fault: t('failed', t(e.message)) };
        }
        if (!this.gone)
            this.setState({ busy: false, ...after });
    }

    findings({ found, busy }) {
        if (busy)
            return el('p', { class: 'calm', role: 'status' }, icon('running'), ' ', t('doctor.busy'));
        if (!found)
            return null;
        return [found.warnings.map((text) => el('p', { class: 'banner warning', key: text }, text)),
            el('p', { role: 'status' }, found.findings.length === 0 ? t('doctor.nothing') : t('doctor.count', found.findings.length)),
            el('ul', { class: 'findings' }, found.findings.map(row))];
    }

    render({ view, may }, state) {
        if (!mayExamine(may, view))
            return el('p', { class: 'calm' }, t('doctor.not'));
        return el('section', { class: 'page', 'aria-label': t('doctor') },
            el('p', null, t('doctor.what', view.name)),
            el('p', null, el('button', { type: 'button', class: 'primary', disabled: state.busy, onClick: this.examine }, t('doctor.look'))),
            state.fault ? el('p', { class: 'banner error', role: 'alert' }, state.fault) : null,
            this.findings(state));
    }
}
