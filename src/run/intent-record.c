#include "run/intent.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/modes.h"
#include "base/num.h"
#include "run/message.h"
#include "volume/name.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_CAP (64 << 20)
#define SUFFIX ".json"

void intent_release(struct intent *i)
{
    for (size_t k = 0; k < i->n; k++) {
        free(i->v[k].volid);
        free(i->v[k].traits);
        strv_release(&i->v[k].points);
        strv_release(&i->v[k].points_as);
    }
    free(i->v);
    *i = (struct intent){0};
}

static char *folder(const struct env *env)
{
    return xasprintf("%s/pvesr-commits", env->settings.state_dir);
}

static char *record_path(const struct env *env, uint32_t guest)
{
    return xasprintf("%s/pvesr-commits/%" PRIu32 SUFFIX, env->settings.state_dir, guest);
}

/* ---- writing ---- */

static json_t *volume_json(const struct intent_volume *v)
{
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:s*}", "volume", v->volid, "id", v->id, "as",
                          v->as, "was", v->was, "aside", v->aside, "keep-live", (int)v->keep_live, "anew",
                          (int)v->anew, "traits", v->traits);
    if (v->points.n) {
        json_object_set_new(o, "points", message_strings(&v->points));
        json_object_set_new(o, "points-as", message_strings(&v->points_as));
    }
    return o;
}

int intent_remember(struct env *env, const struct intent *i, struct err *e)
{
    _cleanup_free_ char *dir = folder(env);
    _cleanup_free_ char *path = record_path(env, i->guest);
    json_t *array = json_array();
    for (size_t k = 0; k < i->n; k++)
        json_array_append_new(array, volume_json(&i->v[k]));
    json_t *o = json_pack("{s:o}", "volumes", array);
    _cleanup_free_ char *text = json_dumps(o, JSON_INDENT(1));
    json_decref(o);
    if (!text)
        return err_set(e, ERR_DATA, 0,
                       "a volume of guest %" PRIu32 " has a name that is not valid UTF-8: rename it",
                       i->guest);
    if (fs_mkdir_p(dir, MODE_NOTES, e) < 0 || fs_write_atomic(path, text, strlen(text), MODE_NOTE, e) < 0)
        return err_wrap(e,
                        "what the replicas of guest %" PRIu32
                        " are to show cannot be written down, so nothing was changed",
                        i->guest);
    return 0;
}

int intent_forget(struct env *env, uint32_t guest, struct err *e)
{
    _cleanup_free_ char *dir = folder(env);
    _cleanup_free_ char *path = record_path(env, guest);
    int r = fs_unlink(path, e);
    return r != 0 ? r : fs_sync_dir(dir, e);
}

/* ---- reading ---- */

static int take_text(const json_t *o, const char *key, size_t max, bool (*valid)(const char *), char *out,
                     struct err *e)
{
    const char *text;
    if (message_string(o, key, max, &text, e) < 0)
        return -1;
    if (*text && !valid(text))
        return err_set(e, ERR_DATA, 0, "'%s' is '%s'", key, text);
    strcpy(out, text);
    return 0;
}

static int take_names(const json_t *o, const char *key, struct strv *ret, struct err *e)
{
    const json_t *array;
    if (message_array(o, key, MESSAGE_SNAPSHOTS_MAX, &array, e) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(array); i++) {
        const char *name = json_string_value(json_array_get(array, i));
        if (!name || strlen(name) > SNAPSHOT_NAME_MAX || !snapshot_name_valid(name))
            return err_set(e, ERR_DATA, 0, "'%s' has what is no name of a snapshot", key);
        strv_add(ret, name);
    }
    return 0;
}

/* An earlier version wrote none. */
static int take_points(const json_t *o, struct intent_volume *v, struct err *e)
{
    if (!json_object_get(o, "points"))
        return 0;
    if (take_names(o, "points", &v->points, e) < 0 || take_names(o, "points-as", &v->points_as, e) < 0)
        return -1;
    return v->points.n == v->points_as.n ? 0
                                         : err_set(e, ERR_DATA, 0, "'points-as' has not as many as 'points'");
}

static int take_volume(const json_t *o, struct intent_volume *v, struct err *e)
{
    const char *volid;
    if (message_string(o, "volume", 512, &volid, e) < 0 ||
        take_text(o, "id", SNAPSHOT_ID_LEN, snapshot_id_valid, v->id, e) < 0 ||
        take_text(o, "was", SNAPSHOT_ID_LEN, snapshot_id_valid, v->was, e) < 0 ||
        take_text(o, "as", SNAPSHOT_NAME_MAX, snapshot_name_valid, v->as, e) < 0 ||
        take_text(o, "aside", SNAPSHOT_NAME_MAX, snapshot_name_valid, v->aside, e) < 0 ||
        message_bool(o, "keep-live", &v->keep_live, e) < 0 || message_bool(o, "anew", &v->anew, e) < 0 ||
        message_traits(o, &v->traits, e) < 0 || take_points(o, v, e) < 0)
        return -1;
    if (!v->id[0])
        return err_set(e, ERR_DATA, 0, "'id' is empty");
    v->volid = xstrdup(volid);
    return 0;
}

static int take_volumes(const json_t *o, struct intent *ret, struct err *e)
{
    const json_t *array;
    if (message_array(o, "volumes", MESSAGE_VOLUMES_MAX, &array, e) < 0)
        return -1;
    ret->v = xcalloc(json_array_size(array) + 1, sizeof *ret->v);
    for (size_t i = 0; i < json_array_size(array); i++) {
        ret->n++; /* first: what it takes before it fails is released, too */
        if (take_volume(json_array_get(array, i), &ret->v[i], e) < 0)
            return -1;
    }
    return 0;
}

int intent_load(struct env *env, uint32_t guest, struct intent *ret, struct err *e)
{
    _cleanup_free_ char *path = record_path(env, guest);
    _cleanup_buf_ struct buf text = BUF_INIT;
    *ret = (struct intent){.guest = guest};
    int r = fs_read(path, FILE_CAP, &text, e);
    if (r != 0)
        return r;
    json_t *o = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
    r = take_volumes(o, ret, e);
    json_decref(o);
    if (r == 0)
        return 0;
    intent_release(ret);
    return err_wrap(
        e, "'%s' does not say what a commit was about to show; look at the guest's disks and remove it",
        path);
}

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int intent_guests(struct env *env, uint32_t **ret, size_t *n, struct err *e)
{
    _cleanup_free_ char *path = folder(env);
    DIR *dir = opendir(path);
    *ret = NULL;
    *n = 0;
    if (!dir)
        return errno == ENOENT ? 0 : err_sys(e, "cannot read '%s'", path);
    fs_sweep(dirfd(dir), NULL, false);
    for (const struct dirent *d; (d = readdir(dir));) {
        uint64_t guest;
        struct err other; /* no name of ours */
        size_t len = strcspn(d->d_name, ".");
        _cleanup_free_ char *number = xasprintf("%.*s", (int)len, d->d_name);
        if (strcmp(d->d_name + len, SUFFIX) != 0 ||
            num_parse_u64("", number, 1, UINT32_MAX, &guest, &other) < 0)
            continue;
        *ret = xgrow(*ret, *n, sizeof **ret);
        (*ret)[(*n)++] = (uint32_t)guest;
    }
    closedir(dir);
    if (*n)
        qsort(*ret, *n, sizeof **ret, ascending);
    return 0;
}
