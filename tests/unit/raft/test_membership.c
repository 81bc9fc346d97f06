/* Membership: order, majority, changes, and an encoding that refuses whatever it did not write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/prng.h"
#include "raft/membership.h"

static struct raft_member member(raft_id id, enum raft_role role)
{
    struct raft_member m = {.id = id, .role = role, .session = id * 10ULL};

    memset(m.store.bytes, (int)id, sizeof m.store.bytes);
    (void)snprintf(m.address, sizeof m.address, "10.0.0.%u:7400", id);
    return m;
}

static struct raft_membership *sample(void)
{
    struct raft_membership *m = mem_zalloc(sizeof *m);
    static const raft_id ids[] = {5, 1, 9, 3};

    for (size_t i = 0; i < 4; i++) {
        struct raft_member one = member(ids[i], ids[i] == 9 ? RAFT_LEARNER : RAFT_VOTER);
        one.auto_promote = ids[i] == 9;
        membership_insert(m, &one);
    }
    m->tombstones_count = 1;
    m->tombstones[0] = (struct raft_tombstone){.id = 7, .index = 42};
    memset(m->tombstones[0].store.bytes, 7, 16);
    return m;
}

static void members_stand_by_id(void **state)
{
    (void)state;
    struct raft_membership *m = sample();

    for (uint32_t i = 1; i < m->members_count; i++) {
        assert_true(m->members[i - 1].id < m->members[i].id);
    }
    assert_int_equal(membership_find(m, 3)->session, 30);
    assert_null(membership_find(m, 2));
    assert_true(membership_is_voter(m, 5));
    assert_false(membership_is_voter(m, 9));
    assert_false(membership_is_voter(m, 7));
    assert_int_equal(membership_tombstone(m, 7, NULL)->index, 42);
    assert_null(membership_tombstone(m, 5, NULL));
    mem_free(m);
}

static void a_quorum_is_more_than_half_of_the_voters(void **state)
{
    (void)state;
    struct raft_membership *m = mem_zalloc(sizeof *m);
    static const uint32_t quorum[] = {0, 1, 2, 2, 3, 3, 4, 4, 5, 5}; /* even clusters: n/2 + 1 */

    for (uint32_t voters = 0; voters < 10; voters++) {
        assert_int_equal(membership_voters(m), voters);
        assert_int_equal(membership_quorum(m), quorum[voters]);
        struct raft_member one = member(voters + 1, RAFT_VOTER);
        membership_insert(m, &one);
    }
    mem_free(m);
}

static void what_is_encoded_is_decoded(void **state)
{
    (void)state;
    struct raft_membership *m = sample();
    struct raft_membership *back = mem_zalloc(sizeof *back);
    struct blob *bytes = membership_encode(m);

    assert_int_equal(membership_decode(bytes->data, bytes->size, 77, back), 0);
    assert_int_equal(back->index, 77);
    back->index = m->index;
    assert_memory_equal(back, m, sizeof *m);
    blob_unref(bytes);
    mem_free(back);
    mem_free(m);
}

static void bytes_are_stable(void **state)
{
    (void)state;
    struct raft_membership *m = mem_zalloc(sizeof *m);
    struct raft_member one = {.id = 1, .role = RAFT_VOTER, .session = 1, .address = "h:1"};
    static const uint8_t golden[] = {1, 1, 0,      /* version, counts */
                                     1, 0, 0,   0, /* id */
                                     2, 0,         /* voter, flags */
                                     0, 0, 0,   0,   0,  0, 0, 0,
                                     0, 0, 0,   0,   0,  0, 0, 0, /* store */
                                     1, 0, 0,   0,   0,  0, 0, 0, /* session */
                                     3, 0, 'h', ':', '1'};

    membership_insert(m, &one);
    struct blob *bytes = membership_encode(m);
    assert_int_equal(bytes->size, sizeof golden);
    assert_memory_equal(bytes->data, golden, sizeof golden);
    blob_unref(bytes);
    mem_free(m);
}

