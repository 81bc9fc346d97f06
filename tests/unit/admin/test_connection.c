#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "fixture.h"

static void answer_all(struct fixture *f)
{
    for (uint32_t i = 0; i < f->asked_count; i++) {
        if (f->asked[i].call) {
            fixture_answer(f, i, 0, NULL, "{}", 2);
        }
    }
}

static void pipeline(struct client *c, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        client_put(c, &(struct admin_request){.id = i, .command = "status"});
    }
}

/* ---- Replies ---- */

static void test_replies_carry_the_id_in_any_order(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);

    client_put(&c, &(struct admin_request){.id = 10, .command = "status"});
    client_put(&c, &(struct admin_request){.id = 11, .command = "members"});
    client_put(&c, &(struct admin_request){.id = 12, .command = "leader"});
    client_send(f, &c);
    fixture_wait_asked(f, 3);
    fixture_answer(f, 2, -RD_ENO_LEADER, "nobody leads", NULL, 0);
    fixture_answer(f, 0, 0, NULL, "{}", 2);
    fixture_answer(f, 1, 0, NULL, "{}", 2);
    client_expect(f, &c, 12, -RD_ENO_LEADER, NULL, 0);
    client_expect(f, &c, 10, 0, NULL, 0);
    client_expect(f, &c, 11, 0, NULL, 0);
    client_close(&c);
}

static void test_answer_carries_leader_message_and_json(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);

    client_ask(f, &c, 1, "status");
    fixture_wait_asked(f, 1);
    admin_answer(f->asked[0].call, -RD_ENOT_LEADER, 3, "ask node 3", NULL, 0);
    f->asked[0].call = NULL;
    struct admin_reply reply = client_reply(f, &c);
    assert_int_equal(reply.leader, 3);
    assert_false(reply.more);
    assert_memory_equal(reply.message->data, "ask node 3", 10);
    assert_null(reply.json);
    admin_reply_done(&reply);
    client_close(&c);
}

static void test_watch_goes_on_until_the_client_leaves(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);

    client_ask(f, &c, 4, "watch");
    fixture_wait_asked(f, 1);
    for (int i = 0; i < 3; i++) {
        assert_true(admin_answer_more(f->asked[0].call, "{\"n\":1}", 7));
        struct admin_reply reply = client_reply(f, &c);
        assert_int_equal(reply.id, 4);
        assert_true(reply.more);
        assert_memory_equal(reply.json->data, "{\"n\":1}", 7);
        admin_reply_done(&reply);
    }
    client_close(&c);
    fixture_wait_number(f, &f->cancelled, 1);
    assert_int_equal(f->admin->conns_count, 0);
}

static void test_a_result_above_the_limit_is_refused(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);
    size_t size = (size_t)ADMIN_JSON_MAX + 1;
    char *json = mem_zalloc(size);
    char why[128];

    client_ask(f, &c, 1, "status");
    fixture_wait_asked(f, 1);
    fixture_answer(f, 0, 0, NULL, json, size);
    client_expect(f, &c, 1, -RD_ETOO_LARGE, why, sizeof why);
    assert_non_null(strstr(why, "ask for less"));
    mem_free(json);
    client_close(&c);
}

/* ---- Streams ---- */

static void test_a_request_byte_by_byte(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);
    struct buf bytes = BUF_INIT;
    struct admin_request r = {.id = 3, .command = "status"};

    f->answer_at_once = true;
    assert_int_equal(admin_request_encode(&r, &bytes), 0);
    for (size_t i = 0; i < bytes.size; i++) {
        client_send_bytes(f, &c, bytes.data + i, 1);
    }
    client_expect(f, &c, 3, 0, NULL, 0);
    buf_done(&bytes);
    client_close(&c);
}

static void test_a_large_value_arrives_whole(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);
    struct admin_request r = {
        .id = 3, .command = "put", .key = blob_of("k"), .value = blob_new(STATE_VALUE_MAX)};
    struct state_txn txn;

    memset(r.value->data, 'v', r.value->size);
    client_put(&c, &r);
    client_send(f, &c);
    fixture_wait_asked(f, 1);
    assert_int_equal(state_txn_decode(f->asked[0].bytes->data, f->asked[0].bytes->size, &txn), 0);
    assert_int_equal(txn.ops[0].value_size, STATE_VALUE_MAX);
    answer_all(f);
    client_expect(f, &c, 3, 0, NULL, 0);
    assert_int_equal(LIST_FIRST(&f->admin->conns)->in.capacity, 0); /* given back */
    admin_request_done(&r);
    client_close(&c);
}

