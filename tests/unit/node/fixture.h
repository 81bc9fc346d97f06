/* fixture.h - a few nodes in one process: virtual time, a disk that always works, links that can be
 * cut. */
#ifndef RAFTD_TESTS_NODE_FIXTURE_H
#define RAFTD_TESTS_NODE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/node.h"
#include "raft/membership.h"

enum { RIG_NODES_MAX = 5, RIG_ANSWERS_MAX = 256, RIG_QUEUE_MAX = 4096 };

struct rig_flight {
    raft_id from, to;
    struct peer_msg msg;
};

struct rig {
    uint32_t count;
    mono_ms now;
    struct node *nodes[RIG_NODES_MAX + 1]; /* by id, from 1 */
    bool cut[RIG_NODES_MAX + 1];           /* no link to or from it */
    bool stopped[RIG_NODES_MAX + 1];       /* it has no turns; its links stay up */
    bool disk_held[RIG_NODES_MAX + 1];     /* its batches do not complete */
    uint64_t batch_held[RIG_NODES_MAX + 1];
    struct node_answer answers[RIG_ANSWERS_MAX]; /* in the order they came */
    raft_id answered_by[RIG_ANSWERS_MAX];
    uint32_t answers_count;
    struct rig_flight queue[RIG_QUEUE_MAX];
    uint32_t queue_count;
    uint32_t forwards_dropped; /* to drop: that many FORWARD_REPLYs get lost */
};

/* founders: the first `founders` nodes list each other; 0: nobody lists anybody. */
void rig_init(struct rig *g, uint32_t count, uint32_t founders);
void rig_done(struct rig *g);
struct node_config rig_config(raft_id id, uint32_t founders);
/* Run turns, deliver everything, let time pass. */
void rig_run(struct rig *g, mono_ms duration);
/* Until somebody leads and all follow it; fails the test after 10 s. Returns the leader. */
raft_id rig_leader(struct rig *g);
struct blob *rig_put(const char *key, const char *value);
/* Call one node within a turn of its own. */
void rig_write(struct rig *g, raft_id id, uint64_t token, const char *key, const char *value,
               mono_ms timeout);
void rig_read(struct rig *g, raft_id id, uint64_t token, mono_ms timeout);
/* The answer to a token, or NULL. Fails when there are two. */
const struct node_answer *rig_answer(const struct rig *g, uint64_t token);
void rig_cut(struct rig *g, raft_id id, bool cut);

#endif
