#include "raftd/report.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/err.h"
#include "base/jw.h"
#include "base/units.h"

static void put_known(struct jw *j, const char *key, uint64_t v)
{
    if (v == REPORT_UNKNOWN) {
        jw_null(j, key);
    } else {
        jw_u64(j, key, v);
    }
}

static void put_uuid(struct jw *j, const char *key, const struct uuid *u)
{
    char text[UUID_TEXT_SIZE];

    uuid_text(u, text);
    jw_str(j, key, uuid_is_set(u) ? text : NULL);
}

const char *report_role_text(enum raft_role role)
{
    return role == RAFT_VOTER ? "voter" : role == RAFT_LEARNER ? "learner" : NULL;
}

static void put_fence(struct jw *j, const struct node_public *p)
{
    put_known(j, "fence", p->fence ? p->fence : REPORT_UNKNOWN);
}

static void put_leader(struct jw *j, const struct node_public *p, const struct report_leader *l)
{
    if (p->leader == 0) {
        jw_null(j, "leader");
        return;
    }
    jw_object(j, "leader");
    jw_u64(j, "id", p->leader);
    jw_str_or_null(j, "address", l->address);
    jw_str_or_null(j, "uri", l->uri);
    jw_object_end(j);
}

/* ---- status, members ---- */

static void put_member(struct jw *j, const struct report_member *m)
{
    jw_object(j, NULL);
    jw_u64(j, "id", m->id);
    jw_str_or_null(j, "name", m->name);
    jw_str_or_null(j, "address", m->address);
    jw_str_or_null(j, "uri", m->uri);
    jw_str(j, "role", report_role_text(m->role));
    jw_bool(j, "auto_promote", m->auto_promote);
    put_uuid(j, "store_id", &m->store);
    put_known(j, "match_index", m->match_index);
    put_known(j, "lag", m->lag);
    put_known(j, "contact_ms", m->contact_ms);
    jw_bool(j, "connected", m->connected);
    jw_str_or_null(j, "trouble", m->trouble);
    jw_str_or_null(j, "version", m->version);
    put_known(j, "protocol", m->protocol ? m->protocol : REPORT_UNKNOWN);
    jw_object_end(j);
}

static void put_member_list(struct jw *j, const struct report_members *m)
{
    jw_array(j, "members");
    for (uint32_t i = 0; i < m->count; i++) {
        put_member(j, &m->rows[i]);
    }
    jw_array_end(j);
}

static void put_identity(struct jw *j, const struct report_status *s)
{
    jw_object(j, "cluster");
    put_uuid(j, "id", &s->cluster);
    jw_str_or_null(j, "name", s->cluster_name);
    jw_object_end(j);
    jw_object(j, "node");
    jw_u64(j, "id", s->id);
    jw_str_or_null(j, "name", s->name);
    put_uuid(j, "store_id", &s->store);
    jw_str_or_null(j, "address", s->address);
    jw_str_or_null(j, "uri", s->uri);
    jw_array(j, "http");
    for (size_t i = 0; i < REPORT_HTTP_MAX && s->http[i]; i++) {
        jw_str(j, NULL, s->http[i]);
    }
    jw_array_end(j);
    jw_object(j, "protocol");
    jw_u64(j, "min", PEER_PROTOCOL_MIN);
    jw_u64(j, "max", PEER_PROTOCOL_MAX);
    jw_object_end(j);
    jw_object_end(j);
}

static void put_public(struct jw *j, const struct report_status *s)
{
    const struct node_public *p = &s->public;

    jw_str(j, "state", node_state_text(p->state));
    jw_bool(j, "is_leader", p->is_leader);
    jw_str(j, "role", report_role_text(p->role));
    jw_str_or_null(j, "reason", p->reason);
    jw_u64(j, "term", p->term);
    put_fence(j, p);
    put_leader(j, p, &s->leader);
    jw_u64(j, "lease_remaining_ms", p->lease_remaining_ms);
    put_known(j, "leader_contact_ms", p->leader ? p->contact_ms : REPORT_UNKNOWN);
}