/* A field above its limit costs the request, not the connection. */
static void test_too_large_keeps_the_connection(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);
    struct buf bytes = BUF_INIT;
    struct admin_request r = {
        .id = 21, .command = "put", .key = blob_of("k"), .value = blob_new(STATE_VALUE_MAX)};
    char why[256];

    /* The client's own codec would refuse: lengthen the payload of a frame that is legal. */
    memset(r.value->data, 'v', r.value->size);
    assert_int_equal(admin_request_encode(&r, &bytes), 0);
    buf_put_u8(&bytes, 'v');
    uint32_t length = (uint32_t)bytes.size - 4;
    struct buf head = BUF_INIT;
    buf_put_u32(&head, length);
    memcpy(bytes.data, head.data, 4);
    f->answer_at_once = true;
    client_send_bytes(f, &c, bytes.data, bytes.size);
    client_expect(f, &c, 21, -RD_ETOO_LARGE, why, sizeof why);
    assert_non_null(strstr(why, "1 MiB"));
    assert_int_equal(f->asked_count, 0);
    client_ask(f, &c, 22, "status");
    client_expect(f, &c, 22, 0, NULL, 0);
    buf_done(&head);
    buf_done(&bytes);
    admin_request_done(&r);
    client_close(&c);
}

static void test_garbage_ends_the_connection_with_a_word(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);
    char why[256];

    client_send_bytes(f, &c, "GET / HTTP/1.1\r\n\r\n", 18);
    struct admin_reply reply = client_reply(f, &c);
    assert_int_equal(reply.id, 0);
    assert_true(reply.code == -RD_ETOO_LARGE || reply.code == -RD_EINVALID);
    (void)snprintf(why, sizeof why, "%.*s", (int)reply.message->size,
                   (const char *)reply.message->data);
    assert_true(strlen(why) > 20);
    admin_reply_done(&reply);
    client_expect_end(f, &c);
    client_close(&c);
    fixture_wait_number(f, &f->admin->conns_count, 0);
}

static void test_wrong_version_ends_the_connection(void **state)
{
    static const uint8_t frame[] = {8, 0, 0, 0, 9, 0, 0, 0, 1, 2, 3, 4};
    struct fixture *f = *state;
    struct client c = client_open(f);

    client_send_bytes(f, &c, frame, sizeof frame);
    client_expect(f, &c, 0, -RD_EINVALID, NULL, 0);
    client_expect_end(f, &c);
    client_close(&c);
    fixture_wait_number(f, &f->admin->conns_count, 0);
}

/* A frame whose envelope cannot be read: nothing after it can be trusted. */
static void test_bad_envelope_cancels_what_is_open(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);
    struct buf bytes = BUF_INIT;

    client_ask(f, &c, 1, "status");
    fixture_wait_asked(f, 1);
    size_t at = frame_begin(&bytes);
    buf_put(&bytes, "\xff\xff\xff\xff\xff", 5);
    frame_header_end(&bytes, at);
    frame_end(&bytes, at);
    client_send_bytes(f, &c, bytes.data, bytes.size);
    client_expect(f, &c, 0, -RD_EINVALID, NULL, 0);
    client_expect_end(f, &c);
    fixture_wait_number(f, &f->cancelled, 1);
    buf_done(&bytes);
    client_close(&c);
}

/* Who may only ask gets no megabytes of our memory for it. */
static void test_strangers_have_small_frames(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open_stranger(f, 65534);
    struct admin_request r = {
        .id = 1, .command = "put", .key = blob_of("k"), .value = blob_new(ADMIN_ASK_FRAME_MAX)};
    char why[256];

    memset(r.value->data, 'v', r.value->size);
    client_put(&c, &r);
    client_send(f, &c);
    client_expect(f, &c, 0, -RD_EPERMISSION, why, sizeof why);
    assert_non_null(strstr(why, "16384"));
    client_expect_end(f, &c);
    admin_request_done(&r);
    client_close(&c);
}

/* ---- Limits ---- */

