#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "peer.pb-c.h"
#include "samples.h"
#include "wire/field.h"

enum { BAD = -RD_EPROTOCOL };
#define OVER (1ULL << 63)

/* ---- Golden bytes ---- */

static void test_golden_change(void **arg)
{
    struct peer_change c = {.incarnation = 3,
                            .seq = 500,
                            .kind = PEER_CHANGE_ADD,
                            .id = 5,
                            .replaces = 2,
                            .term = 7,
                            .learner = true,
                            .no_wait = true,
                            .force = true,
                            .address = "h:1"};

    (void)arg;
    assert_golden(&(struct peer_msg){.type = PEER_CHANGE, .change = &c},
                  "1e000000 01 00 1a00"
                  "4218 0803 10f403 1801 2005 2802 3007 3801 4001 4801 5203 683a31");
    c = (struct peer_change){.seq = 1, .kind = PEER_CHANGE_TRANSFER, .term = 7};
    assert_golden(&(struct peer_msg){.type = PEER_CHANGE, .change = &c}, "0c000000 01 00 0800"
                                                                         "4206 1001 1805 3007");
}

static void test_golden_change_reply(void **arg)
{
    struct peer_change_reply r = {.incarnation = 3,
                                  .seq = 500,
                                  .step = PEER_CHANGE_DONE,
                                  .index = 40,
                                  .role = RAFT_VOTER,
                                  .match = 39,
                                  .last = 41,
                                  .from = 1,
                                  .to = 2,
                                  .term = 8,
                                  .gap_ms = 300};

    (void)arg;
    assert_golden(&(struct peer_msg){.type = PEER_CHANGE_REPLY, .change_reply = &r},
                  "1e000000 01 00 1a00"
                  "4a18 0803 10f403 1805 2828 3002 3827 4029 4801 5002 5808 60ac02");
    r = (struct peer_change_reply){
        .seq = 1, .step = PEER_CHANGE_REFUSED, .code = -RD_ENOT_CAUGHT_UP, .why = "no"};
    assert_golden(&(struct peer_msg){.type = PEER_CHANGE_REPLY, .change_reply = &r},
                  "11000000 01 00 0d00"
                  "4a0b 1001 1806 20f407 6a02 6e6f");
}

/* ---- What is refused, field by field: a good body with one thing changed ---- */

static uint8_t some_bytes[RAFT_ADDRESS_SIZE];

struct change_case {
    const char *what;
    int expected;
    size_t payload_size;
    void (*change)(Raftd__Peer__Change *m);
};

#define CHANGE(name, ...)                                                                          \
    static void change_##name(Raftd__Peer__Change *m)                                              \
    {                                                                                              \
        __VA_ARGS__;                                                                               \
    }
CHANGE(same, (void)m)
CHANGE(incarnation, m->incarnation = OVER)
CHANGE(seq_zero, m->seq = 0)
CHANGE(seq, m->seq = OVER)
CHANGE(term, m->term = OVER)
CHANGE(top, m->incarnation = m->seq = m->term = INT64_MAX; m->id = m->replaces = UINT32_MAX)
CHANGE(kind_none, m->kind = RAFTD__PEER__CHANGE_KIND__CHANGE_UNSPECIFIED)
CHANGE(kind_new, m->kind = (Raftd__Peer__ChangeKind)6)
CHANGE(kind_negative, m->kind = (Raftd__Peer__ChangeKind)-1)
CHANGE(id_zero, m->id = 0)
CHANGE(no_address, m->address.len = 0)
CHANGE(address_at_limit, m->address.len = RAFT_ADDRESS_SIZE - 1)
CHANGE(address_above, m->address.len = RAFT_ADDRESS_SIZE)
CHANGE(address_nul, m->address = field_view("a\0b", 3))
CHANGE(address_latin, m->address = field_view("\xe9", 1))
CHANGE(promote, change_no_address(m); m->kind = RAFTD__PEER__CHANGE_KIND__PROMOTE)
CHANGE(demote, change_no_address(m); m->kind = RAFTD__PEER__CHANGE_KIND__DEMOTE)
CHANGE(remove, change_no_address(m); m->kind = RAFTD__PEER__CHANGE_KIND__REMOVE)
CHANGE(transfer, change_no_address(m); m->kind = RAFTD__PEER__CHANGE_KIND__TRANSFER)
CHANGE(promote_nobody, change_promote(m); m->id = 0)
CHANGE(demote_nobody, change_demote(m); m->id = 0)
CHANGE(remove_nobody, change_remove(m); m->id = 0)
CHANGE(transfer_any, change_transfer(m); m->id = 0)
CHANGE(remove_address, m->kind = RAFTD__PEER__CHANGE_KIND__REMOVE)
CHANGE(transfer_address, m->kind = RAFTD__PEER__CHANGE_KIND__TRANSFER)

