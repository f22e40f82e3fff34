#include "access/stamp.h"

#include "access/ticket.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void stamp_print(int64_t now, char out[STAMP_LEN + 1])
{
    snprintf(out, STAMP_LEN + 1, "%08" PRIX32, (uint32_t)now);
}

bool stamp_parse(const char *text, int64_t *ret)
{
    static const char hex[] = "0123456789ABCDEF";
    *ret = 0;
    for (size_t i = 0; i < STAMP_LEN; i++) {
        const char *digit = text[i] ? strchr(hex, text[i]) : NULL;
        if (!digit)
            return false;
        *ret = *ret << 4 | (digit - hex);
    }
    return true;
}

int stamp_check(const char *what, int64_t stamp, int64_t now, struct err *e)
{
    if (stamp - now > TICKET_AHEAD)
        return err_set(e, ERR_USAGE, 0, "%s is from the future (%" PRId64 " s): compare the clocks", what,
                       stamp - now);
    if (now - stamp > TICKET_LIFE)
        return err_set(e, ERR_USAGE, 0, "%s has expired (%" PRId64 " s old)", what, now - stamp);
    return 0;
}
