#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint32_t rig_no_load(void *arg, raft_index first, uint32_t count_max, uint64_t bytes_max,
                     struct raft_entry *out)
{
    (void)arg, (void)first, (void)count_max, (void)bytes_max, (void)out;
    fail_msg("nothing has left memory");
    return 0;
}

static struct {
    uint64_t entries, bytes, hold_bytes;
    uint32_t piece_bytes;
} keeps = {1000000, 1 << 30, 1 << 30, 65536};

void rig_keep(uint64_t entries, uint64_t bytes, uint64_t hold_bytes, uint32_t piece_bytes)
{
    keeps.entries = entries;
    keeps.bytes = bytes;
    keeps.hold_bytes = hold_bytes;
    keeps.piece_bytes = piece_bytes;
}

struct node_config rig_config(raft_id id, uint32_t founders)
{
    struct node_config c = {.raft = {.id = id,
                                     .store = {.bytes = {0x50, (uint8_t)id}},
                                     .seed = 7 * id,
                                     .heartbeat_ms = 100,
                                     .election_timeout_ms = 500,
                                     .append_bytes_max = 65536,
                                     .append_entries_max = 64,
                                     .inflight_bytes_max = 1 << 20,
                                     .inflight_msgs_max = 16,
                                     .cache_bytes_max = 1 << 24},
                            .incarnation = 1,
                            .state_bytes_max = 1 << 20,
                            .apply_max = 100,
                            .batch_bytes_max = 1 << 20,
                            .keeps_rows = true,
                            .log_keep_entries = keeps.entries,
                            .log_keep_bytes = keeps.bytes,
                            .log_hold_bytes = keeps.hold_bytes,
                            .piece_bytes_max = keeps.piece_bytes,
                            .founders_count = founders};

    (void)snprintf(c.address, sizeof c.address, "h%u:7400", id);
    (void)snprintf(c.name, sizeof c.name, "n%u", id);
    (void)snprintf(c.version, sizeof c.version, "test");
    for (uint32_t i = 0; i < founders; i++) {
        c.founders[i].id = i + 1;
        (void)snprintf(c.founders[i].address, sizeof c.founders[i].address, "h%u:7400", i + 1);
    }
    return c;
}

uint64_t rig_process(const struct rig *g, raft_id id)
{
    return 2000 * id + 2 * g->lives[id]; /* half of it is told, too */
}

static void start(struct rig *g, raft_id id, const struct node_config *config)
{
    struct node_config c = *config;
    struct rig_disk *disk = &g->disks[id];
    struct uuid fresh = {.bytes = {0xfc, (uint8_t)id}};

    g->lives[id]++;
    c.process = rig_process(g, id);
    c.raft.seed += g->lives[id];
    g->nodes[id] = node_new(&c, rig_no_load, NULL);
    disk_source(disk, g->nodes[id]);
    assert_int_equal(disk_restore(disk, g->nodes[id]), 0);
    node_start(g->nodes[id], g->now, &fresh);
    g->targets_count[id] = node_targets(g->nodes[id], g->targets[id]);
    g->dead[id] = false;
    g->woken[id] = true;
}

void rig_init(struct rig *g, uint32_t count, uint32_t founders)
{
    memset(g, 0, sizeof *g);
    g->count = count;
    g->now = 1000;
    for (raft_id id = 1; id <= count; id++) {
        struct node_config c = rig_config(id, id <= founders ? founders : 0);
        start(g, id, &c);
    }
}

void rig_forget_answers(struct rig *g)
{
    for (uint32_t i = 0; i < g->answers_count; i++) {
        mem_free(g->answers[i].change);
    }
    g->answers_count = 0;
}

void rig_done(struct rig *g)
{
    for (raft_id id = 1; id <= g->count; id++) {
        node_free(g->nodes[id]);
        disk_clear(&g->disks[id]);
    }
    for (uint32_t i = 0; i < g->queue_count; i++) {
        peer_msg_done(&g->queue[i].msg);
    }
    rig_forget_answers(g);
}

