/* The log in memory: where it begins, the newest entries in a ring, the terms of all of them as runs. */
#include <string.h>

#include "base/crc.h"
#include "raft/internal.h"

/* What an entry costs in memory beside its payload: ring slot, reference count, allocator. */
enum { ENTRY_COST = 64 };

uint32_t entry_size(const struct raft_entry *entry)
{
    return entry->data ? entry->data->size : 0;
}

uint64_t raft_chain_after(uint64_t chain_before, const struct raft_entry *entry)
{
    uint64_t h = hash64_mix(chain_before, entry->index);

    h = hash64_mix(h, entry->term);
    h = hash64_mix(h, (uint64_t)entry->type);
    return entry->data ? hash64(h, entry->data->data, entry->data->size) : hash64(h, NULL, 0);
}

void rlog_init(struct rlog *l, raft_load_cb *load, void *load_arg)
{
    *l = (struct rlog){.load = load, .load_arg = load_arg};
}

static struct raft_entry *ring_at(const struct rlog *l, uint32_t position)
{
    return &l->ring[(l->ring_head + position) & (l->ring_capacity - 1)];
}

static raft_index cached_first(const struct rlog *l)
{
    return l->last - l->cached + 1;
}

void rlog_done(struct rlog *l)
{
    for (uint32_t i = 0; i < l->cached; i++) {
        blob_unref(ring_at(l, i)->data);
    }
    mem_free(l->ring);
    mem_free(l->runs);
    blob_unref(l->base.membership);
}

