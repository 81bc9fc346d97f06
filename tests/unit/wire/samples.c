#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "samples.h"
#include "wire/field.h"

struct prng sample_prng(void)
{
    const char *text = getenv("RAFTD_TEST_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : 1;
    struct prng p;

    print_message("RAFTD_TEST_SEED=%" PRIu64 "\n", seed);
    prng_seed(&p, seed);
    return p;
}

uint64_t sample_number(struct prng *p)
{
    return prng_next(p) >> prng_range(p, 1, 65) % 64 >> 1;
}

static uint64_t number_from(struct prng *p, uint64_t low)
{
    uint64_t n = sample_number(p);

    return n < low ? low : n;
}

void sample_text(struct prng *p, char *out, size_t size)
{
    static const char *const parts[] = {"a", "Z", "0", " ", "\"", "é", "€", "\xf0\x9f\x98\x80"};
    size_t limit = prng_chance(p, 200000) ? size - 1 : prng_range(p, 0, size);
    size_t at = 0;

    for (;;) {
        const char *part = parts[prng_range(p, 0, sizeof parts / sizeof parts[0])];
        size_t length = strlen(part);
        if (at + length > limit) {
            break;
        }
        memcpy(out + at, part, length);
        at += length;
    }
    while (prng_chance(p, 500000) && at < limit) {
        out[at++] = 'x';
    }
    out[at] = 0;
}

struct blob *sample_blob(struct prng *p, size_t low, size_t high)
{
    struct blob *b = blob_new((size_t)prng_range(p, low, high));

    for (uint32_t i = 0; i < b->size; i++) {
        b->data[i] = (uint8_t)prng_next(p);
    }
    return b;
}

struct uuid sample_uuid(struct prng *p)
{
    struct uuid u;