static void anything_else_is_refused(void **state)
{
    (void)state;
    struct raft_membership *m = sample();
    struct raft_membership *out = mem_zalloc(sizeof *out);
    struct blob *bytes = membership_encode(m);
    uint8_t *copy = mem_alloc(bytes->size + 1);

    for (size_t size = 0; size < bytes->size; size++) {
        assert_int_equal(membership_decode(bytes->data, size, 1, out), -RD_EINVALID);
    }
    memcpy(copy, bytes->data, bytes->size);
    copy[bytes->size] = 0;
    assert_int_equal(membership_decode(copy, bytes->size + 1, 1, out), -RD_EINVALID);
    static const struct {
        size_t at;
        uint8_t value;
    } damage[] = {{0, 2},   /* version */
                  {1, 32},  /* too many members */
                  {2, 65},  /* too many tombstones */
                  {3, 200}, /* ids not ascending */
                  {3, 0},   /* id 0 */
                  {7, 3},   /* role */
                  {8, 2},   /* unknown flag */
                  {36, 0}}; /* NUL inside the address */
    for (size_t i = 0; i < sizeof damage / sizeof damage[0]; i++) {
        memcpy(copy, bytes->data, bytes->size);
        copy[damage[i].at] = damage[i].value;
        assert_int_equal(membership_decode(copy, bytes->size, 1, out), -RD_EINVALID);
    }
    assert_int_equal(out->members_count, 0); /* untouched on failure */
    mem_free(copy);
    blob_unref(bytes);
    mem_free(out);
    mem_free(m);
}

static void random_bytes_never_hurt(void **state)
{
    (void)state;
    struct raft_membership *out = mem_zalloc(sizeof *out);
    struct prng p;

    prng_seed(&p, 20261);
    for (int round = 0; round < 20000; round++) {
        uint8_t bytes[200];
        size_t size = (size_t)prng_range(&p, 0, sizeof bytes);
        for (size_t i = 0; i < size; i++) {
            bytes[i] = (uint8_t)prng_range(&p, 0, i < 3 ? 4 : 256);
        }
        if (membership_decode(bytes, size, 1, out) == 0) {
            struct blob *again = membership_encode(out);
            assert_int_equal(again->size, size);
            assert_memory_equal(again->data, bytes, size);
            blob_unref(again);
        }
    }
    mem_free(out);
}

/* ---- Changes ---- */

static struct raft_change change(enum raft_change_kind kind, raft_id id)
{
    struct raft_change c = {.kind = kind, .id = id};

    memset(c.store.bytes, (int)id, sizeof c.store.bytes);
    (void)snprintf(c.address, sizeof c.address, "10.0.0.%u:7400", id);
    return c;
}

/* Make it; it is not refused. */
static void make(struct raft_membership *m, enum raft_change_kind kind, raft_id id,
                 raft_index index)
{
    struct raft_change c = change(kind, id);
    struct raft_reason why;

    assert_int_equal(membership_refuses(m, &c, &why), 0);
    membership_apply(m, &c, index);
}

static int refusal(const struct raft_membership *m, enum raft_change_kind kind, raft_id id)
{
    struct raft_change c = change(kind, id);
    struct raft_reason why = {0};
    int code = membership_refuses(m, &c, &why);

    assert_true(!code == !why.text);
    return code;
}

static void who_is_added_is_a_learner_of_that_session(void **state)
{
    (void)state;
    struct raft_membership *m = sample(); /* 1, 3, 5, and the learner 9 */
    struct raft_change c = change(RAFT_CHANGE_ADD, 4);

    c.auto_promote = true;
    membership_apply(m, &c, 50);
    const struct raft_member *four = &m->members[2]; /* by ascending id */
    assert_int_equal(four->id, 4);
    assert_int_equal(four->role, RAFT_LEARNER);
    assert_true(four->auto_promote);
    assert_int_equal(four->session, 50);
    assert_string_equal(four->address, "10.0.0.4:7400");
    assert_int_equal(m->index, 50);
    make(m, RAFT_CHANGE_ADD, 2, 51); /* in any order */
    make(m, RAFT_CHANGE_ADD, 200, 52);
    assert_int_equal(m->members[1].id, 2);
    assert_int_equal(m->members[6].id, 200);
    assert_int_equal(membership_voters(m), 3);
    mem_free(m);
}

