#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/internal.h"

/* ---- Lists: those who are one of ours, and the others ---- */

static void inbound_list_put(struct inbound *in, bool inside)
{
    struct net *n = in->net;

    in->inside = inside;
    TAILQ_INSERT_TAIL(inside ? &n->accepted : &n->strangers, in, entry);
    *(inside ? &n->accepted_count : &n->strangers_count) += 1;
}

static void inbound_list_take(struct inbound *in)
{
    struct net *n = in->net;

    if (in->inside) {
        TAILQ_REMOVE(&n->accepted, in, entry);
        n->accepted_count--;
    } else {
        TAILQ_REMOVE(&n->strangers, in, entry);
        n->strangers_count--;
    }
}

/* Its connection is somebody else's now, or closed. */
static void inbound_forget(struct inbound *in)
{
    in->conn = NULL;
    inbound_list_take(in);
    SLIST_INSERT_HEAD(&in->net->dead_inbound, in, dead);
}

void inbound_close(struct inbound *in)
{
    conn_close(in->conn);
    inbound_forget(in);
}

void inbound_refuse(struct inbound *in, const struct peer_hello *hello,
                    const struct peer_refusal *refusal)
{
    struct conn *c = in->conn;

    inbound_forget(in);
    net_refuse(in->net, c, hello, refusal);
}

static void inbound_protocol_error(struct inbound *in, const char *why)
{
    in->net->stats.bad_frames++;
    net_log_peer(in->net, "connection closed: peer breaks the protocol", in->id, in->conn,
                 -RD_EPROTOCOL, why);
    inbound_close(in);
}

struct inbound *inbound_find(const struct net *n, raft_id id)
{
    struct inbound *in;

    TAILQ_FOREACH (in, &n->accepted, entry) {
        if (in->id == id) {
            return in;
        }
    }
    return NULL;
}

/* ---- What it is to us ---- */

/* Who came first and still is not one of ours is the least likely to become it. */
static void inbound_make_room_outside(struct net *n)
{
    if (n->strangers_count >= NET_STRANGERS_MAX) {
        struct inbound *oldest = TAILQ_FIRST(&n->strangers);
        net_log_peer(n, "connection closed: 64 others are not known either", 0, oldest->conn,
                     -RD_ETOO_LARGE, "made room for a newer one");
        inbound_close(oldest);
    }
}

/* Those we dial are never the ones to go; there are fewer of them than places. */
static void inbound_make_room_inside(struct net *n)
{
    struct inbound *in;

    if (n->accepted_count < NET_ACCEPTED_MAX) {
        return;
    }
    TAILQ_FOREACH (in, &n->accepted, entry) {
        if (!net_link(n, in->id)) {
            net_log_peer(n, "connection closed: 64 are connected, and this one is no member",
                         in->id, in->conn, -RD_ETOO_LARGE, "made room for a newer one");
            inbound_close(in);
            return;
        }
    }
}

static bool inbound_belongs_inside(const struct inbound *in, const struct inbound *older)
{
    if (in->standing == NODE_FAMILIAR) { /* a claim that nobody can prove while we are empty */
        return in->net->empty && (!older || older == in || older->standing != NODE_MEMBER);
    }
    return in->standing == NODE_MEMBER;
}

static void inbound_go_inside(struct inbound *in, struct inbound *older)
{
    if (older) {
        log_debug("net", "newer connection replaces the older", LOG_U64("peer", in->id),
                  LOG_STR("address", in->conn->peer));
        inbound_close(older);
    }
    inbound_make_room_inside(in->net);
    inbound_list_take(in);
    inbound_list_put(in, true);
    conn_set_deadline(in->conn, 0, "");
}

static void inbound_go_outside(struct inbound *in)
{
    inbound_make_room_outside(in->net);
    inbound_list_take(in);
    inbound_list_put(in, false);
    conn_set_deadline(in->conn, NET_STRANGER_MS, "not one of ours");
}

/* Draw the consequences of its hello and of what we know now. */
static void inbound_settle(struct inbound *in)
{
    struct net *n = in->net;
    struct inbound *older = inbound_find(n, in->id);

    in->standing = n->ops.standing(n->ops.arg, in->hello);
    bool inside = inbound_belongs_inside(in, older);
    if (inside && !in->inside) {
        inbound_go_inside(in, older);
    } else if (!inside && in->inside) {
        inbound_go_outside(in);
    }
    if (in->standing == NODE_MEMBER) {
        conn_trust(in->conn);
    } else {
        conn_distrust(in->conn);
    }
}

/* Tell it what it may hear, unless that is what it heard last. False: it is over. */
static bool inbound_answer(struct inbound *in)
{
    struct net *n = in->net;
    uint64_t hash = n->hellos[in->standing].hash;

    if (in->told == hash) {
        return true;
    }
    in->told = hash;
    if (!net_put_hello(n, in->conn, in->standing)) { /* it reads nothing */
        inbound_close(in);
        return false;
    }
    conn_flush(in->conn);
    return in->conn != NULL;
}

static void inbound_tell(struct inbound *in)
{
    struct net *n = in->net;
    struct link *l = net_link(n, in->id);

    if (in->inside) {
        n->ops.hello(n->ops.arg, in->hello);
    }
    if (l && in->inside) {
        link_poke(l, in->hello->incarnation);
    } else if (l) {
        link_dial(l); /* perhaps it is the one: our hello there lets it show that */
    }
}

