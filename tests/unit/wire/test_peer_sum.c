/* Sums of peer frames: what was changed on its way is never taken for a message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/crc.h"
#include "base/err.h"
#include "samples.h"

static const enum peer_msg_type all_types[] = {PEER_HELLO,         PEER_RAFT,    PEER_FORWARD,
                                               PEER_FORWARD_REPLY, PEER_REFUSAL, PEER_PROGRESS_ASK,
                                               PEER_PROGRESS,      PEER_CHANGE,  PEER_CHANGE_REPLY};
enum { TYPES = sizeof all_types / sizeof all_types[0], SUM_FIELD = 5 };

/* As PROTOCOL.md has it: the frame without the four bytes of the sum. */
static void the_sum_is_of_all_but_itself(void **state)
{
    struct prng p = sample_prng();
    struct buf b = BUF_INIT, rest = BUF_INIT;

    (void)state;
    for (int round = 0; round < 50 * TYPES; round++) {
        struct peer_msg msg;
        uint32_t sum;
        b.size = rest.size = 0;
        sample_peer(&p, all_types[round % TYPES], &msg);
        peer_encode(&msg, &b);
        peer_msg_done(&msg);
        frame_check_head(b.data); /* the flags are no part of it: */
        struct frame checked = sample_frame(&b, 0);
        assert_int_equal(peer_decode(&checked, &msg), 0);
        peer_msg_done(&msg);
        b.data[5] = 0;
        struct frame f = sample_frame(&b, 0);
        const uint8_t *at = f.header + f.header_size - sizeof sum;
        memcpy(&sum, at, sizeof sum);
        buf_put(&rest, b.data, (size_t)(at - b.data));
        buf_put(&rest, at + sizeof sum, b.size - (size_t)(at - b.data) - sizeof sum);
        assert_int_equal(sum, crc32c(0, rest.data, rest.size));
    }
    buf_done(&b);
    buf_done(&rest);
}

/* One bit, anywhere: the only one that is no error takes the sum away, and that is told. */
static void no_bit_can_be_changed(void **state)
{
    struct prng p = sample_prng();
    struct buf b = BUF_INIT;
    int without = 0;

    (void)state;
    for (int round = 0; round < 3 * TYPES; round++) {
        struct peer_msg msg;
        b.size = 0;
        sample_peer(&p, all_types[round % TYPES], &msg);
        peer_encode(&msg, &b);
        peer_msg_done(&msg);
        size_t tag = FRAME_HEAD + sample_frame(&b, 0).header_size - SUM_FIELD;
        size_t bits = b.size < 4096 ? b.size * 8 : 4096 * 8;
        for (size_t bit = 0; bit < bits; bit++) {
            struct frame f;
            b.data[bit / 8] ^= (uint8_t)(1U << (bit % 8));
            if (frame_parse(b.data, b.size, FRAME_PEER_MAX, &f, NULL) == 1 &&
                peer_decode(&f, &msg) == 0) {
                assert_int_equal(bit / 8, tag);
                assert_false(msg.is_summed);
                peer_msg_done(&msg);
                without++;
            }
            b.data[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        }
    }
    assert_true(without > 0);
    buf_done(&b);
}

static void a_sum_in_another_place_is_wrong(void **state)
{
    struct peer_msg msg = {.type = PEER_PROGRESS_ASK, .progress_ask = {3}};
    struct buf b = BUF_INIT, moved = BUF_INIT, wrapped = BUF_INIT;

    (void)state;
    peer_encode(&msg, &b);
    struct frame f = sample_frame(&b, 0);
    size_t body = f.header_size - SUM_FIELD;
    buf_put(&moved, f.header + body, SUM_FIELD);
    buf_put(&moved, f.header, body);
    struct frame g = sample_wrap(&wrapped, moved.data, moved.size, NULL, 0);
    assert_int_equal(peer_decode(&g, &msg), -RD_ECORRUPT);
    buf_put(&moved, f.header + body, SUM_FIELD); /* and twice */
    g = sample_wrap(&wrapped, moved.data, moved.size, NULL, 0);
    assert_int_equal(peer_decode(&g, &msg), -RD_ECORRUPT);
    buf_done(&b);
    buf_done(&moved);
    buf_done(&wrapped);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sum_is_of_all_but_itself),
        cmocka_unit_test(no_bit_can_be_changed),
        cmocka_unit_test(a_sum_in_another_place_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
