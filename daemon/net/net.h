/* net.h - links to the other members: listen, dial, hello, frames.
 *
 * Each node keeps one dialled connection to every target and sends only on it; what it receives
 * comes in on connections the others dialled. So there is no tie to break, and each side's back-off
 * is its own. Who dials says hello first; the answer is a hello, which tells that ours is accepted,
 * or a refusal with its reason. A stranger who says nothing hears nothing; one with a hello that
 * fits hears who we are, but nothing of the cluster, and no message of it reaches the node.
 * A refusal tells its cluster only to who has shown that it knows it.
 *
 * With TLS both ends show certificates (tls.h): the id in a hello has to be the one in the
 * certificate, and whom we dial hears nothing before its certificate has named it.
 *
 * Of two processes that run from copies of one data directory, the one at the member's address
 * counts; the other is refused while that one is linked (twin.c).
 *
 * Threads:   loop thread only.
 * Limits:    64 inbound strangers, the oldest gives way; 4 steps of TLS handshakes a turn, and nobody
 *            is let in while 8 wait for theirs, so that who waits is not the oldest before its step
 *            came; 3 s to say hello, 30 s to become one of ours; hello <= 4 KiB, and 100 within a
 *            second; frames <= 8 MiB from members; bounded send queue per peer (what does not fit is
 *            dropped: Raft sends it again).
 * Callbacks: run inside the event loop; they queue and return. They never call net_close(). */
#ifndef RAFTD_NET_NET_H
#define RAFTD_NET_NET_H

#include <event2/event.h>

#include "base/units.h"
#include "net/tls.h"
#include "node/node.h"

struct net;

struct net_ops {
    void *arg;
    /* Our own hello as of now: what a new connection begins with, when the last net_set_hello() may be
     * behind in what is not worth telling those who are connected. */
    void (*greeting)(void *arg, struct peer_hello *out);
    /* May we talk to this node? As node_hello_check(); `refusal` comes zeroed, its code is what is
     * returned. Asked again when our hello changes, of everybody who is connected. */
    int (*check)(void *arg, const struct peer_hello *hello, struct peer_refusal *refusal);
    /* What is who says this, and passed check, to us? As node_hello_standing(). Asked again when
     * our hello changes. */
    enum node_standing (*standing)(void *arg, const struct peer_hello *hello);
    /* An accepted hello: from a new connection (either direction) or changed on an old one. Not
     * of those who dial us and are strangers. Borrowed. */
    void (*hello)(void *arg, const struct peer_hello *hello);
    /* One message; what it owns is moved. */
    void (*message)(void *arg, raft_id from, struct peer_msg *msg);
    /* Our sending link to this peer went down, or messages were dropped from its queue. Several
     * such events may be one call. Never from inside net_send(), net_flush() or another call of
     * ours: the loop is woken and calls it. Not for a target that was taken away. */
    void (*link_down)(void *arg, raft_id peer);
    /* An attempt to link to this target came to nothing; the next one follows by itself. Called as
     * link_down; of several attempts the last one counts. code: -RD_EUNREACHABLE, or that of the
     * refusal, ours or theirs (so -RD_EREMOVED may mean that the peer has been told). `why` is one
     * sentence for an operator, with the address; borrowed. */
    void (*failed)(void *arg, raft_id peer, int code, const char *why);
    /* The peer does not accept our hello; until its next accepted one. A cluster and an index in
     * it are the peer's claim: compare them. Borrowed. */
    void (*refused)(void *arg, raft_id peer, const struct peer_refusal *refusal);
};

struct net_config {
    struct host_port listen;
    uint32_t
        backoff_max_ms; /* between dials; starts small, doubles, resets after an accepted hello */
    uint32_t user_timeout_ms; /* unacknowledged bytes for this long: the link is dead
                                 (TCP_USER_TIMEOUT) */
    uint64_t queue_bytes_max; /* per peer */
    struct tls_context *tls;  /* NULL: plain TCP. Counted: the caller keeps its own */
};

/* 0; or, after one log line, -RD_ENO_ADDRESS (not local, cannot be resolved), -RD_ECONFIG. */
int net_open(struct event_base *base, const struct net_config *config, const struct net_ops *ops,
             struct net **out);
void net_close(struct net *n);

/* Other certificates are in force (only with TLS from the start): for new connections at once. Those
 * that are there are begun anew one after the other: what was trusted before may not be any more. */
void net_set_tls(struct net *n, struct tls_context *tls);

/* Our own hello; sent on every live connection at once when it differs from the last. Who is not a
 * member hears less of it. Call it also when what we know of the others changed: everybody who is
 * connected is checked again, and who does not fit any more (it was removed, say) is refused.
 * Copied. Nobody is let in and nobody is dialled before the first one. */
void net_set_hello(struct net *n, const struct peer_hello *hello);

/* Keep links to exactly these. Copied. */
void net_set_targets(struct net *n, const struct node_target *targets, uint32_t count);

/* Queue a message (encoded at once; the caller keeps it). Without an accepted link it is dropped.
 * Heartbeats, votes and replies overtake entries at frame boundaries. */
void net_send(struct net *n, raft_id to, const struct peer_msg *msg);
/* Write what is queued: one writev per peer. */
void net_flush(struct net *n);
/* Once per turn, outside callbacks: handshakes, and what was closed is freed. */
void net_turn(struct net *n);
bool net_has_work(const struct net *n); /* for the next turn, at once */

bool net_is_connected(const struct net *n, raft_id id); /* our dialled link, hello accepted */
/* Why there is no link, for status: "" when there is. Borrowed until the next call. */
const char *net_trouble(const struct net *n, raft_id id);

struct net_stats {
    uint64_t frames_in, frames_out, bytes_in, bytes_out;
    uint64_t refused_hellos, bad_frames, dropped;
    uint32_t inbound, outbound;
};
void net_stats_get(const struct net *n, struct net_stats *out);
/* The port we listen on (config->listen.port 0: the system chose it). */
uint16_t net_port(const struct net *n);

#endif
