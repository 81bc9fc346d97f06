#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "build.h"

struct fixture {
    struct world w;
    struct state_txn *txn;
};

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof *f);

    f->w = world_new();
    f->txn = txn_new();
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    world_done(&f->w);
    mem_free(f->txn);
    mem_free(f);
    return 0;
}

static void assert_key(const struct world *w, const char *key, const char *value, uint64_t created,
                       uint64_t modified, uint64_t version)
{
    struct state_kv kv;

    assert_true(state_get(w->state, key, strlen(key), &kv));
    assert_int_equal(kv.key_size, strlen(key));
    assert_memory_equal(kv.key, key, kv.key_size);
    assert_int_equal(kv.value_size, strlen(value));
    assert_memory_equal(kv.value, value, kv.value_size);
    assert_int_equal(kv.create_revision, created);
    assert_int_equal(kv.mod_revision, modified);
    assert_int_equal(kv.version, version);
}

static void assert_no_key(const struct world *w, const char *key)
{
    struct state_kv kv = {.version = 77};

    assert_false(state_get(w->state, key, strlen(key), &kv));
    assert_int_equal(kv.version, 77);
}

static struct request_id request(uint64_t incarnation, uint64_t seq, uint64_t floor)
{
    return (struct request_id){3, incarnation, seq, floor};
}

/* ---- The data model ---- */

static void put_counts_revisions(void **state)
{
    struct world *w = &((struct fixture *)*state)->w;
    struct state_result r = world_put(w, "a", "1");

    assert_int_equal(r.code, 0);
    assert_true(r.succeeded);
    assert_false(r.repeated);
    assert_int_equal(r.revision, 1);
    assert_int_equal(r.index, 1);
    assert_int_equal(r.term, 1);
    assert_int_equal(r.deleted, 0);
    assert_int_equal(r.actual, 0);
    assert_int_equal(world_put(w, "b", "2").revision, 2);
    assert_int_equal(world_put(w, "a", "1").revision, 3); /* the same value is a write too */
    assert_key(w, "a", "1", 1, 3, 2);
    assert_key(w, "b", "2", 2, 2, 1);
    assert_int_equal(state_revision(w->state), 3);
    assert_int_equal(state_index(w->state), 3);
    assert_int_equal(state_keys(w->state), 2);
    assert_int_equal(state_bytes(w->state), 4 + 2 * STATE_KEY_COST);
}

static void delete_of_nothing_does_not_count(void **state)
{
    struct world *w = &((struct fixture *)*state)->w;

    world_put(w, "a", "1");
    struct state_result r = world_delete(w, "b");
    assert_int_equal(r.code, 0);
    assert_true(r.succeeded);
    assert_int_equal(r.deleted, 0);
    assert_int_equal(r.revision, 1);
    assert_int_equal(w->rows.count, 0);
    r = world_delete(w, "a");
    assert_int_equal(r.deleted, 1);
    assert_int_equal(r.revision, 2);
    assert_no_key(w, "a");
    assert_int_equal(state_bytes(w->state), 0);
    world_put(w, "a", "again");
    assert_key(w, "a", "again", 3, 3, 1); /* a new life */
}

static void txn_shares_one_revision(void **state)
{
    struct fixture *f = *state;

    world_put(&f->w, "gone", "x");
    txn_then(f->txn, op_put("a", "1"));
    txn_then(f->txn, op_delete("gone"));
    txn_then(f->txn, op_put("b", "2"));
    txn_then(f->txn, op_delete("never was"));
    struct state_result r = world_apply(&f->w, NULL, f->txn);
    assert_int_equal(r.revision, 2);
    assert_int_equal(r.deleted, 1);
    assert_key(&f->w, "a", "1", 2, 2, 1);
    assert_key(&f->w, "b", "2", 2, 2, 1);
    assert_no_key(&f->w, "gone");
    assert_int_equal(f->w.rows.count, 3);
}

