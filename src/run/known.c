#include "run/known.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/modes.h"
#include "base/num.h"
#include "conf/digest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_CAP (16 << 20)
#define FOLDER "pvesr-guests"
#define DIGEST_LEN 16

void known_release(struct known *k)
{
    strv_release(&k->guest);
    strv_release(&k->disks);
    strv_release(&k->told);
    strv_release(&k->unseen);
    strv_release(&k->settings);
    *k = (struct known){0};
}

char *known_path(const char *state_dir, const char *job_id)
{
    return xasprintf("%s/" FOLDER "/%s", state_dir, job_id);
}

/* ---- the file ---- */

static void take_epoch(const char *value, int64_t *ret)
{
    struct err ignored;
    if (num_parse_i64("", value, 0, INT64_MAX, ret, &ignored) < 0)
        *ret = 0;
}

static void take_line(char *line, struct known *ret)
{
    char *value = strchr(line, ' ');
    if (!value)
        return;
    *value++ = 0;
    if (strcmp(line, "epoch") == 0)
        take_epoch(value, &ret->epoch);
    else if (strcmp(line, "former") == 0)
        take_epoch(value, &ret->former);
    else if (strcmp(line, "type") == 0)
        snprintf(ret->type, sizeof ret->type, "%s", value);
    else if (strcmp(line, "came") == 0)
        take_epoch(value, &ret->came);
    else if (strcmp(line, "guest") == 0)
        strv_add(&ret->guest, value);
    else if (strcmp(line, "disk") == 0)
        strv_add(&ret->disks, value);
    else if (strcmp(line, "told") == 0)
        strv_add(&ret->told, value);
    else if (strcmp(line, "unseen") == 0)
        strv_add(&ret->unseen, value);
    else if (strcmp(line, "set") == 0)
        strv_add(&ret->settings, value);
}

int known_load(const char *path, struct known *ret, struct err *e)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    _cleanup_strv_ struct strv lines = STRV_INIT;
    *ret = (struct known){0};
    int r = fs_read(path, FILE_CAP, &text, e);
    strv_split(&lines, r < 0 ? "" : buf_str(&text), "\n");
    for (size_t i = 0; i < lines.n; i++)
        take_line(lines.v[i], ret);
    if (ret->former > ret->epoch)
        ret->former = 0;
    if (r == 0 && text.len && !ret->epoch && !ret->unseen.n) {
        known_release(ret);
        r = err_set(e, ERR_DATA, 0, "'%s' does not say of which run it is: the next run makes it anew", path);
    }
    return r < 0 ? err_wrap(e, "which guest the last run was of cannot be read") : 0;
}

static void add_lines(const char *word, const struct strv *values, struct buf *out)
{
    for (size_t i = 0; i < values->n; i++)
        buf_addf(out, "%s %s\n", word, values->v[i]);
}

int known_store(const char *path, const struct known *k, struct err *e)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    _cleanup_free_ char *folder = xasprintf("%.*s", (int)(strrchr(path, '/') - path), path);
    buf_addf(&text, "epoch %" PRId64 "\nformer %" PRId64 "\n", k->epoch, k->former);
    if (*k->type)
        buf_addf(&text, "type %s\n", k->type);
    if (k->came)
        buf_addf(&text, "came %" PRId64 "\n", k->came);
    add_lines("guest", &k->guest, &text);
    add_lines("disk", &k->disks, &text);
    add_lines("told", &k->told, &text);
    add_lines("unseen", &k->unseen, &text);
    add_lines("set", &k->settings, &text);
    if (fs_mkdir_p(folder, MODE_NOTES, e) < 0 || fs_write_atomic(path, text.data, text.len, MODE_NOTE, e) < 0)
        return err_wrap(e, "which guest this run is of cannot be noted");
    return 0;
}

/* ---- which guest ---- */

static void print_digest(const char *text, char ret[41])
{
    digest_sha1(text, strlen(text), ret);
    ret[DIGEST_LEN] = 0;
}

int known_look(const struct guest_config *g, struct volume *const volumes[], size_t n, struct known *ret,
               struct err *e)
{
    snprintf(ret->type, sizeof ret->type, "%s", guest_type_name(guest_config_type(g)));
    guest_config_identity_ever(g, &ret->guest);
    for (size_t i = 0; i < n; i++) {
        char made[VOLUME_SIGN_MAX + 1], digest[41];
        if (volume_made(volumes[i], made, e) < 0) {
            strv_release(&ret->disks);
            return -1;
        }
        print_digest(made, digest);
        if (*made)
            strv_add_once(&ret->disks, digest);
    }
    return 0;
}

static bool any_common(const struct strv *a, const struct strv *b)
{
    for (size_t i = 0; i < a->n; i++)
        if (strv_has(b, a->v[i]))
            return true;
    return false;
}

static bool has(const struct known *k, const char *what)
{
    for (size_t i = 0; i < k->guest.n; i++)
        if (strncmp(k->guest.v[i], what, strlen(what)) == 0)
            return true;
    return false;
}

static bool is_known(const struct known *k)
{
    return k->disks.n && (has(k, IDENTITY_UUID ":") || has(k, IDENTITY_NAME ":"));
}

/* No guest becomes one of the other type. */
static bool is_of_other_type(const struct known *was, const struct known *now)
{
    return *was->type && *now->type && strcmp(was->type, now->type) != 0;
}

bool known_is_other(const struct known *was, const struct known *now)
{
    if (any_common(&was->disks, &now->disks))
        return false;
    return is_of_other_type(was, now) ||
           (is_known(was) && is_known(now) && !any_common(&was->guest, &now->guest));
}

bool known_has(const struct known *was, const struct guest_config *g, struct volume *v)
{
    struct err ignored;
    _cleanup_(known_release) struct known now = {0};
    if (known_look(g, &v, 1, &now, &ignored) < 0 || !any_common(&was->disks, &now.disks))
        return false;
    return (!was->guest.n && !now.guest.n) || any_common(&was->guest, &now.guest);
}

bool known_tell(const struct known *was, struct known *now, const char *sentence)
{
    char digest[41];
    print_digest(sentence, digest);
    strv_add_once(&now->told, digest);
    return !strv_has(&was->told, digest);
}
