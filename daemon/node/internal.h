/* internal.h - what the files of the node share. Not for other rooms. */
#ifndef RAFTD_NODE_INTERNAL_H
#define RAFTD_NODE_INTERNAL_H

#include "base/check.h"
#include "base/err.h"
#include "node/node.h"
#include "raft/membership.h"

enum {
    NODE_READS_MAX = 4096,
    NODE_REFUSALS_MAX = RAFT_MEMBERS_MAX + RAFT_VOTERS_MAX,
    NODE_HELD_BYTES_MAX = 64 * 1024 * 1024, /* of clients' writes that wait for an answer */
    NODE_PARKED_MAX = 4096,                 /* messages that wait for one batch */
    NODE_OPEN_BYTES_MAX = 32 * 1024 * 1024, /* proposed by this leader and not applied yet */
};

/* A client's write: open until it is answered or nobody waits for it. */
struct node_write_slot {
    bool open;
    uint64_t token;
    uint64_t seq;
    struct blob *txn;
    mono_ms deadline;
    raft_id sent_to; /* leader it was handed to last; 0: to nobody yet, or refused */
    raft_term sent_term;
    mono_ms resend_at;     /* forwarded: when to try again */
    uint32_t resend_after; /* the wait that led there, milliseconds */
    uint32_t handed;       /* attempts whose fate is open: 0 means it surely was not applied */
};

enum node_read_state { NODE_READ_NEW, NODE_READ_ASKED, NODE_READ_READY };

struct node_read_slot {
    uint64_t token;
    mono_ms deadline;
    enum node_read_state state;
    uint64_t round;   /* ASKED: token of the core's read */
    mono_ms retry_at; /* when to ask again */
    raft_index index; /* READY: serve once applied */
};

struct node_ask_slot { /* wants the members' progress */
    uint64_t token;
    mono_ms deadline;
    raft_id asked;  /* who was asked; 0: nobody yet */
    uint64_t round; /* seq of the first question to it: an answer to that or a later one is fresh */
    mono_ms retry_at; /* when to ask again */
};

struct node_refusal { /* who would not talk to us */
    raft_id peer;
    int code;
    char why[PEER_WHY_SIZE];
};

struct node_peer { /* what a hello told us */
    struct peer_hello hello;
    bool up;
    mono_ms heard; /* its last Raft message; 0: none */
};

struct node_sends {
    struct node_send *items;
    uint32_t count, capacity;
};

struct node {
    struct node_config config;
    struct raft *raft;
    struct state *state;
    struct raft_effects fx;
    struct node_out out;
    struct uuid fresh_cluster;
    char member_list[PEER_MEMBER_LIST_SIZE];

    mono_ms now;
    uint64_t wall_ms;
    mono_ms wake_by; /* when the last turn wanted to be woken; UINT64_MAX: never */

    /* Saving */
    struct node_batch batch;
    uint64_t batch_seq;
    bool batch_in_flight;
    struct node_sends parked;    /* leave when the batch in flight is durable */
    struct node_sends gathering; /* leave with the batch after it */

    /* Writes: a ring by seq */
    struct node_write_slot *writes;
    uint64_t next_seq; /* of the next write */
    uint64_t floor;    /* lowest open seq, or next_seq */
    uint32_t writes_open;
    uint64_t held_bytes;
    mono_ms writes_alarm;    /* no deadline or repetition is due before; UINT64_MAX: none */
    raft_id dispatch_leader; /* leader and term the open writes were handed to */
    raft_term dispatch_term;
    uint64_t open_bytes; /* proposed by us in open_term and not applied yet */
    raft_term open_term;
    uint64_t log_used, log_limit; /* see node_set_log_use() */
    struct buf scratch;

    /* Reads */
    struct node_read_slot *reads;
    uint32_t reads_count, reads_capacity;
    uint64_t read_round;
    mono_ms reads_alarm;

    /* The members' progress, as the leader tells it */
    struct node_ask_slot *asks;
    uint32_t asks_count, asks_capacity;
    uint64_t ask_round;        /* seq of the last question */
    struct peer_progress told; /* the last answer */
    raft_id told_by;           /* 0: there is none, or it is too old */
    mono_ms told_at;

    uint64_t bootstrap_token; /* 0: nobody waits */
    mono_ms bootstrap_deadline;

    struct node_refusal *refusals; /* NODE_REFUSALS_MAX, oldest first; NULL before the first */
    uint32_t refusals_count;
    struct node_peer *peers;
    uint32_t peers_count, peers_capacity;

    struct node_public seen; /* as of the last turn */
    uint64_t hello_mark;     /* hash of what our hello says */
};

/* node.c */
void node_step(struct node *n,
               const struct raft_event *event); /* steps the core, sorts the effects */
struct node_answer *node_answer_add(struct node *n, uint64_t token, int code);
struct peer_msg *node_send_new(struct node *n, raft_id to); /* leaves at the end of the turn */
raft_id node_known_leader(const struct node *n, mono_ms now);

/* writes.c */
void writes_init(struct node *n);
void writes_done(struct node *n);
void writes_turn(struct node *n);
void writes_applied(struct node *n, const struct raft_entry *e, const struct state_command *c,
                    const struct state_result *result);
void writes_on_forward(struct node *n, raft_id from, struct peer_forward *f);
void writes_on_reply(struct node *n, raft_id from, const struct peer_forward_reply *reply);
void writes_lost(struct node *n, raft_id peer); /* what was forwarded there may not have arrived */
bool writes_cancel(struct node *n, uint64_t token);
mono_ms writes_deadline(const struct node *n);

/* reads.c */
void reads_ask(struct node *n);
void reads_on_index(struct node *n, const struct raft_read *read);
void reads_serve(struct node *n);
bool reads_cancel(struct node *n, uint64_t token);
mono_ms reads_deadline(const struct node *n);

/* progress.c */
void progress_on_ask(struct node *n, raft_id from, const struct peer_progress_ask *ask);
void progress_on_answer(struct node *n, raft_id from, const struct peer_progress *p);
void progress_turn(struct node *n);
void progress_lost(struct node *n, raft_id peer); /* what was sent there may not have arrived */
bool progress_cancel(struct node *n, uint64_t token);
void progress_free(struct node *n);
mono_ms progress_deadline(const struct node *n);

/* refusals.c */
void refusals_forget(struct node *n, raft_id peer); /* it accepts us, or we can talk again */
/* The oldest refusal as a clause after `before`; false, and `text` untouched: nobody refuses us. */
bool refusals_reason(const struct node *n, const char *before, char *text, size_t size);
void refusals_free(struct node *n);

/* formation.c */
void formation_init(struct node *n);
void formation_turn(struct node *n);
void formation_reason(const struct node *n, char *text, size_t size);

/* reach.c */
void reach_heard(struct node *n, raft_id from);
/* Answer a request that nobody took: no_quorum or no_leader, with the numbers. */
void reach_refuse(struct node *n, uint64_t token, const char *consequence);

/* hello.c */
struct node_peer *hello_peer(const struct node *n, raft_id id);
void hello_link_down(struct node *n, raft_id id);
void hello_update_lease_base(struct node *n);
uint64_t hello_mark(const struct node *n);

#endif
