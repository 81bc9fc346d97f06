/* sim.h - a deterministic simulator of whole nodes: virtual time, network, disks and clients.
 *
 * One seed decides everything: the cluster, the knobs, the faults, the clients. The nodes are the
 * product's own (daemon/node); what the simulator replaces is clocks, sockets and disks. After
 * every step it checks the invariants of the design (check.c, model.c); the first one that does not
 * hold ends the process with the seed, the time and the node.
 *
 * Time is in microseconds of the simulated world ("true" time); each host's own clock runs at its
 * own rate from its own offset. Threads: one simulation, one thread. */
#ifndef RAFTD_TESTS_SIM_SIM_H
#define RAFTD_TESTS_SIM_SIM_H

#include "base/prng.h"
#include "msgs.h"
#include "node/node.h"
#include "raftd/holders.h"
#include "vdisk.h"

enum {
    SIM_HOSTS_MAX = 7,
    SIM_KEYS = 6, /* "k0".. ; the last one takes the marks of deletions */
    SIM_CLIENTS_MAX = 8,
    SIM_OPEN_MAX = 64,
    SIM_RESTLESS_MAX = 3000, /* turns at once: more than there are entries to apply */
    SIM_TERMS_MAX = 4096,    /* a run that gets this far campaigns without bounds */
    SIM_STORES_MAX = 6,      /* data directories one host has had */
    SIM_EXECS = 2,           /* beside each host */
};
#define SIM_NEVER UINT64_MAX

typedef uint64_t sim_us;

/* ---- Events: what happens, when ---- */

enum sim_event_type {
    SIM_EV_WAKE = 1,  /* a host's deadline */
    SIM_EV_MESSAGE,   /* arrives at `host` from `peer` */
    SIM_EV_HELLO,     /* a changed hello arrives */
    SIM_EV_LINK_DOWN, /* `host` learns that its link to `peer` is gone */
    SIM_EV_REFUSAL,   /* `host` hears that `peer` refuses its hello, or the other way round */
    SIM_EV_FAILED,    /* `host` did not reach `peer`; `number` is the error */
    SIM_EV_WRITTEN,   /* the save in flight reached the disk */
    SIM_EV_PERSISTED, /* and the host hears of it */
    SIM_EV_FLUSHED,   /* the state's rows are durable */
    SIM_EV_STALL,     /* the save in flight takes too long */
    SIM_EV_RESTART,
    SIM_EV_CLIENT, /* client `number` acts */
    SIM_EV_CANCEL, /* the client of operation `number` goes away */
    SIM_EV_LINKS,  /* look after the links */
    SIM_EV_NEMESIS,
    SIM_EV_STRIKE,   /* `host` is killed, and is back soon */
    SIM_EV_HEAL,     /* a partition ends */
    SIM_EV_CALM,     /* a burst of loss or delay ends */
    SIM_EV_OPERATOR, /* asks for a change of the membership or of the leader */
    SIM_EV_SIDECAR,  /* asks a host whether it leads */
    SIM_EV_EXEC,     /* number `number` beside `host` acts */
    SIM_EV_AIM,      /* something happens to who is concerned by a change: `host` */
};

struct sim_event {
    sim_us at;
    uint64_t order; /* ties: first in, first out */
    enum sim_event_type type;
    uint8_t host, peer;
    uint64_t life; /* of the host, where the event belongs to one life; 0: any */
    uint64_t number;
    const struct sim_store *store; /* of the host, where the event belongs to one; NULL: any */
    const struct sim_store *from;  /* MESSAGE: the sender's when it sent */
    uint64_t process;              /* and which process it was */
    raft_index durable;            /* and what its log had durably */
    union {
        struct peer_msg *msg;
        struct peer_hello *hello;
        struct peer_refusal *refusal;
    };
};

struct sim_heap {
    struct sim_event *events;
    uint32_t count, capacity;
    uint64_t order;
};

/* ---- Hosts ---- */

enum sim_crash { /* at which effect boundary the next crash comes */
                 SIM_CRASH_NONE,
                 SIM_CRASH_AT_OUTPUT,   /* some of the turn's messages and answers left, perhaps its
                                           save */
                 SIM_CRASH_BEFORE_SAVE, /* a save was to be written */
                 SIM_CRASH_WRITTEN,     /* saved, but the node has not heard of it */
                 SIM_CRASH_AT_PERSISTED, /* the node heard of it, what depended on it did not leave
                                          */
};