static int inbound_check(const struct inbound *in, const struct peer_hello *hello,
                         struct peer_refusal *refusal)
{
    const struct net *n = in->net;
    int code = net_check_certificate(in->conn, hello->id, refusal);

    if (code == 0) {
        code = net_check(n, hello, refusal);
    }
    return code ? code : twin_check(net_link(n, hello->id), in->conn, hello, refusal);
}

void inbound_review(struct inbound *in)
{
    bool was_inside = in->inside;
    struct peer_refusal refusal;

    if (!in->id) {
        return;
    }
    if (inbound_check(in, in->hello, &refusal)) {
        inbound_refuse(in, in->hello, &refusal);
        return;
    }
    inbound_settle(in);
    if (inbound_answer(in) && in->inside && !was_inside) {
        inbound_tell(in);
    }
}

/* ---- What it says ---- */

/* Its hello fits. Our hello is the answer, so who dials knows that it is accepted. */
static void inbound_accept(struct inbound *in, const struct peer_hello *hello)
{
    bool was_member = in->standing == NODE_MEMBER;

    if (in->id == 0) {
        in->id = hello->id;
        in->heard = ++in->net->order;
        in->hello = mem_alloc(sizeof *in->hello);
        conn_set_deadline(in->conn, NET_STRANGER_MS, "not one of ours");
    }
    *in->hello = *hello;
    inbound_settle(in);
    if (in->standing == NODE_MEMBER && !was_member) {
        net_greet(in->net); /* what it hears now it has not heard before */
    }
    if (inbound_answer(in)) {
        inbound_tell(in);
    }
}

static void inbound_hello(struct inbound *in, const struct peer_hello *hello)
{
    struct peer_refusal refusal;

    if (in->id && hello->id != in->id) {
        inbound_protocol_error(in, "another id than in its first hello");
        return;
    }
    switch (net_said(in->net, &in->said, hello)) {
    case SAID_TOO_OFTEN:
        inbound_protocol_error(in, "more than 100 hellos within a second");
        return;
    case SAID_AGAIN:
        return;
    case SAID_NEW:
        break;
    }
    if (inbound_check(in, hello, &refusal)) {
        inbound_refuse(in, hello, &refusal);
    } else {
        inbound_accept(in, hello);
    }
}

/* True when the message was handed on. */
static bool inbound_deliver(struct inbound *in, struct peer_msg *msg)
{
    struct net *n = in->net;

    if (!in->id) {
        inbound_protocol_error(in, "a message before the hello");
        return false;
    }
    if (msg->type == PEER_RAFT && msg->raft.from != in->id) {
        inbound_protocol_error(in, "a message in another node's name");
        return false;
    }
    if (in->standing != NODE_MEMBER) {
        /* Not an error: its hello that names our cluster may be on its way, or our own membership. */
        log_debug("net", "message of another cluster dropped", LOG_U64("peer", in->id),
                  LOG_STR("address", in->conn->peer));
        return false;
    }
    msg->process = in->hello->process;
    n->ops.message(n->ops.arg, in->id, msg);
    return true;
}

static void inbound_message(void *arg, struct peer_msg *msg)
{
    struct inbound *in = arg;

    switch (msg->type) {
    case PEER_HELLO:
        inbound_hello(in, msg->hello);
        break;
    case PEER_REFUSAL:
        net_log_peer(in->net, "hello refused by the peer", in->id, in->conn, msg->refusal->code,
                     msg->refusal->why);
        if (in->inside || (in->id && in->net->empty)) { /* else: who cares what it thinks */
            in->net->ops.refused(in->net->ops.arg, in->id, msg->refusal);
        }
        inbound_close(in);
        break;
    case PEER_RAFT:
    case PEER_FORWARD:
    case PEER_FORWARD_REPLY:
    case PEER_PROGRESS_ASK:
    case PEER_PROGRESS:
    case PEER_CHANGE:
    case PEER_CHANGE_REPLY:
        if (inbound_deliver(in, msg)) {
            return; /* moved */
        }
        break;
    }
    peer_msg_done(msg);
}

static void inbound_failed(void *arg, int code, const char *why)
{
    struct inbound *in = arg;

    if (code == -RD_EPROTOCOL || code == -RD_ETOO_LARGE) {
        net_log_peer(in->net, "connection closed: peer breaks the protocol", in->id, in->conn, code,
                     why);
    } else if (code == -RD_ETLS) {
        net_log_peer(in->net, "inbound connection refused", in->id, in->conn, code, why);
    } else if (code == -ETIMEDOUT && !in->id) {
        net_log_peer(in->net, "connection closed: no hello within 3 s", 0, in->conn, code, why);
    } else {
        log_debug("net", "inbound connection ended", LOG_U64("peer", in->id),
                  LOG_STR("address", in->conn->peer), LOG_STR("why", why));
    }
    inbound_forget(in);
}

static const struct conn_ops inbound_ops = {
    .connected = NULL,
    .message = inbound_message,
    .failed = inbound_failed,
};

void inbound_new(struct net *n, int fd, const struct sockaddr *from)
{
    inbound_make_room_outside(n);
    struct inbound *in = mem_zalloc(sizeof *in);
    in->net = n;
    in->conn = conn_accepted(&n->conns, fd, from, &inbound_ops, in);
    inbound_list_put(in, false);
    conn_set_deadline(in->conn, NET_HELLO_MS, "hello timed out");
}

void inbound_free(struct inbound *in)
{
    mem_free(in->hello);
    mem_free(in);
}
