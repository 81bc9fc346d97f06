/* Clients: concurrent operations through all hosts, and whether their answers may be true.
 *
 * Every write carries its number in its value, so each committed entry is known to belong to one
 * operation, and every value read to one write. Real time is kept by a floor: the highest index
 * that anybody has seen complete; what is invoked later must not be answered from below it. */
#include "sim.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/err.h"

static struct sim_op *op_new(struct sim *s, struct sim_host *h, enum sim_op_kind kind, int client)
{
    if (s->ops_count == s->ops_capacity) {
        s->ops_capacity = s->ops_capacity ? s->ops_capacity * 2 : 64;
        s->ops = mem_realloc(s->ops, s->ops_capacity * sizeof *s->ops);
    }
    struct sim_op *op = &s->ops[s->ops_count++];
    *op = (struct sim_op){
        .kind = kind,
        .host = (uint8_t)(h->id - 1),
        .client = (int8_t)client,
        .life = h->life,
        .floor = s->floor,
        .floor_revision = s->floor_revision,
    };
    rd_assert(s->open_count < SIM_OPEN_MAX);
    s->open[s->open_count++] = s->ops_count - 1;
    return op;
}

static uint64_t op_number(const struct sim *s, const struct sim_op *op)
{
    return (uint64_t)(op - s->ops);
}

static void think(struct sim *s, int client)
{
    if (client >= 0 && !s->recovering) {
        sim_push(s, SIM_EV_CLIENT, s->now + sim_range(s, 1000, s->knobs.think_max), 0)->number =
            (uint64_t)client;
    }
}

/* ---- Making a transaction ---- */

static void add_put(struct state_txn *txn, const char *key, const uint8_t *value, uint32_t size)
{
    txn->ops[txn->ops_count++] = (struct state_op){
        .type = STATE_OP_PUT,
        .key = (const uint8_t *)key,
        .key_size = (uint16_t)strlen(key),
        .value = value,
        .value_size = size,
    };
}

static struct blob *op_encode(struct sim *s, const struct sim_op *op)
{
    static struct state_txn txn;
    char key[8], last_key[8];
    uint8_t value[128];
    uint64_t number = op_number(s, op);
    uint32_t size = (uint32_t)sim_range(s, 8, sizeof value);
    struct buf out = BUF_INIT;

    memset(value, 'v', sizeof value);
    memcpy(value, &number, sizeof number);
    (void)snprintf(key, sizeof key, "k%u", op->key);
    (void)snprintf(last_key, sizeof last_key, "k%u", (unsigned)SIM_KEYS - 1);
    txn.compares_count = txn.ops_count = txn.else_count = 0;
    if (op->kind == SIM_OP_DEL) { /* with a mark, so that it can be told from other deletions */
        txn.ops[txn.ops_count++] = (struct state_op){.type = STATE_OP_DELETE,
                                                     .key = (const uint8_t *)key,
                                                     .key_size = (uint16_t)strlen(key)};
        add_put(&txn, last_key, value, size);
    } else {
        add_put(&txn, key, value, size);
    }
    if (op->kind == SIM_OP_CAS) {
        txn.compares[txn.compares_count++] =
            (struct state_compare){.type = STATE_COMPARE_MOD_REVISION,
                                   .key = (const uint8_t *)key,
                                   .key_size = (uint16_t)strlen(key),
                                   .number = op->expect};
    } else if (op->kind == SIM_OP_FENCED) {
        txn.compares[txn.compares_count++] =
            (struct state_compare){.type = STATE_COMPARE_TERM, .number = op->expect};
    }
    if (state_txn_encode(&txn, &out)) {
        sim_violation(s, NULL, "a small transaction cannot be encoded");
    }
    struct blob *blob = blob_copy(out.data, out.size);
    buf_done(&out);
    return blob;
}

/* ---- Asking ---- */

