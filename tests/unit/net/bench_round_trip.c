#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* How long a heartbeat takes there and back: through net, and as bare system calls. One thread
 * plays both sides in both cases, so the difference is what net and libevent cost. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <unistd.h>

#include "fixture.h"

enum { ROUNDS = 20000 };

static uint64_t net_rounds(struct world *w)
{
    struct member *one = &w->members[0];
    struct member *two = &w->members[1];
    uint32_t seen_one = one->seen_count;
    uint32_t seen_two = two->seen_count;
    uint64_t start = mono_now_us();

    for (uint32_t i = 1; i <= ROUNDS; i++) {
        send_heartbeat(w, 1, 2, i);
        net_flush(one->net);
        while (two->seen_count != seen_two + i) {
            assert_true(event_base_loop(w->base, EVLOOP_ONCE) >= 0);
        }
        send_heartbeat(w, 2, 1, i);
        net_flush(two->net);
        while (one->seen_count != seen_one + i) {
            assert_true(event_base_loop(w->base, EVLOOP_ONCE) >= 0);
        }
    }
    return mono_now_us() - start;
}

static void raw_pass(int from, int to, const struct buf *frame)
{
    uint8_t bytes[512];
    size_t at = 0;

    raw_send(from, frame->data, frame->size);
    while (at < frame->size) {
        ssize_t n = recv(to, bytes, sizeof bytes, 0);
        at += n > 0 ? (size_t)n : 0;
    }
}

static uint64_t raw_rounds(void)
{
    uint16_t port;
    const int on = 1;
    int listener = raw_listen(&port);
    int a = raw_connect(port);
    int b = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct buf frame = BUF_INIT;
    struct peer_msg msg = heartbeat(1, 2, 1);

    assert_true(b >= 0);
    assert_int_equal(setsockopt(a, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), 0);
    assert_int_equal(setsockopt(b, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), 0);
    peer_encode(&msg, &frame);
    uint64_t start = mono_now_us();
    for (uint32_t i = 0; i < ROUNDS; i++) {
        raw_pass(a, b, &frame);
        raw_pass(b, a, &frame);
    }
    uint64_t took = mono_now_us() - start;
    buf_done(&frame);
    assert_int_equal(close(a), 0);
    assert_int_equal(close(b), 0);
    assert_int_equal(close(listener), 0);
    return took;
}

static void round_trip(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    (void)world_open(&w, 1);
    (void)world_open(&w, 2);
    world_link(&w, 1, 2);
    (void)net_rounds(&w); /* warm */
    double net_us = (double)net_rounds(&w) / ROUNDS;
    double raw_us = (double)raw_rounds() / ROUNDS;
    (void)printf("round trip of a heartbeat: net %.1f us, bare sockets %.1f us\n", net_us, raw_us);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(round_trip)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
