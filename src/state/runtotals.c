#include "state/runtotals.h"

#include "base/mem.h"
#include "state/journalfile.h"

#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>

#define BUSY_MS 2000

struct run_totals_reader {
    char *path;
    sqlite3 *db;                 /* NULL: there is no journal yet */
    sqlite3_stmt *counts, *open; /* by job and since: over, and not complete */
    sqlite3_stmt *last;          /* by job */
};

static int failed(const struct run_totals_reader *r, struct err *e)
{
    return err_set(e, ERR_SYSTEM, 0, "cannot read the journal '%s': %s", r->path, sqlite3_errmsg(r->db));
}

static int prepare(struct run_totals_reader *r, struct err *e)
{
    int code;
    if (journal_file_open(r->path, SQLITE_OPEN_READONLY, &r->db, &code, e) < 0)
        return -1;
    if (code == SQLITE_OK) {
        sqlite3_busy_timeout(r->db, BUSY_MS);
        code = sqlite3_prepare_v2(
            r->db, "SELECT result, count(*) FROM run WHERE job = ?1 AND start >= ?2 GROUP BY result", -1,
            &r->counts, NULL);
    }
    if (code == SQLITE_OK)
        code = sqlite3_prepare_v2(
            r->db, "SELECT pid, ptime, boot FROM run WHERE job = ?1 AND start >= ?2 AND result = 'running'",
            -1, &r->open, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_prepare_v2(r->db,
                                  "SELECT bytes, delta FROM run WHERE job = ?1 AND result = 'ok' "
                                  "ORDER BY start DESC LIMIT 1",
                                  -1, &r->last, NULL);
    return code == SQLITE_OK ? 0 : failed(r, e);
}

struct run_totals_reader *run_totals_open(const char *state_dir, struct err *e)
{
    struct run_totals_reader *r = xcalloc(1, sizeof *r);
    r->path = xasprintf("%s/pvesr-journal.db", state_dir);
    struct stat st;
    if (lstat(r->path, &st) < 0 || prepare(r, e) == 0)
        return r;
    run_totals_free(r);
    return NULL;
}

void run_totals_free(struct run_totals_reader *r)
{
    if (!r)
        return;
    sqlite3_finalize(r->counts);
    sqlite3_finalize(r->open);
    sqlite3_finalize(r->last);
    sqlite3_close(r->db);
    free(r->path);
    free(r);
}

static void take_count(sqlite3_stmt *row, struct run_totals *ret)
{
    const char *result = (const char *)sqlite3_column_text(row, 0);
    uint64_t *slots[] = {&ret->ok, &ret->failed, &ret->postponed, &ret->interrupted};
    static const char *const names[] = {"ok", "failed", "postponed", "interrupted"};
    for (size_t i = 0; i < ELEMENTS(names); i++)
        if (result && strcmp(result, names[i]) == 0)
            *slots[i] = (uint64_t)sqlite3_column_int64(row, 1);
}

static int count(struct run_totals_reader *r, struct run_totals *ret, struct err *e)
{
    int code;
    while ((code = sqlite3_step(r->counts)) == SQLITE_ROW)
        take_count(r->counts, ret);
    while (code == SQLITE_DONE && (code = sqlite3_step(r->open)) == SQLITE_ROW) {
        ret->interrupted += !journal_row_lives(r->open, 0, 1, 2);
        code = SQLITE_DONE;
    }
    if (code == SQLITE_DONE && (code = sqlite3_step(r->last)) == SQLITE_ROW) {
        ret->known = true;
        ret->bytes = (uint64_t)sqlite3_column_int64(r->last, 0);
        ret->delta = (uint64_t)sqlite3_column_int64(r->last, 1);
    }
    return code == SQLITE_ROW || code == SQLITE_DONE ? 0 : failed(r, e);
}

int run_totals_get(struct run_totals_reader *r, const char *job, int64_t since, struct run_totals *ret,
                   struct err *e)
{
    *ret = (struct run_totals){0};
    if (!r->db)
        return 0;
    sqlite3_stmt *const since_when[] = {r->counts, r->open};
    for (size_t i = 0; i < ELEMENTS(since_when); i++) {
        sqlite3_bind_text(since_when[i], 1, job, -1, SQLITE_STATIC);
        sqlite3_bind_int64(since_when[i], 2, since);
    }
    sqlite3_bind_text(r->last, 1, job, -1, SQLITE_STATIC);
    int rc = count(r, ret, e);
    sqlite3_reset(r->counts);
    sqlite3_reset(r->open);
    sqlite3_reset(r->last);
    return rc;
}
