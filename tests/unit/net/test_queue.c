#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "fixture.h"

/* What the socket would see: take `size` bytes at a time until nothing waits. */
static uint64_t drain(struct queue *q, size_t step, struct buf *out)
{
    struct iovec iov[QUEUE_IOV_MAX];
    uint64_t frames = 0;
    int count;

    while ((count = queue_iov(q, iov)) > 0) {
        size_t left = step;
        for (int i = 0; i < count && left; i++) {
            size_t take = iov[i].iov_len < left ? iov[i].iov_len : left;
            buf_put(out, iov[i].iov_base, take);
            left -= take;
        }
        frames += queue_written(q, step - left);
    }
    return frames;
}

/* The sequence numbers of the frames in `bytes`. */
static uint32_t sequence(const struct buf *bytes, uint64_t *seqs, uint32_t max)
{
    uint32_t count = 0;
    struct frame frame;
    struct peer_msg msg;

    for (size_t at = 0; at < bytes->size; at += frame.total) {
        assert_int_equal(
            frame_parse(bytes->data + at, bytes->size - at, FRAME_PEER_MAX, &frame, NULL), 1);
        assert_int_equal(peer_decode(&frame, &msg), 0);
        assert_true(count < max);
        seqs[count++] = msg.raft.seq;
        peer_msg_done(&msg);
    }
    return count;
}

static void put_bulk(struct queue *q, uint64_t seq, uint32_t size, uint64_t max, bool expected)
{
    struct peer_msg msg = append(1, 2, seq, 1, size);

    assert_int_equal(queue_put(q, &msg, max), expected);
    peer_msg_done(&msg);
}

static void put_urgent(struct queue *q, uint64_t seq)
{
    struct peer_msg msg = heartbeat(1, 2, seq);

    assert_true(queue_put(q, &msg, UINT32_MAX));
}

static void lanes(void **state)
{
    struct peer_msg msg = heartbeat(1, 2, 1);

    (void)state;
    assert_int_equal(queue_lane_of(&msg), QUEUE_URGENT);
    msg.raft.entries_count = 1;
    assert_int_equal(queue_lane_of(&msg), QUEUE_BULK);
    msg.type = PEER_FORWARD;
    assert_int_equal(queue_lane_of(&msg), QUEUE_BULK);
    msg.type = PEER_FORWARD_REPLY;
    assert_int_equal(queue_lane_of(&msg), QUEUE_BULK);
    msg.type = PEER_HELLO;
    assert_int_equal(queue_lane_of(&msg), QUEUE_URGENT);
    msg.type = PEER_REFUSAL;
    assert_int_equal(queue_lane_of(&msg), QUEUE_URGENT);
    msg.type = PEER_PROGRESS_ASK;
    assert_int_equal(queue_lane_of(&msg), QUEUE_URGENT);
    msg.type = PEER_PROGRESS;
    assert_int_equal(queue_lane_of(&msg), QUEUE_URGENT);
    msg.type = PEER_CHANGE;
    assert_int_equal(queue_lane_of(&msg), QUEUE_URGENT);
    msg.type = PEER_CHANGE_REPLY;
    assert_int_equal(queue_lane_of(&msg), QUEUE_URGENT);
}

static void empty_has_nothing_to_write(void **state)
{
    struct queue q;
    struct iovec iov[QUEUE_IOV_MAX];

    (void)state;
    queue_init(&q);
    assert_int_equal(queue_iov(&q, iov), 0);
    assert_int_equal(queue_written(&q, 0), 0);
    queue_done(&q);
}

static void urgent_goes_first(void **state)
{
    struct queue q;
    struct buf out = BUF_INIT;
    uint64_t seqs[8];

    (void)state;
    queue_init(&q);
    put_bulk(&q, 1, 100, UINT32_MAX, true);
    put_bulk(&q, 2, 100, UINT32_MAX, true);
    put_urgent(&q, 3);
    put_urgent(&q, 4);
    assert_int_equal(drain(&q, SIZE_MAX, &out), 4);
    assert_int_equal(sequence(&out, seqs, 8), 4);
    assert_memory_equal(seqs, ((uint64_t[]){3, 4, 1, 2}), 4 * sizeof *seqs);
    assert_int_equal(queue_bytes(&q), 0);
    buf_done(&out);
    queue_done(&q);
}

