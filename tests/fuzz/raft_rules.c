/* What holds for one core whatever the others send. (What a cluster owes, leader completeness and so on, is not to
 * be had with peers that lie; the simulator looks after it.)
 *
 *   terms never fall, and a vote that was given stays for its term
 *   the commit index never falls, is within the log, and no entry at or below it is ever another (by chain)
 *   a leader never cuts its log; what is saved is in the log, and where the log begins is committed
 *   who leads has its term and vote on disk
 *   a lease lasts 0.8 T at most, and is a leader's; a claim is never longer than the lease
 *   messages are from this node to another one, travel over the wire unchanged, and those that are a leader's
 *     leave a leader only
 *   what leaves at once rests on the disk: no term, vote, acknowledgement or snapshot that is not on it
 *   a read is answered once, and by a leader not with less than was committed when it was asked
 *   "diverged" is said of a message or a snapshot only, and nothing is acknowledged then
 *   no step makes more messages than peers and their windows explain */
#include "raft_rules.h"

#include <string.h>

#include "base/check.h"
#include "base/err.h"
#include "wire/peer.h"

enum { MESSAGES_MAX = 2000 };

static void check_view(const struct core *c, const struct raft_view *v)
{
    const struct raft_view *before = &c->view;

    rd_assert(v->term >= before->term);
    rd_assert(v->term > before->term || before->vote == 0 || v->vote == before->vote);
    rd_assert(v->commit >= before->commit && v->commit <= v->last);
    rd_assert(v->base >= before->base && v->base <= v->commit);
    rd_assert(v->saved <= v->last && v->last_term <= v->term);
    if (v->state == RAFT_LEADER) {
        rd_assert(v->hard_saved && v->leader == SELF && c->disk.term == v->term &&
                  c->disk.vote == SELF);
        rd_assert(before->state != RAFT_LEADER || before->term != v->term ||
                  v->last >= before->last);
    }
}

/* Is what was committed still what it was? */
static void check_committed(struct core *c, const struct raft_view *v)
{
    struct raft_point p;

    if (c->committed >= v->base && c->committed > 0) {
        raft_point_get(c->r, c->committed, &p);
        rd_assert(p.index == c->committed && p.chain == c->committed_chain);
        raft_point_done(&p);
    }
    if (v->commit > 0) {
        raft_point_get(c->r, v->commit, &p);
        c->committed = v->commit;
        c->committed_chain = p.chain;
        rd_assert(p.membership_index <= p.index && p.term <= v->term);
        raft_point_done(&p);
    }
}

static void check_lease(const struct core *c, const struct raft_view *v)
{
    uint32_t lease = raft_lease_remaining(c->r, c->now);
    uint32_t claim = raft_claim_remaining(c->r, c->now);

    rd_assert(lease <= TIMEOUT_MS * 8 / 10 && claim <= lease);
    rd_assert(lease == 0 || v->state == RAFT_LEADER);
    rd_assert(raft_voters_reachable(c->r, c->now) <= RAFT_VOTERS_MAX);
}

/* ---- Messages ---- */

static bool is_leaders(const struct raft_msg *m)
{
    return m->type == RAFT_MSG_APPEND || m->type == RAFT_MSG_SNAPSHOT ||
           m->type == RAFT_MSG_TIMEOUT_NOW || (m->type == RAFT_MSG_READ_INDEX_REPLY && !m->reject);
}

/* A term that may be no fact yet, or is one of the past. */
static bool has_other_term(const struct raft_msg *m)
{
    return m->type == RAFT_MSG_PRE_VOTE || m->type == RAFT_MSG_CLAIMS_LEFT ||
           (m->type == RAFT_MSG_PRE_VOTE_REPLY && !m->reject);
}

/* In the log, or in a state that came as a snapshot: a restart makes the log begin after that. */
static bool disk_has(const struct core *c, raft_index index)
{
    return vdisk_last(&c->disk) >= index || (c->installed && c->flushed.index >= index);
}

static void check_promise(const struct core *c, const struct raft_msg *m)
{
    bool votes = c->disk.term == m->term;

    rd_assert(has_other_term(m) || m->term <= c->disk.term);
    rd_assert(m->type != RAFT_MSG_VOTE || (votes && c->disk.vote == SELF));
    rd_assert(m->type != RAFT_MSG_VOTE_REPLY || m->reject || (votes && c->disk.vote == m->to));
    rd_assert(m->type != RAFT_MSG_APPEND_REPLY || m->reject || disk_has(c, m->index));
    rd_assert(m->type != RAFT_MSG_SNAPSHOT_REPLY || !m->done || disk_has(c, m->index));
}

