/* Bytes between TLS and a socket pair. Each event moves one record at most, and what one side has not
 * taken is not read on the other: the rest is what epoll says again. */
#include "net/tunnel.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/shortage.h"
#include "net/hush.h"
#include "net/socket.h"

enum tunnel_state {
    TUNNEL_SHAKES,
    TUNNEL_OPEN,
    TUNNEL_LINGERS, /* all is said; what the client still sends is not for us */
    TUNNEL_CLOSED,
};

struct tunnel {
    TAILQ_ENTRY(tunnel) link;    /* one of the lists of its state */
    TAILQ_ENTRY(tunnel) waiting; /* all->waiting, while is_waiting */
    struct tunnels *all;
    enum tunnel_state state;
    bool is_waiting;  /* for its handshake to go on */
    bool wants_write; /* the handshake, or reading, waits until the client can be written to */
    bool in_ended;    /* the client says no more, or nobody is there to hear it */
    bool out_ended;   /* the server says no more */
    bool is_held;     /* by the server */
    bool is_leaving;
    int fd, plain; /* of the client; our end of the pair, -1: closed */
    struct tls *tls;
    struct event fd_readable, fd_writable, plain_readable, plain_writable, deadline;
    struct buf in, out; /* from the client, and to it: what was not taken yet */
    char peer[SOCKET_TEXT_SIZE];
    char host[SOCKET_HOST_SIZE];
};
TAILQ_HEAD(tunnel_list, tunnel);

struct tunnels {
    struct event_base *base;
    struct tls_context *tls;
    const char *plain_answer;
    struct tunnel_list open, leaving, dead, waiting; /* oldest first */
    uint32_t open_count, leaving_count;
    uint64_t refused;
    struct hush hush;
    struct shortage shortage;
    uint8_t piece[TLS_RECORD_MAX];
};

/* ---- Ends ---- */

static void set_deadline(struct tunnel *t, uint32_t ms)
{
    const struct timeval wait = {.tv_sec = (time_t)(ms / 1000),
                                 .tv_usec = (suseconds_t)(ms % 1000) * 1000};

    (void)event_add(&t->deadline, &wait);
}

static void close_plain(struct tunnel *t)
{
    if (t->plain >= 0) {
        (void)event_del(&t->plain_readable);
        (void)event_del(&t->plain_writable);
        (void)close(t->plain);
        t->plain = -1;
    }
}

static void tunnel_close(struct tunnel *t)
{
    struct tunnels *ts = t->all;

    if (t->is_waiting) {
        TAILQ_REMOVE(&ts->waiting, t, waiting);
        t->is_waiting = false;
    }
    TAILQ_REMOVE(t->is_leaving ? &ts->leaving : &ts->open, t, link);
    *(t->is_leaving ? &ts->leaving_count : &ts->open_count) -= 1;
    close_plain(t);
    (void)event_del(&t->fd_readable);
    (void)event_del(&t->fd_writable);
    (void)event_del(&t->deadline);
    (void)close(t->fd);
    t->state = TUNNEL_CLOSED;
    if (!t->is_held) {
        TAILQ_INSERT_TAIL(&ts->dead, t, link);
    }
}

/* Who is only waited for, else who was let go first; never the last, which was let go just now. */
static struct tunnel *first_to_go(struct tunnels *ts)
{
    struct tunnel *t = TAILQ_FIRST(&ts->leaving);

    while (t && t->state != TUNNEL_LINGERS) {
        t = TAILQ_NEXT(t, link);
    }
    return t ? t : TAILQ_FIRST(&ts->leaving);
}

/* The server is not there any more, or never will be. */
static void tunnel_leave(struct tunnel *t)
{
    struct tunnels *ts = t->all;

    if (t->is_leaving) {
        return;
    }
    TAILQ_REMOVE(&ts->open, t, link);
    ts->open_count--;
    t->is_leaving = true;
    TAILQ_INSERT_TAIL(&ts->leaving, t, link);
    ts->leaving_count++;
    set_deadline(t, TUNNEL_LEAVE_MS);
    if (ts->leaving_count > TUNNELS_LEAVING_MAX) {
        tunnel_close(first_to_go(ts));
    }
}

/* Everything is said. A plain close would reset the connection while the client still sends, and the
 * reset would destroy our last words. */
static void tunnel_linger(struct tunnel *t)
{
    tunnel_leave(t);
    if (t->tls) {
        tls_finish(t->tls);
    }
    (void)shutdown(t->fd, SHUT_WR);
    close_plain(t);
    t->wants_write = false;
    t->state = TUNNEL_LINGERS;
    set_deadline(t, TUNNEL_LINGER_MS);
}

/* ---- What goes wrong ---- */

static void log_refused(struct tunnel *t, const char *why)
{
    struct tunnels *ts = t->all;
    uint32_t suppressed;

    ts->refused++;
    if (hush_allows(&ts->hush, hush_key_why(0, t->host, -RD_ETLS, why), mono_now_ms(),
                    &suppressed)) {
        log_warning("net", "HTTPS connection refused", LOG_STR("address", t->peer),
                    LOG_STR("why", why), LOG_U64("suppressed", suppressed));
    }
}

