#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "fixture.h"

static void two_nodes_talk_both_ways_in_order(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    struct member *one = world_open(&w, 1);
    struct member *two = world_open(&w, 2);
    world_link(&w, 1, 2);
    assert_int_equal(one->last_hello.id, 2);
    assert_int_equal(two->last_hello.id, 1);
    for (uint64_t seq = 1; seq <= 100; seq++) {
        send_heartbeat(&w, 1, 2, seq);
        send_heartbeat(&w, 2, 1, 1000 + seq);
        if (seq % 7 == 0) {
            world_turn(&w);
        }
    }
    until(&w, one->seen_count == 100 && two->seen_count == 100);
    for (uint64_t i = 0; i < 100; i++) {
        assert_int_equal(two->seen[i].from, 1);
        assert_int_equal(two->seen[i].seq, 1 + i);
        assert_int_equal(two->seen[i].process, one->hello.process);
        assert_int_equal(one->seen[i].from, 2);
        assert_int_equal(one->seen[i].seq, 1001 + i);
    }
    assert_int_equal(world_stats(&w, 1).inbound, 1);
    assert_int_equal(world_stats(&w, 1).outbound, 1);
    assert_int_equal(world_stats(&w, 1).dropped, 0);
    assert_int_equal(world_stats(&w, 1).bytes_out, world_stats(&w, 2).bytes_in);
    assert_int_equal(world_stats(&w, 1).frames_out, world_stats(&w, 2).frames_in);
    world_done(&w);
}

/* What is not worth telling those who are connected is not kept from who comes. */
static void a_connection_begins_with_the_hello_of_the_moment(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    struct member *one = world_open(&w, 1);
    struct member *two = world_open(&w, 2);
    one->hello.session = 5;
    world_target(&w, 2, 1, 0);
    until(&w, world_is_up(&w, 2, 1));
    assert_int_equal(two->last_hello.session, 5); /* as an answer */
    one->hello.session = 6;
    world_target(&w, 1, 2, 0);
    until(&w, world_is_up(&w, 1, 2));
    until(&w, two->last_hello.session == 6); /* as the first word */
    one->hello.session = 7;
    (void)world_open(&w, 3);
    world_target(&w, 3, 1, 0);
    until(&w, world_is_up(&w, 3, 1));
    assert_int_equal(w.members[2].last_hello.session, 7);
    still_ms(&w, 50, two->last_hello.session == 6);
    uint32_t before = two->hellos_count;
    net_set_hello(one->net, &one->hello); /* no news to 3, but to both connections with 2 */
    until(&w, two->hellos_count == before + 2);
    assert_int_equal(two->last_hello.session, 7);
    net_set_hello(one->net, &one->hello);
    still_ms(&w, 50, two->hellos_count == before + 2 && w.members[2].hellos_count == 1);
    world_done(&w);
}

static void three_nodes(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    for (raft_id id = 1; id <= 3; id++) {
        (void)world_open(&w, id);
    }
    world_target(&w, 1, 2, 3);
    world_target(&w, 2, 1, 3);
    world_target(&w, 3, 1, 2);
    for (raft_id from = 1; from <= 3; from++) {
        for (raft_id to = 1; to <= 3; to++) {
            if (from != to) {
                until(&w, world_is_up(&w, from, to));
                send_heartbeat(&w, from, to, from * 10 + to);
            }
        }
    }
    for (raft_id id = 1; id <= 3; id++) {
        until(&w, w.members[id - 1].seen_count == 2);
        assert_int_equal(world_stats(&w, id).inbound, 2);
        assert_int_equal(world_stats(&w, id).outbound, 2);
    }
    world_done(&w);
}

static void large_frames(void **state)
{
    struct world w;
    const uint32_t size = 1500000; /* four of them: 6 MB */

    (void)state;
    world_init(&w);
    struct member *one = world_open(&w, 1);
    struct member *two = world_open(&w, 2);
    world_link(&w, 1, 2);
    for (uint64_t seq = 1; seq <= 3; seq++) {
        send_append(&w, 1, 2, seq, 4, size);
        send_append(&w, 2, 1, 10 + seq, 4, size);
    }
    until_ms(&w, 20000, one->seen_count == 3 && two->seen_count == 3);
    for (uint64_t i = 0; i < 3; i++) {
        assert_int_equal(two->seen[i].seq, 1 + i);
        assert_int_equal(two->seen[i].entries_count, 4);
        assert_true(two->seen[i].hash == append_hash(1 + i, 4, size));
        assert_true(one->seen[i].hash == append_hash(11 + i, 4, size));
    }
    world_done(&w);
}

