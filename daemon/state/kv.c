#include "state/kv.h"

#include <string.h>

#include "base/check.h"
#include "base/crc.h"
#include "base/err.h"
#include "base/mem.h"

enum { VALUE_SLACK = 64 }; /* bytes a smaller value may waste before its memory is given back */

static const uint64_t KEY_SEED = 0x6b65792d726f7731U; /* stable: the digest is stored */

static int key_compare(const void *a, size_t a_size, const void *b, size_t b_size)
{
    size_t common = a_size < b_size ? a_size : b_size;
    int order = common ? memcmp(a, b, common) : 0; /* an empty prefix may be NULL */

    if (order != 0) {
        return order;
    }
    return (a_size > b_size) - (a_size < b_size);
}

static int item_compare(struct kv_item *a, struct kv_item *b)
{
    return key_compare(a->key, a->key_size, b->key, b->key_size);
}

/* RB_GENERATE_STATIC would want BSD's __unused, which Linux headers use as a field's name. */
#define KV_TREE_LOCAL __attribute__((unused)) static
/* cppcheck-suppress unknownMacro */
RB_GENERATE_INTERNAL(kv_tree, kv_item, link, item_compare, KV_TREE_LOCAL)

void kv_map_init(struct kv_map *m)
{
    *m = (struct kv_map){.tree = RB_INITIALIZER(&m->tree)};
}

static void item_free(struct kv_item *item)
{
    mem_free(item->value);
    mem_free(item);
}

void kv_map_done(struct kv_map *m)
{
    struct kv_item *item = RB_ROOT(&m->tree);

    /* Leaves first, without rebalancing a tree that is about to be gone. */
    while (item) {
        struct kv_item *left = RB_LEFT(item, link), *right = RB_RIGHT(item, link);

        if (left || right) {
            RB_LEFT(item, link) = NULL;
            if (!left) {
                RB_RIGHT(item, link) = NULL;
            }
            item = left ? left : right;
            continue;
        }
        struct kv_item *parent = RB_PARENT(item, link);
        item_free(item);
        item = parent;
    }
    kv_map_init(m);
}

uint64_t kv_cost(size_t key_size, size_t value_size)
{
    return (uint64_t)key_size + value_size + STATE_KEY_COST;
}

struct kv_item *kv_find(const struct kv_map *m, const void *key, size_t key_size)
{
    struct kv_item *item = RB_ROOT(&m->tree);

    while (item) {
        int order = key_compare(key, key_size, item->key, item->key_size);

        if (order == 0) {
            return item;
        }
        item = order < 0 ? RB_LEFT(item, link) : RB_RIGHT(item, link);
    }
    return NULL;
}

struct kv_item *kv_lower_bound(const struct kv_map *m, const void *key, size_t key_size)
{
    struct kv_item *item = RB_ROOT(&m->tree);
    struct kv_item *found = NULL;

    while (item) {
        if (key_compare(item->key, item->key_size, key, key_size) >= 0) {
            found = item;
            item = RB_LEFT(item, link);
        } else {
            item = RB_RIGHT(item, link);
        }
    }
    return found;
}

struct kv_item *kv_next(struct kv_item *item)
{
    return RB_NEXT(kv_tree, , item);
}

static uint64_t item_hash(const struct kv_item *item)
{
    uint64_t hash = hash64(KEY_SEED, item->key, item->key_size);

    hash = hash64_mix(hash, item->create_revision);
    hash = hash64_mix(hash, item->mod_revision);
    hash = hash64_mix(hash, item->version);
    return hash64(hash, item->value, item->value_size);
}

/* An item enters or leaves what the map counts; it is in the tree either way. */
static void item_count(struct kv_map *m, struct kv_item *item)
{
    item->hash = item_hash(item);
    m->digest += item->hash;
    m->bytes += kv_cost(item->key_size, item->value_size);
    m->count++;
}

static void item_discount(struct kv_map *m, const struct kv_item *item)
{
    m->digest -= item->hash;
    m->bytes -= kv_cost(item->key_size, item->value_size);
    m->count--;
}

static void value_set(struct kv_item *item, const void *value, uint32_t size)
{
    bool fits = size <= item->value_capacity;

    if (!fits || item->value_capacity / 2 > size + VALUE_SLACK) {
        mem_free(item->value);
        item->value = size ? mem_alloc(size) : NULL;
        item->value_capacity = size;
    }
    if (size) {
        memcpy(item->value, value, size);
    }
    item->value_size = size;
}

static struct kv_item *item_new(struct kv_map *m, const void *key, uint16_t key_size)
{
    struct kv_item *item = mem_alloc(sizeof *item + key_size);

    *item = (struct kv_item){.key_size = key_size};
    memcpy(item->key, key, key_size);
    struct kv_item *existing = RB_INSERT(kv_tree, &m->tree, item);
    rd_assert(existing == NULL);
    return item;
}

struct kv_item *kv_put(struct kv_map *m, const struct state_op *op, uint64_t revision)
{
    struct kv_item *item = kv_find(m, op->key, op->key_size);

    if (item) {
        item_discount(m, item);
    } else {
        item = item_new(m, op->key, op->key_size);
        item->create_revision = revision;
    }
    value_set(item, op->value, op->value_size);
    item->mod_revision = revision;
    item->version++;
    item_count(m, item);
    return item;
}

void kv_remove(struct kv_map *m, struct kv_item *item)
{
    item_discount(m, item);
    RB_REMOVE(kv_tree, &m->tree, item);
    item_free(item);
}

int kv_restore(struct kv_map *m, const struct state_kv *kv)
{
    if (kv_find(m, kv->key, kv->key_size)) {
        return -RD_ECORRUPT;
    }
    struct kv_item *item = item_new(m, kv->key, kv->key_size);
    value_set(item, kv->value, kv->value_size);
    item->create_revision = kv->create_revision;
    item->mod_revision = kv->mod_revision;
    item->version = kv->version;
    item_count(m, item);
    return 0;
}