    for (size_t i = 0; i < sizeof u.bytes; i++) {
        u.bytes[i] = (uint8_t)prng_next(p);
    }
    u.bytes[0] |= 1;
    return u;
}

static raft_id sample_id(struct prng *p)
{
    return (raft_id)prng_range(p, 1, prng_chance(p, 500000) ? 8 : (uint64_t)UINT32_MAX + 1);
}

static void sample_hello(struct prng *p, struct peer_hello *h)
{
    memset(h, 0, sizeof *h);
    if (prng_chance(p, 500000)) {
        h->cluster = sample_uuid(p);
    }
    h->id = sample_id(p);
    h->store = sample_uuid(p);
    h->incarnation = sample_number(p);
    h->process = prng_chance(p, 900000) ? prng_next(p) : 0;
    h->session = prng_next(p) >> 1;
    h->protocol_min = (uint16_t)prng_range(p, 1, 10);
    h->protocol_max = (uint16_t)prng_range(p, h->protocol_min, UINT16_MAX + 1);
    h->empty = prng_chance(p, 500000);
    h->disk_low = prng_chance(p, 500000);
    h->election_timeout_ms = (uint32_t)prng_range(p, 0, (uint64_t)UINT32_MAX + 1);
    sample_text(p, h->name, sizeof h->name);
    sample_text(p, h->uri, sizeof h->uri);
    sample_text(p, h->address, sizeof h->address);
    sample_text(p, h->version, sizeof h->version);
    sample_text(p, h->cluster_name, sizeof h->cluster_name);
    if (prng_chance(p, 500000)) {
        sample_text(p, h->member_list, sizeof h->member_list);
    } else { /* both may be too much for one hello: see test_peer.c */
        h->bindings_count = (uint32_t)prng_range(p, 0, RAFT_MEMBERS_MAX + 1);
    }
    for (uint32_t i = 0; i < h->bindings_count; i++) {
        h->bindings[i].id = i * 1000 + (uint32_t)prng_range(p, 1, 1000);
        if (prng_chance(p, 900000)) {
            h->bindings[i].store = sample_uuid(p);
        }
        if (prng_chance(p, 500000)) {
            struct peer_memory *seen = &h->bindings[i].seen;
            *seen = (struct peer_memory){.process = prng_next(p),
                                         .term = sample_number(p),
                                         .index = sample_number(p),
                                         .voted = prng_chance(p, 500000)};
            seen->log_term = prng_range(p, 0, seen->term + 1);
        }
    }
}

static void sample_entries(struct prng *p, struct raft_msg *m, uint32_t count)
{
    raft_term term = m->log_term > 0 ? m->log_term : 1;

    m->entries = mem_zalloc(count * sizeof *m->entries);
    m->entries_count = count;
    for (uint32_t i = 0; i < count; i++) {
        if (prng_chance(p, 100000) && term < m->term) {
            term += prng_range(p, 1, m->term - term + 1);
        }
        m->entries[i].index = m->index + 1 + i;
        m->entries[i].term = term;
        m->entries[i].type = prng_chance(p, 100000)   ? RAFT_ENTRY_NOOP
                             : prng_chance(p, 100000) ? RAFT_ENTRY_MEMBERSHIP
                                                      : RAFT_ENTRY_COMMAND;
        if (m->entries[i].type != RAFT_ENTRY_NOOP) {
            m->entries[i].data = sample_blob(p, 1, prng_chance(p, 10000) ? 100000 : 200);
        }
    }
}

void sample_raft(struct prng *p, enum raft_msg_type type, uint32_t entries_count,
                 struct raft_msg *out)
{
    *out = (struct raft_msg){
        .type = type,
        .from = sample_id(p),
        .to = sample_id(p),
        .term = number_from(p, 1),
        .seq = sample_number(p),
        .stamp = sample_number(p),
        .session = sample_number(p),
        .index = sample_number(p),
        .chain = prng_next(p),
        .commit = sample_number(p),
        .hint = sample_number(p),
        .reject = prng_chance(p, 500000),
        .transfer = prng_chance(p, 500000),
    };
    if (type == RAFT_MSG_TIMEOUT_NOW || type == RAFT_MSG_CLAIMS_LEFT) {
        out->hold_ms = (uint32_t)prng_range(p, 0, PEER_HOLD_MS_MAX + 1);
    }
    if (type == RAFT_MSG_SNAPSHOT || type == RAFT_MSG_SNAPSHOT_REPLY) {
        out->offset = sample_number(p);
        out->done = prng_chance(p, 500000);
    }
    if (type == RAFT_MSG_SNAPSHOT) {
        out->data = sample_blob(p, 1, prng_chance(p, 10000) ? 100000 : 200);
    }
    if (prng_chance(p, 900000)) {
        out->cluster = sample_uuid(p);
    }
    out->log_term = prng_range(p, 0, out->term + 1);
    if (out->index > (uint64_t)INT64_MAX - entries_count) {
        out->index -= entries_count;
    }
    if (entries_count > 0) {
        sample_entries(p, out, entries_count);
    }
}

static const int sample_codes[] = {0,
                                   -RD_ENOT_LEADER,
                                   -RD_ECONFLICT,
                                   -RD_ESTALE_FENCE,
                                   -RD_ENO_SPACE,
                                   -RD_EUNKNOWN_OUTCOME,
                                   -RD_EDAEMON};

static int sample_code(struct prng *p)
{
    return sample_codes[prng_range(p, 0, sizeof sample_codes / sizeof sample_codes[0])];
}

static void sample_forward(struct prng *p, struct peer_msg *out)
{
    struct request_id *r = &out->forward.request;

    r->node = sample_id(p);
    r->incarnation = sample_number(p);
    r->seq = number_from(p, 1);
    uint64_t open = prng_range(p, 0, STATE_WINDOW_MAX);
    r->floor = r->seq > open ? r->seq - open : 0;
    out->forward.session = sample_number(p);
    out->forward.txn = sample_blob(p, 1, prng_chance(p, 10000) ? STATE_REQUEST_MAX + 1 : 300);
}

static void sample_forward_reply(struct prng *p, struct peer_forward_reply *out)
{
    *out = (struct peer_forward_reply){
        .incarnation = sample_number(p),
        .seq = number_from(p, 1),
        .result = {.code = sample_code(p),
                   .repeated = prng_chance(p, 500000),
                   .succeeded = prng_chance(p, 500000),
                   .revision = sample_number(p),
                   .index = sample_number(p),
                   .term = sample_number(p),
                   .actual = sample_number(p),
                   .deleted = (uint32_t)prng_next(p)},
        .disk_low = prng_chance(p, 500000),
        .free_bytes = sample_number(p),
        .reserve_bytes = sample_number(p),
    };
}

static void sample_refusal(struct prng *p, struct peer_refusal *out)
{
    *out = (struct peer_refusal){.code = -RD_EWRONG_CLUSTER};
    if (prng_chance(p, 500000)) {
        out->code = -RD_EREMOVED;
        out->index = sample_number(p);
        if (prng_chance(p, 700000)) {
            out->cluster = sample_uuid(p);
        }
    }
    sample_text(p, out->why, sizeof out->why);
}

static void sample_change(struct prng *p, struct peer_change *out)
{
    *out = (struct peer_change){
        .incarnation = sample_number(p),
        .seq = number_from(p, 1),
        .kind = (enum peer_change_kind)prng_range(p, PEER_CHANGE_ADD, PEER_CHANGE_TRANSFER + 1),
        .id = sample_id(p),
        .replaces = prng_chance(p, 500000) ? sample_id(p) : 0,
        .term = sample_number(p),
        .learner = prng_chance(p, 500000),
        .no_wait = prng_chance(p, 500000),
        .force = prng_chance(p, 500000),
    };
    if (out->kind == PEER_CHANGE_TRANSFER && prng_chance(p, 500000)) {
        out->id = 0;
    }
    while (out->kind == PEER_CHANGE_ADD && out->address[0] == 0) {
        sample_text(p, out->address, sizeof out->address);
    }
}

static void sample_change_reply(struct prng *p, struct peer_change_reply *out)
{
    *out = (struct peer_change_reply){
        .incarnation = sample_number(p),
        .seq = number_from(p, 1),
        .step = (enum peer_change_step)prng_range(p, PEER_CHANGE_DIALLING, PEER_CHANGE_REFUSED + 1),
        .index = sample_number(p),
        .role = (enum raft_role)prng_range(p, 0, RAFT_VOTER + 1),
        .match = sample_number(p),
        .last = sample_number(p),
        .from = prng_chance(p, 500000) ? sample_id(p) : 0,
        .to = prng_chance(p, 500000) ? sample_id(p) : 0,
        .term = sample_number(p),
        .gap_ms = (uint32_t)prng_next(p),
    };
    while (out->step == PEER_CHANGE_REFUSED && out->code == 0) {
        out->code = sample_code(p);
    }
    sample_text(p, out->why, sizeof out->why);
}

static void sample_progress(struct prng *p, struct peer_progress *out)
{
    *out = (struct peer_progress){
        .seq = number_from(p, 1),
        .term = sample_number(p),
        .last = sample_number(p),
        .members_count = (uint32_t)prng_range(p, 0, RAFT_MEMBERS_MAX + 1),
    };
    for (uint32_t i = 0; i < out->members_count; i++) {
        out->members[i].id = i * 1000 + (uint32_t)prng_range(p, 1, 1000);
        out->members[i].match = sample_number(p);
        out->members[i].contact_ms = prng_chance(p, 200000) ? UINT64_MAX : sample_number(p);
    }
}

void sample_peer(struct prng *p, enum peer_msg_type type, struct peer_msg *out)
{
    memset(out, 0, sizeof *out);
    out->type = type;
    switch (type) {
    case PEER_HELLO:
        out->hello = mem_alloc(sizeof *out->hello);
        sample_hello(p, out->hello);
        return;
    case PEER_RAFT: {
        enum raft_msg_type raft = (enum raft_msg_type)prng_range(p, 1, RAFT_MSG_TYPE_COUNT);
        uint32_t count = raft == RAFT_MSG_APPEND ? (uint32_t)prng_range(p, 0, 100) : 0;
        sample_raft(p, raft, count, &out->raft);
        return;
    }
    case PEER_FORWARD:
        sample_forward(p, out);
        return;
    case PEER_FORWARD_REPLY:
        sample_forward_reply(p, &out->forward_reply);
        return;
    case PEER_REFUSAL:
        out->refusal = mem_alloc(sizeof *out->refusal);
        sample_refusal(p, out->refusal);
        return;
    case PEER_PROGRESS_ASK:
        out->progress_ask.seq = number_from(p, 1);
        return;
    case PEER_PROGRESS:
        out->progress = mem_alloc(sizeof *out->progress);
        sample_progress(p, out->progress);
        return;
    case PEER_CHANGE:
        out->change = mem_alloc(sizeof *out->change);
        sample_change(p, out->change);
        return;
    case PEER_CHANGE_REPLY:
        out->change_reply = mem_alloc(sizeof *out->change_reply);
        sample_change_reply(p, out->change_reply);
        return;
    }
    fail_msg("unknown type %d", (int)type);
}

void sample_request(struct prng *p, struct admin_request *out)
{
    memset(out, 0, sizeof *out);
    out->id = prng_next(p);
    sample_text(p, out->command, sizeof out->command);
    out->timeout_ms = (uint32_t)prng_next(p);
    out->key = prng_chance(p, 700000) ? sample_blob(p, 0, STATE_KEY_MAX + 1) : NULL;
    out->value = prng_chance(p, 700000) ? sample_blob(p, 0, 3000) : NULL;
    out->if_revision_set = prng_chance(p, 500000);
    out->if_revision = out->if_revision_set ? prng_next(p) >> prng_range(p, 0, 64) : 0;
    out->fence_set = prng_chance(p, 500000);
    out->fence = out->fence_set ? prng_next(p) >> prng_range(p, 0, 64) : 0;
    out->stale = prng_chance(p, 500000);
    out->limit = sample_number(p);
    out->member_id = (uint32_t)prng_next(p);
    sample_text(p, out->address, sizeof out->address);
    out->learner = prng_chance(p, 500000);
    out->no_wait = prng_chance(p, 500000);
    out->force = prng_chance(p, 500000);
    sample_text(p, out->text, sizeof out->text);
    out->replaces = (uint32_t)prng_next(p);
}

void sample_reply(struct prng *p, struct admin_reply *out)
{
    char message[ADMIN_MESSAGE_MAX + 1];

    *out = (struct admin_reply){
        .id = prng_next(p),
        .code = sample_code(p),
        .more = prng_chance(p, 500000),
        .leader = (uint32_t)prng_next(p),
        .json = prng_chance(p, 500000) ? sample_blob(p, 1, 3000) : NULL,
    };
    sample_text(p, message, sizeof message);
    if (message[0] && prng_chance(p, 500000)) {
        out->message = blob_copy(message, strlen(message));
    }
}

static void assert_blob_equal(const struct blob *a, const struct blob *b)
{
    assert_int_equal(a != NULL, b != NULL);
    if (a && b) {
        assert_int_equal(a->size, b->size);
        assert_memory_equal(a->data, b->data, a->size);
    }
}

static void assert_uuid_equal(const struct uuid *a, const struct uuid *b)
{
    assert_true(uuid_equal(a, b));
}

static void assert_hello_equal(const struct peer_hello *a, const struct peer_hello *b)
{
    assert_uuid_equal(&a->cluster, &b->cluster);
    assert_int_equal(a->id, b->id);
    assert_uuid_equal(&a->store, &b->store);
    assert_int_equal(a->incarnation, b->incarnation);
    assert_int_equal(a->process, b->process);
    assert_int_equal(a->session, b->session);
    assert_int_equal(a->protocol_min, b->protocol_min);
    assert_int_equal(a->protocol_max, b->protocol_max);
    assert_int_equal(a->empty, b->empty);
    assert_int_equal(a->election_timeout_ms, b->election_timeout_ms);
    assert_int_equal(a->disk_low, b->disk_low);
    assert_string_equal(a->name, b->name);
    assert_string_equal(a->uri, b->uri);
    assert_string_equal(a->address, b->address);
    assert_string_equal(a->version, b->version);
    assert_string_equal(a->cluster_name, b->cluster_name);
    assert_string_equal(a->member_list, b->member_list);
    assert_int_equal(a->bindings_count, b->bindings_count);
    for (uint32_t i = 0; i < a->bindings_count; i++) {
        assert_int_equal(a->bindings[i].id, b->bindings[i].id);
        assert_uuid_equal(&a->bindings[i].store, &b->bindings[i].store);
        assert_int_equal(a->bindings[i].seen.process, b->bindings[i].seen.process);
        assert_int_equal(a->bindings[i].seen.term, b->bindings[i].seen.term);
        assert_int_equal(a->bindings[i].seen.index, b->bindings[i].seen.index);
        assert_int_equal(a->bindings[i].seen.log_term, b->bindings[i].seen.log_term);
        assert_int_equal(a->bindings[i].seen.voted, b->bindings[i].seen.voted);
    }
}

static void assert_raft_equal(const struct raft_msg *a, const struct raft_msg *b)
{
    assert_int_equal(a->type, b->type);
    assert_uuid_equal(&a->cluster, &b->cluster);
    assert_int_equal(a->from, b->from);
    assert_int_equal(a->to, b->to);
    assert_int_equal(a->term, b->term);
    assert_int_equal(a->seq, b->seq);
    assert_int_equal(a->stamp, b->stamp);
    assert_int_equal(a->session, b->session);
    assert_int_equal(a->index, b->index);
    assert_int_equal(a->log_term, b->log_term);
    assert_int_equal(a->chain, b->chain);
    assert_int_equal(a->commit, b->commit);
    assert_int_equal(a->hint, b->hint);
    assert_int_equal(a->reject, b->reject);
    assert_int_equal(a->transfer, b->transfer);
    assert_int_equal(a->hold_ms, b->hold_ms);
    assert_int_equal(a->offset, b->offset);
    assert_int_equal(a->done, b->done);
    assert_blob_equal(a->data, b->data);
    assert_int_equal(a->entries_count, b->entries_count);
    assert_int_equal(a->entries != NULL, b->entries != NULL);
    for (uint32_t i = 0; i < a->entries_count; i++) {
        assert_int_equal(a->entries[i].index, b->entries[i].index);
        assert_int_equal(a->entries[i].term, b->entries[i].term);
        assert_int_equal(a->entries[i].type, b->entries[i].type);
        assert_int_equal(b->entries[i].chain, 0);
        assert_blob_equal(a->entries[i].data, b->entries[i].data);
    }
}

static void assert_result_equal(const struct state_result *a, const struct state_result *b)
{
    assert_int_equal(a->code, b->code);
    assert_int_equal(a->repeated, b->repeated);
    assert_int_equal(a->succeeded, b->succeeded);
    assert_int_equal(a->revision, b->revision);
    assert_int_equal(a->index, b->index);
    assert_int_equal(a->term, b->term);
    assert_int_equal(a->actual, b->actual);
    assert_int_equal(a->deleted, b->deleted);
}

static void assert_progress_equal(const struct peer_progress *a, const struct peer_progress *b)
{
    assert_int_equal(a->seq, b->seq);
    assert_int_equal(a->term, b->term);
    assert_int_equal(a->last, b->last);
    assert_int_equal(a->members_count, b->members_count);
    for (uint32_t i = 0; i < a->members_count; i++) {
        assert_int_equal(a->members[i].id, b->members[i].id);
        assert_int_equal(a->members[i].match, b->members[i].match);
        assert_int_equal(a->members[i].contact_ms, b->members[i].contact_ms);
    }
}

static void assert_change_equal(const struct peer_change *a, const struct peer_change *b)
{
    assert_int_equal(a->incarnation, b->incarnation);
    assert_int_equal(a->seq, b->seq);
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->id, b->id);
    assert_int_equal(a->replaces, b->replaces);
    assert_int_equal(a->term, b->term);
    assert_int_equal(a->learner, b->learner);
    assert_int_equal(a->no_wait, b->no_wait);
    assert_int_equal(a->force, b->force);
    assert_string_equal(a->address, b->address);
}

