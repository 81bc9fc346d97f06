/* The core's life, the table of events, and the questions others may ask. */
#include "raft/raft.h"

#include <string.h>

#include "base/err.h"
#include "raft/internal.h"

struct raft *raft_new(const struct raft_config *config, raft_load_cb *load, void *load_arg)
{
    struct raft *r = mem_zalloc(sizeof *r);

    rd_assert(config->id != 0 && config->election_timeout_ms >= 3 * config->heartbeat_ms);
    rd_assert(config->heartbeat_ms > 0 && config->append_entries_max > 0);
    rd_assert(config->inflight_msgs_max > 0);
    r->config = *config;
    r->lease_base_ms = config->election_timeout_ms;
    r->untaken = 1;
    r->election_deadline = UINT64_MAX;
    r->commit_notice_deadline = UINT64_MAX;
    prng_seed(&r->prng, config->seed);
    r->seq =
        prng_next(&r->prng) >> 40; /* answers to an earlier life of this process must not fit */
    rlog_init(&r->log, load, load_arg);
    return r;
}

void raft_free(struct raft *r)
{
    if (!r) {
        return;
    }
    r->transfer.phase = TRANSFER_NONE; /* nobody is left to be told how it ended */
    leader_stop(r);
    rlog_done(&r->log);
    mem_free(r->memberships);
    mem_free(r->changes);
    mem_free(r->reads);
    mem_free(r);
}

/* ---- Membership in force: the newest entry in the log, committed or not (thesis 4.1) ---- */

const struct raft_membership *raft_in_force(const struct raft *r)
{
    static const struct raft_membership none;

    return r->memberships_count ? &r->memberships[r->memberships_count - 1] : &none;
}

const struct raft_membership *raft_membership(const struct raft *r)
{
    return raft_in_force(r);
}

const struct raft_membership *raft_membership_committed(const struct raft *r)
{
    static const struct raft_membership none;
    bool committed = r->memberships_count && r->memberships[0].index <= r->commit;

    return committed ? &r->memberships[0] : &none;
}

void raft_membership_push(struct raft *r, const struct raft_membership *m)
{
    if (r->memberships_count == r->memberships_capacity) {
        r->memberships_capacity = r->memberships_capacity ? r->memberships_capacity * 2 : 2;
        r->memberships =
            mem_realloc(r->memberships, r->memberships_capacity * sizeof *r->memberships);
    }
    r->memberships[r->memberships_count++] = *m;
}

static void change_push(struct raft *r, raft_index index)
{
    if (r->changes_count == r->changes_capacity) {
        r->changes_capacity = r->changes_capacity ? r->changes_capacity * 2 : 4;
        r->changes = mem_realloc(r->changes, r->changes_capacity * sizeof *r->changes);
    }
    r->changes[r->changes_count++] = index;
}

static int take_membership(struct raft *r, const struct raft_entry *entry)
{
    struct raft_membership *m = mem_zalloc(sizeof *m);
    const struct blob *data = entry->data;
    int rc = membership_decode(data ? data->data : NULL, data ? data->size : 0, entry->index, m);

    if (rc == 0) {
        raft_membership_push(r, m);
        change_push(r, entry->index);
    }
    mem_free(m);
    return rc ? -RD_ECORRUPT : 0;
}

int raft_log_append(struct raft *r, const struct raft_entry *entry)
{
    if (entry->type == RAFT_ENTRY_MEMBERSHIP) {
        int rc = take_membership(r, entry);
        if (rc) {
            return rc;
        }
    }
    rlog_append(&r->log, entry);
    return 0;
}

void raft_log_truncate(struct raft *r, raft_index from)
{
    /* Cutting what is committed would lose what was acknowledged: better to stop (trap 17). */
    rd_assert(from > r->commit);
    while (r->memberships_count && r->memberships[r->memberships_count - 1].index >= from) {
        r->memberships_count--;
    }
    while (r->changes_count && r->changes[r->changes_count - 1] >= from) {
        r->changes_count--;
    }
    rlog_truncate(&r->log, from);
    r->untaken = r->untaken < from ? r->untaken : from;
    r->saved = r->saved < from - 1 ? r->saved : from - 1;
}

