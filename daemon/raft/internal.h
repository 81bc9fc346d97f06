/* internal.h - what the files of the core share. Not for other rooms. */
#ifndef RAFTD_RAFT_INTERNAL_H
#define RAFTD_RAFT_INTERNAL_H

#include "base/check.h"
#include "base/err.h"
#include "base/prng.h"
#include "raft/membership.h"
#include "raft/raft.h"

enum {
    READS_MAX = 4096, /* read rounds waiting at once; beyond it the oldest are told to retry */
    COMMIT_NOTICE_DELAY_MS = 5, /* how long a new commit index may wait for an append to ride on */
    TRANSFER_FAILED_TIMEOUTS =
        5,                    /* who did not take over is avoided for so many election timeouts */
    TRANSFER_HEARD_BEATS = 3, /* a target was heard within so many heartbeat intervals */
    FAREWELL_TIMEOUTS = 10,   /* for so many election timeouts a removed member is told, at most */
};

/* ---- log.c: the log in memory ---- */

struct term_run { /* the entries from `first` on have this term, until the next run */
    raft_term term;
    raft_index first;
};

struct rlog {
    struct raft_point base;  /* the entries after it are the log */
    struct raft_entry *ring; /* cached entries, the newest of the log */
    uint32_t ring_capacity;  /* a power of two */
    uint32_t ring_head;
    uint32_t cached; /* entries in the ring: indexes last - cached + 1 .. last */
    uint64_t cached_bytes;
    struct term_run *runs; /* of the whole log: terms never need the disk */
    uint32_t runs_count;
    uint32_t runs_capacity;
    raft_index last;
    uint64_t last_chain;
    raft_load_cb *load;
    void *load_arg;
};

void rlog_init(struct rlog *l, raft_load_cb *load, void *load_arg);
void rlog_done(struct rlog *l);
raft_term rlog_term(const struct rlog *l, raft_index index); /* 0, or base <= index <= last */
raft_term rlog_last_term(const struct rlog *l);
/* Is it the entry there? False also of what the log has forgotten. */
bool rlog_holds(const struct rlog *l, raft_index index, raft_term term);
uint64_t rlog_chain(const struct rlog *l, raft_index index); /* may load one entry */
/* Takes a reference to entry->data. Index must be last + 1, term not below the last; computes the
 * chain. */
void rlog_append(struct rlog *l, const struct raft_entry *entry);
void rlog_truncate(struct rlog *l, raft_index from); /* forget `from` and all after it */
/* Let durable entries leave memory until at most bytes_max are cached. */
void rlog_evict(struct rlog *l, raft_index durable, uint64_t bytes_max);
/* Forget the entries up to `base`, which is one of this log. Takes a reference to its membership. */
void rlog_trim(struct rlog *l, const struct raft_point *base);
/* Forget all entries: the log begins after `base`. As above. */
void rlog_reset(struct rlog *l, const struct raft_point *base);
uint32_t rlog_read(const struct rlog *l, raft_index first, uint32_t count_max, uint64_t bytes_max,
                   struct raft_entry *out);
/* The largest index <= `index` whose term is <= `term`: where two logs may still agree. What lies
 * at or below the base cannot be told apart: then `index` itself, or the base. */
raft_index rlog_agree(const struct rlog *l, raft_index index, raft_term term);
uint32_t entry_size(const struct raft_entry *entry); /* payload bytes */

/* ---- progress.c: what the leader knows of a follower (thesis 3.5, 10.2.1) ---- */

enum progress_state {
    PROGRESS_PROBE,     /* one append at a time until one is accepted */
    PROGRESS_REPLICATE, /* pipelined within the window */
    PROGRESS_SNAPSHOT,  /* what it needs is forgotten here: no entries until it has a snapshot */
};

struct inflight {
    raft_index last; /* last entry of the message */
    uint32_t bytes;
};

