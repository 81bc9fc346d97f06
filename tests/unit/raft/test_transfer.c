/* transfer: handing leadership over, both sides, through the header. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "raft/raft.h"
#include "rig.h"

static int ask(struct rig *g, raft_id target)
{
    rig_step(g, &(struct raft_event){.type = RAFT_EV_TRANSFER, .transfer = {.target = target}});
    int code = g->fx.request_code;
    assert_int_equal(raft_step(g->r, g->now, &(struct raft_event){.type = RAFT_EV_FLUSH}, &g->fx),
                     0);
    return code;
}

/* The first message of a type among what was sent. */
static struct raft_msg sent(const struct rig *g, enum raft_msg_type type)
{
    for (uint32_t i = 0; i < g->fx.msgs_count; i++) {
        if (g->fx.msgs[i].msg.type == type) {
            return g->fx.msgs[i].msg;
        }
    }
    return (struct raft_msg){0};
}

static void the_target_is_told_when_it_has_everything(void **state)
{
    (void)state;
    struct raft_view v;
    struct rig g;

    rig_lead(&g);
    assert_int_equal(ask(&g, 0), 0);
    assert_int_equal(g.fx.transfer_target, 2); /* node 3 has never been heard */
    struct raft_msg m = sent(&g, RAFT_MSG_TIMEOUT_NOW);
    assert_int_equal(m.to, 2);
    assert_int_equal(m.term, 2);
    assert_int_equal(m.index, 2);
    assert_int_equal(m.log_term, 2);
    assert_int_equal(m.hold_ms, 0);
    raft_view_get(g.r, &v);
    assert_int_equal(v.state, RAFT_LEADER);
    assert_int_equal(v.transfer, 2);
    assert_true(v.transfer_holds);
    assert_true(v.transfer_sent);
    assert_int_equal(raft_lease_remaining(g.r, g.now), 0);
    assert_int_equal(raft_claim_remaining(g.r, g.now), 0);
    rig_done(&g); /* in the middle of it */
}

/* Three heartbeats that nobody answers. */
static void beat_in_vain(struct rig *g)
{
    for (int i = 0; i < 3; i++) {
        g->now += 100;
        rig_step(g, &(struct raft_event){.type = RAFT_EV_TICK});
    }
}

static void writes_are_held_and_go_on(void **state)
{
    (void)state;
    struct blob *data = blob_copy("x", 1);
    const struct raft_event propose = {.type = RAFT_EV_PROPOSE, .propose = {.data = data}};
    struct rig g;

    rig_lead(&g);
    rig_step(&g, &propose); /* node 2 does not have it yet */
    assert_int_equal(ask(&g, 2), 0);
    assert_int_equal(sent(&g, RAFT_MSG_TIMEOUT_NOW).to, 0);
    rig_step(&g, &propose);
    assert_int_equal(g.fx.propose_code, -RD_ETRANSFER);
    beat_in_vain(&g);
    assert_false(g.fx.transfer_ended); /* an answer may be on its way */
    g.now += 1;
    rig_step(&g, &(struct raft_event){.type = RAFT_EV_TICK});
    assert_true(g.fx.transfer_ended);
    assert_int_equal(g.fx.transfer_code, -RD_EUNREACHABLE);
    rig_step(&g, &propose);
    assert_int_equal(g.fx.propose_code, 0);
    assert_true(raft_claim_remaining(g.r, g.now) > 0);
    blob_unref(data);
    rig_done(&g);
}

static void nobody_hands_over_to_who_cannot_lead(void **state)
{
    (void)state;
    struct rig g;

    rig_lead_alone(&g);
    assert_int_equal(ask(&g, 0), -RD_ENO_TARGET);
    assert_int_equal(ask(&g, 1), -RD_ENO_TARGET); /* itself */
    assert_int_equal(ask(&g, 9), -RD_ENOT_FOUND);
    assert_int_equal(g.fx.transfer_target, 0);
    rig_done(&g);
    rig_lead(&g);
    assert_int_equal(ask(&g, 3), -RD_ENOT_READY); /* it has had no time to answer */
    beat_in_vain(&g);
    assert_int_equal(ask(&g, 3), -RD_EUNREACHABLE);
    assert_false(g.fx.transfer_ended); /* it never began */
    rig_done(&g);
    rig_found(&g, 3);
    assert_int_equal(ask(&g, 2), -RD_ENOT_LEADER);
    rig_done(&g);
}

/* A claim lives on for what is left of it, on a clock that may run faster than ours by 5/4. */
static void what_is_left_of_claims_is_passed_on(void **state)
{
    (void)state;
    static const struct {
        mono_ms told, later;
        uint32_t hold;
    } table[] = {{400, 0, 501}, {400, 100, 376}, {100, 99, 2}, {100, 100, 0}, {1, 2, 0}};

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct rig g;

        rig_lead(&g);
        raft_claim_told(g.r, g.now + table[i].told);
        raft_claim_told(g.r, g.now + table[i].told / 2); /* an older one takes nothing back */
        g.now += table[i].later;
        assert_int_equal(ask(&g, 2), 0);
        assert_int_equal(sent(&g, RAFT_MSG_TIMEOUT_NOW).hold_ms, table[i].hold);
        rig_done(&g);
    }
}

