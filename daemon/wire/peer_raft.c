/* Raft messages. One set of rules, message_is_valid(), serves both directions: what it refuses
 * from others we assert never to send. */
#include <string.h>

#include "base/check.h"
#include "base/err.h"
#include "wire/peer_internal.h"

/* Worst case of an envelope full of entries: a size (3 bytes) each, and every one a run of its own:
 * term (9), type (1), count (2). The rest of the message fits easily in what is left. */
enum { ENTRY_COST_MAX = 3 + 9 + 1 + 2, HEAD_COST_MAX = 256 };
_Static_assert(PEER_ENTRIES_MAX *ENTRY_COST_MAX + HEAD_COST_MAX <= FRAME_HEADER_MAX,
               "an append fits its envelope");
_Static_assert(PEER_PAYLOAD_MAX + FRAME_HEAD + FRAME_HEADER_MAX <= FRAME_PEER_MAX,
               "an append fits a frame");

#define SAME(ours, theirs) _Static_assert((int)(ours) == (int)(theirs), #ours)
SAME(RAFT_MSG_PRE_VOTE, RAFTD__PEER__RAFT_TYPE__PRE_VOTE);
SAME(RAFT_MSG_PRE_VOTE_REPLY, RAFTD__PEER__RAFT_TYPE__PRE_VOTE_REPLY);
SAME(RAFT_MSG_VOTE, RAFTD__PEER__RAFT_TYPE__VOTE);
SAME(RAFT_MSG_VOTE_REPLY, RAFTD__PEER__RAFT_TYPE__VOTE_REPLY);
SAME(RAFT_MSG_APPEND, RAFTD__PEER__RAFT_TYPE__APPEND);
SAME(RAFT_MSG_APPEND_REPLY, RAFTD__PEER__RAFT_TYPE__APPEND_REPLY);
SAME(RAFT_MSG_READ_INDEX, RAFTD__PEER__RAFT_TYPE__READ_INDEX);
SAME(RAFT_MSG_READ_INDEX_REPLY, RAFTD__PEER__RAFT_TYPE__READ_INDEX_REPLY);
SAME(RAFT_MSG_TIMEOUT_NOW, RAFTD__PEER__RAFT_TYPE__TIMEOUT_NOW);
SAME(RAFT_MSG_TIMEOUT_NOW_REPLY, RAFTD__PEER__RAFT_TYPE__TIMEOUT_NOW_REPLY);
SAME(RAFT_MSG_SNAPSHOT, RAFTD__PEER__RAFT_TYPE__SNAPSHOT);
SAME(RAFT_MSG_SNAPSHOT_REPLY, RAFTD__PEER__RAFT_TYPE__SNAPSHOT_REPLY);
SAME(RAFT_MSG_CLAIMS_LEFT, RAFTD__PEER__RAFT_TYPE__CLAIMS_LEFT);
SAME(RAFT_ENTRY_NOOP, RAFTD__PEER__ENTRY_TYPE__NOOP);
SAME(RAFT_ENTRY_MEMBERSHIP, RAFTD__PEER__ENTRY_TYPE__MEMBERSHIP);
SAME(RAFT_ENTRY_COMMAND, RAFTD__PEER__ENTRY_TYPE__COMMAND);
#undef SAME

static bool head_is_valid(const Raftd__Peer__Raft *m)
{
    int type = (int)m->type; /* any value may come in: compare as a number */
    bool may_hold = type == RAFT_MSG_TIMEOUT_NOW || type == RAFT_MSG_CLAIMS_LEFT;

    return type >= RAFT_MSG_PRE_VOTE && type < RAFT_MSG_TYPE_COUNT && m->from != 0 && m->to != 0 &&
           field_is_uuid(&m->cluster) && field_is_number(m->term) && field_is_number(m->seq) &&
           field_is_number(m->stamp) && field_is_number(m->session) && field_is_number(m->index) &&
           field_is_number(m->log_term) && field_is_number(m->commit) && field_is_number(m->hint) &&
           m->hold_ms <= (may_hold ? PEER_HOLD_MS_MAX : 0);
}

