/* The views of the cluster: status, members, leader, watch. */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base/mem.h"
#include "raftctl/render.h"

#define NONE UINT64_MAX

static const char *text_or_dash(const json_t *object, const char *key)
{
    const char *text = render_text(object, key);

    return text && text[0] ? text : "-";
}

static void number_cell(struct table *t, const json_t *object, const char *key)
{
    uint64_t v = render_number(object, key, NONE);

    if (v == NONE) {
        table_cell(t, "-");
    } else {
        table_cell(t, "%" PRIu64, v);
    }
}

/* A state or role, whose names are snake_case, as words. */
static void put_words(struct buf *out, const char *name)
{
    size_t at = out->size;

    render_safe(out, name);
    for (; at < out->size; at++) {
        out->data[at] = out->data[at] == '_' ? ' ' : out->data[at];
    }
}

/* ---- Health: one word, and why ---- */

struct health_facts {
    const char *state, *reason, *disk;
    uint64_t free_bytes, reserve_bytes; /* NONE: not told */
    bool leader_known;
    bool takes_over; /* it leads, and what its predecessor told has not lapsed yet: no alarm */
    uint64_t voters, need, reachable; /* NONE: not told */
};

static bool leads_itself(const json_t *status, const json_t *leader)
{
    return render_number(json_object_get(status, "node"), "id", NONE) ==
           render_number(leader, "id", 0);
}

static void facts_get(const json_t *status, struct health_facts *f)
{
    const json_t *quorum = json_object_get(status, "quorum");
    const json_t *disk = json_object_get(status, "disk");

    f->state = text_or_dash(status, "state");
    f->reason = render_text(status, "reason");
    f->disk = render_text(disk, "state");
    f->free_bytes = render_number(disk, "free_bytes", NONE);
    f->reserve_bytes = render_number(disk, "reserve_bytes", NONE);
    f->leader_known = json_is_object(json_object_get(status, "leader"));
    f->takes_over = strcmp(f->state, "leader") == 0 &&
                    leads_itself(status, json_object_get(status, "leader")) &&
                    !json_is_true(json_object_get(status, "is_leader"));
    f->voters = render_number(quorum, "voters", NONE);
    f->need = render_number(quorum, "need", NONE);
    f->reachable = render_number(quorum, "reachable", NONE);
}

static void put_reason(struct buf *out, const char *before, const char *reason)
{
    if (reason && reason[0]) {
        buf_put_str(out, before);
        render_safe(out, reason);
    }
}

static bool is_outside(const char *state)
{
    return strcmp(state, "unconfigured") == 0 || strcmp(state, "forming") == 0 ||
           strcmp(state, "joining") == 0 || strcmp(state, "removed") == 0;
}

static const char *outside_text(const char *state)
{
    if (strcmp(state, "unconfigured") == 0) {
        return "this node is in no cluster yet";
    }
    if (strcmp(state, "forming") == 0) {
        return "a new cluster waits for its members";
    }
    if (strcmp(state, "joining") == 0) {
        return "this node waits to be told the membership";
    }
    return "this node is no longer a member";
}

static void put_leaderless(const struct health_facts *f, struct buf *out)
{
    if (f->reachable != NONE && f->need != NONE && f->reachable >= f->need) {
        buf_printf(out, "NO LEADER: %" PRIu64 " of %" PRIu64 " voters reachable", f->reachable,
                   f->voters);
        put_reason(out, "; ", f->reason);
        return;
    }
    buf_put_str(out, "NO QUORUM: ");
    if (f->reachable != NONE && f->need != NONE) {
        buf_printf(out, "%" PRIu64 " of %" PRIu64 " voters reachable, %" PRIu64 " needed",
                   f->reachable, f->voters, f->need);
        put_reason(out, "; ", f->reason);
    } else {
        render_safe(out, f->reason && f->reason[0] ? f->reason : "no leader is known");
    }
}

/* "disk low (1.5 MiB free, 900.0 KiB in reserve)", and what the reason says of it. Returns the reason if
 * it is about something else. */
