#include "notify/spool.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/modes.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FOLDER "pvesr-notify"
#define SUFFIX ".json"
#define FILE_MAX (EVENT_MAX + (16 << 10)) /* with the error of a try, and what else there is */
#define RETRY_FIRST 30
#define RETRY_MOST 1800

static char *path_of(const char *state_dir, const char *name)
{
    return xasprintf("%s/" FOLDER "/%s", state_dir, name);
}

int64_t spool_retry_delay(unsigned tries)
{
    int64_t delay = RETRY_FIRST;
    while (tries-- > 1 && delay < RETRY_MOST)
        delay *= 2;
    return delay < RETRY_MOST ? delay : RETRY_MOST;
}

/* ---- one file ---- */

static bool is_entry(const char *name)
{
    size_t n = strlen(name), k = strlen(SUFFIX);
    return n > k && n < SPOOL_NAME_MAX && strcmp(name + n - k, SUFFIX) == 0 && !strchr(name, '/') &&
           *name != '.';
}

json_t *spool_read(const char *state_dir, const char *name, struct err *e)
{
    _cleanup_free_ char *path = path_of(state_dir, name);
    _cleanup_buf_ struct buf text = BUF_INIT;
    int r = is_entry(name) ? fs_read(path, FILE_MAX, &text, e) : 1;
    if (r < 0)
        return NULL;
    json_t *o = r == 0 ? json_loadb(buf_str(&text), text.len, 0, NULL) : NULL;
    if (json_is_string(json_object_get(o, "target")) && json_is_object(json_object_get(o, "event")))
        return o;
    json_decref(o);
    err_set(e, r ? ERR_GONE : ERR_DATA, 0, "the notification '%s' is %s", path,
            r ? "gone" : "damaged: remove it");
    return NULL;
}

static int write_entry(const char *state_dir, const char *name, const json_t *o, struct err *e)
{
    _cleanup_free_ char *path = path_of(state_dir, name);
    _cleanup_free_ char *text = json_dumps(o, JSON_COMPACT);
    if (!text)
        return err_set(e, ERR_DATA, 0, "the notification '%s' cannot be written as JSON", path);
    if (strlen(text) > FILE_MAX) /* nobody would read it */
        return err_set(e, ERR_DATA, 0, "the notification '%s' is too long: %zu of %d bytes", path,
                       strlen(text), FILE_MAX);
    return fs_write_atomic(path, text, strlen(text), MODE_NOTE, e);
}

bool spool_has(const char *state_dir, const char *name)
{
    _cleanup_free_ char *path = path_of(state_dir, name);
    return fs_exists(path);
}

int spool_remove(const char *state_dir, const char *name, struct err *e)
{
    _cleanup_free_ char *path = path_of(state_dir, name);
    return fs_unlink(path, e) < 0 ? -1 : 0;
}

void spool_had(const json_t *o, struct strv *ret)
{
    const json_t *had = json_object_get(o, "had");
    for (size_t i = 0; i < json_array_size(had); i++)
        if (json_is_string(json_array_get(had, i)))
            strv_add(ret, json_string_value(json_array_get(had, i)));
}

static void set_had(json_t *o, const struct strv *had)
{
    json_t *list = json_array();
    for (size_t i = 0; i < had->n; i++)
        json_array_append_new(list, json_string(had->v[i]));
    json_object_set_new(o, "had", list);
}

int spool_failed(const char *state_dir, const char *name, const char *error, bool refused,
                 const struct strv *had, int64_t now, struct err *e)
{
    json_t *o = spool_read(state_dir, name, e);
    if (!o)
        return -1;
    _cleanup_free_ char *text = xstrdup(error);
    text_clean(text);
    unsigned tries = (unsigned)json_integer_value(json_object_get(o, "tries")) + 1;
    json_object_set_new(o, "tries", json_integer(tries));
    json_object_set_new(o, "next", json_integer(now + spool_retry_delay(tries)));
    json_object_set_new(o, "refused", json_boolean(refused));
    json_object_set_new(o, "error", json_string(text));
    if (had && had->n)
        set_had(o, had);
    int r = write_entry(state_dir, name, o, e);
    json_decref(o);
    return r;
}

/* ---- all ---- */

