/* Tests of hook.h, hook_list.h and round.h: what a hook is told, which files are hooks, how they end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/mono.h"
#include "raftctl/follow.h"
#include "raftctl/hook.h"
#include "raftctl/hook_list.h"
#include "raftctl/round.h"

enum { PATIENCE_MS = 20000 };

static char dir[64];
static char path[256], text[8192];
static struct ctl_error error;

static int setup(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof dir, "/tmp/raftctl-hook-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    char command[128];

    (void)state;
    (void)snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

static const char *in_dir(const char *name)
{
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static const char *make(const char *name, mode_t mode, const char *script)
{
    int fd = open(in_dir(name), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);

    assert_true(fd >= 0);
    assert_int_equal(dprintf(fd, "#!/bin/sh\ncd %s\n%s\n", dir, script) > 0, 1);
    (void)close(fd);
    assert_int_equal(chmod(path, mode), 0);
    return path;
}

static const char *read_text(const char *name)
{
    int fd = open(in_dir(name), O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? 0 : read(fd, text, sizeof text - 1);

    (void)close(fd);
    text[size > 0 ? size : 0] = 0;
    return text;
}

static bool has_line(const char *name, const char *line)
{
    const char *at = strstr(read_text(name), line);
    size_t size = strlen(line);

    return at && (at == text || at[-1] == '\n') && at[size] == '\n';
}

static void run(const char *script, const char *event, json_t *state, uint64_t timeout_ms,
                struct hook_end *end)
{
    uint64_t deadline = mono_now_ms() + PATIENCE_MS;
    struct hook hook = {0};

    (void)unlink(in_dir("hook"));
    assert_int_equal(hook_start(&hook, make("hook", 0755, script), event, state, timeout_ms), 0);
    while (!hook_step(&hook, end)) {
        assert_true(mono_now_ms() < deadline);
        (void)poll(NULL, 0, 2);
    }
    assert_false(hook.runs);
    assert_false(hook_step(&hook, end));
    json_decref(state);
}

/* ---- What it is told ---- */

static json_t *leads_in_7(void)
{
    return json_loads("{\"state\":\"follower\",\"is_leader\":false,\"term\":7,\"fence\":7,"
                      "\"leader\":{\"id\":2,\"address\":\"h:1\",\"uri\":\"amqp://a b\"}}",
                      0, NULL);
}

static void tells_the_state(void **state)
{
    struct hook_end end;

    (void)state;
    assert_int_equal(setenv("RAFTD_FENCE", "of the caller", 1), 0);
    assert_int_equal(setenv("KEPT", "yes", 1), 0);
    run("env > env; cat > in", "start", leads_in_7(), 0, &end);
    assert_int_equal(end.status, 0);
    assert_int_equal(end.signal, 0);
    assert_false(end.told_to_end);
    assert_true(has_line("env", "RAFTD_EVENT=start"));
    assert_true(has_line("env", "RAFTD_STATE=follower"));
    assert_true(has_line("env", "RAFTD_IS_LEADER=0"));
    assert_true(has_line("env", "RAFTD_LEADER_ID=2"));
    assert_true(has_line("env", "RAFTD_LEADER_ADDRESS=h:1"));
    assert_true(has_line("env", "RAFTD_LEADER_URI=amqp://a b"));
    assert_true(has_line("env", "RAFTD_TERM=7"));
    assert_true(has_line("env", "RAFTD_FENCE=7"));
    assert_null(strstr(text, "of the caller"));
    assert_true(has_line("env", "KEPT=yes"));
    assert_string_equal(read_text("in"),
                        "{\"state\":\"follower\",\"is_leader\":false,\"term\":7,\"fence\":7,"
                        "\"leader\":{\"id\":2,\"address\":\"h:1\",\"uri\":\"amqp://a b\"}}\n");
}