static const char *put_disk_trouble(const struct health_facts *f, const char *before,
                                    struct buf *out)
{
    static const char about_disk[] = "disk: ";
    const char *reason = f->reason ? f->reason : "";

    buf_printf(out, "%sdisk ", before);
    render_safe(out, f->disk);
    if (strcmp(f->disk, "low") == 0 && f->free_bytes != NONE && f->reserve_bytes != NONE) {
        buf_put_str(out, " (");
        render_size(out, f->free_bytes);
        buf_put_str(out, " free, ");
        render_size(out, f->reserve_bytes);
        buf_put_str(out, " in reserve)");
    }
    if (strncmp(reason, about_disk, sizeof about_disk - 1) != 0) {
        return reason;
    }
    put_reason(out, ": ", reason + sizeof about_disk - 1);
    return "";
}

static void put_led(const struct health_facts *f, struct buf *out)
{
    bool disk_ok = !f->disk || strcmp(f->disk, "ok") == 0;
    const char *reason = f->reason ? f->reason : "";
    bool counted = f->reachable != NONE && f->voters != NONE && f->need != NONE;
    const char *before = "degraded: ";

    if (counted && f->reachable < f->need) {
        put_leaderless(f, out);
        return;
    }
    if (counted && f->reachable < f->voters) {
        uint64_t tolerates = f->reachable - f->need;
        buf_printf(out,
                   "%s%" PRIu64 " of %" PRIu64 " voters reachable, tolerates %" PRIu64 " failure%s",
                   before, f->reachable, f->voters, tolerates, tolerates == 1 ? "" : "s");
        before = "; ";
    }
    if (!disk_ok) {
        reason = put_disk_trouble(f, before, out);
        before = "; ";
    }
    if (reason[0]) {
        bool calm = f->takes_over && strcmp(before, "; ") != 0;
        put_reason(out, calm ? "taking over: " : before, reason);
        before = "; ";
    }
    if (strcmp(before, "; ") != 0) {
        buf_put_str(out,
                    counted ? "healthy" : "led (which voters are reachable, the leader knows)");
    }
}

/* The reason may begin with the state itself: "forming: ...", "removed from ...". */
static void put_state_and_why(const struct health_facts *f, const char *state, const char *usual,
                              struct buf *out)
{
    const char *why = f->reason && f->reason[0] ? f->reason : usual;
    size_t size = strlen(state);

    if (strncmp(why, state, size) != 0 || (why[size] != ':' && why[size] != ' ')) {
        buf_printf(out, "%s: ", state);
    }
    render_safe(out, why);
}

/* A leader on its way out has no claim any more, which is no alarm unless its quorum is gone too. */
static bool is_handing_over(const struct health_facts *f)
{
    bool quorum_gone = f->reachable != NONE && f->need != NONE && f->reachable < f->need;

    return strcmp(f->state, "handing_over") == 0 && !quorum_gone;
}

static void put_health(const json_t *status, struct buf *out)
{
    struct health_facts f;

    facts_get(status, &f);
    buf_put_str(out, "health    ");
    if (is_outside(f.state)) {
        put_state_and_why(&f, f.state, outside_text(f.state), out);
    } else if (is_handing_over(&f)) {
        put_state_and_why(&f, "handing over",
                          "leadership goes to another voter, writes wait until it leads", out);
    } else if (f.leader_known) {
        put_led(&f, out);
    } else {
        put_leaderless(&f, out);
    }
    buf_put_u8(out, '\n');
}

/* ---- Status ---- */

static void put_cluster(const json_t *status, struct buf *out)
{
    const json_t *cluster = json_object_get(status, "cluster");
    const char *id = render_text(cluster, "id");
    const char *name = render_text(cluster, "name");

    if (!id || !id[0]) {
        buf_put_str(out, "cluster   none\n");
        return;
    }
    buf_put_str(out, "cluster   ");
    if (name && name[0]) {
        render_safe(out, name);
        buf_put_str(out, "  ");
    }
    buf_printf(out, "%s\n", id);
}