static void ops_on_one_key_apply_in_order(void **state)
{
    struct fixture *f = *state;

    world_put(&f->w, "k", "old");
    txn_then(f->txn, op_put("k", "1"));
    txn_then(f->txn, op_put("k", "2"));
    assert_int_equal(world_apply(&f->w, NULL, f->txn).revision, 2);
    assert_key(&f->w, "k", "2", 1, 2, 3);
    txn_then(f->txn, op_delete("k"));
    txn_then(f->txn, op_put("k", "3"));
    assert_int_equal(world_apply(&f->w, NULL, f->txn).deleted, 1);
    assert_key(&f->w, "k", "3", 3, 3, 1);
    txn_then(f->txn, op_put("k", "4"));
    txn_then(f->txn, op_delete("k"));
    assert_int_equal(world_apply(&f->w, NULL, f->txn).revision, 4);
    assert_no_key(&f->w, "k");
}

static void empty_txn_succeeds_and_changes_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t digest = state_digest(f->w.state);
    struct state_result r = world_apply(&f->w, NULL, f->txn);

    assert_int_equal(r.code, 0);
    assert_true(r.succeeded);
    assert_int_equal(r.revision, 0);
    assert_true(state_digest(f->w.state) == digest);
}

/* ---- Compares ---- */

static struct state_result put_if(struct fixture *f, enum state_compare_type type, const char *key,
                                  uint64_t number)
{
    txn_if(f->txn, type, key, number);
    txn_then(f->txn, op_put("k", "new"));
    return world_apply(&f->w, NULL, f->txn);
}

static void compare_mod_revision(void **state)
{
    struct fixture *f = *state;
    struct state_result r = put_if(f, STATE_COMPARE_MOD_REVISION, "k", 1);

    assert_int_equal(r.code, -RD_ECONFLICT); /* absent: revision 0 */
    assert_int_equal(r.actual, 0);
    assert_false(r.succeeded);
    assert_int_equal(r.revision, 0);
    assert_int_equal(f->w.rows.count, 0);
    assert_int_equal(put_if(f, STATE_COMPARE_MOD_REVISION, "k", 0).code, 0);
    r = put_if(f, STATE_COMPARE_MOD_REVISION, "k", 0); /* must not exist, but does */
    assert_int_equal(r.code, -RD_ECONFLICT);
    assert_int_equal(r.actual, 1);
    assert_int_equal(put_if(f, STATE_COMPARE_MOD_REVISION, "k", 1).revision, 2);
    assert_int_equal(put_if(f, STATE_COMPARE_MOD_REVISION, "k", 1).actual, 2);
    assert_key(&f->w, "k", "new", 1, 2, 2);
}

static void compare_version(void **state)
{
    struct fixture *f = *state;

    world_put(&f->w, "other", "x");
    world_put(&f->w, "k", "x");
    struct state_result r = put_if(f, STATE_COMPARE_VERSION, "k", 2);
    assert_int_equal(r.code, -RD_ECONFLICT);
    assert_int_equal(r.actual, 1);
    assert_int_equal(put_if(f, STATE_COMPARE_VERSION, "k", 1).code, 0);
    assert_int_equal(put_if(f, STATE_COMPARE_VERSION, "absent", 0).code, 0);
    assert_key(&f->w, "k", "new", 2, 4, 3);
}

static void fence_compares_the_term_of_the_entry(void **state)
{
    struct fixture *f = *state;

    f->w.term = 7;
    assert_int_equal(put_if(f, STATE_COMPARE_TERM, "", 7).code, 0);
    f->w.term = 8;
    struct state_result r = put_if(f, STATE_COMPARE_TERM, "", 7);
    assert_int_equal(r.code, -RD_ESTALE_FENCE);
    assert_int_equal(r.actual, 8);
    assert_int_equal(r.term, 8);
    assert_int_equal(r.revision, 1);
    assert_int_equal(put_if(f, STATE_COMPARE_TERM, "", 9).code, -RD_ESTALE_FENCE);
}

