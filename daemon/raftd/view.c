#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "raft/membership.h"
#include "raftd/internal.h"

/* What a member says about itself in its hello; our own words need no hello. */
struct words {
    const char *name, *uri, *version;
    uint16_t protocol;
};

static struct words words_of(const struct server *s, raft_id id)
{
    if (id == s->config->node_id) {
        return (struct words){s->config->node_name, s->config->uri, RAFTD_VERSION,
                              PEER_PROTOCOL_MAX};
    }
    const struct peer_hello *hello = node_peer_hello(s->node, id);
    return hello ? (struct words){hello->name, hello->uri, hello->version, peer_protocol(hello)}
                 : (struct words){"", "", "", 0};
}

void server_view_leader(const struct server *s, const struct node_public *p,
                        struct report_leader *out)
{
    const struct raft_member *member =
        membership_find(raft_membership(node_raft(s->node)), p->leader);

    out->address = member ? member->address : "";
    out->uri = p->leader ? words_of(s, p->leader).uri : "";
}

/* ---- Members ---- */

static void view_progress(const struct server *s, struct report_member *out)
{
    struct raft_peer_view peer;

    out->match_index = out->lag = out->contact_ms = REPORT_UNKNOWN;
    if (!node_member_progress(s->node, out->id, &peer)) {
        return;
    }
    raft_index last = node_progress_last(s->node);
    out->match_index = peer.match;
    out->lag = last > peer.match ? last - peer.match : 0;
    if (peer.contact) {
        out->contact_ms = s->now > peer.contact ? s->now - peer.contact : 0;
    }
}

static void view_member(const struct server *s, const struct raft_member *member,
                        struct report_member *out)
{
    struct words words = words_of(s, member->id);
    bool is_self = member->id == s->config->node_id;

    *out = (struct report_member){.id = member->id,
                                  .role = member->role,
                                  .auto_promote = member->auto_promote,
                                  .name = words.name,
                                  .address = member->address,
                                  .uri = words.uri,
                                  .version = words.version,
                                  .protocol = words.protocol,
                                  .store = member->store,
                                  .connected = is_self || net_is_connected(s->net, member->id)};
    view_progress(s, out);
    if (!out->connected) {
        (void)snprintf(out->trouble, sizeof out->trouble, "%s", net_trouble(s->net, member->id));
    }
}

const struct raft_membership *server_view_membership(const struct server *s)
{
    const struct raft *r = node_raft(s->node);
    const struct raft_membership *committed = raft_membership_committed(r);

    /* After a restart nobody knows what is committed until a leader says so. */
    return committed->members_count ? committed : raft_membership(r);
}

void server_view_members(const struct server *s, const struct raft_membership *m,
                         struct report_members *out)
{
    out->index = m->index;
    out->pending = raft_membership(node_raft(s->node))->index > m->index;
    out->count = m->members_count;
    for (uint32_t i = 0; i < m->members_count; i++) {
        view_member(s, &m->members[i], &out->rows[i]);
    }
}

void server_view_steady(struct node_public *p)
{
    p->lease_remaining_ms = 0;
    p->contact_ms = 0;
    if (p->state == NODE_HANDING_OVER && p->is_leader) {
        p->state = NODE_LEADER;
    }
}

/* ---- The process ---- */

enum { PROCESS_VIEW_MS = 100 };

static uint64_t resident_bytes(void)
{
    char text[128];
    unsigned long long size = 0;
    unsigned long long resident = 0;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return 0;
    }
    ssize_t n = read(fd, text, sizeof text - 1);
    (void)close(fd);
    text[n > 0 ? n : 0] = 0;
    if (sscanf(text, "%llu %llu", &size, &resident) != 2) {
        return 0;
    }
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t open_descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    uint64_t count = 0;

    if (!directory) {
        return 0;
    }
    while (readdir(directory)) { /* NOLINT(concurrency-mt-unsafe): the stream is ours alone */
        count++;
    }
    (void)closedir(directory);
    return count > 3 ? count - 3 : 0; /* ".", ".." and the directory itself */
}

struct process_view {
    mono_ms until; /* it is good enough */
    uint64_t rss_bytes, fds;
};

/* Counting descriptors takes a millisecond per thousand, and anybody may ask as often as he likes. */
static const struct process_view *view_process(mono_ms now)
{
    static struct process_view seen; /* of the process, whoever asks */

    if (now >= seen.until) {
        seen = (struct process_view){.until = now + PROCESS_VIEW_MS,
                                     .rss_bytes = resident_bytes(),
                                     .fds = open_descriptors()};
    }
    return &seen;
}

/* ---- status ---- */

static void view_disk(const struct server *s, struct report_status *out)
{
    struct store_stats stats;
    struct store_room room;

    store_stats_get(s->store, &stats);
    store_room_get(s->store, &room);
    out->disk_state = s->stalled ? "stalled" : room.low ? "low" : "ok";
    out->log_commit_p50_us = stats.commit_p50_us;
    out->log_commit_p99_us = stats.commit_p99_us;
    out->free_bytes = stats.free_bytes == UINT64_MAX ? REPORT_UNKNOWN : stats.free_bytes;
    out->reserve_bytes = room.log_bytes + room.state_bytes;
    out->log_bytes = stats.log_bytes;
    out->state_bytes = stats.state_bytes;
    out->state_used_bytes = state_bytes(node_state(s->node));
    out->state_max_bytes = s->config->state_max_bytes;
}

static void view_raft(const struct server *s, struct report_status *out)
{
    const struct raft_membership *membership = raft_membership(node_raft(s->node));
    const struct state *state = node_state(s->node);
    struct raft_view view;

    raft_view_get(node_raft(s->node), &view);
    out->cluster = view.cluster;
    out->commit = view.commit;
    out->applied = state_index(state);
    out->last = view.last;
    out->first = view.last ? view.base + 1 : 0; /* above the last, when all of it is forgotten */
    out->revision = state_revision(state);
    out->digest_index = state_index(state);
    out->digest = state_digest(state);
    out->voters = membership_voters(membership);
    out->need = membership_quorum(membership);
    server_view_members(s, server_view_membership(s), &out->members);
    out->reachable = node_voters_reachable(s->node, s->now);
}

void server_view_told(struct server *s, const struct node_public *p)
{
    if (p->is_leader) {
        node_claim_told(s->node);
    }
}

void server_view_status(struct server *s, struct report_status *out)
{
    const struct process_view *process = view_process(s->now);

    *out = (struct report_status){.cluster_name = s->config->cluster_name,
                                  .id = s->config->node_id,
                                  .name = s->config->node_name,
                                  .address = s->config->advertise,
                                  .uri = s->config->uri,
                                  .store = s->info.store,
                                  .disk_format = s->info.format,
                                  .rss_bytes = process->rss_bytes,
                                  .fds = process->fds,
                                  .uptime_ms = s->now - s->started};
    for (uint32_t i = 0; i < s->config->http_listen_count; i++) {
        out->http[i] = s->config->http_listen[i];
    }
    node_public_get(s->node, s->now, &out->public);
    server_view_told(s, &out->public);
    server_view_leader(s, &out->public, &out->leader);
    view_raft(s, out);
    view_disk(s, out);
    server_certs_view(s, &out->tls);
}
