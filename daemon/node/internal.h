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
    NODE_CHANGES_MAX = 64,                  /* clients' changes open on this node */
    NODE_TASKS_MAX = 128,                   /* changes this leader works on */
    NODE_DIAL_RETRY_MS =
        1000,                /* for so long a new server that refuses connections is tried again */
    NODE_DIAL_MAX_MS = 3500, /* and for so long one that does not answer */
    NODE_TELL_PROGRESS_MS = 200,
    NODE_TASK_KEEP_TIMEOUTS = 10, /* for so many election timeouts a last word is remembered */
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

/* A client's change: handed to the leader of the day until it is done (changes.c). */
struct node_change_slot {
    uint64_t token;
    mono_ms deadline;
    struct peer_change change; /* as it is asked */
    raft_id replaced_by;       /* a replacement in its second half: who was added; 0: none */
    raft_id asked;             /* the leader that was asked last; 0: nobody, or it said no */
    raft_term asked_term;
    bool was_asked;    /* it may have begun */
    bool begun;        /* it has, said a leader */
    bool asked_others; /* of an earlier leader, too, whose answer never came or was no answer */
    mono_ms retry_at;  /* when to ask again */
    raft_id ends;      /* TRANSFER: whose leadership is to end: who was asked first */
    mono_ms over_at; /* TRANSFER: another leads, its answer is waited for until then; 0: not yet */
    struct peer_change_reply told; /* how far it was, by the last answer */
};

/* A change that this node, as the leader, works on for a member (tasks.c). */
enum node_task_state {
    NODE_TASK_NEW,
    NODE_TASK_DIALLING, /* the new server */
    NODE_TASK_BEGUN,    /* entry appended, or hand-over begun */
    NODE_TASK_OVER,     /* `told` is the last word */
};

struct node_task {
    raft_id origin;
    struct peer_change change;
    enum node_task_state state;
    raft_term leads_in;  /* the term in which this node was asked */
    mono_ms alive_until; /* the origin asks again before */
    mono_ms retry_at;    /* when to look at it again, whatever happens; UINT64_MAX: never */
    mono_ms dial_since;
    bool hands_over;               /* its member leads: to be done by the successor */
    struct peer_change_reply told; /* last */
    mono_ms told_at;
};

/* A hand-over of this node's leadership (handover.c). */
enum node_handover_phase {
    NODE_HANDOVER_NONE,
    NODE_HANDOVER_UNDER_WAY, /* the core is at it */
    NODE_HANDOVER_GIVEN,     /* leadership is given up, the successor has not committed yet */
};

struct node_handover {
    enum node_handover_phase phase;
    raft_term term; /* the leadership that ends */
    raft_id target;
    mono_ms held_since; /* writes wait since; 0: not yet */
    mono_ms given_until;
};

struct node_segment { /* applied entries that follow each other in the log */
    raft_index last;
    uint64_t entries, bytes;
};

struct node_trim {                 /* what stays in the log (trim.c) */
    struct node_segment *segments; /* a ring, oldest first */
    uint32_t head, count, capacity;
    uint64_t entries, bytes; /* of all of them */
};

enum { NODE_PIECES_MAX = 8 }; /* of one snapshot, on their way */

struct node_piece {
    uint64_t offset;
    bool done;
    mono_ms sent_at;   /* last */
    struct blob *data; /* one reference */
};

struct node_outgoing { /* a snapshot for a member (outgoing.c) */
    raft_id to;
    bool begun;
    bool all_sent;
    void *snapshot; /* of the source; NULL: all of it is read */
    struct node_mark mark;
    uint64_t sent, acked; /* bytes */
    uint64_t
        suspect; /* pieces before this offset were on their way when one before was not there */
    mono_ms patience_ms; /* without progress, until that is to be believed */
    struct node_piece pieces[NODE_PIECES_MAX];
    uint32_t count;
    mono_ms began, moved; /* moved: last progress */
    mono_ms repeated;     /* a piece was sent again, or need not be */
    mono_ms again_at;     /* not begun: not before */
    uint32_t refused;     /* so often, as a whole */
};

struct node_incoming { /* a snapshot for us (incoming.c) */
    enum {
        NODE_INCOMING_NONE,
        NODE_INCOMING_RECEIVING,
        NODE_INCOMING_WHOLE,   /* and as it should be */
        NODE_INCOMING_WRITING, /* its rows are in the hands of the disk */
    } phase;
    struct raft_msg last; /* header of the last piece */
    struct node_mark mark;
    uint64_t received; /* bytes */
    struct state *state;
    struct state_rows rows;
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
    bool up;                        /* our link to it is */
    char linked[RAFT_ADDRESS_SIZE]; /* where that goes */
    mono_ms heard;                  /* its last Raft message; 0: none */
    struct peer_memory seen;        /* what the data directory of its hello has promised us */
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
    raft_index dispatch_session; /* and as which member we did that; 0: as none */
    raft_index session;  /* ours, as of the last write that was handed to a leader; 0: none yet */
    uint64_t open_bytes; /* proposed by us in open_term and not applied yet */
    raft_term open_term;
    uint64_t log_used, log_limit; /* see node_set_log_use() */
    struct node_room room;
    struct buf scratch;

