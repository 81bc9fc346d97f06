#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "fixture.h"

static int say_hello(struct world *w, uint16_t port, raft_id id, uint64_t incarnation)
{
    int fd = raw_connect(port);

    raw_send_hello(fd, id, incarnation);
    struct peer_msg msg = raw_receive(w, fd);
    assert_int_equal(msg.type, PEER_HELLO);
    peer_msg_done(&msg);
    return fd;
}

static void hello_is_answered_and_messages_arrive(void **state)
{
    struct world w;
    struct peer_msg msg = heartbeat(2, 1, 9);
    struct peer_msg reply = {.type = PEER_FORWARD_REPLY,
                             .forward_reply = {.incarnation = 1, .seq = 5}};
    struct peer_change c = {.seq = 1, .kind = PEER_CHANGE_REMOVE, .id = 3};
    struct peer_change_reply r = {.seq = 1, .step = PEER_CHANGE_DONE};
    struct peer_msg change = {.type = PEER_CHANGE, .change = &c};
    struct peer_msg change_reply = {.type = PEER_CHANGE_REPLY, .change_reply = &r};

    (void)state;
    world_init(&w);
    struct member *m = world_open(&w, 1);
    int fd = say_hello(&w, m->port, 2, 1);
    assert_int_equal(m->hellos_count, 1);
    assert_int_equal(m->last_hello.id, 2);
    assert_int_equal(world_stats(&w, 1).inbound, 1);
    raw_send_msg(fd, &msg);
    raw_send_msg(fd, &reply);
    raw_send_msg(fd, &change);
    raw_send_msg(fd, &change_reply);
    until(&w, m->seen_count == 4);
    assert_int_equal(m->seen[0].from, 2);
    assert_int_equal(m->seen[0].seq, 9);
    assert_int_equal(m->seen[1].type, PEER_FORWARD_REPLY);
    assert_int_equal(m->seen[2].type, PEER_CHANGE);
    assert_int_equal(m->seen[3].type, PEER_CHANGE_REPLY);
    assert_int_equal(close(fd), 0);
    until(&w, world_stats(&w, 1).inbound == 0);
    world_done(&w);
}

static void nobody_is_let_in_before_our_hello_is_known(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    struct member *m = world_open_silent(&w, 1);
    int fd = raw_connect(m->port);
    raw_send_hello(fd, 2, 1);
    still_ms(&w, 30, m->hellos_count == 0);
    net_set_hello(m->net, &m->hello);
    until(&w, m->hellos_count == 1);
    assert_int_equal(close(fd), 0);
    world_done(&w);
}

static void refused_is_told(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    struct member *m = world_open(&w, 1);
    m->refuses = 2;
    log_catch();
    for (uint32_t i = 1; i <= 5; i++) {
        int fd = raw_connect(m->port);
        raw_send_hello(fd, 2, i);
        struct peer_msg msg = raw_receive(&w, fd);
        assert_int_equal(msg.type, PEER_REFUSAL);
        assert_int_equal(msg.refusal->code, -RD_EWRONG_CLUSTER);
        assert_string_equal(msg.refusal->why, "node 2 is not liked by node 1");
        peer_msg_done(&msg);
        raw_until_closed(&w, fd, 1000);
        assert_int_equal(close(fd), 0);
        assert_int_equal(world_stats(&w, 1).refused_hellos, i);
    }
    assert_int_equal(log_release("hello refused"), 1); /* five times, one line */
    assert_int_equal(m->hellos_count, 0);
    world_done(&w);
}

static void closed_as_protocol_error(struct world *w, int fd, uint64_t bad_before)
{
    raw_until_closed(w, fd, 1000);
    assert_int_equal(world_stats(w, 1).bad_frames, bad_before + 1);
    assert_int_equal(close(fd), 0);
}

