/* internal.h - what the files of this room share. Not for other rooms.
 *
 * net.c keeps the tables, link.c dials, inbound.c answers; both carry their frames on conn.c.
 * twin.c tells them which of two processes with one id counts; renew.c begins their connections
 * anew when other certificates are in force.
 * Threads: loop thread only. */
#ifndef RAFTD_NET_INTERNAL_H
#define RAFTD_NET_INTERNAL_H

#include <event2/event_struct.h>

#include "base/prng.h"
#include "net/conn.h"
#include "net/hush.h"
#include "net/listener.h"
#include "net/net.h"
#include "net/resolver.h"

enum {
    NET_HELLO_MS = 3000,   /* for a peer to say, or answer, hello */
    NET_CONNECT_MS = 3000, /* per address */
    NET_RESOLVE_MS = 3000,
    NET_STALE_CONNECT_MS = 100, /* a dial older than this gives way when the peer shows up */
    NET_BACKOFF_MIN_MS = 50,
    NET_STRANGER_MS = 30000,               /* for who said hello to become one of ours */
    NET_STRANGERS_MAX = 64,                /* inbound: no hello yet, or not one of ours */
    NET_ACCEPTED_MAX = 64,                 /* inbound, one per peer */
    NET_WAITING_MAX = 2 * CONN_SHAKES_MAX, /* while so many handshakes wait nobody is let in */
    NET_HELLOS_MAX = 100,                  /* on one connection within a second */
    NET_STANDINGS = NODE_MEMBER + 1,
    NET_RENEW_MS = 250,     /* between connections that are begun anew after a reload */
    NET_RENEWED_MS = 30000, /* a link that was begun anew is waited for */
    NET_ADDRESSES_MAX = 8,  /* of one name */
    NET_WHY_SIZE = 640,
    NET_TROUBLE_SIZE = NET_WHY_SIZE + 32,
};

/* What a peer said of itself on one connection. */
struct said {
    uint64_t hash;   /* of its last hello; 0: none yet */
    mono_ms since;   /* a window of one second */
    uint32_t within; /* hellos in it */
};
enum said_news { SAID_NEW, SAID_AGAIN, SAID_TOO_OFTEN };

/* ---- Dialled side (link.c) ---- */

enum link_state {
    LINK_WAITING, /* for the next attempt */
    LINK_RESOLVING,
    LINK_CONNECTING,
    LINK_HELLO, /* ours is sent, the answer is not here yet */
    LINK_UP,
};

struct link {
    TAILQ_ENTRY(link) entry; /* in net->links */
    SLIST_ENTRY(link) dead;  /* in net->dead_links */
    struct net *net;
    raft_id id;
    char address[RAFT_ADDRESS_SIZE];
    struct host_port name;
    bool name_valid;
    enum link_state state;
    mono_ms since;                    /* in this state */
    struct event timer;               /* WAITING: the next attempt; RESOLVING: its end */
    struct conn *conn;                /* CONNECTING, HELLO, UP */
    struct resolver_request *request; /* RESOLVING */
    struct sockaddr_storage addresses[NET_ADDRESSES_MAX];
    socklen_t sizes[NET_ADDRESSES_MAX];
    uint32_t addresses_count, addresses_next;
    uint32_t backoff_ms; /* the next wait, before jitter */
    uint32_t tries;      /* since the link was up */
    struct said said;
    struct peer_hello *hello; /* the peer's last on this connection; NULL: none yet */
    uint64_t told;            /* hash of our last hello on it */
    uint64_t dialled;         /* net->order when this connection began */
    uint64_t copy;            /* a process that runs from a copy of the peer's directory; 0: none */
    mono_ms renewed;          /* it was begun anew then, and was not up since; 0: no */
    bool told_down;           /* the log's last word is that there is no link */
    bool refused;             /* the last attempt ended so; another hello may fare better */
    bool report_down;         /* net_ops.link_down is owed */
    bool report_failed;       /* net_ops.failed is owed: */
    int failed_code;
    char failed[NET_WHY_SIZE];
    char why[NET_WHY_SIZE]; /* there is no link; "" while it is up */
};

struct link *link_new(struct net *n, const struct node_target *target);
/* Dial now, unless it cannot be helped by that. Called when there is a hello to send. */
void link_dial(struct link *l);
/* The peer's process `incarnation` has just said hello to us, so it can be reached: do not wait,
 * and do not trust a link to an earlier process. */
