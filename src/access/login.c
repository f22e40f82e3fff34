#include "access/login.h"

#include "access/ticket.h"
#include "access/userid.h"
#include "base/jsonspan.h"
#include "conf/lines.h"
#include "conf/section.h"

#include <crypt.h>
#include <gnutls/gnutls.h>
#include <string.h>

char *login_userid(const char *username, const char *realm)
{
    _cleanup_free_ char *id = realm ? xasprintf("%s@%s", username, realm) : xstrdup(username);
    return userid_is_valid(id) ? take_ptr(id) : NULL;
}

/* ---- realm pve ---- */

/* USER:CRYPT[:…]; the user that is missing gets the hash of another, so that it takes as long to refuse it.
 */
static bool find_hash(const char *text, size_t len, const char *user, size_t user_len, char **hash)
{
    bool found = false;
    struct lines l = LINES_INIT(text, len);
    while (lines_next(&l)) {
        const char *colon = l.len > 0 ? memchr(l.text, ':', l.len) : NULL;
        if (!colon)
            continue;
        bool is_it = (size_t)(colon - l.text) == user_len && memcmp(l.text, user, user_len) == 0;
        if (found && !is_it)
            continue;
        const char *end = memchr(colon + 1, ':', l.len - (size_t)(colon + 1 - l.text));
        free(*hash);
        *hash = xstrndup(colon + 1, (size_t)((end ? end : l.text + l.len) - (colon + 1)));
        found = found || is_it;
    }
    return found;
}

/* Only hashes with a method's name: those of DES look at eight characters. Not by crypt_r: sanitizers stand
 * in for that, and libcrypt would not be linked. */
static bool hash_matches(const char *hash, const char *password)
{
    if (*hash != '$')
        return false;
    struct crypt_data *data = xcalloc(1, sizeof *data);
    const char *made = crypt_rn(password, hash, data, sizeof *data);
    bool same = made && strlen(made) == strlen(hash) && gnutls_memcmp(made, hash, strlen(hash)) == 0;
    explicit_bzero(data, sizeof *data);
    free(data);
    return same;
}

int login_pve(const char *shadow_cfg, size_t len, const char *userid, const char *password, struct err *e)
{
    _cleanup_free_ char *hash = xstrdup("$5$nobody$"); /* where there is no other */
    size_t user_len = strlen(userid) - strlen(userid_realm(userid)) - 1;
    bool found = find_hash(shadow_cfg, len, userid, user_len, &hash);
    bool matches = hash_matches(hash, password);
    explicit_bzero(hash, strlen(hash));
    if (!found)
        return err_set(e, ERR_USAGE, 0, "user '%s' has no password in shadow.cfg", userid);
    if (!matches)
        return err_set(e, ERR_USAGE, 0, "the password is not that of user '%s'", userid);
    return 0;
}

/* ---- second factors ---- */

/* A key may be written with escapes, which json_get does not see through. */
static bool key_is(struct json_span key, const char *text)
{
    _cleanup_free_ char *decoded = json_to_string((struct json_span){key.p - 1, key.len + 2});
    return !decoded || strcmp(decoded, text) == 0;
}

static bool has_key(struct json_span object, const char *text)
{
    struct json_iter it = json_iter(object);
    struct json_span key, value;
    while (json_next(&it, &key, &value))
        if (key_is(key, text))
            return true;
    return !json_is_object(object);
}

static bool is_blank(const char *text, size_t len)
{
    while (len > 0 && (line_is_blank(text[len - 1]) || text[len - 1] == '\n'))
        len--;
    return len == 0;
}

bool tfa_has(const char *tfa_cfg, size_t len, const char *userid)
{
    struct json_span root, key, value;
    size_t bad;
    if (is_blank(tfa_cfg, len))
        return false;
    if (json_check(tfa_cfg, len, &root, &bad) < 0 || !json_is_object(root))
        return true;
    struct json_iter it = json_iter(root);
    while (json_next(&it, &key, &value))
        if (key_is(key, "users") && has_key(value, userid))
            return true;
    return false;
}

static bool realm_has_tfa(const char *domains_cfg, size_t len, const char *realm)
{
    struct section_file f = {0};
    section_parse("domains.cfg", domains_cfg, len, &f);
    bool has = false;
    for (size_t i = 0; i < f.n; i++)
        has = has || (strcmp(f.sections[i].id, realm) == 0 && section_get(&f.sections[i], "tfa"));
    section_file_release(&f);
    return has;
}

int login_check_factors(const struct login *l, const char *userid, struct err *e)
{
    const char *file = NULL;
    if (tfa_has(l->tfa_cfg, l->tfa_len, userid))
        file = "tfa.cfg";
    else if (realm_has_tfa(l->domains_cfg, l->domains_len, userid_realm(userid)))
        file = "domains.cfg";
    else if (users_has_keys(l->users, userid))
        file = "user.cfg";
    return file
               ? err_set(
                     e, ERR_USAGE, 0,
                     "user '%s' needs a second factor (%s): it can log in at Proxmox VE's own panel and come "
                     "here with that ticket",
                     userid, file)
               : 0;
}

/* ---- all of it ---- */

static bool has_passwords_here(const char *userid)
{
    const char *realm = userid_realm(userid);
    return strcmp(realm, "pam") == 0 || strcmp(realm, "pve") == 0;
}

/* Everything but the password. */
static int check_user(const struct login *l, const char *userid, const char *password, int64_t now,
                      struct err *e)
{
    size_t len = strlen(password);
    if (!userid_is_valid(userid))
        return err_set(e, ERR_USAGE, 0, "'%.*s' is no USER@REALM", WHO_MAX, userid);
    if (len == 0 || len > PASSWORD_MAX)
        return err_set(e, ERR_USAGE, 0, "the password of '%s' is %s", userid, len ? "too long" : "empty");
    if (!has_passwords_here(userid))
        return err_set(e, ERR_USAGE, 0,
                       "realm '%s' cannot be asked from here, only pam and pve: user '%s' can log in "
                       "at Proxmox VE's own panel and come here with that ticket",
                       userid_realm(userid), userid);
    return users_check(l->users, userid, now, e) < 0 ? -1 : login_check_factors(l, userid, e);
}

static int check_pam(const struct login *l, const char *userid, const char *password, const char *rhost,
                     struct err *e)
{
    _cleanup_free_ char *user = xstrndup(userid, (size_t)(strrchr(userid, '@') - userid));
    return login_pam(l->pam_service, l->pam_dir, user, password, rhost, e);
}

int login_check(const struct login *l, const char *userid, const char *password, const char *rhost,
                int64_t now, struct err *e)
{
    bool is_pam = strcmp(userid_realm(userid), "pam") == 0;
    struct err ignored;
    if (check_user(l, userid, password, now, e) < 0) {
        if (!is_pam)
            login_pve(l->shadow_cfg, l->shadow_len, "@pve", "no password", &ignored); /* for its time alone */
        return -1;
    }
    return is_pam ? check_pam(l, userid, password, rhost, e)
                  : login_pve(l->shadow_cfg, l->shadow_len, userid, password, e);
}
