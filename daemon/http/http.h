/* http.h - the read-only HTTP side: who leads, health, status and metrics (contract section 4).
 *
 * Callbacks of libevent only queue; http_turn() answers, from the state as it is then, so that a claim
 * to lead is computed at the moment of answering.
 *
 * Threads:   loop thread only.
 * Limits:    HTTP_HEADERS_MAX and HTTP_LINES_MAX, no bodies; `max_watchers` requests that wait or
 *            stream, then 503; HTTP_CONNECTIONS_SPARE connections more than that, then the slowest is
 *            disconnected. So is who does not send a whole request within HTTP_REQUEST_MS, does not take
 *            the whole of an answer within HTTP_STALL_MS, leaves HTTP_UNREAD_MAX bytes of a stream
 *            unread, or takes none of it for HTTP_STALL_MS.
 * Errors:    what is no HTTP, too large, has a body or an unknown method is answered by libevent itself,
 *            by a page in HTML (400, 413, 417, 501), and disconnected. A client that has closed its side
 *            is answered, but has left as far as waiting and streams are concerned.
 * HTTPS:     what is said of a client holds for one behind a tunnel (net/tunnel.h), its handshake is part of
 *            its first request. What it does not take is noticed when TUNNEL_BUFFER is full on the way.
 *            Unix sockets stay plain.
 * Ownership: a call lives from http_ops.status or .members until http_answer(). */
#ifndef RAFTD_HTTP_HTTP_H
#define RAFTD_HTTP_HTTP_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/mono.h"

struct http;
struct tls_context;
struct http_call; /* one request that is answered later */

enum {
    HTTP_HEADERS_MAX = 8 << 10,
    HTTP_LINES_MAX = 128, /* each line costs more memory than it has bytes */
    HTTP_CONNECTIONS_SPARE = 256,
    HTTP_REQUEST_MS = 10000, /* for a whole request, from the connection on */
    HTTP_IDLE_MS = 75000,    /* from an answer to the next whole request */
    HTTP_STALL_MS = 10000,
    HTTP_UNREAD_MAX = 64 << 10, /* bytes of a stream */
    HTTP_WAIT_MAX_MS = 600000,  /* the longest ?wait= */
    HTTP_LISTEN_MAX = 8,
};

struct http_state { /* what leads where, as known now */
    uint64_t etag;  /* differs when anything but times differs */
    bool is_known;  /* a leader is */
    bool is_leader; /* this node may claim to lead */
    bool is_follower;
    bool is_ready;
};

/* What the daemon says. All are called from http_turn(). What it puts is told to somebody: a claim to lead in
 * it counts from then on. */
struct http_ops {
    void *server;
    void (*state)(void *server, struct http_state *out);
    void (*put_leader)(void *server, struct buf *out);              /* the body of /v1/leader */
    void (*put_ready)(void *server, bool verbose, struct buf *out); /* lines of text */
    /* One line: what this node is; `claim`: with the claim to lead, if there is one. */
    void (*put_health)(void *server, bool claim, struct buf *out);
    void (*put_metrics)(void *server, struct buf *out);
    /* Answered by http_answer(), once, now or later. */
    void (*status)(void *server, struct http_call *call);
    void (*members)(void *server, struct http_call *call);
};

struct http_config {
    uint32_t listen_count;
    const char *listen[HTTP_LISTEN_MAX]; /* "host:port" or "unix:/path" */
    uint32_t watchers_max;
    uint32_t beat_ms;        /* between two signs of life on a stream */
    struct tls_context *tls; /* TCP listeners speak HTTPS; NULL: plain HTTP. Counted */
};

/* 0; -RD_ENO_ADDRESS or -RD_ECONFIG after one log line. Nobody listens when listen_count is 0. */
int http_open(struct event_base *base, const struct http_config *config, const struct http_ops *ops,
              struct http **out);
void http_close(struct http *h); /* NULL is fine; what is open is cut off */
/* HTTPS connections that begin later use these certificates; nothing without HTTPS. */
void http_set_tls(struct http *h, struct tls_context *tls);

/* The JSON is the body of a 200. Frees the call. */
void http_answer(struct http_call *call, const void *json, size_t json_size);

/* Once per turn, outside callbacks: answer what was asked, tell those who wait. `now` is the turn's. */
void http_turn(struct http *h, mono_ms now);
/* When the next turn has work; UINT64_MAX: none. */
mono_ms http_due(const struct http *h);
/* Does anybody wait for the state to change? */
bool http_has_watchers(const struct http *h);

struct http_stats {
    uint64_t requests, refused; /* refused: over a limit */
    uint64_t cut_off;           /* slow readers */
    uint64_t refused_tls;       /* HTTPS connections that came to no handshake, or broke it later */
    uint32_t connections, watchers;
};
void http_stats_get(const struct http *h, struct http_stats *out);

/* The table of paths, for the manual and tests: calls cb for each in order. */
typedef void http_path_cb(void *arg, const char *path, const char *help);
void http_each_path(http_path_cb *cb, void *arg);

#endif