static struct raft_msg timeout_now(raft_term term, raft_index last, uint32_t hold_ms)
{
    return (struct raft_msg){.type = RAFT_MSG_TIMEOUT_NOW,
                             .from = 2,
                             .term = term,
                             .seq = 7,
                             .index = last,
                             .log_term = 1,
                             .hold_ms = hold_ms};
}

static void the_target_stands_with_the_flag_and_without_a_claim(void **state)
{
    (void)state;
    struct raft_view v;
    struct rig g;

    rig_found(&g, 3);
    rig_save(&g);
    rig_hear(&g, timeout_now(1, 1, 300));
    struct raft_msg reply = sent(&g, RAFT_MSG_TIMEOUT_NOW_REPLY);
    assert_int_equal(reply.to, 2);
    assert_false(reply.reject);
    assert_int_equal(reply.seq, 7);
    assert_int_equal(reply.term, 1);
    assert_true(sent(&g, RAFT_MSG_VOTE).transfer);
    raft_view_get(g.r, &v);
    assert_int_equal(v.state, RAFT_CANDIDATE);
    assert_int_equal(v.term, 2);
    assert_int_equal(v.claims_after, g.now + 300);
    rig_done(&g);
}

/* Whether it stands or not: what was said of claims is true. And a shorter word takes nothing back.
 */
static void claims_are_heeded_when_it_declines_too(void **state)
{
    (void)state;
    struct raft_view v;
    struct rig g;

    rig_found(&g, 3);
    rig_save(&g);
    rig_hear(&g, timeout_now(1, 5, 300));
    assert_true(sent(&g, RAFT_MSG_TIMEOUT_NOW_REPLY).reject);
    assert_int_equal(sent(&g, RAFT_MSG_TIMEOUT_NOW_REPLY).hint, RAFT_DECLINE_SHORT_LOG);
    rig_hear(&g, timeout_now(1, 5, 100));
    raft_view_get(g.r, &v);
    assert_int_equal(v.state, RAFT_FOLLOWER);
    assert_int_equal(v.claims_after, g.now + 300);
    rig_done(&g);
}

static mono_ms claims_after(const struct rig *g)
{
    struct raft_view v;

    raft_view_get(g->r, &v);
    return v.claims_after;
}

/* Only the word of who handed over, about this hand-over; and it never makes the wait longer. */
static void claims_are_taken_back_by_who_told_of_them(void **state)
{
    (void)state;
    static const struct {
        raft_id from;
        raft_term term;
        uint64_t seq;
        uint32_t hold, left;
    } table[] = {{3, 1, 7, 0, 300},   {9, 1, 7, 0, 300}, {2, 1, 8, 0, 300},
                 {2, 1, 6, 0, 300},   {2, 0, 7, 0, 300}, {2, 2, 7, 0, 300},
                 {2, 1, 7, 400, 300}, {2, 1, 7, 20, 20}, {2, 1, 7, 0, 0}};

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct raft_view before, after;
        struct rig g;

        rig_found(&g, 3);
        rig_save(&g);
        rig_hear(&g, timeout_now(1, 1, 300));
        raft_view_get(g.r, &before);
        for (int twice = 0; twice < 2; twice++) {
            rig_hear(&g, (struct raft_msg){.type = RAFT_MSG_CLAIMS_LEFT,
                                           .from = table[i].from,
                                           .term = table[i].term,
                                           .seq = table[i].seq,
                                           .hold_ms = table[i].hold});
            assert_int_equal(g.fx.msgs_count, 0);
            raft_view_get(g.r, &after);
            assert_int_equal(after.claims_after, g.now + table[i].left);
            assert_int_equal(after.term, before.term);
            assert_int_equal(after.state, before.state);
        }
        rig_done(&g);
    }
}

/* It may come before the TimeoutNow it is about, which may come twice: then more is waited for than
 * need be, or no more. */
static void claims_that_are_left_come_in_any_order(void **state)
{
    (void)state;
    struct raft_msg left = {
        .type = RAFT_MSG_CLAIMS_LEFT, .from = 2, .term = 1, .seq = 7, .hold_ms = 0};
    struct rig g;

    rig_found(&g, 3);
    rig_save(&g);
    rig_hear(&g, left);
    assert_int_equal(claims_after(&g), 0);
    rig_hear(&g, timeout_now(1, 5, 300)); /* declined: it stays in term 1 */
    assert_int_equal(claims_after(&g), g.now + 300);
    rig_hear(&g, left);
    assert_int_equal(claims_after(&g), g.now);
    rig_hear(&g, timeout_now(1, 5, 300));
    assert_int_equal(claims_after(&g), g.now);
    rig_done(&g);
}

