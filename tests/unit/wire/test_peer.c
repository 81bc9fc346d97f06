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

static const enum peer_msg_type all_types[] = {PEER_HELLO,         PEER_RAFT,    PEER_FORWARD,
                                               PEER_FORWARD_REPLY, PEER_REFUSAL, PEER_PROGRESS_ASK,
                                               PEER_PROGRESS,      PEER_CHANGE,  PEER_CHANGE_REPLY};
enum { TYPES = sizeof all_types / sizeof all_types[0] };

static void test_identity(void **arg)
{
    struct prng p = sample_prng();
    struct buf b = BUF_INIT;

    (void)arg;
    for (int round = 0; round < 5000; round++) {
        struct peer_msg in, out;
        sample_peer(&p, all_types[round % TYPES], &in);
        size_t at = b.size;
        peer_encode(&in, &b);
        struct frame f = sample_frame(&b, at);
        assert_int_equal(peer_decode(&f, &out), 0);
        assert_peer_equal(&in, &out);
        peer_msg_done(&in);
        peer_msg_done(&out);
        if (round % 7 == 0) { /* frames append to what is there */
            b.size = 0;
        }
    }
    buf_done(&b);
}

/* ---- Golden bytes: what stands in PROTOCOL.md's terms on the wire for ever ---- */

static void test_golden_forward(void **arg)
{
    struct peer_msg m = {
        .type = PEER_FORWARD,
        .forward = {.request = {2, 3, 500, 499}, .session = 7, .txn = blob_copy("txn", 3)}};

    (void)arg;
    assert_golden(&m, "15000000 01 00 0e00"
                      "1a0c 0802 1003 18f403 20f303 2807"
                      "74786e");
    peer_msg_done(&m);
}

static void test_golden_forward_reply(void **arg)
{
    (void)arg;
    assert_golden(&(struct peer_msg){.type = PEER_FORWARD_REPLY,
                                     .forward_reply = {.incarnation = 3,
                                                       .seq = 500,
                                                       .result = {.code = -RD_ECONFLICT,
                                                                  .repeated = true,
                                                                  .succeeded = true,
                                                                  .revision = 9,
                                                                  .index = 40,
                                                                  .term = 7,
                                                                  .actual = 8,
                                                                  .deleted = 1}}},
                  "1c000000 01 00 1800"
                  "2216 0803 10f403 18fe07 2001 2801 3009 3828 4007 4808 5001");
}

static void test_golden_refusal(void **arg)
{
    struct peer_refusal r = {.code = -RD_EWRONG_CLUSTER, .why = "no"};

    (void)arg;
    assert_golden(&(struct peer_msg){.type = PEER_REFUSAL, .refusal = &r}, "0d000000 01 00 0900"
                                                                           "2a07 08f607 1202 6e6f");
    r.code = -RD_EREMOVED;
    r.index = 9;
    memset(&r.cluster, 0xcc, sizeof r.cluster);
    assert_golden(&(struct peer_msg){.type = PEER_REFUSAL, .refusal = &r},
                  "21000000 01 00 1d00"
                  "2a1b 088008 1202 6e6f 1a10 cccccccccccccccccccccccccccccccc 2009");
}

static void test_golden_progress(void **arg)
{
    struct peer_progress p = {.seq = 3, .term = 7, .last = 500, .members_count = 3};

    (void)arg;
    p.members[0].id = 1;
    p.members[0].match = 500;
    p.members[1].id = 2;
    p.members[1].match = 499;
    p.members[1].contact_ms = 40;
    p.members[2].id = 3;
    p.members[2].contact_ms = UINT64_MAX; /* has not answered yet */
    assert_golden(&(struct peer_msg){.type = PEER_PROGRESS_ASK, .progress_ask = {3}},
                  "08000000 01 00 0400"
                  "3202 0803");
    assert_golden(&(struct peer_msg){.type = PEER_PROGRESS, .progress = &p},
                  "25000000 01 00 2100"
                  "3a1f 0803 1007 18f403"
                  "2207 0801 10f403 1801"
                  "2209 0802 10f303 1801 2028"
                  "2202 0803");
}

/* ---- Damage ---- */

