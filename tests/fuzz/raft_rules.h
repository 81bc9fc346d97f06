/* raft_rules.h - a core under fire, and what has to hold after each of its steps.
 *
 * Threads: one. */
#ifndef RAFTD_TESTS_FUZZ_RAFT_RULES_H
#define RAFTD_TESTS_FUZZ_RAFT_RULES_H

#include "node/types.h"
#include "raft/raft.h"
#include "vdisk.h"

enum { SELF = 1, SENT_MAX = 32, READS_TOLD_MAX = 256, TIMEOUT_MS = 500, HEARTBEAT_MS = 100 };

struct told_read { /* one that was asked for */
    bool answered;
    raft_index floor; /* what was committed then, as far as is known here */
};

struct core {
    struct raft *r;
    struct raft_effects fx;
    struct vdisk disk;
    mono_ms now;
    struct raft_view view; /* after the step before */
    raft_index committed;  /* an entry known to be committed, and the chain after it */
    uint64_t committed_chain;

    struct raft_save save; /* in the writer's hands */
    bool saving;

    struct raft_point flushed; /* the state on disk is as of it; index 0: there is none */
    bool installed;            /* it came as a snapshot */

    struct raft_msg sent[SENT_MAX]; /* the last messages, without what they own */
    uint32_t sent_count;
    struct raft_msg piece; /* of a snapshot, given to the caller; type 0: none */

    struct told_read reads[READS_TOLD_MAX];
    uint32_t reads_count;
    bool stopped; /* it said that its history is broken: raftd ends with 79 */
};

/* After a step with this event: everything that raft_rules.c names. Takes the effects away. */
void rules_check(struct core *c, const struct raft_event *event);

/* After what is no step: a save was taken, which may move the beginning of the log. */
void rules_look(struct core *c);

/* After a restart nothing is expected of what was not on disk. */
void rules_begin(struct core *c);

#endif