void raft_set_commit(struct raft *r, raft_index commit)
{
    rd_assert(commit >= r->commit && commit <= r->log.last);
    r->commit = commit;
    uint32_t superseded = 0;
    while (superseded + 1 < r->memberships_count &&
           r->memberships[superseded + 1].index <= commit) {
        superseded++;
    }
    if (superseded) {
        r->memberships_count -= superseded;
        memmove(r->memberships, r->memberships + superseded,
                r->memberships_count * sizeof *r->memberships);
    }
}

/* ---- Restart ---- */

void raft_restore_hard(struct raft *r, const struct uuid *cluster, raft_term term, raft_id vote,
                       uint32_t loyal_ms)
{
    rd_assert(r->log.last == 0 && r->term == 0);
    r->cluster = *cluster;
    r->term = term;
    r->vote = vote;
    r->loyal_ms = loyal_ms;
}

int raft_restore_entry(struct raft *r, const struct raft_entry *entry)
{
    int rc = raft_log_append(r, entry);

    if (rc) {
        return rc;
    }
    r->saved = r->log.last;
    r->untaken = r->log.last + 1;
    rlog_evict(&r->log, r->saved, r->config.cache_bytes_max);
    return 0;
}

/* Has nobody else ever had a vote, as far as the log goes? Then nobody's lease and nobody's claims can
 * be alive. (Before a commit index is set every membership of the log is here. Of those before its
 * base we know the last: a learner in it may have been a voter once.) */
static bool was_always_alone(const struct raft *r)
{
    for (uint32_t i = 0; i < r->memberships_count; i++) {
        const struct raft_membership *m = &r->memberships[i];
        bool forgotten = m->index <= r->log.base.index;
        if (membership_voters(m) != 1 || !membership_is_voter(m, r->config.id) ||
            m->tombstones_count > 0 || (forgotten && m->members_count > 1)) {
            return false;
        }
    }
    return raft_is_voter(r);
}

void raft_start(struct raft *r, mono_ms now)
{
    bool configured = uuid_is_set(&r->cluster);

    rd_assert(r->term >= rlog_last_term(&r->log));
    r->now = now;
    r->state = configured ? RAFT_FOLLOWER : RAFT_UNCONFIGURED;
    /* A store with a term may have helped a leader to a lease just before this restart (trap 52).
     * Not the log but the term tells: heartbeats can be acknowledged with an empty log. */
    uint32_t timeout = r->config.election_timeout_ms;
    if (r->term > 0 && r->loyal_ms < timeout) {
        save_mark_hard(r); /* before anything is acknowledged under the longer timeout */
    }
    r->loyal_ms = r->loyal_ms > timeout ? r->loyal_ms : timeout;
    r->refuse_until = r->term > 0 ? now + r->loyal_ms : 0;
    election_timer_reset(r);
    if (was_always_alone(r)) {
        r->election_deadline = now; /* a single voter has nobody to wait for */
    }
    raft_index base = r->log.base.index;
    raft_set_commit(r, r->applied_before > base ? r->applied_before : base);
}

/* ---- Messages ---- */

typedef void message_handler(struct raft *r, const struct raft_msg *m);

static const struct message_row {
    message_handler *handle;
    message_handler *stale; /* of an earlier term: answered, so that its sender learns ours */
    bool any_term; /* which may be no fact yet, or over: handled before terms are compared */
} message_table[RAFT_MSG_TYPE_COUNT] = {
    [RAFT_MSG_PRE_VOTE] = {election_on_pre_vote, NULL, true},
    [RAFT_MSG_PRE_VOTE_REPLY] = {election_on_reply, NULL, true},
    [RAFT_MSG_VOTE] = {election_on_vote, NULL, true},
    [RAFT_MSG_VOTE_REPLY] = {election_on_reply, NULL, false},
    [RAFT_MSG_APPEND] = {follower_on_append, follower_refuse_append, false},
    [RAFT_MSG_APPEND_REPLY] = {leader_on_reply, NULL, false},
    [RAFT_MSG_READ_INDEX] = {read_on_request, read_on_request, false},
    [RAFT_MSG_READ_INDEX_REPLY] = {read_on_reply, NULL, false},
    [RAFT_MSG_TIMEOUT_NOW] = {transfer_on_timeout_now, NULL, false},
    [RAFT_MSG_TIMEOUT_NOW_REPLY] = {transfer_on_reply, NULL, false},
    [RAFT_MSG_SNAPSHOT] = {snapshot_on_piece, snapshot_refuse, false},
    [RAFT_MSG_SNAPSHOT_REPLY] = {snapshot_on_reply, NULL, false},
    [RAFT_MSG_CLAIMS_LEFT] = {claims_on_left, NULL, true},
};

