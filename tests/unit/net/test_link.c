#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "fixture.h"

static void up_and_down(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    assert_true(trouble_has(&s, "connecting to 127.0.0.1:"));
    assert_false(world_is_up(&s.w, 1, 2));
    int fd = stage_up(&s, 1);
    assert_string_equal(net_trouble(s.m->net, 2), "");
    assert_int_equal(s.m->hellos_count, 1);
    assert_int_equal(world_stats(&s.w, 1).outbound, 1);
    assert_int_equal(s.m->downs[2], 0);
    assert_int_equal(close(fd), 0);
    until(&s.w, s.m->downs[2] == 1);
    assert_false(world_is_up(&s.w, 1, 2));
    assert_int_equal(world_stats(&s.w, 1).outbound, 0);
    assert_true(trouble_has(&s, "closed by the peer: 127.0.0.1:"));
    mono_ms start = mono_now_ms();
    fd = stage_up(&s, 1); /* the wait began anew at its least */
    assert_true(mono_now_ms() - start < 1000);
    still_ms(&s.w, 30, s.m->downs[2] == 1);
    assert_int_equal(close(fd), 0);
    stage_done(&s);
}

/* Who comes and goes all the time does not fill the log, and each "down" has its "up". */
static void flapping_is_logged_sparingly(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    log_catch();
    for (uint32_t i = 1; i <= 5; i++) {
        int fd = stage_up(&s, 1);
        assert_int_equal(close(fd), 0);
        until(&s.w, s.m->downs[2] == i);
    }
    int fd = stage_up(&s, 1);
    assert_int_equal(log_release("net: link "), 3); /* up, down, up */
    assert_int_equal(close(fd), 0);
    stage_done(&s);
}

static void connection_refused(void **state)
{
    struct stage s;
    char text[128];

    (void)state;
    stage_open(&s);
    assert_int_equal(close(s.listener), 0);
    s.listener = -1;
    (void)snprintf(text, sizeof text, "connection refused by 127.0.0.1:%u, 3 tries", s.port);
    log_catch();
    /* The one connection that was queued is reset; after it nobody is there. */
    until(&s.w, strcmp(net_trouble(s.m->net, 2), text) == 0);
    assert_int_equal(log_release("connection refused by"), 1);
    assert_int_equal(s.m->downs[2], 0); /* it never was up */
    stage_done(&s);
}

/* 50, 100, 200, 400, 400 ms, each within a fifth. */
static void waits_grow_to_the_limit(void **state)
{
    struct stage s;
    mono_ms at[6];
    const uint64_t waits[6] = {0, 50, 100, 200, 400, 400};

    (void)state;
    stage_open(&s);
    for (int i = 0; i < 6; i++) {
        int fd = raw_accept(&s.w, s.listener);
        at[i] = mono_now_ms();
        assert_int_equal(close(fd), 0);
        if (i > 0) {
            assert_true(at[i] - at[i - 1] >= waits[i] * 8 / 10 - 10);
            assert_true(at[i] - at[i - 1] <= waits[i] * 12 / 10 + 1000);
        }
    }
    until(&s.w, stage_link(&s)->state == LINK_WAITING);
    assert_int_equal(stage_link(&s)->backoff_ms, s.w.backoff_max_ms);
    stage_done(&s);
}

static struct peer_msg stage_refusal(struct stage *s, int fd)
{
    struct peer_msg msg = raw_receive(&s->w, fd);

    assert_int_equal(msg.type, PEER_REFUSAL);
    raw_until_closed(&s->w, fd, 1000);
    assert_int_equal(close(fd), 0);
    return msg;
}

static void wrong_node_answers(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    for (int i = 0; i < 3; i++) {
        int fd = stage_accept(&s);
        raw_send_hello(fd, 3, 1);
        struct peer_msg msg = stage_refusal(&s, fd);
        assert_non_null(strstr(msg.refusal->why, "answers as node 3, not as node 2"));
        peer_msg_done(&msg);
    }
    assert_true(trouble_has(&s, "answers as node 3, not as node 2, 3 tries"));
    assert_int_equal(s.m->hellos_count, 0);
    assert_true(stage_link(&s)->backoff_ms > 100); /* a refusal does not reset it */
    stage_done(&s);
}

