#include "harness.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void prints_the_state_now(void **state)
{
    struct child c;
    struct run r;
    char line[256];

    (void)state;
    fake_start("leader");
    child_start(&c, "watch --timeout 100ms");
    child_read_line(&c, line, sizeof line);
    assert_string_equal(line, "term 7  leader 1  10.0.0.1:7400  amqp://1  this node: leader, lease "
                              "790ms");
    assert_int_equal(kill(c.pid, SIGINT), 0);
    child_wait(&c, &r);
    assert_int_equal(r.status, 128 + SIGINT);
    assert_int_equal(r.err.size, 0);
    run_done(&r);
}

/* raftctl watch | head -1: ends with its reader, not with the next change. */
static void ends_with_its_reader(void **state)
{
    struct child c;
    char line[256];
    int status;

    (void)state;
    fake_start("leader");
    child_start(&c, "watch");
    child_read_line(&c, line, sizeof line);
    (void)close(c.out);
    assert_int_equal(waitpid(c.pid, &status, 0), c.pid); /* the test's timeout ends it otherwise */
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE);
    (void)close(c.in);
    (void)close(c.err);
}

/* The second line comes later than --timeout: silence means that nothing changed. */
static void prints_each_change_as_json(void **state)
{
    struct child c;
    struct run r;
    char line[256];

    (void)state;
    fake_start("late");
    child_start(&c, "watch --json --timeout 10ms");
    child_read_line(&c, line, sizeof line);
    assert_string_equal(line, "{\"state\":\"candidate\",\"term\":6,\"leader\":null,\"fence\":0,"
                              "\"lease_remaining_ms\":0}");
    child_read_line(&c, line, sizeof line);
    assert_non_null(strstr(line, "\"leader\":{\"id\":1,"));
    fake_kill();
    child_wait(&c, &r);
    assert_int_equal(r.status, 3);
    assert_non_null(strstr(buf_str(&r.out), "{\"error\":{\"code\":\"unreachable\""));
    run_done(&r);
}

static void watch_fails(void **state)
{
    (void)state;
    fake_start("mute");
    expect("watch --timeout 50ms", 5, "", "timeout: raftd at ");
    fake_start("refusing");
    expect("watch", 8, "", "permission_denied");
    fake_start("degraded");
    expect("watch", 3, NULL, "ended the stream: it is stopping");
    fake_start("foreign");
    expect("watch", 3, "", "does not speak");
}

static void waits_are_over_at_once(void **state)
{
    struct run r;
    unsigned ms;

    (void)state;
    fake_start("leader");
    ctl_run(&r, "wait --for has-leader --json");
    assert_int_equal(r.status, 0);
    assert_int_equal(sscanf(buf_str(&r.out), "{\"waited_ms\":%u}\n", &ms), 1);
    run_done(&r);
    ctl_run(&r, "wait --for leader");
    assert_int_equal(r.status, 0);
    assert_int_equal(sscanf(buf_str(&r.out), "leader after %u ms\n", &ms), 1);
    run_done(&r);
    expect("wait --for voter", 0, NULL, NULL);
    expect("wait --for caught-up", 0, NULL, NULL);
}

static void waits_until_it_holds(void **state)
{
    struct run r;
    unsigned ms = 0;

    (void)state;
    fake_start("late");
    ctl_run(&r, "wait --for leader --json");
    assert_int_equal(r.status, 0);
    assert_int_equal(sscanf(buf_str(&r.out), "{\"waited_ms\":%u}\n", &ms), 1);
    assert_in_range(ms, 100, 10000);
    run_done(&r);
    ctl_run(&r, "wait --for caught-up --json"); /* applied grows from 70 to 100, 10 per look */
    assert_int_equal(r.status, 0);
    assert_int_equal(sscanf(buf_str(&r.out), "{\"waited_ms\":%u}\n", &ms), 1);
    assert_in_range(ms, 200, 10000);
    run_done(&r);
}

static void waits_no_longer_than_told(void **state)
{
    struct run r;

    (void)state;
    fake_start("follower");
    ctl_run(&r, "wait --for leader --timeout 100ms");
    assert_int_equal(r.status, 5);
    assert_in_range(r.took_ms, 100, 5000);
    assert_non_null(strstr(buf_str(&r.err), "raftctl: wait: timeout: waited for leader for 1"));
    assert_non_null(strstr(buf_str(&r.err), "this node is follower in term 7, node 1 leads"));
    run_done(&r);
    fake_start("alone");
    expect("wait --for has-leader --timeout 50ms", 5, "", "no leader is known");
    expect("wait --for caught-up --timeout 150ms", 5, "", "this node is candidate");
    fake_start("late");
    expect("wait --for caught-up --timeout 50ms", 5, "", "applied 70 of 100");
    fake_start("mute");
    expect("wait --for caught-up --timeout 50ms", 5, "", "did not answer in time");
    expect("wait --for voter --timeout 50ms", 5, "", "did not answer in time");
}

static void a_long_wait_at_a_terminal_is_told(void **state)
{
    static const char line[] = "wait --for leader --timeout 4s";

    (void)state;
    fake_start("alone");
    expect_terminal(
        line, "", 5,
        "\rwaiting for leader (raftctl status says how it stands) ..."
        "\r                                                          \rraftctl: wait: ");
    fake_start("leader");
    expect_terminal(line, "", 0, "");
}

static void wait_fails(void **state)
{
    (void)state;
    fake_start("refusing");
    expect("wait --for voter", 8, "", "permission_denied");
    fake_start("closing");
    expect("wait --for voter", 3, "", "lost raftd");
    fake_start("degraded"); /* a follower, and the stream ends */
    expect("wait --for leader", 3, "", "ended the stream");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prints_the_state_now),
        cmocka_unit_test(ends_with_its_reader),
        cmocka_unit_test(prints_each_change_as_json),
        cmocka_unit_test(watch_fails),
        cmocka_unit_test(waits_are_over_at_once),
        cmocka_unit_test(waits_until_it_holds),
        cmocka_unit_test(waits_no_longer_than_told),
        cmocka_unit_test(wait_fails),
        cmocka_unit_test(a_long_wait_at_a_terminal_is_told),
    };
    harness_init(argc, argv);
    return cmocka_run_group_tests(tests, NULL, harness_done);
}
