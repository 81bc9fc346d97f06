/* The network: links that are dialled, hellos, and messages that are lost, doubled, late and out of
 * order. */
#include "sim.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#ifdef SIM_WIRE
#include "wire/peer.h"
#endif

bool network_is_blocked(const struct sim *s, uint32_t from, uint32_t to)
{
    return s->links[from][to].blocked;
}

#ifdef SIM_WIRE
static void through_wire(struct sim *s, const struct peer_msg *from, struct peer_msg *to)
{
    struct buf first = BUF_INIT, second = BUF_INIT;
    struct frame frame;

    peer_encode(from, &first);
    if (frame_parse(first.data, first.size, FRAME_PEER_MAX, &frame, NULL) != 1) {
        sim_violation(s, NULL, "invariant 18: an encoded frame does not parse");
    }
    int code = peer_decode(&frame, to);
    if (code) {
        struct buf text = BUF_INIT;

        if (from->type == PEER_RAFT) {
            msgs_text(&from->raft, &text);
        }
        sim_violation(s, NULL, "invariant 18: an encoded message does not decode: %s: %s",
                      err_name(code), buf_str(&text));
    }
    peer_encode(to, &second);
    if (first.size != second.size || memcmp(first.data, second.data, first.size) != 0) {
        sim_violation(s, NULL, "invariant 18: message type %d differs after encode and decode",
                      (int)from->type);
    }
    buf_done(&first);
    buf_done(&second);
}
#endif

void network_copy(struct sim *s, const struct peer_msg *from, struct peer_msg *to)
{
#ifdef SIM_WIRE
    if (s->knobs.wire) {
        through_wire(s, from, to);
        return;
    }
#endif
    (void)s;
    msgs_copy(from, to);
    if (to->type == PEER_RAFT) { /* chains do not travel */
        for (uint32_t i = 0; i < to->raft.entries_count; i++) {
            to->raft.entries[i].chain = 0;
        }
    }
}

static sim_us delay(struct sim *s)
{
    const struct sim_knobs *k = &s->knobs;
    sim_us d = sim_range(s, k->delay_min, k->delay_max);

    if (s->now < s->jitter_until) {
        d += sim_range(s, 0, sim_timeouts(s, 0.15));
    }
    if (!s->recovering && sim_chance(s, s->burst ? k->hold * 10 : k->hold)) {
        d += sim_range(s, 1000, sim_timeouts(s, 6)); /* held over terms */
    }
    return d;
}

static void post(struct sim *s, struct sim_host *h, uint32_t to, const struct peer_msg *msg)
{
    struct sim_event *e = sim_push(s, SIM_EV_MESSAGE, s->now + delay(s), (uint8_t)to);

    e->peer = (uint8_t)(h->id - 1);
    e->store = s->hosts[to].store;
    e->from = h->store;
    e->process = h->process;
    e->durable = host_durable(h);
    e->msg = mem_alloc(sizeof *e->msg);
    network_copy(s, msg, e->msg);
}

/* An upgrade is under way in every other simulation: a process is of the version before, or of this one. */
static uint16_t protocol_of(const struct sim *s, const struct sim_host *h)
{
    bool is_old = s->seed % 2 == 1 && (h->process >> 8) % 4 == 0;

    return is_old ? PEER_PROTOCOL_MAX - 1 : PEER_PROTOCOL_MAX;
}

static void hello_get(const struct sim *s, const struct sim_host *h, struct peer_hello *out)
{
    node_hello_get(h->node, out);
    out->protocol_max = protocol_of(s, h);
}

static void check_protocol(struct sim *s, struct sim_host *h, const struct sim_host *to,
                           const struct peer_msg *msg)
{
    if (msg->type == PEER_RAFT && !peer_protocol_has(protocol_of(s, to), msg->raft.type)) {
        sim_violation(s, h, "sends to node %u what its version does not have", to->id);
    }
}