static void test_reading_pauses_at_the_call_limit(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);

    pipeline(&c, ADMIN_CALLS_MAX + 10);
    client_send(f, &c);
    fixture_wait_asked(f, ADMIN_CALLS_MAX);
    for (int i = 0; i < 20; i++) {
        fixture_turn(f);
    }
    assert_int_equal(f->asked_count, ADMIN_CALLS_MAX);
    assert_int_equal(f->admin->conns_paused, 1);
    answer_all(f);
    fixture_wait_asked(f, ADMIN_CALLS_MAX + 10); /* what had arrived before the pause */
    answer_all(f);
    for (uint32_t i = 0; i < ADMIN_CALLS_MAX + 10; i++) {
        client_expect(f, &c, i, 0, NULL, 0);
    }
    assert_int_equal(f->admin->conns_paused, 0);
    assert_int_equal(f->admin->calls_open, 0);
    client_close(&c);
}

static void test_reading_pauses_at_the_global_limit(void **state)
{
    enum { CLIENTS = ADMIN_OPEN_MAX / ADMIN_CALLS_MAX + 2 };
    struct fixture *f = *state;
    struct client clients[CLIENTS];
    uint32_t all = CLIENTS * ADMIN_CALLS_MAX;

    for (uint32_t i = 0; i < CLIENTS; i++) {
        clients[i] = client_open(f);
        pipeline(&clients[i], ADMIN_CALLS_MAX);
        client_send(f, &clients[i]);
    }
    fixture_wait_asked(f, ADMIN_OPEN_MAX);
    for (int i = 0; i < 20; i++) {
        fixture_turn(f);
    }
    assert_int_equal(f->asked_count, ADMIN_OPEN_MAX);
    answer_all(f);
    fixture_wait_asked(f, all);
    answer_all(f);
    fixture_turn(f);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        client_close(&clients[i]);
    }
    fixture_wait_number(f, &f->admin->conns_count, 0);
    assert_int_equal(f->admin->conns_paused, 0);
}

static void test_a_paused_client_that_leaves_is_noticed_after_the_pause(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);

    pipeline(&c, ADMIN_CALLS_MAX + 1);
    client_send(f, &c);
    fixture_wait_asked(f, ADMIN_CALLS_MAX);
    client_close(&c);
    fixture_answer(f, 0, 0, NULL, "{}", 2);
    fixture_wait_number(f, &f->admin->conns_count, 0);
    assert_int_equal(f->admin->conns_paused, 0);
}

static void test_a_client_that_does_not_read_is_disconnected(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);
    static char json[1 << 20];
    uint32_t told = 0;

    client_ask(f, &c, 1, "watch");
    fixture_wait_asked(f, 1);
    while (admin_answer_more(f->asked[0].call, json, sizeof json)) {
        assert_true(++told < 32);
        admin_flush(f->admin);
    }
    assert_true(told >= 7);
    assert_false(admin_answer_more(f->asked[0].call, json, 1)); /* and stays so */
    fixture_wait_number(f, &f->cancelled, 1);
    client_expect_end(f, &c);
    client_close(&c);
}

static void test_output_goes_on_when_the_client_reads_again(void **state)
{
    enum { COUNT = 6 };
    struct fixture *f = *state;
    struct client c = client_open(f);
    static char json[1 << 20];

    memset(json, '1', sizeof json);
    client_ask(f, &c, 1, "watch");
    fixture_wait_asked(f, 1);
    for (int i = 0; i < COUNT; i++) {
        assert_true(admin_answer_more(f->asked[0].call, json, sizeof json));
        fixture_turn(f);
    }
    for (int i = 0; i < COUNT; i++) {
        struct admin_reply reply = client_reply(f, &c);
        assert_int_equal(reply.json->size, sizeof json);
        assert_memory_equal(reply.json->data, json, sizeof json);
        admin_reply_done(&reply);
    }
    client_close(&c);
    fixture_wait_number(f, &f->cancelled, 1);
}

