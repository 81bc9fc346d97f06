/* asking.h - changes of the membership, asked for in one line. As rig_do(). */
#ifndef RAFTD_TESTS_NODE_ASKING_H
#define RAFTD_TESTS_NODE_ASKING_H

#include "fixture.h"

struct peer_change change_of(enum peer_change_kind kind, raft_id id);
const struct node_answer *promote(struct rig *g, raft_id via, raft_id id, bool force);
const struct node_answer *demote(struct rig *g, raft_id via, raft_id id);
const struct node_answer *remove_server(struct rig *g, raft_id via, raft_id id, bool force);
const struct node_answer *add(struct rig *g, raft_id via, raft_id id);
const struct node_answer *add_learner(struct rig *g, raft_id via, raft_id id);
raft_index committed(const struct rig *g, raft_id at);
/* Enough bytes that a new member needs several round trips. */
void fill(struct rig *g, raft_id via, uint32_t writes);
/* Values of rig.drop: no append reaches `starved`; none reaches anybody; no membership above an index travels. */
extern raft_id starved;
bool drop_appends(struct rig *g, raft_id from, raft_id to, const struct peer_msg *msg);
bool drop_all_appends(struct rig *g, raft_id from, raft_id to, const struct peer_msg *msg);
extern raft_index held_above;
bool drop_memberships(struct rig *g, raft_id from, raft_id to, const struct peer_msg *msg);

#endif
