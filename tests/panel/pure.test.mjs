/* The panel's modules that take values and give values: node --test tests/panel/pure.test.mjs. */
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { changesOf, compareJobs, matches, newJob, nextNumber, stateOf, withChange, withStates } from '../../panel/data/jobs.js';
import { duration, timestamp, utc } from '../../panel/data/format.js';
import { hashOf, routeOf } from '../../panel/data/route.js';
import { permissionsOf } from '../../panel/data/may.js';
import { PRESETS, presetOf } from '../../panel/data/schedule.js';
import { encode } from '../../panel/data/api.js';
import { ticketIn, userOf } from '../../panel/data/session.js';
import en from '../../panel/words/en.js';
import de from '../../panel/words/de.js';
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
], (job, state) => assert.equal(stateOf(job), state)));

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
    for (const [kind, name] of [['datacenter', ''], ['node', 'pve-1'], ['guest', '100']])
        assert.deepEqual(routeOf(hashOf(kind, name)), { kind, name });
    for (const hash of ['', '#', '#/x/y', '#/guest/x', '#/guest/../1', '#/node/', '#/node/%zz'])
        assert.equal(routeOf(hash).kind, 'datacenter', hash);
});

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