static void put_progress(struct jw *j, const struct report_status *s)
{
    char digest[17];

    jw_u64(j, "commit_index", s->commit);
    jw_u64(j, "applied_index", s->applied);
    jw_u64(j, "first_index", s->first);
    jw_u64(j, "last_index", s->last);
    jw_u64(j, "revision", s->revision);
    jw_object(j, "membership");
    jw_u64(j, "index", s->members.index);
    jw_bool(j, "pending", s->members.pending);
    jw_object_end(j);
    (void)snprintf(digest, sizeof digest, "%016" PRIx64, s->digest);
    jw_object(j, "digest");
    jw_u64(j, "index", s->digest_index);
    jw_str(j, "value", digest);
    jw_object_end(j);
    jw_object(j, "quorum");
    jw_u64(j, "voters", s->voters);
    jw_u64(j, "need", s->need);
    jw_u64(j, "reachable", s->reachable);
    jw_u64(j, "failure_tolerance", s->reachable > s->need ? s->reachable - s->need : 0);
    jw_object_end(j);
}

static void put_tls(struct jw *j, const struct report_tls *tls)
{
    if (!tls->is_on) {
        jw_null(j, "tls");
        return;
    }
    jw_object(j, "tls");
    jw_str(j, "cert_not_after", tls->cert_until);
    jw_i64(j, "cert_expires_in_s", tls->cert_left_s);
    jw_str(j, "ca_not_after", tls->ca_until);
    jw_i64(j, "ca_expires_in_s", tls->ca_left_s);
    jw_bool(j, "https", tls->https);
    jw_object_end(j);
}

static void put_process(struct jw *j, const struct report_status *s)
{
    jw_object(j, "disk");
    jw_str(j, "state", s->disk_state);
    jw_u64(j, "log_commit_p99_us", s->log_commit_p99_us);
    jw_u64(j, "log_bytes", s->log_bytes);
    jw_u64(j, "state_bytes", s->state_bytes);
    jw_u64(j, "log_commit_p50_us", s->log_commit_p50_us);
    put_known(j, "free_bytes", s->free_bytes);
    jw_u64(j, "reserve_bytes", s->reserve_bytes);
    jw_u64(j, "format", s->disk_format);
    jw_u64(j, "state_used_bytes", s->state_used_bytes);
    jw_u64(j, "state_max_bytes", s->state_max_bytes);
    jw_object_end(j);
    jw_object(j, "process");
    jw_u64(j, "rss_bytes", s->rss_bytes);
    jw_u64(j, "fds", s->fds);
    jw_u64(j, "uptime_ms", s->uptime_ms);
    jw_object_end(j);
}

void report_status(struct buf *out, const struct report_status *s)
{
    struct jw j = jw_begin(out);

    jw_object(&j, NULL);
    jw_str(&j, "schema", REPORT_SCHEMA);
    jw_str(&j, "version", RAFTD_VERSION);
    put_identity(&j, s);
    put_public(&j, s);
    put_progress(&j, s);
    put_member_list(&j, &s->members);
    put_tls(&j, &s->tls);
    put_process(&j, s);
    jw_object_end(&j);
}

void report_members(struct buf *out, const struct report_members *m)
{
    struct jw j = jw_begin(out);

    jw_object(&j, NULL);
    jw_u64(&j, "index", m->index);
    jw_bool(&j, "pending", m->pending);
    put_member_list(&j, m);
    jw_object_end(&j);
}

/* ---- Who leads ---- */

void report_leader(struct buf *out, const struct node_public *p, const struct report_leader *l)
{
    struct jw j = jw_begin(out);

    jw_object(&j, NULL);
    put_leader(&j, p, l);
    jw_u64(&j, "term", p->term);
    put_fence(&j, p);
    jw_object_end(&j);
}

void report_is_leader(struct buf *out, const struct node_public *p)
{
    struct jw j = jw_begin(out);

    jw_object(&j, NULL);
    jw_bool(&j, "is_leader", p->is_leader);
    put_fence(&j, p);
    jw_u64(&j, "lease_remaining_ms", p->lease_remaining_ms);
    jw_object_end(&j);
}

void report_hold(struct buf *out, const struct node_public *p, raft_id self,
                 const struct uuid *cluster)
{
    struct jw j = jw_begin(out);

    jw_object(&j, NULL);
    jw_bool(&j, "is_leader", p->is_leader);
    jw_u64(&j, "term", p->term);
    put_fence(&j, p);
    jw_u64(&j, "lease_remaining_ms", p->lease_remaining_ms);
    jw_str_or_null(&j, "reason", p->reason);
    jw_u64(&j, "node", self);
    put_uuid(&j, "cluster_id", cluster);
    jw_object_end(&j);
}

