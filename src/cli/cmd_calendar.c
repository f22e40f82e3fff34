#include "cli/commands.h"

#include "base/clock.h"
#include "conf/calendar.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static void print_event(int64_t epoch)
{
    char text[64];
    struct tm tm;
    time_t t = epoch;
    if (!localtime_r(&t, &tm) || strftime(text, sizeof text, "%a %Y-%m-%d %H:%M:%S %Z", &tm) == 0)
        text[0] = 0;
    printf("%" PRId64 " %s\n", epoch, text);
}

int cmd_calendar(struct env *env, const struct args *a, struct err *e)
{
    _cleanup_(calendar_freep) struct calendar *c = calendar_parse(args_text(a, P_EXPR), e);
    if (!c)
        return -1;
    int64_t last = args_given(a, P_AFTER) ? a->value[P_AFTER].integer : clock_epoch();
    for (int64_t i = 0; i < a->value[P_ITERATIONS].integer; i++) {
        int64_t next;
        if (!calendar_next(c, last, &next)) {
            if (i == 0)
                puts("never");
            break;
        }
        print_event(next);
        last = next;
    }
    return 0;
}
