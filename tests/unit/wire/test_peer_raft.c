#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/err.h"
#include "peer.pb-c.h"
#include "samples.h"
#include "wire/field.h"

static void round_trip(const struct raft_msg *raft, struct buf *b)
{
    struct peer_msg in = {.type = PEER_RAFT, .raft = *raft}, out;

    b->size = 0;
    peer_encode(&in, b);
    struct frame f = sample_frame(b, 0);
    assert_int_equal(peer_decode(&f, &out), 0);
    assert_peer_equal(&in, &out);
    peer_msg_done(&out);
}

static void test_every_type(void **arg)
{
    struct prng p = sample_prng();
    struct buf b = BUF_INIT;

    (void)arg;
    for (int round = 0; round < 400; round++) {
        for (int type = RAFT_MSG_PRE_VOTE; type < RAFT_MSG_TYPE_COUNT; type++) {
            struct raft_msg m;
            sample_raft(&p, (enum raft_msg_type)type, 0, &m);
            round_trip(&m, &b);
            raft_msg_done(&m);
        }
    }
    buf_done(&b);
}

static void test_appends_of_every_size(void **arg)
{
    static const uint32_t counts[] = {1, 2, 3, 63, 64, 65, 1024, PEER_ENTRIES_MAX};
    struct prng p = sample_prng();
    struct buf b = BUF_INIT;

    (void)arg;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        struct raft_msg m;
        sample_raft(&p, RAFT_MSG_APPEND, counts[i], &m);
        round_trip(&m, &b);
        raft_msg_done(&m);
    }
    buf_done(&b);
}

static void entries_set(struct raft_msg *m, uint32_t count, raft_term first, size_t size)
{
    m->entries = mem_zalloc(count * sizeof *m->entries);
    m->entries_count = count;
    for (uint32_t i = 0; i < count; i++) {
        m->entries[i] = (struct raft_entry){.index = m->index + 1 + i,
                                            .term = first + i,
                                            .type = i % 2 ? RAFT_ENTRY_COMMAND : RAFT_ENTRY_NOOP};
        if (size > 0) {
            m->entries[i].data = blob_new(size);
            memset(m->entries[i].data->data, (int)i, size);
        }
    }
}

/* The costliest envelope: 4,096 entries, each a run of its own, the highest numbers. */
static void test_largest_envelope(void **arg)
{
    const uint64_t top = INT64_MAX;
    struct buf b = BUF_INIT;
    struct raft_msg m = {
        .type = RAFT_MSG_APPEND,
        .from = UINT32_MAX,
        .to = UINT32_MAX,
        .term = top,
        .seq = top,
        .stamp = top,
        .session = top,
        .index = top - PEER_ENTRIES_MAX,
        .log_term = top - PEER_ENTRIES_MAX,
        .chain = UINT64_MAX,
        .commit = top,
        .hint = top,
        .reject = true,
        .transfer = true,
    };

    (void)arg;
    memset(&m.cluster, 0xff, sizeof m.cluster);
    entries_set(&m, PEER_ENTRIES_MAX, top - PEER_ENTRIES_MAX + 1, 1900);
    round_trip(&m, &b);
    struct frame f = sample_frame(&b, 0);
    assert_true(f.header_size > 50000);
    assert_int_equal(f.payload_size, PEER_ENTRIES_MAX * 1900);
    raft_msg_done(&m);
    buf_done(&b);
}

static void test_largest_payloads(void **arg)
{
    struct buf b = BUF_INIT;
    struct raft_msg m = {.type = RAFT_MSG_APPEND, .from = 1, .to = 2, .term = 100};

    (void)arg;
    entries_set(&m, 5, 1, RAFT_PAYLOAD_MAX);
    round_trip(&m, &b);
    assert_true(b.size <= FRAME_PEER_MAX);
    raft_msg_done(&m);
    buf_done(&b);
}