/* ---- Links ---- */

static bool is_reached(const struct rig *g, raft_id a, raft_id b)
{
    return !g->cut[a] && !g->cut[b] && !g->dead[a] && !g->dead[b];
}

static void link_close(struct rig *g, raft_id from, raft_id to)
{
    struct rig_link *l = &g->links[from][to];
    bool was_up = l->up;

    *l = (struct rig_link){0};
    if (was_up && !g->dead[from]) {
        node_link_down(g->nodes[from], to);
        g->woken[from] = true;
    }
}

static void hello_get(const struct rig *g, raft_id of, struct peer_hello *out)
{
    node_hello_get(g->nodes[of], out);
    out->protocol_max = g->protocol[of] ? g->protocol[of] : out->protocol_max;
}

/* What `by` says to `to` about itself: less to who is no member. */
static enum node_standing hello_for(const struct rig *g, raft_id by, const struct peer_hello *to,
                                    struct peer_hello *out)
{
    enum node_standing standing = node_hello_standing(g->nodes[by], to);

    hello_get(g, by, out);
    if (standing != NODE_MEMBER) {
        out->cluster = (struct uuid){{0}};
        out->bindings_count = 0;
    }
    return standing;
}

static bool accepts(struct rig *g, raft_id by, raft_id of, const struct peer_hello *hello)
{
    struct peer_refusal refusal;

    if (node_hello_check(g->nodes[by], hello, &refusal) == 0) {
        return true;
    }
    node_refused(g->nodes[of], by, &refusal);
    g->woken[of] = true;
    if (!g->links[of][by].up) {
        node_unreachable(g->nodes[of], by, refusal.code, refusal.why);
    }
    return false;
}

/* The hellos of a link that `from` dialled go both ways. False: it came to nothing. */
static bool greet(struct rig *g, raft_id from, raft_id to)
{
    struct peer_refusal refusal;
    struct peer_hello asked;
    struct peer_hello answer;

    hello_get(g, from, &asked);
    if (!accepts(g, to, from, &asked)) {
        return false;
    }
    enum node_standing standing = hello_for(g, to, &asked, &answer);
    if (node_hello_check(g->nodes[from], &answer, &refusal)) {
        node_unreachable(g->nodes[from], to, refusal.code, refusal.why);
        node_refused(g->nodes[to], from, &refusal);
        return false;
    }
    if (standing != NODE_STRANGER) {
        node_hello(g->nodes[to], &asked);
        g->woken[to] = true;
    }
    node_hello(g->nodes[from], &answer);
    g->woken[from] = true;
    return true;
}

static void dial(struct rig *g, raft_id from, const struct node_target *target)
{
    struct rig_link *l = &g->links[from][target->id];
    raft_id at = (raft_id)strtoul(target->address + 1, NULL, 10);
    char why[PEER_WHY_SIZE];

    l->dial_at = g->now + 50;
    if (at == 0 || at > g->count || g->cut[from] || g->cut[at] ||
        (g->stopped[at] && !g->dead[at])) {
        return; /* nothing comes back */
    }
    if (g->dead[at]) {
        (void)snprintf(why, sizeof why, "connection refused by %s", target->address);
        node_unreachable(g->nodes[from], target->id, -RD_EUNREACHABLE, why);
    } else if (at != target->id) {
        (void)snprintf(why, sizeof why, "%s answers as node %u, not as node %u", target->address,
                       at, target->id);
        node_unreachable(g->nodes[from], target->id, -RD_EINVALID, why);
    } else if (greet(g, from, at)) {
        l->up = true;
        memcpy(l->address, target->address, sizeof l->address);
        node_link_up(g->nodes[from], at);
    }
    g->woken[from] = true;
}