/* Sent only by who leads its term. */
static bool is_leaders(const struct raft_msg *m)
{
    return m->type == RAFT_MSG_APPEND || m->type == RAFT_MSG_SNAPSHOT;
}

/* May this message's higher term become ours? Whoever is outside the membership raises nobody's
 * term (trap 9); a leader we do not know yet is the exception: it may have been added after our
 * last entry, or its removal, the last thing we heard of, may never be committed. */
static bool may_raise_term(const struct raft *r, const struct raft_msg *m)
{
    return is_leaders(m) || membership_find(raft_in_force(r), m->from);
}

static bool is_within_reach(uint64_t ours, uint64_t theirs)
{
    return theirs <= RAFT_NUMBER_MAX &&
           (ours == 0 || theirs <= ours || theirs - ours <= RAFT_AHEAD_MAX);
}

bool raft_believes(const struct raft *r, const struct raft_msg *m)
{
    raft_index last = r->log.last;

    return is_within_reach(r->term, m->term) && is_within_reach(r->term, m->log_term) &&
           is_within_reach(last, m->index) && is_within_reach(last, m->commit) &&
           is_within_reach(last, m->hint);
}

static void on_message(struct raft *r, const struct raft_msg *m)
{
    if (!raft_believes(r, m)) {
        return;
    }
    if (!uuid_is_set(&r->cluster) || !uuid_equal(&m->cluster, &r->cluster) ||
        m->to != r->config.id || m->from == r->config.id || m->from == 0 || m->type <= 0 ||
        m->type >= RAFT_MSG_TYPE_COUNT) {
        return;
    }
    const struct message_row *row = &message_table[m->type];
    if (row->any_term) {
        row->handle(r, m);
        return;
    }
    if (m->term > r->term) {
        if (!may_raise_term(r, m)) {
            return;
        }
        election_follow(r, m->term, is_leaders(m) ? m->from : 0, "a message of term # came",
                        m->term);
    }
    if (m->term < r->term) {
        if (row->stale) {
            row->stale(r, m);
        }
        return;
    }
    row->handle(r, m);
}

/* ---- Events ---- */

static int on_tick(struct raft *r, const struct raft_event *e)
{
    (void)e;
    if (r->state == RAFT_LEADER) {
        leader_tick(r);
    } else {
        election_tick(r);
    }
    return 0;
}

static int on_message_event(struct raft *r, const struct raft_event *e)
{
    if (!e->message) {
        return -RD_EINVALID;
    }
    on_message(r, e->message);
    return 0;
}

static int on_propose(struct raft *r, const struct raft_event *e)
{
    if (!e->propose.data || e->propose.data->size > RAFT_PAYLOAD_MAX) {
        return -RD_EINVALID;
    }
    if (r->state != RAFT_LEADER || r->transfer.phase >= TRANSFER_HOLD) {
        r->fx->propose_code = r->state == RAFT_LEADER ? -RD_ETRANSFER : -RD_ENOT_LEADER;
        return 0;
    }
    leader_append(r, RAFT_ENTRY_COMMAND, e->propose.data);
    r->fx->propose_code = 0;
    r->fx->propose_index = r->log.last;
    r->fx->propose_term = r->term;
    return 0;
}

static int on_read(struct raft *r, const struct raft_event *e)
{
    read_request(r, e->read.token);
    return 0;
}

static int on_persisted(struct raft *r, const struct raft_event *e)
{
    if (r->saves_done == r->saves_taken) {
        return -RD_EINVALID;
    }
    save_on_persisted(r, e);
    return 0;
}

/* Time passed without us: what we believed about others is old news, in both directions (trap 33).
 */