struct sim_rows { /* the state's rows in it */
    struct sim_row *items;
    uint32_t count, capacity;
    struct node_mark mark; /* index 0: nothing was flushed */
};

struct sim_store { /* a data directory */
    struct uuid id;
    struct vdisk disk;
    struct sim_rows rows;
    uint64_t incarnation; /* counts the starts of a process on it */
    raft_id *votes;       /* by term: whom it voted for, as far as that left the host */
    bool gone;            /* it never comes back */
};

/* What a data directory has promised, as far as one host was told in this life of it. */
struct sim_promise {
    const struct sim_store *store;
    raft_term term;
    raft_index index;
    bool voted;
};

/* A membership, as the model keeps it: by host. */
struct sim_members {
    raft_index index; /* 0: none */
    raft_term term;
    uint32_t voters;
    struct {
        enum raft_role role; /* 0: no member */
        bool auto_promote;
        raft_index session;
        const struct sim_store *store;
    } of[SIM_HOSTS_MAX];
    sim_us over_at; /* when a later one was committed; SIM_NEVER: not yet */
};

/* A program that runs a child while its host leads: it holds claims, and tells when the child is gone. */
struct sim_exec {
    enum {
        SIM_EXEC_ASKS,
        SIM_EXEC_RUNS,
        SIM_EXEC_STOPS, /* it has lost its claim: the child is on its way out */
    } phase;
    uint64_t client; /* its connection */
    sim_us until;    /* its child acts no longer than this; true time; 0: there is none */
};

struct sim_host {
    struct sim *sim;
    raft_id id;        /* index + 1 */
    uint64_t life;     /* counts starts, from 1 */
    uint64_t process;  /* as its hello says */
    struct node *node; /* NULL: down */
    struct sim_store stores[SIM_STORES_MAX];
    uint32_t stores_count;
    struct sim_store *store;                /* the one in use */
    struct sim_store copy;                  /* of an earlier state of one of them: */
    const struct sim_store *copy_of;        /* NULL: there is none */
    struct sim_promise told[SIM_HOSTS_MAX]; /* by whom: what it heard in this life */
    bool founder_listed;
    bool bootstraps;
    bool retiring;
    mono_ms retire_deadline; /* its clock */

    double rate;     /* of its clock; 1 is true */
    uint64_t offset; /* its clock in us at true time `clock_base` */
    sim_us clock_base;
    sim_us wake_at;         /* of the pending SIM_EV_WAKE */
    uint32_t restless;      /* turns in a row after which it wanted another at once */
    raft_index restless_at; /* applied then */
    sim_us paused_until;
    sim_us stall_until; /* the disk does not finish before */
    enum sim_crash crash;
    sim_us restart_in;

    const struct node_batch *batch; /* in flight */
    bool batch_written;
    const struct node_flush *flush; /* of the state, in flight */
    bool stalled;
    bool low; /* its disk has no room for growth; over all lives */
    /* What the node was told is durable: the measure for what may leave. */
    raft_term told_term;
    raft_id told_vote;
    raft_index told_last;
    raft_index told_state; /* of a snapshot that is installed */

    /* As of the last check in this life. */
    struct raft_view view;
    raft_index applied;
    raft_index taken_last; /* last entry of the last save taken while leading in taken_term */
    raft_term taken_term;
    struct sim_members force; /* its membership in force */
    sim_us claim_until;       /* of claims that can only lapse; true time, over all lives */
    struct sim_exec execs[SIM_EXECS];
    struct holders holders; /* as its process counts them */
    uint64_t clients;       /* that have connected */
    bool knew_removed;
    sim_us spoke_at; /* when it sent something last */
    uint64_t hello_version;
    bool probing;   /* a write of the recovery is open */
    bool recovered; /* a write through this host succeeded after the faults */
};

struct sim_link { /* from -> to, dialled by `from` */
    bool up;
    bool down_pending;      /* `from` has yet to hear that it is down: no dialling before */
    bool blocked;           /* packets do not pass */
    sim_us blocked_since;   /* of an up link in either direction; SIM_NEVER: not */
    uint64_t hello_version; /* the last hello of `from` that `to` has seen */
};

