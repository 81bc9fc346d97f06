/* Low on space: who has room leads, what grows is refused where nobody has, the rest goes on. */
#include "fixture.h"

#include "base/mem.h"

enum { MIB = 1 << 20 };

static void set_room(struct rig *g, raft_id id, bool low, uint64_t log_reserve)
{
    const struct node_room room = {.low = low,
                                   .path = "/data/log",
                                   .free_bytes = 4321,
                                   .reserve_bytes = log_reserve + MIB,
                                   .log_reserve_bytes = log_reserve};

    node_begin(g->nodes[id], g->now, 0);
    node_set_room(g->nodes[id], &room);
    rig_run(g, 1);
}

static void set_low(struct rig *g, raft_id id, bool low)
{
    set_room(g, id, low, low ? MIB : 64 * MIB);
}

static struct blob *txn_of(const struct state_op *ops, uint32_t count, bool as_else)
{
    struct state_txn *txn = mem_zalloc(sizeof *txn);
    struct buf bytes = BUF_INIT;

    if (as_else) {
        txn->compares_count = 1;
        txn->compares[0] = (struct state_compare){.type = STATE_COMPARE_TERM, .number = 1};
        txn->else_count = count;
        memcpy(txn->else_ops, ops, count * sizeof *ops);
    } else {
        txn->ops_count = count;
        memcpy(txn->ops, ops, count * sizeof *ops);
    }
    assert_int_equal(state_txn_encode(txn, &bytes), 0);
    struct blob *blob = blob_copy(bytes.data, bytes.size);
    buf_done(&bytes);
    mem_free(txn);
    return blob;
}

static void write_txn(struct rig *g, raft_id id, uint64_t token, struct blob *txn)
{
    node_begin(g->nodes[id], g->now, 0);
    node_write(g->nodes[id], token, txn, g->now + 5000);
    rig_run(g, 1);
}

static const struct state_op del = {
    .type = STATE_OP_DELETE, .key = (const uint8_t *)"k", .key_size = 1};
static const struct state_op put = {.type = STATE_OP_PUT,
                                    .key = (const uint8_t *)"k",
                                    .key_size = 1,
                                    .value = (const uint8_t *)"v",
                                    .value_size = 1};

static raft_id next_of(raft_id id)
{
    return id % 3 + 1;
}

static void all_low(struct rig *g, bool low)
{
    for (raft_id id = 1; id <= g->count; id++) {
        set_low(g, id, low);
    }
}

static void a_full_cluster_refuses_what_grows(void **state)
{
    (void)state;
    struct rig g;

    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    rig_run(&g, 300);
    for (raft_id id = 1; id <= 3; id++) { /* the leader last: it never finds room */
        if (id != leader) {
            set_low(&g, id, true);
        }
    }
    set_low(&g, leader, true);
    rig_write(&g, leader, 1, "k", "v", 5000);
    rig_write(&g, next_of(leader), 2, "k", "v", 5000);
    rig_run(&g, 50);
    assert_code(rig_answer(&g, 1), -RD_ENO_SPACE);
    assert_says(rig_answer(&g, 1),
                "the disk is low, and no voter in reach has room: 4321 bytes are "
                "free at /data/log, 2097152 in reserve");
    assert_says(rig_answer(&g, 1), "deletes still work");
    assert_code(rig_answer(&g, 2), -RD_ENO_SPACE);
    assert_says(rig_answer(&g, 2),
                "its disk is low, and no voter in its reach has room: 4321 bytes");
    assert_says(rig_answer(&g, 2), "2097152 in reserve: free space there; deletes still work");
    write_txn(&g, leader, 3, txn_of(&del, 1, false));
    write_txn(&g, next_of(leader), 4, txn_of(&del, 1, false));
    write_txn(&g, leader, 5, txn_of((const struct state_op[]){del, put}, 2, false));
    write_txn(&g, leader, 6, txn_of(&put, 1, true)); /* perhaps it would */
    rig_run(&g, 50);
    assert_code(rig_answer(&g, 3), 0);
    assert_code(rig_answer(&g, 4), 0);
    assert_code(rig_answer(&g, 5), -RD_ENO_SPACE);
    assert_code(rig_answer(&g, 6), -RD_ENO_SPACE);
    rig_run(&g, 10000);
    assert_int_equal(rig_leader(&g), leader); /* there is nobody better */
    all_low(&g, false);
    rig_write(&g, next_of(leader), 7, "k", "v", 5000);
    rig_run(&g, 50);
    assert_code(rig_answer(&g, 7), 0);
    rig_done(&g);
}

static void a_leader_without_room_gives_way_to_one_with(void **state)
{
    (void)state;
    struct rig g;

    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    raft_id other = next_of(leader), roomy = next_of(other);
    rig_run(&g, 300);
    raft_term term = rig_view(&g, leader).term;
    set_low(&g, other, true);
    assert_int_equal(rig_view(&g, leader).term, term); /* one full follower is nobody's trouble */
    set_low(&g, leader, true);
    rig_write(&g, leader, 1, "a", "v", 5000);
    rig_write(&g, other, 2, "b", "v", 5000);
    rig_run(&g, 100);
    assert_int_equal(rig_leader(&g), roomy);
    assert_int_equal(rig_view(&g, roomy).term, term + 1);
    assert_code(rig_answer(&g, 1), 0);
    assert_code(rig_answer(&g, 2), 0);
    rig_done(&g);
}

