#include "state/journalfile.h"

#include "base/mem.h"
#include "base/proc.h"

#include <string.h>
#include <sys/stat.h>

int journal_file_check(const char *path, struct err *e)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < ELEMENTS(suffixes); i++) {
        struct stat st;
        _cleanup_free_ char *file = xasprintf("%s%s", path, suffixes[i]);
        if (lstat(file, &st) == 0 && !S_ISREG(st.st_mode))
            return err_set(e, ERR_CONFIG, 0,
                           "the journal '%s' is no regular file: move it away, the next run begins a new one",
                           file);
    }
    return 0;
}

int journal_file_open(const char *path, int flags, sqlite3 **ret, int *code, struct err *e)
{
    *ret = NULL;
    if (journal_file_check(path, e) < 0)
        return -1;
    *code = sqlite3_open_v2(path, ret, flags | SQLITE_OPEN_NOFOLLOW, NULL);
    return 0;
}

bool journal_row_lives(sqlite3_stmt *row, int pid, int ptime, int boot)
{
    char now[PROC_BOOT_MAX];
    const char *at = (const char *)sqlite3_column_text(row, boot);
    uint64_t start = (uint64_t)sqlite3_column_int64(row, ptime);
    proc_boot(now);
    return at && strcmp(at, now) == 0 && start &&
           proc_start_time((pid_t)sqlite3_column_int(row, pid)) == start;
}
