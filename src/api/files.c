#include "api/files.h"

#include "base/fs.h"
#include "base/mem.h"
#include "conf/digest.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DEPTH_MAX 4

static const struct {
    const char *suffix, *type;
} types[] = {
    {".html", "text/html; charset=utf-8"},
    {".js", "text/javascript; charset=utf-8"},
    {".css", "text/css; charset=utf-8"},
    {".svg", "image/svg+xml"},
    {".png", "image/png"},
    {".woff2", "font/woff2"},
};

static const char *type_of(const char *name)
{
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < ELEMENTS(types); i++)
        if (strcmp(dot, types[i].suffix) == 0)
            return types[i].type;
    return NULL;
}

static int add_file(struct files *f, const char *real, const char *path, const char *type, struct err *e)
{
    char digest[41];
    _cleanup_buf_ struct buf text = BUF_INIT;
    if (f->n == FILES_MAX)
        return err_set(e, ERR_DATA, 0, "'%s' is one file too many: %d are served at most", real, FILES_MAX);
    if (fs_read(real, FILE_BYTES_MAX, &text, e) < 0)
        return -1;
    digest_sha1(buf_str(&text), text.len, digest);
    struct file *one = &f->v[f->n++];
    *one = (struct file){.path = xstrdup(path), .type = type, .len = text.len};
    snprintf(one->etag, sizeof one->etag, "\"%s\"", digest);
    one->data = buf_take(&text);
    return 0;
}

static int add_folder(struct files *f, const char *real, const char *path, int depth, struct err *e);

static int add(struct files *f, const char *real, const char *path, int depth, struct err *e)
{
    struct stat st;
    const char *type = type_of(path);
    if (stat(real, &st) < 0)
        return err_set(e, ERR_SYSTEM, errno, "cannot read '%s'", real);
    if (S_ISDIR(st.st_mode))
        return depth < DEPTH_MAX ? add_folder(f, real, path, depth + 1, e) : 0;
    return S_ISREG(st.st_mode) && type ? add_file(f, real, path, type, e) : 0;
}

static int add_folder(struct files *f, const char *real, const char *path, int depth, struct err *e)
{
    int r = 0;
    DIR *d = opendir(real);
    if (!d && errno == ENOENT && depth == 0)
        return 0;
    if (!d)
        return err_set(e, ERR_SYSTEM, errno, "cannot read the folder '%s'", real);
    for (struct dirent *entry; r == 0 && (entry = readdir(d));) {
        _cleanup_free_ char *real_one = xasprintf("%s/%s", real, entry->d_name);
        _cleanup_free_ char *one = xasprintf("%s/%s", path, entry->d_name);
        if (*entry->d_name != '.')
            r = add(f, real_one, one, depth, e);
    }
    closedir(d);
    return r;
}

int files_load(const char *folder, struct files *ret, struct err *e)
{
    *ret = (struct files){.v = xcalloc(FILES_MAX, sizeof *ret->v)};
    if (add_folder(ret, folder, "", 0, e) == 0)
        return 0;
    files_release(ret);
    return -1;
}

void files_release(struct files *f)
{
    for (size_t i = 0; i < f->n; i++) {
        free(f->v[i].path);
        free(f->v[i].data);
    }
    free(f->v);
    *f = (struct files){0};
}

const struct file *files_find(const struct files *f, const char *uri)
{
    size_t n = strcspn(uri, "?");
    bool top = n == 1 && *uri == '/';
    for (size_t i = 0; i < f->n; i++) {
        const char *path = f->v[i].path;
        if (top ? strcmp(path, "/index.html") == 0 : strlen(path) == n && memcmp(path, uri, n) == 0)
            return &f->v[i];
    }
    return NULL;
}

bool file_is_known(const struct file *f, const char *if_none_match)
{
    return if_none_match && strstr(if_none_match, f->etag);
}
