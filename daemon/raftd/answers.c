#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/err.h"
#include "raftd/internal.h"

/* ---- Answers ---- */

static void text_reset(struct buf *text)
{
    if (text->capacity > SERVER_JSON_KEEP) {
        buf_done(text);
    }
    text->size = 0;
}

static void json_reset(struct server *s)
{
    text_reset(&s->json);
}

static void count(const struct slot *slot, uint64_t counts[METRICS_REQUESTS])
{
    static const enum metrics_request kinds[] = {
        [SLOT_PUT] = METRICS_WRITE,        [SLOT_DELETE] = METRICS_WRITE,
        [SLOT_GET] = METRICS_READ,         [SLOT_LIST] = METRICS_READ,
        [SLOT_BOOTSTRAP] = METRICS_CHANGE, [SLOT_CHANGE] = METRICS_CHANGE,
        [SLOT_BACKUP] = METRICS_OTHER,
    };

    if (slot->kind < sizeof kinds / sizeof kinds[0] && kinds[slot->kind] != METRICS_OTHER) {
        counts[kinds[slot->kind]]++;
    }
}

static void answer_text(struct server *s, struct slot *slot, const struct buf *json)
{
    count(slot, s->counts.answered);
    if (slot->web) {
        http_answer(slot->web, json->data, json->size);
    } else {
        admin_answer(slot->call, 0, 0, NULL, json->data, json->size);
    }
    server_slot_close(s, slot);
}

/* Ends the call with what is in s->json. */
static void answer_json(struct server *s, struct slot *slot)
{
    answer_text(s, slot, &s->json);
}

/* Not for views, which the http room asks for, too: they are answered with what there is. */
static void answer_error(struct server *s, struct slot *slot, int code, raft_id leader,
                         const char *why)
{
    count(slot, s->counts.failed);
    admin_answer(slot->call, code, leader, why, NULL, 0);
    server_slot_close(s, slot);
}

static void answer_get(struct server *s, struct slot *slot)
{
    struct state_kv kv;

    if (!state_get(node_state(s->node), slot->key->data, slot->key->size, &kv)) {
        answer_error(s, slot, -RD_ENOT_FOUND, 0, "there is no such key");
        return;
    }
    report_get(&s->json, &kv);
    answer_json(s, slot);
}

static void answer_list(struct server *s, struct slot *slot)
{
    const void *prefix = slot->key ? slot->key->data : NULL;
    size_t prefix_size = slot->key ? slot->key->size : 0;

    if (report_list(&s->json, node_state(s->node), prefix, prefix_size, slot->limit)) {
        answer_error(s, slot, -RD_ETOO_LARGE, 0,
                     "the list does not fit into one reply (7 MiB): give a prefix or --limit");
        return;
    }
    answer_json(s, slot);
}

static void answer_bootstrap(struct server *s, struct slot *slot)
{
    struct raft_view view;

    raft_view_get(node_raft(s->node), &view);
    report_bootstrap(&s->json, &view.cluster);
    answer_json(s, slot);
}

static void answer_change(struct server *s, struct slot *slot, const struct node_answer *answer)
{
    if (answer->more) {
        report_progress(&s->json, &slot->change, answer->change);
        (void)admin_answer_more(slot->call, s->json.data, s->json.size);
        return;
    }
    report_change(&s->json, &slot->change, answer->change);
    answer_json(s, slot);
}

/* The claim in it is told to each who gets it. */
static void answer_status(struct server *s, struct slot *slot)
{
    struct server_shown *shown = &s->shown;

    if (shown->status.size) {
        server_view_told(s, &shown->public);
    } else {
        struct report_status status;
        server_view_status(s, &status);
        report_status(&shown->status, &status);
        shown->public = status.public;
    }
    answer_text(s, slot, &shown->status);
}

static void answer_members(struct server *s, struct slot *slot)
{
    struct server_shown *shown = &s->shown;

    if (shown->members.size == 0) {
        struct report_members members;
        server_view_members(s, server_view_membership(s), &members);
        report_members(&shown->members, &members);
    }
    answer_text(s, slot, &shown->members);
}