static void op_start(struct sim *s, struct sim_host *h, struct sim_op *op, uint64_t patience_ms)
{
    uint64_t token = op_number(s, op) + 1;
    enum sim_op_kind kind = op->kind;

    op->deadline = host_clock(s, h) + patience_ms;
    mono_ms deadline = op->deadline;
    struct blob *txn = kind == SIM_OP_GET || kind == SIM_OP_BOOT ? NULL : op_encode(s, op);
    sim_trace(s, h, "is asked: operation %llu, kind %d, key k%u, expecting %llu",
              (unsigned long long)token - 1, (int)kind, op->key, (unsigned long long)op->expect);
    host_begin(s, h);
    if (kind == SIM_OP_BOOT) {
        node_bootstrap(h->node, token, deadline);
    } else if (kind == SIM_OP_GET) {
        node_read(h->node, token, deadline);
    } else {
        node_write(h->node, token, txn, deadline);
    }
    host_end(s, h); /* may answer at once, may crash: `op` is not to be used any more */
}

uint64_t client_change(struct sim *s, struct sim_host *h, int client)
{
    return op_number(s, op_new(s, h, SIM_OP_CHANGE, client));
}

void client_change_start(struct sim *s, struct sim_host *h, uint64_t op,
                         const struct peer_change *want, uint64_t patience_ms)
{
    mono_ms deadline = s->ops[op].deadline = host_clock(s, h) + patience_ms;

    host_begin(s, h);
    node_change(h->node, op + 1, want, deadline);
    host_end(s, h);
}

/* Strangers have little to say. */
static struct sim_host *pick_host(struct sim *s)
{
    struct sim_host *h = &s->hosts[sim_range(s, 0, s->knobs.hosts)];
    bool again = h->force.of[h->id - 1].role == 0 && sim_chance(s, 800000);

    return again ? &s->hosts[sim_range(s, 0, s->knobs.hosts)] : h;
}

void client_act(struct sim *s, uint64_t client)
{
    struct sim_host *h = pick_host(s);

    if (s->recovering) {
        return;
    }
    if (!host_is_up(h) || h->paused_until > s->now || h->retiring) {
        think(s, (int)client);
        return;
    }
    enum sim_op_kind kind = (enum sim_op_kind)sim_range(s, SIM_OP_GET, SIM_OP_FENCED + 1);
    if (sim_chance(s, 300000)) {
        kind = SIM_OP_GET;
    }
    struct sim_op *op = op_new(s, h, kind, (int)client);
    op->key = (uint8_t)sim_range(s, 0, SIM_KEYS - 1);
    if (kind == SIM_OP_CAS) {
        op->expect = s->key_revision[op->key];
    } else if (kind == SIM_OP_FENCED) {
        op->expect = h->view.term;
    }
    if (sim_chance(s, 50000)) {
        sim_push(s, SIM_EV_CANCEL, s->now + sim_range(s, 100, sim_timeouts(s, 1)), 0)->number =
            op_number(s, op);
    }
    op_start(s, h, op, sim_range(s, 1, sim_timeouts(s, 4) / 1000));
}

void client_probe(struct sim *s, struct sim_host *h)
{
    struct sim_op *op = op_new(s, h, SIM_OP_PUT, SIM_BY_PROBE);

    h->probing = true;
    op_start(s, h, op, sim_timeouts(s, 3) / 1000);
}

bool client_bootstrap(struct sim *s, struct sim_host *h)
{
    struct raft_view v;

    raft_view_get(node_raft(h->node), &v);
    if (uuid_is_set(&v.cluster) || v.last > 0) {
        return false;
    }
    op_start(s, h, op_new(s, h, SIM_OP_BOOT, SIM_BY_PROBE), sim_timeouts(s, 4) / 1000);
    return true;
}

/* ---- Answers ---- */

