/* socket.h - what every TCP socket between members gets, a detour, and addresses as text.
 * Threads: any. Errors: 0 or -errno. */
#ifndef RAFTD_NET_SOCKET_H
#define RAFTD_NET_SOCKET_H

#include <stdint.h>
#include <sys/socket.h>

enum {
    SOCKET_HOST_SIZE = 46, /* longest numeric address and its NUL */
    SOCKET_TEXT_SIZE = 56, /* with brackets and port */
};

/* No delay, a dead link noticed after user_timeout_ms, keepalive. A listener hands these down to
 * the connections it accepts. */
int socket_tune(int fd, uint32_t user_timeout_ms);

/* Put one end of a pair of Unix sockets where `fd` is, under its number. `moved` is then what `fd` was, `other`
 * the other end. On failure nothing has changed. */
int socket_divert(int fd, int *moved, int *other);

/* "10.0.0.1:7400", "[::1]:7400"; "?" for anything else. `host` without the port, may be NULL. */
void socket_text(const struct sockaddr *address, char text[SOCKET_TEXT_SIZE],
                 char host[SOCKET_HOST_SIZE]);

#endif
