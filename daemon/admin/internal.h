/* internal.h - what the files of the admin room share. Not for other rooms.
 *
 * Nothing is freed inside a callback: a connection that ends is marked `doomed` and goes away in
 * admin_reap(), where its open calls are cancelled. */
#ifndef RAFTD_ADMIN_INTERNAL_H
#define RAFTD_ADMIN_INTERNAL_H

#include <event2/listener.h>
#include <sys/queue.h>

#include "admin/admin.h"
#include "admin/credentials.h"
#include "base/mono.h"
#include "base/shortage.h"
#include "net/local.h"

enum {
    ADMIN_OPEN_MAX = 4000,           /* open calls over all connections, watches not counted */
    ADMIN_REQUESTS_MAX = 256,        /* per turn over all connections; the rest waits its turn */
    ADMIN_WATCHES_MAX = 4,           /* per connection */
    ADMIN_CONNECTIONS_RESERVED = 32, /* of the connections: for those who may change things */
    ADMIN_CONNECTIONS_PER_UID = 64,  /* of one user who may not */
    ADMIN_OUTPUT_MAX = 8 << 20,      /* unread replies: the client is disconnected */
    ADMIN_OUTPUT_PAUSE = 256 << 10,  /* unread replies: no more requests are read */
    ADMIN_ACCEPTS_MAX = 64,          /* per turn; those who wait are taken in the next one */
    ADMIN_READ_SIZE = 64 << 10,      /* one recv */
    ADMIN_ASK_FRAME_MAX = 16 << 10,  /* from who may only ask: those requests are small */
    ADMIN_ENDING_MS = 3000,          /* for a client to read why it is disconnected */
    ADMIN_LOG_LINES_MAX = 20,        /* about misbehaving clients per second; the rest is counted */
    ADMIN_TIMEOUT_DEFAULT_MS = 10000, /* a request that names no time-out */
    ADMIN_TIMEOUT_MAX_MS = 3600 * 1000,
};

_Static_assert((int)ADMIN_REQUESTS_MAX >= (int)ADMIN_CONNECTIONS_MAX,
               "each connection that waits gets at least one request into each turn");

struct admin_conn {
    LIST_ENTRY(admin_conn) link;        /* admin->conns */
    TAILQ_ENTRY(admin_conn) dirty_link; /* admin->dirty, while `dirty` */
    TAILQ_ENTRY(admin_conn) queue_link; /* admin->queue, while `queued` */
    struct admin *admin;
    uint64_t number; /* counts up from 1 */
    int fd;
    struct event *read_event, *write_event;
    struct credentials who;
    bool may_change;
    bool dirty;       /* has output that admin_flush() has not tried to send yet */
    bool blocked;     /* the socket is full: write_event waits */
    bool queued;      /* `in` may hold whole frames, for admin_take() */
    bool paused;      /* not read until limits allow */
    bool holds;       /* has asked to */
    bool spared;      /* from the drain: its `release` is waited for */
    bool input_ended; /* the client sends nothing more, but waits for its answers */
    bool ending;      /* broke the protocol: ends once the last reply is sent, or at ends_at */
    bool doomed;      /* freed by the next admin_reap() */
    mono_ms ends_at;  /* while `ending` */
    struct buf in;    /* received, not parsed yet: less than a frame and ADMIN_READ_SIZE */
    struct buf out;
    size_t out_sent; /* of out: less than what is not sent yet, while it is `blocked` */
    LIST_HEAD(, admin_call) calls;
    uint32_t calls_open; /* watches not counted */
    uint32_t watches_open;
};

struct admin_call {
    LIST_ENTRY(admin_call) link; /* conn->calls, or admin->calls_free */
    struct admin_conn *conn;
    uint64_t id;    /* the client's */
    uint64_t token; /* the server's */
    bool is_watch;
};

struct admin {
    struct event_base *base;
    const struct server_ops *ops;
    struct credentials_policy policy;
    struct evconnlistener *listener;
    struct event *listener_retry; /* out of descriptors: listen again later */
    struct shortage shortage;
    uint32_t accepted; /* in this turn */
    bool draining;
    struct local_file file;
    LIST_HEAD(, admin_conn) conns;
    TAILQ_HEAD(, admin_conn) dirty;
    TAILQ_HEAD(, admin_conn) queue; /* whose requests are taken next, in this order */
    LIST_HEAD(, admin_call) calls_free;
    uint64_t conns_ever;
    uint32_t conns_count;
    uint32_t conns_queued;
    uint32_t conns_paused;
    uint32_t conns_input_ended;
    uint32_t conns_doomed;
    uint32_t calls_open;
    struct {
        mono_ms since;
        uint32_t lines;
        uint64_t dropped; /* lines not logged since the last one that was */
    } log;
    struct buf scratch; /* encoded transactions, messages */
    uint8_t *read_buffer;
};

/* listen.c: the end of a turn: accept again. */
void admin_listen_turn(struct admin *a);

/* connection.c: may a line about what a client did be logged now? Who misbehaves at full speed must
 * not fill the log. true: `*dropped` lines before it were not. */
bool admin_may_log(struct admin *a, uint64_t *dropped);

/* connection.c: take over a connected socket. */
void admin_conn_accept(struct admin *a, int fd);
void admin_conn_doom(struct admin_conn *c);
/* connection.c: the stream is out of step: say why, then end. */
void admin_conn_end(struct admin_conn *c, int code, const char *why);
/* connection.c: nothing more can be sent on any connection. */
void admin_conns_drain(struct admin *a);
bool admin_conns_are_drained(const struct admin *a);
/* connection.c: end all connections, free the spare calls. */
void admin_conns_free(struct admin *a);

/* requests.c: the socket is readable; nothing but reads. */
void requests_read_cb(evutil_socket_t fd, short what, void *conn);
/* requests.c: a limit had stopped it: does it still? */
void requests_go_on(struct admin_conn *c);
void requests_dequeue(struct admin_conn *c); /* if it is in the queue */

/* commands.c: run one decoded request, or refuse it. The request stays the caller's. */
struct admin_request;
void admin_command_run(struct admin_conn *c, struct admin_request *request);

/* connection.c: a new open call; counted against the limits. */
struct admin_call *admin_call_open(struct admin_conn *c, uint64_t id, bool is_watch);
/* connection.c: a reply to a request that never became a call. */
void admin_conn_reply(struct admin_conn *c, uint64_t id, int code, const char *message);

#endif
