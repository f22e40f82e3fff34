#include "view/run.h"

#include "view/json.h"

json_t *run_json(const struct journal_run *run)
{
    json_t *o = json_object();
    json_object_set_new(o, "job", json_text(run->job));
    json_object_set_new(o, "node", json_text(run->node));
    json_object_set_new(o, "target", json_text(run->target));
    json_object_set_new(o, "start", json_integer(run->start));
    json_object_set_new(o, "result", json_text(run->result));
    json_object_set_new(o, "bytes", json_integer((json_int_t)run->bytes));
    json_object_set_new(o, "delta", json_integer((json_int_t)run->delta));
    if (run->duration >= 0)
        json_object_set_new(o, "duration", json_real(whole_microseconds(run->duration)));
    if (run->error) {
        json_object_set_new(o, "error", json_text(run->error));
        json_object_set_new(o, "error-kind", json_text(run->err_kind));
    }
    json_t *steps = run->steps ? json_loads(run->steps, 0, NULL) : NULL;
    if (steps)
        json_object_set_new(o, "steps", steps);
    if (run->log)
        json_object_set_new(o, "log", json_text(run->log));
    return o;
}
