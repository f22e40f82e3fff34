#include "api/request.h"

#include <string.h>

#define NOT_DEFINED "property is not defined in schema and the schema does not allow additional properties"
#define MISSING "property is missing and it is not optional"
#define TWICE "was sent twice, with different values"
/* By which Proxmox VE's panel keeps answers out of caches. It means nothing, to other nodes either. */
#define NO_CACHE "_dc"

static void complain(struct request *r, const char *name, const char *reason)
{
    if (!r->errors)
        r->errors = json_object();
    if (!json_object_get(r->errors, name))
        json_object_set_new(r->errors, name, json_string(reason));
}

/* P_NONE: the row has none of this name. */
static enum parameter_id find(const struct endpoint *ep, const char *name)
{
    for (size_t i = 0; i < ENDPOINT_PATH_PARAMETERS && ep->in_path[i]; i++)
        if (strcmp(parameters[ep->in_path[i]].name, name) == 0)
            return ep->in_path[i];
    for (size_t i = 0; i < ENDPOINT_PARAMETERS && ep->parameters[i]; i++)
        if (strcmp(parameters[ep->parameters[i]].name, name) == 0)
            return ep->parameters[i];
    return P_NONE;
}

static void take(struct request *r, enum parameter_id id, const char *text)
{
    struct value *v = &r->value[id];
    if (v->given && strcmp(v->text, text) != 0)
        complain(r, parameters[id].name, "the path says otherwise");
    if (v->given)
        return;
    v->given = true;
    v->text = text;
}

static void drop(struct form *f, const char *name)
{
    for (size_t i = 0; i < f->name.n; i++)
        if (strcmp(f->name.v[i], name) == 0) {
            strv_remove(&f->name, i);
            strv_remove(&f->value, i);
            return;
        }
}

static void take_all(struct request *r)
{
    for (size_t i = 0; i < r->path.n; i++)
        take(r, r->endpoint->in_path[i], r->path.v[i]);
    for (size_t i = 0; i < r->form.name.n; i++) {
        const char *name = r->form.name.v[i];
        enum parameter_id id = find(r->endpoint, name);
        if (id == P_NONE)
            complain(r, name, NOT_DEFINED);
        else if (parameters[id].type != TYPE_LIST && strv_has(&r->form.again, name))
            complain(r, name, TWICE);
        else
            take(r, id, r->form.value.v[i]);
    }
}

static void parse(struct request *r, enum parameter_id id, bool needed)
{
    const struct parameter *p = &parameters[id];
    struct value *v = &r->value[id];
    struct err e = {0};
    if (!v->text && needed)
        complain(r, p->name, MISSING);
    if (!v->text && !(v->text = p->fallback))
        return;
    if (parameter_parse(p, v, &e) == 0)
        return;
    size_t n = strlen(p->name);
    bool named = strncmp(e.text, p->name, n) == 0 && strncmp(e.text + n, ": ", 2) == 0;
    complain(r, p->name, named ? e.text + n + 2 : e.text);
}

int request_check(struct request *r, const struct endpoint *ep, struct strv *path, struct form *form)
{
    *r = (struct request){.endpoint = ep, .path = *path, .form = *form};
    *path = (struct strv)STRV_INIT;
    *form = (struct form){0};
    drop(&r->form, NO_CACHE);
    take_all(r);
    for (size_t i = 0; i < ENDPOINT_PATH_PARAMETERS && ep->in_path[i]; i++)
        parse(r, ep->in_path[i], true);
    for (size_t i = 0; i < ENDPOINT_PARAMETERS && ep->parameters[i]; i++)
        parse(r, ep->parameters[i], i < ep->needed);
    return r->errors ? -1 : 0;
}

void request_release(struct request *r)
{
    for (size_t i = 0; i < P_COUNT; i++)
        strv_release(&r->value[i].list);
    strv_release(&r->path);
    form_release(&r->form);
    json_decref(r->errors);
    *r = (struct request){0};
}
