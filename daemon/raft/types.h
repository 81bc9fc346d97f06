/* types.h - the words of Raft that every room shares: entries, membership, messages.
 *
 * Threads: plain data. Ownership: stated at each pointer. */
#ifndef RAFTD_RAFT_TYPES_H
#define RAFTD_RAFT_TYPES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/mono.h"
#include "base/uuid.h"

typedef uint64_t raft_term;  /* 0: before the first election */
typedef uint64_t raft_index; /* 0: before the first entry */
typedef uint32_t raft_id;    /* 0: nobody */

/* Terms and indexes end here: nobody counts this far, and one more always fits on the wire. */
#define RAFT_NUMBER_MAX (UINT64_C(1) << 62)

/* No member is so many terms or entries ahead of another: a thousand a second, for 34 years. A term is
 * never forgotten, so an absurd one that came in would leave the cluster without any to come. Who believes
 * one at the very end and goes on is beyond what those believe who have not heard it; so no single bit that
 * is flipped leads there: that of 2^39 leaves as much again. */
#define RAFT_AHEAD_MAX ((UINT64_C(1) << 40) - 1)

enum {
    RAFT_MEMBERS_MAX = 31,
    RAFT_VOTERS_MAX = 9,
    RAFT_TOMBSTONES_MAX = 64,
    RAFT_ADDRESS_SIZE = 270, /* with the NUL; as UNITS_ADDRESS_SIZE */
    RAFT_PAYLOAD_MAX =
        1536 * 1024 + 4096, /* bytes of one payload: a request (contract) and its frame */
};

enum raft_entry_type {
    RAFT_ENTRY_NOOP = 1,       /* first entry of each leader; no payload */
    RAFT_ENTRY_MEMBERSHIP = 2, /* payload: membership_encode() */
    RAFT_ENTRY_COMMAND = 3,    /* payload: opaque to the core, applied by the state */
};

struct raft_entry {
    raft_index index;
    raft_term term;
    uint64_t
        chain; /* hash of the chain before and this entry: equal chains, equal logs up to here */
    enum raft_entry_type type;
    struct blob *data; /* one reference owned by this struct; NULL when empty */
};

/* A point in the log that was committed, and what held there: a log can begin after it, a state can
 * be as of it, a snapshot is one. */
struct raft_point {
    raft_index index;            /* 0: before the first entry */
    raft_term term;              /* of the entry there */
    uint64_t chain;              /* after it */
    raft_index membership_index; /* of the newest membership entry up to it; 0: none */
    struct blob *membership;     /* membership_encode() of that; one reference owned; NULL: none */
};

static inline void raft_point_done(struct raft_point *p) /* gives the reference back */
{
    blob_unref(p->membership);
    *p = (struct raft_point){0};
}

/* The chain value of `entry`, given that of the entry before it (0 before the first). Stable: on
 * disk. */
uint64_t raft_chain_after(uint64_t chain_before, const struct raft_entry *entry);

/* ---- Membership (thesis section 4) ---- */

enum raft_role { RAFT_LEARNER = 1, RAFT_VOTER = 2 };

struct raft_member {
    raft_id id;
    enum raft_role role;
    bool auto_promote;  /* a learner that becomes a voter by itself once caught up */
    struct uuid store;  /* the data directory this id is bound to */
    raft_index session; /* index of the entry that added it: tells an earlier life from this one */
    char address[RAFT_ADDRESS_SIZE]; /* host:port others dial */
};

struct raft_tombstone { /* a removed member: its store never takes part again */
    raft_id id;
    struct uuid store;
    raft_index index; /* of the entry that removed it */
};

struct raft_membership {
    raft_index index; /* of the entry that holds it; 0: none yet. Not part of the encoding. */
    uint32_t members_count;
    uint32_t tombstones_count;
    struct raft_member members[RAFT_MEMBERS_MAX]; /* by ascending id */
    struct raft_tombstone tombstones[RAFT_TOMBSTONES_MAX];
};

/* One wish to change it, one server at a time (thesis 4.1). */
enum raft_change_kind {
    RAFT_CHANGE_ADD = 1, /* always as a learner (thesis 4.2.1) */
    RAFT_CHANGE_PROMOTE, /* learner to voter */
    RAFT_CHANGE_DEMOTE,  /* voter to learner, and it stays one */
    RAFT_CHANGE_REMOVE,
    RAFT_CHANGE_COUNT,
};

struct raft_change {
    enum raft_change_kind kind;
    raft_id id;
    bool force; /* PROMOTE: although it has not caught up. DEMOTE, REMOVE: although too few voters
                        * are left that answer */
    bool auto_promote;               /* ADD: becomes a voter once it has caught up */
    struct uuid store;               /* ADD */
    char address[RAFT_ADDRESS_SIZE]; /* ADD */
};

