/* kv.h - the ordered map behind the state: keys in byte order, their values and revisions.
 *
 * A red-black tree, so that listing a prefix costs what it returns and the worst case of a write is
 * known. Keeps the size that the quota limits and the keys' share of the digest, both
 * incrementally. Knows nothing of transactions. Private to the room.
 *
 * Threads: one map, one thread. Ownership: the map owns its items; what it is given is copied. */
#ifndef RAFTD_STATE_KV_H
#define RAFTD_STATE_KV_H

#include <bsd/sys/tree.h>

#include "state/state.h"

struct kv_item {
    RB_ENTRY(kv_item) link;
    uint64_t create_revision, mod_revision;
    uint64_t version;
    uint64_t hash; /* its share of the digest */
    uint8_t *value;
    uint32_t value_size, value_capacity;
    uint16_t key_size;
    uint8_t key[];
};

RB_HEAD(kv_tree, kv_item);

struct kv_map {
    struct kv_tree tree;
    uint64_t count;
    uint64_t bytes;  /* keys, values and STATE_KEY_COST each */
    uint64_t digest; /* sum of the items' hashes: independent of their order */
};

void kv_map_init(struct kv_map *m);
void kv_map_done(struct kv_map *m); /* frees every item */

/* What one key counts for in kv_map.bytes. */
uint64_t kv_cost(size_t key_size, size_t value_size);

/* The item with that key, or NULL. */
struct kv_item *kv_find(const struct kv_map *m, const void *key, size_t key_size);

/* The first item whose key is not below the given one, or NULL. */
struct kv_item *kv_lower_bound(const struct kv_map *m, const void *key, size_t key_size);

/* The next item in key order, or NULL. */
struct kv_item *kv_next(struct kv_item *item);

/* Set a value at a revision: creates the key (version 1) or counts its version up. The item. */
struct kv_item *kv_put(struct kv_map *m, const struct state_op *op, uint64_t revision);

void kv_remove(struct kv_map *m, struct kv_item *item);

/* An item as it once was. -RD_ECORRUPT: the key is there already. */
int kv_restore(struct kv_map *m, const struct state_kv *kv);

#endif
