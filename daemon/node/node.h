/* node.h - one node without its I/O: the core, the state, and the clients' requests.
 *
 * Pure, like the core: the daemon (raftd/) and the simulator (tests/sim) drive the same code. It
 * does step 3 to 5 of the turn: it feeds the core, parks messages that depend on the disk on the
 * batch that makes them true, applies what is committed and answers who waits.
 *
 * One turn:  node_begin(now), then any number of node_message/hello/write/read/persisted/...,
 *            then node_end(); then the caller takes sends, batch and answers, and clears the
 *            output.
 * Threads:   one node, one thread.
 * Ownership: stated per call; output borrows until node_out_clear(). */
#ifndef RAFTD_NODE_NODE_H
#define RAFTD_NODE_NODE_H

#include "node/types.h"
#include "raft/raft.h"
#include "state/state.h"
#include "state/stream.h"

struct node;

enum {
    NODE_LOG_FULL_PERCENT = 90,       /* of the log's room: beyond it writes are refused */
    NODE_ROOM_KEPT_BYTES = 256 << 10, /* of a low reserve: for terms, votes, no-ops, memberships */
};

struct node_config {
    struct raft_config raft;
    uint64_t incarnation;      /* of this process, from the store */
    uint64_t process;          /* random, of this process; not 0 */
    uint64_t state_bytes_max;  /* quota stamped on entries while this node leads */
    uint32_t apply_max;        /* entries applied per turn */
    uint64_t batch_bytes_max;  /* payload per store batch */
    bool keeps_rows;           /* rows of the state are taken by node_flush_take() */
    uint64_t log_keep_entries; /* applied entries that stay in the log for slow followers, */
    uint64_t log_keep_bytes;   /* at most about so many bytes of them; keeps_rows only */
    uint64_t log_hold_bytes;   /* at most, for members that answer and need them */
    uint32_t piece_bytes_max;  /* of a snapshot, in one message (at least one row) */
    char name[PEER_NAME_SIZE];
    char uri[PEER_URI_SIZE];
    char address[RAFT_ADDRESS_SIZE]; /* advertised */
    char version[PEER_VERSION_SIZE];
    char cluster_name[PEER_NAME_SIZE];
    uint32_t founders_count; /* the `member` list, by ascending id, this node included; 0: none */
    struct {
        raft_id id;
        char address[RAFT_ADDRESS_SIZE];
    } founders[RAFT_VOTERS_MAX];
};

/* ---- Output of a turn ---- */

struct node_send {
    raft_id to;
    struct peer_msg msg; /* owned by the output */
};

enum { NODE_MESSAGE_SIZE = PEER_WHY_SIZE, NODE_FATAL_SIZE = 640 };

struct node_answer { /* each request gets exactly one that is the last, unless it was cancelled */
    uint64_t token;
    int code;                         /* 0, or negative RD_E... */
    bool more;                        /* a change: how far it is; its answer is yet to come */
    raft_id leader;                   /* known leader, 0: none */
    struct state_result result;       /* writes */
    uint64_t quota;                   /* NO_SPACE of the state: what it may take, by the leader that
                                       * took this write; 0: only that leader knows */
    struct peer_change_reply *change; /* changes that are done, or how far they are; else NULL */
    char message[NODE_MESSAGE_SIZE];  /* refusals: why, with numbers */
};

enum node_snapshot_end { /* of one that this leader sent */
                         NODE_SNAPSHOT_INSTALLED = 1,
                         NODE_SNAPSHOT_REFUSED, /* its receiver had all of it and could not use it */
                         NODE_SNAPSHOT_GIVEN_UP,
};

struct node_batch { /* one group commit */
    uint64_t seq;   /* counts up from 1; node_persisted() echoes it */
    struct raft_save save;
};