static void first_failed_compare_is_reported(void **state)
{
    struct fixture *f = *state;

    world_put(&f->w, "k", "x");
    txn_if(f->txn, STATE_COMPARE_MOD_REVISION, "k", 1);
    txn_if(f->txn, STATE_COMPARE_VERSION, "k", 5);
    txn_if(f->txn, STATE_COMPARE_TERM, "", 99);
    struct state_result r = put_if(f, STATE_COMPARE_MOD_REVISION, "k", 1);
    assert_int_equal(r.code, -RD_ECONFLICT);
    assert_int_equal(r.actual, 1);
    txn_if(f->txn, STATE_COMPARE_TERM, "", 99);
    assert_int_equal(put_if(f, STATE_COMPARE_VERSION, "k", 5).code, -RD_ESTALE_FENCE);
}

static void else_branch_is_an_answer_not_an_error(void **state)
{
    struct fixture *f = *state;

    world_put(&f->w, "k", "x");
    txn_then(f->txn, op_put("k", "then"));
    txn_else(f->txn, op_put("lost", "race"));
    txn_if(f->txn, STATE_COMPARE_MOD_REVISION, "k", 9);
    struct state_result r = world_apply(&f->w, NULL, f->txn);
    assert_int_equal(r.code, 0);
    assert_false(r.succeeded);
    assert_int_equal(r.revision, 2);
    assert_key(&f->w, "k", "x", 1, 1, 1);
    assert_key(&f->w, "lost", "race", 2, 2, 1);
    txn_then(f->txn, op_put("k", "then"));
    txn_else(f->txn, op_delete("absent"));
    txn_if(f->txn, STATE_COMPARE_TERM, "", 9);
    r = world_apply(&f->w, NULL, f->txn);
    assert_int_equal(r.code, 0);
    assert_false(r.succeeded);
    assert_int_equal(r.revision, 2); /* the else branch changed nothing */
}

/* ---- The quota ---- */

static void quota_limits_growth_exactly(void **state)
{
    struct fixture *f = *state;

    f->w.quota = STATE_KEY_COST + 1 + 10;
    assert_int_equal(world_put(&f->w, "k", "0123456789").code, 0);
    uint64_t digest = state_digest(f->w.state);
    struct state_result r = world_put(&f->w, "k", "0123456789+");
    assert_int_equal(r.code, -RD_ENO_SPACE);
    assert_int_equal(r.actual, STATE_KEY_COST + 1 + 11);
    assert_false(r.succeeded);
    assert_int_equal(r.revision, 1);
    assert_int_equal(f->w.rows.count, 0);
    assert_true(state_digest(f->w.state) == digest);
    r = world_put(&f->w, "l", "");
    assert_int_equal(r.code, -RD_ENO_SPACE);
    assert_int_equal(r.actual, 2 * STATE_KEY_COST + 1 + 10 + 1);
    assert_no_key(&f->w, "l");
    assert_int_equal(state_bytes(f->w.state), f->w.quota);
}

static void quota_lets_through_what_does_not_grow(void **state)
{
    struct fixture *f = *state;

    world_put(&f->w, "a", "0123456789");
    world_put(&f->w, "b", "0123456789");
    f->w.quota = 0; /* far exceeded: it was lowered */
    assert_int_equal(world_put(&f->w, "a", "9876543210").code, 0);
    assert_int_equal(world_put(&f->w, "a", "987654321").code, 0);
    assert_int_equal(world_put(&f->w, "a", "9876543210").code, -RD_ENO_SPACE);
    txn_then(f->txn, op_put("c", "0123456789")); /* replaces b */
    txn_then(f->txn, op_delete("b"));
    assert_int_equal(world_apply(&f->w, NULL, f->txn).code, 0);
    txn_then(f->txn, op_put("c", "longer than it was before")); /* what counts is what is left */
    txn_then(f->txn, op_put("d", "comes"));
    txn_then(f->txn, op_delete("d"));
    txn_then(f->txn, op_put("c", "short"));
    assert_int_equal(world_apply(&f->w, NULL, f->txn).code, 0);
    txn_then(f->txn, op_delete("c"));
    txn_then(f->txn, op_put("c", "short+"));
    assert_int_equal(world_apply(&f->w, NULL, f->txn).code, -RD_ENO_SPACE);
    assert_int_equal(world_delete(&f->w, "a").code, 0);
    assert_int_equal(world_delete(&f->w, "absent").code, 0);
    assert_key(&f->w, "c", "short", 5, 6, 3);
}