struct progress {
    raft_id id;
    raft_index session;
    char address[RAFT_ADDRESS_SIZE];
    enum progress_state state;
    raft_index match;       /* known to be durable there */
    raft_index next;        /* first entry to send */
    bool probe_sent;        /* PROBE: waiting for the answer */
    raft_index snapshot;    /* SNAPSHOT: the one on its way is as of this entry; 0: none is */
    raft_index commit_sent; /* commit index it was last told */
    bool commit_urgent;     /* it waits for the commit index (a read) */
    uint64_t ack_seq;       /* newest message it answered */
    mono_ms ack_stamp;      /* when we had sent that message: 0 never */
    mono_ms contact;        /* last answer; 0: never in this term */
    uint32_t beats;         /* sent since then */
    uint64_t cut_seq; /* no earlier message is answered by who is there now: the link went down */
    mono_ms moved;    /* when match or the window last moved */
    raft_index round_last; /* catch-up rounds (thesis 4.2.1): the one under way ends here, */
    mono_ms round_began;   /* and began then */
    raft_index round_from; /* what it had then */
    mono_ms round_took;    /* the last one completed, */
    uint64_t round_size;   /* which brought so many entries */
    mono_ms had_all_at; /* beginning of the last one completed: it has all we had then; 0: none */
    raft_index leaving; /* index of the entry that removed it; 0: it is a member */
    mono_ms leaving_until; /* it is told no longer than this */
    uint64_t leaving_told; /* the first message that told it that the entry is committed; 0: none */
    struct inflight *window; /* ring of inflight_msgs_max */
    uint32_t window_head, window_count;
    uint64_t window_bytes;
};

void progress_init(struct progress *p, const struct raft_member *m, raft_index next,
                   uint32_t window_capacity, mono_ms now);
void progress_done(struct progress *p);
/* Answered in this term, and since the link to it last went down. */
bool progress_answers(const struct progress *p);
bool progress_heard_within(const struct progress *p, mono_ms ms, mono_ms now); /* and so lately */
void progress_probe(struct progress *p); /* fall back: send again from match + 1 */
void progress_needs_snapshot(struct progress *p);
void progress_sent(struct progress *p, raft_index last, uint32_t bytes, uint32_t capacity,
                   mono_ms now);
/* An acknowledgement up to `index`; true when match moved. */
bool progress_acked(struct progress *p, raft_index index, uint32_t capacity, mono_ms now);
/* After an acknowledgement: is a catch-up round complete? `last` is the leader's last index. */
void progress_round(struct progress *p, raft_index last, mono_ms now);

/* ---- quorum.c ---- */

/* The largest value that at least a quorum of the voters have reached. `value` is asked per voter.
 */
typedef uint64_t quorum_value_cb(const struct raft *r, raft_id voter, mono_ms now);
uint64_t quorum_reached(const struct raft *r, quorum_value_cb *value, mono_ms now);
uint64_t quorum_of(uint64_t *values, uint32_t count, uint32_t quorum); /* sorts */

/* ---- The core ---- */

struct vote_record {
    raft_id id;
    bool granted;
};

struct pending_read {
    raft_id from;       /* 0: this node */
    uint64_t token;     /* local: the caller's; remote: its seq */
    raft_index session; /* remote: to echo */
    mono_ms stamp;      /* remote: to echo */
    raft_index index;   /* leader: the read index */
    uint64_t need_seq;  /* leader: acknowledged by a quorum. Follower: seq of our question */
};

enum transfer_phase {
    TRANSFER_NONE,
    TRANSFER_CATCH_UP, /* writes flow; until everything is on its way to the target */
    TRANSFER_HOLD,     /* new writes are refused for the moment; until the target has everything */
    TRANSFER_SENT,     /* the target was told: no lease and no claim any more, and no way back */
};

struct transfer {
    enum transfer_phase phase;
    raft_id target;
    mono_ms deadline; /* of catching up and holding together; of SENT */
    uint64_t seq;     /* SENT: of our TimeoutNow */
};

struct claims_handed { /* with a TimeoutNow, of which there is one per leadership at most */
    raft_id peer;      /* to whom, or by whom; 0: nothing was */
    raft_term term;    /* the leadership that was given up */
    uint64_t seq;
    mono_ms until; /* then the last of these claims has lapsed */
};

struct raft {
    struct raft_config config;
    struct rlog log;
    struct prng prng;

    /* Hard state (durable before anything that rests on it leaves) */
    struct uuid cluster;
    raft_term term;
    raft_id vote;
    bool hard_dirty;      /* changed since the last take */
    uint64_t saves_taken; /* saves complete in the order they were taken */
    uint64_t saves_done;
    uint64_t hard_taken; /* number of the save that holds the current hard state */
    raft_index untaken;  /* first entry no save holds yet */
    raft_index saved;    /* entries up to here are durable */