static uint32_t position(const struct member *m, uint64_t seq)
{
    for (uint32_t i = 0; i < m->seen_count; i++) {
        if (m->seen[i].seq == seq) {
            return i;
        }
    }
    return UINT32_MAX;
}

static void heartbeats_overtake_entries(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    (void)world_open(&w, 1);
    struct member *two = world_open(&w, 2);
    world_link(&w, 1, 2);
    for (uint64_t seq = 1; seq <= 20; seq++) {
        send_append(&w, 1, 2, seq, 1, 1000000);
    }
    net_flush(w.members[0].net);
    assert_true(net_link(w.members[0].net, 2)->conn->blocked);
    send_heartbeat(&w, 1, 2, 100);
    until_ms(&w, 20000, two->seen_count == 21);
    assert_true(position(two, 100) < 10); /* behind what the kernel had already */
    for (uint64_t seq = 1; seq < 20; seq++) {
        assert_true(position(two, seq) < position(two, seq + 1));
    }
    world_done(&w);
}

static void full_queue_drops_and_says_so(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    w.queue_bytes_max = 4 * 1000 * 1000;
    struct member *one = world_open(&w, 1);
    struct member *two = world_open(&w, 2);
    world_link(&w, 1, 2);
    for (uint64_t seq = 1; seq <= 10; seq++) {
        send_append(&w, 1, 2, seq, 1, 1000000);
    }
    uint64_t dropped = world_stats(&w, 1).dropped;
    assert_int_equal(dropped, 7);
    assert_int_equal(one->downs[2], 0); /* not from inside net_send() */
    until(&w, one->downs[2] == 1);      /* once, however many */
    assert_true(world_is_up(&w, 1, 2));
    until(&w, two->seen_count == 10 - dropped);
    send_append(&w, 1, 2, 50, 1, 1000000);
    until(&w, two->seen_count == 11 - dropped);
    assert_int_equal(one->downs[2], 1);
    world_done(&w);
}

static void nobody_to_send_to(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    struct member *one = world_open(&w, 1);
    send_heartbeat(&w, 1, 2, 1);
    assert_false(net_is_connected(one->net, 2));
    assert_string_equal(net_trouble(one->net, 2), "no link is kept to this node");
    assert_int_equal(world_stats(&w, 1).dropped, 0);
    world_done(&w);
}

static void refusal_reaches_both_sides(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    struct member *one = world_open(&w, 1);
    struct member *two = world_open(&w, 2);
    one->refuses = 2;
    log_catch();
    world_target(&w, 1, 2, 0);
    world_target(&w, 2, 1, 0);
    until(&w, world_stats(&w, 1).refused_hellos >= 4);
    until(&w, strstr(net_trouble(one->net, 2), "refused: wrong_cluster: node 2 is not liked"));
    until(&w, strstr(net_trouble(two->net, 1), "refused: wrong_cluster by 127.0.0.1:"));
    assert_false(world_is_up(&w, 1, 2));
    assert_false(world_is_up(&w, 2, 1));
    assert_int_equal(one->hellos_count, 0);
    assert_true(log_release("hello refused") <= 2); /* one line here, one by the peer */
    one->refuses = 0;
    until(&w, world_is_up(&w, 1, 2) && world_is_up(&w, 2, 1));
    world_done(&w);
}

/* What counts for a fail-over: a node that is back is linked both ways in milliseconds, although
 * the others had begun to wait long. */
static void restart_is_noticed_at_once(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    w.backoff_max_ms = 20000;
    struct member *one = world_open(&w, 1);
    (void)world_open(&w, 2);
    world_link(&w, 1, 2);
    world_close(&w, 2);
    until(&w, one->downs[1] == 0 && one->downs[2] == 1);
    until(&w, net_link(one->net, 2)->backoff_ms >= 1600); /* 50 + 100 + ... + 800 ms away */
    assert_false(world_is_up(&w, 1, 2));
    (void)world_open(&w, 2);
    mono_ms start = mono_now_ms();
    world_target(&w, 2, 1, 0);
    until(&w, world_is_up(&w, 2, 1) && world_is_up(&w, 1, 2));
    assert_true(mono_now_ms() - start < 1000); /* a few ms, on an idle machine */
    world_done(&w);
}

