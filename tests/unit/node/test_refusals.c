/* A node that others refuse says who does, and what they said. */
#include "fixture.h"

#include <stdio.h>
#include <string.h>

static const char *reason(const struct rig *g, raft_id id)
{
    static struct node_public p;

    node_public_get(g->nodes[id], g->now, &p);
    return p.reason;
}

static void refuse(struct rig *g, raft_id id, raft_id by, int code, const char *why)
{
    struct peer_refusal refusal = {.code = code};

    (void)snprintf(refusal.why, sizeof refusal.why, "%s", why);
    node_refused(g->nodes[id], by, &refusal);
}

static void a_forming_node_says_who_refuses_it(void **state)
{
    (void)state;
    struct peer_hello hello;
    struct rig g;

    rig_init(&g, 3, 3);
    assert_string_equal(reason(&g, 3), "forming: node 1 at h1:7400 does not answer yet");
    refuse(&g, 3, 1, -RD_EINVALID, "node 3 is bound to store x: remove it");
    assert_string_equal(reason(&g, 3), "forming: node 1 at h1:7400 refused this node: node 3 is "
                                       "bound to store x: remove it");
    refuse(&g, 3, 2, -RD_EREMOVED, "");
    refuse(&g, 3, 1, -RD_EINVALID, "the same in other words"); /* one text stays */
    assert_non_null(strstr(reason(&g, 3), "node 3 is bound to store x: remove it"));
    refuse(&g, 3, 1, -RD_EWRONG_CLUSTER, "another reason");
    assert_string_equal(reason(&g, 3),
                        "forming: node 1 at h1:7400 refused this node: another reason");
    node_hello_get(g.nodes[1], &hello);
    node_hello(g.nodes[3], &hello); /* it accepts us now */
    assert_non_null(strstr(reason(&g, 3), "forming: node 2 at h2:7400 refused this node: "));
    assert_true(strlen(strstr(reason(&g, 3), "this node: ")) > strlen("this node: "));
    node_hello_get(g.nodes[2], &hello);
    node_hello(g.nodes[3], &hello);
    assert_null(strstr(reason(&g, 3), "refused"));
    assert_in_range(rig_leader(&g), 1, 3); /* words change nothing */
    rig_done(&g);
}

static void other_nodes_outside_say_it_too(void **state)
{
    (void)state;
    struct peer_hello hello;
    struct rig g;

    rig_init(&g, 3, 0);
    assert_string_equal(reason(&g, 1), "in no cluster: bootstrap it, or add it from a member");
    refuse(&g, 1, 7, -RD_EWRONG_CLUSTER, "cluster.name is 'a' here, 'b' there");
    assert_string_equal(reason(&g, 1), "in no cluster: node 7 refused this node: cluster.name is "
                                       "'a' here, 'b' there");
    /* A cluster that counts this node among its members, but not the one that speaks. */
    node_hello_get(g.nodes[2], &hello);
    hello.cluster.bytes[0] = 1;
    hello.bindings_count = 1;
    hello.bindings[0].id = 3;
    hello.bindings[0].store = rig_config(3, 0).raft.store;
    node_begin(g.nodes[3], g.now, 0);
    node_hello(g.nodes[3], &hello);
    node_link_up(g.nodes[3], 2);
    (void)node_end(g.nodes[3]);
    node_out_clear(g.nodes[3]);
    assert_string_equal(reason(&g, 3), "joining: waiting for the leader's log");
    refuse(&g, 3, 2, -RD_EINVALID, "no");
    assert_string_equal(reason(&g, 3), "joining: node 2 at h2:7400 refused this node: no");
    rig_done(&g);
}

static void a_member_without_a_leader_says_it(void **state)
{
    (void)state;
    struct rig g;

    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    raft_id follower = leader % 3 + 1;
    refuse(&g, follower, leader, -RD_EREMOVED, "node was removed at index 9");
    assert_string_equal(reason(&g, follower), ""); /* it hears the leader: all is well */
    rig_cut(&g, follower, true);
    rig_run(&g, 2000);
    refuse(&g, follower, leader, -RD_EREMOVED, "node was removed at index 9");
    assert_non_null(strstr(reason(&g, follower), "electing: no leader heard for "));
    assert_non_null(
        strstr(reason(&g, follower), " refused this node: node was removed at index 9"));
    rig_done(&g);
}

static void the_longest_words_fit_and_there_is_an_end_of_them(void **state)
{
    (void)state;
    char why[PEER_WHY_SIZE];
    struct rig g;
    size_t size;

    memset(why, 'w', sizeof why - 1);
    why[sizeof why - 1] = 0;
    rig_init(&g, 1, 0);
    for (raft_id id = 1001; id <= 1040; id++) {
        refuse(&g, 1, id, -RD_EINVALID, why);
    }
    assert_non_null(strstr(reason(&g, 1), "node 1001 refused"));
    refuse(&g, 1, 1041, -RD_EINVALID, why); /* the oldest makes room */
    assert_non_null(strstr(reason(&g, 1), "node 1002 refused"));
    size = strlen(reason(&g, 1));
    assert_string_equal(reason(&g, 1) + size - strlen(why), why);
    rig_done(&g);
}

/* It was removed and added again with other data; who is behind knows the earlier one, or the later. */
static void only_a_later_life_is_believed(void **state)
{
    (void)state;
    struct rig g;
    struct peer_hello hello;
    struct peer_refusal why = {0};

    rig_grow(&g, 3, 3);
    rig_run(&g, 300);
    node_hello_get(g.nodes[3], &hello);
    assert_int_equal(hello.session, rig_member(&g, 1, 3)->session);
    assert_int_equal(node_hello_check(g.nodes[1], &hello, &why), 0);
    hello.store.bytes[15] ^= 1;
    for (uint32_t i = 0; i < hello.bindings_count; i++) {
        hello.bindings[i].store = hello.bindings[i].id == 3 ? hello.store : hello.bindings[i].store;
    }
    hello.session++;
    assert_int_equal(node_hello_check(g.nodes[1], &hello, &why), 0);
    hello.session -= 2;
    assert_int_equal(node_hello_check(g.nodes[1], &hello, &why), -RD_EINVALID);
    assert_non_null(strstr(why.why, "its data directory was replaced"));
    hello.session++; /* one membership made two of them: no */
    assert_int_equal(node_hello_check(g.nodes[1], &hello, &why), -RD_EINVALID);
    rig_done(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_a_later_life_is_believed),
        cmocka_unit_test(a_forming_node_says_who_refuses_it),
        cmocka_unit_test(other_nodes_outside_say_it_too),
        cmocka_unit_test(a_member_without_a_leader_says_it),
        cmocka_unit_test(the_longest_words_fit_and_there_is_an_end_of_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
