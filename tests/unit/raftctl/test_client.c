/* What raftctl says when raftd is not there, not willing, silent, or goes away. */
#include "harness.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mono.h"
#include "raftctl/client.h"

static const char *const commands[] = {
    "status",
    "members",
    "leader",
    "is-leader",
    "wait --for leader",
    "watch",
    "bootstrap",
    "add-server 4 n4:7400",
    "promote 4",
    "demote 4",
    "remove-server 4",
    "replace-server 3 4 n4:7400",
    "step-down",
    "transfer 2",
    "put a b",
    "get a",
    "del a",
    "list",
    "batch",
    "log-level info",
    "bench --duration 1s",
};

static void nobody_there(void **state)
{
    (void)state;
    fake_kill();
    (void)unlink(fake_socket());
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        expect(commands[i], 3, "", "the socket does not exist. Is raftd running");
    }
    expect("-s /nowhere/x get a", 3, "", "no raftd at /nowhere/x: ");
    expect("-s /dev/null/x get a", 3, "", "no raftd at /dev/null/x: ");
    expect("-s /dev/null get a", 3, "", "no raftd at /dev/null: that is no socket");
}

static void nobody_there_as_json(void **state)
{
    struct run r;

    (void)state;
    ctl_run(&r, "get a --json -s /nowhere/x");
    assert_int_equal(r.status, 3);
    assert_ptr_equal(
        strstr(buf_str(&r.out), "{\"error\":{\"code\":\"unreachable\",\"message\":\"no raftd"),
        buf_str(&r.out));
    assert_int_equal(r.err.size, 0);
    run_done(&r);
}

static void a_socket_left_behind(void **state)
{
    (void)state;
    fake_start("leader");
    fake_kill();
    expect("status", 3, "", "nobody listens on it. raftd has stopped");
}

static void a_path_too_long(void **state)
{
    char line[200] = "status -s /";

    (void)state;
    memset(line + 11, 'x', 120);
    expect(line, 2, "", "the socket path has 121 bytes, the limit is 107");
}

static void the_socket_option_beats_the_environment(void **state)
{
    (void)state;
    fake_start("leader");
    expect("is-leader", 0, NULL, NULL); /* by RAFTCTL_SOCKET */
    expect("is-leader -s /nowhere/x", 3, "", "/nowhere/x");
}

/* Root may connect to anything, so this runs as somebody else, and in this process. */
static void no_permission(void **state)
{
    struct ctl_error e = {0};
    struct client *c = NULL;

    (void)state;
    fake_start("leader");
    assert_int_equal(chmod(fake_socket(), 0600), 0);
    if (geteuid() == 0) {
        assert_int_equal(seteuid(65534), 0);
    } else {
        assert_int_equal(chmod(fake_socket(), 0), 0);
    }
    int code = client_open(fake_socket(), mono_now_ms() + 1000, &c, &e);
    if (getuid() == 0) {
        assert_int_equal(seteuid(0), 0);
    }
    assert_int_equal(code, -RD_EPERMISSION);
    assert_null(c);
    assert_int_equal(err_exit_ctl(code), 8);
    assert_non_null(strstr(e.message, "no permission to connect to "));
}

static void no_room_in_the_backlog(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    int fds[64];
    int count = 0;

    (void)state;
    fake_kill();
    (void)unlink(fake_socket());
    memcpy(address.sun_path, fake_socket(), strlen(fake_socket()) + 1);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 0), 0);
    do {
        assert_in_range(count, 0, 63);
        fds[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    } while (connect(fds[count++], (struct sockaddr *)&address, sizeof address) == 0);
    assert_int_equal(errno, EAGAIN);
    expect("get a --timeout 100ms", 3, "", "accepted no connection in time");
    while (count) {
        (void)close(fds[--count]);
    }
    (void)close(listener);
}

static void silence(void **state)
{
    struct run r;

    (void)state;
    fake_start("mute");
    ctl_run(&r, "get a --timeout 100ms --json");
    assert_int_equal(r.status, 5);
    assert_ptr_equal(strstr(buf_str(&r.out), "{\"error\":{\"code\":\"timeout\""), buf_str(&r.out));
    assert_in_range(r.took_ms, 100, 5000);
    run_done(&r);
    ctl_run(&r, "put a b --timeout 100ms --json");
    assert_int_equal(r.status, 5);
    assert_ptr_equal(strstr(buf_str(&r.out), "{\"error\":{\"code\":\"unknown_outcome\""),
                     buf_str(&r.out));
    run_done(&r);
    expect("bootstrap --timeout 50ms", 5, "", "look before repeating it");
    expect("status --timeout 50ms", 5, "", "did not answer in time");
}

#define BLANKS "                                           "
#define WAITS "\rwaiting for the answer (no leader yet?) ...\r" BLANKS "\r"

