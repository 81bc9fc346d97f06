#include "fixture.h"

#include <netinet/in.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"

static void test_the_socket_is_everybodys_and_goes(void **state)
{
    struct fixture *f = *state;
    struct stat st;

    assert_int_equal(stat(f->path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0666);
    fixture_close(f);
    assert_int_not_equal(stat(f->path, &st), 0);
    fixture_open(f);
}

static void test_nobody_listens(void **state)
{
    struct fixture *f = *state;

    fixture_close(f);
    f->config.listen_count = 0;
    fixture_open(f);
    fixture_settle(f);
}

/* The first one is given back when the second one fails. */
static void test_an_address_that_is_taken(void **state)
{
    struct fixture *f = *state;
    char other[160];
    struct http *h = NULL;

    (void)snprintf(other, sizeof other, "unix:%s/other.sock", f->directory);
    struct http_config config = f->config;
    config.listen_count = 2;
    config.listen[1] = config.listen[0];
    config.listen[0] = other;
    assert_int_equal(http_open(f->base, &config, &f->ops, &h), -RD_ECONFIG);
    assert_null(h);
    assert_int_not_equal(access(other + strlen("unix:"), F_OK), 0);
}

/* A port that was free a moment ago. */
static struct sockaddr_in free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    (void)close(fd);
    return address;
}

static void test_a_client_that_resets(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in address = free_port();
    char text[32];
    struct client c = {.f = f, .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    struct answer a;

    fixture_close(f);
    (void)snprintf(text, sizeof text, "127.0.0.1:%u", ntohs(address.sin_port));
    f->config.listen[0] = text;
    fixture_open(f);
    assert_int_equal(connect(c.fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(evutil_make_socket_nonblocking(c.fd), 0);
    client_get(&c, "/livez", &a);
    assert_int_equal(a.status, 200);
    client_send(&c, "GET /v1/leader?after=abcd&wait=10m HTTP/1.1\r\n\r\n");
    fixture_settle(f);
    assert_int_equal(fixture_stats(f).watchers, 1);
    /* It shows as an error only, which no event for the end of the stream hears of. */
    assert_int_equal(setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
                                sizeof(struct linger)),
                     0);
    client_close(&c);
    fixture_settle(f);
    assert_int_equal(fixture_stats(f).watchers, 0);
}

/* A name of its own that is longer than what libevent has room for. */
static void test_a_client_with_a_long_name(void **state)
{
    struct fixture *f = *state;
    struct client c = {.f = f, .fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    struct sockaddr_un self = {.sun_family = AF_UNIX};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct answer a;

    memset(self.sun_path, 'n', sizeof self.sun_path - 1);
    memcpy(self.sun_path, f->directory, strlen(f->directory));
    self.sun_path[strlen(f->directory)] = '/';
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", f->path);
    assert_int_equal(bind(c.fd, (struct sockaddr *)&self, sizeof self), 0);
    assert_int_equal(connect(c.fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(evutil_make_socket_nonblocking(c.fd), 0);
    client_get(&c, "/livez", &a);
    assert_int_equal(a.status, 200);
    client_close(&c);
    assert_int_equal(unlink(self.sun_path), 0);
}

static void test_a_turn_accepts_so_many(void **state)
{
    enum { COUNT = HTTP_ACCEPTS_MAX + 20 };
    static struct client clients[COUNT];
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT; i++) {
        clients[i] = client_open(f);
    }
    fixture_turn(f);
    assert_int_equal(fixture_stats(f).connections, HTTP_ACCEPTS_MAX);
    fixture_turn(f);
    assert_int_equal(fixture_stats(f).connections, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        client_close(&clients[i]);
    }
}

/* There are always more on the first one than a turn accepts. */
static void test_a_flood_on_one_address_leaves_the_other(void **state)
{
    enum { MORE = HTTP_ACCEPTS_MAX, COUNT = 2 * HTTP_ACCEPTS_MAX - 1 };
    static struct client flood[COUNT + MORE];
    struct fixture *f = *state;
    char path[sizeof f->path];
    char other[sizeof "unix:" + sizeof f->path] = "unix:";
    struct answer a;

    fixture_close(f);
    memcpy(path, f->path, sizeof path);
    (void)snprintf(f->path, sizeof f->path, "%s/other.sock", f->directory);
    memcpy(other + strlen("unix:"), f->path, sizeof f->path);
    f->config.listen_count = 2;
    f->config.listen[1] = other;
    fixture_open(f);
    memcpy(f->path, path, sizeof path);
    for (size_t i = 0; i < COUNT; i++) {
        flood[i] = client_open(f);
    }
    memcpy(f->path, other + strlen("unix:"), sizeof path);
    struct client c = client_open(f);
    memcpy(f->path, path, sizeof path);
    client_write(&c, "GET /livez HTTP/1.1\r\n\r\n", 23);
    fixture_turn(f);
    for (size_t i = COUNT; i < COUNT + MORE; i++) {
        flood[i] = client_open(f);
    }
    fixture_turn(f);
    fixture_turn(f);
    assert_int_equal(fixture_stats(f).requests, 1);
    client_answer(&c, false, &a);
    client_close(&c);
    for (size_t i = 0; i < COUNT + MORE; i++) {
        client_close(&flood[i]);
    }
}

/* The listener stays readable: it rests instead of spinning, and comes back. */
static void test_no_descriptor_is_left(void **state)
{
    struct fixture *f = *state;
    struct rlimit limit;
    struct answer a;

    struct client c = client_open(f);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    const struct rlimit none = {.rlim_cur = (rlim_t)c.fd + 1, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    fixture_settle(f);
    assert_int_equal(fixture_stats(f).connections, 0);
    mono_ms began = mono_now_ms();
    assert_true(event_base_loop(f->base, EVLOOP_ONCE) >= 0); /* it sleeps */
    assert_true(mono_now_ms() - began >= 100);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_true(event_base_loop(f->base, EVLOOP_ONCE) >= 0);
    client_get(&c, "/livez", &a);
    assert_int_equal(a.status, 200);
    client_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_socket_is_everybodys_and_goes, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_nobody_listens, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_an_address_that_is_taken, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_a_client_that_resets, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_a_client_with_a_long_name, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_a_turn_accepts_so_many, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_a_flood_on_one_address_leaves_the_other, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_no_descriptor_is_left, fixture_setup,
                                        fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
