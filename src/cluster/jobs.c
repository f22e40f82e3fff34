#include "cluster/jobs.h"

#include "conf/digest.h"
#include "conf/lines.h"

#include <string.h>
#include <sys/stat.h>

static const char file_name[] = "replication.cfg", extras_name[] = "replication-ext.cfg";

/* Before it is read: who writes it then is seen by the next look. */
static void look_when_written(const struct tree *t, struct job_files *ret)
{
    struct stat st;
    _cleanup_free_ char *path = xasprintf("%s/%s", tree_root(t), file_name);
    if (stat(path, &st) < 0)
        return;
    ret->written = st.st_mtime;
    ret->stamp = (uint64_t)st.st_mtim.tv_sec * 1000000000 + (uint64_t)st.st_mtim.tv_nsec + (st.st_ino << 32);
}

static void job_files_release(struct job_files *f)
{
    buf_release(&f->text[0]);
    buf_release(&f->text[1]);
}

/* A job's own entry is written before the job and read behind it: without a lock too, no job is seen without
 * its properties. */
static int read_files(struct tree *t, struct job_files *ret, struct err *e)
{
    static const char *const names[] = {file_name, extras_name};
    look_when_written(t, ret);
    for (size_t i = 0; i < ELEMENTS(names); i++) {
        int r = tree_read(t, names[i], &ret->text[i], e);
        if (r < 0)
            return err_wrap(e, "cannot load the replication jobs");
        ret->has[i] = r == 0;
    }
    return 0;
}

/* What is set there alone is a change, too. Without it the digest is that of Proxmox VE. */
static void add_to_digest(const struct buf *extras, struct jobs *ret)
{
    _cleanup_buf_ struct buf all = BUF_INIT;
    if (!ret->extras.n || !*ret->digest)
        return;
    buf_adds(&all, ret->digest);
    buf_add(&all, extras->data, extras->len);
    digest_sha1(all.data, all.len, ret->digest);
}

static void parse(const struct job_files *f, struct jobs *ret)
{
    jobs_parse(file_name, f->has[0] ? buf_str(&f->text[0]) : NULL, f->text[0].len, ret);
    ret->written = f->written;
    ret->stamp = f->stamp;
    jobs_parse_extras(ret, extras_name, f->has[1] ? buf_str(&f->text[1]) : NULL, f->text[1].len);
    add_to_digest(&f->text[1], ret);
}

int jobs_load(struct tree *t, struct jobs *ret, struct err *e)
{
    _cleanup_(job_files_release) struct job_files f = {0};
    if (read_files(t, &f, e) < 0)
        return -1;
    parse(&f, ret);
    return 0;
}

static void sweep(struct tree *t)
{
    tree_sweep(t, file_name);
    tree_sweep(t, extras_name);
}

/* What has no section says that this is meant so, and says it no longer than that. */
static void print(const struct section_file *f, bool (*says)(const char *line, size_t len), const char *word,
                  struct buf *out)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    section_print(f, &text);
    struct lines l = LINES_INIT(buf_str(&text), text.len);
    while (lines_next(&l))
        if (!says(l.text, l.len))
            buf_add(out, l.raw, l.raw_len);
    if (!f->n && out->len && out->data[out->len - 1] != '\n')
        buf_addc(out, '\n');
    if (!f->n)
        buf_addf(out, "%s" JOBS_WHY "\n", word);
}

/* Nothing is written where nothing changes: most clusters never have this file, and of one that was lost or
 * emptied nobody here says that it is meant so. */
static int save_extras(struct tree *t, const struct jobs *j, struct err *e)
{
    _cleanup_buf_ struct buf old = BUF_INIT, new = BUF_INIT;
    print(&j->extras, jobs_says_plain, JOBS_PLAIN, &new);
    int has = tree_read(t, extras_name, &old, e);
    if (has < 0)
        return -1;
    if (has > 0 && j->emptied && j->file.n && !j->extras.n) /* the first job: no settings can be missed */
        return tree_write(t, extras_name, buf_str(&new), new.len, e);
    if (has == 0 && !j->extras.n && !j->file.n && !j->bare)
        return tree_remove(t, extras_name, e) < 0 ? -1 : 0;
    if (strcmp(buf_str(&old), buf_str(&new)) == 0 || (!j->extras.n && (has > 0 || j->bare)))
        return 0;
    return tree_write(t, extras_name, buf_str(&new), new.len, e);
}

/* After a crash in between, an entry without its job is left, never a job without its entry: that would be a
 * job that keeps one restore point and removes all others. */
