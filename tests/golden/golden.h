/* golden.h - a small cluster of bare cores whose every step a script decides and sees.
 *
 * Nothing moves by itself: messages wait in one queue until the script delivers or drops them,
 * saves wait until it lets them become durable, time passes when it says so. What the cores do is
 * written to a trace, one line per effect. Threads: one. */
#ifndef RAFTD_TESTS_GOLDEN_GOLDEN_H
#define RAFTD_TESTS_GOLDEN_GOLDEN_H

#include "base/buf.h"
#include "raft/raft.h"
#include "vdisk.h"

enum { GOLDEN_CORES_MAX = 7, GOLDEN_SAVES_MAX = 1, GOLDEN_PAST_MAX = 64 };

struct golden_parked { /* leaves when that many saves are durable */
    struct raft_msg msg;
    uint64_t after;
};

struct golden_core {
    raft_id id;
    bool started;
    struct raft *raft;
    struct raft_config config;
    struct vdisk disk;
    struct raft_point state; /* what the state on its disk is as of */
    bool installed;          /* which came as a snapshot */
    struct raft_msg piece;   /* header of the last piece that it took for its caller */
    struct raft_effects fx;
    struct raft_view view;                    /* as last traced */
    struct raft_save saves[GOLDEN_SAVES_MAX]; /* written, not reported yet */
    uint32_t saves_count;
    uint64_t taken, done;
    struct golden_parked *parked;
    uint32_t parked_count, parked_capacity;
    uint64_t lives;
    uint8_t disks; /* how many it has had before: part of its store id */
    uint64_t seq;  /* of its newest message: what an injected reply echoes */
    uint64_t told; /* seq of the TimeoutNow it got last: what injected claims-left is about */
};

struct golden {
    struct buf trace;
    mono_ms now;
    bool autosave; /* every save is durable at once */
    bool quiet;    /* trace nothing */
    uint32_t count;
    struct golden_core cores[GOLDEN_CORES_MAX + 1]; /* by id */
    struct raft_membership membership;              /* for premade logs and found */
    struct raft_msg *queue;
    uint32_t queue_count, queue_capacity;
};

struct golden_filter { /* which messages: 0 matches all */
    raft_id from, to;
    enum raft_msg_type type;
};

void golden_done(struct golden *g);
void golden_say(struct golden *g, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Make `count` empty cores, with this configuration for each (id and seed are set). The first
 * `members` of them are the voters of the membership. */
void golden_cluster(struct golden *g, uint32_t count, uint32_t members,
                    const struct raft_config *config);

struct golden_entry {
    raft_term term;
    struct raft_change change; /* kind 0: it is a command */
};

struct golden_past { /* what is on a disk; the first entry is the membership */
    raft_term term;
    raft_id vote;
    uint32_t loyal_ms;
    struct golden_entry entries[GOLDEN_PAST_MAX];
    uint32_t count;
    uint32_t base; /* so many of them are forgotten, and in the state */
};

void golden_past(struct golden *g, raft_id id, const struct golden_past *past);
/* A new, empty disk, with another store id; the old one is gone. */
void golden_wipe(struct golden *g, raft_id id);
/* To add that core, as it is now, to a membership. */
struct raft_change golden_addition(const struct golden *g, raft_id id);
void golden_start(struct golden *g, raft_id id);
void golden_crash(struct golden *g, raft_id id);

/* One event, then the end of the turn; traces what came of it. */
void golden_step(struct golden *g, raft_id id, const struct raft_event *event);
void golden_save(struct golden *g, raft_id id);     /* take and write one save */
void golden_saved(struct golden *g, raft_id id);    /* report the oldest written one */
void golden_advance(struct golden *g, uint64_t ms); /* everybody's deadlines are kept */

/* ---- The state on disk, snapshots of it (states.c) ---- */

/* The state on its disk is as of this entry from now on. */
void golden_flush(struct golden *g, raft_id id, raft_index index);
void golden_flush_set(struct golden_core *c, const struct raft_point *at, bool installed);
/* What is in the state may be forgotten. */
void golden_trim(struct golden *g, raft_id id, raft_index index);
/* A piece of the sender's state as it is on disk. */
void golden_piece(struct golden *g, const struct golden_filter *f, uint64_t offset, uint32_t size,
                  bool last);
/* The receiver's caller has looked at the last piece that came. */
void golden_taken(struct golden *g, raft_id id, uint64_t has, bool reject);
/* The snapshot that came last is the state on its disk. `told`: the core hears of it. */
void golden_install(struct golden *g, raft_id id, bool told);
void golden_needs(struct golden *g, raft_id id);
/* The effect: a piece, or the answer to one, is the caller's business. */
void golden_note_piece(struct golden *g, struct golden_core *c);

/* Deliver what was in the queue when it was called. Returns how many. */
uint32_t golden_deliver(struct golden *g, const struct golden_filter *f, uint32_t count_max,
                        bool keep);
uint32_t golden_drop(struct golden *g, const struct golden_filter *f);
void golden_send(struct golden *g, const struct raft_msg *m);
void golden_settle(struct golden *g);

void golden_status(struct golden *g, raft_id id);
void golden_timer(struct golden *g, raft_id id);
void golden_log(struct golden *g, raft_id id);
void golden_members(struct golden *g, raft_id id);

#endif