static void we_refuse(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    s.m->refuses = 2;
    log_catch();
    for (int i = 0; i < 3; i++) {
        int fd = stage_accept(&s);
        raw_send_hello(fd, 2, 1);
        struct peer_msg msg = stage_refusal(&s, fd);
        assert_int_equal(msg.refusal->code, -RD_EWRONG_CLUSTER);
        peer_msg_done(&msg);
    }
    assert_int_equal(log_release("hello refused"), 1);
    assert_int_equal(world_stats(&s.w, 1).refused_hellos, 3);
    assert_true(trouble_has(&s, "refused: wrong_cluster: node 2 is not liked by node 1"));
    assert_int_equal(s.m->hellos_count, 0);
    stage_done(&s);
}

static void they_refuse(void **state)
{
    struct stage s;
    struct peer_refusal refusal = {.code = -RD_EREMOVED, .why = "removed at index 7"};
    struct peer_msg msg = {.type = PEER_REFUSAL, .refusal = &refusal};

    (void)state;
    stage_open(&s);
    log_catch();
    for (int i = 0; i < 3; i++) {
        int fd = stage_accept(&s);
        raw_send_msg(fd, &msg);
        raw_until_closed(&s.w, fd, 1000);
        assert_int_equal(close(fd), 0);
    }
    assert_int_equal(log_release("removed at index 7"), 1);
    assert_true(trouble_has(&s, "refused: removed by 127.0.0.1:"));
    assert_true(s.m->refusals[2] >= 1);
    assert_int_equal(s.m->last_refusal.code, -RD_EREMOVED);
    assert_non_null(strstr(s.m->last_refusal.why, "removed at index 7"));
    assert_true(trouble_has(&s, "removed at index 7"));
    assert_true(stage_link(&s)->backoff_ms > 100);
    assert_int_equal(s.m->downs[2], 0);
    stage_done(&s);
}

static void another_hello_is_tried_at_once(void **state)
{
    struct stage s;
    struct peer_refusal refusal = {.code = -RD_EWRONG_CLUSTER, .why = "in no cluster yet"};
    struct peer_msg msg = {.type = PEER_REFUSAL, .refusal = &refusal};

    (void)state;
    stage_open(&s);
    s.m->net->config.backoff_max_ms = 60000;
    stage_link(&s)->backoff_ms = 60000;
    int fd = raw_accept(&s.w, s.listener);
    raw_send_msg(fd, &msg);
    until(&s.w, stage_link(&s)->state == LINK_WAITING);
    assert_int_equal(close(fd), 0);
    s.m->hello.incarnation = 5;
    net_set_hello(s.m->net, &s.m->hello);
    fd = stage_up(&s, 1); /* and not in a minute */
    assert_int_equal(close(fd), 0);
    stage_done(&s);
}

static void no_answer_to_hello(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    int fd = raw_accept(&s.w, s.listener);
    raw_until_closed(&s.w, fd, 2 * NET_HELLO_MS);
    assert_true(trouble_has(&s, "no hello from 127.0.0.1:") && trouble_has(&s, ": timed out"));
    assert_int_equal(close(fd), 0);
    stage_done(&s);
}

static void messages_belong_on_the_other_connection(void **state)
{
    struct stage s;
    struct peer_change c = {.seq = 1, .kind = PEER_CHANGE_REMOVE, .id = 3};
    struct peer_change_reply r = {.seq = 1, .step = PEER_CHANGE_DONE};
    const struct peer_msg msgs[] = {heartbeat(2, 1, 1),
                                    {.type = PEER_CHANGE, .change = &c},
                                    {.type = PEER_CHANGE_REPLY, .change_reply = &r}};

    (void)state;
    stage_open(&s);
    for (uint32_t i = 0; i < sizeof msgs / sizeof msgs[0]; i++) {
        int fd = stage_up(&s, 1);
        raw_send_msg(fd, &msgs[i]);
        until(&s.w, s.m->downs[2] == i + 1);
        assert_int_equal(world_stats(&s.w, 1).bad_frames, i + 1);
        assert_int_equal(close(fd), 0);
    }
    assert_int_equal(s.m->seen_count, 0);
    stage_done(&s);
}

static void bad_bytes_and_recovery(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    int fd = stage_up(&s, 1);
    raw_send(fd, "\xff\xff\xff\xff", 4);
    until(&s.w, s.m->downs[2] == 1);
    assert_int_equal(world_stats(&s.w, 1).bad_frames, 1);
    assert_int_equal(close(fd), 0);
    fd = stage_up(&s, 1);
    assert_int_equal(close(fd), 0);
    stage_done(&s);
}

