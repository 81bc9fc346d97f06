/* The state's rows on a host's disk: flushed behind the log, whole or not at all. */
#include "sim.h"

#include <string.h>

#include "base/check.h"

struct sim_row {
    struct blob *key, *value;
};

static void row_done(struct sim_row *row)
{
    blob_unref(row->key);
    blob_unref(row->value);
}

static void rows_clear(struct sim_rows *rows)
{
    for (uint32_t i = 0; i < rows->count; i++) {
        row_done(&rows->items[i]);
    }
    rows->count = 0;
}

void states_done(struct sim_rows *rows)
{
    rows_clear(rows);
    mem_free(rows->items);
}

void states_copy(const struct sim_rows *from, struct sim_rows *to)
{
    *to = *from;
    to->items = from->count ? mem_dup(from->items, from->count * sizeof *from->items) : NULL;
    to->capacity = from->count;
    for (uint32_t i = 0; i < to->count; i++) {
        (void)blob_ref(to->items[i].key);
        (void)blob_ref(to->items[i].value);
    }
}

static uint32_t find(const struct sim_rows *rows, const void *key, size_t size)
{
    uint32_t i = 0;

    while (i < rows->count &&
           (rows->items[i].key->size != size || memcmp(rows->items[i].key->data, key, size) != 0)) {
        i++;
    }
    return i;
}

static void write_row(struct sim_rows *rows, const struct state_rows *from, uint32_t number)
{
    const struct state_row *row = &from->rows[number];
    const uint8_t *bytes = from->bytes.data;
    uint32_t at = find(rows, bytes + row->key_at, row->key_size);

    if (at < rows->count) {
        row_done(&rows->items[at]);
        rows->items[at] = rows->items[--rows->count];
    }
    if (row->deleted) {
        return;
    }
    if (rows->count == rows->capacity) {
        rows->capacity = rows->capacity ? rows->capacity * 2 : 32;
        rows->items = mem_realloc(rows->items, rows->capacity * sizeof *rows->items);
    }
    rows->items[rows->count++] =
        (struct sim_row){.key = blob_copy(bytes + row->key_at, row->key_size),
                         .value = blob_copy(bytes + row->value_at, row->value_size)};
}

static void write_flush(struct sim_rows *rows, const struct node_flush *flush)
{
    if (flush->anew) {
        rows_clear(rows);
    }
    for (uint32_t i = 0; i < flush->rows.count; i++) {
        write_row(rows, &flush->rows, i);
    }
    rows->mark = flush->mark;
}

void states_turn(struct sim *s, struct sim_host *h)
{
    if (h->flush || !node_flush_wanted(h->node) || !sim_chance(s, s->knobs.flush_chance)) {
        return;
    }
    h->flush = node_flush_take(h->node);
    sim_trace(s, h, "flushes its state as of %llu", (unsigned long long)h->flush->mark.index);
    struct sim_event *e =
        sim_push(s, SIM_EV_FLUSHED, s->now + sim_range(s, s->knobs.disk_min, 4 * s->knobs.disk_max),
                 (uint8_t)(h->id - 1));
    e->life = h->life;
}

void states_flushed(struct sim *s, struct sim_host *h)
{
    bool fits = !sim_chance(s, 50000);

    sim_trace(s, h, "its state %s on disk as of %llu", fits ? "is" : "does not fit",
              (unsigned long long)h->flush->mark.index);
    if (fits) {
        write_flush(&h->store->rows, h->flush);
    }
    h->flush = NULL;
    (fits ? node_flushed : node_flush_failed)(h->node);
}

void states_crash(struct sim *s, struct sim_host *h)
{
    if (h->flush && sim_chance(s, 500000)) {
        write_flush(&h->store->rows, h->flush);
    }
    h->flush = NULL;
}

void states_restore(struct sim_host *h)
{
    const struct sim_rows *rows = &h->store->rows;

    for (uint32_t i = 0; i < rows->count; i++) {
        const struct sim_row *row = &rows->items[i];
        rd_assert(node_restore_row(h->node, row->key->data, row->key->size, row->value->data,
                                   row->value->size) == 0);
    }
}

void states_restored(struct sim *s, struct sim_host *h)
{
    const struct node_mark *mark = &h->store->rows.mark;

    if (mark->index && node_restore_applied(h->node, mark)) {
        sim_violation(s, h, "restart: its state as of %llu does not fit its log, or its digest",
                      (unsigned long long)mark->index);
    }
}
