/* Tests of record.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/crc.h"
#include "base/mem.h"
#include "store/record.h"

static const struct store_identity an_identity = {.format = 1,
                                                  .id = 0x01020304,
                                                  .created_ms = 0x1122334455667788,
                                                  .store = {.bytes = {0xaa, 0xbb}}};
static const struct store_hard a_hard = {.cluster = {.bytes = {0xcc}},
                                         .term = 0x0102030405060708,
                                         .vote = 0xfffffffe,
                                         .loyal_ms = 0x01f4};

/* The bytes are a promise to every later version. */
static void bytes_of_named_records_are_fixed(void **state)
{
    static const uint8_t identity_rest[] = {1,    0,    0,    0,    4,    3,    2,    1,    0x88,
                                            0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0xaa, 0xbb};
    static const uint8_t hard_rest[] = {0xfe, 0xff, 0xff, 0xff, 8, 7, 6, 5, 4, 3, 2, 1, 0xcc};
    uint8_t identity[STORE_IDENTITY_SIZE];
    uint8_t hard[STORE_HARD_SIZE];
    uint32_t sum;

    (void)state;
    store_record_put_identity(&an_identity, identity);
    assert_memory_equal(identity + 4, identity_rest, sizeof identity_rest);
    store_record_put_hard(&a_hard, hard);
    assert_memory_equal(hard + 4, hard_rest, sizeof hard_rest);
    static const uint8_t loyal[] = {0xf4, 1, 0, 0};
    assert_memory_equal(hard + STORE_HARD_SIZE - 4, loyal, sizeof loyal);
    memcpy(&sum, hard, sizeof sum);
    assert_int_equal(sum, crc32c(crc32c(0, "hs", 2), hard + 4, sizeof hard - 4));
}

static void named_records_come_back(void **state)
{
    uint8_t bytes[STORE_IDENTITY_SIZE];
    struct store_identity identity = {0};
    struct store_hard hard = {0};
    uint64_t incarnation = 0;

    (void)state;
    store_record_put_identity(&an_identity, bytes);
    assert_null(store_record_get_identity(bytes, STORE_IDENTITY_SIZE, &identity));
    assert_true(store_record_same_identity(&identity, &an_identity));
    store_record_put_hard(&a_hard, bytes);
    assert_null(store_record_get_hard(bytes, STORE_HARD_SIZE, &hard));
    assert_int_equal(hard.term, a_hard.term);
    assert_int_equal(hard.vote, a_hard.vote);
    assert_int_equal(hard.loyal_ms, a_hard.loyal_ms);
    assert_true(uuid_equal(&hard.cluster, &a_hard.cluster));
    store_record_put_boot(UINT64_MAX - 1, bytes);
    assert_null(store_record_get_boot(bytes, STORE_BOOT_SIZE, &incarnation));
    assert_true(incarnation == UINT64_MAX - 1);
}

static void identities_differ_in_each_part(void **state)
{
    struct store_identity other = an_identity;

    (void)state;
    other.id++;
    assert_false(store_record_same_identity(&other, &an_identity));
    other = an_identity;
    other.created_ms++;
    assert_false(store_record_same_identity(&other, &an_identity));
    other = an_identity;
    other.store.bytes[15] ^= 1;
    assert_false(store_record_same_identity(&other, &an_identity));
}

/* One record kind behind one shape, for the tests of damage. */
static const char *read_any(int kind, const void *data, size_t size)
{
    struct store_identity identity;
    struct store_hard hard;
    struct store_entry_view view;
    uint64_t incarnation;

    switch (kind) {
    case 0:
        return store_record_get_identity(data, size, &identity);
    case 1:
        return store_record_get_hard(data, size, &hard);
    case 2:
        return store_record_get_boot(data, size, &incarnation);
    default:
        return store_record_get_entry(9, data, size, &view);
    }
}

static size_t make_any(int kind, uint8_t *out)
{
    struct blob *data = blob_copy("payload", 7);
    struct raft_entry entry = {9, 3, 0x77, RAFT_ENTRY_COMMAND, data};
    size_t size = store_record_entry_size(&entry);

    switch (kind) {
    case 0:
        store_record_put_identity(&an_identity, out);
        size = STORE_IDENTITY_SIZE;
        break;
    case 1:
        store_record_put_hard(&a_hard, out);
        size = STORE_HARD_SIZE;
        break;
    case 2:
        store_record_put_boot(5, out);
        size = STORE_BOOT_SIZE;
        break;
    default:
        store_record_put_entry(&entry, out);
        break;
    }
    blob_unref(data);
    return size;
}

