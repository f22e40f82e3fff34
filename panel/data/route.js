/* What is seen, as the part of the address behind '#': /datacenter, /node/NAME, /guest/ID, and behind that a page: /datacenter/risk. */

/* Those that each kind has beside replication, whose name is ''. */
export const PAGES = {
    datacenter: ['', 'risk'],
    node: [''],
    guest: ['', 'points'],
};

function routeTo(kind, name, page) {
    return { kind, name, page: PAGES[kind].includes(page) ? page : '' };
}

export function routeOf(hash) {
    const [kind, name, page] = hash.replace(/^#?\/?/, '').split('/').map(decoded);
    if (kind === 'node' && name)
        return routeTo(kind, name, page);
    if (kind === 'guest' && /^[1-9][0-9]*$/.test(name || ''))
        return routeTo(kind, name, page);
    return routeTo('datacenter', '', kind === 'datacenter' ? name : '');
}

export function hashOf(kind, name, page = '') {
    const place = kind === 'datacenter' ? '#/datacenter' : `#/${kind}/${encodeURIComponent(name)}`;
    return page ? `${place}/${page}` : place;
}

function decoded(text) {
    try {
        return decodeURIComponent(text);
    } catch {
        return '';
    }
}
