/* The state against a model that is too simple to be wrong: arrays that are searched from the
 * start, whole copies in place of undoing. Every run prints its seed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/prng.h"
#include "build.h"

enum { KEYS = 24, NODES = 3, RESULTS_MAX = 8000, ROWS_MAX = 16000, STEPS = 6000 };

/* ---- The model ---- */

struct model_key {
    bool present;
    size_t value_size;
    uint8_t value[64];
    uint64_t created, modified, version;
};

struct model_result {
    uint64_t seq;
    struct state_result result;
};

struct model_origin {
    uint64_t incarnation, floor;
    unsigned count;
    struct model_result results[RESULTS_MAX];
};

struct model {
    uint64_t revision;
    struct model_key keys[KEYS];
    struct model_origin origins[NODES + 1];
};

/* The keys, in byte order. */
struct key_name {
    size_t size;
    uint8_t bytes[STATE_KEY_MAX];
};
static struct key_name names[KEYS];
static const uint8_t alphabet[] = {0, 'a', 0xff};

static int name_compare(const void *left, const void *right)
{
    const struct key_name *a = left, *b = right;
    int order = memcmp(a->bytes, b->bytes, a->size < b->size ? a->size : b->size);

    return order ? order : (int)a->size - (int)b->size;
}

static void names_make(struct prng *p)
{
    for (unsigned i = 0; i < KEYS; i++) {
        struct key_name *n = &names[i];
        /* few different bytes, so that keys begin alike; the number keeps them apart */
        n->size = i == 0 ? STATE_KEY_MAX : prng_range(p, 1, 7);
        for (size_t at = 0; at < n->size; at++) {
            n->bytes[at] = alphabet[prng_range(p, 0, sizeof alphabet)];
        }
        n->bytes[n->size - 1] = (uint8_t)(i * 10);
    }
    qsort(names, KEYS, sizeof *names, name_compare);
}

static uint64_t model_bytes(const struct model_key *keys)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < KEYS; i++) {
        bytes += keys[i].present ? names[i].size + keys[i].value_size + STATE_KEY_COST : 0;
    }
    return bytes;
}

static unsigned model_key_of(const uint8_t *key, size_t size)
{
    for (unsigned i = 0; i < KEYS; i++) {
        if (names[i].size == size && memcmp(names[i].bytes, key, size) == 0) {
            return i;
        }
    }
    abort();
}

static bool model_compares(const struct model *m, const struct state_txn *txn, uint64_t term,
                           struct state_result *r)
{
    for (uint32_t i = 0; i < txn->compares_count; i++) {
        const struct state_compare *c = &txn->compares[i];
        const struct model_key *k =
            c->type == STATE_COMPARE_TERM ? NULL : &m->keys[model_key_of(c->key, c->key_size)];
        uint64_t found = !k                                 ? term
                         : !k->present                      ? 0
                         : c->type == STATE_COMPARE_VERSION ? k->version
                                                            : k->modified;
        if (found != c->number) {
            if (txn->else_count == 0) {
                r->code = k ? -RD_ECONFLICT : -RD_ESTALE_FENCE;
                r->actual = found;
            }
            return false;
        }
    }
    return true;
}

static void model_op(struct model_key *k, const struct state_op *op, uint64_t revision,
                     struct state_result *r, bool *changed)
{
    if (op->type == STATE_OP_DELETE) {
        r->deleted += k->present;
        *changed |= k->present;
        *k = (struct model_key){0};
        return;
    }
    k->created = k->present ? k->created : revision;
    k->present = true;
    k->modified = revision;
    k->version++;
    k->value_size = op->value_size;
    memcpy(k->value, op->value, op->value_size);
    *changed = true;
}

static void model_txn(struct model *m, const struct state_txn *txn, uint64_t term, uint64_t quota,
                      struct state_result *r)
{
    struct model_key after[KEYS];
    struct state_result done = *r;
    bool changed = false;
    bool holds = model_compares(m, txn, term, r);

    if (r->code) {
        return;
    }
    memcpy(after, m->keys, sizeof after);
    for (uint32_t i = 0; i < (holds ? txn->ops_count : txn->else_count); i++) {
        const struct state_op *op = holds ? &txn->ops[i] : &txn->else_ops[i];
        model_op(&after[model_key_of(op->key, op->key_size)], op, m->revision + 1, &done, &changed);
    }
    uint64_t before = model_bytes(m->keys), bytes = model_bytes(after);
    if (bytes > quota && bytes > before) {
        r->code = -RD_ENO_SPACE;
        r->actual = bytes;
        return;
    }
    memcpy(m->keys, after, sizeof after);
    m->revision += changed;
    *r = done;
    r->revision = m->revision;
    r->succeeded = holds;
}