static void quota_counts_the_branch_that_runs(void **state)
{
    struct fixture *f = *state;

    f->w.quota = 2 * STATE_KEY_COST;
    txn_if(f->txn, STATE_COMPARE_MOD_REVISION, "k", 0);
    txn_then(f->txn, op_put("k", "small"));
    for (int i = 0; i < 3; i++) {
        txn_else(f->txn, op_put(&"abc"[i], ""));
    }
    assert_int_equal(world_apply(&f->w, NULL, f->txn).code, 0);
    txn_if(f->txn, STATE_COMPARE_MOD_REVISION, "k", 0);
    txn_then(f->txn, op_put("k", "small"));
    for (int i = 0; i < 3; i++) {
        txn_else(f->txn, op_put(&"abc"[i], ""));
    }
    struct state_result r = world_apply(&f->w, NULL, f->txn);
    assert_int_equal(r.code, -RD_ENO_SPACE);
    assert_false(r.succeeded);
    assert_int_equal(state_keys(f->w.state), 1);
}

/* ---- Repeated requests ---- */

static struct state_result put_as(struct fixture *f, struct request_id id, const char *key)
{
    txn_then(f->txn, op_put(key, "value"));
    return world_apply(&f->w, &id, f->txn);
}

static void duplicate_gets_the_first_result(void **state)
{
    struct fixture *f = *state;
    struct state_result first = put_as(f, request(1, 1, 1), "k");

    assert_int_equal(first.code, 0);
    assert_false(first.repeated);
    assert_int_equal(f->w.rows.count, 2); /* the key's and the request's */
    world_put(&f->w, "other", "x");
    f->w.term = 2;
    uint64_t digest = state_digest(f->w.state);
    struct state_result again = put_as(f, request(1, 1, 1), "k");
    assert_true(again.repeated);
    assert_int_equal(again.code, 0);
    assert_true(again.succeeded);
    assert_int_equal(again.revision, first.revision);
    assert_int_equal(again.index, first.index);
    assert_int_equal(again.term, 1);
    assert_int_equal(f->w.rows.count, 0);
    assert_key(&f->w, "k", "value", 1, 1, 1);
    assert_int_equal(state_revision(f->w.state), 2);
    assert_int_equal(state_index(f->w.state), 3);
    assert_true(state_digest(f->w.state) == digest);
}

static void late_duplicate_is_dropped(void **state)
{
    struct fixture *f = *state;

    put_as(f, request(1, 1, 1), "k");
    put_as(f, request(1, 2, 2), "k"); /* nobody waits for 1 any more */
    uint64_t digest = state_digest(f->w.state);
    struct state_result r = put_as(f, request(1, 1, 1), "k");
    assert_int_equal(r.code, -RD_EUNKNOWN_OUTCOME);
    assert_false(r.repeated);
    assert_false(r.succeeded);
    assert_int_equal(r.revision, 2);
    assert_int_equal(r.index, 3);
    assert_int_equal(f->w.rows.count, 0);
    assert_key(&f->w, "k", "value", 1, 2, 2);
    assert_true(state_digest(f->w.state) == digest);
}

static void earlier_incarnation_is_dropped(void **state)
{
    struct fixture *f = *state;

    put_as(f, request(2, 1, 1), "k");
    assert_int_equal(put_as(f, request(1, 2, 1), "k").code, -RD_EUNKNOWN_OUTCOME);
    assert_key(&f->w, "k", "value", 1, 1, 1);
    assert_int_equal(put_as(f, request(3, 1, 1), "k").code, 0); /* not that of incarnation 2 */
    assert_key(&f->w, "k", "value", 1, 2, 2);
    assert_int_equal(put_as(f, request(2, 1, 1), "k").code, -RD_EUNKNOWN_OUTCOME);
    assert_int_equal(state_revision(f->w.state), 2);
}

