#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "fixture.h"

/* How many requests a turn takes, and whose. */

static struct client open_accepted(struct fixture *f)
{
    uint32_t before = f->admin->conns_count;
    struct client c = client_open(f);

    fixture_wait_number(f, &f->admin->conns_count, before + 1);
    return c;
}

/* Into the socket, without a turn. */
static void pipeline(struct client *c, uint32_t count, const char *command)
{
    for (uint32_t i = 0; i < count; i++) {
        struct admin_request r = {.id = i};
        (void)snprintf(r.command, sizeof r.command, "%s", command);
        client_put(c, &r);
    }
    assert_int_equal(send(c->fd, c->out.data, c->out.size, MSG_NOSIGNAL), c->out.size);
    c->out.size = 0;
}

/* How many replies have arrived. They are read and forgotten. */
static uint32_t replies(struct client *c)
{
    uint32_t count = 0;
    size_t at = 0;
    struct frame frame;
    ssize_t n;

    do {
        buf_reserve(&c->in, 1 << 16);
        n = recv(c->fd, c->in.data + c->in.size, 1 << 16, 0);
        c->in.size += n > 0 ? (size_t)n : 0;
    } while (n > 0);
    while (at < c->in.size &&
           frame_parse(c->in.data + at, c->in.size - at, FRAME_ADMIN_REPLY_MAX, &frame, NULL) > 0) {
        at += frame.total;
        count++;
    }
    buf_drop(&c->in, at);
    return count;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* The crowd of one user: the turn is bounded, whoever waits has work done in the next, and nobody is
 * forgotten. */
static void test_a_turn_takes_so_many(void **state)
{
    enum { CLIENTS = 20, EACH = 100 };
    struct fixture *f = *state;
    struct client clients[CLIENTS];
    uint32_t before = 0;

    f->answer_at_once = true;
    for (uint32_t i = 0; i < CLIENTS; i++) {
        clients[i] = open_accepted(f);
    }
    for (uint32_t i = 0; i < CLIENTS; i++) {
        pipeline(&clients[i], EACH, "status");
    }
    while (before < CLIENTS * EACH) {
        fixture_turn(f);
        assert_int_equal(f->asked_count, least(before + ADMIN_REQUESTS_MAX, CLIENTS * EACH));
        before = f->asked_count;
        assert_int_equal(admin_has_work(f->admin), before < CLIENTS * EACH);
    }
    fixture_turn(f);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        assert_int_equal(replies(&clients[i]), EACH);
        client_close(&clients[i]);
    }
    assert_false(admin_has_work(f->admin));
    assert_int_equal(f->admin->conns_queued, 0);
    assert_int_equal(f->admin->conns_paused, 0);
}

/* Not only those that become calls: a refusal costs time, too. */
static void test_a_turn_refuses_so_many(void **state)
{
    enum { COUNT = 1000 };
    struct fixture *f = *state;
    struct client c = open_accepted(f);
    uint32_t all = 0;

    pipeline(&c, COUNT, "no-such-command");
    while (all < COUNT) {
        fixture_turn(f);
        uint32_t came = replies(&c);
        assert_int_equal(came, least(COUNT - all, ADMIN_REQUESTS_MAX));
        all += came;
    }
    assert_int_equal(f->asked_count, 0);
    client_close(&c);
}

static uint32_t taken_from(const struct fixture *f, uint64_t number)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < f->asked_count; i++) {
        count += f->asked[i].call && admin_call_client(f->asked[i].call) == number;
    }
    return count;
}

static void answer_all(struct fixture *f)
{
    for (uint32_t i = 0; i < f->asked_count; i++) {
        if (f->asked[i].call) {
            fixture_answer(f, i, 0, NULL, "{}", 2);
        }
    }
}

/* Each that waits gets its share of each turn, and what one leaves goes to the others. */
static void test_a_turn_is_shared(void **state)
{
    enum { CROWD = 16, SHARE = ADMIN_REQUESTS_MAX / CROWD };
    struct fixture *f = *state;
    struct client clients[CROWD];

    for (uint32_t i = 0; i < CROWD; i++) {
        clients[i] = open_accepted(f);
    }
    for (uint32_t i = 0; i < CROWD; i++) {
        pipeline(&clients[i], i == 7 ? 1 : 200, "status");
    }
    fixture_turn(f);
    assert_int_equal(f->asked_count, ADMIN_REQUESTS_MAX);
    for (uint32_t i = 0; i < CROWD; i++) {
        if (i == 7) {
            assert_int_equal(taken_from(f, i + 1), 1);
        } else {
            assert_in_range(taken_from(f, i + 1), SHARE, 2 * SHARE);
        }
    }
    /* Who comes later is not behind all that is held already. */
    pipeline(&clients[7], 3, "status");
    fixture_turn(f);
    assert_int_equal(taken_from(f, 8), 4);
    answer_all(f);
    for (uint32_t i = 0; i < CROWD; i++) {
        client_close(&clients[i]);
    }
}

/* Alone, one connection has all of it. */
static void test_one_connection_is_not_slowed_down(void **state)
{
    struct fixture *f = *state;
    struct client c = open_accepted(f);

    f->answer_at_once = true;
    pipeline(&c, ADMIN_REQUESTS_MAX, "status");
    fixture_turn(f);
    assert_int_equal(f->asked_count, ADMIN_REQUESTS_MAX);
    assert_int_equal(f->admin->conns_paused, 0);
    assert_int_equal(replies(&c), ADMIN_REQUESTS_MAX);
    client_close(&c);
}

/* The end of what a client sends is not seen before what it has sent is taken. */
static void test_the_end_waits_for_what_came_before(void **state)
{
    enum { COUNT = 1000 };
    struct fixture *f = *state;
    struct client c = open_accepted(f);
    uint32_t all = 0;

    f->answer_at_once = true;
    pipeline(&c, COUNT, "status");
    assert_int_equal(shutdown(c.fd, SHUT_WR), 0);
    for (int i = 0; i < 10; i++) {
        fixture_turn(f);
        all += replies(&c);
    }
    assert_int_equal(all, COUNT);
    assert_int_equal(f->admin->conns_count, 0);
    client_close(&c);
}

/* One that breaks the protocol behind a full turn, and one that leaves while its requests wait. */
static void test_who_ends_leaves_the_queue(void **state)
{
    struct fixture *f = *state;
    struct client bad = open_accepted(f);
    struct client gone = open_accepted(f);

    f->answer_at_once = true;
    pipeline(&bad, ADMIN_REQUESTS_MAX, "status");
    assert_int_equal(send(bad.fd, "garbage and more", 16, MSG_NOSIGNAL), 16);
    pipeline(&gone, 4 * ADMIN_REQUESTS_MAX, "status");
    fixture_turn(f);
    assert_int_equal(f->admin->conns_queued, 2);
    client_close(&gone);
    client_expect(f, &bad, 0, 0, NULL, 0);
    client_expect_end(f, &bad);
    fixture_wait_number(f, &f->admin->conns_count, 0);
    assert_int_equal(f->admin->conns_queued, 0);
    assert_int_equal(f->admin->conns_paused, 0);
    client_close(&bad);
}

#define SOCKET_TEST(t) cmocka_unit_test_setup_teardown(t, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SOCKET_TEST(test_a_turn_takes_so_many),
        SOCKET_TEST(test_a_turn_refuses_so_many),
        SOCKET_TEST(test_a_turn_is_shared),
        SOCKET_TEST(test_one_connection_is_not_slowed_down),
        SOCKET_TEST(test_the_end_waits_for_what_came_before),
        SOCKET_TEST(test_who_ends_leaves_the_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
