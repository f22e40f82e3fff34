/* What user.cfg and token.cfg say, as users_parse leaves it and users.c asks it. Of this folder alone. */
#pragma once

#include "access/acl.h"

#define USERS_ROOT 0 /* number of root@pam */

struct subject { /* a user, a token or a group: whoever an entry of the access list can name */
    bool enabled;
    bool separate; /* a token that has privileges of its own */
    bool has_keys;
    int64_t expires;  /* epoch, 0: never */
    uint32_t user;    /* of a token */
    char *secret;     /* of a token; NULL: none */
    uint32_t *groups; /* of a user */
    size_t n_groups;
};

struct member { /* a guest or a storage */
    uint32_t *pools;
    size_t n;
};

struct users {
    struct lookup numbers; /* USER@REALM, USER@REALM!TOKEN, @GROUP → subject */
    struct subject *subjects;
    size_t n_subjects;
    struct strv pools;     /* paths: "/pool/NAME" */
    struct lookup members; /* "/vms/ID", "/storage/NAME" → member */
    struct strv member_names;
    struct member *member;
    struct acl acl;
};