/* The successor knows at once, and hands on if it has to. */
static void a_successor_that_is_low_too_hands_on(void **state)
{
    (void)state;
    struct rig g;

    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    raft_id other = next_of(leader), roomy = next_of(other);
    rig_run(&g, 300);
    set_low(&g, leader, true);
    rig_run(&g, 100);
    raft_id second = rig_leader(&g);
    assert_int_not_equal(second, leader);
    set_low(&g, second, true);
    rig_run(&g, 100);
    raft_id third = second == other ? roomy : other;
    assert_int_equal(rig_leader(&g), third);
    /* And with nobody left: */
    raft_term term = rig_view(&g, third).term;
    set_low(&g, third, true);
    rig_run(&g, 10000);
    assert_int_equal(rig_leader(&g), third);
    assert_int_equal(rig_view(&g, third).term, term);
    rig_done(&g);
}

static void disks_that_are_low_in_turn_do_not_toss_the_leadership(void **state)
{
    (void)state;
    struct rig g;

    rig_init(&g, 3, 3);
    (void)rig_leader(&g);
    rig_run(&g, 300);
    raft_term term = rig_view(&g, 1).term;
    for (int i = 0; i < 100; i++) { /* for ten seconds, whoever leads is low, the others are not */
        raft_id leader = rig_leader(&g);
        for (raft_id id = 1; id <= 3; id++) {
            set_low(&g, id, id == leader);
        }
        rig_run(&g, 100);
    }
    assert_in_range(rig_view(&g, 1).term, term + 3, term + 12); /* each once in ten timeouts */
    rig_done(&g);
}

/* What is kept for terms and votes is not for deletes. */
static void the_last_of_the_reserve_is_not_for_clients(void **state)
{
    (void)state;
    struct rig g;

    rig_init(&g, 1, 1);
    (void)rig_leader(&g);
    set_room(&g, 1, true, NODE_ROOM_KEPT_BYTES + 1000);
    write_txn(&g, 1, 1, txn_of(&del, 1, false));
    rig_run(&g, 10);
    assert_code(rig_answer(&g, 1), 0);
    set_room(&g, 1, true, NODE_ROOM_KEPT_BYTES);
    write_txn(&g, 1, 2, txn_of(&del, 1, false));
    rig_run(&g, 10);
    assert_code(rig_answer(&g, 2), -RD_ENO_SPACE);
    assert_says(rig_answer(&g, 2), "the rest is kept for elections");
    write_txn(&g, 1, 3, txn_of(&put, 1, false)); /* nor does it say that deletes work */
    rig_run(&g, 10);
    assert_code(rig_answer(&g, 3), -RD_ENO_SPACE);
    assert_says(rig_answer(&g, 3), "the rest is kept for elections");
    rig_done(&g);
}

static void a_learner_or_one_out_of_reach_has_no_room(void **state)
{
    (void)state;
    struct rig g;

    rig_grow(&g, 3, 2);
    struct peer_change learner = rig_add(3);
    learner.learner = true;
    assert_code(rig_do(&g, 1, &learner), 0);
    rig_run(&g, 300);
    rig_cut(&g, 2, true);
    rig_run(&g, 100);
    set_low(&g, 1, true);
    rig_write(&g, 1, 1, "k", "v", 300);
    rig_run(&g, 50);
    assert_code(rig_answer(&g, 1), -RD_ENO_SPACE);
    rig_done(&g);
}

static void membership_changes_go_on(void **state)
{
    (void)state;
    struct rig g;

    rig_grow(&g, 3, 2);
    all_low(&g, true);
    struct peer_change add = rig_add(3);
    assert_code(rig_do(&g, 1, &add), 0);
    rig_done(&g);
}

/* A write that waits for the hand-over is proposed again and again: it counts once, when it is taken. */
static void writes_that_waited_for_a_failed_hand_over_fill_nothing(void **state)
{
    (void)state;
    enum { WRITES = 12, SIZE = 900 * 1000 };
    char *value = mem_alloc(SIZE + 1);
    struct peer_change to_2 = {.kind = PEER_CHANGE_TRANSFER, .id = 2};
    struct rig g;

    memset(value, 'x', SIZE);
    value[SIZE] = 0;
    rig_grow(&g, 3, 3);
    rig_run(&g, 300);
    g.stopped[2] = true;
    rig_write(&g, 1, 1, "k", "v", 1000); /* so there is something that it has not */
    rig_change(&g, 1, 2, &to_2, 5000);
    for (uint64_t i = 0; i < WRITES; i++) {
        rig_write(&g, 1, 10 + i, "k", value, 20000);
    }
    assert_code(rig_wait(&g, 2), -RD_EUNREACHABLE);
    g.stopped[2] = false;
    for (uint64_t i = 0; i < WRITES; i++) {
        assert_code(rig_wait(&g, 10 + i), 0);
    }
    assert_int_equal(rig_leader(&g), 1);
    rig_done(&g);
    mem_free(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_cluster_refuses_what_grows),
        cmocka_unit_test(a_leader_without_room_gives_way_to_one_with),
        cmocka_unit_test(a_successor_that_is_low_too_hands_on),
        cmocka_unit_test(disks_that_are_low_in_turn_do_not_toss_the_leadership),
        cmocka_unit_test(the_last_of_the_reserve_is_not_for_clients),
        cmocka_unit_test(a_learner_or_one_out_of_reach_has_no_room),
        cmocka_unit_test(membership_changes_go_on),
        cmocka_unit_test(writes_that_waited_for_a_failed_hand_over_fill_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
