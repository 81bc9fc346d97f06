/* The leader's side: append, send, count, commit, and know when a majority is gone
 * (thesis 3.5, 3.6, 6.2, 6.4). */
#include <string.h>

#include "base/err.h"
#include "raft/internal.h"

struct progress *leader_peer(const struct raft *r, raft_id id)
{
    for (uint32_t i = 0; i < r->peers_count; i++) {
        if (r->peers[i].id == id) {
            return &r->peers[i];
        }
    }
    return NULL;
}

/* ---- What a majority has reached ---- */

static uint64_t value_match(const struct raft *r, raft_id voter, mono_ms now)
{
    (void)now;
    const struct progress *p = leader_peer(r, voter);

    if (voter == r->config.id) {
        return r->saved; /* our own entries count when our disk has them (trap 47) */
    }
    return p ? p->match : 0;
}

static uint64_t value_stamp(const struct raft *r, raft_id voter, mono_ms now)
{
    const struct progress *p = leader_peer(r, voter);

    if (voter == r->config.id) {
        return now;
    }
    return p ? p->ack_stamp : 0;
}

static mono_ms heard_since(const struct raft *r, const struct progress *p)
{
    return p->contact > r->leader_since ? p->contact : r->leader_since;
}

static uint64_t value_contact(const struct raft *r, raft_id voter, mono_ms now)
{
    const struct progress *p = leader_peer(r, voter);

    if (voter == r->config.id) {
        return now;
    }
    return p ? heard_since(r, p) : 0;
}

void leader_commit(struct raft *r)
{
    raft_index reached = quorum_reached(r, value_match, r->now);

    /* Only entries of the own term commit by counting (thesis 3.6.2, trap 16). */
    if (reached <= r->commit || rlog_term(&r->log, reached) != r->term) {
        return;
    }
    raft_set_commit(r, reached);
    if (r->commit_notice_deadline == UINT64_MAX) {
        r->commit_notice_deadline = r->now + COMMIT_NOTICE_DELAY_MS;
    }
}

void raft_set_lease_base(struct raft *r, uint32_t election_timeout_ms)
{
    bool shorter = election_timeout_ms < r->config.election_timeout_ms;

    r->lease_base_ms = shorter ? election_timeout_ms : r->config.election_timeout_ms;
}

/* For so long a lease that rests on this timeout holds. */
static mono_ms lease_by(uint32_t timeout_ms)
{
    return (mono_ms)timeout_ms * 8 / 10;
}

uint32_t leader_lease_ms(const struct raft *r)
{
    return (uint32_t)lease_by(r->lease_base_ms);
}

/* When the lease ends that rests on this timeout; 0: there is none. */
static mono_ms lease_end_by(const struct raft *r, uint32_t timeout_ms, mono_ms now)
{
    mono_ms stamp = r->state == RAFT_LEADER ? quorum_reached(r, value_stamp, now) : 0;

    return stamp ? stamp + lease_by(timeout_ms) : 0;
}

uint32_t raft_lease_remaining(const struct raft *r, mono_ms now)
{
    /* Whoever was told to stand is elected around the lease; a leader whose disk hangs is on its way
     * out. */
    if (r->transfer.phase == TRANSFER_SENT || r->disk_stalled) {
        return 0;
    }
    mono_ms end = lease_end_by(r, r->lease_base_ms, now);

    return end > now ? (uint32_t)(end - now) : 0;
}

uint32_t leader_live_voters(const struct raft *r, const struct raft_membership *m, mono_ms now)
{
    uint32_t live = 0;

    for (uint32_t i = 0; i < m->members_count; i++) {
        const struct progress *p = leader_peer(r, m->members[i].id);
        bool heard = p ? progress_heard_within(p, r->config.election_timeout_ms, now)
                       : m->members[i].id == r->config.id;
        live += heard && m->members[i].role == RAFT_VOTER;
    }
    return live;
}

uint32_t raft_voters_reachable(const struct raft *r, mono_ms now)
{
    return r->state == RAFT_LEADER ? leader_live_voters(r, raft_in_force(r), now) : 0;
}

bool raft_peer_view(const struct raft *r, raft_id id, struct raft_peer_view *out)
{
    if (r->state != RAFT_LEADER) {
        return false;
    }
    if (id == r->config.id) {
        *out = (struct raft_peer_view){.match = r->saved, .contact = r->now};
        return true;
    }
    const struct progress *p = leader_peer(r, id);
    if (p) {
        *out = (struct raft_peer_view){.match = p->match, .contact = p->contact};
    }
    return p;
}