/* Links that are not wanted any more end silently; those that are get another try. */
static void keep_links(struct rig *g, raft_id from)
{
    for (raft_id to = 1; to <= g->count; to++) {
        bool wanted = false;
        for (uint32_t i = 0; i < g->targets_count[from]; i++) {
            const struct node_target *t = &g->targets[from][i];
            wanted = wanted || (t->id == to && strcmp(t->address, g->links[from][to].address) == 0);
        }
        if (g->links[from][to].up && !wanted) {
            g->links[from][to] = (struct rig_link){0};
        }
    }
    for (uint32_t i = 0; i < g->targets_count[from]; i++) {
        const struct node_target *t = &g->targets[from][i];
        assert_in_range(t->id, 1, RIG_NODES_MAX);
        if (!g->links[from][t->id].up && g->now >= g->links[from][t->id].dial_at) {
            dial(g, from, t);
        }
    }
}

/* A changed hello goes to everybody, and everybody else's is looked at again. */
static void review_links(struct rig *g, raft_id id)
{
    for (raft_id other = 1; other <= g->count; other++) {
        if (g->links[id][other].up && !g->stopped[other] && !greet(g, id, other)) {
            link_close(g, id, other);
        }
        if (g->links[other][id].up && !g->stopped[other] && !greet(g, other, id)) {
            link_close(g, other, id);
        }
    }
}

void rig_cut(struct rig *g, raft_id id, bool cut)
{
    g->cut[id] = cut;
    for (raft_id other = 1; other <= g->count; other++) {
        link_close(g, id, other);
        link_close(g, other, id);
        if (!cut && other != id && !g->dead[other] && !g->dead[id]) {
            keep_links(g, other);
        }
    }
    if (!cut && !g->dead[id]) {
        keep_links(g, id);
    }
}

/* ---- Lives ---- */

void rig_kill(struct rig *g, raft_id id)
{
    g->dead[id] = true;
    g->batches[id] = NULL;
    g->flushing[id] = NULL;
    for (raft_id other = 1; other <= g->count; other++) {
        link_close(g, id, other);
        link_close(g, other, id);
    }
}

static void rebirth(struct rig *g, raft_id id, const struct node_config *config)
{
    uint32_t kept = 0;

    rig_kill(g, id);
    for (uint32_t i = 0; i < g->queue_count; i++) {
        if (g->queue[i].to == id) {
            peer_msg_done(&g->queue[i].msg);
        } else {
            g->queue[kept++] = g->queue[i];
        }
    }
    g->queue_count = kept;
    node_free(g->nodes[id]);
    g->stopped[id] = false;
    start(g, id, config);
}

static struct uuid store_of(const struct rig *g, raft_id id)
{
    return (struct uuid){.bytes = {0x50, (uint8_t)id, g->stores[id]}};
}

void rig_restart(struct rig *g, raft_id id)
{
    struct node_config c = rig_config(id, 0);

    c.raft.store = store_of(g, id);
    c.incarnation = g->lives[id] + 1;
    rebirth(g, id, &c);
}

void rig_empty(struct rig *g, raft_id id)
{
    struct node_config c = rig_config(id, 0);

    g->stores[id]++;
    c.raft.store = store_of(g, id);
    rig_replace(g, id, &c);
}

void rig_replace(struct rig *g, raft_id id, const struct node_config *config)
{
    rig_kill(g, id);
    node_free(g->nodes[id]); /* it may be reading what goes */
    g->nodes[id] = NULL;
    disk_clear(&g->disks[id]);
    rebirth(g, id, config);
}

/* ---- The turn ---- */

static void take_sends(struct rig *g, raft_id from, struct node_out *out)
{
    for (uint32_t i = 0; i < out->sends_count; i++) {
        struct node_send *s = &out->sends[i];
        bool known = s->to >= 1 && s->to <= g->count;
        bool lost = s->msg.type == PEER_FORWARD_REPLY && g->forwards_dropped > 0;
        g->forwards_dropped -= lost;
        if (known && !lost && g->drop && g->drop(g, from, s->to, &s->msg)) {
            lost = true;
            g->dropped++;
        }
        if (lost || !known || !is_reached(g, from, s->to) || !g->links[from][s->to].up) {
            peer_msg_done(&s->msg);
        } else {
            assert_true(g->queue_count < RIG_QUEUE_MAX);
            g->queue[g->queue_count++] =
                (struct rig_flight){.from = from, .to = s->to, .msg = s->msg};
            g->woken[s->to] = true;
        }
    }
    out->sends_count = 0;
}

