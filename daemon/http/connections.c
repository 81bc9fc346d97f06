/* Connections as such: how many, and how long until a request. libevent has a time-out for silence
 * only, which a byte now and then defeats. */
#include "http/internal.h"

#include "base/check.h"
#include "base/mem.h"

enum { READ_AHEAD_MAX = 2 * HTTP_HEADERS_MAX }; /* of pipelined requests */

static int conn_compare(struct http_conn *a, struct http_conn *b)
{
    uintptr_t left = (uintptr_t)a->bev;
    uintptr_t right = (uintptr_t)b->bev;

    return left < right ? -1 : left > right;
}

/* RB_GENERATE_STATIC would want BSD's __unused, which Linux headers use as a field's name. */
#define CONNS_LOCAL __attribute__((unused)) static
/* cppcheck-suppress unknownMacro */
RB_GENERATE_INTERNAL(http_conns, http_conn, link, conn_compare, CONNS_LOCAL)

struct bufferevent *conns_bev_cb(struct event_base *base, void *http)
{
    struct http *h = http;
    struct bufferevent *bev = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);

    rd_assert(bev);
    bufferevent_setwatermark(bev, EV_READ, 0, READ_AHEAD_MAX);
    bufferevent_incref(bev);
    struct http_conn *c = mem_zalloc(sizeof *c);
    c->bev = bev;
    c->due = mono_now_ms() + HTTP_REQUEST_MS;
    RB_INSERT(http_conns, &h->conns, c);
    h->conns_count++;
    h->conns_crowded = h->conns_count > h->config.watchers_max + HTTP_CONNECTIONS_SPARE;
    return bev;
}

struct http_conn *conns_find(struct http *h, struct evhttp_request *req)
{
    struct http_conn key = {
        .bev = evhttp_connection_get_bufferevent(evhttp_request_get_connection(req))};
    struct http_conn *c = RB_FIND(http_conns, &h->conns, &key);

    rd_assert(c);
    return c;
}

/* libevent takes its callbacks away when it lets go of a connection. */
static bool is_let_go(const struct http_conn *c)
{
    bufferevent_data_cb read_cb;
    bufferevent_data_cb write_cb;
    bufferevent_event_cb event_cb;
    void *arg;

    bufferevent_getcb(c->bev, &read_cb, &write_cb, &event_cb, &arg);
    return !event_cb;
}

static void conn_free(struct http *h, struct http_conn *c)
{
    RB_REMOVE(http_conns, &h->conns, c);
    h->conns_count--;
    (void)bufferevent_decref(c->bev); /* the last one: closes it */
    mem_free(c);
}

/* libevent finds it closed then, and lets go of it. */
static void conn_hang_up(struct http_conn *c)
{
    c->due = UINT64_MAX;
    (void)shutdown(bufferevent_getfd(c->bev), SHUT_RDWR);
}

void conns_sweep(struct http *h)
{
    uint32_t most = h->config.watchers_max + HTTP_CONNECTIONS_SPARE;
    struct http_conn *next;

    for (struct http_conn *c = RB_MIN(http_conns, &h->conns); c; c = next) {
        next = RB_NEXT(http_conns, &h->conns, c);
        if (is_let_go(c)) {
            conn_free(h, c);
        }
    }
    uint32_t over = h->conns_count > most ? h->conns_count - most : 0;
    struct http_conn *c;
    RB_FOREACH (c, http_conns, &h->conns) {
        bool is_idle = c->due != UINT64_MAX;
        if (is_idle && (h->now >= c->due || over)) {
            over -= over > 0;
            h->refused += h->now < c->due;
            conn_hang_up(c);
        }
    }
    h->conns_crowded = false;
    h->sweep_at = h->conns_count ? h->now + HTTP_SWEEP_MS : UINT64_MAX;
}

void conns_free(struct http *h)
{
    struct http_conn *next;

    for (struct http_conn *c = RB_MIN(http_conns, &h->conns); c; c = next) {
        next = RB_NEXT(http_conns, &h->conns, c);
        conn_free(h, c);
    }
}
