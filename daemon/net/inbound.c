#include "base/check.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/internal.h"

static void inbound_list_put(struct inbound *in, raft_id id)
{
    struct net *n = in->net;

    in->id = id;
    TAILQ_INSERT_TAIL(id ? &n->accepted : &n->strangers, in, entry);
    *(id ? &n->accepted_count : &n->strangers_count) += 1;
}

static void inbound_list_take(struct inbound *in)
{
    struct net *n = in->net;

    if (in->id) {
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

static void inbound_refuse(struct inbound *in, raft_id id, int code, const char *why)
{
    struct conn *c = in->conn;

    inbound_forget(in);
    net_refuse(in->net, c, id, code, why);
}

static void inbound_protocol_error(struct inbound *in, const char *why)
{
    in->net->stats.bad_frames++;
    net_log_peer(in->net, "connection closed: peer breaks the protocol", in->id, in->conn,
                 -RD_EPROTOCOL, why);
    inbound_close(in);
}

static struct inbound *inbound_find(const struct net *n, raft_id id)
{
    struct inbound *in;

    TAILQ_FOREACH (in, &n->accepted, entry) {
        if (in->id == id) {
            return in;
        }
    }
    return NULL;
}

/* The peer's hello fits: from now on this is the connection it speaks on. Our hello is the answer,
 * so who dials knows that it is accepted. */
static void inbound_accept(struct inbound *in, const struct peer_hello *hello)
{
    struct net *n = in->net;
    struct inbound *older = inbound_find(n, hello->id);

    if (older) {
        log_debug("net", "newer connection replaces the older", LOG_U64("peer", hello->id),
                  LOG_STR("address", in->conn->peer));
        inbound_close(older);
    }
    if (n->accepted_count >= NET_ACCEPTED_MAX) {
        inbound_refuse(in, hello->id, -RD_ETOO_LARGE,
                       "64 members are connected here already, which is the limit");
        return;
    }
    inbound_list_take(in);
    inbound_list_put(in, hello->id);
    conn_set_deadline(in->conn, 0, "");
    conn_trust(in->conn);
    (void)net_put_hello(n, in->conn);
    conn_flush(in->conn);
    if (!in->conn) {
        return;
    }
    n->ops.hello(n->ops.arg, hello);
    struct link *l = net_link(n, hello->id);
    if (l) {
        link_poke(l, hello->incarnation);
    }
}

static void inbound_hello(struct inbound *in, const struct peer_hello *hello)
{
    struct net *n = in->net;
    char why[PEER_WHY_SIZE] = "";

    if (in->id && hello->id != in->id) {
        inbound_protocol_error(in, "another id than in its first hello");
        return;
    }
    int code = n->ops.check(n->ops.arg, hello, why);
    if (code) {
        inbound_refuse(in, hello->id, code, why);
    } else if (in->id) {
        n->ops.hello(n->ops.arg, hello);
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
        if (in->id) {
            in->net->ops.refused(in->net->ops.arg, in->id, msg->refusal);
        }
        inbound_close(in);
        break;
    case PEER_RAFT:
    case PEER_FORWARD:
    case PEER_FORWARD_REPLY:
    case PEER_PROGRESS_ASK:
    case PEER_PROGRESS:
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
    /* Who came first and still has not said hello is the least likely to be a member. */
    if (n->strangers_count >= NET_STRANGERS_MAX) {
        struct inbound *oldest = TAILQ_FIRST(&n->strangers);
        net_log_peer(n, "connection closed: 64 others wait for their hello", 0, oldest->conn,
                     -RD_ETOO_LARGE, "made room for a newer one");
        inbound_close(oldest);
    }
    struct inbound *in = mem_zalloc(sizeof *in);
    in->net = n;
    in->conn = conn_accepted(&n->conns, fd, from, &inbound_ops, in);
    inbound_list_put(in, 0);
    conn_set_deadline(in->conn, NET_HELLO_MS, "hello timed out");
}

void inbound_send_hello(struct inbound *in)
{
    if (net_put_hello(in->net, in->conn)) {
        conn_flush(in->conn);
    } else {
        inbound_close(in);
    }
}
