#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "raftd/systemd.h"

static int manager = -1; /* the service manager's end */
static char directory[64];
static char socket_path[96];

static int listen_on(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t size = strlen(name);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    memcpy(address.sun_path, name, size);
    if (name[0] == '@') {
        address.sun_path[0] = 0;
    }
    socklen_t address_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
    assert_int_equal(bind(fd, (const struct sockaddr *)(const void *)&address, address_size), 0);
    return fd;
}

static int setup(void **state)
{
    (void)state;
    (void)snprintf(directory, sizeof directory, "/tmp/raftd-systemd-XXXXXX");
    assert_non_null(mkdtemp(directory));
    (void)snprintf(socket_path, sizeof socket_path, "%s/notify", directory);
    manager = listen_on(socket_path);
    (void)setenv("NOTIFY_SOCKET", socket_path, 1);
    (void)unsetenv("WATCHDOG_USEC");
    (void)unsetenv("WATCHDOG_PID");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    (void)close(manager);
    (void)unlink(socket_path);
    (void)rmdir(directory);
    return 0;
}

static void expect(const char *text)
{
    char got[512];
    ssize_t n = recv(manager, got, sizeof got - 1, 0);

    assert_true(n > 0);
    got[n] = 0;
    assert_string_equal(got, text);
}

static void expect_nothing(void)
{
    char got[512];

    assert_int_equal(recv(manager, got, sizeof got, 0), -1);
    assert_int_equal(errno, EAGAIN);
}

static void test_messages(void **state)
{
    struct systemd s;

    (void)state;
    systemd_init(&s);
    systemd_ready(&s);
    expect("READY=1");
    systemd_stopping(&s);
    expect("STOPPING=1");
    systemd_extend(&s, 30000);
    expect("EXTEND_TIMEOUT_USEC=30000000");
    systemd_done(&s);
}

static void test_status_is_sent_when_it_changes(void **state)
{
    struct systemd s;
    char longer[600];

    (void)state;
    systemd_init(&s);
    systemd_status(&s, "leader, term 7");
    expect("STATUS=leader, term 7");
    systemd_status(&s, "leader, term 7");
    expect_nothing();
    systemd_status(&s, "leader, term 8");
    expect("STATUS=leader, term 8");
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    systemd_status(&s, longer);
    char got[512];
    assert_int_equal(recv(manager, got, sizeof got, 0), 7 + 255);
    systemd_status(&s, longer);
    expect_nothing();
    systemd_done(&s);
}

/* A busy manager: READY waits for it, and what it has not got is told again. */
static void test_full_queue(void **state)
{
    struct systemd s;
    char got[512];

    (void)state;
    systemd_init(&s);
    while (send(s.fd, "x", 1, 0) == 1) {
    }
    systemd_status(&s, "leader");
    pid_t child = fork();
    if (child == 0) {
        (void)usleep(200000);
        _exit(recv(manager, got, sizeof got, 0) == 1 ? 0 : 1);
    }
    systemd_ready(&s);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    ssize_t n;
    while ((n = recv(manager, got, sizeof got, 0)) == 1) {
    }
    assert_int_equal(n, 7);
    assert_memory_equal(got, "READY=1", 7);
    systemd_status(&s, "leader");
    expect("STATUS=leader");
    systemd_done(&s);
}

static void test_abstract_socket(void **state)
{
    struct systemd s;
    char name[64];

    (void)state;
    (void)close(manager);
    (void)snprintf(name, sizeof name, "@raftd-test-%ld", (long)getpid());
    manager = listen_on(name);
    (void)setenv("NOTIFY_SOCKET", name, 1);
    systemd_init(&s);
    systemd_ready(&s);
    expect("READY=1");
    systemd_done(&s);
}

static void test_watchdog_pings_at_half_the_time(void **state)
{
    struct systemd s;

    (void)state;
    (void)setenv("WATCHDOG_USEC", "10000000", 1);
    systemd_init(&s);
    assert_int_equal(s.watchdog_ms, 5000);
    assert_int_equal(systemd_watchdog(&s, 1000), 6000);
    expect("WATCHDOG=1");
    assert_int_equal(systemd_watchdog(&s, 5999), 6000);
    expect_nothing();
    assert_int_equal(systemd_watchdog(&s, 6000), 11000);
    expect("WATCHDOG=1");
    systemd_done(&s);
}

/* The manager counts in microseconds: 72 minutes are more than 32 bits hold. */
static void test_watchdogs_of_hours(void **state)
{
    struct systemd s;

    (void)state;
    (void)setenv("WATCHDOG_USEC", "4294967296", 1);
    systemd_init(&s);
    assert_int_equal(s.watchdog_ms, 2147483);
    assert_int_equal(systemd_watchdog(&s, 1000), 1000 + 2147483);
    expect("WATCHDOG=1");
    systemd_done(&s);
    (void)setenv("WATCHDOG_USEC", "18446744073709551614", 1);
    systemd_init(&s);
    assert_int_equal(s.watchdog_ms, UINT32_MAX);
    assert_true(systemd_watchdog(&s, 1000) == 1000 + (uint64_t)UINT32_MAX);
    expect("WATCHDOG=1");
    systemd_done(&s);
}

static void test_watchdog_of_another_process(void **state)
{
    struct systemd s;
    char pid[32];

    (void)state;
    (void)setenv("WATCHDOG_USEC", "10000000", 1);
    (void)setenv("WATCHDOG_PID", "1", 1);
    systemd_init(&s);
    assert_true(systemd_watchdog(&s, 1000) == UINT64_MAX);
    expect_nothing();
    systemd_done(&s);
    (void)snprintf(pid, sizeof pid, "%ld", (long)getpid());
    (void)setenv("WATCHDOG_PID", pid, 1);
    systemd_init(&s);
    assert_int_equal(s.watchdog_ms, 5000);
    systemd_done(&s);
}

static void test_nobody_listens(void **state)
{
    static const char *const names[] = {"", "/", "relative", "/nonexistent/notify"};
    struct systemd s;

    (void)state;
    (void)unsetenv("NOTIFY_SOCKET");
    (void)setenv("WATCHDOG_USEC", "10000000", 1);
    systemd_init(&s);
    systemd_ready(&s);
    systemd_status(&s, "x");
    assert_true(systemd_watchdog(&s, 1) == UINT64_MAX);
    systemd_done(&s);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)setenv("NOTIFY_SOCKET", names[i], 1);
        systemd_init(&s);
        assert_int_equal(s.fd, -1);
        systemd_done(&s);
    }
}

static void test_a_full_manager_does_not_block_us(void **state)
{
    struct systemd s;

    (void)state;
    systemd_init(&s);
    for (int i = 0; i < 10000; i++) {
        systemd_extend(&s, 1000);
    }
    expect("EXTEND_TIMEOUT_USEC=1000000");
    systemd_done(&s);
}

#define SYSTEMD_TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SYSTEMD_TEST(test_messages),
        SYSTEMD_TEST(test_status_is_sent_when_it_changes),
        SYSTEMD_TEST(test_full_queue),
        SYSTEMD_TEST(test_abstract_socket),
        SYSTEMD_TEST(test_watchdog_pings_at_half_the_time),
        SYSTEMD_TEST(test_watchdogs_of_hours),
        SYSTEMD_TEST(test_watchdog_of_another_process),
        SYSTEMD_TEST(test_nobody_listens),
        SYSTEMD_TEST(test_a_full_manager_does_not_block_us),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