static void test_unread_replies_pause_requests(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);
    static char json[1 << 20];

    memset(json, '1', sizeof json);
    client_ask(f, &c, 1, "status");
    fixture_wait_asked(f, 1);
    fixture_answer(f, 0, 0, NULL, json, sizeof json);
    fixture_turn(f);
    client_ask(f, &c, 2, "status");
    for (int i = 0; i < 20; i++) {
        fixture_turn(f);
    }
    assert_int_equal(f->asked_count, 1);
    client_expect(f, &c, 1, 0, NULL, 0);
    fixture_wait_asked(f, 2);
    answer_all(f);
    client_close(&c);
}

/* Send what the socket takes of `bytes` from *sent on. */
static void push(const struct client *c, const struct buf *bytes, size_t *sent)
{
    ssize_t n = send(c->fd, bytes->data + *sent, bytes->size - *sent, MSG_NOSIGNAL);

    assert_true(n > 0 || errno == EAGAIN);
    *sent += n > 0 ? (size_t)n : 0;
}

static size_t most(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Whoever may connect may do this: the memory it costs is a matter of the limits, not of how much
 * is sent. Each turn the client takes a little of what it is owed, so that it is never all sent. */
static void test_a_slow_reader_costs_little_memory(void **state)
{
    enum { BYTES = 10 << 20, SIP = 16 << 10 };
    static uint8_t sip[SIP];
    struct fixture *f = *state;
    struct client c = client_open_stranger(f, 65534);
    struct admin_request r = {.id = 7, .command = "frobnicate"};
    struct buf one = BUF_INIT, bytes = BUF_INIT;
    size_t sent = 0, got = 0, in_most = 0, out_most = 0, reply_size;
    mono_ms end = mono_now_ms() + 30000;

    assert_int_equal(admin_request_encode(&r, &one), 0);
    client_send_bytes(f, &c, one.data, one.size);
    struct admin_reply reply = client_reply(f, &c);
    assert_int_equal(reply.code, -RD_EINVALID);
    struct buf again = BUF_INIT;
    assert_int_equal(admin_reply_encode(&reply, &again), 0);
    reply_size = again.size;
    admin_reply_done(&reply);
    while (bytes.size < BYTES) {
        buf_put(&bytes, one.data, one.size);
    }
    struct admin_conn *conn = LIST_FIRST(&f->admin->conns);
    while (got < bytes.size / one.size * reply_size) {
        assert_true(mono_now_ms() < end);
        if (sent < bytes.size) {
            push(&c, &bytes, &sent);
        }
        fixture_turn(f);
        in_most = most(in_most, conn->in.capacity);
        out_most = most(out_most, conn->out.capacity);
        ssize_t n = recv(c.fd, sip, sizeof sip, 0);
        assert_true(n > 0 || (n < 0 && errno == EAGAIN));
        got += n > 0 ? (size_t)n : 0;
    }
    assert_int_equal(got, bytes.size / one.size * reply_size);
    assert_in_range(in_most, 1, 2 * (ADMIN_READ_SIZE + one.size));
    assert_in_range(out_most, ADMIN_OUTPUT_PAUSE, 4 * (ADMIN_OUTPUT_PAUSE + reply_size));
    assert_in_range(conn->in.capacity, 0, ADMIN_READ_SIZE);
    assert_in_range(conn->out.capacity, 0, ADMIN_OUTPUT_PAUSE);
    buf_done(&one);
    buf_done(&bytes);
    buf_done(&again);
    client_close(&c);
}

/* While it is paused nothing is read, whatever the reason for the end of the pause was. */
static void test_a_pause_that_ends_reads_what_is_held_first(void **state)
{
    enum { ROUNDS = 40 };
    struct fixture *f = *state;
    struct client c = client_open(f);
    struct buf bytes = BUF_INIT;
    size_t sent = 0;

    for (uint32_t i = 0; i < ASKED_MAX; i++) {
        struct admin_request r = {.id = i, .command = "status", .timeout_ms = 1000};
        assert_int_equal(admin_request_encode(&r, &bytes), 0);
    }
    push(&c, &bytes, &sent);
    fixture_wait_asked(f, ADMIN_CALLS_MAX);
    struct admin_conn *conn = LIST_FIRST(&f->admin->conns);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        push(&c, &bytes, &sent);
        fixture_answer(f, i, 0, NULL, "{}", 2);
        fixture_wait_asked(f, ADMIN_CALLS_MAX + i + 1); /* one answered, the next one taken */
        assert_in_range(conn->in.capacity, 1, 2 * ADMIN_READ_SIZE);
    }
    answer_all(f);
    buf_done(&bytes);
    client_close(&c);
    fixture_wait_number(f, &f->admin->conns_count, 0);
}

