#include "api/who.h"

#include "access/bootstrap.h"
#include "api/home.h"
#include "base/fs.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define LOGIN_INPUT_MAX 4096

static const char *const files[WHO_FILES] = {
    [WHO_USERS] = "user.cfg",           [WHO_TOKENS] = "priv/token.cfg", [WHO_WWW] = "pve-www.key",
    [WHO_PRIVATE] = "priv/authkey.key", [WHO_PUBLIC] = "authkey.pub",    [WHO_OLD] = "authkey.pub.old",
};

static void wipe(struct buf *b)
{
    if (b->data)
        explicit_bzero(b->data, b->room);
    buf_release(b);
}

static int64_t rotated(const struct tree *t)
{
    struct stat st;
    _cleanup_free_ char *path = xasprintf("%s/%s", tree_root(t), files[WHO_PUBLIC]);
    return stat(path, &st) == 0 ? st.st_mtime : 0;
}

static int read_all(struct tree *t, struct buf text[WHO_FILES], struct err *e)
{
    for (size_t i = 0; i < WHO_FILES; i++)
        if (tree_read(t, files[i], &text[i], e) < 0)
            return -1;
    return 0;
}

static bool same(const struct buf *a, const struct buf *b)
{
    return a->len == b->len && memcmp(buf_str(a), buf_str(b), a->len) == 0;
}

static bool all_same(const struct buf *a, const struct buf *b)
{
    for (size_t i = 0; i < WHO_FILES; i++)
        if (!same(&a[i], &b[i]))
            return false;
    return true;
}

static void drop(struct who *w, const char *problem, struct strv *told)
{
    w->version += w->access != NULL;
    access_free(w->access);
    w->access = NULL;
    if (!w->problem || strcmp(w->problem, problem) != 0) {
        strv_addf(told, "nobody can use the API: %s", problem);
        free(w->problem);
        w->problem = xstrdup(problem);
    }
}

static const char *text_of(const struct buf *b)
{
    return b->len ? buf_str(b) : NULL;
}

static struct access_texts texts_of(const struct buf text[WHO_FILES], int64_t when)
{
    return (struct access_texts){
        .user_cfg = text_of(&text[WHO_USERS]),
        .user_len = text[WHO_USERS].len,
        .token_cfg = text_of(&text[WHO_TOKENS]),
        .token_len = text[WHO_TOKENS].len,
        .www_key = text_of(&text[WHO_WWW]),
        .www_len = text[WHO_WWW].len,
        .keys = {.private_key = text_of(&text[WHO_PRIVATE]),
                 .public_key = text_of(&text[WHO_PUBLIC]),
                 .old_key = text_of(&text[WHO_OLD]),
                 .rotated = when},
    };
}

static void parse(struct who *w, struct strv *told)
{
    struct err e = {0};
    struct access_texts texts = texts_of(w->text, w->rotated);
    struct access *a = access_new(&texts, told, &e);
    if (!a) {
        drop(w, e.text, told);
        return;
    }
    access_free(w->access);
    w->access = a;
    w->version++;
    free(w->problem);
    w->problem = NULL;
}

void who_update(struct who *w, struct tree *t, struct strv *told)
{
    struct err e = {0};
    struct buf now[WHO_FILES] = {0};
    int64_t when = rotated(t);
    bool read = read_all(t, now, &e) == 0;
    bool keep = read && w->access && when == w->rotated && all_same(now, w->text);
    if (!read)
        drop(w, e.text, told);
    for (size_t i = 0; i < WHO_FILES; i++) {
        if (read && !keep) {
            wipe(&w->text[i]);
            w->text[i] = now[i];
        } else {
            wipe(&now[i]);
        }
    }
    if (!read || keep)
        return;
    w->rotated = when;
    parse(w, told);
}

bool who_is_bare(const struct who *w)
{
    return w->access && !w->text[WHO_USERS].len && !w->text[WHO_PUBLIC].len;
}

void who_release(struct who *w)
{
    for (size_t i = 0; i < WHO_FILES; i++)
        wipe(&w->text[i]);
    access_free(w->access);
    free(w->problem);
    *w = (struct who){0};
}

/* ---- keys ---- */

static int write_file(struct tree *t, enum who_file file, const char *text, struct err *e)
{
    return text ? tree_write(t, files[file], text, strlen(text), e) : 0;
}

