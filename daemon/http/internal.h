/* internal.h - what the files of the http room share. Not for other rooms.
 *
 * libevent frees a connection whenever its client goes, and tells so only who holds a request on it.
 * So each connection has a record with a reference to its bufferevent (connections.c), and each request
 * that waits or streams has a callback (streams.c). */
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

enum { HTTP_SWEEP_MS = 100 };

struct http_conn {
    RB_ENTRY(http_conn) link;
    struct bufferevent *bev; /* with a reference of ours */
    mono_ms due;             /* a whole request has to be here by then; UINT64_MAX: it is */
};
RB_HEAD(http_conns, http_conn);

struct http_route;

struct http_call {
    TAILQ_ENTRY(http_call) link; /* one of the lists of struct http */
    struct http *http;
    struct evhttp_request *req; /* NULL: libevent has freed it, the client is gone */
    const struct http_route *route;
    struct http_conn *conn;
    struct event closed; /* the client has closed its side; while the call waits or streams */
    bool is_watcher;     /* `closed` is armed, the call counts as a watcher */
    bool is_gone;        /* to be freed by the next turn */
    bool is_ndjson;      /* a stream: lines instead of events */
    uint64_t etag;       /* waits: for any other; streams: told last */
    mono_ms until;       /* waits */
};
TAILQ_HEAD(http_calls, http_call);

struct http {
    struct event_base *base;
    struct http_ops ops;
    struct http_config config; /* listen[] is not kept */
    struct evhttp *evhttp;
    struct local_file files[HTTP_LISTEN_MAX];
    mono_ms now; /* of the turn */
    struct http_conns conns;
    uint32_t conns_count;
    bool conns_crowded; /* more than may be: the next sweep is now */
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

/* listen.c */
int listen_open(struct http *h, const struct http_config *config);

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
void call_free(struct http_call *call);
bool call_is_head(const struct http_call *call);

/* watchers.c: requests that wait, and streams. They take the call. */
void watchers_wait(struct http_call *call, uint64_t etag, uint64_t wait_ms);
void watchers_stream(struct http_call *call, bool is_ndjson, const struct http_state *state);
void watchers_turn(struct http *h);
mono_ms watchers_due(const struct http *h);
void watchers_free(struct http *h);

#endif