/* True: `r` is the answer already. */
static bool model_window(struct model *m, const struct request_id *id, struct state_result *r)
{
    struct model_origin *o = &m->origins[id->node];

    if (id->seq == 0 || (id->seq >= id->floor && id->seq - id->floor >= STATE_WINDOW_MAX)) {
        r->code = -RD_EINVALID;
        return true;
    }
    if (id->incarnation < o->incarnation || id->seq < id->floor ||
        (id->incarnation == o->incarnation && id->seq < o->floor)) {
        r->code = -RD_EUNKNOWN_OUTCOME;
        return true;
    }
    if (id->incarnation > o->incarnation) {
        return false;
    }
    for (unsigned i = 0; i < o->count; i++) {
        if (o->results[i].seq == id->seq) {
            *r = o->results[i].result;
            r->repeated = true;
            return true;
        }
    }
    return false;
}

static void model_remember(struct model *m, const struct request_id *id,
                           const struct state_result *r)
{
    struct model_origin *o = &m->origins[id->node];

    if (id->incarnation > o->incarnation) {
        o->incarnation = id->incarnation;
        o->floor = 0;
        o->count = 0;
    }
    o->floor = id->floor > o->floor ? id->floor : o->floor;
    for (unsigned i = 0; i < o->count;) {
        if (o->results[i].seq < o->floor) {
            o->results[i] = o->results[--o->count];
        } else {
            i++;
        }
    }
    assert_true(o->count < RESULTS_MAX);
    o->results[o->count++] = (struct model_result){id->seq, *r};
}

static struct state_result model_apply(struct model *m, uint64_t index, uint64_t term,
                                       uint64_t quota, const struct request_id *id,
                                       const struct state_txn *txn)
{
    struct state_result r = {.revision = m->revision, .index = index, .term = term};

    if (id->node == 0) {
        model_txn(m, txn, term, quota, &r);
    } else if (!model_window(m, id, &r)) {
        model_txn(m, txn, term, quota, &r);
        model_remember(m, id, &r);
    }
    return r;
}

/* ---- What a store would hold ---- */

struct kept_row {
    size_t key_size, value_size;
    uint8_t key[1 + STATE_KEY_MAX], value[128];
};

struct kept {
    unsigned count;
    struct kept_row rows[ROWS_MAX];
};

static void kept_take(struct kept *k, const struct state_rows *rows)
{
    for (uint32_t i = 0; i < rows->count; i++) {
        const struct state_row *row = &rows->rows[i];
        const uint8_t *key = rows->bytes.data + row->key_at;
        unsigned at = 0;
        while (at < k->count && (k->rows[at].key_size != row->key_size ||
                                 memcmp(k->rows[at].key, key, row->key_size) != 0)) {
            at++;
        }
        if (row->deleted) {
            assert_true(at < k->count);
            k->rows[at] = k->rows[--k->count];
            continue;
        }
        k->count += at == k->count;
        assert_true(k->count <= ROWS_MAX && row->value_size <= sizeof k->rows[at].value);
        k->rows[at].key_size = row->key_size;
        k->rows[at].value_size = row->value_size;
        memcpy(k->rows[at].key, key, row->key_size);
        memcpy(k->rows[at].value, rows->bytes.data + row->value_at, row->value_size);
    }
}

/* A new state from the rows, in an order of its own. */
static struct state *kept_load(struct kept *k, struct prng *p, const struct state *like,
                               uint64_t term)
{
    struct state *s = state_new();

    for (unsigned i = k->count; i > 1; i--) {
        uint64_t other = prng_range(p, 0, i);
        struct kept_row row = k->rows[i - 1];
        k->rows[i - 1] = k->rows[other];
        k->rows[other] = row;
    }
    for (unsigned i = 0; i < k->count; i++) {
        const struct kept_row *row = &k->rows[i];
        assert_int_equal(state_load_row(s, row->key, row->key_size, row->value, row->value_size),
                         0);
    }
    assert_int_equal(
        state_load_done(s, state_index(like), term, state_revision(like), state_digest(like)), 0);
    return s;
}

/* ---- Random requests ---- */

struct origin { /* as its node sees it */
    uint64_t incarnation, seq, floor;
};