void report_watch(struct buf *out, const struct node_public *p, const struct report_leader *l)
{
    struct jw j = jw_begin(out);

    jw_object(&j, NULL);
    jw_str(&j, "state", node_state_text(p->state));
    jw_bool(&j, "is_leader", p->is_leader);
    jw_u64(&j, "term", p->term);
    put_leader(&j, p, l);
    put_fence(&j, p);
    jw_u64(&j, "lease_remaining_ms", p->lease_remaining_ms);
    jw_str_or_null(&j, "reason", p->reason);
    jw_object_end(&j);
}

void report_web(struct buf *out, const struct node_public *p, const struct report_web *w)
{
    struct jw j = jw_begin(out);
    char etag[17];

    (void)snprintf(etag, sizeof etag, "%016" PRIx64, w->etag);
    jw_object(&j, NULL);
    jw_str(&j, "schema", REPORT_SCHEMA);
    put_uuid(&j, "cluster_id", &w->cluster);
    jw_u64(&j, "node", w->self);
    jw_str(&j, "state", node_state_text(p->state));
    jw_bool(&j, "is_leader", p->is_leader);
    put_leader(&j, p, &w->leader);
    jw_u64(&j, "term", p->term);
    put_fence(&j, p);
    jw_u64(&j, "lease_remaining_ms", p->lease_remaining_ms);
    put_known(&j, "leader_contact_ms", p->leader ? p->contact_ms : REPORT_UNKNOWN);
    jw_str(&j, "etag", etag);
    jw_str(&j, "reason", w->word);
    jw_str_or_null(&j, "message", p->reason);
    jw_object_end(&j);
}

/* ---- Data ---- */

/* The busiest reply: three numbers need no escaping, one format does. */
void report_put(struct buf *out, const struct state_result *r)
{
    buf_printf(out, "{\"revision\":%" PRIu64 ",\"index\":%" PRIu64 ",\"term\":%" PRIu64 "}",
               r->revision, r->index, r->term);
}

void report_del(struct buf *out, const struct state_result *r)
{
    buf_printf(out, "{\"deleted\":%" PRIu32 ",\"revision\":%" PRIu64 ",\"index\":%" PRIu64 "}",
               r->deleted, r->revision, r->index);
}

void report_bootstrap(struct buf *out, const struct uuid *cluster)
{
    struct jw j = jw_begin(out);

    jw_object(&j, NULL);
    put_uuid(&j, "cluster_id", cluster);
    jw_object_end(&j);
}

void report_backup(struct buf *out, uint64_t index, uint64_t revision, uint64_t bytes)
{
    struct jw j = jw_begin(out);

    jw_object(&j, NULL);
    jw_u64(&j, "index", index);
    jw_u64(&j, "revision", revision);
    jw_u64(&j, "bytes", bytes);
    jw_object_end(&j);
}

/* ---- Changes ---- */

static void put_hand_over(struct jw *j, const struct peer_change_reply *done)
{
    bool begun_only = done->term == 0; /* nobody waited for the end */

    jw_u64(j, "from", done->from);
    jw_u64(j, "to", done->to);
    put_known(j, "term", begun_only ? REPORT_UNKNOWN : done->term);
    put_known(j, "gap_ms",
              begun_only || done->gap_ms == PEER_GAP_UNKNOWN ? REPORT_UNKNOWN : done->gap_ms);
}

void report_change(struct buf *out, const struct report_asked *asked,
                   const struct peer_change_reply *done)
{
    struct jw j = jw_begin(out);

    jw_object(&j, NULL);
    if (asked->kind == PEER_CHANGE_TRANSFER) {
        put_hand_over(&j, done);
    } else if (asked->replaces) {
        jw_u64(&j, "added", asked->id);
        jw_u64(&j, "removed", asked->replaces);
        jw_u64(&j, "index", done->index);
    } else {
        jw_u64(&j, "id", asked->id);
        if (done->role) {
            jw_str(&j, "role", report_role_text(done->role));
        }
        jw_u64(&j, "index", done->index);
    }
    jw_object_end(&j);
}

