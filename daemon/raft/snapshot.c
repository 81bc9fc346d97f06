/* Snapshots in place of entries that a leader has forgotten (thesis 5.3). The core says who needs one
 * and what a finished one means; the bytes are the caller's. */
#include "base/err.h"
#include "raft/internal.h"

/* ---- The leader's side ---- */

bool raft_snapshot_wanted(const struct raft *r, uint32_t number, raft_id *id)
{
    for (uint32_t i = 0; i < r->peers_count; i++) {
        const struct progress *p = &r->peers[i];
        bool answers = progress_heard_within(p, r->config.election_timeout_ms, r->now);
        if (p->state == PROGRESS_SNAPSHOT && answers && number-- == 0) {
            *id = p->id;
            return true;
        }
    }
    return false;
}

raft_index raft_needed(const struct raft *r)
{
    raft_index needed = UINT64_MAX;

    for (uint32_t i = 0; i < r->peers_count; i++) {
        const struct progress *p = &r->peers[i];
        bool answers = progress_heard_within(p, r->config.election_timeout_ms, r->now);
        raft_index needs = p->state == PROGRESS_SNAPSHOT ? p->snapshot : p->match;
        bool waits = p->state == PROGRESS_SNAPSHOT && p->snapshot == 0; /* takes what there is */
        if (answers && !waits && needs < needed) {
            needed = needs;
        }
    }
    return needed;
}

void snapshot_send(struct raft *r, const struct raft_piece *piece)
{
    struct progress *p = r->state == RAFT_LEADER ? leader_peer(r, piece->to) : NULL;

    if (!p || p->state != PROGRESS_SNAPSHOT) {
        return;
    }
    struct raft_msg *m = effects_message(r, RAFT_MSG_SNAPSHOT, p->id);
    m->seq = ++r->seq;
    m->stamp = r->now;
    m->session = p->session;
    m->index = piece->index;
    m->log_term = piece->term;
    m->chain = piece->chain;
    m->commit = r->commit;
    m->offset = piece->offset;
    m->done = piece->done;
    m->data = blob_ref(piece->data);
    p->snapshot = piece->index;
    effects_send(r, false);
}

void snapshot_on_reply(struct raft *r, const struct raft_msg *m)
{
    struct progress *p = leader_heard(r, m);

    if (!p) {
        return;
    }
    if (m->reject || !m->done) {
        r->fx->snapshot = m;
    } else if (progress_acked(p, m->index, r->config.inflight_msgs_max, r->now)) {
        leader_commit(r); /* it has exactly what was sent (trap 41) */
    }
    leader_answered(r, p);
}

/* ---- The receiver's side ---- */

static void reply(struct raft *r, const struct raft_msg *m, uint64_t offset, bool done, bool reject)
{
    struct raft_msg *reply = effects_message(r, RAFT_MSG_SNAPSHOT_REPLY, m->from);

    reply->seq = m->seq;
    reply->stamp = m->stamp;
    reply->session = m->session;
    reply->index = m->index;
    reply->offset = offset;
    reply->done = done;
    reply->reject = reject;
    bool unsaved = done && (r->base_reset || m->index > r->saved);
    effects_send(r, unsaved || !save_hard_is_durable(r));
}

void snapshot_refuse(struct raft *r, const struct raft_msg *m)
{
    reply(r, m, 0, false, true);
}

void snapshot_on_piece(struct raft *r, const struct raft_msg *m)
{
    if (m->index == 0 || m->log_term > m->term || !follower_hears(r, m)) {
        return; /* there is no such snapshot */
    }
    bool holds = rlog_holds(&r->log, m->index, m->log_term);
    if (holds && rlog_chain(&r->log, m->index) != m->chain) {
        r->fx->diverged = true;
        return;
    }
    if (!holds && m->index > r->commit) {
        r->fx->snapshot = m; /* the caller takes it, then says RAFT_EV_PIECE_TAKEN */
        return;
    }
    if (m->index > r->commit) {
        raft_set_commit(r, m->index);
    }
    reply(r, m, 0, true, false);
}

void snapshot_taken(struct raft *r, const struct raft_msg *m, uint64_t offset, bool reject)
{
    if (m->term == r->term) {
        reply(r, m, offset, false, reject);
    }
}

void snapshot_installed(struct raft *r, const struct raft_msg *m, const struct raft_point *p)
{
    if (base_install(r, p)) {
        r->fx->diverged = true;
    } else if (m->term == r->term) {
        reply(r, m, 0, true, false);
    }
}
