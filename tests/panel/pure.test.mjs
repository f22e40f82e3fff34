/* The panel's modules that take values and give values: node --test tests/panel/pure.test.mjs. */
import { mock, test } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { changesOf, compareJobs, matches, newJob, nextNumber, notesOf, stateOf, withChange, withStates } from '../../panel/data/jobs.js';
import { bytes, duration, iso, timestamp, utc } from '../../panel/data/format.js';
import { hashOf, routeOf } from '../../panel/data/route.js';
import { alarmOf, byPain, inDanger, pointState, sizeOf, targetsOf } from '../../panel/data/risk.js';
import { permissionsOf } from '../../panel/data/may.js';
import { gapsOf, PRESETS, presetOf } from '../../panel/data/schedule.js';
import { encode } from '../../panel/data/api.js';
import { logOut, resume, ticketIn, userOf } from '../../panel/data/session.js';
import en from '../../panel/words/en.js';
import de from '../../panel/words/de.js';
import { dayAndTime } from '../../panel/data/format.js';
import { commandsOf } from '../../panel/data/findings.js';
import { mergedLog, planOf, progressOf, roundUp, seriesOf, SIZE_UNITS, startOf, stepOf, TIME_UNITS } from '../../panel/data/runs.js';
import { languageOf, t, useLanguage } from '../../panel/words/words.js';

const rows = (cases, check) => cases.forEach((one) => check(...one));

test('the state of a job', () => rows([
    [{ pid: 1, error: 'x', last_sync: 1 }, 'running'],
    [{ error: 'x', remove_job: 'full', last_sync: 1 }, 'error'],
    [{ remove_job: 'full', last_sync: 1 }, 'removal'],
    [{ disable: 1, last_sync: 1 }, 'disabled'],
    [{}, 'unknown'],
    [{ last_sync: 0 }, 'waiting'],
    [{ last_sync: 5 }, 'ok'],
    [{ last_sync: 5, overdue: 9 }, 'overdue'],
    [{ last_sync: 0, overdue: 9 }, 'overdue'],
    [{ last_sync: 5, differs: 'x', overdue: 9 }, 'overdue'],
    [{ last_sync: 5, differs: 'x' }, 'differs'],
    [{ last_sync: 5, overdue: 9, error: 'x' }, 'error'],
], (job, state) => assert.equal(stateOf(job), state)));

test('what is to be known beside the state', () => rows([
    [{ last_sync: 5 }, []],
    [{ last_sync: 5, overdue: 9, differs: 'x' }, ['state.differs']],
    [{ pid: 1, overdue: 9, postponed: 2, kept_aside: [] }, ['state.overdue']],
    [{ last_sync: 5, error: 'x', overdue: 9, differs: 'x', postponed: 3, kept_aside: ['a', 'b'] },
        ['state.overdue', 'state.differs', 'note.kept 2', 'note.postponed 3']],
], (job, notes) => {
    assert.deepEqual(notesOf(job).map((note) => note.join(' ')), notes);
    for (const [key] of notesOf(job))
        assert.ok(en[key] && de[key], key);
}));

test('numbers and order', () => {
    const jobs = [{ guest: 100, jobnum: 10 }, { guest: 100, jobnum: 2 }, { guest: 99, jobnum: 7 }];
    assert.equal(nextNumber(jobs, '100'), 11);
    assert.equal(nextNumber(jobs, 101), 0);
    assert.deepEqual(jobs.sort(compareJobs).map((job) => job.jobnum), [7, 2, 10]);
});

test('states are added to the jobs that there are', () => {
    assert.deepEqual(withStates([{ id: 'a', target: 'x' }, { id: 'b' }], [{ id: 'a', pid: 1 }, { id: 'c' }]), [{ id: 'a', target: 'x', pid: 1 }, { id: 'b' }]);
});

test('a change of a job that is told', () => {
    const [a, b] = [{ id: '100-0', guest: 100, jobnum: 0, error: 'x', last_sync: 1 }, { id: '101-0', guest: 101, jobnum: 0, last_sync: 1 }];
    const better = { id: '100-0', guest: 100, jobnum: 0, last_sync: 2 }, added = { id: '100-1', guest: 100, jobnum: 1, last_sync: 0 };
    assert.deepEqual(withChange([a, b], 'changed', better), [better, b]); // what it has no more is gone
    assert.deepEqual(withChange([a, b], 'added', added), [a, added, b]);
    assert.deepEqual(withChange([a, b], 'removed', { id: '100-0', guest: 100 }), [b]);
    assert.deepEqual(withChange([b], 'removed', { id: '100-0', guest: 100 }), [b]);
    assert.equal(withChange([a, b], 'changed', { id: '100-0', guest: 100, jobnum: 0 }), null); // of a node that we do not hear
});

