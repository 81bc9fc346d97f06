#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "fixture.h"

/* Node 2 is a raw listener, at its address; whoever else calls himself node 2 dials us. Processes
 * are letters: of one data directory, unless a test says otherwise. */
enum { A = 0xa, B = 0xb };

static void send_hello_of(int fd, uint64_t incarnation, uint64_t process)
{
    struct peer_hello hello;

    hello_make(2, incarnation, &hello);
    hello.process = process;
    raw_send_this_hello(fd, &hello);
}

/* The link is up, to this process at the address. */
static int link_of(struct stage *s, uint64_t incarnation, uint64_t process)
{
    int fd = stage_accept(s);

    send_hello_of(fd, incarnation, process);
    until(&s->w, world_is_up(&s->w, 1, 2));
    return fd;
}

static void hears_hello(struct stage *s, int fd)
{
    struct peer_msg msg = raw_receive(&s->w, fd);

    assert_int_equal(msg.type, PEER_HELLO);
    peer_msg_done(&msg);
}

static int dial_of(struct stage *s, uint64_t incarnation, uint64_t process)
{
    int fd = raw_connect(s->m->port);

    send_hello_of(fd, incarnation, process);
    return fd;
}

/* Dial us as this process, and be accepted. */
static int inbound_of(struct stage *s, uint64_t incarnation, uint64_t process)
{
    int fd = dial_of(s, incarnation, process);

    hears_hello(s, fd);
    return fd;
}

static uint16_t own_port(int fd)
{
    struct sockaddr_in at;
    socklen_t size = sizeof at;

    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
    return ntohs(at.sin_port);
}

static void ends_as(struct stage *s, int fd, const char *why)
{
    struct peer_msg msg = raw_receive(&s->w, fd);

    assert_int_equal(msg.type, PEER_REFUSAL);
    assert_int_equal(msg.refusal->code, -RD_EINVALID);
    assert_string_equal(msg.refusal->why, why);
    peer_msg_done(&msg);
    raw_until_closed(&s->w, fd, 1000);
    assert_int_equal(close(fd), 0);
}

static void ends_as_copy(struct stage *s, int fd)
{
    char why[PEER_WHY_SIZE];

    (void)snprintf(why, sizeof why,
                   "node 2 runs twice from copies of one data directory: once at 127.0.0.1:%u, and "
                   "as the one that dials from 127.0.0.1:%u; stop one of them",
                   s->port, own_port(fd));
    ends_as(s, fd, why);
}

/* Closed without a word. */
static void ends_quietly(struct stage *s, int fd)
{
    char byte;
    ssize_t n;

    until(&s->w, (n = recv(fd, &byte, 1, MSG_PEEK)) >= 0);
    assert_int_equal(n, 0);
    assert_int_equal(close(fd), 0);
}

/* The connection is ours and carries messages. */
static void works(struct stage *s, int fd, uint64_t seq)
{
    struct peer_msg msg = heartbeat(2, 1, seq);
    uint32_t before = s->m->seen_count;

    raw_send_msg(fd, &msg);
    until(&s->w, s->m->seen_count == before + 1);
    assert_int_equal(s->m->seen[before].seq, seq);
}

static void close_all(struct stage *s, int a, int b)
{
    assert_int_equal(close(a), 0);
    if (b >= 0) {
        assert_int_equal(close(b), 0);
    }
    stage_done(s);
}

/* ---- A copy ---- */

/* Started as often as the original, or less: whatever it says, its number shows it. */
static void a_copy_that_is_not_later(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    int link = link_of(&s, 4, A);
    int in = inbound_of(&s, 4, A); /* the original dials us too */
    uint32_t before = s.m->hellos_count;
    log_catch();
    for (uint64_t incarnation = 3; incarnation <= 4; incarnation++) {
        ends_as_copy(&s, dial_of(&s, incarnation, B));
    }
    assert_int_equal(log_release("runs twice from copies"), 1);
    assert_true(world_is_up(&s.w, 1, 2));
    assert_int_equal(s.m->downs[2], 0);
    assert_int_equal(s.m->hellos_count, before);
    assert_int_equal(world_stats(&s.w, 1).refused_hellos, 2);
    works(&s, in, 5);
    close_all(&s, link, in);
}

/* Started more often, it might be a restart: the address is asked, once. */
static void a_later_copy(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    int old = link_of(&s, 4, A);
    int copy = inbound_of(&s, 5, B);
    raw_until_closed(&s.w, old, 1000);
    int link = link_of(&s, 4, A); /* the original still is there */
    ends_as_copy(&s, copy);
    until(&s.w, s.m->downs[2] == 1);
    for (int i = 0; i < 5; i++) { /* it is known now: the link is left alone */
        ends_as_copy(&s, dial_of(&s, 5, B));
    }
    int in = inbound_of(&s, 4, A);
    assert_true(world_is_up(&s.w, 1, 2));
    assert_int_equal(s.m->downs[2], 1);
    works(&s, in, 5);
    assert_int_equal(close(old), 0);
    assert_int_equal(close(in), 0);
    close_all(&s, link, -1);
}