static void test_golden_append(void **arg)
{
    struct buf b = BUF_INIT;
    struct raft_entry entries[3] = {
        {.index = 41, .term = 6, .type = RAFT_ENTRY_COMMAND, .data = blob_copy("ab", 2)},
        {.index = 42, .term = 7, .type = RAFT_ENTRY_NOOP},
        {.index = 43, .term = 7, .type = RAFT_ENTRY_COMMAND, .data = blob_copy("c", 1)},
    };
    struct peer_msg m = {.type = PEER_RAFT,
                         .raft = {.type = RAFT_MSG_APPEND,
                                  .from = 1,
                                  .to = 2,
                                  .term = 7,
                                  .seq = 300,
                                  .stamp = 1000,
                                  .session = 2,
                                  .index = 40,
                                  .log_term = 6,
                                  .chain = 0x0123456789abcdef,
                                  .commit = 39,
                                  .entries = entries,
                                  .entries_count = 3}};

    (void)arg;
    memset(&m.raft.cluster, 0xcc, sizeof m.raft.cluster);
    peer_encode(&m, &b);
    (void)sample_unsummed(&b);
    assert_bytes(&b, "52000000 01 00 4b00"
                     "1249"
                     "0805 1210 cccccccccccccccccccccccccccccccc 1801 2002"
                     "2807 30ac02 38e807 4002 4828 5006 59 efcdab8967452301 6027"
                     "820103 020001 8a0103 060707 920103 030103 9a0103 010101"
                     "6162 63");
    blob_unref(entries[0].data);
    blob_unref(entries[2].data);
    buf_done(&b);
}

static void test_golden_append_reply(void **arg)
{
    struct buf b = BUF_INIT;
    struct peer_msg m = {.type = PEER_RAFT,
                         .raft = {.type = RAFT_MSG_APPEND_REPLY,
                                  .from = 2,
                                  .to = 1,
                                  .term = 7,
                                  .seq = 300,
                                  .stamp = 1000,
                                  .session = 1,
                                  .index = 40,
                                  .log_term = 5,
                                  .hint = 33,
                                  .reject = true,
                                  .transfer = true}};

    (void)arg;
    peer_encode(&m, &b);
    (void)sample_unsummed(&b);
    assert_bytes(&b, "20000000 01 00 1c00"
                     "121a 0806 1802 2001 2807 30ac02 38e807 4001 4828 5005 6821 7001 7801");
    buf_done(&b);
}

static void test_golden_timeout_now(void **arg)
{
    struct peer_msg m = {.type = PEER_RAFT,
                         .raft = {.type = RAFT_MSG_TIMEOUT_NOW,
                                  .from = 1,
                                  .to = 2,
                                  .term = 7,
                                  .seq = 300,
                                  .index = 40,
                                  .log_term = 7,
                                  .hold_ms = 800}};

    (void)arg;
    assert_golden(&m, "19000000 01 00 1500"
                      "1213 0809 1801 2002 2807 30ac02 4828 5007 a001a006");
    m.raft = (struct raft_msg){.type = RAFT_MSG_TIMEOUT_NOW_REPLY,
                               .from = 2,
                               .to = 1,
                               .term = 7,
                               .seq = 300,
                               .index = 39,
                               .log_term = 7,
                               .hint = RAFT_DECLINE_SHORT_LOG,
                               .reject = true};
    assert_golden(&m, "19000000 01 00 1500"
                      "1213 080a 1802 2001 2807 30ac02 4827 5007 6802 7001");
}

static void test_golden_claims_left(void **arg)
{
    struct peer_msg m = {.type = PEER_RAFT,
                         .raft = {.type = RAFT_MSG_CLAIMS_LEFT,
                                  .from = 1,
                                  .to = 2,
                                  .term = 7,
                                  .seq = 300,
                                  .hold_ms = 20}};

    (void)arg;
    assert_golden(&m, "14000000 01 00 1000"
                      "120e 080d 1801 2002 2807 30ac02 a00114");
}

/* A newer raftd may decline for reasons of its own. */
static void test_unknown_decline_is_a_number(void **arg)
{
    struct raft_msg m = {.type = RAFT_MSG_TIMEOUT_NOW_REPLY,
                         .from = 2,
                         .to = 1,
                         .term = 7,
                         .hint = RAFT_DECLINE_COUNT + 1000,
                         .reject = true};
    struct buf b = BUF_INIT;

    (void)arg;
    round_trip(&m, &b);
    buf_done(&b);
}