static void a_role_changes_and_nothing_else(void **state)
{
    (void)state;
    struct raft_membership *m = sample();

    make(m, RAFT_CHANGE_PROMOTE, 9, 60);
    assert_true(membership_is_voter(m, 9));
    assert_false(membership_find(m, 9)->auto_promote); /* its wish is fulfilled */
    assert_int_equal(membership_find(m, 9)->session, 90);
    make(m, RAFT_CHANGE_DEMOTE, 9, 61);
    assert_false(membership_is_voter(m, 9));
    assert_false(membership_find(m, 9)->auto_promote); /* it stays one */
    assert_int_equal(membership_find(m, 9)->session, 90);
    assert_int_equal(m->index, 61);
    assert_int_equal(m->members_count, 4);
    mem_free(m);
}

static void who_is_removed_leaves_a_tombstone(void **state)
{
    (void)state;
    struct raft_membership *m = sample(); /* with one of node 7 */
    struct raft_change again = change(RAFT_CHANGE_ADD, 3);
    struct uuid first = again.store;

    make(m, RAFT_CHANGE_REMOVE, 3, 70);
    assert_null(membership_find(m, 3));
    assert_int_equal(m->members_count, 3);
    assert_int_equal(m->members[1].id, 5);
    assert_int_equal(membership_tombstone(m, 3, NULL)->index, 70);
    assert_int_equal(membership_tombstone(m, 7, NULL)->index, 42);
    memset(again.store.bytes, 0x33, sizeof again.store.bytes);
    membership_apply(m, &again, 71); /* the id comes back with another disk */
    assert_non_null(membership_find(m, 3));
    make(m, RAFT_CHANGE_REMOVE, 3, 72);
    assert_int_equal(membership_tombstone(m, 3, NULL)->index, 72); /* the newest */
    assert_int_equal(membership_tombstone(m, 3, &first)->index, 70);
    assert_int_equal(membership_tombstone(m, 3, &again.store)->index, 72);
    mem_free(m);
}

static void the_oldest_tombstone_makes_room(void **state)
{
    (void)state;
    struct raft_membership *m = sample();

    for (raft_id id = 100; id < 100 + RAFT_TOMBSTONES_MAX; id++) {
        make(m, RAFT_CHANGE_ADD, id, id * 2ULL);
        make(m, RAFT_CHANGE_REMOVE, id, id * 2ULL + 1);
    }
    assert_int_equal(m->tombstones_count, RAFT_TOMBSTONES_MAX);
    assert_null(membership_tombstone(m, 7, NULL));
    assert_int_equal(m->tombstones[0].id, 100);
    assert_int_equal(m->tombstones[RAFT_TOMBSTONES_MAX - 1].index, 327);
    mem_free(m);
}

static void what_is_so_already_or_not_there_is_refused(void **state)
{
    (void)state;
    struct raft_membership *m = sample();

    assert_int_equal(refusal(m, RAFT_CHANGE_ADD, 3), -RD_EALREADY_MEMBER);
    assert_int_equal(refusal(m, RAFT_CHANGE_ADD, 9), -RD_EALREADY_MEMBER);
    assert_int_equal(refusal(m, RAFT_CHANGE_ADD, 7), 0); /* removed once; asked for again */
    assert_int_equal(refusal(m, RAFT_CHANGE_PROMOTE, 3), -RD_EALREADY_MEMBER);
    for (enum raft_change_kind k = RAFT_CHANGE_PROMOTE; k < RAFT_CHANGE_COUNT; k++) {
        assert_int_equal(refusal(m, k, 8), -RD_ENOT_FOUND);
    }
    make(m, RAFT_CHANGE_REMOVE, 1, 80);
    make(m, RAFT_CHANGE_DEMOTE, 3, 81);
    assert_int_equal(refusal(m, RAFT_CHANGE_REMOVE, 5), -RD_ELAST_VOTER);
    assert_int_equal(refusal(m, RAFT_CHANGE_DEMOTE, 5), -RD_ELAST_VOTER);
    assert_int_equal(refusal(m, RAFT_CHANGE_REMOVE, 3), 0); /* learners may go */
    assert_int_equal(refusal(m, RAFT_CHANGE_REMOVE, 9), 0);
    mem_free(m);
}

