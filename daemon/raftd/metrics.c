#include "raftd/metrics.h"

#include <inttypes.h>
#include <string.h>

struct metric {
    const char *name, *type, *help;
    /* All samples of it; none when nothing is known. */
    void (*put)(struct buf *out, const char *name, const struct metrics_view *v);
};

static void put_u64(struct buf *out, const char *name, uint64_t value)
{
    if (value != REPORT_UNKNOWN) {
        buf_printf(out, "%s %" PRIu64 "\n", name, value);
    }
}

static void put_seconds(struct buf *out, const char *name, uint64_t count, double per_second)
{
    if (count != REPORT_UNKNOWN) {
        buf_printf(out, "%s %.9g\n", name, (double)count / per_second);
    }
}

/* NAME(field) is a function that puts what the view has in that field. */
#define PUT(function, field)                                                                       \
    static void function(struct buf *out, const char *name, const struct metrics_view *v)          \
    {                                                                                              \
        put_u64(out, name, v->field);                                                              \
    }
#define PUT_SECONDS(function, field, per_second)                                                   \
    static void function(struct buf *out, const char *name, const struct metrics_view *v)          \
    {                                                                                              \
        put_seconds(out, name, v->field, per_second);                                              \
    }

#define MS 1e3
#define US 1e6

PUT(put_is_leader, status->public.is_leader)
PUT(put_has_leader, status->public.leader != 0)
PUT(put_leader_id, status->public.leader)
PUT(put_term, status->public.term)
PUT(put_fence, status->public.fence)
PUT_SECONDS(put_lease, status->public.lease_remaining_ms, MS)
PUT(put_commit, status->commit)
PUT(put_applied, status->applied)
PUT(put_first, status->first)
PUT(put_last, status->last)
PUT(put_revision, status->revision)
PUT(put_pending, status->members.pending)
PUT(put_voters, status->voters)
PUT(put_need, status->need)
PUT(put_reachable, status->reachable)
PUT(put_leader_changes, counts->leader_changes)
PUT(put_leaderships, counts->leaderships)
PUT(put_handovers, counts->handovers)
PUT(put_handovers_failed, counts->handovers_failed)
PUT(put_snapshots_sent, counts->snapshots_sent)
PUT(put_snapshots_received, counts->snapshots_received)
PUT(put_disk_stalls, counts->disk_stalls)
PUT_SECONDS(put_commit_p50, status->log_commit_p50_us, US)
PUT_SECONDS(put_commit_p99, status->log_commit_p99_us, US)
PUT(put_log_bytes, status->log_bytes)
PUT(put_state_bytes, status->state_bytes)
PUT(put_state_used, status->state_used_bytes)
PUT(put_state_max, status->state_max_bytes)
PUT(put_free_bytes, status->free_bytes)
PUT(put_reserve_bytes, status->reserve_bytes)
PUT(put_watches, watches)
PUT(put_holders, holders)
PUT(put_http_requests, http.requests)
PUT(put_http_refused, http.refused)
PUT(put_http_cut_off, http.cut_off)
PUT(put_http_refused_tls, http.refused_tls)
PUT(put_http_connections, http.connections)
PUT(put_http_watchers, http.watchers)
PUT(put_rss, status->rss_bytes)
PUT(put_fds, status->fds)

static void put_build(struct buf *out, const char *name, const struct metrics_view *v)
{
    (void)v;
    buf_printf(out, "%s{version=\"" RAFTD_VERSION "\"} 1\n", name);
}

/* One series for each state, 1 for the one that is. */
static void put_state(struct buf *out, const char *name, const struct metrics_view *v)
{
    for (enum node_state_name s = NODE_UNCONFIGURED; s <= NODE_REMOVED; s++) {
        buf_printf(out, "%s{state=\"%s\"} %d\n", name, node_state_text(s),
                   v->status->public.state == s);
    }
}

static void put_disk(struct buf *out, const char *name, const struct metrics_view *v)
{
    static const char *const states[] = {"ok", "low", "stalled"};

    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
        buf_printf(out, "%s{state=\"%s\"} %d\n", name, states[i],
                   strcmp(v->status->disk_state, states[i]) == 0);
    }
}

static void put_contact(struct buf *out, const char *name, const struct metrics_view *v)
{
    const struct node_public *p = &v->status->public;

    if (p->leader) {
        put_seconds(out, name, p->contact_ms, MS);
    }
}