static void id_beyond_the_window_is_refused(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(put_as(f, request(1, 1 + STATE_WINDOW_MAX, 1), "k").code, -RD_EINVALID);
    assert_int_equal(put_as(f, request(1, 0, 0), "k").code, -RD_EINVALID);
    assert_int_equal(f->w.rows.count, 0);
    assert_no_key(&f->w, "k");
    assert_int_equal(put_as(f, request(1, STATE_WINDOW_MAX, 1), "k").code, 0);
}

static void request_without_id_applies_each_time(void **state)
{
    struct fixture *f = *state;
    struct request_id none = {0, 1, 1, 1};
    struct state_result unused;

    put_as(f, none, "k");
    assert_int_equal(f->w.rows.count, 1);
    assert_false(put_as(f, none, "k").repeated);
    assert_key(&f->w, "k", "value", 1, 2, 2);
    assert_false(state_recall(f->w.state, &none, &unused));
}

/* A refusal is a result as well: the second try must not succeed where the first did not. */
static void refusals_are_remembered(void **state)
{
    struct fixture *f = *state;
    struct request_id id = request(1, 1, 1);

    f->w.quota = 10;
    assert_int_equal(put_as(f, id, "k").code, -RD_ENO_SPACE);
    assert_int_equal(f->w.rows.count, 1);
    f->w.quota = UINT64_MAX;
    struct state_result r = put_as(f, id, "k");
    assert_true(r.repeated);
    assert_int_equal(r.code, -RD_ENO_SPACE);
    assert_int_equal(r.actual, STATE_KEY_COST + 6);
    id.seq = 2;
    txn_if(f->txn, STATE_COMPARE_VERSION, "k", 1);
    assert_int_equal(put_as(f, id, "k").code, -RD_ECONFLICT);
    world_put(&f->w, "k", "x");
    txn_if(f->txn, STATE_COMPARE_VERSION, "k", 1);
    r = put_as(f, id, "k");
    assert_true(r.repeated);
    assert_int_equal(r.code, -RD_ECONFLICT);
    assert_key(&f->w, "k", "x", 1, 1, 1);
}

static void recall_answers_without_an_entry(void **state)
{
    struct fixture *f = *state;
    struct request_id id = request(1, 1, 1);
    struct state_result r = {.revision = 77};

    assert_false(state_recall(f->w.state, &id, &r));
    assert_int_equal(r.revision, 77);
    put_as(f, id, "k");
    assert_true(state_recall(f->w.state, &id, &r));
    assert_true(r.repeated);
    assert_int_equal(r.revision, 1);
    put_as(f, request(1, 2, 2), "k");
    assert_false(state_recall(f->w.state, &id, &r));
}

/* ---- Entries that make no sense ---- */

static void unknown_bytes_are_refused_and_counted(void **state)
{
    struct world *w = &((struct fixture *)*state)->w;
    struct state_result r;

    world_put(w, "k", "x");
    uint64_t digest = state_digest(w->state);
    state_rows_clear(&w->rows);
    state_apply(w->state, 2, 1, "\x09", 1, &r, &w->rows);
    assert_int_equal(r.code, -RD_EINVALID);
    assert_int_equal(r.revision, 1);
    assert_int_equal(r.index, 2);
    state_apply(w->state, 3, 1, NULL, 0, &r, NULL);
    assert_int_equal(r.code, -RD_EINVALID);
    assert_int_equal(state_index(w->state), 3);
    assert_int_equal(w->rows.count, 0);
    assert_true(state_digest(w->state) == digest);
}

static void unknown_txn_is_refused_and_remembered(void **state)
{
    struct world *w = &((struct fixture *)*state)->w;
    struct state_command c = {.request = {3, 1, 1, 1},
                              .quota = UINT64_MAX,
                              .txn = (const uint8_t *)"\x63",
                              .txn_size = 1};
    struct buf entry = BUF_INIT;
    struct state_result r;

    state_command_encode(&c, &entry);
    state_apply(w->state, 1, 1, entry.data, entry.size, &r, &w->rows);
    assert_int_equal(r.code, -RD_EINVALID);
    assert_false(r.repeated);
    assert_int_equal(w->rows.count, 1);
    state_apply(w->state, 2, 1, entry.data, entry.size, &r, &w->rows);
    assert_int_equal(r.code, -RD_EINVALID);
    assert_true(r.repeated);
    assert_int_equal(r.index, 1);
    assert_int_equal(w->rows.count, 1);
    buf_done(&entry);
}