bool raft_leaving(const struct raft *r, uint32_t number, raft_id *id, const char **address)
{
    for (uint32_t i = 0; i < r->peers_count; i++) {
        if (r->peers[i].leaving && number-- == 0) {
            *id = r->peers[i].id;
            *address = r->peers[i].address;
            return true;
        }
    }
    return false;
}

/* ---- Whom the leader talks to ---- */

/* The newest entry is the first to be sent: what is refused tells how much is missing. */
static void peer_add(struct raft *r, const struct raft_member *m)
{
    if (r->peers_count == r->peers_capacity) {
        r->peers_capacity = r->peers_capacity ? r->peers_capacity * 2 : 4;
        r->peers = mem_realloc(r->peers, r->peers_capacity * sizeof *r->peers);
    }
    progress_init(&r->peers[r->peers_count++], m, r->log.last, r->config.inflight_msgs_max, r->now);
}

static void peer_drop(struct raft *r, struct progress *p)
{
    progress_done(p);
    *p = r->peers[--r->peers_count];
}

/* Who was removed still gets the log, until it knows that it was. */
static void peer_leaves(const struct raft *r, struct progress *p)
{
    p->leaving = raft_in_force(r)->index;
    p->leaving_until = r->now + FAREWELL_TIMEOUTS * (mono_ms)r->config.election_timeout_ms;
}

void leader_sync_peers(struct raft *r)
{
    const struct raft_membership *m = raft_in_force(r);

    for (uint32_t i = r->peers_count; i > 0; i--) {
        struct progress *p = &r->peers[i - 1];
        const struct raft_member *member = membership_find(m, p->id);
        if (member && member->session != p->session) {
            peer_drop(r, p); /* what an earlier life had tells nothing of this one (trap 12) */
        } else if (!member && !p->leaving) {
            peer_leaves(r, p);
        }
    }
    for (uint32_t i = 0; i < m->members_count; i++) {
        if (m->members[i].id != r->config.id && !leader_peer(r, m->members[i].id)) {
            peer_add(r, &m->members[i]);
        }
    }
}

static void drop_who_left(struct raft *r)
{
    for (uint32_t i = r->peers_count; i > 0; i--) {
        struct progress *p = &r->peers[i - 1];
        bool knows = p->leaving_told && p->ack_seq >= p->leaving_told;
        if (p->leaving && (knows || r->now >= p->leaving_until)) {
            peer_drop(r, p);
        }
    }
}

/* ---- Start and end of leadership ---- */

void leader_start(struct raft *r)
{
    rd_assert(save_hard_is_durable(r) && r->peers_count == 0);
    r->leader_since = r->now;
    r->heartbeat_deadline = r->now + r->config.heartbeat_ms;
    r->commit_notice_deadline = UINT64_MAX;
    r->round_wanted = false;
    r->term_start = r->log.last + 1;
    leader_append(r, RAFT_ENTRY_NOOP, NULL);
    leader_sync_peers(r);
    leader_flush(r);
}

void leader_stop(struct raft *r)
{
    /* Claims handed out under our lease outlive our leadership: until they lapse our own vote is as
     * bound by it as the votes of those who acknowledged us. The lease may have been longer than it
     * is by the shortest T we know now. */
    mono_ms lease_end = lease_end_by(r, r->config.election_timeout_ms, r->now);

    transfer_leader_stops(r);
    r->refuse_until = r->refuse_until > lease_end ? r->refuse_until : lease_end;
    for (uint32_t i = 0; i < r->peers_count; i++) {
        progress_done(&r->peers[i]);
    }
    mem_free(r->peers);
    r->peers = NULL;
    r->peers_count = r->peers_capacity = 0;
    r->commit_notice_deadline = UINT64_MAX;
}

void leader_append(struct raft *r, enum raft_entry_type type, struct blob *data)
{
    struct raft_entry entry = {
        .index = r->log.last + 1, .term = r->term, .type = type, .data = data};

    rd_assert(raft_log_append(r, &entry) == 0);
    if (type == RAFT_ENTRY_MEMBERSHIP) { /* in force at once (thesis 4.1) */
        leader_sync_peers(r);
    }
}

/* ---- Sending ---- */

static void commit_told(const struct raft *r, struct progress *p, raft_index commit)
{
    p->commit_sent = commit;
    if (p->leaving && p->leaving_told == 0 && p->match >= p->leaving && commit >= p->leaving) {
        p->leaving_told = r->seq;
    }
}