/* The old one first: a ticket of the present key is good at every moment. */
static int rotate(struct tree *t, const char *public_key, struct err *e)
{
    struct ticket_new_keys keys = {0};
    if (ticket_keys_rotate(public_key, &keys, e) < 0)
        return -1;
    int r = write_file(t, WHO_OLD, keys.old_key, e);
    if (r == 0)
        r = write_file(t, WHO_PRIVATE, keys.private_key, e);
    if (r == 0)
        r = write_file(t, WHO_PUBLIC, keys.public_key, e);
    ticket_new_keys_release(&keys);
    return r;
}

static int write_missing(struct tree *t, const struct bootstrap *b, struct err *e)
{
    for (size_t i = 0; i < b->n; i++)
        if (tree_write(t, b->files[i].path, b->files[i].text, strlen(b->files[i].text), e) < 0)
            return -1;
    return 0;
}

static int make_missing(struct tree *t, int64_t now, struct err *e)
{
    struct buf text[WHO_FILES] = {0};
    struct bootstrap missing = {0};
    int64_t when = rotated(t);
    int r = read_all(t, text, e);
    struct access_texts there = texts_of(text, when);
    if (r == 0)
        r = bootstrap_plan(&there, &missing, e);
    if (r == 0)
        r = write_missing(t, &missing, e);
    if (r == 0 && there.keys.private_key && there.keys.public_key && now - when >= TICKET_KEYS_ROTATE_AFTER)
        r = rotate(t, there.keys.public_key, e);
    bootstrap_release(&missing);
    for (size_t i = 0; i < WHO_FILES; i++)
        wipe(&text[i]);
    return r;
}

int who_make_keys(struct tree *t, const struct settings *s, int64_t now, struct err *e)
{
    if (tree_is_pmxcfs(t))
        return 0;
    if (home_check(t, s, e) < 0)
        return -1;
    _cleanup_(tree_unlockp) struct tree_lock *lock = tree_lock(t, "authkey", e);
    return lock ? make_missing(t, now, e) : -1;
}

/* ---- log-in ---- */

static int check_with(struct tree *t, const struct users *users, const char *userid, const char *password,
                      const char *address, int64_t now, struct err *e)
{
    _cleanup_(wipe) struct buf shadow = BUF_INIT, tfa = BUF_INIT, domains = BUF_INIT;
    if (tree_read(t, "priv/shadow.cfg", &shadow, e) < 0 || tree_read(t, "priv/tfa.cfg", &tfa, e) < 0 ||
        tree_read(t, "domains.cfg", &domains, e) < 0)
        return -1;
    struct login l = {
        .users = users,
        .shadow_cfg = text_of(&shadow),
        .shadow_len = shadow.len,
        .tfa_cfg = text_of(&tfa),
        .tfa_len = tfa.len,
        .domains_cfg = text_of(&domains),
        .domains_len = domains.len,
        .pam_service = fs_exists("/etc/pam.d/" PAM_SERVICE_PVE) ? PAM_SERVICE_PVE : PAM_SERVICE_OWN,
    };
    return login_check(&l, userid, password, address, now, e);
}

static int check(struct tree *t, const char *input, size_t n, int64_t now, struct err *e)
{
    const char *part[3], *p = input;
    for (size_t i = 0; i < ELEMENTS(part); i++) {
        const char *end = memchr(p, 0, (size_t)(input + n - p));
        if (!end)
            return err_set(e, ERR_USAGE, 0,
                           "that is no log-in: a user, a password, an address are read from stdin");
        part[i] = p;
        p = end + 1;
    }
    struct who w = {0};
    _cleanup_strv_ struct strv told = STRV_INIT;
    who_update(&w, t, &told);
    int r = w.access ? check_with(t, w.access->users, part[0], part[1], part[2], now, e)
                     : err_set(e, ERR_CONFIG, 0, "%s", w.problem);
    who_release(&w);
    return r;
}

int who_check_login(struct tree *t, int64_t now, struct err *e)
{
    char input[LOGIN_INPUT_MAX];
    size_t n = 0;
    ssize_t k;
    while (n < sizeof input && ((k = read(0, input + n, sizeof input - n)) > 0 || (k < 0 && errno == EINTR)))
        n += k > 0 ? (size_t)k : 0;
    int r = check(t, input, n, now, e);
    explicit_bzero(input, sizeof input);
    return r;
}
