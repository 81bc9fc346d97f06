/* Who hears of changes: requests that wait for one, and streams. */
#include "base/check.h"
#include "base/log.h"
#include "http/internal.h"

#include <inttypes.h>
#include <stdio.h>

#define TYPE_EVENTS "text/event-stream"

enum { STREAM_SEND_BUFFER = 16 << 10 }; /* of the kernel: a slow reader is noticed earlier */

/* ---- The client goes ---- */

void watchers_gone(struct http_call *call)
{
    if (!call->is_gone) {
        call->is_gone = true;
        call->http->gone++;
    }
}

static void cut(struct http_call *call)
{
    if (call->req) { /* libevent frees it with the connection, and says so */
        evhttp_connection_free(evhttp_request_get_connection(call->req));
    }
    rd_assert(!call->req);
}

static void reap(struct http *h, struct http_calls *calls)
{
    struct http_call *next;

    for (struct http_call *call = TAILQ_FIRST(calls); call; call = next) {
        next = TAILQ_NEXT(call, link);
        if (call->is_gone) {
            cut(call);
            TAILQ_REMOVE(calls, call, link);
            h->gone--;
            call_free(call);
        }
    }
}

/* ---- Taking one in ---- */

static bool admit(struct http_call *call)
{
    struct http *h = call->http;
    char why[96];

    if (h->watchers < h->config.watchers_max) {
        return true;
    }
    h->refused++;
    if (h->config.watchers_max == 0) {
        (void)snprintf(why, sizeof why,
                       "waiting and streaming are switched off ([http] max_watchers)");
    } else {
        (void)snprintf(why, sizeof why,
                       "%" PRIu32 " clients wait or stream, the limit ([http] max_watchers)",
                       h->watchers);
    }
    reply_error(call, 503, "too_large", why);
    return false;
}

static void join(struct http_call *call, struct http_calls *calls)
{
    call->is_watcher = true;
    call->http->watchers++;
    TAILQ_INSERT_TAIL(calls, call, link);
}

void watchers_wait(struct http_call *call, uint64_t etag, uint64_t wait_ms)
{
    struct http *h = call->http;

    if (admit(call)) {
        call->etag = etag;
        call->until = h->now + wait_ms;
        join(call, &h->waiting);
        conn_watch_end(call->conn);
    }
}

/* ---- Streams ---- */

/* Told in one piece: what a reader does not take is not kept. */
static void stream_put(struct http_call *call, const struct buf *text)
{
    struct http *h = call->http;

    if (evbuffer_get_length(bufferevent_get_output(call->conn->bev)) > HTTP_UNREAD_MAX) {
        h->cut_off++;
        watchers_gone(call);
        return;
    }
    rd_assert(evbuffer_add(h->chunk, text->data, text->size) == 0);
    evhttp_send_reply_chunk(call->req, h->chunk);
}

static void put_state(struct http *h, const struct http_state *state, bool is_ndjson)
{
    h->body.size = 0;
    if (is_ndjson) {
        h->ops.put_leader(h->ops.server, &h->body);
        buf_put_u8(&h->body, '\n');
        return;
    }
    buf_printf(&h->body, "event: state\nid: %016" PRIx64 "\ndata: ", state->etag);
    h->ops.put_leader(h->ops.server, &h->body);
    buf_put_str(&h->body, "\n\n");
}

/* A sign of life carries no claim: who hears one knows that nothing has changed, and asks for a claim when
 * it needs one. */
static void put_beat(struct buf *out, bool is_ndjson)
{
    out->size = 0;
    buf_put_str(out, is_ndjson ? "{\"event\":\"hb\"}\n" : "event: hb\ndata: {}\n\n");
}

static void begin(struct http_call *call)
{
    const int size = STREAM_SEND_BUFFER;

    (void)setsockopt(bufferevent_getfd(call->conn->bev), SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    conn_streams(call->conn);
    reply_headers(call, call->is_ndjson ? HTTP_TYPE_NDJSON : TYPE_EVENTS, 0);
    evhttp_send_reply_start(call->req, 200, "OK");
}

void watchers_stream(struct http_call *call, bool is_ndjson, const struct http_state *state)
{
    struct http *h = call->http;

    if (call_is_head(call)) {
        reply_send(call, &(struct http_reply){.code = 200,
                                              .type = is_ndjson ? HTTP_TYPE_NDJSON : TYPE_EVENTS});
        return;
    }
    if (!admit(call)) {
        return;
    }
    call->is_ndjson = is_ndjson;
    call->etag = state->etag;
    join(call, &h->streams);
    begin(call);
    put_state(h, state, is_ndjson);
    stream_put(call, &h->body);
    if (h->beat_at == UINT64_MAX) {
        h->beat_at = h->now + h->config.beat_ms;
    }
}

static void streams_tell(struct http *h, const struct http_state *state, bool is_ndjson)
{
    struct http_call *call;
    bool is_made = false;

    TAILQ_FOREACH (call, &h->streams, link) {
        if (call->is_ndjson != is_ndjson || call->etag == state->etag || call->is_gone) {
            continue;
        }
        if (!is_made) {
            is_made = true;
            put_state(h, state, is_ndjson);
        }
        call->etag = state->etag;
        stream_put(call, &h->body);
    }
}

static void streams_beat(struct http *h)
{
    struct buf events = BUF_INIT;
    struct buf lines = BUF_INIT;
    struct http_call *call;

    put_beat(&events, false);
    put_beat(&lines, true);
    TAILQ_FOREACH (call, &h->streams, link) {
        if (!call->is_gone) {
            stream_put(call, call->is_ndjson ? &lines : &events);
        }
    }
    buf_done(&events);
    buf_done(&lines);
    h->beat_at = TAILQ_EMPTY(&h->streams) ? UINT64_MAX : h->now + h->config.beat_ms;
}

/* ---- The turn ---- */

static void waiting_turn(struct http *h, const struct http_state *state)
{
    struct http_call *next;

    for (struct http_call *call = TAILQ_FIRST(&h->waiting); call; call = next) {
        next = TAILQ_NEXT(call, link);
        if (call->etag == state->etag && h->now < call->until) {
            continue;
        }
        TAILQ_REMOVE(&h->waiting, call, link);
        if (call->etag == state->etag) {
            reply_send(call, &(struct http_reply){.code = 304, .etag = state->etag});
        } else {
            routes_answer_leader(call, state);
        }
    }
}

void watchers_turn(struct http *h)
{
    struct http_state state;

    if (h->gone) {
        reap(h, &h->waiting);
        reap(h, &h->streams);
    }
    if (h->watchers == 0) {
        h->beat_at = UINT64_MAX;
        return;
    }
    h->ops.state(h->ops.server, &state);
    waiting_turn(h, &state);
    streams_tell(h, &state, false);
    streams_tell(h, &state, true);
    if (h->now >= h->beat_at) {
        streams_beat(h);
    }
    if (h->gone) { /* slow readers */
        reap(h, &h->streams);
    }
}

mono_ms watchers_due(const struct http *h)
{
    const struct http_call *call;
    mono_ms due = h->gone ? h->now : h->beat_at;

    TAILQ_FOREACH (call, &h->waiting, link) {
        due = call->until < due ? call->until : due;
    }
    return due;
}

static void cut_all(struct http *h, struct http_calls *calls)
{
    struct http_call *call;

    TAILQ_FOREACH (call, calls, link) {
        watchers_gone(call);
    }
    reap(h, calls);
}

void watchers_free(struct http *h)
{
    cut_all(h, &h->waiting);
    cut_all(h, &h->streams);
}
