#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/internal.h"

static const struct conn_ops link_ops;

/* ---- Ends of an attempt ---- */

static void link_set_state(struct link *l, enum link_state state)
{
    l->state = state;
    l->since = mono_now_ms();
}

static void link_arm(struct link *l, uint32_t ms)
{
    const struct timeval wait = {.tv_sec = (time_t)(ms / 1000),
                                 .tv_usec = (suseconds_t)(ms % 1000) * 1000};

    (void)event_add(&l->timer, &wait);
}

/* Nothing of an attempt is left: no connection, no request. */
static void link_let_go(struct link *l)
{
    (void)event_del(&l->timer);
    if (l->request) {
        resolver_cancel(l->request);
        l->request = NULL;
    }
    if (l->conn) {
        conn_close(l->conn);
        l->conn = NULL;
    }
    if (l->state == LINK_UP) {
        l->net->stats.outbound--;
    }
    mem_free(l->hello);
    l->hello = NULL;
}

void link_owe_down(struct link *l)
{
    l->report_down = true;
    event_active(&l->net->reports, EV_TIMEOUT, 0);
}

/* net_ops.failed() is owed, with l->failed as its sentence. */
static void link_owe_failed(struct link *l, int code)
{
    l->report_failed = true;
    l->failed_code = code;
    event_active(&l->net->reports, EV_TIMEOUT, 0);
}

static void __attribute__((format(printf, 2, 3)))
link_set_why(struct link *l, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(l->why, sizeof l->why, format, args);
    va_end(args);
}

/* One line per minute, peer and kind of failure. */
static void link_log(struct link *l, const char *message, int code)
{
    uint32_t suppressed;

    if (hush_allows(&l->net->hush, hush_key_why(l->id, "", code, l->why), mono_now_ms(),
                    &suppressed)) {
        log_notice("net", message, LOG_U64("peer", l->id), LOG_STR("address", l->address),
                   LOG_STR("why", l->why), LOG_U64("suppressed", suppressed));
        l->told_down = true;
    }
}

/* The attempt, or the link, is over; l->why says why. Wait, a little differently from everybody
 * else, and try again. */
static void link_lost(struct link *l, int code)
{
    struct net *n = l->net;
    bool was_up = l->state == LINK_UP;

    link_let_go(l);
    link_set_state(l, LINK_WAITING);
    link_log(l, was_up ? "link down" : "no link", code);
    if (was_up) {
        link_owe_down(l);
    } else {
        memcpy(l->failed, l->why, sizeof l->failed);
        link_owe_failed(l, -RD_EUNREACHABLE);
    }
    uint32_t fifth = l->backoff_ms / 5;
    link_arm(l, (uint32_t)prng_range(&n->prng, l->backoff_ms - fifth, l->backoff_ms + fifth + 1));
    l->backoff_ms =
        l->backoff_ms > n->config.backoff_max_ms / 2 ? n->config.backoff_max_ms : l->backoff_ms * 2;
}

/* ---- Hello and after ---- */

/* l->why says who refused whom, for status; `sentence` says it to who wanted this link. */
static void link_refused(struct link *l, int code, const char *sentence)
{
    bool was_up = l->state == LINK_UP;

    link_lost(l, code);
    l->refused = true;
    if (!was_up) {
        (void)snprintf(l->failed, sizeof l->failed, "%s", sentence);
        link_owe_failed(l, code);
    }
}

static void link_refuse(struct link *l, const struct peer_hello *hello,
                        const struct peer_refusal *refusal)
{
    struct conn *c = l->conn;
    char sentence[NET_WHY_SIZE];

    l->conn = NULL;
    link_set_why(l, "refused: %s: %s", err_name(refusal->code), refusal->why);
    (void)snprintf(sentence, sizeof sentence, "%s is refused: %s", c->peer, refusal->why);
    net_refuse(l->net, c, hello, refusal);
    link_refused(l, refusal->code, hello->id == l->id ? sentence : refusal->why);
}

