/* The steps of a run with their durations, for the journal. */
#pragma once

#include <stddef.h>

#define STEPS_MAX 32

struct steps {
    struct {
        const char *name;
        double seconds;
    } v[STEPS_MAX];
    size_t n;
    double since; /* when the current one began */
};

/* The current step ends, this one begins; `name` is a literal. The same name again adds up. */
void steps_enter(struct steps *s, const char *name);
/* The last step ends. JSON: [{"name":"plan","seconds":0.001},…]; malloc'ed. */
char *steps_finish(struct steps *s);