static void target_removed_and_moved(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    struct member *one = world_open(&w, 1);
    (void)world_open(&w, 2);
    world_link(&w, 1, 2);
    struct link *before = net_link(one->net, 2);
    world_target(&w, 1, 2, 0); /* the same: the link stays */
    assert_ptr_equal(net_link(one->net, 2), before);
    assert_true(world_is_up(&w, 1, 2));
    world_target(&w, 1, 0, 0);
    assert_false(world_is_up(&w, 1, 2));
    until(&w, world_stats(&w, 2).inbound == 0);
    assert_int_equal(world_stats(&w, 1).outbound, 0);
    assert_int_equal(one->downs[2], 0); /* nobody has to be told what he asked for */
    world_target(&w, 1, 2, 0);
    until(&w, world_is_up(&w, 1, 2));
    world_target_port(&w, 1, 2, 1); /* another address: another link */
    assert_false(world_is_up(&w, 1, 2));
    world_done(&w);
}

static void changed_hello_reaches_all(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    struct member *one = world_open(&w, 1);
    struct member *two = world_open(&w, 2);
    world_link(&w, 1, 2);
    uint32_t before = two->hellos_count;
    (void)snprintf(one->hello.uri, sizeof one->hello.uri, "amqp://elsewhere");
    net_set_hello(one->net, &one->hello);
    until(&w, two->hellos_count == before + 2); /* on the link it dialled and on the one we did */
    assert_string_equal(two->last_hello.uri, "amqp://elsewhere");
    net_set_hello(one->net, &one->hello);
    still_ms(&w, 30, two->hellos_count == before + 2);
    world_done(&w);
}

static void garbage_hurts_nobody_else(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    struct member *one = world_open(&w, 1);
    (void)world_open(&w, 2);
    world_link(&w, 1, 2);
    struct prng prng;
    prng_seed(&prng, 1);
    for (uint32_t i = 0; i < 50; i++) {
        uint8_t bytes[200];
        for (size_t k = 0; k < sizeof bytes; k++) {
            bytes[k] = (uint8_t)prng_next(&prng);
        }
        int fd = raw_connect(one->port);
        raw_send(fd, bytes, sizeof bytes);
        raw_until_closed(&w, fd, 2 * NET_HELLO_MS);
        assert_int_equal(close(fd), 0);
    }
    assert_int_equal(world_stats(&w, 1).bad_frames, 50);
    assert_true(world_is_up(&w, 1, 2));
    send_heartbeat(&w, 2, 1, 5);
    until(&w, one->seen_count == 1);
    world_done(&w);
}

static void address_in_use(void **state)
{
    struct world w;
    struct net *second = NULL;
    const struct net_ops ops = {0};

    (void)state;
    world_init(&w);
    struct member *one = world_open(&w, 1);
    struct net_config config = one->net->config;
    config.listen.port = one->port;
    log_catch();
    assert_int_equal(net_open(w.base, &config, &ops, &second), -RD_ECONFIG);
    assert_int_equal(log_release("cannot listen"), 1);
    assert_null(second);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_nodes_talk_both_ways_in_order),
        cmocka_unit_test(a_connection_begins_with_the_hello_of_the_moment),
        cmocka_unit_test(three_nodes),
        cmocka_unit_test(large_frames),
        cmocka_unit_test(heartbeats_overtake_entries),
        cmocka_unit_test(full_queue_drops_and_says_so),
        cmocka_unit_test(nobody_to_send_to),
        cmocka_unit_test(refusal_reaches_both_sides),
        cmocka_unit_test(restart_is_noticed_at_once),
        cmocka_unit_test(target_removed_and_moved),
        cmocka_unit_test(changed_hello_reaches_all),
        cmocka_unit_test(garbage_hurts_nobody_else),
        cmocka_unit_test(address_in_use),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