test('the filter', () => rows([
    ['', true], ['100', true], ['SHOP pve2', true], ['shop pve3', false], ['web', true],
], (words, found) => assert.equal(matches({ id: '100-0', target: 'pve2', comment: 'the shop' }, words, 'web'), found)));

const form = { schedule: '', rate: '', comment: '', enabled: true };

test('what an edit sends', () => rows([
    [{}, {}, {}],
    [{ schedule: '*/30', rate: 5, comment: 'a', disable: 1 }, {}, { delete: 'schedule,rate,comment,disable' }],
    [{}, { schedule: '*/15' }, {}],
    [{ rate: 5 }, { rate: '5' }, {}],
    [{}, { schedule: 'daily', rate: '2.5', comment: 'b', enabled: false }, { schedule: 'daily', rate: '2.5', comment: 'b', disable: 1 }],
], (job, more, sent) => assert.deepEqual(changesOf(job, { ...form, ...more }), sent)));

test('what a new job sends', () => {
    const made = newJob({ ...form, guest: '100', target: 'pve2', schedule: '*/15' }, [{ guest: 100, jobnum: 0 }]);
    assert.equal(String(encode(made)), 'id=100-1&type=local&target=pve2');
    assert.equal(String(encode({ a: true, b: false, c: null, d: 0, e: '' })), 'a=1&b=0&d=0&e=');
});

test('durations', () => rows([
    [0.5, '0.5 s'], [3.214567, '3.2 s'], [59.6, '1 min'], [125, '2 min 5 s'], [3600, '1 h'], [3725, '1 h 2 min'], [93600, '1 d 2 h'], [86405, '1 d'],
], (seconds, text) => assert.equal(duration(seconds, 'en'), text)));

test('times', () => {
    process.env.TZ = 'Europe/Vienna';
    assert.equal(timestamp(1767225603), '2026-01-01 01:00:03');
    assert.equal(utc(1767225603), '2026-01-01 00:00:03 UTC');
});

test('addresses', () => {
    for (const [kind, name, page] of [['datacenter', '', ''], ['node', 'pve-1', ''], ['guest', '100', ''], ['datacenter', '', 'risk'], ['guest', '100', 'points']])
        assert.deepEqual(routeOf(hashOf(kind, name, page)), { kind, name, page });
    for (const hash of ['#/datacenter/points', '#/guest/100/risk', '#/node/pve1/risk', '#/guest/100/constructor', '#/datacenter/'])
        assert.equal(routeOf(hash).page, '', hash);
    for (const hash of ['', '#', '#/x/y', '#/guest/x', '#/guest/../1', '#/node/', '#/node/%zz'])
        assert.equal(routeOf(hash).kind, 'datacenter', hash);
});

test('who has most to lose', () => {
    const row = (guest, age, more = {}) => ({ guest, node: 'a', state: age === undefined ? 'never' : 'ok', 'left-out': [],
        ...(age !== undefined && { newest: 1, age, allowed: 100 }), ...more });
    const order = (list) => byPain(list).map((one) => `${one.guest} ${one.age}`);
    assert.deepEqual(order([row(1, 50), row(2, 200), row(3)]), ['3 undefined', '2 200', '1 50']);
    // the best target of a guest counts, and comes first
    assert.deepEqual(order([row(1, 900), row(1, 10), row(2, 20), row(1)]), ['2 20', '1 10', '1 900', '1 undefined']);
    assert.deepEqual(order([row(2, 300), row(1, 30, { allowed: undefined })]), ['2 300', '1 30']);
    assert.deepEqual(byPain([row(1, 1), row(2)]).map((one) => one.rank), [0, 1]);
    assert.equal(new Set(byPain([row(1), row(1, 1, { node: 'b' }), row(1, 2, { job: '1-0' })]).map((one) => one.id)).size, 3);
    assert.deepEqual([...inDanger([row(1, 1), row(1), row(2), row(3, 1, { state: 'OVERDUE' }), row(4, 1, { state: 'disabled' })])], [2, 3]);
    rows([[row(1, 1), 'good'], [row(1), 'bad'], [row(1, 1, { state: 'disabled' }), 'calm'], [row(1, 1, { state: 'faulty' }), 'warn'],
        [row(1, 1, { 'left-out': ['x:y'] }), 'warn'], [row(1, 1, { error: 'x' }), 'warn']], (one, alarm) => assert.equal(alarmOf(one), alarm));
});