    /* Reads */
    struct node_read_slot *reads;
    uint32_t reads_count, reads_capacity;
    uint64_t read_round;
    mono_ms reads_alarm;
    raft_id reads_leader; /* whom the reads under way were asked of, in which term */
    raft_term reads_term;

    /* The members' progress, as the leader tells it */
    struct node_ask_slot *asks;
    uint32_t asks_count, asks_capacity;
    uint64_t ask_round;        /* seq of the last question */
    struct peer_progress told; /* the last answer */
    raft_id told_by;           /* 0: there is none, or it is too old */
    mono_ms told_at;

    /* Changes of the membership and of the leader */
    struct node_change_slot *changes;
    uint32_t changes_count, changes_capacity;
    uint64_t change_seq; /* of the last one */
    struct node_task *tasks;
    uint32_t tasks_count, tasks_capacity;
    struct node_handover handover;
    bool retiring;
    mono_ms retire_deadline;
    mono_ms retire_retry_at;
    int retire_refused; /* why no hand-over began when it last tried; 0: one did, or none was tried */
    mono_ms room_handover_at; /* no hand-over for want of room before */
    raft_index removed_at; /* a member proved that we were removed, by this entry; 0: nobody did */

    uint64_t bootstrap_token; /* 0: nobody waits */
    mono_ms bootstrap_deadline;

    struct node_refusal *refusals; /* NODE_REFUSALS_MAX, oldest first; NULL before the first */
    uint32_t refusals_count;
    struct node_peer *peers;
    uint32_t peers_count, peers_capacity;

    /* The state's rows, written behind */
    struct state_rows rows;  /* since the flush in hand, or the last one */
    struct node_flush flush; /* in hand */
    bool flushing;
    uint64_t rows_limit; /* bytes of rows beyond which what is superseded is dropped */
    raft_index flushed;  /* as of which entry the rows on disk are; 0: none are */
    struct node_trim trim;
    struct node_source source;
    struct node_outgoing *outgoing;
    uint32_t outgoing_count, outgoing_capacity;
    struct node_incoming incoming;

    struct node_public seen; /* as of the last turn */
    mono_ms led_at;          /* the last turn in which this node led; 0: none */
    uint64_t hello_mark;     /* hash of what our hello says */
    uint64_t targets_mark;   /* hash of whom we keep links to */
    uint64_t peers_mark;     /* counts what others told */
    uint64_t greetings;      /* counts whom we met again as another process */
    struct raft_view found;  /* what our data directory held when this process began */
};

/* node.c */
void node_step(struct node *n,
               const struct raft_event *event); /* steps the core, sorts the effects */
struct node_answer *node_answer_add(struct node *n, uint64_t token, int code);
struct peer_msg *node_send_new(struct node *n, raft_id to); /* leaves at the end of the turn */
raft_id node_known_leader(const struct node *n, mono_ms now);
void node_refuse(struct node *n, uint64_t token, int code, const char *message);
void node_fail(struct node *n, int code, const char *why); /* the process has to stop */
/* The membership entry for this very data directory, or NULL: an earlier one of our id is somebody
 * else. Borrowed. */
const struct raft_member *node_self(const struct node *n);
/* As its own log says, as far as that is known to be committed, or a member's proof. What is not
 * committed may never happen. */
bool node_is_removed(const struct node *n);
extern const char node_removed_text[]; /* what it answers then */
/* Can a request be handed to whoever leads: somebody does, and there is a link to it, or we do? */
bool node_leader_is_reachable(const struct node *n, const struct raft_view *view);
void node_reason_text(struct node *n, const struct raft_reason *reason, char *text, size_t size);

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
/* This node was removed. `applied`: its own state is as of that entry, so what is open was not applied
 * and never will be. Else that is sure only of what was handed to nobody. */
void writes_removed(struct node *n, bool applied);
mono_ms writes_deadline(const struct node *n);

/* output.c */
/* A message of the core's, which goes on here: it may leave now, or with the batch that makes it true:
 * the next one when something waits to be handed over, else the one on its way (trap 43). */
void output_message(struct node *n, struct raft_out *o);
void output_batch_left(struct node *n); /* all that was gathered waits for this one now */
void output_release(struct node *n);    /* and that is durable */
void output_free(struct node *n);

/* apply.c */
bool apply_is_behind(const struct node *n);
void apply_turn(struct node *n);

/* behind.c */
struct state_rows *
behind_rows(struct node *n); /* where changes of the state gather; NULL: nowhere */
void behind_free(struct node *n);

/* trim.c */
void trim_count(struct node *n, const struct raft_entry *e); /* it was applied */
void trim_forget_after(struct node *n, raft_index index);    /* those after it were not */
void trim_forget(struct node *n);                            /* all of them */
void trim_turn(struct node *n);
void trim_free(struct node *n);