static void there_are_limits(void **state)
{
    (void)state;
    struct raft_membership *m = mem_zalloc(sizeof *m);
    struct raft_reason why;

    for (raft_id id = 1; id <= RAFT_MEMBERS_MAX; id++) {
        make(m, RAFT_CHANGE_ADD, id, id);
        assert_int_equal(refusal(m, RAFT_CHANGE_PROMOTE, id),
                         id > RAFT_VOTERS_MAX ? -RD_ETOO_LARGE : 0);
        if (id <= RAFT_VOTERS_MAX) {
            make(m, RAFT_CHANGE_PROMOTE, id, id);
        }
    }
    assert_int_equal(membership_voters(m), RAFT_VOTERS_MAX);
    assert_int_equal(refusal(m, RAFT_CHANGE_ADD, 99), -RD_ETOO_LARGE);
    make(m, RAFT_CHANGE_REMOVE, 20, 40);
    assert_int_equal(refusal(m, RAFT_CHANGE_ADD, 99), 0);
    struct raft_change c = change(RAFT_CHANGE_ADD, 99);
    c.auto_promote = true; /* its wish could not be fulfilled */
    assert_int_equal(membership_refuses(m, &c, &why), -RD_ETOO_LARGE);
    make(m, RAFT_CHANGE_DEMOTE, 4, 41);
    assert_int_equal(membership_refuses(m, &c, &why), 0);
    mem_free(m);
}

static void the_largest_one_is_encoded_and_decoded(void **state)
{
    (void)state;
    struct raft_membership *m = mem_zalloc(sizeof *m);
    struct raft_membership *back = mem_zalloc(sizeof *back);

    for (raft_id id = 1; id <= RAFT_TOMBSTONES_MAX; id++) {
        make(m, RAFT_CHANGE_ADD, id, id);
        make(m, RAFT_CHANGE_REMOVE, id, id + 1);
    }
    for (raft_id id = 1; id <= RAFT_MEMBERS_MAX; id++) {
        make(m, RAFT_CHANGE_ADD, UINT32_MAX - id, UINT64_MAX - id);
    }
    memset(m->members[0].address, 'a', RAFT_ADDRESS_SIZE - 1);
    struct blob *bytes = membership_encode(m);
    assert_int_equal(membership_decode(bytes->data, bytes->size, m->index, back), 0);
    assert_memory_equal(back, m, sizeof *m);
    for (uint32_t i = 0; i <= RAFT_VOTERS_MAX; i++) { /* one voter too many */
        m->members[i].role = RAFT_VOTER;
    }
    blob_unref(bytes);
    bytes = membership_encode(m);
    assert_int_equal(membership_decode(bytes->data, bytes->size, 1, back), -RD_EINVALID);
    blob_unref(bytes);
    mem_free(back);
    mem_free(m);
}

/* ---- Why one server at a time is safe (thesis 4.1): majorities of neighbours meet ---- */

static uint32_t voters_of(const struct raft_membership *m)
{
    uint32_t bits = 0;

    for (uint32_t i = 0; i < m->members_count; i++) {
        bits |= m->members[i].role == RAFT_VOTER ? 1U << m->members[i].id : 0;
    }
    return bits;
}

static uint32_t count_of(uint32_t bits)
{
    return (uint32_t)__builtin_popcount(bits);
}

/* Does every majority of one share a voter with every majority of the other? All of them are tried.
 */
static bool majorities_meet(const struct raft_membership *a, const struct raft_membership *b)
{
    uint32_t ours = voters_of(a);
    uint32_t theirs = voters_of(b);

    for (uint32_t some = ours; some; some = (some - 1) & ours) {
        if (count_of(some) >= membership_quorum(a) &&
            count_of(theirs & ~some) >= membership_quorum(b)) {
            return false;
        }
    }
    return true;
}