static void out_of_turn(void **state)
{
    struct world w;
    struct peer_msg msg = heartbeat(3, 1, 9);

    (void)state;
    world_init(&w);
    struct member *m = world_open(&w, 1);
    int fd = raw_connect(m->port); /* a message before the hello */
    raw_send_msg(fd, &msg);
    closed_as_protocol_error(&w, fd, 0);
    fd = say_hello(&w, m->port, 2, 1); /* in another's name */
    raw_send_msg(fd, &msg);
    closed_as_protocol_error(&w, fd, 1);
    fd = say_hello(&w, m->port, 2, 1); /* another id on the same connection */
    raw_send_hello(fd, 3, 1);
    closed_as_protocol_error(&w, fd, 2);
    fd = say_hello(&w, m->port, 2, 1); /* 4 GiB */
    raw_send(fd, "\xff\xff\xff\xff", 4);
    closed_as_protocol_error(&w, fd, 3);
    assert_int_equal(m->seen_count, 0);
    world_done(&w);
}

static void newer_connection_replaces_the_older(void **state)
{
    struct world w;
    struct peer_msg msg = heartbeat(2, 1, 9);

    (void)state;
    world_init(&w);
    struct member *m = world_open(&w, 1);
    int older = say_hello(&w, m->port, 2, 1);
    int newer = say_hello(&w, m->port, 2, 2);
    raw_until_closed(&w, older, 1000);
    assert_int_equal(world_stats(&w, 1).inbound, 1);
    raw_send_msg(newer, &msg);
    until(&w, m->seen_count == 1);
    assert_int_equal(close(older), 0);
    assert_int_equal(close(newer), 0);
    world_done(&w);
}

static void changed_hello_is_checked_again(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    struct member *m = world_open(&w, 1);
    int fd = say_hello(&w, m->port, 2, 1);
    raw_send_hello(fd, 2, 5);
    until(&w, m->hellos_count == 2);
    assert_int_equal(m->last_hello.incarnation, 5);
    m->refuses = 2;
    raw_send_hello(fd, 2, 6);
    struct peer_msg msg = raw_receive(&w, fd);
    assert_int_equal(msg.type, PEER_REFUSAL);
    peer_msg_done(&msg);
    assert_int_equal(m->hellos_count, 2);
    assert_int_equal(world_stats(&w, 1).inbound, 0);
    assert_int_equal(close(fd), 0);
    world_done(&w);
}

static void our_changed_hello_is_sent(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    struct member *m = world_open(&w, 1);
    int fd = say_hello(&w, m->port, 2, 1);
    net_set_hello(m->net, &m->hello); /* the same: nothing */
    m->hello.incarnation = 99;
    net_set_hello(m->net, &m->hello);
    struct peer_msg msg = raw_receive(&w, fd);
    assert_int_equal(msg.type, PEER_HELLO);
    assert_int_equal(msg.hello->incarnation, 99);
    peer_msg_done(&msg);
    assert_int_equal(close(fd), 0);
    world_done(&w);
}

/* A peer that never reads our hellos is given up before they fill the memory. */
static void who_reads_nothing_is_closed(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    w.queue_bytes_max = 1000;
    struct member *m = world_open(&w, 1);
    int fd = say_hello(&w, m->port, 2, 1);
    for (uint64_t i = 0; i < 40000 && world_stats(&w, 1).inbound; i++) {
        m->hello.incarnation = 1000 + i;
        memset(m->hello.uri, 'u', sizeof m->hello.uri - 1);
        net_set_hello(m->net, &m->hello);
    }
    assert_int_equal(world_stats(&w, 1).inbound, 0);
    assert_int_equal(close(fd), 0);
    world_done(&w);
}

static void refusal_by_the_dialler_ends_it(void **state)
{
    struct world w;
    struct peer_refusal refusal = {.code = -RD_EREMOVED, .why = "gone"};
    struct peer_msg msg = {.type = PEER_REFUSAL, .refusal = &refusal};

    (void)state;
    world_init(&w);
    struct member *m = world_open(&w, 1);
    int fd = say_hello(&w, m->port, 2, 1);
    log_catch();
    raw_send_msg(fd, &msg);
    raw_until_closed(&w, fd, 1000);
    assert_int_equal(log_release("hello refused by the peer"), 1);
    assert_int_equal(m->refusals[2], 1);
    assert_string_equal(m->last_refusal.why, "gone");
    assert_int_equal(world_stats(&w, 1).inbound, 0);
    assert_int_equal(close(fd), 0);
    world_done(&w);
}