static struct request_id random_id(struct prng *p, struct origin *origins)
{
    uint32_t node = (uint32_t)prng_range(p, 0, NODES + 1);
    struct origin *o = &origins[node];
    struct request_id id = {.node = node};

    if (prng_chance(p, 4000)) { /* the process restarts */
        *o = (struct origin){o->incarnation + 1, 0, 1};
    }
    o->seq++;
    if (prng_chance(p, 300000)) {
        o->floor = prng_range(p, o->floor, o->seq + 1);
    }
    if (prng_chance(p, 2000)) { /* a long silence */
        o->seq += prng_range(p, 0, 6000);
        o->floor = prng_range(p, o->seq > 4000 ? o->seq - 4000 : 1, o->seq + 1);
    }
    id.incarnation = o->incarnation;
    id.seq = o->seq;
    id.floor = o->floor;
    if (prng_chance(p, 150000)) { /* an earlier one again, or one from before */
        id.seq = o->seq - prng_range(p, 0, o->seq < 60 ? o->seq : 60);
        id.floor = prng_chance(p, 500000) ? o->floor : 1;
        id.incarnation -= prng_chance(p, 50000) && id.incarnation > 1;
    }
    return id;
}

static uint64_t random_number(struct prng *p, const struct model *m, unsigned key,
                              enum state_compare_type type, uint64_t term)
{
    if (prng_chance(p, 150000)) {
        return prng_range(p, 0, 4);
    }
    if (type == STATE_COMPARE_TERM) {
        return term;
    }
    return type == STATE_COMPARE_VERSION ? m->keys[key].version : m->keys[key].modified;
}

static struct state_op random_op(struct prng *p)
{
    static const uint8_t values[64] = "values of sixty-four bytes, of which each write takes some";
    const struct key_name *name = &names[prng_range(p, 0, KEYS)];
    struct state_op op = {.type = STATE_OP_DELETE, .key = name->bytes};

    op.key_size = (uint16_t)name->size;
    if (prng_chance(p, 600000)) {
        op.type = STATE_OP_PUT;
        op.value_size = (uint32_t)prng_range(p, 0, 60);
        op.value = values + prng_range(p, 0, sizeof values - op.value_size);
    }
    return op;
}

static void random_txn(struct prng *p, const struct model *m, uint64_t term, struct state_txn *txn)
{
    txn->compares_count = txn->ops_count = txn->else_count = 0;
    while (prng_chance(p, 300000)) {
        enum state_compare_type type =
            (enum state_compare_type)prng_range(p, 1, STATE_COMPARE_TERM + 1);
        unsigned key = (unsigned)prng_range(p, 0, KEYS);
        txn->compares[txn->compares_count++] =
            (struct state_compare){type, names[key].bytes, (uint16_t)names[key].size,
                                   random_number(p, m, key, type, term)};
    }
    do {
        txn_then(txn, random_op(p));
    } while (prng_chance(p, 500000));
    while (prng_chance(p, 250000)) {
        txn_else(txn, random_op(p));
    }
}

/* ---- The comparison ---- */

struct walk {
    const struct model *m;
    unsigned at, seen;
};

static bool walk_key(void *arg, const struct state_kv *kv)
{
    struct walk *w = arg;

    while (w->at < KEYS && !w->m->keys[w->at].present) {
        w->at++;
    }
    assert_true(w->at < KEYS);
    const struct model_key *k = &w->m->keys[w->at];
    assert_int_equal(kv->key_size, names[w->at].size);
    assert_memory_equal(kv->key, names[w->at].bytes, kv->key_size);
    assert_int_equal(kv->value_size, k->value_size);
    if (k->value_size) {
        assert_memory_equal(kv->value, k->value, k->value_size);
    }
    assert_int_equal(kv->create_revision, k->created);
    assert_int_equal(kv->mod_revision, k->modified);
    assert_int_equal(kv->version, k->version);
    w->at++;
    w->seen++;
    return true;
}

static void assert_same_keys(const struct model *m, const struct state *s)
{
    struct walk w = {.m = m};
    unsigned present = 0;

    for (unsigned i = 0; i < KEYS; i++) {
        present += m->keys[i].present;
    }
    state_each(s, NULL, 0, walk_key, &w);
    assert_int_equal(w.seen, present);
    assert_int_equal(state_keys(s), present);
    assert_int_equal(state_bytes(s), model_bytes(m->keys));
    assert_int_equal(state_revision(s), m->revision);
}

