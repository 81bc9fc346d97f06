/* Reads and claims: never before a majority confirmed, and what is shown is true when it is shown.
 */
#include "fixture.h"

#include <string.h>

static void every_node_serves_linearizable_reads(void **state)
{
    (void)state;
    struct rig g;

    rig_init(&g, 3, 3);
    (void)rig_leader(&g);
    rig_write(&g, 1, 1, "k", "v", 1000);
    rig_run(&g, 100);
    for (raft_id id = 1; id <= 3; id++) {
        rig_read(&g, id, 10 + id, 1000);
        rig_run(&g, 50);
        assert_int_equal(rig_answer(&g, 10 + id)->code, 0);
        struct state_kv kv;
        assert_true(state_get(node_state(g.nodes[id]), "k", 1, &kv));
    }
    rig_done(&g);
}

static void a_leader_without_its_majority_serves_nothing(void **state)
{
    (void)state;
    struct rig g;
    struct node_public p;

    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    rig_cut(&g, leader, true);
    rig_run(&g, 401); /* the lease is 0.8 T */
    node_public_get(g.nodes[leader], g.now, &p);
    assert_false(p.is_leader);
    assert_int_equal(p.leader, 0);
    assert_int_equal(p.fence, 0);
    rig_read(&g, leader, 1, 2000);
    rig_run(&g, 1000);
    assert_null(rig_answer(&g, 1));
    rig_run(&g, 1100);
    assert_true(rig_answer(&g, 1)->code < 0);
    rig_done(&g);
}

static void after_a_pause_nothing_is_claimed(void **state)
{
    (void)state;
    struct rig g;
    struct node_public p;

    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    node_public_get(g.nodes[leader], g.now, &p);
    assert_true(p.is_leader);
    g.now += 10000;
    node_public_get(g.nodes[leader], g.now, &p);
    assert_false(p.is_leader);
    node_begin(g.nodes[leader], g.now, 0);
    node_read(g.nodes[leader], 1, g.now + 1000);
    struct node_out *out = node_end(g.nodes[leader]);
    assert_int_equal(out->answers_count, 0); /* first it proves its quorum again */
    node_public_get(g.nodes[leader], g.now, &p);
    assert_false(p.is_leader);
    node_out_clear(g.nodes[leader]);
    rig_done(&g);
}

static void claims_never_overlap(void **state)
{
    (void)state;
    struct rig g;
    mono_ms claimed_until = 0;

    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    rig_cut(&g, leader, true);
    for (int i = 0; i < 3000; i++) {
        struct node_public p;
        rig_run(&g, 1);
        node_public_get(g.nodes[leader], g.now, &p);
        if (p.is_leader) {
            claimed_until = g.now + p.lease_remaining_ms;
        }
        for (raft_id id = 1; id <= 3; id++) {
            node_public_get(g.nodes[id], g.now, &p);
            assert_false(p.is_leader && id != leader && g.now < claimed_until);
        }
    }
    assert_true(claimed_until > 0);
    rig_done(&g);
}

/* A member with a shorter election timeout may vote earlier: the lease has to end before that. */
static void the_shortest_timeout_among_the_members_bounds_the_lease(void **state)
{
    (void)state;
    struct peer_hello hello;
    struct node_public p;
    struct rig g;

    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    node_hello_get(g.nodes[leader % 3 + 1], &hello);
    assert_int_equal(hello.election_timeout_ms, 500);
    hello.election_timeout_ms = 300;
    node_hello(g.nodes[leader], &hello);
    node_public_get(g.nodes[leader], g.now, &p);
    assert_true(p.is_leader);
    assert_in_range(p.lease_remaining_ms, 1, 240);
    hello.id = 99; /* a stranger does not vote: its timeout is its own business */
    hello.election_timeout_ms = 1;
    node_hello(g.nodes[leader], &hello);
    node_public_get(g.nodes[leader], g.now, &p);
    assert_true(p.is_leader);
    rig_done(&g);
}

static void targets_are_the_other_members(void **state)
{
    (void)state;
    struct node_target targets[NODE_TARGETS_MAX];
    struct rig g;

    rig_init(&g, 3, 3);
    assert_int_equal(node_targets(g.nodes[2], targets), 2);
    (void)rig_leader(&g);
    assert_int_equal(node_targets(g.nodes[2], targets), 2);
    assert_int_equal(targets[0].id, 1);
    assert_string_equal(targets[1].address, "h3:7400");
    rig_done(&g);
}

static void hellos_that_do_not_fit_are_refused_with_a_reason(void **state)
{
    (void)state;
    struct peer_hello hello;
    struct peer_refusal why;
    struct rig g;

    rig_init(&g, 3, 3);
    (void)rig_leader(&g);
    node_hello_get(g.nodes[2], &hello);
    assert_int_equal(node_hello_check(g.nodes[1], &hello, &why), 0);
    struct peer_hello bad = hello;
    bad.id = 1;
    assert_int_equal(node_hello_check(g.nodes[1], &bad, &why), -RD_EINVALID);
    assert_string_equal(why.why, "two nodes have node.id 1");
    bad = hello;
    bad.cluster.bytes[3] ^= 1;
    assert_int_equal(node_hello_check(g.nodes[1], &bad, &why), -RD_EWRONG_CLUSTER);
    bad = hello;
    bad.store.bytes[3] ^= 1;
    assert_int_equal(node_hello_check(g.nodes[1], &bad, &why), -RD_EINVALID);
    bad = hello;
    bad.id = 9;
    bad.bindings[0].store.bytes[3] ^=
        1; /* it knows node 1 under another store: its log is behind */
    assert_int_equal(node_hello_check(g.nodes[1], &bad, &why), 0);
    rig_done(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_node_serves_linearizable_reads),
        cmocka_unit_test(a_leader_without_its_majority_serves_nothing),
        cmocka_unit_test(after_a_pause_nothing_is_claimed),
        cmocka_unit_test(claims_never_overlap),
        cmocka_unit_test(the_shortest_timeout_among_the_members_bounds_the_lease),
        cmocka_unit_test(targets_are_the_other_members),
        cmocka_unit_test(hellos_that_do_not_fit_are_refused_with_a_reason),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
