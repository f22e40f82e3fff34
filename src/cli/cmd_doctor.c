/* doctor: what is left over of replication on this node. */
#include "cli/commands.h"

#include "cli/json.h"
#include "run/recover/doctor.h"

#include <stdio.h>

static json_t *finding_json(const struct finding *f)
{
    json_t *o = json_object();
    json_object_set_new(o, "state", json_text(finding_state_name(f->state)));
    json_object_set_new(o, "volid", json_text(f->volid));
    json_object_set_new(o, "text", json_text(f->text));
    return o;
}

int cmd_doctor(struct env *env, const struct args *a, struct err *e)
{
    struct findings found;
    if (doctor_look(env, (uint32_t)a->value[P_GUEST].integer, a->value[P_REPAIR].flag, &found, e) < 0)
        return -1;
    if (args_want_json(a)) {
        json_t *list = json_array();
        for (size_t i = 0; i < found.n; i++)
            json_array_append_new(list, finding_json(&found.v[i]));
        json_put(list, false);
    } else {
        for (size_t i = 0; i < found.n; i++)
            printf("%-8s %-32s %s\n", finding_state_name(found.v[i].state), found.v[i].volid,
                   found.v[i].text);
    }
    const struct strv *said[] = {&found.warnings, &found.problems};
    for (size_t k = 0; k < ELEMENTS(said); k++)
        for (size_t i = 0; i < said[k]->n; i++)
            fprintf(stderr, "warning: %s\n", said[k]->v[i]);
    size_t problems = found.problems.n;
    findings_release(&found);
    return problems ? err_set(e, ERR_SYSTEM, 0, "not every guest could be dealt with: see the warnings") : 0;
}
