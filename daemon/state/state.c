#include "state/state.h"

#include <string.h>

#include "base/check.h"
#include "base/crc.h"
#include "base/err.h"
#include "base/mem.h"
#include "state/kv.h"
#include "state/rows.h"
#include "state/window.h"

static const uint64_t DIGEST_SEED = 0x73746174652d2d31U; /* stable: the digest is stored */

struct state {
    struct kv_map map;
    struct window_set windows;
    uint64_t revision;
    uint64_t index, term;
    struct state_txn txn; /* decoded here: 14 KiB that no apply has to find room for or clear */
};

struct state *state_new(void)
{
    struct state *s = mem_zalloc(sizeof *s);

    kv_map_init(&s->map);
    window_set_init(&s->windows);
    return s;
}

void state_free(struct state *s)
{
    if (s) {
        kv_map_done(&s->map);
        window_set_done(&s->windows);
        mem_free(s);
    }
}

/* ---- One transaction ---- */

static bool key_equal(const struct state_op *a, const struct state_op *b)
{
    return a->key_size == b->key_size && memcmp(a->key, b->key, a->key_size) == 0;
}

/* Does it hold? `actual` is what was found in place of its number. */
static bool compare_holds(const struct state *s, const struct state_compare *compare,
                          uint64_t *actual)
{
    const struct kv_item *item;

    switch (compare->type) {
    case STATE_COMPARE_MOD_REVISION:
        item = kv_find(&s->map, compare->key, compare->key_size);
        *actual = item ? item->mod_revision : 0;
        break;
    case STATE_COMPARE_VERSION:
        item = kv_find(&s->map, compare->key, compare->key_size);
        *actual = item ? item->version : 0;
        break;
    case STATE_COMPARE_TERM:
        *actual = s->term;
        break;
    }
    return *actual == compare->number;
}

/* The first compare that does not hold, or NULL. */
static const struct state_compare *txn_failed_compare(const struct state *s, uint64_t *actual)
{
    for (uint32_t i = 0; i < s->txn.compares_count; i++) {
        if (!compare_holds(s, &s->txn.compares[i], actual)) {
            return &s->txn.compares[i];
        }
    }
    return NULL;
}

/* Is there a later operation on the same key, which then decides what is left of it? */
static bool op_is_overruled(const struct state_op *ops, uint32_t count, uint32_t at)
{
    for (uint32_t i = at + 1; i < count; i++) {
        if (key_equal(&ops[at], &ops[i])) {
            return true;
        }
    }
    return false;
}

static uint64_t op_cost(const struct state_op *op)
{
    return op->type == STATE_OP_PUT ? kv_cost(op->key_size, op->value_size) : 0;
}

/* state_bytes() as the operations would leave it. */
static uint64_t ops_bytes_after(const struct state *s, const struct state_op *ops, uint32_t count)
{
    uint64_t bytes = s->map.bytes;

    for (uint32_t i = 0; i < count; i++) {
        if (op_is_overruled(ops, count, i)) {
            continue;
        }
        const struct kv_item *item = kv_find(&s->map, ops[i].key, ops[i].key_size);
        bytes += op_cost(&ops[i]);
        bytes -= item ? kv_cost(item->key_size, item->value_size) : 0;
    }
    return bytes;
}

/* Growth beyond the quota is refused; what shrinks the state, or leaves its size, never is. */
static bool ops_fit(const struct state *s, const struct state_op *ops, uint32_t count,
                    uint64_t quota, uint64_t *bytes)
{
    uint64_t most = s->map.bytes;

    for (uint32_t i = 0; i < count; i++) {
        most += op_cost(&ops[i]);
    }
    if (most <= quota) {
        return true; /* whatever is replaced or deleted: no need to look it up */
    }
    *bytes = ops_bytes_after(s, ops, count);
    return *bytes <= quota || *bytes <= s->map.bytes;
}

/* Returns whether it changed anything. */
static bool op_apply(struct state *s, const struct state_op *op, uint64_t revision,
                     struct state_result *r, struct state_rows *rows)
{
    if (op->type == STATE_OP_PUT) {
        const struct kv_item *item = kv_put(&s->map, op, revision);

        if (rows) {
            rows_put_key(rows, item);
        }
        return true;
    }
    struct kv_item *item = kv_find(&s->map, op->key, op->key_size);
    if (!item) {
        return false;
    }
    kv_remove(&s->map, item);
    r->deleted++;
    if (rows) {
        rows_delete_key(rows, op->key, op->key_size);
    }
    return true;
}

static void txn_apply(struct state *s, const struct state_command *c, struct state_result *r,
                      struct state_rows *rows)
{
    uint64_t actual = 0;

    if (state_txn_decode(c->txn, c->txn_size, &s->txn)) {
        r->code = -RD_EINVALID;
        return;
    }
    const struct state_compare *failed = txn_failed_compare(s, &actual);
    if (failed && s->txn.else_count == 0) {
        r->code = failed->type == STATE_COMPARE_TERM ? -RD_ESTALE_FENCE : -RD_ECONFLICT;
        r->actual = actual;
        return;
    }
    const struct state_op *ops = failed ? s->txn.else_ops : s->txn.ops;
    uint32_t count = failed ? s->txn.else_count : s->txn.ops_count;
    if (!ops_fit(s, ops, count, c->quota, &actual)) {
        r->code = -RD_ENO_SPACE;
        r->actual = actual;
        return;
    }
    bool changed = false;
    for (uint32_t i = 0; i < count; i++) {
        changed |= op_apply(s, &ops[i], s->revision + 1, r, rows);
    }
    s->revision += changed;
    r->revision = s->revision;
    r->succeeded = !failed;
}

