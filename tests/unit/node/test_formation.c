/* Formation: from `member` lists, by bootstrap, and never over data. */
#include "fixture.h"

#include <string.h>

static void three_listed_nodes_form_one_cluster(void **state)
{
    (void)state;
    struct rig g;
    struct raft_view first;

    rig_init(&g, 3, 3);
    assert_in_range(rig_leader(&g), 1, 3);
    raft_view_get(node_raft(g.nodes[1]), &first);
    for (raft_id id = 1; id <= 3; id++) {
        struct raft_view v;
        raft_view_get(node_raft(g.nodes[id]), &v);
        assert_true(uuid_equal(&v.cluster, &first.cluster));
        assert_int_equal(raft_membership(node_raft(g.nodes[id]))->members_count, 3);
    }
    rig_done(&g);
}

static void nobody_founds_while_one_is_missing(void **state)
{
    (void)state;
    struct rig g;
    struct node_public p;

    rig_init(&g, 3, 3);
    rig_cut(&g, 3, true);
    rig_run(&g, 3000);
    node_public_get(g.nodes[1], g.now, &p);
    assert_int_equal(p.state, NODE_FORMING);
    assert_string_equal(p.reason, "forming: node 3 at h3:7400 does not answer yet");
    /* To bootstrap it or to add it, as a node without a list, would be no way out. */
    struct peer_change add = rig_add(3);
    rig_write(&g, 2, 1, "k", "v", 1000);
    rig_read(&g, 2, 2, 1000);
    rig_change(&g, 2, 3, &add, 1000);
    for (uint64_t token = 1; token <= 3; token++) {
        assert_code(rig_wait(&g, token), -RD_EUNCONFIGURED);
        assert_string_equal(rig_answer(&g, token)->message, p.reason);
    }
    rig_cut(&g, 3, false);
    assert_in_range(rig_leader(&g), 1, 3);
    rig_done(&g);
}

static void lists_must_be_the_same(void **state)
{
    (void)state;
    struct rig g;
    struct node_public p;

    rig_init(&g, 3, 3);
    struct node_config other = rig_config(3, 3);
    memcpy(other.founders[1].address, "elsewhere:1", sizeof "elsewhere:1");
    rig_replace(&g, 3, &other);
    rig_run(&g, 3000);
    node_public_get(g.nodes[1], g.now, &p);
    assert_int_equal(p.state, NODE_FORMING);
    assert_string_equal(p.reason, "forming: node 3 at h3:7400 has another member list");
    rig_done(&g);
}

static void a_lost_founder_is_not_forked_away(void **state)
{
    (void)state;
    struct rig g;
    struct node_public p;
    struct peer_refusal why;
    struct peer_hello hello;

    rig_init(&g, 3, 3);
    (void)rig_leader(&g);
    /* Node 1 comes back with an empty disk: a new store id. */
    struct node_config c = rig_config(1, 3);
    c.raft.store.bytes[15] = 99;
    rig_replace(&g, 1, &c);
    node_hello_get(g.nodes[1], &hello);
    assert_int_equal(node_hello_check(g.nodes[2], &hello, &why), -RD_EINVALID);
    assert_non_null(strstr(why.why, "data directory was replaced"));
    node_hello_get(g.nodes[2], &hello);
    assert_int_equal(node_hello_check(g.nodes[1], &hello, &why), -RD_EINVALID);
    rig_run(&g, 5000);
    node_public_get(g.nodes[1], g.now, &p);
    assert_int_equal(p.state, NODE_FORMING); /* it founds nothing, it joins nothing */
    node_public_get(g.nodes[2], g.now, &p);
    assert_in_range(p.leader, 2, 3);
    /* Once they have removed its id they talk to it, and it says what is to be done. */
    struct peer_change remove = {.kind = PEER_CHANGE_REMOVE, .id = 1};
    assert_code(rig_do(&g, 2, &remove), 0);
    rig_run(&g, 3000);
    node_public_get(g.nodes[1], g.now, &p);
    assert_string_equal(p.reason,
                        "forming: node 2 at h2:7400 has data already and does not know this node: "
                        "to be in its cluster, add this node there: raftctl add-server 1 h1:7400");
    struct peer_change add = rig_add(1);
    assert_code(rig_do(&g, 2, &add), 0);
    assert_int_equal(rig_public(&g, 1).role, RAFT_VOTER);
    rig_done(&g);
}