static void a_begun_frame_is_finished_first(void **state)
{
    struct queue q;
    struct buf out = BUF_INIT;
    struct iovec iov[QUEUE_IOV_MAX];
    uint64_t seqs[8];

    (void)state;
    queue_init(&q);
    put_bulk(&q, 1, 1000, UINT32_MAX, true);
    put_bulk(&q, 2, 1000, UINT32_MAX, true);
    assert_int_equal(queue_iov(&q, iov), 1);
    buf_put(&out, iov[0].iov_base, 10);
    assert_int_equal(queue_written(&q, 10), 0);
    put_urgent(&q, 3);
    assert_int_equal(queue_iov(&q, iov), 3);
    assert_int_equal(drain(&q, SIZE_MAX, &out), 3);
    assert_int_equal(sequence(&out, seqs, 8), 3);
    assert_memory_equal(seqs, ((uint64_t[]){1, 3, 2}), 3 * sizeof *seqs);
    buf_done(&out);
    queue_done(&q);
}

/* However the socket cuts the stream, the frames stay whole and each lane in order. */
static void any_cut_keeps_the_frames(void **state)
{
    (void)state;
    for (size_t step = 1; step < 400; step = step * 3 / 2 + 1) {
        struct queue q;
        struct buf out = BUF_INIT;
        struct iovec iov[QUEUE_IOV_MAX];
        uint64_t seqs[64];
        uint64_t last[2] = {0, 0};

        queue_init(&q);
        uint64_t frames = 0;
        for (uint64_t seq = 1; seq <= 40; seq++) {
            if (seq % 3) {
                put_bulk(&q, seq, 50, UINT32_MAX, true);
            } else {
                put_urgent(&q, seq);
            }
            assert_true(queue_iov(&q, iov) > 0);
            size_t n = iov[0].iov_len < step ? iov[0].iov_len : step;
            buf_put(&out, iov[0].iov_base, n);
            frames += queue_written(&q, n);
        }
        frames += drain(&q, step, &out);
        assert_int_equal(frames, 40);
        assert_int_equal(sequence(&out, seqs, 64), 40);
        for (int i = 0; i < 40; i++) {
            uint64_t *before = &last[seqs[i] % 3 == 0];
            assert_true(seqs[i] > *before);
            *before = seqs[i];
        }
        buf_done(&out);
        queue_done(&q);
    }
}

static void many_blocks_leave_in_several_writes(void **state)
{
    struct queue q;
    struct buf out = BUF_INIT;
    struct iovec iov[QUEUE_IOV_MAX];
    static uint64_t seqs[200];

    (void)state;
    queue_init(&q);
    for (uint64_t seq = 1; seq <= 150; seq++) {
        put_bulk(&q, seq, QUEUE_BLOCK_SIZE, UINT32_MAX, true);
    }
    assert_int_equal(queue_iov(&q, iov), QUEUE_IOV_MAX);
    assert_int_equal(drain(&q, SIZE_MAX, &out), 150);
    assert_int_equal(sequence(&out, seqs, 200), 150);
    buf_done(&out);
    queue_done(&q);
}

static void limit(void **state)
{
    struct queue q;

    (void)state;
    queue_init(&q);
    put_bulk(&q, 1, 100000, 1000, true); /* empty: takes anything, else it would never leave */
    put_bulk(&q, 2, 10, 1000, false);
    put_urgent(&q, 3); /* has its reserve */
    size_t before = queue_bytes(&q);
    put_bulk(&q, 4, 1000, before + 500, false); /* known only once it is encoded */
    assert_int_equal(queue_bytes(&q), before);
    put_bulk(&q, 5, 100, before + 500, true);
    assert_true(queue_bytes(&q) > before);
    queue_done(&q);
}

static void urgent_reserve_ends(void **state)
{
    struct queue q;
    struct peer_msg msg = heartbeat(1, 2, 1);
    struct buf frame = BUF_INIT;
    uint32_t put = 0;

    (void)state;
    queue_init(&q);
    put_bulk(&q, 1, 1000, 1000, true);
    while (queue_put(&q, &msg, 1000)) {
        put++;
        assert_true(put < QUEUE_URGENT_RESERVE);
    }
    assert_true(queue_bytes(&q) <= 1000 + QUEUE_URGENT_RESERVE);
    assert_true(queue_bytes(&q) > QUEUE_URGENT_RESERVE / 2);
    peer_encode(&msg, &frame);
    assert_false(queue_put_frame(&q, &frame, 1000));
    assert_true(queue_put_frame(&q, &frame, 100000));
    buf_done(&frame);
    queue_done(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lanes),
        cmocka_unit_test(empty_has_nothing_to_write),
        cmocka_unit_test(urgent_goes_first),
        cmocka_unit_test(a_begun_frame_is_finished_first),
        cmocka_unit_test(any_cut_keeps_the_frames),
        cmocka_unit_test(many_blocks_leave_in_several_writes),
        cmocka_unit_test(limit),
        cmocka_unit_test(urgent_reserve_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
