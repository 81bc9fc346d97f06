#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "raftd/internal.h"

/* ---- The turn ---- */

/* A leader refuses writes when its log is nearly full: every node says so before it is met. */
static void watch_log(struct server *s)
{
    uint64_t used = store_log_bytes(s->store);
    uint64_t limit = s->config->map_size;
    bool full = used > limit / 100 * NODE_LOG_FULL_PERCENT;

    node_set_log_use(s->node, used, limit);
    if (full && !s->log_full) {
        log_warning("raftd", "the log fills storage.map_size: a leader refuses writes",
                    LOG_U64("percent", used / (limit / 100)), LOG_U64("log_bytes", used),
                    LOG_U64("map_size", limit),
                    LOG_STR("do", "raise storage.map_size on every node, one after the other"));
    }
    s->log_full = full;
}

/* What is free may have been taken by others: the operator hears of it before anything fails. */
static void note_room(const struct store_room *room)
{
    if (room->low) {
        log_warning("raftd", "the disk is low: what grows is refused where no other voter has room",
                    LOG_STR("path", room->path), LOG_U64("free_bytes", room->free_bytes),
                    LOG_U64("log_reserve_bytes", room->log_bytes),
                    LOG_U64("state_reserve_bytes", room->state_bytes),
                    LOG_U64("wanted_bytes", room->wanted_bytes),
                    LOG_STR("do", "free space on this file system, or give it more; raftd goes on "
                                  "by itself then"));
    } else {
        log_notice("raftd", "the disk has room again", LOG_STR("path", room->path),
                   LOG_U64("free_bytes", room->free_bytes),
                   LOG_U64("log_reserve_bytes", room->log_bytes),
                   LOG_U64("state_reserve_bytes", room->state_bytes));
    }
}

static void watch_room(struct server *s)
{
    struct store_room room;

    store_room_get(s->store, &room);
    node_set_room(s->node, &(struct node_room){.low = room.low,
                                               .path = room.path,
                                               .free_bytes = room.free_bytes,
                                               .reserve_bytes = room.log_bytes + room.state_bytes,
                                               .log_reserve_bytes = room.log_bytes});
    if (room.low != s->disk_low) {
        s->disk_low = room.low;
        note_room(&room);
    }
}

static int take_completion(struct server *s)
{
    uint64_t seq = 0;

    if (!s->store_ready) {
        return 0;
    }
    s->store_ready = false;
    int code = store_completed(s->store, &seq);
    if (code) {
        log_error("raftd", "the log could not be written", LOG_ERR(code));
        return code;
    }
    if (seq == 0) {
        return 0;
    }
    s->batch_in_flight = false;
    watch_log(s);
    node_persisted(s->node, seq);
    if (s->stalled) {
        s->stalled = false;
        log_notice("raftd", "the log disk works again",
                   LOG_U64("outstanding_ms", s->now - s->batch_since));
        node_disk(s->node, false);
    }
    return 0;
}

static mono_ms stall_at(const struct server *s)
{
    return s->batch_in_flight && !s->stalled ? s->batch_since + s->config->stall_timeout_ms
                                             : UINT64_MAX;
}

static void check_stall(struct server *s)
{
    mono_ms at = stall_at(s);

    if (s->now < at) {
        return;
    }
    /* The timer is set for that moment: whoever comes much later did not run, and nor did the log
     * thread. That says nothing of the disk. */
    if (s->now > at + s->config->election_timeout_ms) {
        s->batch_since = s->now;
        return;
    }
    s->stalled = true;
    s->counts.disk_stalls++;
    log_warning("raftd", "the log disk hangs: a commit is outstanding",
                LOG_U64("outstanding_ms", s->now - s->batch_since),
                LOG_U64("stall_timeout_ms", s->config->stall_timeout_ms));
    node_disk(s->node, true);
}

static void submit(struct server *s, const struct node_batch *batch)
{
    if (!batch || batch->seq == s->batch_seq) {
        return;
    }
    const struct raft_save *save = &batch->save;
    store_submit(s->store, &(struct store_batch){.seq = batch->seq,
                                                 .hard_set = save->hard_set,
                                                 .cluster = save->cluster,
                                                 .term = save->term,
                                                 .vote = save->vote,
                                                 .loyal_ms = save->loyal_ms,
                                                 .base = save->base_set ? &save->base : NULL,
                                                 .reset = save->reset,
                                                 .first = save->first,
                                                 .entries = save->entries,
                                                 .entries_count = save->entries_count});
    s->batch_seq = batch->seq;
    s->batch_in_flight = true;
    s->batch_since = s->now;
}

/* For an assertion that fails in the next turn: reading the node then might fail again. */
static void remember(struct server *s)
{
    raft_view_get(node_raft(s->node), &s->seen_view);
}

static void update_targets(struct server *s)
{
    struct node_target targets[NODE_TARGETS_MAX];

    net_set_targets(s->net, targets, node_targets(s->node, targets));
}

static void update_hello(struct server *s)
{
    struct peer_hello hello;

    node_hello_get(s->node, &hello);
    net_set_hello(s->net, &hello);
}