static const struct change_case change_cases[] = {
    {"unchanged", 0, 0, change_same},
    {"payload", BAD, 1, change_same},
    {"incarnation 2^63", BAD, 0, change_incarnation},
    {"seq 0", BAD, 0, change_seq_zero},
    {"seq 2^63", BAD, 0, change_seq},
    {"term 2^63", BAD, 0, change_term},
    {"highest numbers", 0, 0, change_top},
    {"kind 0", BAD, 0, change_kind_none},
    {"kind 6", BAD, 0, change_kind_new},
    {"kind -1", BAD, 0, change_kind_negative},
    {"add nobody", BAD, 0, change_id_zero},
    {"add without address", BAD, 0, change_no_address},
    {"address at its limit", 0, 0, change_address_at_limit},
    {"address above its limit", BAD, 0, change_address_above},
    {"address with NUL", BAD, 0, change_address_nul},
    {"address in Latin-1", BAD, 0, change_address_latin},
    {"promote", 0, 0, change_promote},
    {"demote", 0, 0, change_demote},
    {"remove", 0, 0, change_remove},
    {"transfer", 0, 0, change_transfer},
    {"promote nobody", BAD, 0, change_promote_nobody},
    {"demote nobody", BAD, 0, change_demote_nobody},
    {"remove nobody", BAD, 0, change_remove_nobody},
    {"transfer to whoever is best", 0, 0, change_transfer_any},
    {"remove with an address", BAD, 0, change_remove_address},
    {"transfer with an address", BAD, 0, change_transfer_address},
};

static void test_change_fields(void **arg)
{
    (void)arg;
    memset(some_bytes, 'x', sizeof some_bytes);
    for (size_t i = 0; i < sizeof change_cases / sizeof change_cases[0]; i++) {
        const struct change_case *c = &change_cases[i];
        Raftd__Peer__Envelope e;
        Raftd__Peer__Change m;
        raftd__peer__envelope__init(&e);
        raftd__peer__change__init(&m);
        e.body_case = RAFTD__PEER__ENVELOPE__BODY_CHANGE;
        e.change = &m;
        m.seq = 1;
        m.kind = RAFTD__PEER__CHANGE_KIND__ADD;
        m.id = 5;
        m.address = field_view(some_bytes, 5);
        c->change(&m);
        int err = sample_decode_body(&e.base, c->payload_size);
        if (err != c->expected) {
            fail_msg("%s: %d instead of %d", c->what, err, c->expected);
        }
    }
}

struct reply_case {
    const char *what;
    int expected;
    size_t payload_size;
    void (*change)(Raftd__Peer__ChangeReply *m);
};

#define REPLY(name, ...)                                                                           \
    static void reply_##name(Raftd__Peer__ChangeReply *m)                                          \
    {                                                                                              \
        __VA_ARGS__;                                                                               \
    }
REPLY(same, (void)m)
REPLY(incarnation, m->incarnation = OVER)
REPLY(seq_zero, m->seq = 0)
REPLY(seq, m->seq = OVER)
REPLY(index, m->index = OVER)
REPLY(match, m->match = OVER)
REPLY(last, m->last = OVER)
REPLY(term, m->term = OVER)
REPLY(top, m->incarnation = m->seq = m->index = m->match = m->last = m->term = INT64_MAX;
      m->from = m->to = m->gap_ms = UINT32_MAX)