int jobs_save(struct tree *t, struct jobs *j, struct err *e)
{
    sweep(t);
    _cleanup_buf_ struct buf text = BUF_INIT;
    print(&j->file, jobs_says_none, JOBS_NONE, &text);
    if (save_extras(t, j, e) < 0 || tree_write(t, file_name, buf_str(&text), text.len, e) < 0 ||
        (jobs_drop_extras(j) && save_extras(t, j, e) < 0))
        return err_wrap(e, "cannot save the replication jobs");
    return 0;
}

int jobs_sweep(struct tree *t, struct err *e)
{
    if (!tree_has_left(t, file_name) && !tree_has_left(t, extras_name))
        return 0;
    _cleanup_(tree_unlockp) struct tree_lock *lock = tree_lock(t, file_name, e);
    if (!lock)
        return -1;
    sweep(t);
    return 0;
}

/* Of a file that was emptied by mistake they are not: put back without them, its jobs would keep one restore
 * point each. */
static bool drop_gone(struct jobs *j)
{
    return *j->digest && !jobs_may_be_lost(j) && j->warnings.n == 0 && jobs_drop_extras(j);
}

int jobs_tidy_extras(struct tree *t, struct jobs *seen, struct err *e)
{
    struct jobs now;
    if (!drop_gone(seen))
        return 0;
    _cleanup_(tree_unlockp) struct tree_lock *lock = tree_lock(t, file_name, e);
    if (!lock || jobs_load(t, &now, e) < 0)
        return -1;
    int r = drop_gone(&now) ? save_extras(t, &now, e) : 0;
    jobs_release(&now);
    return r;
}

static bool is_misplaced(const struct job *job, const struct guest_list *guests, const char *node)
{
    if (job->source && strcmp(job->source, node) == 0)
        return false;
    const struct guest_entry *g = guests_find(guests, job->guest);
    return g && strcmp(g->node, node) == 0;
}

/* The first job whose guest is on `node` while its source says otherwise. */
static const struct job *find_misplaced(const struct jobs *j, const struct guest_list *guests,
                                        const char *node)
{
    for (size_t i = 0; i < j->n; i++)
        if (is_misplaced(&j->v[i], guests, node))
            return &j->v[i];
    return NULL;
}

static void note_misplaced(const struct jobs *j, const struct guest_list *guests, const char *node,
                           struct strv *ret)
{
    for (size_t i = 0; i < j->n; i++)
        if (is_misplaced(&j->v[i], guests, node))
            strv_add(ret, j->v[i].id);
}

/* True when anything changed. A repair puts every job of the guest right; one that does not would repeat for
 * ever, so each job is looked at once. */
static bool repair_all(struct jobs *j, const struct guest_list *guests, const char *node)
{
    bool changed = false;
    for (size_t i = 0; i < j->n; i++)
        if (is_misplaced(&j->v[i], guests, node) && jobs_repair_source(j, j->v[i].guest, node))
            changed = true;
    return changed;
}

/* Under the lock everything is read again: since the first look the guest may have moved on, and a migration
 * may have switched the jobs' direction already. */
static int repair(struct tree *t, const char *node, struct jobs *ret, struct err *e)
{
    _cleanup_(tree_unlockp) struct tree_lock *lock = tree_lock(t, file_name, e);
    struct guest_list guests = {0};
    if (!lock || guests_load(t, &guests, e) < 0)
        return -1;
    struct jobs jobs = {0};
    _cleanup_strv_ struct strv turned = STRV_INIT;
    int rc = jobs_load(t, &jobs, e);
    if (rc == 0)
        note_misplaced(&jobs, &guests, node, &turned);
    if (rc == 0 && repair_all(&jobs, &guests, node)) {
        rc = jobs_save(t, &jobs, e);
        jobs_release(&jobs);
        if (rc == 0)
            rc = jobs_load(t, &jobs, e); /* with the digest of what is in the file now */
    }
    guests_release(&guests);
    if (rc < 0) {
        jobs_release(&jobs);
        return -1;
    }
    jobs.turned = turned;
    turned = (struct strv)STRV_INIT;
    *ret = jobs;
    return 0;
}

/* They are shown as they will be, and do not run before that is in the file. The others are as good as
 * before. */