/* Known as a copy, it gets in while the link is down, and out again without another dial. */
static void a_known_copy_while_the_link_is_down(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    int old = link_of(&s, 4, A);
    int copy = inbound_of(&s, 5, B);
    int link = link_of(&s, 4, A);
    ends_as_copy(&s, copy);
    assert_int_equal(close(link), 0);
    link = stage_accept(&s);
    copy = inbound_of(&s, 5, B); /* later than this dial */
    send_hello_of(link, 4, A);
    until(&s.w, world_is_up(&s.w, 1, 2));
    uint32_t downs = s.m->downs[2];
    ends_as_copy(&s, copy);
    assert_int_equal(s.m->downs[2], downs);
    assert_true(world_is_up(&s.w, 1, 2));
    close_all(&s, old, link);
}

/* The original is stopped, as the sentence asks; its address goes to the other one in the end. */
static void the_copy_takes_over(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    int old = link_of(&s, 4, A);
    int copy = inbound_of(&s, 5, B);
    int link = link_of(&s, 4, A);
    ends_as_copy(&s, copy);
    assert_int_equal(close(link), 0);
    until(&s.w, !world_is_up(&s.w, 1, 2));
    copy = inbound_of(&s, 5, B);
    works(&s, copy, 5);
    link = link_of(&s, 5, B);
    int again = inbound_of(&s, 5, B);
    works(&s, again, 6);
    assert_int_equal(stage_link(&s)->copy, 0);
    ends_as_copy(&s, dial_of(&s, 4, A)); /* now the first one is the other */
    assert_int_equal(close(copy), 0);
    assert_int_equal(close(old), 0);
    close_all(&s, link, again);
}

/* Both orders: the copy was here first, and nobody could tell. */
static void a_copy_that_came_first(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    int link = stage_accept(&s);
    int copy = inbound_of(&s, 4, B);
    works(&s, copy, 5);
    send_hello_of(link, 4, A);
    until(&s.w, world_is_up(&s.w, 1, 2));
    ends_as_copy(&s, copy);
    assert_true(world_is_up(&s.w, 1, 2));
    assert_int_equal(s.m->downs[2], 0);
    close_all(&s, link, -1);
}

static void a_later_copy_that_came_first(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    int link = stage_accept(&s);
    int copy = inbound_of(&s, 5, B);
    send_hello_of(link, 4, A); /* perhaps it ended since: it is asked once more */
    raw_until_closed(&s.w, link, 1000);
    assert_int_equal(close(link), 0);
    works(&s, copy, 5);
    link = link_of(&s, 4, A);
    ends_as_copy(&s, copy);
    until(&s.w, s.m->downs[2] == 1);
    assert_true(world_is_up(&s.w, 1, 2));
    close_all(&s, link, -1);
}

static void an_earlier_copy_that_came_first(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    int link = stage_accept(&s);
    int copy = inbound_of(&s, 3, B);
    send_hello_of(link, 4, A);
    until(&s.w, world_is_up(&s.w, 1, 2));
    ends_quietly(&s, copy); /* what a restart leaves behind looks the same */
    ends_as_copy(&s, dial_of(&s, 3, B));
    assert_int_equal(s.m->downs[2], 0);
    close_all(&s, link, -1);
}

/* ---- A restart ---- */

/* Its host lost power: neither of the old connections is known to be dead. */
static void a_restart_that_dials_first(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    int old_link = link_of(&s, 4, A);
    int old_in = inbound_of(&s, 4, A);
    int in = inbound_of(&s, 5, B);
    until(&s.w, s.m->downs[2] == 1);
    int link = link_of(&s, 5, B);
    works(&s, in, 5);
    ends_quietly(&s, old_in);
    assert_true(world_is_up(&s.w, 1, 2));
    assert_int_equal(s.m->downs[2], 1);
    assert_int_equal(world_stats(&s.w, 1).refused_hellos, 0);
    assert_int_equal(close(old_link), 0);
    close_all(&s, link, in);
}

static void a_restart_that_is_dialled_first(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    int old_link = link_of(&s, 4, A);
    int old_in = inbound_of(&s, 4, A);
    assert_int_equal(close(old_link), 0);
    int link = link_of(&s, 5, B);
    ends_quietly(&s, old_in);
    int in = inbound_of(&s, 5, B);
    works(&s, in, 5);
    assert_true(world_is_up(&s.w, 1, 2));
    assert_int_equal(s.m->downs[2], 1);
    assert_int_equal(world_stats(&s.w, 1).refused_hellos, 0);
    close_all(&s, link, in);
}

