/* rlog: append, truncate, evict, terms, chains, and reading back what left memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "raft/internal.h"

enum { DISK_MAX = 4096 };

struct disk { /* stands in for the store: every entry ever appended, by index */
    struct raft_entry entries[DISK_MAX];
    uint32_t loads;
};

static uint32_t disk_load(void *arg, raft_index first, uint32_t count_max, uint64_t bytes_max,
                          struct raft_entry *out)
{
    struct disk *d = arg;
    uint32_t count = 0;
    uint64_t bytes = 0;

    d->loads++;
    while (count < count_max && (count == 0 || bytes < bytes_max)) {
        out[count] = d->entries[first + count];
        out[count].data = blob_ref(out[count].data);
        bytes += entry_size(&out[count]);
        count++;
    }
    return count;
}

static void add(struct rlog *l, struct disk *d, raft_term term, const char *text)
{
    struct raft_entry e = {.index = l->last + 1, .term = term, .type = RAFT_ENTRY_COMMAND};

    e.data = blob_copy(text, strlen(text));
    rlog_append(l, &e);
    e.chain = l->last_chain;
    blob_unref(d->entries[e.index].data);
    d->entries[e.index] = e;
}

static int setup(void **state)
{
    *state = mem_zalloc(sizeof(struct disk));
    return 0;
}

static int teardown(void **state)
{
    struct disk *d = *state;

    for (uint32_t i = 0; i < DISK_MAX; i++) {
        blob_unref(d->entries[i].data);
    }
    mem_free(d);
    return 0;
}

static void terms_are_known_without_memory(void **state)
{
    struct disk *d = *state;
    struct rlog l;

    rlog_init(&l, disk_load, d);
    for (int i = 0; i < 300; i++) {
        add(&l, d, (raft_term)(1 + i / 100), "0123456789");
    }
    rlog_evict(&l, 300, 740); /* ten entries of 10 bytes, and what each costs besides */
    assert_int_equal(l.cached, 10);
    assert_int_equal(rlog_term(&l, 0), 0);
    assert_int_equal(rlog_term(&l, 1), 1);
    assert_int_equal(rlog_term(&l, 100), 1);
    assert_int_equal(rlog_term(&l, 101), 2);
    assert_int_equal(rlog_term(&l, 300), 3);
    assert_int_equal(d->loads, 0);
    rlog_done(&l);
}

static void only_durable_entries_leave_memory(void **state)
{
    struct disk *d = *state;
    struct rlog l;

    rlog_init(&l, disk_load, d);
    for (int i = 0; i < 50; i++) {
        add(&l, d, 1, "0123456789");
    }
    rlog_evict(&l, 0, 0);
    assert_int_equal(l.cached, 50);
    rlog_evict(&l, 20, 0);
    assert_int_equal(l.cached, 30);
    assert_int_equal(l.cached_bytes, 30 * 74);
    rlog_done(&l);
}

static void reading_crosses_from_disk_to_memory(void **state)
{
    struct disk *d = *state;
    struct raft_entry out[64];
    struct rlog l;

    rlog_init(&l, disk_load, d);
    for (int i = 0; i < 40; i++) {
        add(&l, d, 1, "0123456789");
    }
    rlog_evict(&l, 30, 740);
    uint32_t got = rlog_read(&l, 25, 64, UINT64_MAX, out);
    assert_int_equal(got, 6); /* what memory lacks: 25..30 */
    assert_int_equal(out[0].index, 25);
    for (uint32_t i = 0; i < got; i++) {
        blob_unref(out[i].data);
    }
    got = rlog_read(&l, 31, 64, 35, out);
    assert_int_equal(got, 3); /* 30 of 35 bytes */
    assert_int_equal(out[0].index, 31);
    for (uint32_t i = 0; i < got; i++) {
        blob_unref(out[i].data);
    }
    got = rlog_read(&l, 31, 64, 1, out);
    assert_int_equal(got, 1); /* at least one */
    blob_unref(out[0].data);
    rlog_done(&l);
}

static void truncation_restores_the_older_chain_and_terms(void **state)
{
    struct disk *d = *state;
    struct rlog l;

    rlog_init(&l, disk_load, d);
    for (int i = 0; i < 10; i++) {
        add(&l, d, 1, "a");
    }
    uint64_t chain = l.last_chain;
    add(&l, d, 2, "b");
    add(&l, d, 3, "c");
    rlog_truncate(&l, 11);
    assert_int_equal(l.last, 10);
    assert_int_equal(rlog_last_term(&l), 1);
    assert_true(l.last_chain == chain);
    rlog_evict(&l, 10, 0); /* nothing in memory: the chain comes from disk */
    rlog_truncate(&l, 6);
    assert_int_equal(l.last, 5);
    assert_true(l.last_chain == d->entries[5].chain);
    rlog_truncate(&l, 1);
    assert_int_equal(l.last, 0);
    assert_true(l.last_chain == 0);
    rlog_done(&l);
}