void network_send(struct sim *s, struct sim_host *h, raft_id to_id, const struct peer_msg *msg)
{
    uint32_t from = h->id - 1, to = to_id - 1;
    uint32_t loss = s->recovering ? 0 : s->burst ? s->knobs.loss * 10 : s->knobs.loss;

    if (to_id == 0 || to_id > s->knobs.hosts || to == from) {
        sim_violation(s, h, "sends to node %u, which is not another member", to_id);
    }
    if (s->verbose && msg->type == PEER_RAFT) {
        struct buf text = BUF_INIT;

        msgs_text(&msg->raft, &text);
        sim_trace(s, h, "sends %s", buf_str(&text));
        buf_done(&text);
    }
    if (!s->links[from][to].up || s->links[from][to].blocked || sim_chance(s, loss)) {
        return;
    }
    check_protocol(s, h, &s->hosts[to], msg);
    post(s, h, to, msg);
    /* Not so requests: how their outcome is told rests on a stream, which doubles nothing. */
    if (msg->type == PEER_RAFT && !s->recovering && sim_chance(s, s->knobs.dup)) {
        post(s, h, to, msg);
    }
}

/* ---- Links ---- */

static void link_close(struct sim *s, uint32_t from, uint32_t to, sim_us notice)
{
    struct sim_link *l = &s->links[from][to];

    if (!l->up) {
        return;
    }
    l->up = false;
    l->down_pending = true;
    struct sim_event *e = sim_push(s, SIM_EV_LINK_DOWN, s->now + notice, (uint8_t)from);
    e->peer = (uint8_t)to;
    e->life = s->hosts[from].life;
}

void network_host_down(struct sim *s, const struct sim_host *h)
{
    uint32_t at = h->id - 1;
    /* A process that ends resets its connections; a machine that ends says nothing. */
    sim_us notice = sim_chance(s, 500000) ? 1000 : sim_range(s, 1000, sim_timeouts(s, 3));

    for (uint32_t i = 0; i < s->knobs.hosts; i++) {
        s->links[at][i].up = false;
        s->links[at][i].down_pending = false;
        s->links[at][i].hello_version = 0;
        link_close(s, i, at, notice);
        s->links[i][at].hello_version = 0;
    }
}

/* ---- Refusals ---- */

static void refusal_post(struct sim *s, struct sim_host *to, raft_id peer,
                         const struct peer_refusal *refusal)
{
    struct sim_event *e = sim_push(s, SIM_EV_REFUSAL, s->now + delay(s), (uint8_t)(to->id - 1));

    e->peer = (uint8_t)(peer - 1);
    e->life = to->life;
    e->refusal = mem_dup(refusal, sizeof *refusal);
    s->stats.refusals++;
}

/* Does `h` take this hello? If not, both sides hear of it, as raftd tells them. */
static bool hello_passes(struct sim *s, struct sim_host *h, struct sim_host *from,
                         const struct peer_hello *hello)
{
    struct peer_refusal refusal;
    int code = node_hello_check(h->node, hello, &refusal);

    if (code == 0) {
        return true;
    }
    sim_trace(s, h, "refuses the hello of %u: %s: %s", hello->id, err_name(code), refusal.why);
    if (host_is_up(from)) {
        refusal_post(s, from, h->id, &refusal);
    }
    struct peer_refusal own = {.code = code};
    memcpy(own.why, refusal.why, sizeof own.why);
    refusal_post(s, h, hello->id, &own);
    return false;
}

/* An attempt of `from` to reach a node came to nothing: it hears of that, or not yet. */
static void dial_failed(struct sim *s, struct sim_host *from, raft_id id, int code)
{
    if (code == 0 || sim_chance(s, 300000)) {
        return;
    }
    sim_us at = s->now + sim_range(s, 100, sim_timeouts(s, 0.5));
    struct sim_event *e = sim_push(s, SIM_EV_FAILED, at, (uint8_t)(from->id - 1));
    e->peer = (uint8_t)(id - 1);
    e->life = from->life;
    e->number = (uint64_t)-code;
}