static void assert_change_reply_equal(const struct peer_change_reply *a,
                                      const struct peer_change_reply *b)
{
    assert_int_equal(a->incarnation, b->incarnation);
    assert_int_equal(a->seq, b->seq);
    assert_int_equal(a->step, b->step);
    assert_int_equal(a->code, b->code);
    assert_int_equal(a->index, b->index);
    assert_int_equal(a->role, b->role);
    assert_int_equal(a->match, b->match);
    assert_int_equal(a->last, b->last);
    assert_int_equal(a->from, b->from);
    assert_int_equal(a->to, b->to);
    assert_int_equal(a->term, b->term);
    assert_int_equal(a->gap_ms, b->gap_ms);
    assert_string_equal(a->why, b->why);
}

void assert_peer_equal(const struct peer_msg *a, const struct peer_msg *b)
{
    assert_int_equal(a->type, b->type);
    switch (a->type) {
    case PEER_HELLO:
        assert_hello_equal(a->hello, b->hello);
        return;
    case PEER_RAFT:
        assert_raft_equal(&a->raft, &b->raft);
        return;
    case PEER_FORWARD:
        assert_int_equal(a->forward.request.node, b->forward.request.node);
        assert_int_equal(a->forward.request.incarnation, b->forward.request.incarnation);
        assert_int_equal(a->forward.request.seq, b->forward.request.seq);
        assert_int_equal(a->forward.request.floor, b->forward.request.floor);
        assert_int_equal(a->forward.session, b->forward.session);
        assert_blob_equal(a->forward.txn, b->forward.txn);
        return;
    case PEER_FORWARD_REPLY:
        assert_int_equal(a->forward_reply.incarnation, b->forward_reply.incarnation);
        assert_int_equal(a->forward_reply.seq, b->forward_reply.seq);
        assert_result_equal(&a->forward_reply.result, &b->forward_reply.result);
        assert_int_equal(a->forward_reply.disk_low, b->forward_reply.disk_low);
        assert_int_equal(a->forward_reply.free_bytes, b->forward_reply.free_bytes);
        assert_int_equal(a->forward_reply.reserve_bytes, b->forward_reply.reserve_bytes);
        return;
    case PEER_REFUSAL:
        assert_int_equal(a->refusal->code, b->refusal->code);
        assert_string_equal(a->refusal->why, b->refusal->why);
        assert_uuid_equal(&a->refusal->cluster, &b->refusal->cluster);
        assert_int_equal(a->refusal->index, b->refusal->index);
        return;
    case PEER_PROGRESS_ASK:
        assert_int_equal(a->progress_ask.seq, b->progress_ask.seq);
        return;
    case PEER_PROGRESS:
        assert_progress_equal(a->progress, b->progress);
        return;
    case PEER_CHANGE:
        assert_change_equal(a->change, b->change);
        return;
    case PEER_CHANGE_REPLY:
        assert_change_reply_equal(a->change_reply, b->change_reply);
        return;
    }
    fail_msg("unknown type %d", (int)a->type);
}