static int on_paused(struct raft *r, const struct raft_event *e)
{
    (void)e;
    if (r->state == RAFT_LEADER) {
        r->leader_since = r->now;
        r->heartbeat_deadline = r->now;
    } else {
        election_timer_reset(r);
    }
    return 0;
}

static int on_disk(struct raft *r, const struct raft_event *e)
{
    r->disk_stalled = e->disk.stalled;
    if (r->state != RAFT_LEADER) {
        election_timer_reset(r);
    }
    if (!r->disk_stalled || r->state == RAFT_FOLLOWER || r->state == RAFT_UNCONFIGURED) {
        return 0;
    }
    if (r->state != RAFT_LEADER || !transfer_from_stalled_disk(r)) {
        election_follow(r, r->term, 0, "disk: a log commit is overdue, # entries wait for it",
                        r->log.last - r->saved);
    }
    return 0;
}

static int on_link_down(struct raft *r, const struct raft_event *e)
{
    struct progress *p = r->state == RAFT_LEADER ? leader_peer(r, e->peer) : NULL;

    if (p) {
        progress_probe(p);
        p->cut_seq = r->seq + 1; /* what is under way says nothing of the time after */
    } else if (r->state != RAFT_LEADER && e->peer == r->leader) {
        read_fail_all(r, -RD_ENOT_READY); /* the question may be lost: ask again */
    }
    return 0;
}

static int on_found(struct raft *r, const struct raft_event *e)
{
    const struct raft_membership *m = e->found.membership;
    const struct raft_member *self = m ? membership_find(m, r->config.id) : NULL;

    if (r->log.last != 0 || !self || self->role != RAFT_VOTER ||
        !uuid_equal(&self->store, &r->config.store) || !uuid_is_set(e->found.cluster)) {
        return -RD_EINVALID;
    }
    struct raft_entry entry = {.index = 1, .type = RAFT_ENTRY_MEMBERSHIP};
    r->cluster = *e->found.cluster;
    /* A term of its own for the first entry: nobody else can have an entry of it. */
    election_follow(r, r->term + 1, 0, "founded a cluster of # members", m->members_count);
    r->vote = r->config.id;
    entry.term = r->term;
    entry.data = membership_encode(m);
    rd_assert(raft_log_append(r, &entry) == 0);
    blob_unref(entry.data);
    /* Others have to hear of the cluster before they can vote. */
    bool alone = membership_voters(m) == 1;
    r->election_deadline = r->now + (alone ? 0 : r->config.election_timeout_ms / 5);
    return 0;
}

static int on_adopt(struct raft *r, const struct raft_event *e)
{
    if (r->log.last != 0 || !uuid_is_set(e->found.cluster)) {
        return -RD_EINVALID;
    }
    if (uuid_equal(&r->cluster, e->found.cluster)) {
        return 0;
    }
    r->cluster = *e->found.cluster;
    save_mark_hard(r);
    election_follow(r, r->term, 0, "joined a cluster", 0);
    return 0;
}

static int on_change(struct raft *r, const struct raft_event *e)
{
    const struct raft_change *c = e->change;
    bool sound = c && c->kind > 0 && c->kind < RAFT_CHANGE_COUNT && c->id != 0 &&
                 (c->kind != RAFT_CHANGE_ADD || (uuid_is_set(&c->store) && c->address[0]));

    if (!sound) {
        return -RD_EINVALID;
    }
    change_request(r, c);
    return 0;
}

static int on_transfer(struct raft *r, const struct raft_event *e)
{
    transfer_request(r, e->transfer.target);
    return 0;
}

static int on_removed(struct raft *r, const struct raft_event *e)
{
    (void)e;
    if (r->state == RAFT_LEADER) {
        return 0; /* a majority that follows knows better */
    }
    r->removed = true;
    if (r->state != RAFT_UNCONFIGURED) {
        election_follow(r, r->term, 0, "removed from the cluster", 0);
    }
    return 0;
}

static int on_claims_released(struct raft *r, const struct raft_event *e)
{
    (void)e;
    claims_released(r);
    return 0;
}

static int on_retire(struct raft *r, const struct raft_event *e)
{
    (void)e;
    r->retiring = true;
    if (r->state == RAFT_PRE_CANDIDATE || r->state == RAFT_CANDIDATE) {
        election_follow(r, r->term, 0, "about to stop", 0);
    }
    return 0;
}