test('restore points', () => {
    const point = (volumes, more = {}) => ({ aside: false, volumes: volumes.map((one) => ({ readable: true, changed: false, shown: false, size: 1, ...one })), ...more });
    rows([[point([{}]), 'whole'], [point([{ shown: true }, {}]), 'shown'], [point([{ shown: true, changed: true }]), 'changed'], [point([{}], { lacks: ['x'] }), 'part'],
        [point([{ changed: true }], { aside: true }), 'aside'], [point([{ damaged: 7 }], { aside: true }), 'damaged'], [point([{ readable: false }]), 'nodata']],
    (one, state) => assert.equal(pointState(one), state));
    assert.equal(sizeOf(point([{}, { size: 5 }])), 6);
    assert.deepEqual(targetsOf([{ guest: 1, target: 'b' }, { guest: 1, target: 'a' }, { guest: 1, target: 'b' }, { guest: 2, target: 'c' }], '1'), ['a', 'b']);
});

test('sizes', () => rows([[0, '0 B'], [1023, '1,023 B'], [1536, '1.5 KiB'], [3 * 2 ** 30, '3 GiB'], [2 ** 62, '4,096 PiB']],
    (count, text) => assert.equal(bytes(count, 'en'), text)));

test('who may', () => rows([
    [{ '/': { A: 1 } }, '/vms/100', true],
    [{ '/': { A: 0 } }, '/vms/100', false],
    [{ '/': { A: 0 } }, '/', true],
    [{ '/': { A: 1 }, '/vms/100': { B: 1 } }, '/vms/100', false],
    [{ '/': { A: 1 }, '/vms': {} }, '/vms/100', false],
    [{ '/vms/100': { A: 0 } }, '/vms/100', true],
    [{ '/vms/1': { A: 1 } }, '/vms/100', false],
    [{}, '/vms/100', false],
    [null, '/', false],
], (paths, path, may) => assert.equal(permissionsOf(paths).may('A', path), may)));

test('on some guest', () => {
    assert.equal(permissionsOf({ '/': {}, '/vms': {}, '/vms/7': { A: 0 } }).mayOnSome('A'), true);
    assert.equal(permissionsOf({ '/': {}, '/nodes': { A: 1 } }).mayOnSome('A'), false);
});

test('schedules', () => {
    PRESETS.forEach((schedule, i) => assert.equal(presetOf(schedule), i));
    rows([['', 0], [undefined, 0], [' MON..FRI   00:00 ', 5], ['daily', -1]], (text, i) => assert.equal(presetOf(text), i));
    PRESETS.forEach((_, i) => assert.ok(en[`schedule.${i}`]));
});

test('tickets', () => {
    assert.equal(ticketIn('a=b; PVEAuthCookie=PVE%3Aroot%40pam%3A6955B900%3A%3Ac2ln%3D'), 'PVE:root@pam:6955B900::c2ln=');
    assert.equal(ticketIn('a=b'), null);
    assert.equal(ticketIn('PVEAuthCookie=theirs; __Host-PVESRAuthCookie=own'), 'own');
    assert.equal(ticketIn('PVEAuthCookie=theirs; __Host-PVESRAuthCookie='), '');
    rows([['PVE:root@pam:6955B900::x', 'root@pam'], ['PVE:!tfa!root@pam:6955B900::x', null], ['', null], [null, null]],
        (ticket, user) => assert.equal(userOf(ticket), user));
});

test('addresses of pages', () => rows([
    ['#/datacenter/simulator', { kind: 'datacenter', name: '', page: 'simulator' }],
    ['#/node/pve1/doctor', { kind: 'node', name: 'pve1', page: 'doctor' }],
    ['#/guest/100/job/100-0', { kind: 'guest', name: '100', page: 'job', item: '100-0' }],
], (hash, view) => {
    assert.deepEqual(routeOf(hash), view);
    assert.equal(hashOf(view.kind, view.name, view.page, view.item), hash);
}));