struct node_out {
    struct node_send *sends;
    uint32_t sends_count, sends_capacity;
    struct node_answer *answers;
    uint32_t answers_count, answers_capacity;
    const struct node_batch
        *batch;         /* to be written now, or NULL; stays valid until its node_persisted() */
    bool changed;       /* something node_public() shows may differ */
    bool hello_changed; /* node_hello_get() may differ: send it again where it does; and
                         * node_hello_check() may think otherwise of those who are connected */
    bool hello_first; /* it differs for who is met again as another process: it has to be on the way
                       * before the sends of this turn */
    bool targets_changed; /* node_targets() differs */
    char reason[96];      /* why the role changed last, with numbers; "" when it did not */
    struct {
        bool over; /* a hand-over of this leader's, or a stopping leader's attempt at one */
        int code;  /* 0: somebody else leads */
        raft_id to;
        raft_term term;
        char why[PEER_WHY_SIZE]; /* it did not */
    } handover;
    struct {
        enum node_snapshot_end how; /* 0: none ended. Of several in one turn the last */
        raft_id to;
        raft_index index;
        uint64_t bytes; /* of it that were sent, */
        uint64_t took_ms;
    } snapshot;
    int fatal; /* negative code: stop the process; see fatal_why */
    char fatal_why[NODE_FATAL_SIZE];
};

/* ---- The state, written behind ---- */

struct node_mark {        /* what the state is as of */
    struct raft_point at; /* index 0: nothing was applied yet */
    uint64_t revision, digest;
    bool installed; /* it came as a snapshot: the log may not reach so far yet */
};

struct node_flush {
    bool anew;              /* these are all rows there are */
    struct state_rows rows; /* a later row with the same key takes the place of the earlier */
    struct node_mark mark;
};

/* With config.keeps_rows: did anything change since the last flush, is none under way, and does our own
 * log hold durably what was applied? */
bool node_flush_wanted(const struct node *n);
/* What changed, if that is wanted (asserted). Stays valid until node_flushed(). */
const struct node_flush *node_flush_take(struct node *n);
void node_flushed(struct node *n);               /* it is durable */
void node_flush_failed(struct node *n);          /* nothing of it is: the next one holds it too */
uint64_t node_flush_bytes(const struct node *n); /* how much has gathered for the next one */
bool node_flush_is_urgent(const struct node *n); /* it holds a snapshot: this node waits for it */
raft_index
node_flushed_to(const struct node *n); /* what is durable is as of this entry; 0: nothing */
/* The log holds much more than is to be kept, because what was applied is not flushed yet or a member
 * lags. */
bool node_log_is_long(const struct node *n);

/* ---- Snapshots: the rows on disk, sent to who needs what the log has forgotten ---- */

/* How the node reads what was flushed last. All of it on the node's thread, within its turn. */
struct node_source {
    void *arg;
    /* For node `to`: as it is on disk now, whatever is flushed later; `mark` gets what it is as of, with
     * a reference. NULL: not now. */
    void *(*open)(void *arg, raft_id to, struct node_mark *mark);
    /* Append the next rows (stream_put_row()), about `bytes_max` of them and at least one. 1: there are
     * more; 0: those were the last; negative: it can be kept open no longer, begin again. */
    int (*read)(void *arg, void *snapshot, size_t bytes_max, struct buf *out);
    void (*close)(void *arg, void *snapshot);
};

/* How a stream of it begins; borrows the membership. */
void node_mark_head(const struct node_mark *mark, struct stream_head *out);

/* Snapshots that are being read now. While they are, a flush makes the disk hold twice what changes. */
uint32_t node_snapshots_read(const struct node *n);

/* ---- Life ---- */

struct node *node_new(const struct node_config *config, raft_load_cb *load, void *load_arg);
void node_set_source(struct node *n, const struct node_source *source); /* before it starts */
void node_close_source(
    struct node *n); /* the source is about to go: nothing is read from it any more */
void node_free(struct node *n);

/* What the store found: once, before node_start, in this order. All borrowed. */
void node_restore_hard(struct node *n, const struct uuid *cluster, raft_term term, raft_id vote,
                       uint32_t loyal_ms);
int node_restore_base(struct node *n, const struct raft_point *base);   /* 0, -RD_ECORRUPT */
int node_restore_entry(struct node *n, const struct raft_entry *entry); /* 0, -RD_ECORRUPT */
/* And the state: every row, then, after the entries, what they are the state of. While the log begins
 * with its first entry that is optional: the state is rebuilt from the log as that is known to be
 * committed. -RD_ECORRUPT: not our rows, not those of the mark, or of an entry that the log does not
 * hold; then node_restore_anew() makes the state empty again. */
int node_restore_row(struct node *n, const void *key, size_t key_size, const void *value,
                     size_t value_size);
