#include <fcntl.h>
#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/log.h"
#include "fixture.h"

static int try_open(struct fixture *f, const char *path, struct admin **out)
{
    const struct admin_config config = {.socket_path = path, .mode = 0640, .group = ""};

    return admin_open(f->base, &config, &f->ops, out);
}

/* Refusals log one error line each, on purpose: keep the test's output readable. */
static int refused(struct fixture *f, const char *path)
{
    struct admin *none = NULL;
    int saved = dup(STDERR_FILENO);
    int quiet = open("/dev/null", O_WRONLY);

    (void)dup2(quiet, STDERR_FILENO);
    int code = try_open(f, path, &none);
    (void)dup2(saved, STDERR_FILENO);
    (void)close(saved);
    (void)close(quiet);
    assert_null(none);
    return code;
}

static void test_mode_is_applied(void **state)
{
    struct fixture *f = *state;
    struct stat st;

    assert_int_equal(stat(f->path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 07777, 0600);
}

static void test_a_live_socket_is_refused(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(refused(f, f->path), -RD_ECONFIG);
    assert_int_equal(access(f->path, F_OK), 0); /* and left alone */
    f->answer_at_once = true;
    struct client c = client_open(f);
    client_ask(f, &c, 1, "status");
    client_expect(f, &c, 1, 0, NULL, 0);
    client_close(&c);
}

static void test_a_stale_socket_is_replaced(void **state)
{
    struct fixture *f = *state;
    struct admin *again = NULL;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/stale.sock", f->directory);
    assert_int_equal(bind(fd, (const struct sockaddr *)(const void *)&address, sizeof address), 0);
    (void)close(fd); /* as after SIGKILL: the file stays, nobody listens */
    assert_int_equal(try_open(f, address.sun_path, &again), 0);
    admin_close(again);
    assert_int_equal(access(address.sun_path, F_OK), -1);
}

static void test_a_file_that_is_no_socket_is_refused(void **state)
{
    struct fixture *f = *state;
    char path[128];

    (void)snprintf(path, sizeof path, "%s/file", f->directory);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(refused(f, path), -RD_ECONFIG);
    assert_int_equal(unlink(path), 0); /* still there */
}

static void test_impossible_paths_are_refused(void **state)
{
    struct fixture *f = *state;
    char path[256];

    assert_int_equal(refused(f, ""), -RD_ECONFIG);
    memset(path, 'x', sizeof path);
    path[0] = '/';
    path[108] = 0;
    assert_int_equal(refused(f, path), -RD_ECONFIG);
    (void)snprintf(path, sizeof path, "%s/missing/raftd.sock", f->directory);
    assert_int_equal(refused(f, path), -RD_ECONFIG);
    assert_int_equal(refused(f, f->directory), -RD_ECONFIG);
}

static void test_a_group_that_does_not_exist_is_nobody(void **state)
{
    struct fixture *f = *state;
    struct admin *a = NULL;
    char path[128];

    (void)snprintf(path, sizeof path, "%s/group.sock", f->directory);
    const struct admin_config config = {
        .socket_path = path, .mode = 0666, .group = "no-such-group-here"};
    assert_int_equal(admin_open(f->base, &config, &f->ops, &a), 0);
    assert_false(a->policy.group_set);
    admin_close(a);
}

static void test_the_group_owns_the_socket(void **state)
{
    struct fixture *f = *state;
    struct group *own = getgrgid(getegid());
    struct admin *a = NULL;
    struct stat st;
    char path[128];

    if (!own) {
        skip();
    }
    (void)snprintf(path, sizeof path, "%s/group.sock", f->directory);
    const struct admin_config config = {.socket_path = path, .mode = 0660, .group = own->gr_name};
    assert_int_equal(admin_open(f->base, &config, &f->ops, &a), 0);
    assert_true(a->policy.group_set);
    assert_int_equal(a->policy.group, getegid());
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_gid, getegid());
    assert_int_equal(st.st_mode & 07777, 0660);
    admin_close(a);
}