static void skip_back(void *arg)
{
    state_skip(arg, 5, 3);
}

static void skip_to_earlier_term(void *arg)
{
    state_skip(arg, 6, 2);
}

static void apply_again(void *arg)
{
    struct state_result r;

    state_apply(arg, 5, 3, "", 0, &r, NULL);
}

static void load_after_apply(void *arg)
{
    (void)state_load_row(arg, "", 0, "", 0);
}

static void finish_after_apply(void *arg)
{
    (void)state_load_done(arg, 1, 1, 1, 0);
}

static void indexes_and_terms_only_go_up(void **state)
{
    struct world *w = &((struct fixture *)*state)->w;
    uint64_t digest = state_digest(w->state);

    state_skip(w->state, 5, 3);
    assert_int_equal(state_index(w->state), 5);
    assert_true(state_digest(w->state) == digest);
    assert_int_equal(exit_status_of(skip_back, w->state), RD_EXIT_BUG);
    assert_int_equal(exit_status_of(skip_to_earlier_term, w->state), RD_EXIT_BUG);
    assert_int_equal(exit_status_of(apply_again, w->state), RD_EXIT_BUG);
    assert_int_equal(exit_status_of(load_after_apply, w->state), RD_EXIT_BUG);
    assert_int_equal(exit_status_of(finish_after_apply, w->state), RD_EXIT_BUG);
    state_skip(w->state, 6, 3);
    assert_int_equal(state_index(w->state), 6);
    state_free(NULL);
}

/* ---- Listing ---- */

struct listing {
    char text[256];
    unsigned limit;
};

static bool listing_add(void *arg, const struct state_kv *kv)
{
    struct listing *l = arg;
    size_t used = strlen(l->text);

    memcpy(l->text + used, kv->key, kv->key_size);
    memcpy(l->text + used + kv->key_size, " ", 2);
    return --l->limit > 0;
}

static void assert_listing(const struct world *w, const char *prefix, unsigned limit,
                           const char *expected)
{
    struct listing l = {.limit = limit};

    state_each(w->state, prefix, strlen(prefix), listing_add, &l);
    assert_string_equal(l.text, expected);
}

static void listing_is_by_prefix_in_byte_order(void **state)
{
    static const char *const keys[] = {"b",        "a/2", "a0",   "a/10", "a",
                                       "\xff\xff", "a/",  "\xff", "a/1"};
    struct world *w = &((struct fixture *)*state)->w;

    struct listing all = {.limit = 1};
    struct state_kv kv;

    assert_listing(w, "", 99, "");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        world_put(w, keys[i], "x");
    }
    assert_listing(w, "", 99, "a a/ a/1 a/10 a/2 a0 b \xff \xff\xff ");
    assert_listing(w, "a", 99, "a a/ a/1 a/10 a/2 a0 ");
    assert_listing(w, "a/", 99, "a/ a/1 a/10 a/2 ");
    assert_listing(w, "a/1", 99, "a/1 a/10 ");
    assert_listing(w, "a/11", 99, "");
    assert_listing(w, "b", 99, "b ");
    assert_listing(w, "c", 99, "");
    assert_listing(w, "\xff", 99, "\xff \xff\xff ");
    assert_listing(w, "\xff\xff\xff", 99, "");
    assert_listing(w, "a", 2, "a a/ ");
    state_each(w->state, NULL, 0, listing_add, &all); /* no prefix need not be a string */
    assert_string_equal(all.text, "a ");
    assert_false(state_get(w->state, NULL, 0, &kv));
    world_delete(w, "a/1");
    assert_listing(w, "a/1", 99, "a/10 ");
}

/* ---- Rows and digests ---- */

