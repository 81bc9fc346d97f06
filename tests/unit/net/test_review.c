#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "fixture.h"

/* Our hello changes, or what we know of others: who no longer fits is refused. And what a refusal
 * tells to whom. */

static int say(struct world *w, uint16_t port, struct peer_hello *hello)
{
    int fd = raw_connect(port);

    raw_send_this_hello(fd, hello);
    struct peer_msg msg = raw_receive(w, fd);
    assert_int_equal(msg.type, PEER_HELLO);
    peer_msg_done(&msg);
    return fd;
}

/* The next and last thing said on the connection is this refusal. */
static void ends_refused(struct world *w, int fd, int code, bool proven)
{
    struct peer_msg msg = raw_receive(w, fd);

    assert_int_equal(msg.type, PEER_REFUSAL);
    assert_int_equal(msg.refusal->code, code);
    assert_int_equal(msg.refusal->index, proven ? 7 : 0);
    assert_int_equal(uuid_is_set(&msg.refusal->cluster), proven);
    if (proven) {
        assert_int_equal(msg.refusal->cluster.bytes[0], 7);
    }
    peer_msg_done(&msg);
    raw_until_closed(w, fd, 1000);
    assert_int_equal(close(fd), 0);
}

/* ---- What a refusal tells ---- */

static void only_who_knows_the_cluster_is_told_it(void **state)
{
    struct world w;
    struct peer_hello hello;

    (void)state;
    world_init(&w);
    struct member *m = world_open(&w, 1);
    m->removed = 2;
    for (int knows = 0; knows < 3; knows++) { /* nothing, another cluster, ours */
        hello_make(2, 1, &hello);
        if (knows == 0) {
            hello.cluster = (struct uuid){{0}};
        } else if (knows == 1) {
            hello.cluster.bytes[15] ^= 1;
        }
        int fd = raw_connect(m->port);
        raw_send_this_hello(fd, &hello);
        ends_refused(&w, fd, -RD_EREMOVED, knows == 2);
    }
    assert_int_equal(m->hellos_count, 0);
    world_done(&w);
}

static void so_it_is_on_a_link(void **state)
{
    struct stage s;
    struct peer_hello hello;

    (void)state;
    stage_open(&s);
    s.m->removed = 2;
    hello_make(2, 1, &hello);
    int fd = stage_accept(&s);
    raw_send_this_hello(fd, &hello);
    ends_refused(&s.w, fd, -RD_EREMOVED, true);
    assert_int_equal(s.m->fail_code, -RD_EREMOVED);
    hello.cluster = (struct uuid){{0}};
    fd = stage_accept(&s);
    raw_send_this_hello(fd, &hello);
    ends_refused(&s.w, fd, -RD_EREMOVED, false);
    stage_done(&s);
}

/* ---- Who is connected is checked again ---- */

static void who_was_removed_is_told_on_its_connection(void **state)
{
    struct world w;
    struct peer_hello hello;

    (void)state;
    world_init(&w);
    struct member *m = world_open(&w, 1);
    hello_make(2, 1, &hello);
    int two = say(&w, m->port, &hello);
    hello_make(3, 1, &hello);
    int three = say(&w, m->port, &hello);
    m->removed = 2;
    m->hello.bindings_count = 1; /* the membership without it: no hello before the refusal */
    m->hello.bindings[0].id = 1;
    net_set_hello(m->net, &m->hello);
    ends_refused(&w, two, -RD_EREMOVED, true);
    struct peer_msg msg = raw_receive(&w, three);
    assert_int_equal(msg.type, PEER_HELLO);
    assert_int_equal(msg.hello->bindings_count, 1);
    peer_msg_done(&msg);
    assert_int_equal(world_stats(&w, 1).inbound, 1);
    assert_int_equal(world_stats(&w, 1).refused_hellos, 1);
    assert_int_equal(close(three), 0);
    world_done(&w);
}

