#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/err.h"
#include "base/shortage.h"
#include "fixture.h"

static int accepted_fd = -1;

static bool takes_more = true;

static bool accepted_cb(void *arg, int fd, const struct sockaddr *from)
{
    uint32_t *count = arg;

    assert_true(from->sa_family == AF_INET || from->sa_family == AF_INET6);
    (*count)++;
    if (accepted_fd >= 0) {
        assert_int_equal(close(accepted_fd), 0);
    }
    accepted_fd = fd;
    return takes_more;
}

static void accepted_close(void)
{
    assert_int_equal(close(accepted_fd), 0);
    accepted_fd = -1;
}

static struct listener *open_on(struct world *w, const char *host, uint32_t *count)
{
    struct host_port at = {.port = 0};
    struct listener *l = NULL;

    (void)snprintf(at.host, sizeof at.host, "%s", host);
    assert_int_equal(listener_new(w->base, &at, 5000, accepted_cb, count, &l), 0);
    return l;
}

static void accepts_once_started(void **state)
{
    struct world w;
    uint32_t count = 0;

    (void)state;
    world_init(&w);
    struct listener *l = open_on(&w, "127.0.0.1", &count);
    int fd = raw_connect(listener_port(l));
    still_ms(&w, 30, count == 0);
    listener_start(l);
    until(&w, count == 1);
    assert_int_not_equal(evutil_make_socket_closeonexec(accepted_fd), -1);
    assert_int_equal(recv(accepted_fd, &fd, 1, 0), -1);
    assert_int_equal(errno, EAGAIN); /* non-blocking */
    accepted_close();
    assert_int_equal(close(fd), 0);
    listener_free(l);
    listener_free(NULL);
    world_done(&w);
}

/* Whom it does not take yet the kernel keeps. */
static void takes_no_more_than_it_is_told_to(void **state)
{
    struct world w;
    uint32_t count = 0;
    int fds[3];

    (void)state;
    world_init(&w);
    struct listener *l = open_on(&w, "127.0.0.1", &count);
    listener_start(l);
    for (int i = 0; i < 3; i++) {
        fds[i] = raw_connect(listener_port(l));
    }
    takes_more = false;
    for (uint32_t pass = 1; pass <= 2; pass++) {
        assert_true(event_base_loop(w.base, EVLOOP_ONCE | EVLOOP_NONBLOCK) >= 0);
        assert_int_equal(count, pass);
    }
    takes_more = true;
    listener_hold(l, true);
    listener_hold(l, true);
    still_ms(&w, 30, count == 2);
    listener_hold(l, false);
    until(&w, count == 3);
    accepted_close();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(close(fds[i]), 0);
    }
    listener_free(l);
    world_done(&w);
}

static void any_address_takes_both_families(void **state)
{
    struct world w;
    uint32_t count = 0;

    (void)state;
    world_init(&w);
    struct listener *l = open_on(&w, "::", &count);
    listener_start(l);
    int fd = raw_connect(listener_port(l)); /* IPv4 */
    until(&w, count == 1);
    accepted_close();
    assert_int_equal(close(fd), 0);
    listener_free(l);
    world_done(&w);
}

static void refused(struct world *w, const char *host, uint16_t port, int code, const char *text)
{
    struct host_port at = {.port = port};
    struct listener *l = NULL;

    (void)snprintf(at.host, sizeof at.host, "%s", host);
    log_catch();
    assert_int_equal(listener_new(w->base, &at, 5000, accepted_cb, NULL, &l), code);
    assert_int_equal(log_release(text), 1);
    assert_null(l);
}

static void says_why_it_cannot(void **state)
{
    struct world w;
    uint32_t count = 0;

    (void)state;
    world_init(&w);
    struct listener *l = open_on(&w, "127.0.0.1", &count);
    refused(&w, "127.0.0.1", listener_port(l), -RD_ECONFIG, "another process has this address");
    refused(&w, "192.0.2.1", 7400, -RD_ENO_ADDRESS, "does not have that address (yet)");
    refused(&w, "fe80::1%nosuchif", 7400, -RD_ENO_ADDRESS, "cannot be resolved (yet)");
    refused(&w, "fe80::1", 7400, -RD_ECONFIG,
            "has to be an address of this machine"); /* on which link? */
    listener_free(l);
    world_done(&w);
}

static void rests_without_descriptors(void **state)
{
    struct world w;
    uint32_t count = 0;
    uint32_t turns = 0;
    struct rlimit before;

    (void)state;
    world_init(&w);
    struct listener *l = open_on(&w, "127.0.0.1", &count);
    listener_start(l);
    int fd = raw_connect(listener_port(l));
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    log_catch();
    /* No descriptor at or above the limit can be made; those below are all in use. */
    struct rlimit none = {.rlim_cur = 0, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    mono_ms start = mono_now_ms();
    while (mono_now_ms() < start + 600) {
        world_turn(&w);
        turns++;
    }
    assert_int_equal(count, 0);
    assert_true(turns < 400); /* 5 ms each, not a spin */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    listener_hold(l, true); /* the end of the rest is not the end of that */
    still_ms(&w, SHORTAGE_REST_MS + 50, count == 0);
    listener_hold(l, false);
    until_ms(&w, 1000, count == 1);
    assert_int_equal(log_release("cannot accept connections"), 1);
    accepted_close();
    assert_int_equal(close(fd), 0);
    listener_free(l);
    world_done(&w);
}

/* Whoever holds the descriptors gives one back now and then: that is no news. */
static void a_shortage_is_said_once_a_minute(void **state)
{
    struct shortage s = {.said = 0};

    (void)state;
    log_catch();
    for (int i = 0; i < 10; i++) {
        shortage_note(&s, "net", EMFILE);
        shortage_note(&s, "net", EMFILE);
        shortage_over(&s, "net");
    }
    s.said -= SHORTAGE_SAID_MS; /* a minute ago */
    shortage_note(&s, "net", EMFILE);
    assert_int_equal(log_release("raise LimitNOFILE"), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_once_started),
        cmocka_unit_test(takes_no_more_than_it_is_told_to),
        cmocka_unit_test(any_address_takes_both_families),
        cmocka_unit_test(says_why_it_cannot),
        cmocka_unit_test(rests_without_descriptors),
        cmocka_unit_test(a_shortage_is_said_once_a_minute),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
