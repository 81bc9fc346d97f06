/* raft.h - the consensus core: one function, event in, effects out.
 *
 * Pure: no I/O, no clock, no threads; time comes inside the call, randomness from one seed. The
 * caller (node/) makes saves durable, sends messages and applies committed entries.
 *
 * Threads:   one core, one thread.
 * Ownership: events are borrowed for the call, except message entries, whose payload references the
 *            core takes by itself (blob_ref) when it keeps them. Effects belong to the caller's
 *            struct raft_effects and hold until effects_clear().
 * Errors:    raft_step returns 0 or -RD_EINVALID (event not valid, nothing changed). Everything
 *            else is an effect. A broken invariant is rd_assert().
 * Sources:   "thesis" is Ongaro, Consensus: Bridging Theory and Practice (2014). */
#ifndef RAFTD_RAFT_RAFT_H
#define RAFTD_RAFT_RAFT_H

#include "base/buf.h"
#include "raft/types.h"

struct raft;

struct raft_config {
    raft_id id;
    struct uuid store;            /* this node's store id */
    uint64_t seed;                /* all randomness of the core */
    uint32_t heartbeat_ms;        /* leader sends at least this often */
    uint32_t election_timeout_ms; /* T: timeouts are drawn from [T, 2T), leases last 0.8 T */
    uint32_t append_bytes_max;    /* payload of one AppendEntries (at least one entry goes) */
    uint32_t append_entries_max;  /* entries of one AppendEntries */
    uint32_t inflight_bytes_max;  /* unacknowledged bytes per follower */
    uint32_t inflight_msgs_max;   /* unacknowledged messages per follower */
    uint64_t cache_bytes_max;     /* memory for recent entries, payload and bookkeeping */
};

/* Reads entries that left memory: up to `count_max` entries and about `bytes_max` bytes from
 * `first` on into out[] (one payload reference each for the caller). Returns how many, at least
 * one. The store behind it holds every entry that was reported as persisted and not truncated
 * since. */
typedef uint32_t raft_load_cb(void *arg, raft_index first, uint32_t count_max, uint64_t bytes_max,
                              struct raft_entry *out);

/* ---- Life ---- */

/* A core that knows nothing: no cluster, term 0, empty log. */
struct raft *raft_new(const struct raft_config *config, raft_load_cb *load, void *load_arg);
void raft_free(struct raft *r);

/* What the store found, before raft_start(): hard state once, where the log begins if not with its first
 * entry, then every entry in order. All borrowed. -RD_ECORRUPT when a membership cannot be read. */
void raft_restore_hard(struct raft *r, const struct uuid *cluster, raft_term term, raft_id vote,
                       uint32_t loyal_ms);
int raft_restore_base(struct raft *r, const struct raft_point *base);
int raft_restore_entry(struct raft *r, const struct raft_entry *entry);
/* After the entries: the state that the node starts with is as of this point, so that is committed. 0;
 * -RD_ECORRUPT when the log does not hold it, or another entry in its place, unless the state came as
 * a snapshot (`installed`): then the log begins anew after it. */
int raft_restore_applied(struct raft *r, const struct raft_point *at, bool installed);

/* Begin to take part. A voter that has ever heard a leader refuses votes for T from now: the lease
 * it helped to grant before its restart may still be alive (trap 52); for the T of its earlier run
 * when that was longer. */
void raft_start(struct raft *r, mono_ms now);

/* ---- Events ---- */

