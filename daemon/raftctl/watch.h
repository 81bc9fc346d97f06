/* watch.h - the commands that live on raftd's stream of changes: watch, and wait on top of it. */
#ifndef RAFTD_RAFTCTL_WATCH_H
#define RAFTD_RAFTCTL_WATCH_H

#include <jansson.h>

#include "raftctl/options.h"
#include "wire/admin.h"

int watch_run(struct ctl *ctl, const struct invocation *inv, struct ctl_error *e);
int wait_run(struct ctl *ctl, const struct invocation *inv, struct ctl_error *e);

/* Send a request that has no arguments over ctl->client; *id tells its replies. */
int watch_send(struct ctl *ctl, const char *name, uint64_t *id, struct ctl_error *e);

/* The object of a reply, the caller's; NULL: it has none. */
json_t *watch_parse(const struct admin_reply *reply);

/* What `wait` waits for, in the order of --for's choices. */
enum wait_for { WAIT_HAS_LEADER, WAIT_LEADER, WAIT_VOTER, WAIT_CAUGHT_UP };

/* Does an object of the stream satisfy it? Never for WAIT_CAUGHT_UP. */
bool wait_is_met(enum wait_for what, const json_t *change);

/* The index that was committed in the cluster when `status` was made, as far as this node knows:
 * from the leader's view of it where that is told. 0: not known (yet). */
uint64_t wait_target(const json_t *status);

#endif