int node_restore_applied(struct node *n, const struct node_mark *mark);
void node_restore_anew(struct node *n);
/* wall_ms: stamps entries, for people. fresh_cluster: random, used if this node founds a cluster.
 */
void node_start(struct node *n, mono_ms now, const struct uuid *fresh_cluster);

/* ---- The turn ---- */

void node_begin(struct node *n, mono_ms now, uint64_t wall_ms);
struct node_out *node_end(struct node *n);
void node_out_clear(struct node *n);
/* When the next turn has to start; never before `now` unless work is left (then: now). UINT64_MAX:
 * never. */
mono_ms node_deadline(const struct node *n);

/* A decoded peer message (not a hello); the node takes what it owns. `from` is whom the link
 * belongs to. False: its numbers cannot be honest (raft_believes), it was dropped. */
bool node_message(struct node *n, raft_id from, struct peer_msg *msg);
/* May we talk to who says this? 0, or the negative code, and `refusal` is what to tell it: one
 * sentence for both sides' logs. No effect. */
int node_hello_check(const struct node *n, const struct peer_hello *hello,
                     struct peer_refusal *refusal);
/* What the sender of a hello that passed node_hello_check() is to us. What proves a member is the
 * cluster id: it is random and told to members only, while ids and stores are no secrets. */
enum node_standing {
    NODE_STRANGER, /* is told nothing of the cluster */
    NODE_FAMILIAR, /* on our founding list, or, while we have no membership, counts us among its
                      members: hears our list, not the cluster */
    NODE_MEMBER,   /* shows our cluster id, and was not removed; possibly one our log does not
                      know yet */
};
enum node_standing node_hello_standing(const struct node *n, const struct peer_hello *hello);
/* A hello that passed node_hello_check(), from a new link or changed on an old one. Borrowed. */
void node_hello(struct node *n, const struct peer_hello *hello);
/* Our own link to this peer, over which we send, is up (after its hello) or down. */
void node_link_up(struct node *n, raft_id peer);
void node_link_down(struct node *n, raft_id peer);
void node_messages_lost(struct node *n, raft_id peer); /* the link is up, its queue overflowed */
/* A peer refused our hello: shown as the reason of a node without a cluster or a leader, until its
 * next accepted hello. A refusal that proves that this node was removed silences it. Copied. */
void node_refused(struct node *n, raft_id peer, const struct peer_refusal *refusal);
/* An attempt to reach a peer at its address came to nothing: what keeps a server from being added.
 * `why` is one sentence. */
void node_unreachable(struct node *n, raft_id peer, int code, const char *why);
void node_persisted(struct node *n, uint64_t batch_seq);
void node_disk(struct node *n, bool stalled);
/* Bytes the log takes on disk, and may take (storage.map_size; 0: not limited). A leader refuses
 * writes, its own clients' and forwarded ones, that would fill more than NODE_LOG_FULL_PERCENT of it;
 * the rest is for what a cluster needs to stay one: terms, votes, no-ops, memberships. */
void node_set_log_use(struct node *n, uint64_t used, uint64_t limit);

struct node_room {              /* on the file system of the data directory */
    bool low;                   /* no more can be reserved ahead of what is used */
    const char *path;           /* borrowed, as long as it is set */
    uint64_t free_bytes;        /* of the file system */
    uint64_t reserve_bytes;     /* reserved ahead, all together */
    uint64_t log_reserve_bytes; /* and for the log */
};
/* While low, a leader hands over to a voter that is not, and refuses what grows (transactions with a put)
 * where there is none. The rest goes on, on what is reserved. Hellos tell. */
void node_set_room(struct node *n, const struct node_room *room);

/* Requests: `token` is the caller's, not 0. */

/* A client's write. `txn` (state_txn_encode) is moved. Answered by the deadline at the latest. */
void node_write(struct node *n, uint64_t token, struct blob *txn, mono_ms deadline);
/* A client's linearizable read: answer code 0 means "read the state now, in this turn". */
void node_read(struct node *n, uint64_t token, mono_ms deadline);
/* Learn how far each member is, as the leader knows it: answer code 0 means "node_member_progress()
 * tells now". -RD_ENO_LEADER: nobody to ask, said at once. -RD_ETIMEOUT: no answer came. */
