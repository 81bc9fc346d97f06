/* look.h - what stands in a data directory, as plain data. Threads: one. */
#ifndef RAFTD_RAFTCTL_LOOK_H
#define RAFTD_RAFTCTL_LOOK_H

#include "raft/membership.h"
#include "raftctl/ctl.h"
#include "store/offline.h"

enum { LOOK_WHY_SIZE = 512 };

struct look {
    struct store_found found; /* its pointers are NULL */
    bool has_membership;
    struct raft_membership membership; /* the newest in the log, committed or not */
    bool state_is_bad;                 /* its rows cannot be used */
    char state_why[LOOK_WHY_SIZE];     /* "": the store has logged it */
};

/* In a child. 0, or the code; state_is_bad is no error here. */
int look_at(struct store_offline *o, struct look *out);

/* This node's own place: NULL when it is no member, under this store. Borrowed. */
const struct raft_member *look_member(const struct look *l);
/* The entry that removed this node, 0: none did. */
raft_index look_removed(const struct look *l);
bool look_is_whole_log(
    const struct look *l); /* it holds all entries: the state can be made of it */

/* "1 (10.0.0.1:7400), 2 (10.0.0.2:7400)" */
void look_put_members(const struct raft_membership *m, struct buf *out);

#endif
