/* node bynpm.mjs MODULES HOST PORT USER[!TOKEN]: what users of npm's proxmox-api, as it is, do with the jobs of guest 100. The password, or the
 * token's secret, is read from stdin. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

const [modules, host, port, who] = process.argv.slice(2);
const secret = readFileSync(0, 'utf8');
const { default: proxmoxApi } = createRequire(join(modules, 'package.json'))('proxmox-api');
const how = who.includes('!') ? { tokenID: who, tokenSecret: secret } : { username: who, password: secret };
const proxmox = proxmoxApi({ host, port: Number(port), ...how });
const jobs = proxmox.cluster.replication, job = jobs.$('100-0'), there = proxmox.nodes.$('pve1').replication.$('100-0');

async function waitFor(what, condition) {
    for (const end = Date.now() + 120000; !await condition(); await setTimeout(50))
        assert(Date.now() < end, `${what} did not come`);
}

assert((await proxmox.version.$get()).release);
assert.deepEqual((await proxmox.nodes.$get()).map(({ node }) => node).sort(), ['pve1', 'pve2']);
assert((await proxmox.nodes.$('pve1').qemu.$get()).some(({ vmid }) => vmid === 100));
await jobs.$post({ id: '100-0', target: 'pve2', type: 'local', schedule: '*/30', comment: 'by npm', disable: false });
const found = await jobs.$get();
assert(found.length === 1 && found[0].comment === 'by npm' && found[0].source === 'pve1' && found[0].guest === 100, JSON.stringify(found));
await assert.rejects(jobs.$post({ id: '100-0', target: 'pve2', type: 'local' }), /Error 500 .*already/);
await assert.rejects(jobs.$post({ id: '100-1', target: 'pve2', type: 'local', schedule: 'sometimes' }), /Error 400 .*schedule/);
await waitFor('the first run', async () => (await there.status.$get()).last_sync > 0);
await job.$put({ rate: 9, delete: 'comment' });
const changed = await job.$get();
assert(changed.rate === 9 && !('comment' in changed), JSON.stringify(changed));
await waitFor('its end', async () => !('pid' in await there.status.$get()));
const before = (await there.status.$get()).last_sync;
await waitFor('another second', () => Date.now() / 1000 > before + 1);
await there.schedule_now.$post();
await waitFor('the second run', async () => (await there.status.$get()).last_sync > before);
const log = await there.log.$get({ limit: 0 });
assert(log[0].n === 1 && log[0].t.includes('start replication job'), JSON.stringify(log));
await job.$delete();
await waitFor('the removal', async () => (await jobs.$get()).length === 0);