static void no_hello_in_time(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    struct member *m = world_open(&w, 1);
    mono_ms start = mono_now_ms();
    int silent = raw_connect(m->port);
    int slow = raw_connect(m->port);
    raw_send(slow, "\x40\0\0\0\x01", 5); /* begun, never ended */
    int good = say_hello(&w, m->port, 2, 1);
    log_catch();
    raw_until_closed(&w, silent, 2 * NET_HELLO_MS);
    raw_until_closed(&w, slow, 1000);
    assert_int_equal(log_release("no hello within 3 s"), 1);
    assert_true(mono_now_ms() - start >= NET_HELLO_MS - 50);
    assert_int_equal(world_stats(&w, 1).inbound, 1); /* who said hello stays */
    assert_int_equal(close(silent), 0);
    assert_int_equal(close(slow), 0);
    assert_int_equal(close(good), 0);
    world_done(&w);
}

/* However many strangers sit there, a member gets in. */
static void strangers_are_limited(void **state)
{
    struct world w;
    int strangers[NET_STRANGERS_MAX + 10];

    (void)state;
    world_init(&w);
    struct member *m = world_open(&w, 1);
    for (int i = 0; i < NET_STRANGERS_MAX + 10; i++) {
        strangers[i] = raw_connect(m->port);
        world_turn(&w);
    }
    until(&w, m->net->strangers_count == NET_STRANGERS_MAX);
    still_ms(&w, 30, m->net->strangers_count == NET_STRANGERS_MAX);
    raw_until_closed(&w, strangers[0], 1000); /* the oldest gave way */
    int good = say_hello(&w, m->port, 2, 1);
    for (int i = 0; i < NET_STRANGERS_MAX + 10; i++) {
        assert_int_equal(close(strangers[i]), 0);
    }
    until(&w, m->net->strangers_count == 0);
    assert_int_equal(world_stats(&w, 1).inbound, 1);
    assert_int_equal(close(good), 0);
    world_done(&w);
}

/* ---- Strangers whose hello fits ---- */

/* Our hello as a forming node, or a member, would say it. */
static struct member *open_with_secrets(struct world *w, bool empty)
{
    struct member *m = world_open_silent(w, 1);

    m->hello.empty = empty;
    m->hello.bindings_count = 1;
    m->hello.bindings[0].id = 1;
    m->hello.bindings[0].store = m->hello.store;
    memcpy(m->hello.cluster_name, "prod", 5);
    memcpy(m->hello.member_list, "1@a:1", 6);
    memcpy(m->hello.uri, "amqp://u:p@h", 13);
    net_set_hello(m->net, &m->hello);
    return m;
}

/* The next thing said on this connection is a hello that tells this much. */
static void hears(struct world *w, int fd, bool list, bool cluster)
{
    struct peer_msg msg = raw_receive(w, fd);

    assert_int_equal(msg.type, PEER_HELLO);
    assert_int_equal(msg.hello->id, 1);
    assert_true(uuid_is_set(&msg.hello->store));
    assert_int_equal(uuid_is_set(&msg.hello->cluster), cluster);
    assert_int_equal(msg.hello->bindings_count, cluster ? 1 : 0);
    assert_string_equal(msg.hello->member_list, list ? "1@a:1" : "");
    assert_string_equal(msg.hello->cluster_name, list ? "prod" : "");
    assert_string_equal(msg.hello->uri, list ? "amqp://u:p@h" : "");
    peer_msg_done(&msg);
}

static void a_stranger_hears_and_moves_nothing(void **state)
{
    struct world w;
    struct peer_msg small = heartbeat(9, 1, 1);
    struct peer_msg forward_reply = {.type = PEER_FORWARD_REPLY,
                                     .forward_reply = {.incarnation = 1, .seq = 5}};
    struct peer_msg large = append(9, 1, 1, 1, 2 * FRAME_HELLO_MAX);
    struct peer_refusal refusal = {.code = -RD_EREMOVED, .why = "gone"};
    struct peer_msg no = {.type = PEER_REFUSAL, .refusal = &refusal};

    (void)state;
    world_init(&w);
    struct member *m = open_with_secrets(&w, false);
    m->strange = 9;
    int fd = raw_connect(m->port);
    raw_send_hello(fd, 9, 1);
    hears(&w, fd, false, false);
    raw_send_msg(fd, &small);
    raw_send_msg(fd, &forward_reply);
    uint64_t before = world_stats(&w, 1).frames_in;
    until(&w, world_stats(&w, 1).frames_in == before + 2);
    raw_send_msg(fd, &large);
    raw_until_closed(&w, fd, 1000); /* no memory for strangers */
    assert_int_equal(close(fd), 0);
    fd = raw_connect(m->port);
    raw_send_hello(fd, 9, 1);
    hears(&w, fd, false, false);
    raw_send_msg(fd, &no);
    raw_until_closed(&w, fd, 1000);
    assert_int_equal(m->seen_count, 0);
    assert_int_equal(m->hellos_count, 0);
    assert_int_equal(m->refusals[0], 0);
    assert_int_equal(world_stats(&w, 1).inbound, 0);
    assert_int_equal(close(fd), 0);
    peer_msg_done(&large);
    world_done(&w);
}

