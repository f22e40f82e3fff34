/* What is seen, as the part of the address behind '#': /datacenter, /node/NAME, /guest/ID, and behind that a page, and what it is of:
 * /datacenter/simulator, /guest/100/job/100-0. */

/* Those that each kind has beside replication, whose name is ''. */
export const PAGES = {
    datacenter: ['', 'risk', 'simulator'],
    node: ['', 'doctor'],
    guest: ['', 'points', 'job'],
};

export const OF_ONE = ['job']; // each is a page of one thing, which the address names

function routeTo(kind, name, page, item) {
    const known = PAGES[kind].includes(page) && OF_ONE.includes(page) === Boolean(item);
    return known ? { kind, name, page, ...(item && { item }) } : { kind, name, page: '' };
}

export function routeOf(hash) {
    const [kind, name, page, item] = hash.replace(/^#?\/?/, '').split('/').map(decoded);
    if (kind === 'node' && name)
        return routeTo(kind, name, page, item);
    if (kind === 'guest' && /^[1-9][0-9]*$/.test(name || ''))
        return routeTo(kind, name, page, item);
    return routeTo('datacenter', '', kind === 'datacenter' ? name : '');
}

export function hashOf(kind, name, page = '', item = '') {
    const place = kind === 'datacenter' ? '#/datacenter' : `#/${kind}/${encodeURIComponent(name)}`;
    return page ? `${place}/${[page, ...(item ? [encodeURIComponent(item)] : [])].join('/')}` : place;
}

function decoded(text) {
    try {
        return decodeURIComponent(text);
    } catch {
        return '';
    }
}