static void link_refused_by_peer(struct link *l, const struct peer_refusal *refusal)
{
    char sentence[NET_WHY_SIZE];

    link_set_why(l, "refused: %s by %s: %s", err_name(refusal->code), l->conn->peer, refusal->why);
    (void)snprintf(sentence, sizeof sentence, "refused by %s: %s", l->conn->peer, refusal->why);
    link_refused(l, refusal->code, sentence);
    l->net->ops.refused(l->net->ops.arg, l->id, refusal);
}

bool link_review(struct link *l)
{
    struct peer_refusal refusal;

    if (l->state != LINK_UP || net_check(l->net, l->hello, &refusal) == 0) {
        return true;
    }
    link_refuse(l, l->hello, &refusal);
    return false;
}

static void link_up(struct link *l, const struct peer_hello *hello)
{
    link_set_state(l, LINK_UP);
    l->net->stats.outbound++;
    l->backoff_ms = NET_BACKOFF_MIN_MS;
    l->tries = 0;
    l->why[0] = 0;
    conn_set_deadline(l->conn, 0, "");
    uint16_t protocol = peer_protocol(hello);
    if (l->told_down || protocol < PEER_PROTOCOL_MAX) {
        l->told_down = false;
        log_info("net", "link up", LOG_U64("peer", l->id), LOG_STR("address", l->conn->peer),
                 LOG_STR("version", hello->version), LOG_U64("protocol", protocol));
    }
}

static void link_hello(struct link *l, const struct peer_hello *hello)
{
    struct net *n = l->net;
    struct peer_refusal refusal = {.code = -RD_EINVALID};

    if (hello->id != l->id) {
        (void)snprintf(refusal.why, sizeof refusal.why,
                       "%s answers as node %" PRIu32 ", not as node %" PRIu32, l->conn->peer,
                       hello->id, l->id);
        link_refuse(l, hello, &refusal);
        return;
    }
    enum said_news news = net_said(n, &l->said, hello);
    if (news == SAID_TOO_OFTEN) {
        n->stats.bad_frames++;
        link_set_why(l, "%s says hello more than %d times within a second", l->conn->peer,
                     NET_HELLOS_MAX);
        link_lost(l, -RD_EPROTOCOL);
        return;
    }
    if (news == SAID_AGAIN) {
        return;
    }
    if (net_check(n, hello, &refusal)) {
        link_refuse(l, hello, &refusal);
        return;
    }
    if (!l->hello) {
        l->hello = mem_alloc(sizeof *l->hello);
    }
    *l->hello = *hello;
    if (l->state == LINK_HELLO) {
        link_up(l, hello);
    }
    n->ops.hello(n->ops.arg, hello);
    twin_settle(l);
}

static void link_message(void *arg, struct peer_msg *msg)
{
    struct link *l = arg;

    switch (msg->type) {
    case PEER_HELLO:
        link_hello(l, msg->hello);
        break;
    case PEER_REFUSAL:
        link_refused_by_peer(l, msg->refusal);
        break;
    case PEER_RAFT:
    case PEER_FORWARD:
    case PEER_FORWARD_REPLY:
    case PEER_PROGRESS_ASK:
    case PEER_PROGRESS:
    case PEER_CHANGE:
    case PEER_CHANGE_REPLY:
        /* A node sends on the connections it dialled, never on those it accepted. */
        l->net->stats.bad_frames++;
        link_set_why(l, "%s sends messages on a connection it did not dial", l->conn->peer);
        link_lost(l, -RD_EPROTOCOL);
        break;
    }
    peer_msg_done(msg);
}

/* Whom we dial is to hear nothing of us before it is known to be the one. */
static bool link_check_certificate(struct link *l)
{
    struct peer_refusal refusal = {.code = 0};

    if (net_check_certificate(l->conn, l->id, &refusal) == 0) {
        return true;
    }
    struct peer_hello *unsaid = mem_zalloc(sizeof *unsaid);
    unsaid->id = l->id;
    link_refuse(l, unsaid, &refusal);
    mem_free(unsaid);
    return false;
}