static void a_stranger_becomes_one_of_ours_and_a_stranger_again(void **state)
{
    struct world w;
    struct peer_msg msg = heartbeat(9, 1, 1);

    (void)state;
    world_init(&w);
    struct member *m = open_with_secrets(&w, false);
    m->strange = 9;
    int fd = raw_connect(m->port);
    raw_send_hello(fd, 9, 1);
    hears(&w, fd, false, false);
    m->strange = 0; /* our membership knows it now */
    net_set_hello(m->net, &m->hello);
    hears(&w, fd, true, true);
    assert_int_equal(m->hellos_count, 1);
    assert_int_equal(m->last_hello.id, 9);
    raw_send_msg(fd, &msg);
    until(&w, m->seen_count == 1);
    m->strange = 9;
    net_set_hello(m->net, &m->hello);
    hears(&w, fd, false, false);
    uint64_t before = world_stats(&w, 1).frames_in;
    raw_send_msg(fd, &msg);
    until(&w, world_stats(&w, 1).frames_in == before + 1);
    assert_int_equal(m->seen_count, 1);
    assert_int_equal(world_stats(&w, 1).inbound, 0);
    assert_int_equal(close(fd), 0);
    world_done(&w);
}

/* While we form, who is on the list belongs to us, but shows nothing that a member would. */
static void a_founder_hears_the_list_and_sends_nothing(void **state)
{
    struct world w;
    struct peer_msg msg = heartbeat(2, 1, 1);

    (void)state;
    world_init(&w);
    struct member *m = open_with_secrets(&w, true);
    m->familiar = 2;
    int fd = raw_connect(m->port);
    raw_send_hello(fd, 2, 1);
    hears(&w, fd, true, false);
    assert_int_equal(m->hellos_count, 1);
    assert_int_equal(world_stats(&w, 1).inbound, 1);
    uint64_t before = world_stats(&w, 1).frames_in;
    raw_send_msg(fd, &msg);
    until(&w, world_stats(&w, 1).frames_in == before + 1);
    assert_int_equal(m->seen_count, 0);
    assert_int_equal(close(fd), 0);
    world_done(&w);
}

static void a_founders_name_does_not_end_a_members_connection(void **state)
{
    struct world w;
    struct peer_msg msg = heartbeat(2, 1, 1);

    (void)state;
    world_init(&w);
    struct member *m = open_with_secrets(&w, true);
    int member = say_hello(&w, m->port, 2, 1);
    m->familiar = 2; /* the next one does not show our cluster */
    int fd = raw_connect(m->port);
    raw_send_hello(fd, 2, 99);
    hears(&w, fd, true, false);
    raw_send_msg(member, &msg);
    until(&w, m->seen_count == 1);
    assert_int_equal(m->hellos_count, 1);
    assert_int_equal(close(fd), 0);
    assert_int_equal(close(member), 0);
    world_done(&w);
}

/* However many valid hellos strangers say, members get in, and stay. */
static void strangers_with_a_hello_do_not_lock_members_out(void **state)
{
    struct world w;
    int strangers[NET_STRANGERS_MAX + 10];

    (void)state;
    world_init(&w);
    struct member *m = world_open(&w, 1);
    m->strange = 100;
    int first = say_hello(&w, m->port, 2, 1);
    for (uint32_t i = 0; i < NET_STRANGERS_MAX + 10; i++) {
        strangers[i] = say_hello(&w, m->port, 100 + i, 1);
    }
    assert_int_equal(m->net->strangers_count, NET_STRANGERS_MAX);
    raw_until_closed(&w, strangers[0], 1000);
    int second = say_hello(&w, m->port, 3, 1);
    assert_int_equal(world_stats(&w, 1).inbound, 2);
    for (int i = 0; i < NET_STRANGERS_MAX + 10; i++) {
        assert_int_equal(close(strangers[i]), 0);
    }
    until(&w, m->net->strangers_count == 0);
    assert_int_equal(world_stats(&w, 1).inbound, 2);
    assert_int_equal(close(first), 0);
    assert_int_equal(close(second), 0);
    world_done(&w);
}