void assert_request_equal(const struct admin_request *a, const struct admin_request *b)
{
    assert_int_equal(a->id, b->id);
    assert_string_equal(a->command, b->command);
    assert_int_equal(a->timeout_ms, b->timeout_ms);
    assert_blob_equal(a->key, b->key);
    assert_blob_equal(a->value, b->value);
    assert_int_equal(a->if_revision_set, b->if_revision_set);
    assert_int_equal(a->if_revision, b->if_revision);
    assert_int_equal(a->fence_set, b->fence_set);
    assert_int_equal(a->fence, b->fence);
    assert_int_equal(a->stale, b->stale);
    assert_int_equal(a->limit, b->limit);
    assert_int_equal(a->member_id, b->member_id);
    assert_string_equal(a->address, b->address);
    assert_int_equal(a->learner, b->learner);
    assert_int_equal(a->no_wait, b->no_wait);
    assert_int_equal(a->force, b->force);
    assert_string_equal(a->text, b->text);
    assert_int_equal(a->replaces, b->replaces);
}

void assert_reply_equal(const struct admin_reply *a, const struct admin_reply *b)
{
    assert_int_equal(a->id, b->id);
    assert_int_equal(a->code, b->code);
    assert_int_equal(a->more, b->more);
    assert_int_equal(a->leader, b->leader);
    assert_blob_equal(a->message, b->message);
    assert_blob_equal(a->json, b->json);
}

