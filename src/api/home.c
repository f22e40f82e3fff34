#include "api/home.h"

#include "cluster/members.h"
#include "state/jobstate.h"

int home_check(struct tree *t, const struct settings *s, struct err *e)
{
    struct members members = {0};
    if (members_load(t, &members, e) < 0)
        return -1;
    int r = members_check_node(t, &members, s->node, job_states_had_any(s->state_dir), e);
    members_release(&members);
    return r;
}