static int on_snapshot_send(struct raft *r, const struct raft_event *e)
{
    snapshot_send(r, e->piece);
    return 0;
}

static int on_piece_taken(struct raft *r, const struct raft_event *e)
{
    snapshot_taken(r, e->snapshot.message, e->snapshot.offset, e->snapshot.reject);
    return 0;
}

static int on_installed(struct raft *r, const struct raft_event *e)
{
    snapshot_installed(r, e->snapshot.message, e->snapshot.point);
    return 0;
}

static int on_flush(struct raft *r, const struct raft_event *e)
{
    (void)e;
    if (r->state == RAFT_LEADER) {
        leader_flush(r);
    }
    return 0;
}

typedef int event_handler(struct raft *r, const struct raft_event *e);

static event_handler *const event_table[RAFT_EV_COUNT] = {
    [RAFT_EV_TICK] = on_tick,
    [RAFT_EV_MESSAGE] = on_message_event,
    [RAFT_EV_PROPOSE] = on_propose,
    [RAFT_EV_READ] = on_read,
    [RAFT_EV_PERSISTED] = on_persisted,
    [RAFT_EV_PAUSED] = on_paused,
    [RAFT_EV_DISK] = on_disk,
    [RAFT_EV_LINK_DOWN] = on_link_down,
    [RAFT_EV_FOUND] = on_found,
    [RAFT_EV_ADOPT] = on_adopt,
    [RAFT_EV_CHANGE] = on_change,
    [RAFT_EV_TRANSFER] = on_transfer,
    [RAFT_EV_REMOVED] = on_removed,
    [RAFT_EV_CLAIMS_RELEASED] = on_claims_released,
    [RAFT_EV_RETIRE] = on_retire,
    [RAFT_EV_SNAPSHOT_SEND] = on_snapshot_send,
    [RAFT_EV_PIECE_TAKEN] = on_piece_taken,
    [RAFT_EV_INSTALLED] = on_installed,
    [RAFT_EV_FLUSH] = on_flush,
};

int raft_step(struct raft *r, mono_ms now, const struct raft_event *event, struct raft_effects *fx)
{
    if (event->type <= 0 || event->type >= RAFT_EV_COUNT) {
        return -RD_EINVALID;
    }
    rd_assert(!r->fx); /* nothing calls back into the core during a step (trap 49) */
    r->now = now > r->now ? now : r->now;
    r->fx = fx;
    int rc = event_table[event->type](r, event);
    r->fx = NULL;
    return rc;
}

mono_ms raft_deadline(const struct raft *r)
{
    if (r->state == RAFT_LEADER) {
        return leader_deadline(r);
    }
    return election_may_stand(r) ? r->election_deadline : UINT64_MAX;
}

/* ---- View ---- */

void raft_view_get(const struct raft *r, struct raft_view *out)
{
    *out = (struct raft_view){
        .state = r->state,
        .cluster = r->cluster,
        .term = r->term,
        .vote = r->vote,
        .leader = r->leader,
        .leader_committed = r->leader && rlog_term(&r->log, r->commit) == r->term,
        .leader_contact = r->heard,
        .commit = r->commit,
        .base = r->log.base.index,
        .last = r->log.last,
        .last_term = rlog_last_term(&r->log),
        .last_chain = r->log.last_chain,
        .saved = r->saved,
        .hard_saved = save_hard_is_durable(r),
        .disk_stalled = r->disk_stalled,
        .removed = r->removed,
        .change_pending = raft_in_force(r)->index > r->commit,
        .transfer = r->transfer.phase ? r->transfer.target : 0,
        .transfer_holds = r->transfer.phase >= TRANSFER_HOLD,
        .transfer_sent = r->transfer.phase == TRANSFER_SENT,
        .claims_after = claims_after(r),
    };
}

raft_term raft_term_at(const struct raft *r, raft_index index)
{
    return index < r->log.base.index ? 0 : rlog_term(&r->log, index);
}

uint32_t raft_entries(struct raft *r, raft_index first, uint32_t count_max, uint64_t bytes_max,
                      struct raft_entry *out)
{
    return rlog_read(&r->log, first, count_max, bytes_max, out);
}