enum raft_event_type {
    RAFT_EV_TICK = 1,  /* a deadline passed; harmless when none did */
    RAFT_EV_MESSAGE,   /* from a peer, decoded */
    RAFT_EV_PROPOSE,   /* append `data` as a command, if this node leads */
    RAFT_EV_READ,      /* wants a read index; answered by effects.reads with the token */
    RAFT_EV_PERSISTED, /* the save with these marks is on stable storage */
    RAFT_EV_PAUSED, /* the process was stopped for about T or more: a leader re-proves its quorum */
    RAFT_EV_DISK,   /* the log disk stalled, or works again: a leader hands over, or steps down */
    RAFT_EV_LINK_DOWN, /* messages to `peer` may have been lost */
    RAFT_EV_FOUND,    /* found a cluster: `cluster` and `membership` become the log's first entry */
    RAFT_EV_ADOPT,    /* an empty node joins `cluster` */
    RAFT_EV_CHANGE,   /* change the membership, if this node leads */
    RAFT_EV_TRANSFER, /* hand leadership over, if this node leads */
    RAFT_EV_REMOVED,  /* a member of our cluster proved that we were removed: keep quiet */
    RAFT_EV_CLAIMS_RELEASED, /* nobody acts any more on what raft_claim_held() told */
    RAFT_EV_RETIRE, /* about to stop: stand only to end a leadership that was being handed over */
    RAFT_EV_SNAPSHOT_SEND, /* send a piece to who wants a snapshot; nothing when it does no more */
    RAFT_EV_PIECE_TAKEN,   /* a piece that came was looked at: answer it */
    RAFT_EV_INSTALLED,     /* a snapshot is the state now, durably: the log begins after it */
    RAFT_EV_FLUSH,         /* end of the turn: send what has gathered */
    RAFT_EV_COUNT,
};

struct raft_piece { /* of a snapshot */
    raft_id to;
    raft_index index; /* the snapshot is as of this entry */
    raft_term term;   /* of it */
    uint64_t chain;
    uint64_t offset;   /* bytes of the snapshot before this piece */
    bool done;         /* the last one */
    struct blob *data; /* borrowed; the core takes its own reference */
};

struct raft_event {
    enum raft_event_type type;
    union {
        const struct raft_msg *message;
        struct {
            struct blob *data; /* borrowed; the core takes its own reference */
        } propose;
        struct {
            uint64_t token; /* chosen by the caller, echoed */
        } read;
        struct {
            raft_index index; /* last entry of the save, 0: none */
            raft_term entry_term;
        } persisted;
        struct {
            bool stalled;
        } disk;
        raft_id peer;
        const struct raft_change *change; /* borrowed */
        struct {
            raft_id target; /* 0: the reachable voter with the highest match index */
        } transfer;
        struct {
            const struct uuid *cluster;
            const struct raft_membership *membership; /* FOUND only; borrowed */
        } found;
        const struct raft_piece *piece; /* SNAPSHOT_SEND; borrowed */
        struct {
            const struct raft_msg *message; /* the piece; of INSTALLED the last one */
            uint64_t offset;                /* PIECE_TAKEN: bytes received in order */
            bool reject;                    /* PIECE_TAKEN: send it from the beginning */
            const struct raft_point *point; /* INSTALLED */
        } snapshot;
    };
};

/* ---- Effects ---- */

struct raft_out { /* a message to send */
    struct raft_msg msg;
    bool after_save; /* leaves only when everything raft_save_take() has yet to give, or has given
                      * and is not yet reported persisted, is durable; else at once */
};

struct raft_read { /* a read index was found, or not */
    uint64_t token;
    int code; /* 0: serve once applied >= index; else a negative RD_E...: ask again later */
    raft_index index;
};

