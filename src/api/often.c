#include "api/often.h"

unsigned often_over(struct often *o, int64_t now)
{
    unsigned held = o->held;
    if (now - o->since < OFTEN_SECONDS)
        return 0;
    *o = (struct often){.since = now};
    return held;
}

bool often_may(struct often *o, int64_t now, unsigned *held)
{
    *held = often_over(o, now);
    if (o->said >= OFTEN_LINES) {
        o->held++;
        return false;
    }
    o->said++;
    return true;
}