static void digest_tells_states_apart(void **state)
{
    struct fixture *f = *state;
    struct world other = world_new();
    uint64_t empty = state_digest(f->w.state);

    world_put(&f->w, "k", "x");
    world_put(&other, "k", "y");
    assert_true(state_digest(f->w.state) != state_digest(other.state));
    world_put(&f->w, "k", "z");
    world_put(&other, "k", "z");
    assert_true(state_digest(f->w.state) == state_digest(other.state));
    put_as(f, request(1, 1, 1), "k");
    world_put(&other, "k", "value");
    assert_true(state_digest(f->w.state) != state_digest(other.state)); /* the window */
    world_done(&other);
    other = world_new();
    world_put(&other, "k", "x");
    world_delete(&other, "k");
    assert_true(state_digest(other.state) != empty); /* the revision */
    world_done(&other);
}

/* One row of each kind, kept aside. */
struct kept {
    uint8_t key[2][64], value[2][128];
    size_t key_size[2], value_size[2];
    uint64_t digest, revision;
};

static struct kept keep_rows(struct fixture *f)
{
    struct kept k;

    memset(&k, 0, sizeof k);
    put_as(f, request(1, 5, 4), "key");
    assert_int_equal(f->w.rows.count, 2);
    for (uint32_t i = 0; i < 2; i++) {
        const struct state_row *row = &f->w.rows.rows[i];
        k.key_size[i] = row->key_size;
        k.value_size[i] = row->value_size;
        memcpy(k.key[i], f->w.rows.bytes.data + row->key_at, row->key_size);
        memcpy(k.value[i], f->w.rows.bytes.data + row->value_at, row->value_size);
    }
    k.digest = state_digest(f->w.state);
    k.revision = state_revision(f->w.state);
    return k;
}

/* Load the rows; the first error, or that of the end. */
static int load_kept(struct state *s, const struct kept *k, unsigned first, unsigned count)
{
    int err = 0;

    for (unsigned i = first; i < first + count && err == 0; i++) {
        err = state_load_row(s, k->key[i % 2], k->key_size[i % 2], k->value[i % 2],
                             k->value_size[i % 2]);
    }
    return err ? err : state_load_done(s, 9, 2, k->revision, k->digest);
}

static int load_fresh(const struct kept *k, unsigned first, unsigned count)
{
    struct state *s = state_new();
    int err = load_kept(s, k, first, count);

    state_free(s);
    return err;
}

static void rows_rebuild_the_state(void **state)
{
    struct fixture *f = *state;
    struct kept k = keep_rows(f);
    struct request_id id = request(1, 5, 4);
    struct state_result r;
    struct world loaded = {.state = state_new(), .index = 9, .term = 2, .quota = UINT64_MAX};

    assert_int_equal(load_kept(loaded.state, &k, 1, 2), 0); /* the order does not matter */
    assert_key(&loaded, "key", "value", 1, 1, 1);
    assert_int_equal(state_index(loaded.state), 9);
    assert_int_equal(state_revision(loaded.state), 1);
    assert_int_equal(state_bytes(loaded.state), state_bytes(f->w.state));
    assert_true(state_recall(loaded.state, &id, &r));
    assert_int_equal(r.index, 1);
    f->w.term = 2;
    assert_int_equal(world_put(&loaded, "key", "x").revision,
                     world_put(&f->w, "key", "x").revision);
    assert_true(state_digest(loaded.state) == state_digest(f->w.state));
    world_done(&loaded);
}

