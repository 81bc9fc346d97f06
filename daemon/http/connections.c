/* Connections as such: how many, how long each may take for what it is at, and how much it may send.
 * libevent knows a time-out for silence only, which a byte now and then defeats, and no bound for the
 * number of header lines or for the line that announces a chunk.
 *
 * The watermark stands only while libevent does not parse. A reader that leaves a full buffer as it is
 * (the line of a chunk that does not end) is called again by bufferevents with a watermark, at once and
 * for ever, and the loop never comes back. */
#include "http/internal.h"

#include "base/check.h"
#include "base/mem.h"
#include "net/tunnel.h"

enum {
    READ_AHEAD_MAX = 2 * HTTP_HEADERS_MAX, /* of pipelined requests */
    UNPARSED_MAX = 2 * READ_AHEAD_MAX,     /* nothing that is a request needs as much */
    TAKES_MAX = 2 * HTTP_LINES_MAX,        /* libevent takes a line, and then its end */
};

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

/* ---- What comes and goes ---- */

static void input_cb(struct evbuffer *input, const struct evbuffer_cb_info *info, void *conn)
{
    struct http_conn *c = conn;

    if (c->phase == CONN_ASKS) {
        c->takes += info->n_deleted > 0;
        c->is_greedy = c->takes > TAKES_MAX || evbuffer_get_length(input) > UNPARSED_MAX;
        c->http->sweep_now |= c->is_greedy;
    }
}

static void output_cb(struct evbuffer *output, const struct evbuffer_cb_info *info, void *conn)
{
    struct http_conn *c = conn;

    (void)output;
    if (c->phase == CONN_STREAMS && info->n_deleted) {
        c->due = 0; /* it goes on reading */
    }
}

struct bufferevent *conns_bev_cb(struct event_base *base, void *http)
{
    struct http *h = http;
    struct bufferevent *bev = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);

    rd_assert(bev);
    bufferevent_incref(bev);
    struct http_conn *c = mem_zalloc(sizeof *c);
    c->http = h;
    c->bev = bev;
    c->phase = CONN_ASKS;
    c->patience_ms = HTTP_REQUEST_MS;
    c->input_cb = evbuffer_add_cb(bufferevent_get_input(bev), input_cb, c);
    c->output_cb = evbuffer_add_cb(bufferevent_get_output(bev), output_cb, c);
    rd_assert(c->input_cb && c->output_cb);
    RB_INSERT(http_conns, &h->conns, c);
    h->conns_count++;
    h->sweep_now |= h->conns_count > h->config.watchers_max + HTTP_CONNECTIONS_SPARE;
    listen_accepted(h);
    https_accepted(h, c);
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

/* ---- What it is at ---- */

static void enter(struct http_conn *c, enum conn_phase phase, uint32_t patience_ms)
{
    c->phase = phase;
    c->patience_ms = patience_ms;
    c->due = 0;
    c->takes = 0;
    bufferevent_setwatermark(c->bev, EV_READ, 0, phase == CONN_ASKS ? 0 : READ_AHEAD_MAX);
}

void conn_asks(struct http_conn *c)
{
    enter(c, CONN_ASKS, HTTP_IDLE_MS);
}

void conn_waits(struct http_conn *c)
{
    enter(c, CONN_WAITS, 0);
}

void conn_watch_end(struct http_conn *c)
{
    bufferevent_data_cb read_cb;
    bufferevent_data_cb write_cb;
    bufferevent_event_cb event_cb;
    void *arg;

    bufferevent_getcb(c->bev, &read_cb, &write_cb, &event_cb, &arg);
    bufferevent_setcb(c->bev, NULL, write_cb, event_cb, arg);
    rd_assert(bufferevent_enable(c->bev, EV_READ) == 0);
}

/* Without reading: a client that has closed its side only is told all the same. */
void conn_takes(struct http_conn *c)
{
    enter(c, CONN_TAKES, HTTP_STALL_MS);
    rd_assert(bufferevent_disable(c->bev, EV_READ) == 0);
}

void conn_streams(struct http_conn *c)
{
    enter(c, CONN_STREAMS, HTTP_STALL_MS);
}

/* ---- Their ends ---- */

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

void conn_entered(struct http_conn *c)
{
    if (c->is_entering) {
        TAILQ_REMOVE(&c->http->entering, c, entering);
        c->is_entering = false;
    }
}

static void conn_free(struct http_conn *c)
{
    struct http *h = c->http;

    conn_entered(c);
    RB_REMOVE(http_conns, &h->conns, c);
    h->conns_count--;
    (void)evbuffer_remove_cb_entry(bufferevent_get_input(c->bev), c->input_cb);
    (void)evbuffer_remove_cb_entry(bufferevent_get_output(c->bev), c->output_cb);
    (void)bufferevent_decref(c->bev); /* the last one: closes it */
    if (c->tunnel) {
        tunnel_let_go(c->tunnel);
    }
    mem_free(c);
}

/* libevent frees it, and tells who holds a request on it, as after a time-out of its own. */
void conn_hang_up(struct http_conn *c)
{
    bufferevent_trigger_event(c->bev, BEV_EVENT_READING | BEV_EVENT_TIMEOUT, 0);
    rd_assert(is_let_go(c));
    conn_free(c);
}

static bool is_overdue(struct http_conn *c)
{
    bool owes = c->phase == CONN_STREAMS ? evbuffer_get_length(bufferevent_get_output(c->bev)) > 0
                                         : c->phase != CONN_WAITS;

    if (!owes) {
        c->due = 0;
    } else if (c->due == 0) {
        c->due = c->http->now + c->patience_ms;
    }
    return owes && c->http->now >= c->due;
}

static void sweep_one(struct http_conn *c)
{
    struct http *h = c->http;

    if (is_let_go(c)) {
        conn_free(c);
    } else if (c->is_greedy) {
        h->refused++;
        conn_hang_up(c);
    } else if (is_overdue(c)) {
        h->cut_off += c->phase != CONN_ASKS;
        conn_hang_up(c);
    }
}

/* The one that has been at asking, or at taking its answer, for the longest time; NULL: none is. */
static struct http_conn *slowest(struct http *h)
{
    struct http_conn *found = NULL;
    struct http_conn *c;

    RB_FOREACH (c, http_conns, &h->conns) {
        if ((c->phase == CONN_ASKS || c->phase == CONN_TAKES) &&
            (!found || c->due - c->patience_ms < found->due - found->patience_ms)) {
            found = c;
        }
    }
    return found;
}

void conns_sweep(struct http *h)
{
    uint32_t most = h->config.watchers_max + HTTP_CONNECTIONS_SPARE;
    struct http_conn *next;

    for (struct http_conn *c = RB_MIN(http_conns, &h->conns); c; c = next) {
        next = RB_NEXT(http_conns, &h->conns, c);
        sweep_one(c);
    }
    struct http_conn *c;
    while (h->conns_count > most && (c = slowest(h)) != NULL) {
        h->refused++;
        conn_hang_up(c);
    }
    h->sweep_now = false;
    h->sweep_at = h->conns_count ? h->now + HTTP_SWEEP_MS : UINT64_MAX;
}

void conns_free(struct http *h)
{
    struct http_conn *next;

    for (struct http_conn *c = RB_MIN(http_conns, &h->conns); c; c = next) {
        next = RB_NEXT(http_conns, &h->conns, c);
        conn_free(c);
    }
}
