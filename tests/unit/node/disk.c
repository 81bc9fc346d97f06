#include "fixture.h"

#include "disk.h"
#include "state/stream.h"

/* ---- The log ---- */

static void cut(struct rig_disk *d, uint64_t kept)
{
    while (d->entries_count > kept) {
        blob_unref(d->entries[--d->entries_count].data);
    }
}

static void forget(struct rig_disk *d, const struct raft_save *save)
{
    uint64_t gone = save->reset ? d->entries_count : save->base.index - d->base.index;

    assert_true(save->base.index > d->base.index);
    assert_true(gone <= d->entries_count);
    for (uint64_t i = 0; i < gone; i++) {
        blob_unref(d->entries[i].data);
    }
    d->entries_count -= gone;
    memmove(d->entries, d->entries + gone, d->entries_count * sizeof *d->entries);
    raft_point_done(&d->base);
    d->base = save->base;
    (void)blob_ref(d->base.membership);
}

static void append(struct rig_disk *d, const struct raft_entry *e)
{
    if (d->entries_count == d->entries_capacity) {
        d->entries_capacity = d->entries_capacity ? 2 * d->entries_capacity : 64;
        d->entries = mem_realloc(d->entries, d->entries_capacity * sizeof *d->entries);
    }
    d->entries[d->entries_count] = *e;
    d->entries[d->entries_count++].data = blob_ref(e->data);
    assert_int_equal(e->index, d->base.index + d->entries_count);
}

void disk_write(struct rig_disk *d, const struct raft_save *save)
{
    d->cluster = save->cluster;
    if (save->hard_set) {
        d->term = save->term;
        d->vote = save->vote;
        d->loyal_ms = save->loyal_ms;
    }
    if (save->base_set) {
        assert_true(save->base.index <= d->mark.at.index); /* nothing else has it */
        forget(d, save);
    }
    if (save->first) {
        cut(d, save->first - d->base.index - 1);
    }
    for (uint32_t i = 0; i < save->entries_count; i++) {
        append(d, &save->entries[i]);
    }
}

/* ---- The rows ---- */

static void rows_clear(struct rig_disk *d)
{
    for (uint32_t i = 0; i < d->rows_count; i++) {
        blob_unref(d->rows[i].key);
        blob_unref(d->rows[i].value);
    }
    d->rows_count = 0;
}

void disk_clear(struct rig_disk *d)
{
    cut(d, 0);
    rows_clear(d);
    mem_free(d->entries);
    mem_free(d->rows);
    raft_point_done(&d->base);
    raft_point_done(&d->mark.at);
    assert_int_equal(d->readers, 0);
    *d = (struct rig_disk){0};
}

static uint32_t find(const struct rig_disk *d, const void *key, size_t size)
{
    uint32_t i = 0;

    while (i < d->rows_count &&
           (d->rows[i].key->size != size || memcmp(d->rows[i].key->data, key, size) != 0)) {
        i++;
    }
    return i;
}

static void put(struct rig_disk *d, const struct state_rows *rows, const struct state_row *row)
{
    const uint8_t *bytes = rows->bytes.data;
    uint32_t at = find(d, bytes + row->key_at, row->key_size);

    if (at < d->rows_count) {
        blob_unref(d->rows[at].key);
        blob_unref(d->rows[at].value);
        d->rows[at] = d->rows[--d->rows_count];
    }
    if (row->deleted) {
        return;
    }
    if (d->rows_count == d->rows_capacity) {
        d->rows_capacity = d->rows_capacity ? 2 * d->rows_capacity : 64;
        d->rows = mem_realloc(d->rows, d->rows_capacity * sizeof *d->rows);
    }
    d->rows[d->rows_count++] = (struct disk_row){blob_copy(bytes + row->key_at, row->key_size),
                                                 blob_copy(bytes + row->value_at, row->value_size)};
}

void disk_flush(struct rig_disk *d, const struct node_flush *flush)
{
    if (flush->anew) {
        rows_clear(d);
    }
    for (uint32_t i = 0; i < flush->rows.count; i++) {
        put(d, &flush->rows, &flush->rows.rows[i]);
    }
    raft_point_done(&d->mark.at);
    d->mark = flush->mark;
    (void)blob_ref(d->mark.at.membership);
}

int disk_restore(const struct rig_disk *d, struct node *n)
{
    for (uint32_t i = 0; i < d->rows_count; i++) {
        const struct disk_row *row = &d->rows[i];
        assert_int_equal(
            node_restore_row(n, row->key->data, row->key->size, row->value->data, row->value->size),
            0);
    }
    if (d->term) {
        node_restore_hard(n, &d->cluster, d->term, d->vote, d->loyal_ms);
    }
    if (d->base.index) {
        assert_int_equal(node_restore_base(n, &d->base), 0);
    }
    for (uint64_t i = 0; i < d->entries_count; i++) {
        assert_int_equal(node_restore_entry(n, &d->entries[i]), 0);
    }
    return d->mark.at.index ? node_restore_applied(n, &d->mark) : 0;
}

/* ---- Snapshots of the rows ---- */

struct copy { /* as they were when it was opened */
    struct disk_row *rows;
    uint32_t count, next;
};

static void *source_open(void *arg, raft_id to, struct node_mark *mark)
{
    struct rig_disk *d = arg;

    (void)to;
    if (d->unreadable || d->mark.at.index == 0) {
        return NULL;
    }
    struct copy *c = mem_zalloc(sizeof *c);
    c->count = d->rows_count;
    c->rows = mem_alloc((d->rows_count + 1) * sizeof *c->rows);
    for (uint32_t i = 0; i < c->count; i++) {
        c->rows[i] = (struct disk_row){blob_ref(d->rows[i].key), blob_ref(d->rows[i].value)};
    }
    *mark = d->mark;
    mark->installed = false;
    (void)blob_ref(mark->at.membership);
    d->readers++;
    d->opened++;
    return c;
}

static int source_read(void *arg, void *snapshot, size_t bytes_max, struct buf *out)
{
    struct rig_disk *d = arg;
    struct copy *c = snapshot;
    size_t until = out->size + bytes_max;

    if (d->reads_fail) {
        return -RD_ENOT_READY;
    }
    d->reads++;
    while (c->next < c->count && out->size < until) {
        const struct disk_row *row = &c->rows[c->next++];
        stream_put_row(out, row->key->data, row->key->size, row->value->data, row->value->size);
    }
    return c->next < c->count;
}

static void source_close(void *arg, void *snapshot)
{
    struct rig_disk *d = arg;
    struct copy *c = snapshot;

    for (uint32_t i = 0; i < c->count; i++) {
        blob_unref(c->rows[i].key);
        blob_unref(c->rows[i].value);
    }
    mem_free(c->rows);
    mem_free(c);
    d->readers--;
}

void disk_source(struct rig_disk *d, struct node *n)
{
    const struct node_source source = {d, source_open, source_read, source_close};

    node_set_source(n, &source);
}
