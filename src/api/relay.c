#include "api/relay.h"

#include "access/cookie.h"
#include "api/forward.h"
#include "api/place.h"

#include <ctype.h>
#include <string.h>

/* ---- the request ---- */

static void encode(const char *text, struct buf *out)
{
    for (const char *p = text; *p; p++)
        if (isalnum((unsigned char)*p) || strchr("-._~", *p))
            buf_addc(out, *p);
        else
            buf_addf(out, "%%%02X", (unsigned char)*p);
}

static void add_path(const struct call *c, struct buf *url)
{
    size_t value = 0;
    for (const char *p = c->request.endpoint->path; *p; p++)
        if (*p == '{') {
            encode(c->request.path.v[value++], url);
            p += strcspn(p, "}");
        } else {
            buf_addc(url, *p);
        }
}

static void add_form(const struct form *f, struct buf *out)
{
    for (size_t i = 0; i < f->name.n; i++) {
        if (i)
            buf_addc(out, '&');
        encode(f->name.v[i], out);
        buf_addc(out, '=');
        encode(f->value.v[i], out);
    }
}

/* Those by which the caller is known here, and no other cookie of the browser's. */
static void add_headers(const struct call *c, struct strv *headers)
{
    _cleanup_free_ char *ticket = c->caller.is_token ? NULL : cookie_ticket(c->credentials.cookie);
    _cleanup_buf_ struct buf encoded = BUF_INIT;
    strv_addf(headers, RELAY_HEADER ": %s", c->api->settings->node);
    if (c->caller.is_token)
        strv_addf(headers, "Authorization: %s", c->credentials.authorization);
    if (!ticket)
        return;
    encode(ticket, &encoded);
    strv_addf(headers, "Cookie: " COOKIE_NAME "=%s", buf_str(&encoded));
    if (!c->credentials.method_is_safe) /* else nobody has looked at it */
        strv_addf(headers, "CSRFPreventionToken: %s", c->credentials.csrf);
    explicit_bzero(ticket, strlen(ticket));
    explicit_bzero(encoded.data, encoded.len);
}

static void wipe(struct strv *headers)
{
    for (size_t i = 0; i < headers->n; i++)
        explicit_bzero(headers->v[i], strlen(headers->v[i]));
}

/* ---- the answer ---- */

static int refuse_away(struct call *c, const char *problem)
{
    return call_refuse(c, 595, "node '%s' does not answer: %s", call_text(c, P_NODE), problem);
}

/* Its words are as they would be from here. */
static int take_failure(struct call *c, unsigned status, json_t *o)
{
    const char *said = json_string_value(json_object_get(o, "message"));
    json_t *errors = json_object_get(o, "errors");
    if (status == 401)
        return call_refuse(c, 595,
                           "node '%s' does not know who this node knows: compare the clocks of both, and "
                           "their trees",
                           call_text(c, P_NODE));
    if (json_is_object(errors))
        c->request.errors = json_incref(errors);
    _cleanup_free_ char *line = xstrndup(said ? said : "", said ? strcspn(said, "\n") : 0);
    return call_refuse(c, status, "%s", *line ? line : "the node gives no reason");
}

static int take_answer(struct call *c, const struct forward_result *r)
{
    json_t *o = json_loadb(buf_str(&r->body), r->body.len, 0, NULL);
    int rc = 0;
    if (!json_is_object(o) || r->status < 200 || r->status > 599) {
        rc = refuse_away(c, "what it says is no answer of an API");
    } else if (r->status != 200) {
        rc = take_failure(c, r->status, o);
    } else {
        c->data = json_incref(json_object_get(o, "data"));
        c->total = json_incref(json_object_get(o, "total"));
    }
    json_decref(o);
    return rc;
}

static void on_done(const struct forward_result *r, void *arg)
{
    struct call *c = arg;
    c->forward = NULL;
    call_end(c, r->status ? take_answer(c, r) : refuse_away(c, r->problem));
}

/* ---- there and back ---- */

/* The far side may take as long as this one would. */
static struct forward *send_to(struct call *c, const struct place *p, const char *path,
                               void (*done)(const struct forward_result *r, void *arg), void *arg,
                               struct err *e)
{
    _cleanup_buf_ struct buf url = BUF_INIT, form = BUF_INIT;
    _cleanup_strv_ struct strv headers = STRV_INIT;
    bool six = strchr(p->host, ':'), in_body = c->verb == API_POST || c->verb == API_PUT;
    buf_addf(&url, six ? "https://[%s]:%u/api2/json%s" : "https://%s:%u/api2/json%s", p->host, p->port, path);
    add_form(&c->request.form, &form);
    if (!in_body && form.len)
        buf_addf(&url, "?%s", buf_str(&form));
    add_headers(c, &headers);
    struct forward_request r = {.who = c->caller.who,
                                .seconds = call_seconds(c) + FORWARD_MORE_SECONDS,
                                .url = buf_str(&url),
                                .pin = p->pin,
                                .method = api_method_name(c->verb),
                                .headers = &headers,
                                .body = in_body ? buf_str(&form) : NULL,
                                .len = in_body ? form.len : 0};
    struct forward *f = forward_start(c->api->forwards, &r, done, arg, e);
    wipe(&headers);
    return f;
}

struct forward *relay_ask(struct call *c, const char *node, const char *path,
                          void (*done)(const struct forward_result *r, void *arg), void *arg, struct err *e)
{
    struct place p = {0};
    struct forward *f = NULL;
    int r = place_find(c->tree, node, &p, e);
    if (r > 0)
        err_set(e, ERR_NONE, 0,
                "no node of that name has served its API in this cluster yet, see 'api' in pvesr.conf(5)");
    if (r == 0)
        f = send_to(c, &p, path, done, arg, e);
    place_release(&p);
    return f;
}

int relay_begin(struct call *c, const char *node, struct err *e)
{
    _cleanup_buf_ struct buf path = BUF_INIT;
    if (c->forwarded_by)
        return call_refuse(c, 508, "this is node '%s': node '%s' took it for '%s'", c->api->settings->node,
                           c->forwarded_by, node);
    add_path(c, &path);
    c->forward = relay_ask(c, node, buf_str(&path), on_done, c, e);
    if (c->forward)
        return 1;
    return e->kind == ERR_NONE ? refuse_away(c, e->text) : -1;
}
