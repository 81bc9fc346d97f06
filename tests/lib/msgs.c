#include "msgs.h"

#include <inttypes.h>
#include <string.h>

static const char *const type_names[RAFT_MSG_TYPE_COUNT] = {
    [RAFT_MSG_PRE_VOTE] = "pre-vote",
    [RAFT_MSG_PRE_VOTE_REPLY] = "pre-vote-reply",
    [RAFT_MSG_VOTE] = "vote",
    [RAFT_MSG_VOTE_REPLY] = "vote-reply",
    [RAFT_MSG_APPEND] = "append",
    [RAFT_MSG_APPEND_REPLY] = "append-reply",
    [RAFT_MSG_READ_INDEX] = "read-index",
    [RAFT_MSG_READ_INDEX_REPLY] = "read-index-reply",
    [RAFT_MSG_TIMEOUT_NOW] = "timeout-now",
    [RAFT_MSG_TIMEOUT_NOW_REPLY] = "timeout-now-reply",
    [RAFT_MSG_SNAPSHOT] = "snapshot",
    [RAFT_MSG_SNAPSHOT_REPLY] = "snapshot-reply",
    [RAFT_MSG_CLAIMS_LEFT] = "claims-left",
};

const char *msgs_type_name(enum raft_msg_type type)
{
    if ((unsigned)type >= RAFT_MSG_TYPE_COUNT || !type_names[type]) {
        return "?";
    }
    return type_names[type];
}

enum raft_msg_type msgs_type_by_name(const char *name)
{
    for (unsigned i = 1; i < RAFT_MSG_TYPE_COUNT; i++) {
        if (type_names[i] && strcmp(name, type_names[i]) == 0) {
            return (enum raft_msg_type)i;
        }
    }
    return (enum raft_msg_type)0;
}

const char *msgs_state_name(enum raft_state state)
{
    static const char *const names[] = {"unconfigured", "follower", "pre-candidate", "candidate",
                                        "leader"};

    return (unsigned)state < sizeof names / sizeof *names ? names[state] : "?";
}

const char *msgs_entry_name(enum raft_entry_type type)
{
    static const char *const names[] = {"?", "noop", "membership", "command"};

    return (unsigned)type < sizeof names / sizeof *names ? names[type] : "?";
}

static void append_text(const struct raft_msg *m, struct buf *out)
{
    buf_printf(out, " prev=%" PRIu64 "/%" PRIu64 " commit=%" PRIu64, m->index, m->log_term,
               m->commit);
    if (m->entries_count == 0) {
        return;
    }
    buf_printf(out, " entries=[");
    for (uint32_t i = 0; i < m->entries_count; i++) {
        const struct raft_entry *e = &m->entries[i];

        buf_printf(out, "%s%" PRIu64 "/%" PRIu64 " %s", i ? ", " : "", e->index, e->term,
                   msgs_entry_name(e->type));
        if (e->type == RAFT_ENTRY_COMMAND && e->data && e->data->size <= 16) {
            buf_printf(out, " \"%.*s\"", (int)e->data->size, (const char *)e->data->data);
        }
    }
    buf_put_str(out, "]");
}

static const char *decline_name(uint64_t why)
{
    static const char *const names[RAFT_DECLINE_COUNT] = {"declined", "declined,no-voter",
                                                          "declined,short-log", "declined,disk",
                                                          "declined,retiring"};

    return why < RAFT_DECLINE_COUNT ? names[why] : names[0];
}

enum raft_msg_type msgs_reply_of(enum raft_msg_type type)
{
    static const enum raft_msg_type replies[RAFT_MSG_TYPE_COUNT] = {
        [RAFT_MSG_PRE_VOTE] = RAFT_MSG_PRE_VOTE_REPLY,
        [RAFT_MSG_VOTE] = RAFT_MSG_VOTE_REPLY,
        [RAFT_MSG_APPEND] = RAFT_MSG_APPEND_REPLY,
        [RAFT_MSG_READ_INDEX] = RAFT_MSG_READ_INDEX_REPLY,
        [RAFT_MSG_TIMEOUT_NOW] = RAFT_MSG_TIMEOUT_NOW_REPLY,
        [RAFT_MSG_SNAPSHOT] = RAFT_MSG_SNAPSHOT_REPLY,
    };

    return replies[type];
}