/* What a large frame took is given back although the stream goes on. */
static void test_a_large_frame_in_a_stream_gives_its_memory_back(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);
    struct admin_request put = {
        .id = 1, .command = "put", .key = blob_of("k"), .value = blob_new(STATE_VALUE_MAX)};
    struct admin_request half = {.id = 2, .command = "status"};

    memset(put.value->data, 'v', put.value->size);
    client_put(&c, &put);
    client_put(&c, &half);
    uint8_t last = c.out.data[--c.out.size];
    client_send(f, &c);
    fixture_wait_asked(f, 1);
    struct admin_conn *conn = LIST_FIRST(&f->admin->conns);
    for (int i = 0; i < 10; i++) {
        fixture_turn(f);
    }
    assert_in_range(conn->in.size, 1, 100);
    assert_in_range(conn->in.capacity, 1, 4 * ADMIN_READ_SIZE);
    client_send_bytes(f, &c, &last, 1);
    fixture_wait_asked(f, 2);
    answer_all(f);
    admin_request_done(&put);
    client_close(&c);
    fixture_wait_number(f, &f->admin->conns_count, 0);
}

/* ---- The end ---- */

static void test_a_client_that_sends_no_more_gets_its_answers(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);

    pipeline(&c, ADMIN_CALLS_MAX + 3); /* more than are taken at once */
    client_put(&c, &(struct admin_request){.id = 999, .command = "watch"});
    client_send(f, &c);
    assert_int_equal(shutdown(c.fd, SHUT_WR), 0);
    fixture_wait_asked(f, ADMIN_CALLS_MAX);
    answer_all(f);
    fixture_wait_asked(f, ADMIN_CALLS_MAX + 4);
    for (int i = 0; i < 20; i++) {
        fixture_turn(f);
    }
    assert_int_equal(f->cancelled, 0);
    for (uint32_t i = ADMIN_CALLS_MAX; i < ADMIN_CALLS_MAX + 3; i++) {
        fixture_answer(f, i, 0, NULL, "{}", 2);
    }
    for (uint32_t i = 0; i < ADMIN_CALLS_MAX + 3; i++) {
        client_expect(f, &c, i, 0, NULL, 0);
    }
    client_expect_end(f, &c);
    assert_int_equal(f->cancelled, 1); /* a watch has no last answer to wait for */
    fixture_wait_number(f, &f->admin->conns_count, 0);
    assert_int_equal(f->admin->conns_input_ended, 0);
    client_close(&c);
}

static void test_a_client_that_sends_nothing_at_all_is_closed(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);

    client_send_bytes(f, &c, "\x40\0\0", 3); /* not even a frame */
    assert_int_equal(shutdown(c.fd, SHUT_WR), 0);
    client_expect_end(f, &c);
    fixture_wait_number(f, &f->admin->conns_count, 0);
    client_close(&c);
}

/* It sent no more, then it left before the answer. */
static void test_a_half_closed_client_that_leaves(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);

    pipeline(&c, 2);
    client_send(f, &c);
    fixture_wait_asked(f, 2);
    assert_int_equal(shutdown(c.fd, SHUT_WR), 0);
    fixture_wait_number(f, &f->admin->conns_input_ended, 1);
    client_close(&c);
    fixture_answer(f, 0, 0, NULL, "{}", 2);
    fixture_wait_number(f, &f->cancelled, 1);
    assert_int_equal(f->admin->conns_count, 0);
}

/* A stream that is out of step, from somebody who reads nothing: not even why. */
static void break_with_a_full_socket(struct fixture *f, struct client *c)
{
    static char json[1 << 20];

    memset(json, '1', sizeof json);
    client_ask(f, c, 1, "watch");
    fixture_wait_asked(f, 1);
    assert_true(admin_answer_more(f->asked[0].call, json, 200 << 10)); /* no pause yet */
    fixture_turn(f);
    client_send_bytes(f, c, "GET / HTTP/1.1\r\n\r\n", 18);
    mono_ms end = mono_now_ms() + 5000;
    while (!LIST_FIRST(&f->admin->conns)->ending) {
        assert_true(mono_now_ms() < end);
        fixture_turn(f);
    }
}