static void shown_forget(struct server *s)
{
    text_reset(&s->shown.status);
    text_reset(&s->shown.members);
}

static void answer_done(struct server *s, struct slot *slot, const struct node_answer *answer)
{
    switch (slot->kind) {
    case SLOT_PUT:
        report_put(&s->json, &answer->result);
        answer_json(s, slot);
        break;
    case SLOT_DELETE:
        report_del(&s->json, &answer->result);
        answer_json(s, slot);
        break;
    case SLOT_BOOTSTRAP:
        answer_bootstrap(s, slot);
        break;
    case SLOT_CHANGE:
        answer_change(s, slot, answer);
        break;
    case SLOT_GET:
        answer_get(s, slot);
        break;
    case SLOT_LIST:
        answer_list(s, slot);
        break;
    case SLOT_BACKUP:
        server_backup_begin(s, slot);
        break;
    case SLOT_STATUS:
        answer_status(s, slot);
        break;
    case SLOT_MEMBERS:
        answer_members(s, slot);
        break;
    case SLOT_FREE:
    case SLOT_LEADER:
    case SLOT_IS_LEADER:
    case SLOT_HOLD:
    case SLOT_WATCH:
        check_fail("the node answers only what it was asked", __FILE__, __LINE__, __func__);
    }
}

static void answer_one(struct server *s, const struct node_answer *answer)
{
    struct slot *slot = server_slot_find(s, answer->token);
    int code = answer->code ? answer->code : answer->result.code;

    if (!slot) {
        return; /* cancelled while the answer was on its way */
    }
    json_reset(s);
    /* When the leader says nothing its numbers are missing: status is needed then most of all. */
    bool is_view = slot->kind == SLOT_STATUS || slot->kind == SLOT_MEMBERS;
    if (code && !is_view) {
        char why[sizeof answer->message];
        report_refusal(answer, why, sizeof why);
        answer_error(s, slot, code, answer->leader, why);
        return;
    }
    answer_done(s, slot, answer);
}

/* The node stands still meanwhile: all who ask what it looks like see the same. */
void server_answer(struct server *s, const struct node_answer *answers, uint32_t answers_count)
{
    for (uint32_t i = 0; i < answers_count; i++) {
        answer_one(s, &answers[i]);
    }
    shown_forget(s);
}

void server_answer_view(struct server *s, struct slot *slot)
{
    if (slot->kind == SLOT_STATUS) {
        answer_status(s, slot);
    } else {
        answer_members(s, slot);
    }
    shown_forget(s);
}

/* ---- Queries ---- */

static void query_leader(struct server *s, struct slot *slot, const struct node_public *p,
                         const struct report_leader *leader)
{
    if (p->leader == 0) {
        answer_error(s, slot, -RD_ENO_LEADER, 0, p->reason[0] ? p->reason : "no leader is known");
        return;
    }
    report_leader(&s->json, p, leader);
    answer_json(s, slot);
}

/* The claim goes to this client. */
static void tell_claim(struct server *s, const struct admin_call *call, const struct node_public *p)
{
    mono_ms until = s->now + p->lease_remaining_ms;

    if (!p->is_leader) {
        return;
    }
    if (admin_call_is_holders(call) &&
        holders_hold(&s->holders, admin_call_client(call), s->now, until)) {
        node_claim_held(s->node);
    } else {
        server_view_told(s, p);
    }
}

static void query_hold(struct server *s, struct slot *slot, const struct node_public *p)
{
    struct node_public now = *p;
    struct raft_view view;

    if (s->draining) { /* nothing is claimed any more that has to be released after it */
        now.is_leader = false;
        now.lease_remaining_ms = 0;
        (void)snprintf(now.reason, sizeof now.reason, "this raftd stops");
    }
    raft_view_get(node_raft(s->node), &view);
    tell_claim(s, slot->call, &now);
    report_hold(&s->json, &now, s->config->node_id, &view.cluster);
    answer_json(s, slot);
}

