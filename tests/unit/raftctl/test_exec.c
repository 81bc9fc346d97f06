#include "harness.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void runs_it(void **state)
{
    (void)state;
    fake_start("holder");
    expect("exec true", 0, "", NULL);
    expect("exec -- sh -c 'echo $RAFTD_FENCE $RAFTD_TERM $RAFTD_NODE_ID $RAFTD_CLUSTER_ID; exit 9'",
           9, "7 7 1 00112233445566778899aabbccddeeff\n", NULL);
    expect("exec -- sh -c 'kill -KILL $$'", 128 + SIGKILL, "", NULL);
    expect("exec --json -- no-such-program", 127, NULL, NULL);
}

/* 2 may be the exit status of the command that it was to run. */
static void a_bad_command_line_is_told_from_a_command_that_ends_with_2(void **state)
{
    struct run r;

    (void)state;
    fake_start("holder");
    expect("exec -- sh -c 'exit 2'", 2, "", NULL);
    expect("exec", 125, "", "exec: an argument is missing: -- CMD...\nUsage: raftctl exec ");
    expect("exec --grace x -- true", 125, "", "--grace: 'x' is not a duration");
    expect("--frob exec true", 125, "", "unknown option '--frob'");
    ctl_run(&r, "exec --json --grace x -- true");
    assert_int_equal(r.status, 125);
    assert_non_null(strstr(buf_str(&r.out), "{\"code\":\"invalid\""));
    run_done(&r);
    ctl_run(&r, "exec --help");
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(buf_str(&r.out), "Usage: raftctl exec "));
    assert_int_equal(r.err.size, 0);
    run_done(&r);
    expect("put", 2, "", "an argument is missing");
}

/* Whatever else than a yes comes is the end of it. */
static void is_lost(void **state)
{
    static const struct {
        const char *mode, *why;
    } cases[] = {
        {"usurped", "leadership with fence 7 is lost: this node leads with fence 9 now. "},
        {"deposed", "leadership with fence 7 is lost: this node: it told so. "},
        {"garbled", "leadership with fence 7 is lost: "},
        {"balking", "leadership with fence 7 is lost: no such command. sleep was stopped within "},
        {"falling-silent", "leadership with fence 7 is lost: raftd has not answered for "},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fake_start(cases[i].mode);
        expect("exec sleep 1000", 75, "", cases[i].why);
    }
    fake_start("falling-silent");
    expect("exec -- sh -c \"trap '' TERM; sleep 1000\"", 75, "", "sh was killed within ");
}

/* A raftd that says what no waiting helps against. */
static void gives_up(void **state)
{
    (void)state;
    fake_start("never-holds");
    expect("exec true", 125, "", "exec: invalid: no such command");
    fake_start("refusing");
    expect("exec true", 125, "", "permission_denied");
}

static void waits(void **state)
{
    static const struct {
        const char *mode, *last;
    } cases[] = {{"follower", "this node is follower in term 7, node 1 leads"},
                 {"alone", "this node is candidate in term 6, no leader is known"},
                 {"mute", "raftd has not answered"},
                 {"closing", "lost raftd"},
                 {"full", "256 admin connections are open"},
                 {"foreign", "does not speak"},
                 {"degraded", "ended the stream: it is stopping"}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fake_start(cases[i].mode);
        expect("exec --wait-timeout 300ms -q true", 124, "", cases[i].last);
    }
    fake_kill();
    expect("exec --wait-timeout 50ms true", 124, "", "waiting for raftd: ");
}

static void not_in_a_batch(void **state)
{
    struct run r;

    (void)state;
    fake_start("holder");
    ctl_run_input(&r, "batch", "exec true\n", 10);
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(buf_str(&r.out), "exec cannot run in a batch"));
    run_done(&r);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_it),
        cmocka_unit_test(a_bad_command_line_is_told_from_a_command_that_ends_with_2),
        cmocka_unit_test(is_lost),
        cmocka_unit_test(gives_up),
        cmocka_unit_test(waits),
        cmocka_unit_test(not_in_a_batch),
    };

    harness_init(argc, argv);
    return cmocka_run_group_tests(tests, NULL, harness_done);
}
