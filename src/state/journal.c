#include "state/journal.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/refusal.h"
#include "base/lock.h"
#include "base/modes.h"
#include "base/proc.h"
#include "base/strv.h"
#include "state/journalfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SCHEMA_VERSION = 1, BUSY_MS = 5000, READER_BUSY_MS = 100, KEEP_PER_JOB = 10 };

struct journal {
    sqlite3 *db;
    char *path;
    char *notice;
};

/* A process is named by pid, start time and boot: the first two come back after a reboot. */
static const char schema[] = "PRAGMA auto_vacuum = INCREMENTAL;"
                             "BEGIN IMMEDIATE;"
                             "CREATE TABLE IF NOT EXISTS run ("
                             " row INTEGER PRIMARY KEY AUTOINCREMENT,"
                             " job TEXT NOT NULL, node TEXT NOT NULL, target TEXT NOT NULL,"
                             " start INTEGER NOT NULL, duration REAL,"
                             " result TEXT NOT NULL, err_kind TEXT NOT NULL, error TEXT,"
                             " bytes INTEGER NOT NULL, delta INTEGER NOT NULL, steps TEXT, log TEXT,"
                             " pid INTEGER NOT NULL, ptime INTEGER NOT NULL, boot TEXT NOT NULL);"
                             "CREATE INDEX IF NOT EXISTS run_by_job ON run (job, start);"
                             "CREATE INDEX IF NOT EXISTS run_by_start ON run (start);"
                             "PRAGMA user_version = 1;"
                             "COMMIT;";

static int db_error(struct journal *j, int code, const char *what, struct err *e)
{
    static const struct {
        int code;
        enum err_kind kind;
    } kinds[] = {
        {SQLITE_BUSY, ERR_BUSY},   {SQLITE_LOCKED, ERR_BUSY},  {SQLITE_FULL, ERR_FULL},
        {SQLITE_NOTADB, ERR_DATA}, {SQLITE_CORRUPT, ERR_DATA},
    };
    enum err_kind kind = ERR_SYSTEM;
    for (size_t i = 0; i < ELEMENTS(kinds); i++)
        if ((code & 0xff) == kinds[i].code)
            kind = kinds[i].kind;
    int system = j->db ? sqlite3_system_errno(j->db) : 0;
    bool refused = kind == ERR_FULL || (code & 0xff) == SQLITE_CANTOPEN || (code & 0xff) == SQLITE_READONLY ||
                   (code & 0xff) == SQLITE_IOERR;
    if (refused && (system || kind == ERR_FULL)) {
        err_set(e, kind, system ? system : ENOSPC, "cannot %s the journal '%s'", what, j->path);
        refusal_explain(e, j->path);
        return -1;
    }
    struct err flag;
    bool barred = (code & 0xff) == SQLITE_READONLY && refusal_barred(j->path, &flag) < 0;
    return err_set(e, kind, 0, "cannot %s the journal '%s': %s", what, j->path,
                   barred  ? flag.text
                   : j->db ? sqlite3_errmsg(j->db)
                           : sqlite3_errstr(code));
}

/* The first value that a PRAGMA gives, as text. */
static int pragma(struct journal *j, const char *sql, char ret[16], struct err *e)
{
    sqlite3_stmt *s = NULL;
    int code = sqlite3_prepare_v2(j->db, sql, -1, &s, NULL);
    if (code == SQLITE_OK && (code = sqlite3_step(s)) == SQLITE_ROW)
        snprintf(ret, 16, "%s", (const char *)sqlite3_column_text(s, 0));
    sqlite3_finalize(s);
    return code == SQLITE_ROW ? 0 : db_error(j, code, "read", e);
}

/* sqlite.org, "Result codes", SQLITE_BUSY: the busy timeout isn't applied where waiting could be a deadlock,
 * and two processes that make the file a write-ahead-logged one at once meet that. So one at a time does it.
 */
static struct lock *take_lock(const struct journal *j, struct err *e)
{
    _cleanup_free_ char *path = xasprintf("%s.lck", j->path);
    return lock_take(path, true, 10, false, e);
}