REPLY(step_none, m->step = RAFTD__PEER__CHANGE_STEP__STEP_UNSPECIFIED)
REPLY(step_first, m->step = RAFTD__PEER__CHANGE_STEP__DIALLING)
REPLY(step_new, m->step = (Raftd__Peer__ChangeStep)7)
REPLY(step_negative, m->step = (Raftd__Peer__ChangeStep)-1)
REPLY(role_none, m->role = RAFTD__PEER__ROLE__NO_MEMBER)
REPLY(role_new, m->role = (Raftd__Peer__Role)3)
REPLY(role_negative, m->role = (Raftd__Peer__Role)-1)
REPLY(done_code, m->code = RD_EINVALID)
REPLY(refused_only, m->step = RAFTD__PEER__CHANGE_STEP__REFUSED)
REPLY(refused, reply_refused_only(m); m->code = RD_EUNREACHABLE)
REPLY(refused_new, reply_refused_only(m); m->code = 10000)
REPLY(why_at_limit, m->why = field_view(some_bytes, PEER_WHY_SIZE - 1))
REPLY(why_above, m->why = field_view(some_bytes, PEER_WHY_SIZE))
REPLY(why_latin, m->why = field_view("\xe9", 1))

static const struct reply_case reply_cases[] = {
    {"unchanged", 0, 0, reply_same},
    {"payload", BAD, 1, reply_same},
    {"incarnation 2^63", BAD, 0, reply_incarnation},
    {"seq 0", BAD, 0, reply_seq_zero},
    {"seq 2^63", BAD, 0, reply_seq},
    {"index 2^63", BAD, 0, reply_index},
    {"match 2^63", BAD, 0, reply_match},
    {"last 2^63", BAD, 0, reply_last},
    {"term 2^63", BAD, 0, reply_term},
    {"highest numbers", 0, 0, reply_top},
    {"step 0", BAD, 0, reply_step_none},
    {"step 1", 0, 0, reply_step_first},
    {"step 7", BAD, 0, reply_step_new},
    {"step -1", BAD, 0, reply_step_negative},
    {"no member", 0, 0, reply_role_none},
    {"role 3", BAD, 0, reply_role_new},
    {"role -1", BAD, 0, reply_role_negative},
    {"done with a code", BAD, 0, reply_done_code},
    {"refused without a code", BAD, 0, reply_refused_only},
    {"refused", 0, 0, reply_refused},
    {"refused for a reason unknown here", 0, 0, reply_refused_new},
    {"sentence at its limit", 0, 0, reply_why_at_limit},
    {"sentence above its limit", BAD, 0, reply_why_above},
    {"sentence in Latin-1", BAD, 0, reply_why_latin},
};

static void test_change_reply_fields(void **arg)
{
    (void)arg;
    memset(some_bytes, 'x', sizeof some_bytes);
    for (size_t i = 0; i < sizeof reply_cases / sizeof reply_cases[0]; i++) {
        const struct reply_case *c = &reply_cases[i];
        Raftd__Peer__Envelope e;
        Raftd__Peer__ChangeReply m;
        raftd__peer__envelope__init(&e);
        raftd__peer__change_reply__init(&m);
        e.body_case = RAFTD__PEER__ENVELOPE__BODY_CHANGE_REPLY;
        e.change_reply = &m;
        m.seq = 1;
        m.step = RAFTD__PEER__CHANGE_STEP__DONE;
        m.role = RAFTD__PEER__ROLE__VOTER;
        c->change(&m);
        int err = sample_decode_body(&e.base, c->payload_size);
        if (err != c->expected) {
            fail_msg("%s: %d instead of %d", c->what, err, c->expected);
        }
    }
}

/* From a raftd that knows more errors than this one: the sentence is kept. */
static void test_reply_with_an_unknown_number(void **arg)
{
    struct buf b = BUF_INIT, envelope = BUF_INIT;
    struct peer_msg out;

    (void)arg;
    sample_hex("4a0b 1001 1806 20904e 6a02 6e6f", &envelope); /* 10000 */
    struct frame f = sample_wrap(&b, envelope.data, envelope.size, NULL, 0);
    assert_int_equal(peer_decode(&f, &out), 0);
    assert_int_equal(out.change_reply->code, -RD_EINVALID);
    assert_string_equal(out.change_reply->why, "no");
    peer_msg_done(&out);
    buf_done(&b);
    buf_done(&envelope);
}