/* Whatever decodes is a message within the limits: it encodes again, to the same. */
static bool survives(const struct frame *f)
{
    struct peer_msg msg, again;
    struct buf b = BUF_INIT;

    int err = peer_decode(f, &msg);
    if (err < 0) {
        assert_true(err == -RD_EPROTOCOL || err == -RD_ECORRUPT);
        return false;
    }
    peer_encode(&msg, &b);
    struct frame g = sample_frame(&b, 0);
    assert_int_equal(peer_decode(&g, &again), 0);
    assert_peer_equal(&msg, &again);
    peer_msg_done(&again);
    peer_msg_done(&msg);
    buf_done(&b);
    return true;
}

static void test_truncated(void **arg)
{
    struct prng p = sample_prng();
    struct buf b = BUF_INIT, cut = BUF_INIT;

    (void)arg;
    for (int round = 0; round < 3 * TYPES; round++) {
        struct peer_msg msg;
        struct frame f;
        sample_peer(&p, all_types[round % TYPES], &msg);
        b.size = 0;
        peer_encode(&msg, &b);
        bool any_size = msg.type == PEER_FORWARD ||
                        (msg.type == PEER_RAFT && msg.raft.type == RAFT_MSG_SNAPSHOT);
        peer_msg_done(&msg);
        struct frame whole = sample_unsummed(&b);
        for (size_t size = 0; size < b.size && size < 2000; size++) {
            uint8_t *copy = mem_dup(b.data, size);
            assert_int_equal(frame_parse(copy, size, FRAME_PEER_MAX, &f, NULL), 0);
            mem_free(copy);
        }
        for (uint16_t size = 0; size < whole.header_size && size < 2000; size++) {
            struct frame g =
                sample_wrap(&cut, whole.header, size, whole.payload, whole.payload_size);
            assert_false(survives(&g)); /* the body's length is known at its start */
        }
        if (whole.payload_size > 1) {
            struct frame g = sample_wrap(&cut, whole.header, whole.header_size, whole.payload,
                                         whole.payload_size - 1);
            assert_true(survives(&g) == any_size); /* one byte less is another payload */
        }
    }
    buf_done(&b);
    buf_done(&cut);
}

