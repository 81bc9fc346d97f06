/* What the HTTP side shows of this node. */
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>

#include "base/crc.h"
#include "raft/membership.h"
#include "raftd/internal.h"
#include "raftd/metrics.h"

/* ---- Readiness ---- */

enum { CHECK_WHY_SIZE = NODE_REASON_SIZE + 64 };

struct check {
    const char *name;
    /* Is it so? If not: why not. */
    bool (*holds)(const struct server *s, const struct node_public *p, char *why, size_t size);
};

static bool is_member(const struct server *s, const struct node_public *p, char *why, size_t size)
{
    (void)s;
    if (p->role != 0) {
        return true;
    }
    (void)snprintf(why, size, "%s", p->reason[0] ? p->reason : node_state_text(p->state));
    return false;
}

static bool knows_leader(const struct server *s, const struct node_public *p, char *why,
                         size_t size)
{
    (void)s;
    if (p->leader) {
        return true;
    }
    (void)snprintf(why, size, "%s", p->reason[0] ? p->reason : "no leader is known");
    return false;
}

static bool has_disk(const struct server *s, const struct node_public *p, char *why, size_t size)
{
    (void)p;
    if (!s->stalled && !s->disk_low) {
        return true;
    }
    (void)snprintf(why, size, s->stalled ? "a log commit is overdue" : "space is low");
    return false;
}

static bool stays(const struct server *s, const struct node_public *p, char *why, size_t size)
{
    (void)p;
    (void)snprintf(why, size, "this raftd is told to stop");
    return !s->draining;
}

static const struct check checks[] = {
    {"member", is_member}, {"leader", knows_leader}, {"disk", has_disk}, {"running", stays}};

enum { CHECKS_COUNT = sizeof checks / sizeof checks[0] };

static bool is_ready(const struct server *s, const struct node_public *p)
{
    char why[CHECK_WHY_SIZE];
    bool ready = true;

    for (size_t i = 0; i < CHECKS_COUNT; i++) {
        ready = ready && checks[i].holds(s, p, why, sizeof why);
    }
    return ready;
}

/* The first line says whether, and why not; then one for each check. */
static void put_ready(void *server, bool verbose, struct buf *out)
{
    const struct server *s = server;
    struct node_public p;
    struct buf lines = BUF_INIT;
    bool ready = true;

    node_public_get(s->node, s->now, &p);
    for (size_t i = 0; i < CHECKS_COUNT; i++) {
        char why[CHECK_WHY_SIZE] = "";
        bool holds = checks[i].holds(s, &p, why, sizeof why);
        if (!holds && ready) {
            buf_printf(out, "not ready: %s: %s\n", checks[i].name, why);
        }
        buf_printf(&lines, "%s %s%s%s\n", holds ? "[+]" : "[-]", checks[i].name,
                   holds ? " ok" : ": ", holds ? "" : why);
        ready = ready && holds;
    }
    if (ready) {
        buf_put_str(out, "ok\n");
    }
    if (verbose) {
        buf_put(out, lines.data, lines.size);
    }
    buf_done(&lines);
}

/* ---- Who leads ---- */

/* Why none is known, in a word that programs can rely on; NULL: one is. */
static const char *no_leader_word(const struct server *s, const struct node_public *p)
{
    uint32_t need = membership_quorum(raft_membership(node_raft(s->node)));
    struct raft_view view;

    if (p->leader) {
        return NULL;
    }
    switch (p->state) {
    case NODE_UNCONFIGURED:
    case NODE_FORMING:
    case NODE_JOINING:
        return "unconfigured";
    case NODE_REMOVED:
        return "removed";
    case NODE_LEADER:
    case NODE_HANDING_OVER:
        raft_view_get(node_raft(s->node), &view);
        if (!view.leader_committed) { /* just elected: nobody had the time to answer it */
            return "electing";
        }
        break;
    case NODE_FOLLOWER:
    case NODE_LEARNER:
    case NODE_CANDIDATE:
        break;
    }
    return node_voters_reachable(s->node, s->now) < need ? "no_quorum" : "electing";
}

