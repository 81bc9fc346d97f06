/* The state as a stream: there and back, and what is not one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/crc.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/prng.h"
#include "state/stream.h"

static struct stream_head head_of(const char *membership)
{
    return (struct stream_head){.index = 12,
                                .term = 3,
                                .chain = 0x1122334455667788,
                                .revision = 9,
                                .digest = UINT64_MAX,
                                .membership_index = 7,
                                .membership = membership,
                                .membership_size = strlen(membership)};
}

static void a_head_comes_back(void **state)
{
    (void)state;
    struct stream_head head = head_of("members");
    struct stream_head got;
    struct buf out = BUF_INIT;

    stream_put_head(&out, &head);
    assert_int_equal(out.size, 1 + 6 * 8 + 4 + 7 + 4);
    assert_int_equal(out.data[0], 1); /* the format */
    assert_int_equal(out.data[1], 12);
    assert_int_equal(stream_get_head(out.data, out.size, &got), 0);
    assert_int_equal(got.index, 12);
    assert_int_equal(got.term, 3);
    assert_true(got.chain == head.chain && got.digest == head.digest);
    assert_int_equal(got.revision, 9);
    assert_int_equal(got.membership_index, 7);
    assert_int_equal(got.membership_size, 7);
    assert_memory_equal(got.membership, "members", 7);
    buf_done(&out);
}

/* A piece of exactly these bytes, so that a reader that goes too far is found out. */
static int get_exactly(const uint8_t *data, size_t size, struct stream_head *out)
{
    uint8_t *copy = size ? mem_dup(data, size) : NULL;
    int code = stream_get_head(copy, size, out);

    out->membership = NULL;
    mem_free(copy);
    return code;
}

static void a_head_that_is_none_is_refused(void **state)
{
    (void)state;
    struct stream_head head = head_of("members");
    struct stream_head got = {.index = 99};
    struct buf out = BUF_INIT;

    stream_put_head(&out, &head);
    for (size_t size = 0; size < out.size; size++) {
        assert_int_equal(get_exactly(out.data, size, &got), -RD_ECORRUPT);
        assert_int_equal(got.index, 99); /* untouched */
    }
    buf_put_u8(&out, 0);
    assert_int_equal(get_exactly(out.data, out.size, &got), -RD_ECORRUPT);
    out.size--;
    for (size_t i = 0; i < out.size; i++) { /* no byte of it goes by itself */
        for (unsigned flip = 1; flip < 256; flip++) {
            out.data[i] ^= (uint8_t)flip;
            assert_int_equal(get_exactly(out.data, out.size, &got), -RD_ECORRUPT);
            out.data[i] ^= (uint8_t)flip;
        }
    }
    assert_int_equal(get_exactly(out.data, out.size, &got), 0);
    out.data[0] = 2; /* another format */
    out.size -= 4;
    buf_put_u32(&out, crc32c(0, out.data, out.size));
    assert_int_equal(get_exactly(out.data, out.size, &got), -RD_ECORRUPT);
    out.size = 0;
    head.index = 0;
    head.membership_index = 0;
    stream_put_head(&out, &head); /* as of nothing */
    assert_int_equal(get_exactly(out.data, out.size, &got), -RD_ECORRUPT);
    out.size = 0;
    head.index = 12;
    head.membership_index = 13;
    stream_put_head(&out, &head); /* with a membership of later */
    assert_int_equal(get_exactly(out.data, out.size, &got), -RD_ECORRUPT);
    buf_done(&out);
}

/* ---- Rows ---- */

struct seen {
    uint32_t count;
    size_t bytes;
    uint32_t sum;  /* of all of them: each was read */
    int refuse_at; /* row, from 1; 0: none */
};

static int row_cb(void *arg, const void *key, size_t key_size, const void *value, size_t value_size)
{
    struct seen *seen = arg;

    seen->sum += crc32c(0, key, key_size) + crc32c(0, value, value_size);
    seen->bytes += key_size + value_size;
    return ++seen->count == (uint32_t)seen->refuse_at ? -RD_EINVALID : 0;
}

static void put_rows(struct buf *out)
{
    stream_put_row(out, "key", 3, "value", 5);
    stream_put_row(out, "empty", 5, NULL, 0);
    stream_put_row(out, NULL, 0, "no key", 6);
}