static void link_connected(void *arg)
{
    struct link *l = arg;

    if (!link_check_certificate(l)) {
        return;
    }
    link_set_state(l, LINK_HELLO);
    l->said = (struct said){0};
    conn_set_deadline(l->conn, NET_HELLO_MS, "timed out");
    net_greet(l->net);
    l->told = l->net->hellos[NODE_MEMBER].hash;
    (void)net_put_hello(l->net, l->conn, NODE_MEMBER);
    conn_flush(l->conn);
}

void link_send_hello(struct link *l)
{
    uint64_t hash = l->net->hellos[NODE_MEMBER].hash;

    if (l->told == hash) {
        return;
    }
    if (l->state == LINK_WAITING && l->refused) {
        l->backoff_ms = NET_BACKOFF_MIN_MS;
        link_dial(l);
        return;
    }
    if (l->state != LINK_HELLO && l->state != LINK_UP) {
        return; /* the connection to come begins with it */
    }
    l->told = hash;
    if (net_put_hello(l->net, l->conn, NODE_MEMBER)) {
        conn_flush(l->conn);
    } else {
        link_set_why(l, "%s reads nothing any more", l->conn->peer);
        link_lost(l, -ETIMEDOUT);
    }
}

/* ---- An attempt: resolve, connect ---- */

static void link_set_connect_why(struct link *l, const char *peer, int code, const char *why)
{
    if (code == -RD_ETLS) {
        link_set_why(l, "%s %s", peer, why);
    } else if (code == -ECONNREFUSED) {
        link_set_why(l, "connection refused by %s", peer);
    } else if (code == -ETIMEDOUT) {
        link_set_why(l, "%s does not answer", peer);
    } else {
        link_set_why(l, "cannot connect to %s: %s", peer, err_text(code));
    }
}

/* The next address of the name; after the last one the attempt is over. */
static void link_connect(struct link *l, int code)
{
    while (l->addresses_next < l->addresses_count) {
        const struct sockaddr_storage *to = &l->addresses[l->addresses_next];
        socklen_t size = l->sizes[l->addresses_next];
        l->addresses_next++;
        code = conn_dial(&l->net->conns, (const struct sockaddr *)to, size,
                         l->net->config.user_timeout_ms, &link_ops, l, &l->conn);
        if (code == 0) {
            l->dialled = ++l->net->order;
            link_set_state(l, LINK_CONNECTING);
            conn_set_deadline(l->conn, NET_CONNECT_MS, "");
            return;
        }
        link_set_connect_why(l, l->address, code, "");
    }
    link_lost(l, code);
}

static void link_failed(void *arg, int code, const char *why)
{
    struct link *l = arg;
    struct conn *c = l->conn;

    l->conn = NULL; /* closed */
    if (l->state == LINK_CONNECTING) {
        link_set_connect_why(l, c->peer, code, why);
        link_connect(l, code);
        return;
    }
    if (code == -RD_ETLS) { /* who is dialled looks at our certificate after we are done */
        link_set_why(l, "%s %s", c->peer, why);
    } else if (l->state == LINK_HELLO) {
        bool foreign = code == -RD_EPROTOCOL || code == -RD_ETOO_LARGE;
        link_set_why(l, "no hello from %s: %s", c->peer,
                     foreign ? "what it sends is not raftd's protocol" : why);
    } else {
        link_set_why(l, "%s: %s", why, c->peer);
    }
    link_lost(l, code);
}

static const struct conn_ops link_ops = {
    .connected = link_connected,
    .message = link_message,
    .failed = link_failed,
};