/* Another raftd took the path over meanwhile: its file is not ours to remove. */
static void test_close_leaves_a_foreign_file(void **state)
{
    struct fixture *f = *state;
    struct admin *a = NULL;
    char path[128];
    char other[128];

    (void)snprintf(path, sizeof path, "%s/taken.sock", f->directory);
    (void)snprintf(other, sizeof other, "%s/other", f->directory);
    assert_int_equal(try_open(f, path, &a), 0);
    int fd = open(other, O_CREAT | O_EXCL | O_WRONLY, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(rename(other, path), 0);
    admin_close(a);
    assert_int_equal(unlink(path), 0);
}

/* ---- Who connects ---- */

enum {
    CROWD = 2 * ADMIN_ACCEPTS_MAX - 28
}; /* fits the backlog, and is more than one turn accepts */

static void crowd_open(struct fixture *f, struct client clients[CROWD])
{
    for (uint32_t i = 0; i < CROWD; i++) {
        clients[i] = client_open(f);
    }
    assert_int_equal(f->admin->conns_ever, 0); /* all of them wait */
}

static void crowd_close(struct client clients[CROWD])
{
    for (uint32_t i = 0; i < CROWD; i++) {
        client_close(&clients[i]);
    }
}

/* Who connects in a loop does not hold the loop; those that remain are taken in the next turn. */
static void test_a_turn_accepts_so_many(void **state)
{
    struct fixture *f = *state;
    struct client clients[CROWD];

    crowd_open(f, clients);
    fixture_turn(f);
    assert_int_equal(f->admin->conns_ever, ADMIN_ACCEPTS_MAX);
    fixture_turn(f);
    assert_int_equal(f->admin->conns_ever, CROWD);
    crowd_close(clients);
}

/* No descriptor is left: the listener rests, whatever the turns meanwhile do. */
static void test_a_rest_is_not_ended_by_a_turn(void **state)
{
    struct fixture *f = *state;
    struct client clients[CROWD];
    struct rlimit old;

    crowd_open(f, clients);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    struct rlimit none = {.rlim_cur = 0, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    fixture_turn(f);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_true(evtimer_pending(f->admin->listener_retry, NULL));
    for (int i = 0; i < 20 && evtimer_pending(f->admin->listener_retry, NULL); i++) {
        assert_int_equal(f->admin->conns_ever, 0);
        fixture_turn(f);
    }
    mono_ms end = mono_now_ms() + 5000;
    while (f->admin->conns_ever < CROWD && mono_now_ms() < end) {
        fixture_turn(f);
    }
    assert_int_equal(f->admin->conns_ever, CROWD);
    crowd_close(clients);
}

/* ---- The end ---- */

/* A hand-over goes faster when who held a claim can say that it has stopped. */
static void test_a_holder_is_heard_while_draining(void **state)
{
    struct fixture *f = *state;
    struct client holder = client_open(f);
    struct client other = client_open(f);
    char why[128];

    f->answer_at_once = true;
    client_ask(f, &holder, 1, "hold");
    client_expect(f, &holder, 1, 0, NULL, 0);
    client_ask(f, &other, 1, "status");
    client_expect(f, &other, 1, 0, NULL, 0);
    f->holder = 1; /* the first connection */
    admin_drain(f->admin);
    client_expect_end(f, &other);
    client_ask(f, &holder, 2, "status");
    client_expect(f, &holder, 2, -RD_ENOT_READY, why, sizeof why);
    assert_string_equal(why, "this raftd stops, nothing was done: ask another member");
    fixture_turn(f);
    assert_false(admin_is_drained(f->admin));
    client_ask(f, &holder, 3, "release");
    client_expect(f, &holder, 3, 0, NULL, 0);
    f->holder = 0;
    assert_true(admin_is_drained(f->admin));
    assert_string_equal(f->asked[f->asked_count - 1].what, "release");
    client_close(&holder);
    client_close(&other);
}

#define SOCKET_TEST(t) cmocka_unit_test_setup_teardown(t, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SOCKET_TEST(test_mode_is_applied),
        SOCKET_TEST(test_a_live_socket_is_refused),
        SOCKET_TEST(test_a_stale_socket_is_replaced),
        SOCKET_TEST(test_a_file_that_is_no_socket_is_refused),
        SOCKET_TEST(test_impossible_paths_are_refused),
        SOCKET_TEST(test_a_group_that_does_not_exist_is_nobody),
        SOCKET_TEST(test_the_group_owns_the_socket),
        SOCKET_TEST(test_close_leaves_a_foreign_file),
        SOCKET_TEST(test_a_turn_accepts_so_many),
        SOCKET_TEST(test_a_rest_is_not_ended_by_a_turn),
        SOCKET_TEST(test_a_holder_is_heard_while_draining),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
