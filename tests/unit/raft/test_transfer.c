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
    g.now += 301;
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
    g.now += 3 * 100;
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
        cmocka_unit_test(a_hand_over_ends_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
