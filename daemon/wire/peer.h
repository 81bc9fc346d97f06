/* peer.h - peer messages as bytes (proto/peer.proto).
 *
 * Threads: any. Ownership: peer_decode() copies what it keeps. Limits are checked before memory is
 * taken: a decoded message costs at most about 64 KiB + 16 x frame, 8 MiB at the most. */
#ifndef RAFTD_WIRE_PEER_H
#define RAFTD_WIRE_PEER_H

#include "node/types.h"
#include "wire/frame.h"

enum { PEER_PROTOCOL_MIN = 1, PEER_PROTOCOL_MAX = 1 };

/* Append one frame. The message is within the limits (asserted). */
void peer_encode(const struct peer_msg *msg, struct buf *out);

/* 0 and a message the caller owns (peer_msg_done), or -RD_EPROTOCOL (nothing to free). Every field
 * is validated: types, counts, ids in 1..2^32-1, sizes against the contract's limits, strings
 * NUL-free; entries get consecutive indexes from the prev index on, terms that never decrease.
 * Chains of entries do not travel: the core computes them. */
int peer_decode(const struct frame *frame, struct peer_msg *out);

#endif