static void hello_changes(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    int fd = stage_up(&s, 1);
    s.m->hello.incarnation = 77; /* ours */
    net_set_hello(s.m->net, &s.m->hello);
    struct peer_msg msg = raw_receive(&s.w, fd);
    assert_int_equal(msg.hello->incarnation, 77);
    peer_msg_done(&msg);
    raw_send_hello(fd, 2, 2); /* theirs */
    until(&s.w, s.m->hellos_count == 2);
    assert_int_equal(world_stats(&s.w, 1).outbound, 1);
    s.m->refuses = 2;
    raw_send_hello(fd, 2, 3);
    until(&s.w, s.m->downs[2] == 1);
    assert_true(trouble_has(&s, "refused: wrong_cluster"));
    assert_int_equal(close(fd), 0);
    stage_done(&s);
}

static void who_reads_no_hello_is_given_up(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    s.m->net->config.queue_bytes_max = 1000;
    int fd = stage_up(&s, 1);
    for (uint64_t i = 0; i < 40000 && world_is_up(&s.w, 1, 2); i++) {
        s.m->hello.incarnation = 1000 + i;
        memset(s.m->hello.uri, 'u', sizeof s.m->hello.uri - 1);
        net_set_hello(s.m->net, &s.m->hello);
    }
    assert_false(world_is_up(&s.w, 1, 2));
    assert_true(trouble_has(&s, "reads nothing any more"));
    until(&s.w, s.m->downs[2] == 1);
    assert_int_equal(close(fd), 0);
    stage_done(&s);
}

/* ---- The peer shows up by itself ---- */

static int say_hello(struct stage *s, uint64_t incarnation)
{
    int fd = raw_connect(s->m->port);
    uint32_t before = s->m->hellos_count;

    raw_send_hello(fd, 2, incarnation);
    until(&s->w, s->m->hellos_count > before);
    return fd;
}

static void no_waiting_for_who_has_come_back(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    s.m->net->config.backoff_max_ms = 60000;
    stage_link(&s)->backoff_ms = 60000;
    int fd = raw_accept(&s.w, s.listener);
    assert_int_equal(close(fd), 0);
    until(&s.w, stage_link(&s)->state == LINK_WAITING);
    mono_ms start = mono_now_ms();
    int inbound = say_hello(&s, 1);
    fd = stage_up(&s, 1);
    assert_true(mono_now_ms() - start < 1000);
    assert_int_equal(close(inbound), 0);
    assert_int_equal(close(fd), 0);
    stage_done(&s);
}

/* A host that lost power closes nothing: the link to its earlier process only looks alive. */
static void link_to_an_earlier_process_is_given_up(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    int old = stage_up(&s, 4);
    int same = say_hello(&s, 4);
    still_ms(&s.w, 30, world_is_up(&s.w, 1, 2));
    int newer = say_hello(&s, 5);
    until(&s.w, s.m->downs[2] == 1);
    int fd = stage_up(&s, 5);
    assert_int_equal(close(old), 0);
    assert_int_equal(close(same), 0);
    assert_int_equal(close(newer), 0);
    assert_int_equal(close(fd), 0);
    stage_done(&s);
}

static void raw_send_other_store(int fd, uint64_t incarnation)
{
    struct peer_hello hello;
    struct peer_msg msg = {.type = PEER_HELLO, .hello = &hello};

    hello_make(2, incarnation, &hello);
    hello.store.bytes[0] ^= 1;
    raw_send_msg(fd, &msg);
}

/* Whatever incarnation somebody with a member's id claims: the one at the member's address counts,
 * whether the node refuses the other or, while it has no membership, likes anybody. */
static void an_impostor_does_not_end_the_link(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    int link = stage_up(&s, 4);
    uint32_t before = s.m->hellos_count;
    for (int i = 0; i < 2; i++) {
        s.m->refuses = i ? 2 : 0;
        int fd = raw_connect(s.m->port);
        raw_send_other_store(fd, UINT64_MAX >> 2);
        struct peer_msg msg = raw_receive(&s.w, fd);
        assert_int_equal(msg.type, PEER_REFUSAL);
        peer_msg_done(&msg);
        raw_until_closed(&s.w, fd, 1000);
        assert_int_equal(close(fd), 0);
    }
    s.m->refuses = 0;
    s.m->strange = 2; /* the right store, but it does not show the cluster */
    int fd = raw_connect(s.m->port);
    raw_send_hello(fd, 2, UINT64_MAX >> 2);
    struct peer_msg msg = raw_receive(&s.w, fd);
    assert_int_equal(msg.type, PEER_HELLO);
    peer_msg_done(&msg);
    still_ms(&s.w, 100, world_is_up(&s.w, 1, 2));
    assert_int_equal(s.m->downs[2], 0);
    assert_int_equal(s.m->hellos_count, before);
    assert_int_equal(close(fd), 0);
    assert_int_equal(close(link), 0);
    stage_done(&s);
}

