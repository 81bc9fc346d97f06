/* Nodes of two versions in one cluster: what both speak, and what is not said to the older one. */
#include "fixture.h"

#include <stdio.h>

static struct peer_hello offering(uint16_t min, uint16_t max)
{
    return (struct peer_hello){.protocol_min = min, .protocol_max = max};
}

static void the_highest_that_both_speak(void **state)
{
    static const struct {
        uint16_t min, max, both;
    } cases[] = {
        {1, 1, 1},
        {1, PEER_PROTOCOL_MAX, PEER_PROTOCOL_MAX},
        {1, UINT16_MAX, PEER_PROTOCOL_MAX},
        {PEER_PROTOCOL_MAX, PEER_PROTOCOL_MAX + 1, PEER_PROTOCOL_MAX},
        {PEER_PROTOCOL_MAX + 1, PEER_PROTOCOL_MAX + 1, 0},
        {PEER_PROTOCOL_MAX + 1, UINT16_MAX, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct peer_hello theirs = offering(cases[i].min, cases[i].max);
        assert_int_equal(peer_protocol(&theirs), cases[i].both);
    }
    for (int type = RAFT_MSG_PRE_VOTE; type < RAFT_MSG_TYPE_COUNT; type++) {
        assert_int_equal(peer_protocol_has(1, (enum raft_msg_type)type),
                         type != RAFT_MSG_CLAIMS_LEFT);
        assert_true(peer_protocol_has(PEER_PROTOCOL_MAX, (enum raft_msg_type)type));
    }
}

static void who_speaks_nothing_in_common_is_told_why(void **state)
{
    struct peer_hello hello;
    struct peer_refusal refusal;
    struct rig g;

    (void)state;
    rig_init(&g, 3, 3);
    (void)rig_leader(&g);
    node_hello_get(g.nodes[2], &hello);
    hello.protocol_min = PEER_PROTOCOL_MAX + 1;
    hello.protocol_max = PEER_PROTOCOL_MAX + 2;
    (void)snprintf(hello.version, sizeof hello.version, "9.9");
    assert_int_equal(node_hello_check(g.nodes[1], &hello, &refusal), -RD_EINVALID);
    assert_string_equal(refusal.why,
                        "node 2 (raftd 9.9) speaks protocol 3 to 4, node 1 (raftd test) 1 to 2: "
                        "upgrade the older one, a release at a time");
    hello.protocol_min = PEER_PROTOCOL_MAX;
    assert_int_equal(node_hello_check(g.nodes[1], &hello, &refusal), 0);
    rig_done(&g);
}

/* It has no word for claims that are left: it is sent none, and waits until all have lapsed. */
static bool drop_claims_left(struct rig *g, raft_id from, raft_id to, const struct peer_msg *msg)
{
    (void)g, (void)from, (void)to;
    return msg->type == PEER_RAFT && msg->raft.type == RAFT_MSG_CLAIMS_LEFT;
}

static void hand_over_with_a_holder(struct rig *g, uint16_t protocol_of_2)
{
    struct peer_change change = {.kind = PEER_CHANGE_TRANSFER, .id = 2};

    rig_grow(g, 3, 3);
    g->protocol[2] = protocol_of_2;
    rig_kill(g, 2);
    rig_restart(g, 2);
    rig_run(g, 1000);
    g->drop = drop_claims_left; /* only to count them */
    node_claim_held(g->nodes[1]);
    assert_int_equal(rig_do(g, 1, &change)->code, 0);
    rig_run(g, 10);
    node_begin(g->nodes[1], g->now, 0);
    node_claims_released(g->nodes[1]);
    rig_run(g, 5);
}

static void the_older_one_is_not_sent_what_it_does_not_have(void **state)
{
    struct rig g;

    (void)state;
    hand_over_with_a_holder(&g, PEER_PROTOCOL_MAX);
    assert_int_equal(g.dropped, 1);
    rig_done(&g);
    hand_over_with_a_holder(&g, 1);
    assert_int_equal(g.dropped, 0);
    assert_int_equal(node_peer_hello(g.nodes[1], 2)->protocol_max, 1);
    assert_false(rig_public(&g, 2).is_leader);
    rig_run(&g, 600);
    assert_true(rig_public(&g, 2).is_leader);
    rig_done(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_highest_that_both_speak),
        cmocka_unit_test(who_speaks_nothing_in_common_is_told_why),
        cmocka_unit_test(the_older_one_is_not_sent_what_it_does_not_have),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