struct raft_effects {
    struct raft_out *msgs; /* the effects own the messages */
    uint32_t msgs_count;
    uint32_t msgs_capacity;
    struct raft_read *reads;
    uint32_t reads_count;
    uint32_t reads_capacity;
    /* PROPOSE only: */
    int propose_code;         /* 0 appended; -RD_ENOT_LEADER ... */
    raft_index propose_index; /* where, when appended */
    raft_term propose_term;
    /* CHANGE and TRANSFER only: */
    int request_code;           /* 0: appended, or begun; else why not */
    struct raft_reason refusal; /* the same in words */
    raft_index change_index;    /* CHANGE: of the membership entry */
    raft_id transfer_target;    /* TRANSFER */
    /* MESSAGE only: a piece of a snapshot that is wanted here, or the word of its receiver: it is
     * the caller's business what comes of it. The message of the event, borrowed; NULL: none. */
    const struct raft_msg *snapshot;
    /* Accumulates over steps until effects_clear(): */
    bool transfer_ended; /* the hand-over under way is over, one way or the other: */
    int transfer_code; /* 0: leadership is given up to the target; else it came to nothing, why: */
    struct raft_reason transfer_why;
    bool diverged; /* what Raft says cannot exist: another leader in our term, or two logs with one
                    * (index, term) and different chains. The caller stops with 79 */
    struct raft_reason reason; /* why the role changed; none when it did not */
};

/* Append the sentence; nothing when there is none. */
void raft_reason_put(const struct raft_reason *reason, struct buf *out);

/* Forget the effects, free the messages still in them; the arrays stay allocated. */
void effects_clear(struct raft_effects *fx);
void effects_done(struct raft_effects *fx);

int raft_step(struct raft *r, mono_ms now, const struct raft_event *event, struct raft_effects *fx);

/* Can these numbers be honest? A message of which they cannot has no effect. Who has no term, or no log, has
 * nothing to go by and believes: else a cluster that has lived long could take in nobody, and who was left
 * too far behind to believe the others could not come back by a reset. */
bool raft_believes(const struct raft *r, const struct raft_msg *m);

/* Earliest time at which a TICK has work; UINT64_MAX: none. */
mono_ms raft_deadline(const struct raft *r);

/* ---- What has to become durable ---- */

struct raft_save {
    struct uuid cluster; /* always the current one */
    bool hard_set;       /* cluster, term or vote changed since the last take */
    raft_term term;
    raft_id vote;
    uint32_t loyal_ms; /* longest T under which this store may have granted a lease that is alive */
    raft_index first; /* of entries[0]; entries at and after it on disk are cut. 0: log untouched */
    struct raft_entry *entries; /* the caller's, with references: raft_save_done() */
    uint32_t entries_count;     /* at least 1 when first is set: a cut comes with its replacement */
    raft_index last;            /* last entry of the save and its term, 0 when none */
    raft_term last_term;
    bool base_set;          /* entries up to base are to be forgotten; before anything is added */
    bool reset;             /* and all after it, too */
    struct raft_point base; /* with a reference: raft_save_done() */
};

bool raft_save_wanted(const struct raft *r);

/* Is there anything to save that a message may rest on? Not when all that is left is to forget entries. */
bool raft_save_promises(const struct raft *r);

/* Everything that changed since the last take, at most `bytes_max` of payload (at least one entry).
 * The caller writes it as one transaction, then reports RAFT_EV_PERSISTED; only then it takes the
 * next (asserted). false when there is nothing. */
bool raft_save_take(struct raft *r, uint64_t bytes_max, struct raft_save *save);
void raft_save_done(struct raft_save *save);

/* ---- Entries ---- */

/* Committed or not, from memory or by the load callback: up to count_max entries and about
 * bytes_max payload bytes from `first` on (which exists). One payload reference each for the
 * caller. */
uint32_t raft_entries(struct raft *r, raft_index first, uint32_t count_max, uint64_t bytes_max,
                      struct raft_entry *out);

/* ---- Where the log begins, snapshots ---- */

/* Entries up to `index` are committed, durable in the log and in the state: they may be forgotten.
 * Following saves do it, step by step. */
void raft_trim(struct raft *r, raft_index index);

/* A committed entry of the log, or its base (asserted), and the membership as of it (trap 4). May read
 * an entry. */
void raft_point_get(struct raft *r, raft_index index, struct raft_point *out);

/* The number-th member that this leader can only help by a snapshot, and that answers. false: there are
 * not that many. */
bool raft_snapshot_wanted(const struct raft *r, uint32_t number, raft_id *id);