test('addresses of no page', () => {
    for (const hash of ['#/datacenter/doctor', '#/guest/100/job', '#/node/pve1/doctor/x', '#/node/pve1/job/100-0', '#/guest/100/constructor'])
        assert.equal(routeOf(hash).page, '', hash);
});

test('days', () => {
    assert.equal(dayAndTime(1767225603, 'de'), 'Do 2026-01-01 01:00:03');
});

const stamped = (texts) => texts.map((text) => `2026-01-01 00:00:03 100-0: ${text}`);
const asRows = (texts) => texts.map((text) => ({ t: text }));

test('how far a run is', () => rows([
    [[], null],
    [['start replication job', 'volumes => st:a,st:b'], null],
    [['volumes => st:a,st:b', 'st:a: 1.2 MiB sent, 300.0 KiB/s, 42 %, 125 s left'],
        { volume: 'st:a', sent: '1.2 MiB', rate: '300.0 KiB/s', percent: 42, left: 125, done: 0, of: 2 }],
    [['volumes => st:a,st:b', 'st:a: 1 B sent, 2 B/s, 0 %, 9 s left', 'st:a: 3 B sent in 1.0 s'], null],
    [['volumes => st:a,st:b', 'st:a: 3 B sent in 1.0 s', 'st:b: 512 B sent, 5.0 TiB/s'], { volume: 'st:b', sent: '512 B', rate: '5.0 TiB/s', done: 1, of: 2 }],
    [['st:a: 512 B sent, 5.0 TiB/s'], { volume: 'st:a', sent: '512 B', rate: '5.0 TiB/s', done: 0, of: 1 }],
], (texts, far) => assert.deepEqual(progressOf(stamped(texts)), far)));

test('a log that grows', () => {
    rows([[[], 0], [['a'], 0], [['a', 'b'], 1]], (known, start) => assert.equal(startOf(known), start));
    rows([
        [[], ['a', 'b'], 2, ['a', 'b']],
        [['a', 'b'], ['b'], 2, ['a', 'b']],
        [['a', 'b'], ['b', 'c'], 3, ['a', 'b', 'c']],
        [['a', 'b'], ['x', 'c'], 3, null], // another run's
        [['a', 'b'], [], 1, null],
    ], (known, more, total, lines) => assert.deepEqual(mergedLog(known, asRows(more), total), lines));
});

test('what plots show', () => {
    const runs = [{ start: 400, result: 'running' }, { start: 300, result: 'failed', duration: 5, bytes: 1, delta: 1 }, { start: 250, result: 'verified', duration: 9 },
        { start: 200, result: 'ok', duration: 20, bytes: 50, delta: 90, steps: [{ name: 'look', seconds: 15 }, { name: 'transfer', seconds: 5 }] },
        { start: 150, result: 'interrupted' }, { start: 100, result: 'ok', duration: 10, bytes: 0, delta: 0 }];
    assert.deepEqual(seriesOf(runs, 500), {
        age: [{ at: 110, value: 10 }, { at: 220, value: 120, peak: true }, { at: 220, value: 20 }, { at: 500, value: 300, peak: true }],
        duration: [{ at: 100, value: 10, bad: false }, { at: 200, value: 20, bad: false }, { at: 300, value: 5, bad: true }],
        delta: [{ at: 100, value: 0 }, { at: 200, value: 90 }],
        rate: [{ at: 200, value: 10 }],
    });
    assert.deepEqual(seriesOf([], 500), { age: [], duration: [], delta: [], rate: [] });
});

test('the ends of axes', () => {
    rows([[0, 1], [0.3, 0.5], [4.1, 5], [22, 60], [45, 60], [61, 120], [2700, 3600], [11 * 3600, 86400], [40 * 86400, 50 * 86400]],
        (value, end) => assert.equal(roundUp(value, TIME_UNITS), end, String(value)));
    rows([[1, 1], [300, 500], [854 * 2 ** 20, 2 ** 30], [3 * 2 ** 30, 5 * 2 ** 30]], (value, end) => assert.equal(roundUp(value, SIZE_UNITS), end, String(value)));
});