static void mark_misplaced(struct jobs *j, const struct guest_list *guests, const char *node,
                           const struct err *why)
{
    _cleanup_strv_ struct strv ids = STRV_INIT;
    note_misplaced(j, guests, node, &ids);
    repair_all(j, guests, node);
    for (size_t i = 0; i < ids.n; i++) {
        struct job *job = jobs_find(j, ids.v[i]);
        free(job->fault);
        job->fault =
            xasprintf("guest %u is on this node, but the source of its job cannot be set to '%s' yet: %s",
                      (unsigned)job->guest, node, why->text);
        job->unturned = true;
        strv_addf(&j->warnings, "job '%s' cannot run: %s", job->id, job->fault);
    }
}

enum putting {
    PUT_FAILED = -1, /* for now */
    PUT_NOTHING,
    PUT_RIGHT,
    PUT_ASIDE, /* it cannot be done: those jobs have a fault */
};

/* What is misplaced is put right in the file and in *jobs. */
static enum putting put_right(struct tree *t, const struct guest_list *guests, const char *node,
                              struct jobs *jobs, struct err *e)
{
    struct jobs repaired;
    const struct job *misplaced = find_misplaced(jobs, guests, node);
    if (!misplaced)
        return PUT_NOTHING;
    if (repair(t, node, &repaired, e) < 0) {
        if (e->kind == ERR_BUSY)
            return err_wrap(e, "cannot repair the source of job '%s'", misplaced->id);
        mark_misplaced(jobs, guests, node, e);
        return PUT_ASIDE;
    }
    jobs_release(jobs);
    *jobs = repaired;
    return PUT_RIGHT;
}

int jobs_load_repaired(struct tree *t, const struct guest_list *guests, const char *node, struct jobs *ret,
                       struct err *e)
{
    if (jobs_load(t, ret, e) < 0)
        return -1;
    if (put_right(t, guests, node, ret, e) != PUT_FAILED)
        return 0;
    jobs_release(ret);
    return -1;
}

/* ---- kept ---- */

static bool same_files(const struct jobs_kept *k, const struct job_files *f)
{
    for (size_t i = 0; i < ELEMENTS(f->text); i++) {
        const struct buf *was = &k->files.text[i], *is = &f->text[i];
        if (k->files.has[i] != f->has[i] || was->len != is->len ||
            memcmp(buf_str(was), buf_str(is), is->len) != 0)
            return false;
    }
    return k->loaded;
}

int jobs_again(struct tree *t, struct jobs_kept *k, struct err *e)
{
    struct job_files now = {0};
    int r = read_files(t, &now, e);
    if (r < 0 || same_files(k, &now)) {
        job_files_release(&now);
        return r;
    }
    uint64_t version = k->version + 1;
    jobs_kept_release(k);
    k->version = version;
    parse(&now, &k->jobs);
    k->files = now;
    k->loaded = true;
    return 1;
}

int jobs_again_repaired(struct tree *t, const struct guest_list *guests, const char *node,
                        struct jobs_kept *k, struct err *e)
{
    int r = jobs_again(t, k, e);
    if (r < 0)
        return -1;
    switch (put_right(t, guests, node, &k->jobs, e)) {
    case PUT_NOTHING:
        return r;
    case PUT_FAILED:
        jobs_kept_release(k);
        return -1;
    case PUT_ASIDE:
        k->loaded = false; /* the next time it may be done */
        return 1;
    case PUT_RIGHT:
        break;
    }
    struct strv turned = k->jobs.turned;
    k->jobs.turned = (struct strv)STRV_INIT;
    jobs_kept_release(k);
    r = jobs_again(t, k, e);
    strv_release(&k->jobs.turned);
    k->jobs.turned = turned;
    return r;
}

void jobs_kept_release(struct jobs_kept *k)
{
    jobs_release(&k->jobs);
    job_files_release(&k->files);
    *k = (struct jobs_kept){0};
}

char *jobs_lost_guest(const struct job *job, const struct guest_list *guests, const char *node)
{
    bool twice = guests_has_two(guests, job->guest);
    if ((job->source && strcmp(job->source, node) != 0) || guests_find(guests, job->guest))
        return NULL;
    if (job->remove != REMOVE_NOT && !twice)
        return xasprintf("there is no guest %u, so no run can remove job '%s': put the guest's configuration "
                         "file back, or remove the job alone with 'pvesr delete %s --force'; what it leaves "
                         "on both nodes 'pvesr doctor' names there",
                         (unsigned)job->guest, job->id, job->id);
    return twice ? xasprintf("guest %u has two configuration files: remove the one of the node that it does "
                             "not run on ('pvesr doctor' names them)",
                             (unsigned)job->guest)
                 : xasprintf("there is no guest %u: put its configuration file back, or remove the job with "
                             "'pvesr delete %s --force'",
                             (unsigned)job->guest, job->id);
}
