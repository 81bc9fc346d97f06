#include "fixture.h"

#include <stdio.h>
#include <string.h>

static uint32_t no_load(void *arg, raft_index first, uint32_t count_max, uint64_t bytes_max,
                        struct raft_entry *out)
{
    (void)arg, (void)first, (void)count_max, (void)bytes_max, (void)out;
    fail_msg("nothing has left memory");
    return 0;
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

void rig_init(struct rig *g, uint32_t count, uint32_t founders)
{
    memset(g, 0, sizeof *g);
    g->count = count;
    g->now = 1000;
    for (raft_id id = 1; id <= count; id++) {
        struct node_config c = rig_config(id, id <= founders ? founders : 0);
        struct uuid fresh = {.bytes = {0xfc, (uint8_t)id}};
        g->nodes[id] = node_new(&c, no_load, NULL);
        node_start(g->nodes[id], g->now, &fresh);
    }
}

void rig_done(struct rig *g)
{
    for (raft_id id = 1; id <= g->count; id++) {
        node_free(g->nodes[id]);
    }
    for (uint32_t i = 0; i < g->queue_count; i++) {
        peer_msg_done(&g->queue[i].msg);
    }
}

static bool linked(const struct rig *g, raft_id a, raft_id b)
{
    return !g->cut[a] && !g->cut[b];
}

/* A fresh hello of `from` at every node that accepts it. */
static void say_hello(struct rig *g, raft_id from)
{
    struct peer_hello hello;
    char why[PEER_WHY_SIZE];

    node_hello_get(g->nodes[from], &hello);
    for (raft_id to = 1; to <= g->count; to++) {
        if (to != from && linked(g, from, to) && node_hello_check(g->nodes[to], &hello, why) == 0) {
            node_hello(g->nodes[to], &hello);
            node_link_up(g->nodes[to], from);
        }
    }
}

void rig_cut(struct rig *g, raft_id id, bool cut)
{
    g->cut[id] = cut;
    for (raft_id other = 1; other <= g->count; other++) {
        if (other != id && cut) {
            node_link_down(g->nodes[other], id);
            node_link_down(g->nodes[id], other);
        }
    }
    for (raft_id other = 1; other <= g->count && !cut; other++) {
        say_hello(g, other);
    }
}

static void take_sends(struct rig *g, raft_id from, struct node_out *out)
{
    for (uint32_t i = 0; i < out->sends_count; i++) {
        struct node_send *s = &out->sends[i];
        bool drop = s->msg.type == PEER_FORWARD_REPLY && g->forwards_dropped > 0;
        g->forwards_dropped -= drop;
        if (drop || !linked(g, from, s->to)) {
            peer_msg_done(&s->msg);
        } else {
            assert_true(g->queue_count < RIG_QUEUE_MAX);
            g->queue[g->queue_count++] =
                (struct rig_flight){.from = from, .to = s->to, .msg = s->msg};
        }
    }
    out->sends_count = 0;
}

static void end_turn(struct rig *g, raft_id id)
{
    struct node_out *out = node_end(g->nodes[id]);

    take_sends(g, id, out);
    for (uint32_t i = 0; i < out->answers_count; i++) {
        assert_true(g->answers_count < RIG_ANSWERS_MAX);
        g->answered_by[g->answers_count] = id;
        g->answers[g->answers_count++] = out->answers[i];
    }
    if (out->batch) {
        g->batch_held[id] = out->batch->seq;
    }
    bool hello = out->hello_changed;
    assert_int_equal(out->fatal, 0);
    node_out_clear(g->nodes[id]);
    if (hello) {
        say_hello(g, id);
    }
}

static void deliver(struct rig *g, raft_id id)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < g->queue_count; i++) {
        if (g->queue[i].to == id) {
            node_message(g->nodes[id], g->queue[i].from, &g->queue[i].msg);
        } else {
            g->queue[kept++] = g->queue[i];
        }
    }
    g->queue_count = kept;
}

static void turn(struct rig *g, raft_id id)
{
    node_begin(g->nodes[id], g->now, 0);
    deliver(g, id);
    if (g->batch_held[id] && !g->disk_held[id]) {
        uint64_t seq = g->batch_held[id];
        g->batch_held[id] = 0;
        node_persisted(g->nodes[id], seq);
    }
    end_turn(g, id);
}

void rig_run(struct rig *g, mono_ms duration)
{
    mono_ms end = g->now + duration;

    for (raft_id id = 1; id <= g->count; id++) {
        say_hello(g, id);
    }
    while (g->now < end) {
        g->now++;
        for (raft_id id = 1; id <= g->count; id++) {
            if (!g->stopped[id]) {
                turn(g, id);
            }
        }
    }
}

raft_id rig_leader(struct rig *g)
{
    for (int i = 0; i < 1000; i++) {
        rig_run(g, 10);
        struct node_public first;
        node_public_get(g->nodes[1], g->now, &first);
        bool agreed = first.leader != 0;
        for (raft_id id = 2; id <= g->count; id++) {
            struct node_public p;
            node_public_get(g->nodes[id], g->now, &p);
            agreed = agreed && p.leader == first.leader;
        }
        if (agreed) {
            return first.leader;
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
            assert_null(found); /* exactly one answer */
            found = &g->answers[i];
        }
    }
    return found;
}