/* Only a snapshot comes in pieces, and none of them is empty. */
static bool piece_is_valid(const Raftd__Peer__Raft *m, size_t payload_size)
{
    switch ((int)m->type) {
    case RAFT_MSG_SNAPSHOT:
        return field_is_number(m->offset) && payload_size > 0 && payload_size <= PEER_PAYLOAD_MAX &&
               m->n_entry_sizes == 0;
    case RAFT_MSG_SNAPSHOT_REPLY:
        return field_is_number(m->offset) && payload_size == 0;
    default:
        return m->offset == 0 && !m->done;
    }
}

static bool sizes_are_valid(const Raftd__Peer__Raft *m, size_t payload_size)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < m->n_entry_sizes; i++) {
        if (m->entry_sizes[i] > RAFT_PAYLOAD_MAX) {
            return false;
        }
        sum += m->entry_sizes[i];
    }
    return sum == payload_size && sum <= PEER_PAYLOAD_MAX;
}

static bool runs_are_valid(const Raftd__Peer__Raft *m)
{
    raft_term before = m->log_term > 0 ? m->log_term : 1;
    uint64_t sum = 0;

    for (size_t r = 0; r < m->n_run_counts; r++) {
        int type = (int)m->run_types[r];
        if (type < RAFT_ENTRY_NOOP || type > RAFT_ENTRY_COMMAND || m->run_counts[r] == 0 ||
            m->run_terms[r] < before || m->run_terms[r] > m->term) {
            return false;
        }
        before = m->run_terms[r];
        sum += m->run_counts[r];
    }
    return sum == m->n_entry_sizes;
}

static bool message_is_valid(const Raftd__Peer__Raft *m, size_t payload_size)
{
    size_t count = m->n_entry_sizes;

    if (!head_is_valid(m) || !piece_is_valid(m, payload_size) || count > PEER_ENTRIES_MAX ||
        m->index > FIELD_NUMBER_MAX - count || m->n_run_counts > count ||
        m->n_run_terms != m->n_run_counts || m->n_run_types != m->n_run_counts) {
        return false;
    }
    if (count > 0 && (int)m->type != RAFT_MSG_APPEND) {
        return false;
    }
    size_t entries_size = (int)m->type == RAFT_MSG_SNAPSHOT ? 0 : payload_size;
    return sizes_are_valid(m, entries_size) && runs_are_valid(m);
}

static uint32_t entry_size(const struct raft_entry *e)
{
    return e->data ? e->data->size : 0;
}

/* Arrays for the envelope: one allocation, `memory`, for the caller to free. */
static size_t entries_describe(const struct raft_msg *msg, Raftd__Peer__Raft *m, void **memory)
{
    size_t count = msg->entries_count;
    uint64_t *terms = mem_alloc(count * (sizeof *terms + sizeof *m->entry_sizes +
                                         sizeof *m->run_types + sizeof *m->run_counts));
    size_t payload = 0, runs = 0;

    *memory = terms;
    m->run_terms = terms;
    m->entry_sizes = (uint32_t *)(terms + count);
    m->run_counts = m->entry_sizes + count;
    m->run_types = (Raftd__Peer__EntryType *)(m->run_counts + count);
    for (size_t i = 0; i < count; i++) {
        const struct raft_entry *e = &msg->entries[i];
        rd_assert(e->index == msg->index + 1 + i);
        m->entry_sizes[i] = entry_size(e);
        payload += m->entry_sizes[i];
        if (runs == 0 || terms[runs - 1] != e->term ||
            (int)m->run_types[runs - 1] != (int)e->type) {
            terms[runs] = e->term;
            m->run_types[runs] = (Raftd__Peer__EntryType)e->type;
            m->run_counts[runs++] = 0;
        }
        m->run_counts[runs - 1]++;
    }
    m->n_entry_sizes = count;
    m->n_run_terms = m->n_run_types = m->n_run_counts = runs;
    return payload;
}