static void release(struct rig *g)
{
    rig_step(g, &(struct raft_event){.type = RAFT_EV_CLAIMS_RELEASED});
}

/* Said when it is news, about the leadership that was given up, and once. */
static void holders_that_have_stopped_are_told_of(void **state)
{
    (void)state;
    static const struct {
        mono_ms told, held, later;
        uint32_t hold, left;
        bool news;
    } table[] = {{0, 400, 100, 501, 0, true},     {200, 400, 100, 501, 126, true},
                 {400, 200, 100, 501, 376, true}, {0, 400, 450, 501, 0, true},
                 {0, 0, 100, 0, 0, false},        {0, 400, 501, 501, 0, false},
                 {400, 0, 100, 501, 0, false}};

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct rig g;

        rig_lead(&g);
        raft_claim_told(g.r, table[i].told ? g.now + table[i].told : 0);
        raft_claim_held(g.r, table[i].held ? g.now + table[i].held : 0);
        assert_int_equal(ask(&g, 2), 0);
        struct raft_msg given = sent(&g, RAFT_MSG_TIMEOUT_NOW);
        assert_int_equal(given.hold_ms, table[i].hold);
        rig_hear(&g, (struct raft_msg){.type = RAFT_MSG_VOTE, /* a later term, not yet durable */
                                       .from = 2,
                                       .term = 7,
                                       .seq = 1,
                                       .index = 9,
                                       .log_term = 2,
                                       .transfer = true});
        g.now += table[i].later;
        release(&g);
        struct raft_msg left = sent(&g, RAFT_MSG_CLAIMS_LEFT);
        assert_int_equal(left.to, table[i].news ? 2 : 0);
        assert_int_equal(left.term, table[i].news ? 2 : 0);
        assert_int_equal(left.seq, table[i].news ? given.seq : 0);
        assert_int_equal(left.hold_ms, table[i].left);
        assert_false(table[i].news && g.fx.msgs[0].after_save);
        g.now += 1;
        release(&g);
        assert_int_equal(g.fx.msgs_count, 0);
        rig_done(&g);
    }
}

static void holders_that_stop_before_need_not_be_told_of(void **state)
{
    (void)state;
    struct rig g;

    rig_lead(&g);
    release(&g); /* nothing was held */
    raft_claim_held(g.r, g.now + 400);
    raft_claim_held(g.r, g.now + 200); /* an older one takes nothing back */
    raft_claim_told(g.r, g.now + 100);
    release(&g);
    assert_int_equal(g.fx.msgs_count, 0);
    assert_int_equal(ask(&g, 2), 0);
    assert_int_equal(sent(&g, RAFT_MSG_TIMEOUT_NOW).hold_ms, 126);
    rig_done(&g);
}

static void a_hand_over_ends_once(void **state)
{
    (void)state;
    struct raft_view v;
    struct rig g;

    rig_lead(&g);
    assert_int_equal(ask(&g, 2), 0);
    uint64_t seq = sent(&g, RAFT_MSG_TIMEOUT_NOW).seq;
    rig_hear(&g, (struct raft_msg){.type = RAFT_MSG_TIMEOUT_NOW_REPLY,
                                   .from = 2,
                                   .term = 2,
                                   .seq = seq,
                                   .reject = true,
                                   .hint = RAFT_DECLINE_COUNT + 5}); /* a reason of the future */
    assert_true(g.fx.transfer_ended);
    assert_int_equal(g.fx.transfer_code, -RD_ETRANSFER_FAILED);
    assert_string_equal(g.fx.transfer_why.text, "node # declined");
    raft_view_get(g.r, &v);
    assert_int_equal(v.state, RAFT_CANDIDATE);
    assert_int_equal(v.term, 3);
    assert_int_equal(v.transfer, 0);
    rig_save(&g);
    assert_false(g.fx.transfer_ended);
    rig_done(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_target_is_told_when_it_has_everything),
        cmocka_unit_test(writes_are_held_and_go_on),
        cmocka_unit_test(nobody_hands_over_to_who_cannot_lead),
        cmocka_unit_test(what_is_left_of_claims_is_passed_on),
        cmocka_unit_test(the_target_stands_with_the_flag_and_without_a_claim),
        cmocka_unit_test(claims_are_heeded_when_it_declines_too),
        cmocka_unit_test(claims_are_taken_back_by_who_told_of_them),
        cmocka_unit_test(claims_that_are_left_come_in_any_order),
        cmocka_unit_test(holders_that_have_stopped_are_told_of),
        cmocka_unit_test(holders_that_stop_before_need_not_be_told_of),
        cmocka_unit_test(a_hand_over_ends_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
