#include "net/net.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/crc.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/internal.h"
#include "wire/peer.h"

/* ---- Shared by both sides ---- */

struct link *net_link(const struct net *n, raft_id id)
{
    struct link *l;

    TAILQ_FOREACH (l, &n->links, entry) {
        if (l->id == id) {
            return l;
        }
    }
    return NULL;
}

bool net_put_hello(struct net *n, struct conn *c, enum node_standing standing)
{
    return queue_put_frame(&c->out, &n->hellos[standing].frame, n->config.queue_bytes_max);
}

/* Encode a message we have as const: the union holds plain pointers, the encoder only reads. */
static uint64_t net_encode_hello(const struct peer_hello *hello, struct buf *out)
{
    struct peer_hello *copy = mem_dup(hello, sizeof *hello);
    struct peer_msg msg = {.type = PEER_HELLO, .hello = copy};

    out->size = 0;
    peer_encode(&msg, out);
    mem_free(copy);
    uint64_t hash = hash64(0, out->data, out->size);
    return hash ? hash : 1;
}

enum said_news net_said(struct net *n, struct said *s, const struct peer_hello *hello)
{
    mono_ms now = mono_now_ms();
    uint64_t was = s->hash;

    if (now - s->since >= 1000) {
        s->since = now;
        s->within = 0;
    }
    if (++s->within > NET_HELLOS_MAX) {
        return SAID_TOO_OFTEN;
    }
    s->hash = net_encode_hello(hello, &n->scratch);
    return s->hash == was ? SAID_AGAIN : SAID_NEW;
}

void net_log_peer(struct net *n, const char *message, raft_id id, const struct conn *c, int code,
                  const char *why)
{
    uint32_t suppressed;

    if (hush_allows(&n->hush, hush_key_why(id, c->host, code, why), mono_now_ms(), &suppressed)) {
        log_warning("net", message, LOG_U64("peer", id), LOG_STR("address", c->peer),
                    LOG_STR("code", err_name(code)), LOG_STR("why", why),
                    LOG_U64("suppressed", suppressed));
    }
}

int net_check(const struct net *n, const struct peer_hello *hello, struct peer_refusal *refusal)
{
    *refusal = (struct peer_refusal){.code = 0};
    refusal->code = n->ops.check(n->ops.arg, hello, refusal);
    return refusal->code;
}

int net_check_certificate(const struct conn *c, raft_id id, struct peer_refusal *refusal)
{
    char why[TLS_WHY_SIZE];

    *refusal = (struct peer_refusal){.code = 0};
    if (c->tls) {
        refusal->code = tls_peer_check(c->tls, id, why, sizeof why);
    }
    if (refusal->code) {
        (void)snprintf(refusal->why, sizeof refusal->why, "node %" PRIu32 " %s", id, why);
    }
    return refusal->code;
}

void net_refuse(struct net *n, struct conn *c, const struct peer_hello *hello,
                const struct peer_refusal *refusal)
{
    struct peer_refusal told = *refusal;
    struct peer_msg msg = {.type = PEER_REFUSAL, .refusal = &told};

    /* The cluster id is what a stranger lacks: whatever the node says, it is not told here. */
    if (!uuid_is_set(&told.cluster) || !uuid_equal(&told.cluster, &hello->cluster)) {
        told.cluster = (struct uuid){{0}};
        told.index = 0;
    }
    n->stats.refused_hellos++;
    net_log_peer(n, "hello refused", hello->id, c, told.code, told.why);
    (void)queue_put(&c->out, &msg, n->config.queue_bytes_max);
    conn_drain(c);
}

static bool net_is_full(const struct net *n)
{
    return n->conns.waiting_count >= NET_WAITING_MAX;
}

static bool net_accepted(void *arg, int fd, const struct sockaddr *from)
{
    inbound_new(arg, fd, from);
    return !net_is_full(arg);
}

/* Not from inside net_send() or whatever closed the link: the callee may be in the midst of its own
 * work then. The event makes the loop come back at once. */
