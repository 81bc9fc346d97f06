/* The guardian with real processes: what it is told, what it says, and what is left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mono.h"
#include "raftctl/family.h"
#include "raftctl/guard.h"

enum { LONG_MS = 60000, GIVE_UP_MS = 20000 };

static struct guard guard;
static struct family family;
static int lines[2]; /* what the command writes to its standard output */

static void start(const char *script, uint64_t term_ms, uint64_t kill_ms, uint64_t grace_ms)
{
    static char sh[] = "sh", c[] = "-c";
    char text[512];
    char *argv[] = {sh, c, text, NULL};
    struct spawn command = {.argv = argv, .child_action = {.sa_handler = SIG_DFL}};
    uint64_t now = mono_now_ms();
    struct guard_times times = {.term_at = now + term_ms, .kill_at = now + kill_ms};
    int output = dup(STDOUT_FILENO);

    (void)snprintf(text, sizeof text, "%s", script);
    assert_int_equal(pipe2(lines, O_CLOEXEC), 0);
    (void)fflush(stdout);
    assert_int_equal(dup2(lines[1], STDOUT_FILENO), STDOUT_FILENO);
    (void)sigemptyset(&command.mask);
    assert_int_equal(guard_start(&command, &times, grace_ms, &guard), 0);
    assert_int_equal(dup2(output, STDOUT_FILENO), STDOUT_FILENO);
    (void)close(output);
    (void)close(lines[1]);
}

/* Up to this piece of news; its value. The test fails when there are others. */
static int until(enum guard_news wanted)
{
    struct guard_report r;
    uint64_t deadline = mono_now_ms() + GIVE_UP_MS;

    for (;;) {
        int code = guard_next(&guard, &r);
        if (code == 1 && r.news == wanted) {
            return r.value;
        }
        assert_true(code == 0 || (code == 1 && r.news == GUARD_STARTED));
        assert_true(mono_now_ms() < deadline);
        (void)poll(&(struct pollfd){.fd = guard.fd, .events = POLLIN}, 1, 100);
    }
}

/* Nobody has what the command wrote to open any more: everything of it has ended. */
static void expect_nothing_left(void)
{
    char c;

    assert_int_equal(poll(&(struct pollfd){.fd = lines[0]}, 1, GIVE_UP_MS), 1);
    while (read(lines[0], &c, 1) > 0) {
    }
    (void)close(lines[0]);
    (void)close(guard.fd);
    uint64_t deadline = mono_now_ms() + GIVE_UP_MS;
    while (family_bury(&family, 0) > 0) { /* the guardian, and what it left to us */
        assert_true(mono_now_ms() < deadline);
        (void)poll(NULL, 0, 1);
    }
}

/* The command has got to where it says so. */
static void expect_ready(void)
{
    char c = 0;

    assert_int_equal(poll(&(struct pollfd){.fd = lines[0], .events = POLLIN}, 1, GIVE_UP_MS), 1);
    assert_int_equal(read(lines[0], &c, 1), 1);
}

static void keeps_its_status(void **state)
{
    static const struct {
        const char *script;
        int status;
    } cases[] = {{"exit 0", 0}, {"exit 3", 3}, {"exit 255", 255}, {"kill -USR1 $$", 128 + SIGUSR1}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        start(cases[i].script, LONG_MS, LONG_MS, LONG_MS);
        assert_int_equal(until(GUARD_GONE), cases[i].status);
        expect_nothing_left();
    }
}

static void says_what_cannot_be_run(void **state)
{
    static const struct {
        const char *name;
        int error, status;
    } cases[] = {{"/no/such/program", ENOENT, 127}, {"/etc", EACCES, 126}, {"", ENOENT, 127}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char name[64];
        char *argv[] = {name, NULL};
        struct spawn command = {.argv = argv};
        struct guard_times times = {.term_at = UINT64_MAX, .kill_at = UINT64_MAX};
        (void)snprintf(name, sizeof name, "%s", cases[i].name);
        (void)sigemptyset(&command.mask);
        assert_int_equal(pipe2(lines, O_CLOEXEC), 0);
        (void)close(lines[1]);
        assert_int_equal(guard_start(&command, &times, LONG_MS, &guard), 0);
        assert_int_equal(until(GUARD_NOT_RUN), cases[i].error);
        assert_int_equal(until(GUARD_GONE), cases[i].status);
        expect_nothing_left();
    }
}

static void runs_nothing_after_the_deadline(void **state)
{
    struct guard_report r;

    (void)state;
    start("echo x", 0, 0, LONG_MS);
    while (guard_next(&guard, &r) >= 0) {
        assert_true(r.news != GUARD_NOT_RUN);
        (void)poll(&(struct pollfd){.fd = guard.fd, .events = POLLIN}, 1, 100);
    }
    assert_int_equal(r.news, GUARD_GONE);
    assert_int_equal(poll(&(struct pollfd){.fd = lines[0], .events = POLLIN}, 1, GIVE_UP_MS), 1);
    char c;
    assert_int_equal(read(lines[0], &c, 1), 0); /* nothing was written */
    expect_nothing_left();
}

#define STUBBORN "trap '' TERM; (setsid sh -c 'echo r; sleep 1000' &) ; sleep 1000 & sleep 1000"