/* ---- What is refused: a good append with one thing changed ---- */

enum { CASE_ENTRIES = 5 };

struct append {
    Raftd__Peer__Raft m;
    uint32_t sizes[PEER_ENTRIES_MAX + 1];
    uint64_t terms[CASE_ENTRIES];
    Raftd__Peer__EntryType types[CASE_ENTRIES];
    uint32_t counts[CASE_ENTRIES];
    size_t payload_size;
};

struct append_case {
    const char *what;
    bool good;
    void (*change)(struct append *a);
};

#define CHANGE(name, ...)                                                                          \
    static void change_##name(struct append *a)                                                    \
    {                                                                                              \
        __VA_ARGS__;                                                                               \
    }
#define OVER (1ULL << 63)
CHANGE(nothing, (void)a)
CHANGE(type_none, a->m.type = RAFTD__PEER__RAFT_TYPE__RAFT_UNSPECIFIED)
CHANGE(type_new, a->m.type = (Raftd__Peer__RaftType)RAFT_MSG_TYPE_COUNT)
CHANGE(type_negative, a->m.type = (Raftd__Peer__RaftType)-1)
CHANGE(type_other, a->m.type = RAFTD__PEER__RAFT_TYPE__VOTE)
CHANGE(from, a->m.from = 0)
CHANGE(to, a->m.to = 0)
CHANGE(cluster, a->m.cluster = field_view("short", 5))
CHANGE(term, a->m.term = OVER)
CHANGE(seq, a->m.seq = OVER)
CHANGE(stamp, a->m.stamp = OVER)
CHANGE(session, a->m.session = OVER)
CHANGE(index, a->m.index = OVER)
CHANGE(log_term, a->m.log_term = OVER)
CHANGE(commit, a->m.commit = OVER)
CHANGE(hint, a->m.hint = OVER)
CHANGE(chain, a->m.chain = UINT64_MAX)
CHANGE(index_last, a->m.index = INT64_MAX - CASE_ENTRIES)
CHANGE(index_overflow, a->m.index = INT64_MAX - CASE_ENTRIES + 1)
CHANGE(payload_short, a->payload_size--)
CHANGE(payload_long, a->payload_size++)
CHANGE(size_large, a->sizes[1] = RAFT_PAYLOAD_MAX + 1;
       a->payload_size = 10 * (CASE_ENTRIES - 1) + RAFT_PAYLOAD_MAX + 1)
CHANGE(size_largest, a->sizes[1] = RAFT_PAYLOAD_MAX;
       a->payload_size = 10 * (CASE_ENTRIES - 1) + RAFT_PAYLOAD_MAX)
CHANGE(size_wraps, a->sizes[0] = UINT32_MAX; a->sizes[1] = 21)
CHANGE(
    sum_large,
    for (size_t i = 0; i < 5; i++) {
        a->sizes[i] = RAFT_PAYLOAD_MAX;
    } a->sizes[5] = PEER_PAYLOAD_MAX - 5 * RAFT_PAYLOAD_MAX + 1;
    a->m.n_entry_sizes = 6; a->counts[4] = 2; a->payload_size = PEER_PAYLOAD_MAX + 1)
CHANGE(entries_none, a->m.n_entry_sizes = 0; a->payload_size = 0)
CHANGE(runs_none, a->m.n_run_terms = a->m.n_run_types = a->m.n_run_counts = 0)
CHANGE(heartbeat, a->m.n_entry_sizes = 0; a->payload_size = 0; change_runs_none(a))
CHANGE(hold, a->m.hold_ms = 1)
CHANGE(timeout_now, change_heartbeat(a); a->m.type = RAFTD__PEER__RAFT_TYPE__TIMEOUT_NOW;
       a->m.hold_ms = PEER_HOLD_MS_MAX)
