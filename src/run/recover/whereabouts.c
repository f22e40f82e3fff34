#include "run/recover/whereabouts.h"

#include "base/mem.h"
#include "conf/storagemap.h"
#include "run/known.h"
#include "run/snapshot.h"

#include <inttypes.h>
#include <string.h>

void where_release(struct where *w)
{
    free(w->volid);
    strv_release(&w->notes);
    *w = (struct where){0};
}

bool where_job_leads(const struct where_ask *a, const struct job *job)
{
    const char *node = a->env->settings.node;
    return job->guest == a->guest.id &&
           (strcmp(job->target, node) == 0 || (a->here && job->source && strcmp(job->source, node) == 0));
}

char *where_by_map(struct env *env, const struct job *job, const char *volid, struct err *e)
{
    _cleanup_storagemap_ struct storagemap map = {0};
    if (storagemap_parse(job->target_storage, &map, e) < 0) {
        err_wrap(e, "target-storage of job '%s'", job->id);
        return NULL;
    }
    return storagemap_volid(&map, &env->storages, volid, e);
}

/* ---- one place ---- */

struct candidate {
    struct where where;
    char newest[SNAPSHOT_NAME_MAX + 1]; /* restore point of a run; "": it has none */
    bool has_point;                     /* where_ask.point */
};

static bool has_point_of(const struct snapshots *all, const char *job)
{
    for (size_t i = 0; i < all->n; i++)
        if (snapshot_is_of_job(all->v[i].name, job))
            return true;
    return false;
}

/* Was it the guest's disk when the job last ran from here? Nothing on it tells that: another node's own disk
 * looks the same, where both nodes see one storage, and so does what a former guest of this id left. */
static bool is_own(const struct where_ask *a, struct volume *v, const struct snapshots *all, bool *seems)
{
    bool is = false;
    for (size_t i = 0; !is && i < a->jobs->n; i++) {
        struct err ignored;
        const struct job *job = &a->jobs->v[i];
        _cleanup_(known_release) struct known was = {0};
        if (!where_job_leads(a, job) || !has_point_of(all, job->id))
            continue;
        _cleanup_free_ char *path = known_path(a->env->settings.state_dir, job->id);
        *seems = true;
        is = a->as_is || (known_load(path, &was, &ignored) == 0 && known_has(&was, a->config, v));
    }
    return is;
}

static int never_received(const struct where_ask *a, const char *volid, bool seems, struct err *e)
{
    if (!seems)
        return err_set(e, ERR_DATA, 0, "volume '%s' was never received on this node", volid);
    return err_set(e, ERR_DATA, 0,
                   "volume '%s' was never received on this node, and nothing tells that it is the disk that "
                   "guest %" PRIu32 " had here when its job last ran (it was made anew since, or the note of "
                   "that run is lost): if it is, --as-is takes it as it is",
                   volid, a->guest.id);
}

static void note_points(const struct where_ask *a, const struct snapshots *all, struct candidate *ret)
{
    for (size_t i = 0; i < all->n; i++) {
        const char *name = all->v[i].name;
        if (!snapshot_is_of_guest(name, a->guest.id))
            continue;
        if (snapshot_epoch(name) > snapshot_epoch(ret->newest))
            strcpy(ret->newest, name);
        ret->has_point = ret->has_point || (a->point && strcmp(a->point, name) == 0);
    }
}

/* Its restore points may be left: of a replica whose removal was cut. */
static int not_there(const struct where_ask *a, struct env_volume *v, struct err *e)
{
    _cleanup_snapshots_ struct snapshots all = {0};
    struct candidate c = {0};
    struct err ignored;
    if (volume_snapshots(v->volume, &all, &ignored) == 0)
        note_points(a, &all, &c);
    err_set(e, ERR_GONE, 0, "no such volume '%s' on node '%s'", v->volid, a->env->settings.node);
    if (*c.newest)
        err_set(
            e, ERR_GONE, 0,
            "of volume '%s' only restore points are left on node '%s', the newest '%s': 'pvesr clone %" PRIu32
            " %s NEWID' makes disks of another guest of it",
            v->volid, a->env->settings.node, c.newest, a->guest.id, c.newest);
    return -1;
}