static void take_answers(struct rig *g, raft_id id, struct node_out *out)
{
    for (uint32_t i = 0; i < out->answers_count; i++) {
        assert_true(g->answers_count < RIG_ANSWERS_MAX);
        g->answered_by[g->answers_count] = id;
        g->answered_at[g->answers_count] = g->now;
        g->answers[g->answers_count++] = out->answers[i];
        out->answers[i].change = NULL; /* ours now */
    }
}

/* Whom to keep links to may not change without a word. */
static void take_targets(struct rig *g, raft_id id, const struct node_out *out)
{
    struct node_target targets[NODE_TARGETS_MAX];
    uint32_t count = node_targets(g->nodes[id], targets);
    bool same = count == g->targets_count[id];

    for (uint32_t i = 0; same && i < count; i++) {
        same = targets[i].id == g->targets[id][i].id &&
               strcmp(targets[i].address, g->targets[id][i].address) == 0;
    }
    if (!same) {
        assert_true(out->targets_changed);
        memcpy(g->targets[id], targets, count * sizeof *targets);
        g->targets_count[id] = count;
    }
}

static void end_turn(struct rig *g, raft_id id)
{
    struct node_out *out = node_end(g->nodes[id]);

    take_sends(g, id, out);
    take_answers(g, id, out);
    if (out->batch) {
        g->batches[id] = out->batch;
        g->woken[id] = true;
    }
    bool hello = out->hello_changed;
    assert_int_equal(out->fatal, 0);
    take_targets(g, id, out);
    node_out_clear(g->nodes[id]); /* the links bring input for the next turn */
    keep_links(g, id);
    if (hello) {
        review_links(g, id);
    }
}

/* Does `to` take messages from this node: is it one of ours? */
static bool is_heard(const struct rig *g, raft_id from, raft_id to)
{
    struct peer_refusal refusal;
    struct peer_hello hello;

    if (g->dead[from]) {
        return true; /* it was */
    }
    hello_get(g, from, &hello);
    return node_hello_check(g->nodes[to], &hello, &refusal) == 0 &&
           node_hello_standing(g->nodes[to], &hello) != NODE_STRANGER;
}

static void deliver(struct rig *g, raft_id id)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < g->queue_count; i++) {
        struct rig_flight *f = &g->queue[i];
        if (f->to != id) {
            g->queue[kept++] = *f;
        } else if (is_heard(g, f->from, id)) {
            node_message(g->nodes[id], f->from, &f->msg);
        } else {
            peer_msg_done(&f->msg);
        }
    }
    g->queue_count = kept;
}

static void flush_take(struct rig *g, raft_id id)
{
    bool due = g->now >= g->flush_at[id] || node_flush_is_urgent(g->nodes[id]);

    if (g->flushes && due && node_flush_wanted(g->nodes[id])) {
        g->flushing[id] = node_flush_take(g->nodes[id]);
        g->flush_at[id] = g->now + 50;
    }
}

static bool flush_is_over(const struct rig *g, raft_id id)
{
    return g->flushing[id] && !g->flush_held[id];
}

static void flush_end(struct rig *g, raft_id id)
{
    const struct node_flush *flush = g->flushing[id];

    g->flushing[id] = NULL;
    if (g->flush_fails[id]) {
        node_flush_failed(g->nodes[id]);
    } else {
        disk_flush(&g->disks[id], flush);
        node_flushed(g->nodes[id]);
    }
}

