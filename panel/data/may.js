/* What the caller may, from GET /access/permissions: path → privilege → whether it is true below, too. What a deeper path says replaces what
 * the ones above it say. */

function above(path) {
    const cut = path.lastIndexOf('/');
    return cut > 0 ? path.slice(0, cut) : '/';
}

class Permissions {
    constructor(paths) {
        this.paths = paths || {};
    }

    may(privilege, path) {
        for (let at = path; ; at = above(at)) {
            const given = this.paths[at];
            if (given)
                return at === path ? given[privilege] !== undefined : Boolean(given[privilege]);
            if (at === '/')
                return false;
        }
    }

    /* On one guest at least. */
    mayOnSome(privilege) {
        return this.may(privilege, '/vms') ||
            Object.keys(this.paths).some((path) => path.startsWith('/vms/') && this.may(privilege, path));
    }
}

export const permissionsOf = (paths) => new Permissions(paths);
export const guestPath = (guest) => `/vms/${guest}`;
