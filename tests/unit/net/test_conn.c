#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "fixture.h"

/* One connection under test; the other end is a raw socket. */
struct end {
    struct conn_env env;
    struct net_stats stats;
    struct conn *conn; /* NULL: over */
    int raw;
    uint32_t connected, messages, failures;
    uint64_t last_seq;
    int code;
    char why[CONN_WHY_SIZE];
    bool close_at_message, drain_at_message;
};

static void end_connected(void *arg)
{
    struct end *e = arg;

    e->connected++;
}

static void end_message(void *arg, struct peer_msg *msg)
{
    struct end *e = arg;

    e->messages++;
    e->last_seq = msg->type == PEER_RAFT ? msg->raft.seq : 0;
    peer_msg_done(msg);
    if (e->close_at_message) {
        conn_close(e->conn);
        e->conn = NULL;
    } else if (e->drain_at_message) {
        struct peer_msg last = heartbeat(1, 2, 77);
        assert_true(queue_put(&e->conn->out, &last, UINT32_MAX));
        conn_drain(e->conn);
        e->conn = NULL;
    }
}

static void end_failed(void *arg, int code, const char *why)
{
    struct end *e = arg;

    assert_non_null(e->conn);
    e->conn = NULL;
    e->failures++;
    e->code = code;
    (void)snprintf(e->why, sizeof e->why, "%s", why);
}

static const struct conn_ops end_ops = {end_connected, end_message, end_failed};

