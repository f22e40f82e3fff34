#include "view/changes.h"

#include "base/hash.h"
#include "view/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct change_row {
    char id[sizeof((struct job *)0)->id];
    uint32_t guest;
    uint64_t state, row;   /* hashes of what is in the file, and of what clients get */
    const struct job *job; /* during a look */
};

struct look {
    const struct world *world;
    int64_t now;
    bool states_only;
    void (*found)(const struct change *change, void *arg);
    void *arg;
};

void changes_release(struct changes *c)
{
    free(c->rows);
    *c = (struct changes){0};
}

static int by_id(const void *a, const void *b)
{
    const struct change_row *x = a, *y = b;
    return strcmp(x->id, y->id);
}

/* As they are now, not compared yet. Of two of one id, of which one cannot be read, one counts. */
static struct changes rows_of(const struct world *w)
{
    size_t all = world_jobs(w);
    struct changes c = {.rows = xcalloc(all + 1, sizeof *c.rows)};
    for (size_t i = 0; i < all; i++) {
        const struct job *job = world_job(w, i);
        struct change_row *row = &c.rows[i];
        *row = (struct change_row){
            .guest = job->guest, .state = job_states_stamp(w->states, job->guest, job->target), .job = job};
        memcpy(row->id, job->id, sizeof row->id);
    }
    qsort(c.rows, all, sizeof *c.rows, by_id);
    for (size_t i = 0; i < all; i++)
        if (c.n == 0 || strcmp(c.rows[c.n - 1].id, c.rows[i].id) != 0)
            c.rows[c.n++] = c.rows[i];
    return c;
}

static void tell(const struct look *l, enum change_kind kind, const struct change_row *row,
                 const struct buf *text)
{
    struct change change = {kind, row->guest, buf_str(text), text->len};
    if (l->found)
        l->found(&change, l->arg);
}

static void print_row(const struct look *l, const struct change_row *row, struct buf *text)
{
    json_t *o = world_state(l->world, row->job, l->now);
    if (!o)
        o = world_config(l->world, row->job);
    json_print(o, false, text);
    json_decref(o);
    if (text->len && text->data[text->len - 1] == '\n')
        text->data[--text->len] = '\0';
}

static void compare(const struct look *l, const struct change_row *was, struct change_row *row)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    if (was && l->states_only && was->state == row->state) {
        row->row = was->row;
        return;
    }
    print_row(l, row, &text);
    row->row = hash_bytes(text.data, text.len);
    if (!was || was->row != row->row)
        tell(l, was ? CHANGE_CHANGED : CHANGE_ADDED, row, &text);
}

static void tell_gone(const struct look *l, const struct change_row *was)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    buf_addf(&text, "{\"guest\":%" PRIu32 ",\"id\":\"%s\"}", was->guest, was->id);
    tell(l, CHANGE_REMOVED, was, &text);
}

void changes_look(struct changes *c, const struct world *w, int64_t now, bool states_only,
                  void (*found)(const struct change *change, void *arg), void *arg)
{
    struct look l = {w, now, states_only, found, arg};
    struct changes is = rows_of(w);
    size_t was = 0;
    for (size_t i = 0; i < is.n; i++) {
        int order = 1;
        while (was < c->n && (order = by_id(&c->rows[was], &is.rows[i])) < 0)
            tell_gone(&l, &c->rows[was++]);
        compare(&l, was < c->n && order == 0 ? &c->rows[was++] : NULL, &is.rows[i]);
    }
    while (was < c->n)
        tell_gone(&l, &c->rows[was++]);
    changes_release(c);
    *c = is;
}
