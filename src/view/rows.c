#include "view/rows.h"

#include "base/hash.h"
#include "view/json.h"

#include <string.h>

#define APART 7 /* seconds within which rows of one age are made anew: not all in one list */

void rows_release(struct rows *r)
{
    for (size_t i = 0; i < r->n; i++)
        buf_release(&r->v[i].text);
    free(r->v);
    *r = (struct rows){0};
}

static uint64_t with(uint64_t so_far, uint64_t more)
{
    uint64_t both[] = {so_far, more};
    return hash_bytes(both, sizeof both);
}

static uint64_t with_text(uint64_t so_far, const char *text)
{
    return with(so_far, hash_bytes(text, strlen(text)));
}

static uint64_t with_guests(uint64_t h, const struct guest_entry *v, size_t n)
{
    h = with(h, n);
    for (size_t i = 0; i < n; i++)
        h = with_text(with(h, (uint64_t)v[i].id << 1 | (v[i].type == GUEST_LXC)), v[i].node);
    return h;
}

/* Of what is the same for all rows. */
static uint64_t made_of(const struct world *w, uint64_t jobs)
{
    uint64_t h = with_guests(with_text(jobs, w->node), w->guests.v, w->guests.n);
    h = with_guests(h, w->guests.twice, w->guests.n_twice);
    for (size_t i = 0; i < w->members.n; i++)
        h = with(with_text(h, w->members.v[i].node.name), w->members.v[i].online);
    return h;
}

/* Nothing but time and its state makes another one of it. */
static bool is_steady(const json_t *row)
{
    static const char *const unsteady[] = {"pid", "error", "overdue", "postponed"};
    for (size_t i = 0; i < ELEMENTS(unsteady); i++)
        if (json_object_get(row, unsteady[i]))
            return false;
    return true;
}

static void make(struct row *row, const struct world *w, const struct job *job, int64_t now)
{
    json_t *o = w->states ? world_state(w, job, now) : world_config(w, job);
    if (!o)
        return;
    json_print(o, false, &row->text);
    row->text.data[--row->text.len] = '\0';
    row->text.room = row->text.len + 1; /* it stays */
    row->text.data = xrealloc(row->text.data, row->text.room);
    row->until = is_steady(o) ? now + ROWS_SECONDS - job->guest % APART : 0;
    json_decref(o);
}

static bool is_good(const struct row *was, const struct row *is, int64_t now)
{
    return strcmp(was->id, is->id) == 0 && was->state == is->state && was->until > now &&
           was->until <= now + ROWS_SECONDS;
}

void rows_look(struct rows *r, const struct world *w, uint64_t jobs, int64_t now)
{
    _cleanup_free_ const struct job **sorted = world_by_id(w);
    struct rows is = {.v = xcalloc(world_jobs(w) + 1, sizeof *is.v), .made_of = made_of(w, jobs)};
    size_t was = is.made_of == r->made_of ? 0 : r->n;
    for (; is.n < world_jobs(w); is.n++) {
        const struct job *job = sorted[is.n];
        struct row *row = &is.v[is.n];
        *row = (struct row){.guest = job->guest,
                            .state = w->states ? job_states_stamp(w->states, job->guest, job->target) : 0};
        memcpy(row->id, job->id, sizeof row->id);
        while (was < r->n && strcmp(r->v[was].id, row->id) < 0)
            was++;
        if (was < r->n && is_good(&r->v[was], row, now)) {
            *row = r->v[was];
            r->v[was++].text = (struct buf)BUF_INIT;
        } else {
            make(row, w, job, now);
        }
    }
    rows_release(r);
    *r = is;
}