CHANGE(hold_long, change_timeout_now(a); a->m.hold_ms = PEER_HOLD_MS_MAX + 1)
CHANGE(hold_wraps, change_timeout_now(a); a->m.hold_ms = UINT32_MAX)
CHANGE(hold_in_reply, change_timeout_now(a); a->m.type = RAFTD__PEER__RAFT_TYPE__TIMEOUT_NOW_REPLY)
CHANGE(timeout_now_reply, change_hold_in_reply(a); a->m.hold_ms = 0)
CHANGE(claims_left, change_timeout_now(a); a->m.type = RAFTD__PEER__RAFT_TYPE__CLAIMS_LEFT)
CHANGE(claims_left_none, change_claims_left(a); a->m.hold_ms = 0)
CHANGE(claims_left_long, change_claims_left(a); a->m.hold_ms++)
CHANGE(claims_left_entries, a->m.type = RAFTD__PEER__RAFT_TYPE__CLAIMS_LEFT)
CHANGE(claims_left_payload, change_claims_left(a); a->payload_size = 1)
CHANGE(offset, a->m.offset = 1)
CHANGE(done, a->m.done = true)
CHANGE(piece, change_heartbeat(a); a->m.type = RAFTD__PEER__RAFT_TYPE__SNAPSHOT;
       a->m.offset = INT64_MAX; a->m.done = true; a->payload_size = PEER_PAYLOAD_MAX)
CHANGE(piece_far, change_piece(a); a->m.offset = OVER)
CHANGE(piece_empty, change_piece(a); a->payload_size = 0)
CHANGE(piece_large, change_piece(a); a->payload_size++)
CHANGE(piece_entries, a->m.type = RAFTD__PEER__RAFT_TYPE__SNAPSHOT)
CHANGE(piece_reply, change_piece(a); a->m.type = RAFTD__PEER__RAFT_TYPE__SNAPSHOT_REPLY;
       a->payload_size = 0)
CHANGE(piece_reply_payload, change_piece_reply(a); a->payload_size = 1)
CHANGE(piece_reply_far, change_piece_reply(a); a->m.offset = OVER)
CHANGE(timeout_now_entries, a->m.type = RAFTD__PEER__RAFT_TYPE__TIMEOUT_NOW)
CHANGE(entries_most, a->m.n_entry_sizes = PEER_ENTRIES_MAX; a->counts[4] = PEER_ENTRIES_MAX - 4;
       a->payload_size = CASE_ENTRIES * 10)
CHANGE(entries_many, change_entries_most(a); a->m.n_entry_sizes++; a->counts[4]++)
CHANGE(runs_terms_short, a->m.n_run_terms--)
CHANGE(runs_types_short, a->m.n_run_types--)
CHANGE(runs_counts_short, a->m.n_run_counts--)
CHANGE(run_empty, a->counts[1] = 0; a->counts[2] = 2)
CHANGE(run_long, a->counts[1] = 2)
CHANGE(run_short, a->m.n_run_terms = a->m.n_run_types = a->m.n_run_counts = 4)
CHANGE(run_wraps, a->counts[0] = UINT32_MAX; a->counts[1] = 3)
CHANGE(run_one, a->m.n_run_terms = a->m.n_run_types = a->m.n_run_counts = 1; a->counts[0] = 5)
CHANGE(entry_type_none, a->types[2] = RAFTD__PEER__ENTRY_TYPE__ENTRY_UNSPECIFIED)
CHANGE(entry_type_new, a->types[2] = (Raftd__Peer__EntryType)4)
CHANGE(entry_term_below_prev, a->terms[0] = 4)
CHANGE(entry_term_zero, a->m.log_term = 0; a->terms[0] = 0)
CHANGE(entry_term_falls, a->terms[3] = 5)
CHANGE(entry_term_above, a->terms[4] = 11)
CHANGE(entry_term_top, a->terms[4] = 10)

