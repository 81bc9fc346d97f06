/* membership.h - who the servers are: look-up, majority, encoding.
 *
 * Threads: plain functions. The encoding is what stands in the log: version 1, little-endian. */
#ifndef RAFTD_RAFT_MEMBERSHIP_H
#define RAFTD_RAFT_MEMBERSHIP_H

#include "base/buf.h"
#include "raft/types.h"

/* The member with this id, or NULL. Borrowed. */
const struct raft_member *membership_find(const struct raft_membership *m, raft_id id);

bool membership_is_voter(const struct raft_membership *m, raft_id id);

/* The tombstone of a removed id, or NULL. Borrowed. */
const struct raft_tombstone *membership_tombstone(const struct raft_membership *m, raft_id id);

uint32_t membership_voters(const struct raft_membership *m); /* how many voters */
uint32_t membership_quorum(const struct raft_membership *m); /* voters / 2 + 1; 0 without voters */

/* Insert by ascending id. The id is new and there is room. */
void membership_insert(struct raft_membership *m, const struct raft_member *member);

/* Payload of a membership entry. One reference for the caller. */
struct blob *membership_encode(const struct raft_membership *m);

/* 0, or -RD_EINVALID: wrong version, counts above the limits, ids not ascending, bytes left over.
 * `out->index` becomes `index`. Output untouched on failure. */
int membership_decode(const void *data, size_t size, raft_index index, struct raft_membership *out);

#endif
