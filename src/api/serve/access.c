/* /access: logging in, and what somebody may. */
#include "api/serve/serve.h"

#include "api/attempts.h"
#include "base/clock.h"

#include <string.h>
#include <syslog.h>

#define LOGIN_REFUSED_SECONDS 2

int serve_no_login(struct call *c, struct err *e)
{
    return 0;
}

/* ---- what somebody may ---- */

/* What they have on the path, with 1 where what lies below gets it too; new. */
static json_t *privileges_json(const struct users *u, const char *who, const char *path, int64_t now)
{
    privileges here = users_may(u, who, path, now), below = users_may_below(u, who, path, now);
    json_t *o = json_object();
    for (enum privilege p = 0; p < PRIVILEGES; p++)
        if (here & ((privileges)1 << p))
            json_object_set_new(o, privilege_name(p), json_integer((below & ((privileges)1 << p)) != 0));
    return o;
}

static bool is_known(const struct call *c, const char *who)
{
    struct err ignored;
    return users_check(c->api->who.access->users, who, c->now, &ignored) == 0;
}

static void put_path(struct call *c, const char *who, const char *path)
{
    json_t *o = privileges_json(c->api->who.access->users, who, path, c->now);
    if (json_object_size(o))
        json_object_set(c->data, path, o);
    json_decref(o);
}

int serve_permissions(struct call *c, struct err *e)
{
    const char *who = call_given(c, P_USERID) ? call_text(c, P_USERID) : c->caller.who;
    char path[ACCESS_PATH_MAX];
    _cleanup_strv_ struct strv paths = STRV_INIT;
    bool other = strcmp(who, c->caller.who) != 0;
    if (other && !(call_may(c, "/access") & PRIV(Sys_Audit)))
        return call_refuse(c, 403, "Permission check failed (/access, Sys.Audit)");
    if (other && !is_known(c, who))
        return call_refuse_parameter(c, "userid", "there is no such user or token");
    if (call_given(c, P_ACL_PATH) && !access_path_normalise(call_text(c, P_ACL_PATH), path))
        return call_refuse_parameter(c, "path", "that is no path, as /vms/100 is one");
    if (call_given(c, P_ACL_PATH)) {
        strv_add(&paths, path);
    } else {
        static const char *const tops[] = {"/", "/access", "/nodes", "/pool", "/sdn", "/storage", "/vms"};
        for (size_t i = 0; i < ELEMENTS(tops); i++)
            strv_add_once(&paths, tops[i]);
        users_paths(c->api->who.access->users, &paths);
    }
    c->data = json_object();
    for (size_t i = 0; i < paths.n; i++)
        put_path(c, who, paths.v[i]);
    return 0;
}

/* ---- tickets ---- */

/* What the panel shows of its own, by the branches of the tree of paths; new. */
static json_t *cap_json(const struct users *u, const char *who, int64_t now)
{
    static const struct {
        const char *branch, *path;
    } branches[] = {{"access", "/access"},   {"dc", "/"},    {"nodes", "/nodes"}, {"sdn", "/sdn"},
                    {"storage", "/storage"}, {"vms", "/vms"}};
    json_t *o = json_object();
    for (size_t i = 0; i < ELEMENTS(branches); i++)
        json_object_set_new(o, branches[i].branch, privileges_json(u, who, branches[i].path, now));
    return o;
}

/* Whatever fails, and the reason for the log. The answer comes as late as any other of its kind, whatever was
 * looked at before it: by its time nobody learns who there is. */
static int refuse_login(struct call *c, const char *userid, const char *reason)
{
    api_log_often(c->api, LOG_NOTICE, "API: a log-in of '%s' from %s is refused: %s", userid ? userid : "?",
                  c->address, reason);
    c->steps = LOGIN_REFUSED_SECONDS;
    return call_refuse(c, 401, "authentication failure");
}

