/* internal.h - what the files of the http room share. Not for other rooms.
 *
 * libevent frees a connection whenever its client goes, and tells so only who holds a request on it.
 * So each connection has a record with a reference to its bufferevent (connections.c), and each request
 * hears of the end of its connection until its answer is said (replies.c). */
#ifndef RAFTD_HTTP_INTERNAL_H
#define RAFTD_HTTP_INTERNAL_H

#include <bsd/sys/tree.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event_struct.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <sys/queue.h>

#include "http/http.h"
#include "net/local.h"

enum {
    HTTP_SWEEP_MS = 100,
    HTTP_ACCEPTS_MAX = 64, /* per turn, so that a flood of either does not hold the loop */
    HTTP_ANSWERS_MAX = 16,
};

enum conn_phase {
    CONN_ASKS,    /* libevent reads a request: the whole of it has to come in time */
    CONN_WAITS,   /* its request is with us */
    CONN_TAKES,   /* its answer is said: it has to take the whole of it in time */
    CONN_STREAMS, /* it has to go on taking what it is told */
};

#define HTTP_TYPE_NDJSON "application/x-ndjson"

struct http_conn {
    RB_ENTRY(http_conn) link;
    TAILQ_ENTRY(http_conn) entering; /* http->entering, while is_entering */
    struct http *http;
    struct bufferevent *bev; /* with a reference of ours */
    struct tunnel *tunnel;   /* NULL: plain */
    struct evbuffer_cb_entry *input_cb, *output_cb;
    enum conn_phase phase;
    uint32_t patience_ms;
    mono_ms due;    /* 0: patience_ms after the next sweep */
    uint32_t takes; /* from its input by libevent, for the request it reads */
    bool is_greedy; /* over a limit: to be cut off */
    bool is_entering;
};
RB_HEAD(http_conns, http_conn);
TAILQ_HEAD(http_conn_list, http_conn);

struct http_route;

struct http_call {
    TAILQ_ENTRY(http_call) link; /* one of the lists of struct http */
    struct http *http;
    struct evhttp_request *req; /* NULL: libevent has freed it, the client is gone */
    const struct http_route *route;
    struct http_conn *conn;
    bool is_watcher; /* waits or streams, and counts as such */
    bool is_gone;    /* a watcher to be freed by the next turn */
    bool is_ndjson;  /* a stream: lines instead of events */
    uint64_t etag;   /* waits: for any other; streams: told last */
    mono_ms until;   /* waits */
};
TAILQ_HEAD(http_calls, http_call);

struct http {
    struct event_base *base;
    struct http_ops ops;
    struct http_config config; /* listen[] is not kept */
    struct evhttp *evhttp;
    struct local_file files[HTTP_LISTEN_MAX];
    struct evconnlistener *listeners[HTTP_LISTEN_MAX]; /* libevent's */
    uint32_t accepted;                                 /* since the last turn */
    uint32_t first_listener;                           /* modulo their number */
    struct tunnels *tunnels;                           /* NULL: no HTTPS */
    struct http_conn_list entering;                    /* accepted just now */
    struct event accepted_event;                       /* runs after those that accept */
    mono_ms now;                                       /* of the turn */
    struct http_conns conns;
    uint32_t conns_count;
    bool sweep_now; /* one is over a limit, or they are too many */
    mono_ms sweep_at;
    struct http_calls fresh;   /* not looked at yet */
    struct http_calls asked;   /* the server answers them */
    struct http_calls waiting; /* for the state to differ */
    struct http_calls streams;
    uint32_t watchers;
    uint32_t gone; /* calls that are */
    mono_ms beat_at;
    struct buf body; /* the answer being made */
    struct evbuffer *chunk;
    uint64_t requests, refused, cut_off;
};

/* connections.c */
struct bufferevent *conns_bev_cb(struct event_base *base, void *http);
struct http_conn *conns_find(struct http *h, struct evhttp_request *req);
void conns_sweep(struct http *h);
void conns_free(struct http *h);
/* It begins to ask for another request, waits for the answer, takes it, or takes a stream. */
void conn_asks(struct http_conn *c);
void conn_waits(struct http_conn *c);
void conn_takes(struct http_conn *c); /* after it was said */
void conn_streams(struct http_conn *c);
/* While it waits: hear when the client leaves. Nobody else reads then. */
void conn_watch_end(struct http_conn *c);
void conn_entered(struct http_conn *c); /* not among http->entering any more */
void conn_hang_up(struct http_conn *c); /* not from a callback of its own; frees it */

/* https.c */
void https_open(struct http *h, struct tls_context *tls); /* NULL: there is none */
void https_close(struct http *h);                         /* after the connections */
/* One more, within the callback. */
void https_accepted(struct http *h, struct http_conn *c);

/* listen.c */
int listen_open(struct http *h, const struct http_config *config);
void listen_accepted(struct http *h); /* one more, within the callback */
void listen_turn(struct http *h);

/* routes.c: a request has come (the callback of libevent), and what is done about it in the turn. */
void routes_request_cb(struct evhttp_request *req, void *http);
void routes_run(struct http_call *call, const struct http_state *state);
void routes_answer_leader(struct http_call *call, const struct http_state *state);

/* replies.c: the last word to a request; frees the call. Bodies are borrowed. */
struct http_reply {
    int code;
    const char *type; /* of the content; NULL: there is none */
    uint64_t etag;    /* 0: none */
    const struct buf *body;
};
void reply_send(struct http_call *call, const struct http_reply *reply);
/* An error of section 3's form, {"error":{"code","message"}}. */
void reply_error(struct http_call *call, int status, const char *code, const char *message);
void reply_headers(struct http_call *call, const char *type, uint64_t etag);
/* From now on call->req is NULL when libevent has freed the request. */
void call_watch_end(struct http_call *call);
void call_free(struct http_call *call);
bool call_is_head(const struct http_call *call);

/* watchers.c: requests that wait, and streams. They take the call. */
void watchers_wait(struct http_call *call, uint64_t etag, uint64_t wait_ms);
void watchers_stream(struct http_call *call, bool is_ndjson, const struct http_state *state);
void watchers_gone(struct http_call *call); /* its client has left; callbacks only */
void watchers_turn(struct http *h);
mono_ms watchers_due(const struct http *h);
void watchers_free(struct http *h);

#endif
