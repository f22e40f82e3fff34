/* The first byte chooses the moment, the rest is the text of an event. */
#include "conf/calendar.h"

#include <stdio.h>
#include <string.h>

static void check(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e = {0};
    _cleanup_buf_ struct buf text = BUF_INIT, again = BUF_INIT;
    if (size < 1)
        return 0;
    setenv("TZ", data[0] & 1 ? "Europe/Vienna" : "Australia/Lord_Howe", 1);
    _cleanup_free_ char *input = xstrndup((const char *)data + 1, size - 1);
    _cleanup_(calendar_freep) struct calendar *c = calendar_parse(input, &e);
    if (!c)
        return 0;
    calendar_print(c, &text);
    check(text.len <= strlen(input) + 3 || text.len <= CALENDAR_TEXT_MAX, "the canonical text grew");
    _cleanup_(calendar_freep) struct calendar *second = calendar_parse(buf_str(&text), &e);
    check(second && calendar_equal(c, second), "the canonical text means something else");
    calendar_print(second, &again);
    check(strcmp(buf_str(&text), buf_str(&again)) == 0, "printing is not stable");

    _cleanup_free_ char *portable = calendar_portable(input);
    _cleanup_(calendar_freep) struct calendar *third = calendar_parse(portable, &e);
    check(third && calendar_equal(c, third) && strlen(portable) <= strlen(input),
          "what the described tool reads means something else");
    for (const char *p = portable; (p = strstr(p, "*/0")); p++)
        check(strspn(p + 2, "0123456789") > strspn(p + 2, "0"), "the described tool does not read it");

    int64_t last = (int64_t)data[0] * 9000000, next, later;
    if (calendar_next(c, last, &next)) {
        check(next > last, "the next event lies in the past");
        check(calendar_next(c, next - 1, &later) && later == next,
              "the event is not found from just before it");
        if (next - last > 1)
            check(calendar_next(c, last + (next - last) / 2, &later) && later <= next, "the event was lost");
    }
    return 0;
}