static void tells_what_is_unknown_as_empty(void **state)
{
    json_t *last = leads_in_7();
    struct hook_end end;

    (void)state;
    run("env > env; cat > in", "change", follow_unreachable(last, "gone"), 0, &end);
    json_decref(last);
    assert_true(has_line("env", "RAFTD_EVENT=change"));
    assert_true(has_line("env", "RAFTD_STATE=unreachable"));
    assert_true(has_line("env", "RAFTD_IS_LEADER=0"));
    assert_true(has_line("env", "RAFTD_LEADER_ID="));
    assert_true(has_line("env", "RAFTD_LEADER_ADDRESS="));
    assert_true(has_line("env", "RAFTD_LEADER_URI="));
    assert_true(has_line("env", "RAFTD_TERM=7"));
    assert_true(has_line("env", "RAFTD_FENCE="));
    assert_string_equal(read_text("in"),
                        "{\"state\":\"unreachable\",\"is_leader\":false,\"term\":7,\"leader\":null,"
                        "\"fence\":null,\"lease_remaining_ms\":0,\"reason\":\"gone\"}\n");
}

static void knows_what_differs(void **state)
{
    json_t *a = leads_in_7();
    json_t *b = leads_in_7();

    (void)state;
    assert_true(follow_differs(NULL, a));
    assert_false(follow_differs(a, b));
    (void)json_object_set_new(b, "lease_remaining_ms", json_integer(12));
    (void)json_object_set_new(b, "reason", json_string("for another 12 ms"));
    assert_false(follow_differs(a, b));
    (void)json_object_set_new(b, "fence", json_null());
    assert_true(follow_differs(a, b));
    (void)json_object_set_new(b, "fence", json_integer(7));
    (void)json_object_set_new(json_object_get(b, "leader"), "uri", json_null());
    assert_true(follow_differs(a, b));
    json_decref(a);
    json_decref(b);
}

/* ---- How it ends ---- */

static void tells_how_it_ended(void **state)
{
    struct hook_end end;

    (void)state;
    run("exit 3", "start", leads_in_7(), 0, &end);
    assert_int_equal(end.status, 3);
    run("kill -9 $$", "start", leads_in_7(), 0, &end);
    assert_int_equal(end.status, -1);
    assert_int_equal(end.signal, SIGKILL);
    assert_false(end.told_to_end);
}

/* Whatever raftctl blocks or its caller ignores. */
static void begins_like_any_program(void **state)
{
    struct hook_end end;
    sigset_t set;

    (void)state;
    (void)sigfillset(&set);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    run("kill -TERM $$; exit 4", "start", leads_in_7(), 0, &end);
    (void)sigprocmask(SIG_UNBLOCK, &set, NULL);
    assert_int_equal(end.signal, SIGTERM);
    run("ls -l /proc/self/fd | grep -c memfd > fds", "start", leads_in_7(), 0, &end);
    assert_string_equal(read_text("fds"), "1\n"); /* of what is ours it has its input only */
}

static void ends_what_takes_too_long(void **state)
{
    struct hook_end end;

    (void)state;
    run("sleep 60", "start", leads_in_7(), 50, &end);
    assert_true(end.told_to_end);
    assert_int_equal(end.signal, SIGTERM);
    assert_in_range(end.took_ms, 50, HOOK_KILL_AFTER_MS - 1);
}

static void ends_what_will_not_end(void **state)
{
    struct hook_end end;

    (void)state;
    run("trap '' TERM; echo $$ > pid; sleep 60 & wait; while :; do sleep 1; done", "start",
        leads_in_7(), 50, &end);
    assert_true(end.told_to_end);
    assert_int_equal(end.signal, SIGKILL);
    assert_in_range(end.took_ms, 50 + HOOK_KILL_AFTER_MS, PATIENCE_MS);
    pid_t group = (pid_t)strtol(read_text("pid"), NULL, 10);
    uint64_t deadline = mono_now_ms() + PATIENCE_MS;
    while (kill(-group, 0) == 0) { /* until somebody has reaped the sleep */
        assert_true(mono_now_ms() < deadline);
        (void)poll(NULL, 0, 2);
    }
    assert_int_equal(errno, ESRCH);
}