static void test_text_is_mended(void **arg)
{
    struct peer_change_reply r = {.seq = 1, .step = PEER_CHANGE_REFUSED, .code = -RD_EUNREACHABLE};
    struct peer_change c = {.seq = 1, .kind = PEER_CHANGE_ADD, .id = 5};
    struct buf b = BUF_INIT;
    struct peer_msg out;

    (void)arg;
    memset(r.why, 'w', sizeof r.why - 1);
    r.why[sizeof r.why - 2] = '\xc3'; /* cut by a printf in the middle of a character */
    peer_encode(&(struct peer_msg){.type = PEER_CHANGE_REPLY, .change_reply = &r}, &b);
    struct frame f = sample_frame(&b, 0);
    assert_int_equal(peer_decode(&f, &out), 0);
    assert_int_equal(strlen(out.change_reply->why), sizeof r.why - 2);
    peer_msg_done(&out);
    (void)snprintf(c.address, sizeof c.address, "\xe9:1"); /* Latin-1 */
    b.size = 0;
    peer_encode(&(struct peer_msg){.type = PEER_CHANGE, .change = &c}, &b);
    f = sample_frame(&b, 0);
    assert_int_equal(peer_decode(&f, &out), 0);
    assert_string_equal(out.change->address, "?:1");
    peer_msg_done(&out);
    buf_done(&b);
}

/* ---- What must never be sent ---- */

static void test_encode_asserts_the_change(void **arg)
{
    struct peer_change c = {.seq = 1, .kind = PEER_CHANGE_ADD, .id = 5, .address = "h:1"};
    struct peer_msg msg = {.type = PEER_CHANGE, .change = &c};

    (void)arg;
    assert_false(sample_encode_fails(&msg));
    c.seq = 0;
    assert_true(sample_encode_fails(&msg));
    c.seq = 1;
    c.kind = PEER_CHANGE_REMOVE; /* with an address */
    assert_true(sample_encode_fails(&msg));
    c.address[0] = 0;
    assert_false(sample_encode_fails(&msg));
    c.id = 0;
    assert_true(sample_encode_fails(&msg));
    c.kind = PEER_CHANGE_TRANSFER;
    assert_false(sample_encode_fails(&msg));
    memset(c.address, 'a', sizeof c.address); /* no NUL */
    assert_true(sample_encode_fails(&msg));
}

static void test_encode_asserts_the_reply(void **arg)
{
    struct peer_change_reply r = {
        .seq = 1, .step = PEER_CHANGE_REFUSED, .code = -RD_EUNREACHABLE, .why = "no"};
    struct peer_msg msg = {.type = PEER_CHANGE_REPLY, .change_reply = &r};

    (void)arg;
    assert_false(sample_encode_fails(&msg));
    r.step = PEER_CHANGE_DONE; /* with a code */
    assert_true(sample_encode_fails(&msg));
    r.code = 0;
    assert_false(sample_encode_fails(&msg));
    r.step = PEER_CHANGE_REFUSED;
    assert_true(sample_encode_fails(&msg));
    r.code = RD_EUNREACHABLE; /* not negated */
    assert_true(sample_encode_fails(&msg));
    r.code = -5;
    assert_true(sample_encode_fails(&msg));
    r.code = -RD_EUNREACHABLE;
    r.role = (enum raft_role)(RAFT_VOTER + 1);
    assert_true(sample_encode_fails(&msg));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_change),
        cmocka_unit_test(test_golden_change_reply),
        cmocka_unit_test(test_change_fields),
        cmocka_unit_test(test_change_reply_fields),
        cmocka_unit_test(test_reply_with_an_unknown_number),
        cmocka_unit_test(test_text_is_mended),
        cmocka_unit_test(test_encode_asserts_the_change),
        cmocka_unit_test(test_encode_asserts_the_reply),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
