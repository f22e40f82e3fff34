/* Work that takes long calls this now and then, so that whoever waits for it hears that it goes on. */
#pragma once

#include <stddef.h>

struct tick {
    void (*call)(void *arg); /* NULL: nobody waits */
    void *arg;
};

/* t may be NULL. */
static inline void tick_now(const struct tick *t)
{
    if (t && t->call)
        t->call(t->arg);
}
