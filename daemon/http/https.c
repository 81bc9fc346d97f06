/* HTTPS: the connections of TCP listeners go through tunnels, which libevent and the rest of the room do
 * not know of.
 *
 * libevent lets nobody hand it a connection: it accepts, asks for a bufferevent, and then tells that one
 * the descriptor. So an event that is made active meanwhile changes what the descriptor is. It runs before
 * anything is read: events of one priority run in the order in which they became active, and the descriptor
 * is not polled before those that are active have run. Its number stays, for libevent keeps it. */
#include <sys/socket.h>

#include "base/check.h"
#include "http/internal.h"
#include "net/tunnel.h"

#define PLAIN_TEXT "this port speaks HTTPS: ask https://, and trust the authority of [tls] ca\n"
#define PLAIN_ANSWER                                                                               \
    "HTTP/1.1 400 Bad Request\r\nCache-Control: no-store\r\nContent-Type: text/plain; "            \
    "charset=utf-8\r\nConnection: close\r\n\r\n" PLAIN_TEXT

static bool is_tcp(int fd)
{
    struct sockaddr_storage here = {.ss_family = AF_UNSPEC};
    socklen_t size = sizeof here;

    return getsockname(fd, (struct sockaddr *)&here, &size) == 0 && here.ss_family != AF_UNIX;
}

static bool enter(struct http *h, struct http_conn *c, int fd)
{
    if (evbuffer_get_length(bufferevent_get_input(c->bev)) > 0) {
        return false; /* what was read would be taken for HTTP */
    }
    rd_assert(bufferevent_setfd(c->bev, -1) == 0);
    bool entered = tunnels_enter(h->tunnels, fd, &c->tunnel) == 0;
    rd_assert(bufferevent_setfd(c->bev, fd) == 0);
    return entered;
}

static void accepted_cb(evutil_socket_t fd, short what, void *http)
{
    struct http *h = http;
    struct http_conn *c;

    (void)fd;
    (void)what;
    while ((c = TAILQ_FIRST(&h->entering)) != NULL) {
        int stream = bufferevent_getfd(c->bev);
        conn_entered(c);
        if (stream >= 0 && is_tcp(stream) && !enter(h, c, stream)) {
            h->refused++;
            conn_hang_up(c);
        }
    }
}

void https_open(struct http *h, struct tls_context *tls)
{
    TAILQ_INIT(&h->entering);
    if (tls) {
        h->tunnels = tunnels_new(h->base, tls, PLAIN_ANSWER);
        rd_assert(!event_assign(&h->accepted_event, h->base, -1, 0, accepted_cb, h));
    }
}

void https_close(struct http *h)
{
    if (h->tunnels) {
        (void)event_del(&h->accepted_event);
        tunnels_free(h->tunnels);
    }
}

void https_accepted(struct http *h, struct http_conn *c)
{
    if (h->tunnels) {
        c->is_entering = true;
        TAILQ_INSERT_TAIL(&h->entering, c, entering);
        event_active(&h->accepted_event, EV_TIMEOUT, 0);
    }
}

void http_set_tls(struct http *h, struct tls_context *tls)
{
    if (h->tunnels) {
        tunnels_set_tls(h->tunnels, tls);
    }
}