static void put_node(const json_t *status, struct buf *out)
{
    const json_t *node = json_object_get(status, "node");
    const char *role = render_text(status, "role");
    const char *state = text_or_dash(status, "state");

    buf_printf(out, "node      %" PRIu64 " ", render_number(node, "id", 0));
    render_safe(out, text_or_dash(node, "name"));
    buf_put_str(out, "  ");
    render_safe(out, text_or_dash(node, "address"));
    buf_put_str(out, "  ");
    put_words(out, state);
    if (role && strcmp(role, state) != 0) {
        buf_put_str(out, ", ");
        put_words(out, role);
    }
    uint64_t uptime = render_number(json_object_get(status, "process"), "uptime_ms", NONE);
    if (uptime != NONE) {
        buf_put_str(out, ", up ");
        render_duration(out, uptime);
    }
    buf_put_u8(out, '\n');
}

static void put_leader(const json_t *status, struct buf *out)
{
    const json_t *leader = json_object_get(status, "leader");

    if (!json_is_object(leader)) {
        buf_printf(out, "leader    none  term %" PRIu64 "\n", render_number(status, "term", 0));
        return;
    }
    buf_printf(out, "leader    %" PRIu64 "  ", render_number(leader, "id", 0));
    render_safe(out, text_or_dash(leader, "address"));
    buf_printf(out, "  term %" PRIu64, render_number(status, "term", 0));
    if (json_is_true(json_object_get(status, "is_leader"))) {
        buf_put_str(out, ", lease ");
        render_duration(out, render_number(status, "lease_remaining_ms", 0));
    } else if (!leads_itself(status, leader) &&
               render_number(status, "leader_contact_ms", NONE) != NONE) {
        buf_put_str(out, ", heard ");
        render_duration(out, render_number(status, "leader_contact_ms", 0));
        buf_put_str(out, " ago");
    }
    buf_put_u8(out, '\n');
}

static void put_latency(const json_t *disk, const char *key, const char *before, struct buf *out)
{
    uint64_t us = render_number(disk, key, NONE);

    if (us != NONE) {
        buf_printf(out, "%s%.1fms", before, (double)us / 1000);
    }
}

static void put_bytes(const json_t *disk, const char *key, const char *before, struct buf *out)
{
    uint64_t bytes = render_number(disk, key, NONE);

    if (bytes != NONE) {
        buf_put_str(out, before);
        render_size(out, bytes);
    }
}

static void put_log(const json_t *status, struct buf *out)
{
    const json_t *disk = json_object_get(status, "disk");

    buf_printf(out,
               "log       committed %" PRIu64 ", applied %" PRIu64 ", holds %" PRIu64 "..%" PRIu64
               ", revision %" PRIu64 "\n",
               render_number(status, "commit_index", 0), render_number(status, "applied_index", 0),
               render_number(status, "first_index", 0), render_number(status, "last_index", 0),
               render_number(status, "revision", 0));
    if (!json_is_object(disk)) {
        return;
    }
    buf_put_str(out, "disk      ");
    render_safe(out, text_or_dash(disk, "state"));
    put_latency(disk, "log_commit_p50_us", ", commit p50 ", out);
    put_latency(disk, "log_commit_p99_us", ", p99 ", out);
    put_bytes(disk, "log_bytes", ", log ", out);
    put_bytes(disk, "state_bytes", ", state ", out);
    put_bytes(disk, "state_used_bytes", ", data ", out);
    put_bytes(disk, "state_max_bytes", " of ", out);
    put_bytes(disk, "free_bytes", ", free ", out);
    put_bytes(disk, "reserve_bytes", ", reserved ", out);
    buf_put_u8(out, '\n');
}

static void put_days(const json_t *tls, const char *key, const char *what, struct buf *out)
{
    const json_t *left = json_object_get(tls, key);
    json_int_t days = json_integer_value(left) / 86400;

    if (!json_is_integer(left)) {
        return;
    }
    if (json_integer_value(left) <= 0) {
        buf_printf(out, ", %s EXPIRED", what);
    } else {
        buf_printf(out, ", %s expires in %" JSON_INTEGER_FORMAT " day%s", what, days,
                   days == 1 ? "" : "s");
    }
}