static const struct append_case append_cases[] = {
    {"unchanged", true, change_nothing},
    {"type 0", false, change_type_none},
    {"type 14", false, change_type_new},
    {"type -1", false, change_type_negative},
    {"a vote with entries", false, change_type_other},
    {"from nobody", false, change_from},
    {"to nobody", false, change_to},
    {"cluster of 5 bytes", false, change_cluster},
    {"term 2^63", false, change_term},
    {"seq 2^63", false, change_seq},
    {"stamp 2^63", false, change_stamp},
    {"session 2^63", false, change_session},
    {"index 2^63", false, change_index},
    {"log term 2^63", false, change_log_term},
    {"commit 2^63", false, change_commit},
    {"hint 2^63", false, change_hint},
    {"an append that holds", false, change_hold},
    {"TimeoutNow, an hour", true, change_timeout_now},
    {"TimeoutNow, above an hour", false, change_hold_long},
    {"TimeoutNow, 2^32 - 1 ms", false, change_hold_wraps},
    {"TimeoutNow's reply", true, change_timeout_now_reply},
    {"TimeoutNow's reply that holds", false, change_hold_in_reply},
    {"TimeoutNow with entries", false, change_timeout_now_entries},
    {"claims for another hour", true, change_claims_left},
    {"no claims any more", true, change_claims_left_none},
    {"claims for more than an hour", false, change_claims_left_long},
    {"claims with entries", false, change_claims_left_entries},
    {"claims with a payload", false, change_claims_left_payload},
    {"an append with an offset", false, change_offset},
    {"an append that is done", false, change_done},
    {"a piece of a snapshot, the largest", true, change_piece},
    {"a piece at 2^63", false, change_piece_far},
    {"a piece of nothing", false, change_piece_empty},
    {"a piece above the limit", false, change_piece_large},
    {"a piece with entries", false, change_piece_entries},
    {"a piece's reply", true, change_piece_reply},
    {"a piece's reply with a payload", false, change_piece_reply_payload},
    {"a piece's reply at 2^63", false, change_piece_reply_far},
    {"any chain", true, change_chain},
    {"last index 2^63 - 1", true, change_index_last},
    {"last index 2^63", false, change_index_overflow},
    {"payload too short", false, change_payload_short},
    {"payload too long", false, change_payload_long},
    {"entry at its limit", true, change_size_largest},
    {"entry above its limit", false, change_size_large},
    {"sizes that wrap", false, change_size_wraps},
    {"all payloads above the limit", false, change_sum_large},
    {"runs without entries", false, change_entries_none},
    {"entries without runs", false, change_runs_none},
    {"heartbeat", true, change_heartbeat},
    {"4096 entries", true, change_entries_most},
    {"4097 entries", false, change_entries_many},
    {"a term missing", false, change_runs_terms_short},
    {"a type missing", false, change_runs_types_short},
    {"a count missing", false, change_runs_counts_short},
    {"an empty run", false, change_run_empty},
    {"runs longer than entries", false, change_run_long},
    {"runs shorter than entries", false, change_run_short},
    {"run counts that wrap", false, change_run_wraps},
    {"one run", true, change_run_one},
    {"entry type 0", false, change_entry_type_none},
    {"entry type 4", false, change_entry_type_new},
    {"entry term below prev", false, change_entry_term_below_prev},
    {"entry term 0", false, change_entry_term_zero},
    {"entry term falls", false, change_entry_term_falls},
    {"entry term above the leader's", false, change_entry_term_above},
    {"entry term equals the leader's", true, change_entry_term_top},
};

static void append_init(struct append *a)
{
    memset(a, 0, sizeof *a);
    raftd__peer__raft__init(&a->m);
    a->m.type = RAFTD__PEER__RAFT_TYPE__APPEND;
    a->m.from = 1;
    a->m.to = 2;
    a->m.term = 10;
    a->m.index = 40;
    a->m.log_term = 5;
    for (size_t i = 0; i < CASE_ENTRIES; i++) {
        a->sizes[i] = 10;
        a->terms[i] = 5 + i;
        a->types[i] = RAFTD__PEER__ENTRY_TYPE__COMMAND;
        a->counts[i] = 1;
    }
    a->m.entry_sizes = a->sizes;
    a->m.run_terms = a->terms;
    a->m.run_types = a->types;
    a->m.run_counts = a->counts;
    a->m.n_entry_sizes = a->m.n_run_terms = a->m.n_run_types = a->m.n_run_counts = CASE_ENTRIES;
    a->payload_size = CASE_ENTRIES * 10;
}