static struct raft_msg *append_message(struct raft *r, struct progress *p, raft_index prev)
{
    struct raft_msg *m = effects_message(r, RAFT_MSG_APPEND, p->id);

    m->seq = ++r->seq;
    m->stamp = r->now;
    m->session = p->session;
    m->index = prev;
    m->log_term = rlog_term(&r->log, prev);
    m->chain = rlog_chain(&r->log, prev);
    m->commit = r->commit;
    m->hint = r->saved;
    commit_told(r, p, r->commit);
    return m;
}

/* A heartbeat stands on what is known to match, so that it never fails because it overtook an
 * append; on nothing at all, when what matches is forgotten here. */
static void send_heartbeat(struct raft *r, struct progress *p)
{
    raft_index prev = p->match >= r->log.base.index ? p->match : 0;
    struct raft_msg *m = append_message(r, p, prev);

    m->commit = r->commit < prev ? r->commit : prev;
    commit_told(r, p, m->commit);
    p->commit_urgent = p->commit_urgent && m->commit < r->commit;
    effects_send(r, false);
}

/* Lost messages: a follower that stopped moving is probed again; a lost probe is repeated. */
static void retry_silent_peers(struct raft *r)
{
    for (uint32_t i = 0; i < r->peers_count; i++) {
        struct progress *p = &r->peers[i];
        if (p->state == PROGRESS_PROBE) {
            p->probe_sent = false;
        } else if (p->state == PROGRESS_REPLICATE && p->window_count &&
                   r->now >= p->moved + 2 * (mono_ms)r->config.heartbeat_ms) {
            progress_probe(p);
        }
    }
}

static void broadcast_heartbeats(struct raft *r)
{
    for (uint32_t i = 0; i < r->peers_count; i++) {
        send_heartbeat(r, &r->peers[i]);
    }
    r->round_wanted = false;
}

/* The regular beat. A round for a read in between does not put it off. */
static void beat(struct raft *r)
{
    r->heartbeat_deadline = r->now + r->config.heartbeat_ms;
    retry_silent_peers(r);
    broadcast_heartbeats(r);
    for (uint32_t i = 0; i < r->peers_count; i++) {
        r->peers[i].beats++;
    }
}

/* The last entry it may have. Whom the change under way takes the vote from gets it only when it is
 * committed: until then others may need that vote to elect somebody, and with the change in its log
 * it would neither give it to who has a shorter one nor stand by itself, as thesis 4.2.2 lets it. */
static raft_index sendable(const struct raft *r, const struct progress *p)
{
    const struct raft_membership *m = raft_in_force(r);
    bool pending = m->index > r->commit && r->memberships_count > 1;

    if (pending && membership_is_voter(m - 1, p->id) && !membership_is_voter(m, p->id)) {
        return m->index - 1;
    }
    return r->log.last;
}

static bool may_send(const struct raft *r, const struct progress *p)
{
    if (p->state == PROGRESS_SNAPSHOT || p->next > sendable(r, p)) {
        return false;
    }
    if (p->state == PROGRESS_PROBE) {
        return !p->probe_sent;
    }
    return p->window_count < r->config.inflight_msgs_max &&
           (p->window_count == 0 || p->window_bytes < r->config.inflight_bytes_max);
}

static void send_entries(struct raft *r, struct progress *p)
{
    struct raft_msg *m = append_message(r, p, p->next - 1);
    raft_index left = sendable(r, p) - p->next + 1;
    uint32_t count_max =
        left < r->config.append_entries_max ? (uint32_t)left : r->config.append_entries_max;
    uint32_t bytes = 0;

    m->entries = mem_alloc(count_max * sizeof *m->entries);
    m->entries_count =
        rlog_read(&r->log, p->next, count_max, r->config.append_bytes_max, m->entries);
    for (uint32_t i = 0; i < m->entries_count; i++) {
        bytes += entry_size(&m->entries[i]);
    }
    if (p->state == PROGRESS_PROBE) {
        p->probe_sent = true;
    } else {
        progress_sent(p, p->next + m->entries_count - 1, bytes, r->config.inflight_msgs_max,
                      r->now);
    }
    effects_send(r, false);
}

/* Can it be told by a heartbeat that more is committed? Not when what matches is forgotten here. */
static bool commit_is_news(const struct raft *r, const struct progress *p)
{
    raft_index known = r->commit < p->match ? r->commit : p->match;

    return p->match >= r->log.base.index && p->commit_sent < known;
}