test('a plan', () => {
    assert.deepEqual(planOf(['job 100-0: guest 100 from a to b, last sync 0', 'note: x', 'st:a', "  take snapshot 's'", '  send s', 'st:b', "destroy 'st:c' on the target", "keep 'st:d' on the target"]), {
        notes: ['note: x', "destroy 'st:c' on the target", "keep 'st:d' on the target"],
        volumes: [{ name: 'st:a', lines: ["take snapshot 's'", 'send s'] }, { name: 'st:b', lines: [] }],
    });
    assert.deepEqual(planOf([]), { notes: [], volumes: [] });
});

/* Each text of pvesr's plan, and what the panel makes of it. */
const SAID = [
    ["take snapshot 's'", [['plan.take', 's']], "  take snapshot '%s'\\n"],
    ['send a => b', [['plan.delta', 'a', 'b']], '  send %s => %s%s\\n'],
    ['send a => b (resumed)', [['plan.delta', 'a', 'b'], ['plan.resumed']], ' (resumed)'],
    ['send a in full: the target does not have the volume', [['plan.full', 'a'], ['plan.why.none']], '  send %s %s%s: %s\\n', 'in full', 'the target does not have the volume'],
    ['send a in full (resumed): the target has no usable snapshot', [['plan.full', 'a'], ['plan.resumed'], ['plan.why.unusable']], 'the target has no usable snapshot'],
    ['send a in full: to take the place of the replica', [['plan.full', 'a'], ['plan.why.anew']], 'to take the place of the replica'],
    ['send a by digests (resumed): what differs from the replica, which is kept aside if it is of value', [['plan.digests', 'a'], ['plan.resumed'], ['plan.why.differs']],
        'by digests', 'what differs from the replica, which is kept aside if it is of value'],
    ["remove stale snapshot 'a' here", [['plan.stale.here', 'a']], "  %s '%s' %s\\n", 'remove stale snapshot'],
    ["remove stale snapshot 'a' on the target", [['plan.stale.there', 'a']], 'on the target'],
    ["then remove 'a' here", [['plan.remove.here', 'a']], 'then remove'],
    ["remove 'a' here", [['plan.remove.here', 'a']]],
    ["then remove 'a' on the target", [['plan.remove.there', 'a']]],
    ['destroy the unfinished copy on the target', [['plan.destroy.part']], '  destroy the unfinished copy on the target\\n'],
    ["destroy 'st:x' on the target: the guest no longer has it", [['plan.destroy.gone', 'st:x']], "destroy '%s' on the target: the guest no longer has it\\n"],
    ["destroy 'st:x' on the target: the job is removed", [['plan.destroy.removed', 'st:x']], "destroy '%s' on the target: the job is removed\\n"],
    ['note: the run would be postponed: a disk is busy', [['plan.postponed', 'a disk is busy']], 'note: the run would be postponed: %s\\n'],
    ["keep 'st:x' on the target: it is of a former job '100-0', older than this one", [['plan.keep.former', 'st:x', '100-0']],
        "keep '%s' on the target: it is of a former job '%s', older than this one\\n"],
    ['note: the replica was written to on the target: that state is kept aside', null, '  note: %s\\n', 'note: %s\\n'],
];

test('the steps of a plan in words', () => {
    for (const [line, said] of SAID) {
        assert.deepEqual(stepOf(line), said, line);
        for (const [key] of said || [])
            assert.ok(en[key] && de[key], key);
    }
    // pvesr says nothing in its plan for which there are no words here, but the first line, which the page does not show
    const source = readFileSync(new URL('../../src/run/source/sync-tell.c', import.meta.url), 'utf8').replace(/"\s*(PRI\w+)\s*"/g, '$1');
    const texts = [...source.matchAll(/"((?:[^"\\\n]|\\.)*)"/g)].map(([, text]) => text).filter((text) => / [a-z%]/.test(text) && !text.startsWith('job %s'));
    const known = new Set(SAID.flatMap(([, , ...all]) => all));
    assert.deepEqual(texts.filter((text) => !known.has(text)), []);
});

test('commands of findings', () => rows([
    [{ guest: 100, state: 'left', text: "'__replicate_100-0_1__': no job" }, ['pvesr doctor --guest 100 --repair']],
    [{ guest: 100, state: 'kept', text: "until somebody removes it: 'pvesm free st:100/x'" }, ['pvesm free st:100/x']],
    [{ guest: 0, state: 'takeover', text: "on: 'rm' and 'x y'" }, []],
], (finding, commands) => assert.deepEqual(commandsOf(finding), commands)));