static void assert_same_result(const struct state_result *a, const struct state_result *b)
{
    assert_int_equal(a->code, b->code);
    assert_int_equal(a->repeated, b->repeated);
    assert_int_equal(a->succeeded, b->succeeded);
    assert_int_equal(a->revision, b->revision);
    assert_int_equal(a->index, b->index);
    assert_int_equal(a->term, b->term);
    assert_int_equal(a->actual, b->actual);
    assert_int_equal(a->deleted, b->deleted);
}

/* How often each outcome came, so that none of them is tested by never happening. */
struct outcomes {
    unsigned done, other_branch, repeated, conflict, stale, space, dropped, invalid;
};

static void outcomes_count(struct outcomes *o, const struct state_result *r)
{
    o->repeated += r->repeated;
    o->done += r->code == 0 && r->succeeded;
    o->other_branch += r->code == 0 && !r->succeeded;
    o->conflict += r->code == -RD_ECONFLICT;
    o->stale += r->code == -RD_ESTALE_FENCE;
    o->space += r->code == -RD_ENO_SPACE;
    o->dropped += r->code == -RD_EUNKNOWN_OUTCOME;
    o->invalid += r->code == -RD_EINVALID;
}

struct run {
    struct prng p;
    struct model model;
    struct kept kept;
    struct origin origins[NODES + 1];
    struct state *a, *b; /* one gives rows, the other is rebuilt from them now and then */
    struct state_rows rows;
    struct state_txn txn;
    uint64_t index, term;
    struct outcomes outcomes;
};

static void run_step(struct run *r)
{
    struct state_result result_a, result_b, expected;

    r->index += prng_range(&r->p, 1, 3);
    r->term += prng_chance(&r->p, 5000);
    if (prng_chance(&r->p, 20000)) {
        state_skip(r->a, r->index, r->term);
        state_skip(r->b, r->index, r->term);
        return;
    }
    struct request_id id = random_id(&r->p, r->origins);
    uint64_t quota = prng_chance(&r->p, 300000) ? prng_range(&r->p, 0, 4000) : 3000;
    random_txn(&r->p, &r->model, r->term, &r->txn);
    struct buf entry = entry_encode(&id, quota, &r->txn);
    state_rows_clear(&r->rows);
    state_apply(r->a, r->index, r->term, entry.data, entry.size, &result_a, &r->rows);
    state_apply(r->b, r->index, r->term, entry.data, entry.size, &result_b, NULL);
    buf_done(&entry);
    expected = model_apply(&r->model, r->index, r->term, quota, &id, &r->txn);
    assert_same_result(&result_a, &expected);
    assert_same_result(&result_b, &expected);
    outcomes_count(&r->outcomes, &expected);
    kept_take(&r->kept, &r->rows);
}

static void run_seed(uint64_t seed)
{
    struct run *r = mem_zalloc(sizeof *r);

    print_message("seed %#llx\n", (unsigned long long)seed);
    prng_seed(&r->p, seed);
    names_make(&r->p);
    r->a = state_new();
    r->b = state_new();
    r->term = 1;
    for (unsigned i = 0; i <= NODES; i++) {
        r->origins[i] = (struct origin){1, 0, 1};
    }
    for (unsigned step = 0; step < STEPS; step++) {
        run_step(r);
        assert_true(state_digest(r->a) == state_digest(r->b));
        if (step % 16 == 0) {
            assert_same_keys(&r->model, r->a);
        }
        if (step % 200 == 0) {
            state_free(r->b);
            r->b = kept_load(&r->kept, &r->p, r->a, r->term);
            assert_same_keys(&r->model, r->b);
        }
    }
    const struct outcomes *o = &r->outcomes;
    print_message("done %u, else %u, repeated %u, conflict %u, stale %u, space %u, dropped %u, "
                  "invalid %u, rows %u\n",
                  o->done, o->other_branch, o->repeated, o->conflict, o->stale, o->space,
                  o->dropped, o->invalid, r->kept.count);
    assert_true(o->done > 1000 && o->other_branch > 50 && o->repeated > 50 && o->conflict > 50);
    assert_true(o->stale > 20 && o->space > 50 && o->dropped > 50);
    state_free(r->a);
    state_free(r->b);
    state_rows_done(&r->rows);
    mem_free(r);
}

static void state_behaves_as_the_model(void **unused)
{
    (void)unused;
    for (uint64_t seed = 0x5eed0100; seed < 0x5eed0106; seed++) {
        run_seed(seed);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(state_behaves_as_the_model)};

    if (argc == 2) { /* one seed again */
        run_seed(strtoull(argv[1], NULL, 0));
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
