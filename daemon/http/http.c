#include "base/check.h"
#include "base/mem.h"
#include "http/internal.h"
#include "net/tunnel.h"

/* All of them: what is not allowed here is refused in our words. */
enum {
    METHODS = EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_HEAD | EVHTTP_REQ_PUT |
              EVHTTP_REQ_DELETE | EVHTTP_REQ_OPTIONS | EVHTTP_REQ_TRACE | EVHTTP_REQ_PATCH
};

static void open_evhttp(struct http *h)
{
    h->evhttp = evhttp_new(h->base);
    rd_assert(h->evhttp);
    evhttp_set_max_headers_size(h->evhttp, HTTP_HEADERS_MAX);
    evhttp_set_max_body_size(h->evhttp, 0);
    evhttp_set_allowed_methods(h->evhttp, METHODS);
    evhttp_set_default_content_type(h->evhttp, NULL);
    evhttp_set_bevcb(h->evhttp, conns_bev_cb, h);
    evhttp_set_gencb(h->evhttp, routes_request_cb, h);
}

int http_open(struct event_base *base, const struct http_config *config, const struct http_ops *ops,
              struct http **out)
{
    struct http *h = mem_zalloc(sizeof *h);

    h->base = base;
    h->ops = *ops;
    h->config = *config;
    h->sweep_at = h->beat_at = UINT64_MAX;
    RB_INIT(&h->conns);
    TAILQ_INIT(&h->fresh);
    TAILQ_INIT(&h->asked);
    TAILQ_INIT(&h->waiting);
    TAILQ_INIT(&h->streams);
    h->chunk = evbuffer_new();
    rd_assert(h->chunk);
    open_evhttp(h);
    https_open(h, config->tls);
    int code = listen_open(h, config);
    if (code) {
        http_close(h);
        return code;
    }
    *out = h;
    return 0;
}

static void free_all(struct http_calls *calls)
{
    struct http_call *call;

    while ((call = TAILQ_FIRST(calls)) != NULL) {
        TAILQ_REMOVE(calls, call, link);
        call_free(call);
    }
}

void http_close(struct http *h)
{
    if (!h) {
        return;
    }
    watchers_free(h);
    evhttp_free(h->evhttp); /* requests go with their connections, and the calls are told */
    free_all(&h->fresh);
    free_all(&h->asked);
    conns_free(h);
    https_close(h);
    for (size_t i = 0; i < HTTP_LISTEN_MAX; i++) {
        local_remove(&h->files[i]);
    }
    evbuffer_free(h->chunk);
    buf_done(&h->body);
    mem_free(h);
}

static void answer_fresh(struct http *h)
{
    struct http_call *call = TAILQ_FIRST(&h->fresh);
    struct http_state state;

    if (!call) {
        return;
    }
    h->ops.state(h->ops.server, &state);
    for (int i = 0; i < HTTP_ANSWERS_MAX && (call = TAILQ_FIRST(&h->fresh)) != NULL; i++) {
        TAILQ_REMOVE(&h->fresh, call, link);
        routes_run(call, &state);
    }
}

void http_turn(struct http *h, mono_ms now)
{
    h->now = now;
    answer_fresh(h);
    bool is_first = h->conns_count && h->sweep_at == UINT64_MAX;
    if (is_first || now >= h->sweep_at || h->sweep_now) {
        conns_sweep(h);
    }
    watchers_turn(h); /* frees the calls of those that the sweep cut off, too */
    listen_turn(h);
    if (h->tunnels) {
        tunnels_turn(h->tunnels);
    }
}

mono_ms http_due(const struct http *h)
{
    bool has_work = !TAILQ_EMPTY(&h->fresh) || (h->tunnels && tunnels_has_work(h->tunnels));
    mono_ms due = has_work ? h->now : watchers_due(h);

    return mono_earlier(h->sweep_at, due);
}

bool http_has_watchers(const struct http *h)
{
    return h->watchers > 0;
}

void http_stats_get(const struct http *h, struct http_stats *out)
{
    struct tunnels_stats tunnels = {0};

    if (h->tunnels) {
        tunnels_stats_get(h->tunnels, &tunnels);
    }
    *out = (struct http_stats){.requests = h->requests,
                               .refused = h->refused,
                               .cut_off = h->cut_off,
                               .refused_tls = tunnels.refused,
                               .connections = h->conns_count,
                               .watchers = h->watchers};
}