/* What others are to us may change while our own hello stays. */
static void an_unchanged_hello_is_a_review_too(void **state)
{
    struct world w;
    struct peer_hello hello;

    (void)state;
    world_init(&w);
    struct member *m = world_open(&w, 1);
    m->strange = 3;
    hello_make(2, 1, &hello);
    int two = say(&w, m->port, &hello);
    hello_make(3, 1, &hello);
    int stranger = say(&w, m->port, &hello);
    int silent = raw_connect(m->port);
    until(&w, m->net->strangers_count == 2);
    net_set_hello(m->net, &m->hello);
    still_ms(&w, 30, world_stats(&w, 1).refused_hellos == 0);
    m->refuses = UINT32_MAX;
    net_set_hello(m->net, &m->hello);
    ends_refused(&w, two, -RD_EWRONG_CLUSTER, false);
    ends_refused(&w, stranger, -RD_EWRONG_CLUSTER, false);
    assert_int_equal(world_stats(&w, 1).inbound, 0);
    assert_int_equal(m->net->strangers_count, 1); /* who has said nothing may still fit */
    assert_int_equal(close(silent), 0);
    world_done(&w);
}

static void a_changed_hello_counts_not_the_first(void **state)
{
    struct world w;
    struct peer_hello hello;

    (void)state;
    world_init(&w);
    struct member *m = world_open(&w, 1);
    hello_make(2, 1, &hello);
    hello.cluster = (struct uuid){{0}};
    int fd = say(&w, m->port, &hello);
    hello_make(2, 1, &hello); /* it learnt the cluster meanwhile */
    raw_send_this_hello(fd, &hello);
    until(&w, m->hellos_count == 2);
    m->removed = 2;
    net_set_hello(m->net, &m->hello);
    ends_refused(&w, fd, -RD_EREMOVED, true);
    world_done(&w);
}

static void a_link_ends_the_same_way(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    int fd = stage_up(&s, 1);
    net_set_hello(s.m->net, &s.m->hello);
    assert_true(world_is_up(&s.w, 1, 2));
    s.m->removed = 2;
    s.m->hello.incarnation = 9;
    net_set_hello(s.m->net, &s.m->hello);
    assert_false(world_is_up(&s.w, 1, 2));
    assert_int_equal(s.m->downs[2], 0); /* from the loop, not from here */
    assert_true(trouble_has(&s, "refused: removed: node 2 was removed"));
    assert_int_equal(world_stats(&s.w, 1).outbound, 0);
    ends_refused(&s.w, fd, -RD_EREMOVED, true);
    until(&s.w, s.m->downs[2] == 1);
    assert_int_equal(s.m->fails[2], 0);
    stage_done(&s);
}

/* While it is not up there is nobody to check: what it says then is checked as always. */
static void a_link_under_way_is_left_alone(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    int fd = stage_accept(&s);
    s.m->refuses = 2;
    net_set_hello(s.m->net, &s.m->hello);
    assert_int_equal(stage_link(&s)->state, LINK_HELLO);
    s.m->refuses = 0;
    raw_send_hello(fd, 2, 1);
    until(&s.w, world_is_up(&s.w, 1, 2));
    assert_int_equal(close(fd), 0);
    stage_done(&s);
}

/* Two nodes: the one that was removed hears it with its proof, whichever side dialled. */
static void the_removed_one_learns_it(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    struct member *one = world_open(&w, 1);
    struct member *two = world_open(&w, 2);
    world_link(&w, 1, 2);
    one->removed = 2;
    one->hello.incarnation++;
    net_set_hello(one->net, &one->hello);
    until(&w, two->refusals[1] >= 2); /* on the connection it dialled, and on the one it accepted */
    assert_int_equal(two->last_refusal.code, -RD_EREMOVED);
    assert_int_equal(two->last_refusal.index, 7);
    assert_true(uuid_equal(&two->last_refusal.cluster, &one->hello.cluster));
    until(&w, !world_is_up(&w, 1, 2) && !world_is_up(&w, 2, 1));
    until(&w, two->fails[1] > 0); /* and each time it asks */
    assert_int_equal(two->fail_code, -RD_EREMOVED);
    assert_int_equal(one->downs[2], 1);
    assert_int_equal(two->downs[1], 1);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_who_knows_the_cluster_is_told_it),
        cmocka_unit_test(so_it_is_on_a_link),
        cmocka_unit_test(who_was_removed_is_told_on_its_connection),
        cmocka_unit_test(an_unchanged_hello_is_a_review_too),
        cmocka_unit_test(a_changed_hello_counts_not_the_first),
        cmocka_unit_test(a_link_ends_the_same_way),
        cmocka_unit_test(a_link_under_way_is_left_alone),
        cmocka_unit_test(the_removed_one_learns_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