static void test_append_fields(void **arg)
{
    struct append *a = mem_alloc(sizeof *a);
    uint8_t *payload = mem_zalloc(PEER_PAYLOAD_MAX + 1);
    struct buf b = BUF_INIT;

    (void)arg;
    for (size_t i = 0; i < sizeof append_cases / sizeof append_cases[0]; i++) {
        const struct append_case *c = &append_cases[i];
        Raftd__Peer__Envelope e;
        struct peer_msg out;
        append_init(a);
        c->change(a);
        raftd__peer__envelope__init(&e);
        e.body_case = RAFTD__PEER__ENVELOPE__BODY_RAFT;
        e.raft = &a->m;
        b.size = 0;
        size_t at = field_pack(&e.base, a->payload_size, &b);
        buf_put(&b, payload, a->payload_size);
        frame_end(&b, at);
        struct frame f = sample_frame(&b, 0);
        int err = peer_decode(&f, &out);
        if (err == 0) {
            peer_msg_done(&out);
        }
        if (err != (c->good ? 0 : -RD_EPROTOCOL)) {
            fail_msg("%s: %d", c->what, err);
        }
    }
    buf_done(&b);
    mem_free(payload);
    mem_free(a);
}

/* A payload that no entry claims must not slip in with other messages either. */
static void test_payload_without_entries(void **arg)
{
    struct prng p = sample_prng();
    struct buf b = BUF_INIT, longer = BUF_INIT;
    struct raft_msg m;
    struct peer_msg out;

    (void)arg;
    for (int type = RAFT_MSG_PRE_VOTE; type < RAFT_MSG_TYPE_COUNT; type++) {
        sample_raft(&p, (enum raft_msg_type)type, 0, &m);
        round_trip(&m, &b);
        struct frame f = sample_unsummed(&b);
        if (type != RAFT_MSG_SNAPSHOT) { /* whose payload may be any */
            struct frame g = sample_wrap(&longer, f.header, f.header_size, "x", 1);
            assert_int_equal(peer_decode(&g, &out), -RD_EPROTOCOL);
        }
        raft_msg_done(&m);
    }
    buf_done(&b);
    buf_done(&longer);
}

/* Repeated numbers may also come unpacked (proto3 allows both). */
static void test_unpacked_numbers(void **arg)
{
    struct buf b = BUF_INIT, envelope = BUF_INIT;
    struct peer_msg out;

    (void)arg;
    sample_hex("1219 0805 1801 2002 2807 8001 01 8001 01 8801 07 9001 03 9801 02", &envelope);
    envelope.data[1] = (uint8_t)(envelope.size - 2);
    struct frame f = sample_wrap(&b, envelope.data, envelope.size, "ab", 2);
    assert_int_equal(peer_decode(&f, &out), 0);
    assert_int_equal(out.raft.entries_count, 2);
    assert_int_equal(out.raft.entries[1].index, 2);
    assert_int_equal(out.raft.entries[1].term, 7);
    assert_memory_equal(out.raft.entries[1].data->data, "b", 1);
    peer_msg_done(&out);
    buf_done(&b);
    buf_done(&envelope);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type),
        cmocka_unit_test(test_appends_of_every_size),
        cmocka_unit_test(test_largest_envelope),
        cmocka_unit_test(test_largest_payloads),
        cmocka_unit_test(test_golden_append),
        cmocka_unit_test(test_golden_append_reply),
        cmocka_unit_test(test_golden_timeout_now),
        cmocka_unit_test(test_golden_claims_left),
        cmocka_unit_test(test_unknown_decline_is_a_number),
        cmocka_unit_test(test_append_fields),
        cmocka_unit_test(test_payload_without_entries),
        cmocka_unit_test(test_unpacked_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
