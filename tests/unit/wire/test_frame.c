#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/err.h"
#include "samples.h"

enum { LIMIT = 1000 };

static int parse_length(uint32_t length, size_t *need)
{
    struct buf b = BUF_INIT;
    struct frame f;

    buf_put_u32(&b, length);
    int rc = frame_parse(b.data, b.size, LIMIT, &f, need);
    buf_done(&b);
    return rc;
}

static void test_lengths(void **arg)
{
    size_t need = 7;

    (void)arg;
    assert_int_equal(parse_length(0, &need), -RD_EPROTOCOL);
    assert_int_equal(parse_length(3, &need), -RD_EPROTOCOL);
    assert_int_equal(parse_length(LIMIT - 4 + 1, &need), -RD_ETOO_LARGE);
    assert_int_equal(parse_length(UINT32_MAX, &need), -RD_ETOO_LARGE);
    assert_int_equal(need, 7); /* untouched on failure */
    assert_int_equal(parse_length(4, &need), 0);
    assert_int_equal(need, 8);
    assert_int_equal(parse_length(LIMIT - 4, &need), 0);
    assert_int_equal(need, LIMIT);
    assert_int_equal(parse_length(LIMIT - 4, NULL), 0);
}

static void test_short_input(void **arg)
{
    const uint8_t length[3] = {0xff, 0xff, 0xff};
    struct frame f;
    size_t need = 7;

    (void)arg;
    assert_int_equal(frame_parse(length, 0, LIMIT, &f, &need), 0);
    assert_int_equal(need, 0);
    need = 7;
    assert_int_equal(frame_parse(length, 3, LIMIT, &f, &need), 0);
    assert_int_equal(need, 0);
    assert_int_equal(frame_parse(length, 3, LIMIT, &f, NULL), 0);
}

static void test_refused_at_the_first_wrong_byte(void **arg)
{
    struct frame f;
    const uint8_t version0[] = {20, 0, 0, 0, 0};
    const uint8_t version2[] = {20, 0, 0, 0, 2};
    const uint8_t flags[] = {20, 0, 0, 0, 1, 0x40};
    const uint8_t header[] = {20, 0, 0, 0, 1, 0, 17, 0};
    const uint8_t fits[] = {20, 0, 0, 0, 1, 0, 16, 0};

    (void)arg;
    assert_int_equal(frame_parse(version0, sizeof version0, LIMIT, &f, NULL), -RD_EPROTOCOL);
    assert_int_equal(frame_parse(version2, sizeof version2, LIMIT, &f, NULL), -RD_EPROTOCOL);
    assert_int_equal(frame_parse(flags, sizeof flags, LIMIT, &f, NULL), -RD_EPROTOCOL);
    assert_int_equal(frame_parse(header, sizeof header, LIMIT, &f, NULL), -RD_EPROTOCOL);
    assert_int_equal(frame_parse(fits, sizeof fits, LIMIT, &f, NULL), 0);
}

/* Every change of one bit or two is found when the head is there; as the flags say, when they are. */
static void test_checked_heads(void **arg)
{
    uint8_t head[FRAME_HEAD] = {0x11, 0, 0, 0, 1, 0, 0x0c, 0};
    struct frame f;
    size_t need;

    (void)arg;
    frame_check_head(head);
    assert_int_equal(head[5], 0xe5); /* as in PROTOCOL.md */
    for (size_t size = 0; size <= sizeof head; size++) {
        assert_int_equal(frame_parse(head, size, LIMIT, &f, &need), 0);
    }
    assert_int_equal(need, 0x15);
    for (size_t a = 0; a < 64; a++) {
        for (size_t b = a; b < 64; b++) {
            head[a / 8] ^= (uint8_t)(1U << a % 8);
            head[b / 8] ^= (uint8_t)(a == b ? 0 : 1U << b % 8);
            int rc = frame_parse(head, sizeof head, FRAME_PEER_MAX, &f, NULL);
            assert_true(rc == -RD_ECORRUPT || rc == -RD_EPROTOCOL || rc == -RD_ETOO_LARGE);
            head[a / 8] ^= (uint8_t)(1U << a % 8);
            head[b / 8] ^= (uint8_t)(a == b ? 0 : 1U << b % 8);
        }
    }
}

static void test_golden(void **arg)
{
    struct buf b = BUF_INIT;

    (void)arg;
    buf_put_u8(&b, 0xee); /* a frame need not start the buffer */
    size_t at = frame_begin(&b);
    assert_int_equal(at, 1);
    buf_put_str(&b, "ab");
    frame_header_end(&b, at);
    buf_put_str(&b, "xyz");
    frame_end(&b, at);
    assert_bytes(&b, "ee 09000000 01 00 0200 6162 78797a");
    struct frame f = sample_frame(&b, 1);
    assert_int_equal(f.flags, 0);
    assert_int_equal(f.header_size, 2);
    assert_memory_equal(f.header, "ab", 2);
    assert_int_equal(f.payload_size, 3);
    assert_memory_equal(f.payload, "xyz", 3);
    buf_done(&b);
}

static void test_largest_envelope(void **arg)
{
    struct buf b = BUF_INIT;
    uint8_t *envelope = mem_zalloc(FRAME_HEADER_MAX);

    (void)arg;
    struct frame f = sample_wrap(&b, envelope, FRAME_HEADER_MAX, NULL, 0);
    assert_int_equal(f.header_size, FRAME_HEADER_MAX);
    assert_int_equal(f.payload_size, 0);
    mem_free(envelope);
    buf_done(&b);
}

/* Several frames, one byte at a time: each is found when its last byte comes, none earlier. */
static void test_byte_by_byte(void **arg)
{
    static const char *const envelopes[] = {"", "a", "bb", "cccccccccccccccc"};
    static const char *const payloads[] = {"ppp", "", "", "0123456789"};
    struct buf stream = BUF_INIT;
    size_t ends[4], start = 0, found = 0;

    (void)arg;
    for (size_t i = 0; i < 4; i++) {
        size_t at = frame_begin(&stream);
        buf_put_str(&stream, envelopes[i]);
        frame_header_end(&stream, at);
        buf_put_str(&stream, payloads[i]);
        frame_end(&stream, at);
        ends[i] = stream.size;
    }
    for (size_t size = 0; size <= stream.size; size++) {
        struct frame f;
        size_t need = 99;
        uint8_t *copy = mem_dup(stream.data + start, size - start); /* so that ASan sees the end */
        int rc = frame_parse(copy, size - start, LIMIT, &f, &need);
        if (size == ends[found]) {
            assert_int_equal(rc, 1);
            assert_int_equal(f.total, size - start);
            assert_int_equal(need, f.total);
            assert_int_equal(f.header_size, strlen(envelopes[found]));
            assert_int_equal(f.payload_size, strlen(payloads[found]));
            start = ends[found++];
        } else {
            assert_int_equal(rc, 0);
            assert_int_equal(need, size - start < 4 ? 0 : ends[found] - start);
        }
        mem_free(copy);
        if (found == 4) {
            break;
        }
    }
    assert_int_equal(found, 4);
    buf_done(&stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_short_input),
        cmocka_unit_test(test_refused_at_the_first_wrong_byte),
        cmocka_unit_test(test_checked_heads),
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_largest_envelope),
        cmocka_unit_test(test_byte_by_byte),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
