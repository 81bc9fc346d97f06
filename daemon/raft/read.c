/* Linearizable reads: lease, or a round of heartbeats begun after the read arrived (thesis 6.4). */
#include <string.h>

#include "base/err.h"
#include "raft/internal.h"

static void answer(struct raft *r, const struct pending_read *read, int code)
{
    if (read->from == 0) {
        effects_read(r, read->token, code, read->index);
        return;
    }
    struct raft_msg *reply = effects_message(r, RAFT_MSG_READ_INDEX_REPLY, read->from);
    reply->seq = read->token;
    reply->stamp = read->stamp;
    reply->session = read->session;
    reply->reject = code != 0;
    reply->index = code ? 0 : read->index;
    effects_send(r, !save_hard_is_durable(r));
    struct progress *p = r->state == RAFT_LEADER ? leader_peer(r, read->from) : NULL;
    if (p && code == 0) {
        p->commit_urgent = true;
    }
}

static void reads_drop_first(struct raft *r, uint32_t count)
{
    r->reads_count -= count;
    memmove(r->reads, r->reads + count, r->reads_count * sizeof *r->reads);
}

static void reads_add(struct raft *r, const struct pending_read *read)
{
    if (r->reads_count == READS_MAX) {
        answer(r, &r->reads[0], -RD_ENOT_READY);
        reads_drop_first(r, 1);
    }
    if (r->reads_count == r->reads_capacity) {
        r->reads_capacity = r->reads_capacity ? r->reads_capacity * 2 : 16;
        r->reads = mem_realloc(r->reads, r->reads_capacity * sizeof *r->reads);
    }
    r->reads[r->reads_count++] = *read;
}

void read_fail_all(struct raft *r, int code)
{
    for (uint32_t i = 0; i < r->reads_count; i++) {
        if (r->reads[i].from == 0) {
            answer(r, &r->reads[i], code);
        }
    }
    r->reads_count = 0;
}

static uint64_t value_ack_seq(const struct raft *r, raft_id voter, mono_ms now)
{
    (void)now;
    const struct progress *p = leader_peer(r, voter);

    return p ? p->ack_seq : UINT64_MAX;
}

/* Rounds that a majority has acknowledged: the reads that began before them may go. */
void read_check_round(struct raft *r)
{
    if (r->reads_count == 0) {
        return;
    }
    uint64_t reached = quorum_reached(r, value_ack_seq, r->now);
    uint32_t done = 0;

    while (done < r->reads_count && r->reads[done].need_seq <= reached) {
        answer(r, &r->reads[done], 0);
        done++;
    }
    reads_drop_first(r, done);
}

static void leader_read(struct raft *r, struct pending_read *read)
{
    /* Before the own term has committed, our commit index may be behind what was acknowledged; our
     * no-op stands after all of it (trap 38). */
    read->index = r->commit > r->term_start ? r->commit : r->term_start;
    if (raft_lease_remaining(r, r->now) > 0) {
        answer(r, read, 0);
        return;
    }
    read->need_seq = r->seq + 1; /* only messages sent from now on prove anything */
    reads_add(r, read);
    r->round_wanted = true;
}

void read_request(struct raft *r, uint64_t token)
{
    struct pending_read read = {.token = token};

    if (r->state == RAFT_LEADER) {
        leader_read(r, &read);
        return;
    }
    if (r->leader == 0) {
        answer(r, &read, -RD_ENO_LEADER);
        return;
    }
    struct raft_msg *ask = effects_message(r, RAFT_MSG_READ_INDEX, r->leader);
    ask->seq = read.need_seq = ++r->seq;
    ask->stamp = read.stamp = r->now;
    effects_send(r, !save_hard_is_durable(r));
    reads_add(r, &read);
}

void read_on_request(struct raft *r, const struct raft_msg *m)
{
    struct pending_read read = {
        .from = m->from, .token = m->seq, .session = m->session, .stamp = m->stamp};

    if (r->state == RAFT_LEADER && m->term == r->term) {
        leader_read(r, &read);
    } else {
        answer(r, &read, -RD_ENOT_LEADER);
    }
}

void read_on_reply(struct raft *r, const struct raft_msg *m)
{
    if (r->state != RAFT_FOLLOWER || m->from != r->leader) {
        return;
    }
    for (uint32_t i = 0; i < r->reads_count; i++) {
        if (r->reads[i].need_seq == m->seq && r->reads[i].stamp == m->stamp) {
            struct pending_read read = r->reads[i];
            read.index = m->index;
            r->reads_count--;
            memmove(&r->reads[i], &r->reads[i + 1], (r->reads_count - i) * sizeof *r->reads);
            answer(r, &read, m->reject ? -RD_ENOT_LEADER : 0);
            return;
        }
    }
}