void link_poke(struct link *l, uint64_t incarnation);
/* If our hello is another than it heard: send it; if that one was refused, try this one. */
void link_send_hello(struct link *l);
/* What we know of others changed: does the peer still fit? Else it is refused: false. */
bool link_review(struct link *l);
/* The link is up: another connection takes the place of its own, which says what it has to say. */
void link_renew(struct link *l);
void link_close(struct link *l); /* freed by net_turn() */
/* net_ops.link_down() is owed: it is called from the loop, at once. */
void link_owe_down(struct link *l);

/* ---- Accepted side (inbound.c) ---- */

struct inbound {
    TAILQ_ENTRY(inbound) entry; /* in net->strangers or net->accepted */
    SLIST_ENTRY(inbound) dead;  /* in net->dead_inbound */
    struct net *net;
    struct conn *conn; /* NULL: over */
    raft_id id;        /* 0: no hello yet */
    bool inside;       /* one of ours: in net->accepted */
    enum node_standing standing;
    struct peer_hello *hello; /* its last one; NULL: none yet */
    struct said said;
    uint64_t heard; /* net->order at its first hello */
    uint64_t told;  /* hash of our last hello to it */
};
TAILQ_HEAD(inbound_list, inbound);

void inbound_new(struct net *n, int fd, const struct sockaddr *from);
/* Our hello changed, and what we know of others perhaps: decide anew whether we talk to it and what
 * it is to us, and tell it what it may hear. */
void inbound_review(struct inbound *in);
/* The one of ours with this id, or NULL. */
struct inbound *inbound_find(const struct net *n, raft_id id);
/* Its hello does not fit, or does not fit any more. */
void inbound_refuse(struct inbound *in, const struct peer_hello *hello,
                    const struct peer_refusal *refusal);
void inbound_close(struct inbound *in); /* freed by net_turn() */
void inbound_free(struct inbound *in);

/* ---- One id, two processes (twin.c) ---- */

/* Somebody on a connection of its own claims to be the peer of a link (NULL: we keep none). Is it
 * surely another one than the one at the peer's address, to which we are linked? 0, or the code and
 * the refusal. */
int twin_check(const struct link *l, const struct conn *dialler, const struct peer_hello *hello,
               struct peer_refusal *refusal);
/* The link has just heard the peer: who came in under its id and is another one has to go. May drop
 * the link, to dial it again. */
void twin_settle(struct link *l);

/* ---- Tables (net.c) ---- */

struct net {
    struct event_base *base;
    struct net_config config;
    struct net_ops ops;
    struct net_stats stats;
    struct conn_env conns;
    struct listener *listener;
    struct resolver *resolver;
    struct prng prng; /* jitter */
    uint64_t order;   /* counts dials and first hellos: which came first */
    struct hush hush;
    struct net_hello {
        struct buf frame; /* empty before the first net_set_hello() */
        uint64_t hash;
    } hellos[NET_STANDINGS]; /* what each standing may hear; whom we dial hears all */
    bool empty;              /* our log holds nothing */
    struct buf scratch;
    TAILQ_HEAD(link_list, link) links;
    SLIST_HEAD(link_dead, link) dead_links;
    struct inbound_list strangers, accepted; /* oldest first */
    uint32_t strangers_count, accepted_count;
    SLIST_HEAD(inbound_dead, inbound) dead_inbound;
    struct event renewal; /* the next connection that was begun with certificates of before */
    struct event reports; /* runs the link_down() and failed() that are owed */
    char *trouble;        /* what net_trouble() answered, NET_TROUBLE_SIZE */
};

void net_renew(evutil_socket_t fd, short what, void *arg); /* renew.c: of net.renewal */

struct link *net_link(const struct net *n, raft_id id); /* NULL: no such target */
/* Somebody is about to hear it for the first time: our hello is what net_ops.greeting() says. */
void net_greet(struct net *n);
/* Queue our hello on a connection. False: the peer reads so little that it is pointless. */
bool net_put_hello(struct net *n, struct conn *c, enum node_standing standing);
/* Take note of a hello. */
enum said_news net_said(struct net *n, struct said *s, const struct peer_hello *hello);
/* net_ops.check(), with the code in the refusal. */
int net_check(const struct net *n, const struct peer_hello *hello, struct peer_refusal *refusal);
/* Within TLS: does the certificate name this node? 0, or the code and the refusal. */
int net_check_certificate(const struct conn *c, raft_id id, struct peer_refusal *refusal);
/* Tell who said this hello why, log it, and let the connection drain; its owner forgets it. */
void net_refuse(struct net *n, struct conn *c, const struct peer_hello *hello,
                const struct peer_refusal *refusal);
/* One line about a peer (id 0: known by its address only), at most once a minute per code. */
void net_log_peer(struct net *n, const char *message, raft_id id, const struct conn *c, int code,
                  const char *why);

#endif
