/* The entries of the access list, packed for questions. Knows paths, roles and who by number, but no names of
 * users. */
#pragma once

#include "access/privilege.h"
#include "access/users.h"
#include "base/lookup.h"

#include <stdint.h>

/* What one place gives: privileges, and these two. */
#define ACL_GIVEN ((privileges)1 << 62)     /* something is given, be it a role that may nothing */
#define ACL_NO_ACCESS ((privileges)1 << 63) /* NoAccess is among it */

struct acl_grant { /* one role of one line */
    uint32_t path, who, role, order;
    privileges may;
    bool propagates;
};

struct acl_entry { /* what somebody is given at a path */
    uint32_t path, who;
    privileges below, here; /* what propagates; what does not */
};

struct acl {
    struct lookup paths; /* normalised path → number */
    struct strv names;   /* … and back */
    struct acl_grant *grants;
    size_t n_grants;
    struct acl_entry *entries; /* ascending by path, then who */
    size_t *first;             /* of each path's entries; one more than there are paths */
};

#define ACL_GRANTS_MAX 500000

void acl_release(struct acl *a);
/* `role` tells roles apart: of two entries of one role for one who at one path the last one counts. False:
 * too many. */
bool acl_add(struct acl *a, const char *path, uint32_t who, uint32_t role, privileges may, bool propagates);
/* Once, after the last acl_add and before the first question. */
void acl_pack(struct acl *a);

/* What the path itself gives all of `who` together; only what propagates unless `last`. 0: nothing. */
privileges acl_at(const struct acl *a, const char *path, const uint32_t *who, size_t n, bool last);
