/* What is seen, as the part of the address behind '#': /datacenter, /node/NAME, /guest/ID. */

export function routeOf(hash) {
    const [kind, name] = hash.replace(/^#?\/?/, '').split('/').map(decoded);
    if (kind === 'node' && name)
        return { kind, name };
    if (kind === 'guest' && /^[1-9][0-9]*$/.test(name || ''))
        return { kind, name };
    return { kind: 'datacenter', name: '' };
}

export function hashOf(kind, name) {
    return kind === 'datacenter' ? '#/datacenter' : `#/${kind}/${encodeURIComponent(name)}`;
}

function decoded(text) {
    try {
        return decodeURIComponent(text);
    } catch {
        return '';
    }
}