static void damaged_rows_are_refused(void **state)
{
    struct kept k = keep_rows(*state);

    assert_int_equal(load_fresh(&k, 0, 2), 0);
    assert_int_equal(load_fresh(&k, 0, 1), -RD_ECORRUPT); /* one is missing */
    assert_int_equal(load_fresh(&k, 1, 1), -RD_ECORRUPT);
    assert_int_equal(load_fresh(&k, 0, 3), -RD_ECORRUPT); /* one comes twice */
    assert_int_equal(load_fresh(&k, 1, 3), -RD_ECORRUPT);
    k.revision++;
    assert_int_equal(load_fresh(&k, 0, 2), -RD_ECORRUPT);
    k.revision--;
    for (unsigned i = 0; i < 2; i++) { /* each bit of each row */
        for (size_t bit = 0; bit < 8 * (k.key_size[i] + k.value_size[i]); bit++) {
            size_t at = bit / 8;
            uint8_t *byte = at < k.key_size[i] ? &k.key[i][at] : &k.value[i][at - k.key_size[i]];
            *byte ^= (uint8_t)(1U << (bit % 8));
            assert_int_equal(load_fresh(&k, 0, 2), -RD_ECORRUPT);
            *byte ^= (uint8_t)(1U << (bit % 8));
        }
    }
    k.value_size[0]--;
    assert_int_equal(load_fresh(&k, 0, 2), -RD_ECORRUPT);
}

static void empty_state_loads_without_rows(void **unused)
{
    struct state *empty = state_new(), *loaded = state_new();

    (void)unused;
    assert_int_equal(state_load_done(loaded, 4, 1, 0, state_digest(empty)), 0);
    assert_int_equal(state_index(loaded), 4);
    state_free(empty);
    state_free(loaded);
}

/* In another cluster: the keys as they were, nobody's requests, a revision that was never handed out; and the
 * rows that say so make the same state. */
static void a_state_moves_on(void **state)
{
    struct fixture *f = *state;
    struct request_id id = request(1, 5, 4);
    struct state *loaded = state_new();
    struct state_rows rows = {0};
    struct state_result r;

    put_as(f, id, "key");
    world_put(&f->w, "other", "2");
    uint64_t bytes = state_bytes(f->w.state);
    state_move_on(f->w.state, 1000);
    assert_int_equal(state_revision(f->w.state), 1002);
    assert_int_equal(state_bytes(f->w.state), bytes);
    assert_false(state_recall(f->w.state, &id, &r));
    state_key_rows(f->w.state, &rows);
    assert_int_equal(rows.count, 2);
    for (uint32_t i = 0; i < rows.count; i++) {
        const struct state_row *row = &rows.rows[i];
        assert_int_equal(state_load_row(loaded, rows.bytes.data + row->key_at, row->key_size,
                                        rows.bytes.data + row->value_at, row->value_size),
                         0);
    }
    assert_int_equal(state_load_done(loaded, 2, 1, 1002, state_digest(f->w.state)), 0);
    assert_key(&f->w, "key", "value", 1, 1, 1);
    assert_int_equal(world_put(&f->w, "key", "x").revision, 1003);
    state_rows_done(&rows);
    state_free(loaded);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(put_counts_revisions),
        TEST(delete_of_nothing_does_not_count),
        TEST(txn_shares_one_revision),
        TEST(ops_on_one_key_apply_in_order),
        TEST(empty_txn_succeeds_and_changes_nothing),
        TEST(compare_mod_revision),
        TEST(compare_version),
        TEST(fence_compares_the_term_of_the_entry),
        TEST(first_failed_compare_is_reported),
        TEST(else_branch_is_an_answer_not_an_error),
        TEST(quota_limits_growth_exactly),
        TEST(quota_lets_through_what_does_not_grow),
        TEST(quota_counts_the_branch_that_runs),
        TEST(duplicate_gets_the_first_result),
        TEST(late_duplicate_is_dropped),
        TEST(earlier_incarnation_is_dropped),
        TEST(id_beyond_the_window_is_refused),
        TEST(request_without_id_applies_each_time),
        TEST(refusals_are_remembered),
        TEST(recall_answers_without_an_entry),
        TEST(unknown_bytes_are_refused_and_counted),
        TEST(unknown_txn_is_refused_and_remembered),
        TEST(indexes_and_terms_only_go_up),
        TEST(listing_is_by_prefix_in_byte_order),
        TEST(digest_tells_states_apart),
        TEST(rows_rebuild_the_state),
        TEST(damaged_rows_are_refused),
        cmocka_unit_test(empty_state_loads_without_rows),
        TEST(a_state_moves_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