/* ---- Entries ---- */

static void request_apply(struct state *s, const struct state_command *c, struct state_result *r,
                          struct state_rows *rows)
{
    if (c->request.node == 0) {
        txn_apply(s, c, r, rows);
        return;
    }
    switch (window_check(&s->windows, &c->request, r)) {
    case WINDOW_REPEATED:
        return;
    case WINDOW_DROPPED:
        r->code = -RD_EUNKNOWN_OUTCOME;
        return;
    case WINDOW_INVALID:
        r->code = -RD_EINVALID;
        return;
    case WINDOW_NEW:
        break;
    }
    txn_apply(s, c, r, rows);
    uint64_t floor = window_add(&s->windows, &c->request, r);
    if (rows) {
        rows_put_request(rows, &c->request, floor, r);
    }
}

void state_apply(struct state *s, uint64_t index, uint64_t term, const void *data, size_t size,
                 struct state_result *result, struct state_rows *rows)
{
    struct state_command c;
    struct state_result r = {.revision = s->revision, .index = index, .term = term};

    state_skip(s, index, term);
    if (state_command_decode(data, size, &c)) {
        r.code = -RD_EINVALID;
    } else {
        request_apply(s, &c, &r, rows);
    }
    *result = r;
}

void state_skip(struct state *s, uint64_t index, uint64_t term)
{
    rd_assert(index > s->index);
    rd_assert(term >= s->term);
    s->index = index;
    s->term = term;
}

void state_forget(struct state *s, uint32_t node, struct state_rows *rows)
{
    if (window_forget(&s->windows, node) && rows) {
        rows_delete_requests(rows, node);
    }
}

bool state_recall(const struct state *s, const struct request_id *id, struct state_result *result)
{
    return id->node != 0 && window_check(&s->windows, id, result) == WINDOW_REPEATED;
}

/* ---- Reading ---- */

static struct state_kv item_view(const struct kv_item *item)
{
    return (struct state_kv){
        .key = item->key,
        .key_size = item->key_size,
        .value = item->value,
        .value_size = item->value_size,
        .create_revision = item->create_revision,
        .mod_revision = item->mod_revision,
        .version = item->version,
    };
}

bool state_get(const struct state *s, const void *key, size_t key_size, struct state_kv *out)
{
    const struct kv_item *item = kv_find(&s->map, key, key_size);

    if (item) {
        *out = item_view(item);
    }
    return item != NULL;
}

/* An empty prefix may be NULL, which memcmp() must not be given. */
static bool item_has_prefix(const struct kv_item *item, const void *prefix, size_t prefix_size)
{
    return item->key_size >= prefix_size &&
           (prefix_size == 0 || memcmp(item->key, prefix, prefix_size) == 0);
}

void state_each(const struct state *s, const void *prefix, size_t prefix_size, state_kv_cb *cb,
                void *arg)
{
    struct kv_item *item = kv_lower_bound(&s->map, prefix, prefix_size);

    for (; item; item = kv_next(item)) {
        if (!item_has_prefix(item, prefix, prefix_size)) {
            return;
        }
        struct state_kv kv = item_view(item);
        if (!cb(arg, &kv)) {
            return;
        }
    }
}

uint64_t state_revision(const struct state *s)
{
    return s->revision;
}

uint64_t state_index(const struct state *s)
{
    return s->index;
}

uint64_t state_bytes(const struct state *s)
{
    return s->map.bytes;
}

uint64_t state_keys(const struct state *s)
{
    return s->map.count;
}

uint64_t state_digest(const struct state *s)
{
    uint64_t hash = hash64_mix(DIGEST_SEED, s->revision);

    hash = hash64_mix(hash, s->map.digest);
    return hash64_mix(hash, s->windows.digest);
}

/* ---- In another cluster ---- */

void state_move_on(struct state *s, uint64_t revisions)
{
    window_set_done(&s->windows);
    s->revision += revisions;
}

void state_key_rows(const struct state *s, struct state_rows *rows)
{
    for (struct kv_item *item = kv_lower_bound(&s->map, NULL, 0); item; item = kv_next(item)) {
        rows_put_key(rows, item);
    }
}

/* ---- Rebuilding ---- */

int state_load_row(struct state *s, const void *key, size_t key_size, const void *value,
                   size_t value_size)
{
    struct state_kv kv;
    struct request_id id;
    struct state_result result;

    rd_assert(s->index == 0);
    if (rows_parse_key(key, key_size, value, value_size, &kv) == 0) {
        return kv_restore(&s->map, &kv);
    }
    if (rows_parse_request(key, key_size, value, value_size, &id, &result) == 0) {
        return window_restore(&s->windows, &id, &result);
    }
    return -RD_ECORRUPT;
}

int state_load_done(struct state *s, uint64_t index, uint64_t term, uint64_t revision,
                    uint64_t digest)
{
    rd_assert(s->index == 0);
    s->index = index;
    s->term = term;
    s->revision = revision;
    return state_digest(s) == digest ? 0 : -RD_ECORRUPT;
}