static void check_on_the_wire(const struct raft_msg *m)
{
    struct peer_msg out = {.type = PEER_RAFT, .raft = *m}, in;
    struct buf bytes = BUF_INIT, again = BUF_INIT;
    struct frame f;

    peer_encode(&out, &bytes);
    rd_assert(frame_parse(bytes.data, bytes.size, FRAME_PEER_MAX, &f, NULL) == 1);
    rd_assert(peer_decode(&f, &in) == 0);
    peer_encode(&in, &again);
    rd_assert(bytes.size == again.size && memcmp(bytes.data, again.data, bytes.size) == 0);
    peer_msg_done(&in);
    buf_done(&bytes);
    buf_done(&again);
}

static void remember_sent(struct core *c, const struct raft_msg *m)
{
    struct raft_msg *kept = &c->sent[c->sent_count++ % SENT_MAX];

    *kept = *m;
    kept->entries = NULL;
    kept->data = NULL;
}

static void check_messages(struct core *c, const struct raft_view *v)
{
    bool led = v->state == RAFT_LEADER || c->view.state == RAFT_LEADER;

    rd_assert(c->fx.msgs_count <= MESSAGES_MAX);
    for (uint32_t i = 0; i < c->fx.msgs_count; i++) {
        const struct raft_out *out = &c->fx.msgs[i];
        const struct raft_msg *m = &out->msg;
        rd_assert(m->from == SELF && m->to != SELF && uuid_equal(&m->cluster, &v->cluster));
        rd_assert(m->term <= v->term + (has_other_term(m) ? 1 : 0) ||
                  m->type == RAFT_MSG_PRE_VOTE_REPLY); /* the term that was asked for */
        rd_assert(led || !is_leaders(m));
        if (!out->after_save) {
            check_promise(c, m);
        }
        check_on_the_wire(m);
        remember_sent(c, m);
    }
}

static void check_divergence(const struct core *c, const struct raft_event *event)
{
    rd_assert(event->type == RAFT_EV_INSTALLED ||
              (event->type == RAFT_EV_MESSAGE && (event->message->type == RAFT_MSG_APPEND ||
                                                  event->message->type == RAFT_MSG_SNAPSHOT)));
    for (uint32_t i = 0; i < c->fx.msgs_count; i++) {
        const struct raft_msg *m = &c->fx.msgs[i].msg;
        rd_assert(m->type != RAFT_MSG_APPEND_REPLY && m->type != RAFT_MSG_SNAPSHOT_REPLY);
    }
}

static void check_reads(struct core *c, const struct raft_view *v)
{
    for (uint32_t i = 0; i < c->fx.reads_count; i++) {
        const struct raft_read *read = &c->fx.reads[i];
        rd_assert(read->token < c->reads_count && read->code <= 0);
        struct told_read *told = &c->reads[read->token];
        rd_assert(!told->answered);
        told->answered = true;
        rd_assert(read->code != 0 || v->state != RAFT_LEADER || read->index >= told->floor);
    }
}

void rules_look(struct core *c)
{
    struct raft_view v;

    raft_view_get(c->r, &v);
    check_view(c, &v);
    check_committed(c, &v);
    c->view = v;
}

void rules_check(struct core *c, const struct raft_event *event)
{
    struct raft_view v;

    raft_view_get(c->r, &v);
    check_view(c, &v);
    if (c->fx.diverged) {
        check_divergence(c, event);
        c->stopped = true;
    } else {
        check_committed(c, &v);
    }
    check_lease(c, &v);
    check_messages(c, &v);
    check_reads(c, &v);
    if (c->fx.snapshot) {
        rd_assert(event->type == RAFT_EV_MESSAGE && c->fx.snapshot == event->message);
        if (c->fx.snapshot->type == RAFT_MSG_SNAPSHOT) {
            c->piece = *c->fx.snapshot;
            c->piece.data = NULL;
            c->piece.entries = NULL;
        }
    }
    c->view = v;
    effects_clear(&c->fx);
}

void rules_begin(struct core *c)
{
    raft_view_get(c->r, &c->view);
    c->committed = 0;
    c->reads_count = 0;
    c->piece = (struct raft_msg){0};
    c->sent_count = 0;
    check_committed(c, &c->view);
}
