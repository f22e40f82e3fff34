#include "api/logfile.h"

#include "base/buf.h"
#include "base/mem.h"
#include "view/json.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define LOG_MAX (4 << 20)
#define LOG_LINE_MAX 4096

static void add_line(json_t *list, uint64_t number, const char *text)
{
    json_t *o = json_object();
    json_object_set_new(o, "n", json_integer((json_int_t)number));
    json_object_set_new(o, "t", json_text(text));
    json_array_append_new(list, o);
}

/* 0, or an errno. */
static int read_log(const char *path, struct buf *text)
{
    struct stat st;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return EINVAL;
    while (text->len < LOG_MAX) {
        ssize_t n = read(fd, buf_reserve(text, 65536), 65535);
        if (n < 0 && errno != EINTR)
            return errno;
        if (n == 0)
            break;
        text->len += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static uint64_t add_lines(json_t *list, const struct buf *text, uint64_t start, uint64_t limit)
{
    uint64_t number = 0;
    for (const char *p = buf_str(text), *end = p + text->len; p < end;) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((newline ? newline : end) - p);
        number++;
        if (number > start && (limit == 0 || number - start <= limit)) {
            _cleanup_free_ char *line = xstrndup(p, n < LOG_LINE_MAX ? n : LOG_LINE_MAX);
            add_line(list, number, line);
        }
        p += n + 1;
    }
    return number;
}

json_t *logfile_json(const char *path, uint64_t start, uint64_t limit, uint64_t *total)
{
    json_t *list = json_array();
    _cleanup_buf_ struct buf text = BUF_INIT;
    int code = read_log(path, &text);
    *total = 1;
    if (code) {
        _cleanup_free_ char *why = xasprintf("unable to open file - %s", strerror(code));
        add_line(list, 1, why);
    } else if (text.len == 0) {
        add_line(list, 1, "no content");
    } else {
        *total = add_lines(list, &text, start, limit);
    }
    return list;
}