/* What OpenSSL has to say about it, an alert, is said by now. */
static void tunnel_refuse(struct tunnel *t)
{
    const char *answer = t->all->plain_answer;

    log_refused(t, tls_why(t->tls));
    if (tls_is_plain(t->tls)) {
        (void)send(t->fd, answer, strlen(answer), MSG_NOSIGNAL);
    }
    tls_free(t->tls);
    t->tls = NULL;
    tunnel_linger(t);
}

static void tunnel_fail(struct tunnel *t, int code)
{
    if (code == -RD_ETLS) {
        tunnel_refuse(t);
    } else {
        log_debug("net", "HTTPS connection ended", LOG_STR("address", t->peer), LOG_ERR(code));
        tunnel_close(t);
    }
}

/* ---- From the client to the server ---- */

static void give(struct tunnel *t)
{
    if (t->in.size) {
        ssize_t n = send(t->plain, t->in.data, t->in.size, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        t->in_ended = t->in_ended || n < 0;
        buf_drop(&t->in, n < 0 ? t->in.size : (size_t)n);
    }
    if (t->in.size == 0) {
        buf_done(&t->in);
        if (t->in_ended) {
            (void)shutdown(t->plain, SHUT_WR);
        }
    }
}

static void pull(struct tunnel *t)
{
    ssize_t n = tls_read(t->tls, t->all->piece, TLS_RECORD_MAX);

    t->wants_write = n == -EAGAIN && tls_wants_write(t->tls);
    if (n < 0) {
        if (n != -EAGAIN) {
            tunnel_fail(t, (int)n);
        }
        return;
    }
    buf_put(&t->in, t->all->piece, (size_t)n);
    t->in_ended = n == 0;
    give(t);
}

/* What comes after our last words. */
static void discard(struct tunnel *t)
{
    ssize_t n = recv(t->fd, t->all->piece, TLS_RECORD_MAX, 0);

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        tunnel_close(t);
    }
}

/* ---- From the server to the client ---- */

static void put(struct tunnel *t)
{
    if (t->out.size) {
        ssize_t n = tls_write(t->tls, t->out.data, t->out.size);
        if (n == -EAGAIN) {
            return;
        }
        if (n < 0) {
            tunnel_fail(t, (int)n);
            return;
        }
        buf_drop(&t->out, (size_t)n);
    }
    if (t->out.size == 0) {
        buf_done(&t->out);
        if (t->out_ended) {
            tunnel_linger(t);
        }
    }
}

static void take(struct tunnel *t)
{
    ssize_t n = recv(t->plain, t->all->piece, TLS_RECORD_MAX, 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n > 0) {
        buf_put(&t->out, t->all->piece, (size_t)n);
    } else if (t->state == TUNNEL_SHAKES) {
        tunnel_close(t); /* it waits no longer */
        return;
    } else {
        t->out_ended = true;
        tunnel_leave(t);
    }
    if (t->state == TUNNEL_OPEN) {
        put(t);
    }
}

/* ---- What is waited for ---- */

static void want(struct event *e, bool yes)
{
    if (!yes) {
        (void)event_del(e);
    } else if (!event_pending(e, EV_READ | EV_WRITE, NULL)) {
        (void)event_add(e, NULL);
    }
}

static void settle(struct tunnel *t)
{
    bool is_open = t->state == TUNNEL_OPEN;
    bool can_read = is_open ? !t->in_ended && t->in.size == 0 : !t->is_waiting;

    if (t->state == TUNNEL_CLOSED) {
        return;
    }
    want(&t->fd_readable, can_read && !t->wants_write);
    want(&t->fd_writable, t->wants_write || (is_open && t->out.size));
    if (t->plain >= 0) {
        want(&t->plain_readable, !t->out_ended && t->out.size == 0);
        want(&t->plain_writable, t->in.size > 0);
    }
}

/* ---- The handshake: it costs the loop's time, so turns have their share of it ---- */

static void wait_for_turn(struct tunnel *t)
{
    t->is_waiting = true;
    t->wants_write = false;
    TAILQ_INSERT_TAIL(&t->all->waiting, t, waiting);
}

static void shake(struct tunnel *t)
{
    TAILQ_REMOVE(&t->all->waiting, t, waiting);
    t->is_waiting = false;
    int code = tls_handshake(t->tls);
    t->wants_write = code == -EAGAIN && tls_wants_write(t->tls);
    if (code == 0) {
        t->state = TUNNEL_OPEN;
        (void)event_del(&t->deadline);
        put(t);
    } else if (code != -EAGAIN) {
        tunnel_fail(t, code);
    }
    settle(t);
}

/* ---- Events ---- */

static void client_cb(evutil_socket_t fd, short what, void *arg)
{
    struct tunnel *t = arg;
    bool reads = what & EV_READ || t->wants_write;

    (void)fd;
    if (t->state == TUNNEL_SHAKES) {
        wait_for_turn(t);
    } else if (t->state == TUNNEL_LINGERS) {
        discard(t);
    } else if (what & EV_WRITE && t->out.size) {
        put(t);
    }
    if (t->state == TUNNEL_OPEN && reads) {
        pull(t);
    }
    settle(t);
}

