/* The table of paths. */
#include "base/check.h"
#include "base/mem.h"
#include "base/units.h"
#include "http/internal.h"

#include <event2/keyvalq_struct.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TYPE_JSON "application/json"
#define TYPE_TEXT "text/plain; charset=utf-8"
#define TYPE_METRICS "text/plain; version=0.0.4; charset=utf-8"

struct http_route {
    const char *path;
    void (*run)(struct http_call *call, const struct http_state *state);
    const char *help; /* sentences for the manual */
};

/* ---- What was asked: headers, and what stands after the '?' ---- */

static const char *header_of(const struct http_call *call, const char *name)
{
    return evhttp_find_header(evhttp_request_get_input_headers(call->req), name);
}

/* Among the media types of an Accept header, and not refused there. */
static bool accepts(const struct http_call *call, const char *type)
{
    const char *accept = header_of(call, "Accept");
    size_t size = strlen(type);

    for (const char *p = accept ? accept : ""; *p; p += strcspn(p, ","), p += *p == ',') {
        p += strspn(p, " \t");
        if (strncasecmp(p, type, size) == 0 && strchr(",; \t", p[size])) {
            size_t length = strcspn(p, ",");
            return !(length >= 4 && memcmp(p + length - 4, ";q=0", 4) == 0);
        }
    }
    return false;
}

struct query {
    struct evkeyvalq pairs;
};

static const char *query_text(const struct http_call *call)
{
    const char *text = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(call->req));

    return text ? text : "";
}

static bool query_open(const struct http_call *call, struct query *q)
{
    TAILQ_INIT(&q->pairs);
    return evhttp_parse_query_str(query_text(call), &q->pairs) == 0;
}

static const char *query_get(const struct query *q, const char *name)
{
    return evhttp_find_header(&q->pairs, name);
}

static void query_close(struct query *q)
{
    evhttp_clear_headers(&q->pairs);
}

/* Is it among them, without a value? libevent's parser does not take such. */
static bool has_word(const char *query, const char *word)
{
    size_t size = strlen(word);

    while (*query) {
        size_t length = strcspn(query, "&");
        if (length == size && memcmp(query, word, size) == 0) {
            return true;
        }
        query += length + (query[length] == '&');
    }
    return false;
}

/* ---- Answers ---- */

static void answer_text(struct http_call *call, int code, const char *text)
{
    struct buf *body = &call->http->body;

    body->size = 0;
    buf_put_str(body, text);
    reply_send(call, &(struct http_reply){.code = code, .type = TYPE_TEXT, .body = body});
}

static void run_livez(struct http_call *call, const struct http_state *state)
{
    (void)state;
    answer_text(call, 200, "ok\n");
}

static void run_readyz(struct http_call *call, const struct http_state *state)
{
    struct http *h = call->http;
    bool verbose = has_word(query_text(call), "verbose");

    h->body.size = 0;
    h->ops.put_ready(h->ops.server, verbose, &h->body);
    reply_send(call, &(struct http_reply){
                         .code = state->is_ready ? 200 : 503, .type = TYPE_TEXT, .body = &h->body});
}

static void answer_health(struct http_call *call, bool yes, bool claim)
{
    struct http *h = call->http;

    h->body.size = 0;
    h->ops.put_health(h->ops.server, claim, &h->body);
    reply_send(call,
               &(struct http_reply){.code = yes ? 200 : 503, .type = TYPE_TEXT, .body = &h->body});
}

static void run_health_leader(struct http_call *call, const struct http_state *state)
{
    answer_health(call, state->is_leader, state->is_leader);
}

static void run_health_follower(struct http_call *call, const struct http_state *state)
{
    answer_health(call, state->is_follower && state->is_ready, false);
}

/* "b24f...", with or without the quotes of a header. Nobody has given any that is not 16 digits long. */
static bool parse_etag(const char *text, uint64_t *out)
{
    size_t quoted = text[0] == '"';
    char digits[17] = "";

    (void)sscanf(text + quoted, "%16[0-9a-fA-F]", digits);
    if (strlen(digits) != 16 || strcmp(text + quoted + 16, quoted ? "\"" : "") != 0) {
        return false;
    }
    *out = strtoull(digits, NULL, 16);
    return true;
}

struct wish {      /* of a request to /v1/leader */
    bool is_after; /* answer only what differs from `etag` */
    uint64_t etag;
    uint64_t wait_ms;
};

/* NULL, or what is wrong with it. An etag that nobody can have given differs from every state. */
static const char *parse_wish(const struct http_call *call, struct wish *out)
{
    struct query q;
    const char *wrong = NULL;

    if (!query_open(call, &q)) {
        return "the query cannot be read: name=value, with & between them";
    }
    const char *after = query_get(&q, "after");
    after = after ? after : header_of(call, "If-None-Match");
    const char *wait = query_get(&q, "wait");
    out->is_after = after && parse_etag(after, &out->etag);
    if (wait && units_parse_duration(wait, &out->wait_ms)) {
        wrong = "wait: a time with its unit, as in wait=30s or wait=500ms";
    } else if (out->wait_ms > HTTP_WAIT_MAX_MS) {
        wrong = "wait: at most 10m; ask again then";
    }
    query_close(&q);
    return wrong;
}

void routes_answer_leader(struct http_call *call, const struct http_state *state)
{
    struct http *h = call->http;

    h->body.size = 0;
    h->ops.put_leader(h->ops.server, &h->body);
    buf_put_u8(&h->body, '\n');
    reply_send(call, &(struct http_reply){.code = state->is_known ? 200 : 503,
                                          .type = TYPE_JSON,
                                          .etag = state->etag,
                                          .body = &h->body});
}

