/* Tests of stop.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mono.h"
#include "raftd/stop.h"

/* Run `body` in a child whose stderr is a pipe: how it ended, as of waitpid(), and what it wrote. */
static int in_child(void (*body)(void), char *text, size_t text_size)
{
    int ends[2];
    int status;

    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        (void)close(ends[0]);
        (void)close(ends[1]);
        body();
        _exit(0);
    }
    (void)close(ends[1]);
    ssize_t size = read(ends[0], text, text_size - 1);
    assert_true(size >= 0);
    text[size] = 0;
    (void)close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void until_later(mono_ms ms)
{
    for (mono_ms end = mono_now_ms() + ms; mono_now_ms() < end;) {
        (void)poll(NULL, 0, 5);
    }
}

static void the_first_is_noted(void **state)
{
    static const int numbers[] = {SIGTERM, SIGINT};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        stop_init();
        assert_int_equal(stop_signal(), 0);
        (void)raise(numbers[i]);
        assert_int_equal(stop_signal(), numbers[i]);
    }
}

/* As timeout(1) and a terminal send it. */
static void many_at_once_are_one(void **state)
{
    (void)state;
    stop_init();
    (void)raise(SIGTERM);
    (void)raise(SIGINT);
    (void)raise(SIGTERM);
    stop_take(SIGTERM);
    assert_int_equal(stop_signal(), SIGTERM);
}

static void ask_twice(void)
{
    stop_init();
    (void)raise(SIGTERM);
    until_later(STOP_REPEAT_MS);
    (void)raise(SIGINT);
}

static void ask_twice_through_a_loop(void)
{
    stop_init();
    stop_take(SIGTERM);
    until_later(STOP_REPEAT_MS);
    stop_take(SIGTERM);
}

static void a_second_one_ends_the_process(void **state)
{
    char text[256];

    (void)state;
    int status = in_child(ask_twice, text, sizeof text);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
    assert_string_equal(text, "raftd: a second signal: ends at once\n");
    status = in_child(ask_twice_through_a_loop, text, sizeof text);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_is_noted),
        cmocka_unit_test(many_at_once_are_one),
        cmocka_unit_test(a_second_one_ends_the_process),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