static void test_who_does_not_read_why_is_not_waited_for(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);
    int small = 4096;

    fixture_wait_number(f, &f->admin->conns_count, 1);
    struct admin_conn *conn = LIST_FIRST(&f->admin->conns);
    assert_int_equal(setsockopt(conn->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    break_with_a_full_socket(f, &c);
    mono_ms now = mono_now_ms();
    assert_true(conn->blocked);
    assert_in_range(conn->ends_at, now + 1, now + ADMIN_ENDING_MS);
    struct timeval at;
    assert_true(event_pending(conn->write_event, EV_TIMEOUT, &at));
    fixture_wait_number(f, &f->admin->conns_count, 0); /* within five seconds */
    assert_int_equal(f->cancelled, 1);
    client_close(&c);
}

static void test_who_reads_late_still_learns_why(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);
    int small = 4096;

    fixture_wait_number(f, &f->admin->conns_count, 1);
    struct admin_conn *conn = LIST_FIRST(&f->admin->conns);
    assert_int_equal(setsockopt(conn->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    break_with_a_full_socket(f, &c);
    assert_true(conn->blocked);
    client_expect(f, &c, 1, 0, NULL, 0);
    struct admin_reply reply = client_reply(f, &c);
    assert_int_equal(reply.id, 0);
    assert_true(reply.code != 0);
    admin_reply_done(&reply);
    client_expect_end(f, &c);
    client_close(&c);
    fixture_wait_number(f, &f->admin->conns_count, 0);
}

/* Reading a little now and then does not stretch the three seconds. */
static void test_the_end_of_an_ending_is_fixed(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);
    int small = 4096;
    static uint8_t sip[32 << 10];

    fixture_wait_number(f, &f->admin->conns_count, 1);
    struct admin_conn *conn = LIST_FIRST(&f->admin->conns);
    assert_int_equal(setsockopt(conn->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    break_with_a_full_socket(f, &c);
    conn->ends_at = mono_now_ms(); /* it is over */
    assert_true(recv(c.fd, sip, sizeof sip, 0) > 0);
    fixture_wait_number(f, &f->admin->conns_count, 0);
    client_close(&c);
}

static void test_disconnect_cancels_every_open_call(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);
    struct client other = client_open(f);

    pipeline(&c, 5);
    client_send(f, &c);
    fixture_wait_asked(f, 5);
    client_ask(f, &other, 9, "status");
    fixture_wait_asked(f, 6);
    fixture_answer(f, 2, 0, NULL, "{}", 2);
    client_close(&c);
    fixture_wait_number(f, &f->cancelled, 4);
    assert_non_null(f->asked[5].call); /* another client's */
    answer_all(f);
    client_expect(f, &other, 9, 0, NULL, 0);
    client_close(&other);
}

static void test_an_answer_to_a_client_that_just_left(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);

    client_ask(f, &c, 1, "status");
    fixture_wait_asked(f, 1);
    admin_conn_doom(LIST_FIRST(&f->admin->conns)); /* as the read callback would */
    fixture_answer(f, 0, 0, NULL, "{}", 2);
    fixture_turn(f);
    assert_int_equal(f->cancelled, 0);
    assert_int_equal(f->admin->conns_count, 0);
    client_close(&c);
}

static void test_connections_are_bounded(void **state)
{
    struct fixture *f = *state;
    struct client clients[ADMIN_CONNECTIONS_MAX];
    char why[128];

    for (uint32_t i = 0; i < ADMIN_CONNECTIONS_MAX; i++) {
        clients[i] = client_open(f);
        fixture_wait_number(f, &f->admin->conns_count, i + 1);
    }
    struct client late = client_open(f);
    client_expect(f, &late, 0, -RD_ETOO_LARGE, why, sizeof why);
    assert_non_null(strstr(why, "256"));
    client_expect_end(f, &late);
    client_close(&late);
    client_close(&clients[7]);
    fixture_wait_number(f, &f->admin->conns_count, ADMIN_CONNECTIONS_MAX - 1);
    f->answer_at_once = true;
    late = client_open(f);
    client_ask(f, &late, 1, "status");
    client_expect(f, &late, 1, 0, NULL, 0);
    client_close(&late);
    for (uint32_t i = 0; i < ADMIN_CONNECTIONS_MAX; i++) {
        if (i != 7) {
            client_close(&clients[i]);
        }
    }
    fixture_wait_number(f, &f->admin->conns_count, 0);
}

/* One user without rights leaves room for the next, and all of them leave room for the operator. */
static void test_users_without_rights_share_connections(void **state)
{
    struct fixture *f = *state;
    struct client clients[ADMIN_CONNECTIONS_PER_UID];
    struct admin_conn *c;
    char why[128];

    for (uint32_t i = 0; i < ADMIN_CONNECTIONS_PER_UID; i++) {
        clients[i] = client_open_stranger(f, 65534);
        fixture_wait_number(f, &f->admin->conns_count, i + 1);
    }
    struct client late = client_open_stranger(f, 65534);
    client_expect(f, &late, 0, -RD_ETOO_LARGE, why, sizeof why);
    assert_non_null(strstr(why, "64"));
    client_close(&late);
    LIST_FOREACH (c, &f->admin->conns, link) {
        c->who.uid = 12345; /* as if all of them were somebody else's */
    }
    late = client_open_stranger(f, 65534);
    client_ask(f, &late, 1, "status");
    fixture_wait_asked(f, 1);
    answer_all(f);
    client_expect(f, &late, 1, 0, NULL, 0);
    client_close(&late);
    for (uint32_t i = 0; i < ADMIN_CONNECTIONS_PER_UID; i++) {
        client_close(&clients[i]);
    }
}

static void test_closing_the_room_cancels(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);

    pipeline(&c, 2);
    client_send(f, &c);
    fixture_wait_asked(f, 2);
    admin_close(f->admin);
    f->admin = NULL;
    assert_int_equal(f->cancelled, 2);
    assert_int_equal(access(f->path, F_OK), -1);
    client_close(&c);
}