static void finish(struct sim *s, struct sim_op *op, enum sim_op_state state)
{
    for (uint32_t i = 0; i < s->open_count; i++) {
        if (s->open[i] == op_number(s, op)) {
            s->open[i] = s->open[--s->open_count];
            break;
        }
    }
    op->state = state;
    op->answered = true;
    if (op->client == SIM_BY_PROBE) {
        s->hosts[op->host].probing = false;
    } else if (op->client == SIM_BY_FINAL || op->client == SIM_BY_REPAIR) {
        s->final_open = false;
    }
    think(s, op->client);
}

void client_cancel(struct sim *s, uint64_t number)
{
    struct sim_op *op = &s->ops[number];
    struct sim_host *h = &s->hosts[op->host];

    if (op->answered || !host_is_up(h) || h->life != op->life) {
        return;
    }
    finish(s, op, SIM_OP_UNKNOWN);
    sim_trace(s, h, "operation %llu is cancelled", (unsigned long long)number);
    host_begin(s, h);
    node_cancel(h->node, number + 1);
    host_end(s, h);
}

void client_host_down(struct sim *s, struct sim_host *h)
{
    for (uint32_t i = s->open_count; i > 0; i--) { /* downwards: finishing takes it out */
        struct sim_op *op = &s->ops[s->open[i - 1]];

        if (op->host == h->id - 1) {
            finish(s, op, SIM_OP_UNKNOWN);
        }
    }
}

void client_check_deadlines(struct sim *s, struct sim_host *h)
{
    mono_ms now = host_clock(s, h);

    for (uint32_t i = 0; i < s->open_count; i++) {
        const struct sim_op *op = &s->ops[s->open[i]];

        if (op->host == h->id - 1 && op->deadline < now) {
            sim_violation(s, h,
                          "invariant 16: operation %llu (kind %d) has no answer %llu ms after its "
                          "deadline",
                          (unsigned long long)s->open[i], (int)op->kind,
                          (unsigned long long)(now - op->deadline));
        }
    }
}

static void raise_floor(struct sim *s, raft_index index, uint64_t revision)
{
    if (index > s->floor) {
        s->floor = index;
    }
    if (revision > s->floor_revision) {
        s->floor_revision = revision;
    }
}

static void answer_read(struct sim *s, struct sim_host *h, struct sim_op *op)
{
    const struct state *state = node_state(h->node);
    raft_index index = state_index(state);
    const struct sim_version *want = model_at(s, op->key, index);
    struct state_kv kv;
    char key[8];
    unsigned long long number = (unsigned long long)op_number(s, op);

    (void)snprintf(key, sizeof key, "k%u", op->key);
    if (s->knobs.bounded_clocks && index < op->floor) {
        sim_violation(s, h,
                      "invariant 14: read %llu is answered from index %llu, but %llu was complete "
                      "when it was asked",
                      number, (unsigned long long)index, (unsigned long long)op->floor);
    }
    bool found = state_get(state, key, strlen(key), &kv);
    if (found != (want != NULL)) {
        sim_violation(s, h, "invariant 14: read %llu finds %s %s at index %llu, the model does not",
                      number, key, found ? "present" : "absent", (unsigned long long)index);
    }
    if (found) {
        uint64_t writer = SIM_NEVER;

        memcpy(&writer, kv.value, kv.value_size < 8 ? kv.value_size : 8);
        if (writer != want->op || kv.mod_revision != want->mod ||
            kv.create_revision != want->create || kv.version != want->version) {
            sim_violation(
                s, h,
                "invariant 14: read %llu of %s at index %llu: written by %llu, revision %llu; the "
                "model has %llu, %llu",
                number, key, (unsigned long long)index, (unsigned long long)writer,
                (unsigned long long)kv.mod_revision, (unsigned long long)want->op,
                (unsigned long long)want->mod);
        }
    }
    s->key_revision[op->key] = found ? kv.mod_revision : 0;
    raise_floor(s, index, state_revision(state));
    s->stats.reads_done++;
    finish(s, op, SIM_OP_DONE);
}