static void every_flipped_bit_is_seen(void **state)
{
    uint8_t bytes[64];

    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        size_t size = make_any(kind, bytes);
        for (size_t bit = 0; bit < size * 8; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1U << (bit % 8));
            assert_non_null(read_any(kind, bytes, size));
            bytes[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        }
        assert_null(read_any(kind, bytes, size));
    }
}

static void every_other_size_is_refused(void **state)
{
    uint8_t bytes[64] = {0};

    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        size_t size = make_any(kind, bytes);
        for (size_t other = 0; other < sizeof bytes; other++) {
            if (other != size) {
                assert_non_null(read_any(kind, bytes, other));
            }
        }
    }
}

static void reseal(const char *name, uint8_t *bytes, size_t size)
{
    uint32_t sum = crc32c(crc32c(0, name, strlen(name)), bytes + 4, size - 4);

    memcpy(bytes, &sum, sizeof sum);
}

/* Right sums do not make a record of another shape readable. */
static void sealed_but_wrong_is_refused(void **state)
{
    uint8_t bytes[64] = {0};
    struct store_hard hard;

    (void)state;
    store_record_put_identity(&an_identity, bytes);
    bytes[4] = 2;
    reseal("fmt", bytes, STORE_IDENTITY_SIZE);
    assert_string_equal(read_any(0, bytes, STORE_IDENTITY_SIZE),
                        "the format is of another version of raftd");
    assert_int_equal(store_record_format(bytes, STORE_IDENTITY_SIZE), 2);
    bytes[9] ^= 1;
    assert_int_equal(store_record_format(bytes, STORE_IDENTITY_SIZE), 0);
    bytes[9] ^= 1;
    bytes[4] = 1;
    static const char *const names[] = {"fmt", "hs", "boot"};
    for (int kind = 0; kind < 3; kind++) {
        reseal(names[kind], bytes, 48);
        assert_string_equal(read_any(kind, bytes, 48), "record has the wrong size");
    }
    /* One record under the name of another. */
    store_record_put_hard(&a_hard, bytes);
    reseal("boot", bytes, STORE_HARD_SIZE);
    assert_string_equal(store_record_get_hard(bytes, STORE_HARD_SIZE, &hard), "checksum differs");
}

static void reseal_entry(raft_index index, uint8_t *bytes, size_t size)
{
    uint32_t sum = crc32c(crc32c(0, &index, sizeof index), bytes + 4, size - 4);

    memcpy(bytes, &sum, sizeof sum);
}

static void entries_come_back(void **state)
{
    struct blob *data = blob_copy("abc", 3);
    struct raft_entry entries[] = {{1, 1, 11, RAFT_ENTRY_NOOP, NULL},
                                   {2, 1, 12, RAFT_ENTRY_MEMBERSHIP, data},
                                   {UINT64_MAX, UINT64_MAX, UINT64_MAX, RAFT_ENTRY_COMMAND, data}};
    uint8_t raw[STORE_ENTRY_HEADER_SIZE + 4];
    uint8_t *bytes = raw + 1; /* LMDB aligns values to two bytes only */

    (void)state;
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++) {
        const struct raft_entry *e = &entries[i];
        struct store_entry_view view;
        store_record_put_entry(e, bytes);
        assert_null(store_record_get_entry(e->index, bytes, store_record_entry_size(e), &view));
        assert_true(view.term == e->term && view.chain == e->chain && view.type == e->type);
        assert_int_equal(view.payload_size, e->data ? 3 : 0);
        assert_memory_equal(view.payload, "abc", view.payload_size);
        assert_non_null(
            store_record_get_entry(e->index - 1, bytes, store_record_entry_size(e), &view));
    }
    blob_unref(data);
}

static void unknown_entries_are_refused(void **state)
{
    static const struct {
        size_t at;
        uint8_t value;
    } cases[] = {{4, 0}, {4, 2}, {5, 0}, {5, 4}, {6, 1}, {7, 0x80}};
    uint8_t bytes[64];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t size = make_any(3, bytes);
        bytes[cases[i].at] = cases[i].value;
        reseal_entry(9, bytes, size);
        assert_string_equal(read_any(3, bytes, size),
                            "version, type or flags are not known to this raftd");
    }
}

/* ---- Points ---- */

static struct raft_point a_point(const char *membership)
{
    return (struct raft_point){.index = 0x0102,
                               .term = 3,
                               .chain = 0x1122334455667788,
                               .membership_index = 0x0101,
                               .membership =
                                   membership ? blob_copy(membership, strlen(membership)) : NULL};
}

