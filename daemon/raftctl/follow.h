/* follow.h - the command that tells programs who leads, outside the daemon. */
#ifndef RAFTD_RAFTCTL_FOLLOW_H
#define RAFTD_RAFTCTL_FOLLOW_H

#include <jansson.h>

#include "raftctl/options.h"

int follow_run(struct ctl *ctl, const struct invocation *inv, struct ctl_error *e);

/* Would a hook be told something else than it was (NULL: nothing yet)? What changes all the time,
 * milliseconds and reasons, does not count. */
bool follow_differs(const json_t *told, const json_t *state);

/* What is told instead of a state while raftd cannot be asked; `last` is what it said before, or
 * NULL. */
json_t *follow_unreachable(const json_t *last, const char *reason);

#endif