static void end_open(struct world *w, struct end *e)
{
    uint16_t port;
    int listener = raw_listen(&port);
    struct sockaddr_storage from;
    socklen_t size = sizeof from;

    memset(e, 0, sizeof *e);
    conn_env_init(&e->env, w->base, &e->stats);
    e->raw = raw_connect(port);
    int fd = accept4(listener, (struct sockaddr *)&from, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
    assert_true(fd >= 0);
    assert_int_equal(close(listener), 0);
    e->conn = conn_accepted(&e->env, fd, (struct sockaddr *)&from, &end_ops, e);
}

static void end_done(struct end *e)
{
    if (e->conn) {
        conn_close(e->conn);
    }
    conn_env_done(&e->env);
    assert_int_equal(close(e->raw), 0);
}

static void frames_in_one_piece_and_in_many(void **state)
{
    struct world w;
    struct end e;
    struct buf bytes = BUF_INIT;

    (void)state;
    world_init(&w);
    end_open(&w, &e);
    for (uint64_t seq = 1; seq <= 20; seq++) {
        struct peer_msg msg = heartbeat(1, 2, seq);
        peer_encode(&msg, &bytes);
    }
    raw_send(e.raw, bytes.data, bytes.size);
    until(&w, e.messages == 20);
    assert_int_equal(e.last_seq, 20);
    size_t one = bytes.size / 20;
    for (size_t i = 0; i < one; i++) {
        raw_send(e.raw, bytes.data + i, 1);
        world_turn(&w);
    }
    until(&w, e.messages == 21);
    assert_int_equal(e.stats.frames_in, 21);
    assert_int_equal(e.stats.bytes_in, bytes.size + one);
    buf_done(&bytes);
    end_done(&e);
    world_done(&w);
}

static void bad_bytes(const void *bytes, size_t size, bool trusted, int code)
{
    struct world w;
    struct end e;

    world_init(&w);
    end_open(&w, &e);
    if (trusted) {
        conn_trust(e.conn);
    }
    raw_send(e.raw, bytes, size);
    until(&w, e.failures == 1);
    assert_int_equal(e.code, code);
    assert_int_equal(e.stats.bad_frames, 1);
    assert_int_equal(e.messages, 0);
    raw_until_closed(&w, e.raw, 1000);
    end_done(&e);
    world_done(&w);
}

static void bad_frames_end_it(void **state)
{
    const uint8_t zero[4] = {0, 0, 0, 0};
    const uint8_t four_gib[4] = {0xff, 0xff, 0xff, 0xff};
    const uint8_t above_hello[4] = {0xfd, 0x0f, 0, 0};    /* 4093 + 4 */
    const uint8_t above_frame[4] = {0xfd, 0xff, 0x7f, 0}; /* 8 MiB - 3 + 4 */
    const uint8_t version[8] = {4, 0, 0, 0, 9, 0, 0, 0};
    const uint8_t nothing[8] = {4, 0, 0, 0, 1, 0, 0, 0};
    const uint8_t begins_as_tls[8] = {0x16, 0x03, 0, 0, 9, 0, 0, 0}; /* 790 bytes: no TLS record */
    uint8_t garbage[64];

    (void)state;
    memset(garbage, 0x5a, sizeof garbage);
    bad_bytes(zero, sizeof zero, true, -RD_EPROTOCOL);
    bad_bytes(four_gib, sizeof four_gib, true, -RD_ETOO_LARGE);
    bad_bytes(above_hello, sizeof above_hello, false, -RD_ETOO_LARGE);
    bad_bytes(above_frame, sizeof above_frame, true, -RD_ETOO_LARGE);
    bad_bytes(version, sizeof version, true, -RD_EPROTOCOL);
    bad_bytes(nothing, sizeof nothing, true, -RD_EPROTOCOL);
    bad_bytes(begins_as_tls, sizeof begins_as_tls, false, -RD_EPROTOCOL);
    bad_bytes(garbage, sizeof garbage, true, -RD_ETOO_LARGE);
}

/* Room comes with the bytes: a length alone buys nothing. */
static void memory_follows_the_bytes(void **state)
{
    struct world w;
    struct end e;
    const uint8_t head[8] = {0, 0, 0x70, 0, 1, 0, 8, 0}; /* 7 MiB are to come */

    (void)state;
    world_init(&w);
    end_open(&w, &e);
    world_turn(&w);
    raw_send(e.raw, head, 3);
    until(&w, e.stats.bytes_in == 3);
    assert_true(e.conn->in.capacity <= FRAME_HELLO_MAX); /* a stranger's */
    conn_trust(e.conn);
    raw_send(e.raw, head + 3, 5);
    until(&w, e.stats.bytes_in == 8);
    assert_int_equal(e.conn->in.capacity, CONN_BUFFER_SIZE);
    end_done(&e);
    world_done(&w);
}

static void large_frame_takes_one_frame_and_gives_it_back(void **state)
{
    struct world w;
    struct end e;
    struct buf bytes = BUF_INIT;
    struct peer_msg msg = append(1, 2, 5, 4, 1500000);
    size_t most = 0;

    (void)state;
    world_init(&w);
    end_open(&w, &e);
    conn_trust(e.conn);
    peer_encode(&msg, &bytes);
    mono_ms deadline = mono_now_ms() + 10000;
    for (size_t at = 0; e.messages == 0 && mono_now_ms() < deadline;) {
        ssize_t n =
            at < bytes.size ? send(e.raw, bytes.data + at, bytes.size - at, MSG_NOSIGNAL) : 0;
        at += n > 0 ? (size_t)n : 0;
        world_turn(&w);
        most = e.conn->in.capacity > most ? e.conn->in.capacity : most;
    }
    assert_int_equal(e.messages, 1);
    assert_int_equal(e.last_seq, 5);
    assert_true(most <= bytes.size);
    assert_true(e.conn->in.capacity <= CONN_BUFFER_SIZE);
    peer_msg_done(&msg);
    buf_done(&bytes);
    end_done(&e);
    world_done(&w);
}

/* As somebody who does not have it, or a bit that was changed, would leave it out: by another number. */
static void raw_send_unsummed(int fd, const struct peer_msg *msg)
{
    struct buf out = BUF_INIT;

    peer_encode(msg, &out);
    assert_int_equal(out.data[out.size - 5], 15 << 3 | 5);
    out.data[out.size - 5] ^= 1 << 3;
    raw_send(fd, out.data, out.size);
    buf_done(&out);
}

/* The flags of the next frame that comes out. */
static uint8_t flags_sent(struct world *w, struct end *e)
{
    struct peer_msg msg = heartbeat(2, 1, 5);
    uint8_t bytes[FRAME_HELLO_MAX];
    ssize_t got = -1;

    assert_true(queue_put(&e->conn->out, &msg, UINT32_MAX));
    conn_flush(e->conn);
    until(w, got > FRAME_HEAD || (got = recv(e->raw, bytes, sizeof bytes, 0)) > FRAME_HEAD);
    return bytes[5];
}

static void who_says_so_has_to_put_sums(void **state)
{
    struct world w;
    struct end e;
    struct peer_msg msg = heartbeat(1, 2, 1);
    struct peer_hello hello;
    struct peer_msg greeting = {.type = PEER_HELLO, .hello = &hello};

    (void)state;
    world_init(&w);
    for (uint16_t protocol = 1; protocol <= PEER_PROTOCOL_SUMS; protocol++) {
        end_open(&w, &e);
        raw_send_unsummed(e.raw, &msg); /* who knows who that is */
        hello_make(1, 1, &hello);
        hello.protocol_max = protocol;
        raw_send_msg(e.raw, &greeting);
        until(&w, e.messages == 2);
        assert_int_equal(flags_sent(&w, &e) & FRAME_CHECKED,
                         protocol < PEER_PROTOCOL_SUMS ? 0 : FRAME_CHECKED);
        raw_send_unsummed(e.raw, &msg);
        until(&w, e.messages == 3 || !e.conn);
        assert_int_equal(e.messages, protocol < PEER_PROTOCOL_SUMS ? 3 : 2);
        assert_int_equal(e.code, protocol < PEER_PROTOCOL_SUMS ? 0 : -RD_EPROTOCOL);
        end_done(&e);
    }
    end_open(&w, &e); /* the hello itself, too */
    raw_send_unsummed(e.raw, &greeting);
    until(&w, !e.conn);
    assert_int_equal(e.messages, 0);
    assert_string_equal(e.why, "a sum is wrong: its bytes were changed on their way");
    end_done(&e);
    world_done(&w);
}

/* A length that was changed on its way would make us wait for what never comes. */
static void a_frame_that_is_begun_has_to_end(void **state)
{
    struct world w;
    struct end e;
    struct buf bytes = BUF_INIT;
    struct peer_msg msg = heartbeat(1, 2, 1);

    (void)state;
    world_init(&w);
    peer_encode(&msg, &bytes);
    end_open(&w, &e);
    e.env.frame_ms = 300;
    conn_set_deadline(e.conn, 400, "its owner's");
    raw_send(e.raw, bytes.data, 3);
    mono_ms start = mono_now_ms();
    until(&w, !e.conn);
    assert_true(mono_now_ms() - start >= 390); /* its owner's comes first */
    assert_string_equal(e.why, "its owner's");
    end_done(&e);

    end_open(&w, &e);
    e.env.frame_ms = 700;
    for (int i = 0; i < 5; i++) { /* one after the other, and never nothing: each has its time */
        if (i > 0) {
            raw_send(e.raw, bytes.data + bytes.size - 1, 1);
        }
        raw_send(e.raw, bytes.data, bytes.size - 1);
        start = mono_now_ms();
        until(&w, mono_now_ms() - start >= 200);
        assert_non_null(e.conn);
    }
    assert_int_equal(e.messages, 4);
    raw_send(e.raw, bytes.data + bytes.size - 1, 1);
    start = mono_now_ms();
    until(&w, mono_now_ms() - start >= 900); /* nothing is begun: no deadline */
    assert_non_null(e.conn);
    assert_int_equal(e.messages, 5);
    start = mono_now_ms();
    for (size_t i = 0; i < bytes.size - 1 && e.conn; i++) { /* byte by byte is no excuse */
        raw_send(e.raw, bytes.data + i, 1);
        mono_ms next = mono_now_ms() + 50;
        until(&w, mono_now_ms() >= next || !e.conn);
    }
    until(&w, !e.conn);
    assert_in_range(mono_now_ms() - start, 690, 3000);
    assert_int_equal(e.code, -ETIMEDOUT);
    assert_string_equal(e.why, "a frame was begun and not ended in time");
    end_done(&e);
    buf_done(&bytes);
    world_done(&w);
}

static void closing_inside_a_message(void **state)
{
    struct world w;
    struct end e;
    struct peer_msg msg = heartbeat(1, 2, 1);

    (void)state;
    world_init(&w);
    end_open(&w, &e);
    e.close_at_message = true;
    raw_send_msg(e.raw, &msg);
    raw_send_msg(e.raw, &msg);
    until(&w, e.messages == 1);
    raw_until_closed(&w, e.raw, 1000);
    assert_int_equal(e.messages, 1);
    assert_int_equal(e.failures, 0);
    end_done(&e);
    world_done(&w);
}

/* The peer goes on sending while we refuse: our last words must reach it all the same. */
static void last_words_arrive(void **state)
{
    struct world w;
    struct end e;
    struct peer_msg msg = heartbeat(1, 2, 1);

    (void)state;
    world_init(&w);
    end_open(&w, &e);
    e.drain_at_message = true;
    for (int i = 0; i < 100; i++) {
        raw_send_msg(e.raw, &msg);
    }
    until(&w, e.messages == 1);
    raw_send_msg(e.raw, &msg);
    struct peer_msg last = raw_receive(&w, e.raw);
    assert_int_equal(last.raft.seq, 77);
    assert_int_equal(e.env.draining_count, 1);
    assert_int_equal(shutdown(e.raw, SHUT_WR), 0);
    until(&w, e.env.draining_count == 0);
    assert_int_equal(e.messages, 1);
    end_done(&e);
    world_done(&w);
}

static void draining_has_an_end(void **state)
{
    struct world w;
    struct end e;

    (void)state;
    world_init(&w);
    end_open(&w, &e);
    conn_drain(e.conn);
    e.conn = NULL;
    mono_ms start = mono_now_ms();
    until_ms(&w, 3 * CONN_DRAIN_MS, e.env.draining_count == 0);
    assert_true(mono_now_ms() - start >= CONN_DRAIN_MS / 2);
    assert_int_equal(e.failures, 0);
    end_done(&e);
    world_done(&w);
}

static void only_so_many_drain(void **state)
{
    struct world w;
    struct end e;
    struct conn_env env;
    int raws[CONN_DRAINING_MAX + 1];

    (void)state;
    world_init(&w);
    for (int i = 0; i <= CONN_DRAINING_MAX; i++) {
        end_open(&w, &e);
        if (i == 0) {
            conn_env_init(&env, w.base, &e.stats);
        }
        e.conn->env = &env;
        raws[i] = e.raw;
        conn_drain(e.conn);
    }
    assert_int_equal(env.draining_count, CONN_DRAINING_MAX);
    conn_env_done(&env);
    for (int i = 0; i <= CONN_DRAINING_MAX; i++) {
        assert_int_equal(close(raws[i]), 0);
    }
    world_done(&w);
}

static void the_peer_ends_it(void **state)
{
    struct world w;
    struct end e;
    const struct linger reset = {.l_onoff = 1};

    (void)state;
    world_init(&w);
    end_open(&w, &e);
    assert_int_equal(shutdown(e.raw, SHUT_WR), 0);
    until(&w, e.failures == 1);
    assert_int_equal(e.code, -ECONNRESET);
    assert_string_equal(e.why, "closed by the peer");
    end_done(&e);
    end_open(&w, &e);
    assert_int_equal(setsockopt(e.raw, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    assert_int_equal(close(e.raw), 0);
    until(&w, e.failures == 1);
    assert_string_equal(e.why, "connection reset by the peer");
    e.raw = dup(STDERR_FILENO);
    end_done(&e);
    world_done(&w);
}

static void deadlines(void **state)
{
    struct world w;
    struct end e;

    (void)state;
    world_init(&w);
    end_open(&w, &e);
    conn_set_deadline(e.conn, 20, "too slow");
    conn_set_deadline(e.conn, 0, "");
    still_ms(&w, 50, e.failures == 0);
    conn_set_deadline(e.conn, 20, "too slow");
    until(&w, e.failures == 1);
    assert_int_equal(e.code, -ETIMEDOUT);
    assert_string_equal(e.why, "too slow");
    end_done(&e);
    world_done(&w);
}

static void blocked_socket_goes_on_when_it_can(void **state)
{
    struct world w;
    struct end e;
    const uint64_t frames = 40;

    (void)state;
    world_init(&w);
    end_open(&w, &e);
    for (uint64_t seq = 1; seq <= frames; seq++) {
        struct peer_msg msg = append(1, 2, seq, 1, 500000);
        assert_true(queue_put(&e.conn->out, &msg, UINT32_MAX));
        peer_msg_done(&msg);
    }
    conn_flush(e.conn);
    assert_true(e.conn->blocked);
    size_t before = queue_bytes(&e.conn->out);
    conn_flush(e.conn); /* does not try while it is blocked */
    assert_int_equal(queue_bytes(&e.conn->out), before);
    for (uint64_t seq = 1; seq <= frames; seq++) {
        struct peer_msg msg = raw_receive(&w, e.raw);
        assert_int_equal(msg.raft.seq, seq);
        peer_msg_done(&msg);
    }
    until(&w, !e.conn->blocked);
    assert_int_equal(e.stats.frames_out, frames);
    end_done(&e);
    world_done(&w);
}

static void writing_to_a_closed_peer_fails(void **state)
{
    struct world w;
    struct end e;
    const struct linger reset = {.l_onoff = 1};
    struct peer_msg msg = heartbeat(1, 2, 1);

    (void)state;
    world_init(&w);
    end_open(&w, &e);
    assert_int_equal(setsockopt(e.raw, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    assert_int_equal(close(e.raw), 0);
    e.raw = dup(STDERR_FILENO);
    assert_true(queue_put(&e.conn->out, &msg, UINT32_MAX));
    struct conn *c = e.conn;
    conn_flush(c);
    assert_int_equal(e.failures, 1);
    conn_flush(c); /* closed: nothing happens, and it is still there until the reaping */
    end_done(&e);
    world_done(&w);
}

static int dial(struct world *w, struct end *e, uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(port),
                             .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};

    memset(e, 0, sizeof *e);
    conn_env_init(&e->env, w->base, &e->stats);
    return conn_dial(&e->env, (struct sockaddr *)&to, sizeof to, 5000, &end_ops, e, &e->conn);
}

static void dialling(void **state)
{
    struct world w;
    struct end e;
    uint16_t port;
    struct sockaddr_in6 wrong = {.sin6_family = AF_INET6};

    (void)state;
    world_init(&w);
    int listener = raw_listen(&port);
    assert_int_equal(dial(&w, &e, port), 0);
    conn_flush(e.conn); /* too early: nothing happens */
    e.raw = raw_accept(&w, listener);
    until(&w, e.connected == 1);
    end_done(&e);
    assert_int_equal(close(listener), 0);

    assert_int_equal(dial(&w, &e, port), 0);
    until(&w, e.failures == 1);
    assert_int_equal(e.code, -ECONNREFUSED);
    assert_int_equal(e.connected, 0);
    conn_env_done(&e.env);

    wrong.sin6_family = AF_UNIX;
    assert_true(conn_dial(&e.env, (struct sockaddr *)&wrong, sizeof wrong, 5000, &end_ops, &e,
                          &e.conn) < 0);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_in_one_piece_and_in_many),
        cmocka_unit_test(bad_frames_end_it),
        cmocka_unit_test(memory_follows_the_bytes),
        cmocka_unit_test(large_frame_takes_one_frame_and_gives_it_back),
        cmocka_unit_test(who_says_so_has_to_put_sums),
        cmocka_unit_test(a_frame_that_is_begun_has_to_end),
        cmocka_unit_test(closing_inside_a_message),
        cmocka_unit_test(last_words_arrive),
        cmocka_unit_test(draining_has_an_end),
        cmocka_unit_test(only_so_many_drain),
        cmocka_unit_test(the_peer_ends_it),
        cmocka_unit_test(deadlines),
        cmocka_unit_test(blocked_socket_goes_on_when_it_can),
        cmocka_unit_test(writing_to_a_closed_peer_fails),
        cmocka_unit_test(dialling),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
