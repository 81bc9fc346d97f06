/* vdisk.h - a disk in memory: what a node's store holds, written one whole save at a time.
 *
 * Threads: one. Ownership: the disk holds a reference for each payload. */
#ifndef RAFTD_TESTS_LIB_VDISK_H
#define RAFTD_TESTS_LIB_VDISK_H

#include "raft/raft.h"

struct vdisk {
    struct uuid cluster;
    raft_term term;
    raft_id vote;
    uint32_t loyal_ms;
    struct raft_point base;     /* the log begins after it; with a reference */
    struct raft_entry *entries; /* entries[i] has index base + i + 1 */
    uint32_t count;
    uint32_t capacity;
};

void vdisk_done(struct vdisk *d); /* frees; the disk is empty and usable again */

/* What `from` holds now; `to` is empty. */
void vdisk_copy(const struct vdisk *from, struct vdisk *to);

/* Has anything ever been written? */
bool vdisk_is_pristine(const struct vdisk *d);

raft_index vdisk_last(const struct vdisk *d); /* of the log */

/* Write one save: hard state if it has one, forget up to its base, cut at save->first, append its
 * entries. */
void vdisk_write(struct vdisk *d, const struct raft_save *save);

/* The entry at an index, or NULL. Borrowed until the next write. */
const struct raft_entry *vdisk_entry(const struct vdisk *d, raft_index index);

/* raft_load_cb: `arg` is the disk; asserts that what is asked for is there. */
uint32_t vdisk_load(void *arg, raft_index first, uint32_t count_max, uint64_t bytes_max,
                    struct raft_entry *out);

#endif