static void answer_result(struct sim *s, struct sim_host *h, struct sim_op *op,
                          const struct node_answer *a)
{
    unsigned long long number = (unsigned long long)op_number(s, op);

    if (op->applied_at == 0) {
        sim_violation(s, h, "invariant 16: operation %llu is answered \"%s\" but not committed",
                      number, err_name(a->code));
    }
    if (a->code != op->code || a->result.index != op->applied_at ||
        (a->code == 0 && a->result.revision != op->revision)) {
        sim_violation(s, h,
                      "invariant 16: operation %llu: answered %s at index %llu revision %llu, the "
                      "model has %s at %llu revision %llu",
                      number, err_name(a->code), (unsigned long long)a->result.index,
                      (unsigned long long)a->result.revision, err_name(op->code),
                      (unsigned long long)op->applied_at, (unsigned long long)op->revision);
    }
    if (a->result.index <= op->floor) {
        sim_violation(s, h,
                      "invariant 16: operation %llu took effect at index %llu, not after %llu, "
                      "which was complete when it was asked",
                      number, (unsigned long long)a->result.index, (unsigned long long)op->floor);
    }
    if (a->code == 0) {
        s->key_revision[op->key] = op->kind == SIM_OP_DEL ? 0 : a->result.revision;
    }
    raise_floor(s, a->result.index, a->result.revision);
    s->stats.ops_done++;
    if (op->client == SIM_BY_PROBE && a->code == 0) {
        h->recovered = true;
    }
    finish(s, op, SIM_OP_DONE);
}

static void answer_refusal(struct sim *s, struct sim_host *h, struct sim_op *op,
                           const struct node_answer *a)
{
    if (a->code == -RD_ETIMEOUT || a->code == -RD_EUNKNOWN_OUTCOME) {
        finish(s, op, SIM_OP_UNKNOWN);
        return;
    }
    if (op->applied_at != 0) {
        sim_violation(s, h,
                      "invariant 16: operation %llu is refused (%s: %s) but committed at %llu",
                      (unsigned long long)op_number(s, op), err_name(a->code), a->message,
                      (unsigned long long)op->applied_at);
    }
    finish(s, op, SIM_OP_REFUSED);
}

static void answer_change(struct sim *s, struct sim_host *h, struct sim_op *op,
                          const struct node_answer *a)
{
    outcome_answer(s, h, op, a);
    if (a->more) {
        return;
    }
    if (op->client == SIM_BY_FINAL && a->code == 0) {
        s->final_steps--;
    }
    finish(s, op, a->code ? SIM_OP_UNKNOWN : SIM_OP_DONE);
}

void client_answer(struct sim *s, struct sim_host *h, const struct node_answer *a)
{
    if (a->token == 0 || a->token > s->ops_count) {
        sim_violation(s, h, "invariant 16: an answer to token %llu, which nobody used",
                      (unsigned long long)a->token);
    }
    struct sim_op *op = &s->ops[a->token - 1];

    sim_trace(s, h, "answers operation %llu: %s %s", (unsigned long long)a->token - 1,
              a->more   ? "goes on"
              : a->code ? err_name(a->code)
                        : "done",
              a->message);
    if (op->answered || op->host != h->id - 1 || op->life != h->life) {
        sim_violation(s, h, "invariant 16: operation %llu is answered twice, or by a stranger",
                      (unsigned long long)a->token - 1);
    }
    if (op->kind == SIM_OP_CHANGE) {
        answer_change(s, h, op, a);
    } else if (op->kind == SIM_OP_BOOT) {
        finish(s, op, a->code ? SIM_OP_UNKNOWN : SIM_OP_DONE);
    } else if (op->kind == SIM_OP_GET && a->code == 0) {
        answer_read(s, h, op);
    } else if (op->kind == SIM_OP_GET) {
        finish(s, op, SIM_OP_UNKNOWN);
    } else if (a->code == 0 || a->code == -RD_ECONFLICT || a->code == -RD_ESTALE_FENCE) {
        answer_result(s, h, op, a);
    } else {
        answer_refusal(s, h, op, a);
    }
}