/* More that show our cluster than a cluster has members: those we dial never give way. */
static void accepted_are_limited(void **state)
{
    struct world w;
    int members[NET_ACCEPTED_MAX];

    (void)state;
    world_init(&w);
    struct member *m = world_open(&w, 1);
    uint16_t silent;
    int listener = raw_listen(&silent);
    world_target_port(&w, 1, 100, silent); /* nobody answers there: a target all the same */
    for (uint32_t i = 0; i < NET_ACCEPTED_MAX; i++) {
        members[i] = say_hello(&w, m->port, 100 + i, 1);
    }
    int newer = say_hello(&w, m->port, 500, 1);
    assert_int_equal(world_stats(&w, 1).inbound, NET_ACCEPTED_MAX);
    raw_until_closed(&w, members[1], 1000);
    int again = say_hello(&w, m->port, 102, 2); /* one of them comes anew */
    raw_until_closed(&w, members[2], 1000);
    assert_int_equal(world_stats(&w, 1).inbound, NET_ACCEPTED_MAX);
    assert_int_equal(TAILQ_FIRST(&m->net->accepted)->id, 100);
    assert_int_equal(close(listener), 0);
    assert_int_equal(close(newer), 0);
    assert_int_equal(close(again), 0);
    for (uint32_t i = 0; i < NET_ACCEPTED_MAX; i++) {
        assert_int_equal(close(members[i]), 0);
    }
    world_done(&w);
}

/* ---- Too much of a hello ---- */

static void a_hello_that_says_nothing_new_is_dropped(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    struct member *m = world_open(&w, 1);
    int fd = say_hello(&w, m->port, 2, 1);
    for (int i = 0; i < NET_HELLOS_MAX / 2; i++) {
        raw_send_hello(fd, 2, 1);
    }
    raw_send_hello(fd, 2, 2);
    until(&w, m->hellos_count >= 2 && m->last_hello.incarnation == 2);
    assert_int_equal(m->hellos_count, 2);
    assert_int_equal(close(fd), 0);
    world_done(&w);
}

static void a_flood_of_hellos_is_closed(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    struct member *m = world_open(&w, 1);
    int fd = say_hello(&w, m->port, 2, 1);
    for (uint64_t i = 0; i < NET_HELLOS_MAX + 10; i++) {
        raw_send_hello(fd, 2, 2 + i);
    }
    closed_as_protocol_error(&w, fd, 0);
    assert_true(m->hellos_count <= NET_HELLOS_MAX);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_is_answered_and_messages_arrive),
        cmocka_unit_test(nobody_is_let_in_before_our_hello_is_known),
        cmocka_unit_test(refused_is_told),
        cmocka_unit_test(out_of_turn),
        cmocka_unit_test(newer_connection_replaces_the_older),
        cmocka_unit_test(changed_hello_is_checked_again),
        cmocka_unit_test(our_changed_hello_is_sent),
        cmocka_unit_test(who_reads_nothing_is_closed),
        cmocka_unit_test(refusal_by_the_dialler_ends_it),
        cmocka_unit_test(no_hello_in_time),
        cmocka_unit_test(strangers_are_limited),
        cmocka_unit_test(a_stranger_hears_and_moves_nothing),
        cmocka_unit_test(a_stranger_becomes_one_of_ours_and_a_stranger_again),
        cmocka_unit_test(a_founder_hears_the_list_and_sends_nothing),
        cmocka_unit_test(a_founders_name_does_not_end_a_members_connection),
        cmocka_unit_test(strangers_with_a_hello_do_not_lock_members_out),
        cmocka_unit_test(accepted_are_limited),
        cmocka_unit_test(a_hello_that_says_nothing_new_is_dropped),
        cmocka_unit_test(a_flood_of_hellos_is_closed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
