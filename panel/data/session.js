/* Who is logged in. The ticket is only in a cookie of our own, beside that of Proxmox VE's panel on the same host: neither panel's log-in is
 * another's end. Who is logged in there and not here is known here. The token against forged requests is in memory, and is had anew with the
 * ticket after a reload. */
import { apiUseToken, call, get } from './api.js';
import { permissionsOf } from './may.js';

const OWN = '__Host-PVESRAuthCookie', OWN_PLAIN = 'PVESRAuthCookie', THEIRS = 'PVEAuthCookie'; // plain: without HTTPS a browser keeps no other
const RENEW = 15 * 60 * 1000; // ms; a ticket is good for two hours

let renewal = null;

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
export function ticketIn(cookies) {
    return [OWN, OWN_PLAIN, THEIRS].map((name) => valueOf(cookies, name)).find((ticket) => ticket !== null) ?? null;
}

/* PVE:USER@REALM:HEX::SIGNATURE; null for anything else, as what a half-done log-in has. */
export function userOf(ticket) {
    const found = /^PVE:([^:!]+@[^:!]+):[0-9A-F]{8}::/.exec(ticket || '');
    return found ? decoded(found[1]) : null;
}

function keep(ticket) {
    const [name, secure] = location.protocol === 'https:' ? [OWN, '; secure'] : [OWN_PLAIN, ''];
    document.cookie = `${name}=${encodeURIComponent(ticket)}; path=/; samesite=strict${secure}`;
}

async function begin(username, password, realm) {
    const { data } = await call('POST', '/access/ticket', { username, password, realm });
    if (!userOf(data.ticket))
        throw new Error('second factor');
    keep(data.ticket);
    apiUseToken(data.CSRFPreventionToken);
    clearTimeout(renewal);
    renewal = setTimeout(() => begin(data.username, ticketIn(document.cookie)).catch(() => {}), RENEW);
    return { user: data.username, cluster: data.clustername || '', may: permissionsOf(await get('/access/permissions')) };
}

export const logIn = begin;

/* The session that the cookie is of, or null. */
export async function resume() {
    const ticket = ticketIn(document.cookie);
    const user = userOf(ticket);
    if (!user)
        return null;
    return begin(user, ticket).catch(() => null);
}

/* The same user's session in Proxmox VE's panel would be taken up again by the next page: it ends, too. */
export function logOut() {
    const cookies = document.cookie, user = userOf(ticketIn(cookies));
    clearTimeout(renewal);
    apiUseToken(null);
    document.cookie = `${OWN}=; path=/; secure; max-age=0`;
    document.cookie = `${OWN_PLAIN}=; path=/; max-age=0`;
    if (userOf(valueOf(cookies, THEIRS)) === user)
        document.cookie = `${THEIRS}=; path=/; max-age=0`;
}
