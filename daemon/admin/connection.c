#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin/internal.h"
#include "base/check.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"

/* ---- Calls ---- */

struct admin_call *admin_call_open(struct admin_conn *c, uint64_t id, bool is_watch)
{
    struct admin *a = c->admin;
    struct admin_call *call = LIST_FIRST(&a->calls_free);

    if (call) {
        LIST_REMOVE(call, link);
    } else {
        call = mem_alloc(sizeof *call);
    }
    *call = (struct admin_call){.conn = c, .id = id, .is_watch = is_watch};
    LIST_INSERT_HEAD(&c->calls, call, link);
    if (is_watch) {
        c->watches_open++;
    } else {
        c->calls_open++;
        a->calls_open++;
    }
    return call;
}

static void call_close(struct admin_call *call)
{
    struct admin_conn *c = call->conn;
    struct admin *a = c->admin;

    LIST_REMOVE(call, link);
    if (call->is_watch) {
        c->watches_open--;
    } else {
        c->calls_open--;
        a->calls_open--;
    }
    LIST_INSERT_HEAD(&a->calls_free, call, link);
}

uint64_t admin_call_client(const struct admin_call *call)
{
    return call->conn->number;
}

bool admin_call_is_holders(const struct admin_call *call)
{
    return call->conn->holds;
}

void admin_call_set(struct admin_call *call, uint64_t token)
{
    call->token = token;
}

uint64_t admin_call_get(const struct admin_call *call)
{
    return call->token;
}

/* ---- Replies ---- */

bool admin_may_log(struct admin *a, uint64_t *dropped)
{
    mono_ms now = mono_now_ms();

    if (now - a->log.since >= 1000) {
        a->log.since = now;
        a->log.lines = 0;
    }
    if (a->log.lines == ADMIN_LOG_LINES_MAX) {
        a->log.dropped++;
        return false;
    }
    a->log.lines++;
    *dropped = a->log.dropped;
    a->log.dropped = 0;
    return true;
}

static void log_closed(struct admin_conn *c, const char *why)
{
    uint64_t dropped;

    if (admin_may_log(c->admin, &dropped)) {
        log_info("admin", "closed a connection", LOG_STR("why", why), LOG_U64("uid", c->who.uid),
                 LOG_I64("pid", c->who.pid), LOG_U64("suppressed", dropped));
    }
}

void admin_conn_doom(struct admin_conn *c)
{
    if (!c->doomed) {
        c->doomed = true;
        c->admin->conns_doomed++;
    }
}

static void conn_put(struct admin_conn *c, uint64_t id, int code, bool more, uint32_t leader,
                     const char *message, const void *json, size_t json_size)
{
    struct admin *a = c->admin;

    if (c->doomed) {
        return;
    }
    if (admin_reply_put(&c->out, id, code, more, leader, message, json, json_size)) {
        int put = admin_reply_put(&c->out, id, -RD_ETOO_LARGE, false, 0,
                                  "the result does not fit into one reply: ask for less", NULL, 0);
        rd_assert(put == 0);
    }
    if (c->out.size - c->out_sent > ADMIN_OUTPUT_MAX) {
        log_closed(c, "8 MiB of replies are not read");
        admin_conn_doom(c);
        return;
    }
    if (!c->dirty) {
        c->dirty = true;
        TAILQ_INSERT_TAIL(&a->dirty, c, dirty_link);
    }
}

void admin_conn_reply(struct admin_conn *c, uint64_t id, int code, const char *message)
{
    conn_put(c, id, code, false, 0, message, NULL, 0);
}

void admin_answer(struct admin_call *call, int code, uint32_t leader, const char *message,
                  const void *json, size_t json_size)
{
    conn_put(call->conn, call->id, code, false, leader, message, json, json_size);
    call_close(call);
}

bool admin_answer_more(struct admin_call *call, const void *json, size_t json_size)
{
    conn_put(call->conn, call->id, 0, true, 0, NULL, json, json_size);
    return !call->conn->doomed;
}

size_t admin_call_unsent(const struct admin_call *call)
{
    return call->conn->out.size - call->conn->out_sent;
}

/* ---- Output ---- */

/* Wait until the socket takes more; who does not read why it is disconnected is not waited for
 * longer than ADMIN_ENDING_MS. */