static void net_report(evutil_socket_t fd, short what, void *arg)
{
    struct net *n = arg;
    struct link *l;

    (void)fd;
    (void)what;
    TAILQ_FOREACH (l, &n->links, entry) {
        if (l->report_down) {
            l->report_down = false;
            n->ops.link_down(n->ops.arg, l->id);
        }
        if (l->report_failed) {
            l->report_failed = false;
            n->ops.failed(n->ops.arg, l->id, l->failed_code, l->failed);
        }
    }
}

/* ---- Life ---- */

int net_open(struct event_base *base, const struct net_config *config, const struct net_ops *ops,
             struct net **out)
{
    struct net *n = mem_zalloc(sizeof *n);

    int err =
        listener_new(base, &config->listen, config->user_timeout_ms, net_accepted, n, &n->listener);
    if (err) {
        mem_free(n);
        return err;
    }
    n->base = base;
    n->config = *config;
    if (n->config.backoff_max_ms < NET_BACKOFF_MIN_MS) {
        n->config.backoff_max_ms = NET_BACKOFF_MIN_MS;
    }
    n->ops = *ops;
    conn_env_init(&n->conns, base, &n->stats);
    n->conns.tls = config->tls ? tls_context_ref(config->tls) : NULL;
    n->trouble = mem_alloc(NET_TROUBLE_SIZE);
    n->resolver = resolver_new(base, "/etc/resolv.conf", "/etc/hosts");
    prng_seed(&n->prng, mono_now_us() ^ ((uint64_t)getpid() << 32));
    TAILQ_INIT(&n->links);
    SLIST_INIT(&n->dead_links);
    TAILQ_INIT(&n->strangers);
    TAILQ_INIT(&n->accepted);
    SLIST_INIT(&n->dead_inbound);
    rd_assert(!event_assign(&n->renewal, base, -1, 0, net_renew, n));
    rd_assert(!event_assign(&n->reports, base, -1, 0, net_report, n));
    *out = n;
    return 0;
}

static void net_reap(struct net *n)
{
    conn_env_reap(&n->conns);
    while (!SLIST_EMPTY(&n->dead_links)) {
        struct link *l = SLIST_FIRST(&n->dead_links);
        SLIST_REMOVE_HEAD(&n->dead_links, dead);
        mem_free(l);
    }
    while (!SLIST_EMPTY(&n->dead_inbound)) {
        struct inbound *in = SLIST_FIRST(&n->dead_inbound);
        SLIST_REMOVE_HEAD(&n->dead_inbound, dead);
        inbound_free(in);
    }
}

static void net_close_inbound(struct inbound_list *list)
{
    while (!TAILQ_EMPTY(list)) {
        inbound_close(TAILQ_FIRST(list));
    }
}

void net_close(struct net *n)
{
    while (!TAILQ_EMPTY(&n->links)) {
        link_close(TAILQ_FIRST(&n->links));
    }
    net_close_inbound(&n->strangers);
    net_close_inbound(&n->accepted);
    net_reap(n);
    conn_env_done(&n->conns);
    tls_context_unref(n->conns.tls);
    resolver_free(n->resolver);
    listener_free(n->listener);
    (void)event_del(&n->reports);
    (void)event_del(&n->renewal);
    for (int i = 0; i < NET_STANDINGS; i++) {
        buf_done(&n->hellos[i].frame);
    }
    buf_done(&n->scratch);
    mem_free(n->trouble);
    mem_free(n);
}

void net_turn(struct net *n)
{
    conn_env_shake(&n->conns);
    listener_hold(n->listener, net_is_full(n));
    net_reap(n);
}

bool net_has_work(const struct net *n)
{
    return n->conns.waiting_count > 0;
}

/* ---- What the node says ---- */

/* The first hello opens the doors. */
static void net_start(struct net *n)
{
    struct link *l;

    listener_start(n->listener);
    TAILQ_FOREACH (l, &n->links, entry) {
        link_dial(l);
    }
}

/* One that becomes one of ours may end others, so the lists are no guide; what is over is not freed
 * before net_turn(). */