/* outgoing.c */
void outgoing_turn(struct node *n);
void outgoing_answered(struct node *n, const struct raft_msg *m);
void outgoing_lost(struct node *n, raft_id peer); /* what was sent there may not have arrived */
mono_ms outgoing_deadline(const struct node *n);
void outgoing_free(struct node *n);

/* incoming.c */
void incoming_take(struct node *n, const struct raft_msg *m); /* a piece that is wanted */
void incoming_turn(struct node *n);
bool incoming_is_whole(const struct node *n);   /* it waits to be written */
bool incoming_is_written(const struct node *n); /* right now: nothing else may be applied */
void incoming_flush(struct node *n, struct node_flush *flush);
void incoming_written(struct node *n);
void incoming_failed(struct node *n);
void incoming_free(struct node *n);

/* reads.c */
void reads_ask(struct node *n);
void reads_removed(struct node *n); /* as writes_removed() */
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

/* changes.c: the side of the client's node */
bool change_is_sound(const struct peer_change *c); /* whoever asks for it: can it be meant? */
void changes_turn(struct node *n);
void changes_on_reply(struct node *n, raft_id from, const struct peer_change_reply *reply);
void changes_lost(struct node *n, raft_id peer); /* what was asked there may not have arrived */
bool changes_cancel(struct node *n, uint64_t token);
void changes_done(struct node *n);
mono_ms changes_deadline(const struct node *n);

/* tasks.c: the leader's side */
void tasks_on_ask(struct node *n, raft_id from, const struct peer_change *change);
void tasks_turn(struct node *n);
/* An attempt to reach this peer came to nothing. */
void tasks_unreachable(struct node *n, raft_id peer, int code, const char *why);
/* The hand-over this leader was asked for is over. code 0: `to` leads in `term`. */
void tasks_handed_over(struct node *n, int code, raft_id to, raft_term term, const char *why);
/* A server that is dialled because it is to be added; false: there are not that many. */
bool tasks_candidate(const struct node *n, uint32_t number, raft_id *id, const char **address);
void tasks_done(struct node *n);
mono_ms tasks_deadline(const struct node *n);

/* handover.c */
/* Begin a hand-over, or join the one to this target. 0, or the refusal, in words in `why`. */
int handover_begin(struct node *n, raft_id target, char *why, size_t why_size);
void handover_disk_stalled(struct node *n); /* the core may have begun one */
void handover_ended(struct node *n, int code, const struct raft_reason *why); /* says the core */
void handover_retire_turn(struct node *n); /* before the core is flushed */
void handover_room_turn(struct node *n);   /* likewise */
/* Is leadership about to go to a voter with room? Then what grows can wait for that. */
bool handover_finds_room(const struct node *n);
void handover_turn(struct node *n); /* and after */
mono_ms handover_deadline(const struct node *n);

/* refusals.c */
void refusals_forget(struct node *n, raft_id peer); /* it accepts us, or we can talk again */
/* The oldest refusal as a clause after `before`; false, and `text` untouched: nobody refuses us. */
bool refusals_reason(const struct node *n, const char *before, char *text, size_t size);
void refusals_free(struct node *n);

/* formation.c */
void formation_init(struct node *n);
void formation_turn(struct node *n);
void bootstrap_turn(struct node *n);
bool bootstrap_cancel(struct node *n, uint64_t token);
mono_ms bootstrap_deadline(const struct node *n);
/* Why this node is in no cluster: who refuses it, whom it waits for, or what to do. */
void formation_reason(const struct node *n, char *text, size_t size);
void formation_refuse(struct node *n, uint64_t token); /* a request, for that reason */

/* reach.c */
void reach_heard(struct node *n, raft_id from);
/* Answer a request that nobody took: no_quorum or no_leader, with the numbers. */
void reach_refuse(struct node *n, uint64_t token, const char *consequence);

/* memory.c: what others promised us, and what we did */
/* Did a process say this whose place another has taken? */
bool memory_is_late(const struct node *n, raft_id from, const struct peer_msg *msg);
void memory_note(struct node *n, const struct raft_msg *m); /* before it is acted on */
/* Another process, or another data directory, shows up under its id. */
void memory_meet(struct node *n, struct node_peer *peer, const struct peer_hello *hello);
void memory_tell(const struct node *n, struct peer_binding *binding); /* in our hello */
/* Does the sender remember promises of ours that our data directory did not hold? Then we stop. */
void memory_judge(struct node *n, const struct peer_hello *hello);

/* hello.c */
struct node_peer *hello_peer(const struct node *n, raft_id id);
/* What its membership says of this id, or NULL. Borrowed. */
const struct peer_binding *hello_binding(const struct peer_hello *hello, raft_id id);
/* Does it know us, with this data directory, as a member? */
bool hello_names_us(const struct node *n, const struct peer_hello *hello);
void hello_link_down(struct node *n, raft_id id);
void hello_update_lease_base(struct node *n);
uint64_t hello_mark(const struct node *n);
/* Has whom we keep links to changed? Then links that are not wanted any more count as down. */
bool hello_review_targets(struct node *n);

#endif
