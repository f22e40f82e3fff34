#include "cli/size.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>

void print_size(uint64_t bytes, char out[32])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes / 1024;
    size_t unit = 0;
    if (bytes < 1024) {
        snprintf(out, 32, "%" PRIu64 " B", bytes);
        return;
    }
    for (; value >= 999.95 && unit + 1 < ELEMENTS(units); unit++)
        value /= 1024;
    snprintf(out, 32, "%.1f %s", value, units[unit]);
}
