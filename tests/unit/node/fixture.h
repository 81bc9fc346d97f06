/* fixture.h - a few nodes in one process: virtual time, a disk that always works, links as net/ keeps
 * them, and a loop that wakes a node when something came for it, or when it asked to be woken. */
#ifndef RAFTD_TESTS_NODE_FIXTURE_H
#define RAFTD_TESTS_NODE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "disk.h"
#include "node/node.h"
#include "raft/membership.h"

enum { RIG_NODES_MAX = 7, RIG_ANSWERS_MAX = 1024, RIG_QUEUE_MAX = 4096 };

struct rig_flight {
    raft_id from, to;
    struct peer_msg msg;
};

struct rig_link { /* dialled by one, to the other */
    bool up;
    char address[RAFT_ADDRESS_SIZE];
    mono_ms dial_at; /* not before */
};

struct rig {
    uint32_t count;
    mono_ms now;
    struct node *nodes[RIG_NODES_MAX + 1]; /* by id, from 1 */
    uint64_t lives[RIG_NODES_MAX + 1];     /* process starts */
    uint8_t stores[RIG_NODES_MAX + 1];     /* data directories it has had */
    struct rig_disk disks[RIG_NODES_MAX + 1];
    bool cut[RIG_NODES_MAX + 1];          /* no link to or from it; dials are not answered */
    bool stopped[RIG_NODES_MAX + 1];      /* it has no turns; its links stay up */
    bool dead[RIG_NODES_MAX + 1];         /* its process ended: dials are refused */
    bool woken[RIG_NODES_MAX + 1];        /* something came for it */
    uint16_t protocol[RIG_NODES_MAX + 1]; /* the highest version it offers; 0: as it does */
    bool disk_held[RIG_NODES_MAX + 1];    /* its batches do not complete */
    const struct node_batch *batches[RIG_NODES_MAX + 1]; /* on their way to the disk */
    bool flushes;                        /* the state is written behind, every 50 ms */
    bool flush_held[RIG_NODES_MAX + 1];  /* a flush does not complete */
    bool flush_fails[RIG_NODES_MAX + 1]; /* it does not fit */
    const struct node_flush *flushing[RIG_NODES_MAX + 1];
    mono_ms flush_at[RIG_NODES_MAX + 1];
    struct rig_link links[RIG_NODES_MAX + 1][RIG_NODES_MAX + 1]; /* from, to */
    struct node_target targets[RIG_NODES_MAX + 1][NODE_TARGETS_MAX];
    uint32_t targets_count[RIG_NODES_MAX + 1];
    struct node_answer answers[RIG_ANSWERS_MAX]; /* in the order they came */
    raft_id answered_by[RIG_ANSWERS_MAX];
    mono_ms answered_at[RIG_ANSWERS_MAX];
    uint32_t answers_count;
    struct rig_flight queue[RIG_QUEUE_MAX];
    uint32_t queue_count;
    uint32_t forwards_dropped; /* to drop: that many FORWARD_REPLYs get lost */
    /* Lose or hold what travels: true, and the message is dropped. */
    bool (*drop)(struct rig *g, raft_id from, raft_id to, const struct peer_msg *msg);
    uint32_t dropped; /* by it */
};

/* founders: the first `founders` nodes list each other; 0: nobody lists anybody. */
void rig_init(struct rig *g, uint32_t count, uint32_t founders);
void rig_done(struct rig *g);
void rig_forget_answers(struct rig *g); /* nobody looks for one of them any more */
struct node_config rig_config(raft_id id, uint32_t founders);
/* What rig_config() says of it from now on: little is kept, and sent in small pieces. */
void rig_keep(uint64_t entries, uint64_t bytes, uint64_t hold_bytes, uint32_t piece_bytes);
raft_load_cb rig_no_load; /* nothing ever leaves the memory of these nodes */
/* Run turns, deliver everything, let time pass. */
void rig_run(struct rig *g, mono_ms duration);
/* Until somebody leads and all members that run follow it; fails the test after 10 s. Returns the
 * leader. */
raft_id rig_leader(struct rig *g);
struct blob *rig_put(const char *key, const char *value);
/* Call one node within a turn of its own. */
void rig_write(struct rig *g, raft_id id, uint64_t token, const char *key, const char *value,
               mono_ms timeout);
void rig_read(struct rig *g, raft_id id, uint64_t token, mono_ms timeout);
/* The last answer to a token, or NULL. Fails when there are two. */
const struct node_answer *rig_answer(const struct rig *g, uint64_t token);
void rig_cut(struct rig *g, raft_id id, bool cut);

/* ---- Lives ---- */

void rig_kill(struct rig *g, raft_id id);
void rig_restart(struct rig *g, raft_id id); /* with what its disk has */
void rig_empty(struct rig *g, raft_id id);   /* with an empty data directory, in no cluster */
uint64_t rig_process(const struct rig *g, raft_id id); /* what tells its life apart */
/* The same with another configuration. */
void rig_replace(struct rig *g, raft_id id, const struct node_config *config);

/* ---- Changes ---- */

/* A cluster of the first `voters` nodes, made by bootstrap and add-server; the others are spare. Node
 * 1 leads. */
void rig_grow(struct rig *g, uint32_t count, uint32_t voters);
void rig_change(struct rig *g, raft_id via, uint64_t token, const struct peer_change *change,
                mono_ms timeout);
struct peer_change rig_add(raft_id id); /* at its address */
/* Run until it is answered; fails the test after 20 s. */
const struct node_answer *rig_wait(struct rig *g, uint64_t token);
/* Run until node `via` was told that its change is at this step; fails after 20 s. */
const struct node_answer *rig_wait_step(struct rig *g, uint64_t token, enum peer_change_step step);
/* How many answers with `more` there were, of this step (0: of any). */
uint32_t rig_told(const struct rig *g, uint64_t token, enum peer_change_step step);
/* rig_change() and rig_wait() with a token of its own; the answer. */
const struct node_answer *rig_do(struct rig *g, raft_id via, const struct peer_change *change);

/* ---- Questions ---- */

const struct raft_member *rig_member(const struct rig *g, raft_id at, raft_id id);
struct node_public rig_public(const struct rig *g, raft_id id);
struct raft_view rig_view(const struct rig *g, raft_id id);
#define assert_code(answer, expected)                                                              \
    do {                                                                                           \
        const struct node_answer *answer_ = (answer);                                              \
        assert_non_null(answer_);                                                                  \
        if (answer_->code != (expected)) {                                                         \
            print_error("%s: %s\n", err_name(answer_->code), answer_->message);                    \
        }                                                                                          \
        assert_int_equal(answer_->code, expected);                                                 \
    } while (0)
#define assert_says(answer, words)                                                                 \
    do {                                                                                           \
        const struct node_answer *answer_ = (answer);                                              \
        assert_non_null(answer_);                                                                  \
        if (!strstr(answer_->message, words)) {                                                    \
            print_error("'%s' is not in '%s'\n", words, answer_->message);                         \
        }                                                                                          \
        assert_non_null(strstr(answer_->message, words));                                          \
    } while (0)

#endif
