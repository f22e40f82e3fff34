/* takeover: does the stock scheduler of a Proxmox VE node leave replication to pvesrd? */
#include "cli/commands.h"

#include "run/takeover.h"

#include <stdio.h>
#include <string.h>

int cmd_takeover(struct env *env, const struct args *a, struct err *e)
{
    const char *what = args_text(a, P_TAKEOVER), *given = args_text(a, P_ROOT);
    const char *root = given && strcmp(given, "/") != 0 ? given : "";
    _cleanup_free_ char *said = NULL;
    if (strcmp(what, "status") != 0 &&
        takeover_set(root, strcmp(what, "on") == 0, a->value[P_RUNTIME].flag, e) < 0)
        return -1;
    if (takeover_status(root, &said, e) < 0)
        return -1;
    puts(said ? said : "none: there is no pvescheduler here");
    return 0;
}
