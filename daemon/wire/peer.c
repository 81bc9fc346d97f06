#include "wire/peer.h"

#include <string.h>

#include "base/check.h"
#include "base/err.h"
#include "wire/arena.h"
#include "wire/peer_internal.h"

/* ---- Forwarded writes ---- */

static bool forward_is_valid(const Raftd__Peer__Forward *m, size_t payload_size)
{
    return m->node != 0 && field_is_number(m->incarnation) && m->seq > 0 &&
           field_is_number(m->seq) && m->floor <= m->seq && m->seq - m->floor < STATE_WINDOW_MAX &&
           field_is_number(m->session) && payload_size > 0 && payload_size <= STATE_REQUEST_MAX;
}

static void forward_encode(const struct peer_forward *f, struct buf *out)
{
    Raftd__Peer__Forward m;

    raftd__peer__forward__init(&m);
    m.node = f->request.node;
    m.incarnation = f->request.incarnation;
    m.seq = f->request.seq;
    m.floor = f->request.floor;
    m.session = f->session;
    rd_assert(f->txn && forward_is_valid(&m, f->txn->size));
    Raftd__Peer__Envelope e = peer_envelope(RAFTD__PEER__ENVELOPE__BODY_FORWARD);
    e.forward = &m;
    size_t at = field_pack(&e.base, f->txn->size, out);
    buf_put(out, f->txn->data, f->txn->size);
    peer_end(out, at);
}

static int forward_decode(const Raftd__Peer__Forward *m, const struct frame *frame,
                          struct peer_msg *out)
{
    if (!forward_is_valid(m, frame->payload_size)) {
        return -RD_EPROTOCOL;
    }
    *out = (struct peer_msg){
        .type = PEER_FORWARD,
        .forward = {.request = {.node = m->node,
                                .incarnation = m->incarnation,
                                .seq = m->seq,
                                .floor = m->floor},
                    .session = m->session,
                    .txn = blob_copy(frame->payload, frame->payload_size)},
    };
    return 0;
}

static bool forward_reply_is_valid(const Raftd__Peer__ForwardReply *m)
{
    return field_is_number(m->incarnation) && m->seq > 0 && field_is_number(m->seq) &&
           field_is_code(m->code) && field_is_number(m->revision) && field_is_number(m->index) &&
           field_is_number(m->term) && field_is_number(m->actual) &&
           field_is_number(m->free_bytes) && field_is_number(m->reserve_bytes);
}

static void forward_reply_encode(const struct peer_forward_reply *r, struct buf *out)
{
    Raftd__Peer__ForwardReply m;

    rd_assert(r->result.code <= 0);
    raftd__peer__forward_reply__init(&m);
    m.incarnation = r->incarnation;
    m.seq = r->seq;
    m.code = (uint32_t)-r->result.code;
    m.repeated_request = r->result.repeated;
    m.succeeded = r->result.succeeded;
    m.revision = r->result.revision;
    m.index = r->result.index;
    m.term = r->result.term;
    m.actual = r->result.actual;
    m.deleted = r->result.deleted;
    m.disk_low = r->disk_low;
    m.free_bytes = r->free_bytes;
    m.reserve_bytes = r->reserve_bytes;
    rd_assert(forward_reply_is_valid(&m));
    Raftd__Peer__Envelope e = peer_envelope(RAFTD__PEER__ENVELOPE__BODY_FORWARD_REPLY);
    e.forward_reply = &m;
    peer_end(out, field_pack(&e.base, 0, out));
}

static int forward_reply_decode(const Raftd__Peer__ForwardReply *m, const struct frame *frame,
                                struct peer_msg *out)
{
    if (frame->payload_size > 0 || !forward_reply_is_valid(m)) {
        return -RD_EPROTOCOL;
    }
    *out = (struct peer_msg){
        .type = PEER_FORWARD_REPLY,
        .forward_reply = {.incarnation = m->incarnation,
                          .seq = m->seq,
                          .result = {.code = -(int)m->code,
                                     .repeated = m->repeated_request != 0,
                                     .succeeded = m->succeeded != 0,
                                     .revision = m->revision,
                                     .index = m->index,
                                     .term = m->term,
                                     .actual = m->actual,
                                     .deleted = m->deleted},
                          .disk_low = m->disk_low != 0,
                          .free_bytes = m->free_bytes,
                          .reserve_bytes = m->reserve_bytes},
    };
    return 0;
}

/* ---- Refusal ---- */

static bool refusal_is_valid(const Raftd__Peer__Refusal *m)
{
    return m->code != 0 && field_text_fits(&m->why, PEER_WHY_SIZE) && field_is_uuid(&m->cluster) &&
           field_is_number(m->index);
}