static void rows_come_back_in_order(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct buf out = BUF_INIT;

    assert_int_equal(stream_each_row(NULL, 0, row_cb, &seen), 0);
    assert_int_equal(seen.count, 0);
    put_rows(&out);
    assert_int_equal(stream_each_row(out.data, out.size, row_cb, &seen), 0);
    assert_int_equal(seen.count, 3);
    assert_int_equal(seen.bytes, 3 + 5 + 5 + 6);
    seen = (struct seen){.refuse_at = 2};
    assert_int_equal(stream_each_row(out.data, out.size, row_cb, &seen), -RD_EINVALID);
    assert_int_equal(seen.count, 2);
    buf_done(&out);
}

static int rows_exactly(const uint8_t *data, size_t size, struct seen *seen)
{
    uint8_t *copy = size ? mem_dup(data, size) : NULL;
    int code = stream_each_row(copy, size, row_cb, seen);

    mem_free(copy);
    return code;
}

static void half_a_row_is_none(void **state)
{
    (void)state;
    static const size_t ends[] = {0, 6 + 8, 6 + 8 + 6 + 5, 6 + 8 + 6 + 5 + 6 + 6};
    struct buf out = BUF_INIT;

    put_rows(&out);
    for (size_t size = 0; size <= out.size; size++) {
        struct seen seen = {0};
        bool whole = false;
        for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
            whole = whole || size == ends[i];
        }
        assert_int_equal(rows_exactly(out.data, size, &seen), whole ? 0 : -RD_ECORRUPT);
    }
    buf_done(&out);
}

/* Whatever the bytes are: a code, and nothing is read beyond them. */
static void flipped_bits_do_no_harm(void **state)
{
    (void)state;
    struct stream_head head = head_of("members");
    struct buf out = BUF_INIT;
    struct buf rows = BUF_INIT;

    stream_put_head(&out, &head);
    put_rows(&rows);
    for (size_t bit = 0; bit < out.size * 8; bit++) {
        struct stream_head got;
        out.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
        int code = get_exactly(out.data, out.size, &got);
        assert_true(code == 0 || code == -RD_ECORRUPT);
        out.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    for (size_t bit = 0; bit < rows.size * 8; bit++) {
        struct seen seen = {0};
        rows.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
        int code = rows_exactly(rows.data, rows.size, &seen);
        assert_true(code == 0 || code == -RD_ECORRUPT);
        assert_true(seen.bytes <= rows.size);
        rows.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    buf_done(&out);
    buf_done(&rows);
}

static void any_bytes_do_no_harm(void **state)
{
    (void)state;
    struct prng prng;
    uint8_t bytes[200];

    prng_seed(&prng, 5);
    for (int round = 0; round < 20000; round++) {
        struct stream_head got;
        struct seen seen = {0};
        size_t size = prng_next(&prng) % sizeof bytes;
        for (size_t i = 0; i < size; i++) {
            bytes[i] = prng_next(&prng) % 4 ? 0 : (uint8_t)prng_next(&prng);
        }
        (void)get_exactly(bytes, size, &got);
        (void)rows_exactly(bytes, size, &seen);
        assert_true(seen.bytes <= size);
    }
}

static void a_tail_tells_how_much_there_was(void **state)
{
    (void)state;
    struct buf out = BUF_INIT;

    stream_put_tail(&out, 1234567890123);
    assert_int_equal(stream_check_tail(out.data, out.size, 1234567890123), 0);
    assert_int_equal(stream_check_tail(out.data, out.size, 1234567890124), -RD_ECORRUPT);
    for (size_t size = 0; size < out.size; size++) {
        assert_int_equal(stream_check_tail(out.data, size, 1234567890123), -RD_ECORRUPT);
        assert_int_equal(stream_check_tail(out.data, size, 0), -RD_ECORRUPT);
    }
    buf_put_u8(&out, 0);
    assert_int_equal(stream_check_tail(out.data, out.size, 1234567890123), -RD_ECORRUPT);
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_comes_back),
        cmocka_unit_test(a_head_that_is_none_is_refused),
        cmocka_unit_test(rows_come_back_in_order),
        cmocka_unit_test(half_a_row_is_none),
        cmocka_unit_test(flipped_bits_do_no_harm),
        cmocka_unit_test(any_bytes_do_no_harm),
        cmocka_unit_test(a_tail_tells_how_much_there_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
