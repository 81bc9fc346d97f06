/* What the committed entries mean, worked out a second time and more simply: each entry once, in
 * order, as soon as the first node commits it. */
#include "sim.h"

#include <string.h>

#include "base/err.h"

uint32_t model_key_number(const uint8_t *key, size_t size)
{
    return size == 2 && key[0] == 'k' && key[1] >= '0' && key[1] < '0' + SIM_KEYS
               ? (uint32_t)(key[1] - '0')
               : SIM_KEYS;
}

const struct sim_version *model_at(const struct sim *s, uint32_t key, raft_index index)
{
    const struct sim_key *k = &s->keys[key];

    for (uint32_t i = k->count; i > 0; i--) {
        if (k->versions[i - 1].index <= index) {
            return k->versions[i - 1].op == SIM_NEVER ? NULL : &k->versions[i - 1];
        }
    }
    return NULL;
}

static void set_key(struct sim *s, uint32_t key, raft_index index, uint64_t op, uint64_t revision)
{
    struct sim_key *k = &s->keys[key];
    const struct sim_version *old = model_at(s, key, index);
    struct sim_version v = {.index = index, .op = op, .mod = revision};

    v.create = old ? old->create : revision;
    v.version = old ? old->version + 1 : 1;
    if (k->count == k->capacity) {
        k->capacity = k->capacity ? k->capacity * 2 : 16;
        k->versions = mem_realloc(k->versions, k->capacity * sizeof *k->versions);
    }
    k->versions[k->count++] = v;
}

/* Is this the first time the request takes effect? As the state's windows promise. */
static bool request_is_new(struct sim *s, const struct sim_host *h, const struct request_id *id)
{
    if (id->node == 0 || id->node > s->knobs.hosts || id->seq == 0 || id->seq > 1000000) {
        sim_violation(s, h, "a committed request is from node %u, number %llu", id->node,
                      (unsigned long long)id->seq);
    }
    struct sim_origin *o = &s->origins[id->node];

    if (id->incarnation < o->incarnation || id->seq < id->floor) {
        return false;
    }
    if (id->incarnation > o->incarnation) {
        mem_free(o->applied);
        *o = (struct sim_origin){.incarnation = id->incarnation};
    }
    if (id->seq < o->floor || (id->seq < o->capacity && o->applied[id->seq])) {
        return false;
    }
    if (id->floor > o->floor) {
        o->floor = id->floor;
    }
    if (id->seq >= o->capacity) {
        uint64_t capacity = id->seq * 2 + 16;

        o->applied = mem_realloc(o->applied, capacity * sizeof *o->applied);
        memset(o->applied + o->capacity, 0, (capacity - o->capacity) * sizeof *o->applied);
        o->capacity = capacity;
    }
    o->applied[id->seq] = true;
    return true;
}

static int compare(const struct sim *s, const struct state_compare *c, const struct raft_entry *e)
{
    if (c->type == STATE_COMPARE_TERM) {
        return c->number == e->term ? 0 : -RD_ESTALE_FENCE;
    }
    const struct sim_version *v = model_at(s, model_key_number(c->key, c->key_size), e->index);

    return c->number == (v ? v->mod : 0) ? 0 : -RD_ECONFLICT;
}

/* The operation whose number the transaction's value carries. */
static struct sim_op *txn_op(struct sim *s, const struct sim_host *h, const struct state_txn *txn,
                             raft_index index)
{
    uint64_t number = SIM_NEVER;

    for (uint32_t i = 0; i < txn->ops_count; i++) {
        if (txn->ops[i].type == STATE_OP_PUT && txn->ops[i].value_size >= sizeof number) {
            memcpy(&number, txn->ops[i].value, sizeof number);
        }
    }
    if (number >= s->ops_count) {
        sim_violation(s, h, "invariant 16: index %llu holds a command nobody asked for",
                      (unsigned long long)index);
    }
    return &s->ops[number];
}

static void apply(struct sim *s, const struct sim_host *h, const struct raft_entry *e,
                  const struct state_txn *txn, struct sim_op *op)
{
    uint64_t number = (uint64_t)(op - s->ops);

    if (op->state == SIM_OP_REFUSED) {
        sim_violation(s, h, "invariant 16: operation %llu was refused, and took effect at %llu",
                      (unsigned long long)number, (unsigned long long)e->index);
    }
    if (op->applied_at != 0) {
        sim_violation(s, h, "invariant 16: operation %llu takes effect at %llu and again at %llu",
                      (unsigned long long)number, (unsigned long long)op->applied_at,
                      (unsigned long long)e->index);
    }
    op->applied_at = e->index;
    for (uint32_t i = 0; i < txn->compares_count && op->code == 0; i++) {
        op->code = compare(s, &txn->compares[i], e);
    }
    if (op->code == 0) {
        s->revision++;
        for (uint32_t i = 0; i < txn->ops_count; i++) {
            const struct state_op *o = &txn->ops[i];
            uint32_t key = model_key_number(o->key, o->key_size);

            if (o->type == STATE_OP_PUT) {
                set_key(s, key, e->index, number, s->revision);
            } else if (model_at(s, key, e->index)) {
                set_key(s, key, e->index, SIM_NEVER, s->revision);
            }
        }
    }
    op->revision = s->revision;
}

void model_commit(struct sim *s, const struct sim_host *h, const struct raft_entry *e,
                  raft_term committed_in)
{
    static struct state_txn txn;

    if (s->commits_count == s->commits_capacity) {
        s->commits_capacity = s->commits_capacity ? s->commits_capacity * 2 : 256;
        s->commits = mem_realloc(s->commits, s->commits_capacity * sizeof *s->commits);
    }
    if (e->type == RAFT_ENTRY_COMMAND) {
        struct state_command c;

        if (state_command_decode(e->data->data, e->data->size, &c) ||
            state_txn_decode(c.txn, c.txn_size, &txn)) {
            sim_violation(s, h, "index %llu holds a command that cannot be decoded",
                          (unsigned long long)e->index);
        }
        struct sim_op *op = txn_op(s, h, &txn, e->index);

        if (request_is_new(s, h, &c.request)) {
            apply(s, h, e, &txn, op);
        }
    }
    s->commits[s->commits_count++] = (struct sim_commit){
        .term = e->term, .committed_in = committed_in, .chain = e->chain, .revision = s->revision};
    if (e->type == RAFT_ENTRY_MEMBERSHIP) {
        members_committed(s, h, e);
    }
    s->stats.entries++;
}

void model_done(struct sim *s)
{
    for (uint32_t i = 0; i < SIM_KEYS; i++) {
        mem_free(s->keys[i].versions);
    }
    for (uint32_t i = 0; i <= SIM_HOSTS_MAX; i++) {
        mem_free(s->origins[i].applied);
    }
    mem_free(s->commits);
    mem_free(s->committed);
    mem_free(s->proposed);
    mem_free(s->changes);
}