static int look_into(const struct where_ask *a, struct env_volume *v, struct candidate *ret, struct err *e)
{
    struct volume_info info;
    _cleanup_snapshots_ struct snapshots all = {0};
    char owner[32] = "", base[SNAPSHOT_ID_LEN + 1] = "";
    bool seems = false;
    /* a commit may have been cut */
    if (volume_tidy(v->volume, e) < 0 || volume_info(v->volume, &info, e) < 0)
        return -1;
    if (!info.exists)
        return not_there(a, v, e);
    if (volume_replica(v->volume, owner, base, e) < 0 || volume_snapshots(v->volume, &all, e) < 0)
        return -1;
    bool by_name = a->here && strv_has(a->named, v->volid);
    bool unmarked = !*owner && !*base; /* one whose storage was moved has the latter */
    ret->where.own = unmarked && !by_name && is_own(a, v->volume, &all, &seems);
    if (unmarked && !by_name && !ret->where.own)
        return never_received(a, v->volid, seems, e);
    const struct snapshot *s = *base ? snapshots_find_id(&all, base) : NULL;
    if (s)
        strcpy(ret->where.point, s->name);
    note_points(a, &all, ret);
    return 0;
}

static int look_at(const struct where_ask *a, const char *volid, struct candidate *ret, struct err *e)
{
    struct env_volume v;
    *ret = (struct candidate){0};
    if (env_volume_open(a->env, volid, a->guest.id, &v, e) < 0)
        return -1;
    int r = look_into(a, &v, ret, e);
    if (r == 0)
        ret->where.volid = xstrdup(volid);
    env_volume_close(&v);
    return r;
}

/* ---- several ---- */

/* Does the guest, which is here, have what no restore point shows? What cannot be told counts as that. */
static bool lives_on(const struct where_ask *a, const struct candidate *c)
{
    struct env_volume v;
    struct err ignored;
    char owner[32] = "", base[SNAPSHOT_ID_LEN + 1] = "";
    if (!a->here || !strv_has(a->named, c->where.volid))
        return false;
    if (env_volume_open(a->env, c->where.volid, a->guest.id, &v, &ignored) < 0)
        return true;
    bool is = volume_replica(v.volume, owner, base, &ignored) < 0 || !*base ||
              volume_differs(v.volume, base, &ignored) != 0;
    env_volume_close(&v);
    return is;
}

static bool is_better(const struct where_ask *a, const struct candidate *c, const struct candidate *than)
{
    if (a->point && c->has_point != than->has_point)
        return c->has_point;
    return snapshot_epoch(c->newest) > snapshot_epoch(than->newest);
}

static void note_passed(const struct candidate *c, const struct candidate *by, struct strv *notes)
{
    if (strcmp(c->newest, by->newest) != 0)
        strv_addf(notes, "'%s' is here, too, with %s%s; it is not taken, and stays as it is", c->where.volid,
                  *c->newest ? "its newest restore point " : "no restore point", c->newest);
}

static void consider(const struct where_ask *a, struct candidate *c, struct candidate *best)
{
    bool first = !best->where.volid;
    bool takes = first || (is_better(a, c, best) && !lives_on(a, best));
    struct strv notes = best->where.notes;
    best->where.notes = (struct strv)STRV_INIT;
    if (!first)
        note_passed(takes ? best : c, takes ? c : best, &notes);
    where_release(takes ? &best->where : &c->where);
    if (takes)
        *best = *c;
    best->where.notes = notes;
}

/* Where the map leads from a disk of the guest to another one's name, each of the two has one place only. */
static void list_places(const struct where_ask *a, const char *volid, struct strv *ret, struct err *e)
{
    bool own_name = true;
    if (a->here)
        strv_add(ret, volid);
    for (size_t i = 0; i < a->jobs->n; i++) {
        if (!where_job_leads(a, &a->jobs->v[i]))
            continue;
        _cleanup_free_ char *there = where_by_map(a->env, &a->jobs->v[i], volid, e);
        bool others = there && strcmp(there, volid) != 0 && strv_has(a->named, there);
        own_name = own_name && !others;
        if (there && !(others && a->here))
            strv_add_once(ret, there);
    }
    if (own_name)
        strv_add_once(ret, volid);
}

int where_is(const struct where_ask *a, const char *volid, struct where *ret, struct err *e)
{
    _cleanup_strv_ struct strv places = STRV_INIT;
    struct candidate best = {0};
    struct err why = {0};
    list_places(a, volid, &places, &why);
    for (size_t i = 0; i < places.n; i++) {
        struct err problem = {0};
        struct candidate c;
        if (look_at(a, places.v[i], &c, &problem) == 0)
            consider(a, &c, &best);
        else if (why.kind == ERR_NONE)
            why = problem;
    }
    *ret = best.where;
    if (!ret->volid)
        *e = why;
    return ret->volid ? 0 : -1;
}