static int set_up(struct journal *j, struct err *e)
{
    char mode[16];
    _cleanup_(lock_freep) struct lock *lock = take_lock(j, e);
    if (!lock)
        return -1;
    int code = sqlite3_exec(j->db, schema, NULL, NULL, NULL);
    if (code != SQLITE_OK)
        return db_error(j, code, "set up", e);
    return pragma(j, "PRAGMA journal_mode = WAL", mode, e);
}

/* Before SQLite opens it: its log and index get the modes of the database. No descriptor of a database that
 * somebody in this process may have open is closed here: that would release SQLite's locks. What cannot be
 * done here, SQLite will say. */
static void make_private(const struct journal *j)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", ".lck"};
    _cleanup_close_ int made = open(j->path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, MODE_LOG);
    (void)made;
    for (size_t i = 0; i < ELEMENTS(suffixes); i++) {
        _cleanup_free_ char *path = xasprintf("%s%s", j->path, suffixes[i]);
        struct stat st;
        if (lstat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_mode & 0777 & ~MODE_LOG)
            (void)!chmod(path, st.st_mode & MODE_LOG);
    }
}

/* A lost journal loses history only, so a commit need not wait for the disk (synchronous=NORMAL), and a run's
 * last close need not move the log into the database (it is done every 250 pages instead). */