static void run_leader(struct http_call *call, const struct http_state *state)
{
    struct wish wish = {.is_after = false};
    const char *wrong = parse_wish(call, &wish);

    if (wrong) {
        reply_error(call, 400, "invalid", wrong);
    } else if (!wish.is_after || wish.etag != state->etag) {
        routes_answer_leader(call, state);
    } else if (wish.wait_ms == 0) {
        reply_send(call, &(struct http_reply){.code = 304, .etag = state->etag});
    } else {
        watchers_wait(call, state->etag, wish.wait_ms);
    }
}

static void run_watch(struct http_call *call, const struct http_state *state)
{
    watchers_stream(call, accepts(call, HTTP_TYPE_NDJSON), state);
}

static void ask(struct http_call *call, void (*op)(void *server, struct http_call *call))
{
    struct http *h = call->http;

    TAILQ_INSERT_TAIL(&h->asked, call, link);
    op(h->ops.server, call);
}

static void run_status(struct http_call *call, const struct http_state *state)
{
    (void)state;
    ask(call, call->http->ops.status);
}

static void run_members(struct http_call *call, const struct http_state *state)
{
    (void)state;
    ask(call, call->http->ops.members);
}

void http_answer(struct http_call *call, const void *json, size_t json_size)
{
    struct http *h = call->http;

    TAILQ_REMOVE(&h->asked, call, link);
    h->body.size = 0;
    buf_put(&h->body, json, json_size);
    buf_put_u8(&h->body, '\n');
    reply_send(call, &(struct http_reply){.code = 200, .type = TYPE_JSON, .body = &h->body});
}

static void run_metrics(struct http_call *call, const struct http_state *state)
{
    struct http *h = call->http;

    (void)state;
    h->body.size = 0;
    h->ops.put_metrics(h->ops.server, &h->body);
    reply_send(call, &(struct http_reply){.code = 200, .type = TYPE_METRICS, .body = &h->body});
}

/* A table. Order is the order of the manual. */
/* clang-format off */
static const struct http_route routes[] = {
    {"/livez", run_livez,
     "200 when the event loop answers."},
    {"/readyz", run_readyz,
     "200 when this node is a member, knows a leader that it heard lately, its disk is well, and it "
     "was not removed; else 503, and the first line says why. With `?verbose` a line for each."},
    {"/health/leader", run_health_leader,
     "200 while this node may claim to lead, else 503."},
    {"/leader", run_health_leader,
     "The same as /health/leader."},
    {"/primary", run_health_leader,
     "The same as /health/leader."},
    {"/health/follower", run_health_follower,
     "200 while this node follows and is ready, else 503."},
    {"/replica", run_health_follower,
     "The same as /health/follower."},
    {"/v1/leader", run_leader,
     "Who leads, and whether this node may act as leader, for how long and under which fence, as "
     "JSON. 503 with the same body when no leader is known. With `?wait=30s&after=ETAG` it waits "
     "until the state differs from that of ETAG, and answers 304 when it has not."},
    {"/v1/watch", run_watch,
     "The same now and at each change, as Server-Sent Events, with a heartbeat three times per "
     "lease; lines of JSON with `Accept: application/x-ndjson`. 503 above max_watchers."},
    {"/v1/status", run_status,
     "What `raftctl status --json` shows."},
    {"/v1/members", run_members,
     "What `raftctl members --json` shows."},
    {"/metrics", run_metrics,
     "Metrics as text for Prometheus, listed below."},
};
/* clang-format on */

enum { ROUTES_COUNT = sizeof routes / sizeof routes[0] };

void http_each_path(http_path_cb *cb, void *arg)
{
    for (size_t i = 0; i < ROUTES_COUNT; i++) {
        cb(arg, routes[i].path, routes[i].help);
    }
}

/* ---- Requests ---- */

static const struct http_route *find(const char *path)
{
    for (size_t i = 0; path && i < ROUTES_COUNT; i++) {
        if (strcmp(routes[i].path, path) == 0) {
            return &routes[i];
        }
    }
    return NULL;
}

static void refuse_path(struct http_call *call)
{
    char text[512] = "there is no such path: there are";
    size_t used = strlen(text);

    for (size_t i = 0; i < ROUTES_COUNT; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "%s %s", i ? "," : "",
                                 routes[i].path);
    }
    reply_error(call, 404, "not_found", text);
}

void routes_request_cb(struct evhttp_request *req, void *http)
{
    struct http *h = http;
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
    struct http_call *call = mem_zalloc(sizeof *call);

    h->requests++;
    call->http = h;
    call->req = req;
    call->route = find(uri ? evhttp_uri_get_path(uri) : NULL);
    call->conn = conns_find(h, req);
    conn_waits(call->conn);
    call_watch_end(call);
    TAILQ_INSERT_TAIL(&h->fresh, call, link);
}

void routes_run(struct http_call *call, const struct http_state *state)
{
    if (!call->req) { /* its client has left already */
        call_free(call);
        return;
    }
    enum evhttp_cmd_type method = evhttp_request_get_command(call->req);
    if (!call->route) {
        refuse_path(call);
    } else if (method == EVHTTP_REQ_OPTIONS) {
        reply_send(call, &(struct http_reply){.code = 204});
    } else if (method != EVHTTP_REQ_GET && method != EVHTTP_REQ_HEAD) {
        reply_error(call, 405, "invalid", "this is read-only: GET, HEAD, OPTIONS");
    } else {
        call->route->run(call, state);
    }
}