/* ---- Clients and the model ---- */

enum sim_op_kind {
    SIM_OP_GET,
    SIM_OP_PUT,
    SIM_OP_CAS,
    SIM_OP_DEL,
    SIM_OP_FENCED,
    SIM_OP_BOOT,
    SIM_OP_CHANGE
};
enum sim_op_state {
    SIM_OP_OPEN,
    SIM_OP_DONE,    /* answered with its result */
    SIM_OP_REFUSED, /* answered: never takes effect */
    SIM_OP_UNKNOWN, /* answered so, cancelled, or its host crashed */
};

enum sim_by {                    /* who asks, when it is not one of the clients */
              SIM_BY_PROBE = -1, /* of the recovery */
              SIM_BY_OPERATOR = -2,
              SIM_BY_FINAL = -3,  /* one of the last changes, which have to succeed */
              SIM_BY_REPAIR = -4, /* a member without its data is removed */
};

struct sim_op {
    enum sim_op_kind kind;
    enum sim_op_state state;
    uint8_t host, key;
    int8_t client; /* number, or enum sim_by */
    bool answered; /* or cancelled: no (other) answer may come */
    uint64_t life;
    mono_ms deadline; /* the host's clock */
    uint64_t expect;  /* CAS: mod revision; FENCED: term */
    raft_index floor; /* last index known to be complete when it was invoked */
    uint64_t floor_revision;
    /* What the model says, once committed: */
    raft_index applied_at; /* 0: not */
    int code;
    uint64_t revision;
    uint32_t change; /* number of it, of SIM_OP_CHANGE */
};

struct sim_change { /* a request of the operator */
    struct peer_change want;
    uint64_t op;
    sim_us asked_at;
    uint32_t committed_before; /* memberships */
    sim_us over_at;            /* answered; SIM_NEVER: not yet */
    bool may_act;   /* its outcome is open, or it was done: not refused in so many words */
    raft_index did; /* the only one that explains the membership entry at this index; 0: none */
};

struct sim_version { /* of one key */
    raft_index index;
    uint64_t op; /* whose value; SIM_NEVER: deleted */
    uint64_t mod, create, version;
};

struct sim_key {
    struct sim_version *versions;
    uint32_t count, capacity;
};

struct sim_commit { /* one committed entry, by index */
    raft_term term;
    raft_term committed_in; /* the term whose leader committed it */
    uint64_t chain;
    uint64_t revision; /* of the model after it */
    uint64_t digest;   /* of the first host that stood exactly there */
    bool digest_known;
};

struct sim_origin { /* requests of one member's process, as the model remembers them */
    uint64_t incarnation, floor;
    bool *applied; /* by seq */
    uint64_t capacity;
};

struct sim_slot { /* all entries ever saved at one index */
    struct {
        raft_term term;
        uint64_t chain;
    } * seen;
    uint32_t count;
};

struct sim_knobs {
    uint32_t hosts;
    uint32_t founders; /* of them, a mask */
    bool churn;        /* an operator changes the membership and the leader */
    sim_us operator_every;
    sim_us sidecar_every;
    uint32_t sidecars; /* ppm: of them that hold nothing, so that what they are told has to lapse */
    uint32_t timeout_ms;      /* T */
    uint32_t shorter;         /* ppm: of lives of a host that have a shorter one */
    bool bounded_clocks;      /* within 0.9..1.1: lease and read checks hold */
    bool notice;              /* links notice partitions, as TCP does in the end */
    bool wire;                /* messages pass through their encoding */
    bool batch_turns;         /* events that arrive together share a turn */
    bool faults_early;        /* faults do not wait for the cluster to form */
    uint32_t loss, dup, hold; /* per million, while not calm */
    sim_us delay_min, delay_max;
    sim_us disk_min, disk_max;
    uint64_t keep_entries, keep_bytes; /* of the log behind the applied index */
    uint64_t hold_bytes;               /* for who lags */
    uint32_t keep_apart;               /* ppm: a host that keeps all of it */
    uint32_t install_slow;  /* ppm: a snapshot that takes the disk several election timeouts */
    uint32_t install_crash; /* ppm: at each of the steps by which it is installed */
    uint32_t piece_bytes;   /* of a snapshot */
    uint32_t
        flush_chance;   /* ppm: of the state, at the end of a turn in which it could be; 0: never */
    sim_us stall_after; /* a save that takes longer is reported as a stalled disk */
    sim_us nemesis_every;
    sim_us faults_until;
    uint32_t faults; /* bit per enum in nemesis.c */
    uint32_t clients;
    sim_us think_max;
};