static void conn_wait_writable(struct admin_conn *c)
{
    mono_ms now = mono_now_ms();

    c->blocked = true;
    if (!c->ending) {
        (void)event_add(c->write_event, NULL);
        return;
    }
    if (now >= c->ends_at) {
        admin_conn_doom(c);
        return;
    }
    uint64_t left = c->ends_at - now;
    const struct timeval wait = {.tv_sec = (time_t)(left / 1000),
                                 .tv_usec = (suseconds_t)(left % 1000 * 1000)};
    (void)event_add(c->write_event, &wait);
}

void admin_conn_end(struct admin_conn *c, int code, const char *why)
{
    log_closed(c, why);
    admin_conn_reply(c, 0, code, why);
    c->ending = true;
    c->ends_at = mono_now_ms() + ADMIN_ENDING_MS;
    (void)event_del(c->read_event);
    if (c->blocked) {
        conn_wait_writable(c); /* it waits already, but without an end */
    }
}

/* A client that reads slowly may never have read everything: forget what it has read. Each byte is
 * moved at most once for each byte sent. */
static void conn_trim_output(struct admin_conn *c)
{
    if (c->out_sent >= c->out.size - c->out_sent) {
        buf_drop(&c->out, c->out_sent);
        c->out_sent = 0;
    }
}

static void conn_send(struct admin_conn *c)
{
    while (c->out_sent < c->out.size) {
        ssize_t n = send(c->fd, c->out.data + c->out_sent, c->out.size - c->out_sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            conn_trim_output(c);
            conn_wait_writable(c);
            return;
        }
        if (n < 0) {
            admin_conn_doom(c);
            return;
        }
        c->out_sent += (size_t)n;
    }
    c->out.size = 0;
    c->out_sent = 0;
    if (c->out.capacity > ADMIN_OUTPUT_PAUSE) {
        buf_done(&c->out);
    }
    if (c->ending) {
        admin_conn_doom(c);
    }
}

static void write_cb(evutil_socket_t fd, short what, void *arg)
{
    struct admin_conn *c = arg;

    (void)fd;
    c->blocked = false;
    if (c->doomed) {
        return;
    }
    if (what & EV_TIMEOUT) {
        admin_conn_doom(c);
        return;
    }
    conn_send(c);
}

static void flush_dirty(struct admin *a)
{
    struct admin_conn *c;

    while ((c = TAILQ_FIRST(&a->dirty)) != NULL) {
        TAILQ_REMOVE(&a->dirty, c, dirty_link);
        c->dirty = false;
        if (c->doomed || c->blocked) {
            continue;
        }
        conn_send(c);
    }
}

static bool is_answered(const struct admin_conn *c)
{
    return c->calls_open == 0 && c->out_sent == c->out.size;
}

/* Who closed its side ends its watches. Who was closed by us has not. */
static bool goes_on(const struct admin_conn *c)
{
    return c->admin->draining && c->watches_open > 0;
}

void admin_flush(struct admin *a)
{
    struct admin_conn *c;

    admin_listen_turn(a);
    flush_dirty(a);
    if (a->conns_paused == 0 && a->conns_input_ended == 0) {
        return;
    }
    LIST_FOREACH (c, &a->conns, link) {
        if (c->ending || c->doomed) {
            continue;
        }
        requests_go_on(c);
        if (c->input_ended && is_answered(c) && !goes_on(c)) {
            admin_conn_doom(c);
        }
    }
}

/* ---- Life ---- */

/* How many connections this client may share with whom: users without rights can use up neither
 * what an operator needs nor what the next user needs. 0: there is room. */
static uint32_t limit_reached(const struct admin *a, const struct credentials *who, bool may_change)
{
    uint32_t all =
        may_change ? ADMIN_CONNECTIONS_MAX : ADMIN_CONNECTIONS_MAX - ADMIN_CONNECTIONS_RESERVED;
    uint32_t own = 0;
    const struct admin_conn *c;

    if (a->conns_count >= all) {
        return all;
    }
    if (may_change) {
        return 0;
    }
    LIST_FOREACH (c, &a->conns, link) {
        own += c->who.uid == who->uid;
    }
    return own >= ADMIN_CONNECTIONS_PER_UID ? ADMIN_CONNECTIONS_PER_UID : 0;
}

