/* msgs.h - messages as text, and copies of them, for tests that stand between nodes.
 *
 * Threads: one. */
#ifndef RAFTD_TESTS_LIB_MSGS_H
#define RAFTD_TESTS_LIB_MSGS_H

#include "base/buf.h"
#include "node/types.h"
#include "raft/raft.h"

/* Short stable names, as the golden scripts write them; "?" when there is none. */
const char *msgs_type_name(enum raft_msg_type type);
const char *msgs_state_name(enum raft_state state);
const char *msgs_entry_name(enum raft_entry_type type);

/* The type with that name, or 0. */
enum raft_msg_type msgs_type_by_name(const char *name);

/* What answers a message of this type; 0: nothing does. */
enum raft_msg_type msgs_reply_of(enum raft_msg_type type);

/* One line without a newline: "1->2 append term=1 ..." with every field that counts for the type.
 * Appended to `out`. */
void msgs_text(const struct raft_msg *m, struct buf *out);

/* A copy that owns its own references. A hello or a refusal is copied whole. */
void msgs_copy(const struct peer_msg *from, struct peer_msg *to);
void msgs_copy_raft(const struct raft_msg *from, struct raft_msg *to);

#endif