static void the_beginning_of_the_log_comes_back(void **state)
{
    static const uint8_t rest[] = {0,    0,    0, 0, 2, 1, 0, 0,    0,    0,    0,    0,    3,
                                   0,    0,    0, 0, 0, 0, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33,
                                   0x22, 0x11, 1, 1, 0, 0, 0, 0,    0,    0,    'm',  'e'};
    struct raft_point p = a_point("me");
    struct raft_point got;
    struct buf out = BUF_INIT;

    (void)state;
    store_record_put_base(&p, &out);
    assert_int_equal(out.size, 4 + sizeof rest);
    assert_memory_equal(out.data + 4, rest, sizeof rest);
    assert_null(store_record_get_base(out.data, out.size, &got));
    assert_int_equal(got.index, p.index);
    assert_int_equal(got.term, p.term);
    assert_true(got.chain == p.chain);
    assert_int_equal(got.membership_index, p.membership_index);
    assert_int_equal(got.membership->size, 2);
    assert_memory_equal(got.membership->data, "me", 2);
    raft_point_done(&got);
    raft_point_done(&p);
    p = a_point(NULL);
    store_record_put_base(&p, &out);
    assert_null(store_record_get_base(out.data, out.size, &got));
    assert_null(got.membership);
    buf_done(&out);
}

static void a_mark_comes_back(void **state)
{
    struct store_mark mark = {
        .at = a_point("members"), .revision = 5, .digest = UINT64_MAX, .installed = true};
    struct store_mark got;
    struct buf out = BUF_INIT;

    (void)state;
    for (int i = 0; i < 2; i++) {
        store_record_put_mark(&mark, &out);
        assert_null(store_record_get_mark(out.data, out.size, &got));
        assert_int_equal(got.at.index, mark.at.index);
        assert_memory_equal(got.at.membership->data, "members", 7);
        assert_int_equal(got.revision, 5);
        assert_true(got.digest == UINT64_MAX);
        assert_int_equal(got.installed, mark.installed);
        raft_point_done(&got.at);
        mark.installed = false;
    }
    raft_point_done(&mark.at);
    buf_done(&out);
}

/* What is refused leaves nothing behind to be freed. */
static bool is_refused(bool mark, const struct buf *record, size_t size)
{
    uint8_t *copy = mem_dup(record->data, size ? size : 1); /* exactly these bytes */
    struct store_mark m;
    struct raft_point p;
    const char *why =
        mark ? store_record_get_mark(copy, size, &m) : store_record_get_base(copy, size, &p);

    mem_free(copy);
    return why != NULL;
}

static void damaged_points_are_refused(void **state)
{
    struct store_mark mark = {.at = a_point("members"), .revision = 5};
    struct buf records[2] = {BUF_INIT, BUF_INIT};

    (void)state;
    store_record_put_base(&mark.at, &records[0]);
    store_record_put_mark(&mark, &records[1]);
    for (int i = 0; i < 2; i++) {
        struct buf *r = &records[i];
        for (size_t size = 0; size < r->size; size++) {
            assert_true(is_refused(i == 1, r, size));
        }
        for (size_t bit = 0; bit < r->size * 8; bit++) {
            r->data[bit / 8] ^= (uint8_t)(1U << bit % 8);
            assert_true(is_refused(i == 1, r, r->size));
            r->data[bit / 8] ^= (uint8_t)(1U << bit % 8);
        }
        assert_true(is_refused(i == 0, r, r->size)); /* one does not pass for the other */
    }
    raft_point_done(&mark.at);
    buf_done(&records[0]);
    buf_done(&records[1]);
}

static void impossible_points_are_refused(void **state)
{
    struct raft_point p = a_point(NULL);
    struct buf out = BUF_INIT;

    (void)state;
    p.membership_index = p.index + 1; /* of later */
    store_record_put_base(&p, &out);
    assert_true(is_refused(false, &out, out.size));
    p.index = p.membership_index = 0; /* of nothing */
    store_record_put_base(&p, &out);
    assert_true(is_refused(false, &out, out.size));
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_beginning_of_the_log_comes_back),
        cmocka_unit_test(a_mark_comes_back),
        cmocka_unit_test(damaged_points_are_refused),
        cmocka_unit_test(impossible_points_are_refused),
        cmocka_unit_test(bytes_of_named_records_are_fixed),
        cmocka_unit_test(named_records_come_back),
        cmocka_unit_test(identities_differ_in_each_part),
        cmocka_unit_test(every_flipped_bit_is_seen),
        cmocka_unit_test(every_other_size_is_refused),
        cmocka_unit_test(sealed_but_wrong_is_refused),
        cmocka_unit_test(entries_come_back),
        cmocka_unit_test(unknown_entries_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
