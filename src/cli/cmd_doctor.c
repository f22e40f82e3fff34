/* doctor: what is left over of replication on this node. */
#include "cli/commands.h"

#include "view/json.h"
#include "cli/lines.h"
#include "run/recover/doctor.h"
#include "run/takeover.h"

#include <stdio.h>

/* guest 0: it is of none. */
static void say(json_t *list, uint32_t guest, const char *state, const char *volid, const char *text)
{
    if (list)
        json_array_append_new(list, json_pack("{s:I,s:o,s:o,s:o}", "guest", (json_int_t)guest, "state",
                                              json_text(state), "volid", json_text(volid), "text",
                                              json_text(text)));
    else
        put_line(stdout, "%-8s %-32s %s", state, volid, text);
}

/* On a Proxmox VE node, who starts jobs. */
static void say_takeover(json_t *list, struct findings *found)
{
    struct err e;
    _cleanup_free_ char *text = NULL;
    int r = takeover_status("", &text, &e);
    if (r < 0)
        strv_addf(&found->problems, "takeover: %s", e.text);
    else if (r == 0)
        say(list, 0, "takeover", "-", text);
}

int cmd_doctor(struct env *env, const struct args *a, struct err *e)
{
    struct findings found;
    struct doctor_options o = {.guest = (uint32_t)a->value[P_GUEST].integer,
                               .repair = a->value[P_REPAIR].flag,
                               .free = &a->value[P_FREE].list};
    if (env_members_with_us(env, e) < 0 || doctor_look(env, &o, &found, e) < 0)
        return -1;
    json_t *list = args_want_json(a) ? json_array() : NULL;
    for (size_t i = 0; i < found.n; i++)
        say(list, found.v[i].guest, finding_state_name(found.v[i].state), found.v[i].volid, found.v[i].text);
    if (!a->value[P_GUEST].given)
        say_takeover(list, &found);
    if (list)
        json_put(list, false);
    const struct strv *said[] = {&found.warnings, &found.problems};
    for (size_t k = 0; k < ELEMENTS(said); k++)
        for (size_t i = 0; i < said[k]->n; i++)
            put_line(stderr, "warning: %s", said[k]->v[i]);
    size_t problems = found.problems.n;
    findings_release(&found);
    return problems
               ? err_set(e, ERR_SYSTEM, 0, "not everything could be looked at or removed: see the warnings")
               : 0;
}