static void refusal_encode(const struct peer_refusal *r, struct buf *out)
{
    Raftd__Peer__Refusal m;
    struct peer_refusal copy = *r;

    rd_assert(r->code < 0 && field_is_code((uint32_t)-r->code));
    raftd__peer__refusal__init(&m);
    m.code = (uint32_t)-r->code;
    m.why = field_mended(copy.why, sizeof copy.why);
    if (r->code == -RD_EREMOVED) {
        m.cluster = field_uuid(&r->cluster);
        m.index = r->index;
    }
    rd_assert(refusal_is_valid(&m));
    Raftd__Peer__Envelope e = peer_envelope(RAFTD__PEER__ENVELOPE__BODY_REFUSAL);
    e.refusal = &m;
    peer_end(out, field_pack(&e.base, 0, out));
}

static int refusal_decode(const Raftd__Peer__Refusal *m, const struct frame *frame,
                          struct peer_msg *out)
{
    if (frame->payload_size > 0 || !refusal_is_valid(m)) {
        return -RD_EPROTOCOL;
    }
    struct peer_refusal *r = mem_zalloc(sizeof *r);
    /* It may come from a newer raftd: its sentence matters more than its number. */
    r->code = field_is_code(m->code) ? -(int)m->code : -RD_EPROTOCOL;
    field_copy_text(&m->why, r->why);
    if (r->code == -RD_EREMOVED) { /* with any other they mean nothing yet */
        r->cluster = field_copy_uuid(&m->cluster);
        r->index = m->index;
    }
    *out = (struct peer_msg){.type = PEER_REFUSAL, .refusal = r};
    return 0;
}

/* ---- Progress ---- */

static void progress_ask_encode(const struct peer_progress_ask *a, struct buf *out)
{
    Raftd__Peer__ProgressAsk m;

    rd_assert(a->seq > 0 && field_is_number(a->seq));
    raftd__peer__progress_ask__init(&m);
    m.seq = a->seq;
    Raftd__Peer__Envelope e = peer_envelope(RAFTD__PEER__ENVELOPE__BODY_PROGRESS_ASK);
    e.progress_ask = &m;
    peer_end(out, field_pack(&e.base, 0, out));
}

static int progress_ask_decode(const Raftd__Peer__ProgressAsk *m, const struct frame *frame,
                               struct peer_msg *out)
{
    if (frame->payload_size > 0 || m->seq == 0 || !field_is_number(m->seq)) {
        return -RD_EPROTOCOL;
    }
    *out = (struct peer_msg){.type = PEER_PROGRESS_ASK, .progress_ask = {.seq = m->seq}};
    return 0;
}

static bool member_progress_is_valid(const Raftd__Peer__MemberProgress *m)
{
    return m->id != 0 && field_is_number(m->match) && field_is_number(m->contact_ms) &&
           (m->heard || m->contact_ms == 0);
}

static bool progress_is_valid(const Raftd__Peer__Progress *m)
{
    if (m->seq == 0 || !field_is_number(m->seq) || !field_is_number(m->term) ||
        !field_is_number(m->last) || m->n_members > RAFT_MEMBERS_MAX) {
        return false;
    }
    for (size_t i = 0; i < m->n_members; i++) {
        if (!member_progress_is_valid(m->members[i])) {
            return false;
        }
        for (size_t k = 0; k < i; k++) {
            if (m->members[k]->id == m->members[i]->id) {
                return false;
            }
        }
    }
    return true;
}

static void progress_encode(const struct peer_progress *p, struct buf *out)
{
    Raftd__Peer__Progress m;
    Raftd__Peer__MemberProgress members[RAFT_MEMBERS_MAX];
    Raftd__Peer__MemberProgress *pointers[RAFT_MEMBERS_MAX];

    rd_assert(p->members_count <= RAFT_MEMBERS_MAX);
    for (uint32_t i = 0; i < p->members_count; i++) {
        raftd__peer__member_progress__init(&members[i]);
        members[i].id = p->members[i].id;
        members[i].match = p->members[i].match;
        members[i].heard = p->members[i].contact_ms != UINT64_MAX;
        members[i].contact_ms = members[i].heard ? p->members[i].contact_ms : 0;
        pointers[i] = &members[i];
    }
    raftd__peer__progress__init(&m);
    m.seq = p->seq;
    m.term = p->term;
    m.last = p->last;
    m.n_members = p->members_count;
    m.members = pointers;
    rd_assert(progress_is_valid(&m));
    Raftd__Peer__Envelope e = peer_envelope(RAFTD__PEER__ENVELOPE__BODY_PROGRESS);
    e.progress = &m;
    peer_end(out, field_pack(&e.base, 0, out));
}

