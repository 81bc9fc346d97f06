/* The state's rows on a host's disk: flushed behind the log, whole or not at all. */
#include "sim.h"

#include <string.h>

#include "base/check.h"
#include "base/err.h"
#include "state/stream.h"

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
    raft_point_done(&rows->mark.at);
    mem_free(rows->items);
}

void states_copy(const struct sim_rows *from, struct sim_rows *to)
{
    *to = *from;
    to->items = from->count ? mem_dup(from->items, from->count * sizeof *from->items) : NULL;
    to->capacity = from->count;
    (void)blob_ref(to->mark.at.membership);
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
    raft_point_done(&rows->mark.at);
    rows->mark = flush->mark;
    (void)blob_ref(rows->mark.at.membership);
}

void states_turn(struct sim *s, struct sim_host *h)
{
    bool wanted = !h->flush && node_flush_wanted(h->node);

    if (!wanted || (!node_flush_is_urgent(h->node) && !sim_chance(s, s->knobs.flush_chance))) {
        return;
    }
    h->flush = node_flush_take(h->node);
    sim_trace(s, h, "flushes its state as of %llu%s", (unsigned long long)h->flush->mark.at.index,
              h->flush->mark.installed ? ", a snapshot" : "");
    sim_us took = sim_range(s, s->knobs.disk_min, 4 * s->knobs.disk_max);
    if (h->flush->mark.installed && sim_chance(s, s->knobs.install_slow)) {
        took = sim_range(s, took, sim_timeouts(s, 5)); /* much can happen meanwhile */
    }
    sim_push(s, SIM_EV_FLUSHED, s->now + took, (uint8_t)(h->id - 1))->life = h->life;
}

static void note_installed(struct sim *s, struct sim_host *h)
{
    const struct node_mark *mark = &h->flush->mark;

    if (mark->installed) {
        s->stats.snapshots++;
        h->told_state = mark->at.index; /* whatever the log is told meanwhile */
    }
}

bool states_crash_is_due(struct sim *s, const struct sim_host *h)
{
    return h->flush->mark.installed && !s->recovering && sim_chance(s, s->knobs.install_crash);
}

void states_flushed(struct sim *s, struct sim_host *h)
{
    bool fits = !sim_chance(s, 50000);
    bool later = states_crash_is_due(s, h); /* the node knows, its log begins anew or is about to */

    sim_trace(s, h, "its state %s on disk as of %llu", fits ? "is" : "does not fit",
              (unsigned long long)h->flush->mark.at.index);
    if (fits) {
        write_flush(&h->store->rows, h->flush);
        note_installed(s, h);
    }
    h->flush = NULL;
    (fits ? node_flushed : node_flush_failed)(h->node);
    if (later && h->crash == SIM_CRASH_NONE) {
        h->crash = (enum sim_crash)sim_range(s, SIM_CRASH_AT_OUTPUT, SIM_CRASH_AT_PERSISTED + 1);
    }
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

    if (mark->at.index && node_restore_applied(h->node, mark)) {
        sim_violation(s, h, "restart: its state as of %llu does not fit its log, or its digest",
                      (unsigned long long)mark->at.index);
    }
}

raft_index states_durable(const struct sim_store *store)
{
    const struct vdisk *d = &store->disk;
    const struct node_mark *mark = &store->rows.mark;
    const struct raft_entry *e = vdisk_entry(d, mark->at.index);
    bool holds = e ? e->term == mark->at.term : d->base.index == mark->at.index;

    return mark->installed && !holds && mark->at.index > d->base.index ? mark->at.index
                                                                       : vdisk_last(d);
}

/* ---- Snapshots of them ---- */

struct copy { /* as they were when it was opened */
    struct sim_row *items;
    uint32_t count, next;
};

static void *source_open(void *arg, raft_id to, struct node_mark *mark)
{
    const struct sim_host *h = arg;
    const struct sim_rows *rows = &h->store->rows;

    (void)to;
    if (rows->mark.at.index == 0 || sim_chance(h->sim, 50000)) {
        return NULL;
    }
    struct copy *c = mem_zalloc(sizeof *c);
    c->count = rows->count;
    c->items = mem_alloc((rows->count + 1) * sizeof *c->items);
    for (uint32_t i = 0; i < rows->count; i++) {
        c->items[i] =
            (struct sim_row){blob_ref(rows->items[i].key), blob_ref(rows->items[i].value)};
    }
    *mark = rows->mark;
    mark->installed = false;
    (void)blob_ref(mark->at.membership);
    return c;
}

static int source_read(void *arg, void *snapshot, size_t bytes_max, struct buf *out)
{
    const struct sim_host *h = arg;
    struct copy *c = snapshot;
    size_t until = out->size + bytes_max;

    if (sim_chance(h->sim, 2000)) {
        return -RD_ENOT_READY; /* it was open for too long */
    }
    while (c->next < c->count && out->size < until) {
        const struct sim_row *row = &c->items[c->next++];
        stream_put_row(out, row->key->data, row->key->size, row->value ? row->value->data : NULL,
                       row->value ? row->value->size : 0);
    }
    return c->next < c->count;
}

static void source_close(void *arg, void *snapshot)
{
    struct copy *c = snapshot;

    (void)arg;
    for (uint32_t i = 0; i < c->count; i++) {
        row_done(&c->items[i]);
    }
    mem_free(c->items);
    mem_free(c);
}

void states_source(struct sim_host *h)
{
    const struct node_source source = {h, source_open, source_read, source_close};

    node_set_source(h->node, &source);
}