static void chains_tell_logs_apart(void **state)
{
    struct disk *d = *state;
    struct rlog a;
    struct rlog b;

    rlog_init(&a, disk_load, d);
    rlog_init(&b, disk_load, d);
    add(&a, d, 1, "x");
    add(&b, d, 1, "y");
    assert_true(a.last_chain != b.last_chain);
    rlog_truncate(&b, 1);
    add(&b, d, 1, "x");
    assert_true(a.last_chain == b.last_chain);
    rlog_done(&a);
    rlog_done(&b);
}

static void agreement_is_found_by_term(void **state)
{
    struct disk *d = *state;
    struct rlog l;
    static const raft_term terms[] = {1, 1, 1, 3, 3, 5};

    rlog_init(&l, disk_load, d);
    for (size_t i = 0; i < sizeof terms / sizeof terms[0]; i++) {
        add(&l, d, terms[i], "e");
    }
    assert_int_equal(rlog_agree(&l, 6, 5), 6);
    assert_int_equal(rlog_agree(&l, 6, 4), 5);
    assert_int_equal(rlog_agree(&l, 6, 2), 3);
    assert_int_equal(rlog_agree(&l, 100, 9), 6);
    assert_int_equal(rlog_agree(&l, 4, 0), 0);
    rlog_done(&l);
}

static void the_ring_survives_many_wraps(void **state)
{
    struct disk *d = *state;
    struct rlog l;

    rlog_init(&l, disk_load, d);
    for (raft_index i = 1; i <= 3000; i++) {
        add(&l, d, 1, "payload");
        rlog_evict(&l, i > 5 ? i - 5 : 0, 710);
        assert_true(rlog_chain(&l, l.last) == l.last_chain);
        if (i % 7 == 0) {
            rlog_truncate(&l, l.last);
            add(&l, d, 1, "payload");
        }
        assert_in_range(l.cached, 1, 11);
    }
    assert_int_equal(l.ring_capacity, 64);
    rlog_done(&l);
}

/* ---- Where it begins ---- */

static struct raft_point point_at(const struct disk *d, raft_index index)
{
    return (struct raft_point){
        .index = index, .term = d->entries[index].term, .chain = d->entries[index].chain};
}

/* Terms 1 1 1 3 3 5. */
static void add_six(struct rlog *l, struct disk *d)
{
    static const raft_term terms[] = {1, 1, 1, 3, 3, 5};

    rlog_init(l, disk_load, d);
    for (size_t i = 0; i < sizeof terms / sizeof terms[0]; i++) {
        add(l, d, terms[i], "e");
    }
}

static void assert_begins_after(const struct rlog *l, const struct disk *d, raft_index base)
{
    assert_int_equal(l->base.index, base);
    for (raft_index i = base; i <= l->last; i++) {
        assert_int_equal(rlog_term(l, i), i ? d->entries[i].term : 0);
        assert_true(rlog_chain(l, i) == (i ? d->entries[i].chain : 0));
        assert_true(rlog_holds(l, i, i ? d->entries[i].term : 0));
    }
    assert_int_equal(rlog_term(l, 0), 0);
    assert_true(rlog_chain(l, 0) == 0);
    assert_int_equal(rlog_last_term(l), d->entries[l->last].term);
}

/* Wherever it is cut, whether memory has what goes or not. */
static void trimming_keeps_what_comes_after(void **state)
{
    struct disk *d = *state;

    for (raft_index base = 1; base <= 6; base++) {
        for (uint64_t cache = 0; cache <= 6; cache++) {
            struct raft_point p;
            struct rlog l;

            add_six(&l, d);
            p = point_at(d, base);
            rlog_evict(&l, 6, cache * 65);
            rlog_trim(&l, &p);
            assert_begins_after(&l, d, base);
            assert_int_equal(l.last, 6);
            assert_true(l.cached <= 6 - base);
            assert_false(rlog_holds(&l, base - 1, base > 1 ? d->entries[base - 1].term : 1));
            assert_false(rlog_holds(&l, 7, 5));
            assert_false(rlog_holds(&l, base, 2));
            add(&l, d, 7, "more");
            assert_begins_after(&l, d, base);
            rlog_done(&l);
        }
    }
}

