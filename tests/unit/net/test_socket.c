#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "net/socket.h"

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t size = sizeof value;

    assert_int_equal(getsockopt(fd, level, name, &value, &size), 0);
    return value;
}

static void tuned(void **state)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(socket_tune(fd, 1234), 0);
    assert_int_not_equal(option(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 1234);
    assert_int_not_equal(option(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
    assert_int_equal(close(fd), 0);
}

static void not_a_tcp_socket(void **state)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(socket_tune(fd, 1234), -EOPNOTSUPP);
    assert_int_equal(close(fd), 0);
}

static void texts(void **state)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(7400)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(65535)};
    struct sockaddr other = {.sa_family = AF_UNIX};
    char text[SOCKET_TEXT_SIZE];
    char host[SOCKET_HOST_SIZE];

    (void)state;
    assert_int_equal(inet_pton(AF_INET, "10.0.0.1", &in.sin_addr), 1);
    socket_text((struct sockaddr *)&in, text, host);
    assert_string_equal(text, "10.0.0.1:7400");
    assert_string_equal(host, "10.0.0.1");
    assert_int_equal(inet_pton(AF_INET6, "fe80:1111:2222:3333:4444:5555:6666:7777", &in6.sin6_addr),
                     1);
    socket_text((struct sockaddr *)&in6, text, NULL);
    assert_string_equal(text, "[fe80:1111:2222:3333:4444:5555:6666:7777]:65535");
    socket_text(&other, text, host);
    assert_string_equal(text, "?");
    assert_string_equal(host, "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tuned),
        cmocka_unit_test(not_a_tcp_socket),
        cmocka_unit_test(texts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