static void put_requests(struct buf *out, const char *name, const struct metrics_view *v)
{
    static const char *const kinds[METRICS_REQUESTS] = {
        [METRICS_WRITE] = "write", [METRICS_READ] = "read", [METRICS_CHANGE] = "change"};

    for (size_t i = METRICS_WRITE; i < METRICS_REQUESTS; i++) {
        buf_printf(out, "%s{kind=\"%s\",result=\"ok\"} %" PRIu64 "\n", name, kinds[i],
                   v->counts->answered[i]);
        buf_printf(out, "%s{kind=\"%s\",result=\"error\"} %" PRIu64 "\n", name, kinds[i],
                   v->counts->failed[i]);
    }
}

/* ---- One series for each member: only the leader knows how far they are ---- */

static void put_of_member(struct buf *out, const char *name, const struct report_member *m,
                          uint64_t value, double divisor)
{
    if (value != REPORT_UNKNOWN) {
        buf_printf(out, "%s{id=\"%" PRIu32 "\"} %.15g\n", name, m->id, (double)value / divisor);
    }
}

#define PUT_MEMBERS(function, field, divisor)                                                      \
    static void function(struct buf *out, const char *name, const struct metrics_view *v)          \
    {                                                                                              \
        for (uint32_t i = 0; i < v->status->members.count; i++) {                                  \
            const struct report_member *m = &v->status->members.rows[i];                           \
            put_of_member(out, name, m, m->field, divisor);                                        \
        }                                                                                          \
    }

PUT_MEMBERS(put_match, match_index, 1)
PUT_MEMBERS(put_lag, lag, 1)
PUT_MEMBERS(put_member_contact, contact_ms, MS)
PUT_MEMBERS(put_connected, connected, 1)

static void put_cert_until(struct buf *out, const char *name, const struct metrics_view *v)
{
    if (v->status->tls.is_on) {
        buf_printf(out, "%s %" PRId64 "\n", name, v->status->tls.cert_until_s);
    }
}

static void put_ca_until(struct buf *out, const char *name, const struct metrics_view *v)
{
    if (v->status->tls.is_on) {
        buf_printf(out, "%s %" PRId64 "\n", name, v->status->tls.ca_until_s);
    }
}

static void put_started(struct buf *out, const char *name, const struct metrics_view *v)
{
    buf_printf(out, "%s %.3f\n", name, v->started_s);
}

static void put_cpu(struct buf *out, const char *name, const struct metrics_view *v)
{
    buf_printf(out, "%s %.6f\n", name, v->cpu_s);
}

#define GAUGE "gauge"
#define COUNTER "counter"