static void ends_it_by_itself(void **state)
{
    uint64_t began = mono_now_ms();

    (void)state;
    start(STUBBORN, 300, 400, LONG_MS);
    (void)until(GUARD_SILENCE);
    assert_true(mono_now_ms() - began >= 300);
    (void)until(GUARD_KILLING);
    assert_true(mono_now_ms() - began >= 400);
    assert_int_equal(until(GUARD_GONE), 128 + SIGKILL);
    expect_nothing_left();
}

static void is_told_to_go_on(void **state)
{
    uint64_t began = mono_now_ms();

    (void)state;
    start("sleep 0.5; exit 5", 200, 300, LONG_MS);
    guard_renew(&guard, &(struct guard_times){began + LONG_MS, began + LONG_MS});
    assert_int_equal(until(GUARD_GONE), 5);
    expect_nothing_left();
}

static void stops_it_with_grace(void **state)
{
    (void)state;
    start("trap 'exit 9' TERM; echo r; while :; do sleep 0.01; done", LONG_MS, LONG_MS, LONG_MS);
    expect_ready();
    guard_stop(&guard);
    assert_int_equal(until(GUARD_GONE), 9);
    expect_nothing_left();

    start(STUBBORN, LONG_MS, LONG_MS, 50);
    expect_ready();
    guard_stop(&guard);
    (void)until(GUARD_KILLING);
    assert_int_equal(until(GUARD_GONE), 128 + SIGKILL);
    expect_nothing_left();
}

static void who_is_stopped_hears_it(void **state)
{
    (void)state;
    start("trap 'exit 9' TERM; echo r; kill -STOP $$; sleep 1000", LONG_MS, LONG_MS, LONG_MS);
    assert_int_equal(until(GUARD_HALTED), SIGSTOP);
    guard_stop(&guard);
    assert_int_equal(until(GUARD_GONE), 9);
    (void)close(lines[0]);
    assert_int_equal(pipe2(lines, O_CLOEXEC), 0);
    (void)close(lines[1]);
    expect_nothing_left();
}

static void ends_what_it_left_behind(void **state)
{
    (void)state;
    start("sleep 1000 & setsid sleep 1000 & exit 4", LONG_MS, LONG_MS, LONG_MS);
    assert_int_equal(until(GUARD_GONE), 4); /* they hear SIGTERM */
    expect_nothing_left();
    start("trap '' TERM; sleep 1000 & setsid sleep 1000 & exit 4", LONG_MS, LONG_MS, 50);
    (void)until(GUARD_KILLING);
    assert_int_equal(until(GUARD_GONE), 4);
    expect_nothing_left();
}

/* Each comes to the guardian when the one above it dies: at whatever moment it looks, somebody may be on
 * the way. */
static void misses_nobody(void **state)
{
    enum { TIMES = 200 };

    (void)state;
    for (int i = 0; i < TIMES; i++) {
        start("trap '' TERM; d='[ $1 = 0 ] && { echo r; exec sleep 1000; }; "
              "setsid sh -c \"$d\" sh $(($1 - 1)); :'; export d; sh -c \"$d\" sh 8; :",
              LONG_MS, LONG_MS, 1);
        expect_ready();
        guard_stop(&guard);
        struct guard_report r;
        uint64_t deadline = mono_now_ms() + GIVE_UP_MS;
        while (guard_next(&guard, &r) >= 0) {
            assert_true(mono_now_ms() < deadline);
            (void)poll(&(struct pollfd){.fd = guard.fd, .events = POLLIN}, 1, 100);
        }
        expect_nothing_left();
    }
}

static void passes_signals_on(void **state)
{
    (void)state;
    start("trap 'exit 6' USR2; echo r; while :; do sleep 0.01; done", LONG_MS, LONG_MS, LONG_MS);
    expect_ready();
    guard_signal(&guard, SIGUSR2);
    assert_int_equal(until(GUARD_GONE), 6);
    expect_nothing_left();
}

static void outlives_nobody(void **state)
{
    (void)state;
    start(STUBBORN, LONG_MS, LONG_MS, LONG_MS); /* whoever gave the orders is gone */
    expect_ready();
    (void)close(guard.fd);
    guard.fd = -1;
    expect_nothing_left();

    start("echo r; exec sleep 1000", LONG_MS, LONG_MS, LONG_MS); /* the guardian is */
    expect_ready();
    assert_int_equal(kill(guard.pid, SIGKILL), 0);
    expect_nothing_left();
}

static int open_family(void **state)
{
    (void)state;
    return family_open(&family);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_its_status),
        cmocka_unit_test(says_what_cannot_be_run),
        cmocka_unit_test(runs_nothing_after_the_deadline),
        cmocka_unit_test(ends_it_by_itself),
        cmocka_unit_test(is_told_to_go_on),
        cmocka_unit_test(stops_it_with_grace),
        cmocka_unit_test(who_is_stopped_hears_it),
        cmocka_unit_test(ends_what_it_left_behind),
        cmocka_unit_test(misses_nobody),
        cmocka_unit_test(passes_signals_on),
        cmocka_unit_test(outlives_nobody),
    };
    return cmocka_run_group_tests(tests, open_family, NULL);
}