static void turn(struct rig *g, raft_id id)
{
    g->woken[id] = false;
    node_begin(g->nodes[id], g->now, 0);
    deliver(g, id);
    if (g->batches[id] && !g->disk_held[id]) {
        const struct node_batch *batch = g->batches[id];
        g->batches[id] = NULL;
        disk_write(&g->disks[id], &batch->save);
        node_persisted(g->nodes[id], batch->seq);
    }
    if (flush_is_over(g, id)) {
        flush_end(g, id);
    }
    end_turn(g, id);
    flush_take(g, id);
}

/* As a process does it: again while the node says that it has work left. That ends. */
static void turns(struct rig *g, raft_id id)
{
    turn(g, id);
    for (int i = 0; node_deadline(g->nodes[id]) <= g->now; i++) {
        if (i == 200) { /* more than the most that waits to be applied */
            fail_msg("node %u wants a turn again and again", id);
        }
        turn(g, id);
    }
}

static bool is_due(const struct rig *g, raft_id id)
{
    bool saved = g->batches[id] && !g->disk_held[id];
    bool dials = false;

    for (uint32_t i = 0; i < g->targets_count[id]; i++) {
        const struct rig_link *l = &g->links[id][g->targets[id][i].id];
        dials = dials || (!l->up && g->now >= l->dial_at);
    }
    bool flushes = flush_is_over(g, id) ||
                   (g->flushes && g->now >= g->flush_at[id] && node_flush_wanted(g->nodes[id]));
    return g->woken[id] || saved || dials || flushes || node_deadline(g->nodes[id]) <= g->now;
}

static bool runs(const struct rig *g, raft_id id)
{
    return !g->stopped[id] && !g->dead[id];
}

/* The test may have told the node something. */
static void wake_all(struct rig *g)
{
    for (raft_id id = 1; id <= g->count; id++) {
        g->woken[id] = true;
        for (raft_id to = 1; to <= g->count && runs(g, id); to++) {
            if (g->links[id][to].up) {
                node_link_up(g->nodes[id], to);
            }
        }
    }
}

void rig_run(struct rig *g, mono_ms duration)
{
    mono_ms end = g->now + duration;

    wake_all(g);
    while (g->now < end) {
        g->now++;
        for (raft_id id = 1; id <= g->count; id++) {
            if (runs(g, id) && is_due(g, id)) {
                turns(g, id);
            }
        }
    }
}

/* The leader that all who are in the cluster and run agree on; 0: they do not. */
static raft_id agreed_leader(const struct rig *g)
{
    raft_id leader = 0;

    for (raft_id id = 1; id <= g->count; id++) {
        struct node_public p = rig_public(g, id);
        if (!runs(g, id) || p.state == NODE_UNCONFIGURED || p.state == NODE_REMOVED) {
            continue;
        }
        if (p.leader == 0 || (leader && p.leader != leader)) {
            return 0;
        }
        leader = p.leader;
    }
    return leader;
}

raft_id rig_leader(struct rig *g)
{
    for (int i = 0; i < 1000; i++) {
        rig_run(g, 10);
        if (agreed_leader(g)) {
            return agreed_leader(g);
        }
    }
    fail_msg("no leader within 10 s");
    return 0;
}

struct blob *rig_put(const char *key, const char *value)
{
    struct state_txn *txn = mem_zalloc(sizeof *txn);
    struct buf out = BUF_INIT;

    txn->ops_count = 1;
    txn->ops[0] = (struct state_op){.type = STATE_OP_PUT,
                                    .key = (const uint8_t *)key,
                                    .key_size = (uint16_t)strlen(key),
                                    .value = (const uint8_t *)value,
                                    .value_size = (uint32_t)strlen(value)};
    assert_int_equal(state_txn_encode(txn, &out), 0);
    struct blob *bytes = blob_copy(out.data, out.size);
    buf_done(&out);
    mem_free(txn);
    return bytes;
}