/* A random change that is not refused; false when the one drawn was. */
static bool random_step(struct prng *p, struct raft_membership *m, raft_index index)
{
    enum raft_change_kind kind =
        (enum raft_change_kind)prng_range(p, RAFT_CHANGE_ADD, RAFT_CHANGE_COUNT);
    struct raft_change c = change(kind, (raft_id)prng_range(p, 1, 13));
    struct raft_reason why;

    c.auto_promote = prng_range(p, 0, 2) != 0;
    if (membership_refuses(m, &c, &why)) {
        return false;
    }
    membership_apply(m, &c, index);
    return true;
}

static void check_form(const struct raft_membership *m)
{
    struct raft_membership *back = mem_zalloc(sizeof *back);
    struct blob *bytes = membership_encode(m);

    assert_in_range(membership_voters(m), 1, RAFT_VOTERS_MAX);
    assert_true(m->tombstones_count <= RAFT_TOMBSTONES_MAX);
    for (uint32_t i = 0; i < m->members_count; i++) {
        assert_true(i == 0 || m->members[i - 1].id < m->members[i].id);
        assert_true(m->members[i].session <= m->index);
        assert_false(m->members[i].role == RAFT_VOTER && m->members[i].auto_promote);
    }
    for (uint32_t i = 1; i < m->tombstones_count; i++) {
        assert_true(m->tombstones[i - 1].index < m->tombstones[i].index);
    }
    assert_int_equal(membership_decode(bytes->data, bytes->size, m->index, back), 0);
    struct blob *again = membership_encode(back);
    assert_int_equal(again->size, bytes->size);
    assert_memory_equal(again->data, bytes->data, bytes->size);
    blob_unref(again);
    blob_unref(bytes);
    mem_free(back);
}

static void majorities_of_neighbours_meet(void **state)
{
    (void)state;
    struct raft_membership *m = mem_zalloc(sizeof *m);
    struct raft_membership *before = mem_zalloc(sizeof *before);
    struct prng p;

    prng_seed(&p, 4100);
    make(m, RAFT_CHANGE_ADD, 1, 1);
    make(m, RAFT_CHANGE_PROMOTE, 1, 2);
    for (raft_index index = 3; index < 5000; index++) {
        *before = *m;
        if (!random_step(&p, m, index)) {
            continue;
        }
        uint32_t changed = voters_of(before) ^ voters_of(m);
        assert_true(count_of(changed) <= 1);
        assert_true(majorities_meet(before, m));
        check_form(m);
    }
    mem_free(before);
    mem_free(m);
}

/* And why two steps from one parent are not (trap 1): the check above can fail. */
static void majorities_of_siblings_may_not_meet(void **state)
{
    (void)state;
    struct raft_membership *a = mem_zalloc(sizeof *a);
    struct raft_membership *b = mem_zalloc(sizeof *b);

    for (raft_id id = 1; id <= 5; id++) {
        make(a, RAFT_CHANGE_ADD, id, id);
        if (id < 5) {
            make(a, RAFT_CHANGE_PROMOTE, id, id);
        }
    }
    *b = *a;
    make(a, RAFT_CHANGE_PROMOTE, 5, 6);
    make(b, RAFT_CHANGE_REMOVE, 1, 6);
    assert_false(majorities_meet(a, b)); /* 1, 4, 5 of five and 2, 3 of three */
    mem_free(b);
    mem_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_stand_by_id),
        cmocka_unit_test(a_quorum_is_more_than_half_of_the_voters),
        cmocka_unit_test(what_is_encoded_is_decoded),
        cmocka_unit_test(bytes_are_stable),
        cmocka_unit_test(anything_else_is_refused),
        cmocka_unit_test(random_bytes_never_hurt),
        cmocka_unit_test(who_is_added_is_a_learner_of_that_session),
        cmocka_unit_test(a_role_changes_and_nothing_else),
        cmocka_unit_test(who_is_removed_leaves_a_tombstone),
        cmocka_unit_test(the_oldest_tombstone_makes_room),
        cmocka_unit_test(what_is_so_already_or_not_there_is_refused),
        cmocka_unit_test(there_are_limits),
        cmocka_unit_test(the_largest_one_is_encoded_and_decoded),
        cmocka_unit_test(majorities_of_neighbours_meet),
        cmocka_unit_test(majorities_of_siblings_may_not_meet),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