static void test_flipped_bits(void **arg)
{
    struct prng p = sample_prng();
    struct buf b = BUF_INIT;
    int valid = 0, refused = 0;

    (void)arg;
    for (int round = 0; round < 2 * TYPES; round++) {
        struct peer_msg msg;
        sample_peer(&p, all_types[round % TYPES], &msg);
        b.size = 0;
        peer_encode(&msg, &b);
        peer_msg_done(&msg);
        (void)sample_unsummed(&b);
        size_t bits = b.size < 4096 ? b.size * 8 : 4096 * 8;
        for (size_t bit = 0; bit < bits; bit++) {
            struct frame f;
            b.data[bit / 8] ^= (uint8_t)(1U << (bit % 8));
            int rc = frame_parse(b.data, b.size, FRAME_PEER_MAX, &f, NULL);
            if (rc == 1 && survives(&f)) {
                valid++;
            } else {
                refused++;
            }
            b.data[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        }
    }
    assert_true(valid > 0);
    assert_true(refused > 0);
    buf_done(&b);
}

static void test_random_bytes(void **arg)
{
    struct prng p = sample_prng();
    struct buf b = BUF_INIT;

    (void)arg;
    for (int round = 0; round < 20000; round++) {
        uint8_t bytes[64];
        size_t size = (size_t)prng_range(&p, 0, sizeof bytes + 1);
        for (size_t i = 0; i < size; i++) {
            bytes[i] = (uint8_t)prng_next(&p);
        }
        struct frame f = sample_wrap(&b, bytes, size, NULL, 0);
        (void)survives(&f);
    }
    buf_done(&b);
}

static void test_text_is_mended(void **arg)
{
    struct peer_refusal r = {.code = -RD_EINVALID};
    struct peer_msg msg = {.type = PEER_REFUSAL, .refusal = &r}, out;
    struct buf b = BUF_INIT;

    (void)arg;
    memset(r.why, 'w', sizeof r.why - 1);
    r.why[sizeof r.why - 2] = '\xc3'; /* cut by a printf in the middle of a character */
    peer_encode(&msg, &b);
    struct frame f = sample_frame(&b, 0);
    assert_int_equal(peer_decode(&f, &out), 0);
    assert_int_equal(strlen(out.refusal->why), sizeof r.why - 2);
    peer_msg_done(&out);
    buf_done(&b);
}

/* ---- What is refused, field by field: a good body with one thing changed ---- */

static uint8_t some_bytes[PEER_WHY_SIZE];
static uint8_t zero_bytes[16];
enum { BAD = -RD_EPROTOCOL };

static int decode_forward_of(uint32_t node, uint64_t incarnation, uint64_t seq, uint64_t floor,
                             uint64_t session, size_t payload_size)
{
    Raftd__Peer__Envelope e;
    Raftd__Peer__Forward m;

    raftd__peer__envelope__init(&e);
    raftd__peer__forward__init(&m);
    e.body_case = RAFTD__PEER__ENVELOPE__BODY_FORWARD;
    e.forward = &m;
    m.node = node;
    m.incarnation = incarnation;
    m.seq = seq;
    m.floor = floor;
    m.session = session;
    return sample_decode_body(&e.base, payload_size);
}

static int decode_forward(uint32_t node, uint64_t incarnation, uint64_t seq, uint64_t floor,
                          size_t payload_size)
{
    return decode_forward_of(node, incarnation, seq, floor, 1, payload_size);
}

static void test_forward_fields(void **arg)
{
    const uint64_t top = INT64_MAX;

    (void)arg;
    assert_int_equal(decode_forward(1, 0, 1, 0, 1), 0);
    assert_int_equal(decode_forward(UINT32_MAX, top, top, top - STATE_WINDOW_MAX + 1, 10), 0);
    assert_int_equal(decode_forward(1, 1, 1, 1, STATE_REQUEST_MAX), 0);
    assert_int_equal(decode_forward(1, 1, 1, 1, STATE_REQUEST_MAX + 1), BAD);
    assert_int_equal(decode_forward(1, 1, 1, 1, 0), BAD);
    assert_int_equal(decode_forward(0, 1, 1, 1, 1), BAD);
    assert_int_equal(decode_forward(1, top + 1, 1, 1, 1), BAD);
    assert_int_equal(decode_forward(1, 1, 0, 0, 1), BAD);
    assert_int_equal(decode_forward(1, 1, top + 1, top, 1), BAD);
    assert_int_equal(decode_forward(1, 1, 5, 6, 1), BAD);
    assert_int_equal(decode_forward(1, 1, STATE_WINDOW_MAX, 0, 1), BAD);
    assert_int_equal(decode_forward(1, 1, STATE_WINDOW_MAX - 1, 0, 1), 0);
    assert_int_equal(decode_forward_of(1, 1, 1, 1, 0, 1), 0); /* not told */
    assert_int_equal(decode_forward_of(1, 1, 1, 1, top, 1), 0);
    assert_int_equal(decode_forward_of(1, 1, 1, 1, top + 1, 1), BAD);
}

static int decode_reply(uint32_t code, uint64_t seq, uint64_t number, size_t payload_size)
{
    Raftd__Peer__Envelope e;
    Raftd__Peer__ForwardReply m;

    raftd__peer__envelope__init(&e);
    raftd__peer__forward_reply__init(&m);
    e.body_case = RAFTD__PEER__ENVELOPE__BODY_FORWARD_REPLY;
    e.forward_reply = &m;
    m.code = code;
    m.seq = seq;
    m.incarnation = m.revision = m.index = m.term = m.actual = number;
    return sample_decode_body(&e.base, payload_size);
}

static void test_forward_reply_fields(void **arg)
{
    (void)arg;
    assert_int_equal(decode_reply(0, 1, INT64_MAX, 0), 0);
    assert_int_equal(decode_reply(RD_ENO_SPACE, 1, 1, 0), 0);
    assert_int_equal(decode_reply(5, 1, 1, 0), BAD);
    assert_int_equal(decode_reply((uint32_t)-RD_ENO_SPACE, 1, 1, 0), BAD);
    assert_int_equal(decode_reply(0, 0, 1, 0), BAD);
    assert_int_equal(decode_reply(0, 1ULL << 63, 1, 0), BAD);
    assert_int_equal(decode_reply(0, 1, 1ULL << 63, 0), BAD);
    assert_int_equal(decode_reply(0, 1, 1, 1), BAD);
}

static void test_refusal_fields(void **arg)
{
    Raftd__Peer__Envelope e;
    Raftd__Peer__Refusal m;

    (void)arg;
    memset(some_bytes, 'x', sizeof some_bytes);
    raftd__peer__envelope__init(&e);
    raftd__peer__refusal__init(&m);
    e.body_case = RAFTD__PEER__ENVELOPE__BODY_REFUSAL;
    e.refusal = &m;
    assert_int_equal(sample_decode_body(&e.base, 0), BAD); /* code 0 is no refusal */
    m.code = RD_EREMOVED;
    m.why = field_view(some_bytes, PEER_WHY_SIZE - 1);
    assert_int_equal(sample_decode_body(&e.base, 0), 0);
    assert_int_equal(sample_decode_body(&e.base, 1), BAD);
    m.why.len++;
    assert_int_equal(sample_decode_body(&e.base, 0), BAD);
    m.why.len = 2;
    m.index = INT64_MAX;
    m.cluster = field_view(some_bytes, 16);
    assert_int_equal(sample_decode_body(&e.base, 0), 0);
    m.cluster.len = 15;
    assert_int_equal(sample_decode_body(&e.base, 0), BAD);
    m.cluster = field_view(zero_bytes, 16);
    assert_int_equal(sample_decode_body(&e.base, 0), BAD);
    m.cluster.len = 0;
    assert_int_equal(sample_decode_body(&e.base, 0), 0);
    m.index++;
    assert_int_equal(sample_decode_body(&e.base, 0), BAD);
}

/* What proves a removal means nothing with another number: it is neither sent nor taken. */
static void test_only_a_removal_is_proven(void **arg)
{
    struct peer_refusal r = {.code = -RD_EINVALID, .why = "no", .index = 9};
    struct peer_msg msg = {.type = PEER_REFUSAL, .refusal = &r}, out;
    struct buf b = BUF_INIT;
    struct buf envelope = BUF_INIT;

    (void)arg;
    memset(&r.cluster, 0xcc, sizeof r.cluster);
    peer_encode(&msg, &b);
    (void)sample_unsummed(&b);
    assert_bytes(&b, "0d000000 01 00 0900"
                     "2a07 088208 1202 6e6f");
    sample_hex("2a1b 088208 1202 6e6f 1a10 cccccccccccccccccccccccccccccccc 2009", &envelope);
    struct frame f = sample_wrap(&b, envelope.data, envelope.size, NULL, 0);
    assert_int_equal(peer_decode(&f, &out), 0);
    assert_int_equal(out.refusal->code, -RD_EINVALID);
    assert_false(uuid_is_set(&out.refusal->cluster));
    assert_int_equal(out.refusal->index, 0);
    peer_msg_done(&out);
    buf_done(&b);
    buf_done(&envelope);
}

/* From a raftd that knows more errors than this one: the sentence is kept. */
static void test_refusal_of_an_unknown_number(void **arg)
{
    struct buf b = BUF_INIT, envelope = BUF_INIT;
    struct peer_msg out;

    (void)arg;
    sample_hex("2a07 08904e 12026e6f", &envelope); /* 10000 */
    struct frame f = sample_wrap(&b, envelope.data, envelope.size, NULL, 0);
    assert_int_equal(peer_decode(&f, &out), 0);
    assert_int_equal(out.refusal->code, -RD_EPROTOCOL);
    assert_string_equal(out.refusal->why, "no");
    peer_msg_done(&out);
    buf_done(&b);
    buf_done(&envelope);
}

static int decode_ask(uint64_t seq, size_t payload_size)
{
    Raftd__Peer__Envelope e;
    Raftd__Peer__ProgressAsk m;

    raftd__peer__envelope__init(&e);
    raftd__peer__progress_ask__init(&m);
    e.body_case = RAFTD__PEER__ENVELOPE__BODY_PROGRESS_ASK;
    e.progress_ask = &m;
    m.seq = seq;
    return sample_decode_body(&e.base, payload_size);
}

static void test_progress_ask_fields(void **arg)
{
    (void)arg;
    assert_int_equal(decode_ask(1, 0), 0);
    assert_int_equal(decode_ask(INT64_MAX, 0), 0);
    assert_int_equal(decode_ask(0, 0), BAD);
    assert_int_equal(decode_ask(1ULL << 63, 0), BAD);
    assert_int_equal(decode_ask(1, 1), BAD);
}

static int decode_progress(const Raftd__Peer__Progress *like, uint32_t count, size_t payload_size)
{
    Raftd__Peer__Envelope e;
    Raftd__Peer__Progress m = *like;
    Raftd__Peer__MemberProgress rows[RAFT_MEMBERS_MAX + 1];
    Raftd__Peer__MemberProgress *pointers[RAFT_MEMBERS_MAX + 1];

    for (uint32_t i = 0; i < count; i++) {
        raftd__peer__member_progress__init(&rows[i]);
        rows[i].id = i + 1;
        pointers[i] = &rows[i];
    }
    if (like->members) { /* that row is the first */
        rows[0] = **like->members;
    }
    raftd__peer__envelope__init(&e);
    e.body_case = RAFTD__PEER__ENVELOPE__BODY_PROGRESS;
    e.progress = &m;
    m.n_members = count;
    m.members = pointers;
    return sample_decode_body(&e.base, payload_size);
}

static int decode_row(uint32_t id, uint64_t match, bool heard, uint64_t contact_ms)
{
    Raftd__Peer__Progress m;
    Raftd__Peer__MemberProgress row;
    Raftd__Peer__MemberProgress *pointer = &row;

    raftd__peer__progress__init(&m);
    raftd__peer__member_progress__init(&row);
    m.seq = 1;
    m.members = &pointer;
    row.id = id;
    row.match = match;
    row.heard = heard;
    row.contact_ms = contact_ms;
    return decode_progress(&m, 2, 0);
}

static void test_progress_fields(void **arg)
{
    Raftd__Peer__Progress m;

    (void)arg;
    raftd__peer__progress__init(&m);
    assert_int_equal(decode_progress(&m, 0, 0), BAD); /* seq 0 */
    m.seq = 1;
    assert_int_equal(decode_progress(&m, 0, 0), 0);
    assert_int_equal(decode_progress(&m, 0, 1), BAD);
    assert_int_equal(decode_progress(&m, RAFT_MEMBERS_MAX, 0), 0);
    assert_int_equal(decode_progress(&m, RAFT_MEMBERS_MAX + 1, 0), BAD);
    m.term = 1ULL << 63;
    assert_int_equal(decode_progress(&m, 0, 0), BAD);
    m.term = m.last = INT64_MAX;
    assert_int_equal(decode_progress(&m, 0, 0), 0);
    m.last++;
    assert_int_equal(decode_progress(&m, 0, 0), BAD);
    assert_int_equal(decode_row(1, INT64_MAX, true, INT64_MAX), 0);
    assert_int_equal(decode_row(0, 1, true, 1), BAD);
    assert_int_equal(decode_row(2, 1, true, 1), BAD); /* twice */
    assert_int_equal(decode_row(1, 1ULL << 63, true, 1), BAD);
    assert_int_equal(decode_row(1, 1, true, 1ULL << 63), BAD);
    assert_int_equal(decode_row(1, 1, false, 0), 0);
    assert_int_equal(decode_row(1, 1, false, 1), BAD);
}

/* ---- What must never be sent: a bug here ends the process, not the peer's connection ---- */

static void test_encode_asserts_the_limits(void **arg)
{
    struct raft_entry entries[2] = {{.index = 1, .term = 1, .type = RAFT_ENTRY_NOOP},
                                    {.index = 2, .term = 1, .type = RAFT_ENTRY_NOOP}};
    struct peer_msg append = {.type = PEER_RAFT,
                              .raft = {.type = RAFT_MSG_APPEND,
                                       .from = 1,
                                       .to = 2,
                                       .term = 1,
                                       .entries = entries,
                                       .entries_count = 2}};
    struct peer_msg reply = {.type = PEER_FORWARD_REPLY, .forward_reply = {.seq = 1}};
    struct peer_msg forward = {.type = PEER_FORWARD, .forward = {.request = {1, 1, 1, 1}}};
    struct peer_refusal r = {.code = -RD_EINVALID, .why = "no"};
    struct peer_msg refusal = {.type = PEER_REFUSAL, .refusal = &r};
    struct peer_progress p = {.seq = 1, .members_count = 1};
    struct peer_msg progress = {.type = PEER_PROGRESS, .progress = &p};
    struct peer_msg question = {.type = PEER_PROGRESS_ASK};

    (void)arg;
    assert_true(sample_encode_fails(&question)); /* seq 0 */
    assert_true(sample_encode_fails(&progress)); /* a row of nobody */
    p.members[0].id = 1;
    assert_false(sample_encode_fails(&progress));
    p.members_count = RAFT_MEMBERS_MAX + 1;
    assert_true(sample_encode_fails(&progress));
    assert_false(sample_encode_fails(&append));
    append.raft.hold_ms = 1; /* a TimeoutNow's */
    assert_true(sample_encode_fails(&append));
    append.raft.hold_ms = 0;
    entries[1].index = 3;
    assert_true(sample_encode_fails(&append));
    entries[1].index = 2;
    entries[1].term = 2; /* above the leader's */
    assert_true(sample_encode_fails(&append));
    append.raft.entries_count = PEER_ENTRIES_MAX + 1;
    assert_true(sample_encode_fails(&append));
    assert_false(sample_encode_fails(&reply));
    reply.forward_reply.result.code = RD_EINVALID; /* not negated */
    assert_true(sample_encode_fails(&reply));
    reply.forward_reply.result.code = -5;
    assert_true(sample_encode_fails(&reply));
    assert_true(sample_encode_fails(&forward)); /* no transaction */
    assert_false(sample_encode_fails(&refusal));
    r.code = -RD_EREMOVED;
    r.index = 1ULL << 63;
    assert_true(sample_encode_fails(&refusal));
    r.code = 0;
    assert_true(sample_encode_fails(&refusal));
    assert_true(sample_encode_fails(&(struct peer_msg){.type = (enum peer_msg_type)10}));
}

/* ---- What may change later ---- */

static int decode_hex(const char *hex)
{
    struct buf b = BUF_INIT, envelope = BUF_INIT;
    struct peer_msg out;

    sample_hex(hex, &envelope);
    struct frame f = sample_wrap(&b, envelope.data, envelope.size, NULL, 0);
    int err = peer_decode(&f, &out);
    if (err == 0) {
        peer_msg_done(&out);
    }
    buf_done(&b);
    buf_done(&envelope);
    return err;
}

static void test_unknown_fields_and_types(void **arg)
{
    (void)arg;
    assert_int_equal(decode_hex("2a07 08f607 12026e6f"), 0);
    assert_int_equal(decode_hex("2a0a 08f607 12026e6f f83f01"), 0); /* in the body */
    assert_int_equal(decode_hex("2a07 08f607 12026e6f f83f01"), 0); /* beside it */
    assert_int_equal(decode_hex("2a0b 08f607 12026e6f fa3f017a"), 0);
    assert_int_equal(decode_hex("5207 08f607 12026e6f"), BAD); /* body 10 */
    assert_int_equal(decode_hex(""), BAD);
    assert_int_equal(decode_hex("2a07 08f607 12026e6f 2200"), BAD); /* the last body counts */
    assert_int_equal(decode_hex("2a07 0df607 12026e6f"), BAD);      /* wrong wire type */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identity),
        cmocka_unit_test(test_golden_forward),
        cmocka_unit_test(test_golden_forward_reply),
        cmocka_unit_test(test_golden_refusal),
        cmocka_unit_test(test_golden_progress),
        cmocka_unit_test(test_progress_ask_fields),
        cmocka_unit_test(test_progress_fields),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_flipped_bits),
        cmocka_unit_test(test_random_bytes),
        cmocka_unit_test(test_text_is_mended),
        cmocka_unit_test(test_forward_fields),
        cmocka_unit_test(test_forward_reply_fields),
        cmocka_unit_test(test_refusal_fields),
        cmocka_unit_test(test_only_a_removal_is_proven),
        cmocka_unit_test(test_refusal_of_an_unknown_number),
        cmocka_unit_test(test_encode_asserts_the_limits),
        cmocka_unit_test(test_unknown_fields_and_types),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