struct frame sample_frame(const struct buf *b, size_t at)
{
    struct frame f = {0};

    assert_int_equal(frame_parse(b->data + at, b->size - at, FRAME_PEER_MAX, &f, NULL), 1);
    assert_int_equal(f.total, b->size - at);
    return f;
}

struct frame sample_wrap(struct buf *out, const void *envelope, size_t envelope_size,
                         const void *payload, size_t payload_size)
{
    out->size = 0;
    size_t at = frame_begin(out);
    buf_put(out, envelope, envelope_size);
    frame_header_end(out, at);
    buf_put(out, payload, payload_size);
    frame_end(out, at);
    return sample_frame(out, 0);
}

struct frame sample_unsummed(struct buf *b)
{
    enum { SUM_FIELD = 5 };
    struct frame f = sample_frame(b, 0);
    struct buf out = BUF_INIT;

    assert_true(f.header_size > SUM_FIELD);
    assert_int_equal(f.header[f.header_size - SUM_FIELD], 15 << 3 | 5);
    (void)sample_wrap(&out, f.header, f.header_size - SUM_FIELD, f.payload, f.payload_size);
    b->size = 0;
    buf_put(b, out.data, out.size);
    buf_done(&out);
    return sample_frame(b, 0);
}

void sample_hex(const char *hex, struct buf *out)
{
    for (size_t i = 0; hex[i];) {
        if (hex[i] == ' ') {
            i++;
            continue;
        }
        char pair[3] = {hex[i], hex[i + 1], 0};
        buf_put_u8(out, (uint8_t)strtoul(pair, NULL, 16));
        i += 2;
    }
}