static void take(const char *state_dir, const char *name, struct spool *s)
{
    struct err ignored;
    json_t *o = spool_read(state_dir, name, &ignored);
    if (!o)
        return;
    const char *error = json_string_value(json_object_get(o, "error"));
    s->v = xgrow(s->v, s->n, sizeof *s->v);
    struct spooled *one = &s->v[s->n++];
    *one = (struct spooled){.target = xstrdup(json_string_value(json_object_get(o, "target"))),
                            .title = xstrdup(event_text(json_object_get(o, "event"), "title")),
                            .made = json_integer_value(json_object_get(o, "made")),
                            .next = json_integer_value(json_object_get(o, "next")),
                            .tries = (unsigned)json_integer_value(json_object_get(o, "tries")),
                            .refused = json_is_true(json_object_get(o, "refused")),
                            .partly = json_array_size(json_object_get(o, "had")) > 0,
                            .error = error ? xstrdup(error) : NULL};
    snprintf(one->name, sizeof one->name, "%s", name);
    json_decref(o);
}

static int by_name(const void *a, const void *b)
{
    const struct spooled *x = a, *y = b;
    return strcmp(x->name, y->name);
}

int spool_load(const char *state_dir, struct spool *ret, struct err *e)
{
    _cleanup_free_ char *folder = path_of(state_dir, "");
    *ret = (struct spool){0};
    DIR *d = opendir(folder);
    if (!d && errno == ENOENT)
        return 0;
    if (!d)
        return err_sys(e, "cannot read the folder of notifications '%s'", folder);
    for (struct dirent *entry; (entry = readdir(d)) && ret->n < 2 * SPOOL_MAX;)
        if (is_entry(entry->d_name))
            take(state_dir, entry->d_name, ret);
    closedir(d);
    if (ret->n)
        qsort(ret->v, ret->n, sizeof *ret->v, by_name);
    return 0;
}

void spool_release(struct spool *s)
{
    for (size_t i = 0; i < s->n; i++) {
        free(s->v[i].target);
        free(s->v[i].title);
        free(s->v[i].error);
    }
    free(s->v);
    *s = (struct spool){0};
}

void spool_sweep(const char *state_dir)
{
    _cleanup_free_ char *folder = path_of(state_dir, "");
    _cleanup_close_ int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        fs_sweep(fd, NULL, false);
}

/* How many there are; the oldest goes to *oldest. */
static size_t count_all(const char *folder, char oldest[SPOOL_NAME_MAX])
{
    size_t n = 0;
    DIR *d = opendir(folder);
    for (struct dirent *entry; d && (entry = readdir(d));) {
        if (!is_entry(entry->d_name))
            continue;
        if (n++ == 0 || strcmp(entry->d_name, oldest) < 0)
            snprintf(oldest, SPOOL_NAME_MAX, "%s", entry->d_name);
    }
    if (d)
        closedir(d);
    return n;
}

/* The oldest makes room: what is new says more. */
static int make_room(const char *state_dir, const char *folder, char **lost, struct err *e)
{
    char oldest[SPOOL_NAME_MAX];
    struct err ignored;
    while (count_all(folder, oldest) >= SPOOL_MAX) {
        json_t *o = spool_read(state_dir, oldest, &ignored);
        if (spool_remove(state_dir, oldest, e) < 0) {
            json_decref(o);
            return -1;
        }
        free(*lost);
        *lost = xasprintf("%d notifications wait: the oldest, '%s' for target '%s', is given up", SPOOL_MAX,
                          event_text(json_object_get(o, "event"), "title"), event_text(o, "target"));
        json_decref(o);
    }
    return 0;
}

int spool_add(const char *state_dir, const char *target, const json_t *event, int64_t now, char **lost,
              struct err *e)
{
    static unsigned count;
    char name[SPOOL_NAME_MAX];
    _cleanup_free_ char *folder = path_of(state_dir, "");
    *lost = NULL;
    if (fs_mkdir_p(folder, MODE_NOTES, e) < 0 || make_room(state_dir, folder, lost, e) < 0)
        return -1;
    /* in the order in which they were made, also of several processes */
    snprintf(name, sizeof name, "%012" PRId64 "-%05d-%06u" SUFFIX, now, (int)getpid() % 100000,
             count++ % 1000000);
    size_t size = json_dumpb(event, NULL, 0, JSON_COMPACT);
    if (size > EVENT_MAX)
        return err_set(e, ERR_DATA, 0, "it is too long: %zu bytes of at most %d", size, EVENT_MAX);
    json_t *o = json_pack("{s:s, s:I, s:I, s:i, s:O}", "target", target, "made", (json_int_t)now, "next",
                          (json_int_t)0, "tries", 0, "event", event);
    int r = o ? write_entry(state_dir, name, o, e)
              : err_set(e, ERR_DATA, 0, "a notification for target '%s' is no text", target);
    json_decref(o);
    return r;
}