/* `dialled`: on our own link, over which we send. */
static void hello_give(struct sim *s, struct sim_host *h, const struct peer_hello *hello,
                       bool dialled)
{
    struct peer_msg in = {.type = PEER_HELLO}, out;

    in.hello = mem_dup(hello, sizeof *hello);
    network_copy(s, &in, &out);
    peer_msg_done(&in);
    host_begin(s, h);
    node_hello(h->node, out.hello);
    if (dialled) {
        node_link_up(h->node, out.hello->id);
    }
    peer_msg_done(&out);
    host_end(s, h);
}

static const struct node_target *target_of(const struct sim_host *h, raft_id id)
{
    static struct node_target targets[NODE_TARGETS_MAX];
    uint32_t n = node_targets(h->node, targets);

    for (uint32_t i = 0; i < n; i++) {
        if (targets[i].id == id) {
            return &targets[i];
        }
    }
    return NULL;
}

/* The host at this address. */
static struct sim_host *host_at(struct sim *s, const char *address)
{
    unsigned number = 0;

    return sscanf(address, "10.0.0.%u:", &number) == 1 && number > 0 && number <= s->knobs.hosts
               ? &s->hosts[number - 1]
               : NULL;
}

void network_targets_changed(struct sim *s, struct sim_host *h)
{
    for (uint32_t to = 0; to < s->knobs.hosts; to++) {
        struct sim_link *l = &s->links[h->id - 1][to];
        const struct node_target *t = l->up ? target_of(h, to + 1) : NULL;

        if (l->up && (!t || host_at(s, t->address) != &s->hosts[to])) {
            l->up = false; /* it does not hear of it: it wanted it so */
        }
    }
}

static bool shake_hands(struct sim *s, struct sim_host *a, struct sim_host *b,
                        const struct peer_hello *hello_a, const struct peer_hello *hello_b)
{
    struct peer_refusal refusal;
    int code = node_hello_check(b->node, hello_a, &refusal);

    if (!hello_passes(s, b, a, hello_a)) {
        dial_failed(s, a, b->id, code);
        return false;
    }
    code = node_hello_check(a->node, hello_b, &refusal);
    if (!hello_passes(s, a, b, hello_b)) {
        dial_failed(s, a, b->id, code);
        return false;
    }
    return true;
}

static void link_dial(struct sim *s, uint32_t from, uint32_t to)
{
    struct sim_host *a = &s->hosts[from], *b = &s->hosts[to];
    struct peer_hello hello_a, hello_b;
    uint64_t life_a = a->life, life_b = b->life;

    hello_get(s, a, &hello_a);
    hello_get(s, b, &hello_b);
    if (!shake_hands(s, a, b, &hello_a, &hello_b)) {
        return;
    }
    s->links[from][to].up = true;
    s->links[from][to].blocked_since = SIM_NEVER;
    s->links[from][to].hello_version = a->hello_version;
    s->links[to][from].hello_version = b->hello_version;
    sim_trace(s, a, "is linked to %u", b->id);
    hello_give(s, b, &hello_a, false);
    if (host_is_up(a) && a->life == life_a && host_is_up(b) && b->life == life_b) {
        hello_give(s, a, &hello_b, true);
    }
}

void network_meet(struct sim *s, uint32_t from, uint32_t to)
{
    link_dial(s, from, to);
}

/* Whom it wants to reach and does not: dial. */
static void host_dials(struct sim *s, uint32_t from, uint32_t to)
{
    struct sim_host *a = &s->hosts[from];
    const struct node_target *t = target_of(a, to + 1);
    struct sim_host *b = t ? host_at(s, t->address) : NULL;

    if (!b) {
        return;
    }
    uint32_t at = b->id - 1;
    if (network_is_blocked(s, from, at) || network_is_blocked(s, at, from) || !host_is_up(b)) {
        dial_failed(s, a, to + 1, -RD_EUNREACHABLE);
    } else if (at != to) {
        dial_failed(s, a, to + 1, -RD_EINVALID);
    } else if (b->paused_until <= s->now) {
        link_dial(s, from, to);
    }
}

