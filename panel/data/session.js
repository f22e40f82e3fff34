/* Who is logged in. The ticket is only in a cookie of our own, beside that of Proxmox VE's panel on the same host: neither panel's log-in is
 * another's end. Who is logged in there and not here is known here. The token against forged requests is in memory, and is had anew with the
 * ticket after a reload. */
import { apiUseToken, call, get } from './api.js';
import { permissionsOf } from './may.js';

const OWN = '__Host-PVESRAuthCookie', OWN_PLAIN = 'PVESRAuthCookie', THEIRS = 'PVEAuthCookie'; // plain: without HTTPS a browser keeps no other
const RENEW = 15 * 60 * 1000; // ms; a ticket is good for two hours
const AGAIN = 60 * 1000; // ms; where nobody answered, as when a laptop wakes up

const OVER = new Error('logged out meanwhile');

let renewal = null, logOuts = 0;

/* null: whoever set it wrote no such text. */
function decoded(text) {
    try {
        return decodeURIComponent(text);
    } catch {
        return null;
    }
}

function valueOf(cookies, wanted) {
    for (const one of cookies.split(';')) {
        const [name, ...value] = one.trim().split('=');
        if (name === wanted)
            return decoded(value.join('='));
    }
    return null;
}

/* In the order in which the server looks at them; the plain one is of a server without HTTPS, which pvesrd is not. */
const ticketsIn = (cookies) => [OWN, OWN_PLAIN, THEIRS].map((name) => valueOf(cookies, name)).filter((ticket) => ticket !== null);

export const ticketIn = (cookies) => ticketsIn(cookies)[0] ?? null;

/* PVE:USER@REALM:HEX::SIGNATURE; null for anything else, as what a half-done log-in has. */
export function userOf(ticket) {
    const found = /^PVE:([^:!]+@[^:!]+):[0-9A-F]{8}::/.exec(ticket || '');
    return found ? decoded(found[1]) : null;
}

function keep(ticket) {
    const [name, secure] = location.protocol === 'https:' ? [OWN, '; secure'] : [OWN_PLAIN, ''];
    document.cookie = `${name}=${encodeURIComponent(ticket)}; path=/; samesite=strict${secure}`;
}

/* A ticket that is not good any more is not asked for again; whoever sends it next is told so. */
function renewIn(pause, user) {
    clearTimeout(renewal);
    renewal = setTimeout(() => begin(user, ticketIn(document.cookie)).catch((e) => e.status === 401 || e === OVER || renewIn(AGAIN, user)), pause);
}

async function begin(username, password, realm) {
    const before = logOuts;
    const { data } = await call('POST', '/access/ticket', { username, password, realm });
    if (before !== logOuts)
        throw OVER;
    if (!userOf(data.ticket))
        throw new Error('second factor');
    keep(data.ticket);
    apiUseToken(data.CSRFPreventionToken);
    renewIn(RENEW, data.username);
    return { user: data.username, cluster: data.clustername || '', may: await rights() };
}

/* As they are now: somebody may change them meanwhile. */
export const rights = async () => permissionsOf(await get('/access/permissions'));

export const logIn = begin;

/* The session that a cookie is of, or null. One of our own that is too old does not hide that whoever it was is logged in at the node's panel. */
export async function resume() {
    for (const ticket of ticketsIn(document.cookie)) {
        const user = userOf(ticket), session = user && await begin(user, ticket).catch(() => null);
        if (session)
            return session;
    }
    return null;
}

/* The same user's session in Proxmox VE's panel would be taken up again by the next page: it ends, too. */
export function logOut() {
    const cookies = document.cookie, user = userOf(ticketIn(cookies));
    logOuts++;
    clearTimeout(renewal);
    apiUseToken(null);
    document.cookie = `${OWN}=; path=/; secure; max-age=0`;
    document.cookie = `${OWN_PLAIN}=; path=/; max-age=0`;
    if (userOf(valueOf(cookies, THEIRS)) === user)
        document.cookie = `${THEIRS}=; path=/; max-age=0`;
}