test('gaps of a schedule', () => rows([[[], null], [[5], null], [[0, 10, 40], [10, 30]]],
    (times, gaps) => assert.deepEqual(gapsOf(times.map((timestamp) => ({ timestamp }))), gaps)));

test('both languages say all, with the same gaps', () => {
    const gaps = (text) => [...text.matchAll(/\{\d\}/g)].map(String).sort().join();
    assert.deepEqual(Object.keys(de), Object.keys(en));
    for (const key of Object.keys(en))
        assert.equal(gaps(de[key]), gaps(en[key]), key);
    assert.equal(languageOf(['fr-FR', 'de-AT']), 'de');
    assert.equal(languageOf([]), 'en');
    useLanguage('de');
    assert.equal(t('count', 3), '3 Jobs');
    useLanguage('xx');
    assert.equal(t('count', 3), '3 jobs');
});

test('a moment that is no date is shown as it came', () => rows([1e14, Infinity, NaN, 'soon'].map((one) => [one]), (moment) => {
    assert.equal(iso(moment), null);
    for (const shown of [timestamp, utc, (at) => dayAndTime(at, 'en')])
        assert.equal(shown(moment), String(moment));
}));

test('what a server says is no key, and stays as it is', () => {
    for (const said of ['constructor', 'toString', '__proto__', "no volume '{0}' of {1}"])
        assert.equal(t(said), said);
    assert.match(t('failed', "volume '{0}' $&"), /volume '\{0\}' \$&/);
});

/* A browser as far as a session needs one. tickets: what the server takes for a log-in, and gives for it. */
function browser(jar, tickets) {
    const world = { asked: 0, away: false };
    globalThis.location = { protocol: 'https:' };
    globalThis.document = {
        get cookie() {
            return Object.entries(jar).map(([name, value]) => `${name}=${value}`).join('; ');
        },
        set cookie(text) {
            const [pair, ...more] = text.split(';'), at = pair.indexOf('=');
            if (more.some((one) => one.trim() === 'max-age=0'))
                delete jar[pair.slice(0, at)];
            else
                jar[pair.slice(0, at)] = pair.slice(at + 1);
        },
    };
    globalThis.fetch = async (path, { body }) => {
        if (world.away)
            throw new TypeError('nobody there');
        if (!path.endsWith('/access/ticket'))
            return { ok: true, status: 200, json: async () => ({ data: {} }) };
        world.asked++;
        await world.slow;
        const ticket = tickets[body.get('password')];
        return { ok: Boolean(ticket), status: ticket ? 200 : 401, json: async () => ({ data: ticket ? { ticket, username: 'root@pam', CSRFPreventionToken: 'x' } : null }) };
    };
    return world;
}

const OLD = 'PVE:root@pam:00000001::old', GOOD = 'PVE:root@pam:00000002::good', NEW = 'PVE:root@pam:00000003::new', OWN_COOKIE = '__Host-PVESRAuthCookie';

test('an old ticket of our own does not hide that one is logged in beside', async () => {
    const jar = { [OWN_COOKIE]: OLD, PVEAuthCookie: GOOD };
    browser(jar, { [GOOD]: NEW });
    assert.equal((await resume())?.user, 'root@pam');
    assert.equal(decodeURIComponent(jar[OWN_COOKIE]), NEW);
    logOut();
    jar[OWN_COOKIE] = OLD;
    assert.equal(await resume(), null);
});

async function pass(minutes) {
    for (let i = 0; i < minutes; i++) {
        mock.timers.tick(60000);
        await new Promise((then) => setImmediate(then));
    }
}

test('a ticket is renewed again and again, also behind a time in which nobody answered, and not behind a log-out', async () => {
    mock.timers.enable({ apis: ['setTimeout'] });
    const jar = { [OWN_COOKIE]: GOOD }, world = browser(jar, { [GOOD]: NEW, [NEW]: NEW });
    await resume();
    await pass(16);
    assert.equal(world.asked, 2);
    world.away = true;
    await pass(20);
    world.away = false;
    await pass(2);
    assert.equal(world.asked, 3);
    let answer;
    world.slow = new Promise((then) => { answer = then; });
    await pass(16);
    assert.equal(world.asked, 4);
    logOut();
    answer();
    await pass(60);
    assert.deepEqual([world.asked, jar], [4, {}]);
    mock.timers.reset();
});
