/* peer.h - peer messages as bytes (proto/peer.proto).
 *
 * Threads: any. Ownership: peer_decode() copies what it keeps. Limits are checked before memory is
 * taken: a decoded message costs at most about 64 KiB + 16 x frame, 8 MiB at the most. */
#ifndef RAFTD_WIRE_PEER_H
#define RAFTD_WIRE_PEER_H

#include "node/types.h"
#include "wire/frame.h"

enum {
    PEER_HOLD_MS_MAX = 3600000, /* hold_ms of a TimeoutNow and of what is said after it */
    PEER_ENTRIES_MAX = 4096,    /* entries of one append */
    PEER_PAYLOAD_MAX = FRAME_PEER_MAX - 128 * 1024, /* payload bytes of one append, in all */
};

/* Append one frame. The message is within the limits that peer_decode() enforces (asserted), except
 * that text which is not UTF-8 (a sentence cut in the middle of a character, say) is mended. A
 * hello that has bindings travels without its member list when both together would not fit
 * FRAME_HELLO_MAX: a node with a membership ignores its list. */
void peer_encode(const struct peer_msg *msg, struct buf *out);

/* 0 and a message the caller owns (peer_msg_done), -RD_ECORRUPT (its sum is wrong) or -RD_EPROTOCOL
 * (nothing to free). Whether it has to have a sum is the caller's business (is_summed). Every field
 * is validated: types, counts, ids in 1..2^32-1, sizes against the contract's limits, numbers below
 * 2^63, error numbers, strings UTF-8 and NUL-free; entries get consecutive indexes from the prev
 * index on, terms from the prev term up to the message's that never decrease. An error number
 * unknown here becomes -RD_EPROTOCOL in a refusal, -RD_EINVALID in the answer to a change: the
 * sentence is kept. A refusal has a cluster and an index only with -RD_EREMOVED. The hint of a
 * TimeoutNow's reply may be a reason unknown here (enum raft_decline). What a transaction holds is
 * not looked at (state_txn_decode).
 * Chains of entries do not travel: the core computes them. */
int peer_decode(const struct frame *frame, struct peer_msg *out);

#endif