/* A table. Order is the order of /metrics and of the manual. */
/* clang-format off */
static const struct metric metrics[] = {
    {"raftd_build_info", GAUGE, "Version of this raftd, as a label; always 1.", put_build},
    {"raftd_state", GAUGE, "1 for the state this node is in (status: state), 0 for the others.", put_state},
    {"raftd_is_leader", GAUGE, "1 while this node may claim to lead.", put_is_leader},
    {"raftd_lease_remaining_seconds", GAUGE, "How long the claim to lead still holds; 0 without one.", put_lease},
    {"raftd_has_leader", GAUGE, "1 while this node knows a leader that it heard lately.", put_has_leader},
    {"raftd_leader_id", GAUGE, "Id of the leader, 0 while none is known.", put_leader_id},
    {"raftd_leader_contact_seconds", GAUGE, "Time since the leader was heard; none without a leader.", put_contact},
    {"raftd_term", GAUGE, "Raft term of this node.", put_term},
    {"raftd_fence", GAUGE, "Fencing token: term of the leader, 0 while none is known.", put_fence},
    {"raftd_leader_changes_total", COUNTER, "How often another leadership became known to this node.", put_leader_changes},
    {"raftd_leaderships_total", COUNTER, "How often this node became leader.", put_leaderships},
    {"raftd_handovers_total", COUNTER, "Hand-overs of this leader to another voter.", put_handovers},
    {"raftd_handovers_failed_total", COUNTER, "Hand-overs of this leader that came to nothing.", put_handovers_failed},
    {"raftd_voters", GAUGE, "Voters in the membership that is in force.", put_voters},
    {"raftd_voters_needed", GAUGE, "Voters that make a quorum.", put_need},
    {"raftd_voters_reachable", GAUGE, "Voters this node can reach, itself included.", put_reachable},
    {"raftd_membership_pending", GAUGE, "1 while a change of the membership is not committed.", put_pending},
    {"raftd_commit_index", GAUGE, "Index of the last committed log entry known here.", put_commit},
    {"raftd_applied_index", GAUGE, "Index of the last log entry applied to the state.", put_applied},
    {"raftd_first_index", GAUGE, "Index of the first log entry that is kept.", put_first},
    {"raftd_last_index", GAUGE, "Index of the last log entry.", put_last},
    {"raftd_revision", GAUGE, "Revision of the replicated state.", put_revision},
    {"raftd_member_connected", GAUGE, "1 while the link of this node to a member is up.", put_connected},
    {"raftd_member_match_index", GAUGE, "Last log entry a member is known to hold (on the leader).", put_match},
    {"raftd_member_lag_entries", GAUGE, "Log entries a member does not hold yet (on the leader).", put_lag},
    {"raftd_member_contact_seconds", GAUGE, "Time since a member answered (on the leader).", put_member_contact},
    {"raftd_requests_total", COUNTER, "Requests of local clients that were answered, by kind and result.", put_requests},
    {"raftd_snapshots_sent_total", COUNTER, "Snapshots that members have installed from this leader.", put_snapshots_sent},
    {"raftd_snapshots_received_total", COUNTER, "Snapshots this node has installed.", put_snapshots_received},
    {"raftd_disk_state", GAUGE, "1 for the state of the disk (status: disk), 0 for the others.", put_disk},
    {"raftd_disk_stalls_total", COUNTER, "Log commits that took longer than storage.stall_timeout.", put_disk_stalls},
    {"raftd_log_commit_p50_seconds", GAUGE, "Median time of the latest log commits.", put_commit_p50},
    {"raftd_log_commit_p99_seconds", GAUGE, "99th percentile of the latest log commits.", put_commit_p99},
    {"raftd_log_bytes", GAUGE, "Size of the log on disk.", put_log_bytes},
    {"raftd_state_bytes", GAUGE, "Size of the state on disk.", put_state_bytes},
    {"raftd_state_used_bytes", GAUGE, "Size of the state as storage.state_max_bytes limits it: keys, values and 128 bytes for each key.", put_state_used},
    {"raftd_state_max_bytes", GAUGE, "storage.state_max_bytes of this node, which counts while it leads.", put_state_max},
    {"raftd_disk_free_bytes", GAUGE, "Free on the file system of data_dir.", put_free_bytes},
    {"raftd_disk_reserve_bytes", GAUGE, "Reserved ahead of use for the log and the state.", put_reserve_bytes},
    {"raftd_tls_certificate_expiry_timestamp_seconds", GAUGE, "When the certificate of this node expires; none without [tls].", put_cert_until},
    {"raftd_tls_ca_expiry_timestamp_seconds", GAUGE, "When the first authority in tls.ca expires; none without [tls].", put_ca_until},
    {"raftd_watches", GAUGE, "Watch streams on the admin socket.", put_watches},
    {"raftd_holders", GAUGE, "Clients (raftctl exec) that hold a claim to lead.", put_holders},
    {"raftd_http_connections", GAUGE, "Open HTTP connections.", put_http_connections},
    {"raftd_http_watchers", GAUGE, "HTTP requests that wait or stream.", put_http_watchers},
    {"raftd_http_requests_total", COUNTER, "HTTP requests.", put_http_requests},
    {"raftd_http_refused_total", COUNTER, "HTTP requests and connections that a limit of raftd refused (what is no HTTP is not counted).", put_http_refused},
    {"raftd_http_tls_refused_total", COUNTER, "HTTPS connections that were refused: no TLS, no TLS 1.3, a client that refuses the certificate, or no handshake in time.", put_http_refused_tls},
    {"raftd_http_slow_readers_total", COUNTER, "HTTP clients cut off because they did not read their answer or stream.", put_http_cut_off},
    {"process_resident_memory_bytes", GAUGE, "Resident memory, the mapped databases included.", put_rss},
    {"process_open_fds", GAUGE, "Open file descriptors.", put_fds},
    {"process_cpu_seconds_total", COUNTER, "User and system time used.", put_cpu},
    {"process_start_time_seconds", GAUGE, "Wall clock time of the start.", put_started},
};
/* clang-format on */

enum { METRICS_COUNT = sizeof metrics / sizeof metrics[0] };

void metrics_put(struct buf *out, const struct metrics_view *view)
{
    for (size_t i = 0; i < METRICS_COUNT; i++) {
        const struct metric *m = &metrics[i];
        buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name, m->type);
        m->put(out, m->name, view);
    }
}

void metrics_each(metrics_cb *cb, void *arg)
{
    for (size_t i = 0; i < METRICS_COUNT; i++) {
        cb(arg, metrics[i].name, metrics[i].type, metrics[i].help);
    }
}