void rig_write(struct rig *g, raft_id id, uint64_t token, const char *key, const char *value,
               mono_ms timeout)
{
    node_begin(g->nodes[id], g->now, 0);
    node_write(g->nodes[id], token, rig_put(key, value), g->now + timeout);
    end_turn(g, id);
}

void rig_read(struct rig *g, raft_id id, uint64_t token, mono_ms timeout)
{
    node_begin(g->nodes[id], g->now, 0);
    node_read(g->nodes[id], token, g->now + timeout);
    end_turn(g, id);
}

const struct node_answer *rig_answer(const struct rig *g, uint64_t token)
{
    const struct node_answer *found = NULL;

    for (uint32_t i = 0; i < g->answers_count; i++) {
        if (g->answers[i].token == token) {
            assert_null(found); /* exactly one answer, and nothing after it */
            found = g->answers[i].more ? NULL : &g->answers[i];
        }
    }
    return found;
}

/* ---- Changes ---- */

struct peer_change rig_add(raft_id id)
{
    struct peer_change c = {.kind = PEER_CHANGE_ADD, .id = id};

    (void)snprintf(c.address, sizeof c.address, "h%u:7400", id);
    return c;
}

void rig_change(struct rig *g, raft_id via, uint64_t token, const struct peer_change *change,
                mono_ms timeout)
{
    node_begin(g->nodes[via], g->now, 0);
    node_change(g->nodes[via], token, change, g->now + timeout);
    end_turn(g, via);
}

const struct node_answer *rig_wait(struct rig *g, uint64_t token)
{
    for (int i = 0; i < 20000; i++) {
        if (rig_answer(g, token)) {
            return rig_answer(g, token);
        }
        rig_run(g, 1);
    }
    fail_msg("no answer within 20 s");
    return NULL;
}

static const struct node_answer *find_step(const struct rig *g, uint64_t token,
                                           enum peer_change_step step)
{
    for (uint32_t i = 0; i < g->answers_count; i++) {
        const struct node_answer *a = &g->answers[i];
        if (a->token == token && a->change && a->change->step == step) {
            return a;
        }
    }
    return NULL;
}

const struct node_answer *rig_wait_step(struct rig *g, uint64_t token, enum peer_change_step step)
{
    for (int i = 0; i < 20000; i++) {
        if (find_step(g, token, step)) {
            return find_step(g, token, step);
        }
        rig_run(g, 1);
    }
    fail_msg("not at step %d within 20 s", (int)step);
    return NULL;
}

uint32_t rig_told(const struct rig *g, uint64_t token, enum peer_change_step step)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < g->answers_count; i++) {
        const struct node_answer *a = &g->answers[i];
        count += a->token == token && a->more && (step == 0 || a->change->step == step);
    }
    return count;
}

const struct node_answer *rig_do(struct rig *g, raft_id via, const struct peer_change *change)
{
    static uint64_t token = 1000000;

    token++;
    rig_change(g, via, token, change, 10000);
    return rig_wait(g, token);
}

void rig_grow(struct rig *g, uint32_t count, uint32_t voters)
{
    rig_init(g, count, 0);
    node_begin(g->nodes[1], g->now, 0);
    node_bootstrap(g->nodes[1], 999999, g->now + 1000);
    assert_code(rig_wait(g, 999999), 0);
    for (raft_id id = 2; id <= voters; id++) {
        struct peer_change add = rig_add(id);
        assert_code(rig_do(g, 1, &add), 0);
    }
    assert_int_equal(rig_leader(g), 1);
}

/* ---- Questions ---- */

const struct raft_member *rig_member(const struct rig *g, raft_id at, raft_id id)
{
    return membership_find(raft_membership(node_raft(g->nodes[at])), id);
}

struct node_public rig_public(const struct rig *g, raft_id id)
{
    struct node_public p;

    node_public_get(g->nodes[id], g->now, &p);
    return p;
}

struct raft_view rig_view(const struct rig *g, raft_id id)
{
    struct raft_view v;

    raft_view_get(node_raft(g->nodes[id]), &v);
    return v;
}