void msgs_text(const struct raft_msg *m, struct buf *out)
{
    buf_printf(out, "%" PRIu32 "->%" PRIu32 " %s term=%" PRIu64, m->from, m->to,
               msgs_type_name(m->type), m->term);
    switch (m->type) {
    case RAFT_MSG_PRE_VOTE:
    case RAFT_MSG_VOTE:
        buf_printf(out, " last=%" PRIu64 "/%" PRIu64 "%s", m->index, m->log_term,
                   m->transfer ? " transfer" : "");
        break;
    case RAFT_MSG_PRE_VOTE_REPLY:
    case RAFT_MSG_VOTE_REPLY:
        buf_put_str(out, m->reject ? " refused" : " granted");
        break;
    case RAFT_MSG_APPEND:
        append_text(m, out);
        break;
    case RAFT_MSG_APPEND_REPLY:
        if (m->reject) {
            buf_printf(out, " rejected prev=%" PRIu64 " hint=%" PRIu64 "/%" PRIu64, m->index,
                       m->hint, m->log_term);
        } else {
            buf_printf(out, " match=%" PRIu64, m->index);
        }
        break;
    case RAFT_MSG_READ_INDEX:
        buf_printf(out, " request=%" PRIu64, m->seq);
        break;
    case RAFT_MSG_READ_INDEX_REPLY:
        buf_printf(out, " request=%" PRIu64, m->seq);
        if (m->reject) {
            buf_put_str(out, " refused");
        } else {
            buf_printf(out, " index=%" PRIu64, m->index);
        }
        break;
    case RAFT_MSG_TIMEOUT_NOW:
        buf_printf(out, " last=%" PRIu64 "/%" PRIu64 " hold=%" PRIu32, m->index, m->log_term,
                   m->hold_ms);
        break;
    case RAFT_MSG_TIMEOUT_NOW_REPLY:
        buf_printf(out, " %s last=%" PRIu64 "/%" PRIu64,
                   m->reject ? decline_name(m->hint) : "accepted", m->index, m->log_term);
        break;
    case RAFT_MSG_SNAPSHOT:
        buf_printf(out, " of=%" PRIu64 "/%" PRIu64 " offset=%" PRIu64 "+%" PRIu32 "%s", m->index,
                   m->log_term, m->offset, m->data ? m->data->size : 0, m->done ? " last" : "");
        break;
    case RAFT_MSG_SNAPSHOT_REPLY:
        buf_printf(out, " of=%" PRIu64 " has=%" PRIu64 "%s", m->index, m->offset,
                   m->reject ? " rejected"
                   : m->done ? " installed"
                             : "");
        break;
    case RAFT_MSG_CLAIMS_LEFT:
        buf_printf(out, " hold=%" PRIu32, m->hold_ms);
        break;
    case RAFT_MSG_TYPE_COUNT:
    default:
        break;
    }
}

void msgs_copy_raft(const struct raft_msg *from, struct raft_msg *to)
{
    *to = *from;
    (void)blob_ref(to->data);
    if (from->entries_count == 0) {
        to->entries = NULL;
        return;
    }
    to->entries = mem_dup(from->entries, from->entries_count * sizeof *from->entries);
    for (uint32_t i = 0; i < to->entries_count; i++) {
        (void)blob_ref(to->entries[i].data);
    }
}

void msgs_copy(const struct peer_msg *from, struct peer_msg *to)
{
    *to = *from;
    switch (from->type) {
    case PEER_HELLO:
        to->hello = mem_dup(from->hello, sizeof *from->hello);
        break;
    case PEER_RAFT:
        msgs_copy_raft(&from->raft, &to->raft);
        break;
    case PEER_FORWARD:
        (void)blob_ref(to->forward.txn);
        break;
    case PEER_REFUSAL:
        to->refusal = mem_dup(from->refusal, sizeof *from->refusal);
        break;
    case PEER_PROGRESS:
        to->progress = mem_dup(from->progress, sizeof *from->progress);
        break;
    case PEER_CHANGE:
        to->change = mem_dup(from->change, sizeof *from->change);
        break;
    case PEER_CHANGE_REPLY:
        to->change_reply = mem_dup(from->change_reply, sizeof *from->change_reply);
        break;
    case PEER_FORWARD_REPLY:
    case PEER_PROGRESS_ASK:
    default:
        break;
    }
}
