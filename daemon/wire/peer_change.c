/* Changes of the membership, or of who leads, and the answers to them. As with Raft messages, one
 * set of rules serves both directions: what it refuses from others we assert never to send. */
#include "base/check.h"
#include "base/err.h"
#include "wire/peer_internal.h"

#define SAME(ours, theirs) _Static_assert((int)(ours) == (int)(theirs), #ours)
SAME(PEER_CHANGE_ADD, RAFTD__PEER__CHANGE_KIND__ADD);
SAME(PEER_CHANGE_PROMOTE, RAFTD__PEER__CHANGE_KIND__PROMOTE);
SAME(PEER_CHANGE_DEMOTE, RAFTD__PEER__CHANGE_KIND__DEMOTE);
SAME(PEER_CHANGE_REMOVE, RAFTD__PEER__CHANGE_KIND__REMOVE);
SAME(PEER_CHANGE_TRANSFER, RAFTD__PEER__CHANGE_KIND__TRANSFER);
SAME(PEER_CHANGE_DIALLING, RAFTD__PEER__CHANGE_STEP__DIALLING);
SAME(PEER_CHANGE_COMMITTING, RAFTD__PEER__CHANGE_STEP__COMMITTING);
SAME(PEER_CHANGE_CATCHING_UP, RAFTD__PEER__CHANGE_STEP__CATCHING_UP);
SAME(PEER_CHANGE_HANDING_OVER, RAFTD__PEER__CHANGE_STEP__HANDING_OVER);
SAME(PEER_CHANGE_DONE, RAFTD__PEER__CHANGE_STEP__DONE);
SAME(PEER_CHANGE_REFUSED, RAFTD__PEER__CHANGE_STEP__REFUSED);
SAME(0, RAFTD__PEER__ROLE__NO_MEMBER);
SAME(RAFT_LEARNER, RAFTD__PEER__ROLE__LEARNER);
SAME(RAFT_VOTER, RAFTD__PEER__ROLE__VOTER);
#undef SAME

/* ---- The change ---- */

static bool change_is_valid(const Raftd__Peer__Change *m)
{
    int kind = (int)m->kind; /* any value may come in: compare as a number */

    return field_is_number(m->incarnation) && m->seq > 0 && field_is_number(m->seq) &&
           kind >= PEER_CHANGE_ADD && kind <= PEER_CHANGE_TRANSFER &&
           (m->id != 0 || kind == PEER_CHANGE_TRANSFER) && field_is_number(m->term) &&
           field_text_fits(&m->address, RAFT_ADDRESS_SIZE) &&
           (m->address.len > 0) == (kind == PEER_CHANGE_ADD);
}

void peer_change_encode(const struct peer_change *c, struct buf *out)
{
    Raftd__Peer__Change m;
    struct peer_change copy = *c;

    raftd__peer__change__init(&m);
    m.incarnation = c->incarnation;
    m.seq = c->seq;
    m.kind = (Raftd__Peer__ChangeKind)c->kind;
    m.id = c->id;
    m.replaces = c->replaces;
    m.term = c->term;
    m.learner = c->learner;
    m.no_wait = c->no_wait;
    m.force = c->force;
    m.address = field_mended(copy.address, sizeof copy.address);
    rd_assert(change_is_valid(&m));
    Raftd__Peer__Envelope e = peer_envelope(RAFTD__PEER__ENVELOPE__BODY_CHANGE);
    e.change = &m;
    peer_end(out, field_pack(&e.base, 0, out));
}

int peer_change_decode(const Raftd__Peer__Change *m, const struct frame *frame,
                       struct peer_msg *out)
{
    if (frame->payload_size > 0 || !change_is_valid(m)) {
        return -RD_EPROTOCOL;
    }
    struct peer_change *c = mem_zalloc(sizeof *c);
    c->incarnation = m->incarnation;
    c->seq = m->seq;
    c->kind = (enum peer_change_kind)m->kind;
    c->id = m->id;
    c->replaces = m->replaces;
    c->term = m->term;
    c->learner = m->learner != 0;
    c->no_wait = m->no_wait != 0;
    c->force = m->force != 0;
    field_copy_text(&m->address, c->address);
    *out = (struct peer_msg){.type = PEER_CHANGE, .change = c};
    return 0;
}

/* ---- The answer ---- */

static bool reply_is_valid(const Raftd__Peer__ChangeReply *m)
{
    int step = (int)m->step;
    int role = (int)m->role;

    return field_is_number(m->incarnation) && m->seq > 0 && field_is_number(m->seq) &&
           step >= PEER_CHANGE_DIALLING && step <= PEER_CHANGE_REFUSED &&
           (m->code != 0) == (step == PEER_CHANGE_REFUSED) && field_is_number(m->index) &&
           role >= RAFTD__PEER__ROLE__NO_MEMBER && role <= RAFT_VOTER &&
           field_is_number(m->match) && field_is_number(m->last) && field_is_number(m->term) &&
           field_text_fits(&m->why, PEER_WHY_SIZE);
}

void peer_change_reply_encode(const struct peer_change_reply *r, struct buf *out)
{
    Raftd__Peer__ChangeReply m;
    struct peer_change_reply copy = *r;

    rd_assert(r->code <= 0 && field_is_code((uint32_t)-r->code));
    raftd__peer__change_reply__init(&m);
    m.incarnation = r->incarnation;
    m.seq = r->seq;
    m.step = (Raftd__Peer__ChangeStep)r->step;
    m.code = (uint32_t)-r->code;
    m.index = r->index;
    m.role = (Raftd__Peer__Role)r->role;
    m.match = r->match;
    m.last = r->last;
    m.from = r->from;
    m.to = r->to;
    m.term = r->term;
    m.gap_ms = r->gap_ms;
    m.why = field_mended(copy.why, sizeof copy.why);
    rd_assert(reply_is_valid(&m));
    Raftd__Peer__Envelope e = peer_envelope(RAFTD__PEER__ENVELOPE__BODY_CHANGE_REPLY);
    e.change_reply = &m;
    peer_end(out, field_pack(&e.base, 0, out));
}

int peer_change_reply_decode(const Raftd__Peer__ChangeReply *m, const struct frame *frame,
                             struct peer_msg *out)
{
    if (frame->payload_size > 0 || !reply_is_valid(m)) {
        return -RD_EPROTOCOL;
    }
    struct peer_change_reply *r = mem_zalloc(sizeof *r);
    r->incarnation = m->incarnation;
    r->seq = m->seq;
    r->step = (enum peer_change_step)m->step;
    /* A newer leader may know more reasons: its sentence says which. */
    r->code = field_is_code(m->code) ? -(int)m->code : -RD_EINVALID;
    r->index = m->index;
    r->role = (enum raft_role)m->role;
    r->match = m->match;
    r->last = m->last;
    r->from = m->from;
    r->to = m->to;
    r->term = m->term;
    r->gap_ms = m->gap_ms;
    field_copy_text(&m->why, r->why);
    *out = (struct peer_msg){.type = PEER_CHANGE_REPLY, .change_reply = r};
    return 0;
}