/* A sentence with numbers: static text in which each # stands for the next number. */
enum { RAFT_REASON_NUMBERS = 3 };
struct raft_reason {
    const char *text; /* NULL: none */
    uint64_t numbers[RAFT_REASON_NUMBERS];
};

/* The code, and why. */
static inline int raft_refuse(struct raft_reason *why, int code, const char *text, uint64_t a,
                              uint64_t b, uint64_t c)
{
    *why = (struct raft_reason){.text = text, .numbers = {a, b, c}};
    return code;
}

/* ---- Messages ---- */

enum raft_msg_type {
    RAFT_MSG_PRE_VOTE = 1,
    RAFT_MSG_PRE_VOTE_REPLY = 2,
    RAFT_MSG_VOTE = 3,
    RAFT_MSG_VOTE_REPLY = 4,
    RAFT_MSG_APPEND = 5, /* without entries it is the heartbeat */
    RAFT_MSG_APPEND_REPLY = 6,
    RAFT_MSG_READ_INDEX = 7, /* a follower asks for a read index */
    RAFT_MSG_READ_INDEX_REPLY = 8,
    RAFT_MSG_TIMEOUT_NOW = 9, /* the leader asks a voter to stand for election (thesis 3.10) */
    RAFT_MSG_TIMEOUT_NOW_REPLY = 10,
    RAFT_MSG_SNAPSHOT = 11, /* a piece of a snapshot (thesis 5.3, InstallSnapshot) */
    RAFT_MSG_SNAPSHOT_REPLY = 12,
    RAFT_MSG_CLAIMS_LEFT = 13, /* after TimeoutNow: some of the claims it told of are gone */
    RAFT_MSG_TYPE_COUNT,
};

/* Why a TimeoutNow is declined; travels as `hint`. */
enum raft_decline {
    RAFT_DECLINE_NONE = 0,
    RAFT_DECLINE_NO_VOTER = 1,
    RAFT_DECLINE_SHORT_LOG = 2,
    RAFT_DECLINE_DISK = 3,
    RAFT_DECLINE_RETIRING = 4, /* it is about to stop */
    RAFT_DECLINE_COUNT,
};

/* One message. Which fields count for which type:
 *
 *               term          index          log_term       other
 *   PRE_VOTE    the next term last log index last log term
 *   VOTE        the new term  last log index last log term  transfer
 *   *_REPLY     voter's term                                reject, transfer echoed as asked
 *   APPEND      leader's term prev index     prev term      chain at prev, commit, entries,
 *                                                           hint (durable at the leader)
 *   APPEND_REPLY sender's     match; when rejected: the     reject, hint (where to try next),
 *                             refused prev index            log_term (term at hint)
 *   READ_INDEX  follower's                                  seq identifies the request
 *   ..._REPLY   leader's      the read index                reject: not the leader, ask again
 *   TIMEOUT_NOW leader's      last log index last log term  hold_ms
 *   ..._REPLY   target's      its last index its last term  reject, hint (enum raft_decline)
 *   CLAIMS_LEFT of the leadership that was given up         seq of its TIMEOUT_NOW, hold_ms
 *   SNAPSHOT    leader's      of the snapshot, its term     offset, data, done: the last piece
 *   ..._REPLY   receiver's    of the snapshot               offset: bytes it has. done: it is
 *                                                           durable. reject: begin again
 *
 * A granted PRE_VOTE_REPLY carries the term that was asked for; a refused one the voter's own,
 * which the loser adopts (else a higher term with a shorter log could block everybody). */
struct raft_msg {
    enum raft_msg_type type;
    struct uuid cluster;
    raft_id from;
    raft_id to;
    raft_term term;
    uint64_t seq;       /* counts up per sender and term; a reply echoes it */
    mono_ms stamp;      /* sender's clock when it sent; a reply echoes it: leases count from here */
    raft_index session; /* the receiver's session; a reply echoes it */
    raft_index index;
    raft_term log_term;
    uint64_t chain;
    raft_index commit;
    raft_index hint;
    uint64_t offset; /* bytes of the snapshot before this piece, or received */
    bool done;
    bool reject;
    bool transfer; /* asked for by the leader itself: voters set stickiness aside (thesis 4.2.3) */
    uint32_t
        hold_ms; /* claims handed out by the sender may live that long on the receiver's clock */
    struct raft_entry *entries; /* owned, with one reference per payload; NULL when none */
    uint32_t entries_count;
    struct blob *data; /* SNAPSHOT: the piece; one reference owned */
};

/* Free what the message owns. */
void raft_msg_done(struct raft_msg *m);

#endif