    /* Membership: [0] the newest committed one, then those not yet committed; the last is in force
     */
    struct raft_membership *memberships;
    uint32_t memberships_count, memberships_capacity;
    raft_index *changes; /* of the membership entries in the log */
    uint32_t changes_count, changes_capacity;

    raft_index trim_to; /* entries up to here may be forgotten */
    bool base_reset;    /* the log began anew, and no save says so yet */

    enum raft_state state;
    raft_id leader;
    raft_index commit;
    bool disk_stalled;
    uint32_t lease_base_ms; /* shortest T among the members */
    mono_ms heard;          /* when a leader was last heard: the base of stickiness; 0 never */
    mono_ms led_until;      /* when this core last ceased to lead; 0 never */
    uint32_t loyal_ms;      /* as raft_save's */
    mono_ms refuse_until;   /* after a restart: no votes before */
    mono_ms election_deadline;
    mono_ms claim_told; /* until when a claim holds that was told to somebody, */
    mono_ms claim_held; /* or to who will say when it is acted on no more; 0: they have */
    struct claims_handed claims_given; /* by us, the last time */
    struct claims_handed
        claims_received;   /* the last ones: no claim of ours before they have lapsed, */
    mono_ms claims_before; /* nor before those of earlier hand-overs have */
    bool removed;          /* told so, and not called on by a leader since */
    bool retiring;         /* about to stop */

    /* Candidates */
    struct vote_record votes[RAFT_MEMBERS_MAX];
    uint32_t votes_count;
    uint64_t asked_after; /* the questions of this round have a higher seq */

    /* Leaders */
    struct progress *peers;
    uint32_t peers_count, peers_capacity;
    struct transfer transfer;
    raft_id transfer_failed; /* who was told to take over and did not; 0: nobody */
    mono_ms transfer_failed_at;
    raft_index applied_before; /* the state was restored as of this entry; 0: it begins empty */
    raft_index term_start;     /* our no-op: nothing is served before it commits */
    mono_ms leader_since;      /* or the end of a pause: silence counts from here */
    mono_ms heartbeat_deadline;
    mono_ms commit_notice_deadline; /* UINT64_MAX: nobody waits to hear of a commit */
    bool round_wanted;              /* a read waits for a round of heartbeats */

    uint64_t seq; /* of our messages */
    struct pending_read *reads;
    uint32_t reads_count, reads_capacity;

    /* For the length of one step */
    mono_ms now;
    struct raft_effects *fx;
};

static inline mono_ms left_until(const struct raft *r, mono_ms until)
{
    return until > r->now ? until - r->now : 0;
}

/* effects.c */
struct raft_msg *effects_message(struct raft *r, enum raft_msg_type type, raft_id to);
void effects_send(struct raft *r, bool after_save); /* the message just made is complete */
void effects_read(struct raft *r, uint64_t token, int code, raft_index index);
void effects_reason(struct raft *r, const char *reason, uint64_t number);
void effects_refuse(struct raft *r, int code, const struct raft_reason *why);
void effects_transfer_ended(struct raft *r, int code, const struct raft_reason *why);

/* election.c */
bool raft_is_voter(const struct raft *r);
void election_timer_reset(struct raft *r);
void election_tick(struct raft *r);
void election_follow(struct raft *r, raft_term term, raft_id leader, const char *reason,
                     uint64_t number);
void election_on_pre_vote(struct raft *r, const struct raft_msg *m);
void election_on_vote(struct raft *r, const struct raft_msg *m);
void election_on_reply(struct raft *r, const struct raft_msg *m);
void election_own_vote_saved(struct raft *r);
/* Stand at once, without asking whether others would vote: the leader wishes it (thesis 3.10). */
void election_stand(struct raft *r, const char *reason, uint64_t number);
bool election_may_stand(const struct raft *r);
bool election_is_sticky(const struct raft *r, const struct raft_msg *m);

