/* backup.h - `raftctl backup` and `raftctl restore`. Threads: one. */
#ifndef RAFTD_RAFTCTL_BACKUP_H
#define RAFTD_RAFTCTL_BACKUP_H

#include "raftctl/options.h"

enum {
    /* What was handed out after the backup is lost, but was seen: a restored cluster gives no revision, no
     * term and so no fence again that a client may have met. */
    RESTORE_REVISIONS = 1000000000,
    RESTORE_TERMS = 1000000,
};

int backup_run(struct ctl *ctl, const struct invocation *inv, struct ctl_error *e);
int restore_run(struct ctl *ctl, const struct invocation *inv, struct ctl_error *e);

#endif