/* The run that holds `index`, which is in the log. */
static uint32_t run_of(const struct rlog *l, raft_index index)
{
    uint32_t low = 0;
    uint32_t high = l->runs_count;

    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (l->runs[middle].first <= index) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

raft_term rlog_term(const struct rlog *l, raft_index index)
{
    rd_assert(index == 0 || (index >= l->base.index && index <= l->last));
    if (index == 0 || index == l->base.index) {
        return index == 0 ? 0 : l->base.term;
    }
    return l->runs[run_of(l, index)].term;
}

/* The boundary's term counts when there is nothing after it (trap 29). */
raft_term rlog_last_term(const struct rlog *l)
{
    return l->runs_count ? l->runs[l->runs_count - 1].term : l->base.term;
}

bool rlog_holds(const struct rlog *l, raft_index index, raft_term term)
{
    return index >= l->base.index && index <= l->last && rlog_term(l, index) == term;
}

uint64_t rlog_chain(const struct rlog *l, raft_index index)
{
    rd_assert(index == 0 || (index >= l->base.index && index <= l->last));
    if (index == 0 || index == l->base.index) {
        return index == 0 ? 0 : l->base.chain;
    }
    if (index == l->last) {
        return l->last_chain;
    }
    if (index >= cached_first(l)) {
        return ring_at(l, (uint32_t)(index - cached_first(l)))->chain;
    }
    struct raft_entry entry;
    uint32_t got = l->load(l->load_arg, index, 1, 0, &entry);
    rd_assert(got == 1 && entry.index == index);
    blob_unref(entry.data);
    return entry.chain;
}

static void ring_grow(struct rlog *l)
{
    uint32_t capacity = l->ring_capacity ? l->ring_capacity * 2 : 64;
    struct raft_entry *ring = mem_alloc(capacity * sizeof *ring);

    for (uint32_t i = 0; i < l->cached; i++) {
        ring[i] = *ring_at(l, i);
    }
    mem_free(l->ring);
    l->ring = ring;
    l->ring_capacity = capacity;
    l->ring_head = 0;
}

static void runs_append(struct rlog *l, raft_term term, raft_index first)
{
    if (l->runs_count == l->runs_capacity) {
        l->runs_capacity = l->runs_capacity ? l->runs_capacity * 2 : 16;
        l->runs = mem_realloc(l->runs, l->runs_capacity * sizeof *l->runs);
    }
    l->runs[l->runs_count++] = (struct term_run){.term = term, .first = first};
}

void rlog_append(struct rlog *l, const struct raft_entry *entry)
{
    rd_assert(entry->index == l->last + 1);
    rd_assert(entry->term >= rlog_last_term(l) && entry->term > 0);
    if (l->cached == l->ring_capacity) {
        ring_grow(l);
    }
    struct raft_entry kept = *entry;
    kept.data = blob_ref(entry->data);
    kept.chain = raft_chain_after(l->last_chain, entry);
    if (l->runs_count == 0 || entry->term != rlog_last_term(l)) {
        runs_append(l, entry->term, entry->index);
    }
    *ring_at(l, l->cached) = kept;
    l->cached++;
    l->cached_bytes += entry_size(entry) + ENTRY_COST;
    l->last = entry->index;
    l->last_chain = kept.chain;
}

void rlog_truncate(struct rlog *l, raft_index from)
{
    rd_assert(from > l->base.index && from <= l->last);
    uint64_t chain = rlog_chain(l, from - 1);

    while (l->cached > 0 && l->last >= from) {
        struct raft_entry *e = ring_at(l, --l->cached);
        l->cached_bytes -= entry_size(e) + ENTRY_COST;
        blob_unref(e->data);
        l->last--;
    }
    l->last = from - 1;
    l->last_chain = chain;
    while (l->runs_count && l->runs[l->runs_count - 1].first >= from) {
        l->runs_count--;
    }
}

static void evict_first(struct rlog *l)
{
    struct raft_entry *e = ring_at(l, 0);

    l->cached_bytes -= entry_size(e) + ENTRY_COST;
    blob_unref(e->data);
    l->ring_head = (l->ring_head + 1) & (l->ring_capacity - 1);
    l->cached--;
}

void rlog_evict(struct rlog *l, raft_index durable, uint64_t bytes_max)
{
    while (l->cached > 0 && l->cached_bytes > bytes_max && cached_first(l) <= durable) {
        evict_first(l);
    }
}

static void base_set(struct rlog *l, const struct raft_point *base)
{
    struct blob *before = l->base.membership;

    l->base = *base;
    (void)blob_ref(l->base.membership);
    blob_unref(before);
}

void rlog_trim(struct rlog *l, const struct raft_point *base)
{
    uint32_t gone = 0;

    rd_assert(base->index > l->base.index && base->index <= l->last);
    while (l->cached > 0 && cached_first(l) <= base->index) {
        evict_first(l);
    }
    while (gone < l->runs_count &&
           (gone + 1 < l->runs_count ? l->runs[gone + 1].first - 1 : l->last) <= base->index) {
        gone++;
    }
    l->runs_count -= gone;
    memmove(l->runs, l->runs + gone, l->runs_count * sizeof *l->runs);
    base_set(l, base);
}

void rlog_reset(struct rlog *l, const struct raft_point *base)
{
    while (l->cached > 0) {
        evict_first(l);
    }
    l->runs_count = 0;
    l->last = base->index;
    l->last_chain = base->chain;
    base_set(l, base);
}

uint32_t rlog_read(const struct rlog *l, raft_index first, uint32_t count_max, uint64_t bytes_max,
                   struct raft_entry *out)
{
    rd_assert(first > l->base.index && first <= l->last && count_max > 0);
    if (first < cached_first(l)) {
        raft_index missing = cached_first(l) - first;
        uint32_t count = missing < count_max ? (uint32_t)missing : count_max;
        uint32_t got = l->load(l->load_arg, first, count, bytes_max, out);
        rd_assert(got > 0 && got <= count && out[0].index == first);
        return got;
    }
    uint32_t count = 0;
    uint64_t bytes = 0;
    for (raft_index i = first; i <= l->last && count < count_max; i++) {
        const struct raft_entry *e = ring_at(l, (uint32_t)(i - cached_first(l)));
        if (count > 0 && bytes + entry_size(e) > bytes_max) {
            break;
        }
        bytes += entry_size(e);
        out[count] = *e;
        out[count].data = blob_ref(e->data);
        count++;
    }
    return count;
}

raft_index rlog_agree(const struct rlog *l, raft_index index, raft_term term)
{
    raft_index i = index < l->last ? index : l->last;

    while (i > l->base.index) {
        const struct term_run *run = &l->runs[run_of(l, i)];
        if (run->term <= term) {
            return i;
        }
        i = run->first > l->base.index ? run->first - 1 : l->base.index;
    }
    return i;
}