/* The dead process had answered our dial; its successor says hello before that answer is read. */
static void a_restart_overtakes_the_last_words(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    int old_link = stage_accept(&s);
    int in = inbound_of(&s, 5, B);
    send_hello_of(old_link, 4, A);
    raw_until_closed(&s.w, old_link, 1000);
    int link = link_of(&s, 5, B);
    works(&s, in, 5);
    assert_true(world_is_up(&s.w, 1, 2));
    assert_int_equal(world_stats(&s.w, 1).refused_hellos, 0);
    assert_int_equal(close(old_link), 0);
    close_all(&s, link, in);
}

/* Twice in a moment: each is newer than the last, whatever of it arrives first. */
static void two_restarts(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    int first = link_of(&s, 4, A);
    int second_in = inbound_of(&s, 5, B);
    int second = stage_accept(&s);
    int third_in = inbound_of(&s, 6, 0xc);
    send_hello_of(second, 5, B);
    raw_until_closed(&s.w, second, 1000);
    int third = link_of(&s, 6, 0xc);
    works(&s, third_in, 5);
    ends_quietly(&s, second_in);
    assert_int_equal(world_stats(&s.w, 1).refused_hellos, 0);
    assert_int_equal(close(first), 0);
    assert_int_equal(close(second), 0);
    close_all(&s, third, third_in);
}

/* Two real nodes, one of which restarts often; the other closes nothing by itself. */
static void a_node_that_restarts_is_never_refused(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    struct member *one = world_open(&w, 1);
    (void)world_open(&w, 2);
    world_link(&w, 1, 2);
    for (int i = 0; i < 10; i++) {
        world_close(&w, 2);
        (void)world_open(&w, 2);
        world_target(&w, 2, 1, 0);
        until(&w, world_is_up(&w, 2, 1) && world_is_up(&w, 1, 2));
        until(&w, world_stats(&w, 1).inbound == 1);
    }
    assert_int_equal(world_stats(&w, 1).refused_hellos, 0);
    assert_int_equal(world_stats(&w, 2).refused_hellos, 0);
    assert_int_equal(one->refusals[2], 0);
    world_done(&w);
}

/* ---- What proves nothing ---- */

static void a_process_that_is_not_told(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    int link = link_of(&s, 4, 0);
    int in = inbound_of(&s, 4, B);
    works(&s, in, 5);
    assert_int_equal(close(in), 0);
    in = inbound_of(&s, 3, B);
    works(&s, in, 6);
    assert_int_equal(close(link), 0);
    link = link_of(&s, 4, A); /* in the other order, and the other way round */
    ends_quietly(&s, in);
    in = inbound_of(&s, 3, 0);
    works(&s, in, 7);
    assert_true(world_is_up(&s.w, 1, 2));
    assert_int_equal(world_stats(&s.w, 1).refused_hellos, 0);
    close_all(&s, link, in);
}

/* Who does not show the cluster moves no link, and is told of a copy all the same. */
static void a_stranger(void **state)
{
    struct stage s;

    (void)state;
    stage_open(&s);
    int link = link_of(&s, 4, A);
    s.m->strange = 2;
    int later = inbound_of(&s, 5, B);
    ends_as_copy(&s, dial_of(&s, 4, B));
    still_ms(&s.w, 50, world_is_up(&s.w, 1, 2));
    assert_int_equal(s.m->downs[2], 0);
    assert_int_equal(world_stats(&s.w, 1).inbound, 0);
    close_all(&s, link, later);
}

/* ---- Another data directory ---- */

static void another_store_that_came_first(void **state)
{
    struct stage s;
    struct peer_hello hello;

    (void)state;
    stage_open(&s);
    int link = stage_accept(&s);
    hello_make(2, 9, &hello);
    hello.store.bytes[0] ^= 1;
    int other = raw_connect(s.m->port);
    raw_send_this_hello(other, &hello);
    hears_hello(&s, other);
    send_hello_of(link, 4, A);
    until(&s.w, world_is_up(&s.w, 1, 2));
    ends_as(&s, other,
            "node 2 is connected with another data directory: two nodes have this id; give one of "
            "them another");
    assert_true(world_is_up(&s.w, 1, 2));
    assert_int_equal(s.m->downs[2], 0);
    close_all(&s, link, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_that_is_not_later),
        cmocka_unit_test(a_later_copy),
        cmocka_unit_test(a_known_copy_while_the_link_is_down),
        cmocka_unit_test(the_copy_takes_over),
        cmocka_unit_test(a_copy_that_came_first),
        cmocka_unit_test(a_later_copy_that_came_first),
        cmocka_unit_test(an_earlier_copy_that_came_first),
        cmocka_unit_test(a_restart_that_dials_first),
        cmocka_unit_test(a_restart_that_is_dialled_first),
        cmocka_unit_test(a_restart_overtakes_the_last_words),
        cmocka_unit_test(two_restarts),
        cmocka_unit_test(a_node_that_restarts_is_never_refused),
        cmocka_unit_test(a_process_that_is_not_told),
        cmocka_unit_test(a_stranger),
        cmocka_unit_test(another_store_that_came_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