static void update_status(struct server *s, const struct node_public *p)
{
    char text[NODE_REASON_SIZE + 64];

    (void)snprintf(text, sizeof text, "%s, term %llu, leader %u%s%s", node_state_text(p->state),
                   (unsigned long long)p->term, p->leader, p->reason[0] ? ": " : "", p->reason);
    systemd_status(s->systemd, text);
}

void server_introduce(struct server *s)
{
    update_hello(s);
    update_targets(s);
    remember(s);
    node_public_get(s->node, s->now, &s->seen);
    update_status(s, &s->seen);
}

static void note_changes(struct server *s, const struct node_out *out)
{
    struct node_public p;

    node_public_get(s->node, s->now, &p);
    if (p.state == s->seen.state && p.term == s->seen.term && p.leader == s->seen.leader &&
        p.is_leader == s->seen.is_leader) {
        return;
    }
    if (p.state != s->seen.state || p.leader != s->seen.leader) {
        log_notice("raft", p.state != s->seen.state ? "role changed" : "leader changed",
                   LOG_STR("state", node_state_text(p.state)),
                   LOG_STR("was", node_state_text(s->seen.state)), LOG_U64("term", p.term),
                   LOG_U64("leader", p.leader), LOG_U64("last_index", s->seen_view.last),
                   LOG_U64("commit_index", s->seen_view.commit), LOG_STR("why", out->reason),
                   LOG_STR("now", p.reason));
    }
    s->counts.leaderships += p.state == NODE_LEADER && s->seen.state != NODE_LEADER &&
                             s->seen.state != NODE_HANDING_OVER;
    if (p.leader && (p.leader != s->known_leader || p.term != s->known_term)) {
        s->counts.leader_changes++;
        s->known_leader = p.leader;
        s->known_term = p.term;
    }
    s->seen = p;
    update_status(s, &p);
}

static void note_handover(struct server *s, const struct node_out *out)
{
    if (out->handover.code) {
        s->counts.handovers_failed++;
        log_warning("raft", "no hand-over", LOG_STR("why", out->handover.why),
                    LOG_ERR(out->handover.code));
    } else {
        s->counts.handovers++;
        log_notice("raft", "handed over", LOG_U64("to", out->handover.to),
                   LOG_U64("term", out->handover.term));
    }
}

static void note_snapshot(const struct node_out *out)
{
    static const struct {
        enum log_level level;
        const char *text, *advice;
    } ends[] = {
        [NODE_SNAPSHOT_INSTALLED] = {LOG_NOTICE, "a snapshot is installed where it was sent",
                                     "nothing: that node goes on with the log"},
        [NODE_SNAPSHOT_REFUSED] =
            {LOG_WARNING, "a snapshot was sent whole, and its receiver cannot use it",
             "see the log of that node: its disk may have no room for it; if it says nothing, rows "
             "of this node's state may be damaged: stop it, raftctl check"},
        [NODE_SNAPSHOT_GIVEN_UP] =
            {LOG_NOTICE, "a snapshot was given up before its receiver had it",
             "nothing: another one is sent when that node answers and still needs it"},
    };

    log_write(ends[out->snapshot.how].level, "raftd", ends[out->snapshot.how].text,
              LOG_U64("to", out->snapshot.to), LOG_U64("index", out->snapshot.index),
              LOG_U64("bytes", out->snapshot.bytes), LOG_U64("took_ms", out->snapshot.took_ms),
              LOG_STR("do", ends[out->snapshot.how].advice), LOG_END);
}

/* The others dial what stands in the membership, whatever the configuration says. */
static void note_address(const struct server *s, const struct raft_membership *m)
{
    for (uint32_t i = 0; i < m->members_count; i++) {
        const struct raft_member *self = &m->members[i];
        if (self->id == s->config->node_id && s->config->advertise[0] &&
            strcmp(self->address, s->config->advertise) != 0) {
            log_warning("raftd", "the members dial another address than this node advertises",
                        LOG_STR("members_dial", self->address),
                        LOG_STR("advertise", s->config->advertise),
                        LOG_STR("do", "correct advertise (or listen) in [node]; or remove-server "
                                      "this node and add-server it at its new address"));
        }
    }
}

static void note_membership(struct server *s)
{
    const struct raft_membership *m = raft_membership_committed(node_raft(s->node));
    struct buf text = BUF_INIT;

    if (m->index == s->seen_membership) {
        return;
    }
    for (uint32_t i = 0; i < m->members_count; i++) {
        buf_printf(&text, "%s%u=%s", i ? " " : "", m->members[i].id,
                   report_role_text(m->members[i].role));
    }
    log_notice("raft", "membership committed", LOG_U64("index", m->index),
               LOG_STR("members", buf_str(&text)));
    buf_done(&text);
    s->seen_membership = m->index;
    note_address(s, m);
}

