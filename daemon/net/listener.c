#include "net/listener.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/shortage.h"
#include "net/socket.h"

enum {
    LISTENER_BACKLOG = 128,
    LISTENER_ACCEPTS_MAX = 64, /* per turn, so that a flood of strangers does not hold the loop */
};

struct listener {
    int fd;
    bool is_held;
    bool is_resting;
    struct shortage shortage;
    struct event readable;
    struct event rested;
    listener_cb *cb;
    void *arg;
};

static void listener_settle(struct listener *l)
{
    if (l->is_held || l->is_resting) {
        (void)event_del(&l->readable);
    } else {
        (void)event_add(&l->readable, NULL);
    }
}

/* Give up for a while: the kernel keeps the connection in the backlog and would report it for
 * ever. */
static void listener_rest(struct listener *l, int error)
{
    const struct timeval rest = {.tv_usec = (suseconds_t)SHORTAGE_REST_MS * 1000};

    shortage_note(&l->shortage, "net", error);
    (void)event_add(&l->rested, &rest);
    l->is_resting = true;
    listener_settle(l);
}

static void listener_rested(evutil_socket_t fd, short what, void *arg)
{
    struct listener *l = arg;

    (void)fd;
    (void)what;
    l->is_resting = false;
    listener_settle(l);
}

static void listener_readable(evutil_socket_t fd, short what, void *arg)
{
    struct listener *l = arg;

    (void)what;
    for (int i = 0; i < LISTENER_ACCEPTS_MAX; i++) {
        struct sockaddr_storage from;
        socklen_t size = sizeof from;
        int accepted = accept4(fd, (struct sockaddr *)&from, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (accepted >= 0) {
            shortage_over(&l->shortage, "net");
            if (!l->cb(l->arg, accepted, (struct sockaddr *)&from)) {
                return;
            }
        } else if (errno == EAGAIN) {
            return;
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            listener_rest(l, errno);
            return;
        }
        /* Anything else concerns one connection, gone before it was taken (accept(2)). */
    }
}

/* A listening socket on this address, or -errno. */
static int listener_socket(const struct evutil_addrinfo *ai, uint32_t user_timeout_ms)
{
    const int on = 1;
    const int off = 0;
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);

    if (fd < 0) {
        return -errno;
    }
    /* [::] means every address, the IPv4 ones too, whatever the machine's default says. */
    if (ai->ai_family == AF_INET6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    }
    int err = socket_tune(fd, user_timeout_ms);
    if (!err &&
        (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
         bind(fd, ai->ai_addr, (socklen_t)ai->ai_addrlen) || listen(fd, LISTENER_BACKLOG))) {
        err = -errno;
    }
    if (err) {
        (void)close(fd);
        return err;
    }
    return fd;
}

static int listener_resolve(const struct host_port *address, const char *option,
                            struct evutil_addrinfo **out)
{
    struct evutil_addrinfo hints = {.ai_family = AF_UNSPEC,
                                    .ai_socktype = SOCK_STREAM,
                                    .ai_protocol = IPPROTO_TCP,
                                    .ai_flags = EVUTIL_AI_PASSIVE};
    char port[8];

    (void)snprintf(port, sizeof port, "%u", address->port);
    int code = evutil_getaddrinfo(address->host, port, &hints, out);
    if (code) {
        log_error("net",
                  "cannot listen: the host cannot be resolved (yet), write an address of this "
                  "machine or see to its resolver",
                  LOG_STR("option", option), LOG_STR("host", address->host),
                  LOG_STR("error", evutil_gai_strerror(code)));
        return -RD_ENO_ADDRESS;
    }
    return 0;
}

/* What another start may find otherwise is told from what only another configuration mends. */
static int listener_refuse(const struct host_port *address, const char *option, int error)
{
    static const struct {
        int error; /* 0: any other */
        int code;
        const char *text;
    } reasons[] = {
        {-EADDRINUSE, -RD_ECONFIG,
         "cannot listen: another process has this address, stop it or change the option"},
        {-EADDRNOTAVAIL, -RD_ENO_ADDRESS,
         "cannot listen: this machine does not have that address (yet), add it or change the "
         "option"},
        {-EACCES, -RD_ECONFIG, "cannot listen: ports below 1024 need root or CAP_NET_BIND_SERVICE"},
        {0, -RD_ECONFIG, "cannot listen: that has to be an address of this machine"},
    };
    size_t i = 0;

    while (reasons[i].error && reasons[i].error != error) {
        i++;
    }
    log_error("net", reasons[i].text, LOG_STR("option", option), LOG_STR("host", address->host),
              LOG_U64("port", address->port), LOG_ERR(error));
    return reasons[i].code;
}

int listener_bind(const struct host_port *address, const char *option, uint32_t user_timeout_ms)
{
    struct evutil_addrinfo *list = NULL;
    int fd = -EADDRNOTAVAIL;
    int code = listener_resolve(address, option, &list);

    if (code) {
        return code;
    }
    for (struct evutil_addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next) {
        fd = listener_socket(ai, user_timeout_ms);
    }
    evutil_freeaddrinfo(list);
    return fd < 0 ? listener_refuse(address, option, fd) : fd;
}

int listener_new(struct event_base *base, const struct host_port *address, uint32_t user_timeout_ms,
                 listener_cb *cb, void *arg, struct listener **out)
{
    int fd = listener_bind(address, "[node] listen", user_timeout_ms);

    if (fd < 0) {
        return fd;
    }
    struct listener *l = mem_zalloc(sizeof *l);
    l->fd = fd;
    l->cb = cb;
    l->arg = arg;
    rd_assert(!event_assign(&l->readable, base, fd, EV_READ | EV_PERSIST, listener_readable, l));
    rd_assert(!event_assign(&l->rested, base, -1, 0, listener_rested, l));
    *out = l;
    return 0;
}

void listener_start(struct listener *l)
{
    listener_settle(l);
}

void listener_hold(struct listener *l, bool is_held)
{
    if (l->is_held != is_held) {
        l->is_held = is_held;
        listener_settle(l);
    }
}

void listener_free(struct listener *l)
{
    if (!l) {
        return;
    }
    (void)event_del(&l->readable);
    (void)event_del(&l->rested);
    (void)close(l->fd);
    mem_free(l);
}

uint16_t listener_port(const struct listener *l)
{
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } address;
    socklen_t size = sizeof address;

    memset(&address, 0, sizeof address);
    rd_assert(getsockname(l->fd, &address.any, &size) == 0);
    return ntohs(address.any.sa_family == AF_INET6 ? address.in6.sin6_port : address.in.sin_port);
}
