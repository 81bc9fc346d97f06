#include "net/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <unistd.h>

#include "base/check.h"

/* An idle link is probed each second from its second idle second on; how long an unanswered probe
 * is waited for is TCP_USER_TIMEOUT's business. */
enum { KEEPALIVE_IDLE_S = 2, KEEPALIVE_INTERVAL_S = 1, KEEPALIVE_PROBES = 10 };

int socket_tune(int fd, uint32_t user_timeout_ms)
{
    const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, (int)user_timeout_ms},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES},
    };

    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        if (setsockopt(fd, options[i].level, options[i].name, &options[i].value,
                       sizeof options[i].value)) {
            return -errno;
        }
    }
    return 0;
}

int socket_divert(int fd, int *moved, int *other)
{
    int pair[2];
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

    if (copy < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair)) {
        int code = -errno;
        if (copy >= 0) {
            (void)close(copy);
        }
        return code;
    }
    rd_assert(dup3(pair[0], fd, O_CLOEXEC) == fd);
    (void)close(pair[0]);
    *moved = copy;
    *other = pair[1];
    return 0;
}

void socket_text(const struct sockaddr *address, char text[SOCKET_TEXT_SIZE],
                 char host[SOCKET_HOST_SIZE])
{
    char name[SOCKET_HOST_SIZE] = "?";
    const void *from = address; /* reached without a cast that would raise its alignment */

    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = from;
        (void)inet_ntop(AF_INET, &in->sin_addr, name, sizeof name);
        (void)snprintf(text, SOCKET_TEXT_SIZE, "%s:%u", name, ntohs(in->sin_port));
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = from;
        (void)inet_ntop(AF_INET6, &in6->sin6_addr, name, sizeof name);
        (void)snprintf(text, SOCKET_TEXT_SIZE, "[%s]:%u", name, ntohs(in6->sin6_port));
    } else {
        (void)snprintf(text, SOCKET_TEXT_SIZE, "?");
    }
    if (host) {
        (void)snprintf(host, SOCKET_HOST_SIZE, "%s", name);
    }
}