static void put_tls(const json_t *status, struct buf *out)
{
    const json_t *tls = json_object_get(status, "tls");

    if (json_is_object(tls)) {
        buf_put_str(out, "tls       on");
        put_days(tls, "cert_expires_in_s", "certificate", out);
        put_days(tls, "ca_expires_in_s", "authority", out);
        buf_put_u8(out, '\n');
    }
}

static void put_http(const json_t *status, struct buf *out)
{
    const json_t *http = json_object_get(json_object_get(status, "node"), "http");
    bool https = json_is_true(json_object_get(json_object_get(status, "tls"), "https"));

    for (size_t i = 0; i < json_array_size(http); i++) {
        buf_put_str(out, i ? ", " : "http      ");
        const char *address = json_string_value(json_array_get(http, i));
        buf_put_str(out, https && address && strncmp(address, "unix:", 5) != 0 ? "https://" : "");
        render_safe(out, address ? address : "?");
    }
    if (json_array_size(http)) {
        buf_put_u8(out, '\n');
    }
}

static void contact_cell(struct table *t, const json_t *member)
{
    struct buf text = BUF_INIT;
    uint64_t ms = render_number(member, "contact_ms", NONE);

    if (ms == NONE) {
        buf_put_u8(&text, '-');
    } else {
        render_duration(&text, ms);
    }
    table_cell(t, "%s", buf_str(&text));
    buf_done(&text);
}

static void connected_cell(struct table *t, const json_t *member, bool self)
{
    const json_t *connected = json_object_get(member, "connected");

    if (!json_is_boolean(connected)) {
        table_cell(t, "-");
    } else {
        table_cell(t, "%s", self ? "this node" : json_is_true(connected) ? "yes" : "NO");
    }
}

/* A learner that is given a vote once it has caught up, or one that stays a learner. */
static const char *role_of(const json_t *member)
{
    const char *role = text_or_dash(member, "role");
    bool joins = json_is_true(json_object_get(member, "auto_promote"));

    return joins && strcmp(role, "learner") == 0 ? "learner (joins)" : role;
}

static const char *standing_of(const json_t *member, uint64_t leader)
{
    return render_number(member, "id", 0) == leader ? "leader" : role_of(member);
}

/* What both speak, when that is less than what this node can: somebody is to be upgraded yet. */
static void version_cell(struct table *t, const json_t *member, uint64_t ours)
{
    uint64_t protocol = render_number(member, "protocol", NONE);

    if (protocol < ours) {
        table_cell(t, "%s (protocol %" PRIu64 ")", text_or_dash(member, "version"), protocol);
    } else {
        table_cell(t, "%s", text_or_dash(member, "version"));
    }
}

static void put_members_table(const json_t *status, const json_t *members, struct buf *out)
{
    static const char *const heads[] = {"",    "ID",      "NAME",      "ROLE",   "ADDRESS",
                                        "LAG", "CONTACT", "CONNECTED", "VERSION"};
    struct table t = {.columns = 9};
    const json_t *node = json_object_get(status, "node");
    uint64_t self = render_number(node, "id", 0);
    uint64_t leader = render_number(json_object_get(status, "leader"), "id", 0);

    t.right[1] = t.right[5] = t.right[6] = true;
    for (uint32_t i = 0; i < t.columns; i++) {
        table_cell(&t, "%s", heads[i]);
    }
    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *m = json_array_get(members, i);
        bool is_self = render_number(m, "id", 0) == self;
        table_cell(&t, "%s", is_self ? "*" : "");
        number_cell(&t, m, "id");
        table_cell(&t, "%s", text_or_dash(m, "name"));
        table_cell(&t, "%s", standing_of(m, leader));
        table_cell(&t, "%s", text_or_dash(m, "address"));
        number_cell(&t, m, "lag");
        contact_cell(&t, m);
        connected_cell(&t, m, is_self);
        version_cell(&t, m, render_number(json_object_get(node, "protocol"), "max", 0));
    }
    table_end(&t, out);
}

/* Why a member is not connected: a sentence, for which a table has no room. */
static void put_troubles(const json_t *members, struct buf *out)
{
    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *m = json_array_get(members, i);
        const char *trouble = render_text(m, "trouble");
        if (trouble) {
            buf_printf(out, "node %" PRIu64 ": ", render_number(m, "id", 0));
            render_safe(out, trouble);
            buf_put_u8(out, '\n');
        }
    }
}

