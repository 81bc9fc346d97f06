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

/* What an attempt that came to nothing tells who wanted the link. */

/* The sentence, with % for 127.0.0.1 and the port of the stage's listener. */
static void failed_so(struct stage *s, int code, const char *before, const char *after)
{
    char text[NET_WHY_SIZE];

    (void)snprintf(text, sizeof text, "%s127.0.0.1:%u%s", before, s->port, after);
    until_ms(&s->w, 2 * NET_HELLO_MS, s->m->fails[2] > 0);
    assert_string_equal(s->m->fail_why, text);
    assert_int_equal(s->m->fail_code, code);
    assert_int_equal(s->m->downs[2], 0); /* it never was up */
}

static void nobody_listens(void **state)
{
    struct stage s;

    (void)state;
    world_init(&s.w);
    s.m = world_open(&s.w, 1);
    assert_int_equal(close(raw_listen(&s.port)), 0);
    s.listener = -1;
    world_target_port(&s.w, 1, 2, s.port);
    failed_so(&s, -RD_EUNREACHABLE, "connection refused by ", "");
    uint32_t before = s.m->fails[2];
    until(&s.w, s.m->fails[2] == before + 2); /* each attempt */
    stage_done(&s);
}

static void closed_before_its_hello(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    int fd = stage_accept(&s);
    assert_int_equal(close(fd), 0);
    failed_so(&s, -RD_EUNREACHABLE, "no hello from ", ": closed by the peer");
    stage_done(&s);
}

static void says_nothing(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    int fd = stage_accept(&s);
    failed_so(&s, -RD_EUNREACHABLE, "no hello from ", ": timed out");
    assert_int_equal(close(fd), 0);
    stage_done(&s);
}

/* The port of something else. */
static void speaks_another_protocol(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    int fd = stage_accept(&s);
    raw_send(fd, "SSH-2.0-OpenSSH_9.2p1\r\n", 23);
    failed_so(&s, -RD_EUNREACHABLE, "no hello from ", ": what it sends is not raftd's protocol");
    assert_int_equal(close(fd), 0);
    stage_done(&s);
}

static void sends_a_message_instead(void **state)
{
    struct stage s;
    struct peer_msg msg = heartbeat(2, 1, 1);

    (void)state;
    stage_open(&s);
    int fd = stage_accept(&s);
    raw_send_msg(fd, &msg);
    failed_so(&s, -RD_EUNREACHABLE, "", " sends messages on a connection it did not dial");
    assert_int_equal(close(fd), 0);
    stage_done(&s);
}

static void another_node_is_there(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    int fd = stage_accept(&s);
    raw_send_hello(fd, 3, 1);
    failed_so(&s, -RD_EINVALID, "", " answers as node 3, not as node 2");
    assert_int_equal(close(fd), 0);
    stage_done(&s);
}

static void it_does_not_fit_us(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    s.m->refuses = 2;
    int fd = stage_accept(&s);
    raw_send_hello(fd, 2, 1);
    failed_so(&s, -RD_EWRONG_CLUSTER, "", " is refused: node 2 is not liked by node 1");
    assert_int_equal(close(fd), 0);
    stage_done(&s);
}

static void we_do_not_fit_it(void **state)
{
    struct stage s;
    struct peer_refusal refusal = {.code = -RD_ENOT_EMPTY, .why = "holds 500 entries"};
    struct peer_msg msg = {.type = PEER_REFUSAL, .refusal = &refusal};

    (void)state;
    stage_open(&s);
    int fd = stage_accept(&s);
    raw_send_msg(fd, &msg);
    failed_so(&s, -RD_ENOT_EMPTY, "refused by ", ": holds 500 entries");
    assert_int_equal(s.m->refusals[2], 1);
    assert_int_equal(close(fd), 0);
    stage_done(&s);
}

/* A link that was up is down: that is another report. The attempts after it are attempts. */
static void the_end_of_a_link_is_no_failure(void **state)
{
    struct stage s;
    struct peer_refusal refusal = {.code = -RD_EREMOVED, .why = "gone"};
    struct peer_msg msg = {.type = PEER_REFUSAL, .refusal = &refusal};

    (void)state;
    stage_open(&s);
    int fd = stage_up(&s, 1);
    raw_send_msg(fd, &msg);
    until(&s.w, s.m->downs[2] == 1);
    assert_int_equal(s.m->fails[2], 0);
    assert_int_equal(close(fd), 0);
    fd = stage_up(&s, 1);
    assert_int_equal(close(fd), 0);
    until(&s.w, s.m->downs[2] == 2);
    assert_int_equal(s.m->fails[2], 0);
    assert_int_equal(close(s.listener), 0);
    s.listener = -1;
    until(&s.w, s.m->fails[2] > 0);
    assert_int_equal(s.m->downs[2], 2);
    stage_done(&s);
}