static void trimming_twice_is_trimming_once(void **state)
{
    struct disk *d = *state;
    struct raft_entry out[8];
    struct rlog l;

    add_six(&l, d);
    struct raft_point p = point_at(d, 2);
    rlog_trim(&l, &p);
    p = point_at(d, 4);
    rlog_trim(&l, &p);
    assert_begins_after(&l, d, 4);
    assert_int_equal(rlog_read(&l, 5, 8, UINT64_MAX, out), 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(out[i].index, 5 + i);
        blob_unref(out[i].data);
    }
    rlog_truncate(&l, 5); /* down to where it begins */
    assert_int_equal(l.last, 4);
    assert_int_equal(rlog_last_term(&l), 3);
    assert_true(l.last_chain == d->entries[4].chain);
    add(&l, d, 9, "other");
    assert_begins_after(&l, d, 4);
    rlog_done(&l);
}

static void a_log_begins_anew(void **state)
{
    struct disk *d = *state;
    struct raft_point p = {.index = 100, .term = 4, .chain = 0xabc};
    struct rlog l;

    add_six(&l, d);
    rlog_reset(&l, &p);
    assert_int_equal(l.last, 100);
    assert_int_equal(l.cached, 0);
    assert_int_equal(l.cached_bytes, 0);
    assert_int_equal(rlog_last_term(&l),
                     4); /* the boundary's, lower than the old log's (trap 29) */
    assert_true(l.last_chain == 0xabc);
    assert_true(rlog_holds(&l, 100, 4));
    assert_false(rlog_holds(&l, 6, 5));
    assert_false(rlog_holds(&l, 101, 4));
    struct raft_entry e = {.index = 101, .term = 4, .type = RAFT_ENTRY_NOOP};
    rlog_append(&l, &e);
    assert_int_equal(rlog_term(&l, 101), 4);
    assert_true(l.last_chain == raft_chain_after(0xabc, &e));
    rlog_truncate(&l, 101);
    assert_int_equal(rlog_last_term(&l), 4);
    assert_true(l.last_chain == 0xabc);
    rlog_done(&l);
}

/* The point's membership is the log's as long as it begins there, no longer. */
static void the_membership_of_the_beginning_is_kept(void **state)
{
    struct disk *d = *state;
    struct blob *first = blob_copy("first", 5);
    struct blob *second = blob_copy("second", 6);
    struct rlog l;

    add_six(&l, d);
    struct raft_point p = point_at(d, 2);
    p.membership = first;
    rlog_trim(&l, &p);
    assert_int_equal(first->refs, 2);
    p = point_at(d, 4);
    p.membership = first; /* the same once more */
    rlog_trim(&l, &p);
    assert_int_equal(first->refs, 2);
    p.index = 9;
    p.membership = second;
    rlog_reset(&l, &p);
    assert_int_equal(first->refs, 1);
    assert_int_equal(second->refs, 2);
    rlog_done(&l);
    assert_int_equal(second->refs, 1);
    blob_unref(first);
    blob_unref(second);
}

static void agreement_ends_where_the_log_begins(void **state)
{
    struct disk *d = *state;
    struct rlog l;

    add_six(&l, d);
    struct raft_point p = point_at(d, 4);
    rlog_trim(&l, &p);
    assert_int_equal(rlog_agree(&l, 6, 5), 6);
    assert_int_equal(rlog_agree(&l, 6, 3), 5);
    assert_int_equal(rlog_agree(&l, 6, 2), 4); /* of what lies there nothing can be told apart */
    assert_int_equal(rlog_agree(&l, 5, 0), 4);
    assert_int_equal(rlog_agree(&l, 4, 0), 4);
    assert_int_equal(rlog_agree(&l, 2, 9), 2); /* below: as it was asked */
    assert_int_equal(rlog_agree(&l, 0, 0), 0);
    rlog_done(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(terms_are_known_without_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(only_durable_entries_leave_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(reading_crosses_from_disk_to_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(truncation_restores_the_older_chain_and_terms, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(chains_tell_logs_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(agreement_is_found_by_term, setup, teardown),
        cmocka_unit_test_setup_teardown(the_ring_survives_many_wraps, setup, teardown),
        cmocka_unit_test_setup_teardown(trimming_keeps_what_comes_after, setup, teardown),
        cmocka_unit_test_setup_teardown(trimming_twice_is_trimming_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_log_begins_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(the_membership_of_the_beginning_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(agreement_ends_where_the_log_begins, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
