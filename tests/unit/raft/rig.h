/* rig.h - one bare core, number 1, and the others played by the test.
 *
 * Threads: one. cmocka's headers come first. */
#ifndef RAFTD_TESTS_UNIT_RAFT_RIG_H
#define RAFTD_TESTS_UNIT_RAFT_RIG_H

#include "raft/raft.h"

struct rig {
    struct raft *r;
    struct raft_effects fx; /* of the last event alone */
    mono_ms now;
};

extern const struct uuid rig_cluster;

/* T is 500 ms, a heartbeat 100 ms. */
struct raft *rig_core(raft_id id);
void rig_done(struct rig *g);

void rig_step(struct rig *g, const struct raft_event *e); /* a valid event */
void rig_save(struct rig *g);                             /* all that waits becomes durable */
void rig_hear(struct rig *g, struct raft_msg m);          /* of our cluster, to node 1 */

/* Voters 1 to `count`, from the first entry on. For mem_free(). */
struct raft_membership *rig_voters(uint32_t count);
void rig_found(struct rig *g, uint32_t count);
void rig_lead_alone(struct rig *g);
/* Node 1 of 3 leads in term 2, and node 2 has acknowledged its lease. */
void rig_lead(struct rig *g);

#endif
