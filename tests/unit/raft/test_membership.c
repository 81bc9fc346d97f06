/* Membership: order, majority, and an encoding that refuses whatever it did not write. */
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
    assert_int_equal(membership_tombstone(m, 7)->index, 42);
    assert_null(membership_tombstone(m, 5));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_stand_by_id),
        cmocka_unit_test(a_quorum_is_more_than_half_of_the_voters),
        cmocka_unit_test(what_is_encoded_is_decoded),
        cmocka_unit_test(bytes_are_stable),
        cmocka_unit_test(anything_else_is_refused),
        cmocka_unit_test(random_bytes_never_hurt),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
