/* peer_internal.h - between the files of the peer codec. */
#ifndef RAFTD_WIRE_PEER_INTERNAL_H
#define RAFTD_WIRE_PEER_INTERNAL_H

#include "peer.pb-c.h"
#include "wire/field.h"
#include "wire/peer.h"

/* An envelope whose body the caller has yet to set; peer_end() sets its sum. */
static inline Raftd__Peer__Envelope peer_envelope(Raftd__Peer__Envelope__BodyCase body)
{
    Raftd__Peer__Envelope e;

    raftd__peer__envelope__init(&e);
    e.body_case = body;
    e.sum_presence_case = RAFTD__PEER__ENVELOPE__SUM_PRESENCE_SUM;
    return e;
}

/* frame_end(), and the sum. */
void peer_end(struct buf *out, size_t at);
/* 0: it is right, or there is none. -RD_ECORRUPT. */
int peer_sum_check(const struct frame *frame, const Raftd__Peer__Envelope *e);

void peer_hello_encode(const struct peer_hello *hello, struct buf *out);
int peer_hello_decode(const Raftd__Peer__Hello *m, const struct frame *frame, struct peer_msg *out);
void peer_change_encode(const struct peer_change *c, struct buf *out);
int peer_change_decode(const Raftd__Peer__Change *m, const struct frame *frame,
                       struct peer_msg *out);
void peer_change_reply_encode(const struct peer_change_reply *r, struct buf *out);
int peer_change_reply_decode(const Raftd__Peer__ChangeReply *m, const struct frame *frame,
                             struct peer_msg *out);
void peer_raft_encode(const struct raft_msg *msg, struct buf *out);
int peer_raft_decode(const Raftd__Peer__Raft *m, const struct frame *frame, struct raft_msg *out);

#endif