static void a_flood_of_hellos_ends_the_link(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    int fd = stage_up(&s, 4);
    uint32_t before = s.m->hellos_count;
    raw_send_hello(fd, 2, 4);
    for (uint64_t i = 0; i < NET_HELLOS_MAX; i++) {
        raw_send_hello(fd, 2, 4 + i / 2); /* each twice */
    }
    until(&s.w, s.m->downs[2] == 1);
    assert_true(s.m->hellos_count - before <= NET_HELLOS_MAX / 2);
    assert_true(trouble_has(&s, "says hello more than 100 times within a second"));
    assert_int_equal(close(fd), 0);
    stage_done(&s);
}

/* Packets to a host that is down are lost; the one that is up again need not wait for TCP's
 * patience with the lost ones. A listener whose backlog is full swallows packets the same way. */
static void dial_into_the_void_is_given_up(void **state)
{
    struct stage s;
    int fillers[8];
    uint32_t tries;

    (void)state;
    world_init(&s.w);
    s.m = world_open(&s.w, 1);
    s.listener = raw_listen(&s.port);
    assert_int_equal(listen(s.listener, 0), 0);
    for (int i = 0; i < 8; i++) {
        struct sockaddr_storage at;
        socklen_t size = sizeof at;
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_int_equal(getsockname(s.listener, (struct sockaddr *)&at, &size), 0);
        (void)connect(fillers[i], (struct sockaddr *)&at, size);
    }
    world_target_port(&s.w, 1, 2, s.port);
    mono_ms start = mono_now_ms();
    until(&s.w, mono_now_ms() > start + NET_STALE_CONNECT_MS + 20);
    assert_int_equal(stage_link(&s)->state, LINK_CONNECTING);
    tries = stage_link(&s)->tries;
    mono_ms since = stage_link(&s)->since;
    int inbound = say_hello(&s, 1);
    assert_int_equal(stage_link(&s)->state, LINK_CONNECTING);
    assert_int_equal(stage_link(&s)->tries, tries + 1);
    assert_true(stage_link(&s)->since > since);
    until_ms(&s.w, 2 * NET_CONNECT_MS, trouble_has(&s, "does not answer"));
    for (int i = 0; i < 8; i++) {
        assert_int_equal(close(fillers[i]), 0);
    }
    assert_int_equal(close(inbound), 0);
    stage_done(&s);
}

/* ---- Names ---- */

static void use_names(struct stage *s, const char *host, const char *hosts_file)
{
    struct node_target target = {.id = 2};

    world_init(&s->w);
    s->m = world_open(&s->w, 1);
    s->listener = raw_listen(&s->port);
    resolver_free(s->m->net->resolver);
    s->m->net->resolver = resolver_new(s->w.base, "/nonexistent", hosts_file);
    (void)snprintf(target.address, sizeof target.address, "%s:%u", host, s->port);
    net_set_targets(s->m->net, &target, 1);
}

static void every_address_of_a_name_is_tried(void **state)
{
    struct stage s;
    char path[] = "/tmp/raftd-test-net-XXXXXX";
    int file = mkstemp(path);

    (void)state;
    assert_true(file >= 0);
    assert_int_equal(write(file, "127.0.0.2 two\n127.0.0.1 two\n", 28), 28);
    assert_int_equal(close(file), 0);
    use_names(&s, "two", path);
    int fd = stage_up(&s, 1); /* nobody listens on 127.0.0.2 */
    assert_int_equal(close(fd), 0);
    assert_int_equal(unlink(path), 0);
    stage_done(&s);
}

static void unknown_name(void **state)
{
    struct stage s;

    (void)state;
    use_names(&s, "unknown.test", "/nonexistent");
    until_ms(&s.w, 2 * NET_RESOLVE_MS, trouble_has(&s, "resolving unknown.test: "));
    stage_done(&s);
}