void report_progress(struct buf *out, const struct report_asked *asked,
                     const struct peer_change_reply *reply)
{
    static const char *const steps[] = {[PEER_CHANGE_DIALLING] = "dialling",
                                        [PEER_CHANGE_COMMITTING] = "committing",
                                        [PEER_CHANGE_CATCHING_UP] = "catching_up",
                                        [PEER_CHANGE_HANDING_OVER] = "handing_over"};
    struct jw j = jw_begin(out);

    jw_object(&j, NULL);
    jw_object(&j, "progress");
    jw_str(&j, "step", steps[reply->step]);
    put_known(&j, "id", asked->id ? asked->id : REPORT_UNKNOWN);
    if (reply->step == PEER_CHANGE_CATCHING_UP) {
        jw_u64(&j, "match_index", reply->match);
        jw_u64(&j, "last_index", reply->last);
        jw_u64(&j, "percent", reply->last ? reply->match * 100 / reply->last : 0);
    }
    jw_object_end(&j);
    jw_object_end(&j);
}

/* ---- Keys and values ---- */

static void put_kv(struct jw *j, const struct state_kv *kv)
{
    jw_object(j, NULL);
    jw_bytes(j, "key", kv->key, kv->key_size);
    jw_bytes(j, "value", kv->value, kv->value_size);
    jw_u64(j, "create_revision", kv->create_revision);
    jw_u64(j, "mod_revision", kv->mod_revision);
    jw_u64(j, "version", kv->version);
    jw_object_end(j);
}

void report_get(struct buf *out, const struct state_kv *kv)
{
    struct jw j = jw_begin(out);

    put_kv(&j, kv);
}

struct list_run {
    struct jw j;
    size_t begin; /* of the result in the buffer */
    uint64_t left;
    bool more;
    bool too_large;
};

static bool list_kv(void *arg, const struct state_kv *kv)
{
    struct list_run *run = arg;

    if (run->left == 0) {
        run->more = true;
        return false;
    }
    run->left--;
    put_kv(&run->j, kv);
    run->too_large = run->j.out->size - run->begin > REPORT_JSON_MAX;
    return !run->too_large;
}

int report_list(struct buf *out, const struct state *state, const void *prefix, size_t prefix_size,
                uint64_t limit)
{
    struct list_run run = {
        .j = jw_begin(out), .begin = out->size, .left = limit ? limit : UINT64_MAX};

    jw_object(&run.j, NULL);
    jw_u64(&run.j, "revision", state_revision(state));
    jw_array(&run.j, "kvs");
    state_each(state, prefix, prefix_size, list_kv, &run);
    jw_array_end(&run.j);
    jw_bool(&run.j, "more", run.more);
    jw_object_end(&run.j);
    if (run.too_large) {
        out->size = run.begin;
        return -RD_ETOO_LARGE;
    }
    return 0;
}

/* ---- Refusals ---- */

static void no_room_text(const struct node_answer *answer, char *text, size_t text_size)
{
    char quota[80] = "more than storage.state_max_bytes of the leader";

    if (answer->quota) {
        (void)snprintf(quota, sizeof quota, "storage.state_max_bytes of the leader is %" PRIu64,
                       answer->quota);
    }
    (void)snprintf(text, text_size,
                   "the state would have %" PRIu64 " bytes, %s; deletes still work",
                   answer->result.actual, quota);
}

void report_refusal(const struct node_answer *answer, char *text, size_t text_size)
{
    int code = answer->code ? answer->code : answer->result.code;

    if (answer->message[0]) {
        (void)snprintf(text, text_size, "%s", answer->message);
    } else if (code == -RD_ECONFLICT && answer->result.actual == 0) {
        (void)snprintf(text, text_size, "the key does not exist");
    } else if (code == -RD_ECONFLICT) {
        (void)snprintf(text, text_size, "the key's mod_revision is %" PRIu64,
                       answer->result.actual);
    } else if (code == -RD_ESTALE_FENCE) {
        (void)snprintf(text, text_size, "the term is %" PRIu64 " now", answer->result.actual);
    } else if (code == -RD_ENO_SPACE) {
        no_room_text(answer, text, text_size);
    } else {
        (void)snprintf(text, text_size, "%s", err_text(code));
    }
}