#define SOCKET_TEST(t) cmocka_unit_test_setup_teardown(t, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SOCKET_TEST(test_replies_carry_the_id_in_any_order),
        SOCKET_TEST(test_answer_carries_leader_message_and_json),
        SOCKET_TEST(test_watch_goes_on_until_the_client_leaves),
        SOCKET_TEST(test_a_result_above_the_limit_is_refused),
        SOCKET_TEST(test_a_request_byte_by_byte),
        SOCKET_TEST(test_a_large_value_arrives_whole),
        SOCKET_TEST(test_too_large_keeps_the_connection),
        SOCKET_TEST(test_garbage_ends_the_connection_with_a_word),
        SOCKET_TEST(test_wrong_version_ends_the_connection),
        SOCKET_TEST(test_bad_envelope_cancels_what_is_open),
        SOCKET_TEST(test_strangers_have_small_frames),
        SOCKET_TEST(test_reading_pauses_at_the_call_limit),
        SOCKET_TEST(test_reading_pauses_at_the_global_limit),
        SOCKET_TEST(test_a_paused_client_that_leaves_is_noticed_after_the_pause),
        SOCKET_TEST(test_a_client_that_does_not_read_is_disconnected),
        SOCKET_TEST(test_output_goes_on_when_the_client_reads_again),
        SOCKET_TEST(test_unread_replies_pause_requests),
        SOCKET_TEST(test_a_slow_reader_costs_little_memory),
        SOCKET_TEST(test_a_pause_that_ends_reads_what_is_held_first),
        SOCKET_TEST(test_a_large_frame_in_a_stream_gives_its_memory_back),
        SOCKET_TEST(test_a_client_that_sends_no_more_gets_its_answers),
        SOCKET_TEST(test_a_client_that_sends_nothing_at_all_is_closed),
        SOCKET_TEST(test_a_half_closed_client_that_leaves),
        SOCKET_TEST(test_who_does_not_read_why_is_not_waited_for),
        SOCKET_TEST(test_who_reads_late_still_learns_why),
        SOCKET_TEST(test_the_end_of_an_ending_is_fixed),
        SOCKET_TEST(test_disconnect_cancels_every_open_call),
        SOCKET_TEST(test_an_answer_to_a_client_that_just_left),
        SOCKET_TEST(test_connections_are_bounded),
        SOCKET_TEST(test_users_without_rights_share_connections),
        SOCKET_TEST(test_closing_the_room_cancels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