/* A label of more than 63 letters is no name: known without asking anybody. */
static void impossible_name(void **state)
{
    struct stage s;
    char host[80] = "";

    (void)state;
    memset(host, 'a', 70);
    use_names(&s, host, "/nonexistent");
    until_ms(&s.w, 1000, trouble_has(&s, "resolving aaaa"));
    assert_int_equal(stage_link(&s)->state, LINK_WAITING);
    stage_done(&s);
}

static void unreachable_address(void **state)
{
    struct world w;
    struct node_target target = {.id = 2, .address = "255.255.255.255:7400"};

    (void)state;
    world_init(&w);
    struct member *m = world_open(&w, 1);
    net_set_targets(m->net, &target, 1);
    assert_int_equal(net_link(m->net, 2)->state, LINK_WAITING); /* the kernel says no at once */
    assert_non_null(strstr(net_trouble(m->net, 2), "cannot connect to 255.255.255.255:7400: "));
    world_done(&w);
}

static void nothing_is_dialled_before_our_hello_is_known(void **state)
{
    struct stage s;

    (void)state;
    world_init(&s.w);
    s.w.backoff_max_ms = 1; /* below the least: the least it is */
    s.m = world_open_silent(&s.w, 1);
    s.listener = raw_listen(&s.port);
    world_target_port(&s.w, 1, 2, s.port);
    still_ms(&s.w, 30, stage_link(&s)->state == LINK_WAITING);
    net_set_hello(s.m->net, &s.m->hello);
    s.m->hello.incarnation = 8; /* changed while connecting: only the newer one is said */
    net_set_hello(s.m->net, &s.m->hello);
    int fd = raw_accept(&s.w, s.listener);
    struct peer_msg msg = raw_receive(&s.w, fd);
    assert_int_equal(msg.hello->incarnation, 8);
    peer_msg_done(&msg);
    assert_int_equal(close(fd), 0);
    until(&s.w, stage_link(&s)->tries > 1);
    assert_int_equal(stage_link(&s)->backoff_ms, NET_BACKOFF_MIN_MS);
    stage_done(&s);
}

static void closed_while_resolving(void **state)
{
    struct stage s;

    (void)state;
    use_names(&s, "unknown.test", "/nonexistent");
    assert_int_equal(stage_link(&s)->state, LINK_RESOLVING);
    net_set_targets(s.m->net, NULL, 0);
    world_turn(&s.w);
    assert_null(stage_link(&s));
    stage_done(&s);
}

static void not_an_address(void **state)
{
    struct world w;
    struct node_target target = {.id = 2, .address = "nonsense"};

    (void)state;
    world_init(&w);
    struct member *m = world_open(&w, 1);
    log_catch();
    net_set_targets(m->net, &target, 1);
    assert_int_equal(log_release("is not HOST:PORT"), 1);
    assert_string_equal(net_trouble(m->net, 2), "the address \"nonsense\" is not HOST:PORT");
    still_ms(&w, 30, net_link(m->net, 2)->state == LINK_WAITING);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(up_and_down),
        cmocka_unit_test(flapping_is_logged_sparingly),
        cmocka_unit_test(connection_refused),
        cmocka_unit_test(waits_grow_to_the_limit),
        cmocka_unit_test(wrong_node_answers),
        cmocka_unit_test(we_refuse),
        cmocka_unit_test(they_refuse),
        cmocka_unit_test(another_hello_is_tried_at_once),
        cmocka_unit_test(no_answer_to_hello),
        cmocka_unit_test(messages_belong_on_the_other_connection),
        cmocka_unit_test(bad_bytes_and_recovery),
        cmocka_unit_test(hello_changes),
        cmocka_unit_test(who_reads_no_hello_is_given_up),
        cmocka_unit_test(no_waiting_for_who_has_come_back),
        cmocka_unit_test(link_to_an_earlier_process_is_given_up),
        cmocka_unit_test(an_impostor_does_not_end_the_link),
        cmocka_unit_test(a_flood_of_hellos_ends_the_link),
        cmocka_unit_test(dial_into_the_void_is_given_up),
        cmocka_unit_test(every_address_of_a_name_is_tried),
        cmocka_unit_test(unknown_name),
        cmocka_unit_test(impossible_name),
        cmocka_unit_test(unreachable_address),
        cmocka_unit_test(nothing_is_dialled_before_our_hello_is_known),
        cmocka_unit_test(closed_while_resolving),
        cmocka_unit_test(not_an_address),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