void peer_raft_encode(const struct raft_msg *msg, struct buf *out)
{
    Raftd__Peer__Raft m;
    void *memory = NULL;
    size_t payload = msg->data ? msg->data->size : 0;

    rd_assert(msg->entries_count <= PEER_ENTRIES_MAX);
    raftd__peer__raft__init(&m);
    m.type = (Raftd__Peer__RaftType)msg->type;
    m.cluster = field_uuid(&msg->cluster);
    m.from = msg->from;
    m.to = msg->to;
    m.term = msg->term;
    m.seq = msg->seq;
    m.stamp = msg->stamp;
    m.session = msg->session;
    m.index = msg->index;
    m.log_term = msg->log_term;
    m.chain = msg->chain;
    m.commit = msg->commit;
    m.hint = msg->hint;
    m.reject = msg->reject;
    m.transfer = msg->transfer;
    m.hold_ms = msg->hold_ms;
    m.offset = msg->offset;
    m.done = msg->done;
    if (msg->entries_count > 0) {
        payload = entries_describe(msg, &m, &memory);
    }
    rd_assert(message_is_valid(&m, payload));
    Raftd__Peer__Envelope e = peer_envelope(RAFTD__PEER__ENVELOPE__BODY_RAFT);
    e.raft = &m;
    size_t at = field_pack(&e.base, payload, out);
    if (msg->data) {
        buf_put(out, msg->data->data, msg->data->size);
    }
    for (uint32_t i = 0; i < msg->entries_count; i++) {
        if (msg->entries[i].data) {
            buf_put(out, msg->entries[i].data->data, msg->entries[i].data->size);
        }
    }
    peer_end(out, at);
    mem_free(memory);
}

static struct raft_entry *entries_build(const Raftd__Peer__Raft *m, const struct frame *frame)
{
    struct raft_entry *entries = mem_alloc(m->n_entry_sizes * sizeof *entries);
    const uint8_t *at = frame->payload;
    size_t run = 0, left = m->run_counts[0];

    for (size_t i = 0; i < m->n_entry_sizes; i++) {
        while (left == 0) {
            left = m->run_counts[++run];
        }
        left--;
        entries[i] = (struct raft_entry){
            .index = m->index + 1 + i,
            .term = m->run_terms[run],
            .type = (enum raft_entry_type)m->run_types[run],
            .data = field_copy_blob(at, m->entry_sizes[i]),
        };
        at += m->entry_sizes[i];
    }
    return entries;
}

int peer_raft_decode(const Raftd__Peer__Raft *m, const struct frame *frame, struct raft_msg *out)
{
    if (!message_is_valid(m, frame->payload_size)) {
        return -RD_EPROTOCOL;
    }
    *out = (struct raft_msg){
        .type = (enum raft_msg_type)m->type,
        .cluster = field_copy_uuid(&m->cluster),
        .from = m->from,
        .to = m->to,
        .term = m->term,
        .seq = m->seq,
        .stamp = m->stamp,
        .session = m->session,
        .index = m->index,
        .log_term = m->log_term,
        .chain = m->chain,
        .commit = m->commit,
        .hint = m->hint,
        .reject = m->reject != 0,
        .transfer = m->transfer != 0,
        .hold_ms = m->hold_ms,
        .offset = m->offset,
        .done = m->done != 0,
        .data = (int)m->type == RAFT_MSG_SNAPSHOT
                    ? field_copy_blob(frame->payload, frame->payload_size)
                    : NULL,
        .entries = m->n_entry_sizes > 0 ? entries_build(m, frame) : NULL,
        .entries_count = (uint32_t)m->n_entry_sizes,
    };
    return 0;
}
