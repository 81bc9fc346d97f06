/* snapshot.h - reading all rows of the state as of one moment, while flushes go on.
 *
 * A read transaction keeps the pages it may need out of reuse: what is flushed meanwhile makes the file
 * grow. That is watched here, and bounded. Threads: loop thread. */
#ifndef RAFTD_STORE_SNAPSHOT_H
#define RAFTD_STORE_SNAPSHOT_H

#include "store/rows.h"

struct store_snapshot *store_snapshot_of(const struct store_rows *rows, struct store_mark *mark);

#endif
