/* What is seen, as the part of the address behind '#': /datacenter, /node/NAME, /guest/ID, and behind that a page and what it is of:
 * /datacenter/schedule, /guest/100/job/100-0. Which pages there are views/pages.js says. */

export function routeOf(hash) {
    const [kind, ...rest] = hash.replace(/^#?\/?/, '').split('/').map(decoded);
    const name = kind === 'datacenter' ? '' : rest.shift();
    if (kind === 'node' && name)
        return withPage({ kind, name }, rest);
    if (kind === 'guest' && /^[1-9][0-9]*$/.test(name || ''))
        return withPage({ kind, name }, rest);
    return withPage({ kind: 'datacenter', name: '' }, kind === 'datacenter' ? rest : []);
}

function withPage(view, [page, item]) {
    return { ...view, ...(page && { page }), ...(page && item && { item }) };
}

export function hashOf(kind, name, page, item) {
    return `#/${[kind, kind === 'datacenter' ? null : name, page, item].filter(Boolean).map(encodeURIComponent).join('/')}`;
}

function decoded(text) {
    try {
        return decodeURIComponent(text);
    } catch {
        return '';
    }
}