static int give_ticket(struct call *c, const char *userid, struct err *e)
{
    const struct access *a = c->api->who.access;
    struct issued issued;
    if (access_issue(a, userid, c->now, &issued, e) < 0)
        return -1;
    c->data = json_object();
    json_object_set_new(c->data, "username", json_string(userid));
    json_object_set_new(c->data, "ticket", json_string(issued.ticket));
    json_object_set_new(c->data, "CSRFPreventionToken", json_string(issued.csrf));
    json_object_set_new(c->data, "cap", cap_json(a->users, userid, c->now));
    if (users_may(a->users, userid, "/", c->now) & PRIV(Sys_Audit))
        json_object_set_new(c->data, "clustername", cluster_name_json(c));
    explicit_bzero(issued.ticket, strlen(issued.ticket));
    issued_release(&issued);
    return 0;
}

static char *login_name(const struct call *c)
{
    return login_userid(call_text(c, P_USERNAME), call_text(c, P_REALM));
}

/* An errand of pvesrd itself, so that no hash, no PAM and no lock holds up anybody. */
static int ask_errand(struct call *c, const char *errand, const struct buf *input,
                      int (*finish)(struct call *c, const struct child_result *r, struct err *e),
                      struct err *e)
{
    _cleanup_strv_ struct strv argv = STRV_INIT;
    strv_adds(&argv, "/proc/self/exe", errand, NULL);
    if (c->api->config)
        strv_addf(&argv, "--config=%s", c->api->config);
    return call_child(c, &argv, input ? input->data : NULL, input ? input->len : 0, finish, e);
}

static int on_keys_made(struct call *c, const struct child_result *r, struct err *e)
{
    _cleanup_free_ char *userid = login_name(c);
    if (r->status != 0)
        return call_refuse_as_said(c, r);
    c->now = clock_epoch();
    api_update_who(c->api, c->tree);
    return c->api->who.access ? give_ticket(c, userid, e) : refuse_login(c, userid, c->api->who.problem);
}

/* Whoever is quicker than the look for keys behind a start, or comes while they are replaced, waits for it.
 */
static int let_in(struct call *c, const char *userid, struct err *e)
{
    return access_can_issue(c->api->who.access) ? give_ticket(c, userid, e)
                                                : ask_errand(c, "--make-keys", NULL, on_keys_made, e);
}

/* A child said yes or no. */
static int on_checked(struct call *c, const struct child_result *r, struct err *e)
{
    _cleanup_free_ char *userid = login_name(c);
    int64_t clock = (int64_t)clock_mono();
    c->now = clock_epoch();
    if (r->status == 0 && c->api->who.access) {
        attempts_succeeded(c->api->attempts, c->address, userid);
        return let_in(c, userid, e);
    }
    attempts_failed(c->api->attempts, c->address, userid, clock);
    return refuse_login(c, userid, r->err.len ? buf_str(&r->err) : "it could not be checked");
}

static int ask_for_password(struct call *c, const char *userid, struct err *e)
{
    struct buf input = BUF_INIT;
    buf_add(&input, userid, strlen(userid) + 1);
    buf_add(&input, call_text(c, P_PASSWORD), strlen(call_text(c, P_PASSWORD)) + 1);
    buf_add(&input, c->address, strlen(c->address) + 1);
    int r = ask_errand(c, "--check-login", &input, on_checked, e);
    explicit_bzero(input.data, input.room);
    buf_release(&input);
    return r;
}

/* A ticket that is good renews itself. */
static int renew(struct call *c, const char *userid, struct err *e)
{
    struct err why = {0};
    if (access_renew(c->api->who.access, userid, call_text(c, P_PASSWORD), c->now, &why) < 0)
        return refuse_login(c, userid, why.text);
    return let_in(c, userid, e);
}

int serve_ticket(struct call *c, struct err *e)
{
    _cleanup_free_ char *userid = login_name(c);
    if (!c->api->who.access)
        return refuse_login(c, userid, c->api->who.problem);
    if (!userid)
        return refuse_login(c, NULL, "that is no user");
    /* nobody guesses a ticket */
    if (ticket_looks_like_one(call_text(c, P_PASSWORD)))
        return renew(c, userid, e);
    if (!attempts_allow(c->api->attempts, c->address, userid, (int64_t)clock_mono()))
        return refuse_login(c, userid, "too many failed lately");
    return ask_for_password(c, userid, e);
}