/* replication.c */
void leader_start(struct raft *r);
void leader_stop(struct raft *r);
void leader_tick(struct raft *r);
void leader_flush(struct raft *r);
void leader_commit(struct raft *r);
void leader_append(struct raft *r, enum raft_entry_type type, struct blob *data);
void leader_on_reply(struct raft *r, const struct raft_msg *m);
struct progress *leader_peer(const struct raft *r, raft_id id);
/* An answer came: whose; NULL: it does not count. */
struct progress *leader_heard(struct raft *r, const struct raft_msg *m);
void leader_answered(struct raft *r, struct progress *p); /* after it was looked at */
void leader_sync_peers(struct raft *r); /* after the membership in force has changed */
uint32_t leader_live_voters(const struct raft *r, const struct raft_membership *m, mono_ms now);
uint32_t leader_lease_ms(const struct raft *r); /* from an answer on */
mono_ms leader_quorum_deadline(const struct raft *r);
mono_ms leader_deadline(const struct raft *r);

/* change.c */
/* May the membership, or the leader, be changed now? 0, or why not. */
int change_gate(const struct raft *r, struct raft_reason *why);
void change_request(struct raft *r, const struct raft_change *c);
void change_auto_promote(struct raft *r);

/* transfer.c */
void transfer_request(struct raft *r, raft_id target);
/* This leader's own disk hangs: hand over. false: there is nobody to hand over to. */
bool transfer_from_stalled_disk(struct raft *r);
void transfer_advance(struct raft *r);
void transfer_tick(struct raft *r);
void transfer_leader_stops(struct raft *r);
void transfer_on_timeout_now(struct raft *r, const struct raft_msg *m);
void transfer_on_reply(struct raft *r, const struct raft_msg *m);
mono_ms transfer_deadline(const struct raft *r);

/* claims.c */
mono_ms claims_after(const struct raft *r); /* no claim before: others' may be alive; 0: none */
uint32_t claims_live(const struct raft *r); /* for so long some may, ours among them */
/* This is the TimeoutNow about to leave: fill in how long claims may live, and remember it. */
void claims_hand_over(struct raft *r, struct raft_msg *m);
void claims_receive(struct raft *r, const struct raft_msg *m); /* a TimeoutNow */
void claims_on_left(struct raft *r, const struct raft_msg *m);
void claims_released(struct raft *r);

/* base.c */
bool base_save_wanted(const struct raft *r);
void base_save_take(struct raft *r, struct raft_save *save);
/* The state is as of `p` now: so are commit index and log, unless they are ahead. -RD_ECORRUPT: its
 * membership cannot be read, or what this node has cannot be. */
int base_install(struct raft *r, const struct raft_point *p);

/* snapshot.c */
void snapshot_send(struct raft *r, const struct raft_piece *piece);
void snapshot_on_piece(struct raft *r, const struct raft_msg *m);
void snapshot_refuse(struct raft *r, const struct raft_msg *m); /* of a stale leader */
void snapshot_on_reply(struct raft *r, const struct raft_msg *m);
void snapshot_taken(struct raft *r, const struct raft_msg *m, uint64_t offset, bool reject);
void snapshot_installed(struct raft *r, const struct raft_msg *m, const struct raft_point *p);

/* append.c: the follower's side */
/* The leader of our term calls. false: there cannot be one, for this node leads it. */
bool follower_hears(struct raft *r, const struct raft_msg *m);
void follower_on_append(struct raft *r, const struct raft_msg *m);
void follower_refuse_append(struct raft *r, const struct raft_msg *m);

/* read.c */
void read_request(struct raft *r, uint64_t token);
void read_on_request(struct raft *r, const struct raft_msg *m);
void read_on_reply(struct raft *r, const struct raft_msg *m);
void read_check_round(struct raft *r);
void read_fail_all(struct raft *r, int code);

/* save.c */
void save_mark_hard(struct raft *r);
bool save_hard_is_durable(const struct raft *r);
void save_on_persisted(struct raft *r, const struct raft_event *event);

/* raft.c */
const struct raft_membership *raft_in_force(const struct raft *r);
void raft_membership_push(struct raft *r, const struct raft_membership *m); /* copied */
int raft_log_append(struct raft *r, const struct raft_entry *entry);
void raft_log_truncate(struct raft *r, raft_index from);
void raft_set_commit(struct raft *r, raft_index commit);

#endif