/* ---- Changed hellos: ordered on a connection, so an older one never follows a newer ---- */

static void hello_post(struct sim *s, uint32_t from, uint32_t to)
{
    sim_us at = s->now + sim_range(s, s->knobs.delay_min, s->knobs.delay_max);
    struct peer_hello *hello = mem_alloc(sizeof *hello);
    struct sim_event *e = sim_push(s, SIM_EV_HELLO, at, (uint8_t)to);

    hello_get(s, &s->hosts[from], hello);
    e->peer = (uint8_t)from;
    e->life = s->hosts[to].life;
    e->number = s->hosts[from].hello_version;
    e->hello = hello;
}

/* What this host knows now may no longer fit those it is linked with. */
static void review_links(struct sim *s, struct sim_host *h)
{
    uint32_t at = h->id - 1;

    for (uint32_t i = 0; i < s->knobs.hosts; i++) {
        bool linked = s->links[at][i].up || s->links[i][at].up;
        const struct peer_hello *hello = linked ? node_peer_hello(h->node, i + 1) : NULL;

        if (hello && !hello_passes(s, h, &s->hosts[i], hello)) {
            link_close(s, at, i, 0);
            link_close(s, i, at, 0);
        }
    }
}

void network_hello_changed(struct sim *s, struct sim_host *h)
{
    uint32_t from = h->id - 1;

    h->hello_version++;
    review_links(s, h);
    for (uint32_t to = 0; to < s->knobs.hosts; to++) {
        if (to != from && (s->links[from][to].up || s->links[to][from].up) &&
            !s->links[from][to].blocked) {
            hello_post(s, from, to);
        }
    }
}

static void link_look_after(struct sim *s, uint32_t from, uint32_t to)
{
    struct sim_link *l = &s->links[from][to];
    bool blocked = l->blocked || s->links[to][from].blocked;

    if (l->up) {
        if (!blocked) {
            l->blocked_since = SIM_NEVER;
            if (l->hello_version < s->hosts[from].hello_version && host_is_up(&s->hosts[to])) {
                hello_post(s, from, to); /* what a connection holds back arrives in the end */
            }
        } else if (l->blocked_since == SIM_NEVER) {
            l->blocked_since = s->now;
        } else if (s->knobs.notice && s->now - l->blocked_since > sim_timeouts(s, 2)) {
            link_close(s, from, to, 0);
        }
        return;
    }
    if (!l->down_pending && host_is_up(&s->hosts[from]) && s->hosts[from].paused_until <= s->now) {
        host_dials(s, from, to);
    }
}

void network_links(struct sim *s)
{
    for (uint32_t from = 0; from < s->knobs.hosts; from++) {
        for (uint32_t to = 0; to < s->knobs.hosts; to++) {
            if (from != to) {
                link_look_after(s, from, to);
            }
        }
    }
}

void network_heal(struct sim *s)
{
    for (uint32_t i = 0; i < SIM_HOSTS_MAX * SIM_HOSTS_MAX; i++) {
        s->links[i / SIM_HOSTS_MAX][i % SIM_HOSTS_MAX].blocked = false;
    }
    sim_trace(s, NULL, "the network is whole");
}

void network_hello_arrives(struct sim *s, struct sim_event *e)
{
    struct sim_host *h = &s->hosts[e->host];
    struct sim_link *l = &s->links[e->peer][e->host];
    struct sim_host *from = &s->hosts[e->peer];

    if (e->number <= l->hello_version || !host_is_up(from) || from->process != e->hello->process) {
        return;
    }
    l->hello_version = e->number;
    if (!hello_passes(s, h, from, e->hello)) {
        link_close(s, e->peer, e->host, 0);
        link_close(s, e->host, e->peer, 0);
        return;
    }
    hello_give(s, h, e->hello, false);
}
