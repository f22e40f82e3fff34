/* Memory: out of memory aborts, so no caller checks. Cleanup attributes free at the end of the scope; results
 * are handed over with take_ptr/take_fd on the last line of a constructor.
 *
 *     _cleanup_free_ char *text = xasprintf("%s/%s", dir, name);
 *     _cleanup_close_ int fd = open(…);
 *     …
 *     *ret = take_ptr(text);
 */
#pragma once

#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

void *xmalloc(size_t n);
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *p, size_t n);
/* Room for `count` elements of `size`; aborts when the product overflows. */
void *xreallocarray(void *p, size_t count, size_t size);
/* Room for one more element of `size` behind the first `count` of an array, which doubles. All of the array
 * must have been made by this function (removing from it is fine): what was made for exactly `count` has no
 * such room. */
void *xgrow(void *p, size_t count, size_t size);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static inline void cleanup_freep(void *p)
{
    free(*(void **)p);
}

static inline void cleanup_closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

#define _cleanup_(fn) __attribute__((cleanup(fn)))
#define _cleanup_free_ _cleanup_(cleanup_freep)
#define _cleanup_close_ _cleanup_(cleanup_closep)

#define take_ptr(p)                                                                                          \
    ({                                                                                                       \
        __typeof__(p) taken_ = (p);                                                                          \
        (p) = NULL;                                                                                          \
        taken_;                                                                                              \
    })

static inline int take_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

/* Defines the cleanup function of a type whose destructor takes a pointer: CLEANUP_FUNC(plan_free, struct
 * plan) gives plan_freep for use as _cleanup_(plan_freep). */
#define CLEANUP_FUNC(destroy, type)                                                                          \
    static inline void destroy##p(type **p)                                                                  \
    {                                                                                                        \
        if (*p)                                                                                              \
            destroy(*p);                                                                                     \
    }

#define ELEMENTS(a) (sizeof(a) / sizeof *(a))
