/* types.h - what travels between nodes: the hello, Raft messages, forwarded requests.
 *
 * Plain data. Ownership: stated at each pointer. */
#ifndef RAFTD_NODE_TYPES_H
#define RAFTD_NODE_TYPES_H

#include "raft/types.h"
#include "state/state.h"

enum {
    PEER_NAME_SIZE = 65, /* with the NUL */
    PEER_URI_SIZE = 513,
    PEER_VERSION_SIZE = 33,
    PEER_MEMBER_LIST_SIZE = 2561, /* 9 founding voters */
    PEER_WHY_SIZE = 256,
};

/* Versions of the peer protocol (proto/PROTOCOL.md, "What may change"): 1 is the first, 2 has sums,
 * checked heads and CLAIMS_LEFT. Two nodes speak the highest that both offer. */
enum {
    PEER_PROTOCOL_MIN = 1,
    PEER_PROTOCOL_MAX = 2,
    /* Who offers it puts a sum on every frame, and understands checked heads. */
    PEER_PROTOCOL_SUMS = 2,
};

/* What a data directory has promised, as somebody it promised it to remembers. It holds for the whole
 * term: within one, an entry that was acknowledged is never cut. */
struct peer_memory {
    uint64_t process;   /* that promised last */
    raft_term term;     /* the highest it was in, durably; 0: nothing is remembered */
    raft_index index;   /* in that term it had this entry, durably; 0: none is known */
    raft_term log_term; /* and an entry of this term; 0: not known */
    bool voted;         /* and voted for who remembers */
};

struct peer_binding { /* of an id to a data directory */
    raft_id id;
    struct uuid store;
    struct peer_memory seen; /* by the sender */
};

/* First frame on a connection, from both sides; sent again on it whenever its content changes. What
 * is remembered of promises changes with every message: that is as of the beginning of the
 * connection, and of the moment when another process of that member was met. */
struct peer_hello {
    struct uuid cluster; /* not set: in no cluster */
    raft_id id;
    struct uuid store;
    uint64_t incarnation; /* counts this store's process starts */
    uint64_t process;     /* random, of this process: a copied directory counts like the original */
    uint16_t protocol_min; /* versions it speaks */
    uint16_t protocol_max;
    raft_index session; /* index of the entry that made it a member, in its log; 0: none yet */
    bool empty;         /* its log holds nothing */
    uint32_t election_timeout_ms; /* its T: no lease may outlast the shortest; 0: not told */
    bool disk_low; /* no room for growth: a leader that is so hands over to one that is not */
    char name[PEER_NAME_SIZE];
    char uri[PEER_URI_SIZE];
    char address[RAFT_ADDRESS_SIZE]; /* where it can be dialled */
    char version[PEER_VERSION_SIZE];
    char cluster_name[PEER_NAME_SIZE];       /* the guard of [cluster] name; "" : none */
    char member_list[PEER_MEMBER_LIST_SIZE]; /* its `member` list, canonical: "1@h:p 2@h:p", by id;
                                                "" : none, or in a cluster */
    uint32_t bindings_count;                 /* id -> store of its membership in force */
    struct peer_binding bindings[RAFT_MEMBERS_MAX];
};

/* What we speak with who says so; 0: there is no version that both do. */
uint16_t peer_protocol(const struct peer_hello *theirs);
/* Has that version messages of this type? What it has not is not sent. */
bool peer_protocol_has(uint16_t protocol, enum raft_msg_type type);

/* A write that a follower passes on to the leader. */
struct peer_forward {
    struct request_id request;
    raft_index session; /* of the origin, as it knows it: what an earlier life sent is not taken */
    struct blob *txn;   /* state_txn_encode(); one reference owned */
};

/* The leader's answer to it. */
struct peer_forward_reply {
    uint64_t incarnation; /* of the origin's process that asked */
    uint64_t seq;
    struct state_result result; /* code -RD_ENOT_LEADER: ask whoever leads now */
    /* -RD_ENO_SPACE without an index: refused because the leader's disk is low, with so much free and
     * in reserve. */
    bool disk_low;
    uint64_t free_bytes, reserve_bytes;
};

enum peer_msg_type {
    PEER_HELLO = 1,
    PEER_RAFT = 2,
    PEER_FORWARD = 3,
    PEER_FORWARD_REPLY = 4,
    PEER_REFUSAL = 5,
    PEER_PROGRESS_ASK = 6,
    PEER_PROGRESS = 7,
    PEER_CHANGE = 8,
    PEER_CHANGE_REPLY = 9,
};