static void follow_changes(struct server *s, const struct node_out *out)
{
    remember(s);
    note_membership(s);
    if (out->handover.over) {
        note_handover(s, out);
    }
    if (out->snapshot.how) {
        s->counts.snapshots_sent += out->snapshot.how == NODE_SNAPSHOT_INSTALLED;
        note_snapshot(out);
    }
    if (out->hello_changed) {
        update_hello(s);
    }
    if (out->targets_changed) {
        update_targets(s);
    }
    if (out->changed) {
        note_changes(s, out);
    }
}

static int take_output(struct server *s, const struct node_out *out)
{
    if (out->fatal) {
        log_error("raftd", "cannot go on", LOG_STR("why", out->fatal_why), LOG_ERR(out->fatal));
        return out->fatal;
    }
    /* First what others wait for: our disk and the peers' disks work at the same time. */
    submit(s, out->batch);
    if (out->hello_first) {
        update_hello(s);
    }
    for (uint32_t i = 0; i < out->sends_count; i++) {
        net_send(s->net, out->sends[i].to, &out->sends[i].msg);
    }
    net_flush(s->net);
    server_answer(s, out->answers, out->answers_count);
    follow_changes(s, out);
    server_watchers_run(s);
    server_queries_run(s);
    http_turn(s->http, s->now);
    return 0;
}

/* Told to stop: what was asked is finished, a leader hands over, then the process ends. */
static void drain_if_wanted(struct server *s)
{
    if (s->stop_wanted && !s->draining) {
        s->draining = true;
        s->drain_until = s->now + s->config->shutdown_transfer_timeout_ms;
        node_retire(s->node, s->drain_until);
        admin_drain(s->admin);
    }
}

static bool is_drained(const struct server *s)
{
    return s->draining &&
           (s->now >= s->drain_until || (node_is_retired(s->node) && admin_is_drained(s->admin)));
}

static void reload_if_wanted(struct server *s)
{
    struct buf said = BUF_INIT;

    if (s->reload_wanted) {
        s->reload_wanted = false;
        (void)server_reload(s, &said); /* it logs the same */
        buf_done(&said);
    }
    if (s->uri_changed) {
        s->uri_changed = false;
        node_set_uri(s->node, s->config->uri);
    }
}

/* A claim lapses without any event: watchers have to hear. */
static mono_ms claim_ends(const struct server *s)
{
    struct node_public p;

    if (s->watches == 0 && !http_has_watchers(s->http)) {
        return UINT64_MAX;
    }
    node_public_get(s->node, s->now, &p);
    return p.is_leader ? s->now + p.lease_remaining_ms + 1 : UINT64_MAX;
}

/* When the next turn is due even if nothing arrives. */
static mono_ms next_turn(struct server *s)
{
    mono_ms at = node_deadline(s->node);

    at = mono_earlier(at, stall_at(s));
    at = mono_earlier(at, systemd_watchdog(s->systemd, s->now));
    at = mono_earlier(at, claim_ends(s));
    at = mono_earlier(at, http_due(s->http));
    at = mono_earlier(at, server_flush_due(s));
    at = mono_earlier(at, server_certs_due(s));
    at = mono_earlier(at, server_backups_due(s));
    if (s->draining) {
        at = mono_earlier(at, holders_due(&s->holders, s->now));
        at = mono_earlier(at, s->drain_until);
    }
    bool has_work = net_has_work(s->net) || admin_has_work(s->admin);
    return s->inbox_count || s->queries_count || has_work ? s->now : at;
}

static void arm_timer(struct server *s, mono_ms at)
{
    if (at == s->timer_at) {
        return;
    }
    if (at == UINT64_MAX) {
        (void)evtimer_del(s->timer);
    } else {
        uint64_t ms = at > s->now ? at - s->now : 0;
        const struct timeval delay = {.tv_sec = (time_t)(ms / 1000),
                                      .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
        (void)evtimer_add(s->timer, &delay);
    }
    s->timer_at = at;
}

static int turn(struct server *s)
{
    s->now = mono_now_ms();
    admin_take(s->admin);
    node_begin(s->node, s->now, mono_wall_ms());
    reload_if_wanted(s);
    drain_if_wanted(s);
    int code = take_completion(s);
    if (code) {
        return code;
    }
    server_flush_take(s);
    watch_room(s);
    server_inbox_feed(s);
    check_stall(s);
    code = take_output(s, node_end(s->node));
    node_out_clear(s->node);
    if (code) {
        return code;
    }
    server_flush_turn(s);
    server_backups_turn(s);
    server_certs_turn(s);
    admin_flush(s->admin);
    admin_reap(s->admin);
    net_turn(s->net);
    return 0;
}

int server_run(struct server *s)
{
    int code = turn(s);

    while (code == 0 && !is_drained(s)) {
        mono_ms at = next_turn(s);
        bool is_due = at <= s->now;
        if (!is_due) {
            arm_timer(s, at);
        }
        if (event_base_loop(s->base, EVLOOP_ONCE | (is_due ? EVLOOP_NONBLOCK : 0)) < 0) {
            log_error("raftd", "the event loop failed", LOG_ERR(-errno));
            return -RD_EDISK;
        }
        code = turn(s);
    }
    return code;
}
