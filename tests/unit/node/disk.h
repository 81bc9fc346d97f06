/* disk.h - what a node's data directory holds: its log, and the rows of its state. */
#ifndef RAFTD_TESTS_NODE_DISK_H
#define RAFTD_TESTS_NODE_DISK_H

#include "node/node.h"

struct disk_row {
    struct blob *key, *value;
};

struct rig_disk {
    struct uuid cluster;
    raft_term term;
    raft_id vote;
    uint32_t loyal_ms;
    struct raft_point base;     /* the log begins after it */
    struct raft_entry *entries; /* entries[i] has index base + i + 1 */
    uint64_t entries_count, entries_capacity;
    struct disk_row *rows;
    uint32_t rows_count, rows_capacity;
    struct node_mark mark; /* what the rows are as of */
    uint32_t readers;      /* snapshots of the rows that are open */
    uint32_t opened;       /* that ever were */
    uint32_t reads;        /* pieces read, ever */
    bool reads_fail;       /* they were open for too long */
    bool unreadable;       /* none can be opened now */
};

void disk_clear(struct rig_disk *d);
void disk_write(struct rig_disk *d, const struct raft_save *save);
void disk_flush(struct rig_disk *d, const struct node_flush *flush);
/* Everything that it holds, before the node starts. 0, or what the state's last step said. */
int disk_restore(const struct rig_disk *d, struct node *n);
void disk_source(struct rig_disk *d, struct node *n);

#endif