/* Two snapshots are the same to a watcher when they differ only in what changes all the time. */
static bool watch_differs(struct server *s, const struct node_public *p,
                          const struct report_leader *leader)
{
    struct node_public steady = *p;

    server_view_steady(&steady);
    if (p->state != NODE_FORMING && p->state != NODE_JOINING) {
        steady.reason[0] = 0; /* it counts milliseconds */
    }
    json_reset(s);
    report_watch(&s->json, &steady, leader);
    if (s->json.size == s->watch_seen.size &&
        memcmp(s->json.data, s->watch_seen.data, s->json.size) == 0) {
        return false;
    }
    s->watch_seen.size = 0;
    buf_put(&s->watch_seen, s->json.data, s->json.size);
    return true;
}

static void query_run(struct server *s, struct slot *slot, const struct node_public *p,
                      const struct report_leader *leader)
{
    json_reset(s);
    switch (slot->kind) {
    case SLOT_LEADER:
        query_leader(s, slot, p, leader);
        break;
    case SLOT_IS_LEADER:
        tell_claim(s, slot->call, p);
        report_is_leader(&s->json, p);
        answer_json(s, slot);
        break;
    case SLOT_HOLD:
        query_hold(s, slot, p);
        break;
    case SLOT_WATCH: /* its first line; the next ones come from server_watchers_run() */
        (void)watch_differs(s, p, leader);
        json_reset(s);
        slot->started = true;
        tell_claim(s, slot->call, p);
        report_watch(&s->json, p, leader);
        (void)admin_answer_more(slot->call, s->json.data, s->json.size);
        break;
    case SLOT_GET:
        answer_get(s, slot);
        break;
    case SLOT_LIST:
        answer_list(s, slot);
        break;
    case SLOT_FREE:
    case SLOT_PUT:
    case SLOT_DELETE:
    case SLOT_BOOTSTRAP:
    case SLOT_CHANGE:
    case SLOT_STATUS:
    case SLOT_MEMBERS:
    case SLOT_BACKUP:
        check_fail("these go through the node", __FILE__, __LINE__, __func__);
        break;
    }
}

void server_queries_run(struct server *s)
{
    struct node_public p;
    struct report_leader leader;

    if (s->queries_count == 0) {
        return;
    }
    node_public_get(s->node, s->now, &p);
    server_view_leader(s, &p, &leader);
    for (uint32_t i = 0; i < s->queries_count; i++) {
        struct slot *slot = server_slot_find(s, s->queries[i]);
        if (slot) {
            query_run(s, slot, &p, &leader);
        }
    }
    s->queries_count = 0;
}

void server_watchers_run(struct server *s)
{
    struct node_public p;
    struct report_leader leader;

    if (s->watches == 0) {
        return;
    }
    node_public_get(s->node, s->now, &p);
    server_view_leader(s, &p, &leader);
    if (!watch_differs(s, &p, &leader)) {
        return;
    }
    json_reset(s);
    report_watch(&s->json, &p, &leader);
    for (uint32_t i = 0; i < s->slots_count; i++) {
        if (s->slots[i].kind == SLOT_WATCH && s->slots[i].started) {
            tell_claim(s, s->slots[i].call, &p);
            (void)admin_answer_more(s->slots[i].call, s->json.data, s->json.size);
        }
    }
}

/* ---- The end ---- */

void server_calls_stop(struct server *s)
{
    for (uint32_t i = 0; i < s->slots_count; i++) {
        struct slot *slot = &s->slots[i];
        bool is_change = slot->kind == SLOT_PUT || slot->kind == SLOT_DELETE ||
                         slot->kind == SLOT_BOOTSTRAP || slot->kind == SLOT_CHANGE;
        if (slot->web) { /* its connection is about to be cut */
            server_slot_close(s, slot);
        } else if (slot->kind != SLOT_FREE) {
            answer_error(s, slot, is_change ? -RD_EUNKNOWN_OUTCOME : -RD_ENOT_READY, 0,
                         is_change ? "this raftd stops; the change may still happen"
                                   : "this raftd stops: ask another member");
        }
    }
}