static void server_cb(evutil_socket_t fd, short what, void *arg)
{
    struct tunnel *t = arg;

    (void)fd;
    if (what & EV_WRITE) {
        give(t);
    } else {
        take(t);
    }
    settle(t);
}

static void deadline_cb(evutil_socket_t fd, short what, void *arg)
{
    struct tunnel *t = arg;

    (void)fd, (void)what;
    if (t->state == TUNNEL_SHAKES) {
        _Static_assert(TUNNEL_SHAKE_MS == 5000, "the line says so, and docs/tls.md");
        log_refused(t, "has not finished the TLS handshake within 5 s");
    }
    tunnel_close(t);
}

/* ---- Beginnings ---- */

static void limit_buffer(int fd)
{
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){TUNNEL_BUFFER}, sizeof(int));
}

static void assign_events(struct tunnel *t)
{
    struct event_base *base = t->all->base;
    const short reads = EV_READ | EV_PERSIST;
    const short writes = EV_WRITE | EV_PERSIST;

    rd_assert(!event_assign(&t->fd_readable, base, t->fd, reads, client_cb, t));
    rd_assert(!event_assign(&t->fd_writable, base, t->fd, writes, client_cb, t));
    rd_assert(!event_assign(&t->plain_readable, base, t->plain, reads, server_cb, t));
    rd_assert(!event_assign(&t->plain_writable, base, t->plain, writes, server_cb, t));
    rd_assert(!event_assign(&t->deadline, base, -1, 0, deadline_cb, t));
}

int tunnels_enter(struct tunnels *ts, int fd, struct tunnel **out)
{
    struct sockaddr_storage from = {.ss_family = AF_UNSPEC};
    socklen_t size = sizeof from;
    int client;
    int plain;
    int code = socket_divert(fd, &client, &plain);

    if (code) {
        shortage_note(&ts->shortage, "http", -code);
        return code;
    }
    shortage_over(&ts->shortage, "http");
    struct tunnel *t = mem_zalloc(sizeof *t);
    t->all = ts;
    t->fd = client;
    t->plain = plain;
    t->tls = tls_new(ts->tls, client, TLS_SERVES);
    (void)getpeername(client, (struct sockaddr *)&from, &size);
    socket_text((struct sockaddr *)&from, t->peer, t->host);
    limit_buffer(client);
    limit_buffer(plain);
    limit_buffer(fd);
    assign_events(t);
    TAILQ_INSERT_TAIL(&ts->open, t, link);
    ts->open_count++;
    t->is_held = true;
    set_deadline(t, TUNNEL_SHAKE_MS);
    settle(t);
    *out = t;
    return 0;
}

void tunnel_let_go(struct tunnel *t)
{
    t->is_held = false;
    if (t->state == TUNNEL_CLOSED) {
        TAILQ_INSERT_TAIL(&t->all->dead, t, link);
    } else if (t->state == TUNNEL_SHAKES) {
        tunnel_close(t);
    } else {
        tunnel_leave(t);
    }
}

/* ---- All of them ---- */

struct tunnels *tunnels_new(struct event_base *base, struct tls_context *tls,
                            const char *plain_answer)
{
    struct tunnels *ts = mem_zalloc(sizeof *ts);

    ts->base = base;
    ts->tls = tls_context_ref(tls);
    ts->plain_answer = plain_answer;
    TAILQ_INIT(&ts->open);
    TAILQ_INIT(&ts->leaving);
    TAILQ_INIT(&ts->dead);
    TAILQ_INIT(&ts->waiting);
    return ts;
}

void tunnels_set_tls(struct tunnels *ts, struct tls_context *tls)
{
    tls_context_unref(ts->tls);
    ts->tls = tls_context_ref(tls);
}

void tunnels_turn(struct tunnels *ts)
{
    struct tunnel *t;

    for (int i = 0; i < TUNNEL_SHAKES_MAX && (t = TAILQ_FIRST(&ts->waiting)) != NULL; i++) {
        shake(t);
    }
    while ((t = TAILQ_FIRST(&ts->dead)) != NULL) {
        TAILQ_REMOVE(&ts->dead, t, link);
        tls_free(t->tls);
        buf_done(&t->in);
        buf_done(&t->out);
        mem_free(t);
    }
}

bool tunnels_has_work(const struct tunnels *ts)
{
    return !TAILQ_EMPTY(&ts->waiting) || !TAILQ_EMPTY(&ts->dead);
}

void tunnels_free(struct tunnels *ts)
{
    struct tunnel *t;

    if (!ts) {
        return;
    }
    while ((t = TAILQ_FIRST(&ts->open)) != NULL || (t = TAILQ_FIRST(&ts->leaving)) != NULL) {
        tunnel_close(t);
    }
    tunnels_turn(ts);
    tls_context_unref(ts->tls);
    mem_free(ts);
}

void tunnels_stats_get(const struct tunnels *ts, struct tunnels_stats *out)
{
    *out = (struct tunnels_stats){
        .refused = ts->refused, .open = ts->open_count, .leaving = ts->leaving_count};
}