void leader_flush(struct raft *r)
{
    bool notice_due = r->now >= r->commit_notice_deadline;
    bool waiting = false;

    change_auto_promote(r);
    drop_who_left(r);
    if (r->now >= r->heartbeat_deadline) {
        beat(r);
    } else if (r->round_wanted) {
        broadcast_heartbeats(r);
    }
    for (uint32_t i = 0; i < r->peers_count; i++) {
        struct progress *p = &r->peers[i];
        if (p->next <= r->log.base.index && p->state != PROGRESS_SNAPSHOT) {
            progress_needs_snapshot(p);
        }
        while (may_send(r, p)) {
            send_entries(r, p);
        }
        if (commit_is_news(r, p)) {
            if (notice_due || p->commit_urgent) {
                send_heartbeat(r, p);
            } else {
                waiting = true;
            }
        }
    }
    if (!waiting) {
        r->commit_notice_deadline = UINT64_MAX;
    } else if (r->commit_notice_deadline == UINT64_MAX) {
        r->commit_notice_deadline = r->now + COMMIT_NOTICE_DELAY_MS;
    }
    transfer_advance(r);
}

/* ---- Time ---- */

mono_ms leader_quorum_deadline(const struct raft *r)
{
    return quorum_reached(r, value_contact, r->now) + r->config.election_timeout_ms;
}

mono_ms leader_deadline(const struct raft *r)
{
    mono_ms deadline = r->heartbeat_deadline;

    deadline = deadline < r->commit_notice_deadline ? deadline : r->commit_notice_deadline;
    mono_ms transfer = transfer_deadline(r);
    deadline = deadline < transfer ? deadline : transfer;
    mono_ms quorum = leader_quorum_deadline(r);
    return deadline < quorum ? deadline : quorum;
}

void leader_tick(struct raft *r)
{
    if (r->now >= leader_quorum_deadline(r)) { /* check-quorum (thesis 6.2) */
        mono_ms silent = r->now - quorum_reached(r, value_contact, r->now);
        election_follow(r, r->term, 0, "no majority heard for # ms", silent);
        return;
    }
    if (r->now >= r->heartbeat_deadline) {
        beat(r);
    }
    transfer_tick(r);
}

/* ---- Answers ---- */

static void on_rejected(struct raft *r, struct progress *p, const struct raft_msg *m)
{
    if (m->index <= p->match || m->index >= p->next || p->state == PROGRESS_SNAPSHOT ||
        (p->state == PROGRESS_PROBE && m->index != p->next - 1)) {
        return; /* a late or repeated refusal (trap 18) */
    }
    raft_index agree = rlog_agree(&r->log, m->hint, m->log_term);

    progress_probe(p);
    agree = agree < m->index ? agree : m->index - 1;
    p->next = agree + 1 > p->match + 1 ? agree + 1 : p->match + 1;
}

struct progress *leader_heard(struct raft *r, const struct raft_msg *m)
{
    struct progress *p = r->state == RAFT_LEADER ? leader_peer(r, m->from) : NULL;

    /* Unknown sender (trap 21), an earlier life of it (trap 12), or numbers we never sent. */
    if (!p || m->session != p->session || m->seq > r->seq || m->stamp > r->now ||
        (!m->reject && m->index > r->log.last)) {
        return NULL;
    }
    p->contact = r->now;
    p->beats = 0;
    p->ack_seq = m->seq > p->ack_seq ? m->seq : p->ack_seq;
    p->ack_stamp = m->stamp > p->ack_stamp ? m->stamp : p->ack_stamp;
    return p;
}

void leader_answered(struct raft *r, struct progress *p)
{
    if (p->state == PROGRESS_SNAPSHOT && p->match >= r->log.base.index) {
        progress_probe(p); /* from here on entries will do */
    }
    progress_round(p, r->log.last, r->now);
    read_check_round(r);
}

void leader_on_reply(struct raft *r, const struct raft_msg *m)
{
    struct progress *p = leader_heard(r, m);

    if (!p) {
        return;
    }
    if (m->reject) {
        p->leaving_told = 0; /* whatever that message told was not taken in */
        on_rejected(r, p, m);
    } else if (progress_acked(p, m->index, r->config.inflight_msgs_max, r->now)) {
        leader_commit(r);
    }
    leader_answered(r, p);
}