/* Found by the simulator: an empty node that had just joined a cluster was counted for another one. */
static void who_has_a_cluster_founds_no_other(void **state)
{
    (void)state;
    struct rig g;
    struct node_public p;
    struct peer_hello hello;

    rig_init(&g, 3, 3);
    (void)rig_leader(&g);
    rig_cut(&g, 2, true);
    rig_cut(&g, 3, true);
    struct node_config c = rig_config(1, 3);
    c.raft.store.bytes[15] = 99;
    rig_replace(&g, 1, &c);
    for (raft_id id = 2; id <= 3; id++) {
        node_hello_get(g.nodes[id], &hello);
        assert_true(uuid_is_set(&hello.cluster));
        assert_string_equal(hello.member_list, "");
        /* As node 1 hears it: it has joined, got no entry yet, and shows its cluster to members. */
        hello.cluster = (struct uuid){{0}};
        hello.bindings_count = 0;
        hello.empty = true;
        node_begin(g.nodes[1], g.now, 0);
        node_hello(g.nodes[1], &hello);
        node_link_up(g.nodes[1], id);
    }
    rig_run(&g, 3000);
    node_public_get(g.nodes[1], g.now, &p);
    assert_int_equal(p.state, NODE_FORMING);
    assert_string_equal(p.reason,
                        "forming: node 2 at h2:7400 has no member list, or is in a cluster "
                        "already that does not know this node");
    rig_done(&g);
}

static void bootstrap_makes_one_voter_and_may_be_repeated(void **state)
{
    (void)state;
    struct rig g;
    struct node_public p;

    rig_init(&g, 1, 0);
    rig_run(&g, 10);
    node_public_get(g.nodes[1], g.now, &p);
    assert_int_equal(p.state, NODE_UNCONFIGURED);
    rig_write(&g, 1, 5, "k", "v", 1000);
    assert_int_equal(rig_answer(&g, 5)->code, -RD_EUNCONFIGURED);
    assert_string_equal(rig_answer(&g, 5)->message,
                        "in no cluster: bootstrap it, or add it from a member");
    node_begin(g.nodes[1], g.now, 0);
    node_bootstrap(g.nodes[1], 6, g.now + 1000);
    rig_run(&g, 20);
    assert_int_equal(rig_answer(&g, 6)->code, 0);
    node_public_get(g.nodes[1], g.now, &p);
    assert_true(p.is_leader);
    node_bootstrap(g.nodes[1], 7, g.now + 1000);
    rig_run(&g, 5);
    assert_int_equal(rig_answer(&g, 7)->code, 0);
    rig_done(&g);
}

static void bootstrap_is_refused_where_it_would_fork(void **state)
{
    (void)state;
    struct rig g;

    rig_init(&g, 3, 3);
    node_begin(g.nodes[2], g.now, 0);
    node_bootstrap(g.nodes[2], 1, g.now + 1000); /* it is forming */
    (void)rig_leader(&g);
    assert_int_equal(rig_answer(&g, 1)->code, -RD_ENOT_READY);
    node_bootstrap(g.nodes[2], 2, g.now + 1000); /* it is a member */
    rig_run(&g, 5);
    assert_int_equal(rig_answer(&g, 2)->code, -RD_EALREADY_MEMBER);
    rig_done(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_listed_nodes_form_one_cluster),
        cmocka_unit_test(nobody_founds_while_one_is_missing),
        cmocka_unit_test(lists_must_be_the_same),
        cmocka_unit_test(a_lost_founder_is_not_forked_away),
        cmocka_unit_test(who_has_a_cluster_founds_no_other),
        cmocka_unit_test(bootstrap_makes_one_voter_and_may_be_repeated),
        cmocka_unit_test(bootstrap_is_refused_where_it_would_fork),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