static void shortens_a_limit(void **state)
{
    struct hook hook = {0};
    struct hook_end end;
    json_t *told = leads_in_7();

    (void)state;
    (void)unlink(in_dir("hook"));
    assert_int_equal(hook_start(&hook, make("hook", 0755, "exec sleep 60"), "start", told, 0), 0);
    assert_true(hook_deadline(&hook) == UINT64_MAX);
    hook_limit(&hook, 10);
    hook_limit(&hook, 60000);
    assert_true(hook_deadline(&hook) <= mono_now_ms() + 10);
    while (!hook_step(&hook, &end)) {
        (void)poll(NULL, 0, 2);
    }
    assert_int_equal(end.signal, SIGTERM);
    json_decref(told);
}

static void says_that_it_cannot_be_run(void **state)
{
    struct hook hook = {0};
    json_t *told = leads_in_7();

    (void)state;
    assert_int_equal(hook_start(&hook, in_dir("none"), "start", told, 0), -ENOENT);
    assert_false(hook.runs);
    (void)unlink(in_dir("hook"));
    assert_int_equal(hook_start(&hook, make("hook", 0644, ""), "start", told, 0), -EACCES);
    json_decref(told);
}

/* ---- Which files ---- */

static void knows_names(void **state)
{
    static const char *const good[] = {"a", "50-x", "a_b", "x.sh", "A1", "y.dpkg"};
    static const char *const bad[] = {"",           ".",         "..",         ".hidden",
                                      "a~",         "a b",       "a#",         "x.dpkg-old",
                                      "x.dpkg-new", "x.rpmsave", "y.ucf-dist", "\xc3\xa4"};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(hook_list_is_name(good[i]));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(hook_list_is_name(bad[i]));
    }
}

static void lists_a_directory(void **state)
{
    struct hook_list list = {0};
    char folder[sizeof path];

    (void)state;
    (void)snprintf(folder, sizeof folder, "%s", in_dir("d"));
    assert_int_equal(mkdir(folder, 0755), 0);
    assert_int_equal(hook_list_make(folder, &list, &error), 0);
    assert_int_equal(list.count, 0);
    (void)make("d/b", 0755, "");
    (void)make("d/a.sh", 0755, "");
    (void)make("d/10", 0755, "");
    (void)make("d/B", 0755, "");
    (void)make("d/README", 0644, "");
    (void)make("d/a~", 0755, "");
    assert_int_equal(mkdir(in_dir("d/folder"), 0755), 0);
    assert_int_equal(symlink("b", in_dir("d/linked")), 0);
    assert_int_equal(symlink("nothing", in_dir("d/dangling")), 0);
    assert_int_equal(hook_list_make(folder, &list, &error), 0);
    assert_int_equal(list.count, 5);
    static const char *const names[] = {"10", "B", "a.sh", "b", "linked"};
    for (uint32_t i = 0; i < list.count; i++) {
        assert_string_equal(strrchr(list.paths[i], '/') + 1, names[i]);
    }
    hook_list_done(&list);
}

static void refuses_what_is_neither(void **state)
{
    struct hook_list list = {0};

    (void)state;
    assert_int_equal(hook_list_make(in_dir("none"), &list, &error), -RD_EUSAGE);
    assert_non_null(strstr(error.message, "No such file"));
    assert_int_equal(hook_list_make(make("plain", 0644, ""), &list, &error), -RD_EUSAGE);
    assert_non_null(strstr(error.message, "neither a directory nor an executable file: chmod +x"));
    assert_int_equal(hook_list_make("/dev/null", &list, &error), -RD_EUSAGE);
    assert_non_null(strstr(error.message, "neither a directory nor an executable file"));
    assert_int_equal(hook_list_make(make("program", 0755, ""), &list, &error), 0);
    assert_int_equal(list.count, 1);
    hook_list_done(&list);
}

/* ---- Rounds ---- */

static void step_until_closed(struct round *r)
{
    uint64_t deadline = mono_now_ms() + PATIENCE_MS;

    do {
        assert_int_equal(round_step(r, &error), 0);
        assert_true(mono_now_ms() < deadline);
        (void)poll(NULL, 0, 2);
    } while (r->open);
}

static void run_again(struct round *r)
{
    assert_true(r->again != UINT64_MAX && round_deadline(r) == r->again);
    r->again = mono_now_ms();
    step_until_closed(r);
}