void assert_bytes(const struct buf *b, const char *hex)
{
    struct buf expected = BUF_INIT;

    sample_hex(hex, &expected);
    bool equal =
        expected.size == b->size && (b->size == 0 || memcmp(expected.data, b->data, b->size) == 0);
    buf_done(&expected);
    if (!equal) {
        for (size_t i = 0; i < b->size; i++) {
            print_error("%02x", b->data[i]);
        }
        fail_msg(" is what was encoded, not %s", hex);
    }
}

void assert_golden(const struct peer_msg *msg, const char *hex)
{
    struct buf b = BUF_INIT;

    peer_encode(msg, &b);
    for (int summed = 1; summed >= 0; summed--) {
        struct peer_msg out;
        struct frame f = summed ? sample_frame(&b, 0) : sample_unsummed(&b);
        assert_int_equal(peer_decode(&f, &out), 0);
        assert_int_equal(out.is_summed, summed);
        assert_peer_equal(msg, &out);
        peer_msg_done(&out);
    }
    assert_bytes(&b, hex);
    buf_done(&b);
}

int sample_decode_body(const ProtobufCMessage *envelope, size_t payload_size)
{
    struct buf b = BUF_INIT;
    struct peer_msg out;
    struct blob *payload = blob_new(payload_size);

    memset(payload->data, 'p', payload_size);
    size_t at = field_pack(envelope, payload_size, &b);
    buf_put(&b, payload->data, payload_size);
    frame_end(&b, at);
    blob_unref(payload);
    struct frame f = sample_frame(&b, 0);
    int err = peer_decode(&f, &out);
    if (err == 0) {
        peer_msg_done(&out);
    }
    buf_done(&b);
    return err;
}

bool sample_encode_fails(const struct peer_msg *msg)
{
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        struct buf b = BUF_INIT;
        (void)close(STDERR_FILENO); /* the assertion's line is expected */
        peer_encode(msg, &b);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status) == RD_EXIT_BUG;
}