/* ---- When it is told ---- */

static struct member *open_with_target(struct world *w, const char *address)
{
    struct node_target target = {.id = 2};

    world_init(w);
    struct member *m = world_open(w, 1);
    (void)snprintf(target.address, sizeof target.address, "%s", address);
    net_set_targets(m->net, &target, 1);
    return m;
}

static void never_from_inside_a_call(void **state)
{
    struct world w;
    const char expected[] = "cannot connect to 255.255.255.255:7400: ";

    (void)state;
    struct member *m = open_with_target(&w, "255.255.255.255:7400");
    assert_int_equal(net_link(m->net, 2)->state, LINK_WAITING); /* it has failed already */
    assert_int_equal(m->fails[2], 0);
    link_dial(net_link(m->net, 2)); /* and again */
    assert_int_equal(m->fails[2], 0);
    world_turn(&w);
    assert_int_equal(m->fails[2], 1); /* once for both */
    assert_int_equal(m->fail_code, -RD_EUNREACHABLE);
    assert_memory_equal(m->fail_why, expected, strlen(expected));
    world_done(&w);
}

static void not_for_who_is_no_target_any_more(void **state)
{
    struct world w;

    (void)state;
    struct member *m = open_with_target(&w, "255.255.255.255:7400");
    net_set_targets(m->net, NULL, 0);
    still_ms(&w, 30, m->fails[2] == 0);
    world_done(&w);
}

static void the_last_one_counts(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    s.m->refuses = 2;
    int fd = stage_accept(&s);
    raw_send_hello(fd, 2, 1);
    until(&s.w, s.m->fails[2] == 1);
    assert_int_equal(close(fd), 0);
    fd = stage_accept(&s);
    assert_int_equal(close(fd), 0);
    until(&s.w, s.m->fails[2] == 2);
    assert_int_equal(s.m->fail_code, -RD_EUNREACHABLE); /* nothing is left of the refusal */
    assert_non_null(strstr(s.m->fail_why, ": closed by the peer"));
    stage_done(&s);
}

/* ---- Names ---- */

static void a_name_without_an_address(void **state)
{
    struct world w;
    char address[80];

    (void)state;
    memset(address, 'a', 70); /* no label is that long: known without asking anybody */
    (void)snprintf(address + 70, sizeof address - 70, ":7400");
    struct member *m = open_with_target(&w, address);
    until(&w, m->fails[2] > 0);
    assert_int_equal(m->fail_code, -RD_EUNREACHABLE);
    assert_memory_equal(m->fail_why, "resolving aaaa", 14);
    world_done(&w);
}

static void a_target_without_a_port(void **state)
{
    struct world w;

    (void)state;
    struct member *m = open_with_target(&w, "nonsense");
    assert_int_equal(m->fails[2], 0);
    until(&w, m->fails[2] == 1);
    assert_int_equal(m->fail_code, -RD_EINVALID);
    assert_string_equal(m->fail_why, "the address \"nonsense\" is not HOST:PORT");
    link_owe_down(net_link(m->net, 2)); /* another report does not repeat it */
    until(&w, m->downs[2] == 1);
    still_ms(&w, 100, m->fails[2] == 1); /* there is nothing to try again */
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(closed_before_its_hello),
        cmocka_unit_test(says_nothing),
        cmocka_unit_test(speaks_another_protocol),
        cmocka_unit_test(sends_a_message_instead),
        cmocka_unit_test(another_node_is_there),
        cmocka_unit_test(it_does_not_fit_us),
        cmocka_unit_test(we_do_not_fit_it),
        cmocka_unit_test(the_end_of_a_link_is_no_failure),
        cmocka_unit_test(never_from_inside_a_call),
        cmocka_unit_test(not_for_who_is_no_target_any_more),
        cmocka_unit_test(the_last_one_counts),
        cmocka_unit_test(a_name_without_an_address),
        cmocka_unit_test(a_target_without_a_port),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