static void refuse_connection(int fd, uint32_t limit)
{
    struct buf reply = BUF_INIT;
    char why[96];

    (void)snprintf(why, sizeof why, "%u admin connections are open, the limit: close some first",
                   limit);
    if (admin_reply_put(&reply, 0, -RD_ETOO_LARGE, false, 0, why, NULL, 0) == 0) {
        /* Into an empty socket buffer; whether it arrives is not our business any more. */
        ssize_t ignored = send(fd, reply.data, reply.size, MSG_NOSIGNAL);
        (void)ignored;
    }
    buf_done(&reply);
    (void)close(fd);
}

void admin_conn_accept(struct admin *a, int fd)
{
    struct credentials who;

    if (credentials_get(fd, &who)) {
        (void)close(fd);
        return;
    }
    bool may_change = credentials_allow(&who, &a->policy, ADMIN_CHANGE);
    uint32_t limit = limit_reached(a, &who, may_change);
    if (limit) {
        credentials_done(&who);
        refuse_connection(fd, limit);
        return;
    }
    struct admin_conn *c = mem_zalloc(sizeof *c);
    c->admin = a;
    c->number = ++a->conns_ever;
    c->fd = fd;
    c->who = who;
    c->may_change = may_change;
    LIST_INIT(&c->calls);
    c->read_event = event_new(a->base, fd, EV_READ | EV_PERSIST, requests_read_cb, c);
    c->write_event = event_new(a->base, fd, EV_WRITE, write_cb, c);
    rd_assert(c->read_event && c->write_event);
    LIST_INSERT_HEAD(&a->conns, c, link);
    a->conns_count++;
    if (event_add(c->read_event, NULL)) {
        admin_conn_doom(c);
    }
    if (a->draining) {
        (void)shutdown(fd, SHUT_RD);
    }
}

void admin_conns_drain(struct admin *a)
{
    struct admin_conn *c;

    LIST_FOREACH (c, &a->conns, link) {
        c->spared = a->ops->holds(a->ops->server, c->number);
        if (!c->spared) {
            (void)shutdown(c->fd, SHUT_RD); /* what is in the socket can still be read */
        }
    }
}

static bool hears_nothing_more(const struct admin_conn *c)
{
    const struct server_ops *ops = c->admin->ops;

    return c->input_ended || (c->spared && !ops->holds(ops->server, c->number));
}

bool admin_conns_are_drained(const struct admin *a)
{
    const struct admin_conn *c;

    LIST_FOREACH (c, &a->conns, link) {
        if (!c->doomed && !(hears_nothing_more(c) && is_answered(c))) {
            return false;
        }
    }
    return true;
}

static void conn_free(struct admin_conn *c)
{
    struct admin *a = c->admin;
    struct admin_call *call;

    while ((call = LIST_FIRST(&c->calls)) != NULL) {
        a->ops->cancel(a->ops->server, call);
        call_close(call);
    }
    if (c->dirty) {
        TAILQ_REMOVE(&a->dirty, c, dirty_link);
    }
    requests_dequeue(c);
    if (c->paused) {
        a->conns_paused--;
    }
    if (c->input_ended) {
        a->conns_input_ended--;
    }
    if (c->doomed) {
        a->conns_doomed--;
    }
    LIST_REMOVE(c, link);
    a->conns_count--;
    event_free(c->read_event);
    event_free(c->write_event);
    (void)close(c->fd);
    credentials_done(&c->who);
    buf_done(&c->in);
    buf_done(&c->out);
    mem_free(c);
}

void admin_reap(struct admin *a)
{
    if (a->conns_doomed == 0) {
        return;
    }
    struct admin_conn *next;
    for (struct admin_conn *c = LIST_FIRST(&a->conns); c; c = next) {
        next = LIST_NEXT(c, link);
        if (c->doomed) {
            conn_free(c);
        }
    }
}

void admin_conns_free(struct admin *a)
{
    struct admin_conn *c;
    struct admin_call *call;

    while ((c = LIST_FIRST(&a->conns)) != NULL) {
        conn_free(c);
    }
    while ((call = LIST_FIRST(&a->calls_free)) != NULL) {
        LIST_REMOVE(call, link);
        mem_free(call);
    }
}