static void link_resolved(void *arg, const struct evutil_addrinfo *list, const char *why)
{
    struct link *l = arg;

    (void)event_del(&l->timer);
    l->request = NULL;
    l->addresses_count = 0;
    l->addresses_next = 0;
    for (; list && l->addresses_count < NET_ADDRESSES_MAX; list = list->ai_next) {
        if (list->ai_addrlen <= sizeof l->addresses[0]) {
            memcpy(&l->addresses[l->addresses_count], list->ai_addr, list->ai_addrlen);
            l->sizes[l->addresses_count] = (socklen_t)list->ai_addrlen;
            l->addresses_count++;
        }
    }
    if (l->addresses_count == 0) {
        link_set_why(l, "resolving %s: %s", l->name.host, why ? why : "no addresses");
    }
    link_connect(l, -RD_ENOT_FOUND);
}

void link_dial(struct link *l)
{
    if (l->state != LINK_WAITING || !l->name_valid) {
        return;
    }
    (void)event_del(&l->timer);
    l->tries++;
    l->refused = false;
    link_set_state(l, LINK_RESOLVING);
    struct resolver_request *request = resolver_ask(l->net->resolver, &l->name, link_resolved, l);
    if (request) { /* else it is answered, and the state is another */
        l->request = request;
        link_arm(l, NET_RESOLVE_MS);
    }
}

static void link_timer(evutil_socket_t fd, short what, void *arg)
{
    struct link *l = arg;

    (void)fd;
    (void)what;
    if (l->state == LINK_WAITING) {
        link_dial(l);
    } else if (l->state == LINK_RESOLVING) {
        link_set_why(l, "resolving %s: no name server answers", l->name.host);
        link_lost(l, -ETIMEDOUT);
    }
}

void link_renew(struct link *l)
{
    struct conn *c = l->conn;

    l->conn = NULL;
    conn_drain(c);
    link_let_go(l);
    link_set_state(l, LINK_WAITING);
    l->renewed = mono_now_ms();
    link_set_why(l, "dialling %s anew, with the certificates now in force", l->address);
    link_owe_down(l);
    link_dial(l);
}

void link_poke(struct link *l, uint64_t incarnation)
{
    bool stale_link = l->state == LINK_UP && incarnation > l->hello->incarnation;
    bool stale_dial = l->state == LINK_CONNECTING && l->conn->state == CONN_CONNECTING &&
                      mono_now_ms() - l->since >= NET_STALE_CONNECT_MS;

    if (stale_link) {
        link_set_why(l, "node %" PRIu32 " has restarted", l->id);
        link_lost(l, -ECONNRESET);
    } else if (stale_dial) { /* its first packets were lost with the host, or on the way */
        link_let_go(l);
        link_set_state(l, LINK_WAITING);
    }
    link_dial(l);
}

/* ---- Life ---- */

struct link *link_new(struct net *n, const struct node_target *target)
{
    struct link *l = mem_zalloc(sizeof *l);

    l->net = n;
    l->id = target->id;
    memcpy(l->address, target->address, sizeof l->address);
    l->name_valid = units_parse_host_port(l->address, &l->name) == 0;
    l->backoff_ms = NET_BACKOFF_MIN_MS;
    l->told_down = true; /* nobody has heard of it yet */
    link_set_state(l, LINK_WAITING);
    rd_assert(!event_assign(&l->timer, n->base, -1, 0, link_timer, l));
    if (l->name_valid) {
        link_set_why(l, "connecting to %s", l->address);
    } else {
        link_set_why(l, "the address \"%s\" is not HOST:PORT", l->address);
        link_log(l, "no link", -RD_EINVALID);
        memcpy(l->failed, l->why, sizeof l->failed);
        link_owe_failed(l, -RD_EINVALID);
    }
    TAILQ_INSERT_TAIL(&n->links, l, entry);
    return l;
}

void link_close(struct link *l)
{
    link_let_go(l);
    l->state = LINK_WAITING;
    TAILQ_REMOVE(&l->net->links, l, entry);
    SLIST_INSERT_HEAD(&l->net->dead_links, l, dead);
}