static int progress_decode(const Raftd__Peer__Progress *m, const struct frame *frame,
                           struct peer_msg *out)
{
    if (frame->payload_size > 0 || !progress_is_valid(m)) {
        return -RD_EPROTOCOL;
    }
    struct peer_progress *p = mem_zalloc(sizeof *p);
    p->seq = m->seq;
    p->term = m->term;
    p->last = m->last;
    p->members_count = (uint32_t)m->n_members;
    for (uint32_t i = 0; i < p->members_count; i++) {
        p->members[i].id = m->members[i]->id;
        p->members[i].match = m->members[i]->match;
        p->members[i].contact_ms = m->members[i]->heard ? m->members[i]->contact_ms : UINT64_MAX;
    }
    *out = (struct peer_msg){.type = PEER_PROGRESS, .progress = p};
    return 0;
}

/* ---- All of them ---- */

void peer_encode(const struct peer_msg *msg, struct buf *out)
{
    rd_assert(msg->type >= PEER_HELLO && msg->type <= PEER_CHANGE_REPLY);
    switch (msg->type) {
    case PEER_HELLO:
        peer_hello_encode(msg->hello, out);
        return;
    case PEER_RAFT:
        peer_raft_encode(&msg->raft, out);
        return;
    case PEER_FORWARD:
        forward_encode(&msg->forward, out);
        return;
    case PEER_FORWARD_REPLY:
        forward_reply_encode(&msg->forward_reply, out);
        return;
    case PEER_REFUSAL:
        refusal_encode(msg->refusal, out);
        return;
    case PEER_PROGRESS_ASK:
        progress_ask_encode(&msg->progress_ask, out);
        return;
    case PEER_PROGRESS:
        progress_encode(msg->progress, out);
        return;
    case PEER_CHANGE:
        peer_change_encode(msg->change, out);
        return;
    case PEER_CHANGE_REPLY:
        peer_change_reply_encode(msg->change_reply, out);
        return;
    }
}

static int body_decode(const Raftd__Peer__Envelope *e, const struct frame *frame,
                       struct peer_msg *out)
{
    switch (e->body_case) {
    case RAFTD__PEER__ENVELOPE__BODY_HELLO:
        return peer_hello_decode(e->hello, frame, out);
    case RAFTD__PEER__ENVELOPE__BODY_RAFT: {
        struct peer_msg msg = {.type = PEER_RAFT};
        int err = peer_raft_decode(e->raft, frame, &msg.raft);
        if (err == 0) {
            *out = msg;
        }
        return err;
    }
    case RAFTD__PEER__ENVELOPE__BODY_FORWARD:
        return forward_decode(e->forward, frame, out);
    case RAFTD__PEER__ENVELOPE__BODY_FORWARD_REPLY:
        return forward_reply_decode(e->forward_reply, frame, out);
    case RAFTD__PEER__ENVELOPE__BODY_REFUSAL:
        return refusal_decode(e->refusal, frame, out);
    case RAFTD__PEER__ENVELOPE__BODY_PROGRESS_ASK:
        return progress_ask_decode(e->progress_ask, frame, out);
    case RAFTD__PEER__ENVELOPE__BODY_PROGRESS:
        return progress_decode(e->progress, frame, out);
    case RAFTD__PEER__ENVELOPE__BODY_CHANGE:
        return peer_change_decode(e->change, frame, out);
    case RAFTD__PEER__ENVELOPE__BODY_CHANGE_REPLY:
        return peer_change_reply_decode(e->change_reply, frame, out);
    case RAFTD__PEER__ENVELOPE__BODY__NOT_SET:
    case _RAFTD__PEER__ENVELOPE__BODY__CASE_IS_INT_SIZE:
        break; /* nothing we know */
    }
    return -RD_EPROTOCOL;
}

int peer_decode(const struct frame *frame, struct peer_msg *out)
{
    struct arena arena;
    int err = -RD_EPROTOCOL;

    arena_init(&arena, arena_cap(frame->header_size));
    const Raftd__Peer__Envelope *e =
        arena_unpack(&arena, &raftd__peer__envelope__descriptor, frame);
    if (e) {
        err = peer_sum_check(frame, e);
        err = err ? err : body_decode(e, frame, out);
    }
    if (err == 0) {
        out->is_summed = e->sum_presence_case == RAFTD__PEER__ENVELOPE__SUM_PRESENCE_SUM;
    }
    arena_done(&arena);
    return err;
}