struct sim_stats {
    uint64_t events, turns, messages, crashes, elections, entries, ops_done, reads_done;
    uint64_t changes, handovers, claims, releases, shortened, wipes, refusals, restored, trims,
        snapshots;
};

struct sim {
    uint64_t seed;
    bool verbose;
    struct prng prng;
    sim_us now;
    struct sim_heap heap;
    struct sim_knobs knobs;
    struct sim_stats stats;
    struct node_config config; /* what all nodes share */
    bool recovering;
    bool burst;          /* loss and delay are turned up */
    bool hunt;           /* for overlapping leases, and nothing else */
    sim_us jitter_until; /* messages take unequal time */

    struct sim_host hosts[SIM_HOSTS_MAX];
    struct sim_link links[SIM_HOSTS_MAX][SIM_HOSTS_MAX]; /* [from][to] */

    /* clients */
    struct sim_op *ops;
    uint64_t ops_count, ops_capacity;
    uint64_t open[SIM_OPEN_MAX]; /* numbers of those without an answer */
    uint32_t open_count;
    raft_index floor; /* last index a client knows to be complete */
    uint64_t floor_revision;
    uint64_t key_revision[SIM_KEYS]; /* last mod revision any client saw */

    /* model and history */
    struct sim_commit *commits; /* [index - 1] */
    uint64_t commits_count, commits_capacity;
    struct sim_key keys[SIM_KEYS];
    uint64_t revision;
    struct sim_origin origins[SIM_HOSTS_MAX + 1];
    struct sim_slot *slots; /* [index] */
    uint64_t slots_count;
    raft_id leader_of[SIM_TERMS_MAX];
    bool handed_over[SIM_TERMS_MAX]; /* a TimeoutNow of this term left */

    /* operator.c, members.c, claims.c */
    struct sim_members *committed; /* memberships, in order */
    uint32_t committed_count, committed_capacity;
    struct sim_members *proposed; /* all that ever stood in a log */
    uint32_t proposed_count, proposed_capacity;
    struct sim_change *changes;
    uint32_t changes_count, changes_capacity;
    raft_term fence_told; /* the highest in a claim */
    uint32_t final_steps; /* changes that are left to prove that the cluster works */
    bool final_open;      /* one of them is under way */
};

/* ---- sim.c: the world ---- */

/* Run one seed to its end. A violation ends the process with status 1. */
void sim_run(uint64_t seed, bool verbose, struct sim_stats *total);