/* Of what takes longer than two seconds, and nothing else. */
static void who_waits_at_a_terminal_is_told(void **state)
{
    (void)state;
    fake_start("mute");
    expect_terminal("get a --timeout 4s", "", 5, WAITS "raftctl: get: timeout: raftd at ");
    expect_terminal("get a --timeout 1s", "", 5, "raftctl: get: timeout: raftd at ");
    expect_terminal("get a --timeout 2s --json -q", "", 5, "");
    expect_terminal("batch", "get a --timeout 2s\n", 0, "");
}

static void going_away(void **state)
{
    (void)state;
    fake_start("leader");
    expect("get vanish", 3, "", "it closed the connection");
    expect("put vanish v", 5, "", "unknown_outcome: lost raftd at ");
    expect("del vanish", 5, "", "It may or may not have been applied");
    expect("del exit", 5, "", "unknown_outcome");
    fake_start("closing");
    expect("status", 3, "", "lost raftd at ");
}

/* A reply to no request is about the connection: nothing was executed, and raftd's own words say
 * more than "lost". */
static void refused_connections(void **state)
{
    static const char why[] =
        ": too_large: 256 admin connections are open, the limit: close some first\n";
    struct run r;

    (void)state;
    fake_start("full");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(commands[i], "batch") != 0) {
            expect(commands[i], 1, "", why);
        }
    }
    expect("put a b --json", 1,
           "{\"error\":{\"code\":\"too_large\",\"message\":\"256 admin connections are open, the "
           "limit: close some first\",\"leader\":null}}\n",
           NULL);
    ctl_run_input(&r, "batch", "put a b\nget a\n", 14);
    assert_int_equal(r.status, 3); /* all lines are answered, but raftd was lost */
    const char *first = strstr(buf_str(&r.out), "{\"error\":{\"code\":\"too_large\"");
    assert_ptr_equal(first, buf_str(&r.out));
    assert_non_null(strstr(first + 1, "\n{\"error\":{\"code\":\"too_large\""));
    run_done(&r);
    fake_start("stray");
    expect("put a b", 1, "", "raftctl: put: invalid: that is no request\n");
    expect("get a", 1, "", "raftctl: get: invalid: that is no request\n");
    expect("bench --duration 1s", 1, "", "raftctl: bench: invalid: that is no request\n");
}

/* raftd hangs up while a large request is on its way: what it said before that still counts. */
static void refused_in_the_middle_of_a_request(void **state)
{
    static char big[CTL_VALUE_MAX];
    struct run r;

    (void)state;
    fake_start("full");
    ctl_run_input(&r, "put a -", big, sizeof big);
    assert_int_equal(r.status, 1);
    assert_string_equal(buf_str(&r.err), "raftctl: put: too_large: 256 admin connections are open, "
                                         "the limit: close some first\n");
    run_done(&r);
    fake_start("closing"); /* and this one says nothing */
    ctl_run_input(&r, "put a -", big, sizeof big);
    assert_int_equal(r.status, 3);
    assert_non_null(strstr(buf_str(&r.err), "it closed the connection"));
    run_done(&r);
}

static void strangers(void **state)
{
    (void)state;
    fake_start("foreign");
    expect("get a", 3, "", "does not speak this raftctl's protocol");
    expect("put a b", 5, "", "unknown_outcome");
    expect("bench --duration 1s", 3, "", "does not speak this raftctl's protocol");
    fake_start("broken");
    expect("get a", 3, "", "what is no JSON");
    expect("is-leader --json", 3, NULL, NULL);
    expect("get a --json", 0, "{\"half\":\n", NULL); /* verbatim: raftd is the writer */
}

/* A request that does not fit in the socket's buffers, to somebody who never reads. */
static void a_request_nobody_takes(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    static char big[CTL_VALUE_MAX];
    struct run r;

    (void)state;
    fake_kill();
    (void)unlink(fake_socket());
    memcpy(address.sun_path, fake_socket(), strlen(fake_socket()) + 1);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 8), 0);
    ctl_run_input(&r, "put a - --timeout 50ms", big, sizeof big);
    assert_int_equal(r.status, 5);
    assert_non_null(strstr(buf_str(&r.err), "timeout: raftd at "));
    assert_non_null(strstr(buf_str(&r.err), "Nothing was changed"));
    run_done(&r);
    (void)close(listener);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_there),
        cmocka_unit_test(nobody_there_as_json),
        cmocka_unit_test(a_socket_left_behind),
        cmocka_unit_test(a_path_too_long),
        cmocka_unit_test(the_socket_option_beats_the_environment),
        cmocka_unit_test(no_permission),
        cmocka_unit_test(no_room_in_the_backlog),
        cmocka_unit_test(silence),
        cmocka_unit_test(who_waits_at_a_terminal_is_told),
        cmocka_unit_test(going_away),
        cmocka_unit_test(refused_connections),
        cmocka_unit_test(refused_in_the_middle_of_a_request),
        cmocka_unit_test(strangers),
        cmocka_unit_test(a_request_nobody_takes),
    };
    harness_init(argc, argv);
    return cmocka_run_group_tests(tests, NULL, harness_done);
}
