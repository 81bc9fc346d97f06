#include "node/types.h"

uint16_t peer_protocol(const struct peer_hello *theirs)
{
    uint16_t highest =
        theirs->protocol_max < PEER_PROTOCOL_MAX ? theirs->protocol_max : PEER_PROTOCOL_MAX;

    return highest >= PEER_PROTOCOL_MIN && highest >= theirs->protocol_min ? highest : 0;
}

bool peer_protocol_has(uint16_t protocol, enum raft_msg_type type)
{
    static const uint16_t since[RAFT_MSG_TYPE_COUNT] = {[RAFT_MSG_CLAIMS_LEFT] = 2};

    return protocol >= since[type];
}

void peer_msg_done(struct peer_msg *m)
{
    switch (m->type) {
    case PEER_HELLO:
        mem_free(m->hello);
        m->hello = NULL;
        break;
    case PEER_RAFT:
        raft_msg_done(&m->raft);
        break;
    case PEER_FORWARD:
        blob_unref(m->forward.txn);
        m->forward.txn = NULL;
        break;
    case PEER_REFUSAL:
        mem_free(m->refusal);
        m->refusal = NULL;
        break;
    case PEER_PROGRESS:
        mem_free(m->progress);
        m->progress = NULL;
        break;
    case PEER_CHANGE:
        mem_free(m->change);
        m->change = NULL;
        break;
    case PEER_CHANGE_REPLY:
        mem_free(m->change_reply);
        m->change_reply = NULL;
        break;
    case PEER_FORWARD_REPLY: /* owns nothing */
    case PEER_PROGRESS_ASK:
        break;
    }
}