void node_ask_progress(struct node *n, uint64_t token, mono_ms deadline);
/* A change of the membership, or of who leads; incarnation, seq and term are filled in here. It is
 * handed to the leader, whoever that is, until it is done, refused, or its time is over. Its answers
 * carry `change`. */
void node_change(struct node *n, uint64_t token, const struct peer_change *change,
                 mono_ms deadline);
/* Found a one-voter cluster here; answered when its first entry is committed. */
void node_bootstrap(struct node *n, uint64_t token, mono_ms deadline);
/* The client is gone: no answer wanted. The write may still happen. */
void node_cancel(struct node *n, uint64_t token);
void node_set_uri(struct node *n, const char *uri);
/* The claim that node_public_get() shows now has been told to somebody, who may act on it until it
 * lapses: a successor waits for that (raft-rules, Lease and claim). Call it whenever is_leader or
 * its lease leave the process. */
void node_claim_told(struct node *n);
/* The same, told to a holder: somebody who will say when nobody acts on it any more. */
void node_claim_held(struct node *n);
/* All holders have said so: a successor need not wait for what they were told. Within a turn. */
void node_claims_released(struct node *n);

/* The process is about to stop: a leader hands over, and nobody is stood against any more. Go on
 * with turns until node_is_retired(): leadership is somebody else's, or cannot be given away by the
 * deadline, and every request is answered or overdue. */
void node_retire(struct node *n, mono_ms deadline);
bool node_is_retired(const struct node *n);

/* ---- View ---- */

const struct state *node_state(const struct node *n); /* borrowed */
const struct raft *node_raft(const struct node *n);   /* borrowed */
/* Our own hello as of now. */
void node_hello_get(const struct node *n, struct peer_hello *out);
/* The last hello of a node, or NULL. Borrowed. */
const struct peer_hello *node_peer_hello(const struct node *n, raft_id id);

/* A member as the leader sees it, this node included: its own view when this node leads, else what
 * the leader of this term told last. `contact` is on this node's clock; 0: never. false: not
 * known. */
bool node_member_progress(const struct node *n, raft_id id, struct raft_peer_view *out);
/* The last index of the leader's log, from the same source; 0: not known. */
raft_index node_progress_last(const struct node *n);

struct node_target { /* whom to keep a link to */
    raft_id id;
    char address[RAFT_ADDRESS_SIZE];
};
enum { NODE_TARGETS_MAX = 2 * RAFT_MEMBERS_MAX + RAFT_VOTERS_MAX };
/* At most NODE_TARGETS_MAX, each id once. Returns how many. */
uint32_t node_targets(const struct node *n, struct node_target *out);

enum node_state_name { /* contract section 3, `state` */
                       NODE_UNCONFIGURED,
                       NODE_FORMING,
                       NODE_JOINING,
                       NODE_FOLLOWER,
                       NODE_LEARNER,
                       NODE_CANDIDATE,
                       NODE_LEADER,
                       NODE_HANDING_OVER,
                       NODE_REMOVED,
};
const char *node_state_text(enum node_state_name s);

enum { NODE_REASON_SIZE = 640 }; /* with an address and what a peer said */

struct node_public { /* what an application beside raftd wants to know */
    enum node_state_name state;
    enum raft_role role; /* 0: not a member */
    bool is_leader;      /* may claim to lead, at the time asked */
    raft_id leader;      /* 0: none known (contract: own-term commit, lease or fresh contact) */
    raft_term term;
    raft_term fence;               /* term of the leader; 0 when none is known */
    uint32_t lease_remaining_ms;   /* of the claim; 0 unless is_leader */
    mono_ms contact_ms;            /* since the leader was heard; UINT64_MAX: never */
    char reason[NODE_REASON_SIZE]; /* why the state is not a healthy one; "" when it is */
};
void node_public_get(const struct node *n, mono_ms now, struct node_public *out);

/* Voters this node can reach, itself included: a leader counts who answers it; others count links, and without a
 * leader only those who answered lately. */
uint32_t node_voters_reachable(const struct node *n, mono_ms now);

/* Wanting numbers: requests open, batches in flight and so on, for status and tests. */
struct node_stats {
    uint32_t writes_open, reads_open;
    uint64_t applied;
    bool batch_in_flight;
};
void node_stats_get(const struct node *n, struct node_stats *out);

#endif