static void runs_those_again_that_failed(void **state)
{
    struct round r;
    json_t *told = leads_in_7();
    char folder[sizeof path];

    (void)state;
    (void)snprintf(folder, sizeof folder, "%s", in_dir("r"));
    assert_int_equal(mkdir(folder, 0755), 0);
    (void)make("r/1", 0755, "echo 1 $RAFTD_EVENT >> ran");
    (void)make("r/2", 0755, "echo 2 $RAFTD_EVENT >> ran; test -e good");
    (void)make("r/3", 0755, "echo 3 $RAFTD_EVENT >> ran; test -e good");
    (void)make("r/4", 0755, "echo 4 $RAFTD_EVENT >> ran");
    round_init(&r, folder);
    round_begin(&r, told);
    step_until_closed(&r);
    assert_string_equal(read_text("ran"), "1 start\n2 start\n3 start\n4 start\n");
    assert_int_equal(r.again_ms, 1000);
    run_again(&r);
    assert_string_equal(read_text("ran"), "1 start\n2 start\n3 start\n4 start\n2 start\n3 start\n");
    assert_int_equal(r.again_ms, 2000);
    r.again_ms = 20000;
    (void)unlink(in_dir("r/2"));
    run_again(&r);
    assert_int_equal(r.again_ms, 30000);
    (void)unlink(in_dir("ran"));
    (void)make("good", 0644, "");
    run_again(&r);
    assert_string_equal(read_text("ran"), "3 start\n");
    assert_true(r.again == UINT64_MAX && round_deadline(&r) == UINT64_MAX);
    round_begin(&r, told);
    step_until_closed(&r);
    assert_string_equal(read_text("ran"), "3 start\n1 change\n3 change\n4 change\n");
    round_done(&r);
    json_decref(told);
}

static void runs_what_could_not_be_listed(void **state)
{
    struct round r;
    json_t *told = leads_in_7();
    char file[sizeof path];

    (void)state;
    (void)snprintf(file, sizeof file, "%s", in_dir("late"));
    round_init(&r, file);
    round_begin(&r, told);
    step_until_closed(&r);
    assert_int_equal(r.again_ms, 1000);
    (void)make("late", 0755, "echo $RAFTD_EVENT > ran");
    run_again(&r);
    assert_string_equal(read_text("ran"), "start\n");
    assert_true(r.again == UINT64_MAX);
    round_done(&r);
    json_decref(told);
}

static void stops_after_the_one_that_runs(void **state)
{
    struct round r;
    json_t *told = leads_in_7();
    char folder[sizeof path];
    uint64_t deadline = mono_now_ms() + PATIENCE_MS;

    (void)state;
    (void)snprintf(folder, sizeof folder, "%s", in_dir("s"));
    assert_int_equal(mkdir(folder, 0755), 0);
    (void)make("s/1", 0755, "exec sleep 60");
    (void)make("s/2", 0755, "touch second");
    round_init(&r, folder);
    round_begin(&r, told);
    assert_int_equal(round_step(&r, &error), 0);
    assert_true(r.hook.runs);
    round_stop(&r, 20);
    while (r.hook.runs) {
        assert_true(mono_now_ms() < deadline);
        assert_int_equal(round_step(&r, &error), 0);
        (void)poll(NULL, 0, 2);
    }
    assert_int_not_equal(access(in_dir("second"), F_OK), 0);
    round_done(&r);
    json_decref(told);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_the_state),
        cmocka_unit_test(tells_what_is_unknown_as_empty),
        cmocka_unit_test(knows_what_differs),
        cmocka_unit_test(tells_how_it_ended),
        cmocka_unit_test(begins_like_any_program),
        cmocka_unit_test(ends_what_takes_too_long),
        cmocka_unit_test(ends_what_will_not_end),
        cmocka_unit_test(shortens_a_limit),
        cmocka_unit_test(says_that_it_cannot_be_run),
        cmocka_unit_test(knows_names),
        cmocka_unit_test(lists_a_directory),
        cmocka_unit_test(refuses_what_is_neither),
        cmocka_unit_test(runs_those_again_that_failed),
        cmocka_unit_test(runs_what_could_not_be_listed),
        cmocka_unit_test(stops_after_the_one_that_runs),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