void render_status(const struct ctl *ctl, const struct invocation *inv, const json_t *answer,
                   struct buf *out)
{
    const json_t *members = json_object_get(answer, "members");

    (void)ctl;
    (void)inv;
    put_cluster(answer, out);
    put_health(answer, out);
    put_node(answer, out);
    put_leader(answer, out);
    put_log(answer, out);
    put_tls(answer, out);
    put_http(answer, out);
    if (json_is_true(json_object_get(json_object_get(answer, "membership"), "pending"))) {
        buf_put_str(out, "change    a membership change is not committed yet\n");
    }
    if (json_array_size(members)) {
        buf_put_u8(out, '\n');
        put_members_table(answer, members, out);
        put_troubles(members, out);
    }
}

/* ---- Members ---- */

void render_members(const struct ctl *ctl, const struct invocation *inv, const json_t *answer,
                    struct buf *out)
{
    const json_t *members = json_object_get(answer, "members");
    struct table t = {.columns = 5};

    (void)inv;
    if (json_array_size(members) == 0) {
        ctl_note(ctl, "no members: this node is in no cluster yet");
        return;
    }
    t.right[0] = true;
    table_cell(&t, "ID");
    table_cell(&t, "NAME");
    table_cell(&t, "ROLE");
    table_cell(&t, "ADDRESS");
    table_cell(&t, "URI");
    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *m = json_array_get(members, i);
        number_cell(&t, m, "id");
        table_cell(&t, "%s", text_or_dash(m, "name"));
        table_cell(&t, "%s", role_of(m));
        table_cell(&t, "%s", text_or_dash(m, "address"));
        table_cell(&t, "%s", text_or_dash(m, "uri"));
    }
    table_end(&t, out);
    if (json_is_true(json_object_get(answer, "pending"))) {
        ctl_note(ctl, "a membership change is not committed yet");
    }
}

/* ---- Leader, watch ---- */

static void put_leader_words(const json_t *answer, struct buf *out)
{
    const json_t *leader = json_object_get(answer, "leader");
    const char *uri = render_text(leader, "uri");

    if (!json_is_object(leader)) {
        buf_put_str(out, "no leader");
        return;
    }
    buf_printf(out, "leader %" PRIu64 "  ", render_number(leader, "id", 0));
    render_safe(out, text_or_dash(leader, "address"));
    if (uri && uri[0]) {
        buf_put_str(out, "  ");
        render_safe(out, uri);
    }
}

void render_leader(const struct ctl *ctl, const struct invocation *inv, const json_t *answer,
                   struct buf *out)
{
    (void)ctl;
    (void)inv;
    put_leader_words(answer, out);
    buf_printf(out, "  term %" PRIu64 "\n", render_number(answer, "term", 0));
}

void render_watch(const json_t *answer, struct buf *out)
{
    uint64_t lease = render_number(answer, "lease_remaining_ms", 0);

    buf_printf(out, "term %" PRIu64 "  ", render_number(answer, "term", 0));
    put_leader_words(answer, out);
    buf_put_str(out, "  this node: ");
    put_words(out, text_or_dash(answer, "state"));
    if (lease) {
        buf_put_str(out, ", lease ");
        render_duration(out, lease);
    }
    buf_put_u8(out, '\n');
}

void render_where(const json_t *answer, struct buf *out)
{
    const json_t *leader = json_object_get(answer, "leader");

    buf_put_str(out, "this node is ");
    put_words(out, text_or_dash(answer, "state"));
    buf_printf(out, " in term %" PRIu64 ", ", render_number(answer, "term", 0));
    if (json_is_object(leader)) {
        buf_printf(out, "node %" PRIu64 " leads", render_number(leader, "id", 0));
    } else {
        buf_put_str(out, "no leader is known");
        if (is_outside(text_or_dash(answer, "state"))) { /* others count time, which has passed */
            put_reason(out, ": ", render_text(answer, "reason"));
        }
    }
}
