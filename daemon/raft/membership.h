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

/* The newest tombstone of an id, of this store of it (NULL: of any); NULL when there is none.
 * Borrowed. */
const struct raft_tombstone *membership_tombstone(const struct raft_membership *m, raft_id id,
                                                  const struct uuid *store);

uint32_t membership_voters(const struct raft_membership *m); /* how many voters */
uint32_t membership_quorum(const struct raft_membership *m); /* voters / 2 + 1; 0 without voters */

/* Insert by ascending id. The id is new and there is room. */
void membership_insert(struct raft_membership *m, const struct raft_member *member);

/* Why a change cannot be made to this membership, whoever leads: 0, or -RD_EALREADY_MEMBER,
 * -RD_ENOT_FOUND, -RD_ELAST_VOTER, -RD_ETOO_LARGE with the reason. */
int membership_refuses(const struct raft_membership *m, const struct raft_change *c,
                       struct raft_reason *why);

/* Make a change that is not refused. `index` is that of the entry that will hold the result. */
void membership_apply(struct raft_membership *m, const struct raft_change *c, raft_index index);

/* Payload of a membership entry. One reference for the caller. */
struct blob *membership_encode(const struct raft_membership *m);

/* 0, or -RD_EINVALID: wrong version, counts above the limits, ids not ascending, bytes left over.
 * `out->index` becomes `index`. Output untouched on failure. */
int membership_decode(const void *data, size_t size, raft_index index, struct raft_membership *out);

#endif
