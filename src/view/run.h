/* A run of the journal, as `pvesr history` and the API show it. */
#pragma once

#include "state/journal.h"

#include <jansson.h>

/* New. What is not known (the duration of a run that has not ended, a log that was not asked for) is left
 * out. */
json_t *run_json(const struct journal_run *run);