static int open_db(struct journal *j, struct err *e)
{
    char version[16], mode[16];
    int code;
    make_private(j);
    if (journal_file_open(j->path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &j->db, &code, e) < 0)
        return -1;
    if (code != SQLITE_OK)
        return db_error(j, code, "open", e);
    sqlite3_busy_timeout(j->db, BUSY_MS);
    sqlite3_db_config(j->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_db_config(j->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    if (pragma(j, "PRAGMA user_version", version, e) < 0 || pragma(j, "PRAGMA journal_mode", mode, e) < 0)
        return -1;
    if (atoi(version) > SCHEMA_VERSION)
        return err_set(e, ERR_CONFIG, 0,
                       "the journal '%s' is of version %s, made by a newer pvesr: update this one", j->path,
                       version);
    if ((atoi(version) == 0 || strcmp(mode, "wal") != 0) && set_up(j, e) < 0)
        return -1;
    code = sqlite3_exec(j->db,
                        "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -512;"
                        "PRAGMA wal_autocheckpoint = 250;",
                        NULL, NULL, NULL);
    return code == SQLITE_OK ? 0 : db_error(j, code, "open", e);
}

static void close_db(struct journal *j)
{
    sqlite3_close_v2(j->db);
    j->db = NULL;
}

static int quick_check(struct journal *j)
{
    sqlite3_stmt *s = NULL;
    bool ok = sqlite3_prepare_v2(j->db, "PRAGMA quick_check(1)", -1, &s, NULL) == SQLITE_OK &&
              sqlite3_step(s) == SQLITE_ROW && strcmp((const char *)sqlite3_column_text(s, 0), "ok") == 0;
    sqlite3_finalize(s);
    return ok ? 0 : -1;
}

/* The write-ahead log goes with its database: applied to a new one it would damage that too. */
static int move_aside(struct journal *j, struct err *e)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    _cleanup_free_ char *aside = xasprintf("%s.damaged-%" PRId64, j->path, clock_epoch());
    for (size_t i = 0; i < ELEMENTS(suffixes); i++) {
        _cleanup_free_ char *from = xasprintf("%s%s", j->path, suffixes[i]);
        _cleanup_free_ char *to = xasprintf("%s%s", aside, suffixes[i]);
        if (fs_exists(from) && rename(from, to) < 0)
            return err_sys(e, "cannot move the damaged journal '%s' aside", from);
    }
    free(j->notice);
    j->notice = xasprintf("the journal '%s' was damaged; it is kept as '%s', and a new one was begun",
                          j->path, aside);
    return 0;
}

/* Only one process moves the file: the next one finds a sound one under the lock. */
static int replace_damaged(struct journal *j, struct err *e)
{
    _cleanup_(lock_freep) struct lock *lock = take_lock(j, e);
    if (!lock)
        return -1;
    close_db(j);
    if (open_db(j, e) == 0 && quick_check(j) == 0)
        return 0;
    close_db(j);
    return move_aside(j, e) < 0 ? -1 : open_db(j, e);
}

struct journal *journal_open(const char *state_dir, struct err *e)
{
    if (fs_mkdir_p(state_dir, MODE_FOLDER, e) < 0)
        return NULL;
    struct journal *j = xcalloc(1, sizeof *j);
    j->path = xasprintf("%s/pvesr-journal.db", state_dir);
    int rc = open_db(j, e);
    if (rc < 0 && e->kind == ERR_DATA)
        rc = replace_damaged(j, e);
    if (rc < 0) {
        journal_free(j);
        return NULL;
    }
    return j;
}

/* Where no run has made it yet, an empty one. */
static int open_to_read(struct journal *j, struct err *e)
{
    char version[16];
    int code;
    bool there = faccessat(AT_FDCWD, j->path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    if (!there)
        code = sqlite3_open(":memory:", &j->db);
    else if (journal_file_open(j->path, SQLITE_OPEN_READONLY, &j->db, &code, e) < 0)
        return -1;
    if (code != SQLITE_OK)
        return db_error(j, code, "open", e);
    sqlite3_busy_timeout(j->db, READER_BUSY_MS);
    if (pragma(j, "PRAGMA user_version", version, e) < 0)
        return -1;
    if (there && atoi(version) == 0) {
        close_db(j);
        code = sqlite3_open(":memory:", &j->db);
    }
    if (code == SQLITE_OK && atoi(version) == 0)
        code = sqlite3_exec(j->db, schema, NULL, NULL, NULL);
    return code == SQLITE_OK ? 0 : db_error(j, code, "open", e);
}

struct journal *journal_open_to_read(const char *state_dir, struct err *e)
{
    struct journal *j = xcalloc(1, sizeof *j);
    j->path = xasprintf("%s/pvesr-journal.db", state_dir);
    if (open_to_read(j, e) == 0)
        return j;
    journal_free(j);
    return NULL;
}

void journal_free(struct journal *j)
{
    if (!j)
        return;
    close_db(j);
    free(j->path);
    free(j->notice);
    free(j);
}

const char *journal_notice(const struct journal *j)
{
    return j->notice;
}

static void bind_text(sqlite3_stmt *s, int at, const char *text)
{
    if (text)
        sqlite3_bind_text(s, at, text, -1, SQLITE_TRANSIENT);
    else
        sqlite3_bind_null(s, at);
}

/* Parameters 1 to 12, the same in INSERT and UPDATE. */
static void bind_run(sqlite3_stmt *s, const struct journal_run *run)
{
    bind_text(s, 1, run->job);
    bind_text(s, 2, run->node);
    bind_text(s, 3, run->target);
    sqlite3_bind_int64(s, 4, run->start);
    if (run->duration >= 0)
        sqlite3_bind_double(s, 5, run->duration);
    else
        sqlite3_bind_null(s, 5);
    bind_text(s, 6, run->result);
    bind_text(s, 7, run->err_kind);
    bind_text(s, 8, run->error);
    sqlite3_bind_int64(s, 9, (sqlite3_int64)run->bytes);
    sqlite3_bind_int64(s, 10, (sqlite3_int64)run->delta);
    bind_text(s, 11, run->steps);
    bind_text(s, 12, run->log);
}

static int prepare(struct journal *j, const char *sql, sqlite3_stmt **ret, struct err *e)
{
    int code = sqlite3_prepare_v2(j->db, sql, -1, ret, NULL);
    return code == SQLITE_OK ? 0 : db_error(j, code, "use", e);
}

/* Steps a statement that gives no rows, and finalizes it. */
static int finish(struct journal *j, sqlite3_stmt *s, struct err *e)
{
    int code = sqlite3_step(s);
    int rc = code == SQLITE_DONE ? 0 : db_error(j, code, "write", e);
    sqlite3_finalize(s);
    return rc;
}

static int insert(struct journal *j, const struct journal_run *run, int64_t *row, struct err *e)
{
    sqlite3_stmt *s;
    char boot[PROC_BOOT_MAX];
    if (prepare(j,
                "INSERT INTO run (job, node, target, start, duration, result, err_kind, error, bytes, delta,"
                " steps, log, pid, ptime, boot) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15)",
                &s, e) < 0)
        return -1;
    bind_run(s, run);
    proc_boot(boot);
    sqlite3_bind_int64(s, 13, getpid());
    sqlite3_bind_int64(s, 14, (sqlite3_int64)proc_start_time(getpid()));
    bind_text(s, 15, boot);
    if (finish(j, s, e) < 0)
        return -1;
    *row = sqlite3_last_insert_rowid(j->db);
    return 0;
}

int journal_begin(struct journal *j, struct journal_run *run, struct err *e)
{
    snprintf(run->result, sizeof run->result, "running");
    run->duration = -1;
    if (insert(j, run, &run->row, e) == 0)
        return 0;
    if (e->kind != ERR_DATA || replace_damaged(j, e) < 0)
        return -1;
    return insert(j, run, &run->row, e);
}

/* By row, job and start: in a journal begun anew the row may be another run's. */
static int update(struct journal *j, const struct journal_run *run, struct err *e)
{
    sqlite3_stmt *s;
    int64_t row;
    if (prepare(j,
                "UPDATE run SET node=?2, target=?3, duration=?5, result=?6, err_kind=?7, error=?8, bytes=?9,"
                " delta=?10, steps=?11, log=?12 WHERE job=?1 AND start=?4 AND row=?13",
                &s, e) < 0)
        return -1;
    bind_run(s, run);
    sqlite3_bind_int64(s, 13, run->row);
    if (finish(j, s, e) < 0)
        return -1;
    return sqlite3_changes(j->db) ? 0 : insert(j, run, &row, e);
}

int journal_end(struct journal *j, const struct journal_run *run, struct err *e)
{
    if (update(j, run, e) == 0)
        return 0;
    if (e->kind != ERR_DATA || replace_damaged(j, e) < 0)
        return -1;
    return update(j, run, e);
}

static int set_error(struct journal *j, int64_t pid, const char *how, struct err *e)
{
    sqlite3_stmt *s;
    char boot[PROC_BOOT_MAX];
    if (prepare(j, "UPDATE run SET error=?1, err_kind='system' WHERE result='running' AND pid=?2 AND boot=?3",
                &s, e) < 0)
        return -1;
    proc_boot(boot);
    bind_text(s, 1, how);
    sqlite3_bind_int64(s, 2, pid);
    bind_text(s, 3, boot);
    return finish(j, s, e);
}

/* Unless it has a row, which is complete then. */
static int insert_killed(struct journal *j, int64_t pid, const struct journal_run *run, struct err *e)
{
    sqlite3_stmt *s;
    char boot[PROC_BOOT_MAX];
    if (prepare(
            j,
            "INSERT INTO run (job, node, target, start, duration, result, err_kind, error, bytes, delta,"
            " steps, log, pid, ptime, boot) SELECT ?1,?2,?3,?4,NULL,'interrupted','system',?5,0,0,NULL,"
            "NULL,?6,0,?7 WHERE ?6<0 OR NOT EXISTS (SELECT 1 FROM run WHERE pid=?6 AND boot=?7 AND job=?1 AND"
            " start>=?4)",
            &s, e) < 0)
        return -1;
    proc_boot(boot);
    bind_text(s, 1, run->job);
    bind_text(s, 2, run->node);
    bind_text(s, 3, run->target);
    sqlite3_bind_int64(s, 4, run->start);
    bind_text(s, 5, run->error);
    sqlite3_bind_int64(s, 6, pid);
    bind_text(s, 7, boot);
    return finish(j, s, e);
}

int journal_killed(struct journal *j, int64_t pid, const struct journal_run *run, struct err *e)
{
    if (set_error(j, pid, run->error, e) < 0)
        return -1;
    return sqlite3_changes(j->db) ? 0 : insert_killed(j, pid, run, e);
}

static void copy_column(char *out, size_t room, sqlite3_stmt *s, int column)
{
    const char *text = (const char *)sqlite3_column_text(s, column);
    snprintf(out, room, "%s", text ? text : "");
}

/* The newest rows of a job (NULL: of all), newest first; `more` narrows them. Which run is the newer one
 * tells its row: a start may be of a clock that was set since. */
static int select_runs(struct journal *j, const char *columns, const char *job, unsigned limit,
                       const char *more, sqlite3_stmt **ret, struct err *e)
{
    _cleanup_free_ char *sql =
        xasprintf("SELECT %s FROM run WHERE row IN (SELECT row FROM run %s ORDER BY row DESC LIMIT ?2)%s"
                  " ORDER BY row DESC",
                  columns, job ? "WHERE job = ?1" : "", more);
    if (prepare(j, sql, ret, e) < 0)
        return -1;
    bind_text(*ret, 1, job);
    sqlite3_bind_int64(*ret, 2, limit ? (sqlite3_int64)limit : -1);
    return 0;
}

/* Rows of runs that did not record their end and whose processes are gone, newest first. */
struct cut_runs {
    int64_t *row;
    size_t n, at;
};

/* A run records its end and is gone then. So the processes are looked at first: what is read after that has
 * the end of each that is gone, if it recorded one. */
static int find_cut(struct journal *j, const char *job, unsigned limit, struct cut_runs *ret, struct err *e)
{
    sqlite3_stmt *s;
    if (select_runs(j, "row, pid, ptime, boot", job, limit, " AND result = 'running'", &s, e) < 0)
        return -1;
    int code;
    while ((code = sqlite3_step(s)) == SQLITE_ROW) {
        if (journal_row_lives(s, 1, 2, 3))
            continue;
        ret->row = xgrow(ret->row, ret->n, sizeof *ret->row);
        ret->row[ret->n++] = sqlite3_column_int64(s, 0);
    }
    int rc = code == SQLITE_DONE ? 0 : db_error(j, code, "read", e);
    sqlite3_finalize(s);
    return rc;
}

/* Asked in the order of the rows. */
static bool was_cut(struct cut_runs *cut, int64_t row)
{
    while (cut->at < cut->n && cut->row[cut->at] > row)
        cut->at++;
    return cut->at < cut->n && cut->row[cut->at] == row;
}

#define RUN_COLUMNS "row, job, node, target, start, duration, result, err_kind, error, bytes, delta, steps, "

/* The texts belong to the statement's row: valid until the next step. */
static void read_run(sqlite3_stmt *s, struct cut_runs *cut, struct journal_run *run)
{
    *run = (struct journal_run){.row = sqlite3_column_int64(s, 0)};
    copy_column(run->job, sizeof run->job, s, 1);
    copy_column(run->node, sizeof run->node, s, 2);
    copy_column(run->target, sizeof run->target, s, 3);
    run->start = sqlite3_column_int64(s, 4);
    run->duration = sqlite3_column_type(s, 5) == SQLITE_NULL ? -1 : sqlite3_column_double(s, 5);
    copy_column(run->result, sizeof run->result, s, 6);
    copy_column(run->err_kind, sizeof run->err_kind, s, 7);
    run->error = (char *)sqlite3_column_text(s, 8);
    run->bytes = (uint64_t)sqlite3_column_int64(s, 9);
    run->delta = (uint64_t)sqlite3_column_int64(s, 10);
    run->steps = (char *)sqlite3_column_text(s, 11);
    run->log = (char *)sqlite3_column_text(s, 12);
    if (strcmp(run->result, "running") == 0 && was_cut(cut, run->row))
        snprintf(run->result, sizeof run->result, "interrupted");
}

int journal_list(struct journal *j, const char *job, unsigned limit, bool logs,
                 bool (*each)(const struct journal_run *, void *), void *arg, struct err *e)
{
    sqlite3_stmt *s;
    struct cut_runs cut = {0};
    const char *columns = logs ? RUN_COLUMNS "log" : RUN_COLUMNS "NULL";
    if (find_cut(j, job, limit, &cut, e) < 0 || select_runs(j, columns, job, limit, "", &s, e) < 0) {
        free(cut.row);
        return -1;
    }
    int code;
    while ((code = sqlite3_step(s)) == SQLITE_ROW) {
        struct journal_run run;
        read_run(s, &cut, &run);
        if (!each(&run, arg)) {
            code = SQLITE_DONE;
            break;
        }
    }
    int rc = code == SQLITE_DONE ? 0 : db_error(j, code, "read", e);
    sqlite3_finalize(s);
    free(cut.row);
    return rc;
}

int journal_prune(struct journal *j, const char *job, int64_t before, struct err *e)
{
    sqlite3_stmt *s;
    _cleanup_free_ char *sql = xasprintf(
        "DELETE FROM run WHERE %s start < ?1 AND (SELECT count(*) FROM (SELECT 1 FROM run AS newer"
        " WHERE newer.job = run.job AND (newer.start, newer.row) > (run.start, run.row) LIMIT ?2)) >= ?2",
        job ? "job = ?3 AND" : "");
    if (prepare(j, sql, &s, e) < 0)
        return -1;
    sqlite3_bind_int64(s, 1, before);
    sqlite3_bind_int64(s, 2, KEEP_PER_JOB);
    if (job)
        sqlite3_bind_text(s, 3, job, -1, SQLITE_STATIC);
    if (finish(j, s, e) < 0)
        return -1;
    if (!sqlite3_changes(j->db))
        return 0;
    int code = sqlite3_exec(j->db, "PRAGMA incremental_vacuum;", NULL, NULL, NULL);
    return code == SQLITE_OK ? 0 : db_error(j, code, "shrink", e);
}

/* Of the jobs that have rows so old. */
static int list_old(struct journal *j, int64_t before, struct strv *ret, struct err *e)
{
    sqlite3_stmt *s;
    int code;
    if (prepare(j, "SELECT DISTINCT job FROM run WHERE start < ?1", &s, e) < 0)
        return -1;
    sqlite3_bind_int64(s, 1, before);
    while ((code = sqlite3_step(s)) == SQLITE_ROW) {
        const char *job = (const char *)sqlite3_column_text(s, 0);
        strv_add(ret, job ? job : "");
    }
    int rc = code == SQLITE_DONE ? 0 : db_error(j, code, "read", e);
    sqlite3_finalize(s);
    return rc;
}

static int delete_old(struct journal *j, const char *job, int64_t before, unsigned *most, struct err *e)
{
    sqlite3_stmt *s;
    if (prepare(j,
                "DELETE FROM run WHERE row IN (SELECT row FROM run WHERE job = ?1 AND start < ?2 LIMIT ?3)",
                &s, e) < 0)
        return -1;
    sqlite3_bind_text(s, 1, job, -1, SQLITE_STATIC);
    sqlite3_bind_int64(s, 2, before);
    sqlite3_bind_int64(s, 3, *most);
    int r = finish(j, s, e);
    *most -= r == 0 ? (unsigned)sqlite3_changes(j->db) : 0;
    return r;
}

int journal_sweep(struct journal *j, bool (*there)(const char *job, void *arg), void *arg, int64_t before,
                  unsigned most, struct err *e)
{
    _cleanup_strv_ struct strv old = STRV_INIT;
    unsigned left = most;
    int r = list_old(j, before, &old, e);
    for (size_t i = 0; r == 0 && i < old.n; i++)
        if (there(old.v[i], arg))
            r = journal_prune(j, old.v[i], before, e);
        else if (left)
            r = delete_old(j, old.v[i], before, &left, e);
    if (r < 0 || left == most)
        return r;
    int code = sqlite3_exec(j->db, "PRAGMA incremental_vacuum;", NULL, NULL, NULL);
    return code == SQLITE_OK ? 0 : db_error(j, code, "shrink", e);
}