/* A leader: entries after this one are still wanted by members that answer. UINT64_MAX: by nobody. */
raft_index raft_needed(const struct raft *r);

/* ---- View: cheap questions, no effects ---- */

enum raft_state {
    RAFT_UNCONFIGURED,
    RAFT_FOLLOWER,
    RAFT_PRE_CANDIDATE,
    RAFT_CANDIDATE,
    RAFT_LEADER
};

struct raft_view {
    enum raft_state state;
    struct uuid cluster;
    raft_term term;
    raft_id vote;
    raft_id leader;         /* hint, from AppendEntries of this term only; 0: not known */
    bool leader_committed;  /* the leader of this term has committed an entry of this term, as known
                               here */
    mono_ms leader_contact; /* when another leader was last heard; 0: never */
    raft_index commit;
    raft_index base; /* the log holds the entries after it */
    raft_index last;
    raft_term last_term;
    uint64_t last_chain;
    raft_index saved; /* durable here */
    bool hard_saved;  /* so are term and vote */
    bool disk_stalled;
    bool removed;         /* told so, with proof, and no leader has called on us since */
    bool change_pending;  /* the membership in force is not committed yet */
    raft_id transfer;     /* leader: whom it hands over to; 0: to nobody */
    bool transfer_holds;  /* proposals are refused with -RD_ETRANSFER until the hand-over is over */
    bool transfer_sent;   /* TimeoutNow is on its way: no lease, no claim, no way back */
    mono_ms claims_after; /* no claim before this: claims of a predecessor may be alive; 0: none */
};
void raft_view_get(const struct raft *r, struct raft_view *out);

const struct raft_membership *raft_membership(const struct raft *r); /* in force; borrowed */
const struct raft_membership *raft_membership_committed(const struct raft *r); /* borrowed */

/* The shortest election timeout among the members, as far as known: leases last 0.8 of it, so that
 * a voter with a shorter one than ours cannot vote while our lease is alive. Learners count: nobody is
 * promoted while a claim lives that was told for longer. Never above the own. */
void raft_set_lease_base(struct raft *r, uint32_t election_timeout_ms);

/* Milliseconds for which this node may still serve reads by its lease; 0: not, or not leader.
 * Lease: the quorum-th newest send time among the voters' acknowledged messages + 0.8 T
 * (thesis 6.4.1, with the send time instead of the receipt). */
uint32_t raft_lease_remaining(const struct raft *r, mono_ms now);

/* The same for a claim to lead: also needs an own-term commit, and that the claims our predecessor
 * handed out before it handed over have lapsed. Never more than the lease. */
uint32_t raft_claim_remaining(const struct raft *r, mono_ms now);

/* A claim that holds until then was told to somebody: whom we hand over to has to wait for it. */
void raft_claim_told(struct raft *r, mono_ms until);
/* The same, told to somebody who will say when it is acted on no more: until RAFT_EV_CLAIMS_RELEASED,
 * before or after TimeoutNow has left. */
void raft_claim_held(struct raft *r, mono_ms until);

/* Voters heard within T, this node included when it is a voter; followers know only themselves and
 * the leader: 0. */
uint32_t raft_voters_reachable(const struct raft *r, mono_ms now);

struct raft_peer_view {
    raft_index match;
    mono_ms contact; /* last reply; 0: never in this term */
};
/* As the leader sees a member. false: not leading, or no such member. */
bool raft_peer_view(const struct raft *r, raft_id id, struct raft_peer_view *out);

/* Members this leader has removed and still tells so: with the id and the address of the number-th.
 * false: there are not that many. The address is borrowed. */
bool raft_leaving(const struct raft *r, uint32_t number, raft_id *id, const char **address);

/* Term of an entry in the log, or of its base; 0 for what is not there any more. Not above the last. */
raft_term raft_term_at(const struct raft *r, raft_index index);

#endif
