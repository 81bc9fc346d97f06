/* unfinished.h - changes of a whole data directory that survive being cut short.
 *
 * UNFINISHED in the directory, a symbolic link and so there whole or not at all, says what is being
 * done to it and for which node, as in "reset 4". While it is there nobody but who finishes that takes
 * the directory for a store.
 * Threads: one. Errors: after one log line -RD_ECONFIG, -RD_EDISK, -RD_EDISK_FULL. */
#ifndef RAFTD_STORE_UNFINISHED_H
#define RAFTD_STORE_UNFINISHED_H

#include "raft/types.h"
#include "store/dir.h"

/* Is `what` under way here? Then for which node; else 0. */
raft_id store_unfinished_node(const struct store_dir *dir, const char *what);

/* Durable when they return. Begin: over one that is there already. */
int store_unfinished_begin(const struct store_dir *dir, const char *what, raft_id node);
int store_unfinished_end(const struct store_dir *dir);

/* An environment with all that is in its directory; one that is not there is no error. */
int store_unfinished_remove_env(const struct store_dir *dir, const char *name);

#endif
