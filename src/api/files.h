/* Files for a browser, from one folder: all are read when the daemon starts, and a request is looked up among
 * their names and nowhere else, so that no path can lead out. Links are followed as whoever laid the folder
 * out meant them. */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define FILES_MAX 500
#define FILE_BYTES_MAX (4 << 20)

struct file {
    char *path; /* as in a request: "/views/log.js" */
    const char *type;
    char etag[48]; /* with its quotes */
    char *data;
    size_t len;
};

struct files {
    struct file *v;
    size_t n;
};

/* Hidden files, and those that are none for a browser (by their suffix), are left out. A folder that is not
 * there has no files. */
int files_load(const char *folder, struct files *ret, struct err *e);
void files_release(struct files *f);
/* Of a request's path, escapes and all: "/" is "/index.html"; what is behind a '?' does not count. NULL:
 * none. */
const struct file *files_find(const struct files *f, const char *uri);
/* Is it one that the browser has, by its If-None-Match (NULL: not sent)? */
bool file_is_known(const struct file *f, const char *if_none_match);
