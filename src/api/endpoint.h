/* The one table of what the API can do. Everything that knows a request by its path reads it: who dispatches
 * and checks (api/request.h), who decides who may (api/call.c), the page docs/API.md, the tests.
 *
 * A new endpoint is one row in endpoints.c and one function in a serve_*.c.
 */
#pragma once

#include "access/privilege.h"
#include "base/err.h"
#include "base/strv.h"
#include "conf/parameter.h"

#include <stdbool.h>
#include <stddef.h>

enum api_method { API_GET, API_POST, API_PUT, API_DELETE, API_METHODS };

/* The object on which the privileges of a row are asked for. Any of them is enough. */
enum guard {
    GUARD_NONE,   /* whoever it is, also nobody */
    GUARD_USER,   /* any user or token; what is in a list is for the function to say */
    GUARD_ROOT,   /* on / */
    GUARD_NODE,   /* on /nodes/{node} */
    GUARD_SCRAPE, /* on /, and whoever asks from an address that `metrics-allow` names */
    GUARD_GUEST,  /* on /vms/ID, the guest's of {id} or {vmid} */
};

#define ENDPOINT_PARAMETERS 14
#define ENDPOINT_PATH_PARAMETERS 2

struct call;

struct endpoint {
    enum api_method method;
    const char *path; /* below /api2/FORMAT: "/nodes/{node}/replication/{id}"; names in braces are those of
                         `in_path` */
    enum parameter_id in_path[ENDPOINT_PATH_PARAMETERS]; /* in this order; P_NONE ends it */
    enum parameter_id parameters[ENDPOINT_PARAMETERS];   /* P_NONE ends them */
    unsigned needed; /* so many of `parameters`, the first ones, must be given */
    enum guard guard;
    privileges may;
    privileges or_on_node; /* or one of these on /nodes/{node} */
    bool on_node;          /* a request for another node than this one goes there */
    unsigned seconds;      /* that its child may take; 0: API_CHILD_SECONDS */
    bool look;             /* pages ask for it again and again, and its child takes long: API_LOOKS_MAX */
    bool one_at_a_time;    /* of a guest: it takes the guest's locks, or reads all that there is of it */
    const char *help;      /* one sentence */
    const char *returns;   /* what `data` is, for the page */
    /* Parameters are checked, and the caller may. 0: call->data (NULL: null) is the answer; 1: a child
     * answers later; -1: *e, or the failure that call_refuse has noted. */
    int (*serve)(struct call *c, struct err *e);
};

extern const struct endpoint endpoints[];
extern const size_t n_endpoints;

const char *api_method_name(enum api_method m);
/* False: none of ours. */
bool api_method_parse(const char *name, enum api_method *ret);

/* The row of a path (its components) and a method; NULL: none. *known: there is one with another method. Each
 * component that stands for a parameter is appended to *values, in the order of in_path. */
const struct endpoint *endpoint_find(enum api_method m, const struct strv *path, bool *known,
                                     struct strv *values);
