#include "node/types.h"

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