/* Something that must never happen did: print it with seed and time, and exit. host may be NULL. */
_Noreturn void sim_violation(struct sim *s, const struct sim_host *h, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* One line of the story, with --verbose only. */
void sim_trace(struct sim *s, const struct sim_host *h, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

struct sim_event *sim_push(struct sim *s, enum sim_event_type type, sim_us at, uint8_t host);
bool sim_chance(struct sim *s, uint32_t per_million);
uint64_t sim_range(struct sim *s, uint64_t low, uint64_t high);
sim_us sim_timeouts(const struct sim *s, double n); /* n times T */
/* The simulation of the moment, for the line a failed assertion prints. */
void sim_where(char *text, unsigned text_size);

/* ---- heap.c ---- */

struct sim_event *heap_push(struct sim_heap *h, const struct sim_event *e);
bool heap_pop(struct sim_heap *h, struct sim_event *out);
const struct sim_event *heap_peek(const struct sim_heap *h);
void sim_event_done(struct sim_event *e); /* free what it owns */

/* ---- host.c: a node, its clock and its disk ---- */

bool host_is_up(const struct sim_host *h);
mono_ms host_clock(const struct sim *s, const struct sim_host *h);
/* Up to which entry its disk has everything, as far as it was told: what it may say. */
raft_index host_durable(const struct sim_host *h);
void host_start(struct sim *s, struct sim_host *h);
void host_room(struct sim_host *h); /* it learns whether its disk is low */
void host_crash(struct sim *s, struct sim_host *h, const char *why);
/* One turn around what `e` brings (and, perhaps, what arrives together with it). */
void host_event(struct sim *s, struct sim_event *e);
/* A turn for something that is no event: begin, the caller feeds h->node, end. */
void host_begin(struct sim *s, struct sim_host *h);
void host_end(struct sim *s, struct sim_host *h);
void host_written(struct sim *s, struct sim_host *h);

/* ---- network.c ---- */

void network_send(struct sim *s, struct sim_host *h, raft_id to, const struct peer_msg *msg);
/* Close the links of a host to those it does not want one to. */
void network_targets_changed(struct sim *s, struct sim_host *h);
void network_hello_changed(struct sim *s, struct sim_host *h);
void network_hello_arrives(struct sim *s, struct sim_event *e);
void network_host_down(struct sim *s, const struct sim_host *h);
void network_links(struct sim *s); /* tear down, dial */
void network_heal(struct sim *s);
/* `from` dials `to`, which is up, now. */
void network_meet(struct sim *s, uint32_t from, uint32_t to);
bool network_is_blocked(const struct sim *s, uint32_t from, uint32_t to);
/* Through the encoding and back, when the seed says so. The result is the caller's. */
void network_copy(struct sim *s, const struct peer_msg *from, struct peer_msg *to);

/* ---- nemesis.c ---- */

void nemesis_setup(struct sim *s);
void nemesis_act(struct sim *s);
void nemesis_strike(struct sim *s, struct sim_host *h);
void nemesis_stop(struct sim *s);
void nemesis_aim(struct sim *s, struct sim_host *h);
/* Does this seed hit those whom a change concerns? */
bool nemesis_aims(const struct sim *s);
/* `h` is told to stand for election. */
void nemesis_told_to_stand(struct sim *s, struct sim_host *h);

/* ---- disks.c: data directories that come and go ---- */

struct sim_store *disk_new(struct sim_host *h);
/* Could the cluster live on without what this host stores, whatever is under way? */
bool disk_can_go(struct sim *s, const struct sim_host *h);
/* The host comes back with an empty directory; `keep`: the old one may come back, too. */
void disk_wipe(struct sim *s, struct sim_host *h, bool keep);
/* The host comes back with another directory that it had before; false: there is none. */
bool disk_swap(struct sim *s, struct sim_host *h);
void disk_use(struct sim *s, struct sim_host *h, struct sim_store *store);
void disks_done(struct sim_host *h);

/* ---- promises.c: a data directory that is put back to an earlier state ---- */

/* Keep a copy of what the host stores, sometimes. */
void promises_copy(struct sim *s, struct sim_host *h);
/* `h` hears this; note what its sender has promised by it. */
void promises_hear(struct sim_host *h, const struct sim_event *e);
/* Does the host run from such a copy? */
bool promises_are_broken(const struct sim_host *h);
/* Put the copy in place, if somebody is there who was promised more: the host has to stop before it
 * says a word. Then its data is lost. false: nobody is. */
bool promises_break(struct sim *s, struct sim_host *h);
void promises_done(struct sim_host *h);
/* Does this seed do such things? */
bool nemesis_restores(const struct sim *s);

/* ---- members.c: who belongs to the cluster ---- */

void members_read(struct sim *s, const struct raft_membership *m, struct sim_members *out);
/* The newest committed one, NULL before there is any. */
const struct sim_members *members_now(const struct sim *s);
/* An entry that no log held before is about to be saved with others by h. */
void members_proposed(struct sim *s, struct sim_host *h, const struct raft_entry *e,
                      const struct raft_save *save);
void members_committed(struct sim *s, const struct sim_host *h, const struct raft_entry *e);
/* On how many voters' disks is this entry? One of them lends it. */
uint32_t members_durable(const struct sim_members *m, raft_index index, raft_term term,
                         const struct raft_entry **out);
uint32_t members_votes(const struct sim_members *m, raft_term term, raft_id candidate);
/* Is this the host a membership means, with the data it means? */
bool members_has(const struct sim_members *m, const struct sim_host *h);

/* ---- operator.c, outcome.c: changes, and whether what is said of them is true ---- */

void operator_act(struct sim *s);
void operator_recover(struct sim *s);
/* A new operation for a change; its number. Then ask. */
uint64_t client_change(struct sim *s, struct sim_host *h, int client);
void client_change_start(struct sim *s, struct sim_host *h, uint64_t op,
                         const struct peer_change *want, uint64_t patience_ms);
/* Requests that may still make the number of voters smaller. */
uint32_t operator_shrinks(const struct sim *s);
void outcome_committed(struct sim *s, const struct sim_host *h, const struct sim_members *before,
                       const struct sim_members *after);
void outcome_answer(struct sim *s, struct sim_host *h, const struct sim_op *op,
                    const struct node_answer *a);

/* ---- states.c: the state's rows, written behind the log ---- */

void states_done(struct sim_rows *rows);
void states_copy(const struct sim_rows *from, struct sim_rows *to); /* `to` is empty */
void states_turn(struct sim *s, struct sim_host *h);
/* Does the host crash when the flush in hand is, or is not, on its disk, and it has not heard of it? */
bool states_crash_is_due(struct sim *s, const struct sim_host *h);
void states_flushed(struct sim *s, struct sim_host *h);
void states_crash(struct sim *s, struct sim_host *h);
void states_restore(struct sim_host *h);                 /* before the entries */
void states_restored(struct sim *s, struct sim_host *h); /* after them */
void states_source(struct sim_host *h);                  /* of snapshots */
/* The last index that is durable: in the log, or in a state that came as a snapshot. */
raft_index states_durable(const struct sim_store *store);

/* ---- claims.c: leases, and what sidecars were told ---- */

void claims_check(struct sim *s, struct sim_host *h, const struct raft_view *v);
void claims_ask(struct sim *s, struct sim_host *h);
void claims_sent(struct sim *s, struct sim_host *h, const struct raft_msg *m);
void claims_left_sent(struct sim *s, struct sim_host *h, const struct raft_msg *m);
/* `h` has heard what is left of claims; it was so before. */
void claims_left_heard(struct sim *s, struct sim_host *h, const struct raft_view *before);
/* A claim is told, in a turn. Nobody else's may be alive. Returns until when it holds. */
sim_us claims_tell(struct sim *s, struct sim_host *h, const struct node_public *p);

/* ---- execs.c: those who hold claims ---- */

void execs_setup(struct sim *s);
void exec_act(struct sim *s, struct sim_host *h, uint64_t number);
void execs_host_down(struct sim_host *h); /* nobody can be told any more that they have stopped */

/* ---- recovery.c ---- */

bool recovery_agreed(struct sim *s, bool complain);
bool recovery_is_done(struct sim *s, bool complain);

/* ---- client.c ---- */

void client_act(struct sim *s, uint64_t client);
void client_cancel(struct sim *s, uint64_t op);
void client_answer(struct sim *s, struct sim_host *h, const struct node_answer *a);
void client_host_down(struct sim *s, struct sim_host *h);
void client_check_deadlines(struct sim *s, struct sim_host *h);
void client_probe(struct sim *s, struct sim_host *h); /* a write through this host, recovery */
bool client_bootstrap(struct sim *s, struct sim_host *h);

/* ---- model.c: what the committed entries mean ---- */

void model_commit(struct sim *s, const struct sim_host *h, const struct raft_entry *e,
                  raft_term committed_in);
/* The version of a key that holds at an index, or NULL when it does not exist. */
const struct sim_version *model_at(const struct sim *s, uint32_t key, raft_index index);
void model_done(struct sim *s);
uint32_t model_key_number(const uint8_t *key, size_t size); /* SIM_KEYS: not one of ours */

/* ---- check.c: the invariants ---- */

void check_started(struct sim *s, struct sim_host *h);
void check_turn(struct sim *s, struct sim_host *h);
void check_send(struct sim *s, struct sim_host *h, const struct node_send *send);
void check_save_taken(struct sim *s, struct sim_host *h, const struct raft_save *save);
/* Around a write of the disk. */
void check_before_write(struct sim *s, struct sim_host *h, const struct raft_save *save);

#endif