/* The last word on a connection that is closed because the hello does not fit. */
struct peer_refusal {
    int code; /* negative RD_E... */
    char why[PEER_WHY_SIZE];
    /* -RD_EREMOVED only: what proves it to who was removed. Told to those who have shown that they
     * know the cluster, so it gives nothing away. */
    struct uuid cluster;
    raft_index index; /* of the entry that removed it */
};

/* How far is everybody? Asked of the leader. */
struct peer_progress_ask {
    uint64_t seq; /* from 1; the answer echoes it */
};

/* The leader's answer to it. */
struct peer_progress {
    uint64_t seq;
    raft_term term;         /* the sender's */
    raft_index last;        /* of its log */
    uint32_t members_count; /* the sender included; 0: it does not lead */
    struct {
        raft_id id;
        raft_index match;    /* known to be durable there */
        uint64_t contact_ms; /* since its last answer; UINT64_MAX: none in this term */
    } members[RAFT_MEMBERS_MAX];
};

/* A change of the membership, or of who leads, asked of the leader. Asked again until it is
 * answered: what it wants is a state, so repetition is harmless. */
#define PEER_GAP_UNKNOWN UINT32_MAX

enum peer_change_kind {
    PEER_CHANGE_ADD = 1,
    PEER_CHANGE_PROMOTE = 2,
    PEER_CHANGE_DEMOTE = 3,
    PEER_CHANGE_REMOVE = 4,
    PEER_CHANGE_TRANSFER = 5, /* the leader hands over */
};

struct peer_change {
    uint64_t incarnation; /* tells the asker's processes apart, over all its data directories */
    uint64_t seq;         /* from 1; the same each time it is asked again */
    enum peer_change_kind kind;
    raft_id id;       /* whom; TRANSFER: the target, 0: whoever is best */
    raft_id replaces; /* ADD: the member that leaves afterwards; 0: none */
    raft_term term; /* TRANSFER: the leadership that is to end. Else: in which it is asked; a later
                       * one is asked anew */
    bool learner;   /* ADD: it stays one */
    bool no_wait;   /* ADD: done once it is a learner. TRANSFER: once it has begun */
    bool force;     /* as raft_change */
    char address[RAFT_ADDRESS_SIZE]; /* ADD: host:port */
};

enum peer_change_step {
    PEER_CHANGE_DIALLING = 1,
    PEER_CHANGE_COMMITTING = 2,
    PEER_CHANGE_CATCHING_UP = 3,
    PEER_CHANGE_HANDING_OVER = 4,
    PEER_CHANGE_DONE = 5,
    PEER_CHANGE_REFUSED = 6,
};

/* The answer to it: how far it is, then DONE or REFUSED once. */
struct peer_change_reply {
    uint64_t incarnation;
    uint64_t seq;
    enum peer_change_step step;
    int code;                /* REFUSED: negative RD_E...; else 0 */
    raft_index index;        /* DONE: of the membership entry that says so */
    enum raft_role role;     /* DONE: of the member in it; 0: it is none */
    raft_index match, last;  /* CATCHING_UP: what it has, of how much */
    raft_id from;            /* TRANSFER: whose leadership ends */
    raft_id to;              /* TRANSFER: the target; DONE: who leads now */
    raft_term term;          /* TRANSFER, DONE: in which term; 0: not yet known (no_wait) */
    uint32_t gap_ms;         /* TRANSFER, DONE: for how long writes waited, or PEER_GAP_UNKNOWN */
    char why[PEER_WHY_SIZE]; /* REFUSED: one sentence, with numbers */
};

struct peer_msg {
    enum peer_msg_type type;
    bool is_summed;   /* a received one: its frame had a sum, which is right */
    uint64_t process; /* a received one's: of its sender, as its connection's hello says; 0: the one
                       * whose hello came last */
    union {
        struct peer_hello *hello; /* owned */
        struct raft_msg raft;
        struct peer_forward forward;
        struct peer_forward_reply forward_reply;
        struct peer_refusal *refusal; /* owned */
        struct peer_progress_ask progress_ask;
        struct peer_progress *progress;         /* owned */
        struct peer_change *change;             /* owned */
        struct peer_change_reply *change_reply; /* owned */
    };
};

/* Free what the message owns. */
void peer_msg_done(struct peer_msg *m);

#endif
