/* From what a client sent to checked values, by the row of the table. */
#pragma once

#include "api/endpoint.h"
#include "api/form.h"

#include <jansson.h>

struct request {
    const struct endpoint *endpoint;
    struct value value[P_COUNT]; /* texts are borrowed from `path` and `form` */
    struct strv path;            /* values of the path's parameters */
    struct form form;
    json_t *errors; /* {"PARAMETER": "reason"} of what is wrong, or NULL */
};

/* Takes over what is in *path and *form. 0, or -1 with r->errors. Release in both cases. */
int request_check(struct request *r, const struct endpoint *ep, struct strv *path, struct form *form);
void request_release(struct request *r);

static inline const char *request_text(const struct request *r, enum parameter_id id)
{
    return r->value[id].text;
}
static inline bool request_given(const struct request *r, enum parameter_id id)
{
    return r->value[id].given;
}
