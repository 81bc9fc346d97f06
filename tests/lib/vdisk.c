#include "vdisk.h"

#include <string.h>

#include "base/check.h"

static void cut(struct vdisk *d, uint32_t count)
{
    while (d->count > count) {
        blob_unref(d->entries[--d->count].data);
    }
}

void vdisk_done(struct vdisk *d)
{
    cut(d, 0);
    mem_free(d->entries);
    raft_point_done(&d->base);
    memset(d, 0, sizeof *d);
}

void vdisk_copy(const struct vdisk *from, struct vdisk *to)
{
    *to = *from;
    to->entries = from->count ? mem_dup(from->entries, from->count * sizeof *from->entries) : NULL;
    to->capacity = from->count;
    (void)blob_ref(to->base.membership);
    for (uint32_t i = 0; i < to->count; i++) {
        (void)blob_ref(to->entries[i].data);
    }
}

bool vdisk_is_pristine(const struct vdisk *d)
{
    return vdisk_last(d) == 0 && d->term == 0 && !uuid_is_set(&d->cluster);
}

raft_index vdisk_last(const struct vdisk *d)
{
    return d->base.index + d->count;
}

static void forget(struct vdisk *d, const struct raft_save *save)
{
    uint32_t gone = (uint32_t)(save->base.index - d->base.index);

    rd_assert(save->base.index > d->base.index || save->reset);
    if (save->reset || gone > d->count) {
        gone = d->count;
    }
    for (uint32_t i = 0; i < gone; i++) {
        blob_unref(d->entries[i].data);
    }
    d->count -= gone;
    if (d->count > 0) {
        memmove(d->entries, d->entries + gone, d->count * sizeof *d->entries);
    }
    raft_point_done(&d->base);
    d->base = save->base;
    (void)blob_ref(d->base.membership);
}

void vdisk_write(struct vdisk *d, const struct raft_save *save)
{
    if (save->hard_set) {
        d->cluster = save->cluster;
        d->term = save->term;
        d->vote = save->vote;
        d->loyal_ms = save->loyal_ms;
    }
    if (save->base_set) {
        forget(d, save);
    }
    if (save->first == 0) {
        return;
    }
    rd_assert(save->first > d->base.index && save->first <= vdisk_last(d) + 1);
    cut(d, (uint32_t)(save->first - d->base.index - 1));
    if (d->count + save->entries_count > d->capacity) {
        d->capacity = (d->count + save->entries_count) * 2;
        d->entries = mem_realloc(d->entries, d->capacity * sizeof *d->entries);
    }
    for (uint32_t i = 0; i < save->entries_count; i++) {
        rd_assert(save->entries[i].index == vdisk_last(d) + 1);
        d->entries[d->count] = save->entries[i];
        (void)blob_ref(save->entries[i].data);
        d->count++;
    }
}

const struct raft_entry *vdisk_entry(const struct vdisk *d, raft_index index)
{
    return index > d->base.index && index <= vdisk_last(d) ? &d->entries[index - d->base.index - 1]
                                                           : NULL;
}

uint32_t vdisk_load(void *arg, raft_index first, uint32_t count_max, uint64_t bytes_max,
                    struct raft_entry *out)
{
    const struct vdisk *d = arg;
    uint64_t bytes = 0;
    uint32_t n = 0;

    rd_assert(first > d->base.index && first <= vdisk_last(d) && count_max > 0);
    while (n < count_max && first + n <= vdisk_last(d)) {
        const struct raft_entry *e = &d->entries[first + n - d->base.index - 1];

        bytes += e->data ? e->data->size : 0;
        if (n > 0 && bytes > bytes_max) {
            break;
        }
        out[n] = *e;
        (void)blob_ref(e->data);
        n++;
    }
    return n;
}