/* All that a client acts on, and nothing that changes all the time. */
static uint64_t etag_of(const struct server *s, const struct node_public *p,
                        const struct report_web *web)
{
    struct node_public steady = *p;
    struct report_web same = *web;
    struct buf text = BUF_INIT;

    server_view_steady(&steady);
    steady.reason[0] = 0;
    same.etag = 0;
    report_web(&text, &steady, &same);
    uint64_t hash = hash64(s->config->node_id, text.data, text.size);
    buf_done(&text);
    return hash ? hash : 1;
}

static void look(const struct server *s, struct node_public *p, struct report_web *web)
{
    struct raft_view view;

    node_public_get(s->node, s->now, p);
    raft_view_get(node_raft(s->node), &view);
    *web = (struct report_web){
        .cluster = view.cluster, .self = s->config->node_id, .word = no_leader_word(s, p)};
    server_view_leader(s, p, &web->leader);
    web->etag = etag_of(s, p, web);
}

static void state(void *server, struct http_state *out)
{
    const struct server *s = server;
    struct node_public p;
    struct report_web web;

    look(s, &p, &web);
    *out = (struct http_state){.etag = web.etag,
                               .is_known = p.leader != 0,
                               .is_leader = p.is_leader,
                               .is_follower = p.state == NODE_FOLLOWER || p.state == NODE_LEARNER,
                               .is_ready = is_ready(s, &p)};
}

static void put_leader(void *server, struct buf *out)
{
    struct node_public p;
    struct report_web web;

    look(server, &p, &web);
    server_view_told(server, &p);
    report_web(out, &p, &web);
}

static void put_health(void *server, bool claim, struct buf *out)
{
    const struct server *s = server;
    struct node_public p;

    node_public_get(s->node, s->now, &p);
    p.is_leader = p.is_leader && claim;
    server_view_told(server, &p);
    buf_put_str(out, node_state_text(p.state));
    if (p.is_leader) {
        buf_printf(out, ", fence %" PRIu64 ", may act for %" PRIu32 " ms", p.fence,
                   p.lease_remaining_ms);
    } else if (p.leader && p.leader != s->config->node_id) {
        buf_printf(out, ", node %" PRIu32 " leads", p.leader);
    }
    buf_printf(out, "%s%s\n", p.reason[0] ? ": " : "", p.reason);
}

/* ---- Metrics ---- */

static double seconds(const struct timeval *t)
{
    return (double)t->tv_sec + (double)t->tv_usec / 1e6;
}

static void put_metrics(void *server, struct buf *out)
{
    struct server *s = server;
    struct report_status status;
    struct rusage used;

    server_view_status(s, &status);
    (void)getrusage(RUSAGE_SELF, &used);
    struct metrics_view view = {
        .status = &status,
        .counts = &s->counts,
        .watches = s->watches,
        .holders = holders_alive(&s->holders, s->now),
        .started_s = (double)(mono_wall_ms() - (s->now - s->started)) / 1e3,
        .cpu_s = seconds(&used.ru_utime) + seconds(&used.ru_stime),
    };
    http_stats_get(s->http, &view.http);
    metrics_put(out, &view);
}

/* ---- Opening ---- */

int server_web_open(struct server *s)
{
    const struct config *c = s->config;
    const struct http_ops ops = {.server = s,
                                 .state = state,
                                 .put_leader = put_leader,
                                 .put_ready = put_ready,
                                 .put_health = put_health,
                                 .put_metrics = put_metrics,
                                 .status = server_web_status,
                                 .members = server_web_members};
    struct http_config config = {.listen_count = c->http_listen_count,
                                 .watchers_max = (uint32_t)c->http_max_watchers,
                                 .tls = c->http_https ? s->certs : NULL,
                                 /* a third of a lease */
                                 .beat_ms = (uint32_t)(c->election_timeout_ms * 8 / 10 / 3)};

    for (uint32_t i = 0; i < c->http_listen_count; i++) {
        config.listen[i] = c->http_listen[i];
    }
    return http_open(s->base, &config, &ops, &s->http);
}