static void net_review_inbound(struct net *n)
{
    struct inbound *all[NET_STRANGERS_MAX + NET_ACCEPTED_MAX];
    struct inbound *in;
    uint32_t count = 0;

    rd_assert(n->strangers_count + n->accepted_count <= sizeof all / sizeof all[0]);
    TAILQ_FOREACH (in, &n->accepted, entry) {
        all[count++] = in;
    }
    TAILQ_FOREACH (in, &n->strangers, entry) {
        all[count++] = in;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (all[i]->conn) {
            inbound_review(all[i]);
        }
    }
}

static void net_set_hello_of(struct net *n, enum node_standing standing,
                             const struct peer_hello *hello)
{
    struct net_hello *h = &n->hellos[standing];

    h->hash = net_encode_hello(hello, &h->frame);
    rd_assert(h->frame.size <= FRAME_HELLO_MAX);
}

static void net_take_hello(struct net *n, const struct peer_hello *hello)
{
    struct peer_hello less = *hello;

    n->empty = hello->empty;
    net_set_hello_of(n, NODE_MEMBER, hello);
    less.cluster = (struct uuid){{0}};
    less.session = 0;
    less.bindings_count = 0;
    net_set_hello_of(n, NODE_FAMILIAR, &less);
    less.cluster_name[0] = 0;
    less.member_list[0] = 0;
    less.uri[0] = 0; /* it may hold a password */
    net_set_hello_of(n, NODE_STRANGER, &less);
}

void net_greet(struct net *n)
{
    struct peer_hello hello;

    n->ops.greeting(n->ops.arg, &hello);
    net_take_hello(n, &hello);
}

void net_set_hello(struct net *n, const struct peer_hello *hello)
{
    bool is_first = n->hellos[NODE_MEMBER].hash == 0;
    struct link *l;

    net_take_hello(n, hello);
    if (is_first) {
        net_start(n);
        return;
    }
    TAILQ_FOREACH (l, &n->links, entry) {
        if (link_review(l)) {
            link_send_hello(l);
        }
    }
    net_review_inbound(n);
}

static bool net_is_wanted(const struct link *l, const struct node_target *targets, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (targets[i].id == l->id && strcmp(targets[i].address, l->address) == 0) {
            return true;
        }
    }
    return false;
}

void net_set_targets(struct net *n, const struct node_target *targets, uint32_t count)
{
    struct link *l;
    struct link *next;

    for (l = TAILQ_FIRST(&n->links); l; l = next) {
        next = TAILQ_NEXT(l, entry);
        if (!net_is_wanted(l, targets, count)) {
            log_info("net", "link is not wanted any more", LOG_U64("peer", l->id),
                     LOG_STR("address", l->address));
            link_close(l);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!net_link(n, targets[i].id)) {
            l = link_new(n, &targets[i]);
            if (n->hellos[NODE_MEMBER].hash) {
                link_dial(l);
            }
        }
    }
}

/* ---- Sending ---- */

void net_send(struct net *n, raft_id to, const struct peer_msg *msg)
{
    struct link *l = net_link(n, to);

    if (!l || l->state != LINK_UP) {
        return;
    }
    if (!queue_put(&l->conn->out, msg, n->config.queue_bytes_max)) {
        n->stats.dropped++;
        link_owe_down(l);
    }
}

void net_flush(struct net *n)
{
    struct link *l;

    TAILQ_FOREACH (l, &n->links, entry) {
        if (l->state == LINK_UP) {
            conn_flush(l->conn);
        }
    }
}

/* ---- View ---- */

bool net_is_connected(const struct net *n, raft_id id)
{
    const struct link *l = net_link(n, id);

    return l && l->state == LINK_UP;
}

const char *net_trouble(const struct net *n, raft_id id)
{
    const struct link *l = net_link(n, id);

    if (!l) {
        return "no link is kept to this node";
    }
    if (l->state == LINK_UP || l->tries < 2) {
        return l->why;
    }
    (void)snprintf(n->trouble, NET_TROUBLE_SIZE, "%s, %" PRIu32 " tries", l->why, l->tries);
    return n->trouble;
}

void net_stats_get(const struct net *n, struct net_stats *out)
{
    *out = n->stats;
    out->inbound = n->accepted_count;
}

uint16_t net_port(const struct net *n)
{
    return listener_port(n->listener);
}
