/* Writes: answered exactly once and truthfully, applied once, whoever leads. */
#include "fixture.h"

#include <stdio.h>
#include <string.h>

static raft_id a_follower(raft_id leader)
{
    return leader == 1 ? 2 : 1;
}

static void every_node_takes_writes(void **state)
{
    (void)state;
    struct rig g;

    rig_init(&g, 3, 3);
    (void)rig_leader(&g);
    for (raft_id id = 1; id <= 3; id++) {
        rig_write(&g, id, 10 + id, "k", "v", 1000);
    }
    rig_run(&g, 200);
    for (raft_id id = 1; id <= 3; id++) {
        assert_int_equal(rig_answer(&g, 10 + id)->code, 0);
        assert_int_equal(state_revision(node_state(g.nodes[id])), 3);
        assert_true(state_digest(node_state(g.nodes[id])) == state_digest(node_state(g.nodes[1])));
    }
    rig_done(&g);
}

static void a_lost_reply_is_made_up_for_by_the_log(void **state)
{
    (void)state;
    struct rig g;

    rig_init(&g, 3, 3);
    raft_id follower = a_follower(rig_leader(&g));
    g.forwards_dropped = 1;
    rig_write(&g, follower, 1, "k", "v", 5000);
    rig_run(&g, 200);
    assert_int_equal(rig_answer(&g, 1)->code, 0);
    assert_int_equal(state_revision(node_state(g.nodes[follower])), 1);
    rig_done(&g);
}

static void a_write_outlives_its_leader_and_is_applied_once(void **state)
{
    (void)state;
    struct rig g;

    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    raft_id follower = a_follower(leader);
    /* The leader has it, its followers too, but nobody learns that it is committed. */
    rig_write(&g, follower, 1, "k", "v", 10000);
    rig_run(&g, 1);
    rig_cut(&g, leader, true);
    rig_run(&g, 3000);
    assert_int_equal(rig_answer(&g, 1)->code, 0);
    assert_int_equal(state_revision(node_state(g.nodes[follower])), 1);
    rig_cut(&g, leader, false);
    (void)rig_leader(&g);
    rig_run(&g, 500);
    assert_int_equal(state_revision(node_state(g.nodes[leader])), 1);
    rig_done(&g);
}

static bool drop_entries_to_3(struct rig *g, raft_id from, raft_id to, const struct peer_msg *msg)
{
    (void)g, (void)from;
    return to == 3 && msg->type == PEER_RAFT && msg->raft.type == RAFT_MSG_APPEND &&
           msg->raft.entries_count > 0;
}

/* It knows who leads before it knows that it is a member. */
static void a_write_given_to_who_joins_goes_on_when_it_has_joined(void **state)
{
    (void)state;
    struct peer_change add = rig_add(3);
    struct rig g;

    rig_grow(&g, 3, 2);
    g.drop = drop_entries_to_3;
    rig_change(&g, 1, 1, &add, 20000);
    rig_run(&g, 1000);
    assert_int_equal(rig_view(&g, 3).leader, 1);
    assert_null(rig_member(&g, 3, 3));
    rig_write(&g, 3, 2, "k", "v", 10000);
    rig_run(&g, 1000);
    assert_null(rig_answer(&g, 2));
    g.drop = NULL;
    rig_run(&g, 1000);
    assert_code(rig_answer(&g, 2), 0);
    rig_done(&g);
}

static void a_deposed_leaders_write_completes_elsewhere(void **state)
{
    (void)state;
    struct rig g;

    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    rig_cut(&g, leader, true);
    rig_write(&g, leader, 1, "k", "v", 20000);
    rig_run(&g, 3000);
    assert_null(rig_answer(&g, 1)); /* it cannot know */
    rig_cut(&g, leader, false);
    rig_run(&g, 2000);
    assert_int_equal(rig_answer(&g, 1)->code, 0);
    assert_int_equal(rig_answer(&g, 1)->result.revision, 1);
    rig_done(&g);
}

static void without_a_leader_the_answer_says_so_by_the_deadline(void **state)
{
    (void)state;
    struct rig g;

    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    for (raft_id id = 1; id <= 3; id++) {
        rig_cut(&g, id, true);
    }
    rig_run(&g, 3000);
    rig_write(&g, a_follower(leader), 1, "k", "v", 500);
    rig_read(&g, a_follower(leader), 2, 500);
    rig_run(&g, 499);
    assert_null(rig_answer(&g, 1));
    rig_run(&g, 2);
    assert_int_equal(rig_answer(&g, 1)->code, -RD_ENO_QUORUM); /* surely not applied */
    assert_string_equal(rig_answer(&g, 1)->message,
                        "no leader by the deadline, 1 of 3 voters reachable, 2 needed: "
                        "the write was not applied");
    assert_int_equal(rig_answer(&g, 2)->code, -RD_ENO_QUORUM);
    rig_done(&g);
}

/* A majority is there, it only has to elect: that is another answer than a lost quorum. */
static void between_two_leaders_the_quorum_is_not_called_lost(void **state)
{
    (void)state;
    struct rig g;

    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    rig_cut(&g, leader, true);
    rig_write(&g, a_follower(leader), 1, "k", "v", 200);
    rig_run(&g, 210);
    assert_int_equal(rig_answer(&g, 1)->code, -RD_ENO_LEADER);
    assert_non_null(strstr(rig_answer(&g, 1)->message, "2 of 3 voters reachable"));
    rig_done(&g);
}

/* Its links are up, but nobody answers: two processes that were stopped. */
static void silent_voters_are_not_reachable(void **state)
{
    (void)state;
    struct rig g;

    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    assert_int_equal(node_voters_reachable(g.nodes[leader], g.now), 3);
    g.stopped[leader % 3 + 1] = true;
    g.stopped[(leader + 1) % 3 + 1] = true;
    rig_run(&g, 3000);
    assert_int_equal(node_voters_reachable(g.nodes[leader], g.now), 1);
    rig_write(&g, leader, 1, "k", "v", 200);
    rig_run(&g, 210);
    assert_int_equal(rig_answer(&g, 1)->code, -RD_ENO_QUORUM);
    rig_done(&g);
}

static void what_was_handed_out_is_called_unknown(void **state)
{
    (void)state;
    struct rig g;

    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    rig_cut(&g, leader, true);
    rig_write(&g, leader, 1, "k", "v",
              300); /* into its own log: may still be committed by others */
    rig_run(&g, 310);
    assert_int_equal(rig_answer(&g, 1)->code, -RD_EUNKNOWN_OUTCOME);
    rig_done(&g);
}

static void the_window_of_open_writes_is_bounded(void **state)
{
    (void)state;
    struct rig g;

    rig_init(&g, 1, 1);
    (void)rig_leader(&g);
    g.disk_held[1] = true;
    node_begin(g.nodes[1], g.now, 0);
    for (uint64_t i = 1; i <= STATE_WINDOW_MAX; i++) {
        node_write(g.nodes[1], i, rig_put("k", "v"), g.now + 60000);
    }
    rig_run(&g, 2);
    assert_int_equal(g.answers_count, 0);
    rig_write(&g, 1, 9999, "k", "v", 60000);
    assert_int_equal(rig_answer(&g, 9999)->code, -RD_ENOT_READY);
    for (uint64_t i = 1; i <= STATE_WINDOW_MAX; i++) {
        node_cancel(g.nodes[1], i); /* their clients left: nobody is answered */
    }
    g.disk_held[1] = false;
    rig_run(&g, 100);
    assert_int_equal(g.answers_count, 1);
    rig_write(&g, 1, 10000, "k", "v", 1000);
    rig_run(&g, 100);
    assert_int_equal(rig_answer(&g, 10000)->code, 0);
    rig_done(&g);
}

/* The leader stays the same while the link to it is gone: nothing else would wake the write. */
static void a_write_that_waited_for_its_link_goes_at_once(void **state)
{
    (void)state;
    struct rig g;

    rig_init(&g, 3, 3);
    raft_id follower = a_follower(rig_leader(&g));
    rig_cut(&g, follower, true);
    rig_write(&g, follower, 1, "k", "v", 8000);
    rig_run(&g, 50);
    assert_null(rig_answer(&g, 1));
    rig_cut(&g, follower, false);
    rig_run(&g, 50);
    assert_non_null(rig_answer(&g, 1));
    assert_int_equal(rig_answer(&g, 1)->code, 0);
    rig_done(&g);
}

/* Strangers pass the hello (they may be about to join), their requests do not pass. */
static void a_stranger_writes_nothing(void **state)
{
    (void)state;
    struct rig g;

    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    struct peer_msg msg = {
        .type = PEER_FORWARD,
        .forward = {.request = {.node = 99, .incarnation = 1, .seq = 1, .floor = 1},
                    .txn = rig_put("k", "v")}};
    node_begin(g.nodes[leader], g.now, 0);
    node_message(g.nodes[leader], 99, &msg);
    rig_run(&g, 300);
    assert_int_equal(state_revision(node_state(g.nodes[leader])), 0);
    rig_done(&g);
}

/* Of a member that is a version ahead: all others would stop at it. */
static void a_transaction_of_a_later_version_is_not_logged(void **state)
{
    (void)state;
    struct rig g;

    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    raft_id from = leader % 3 + 1;
    struct peer_msg msg = {
        .type = PEER_FORWARD,
        .forward = {.request = {.node = from, .incarnation = 1, .seq = 9, .floor = 9},
                    .session =
                        membership_find(raft_membership(node_raft(g.nodes[leader])), from)->session,
                    .txn = rig_put("k", "v")}};
    raft_index last = rig_view(&g, leader).last;
    msg.forward.txn->data[0]++;
    node_begin(g.nodes[leader], g.now, 0);
    node_message(g.nodes[leader], from, &msg);
    const struct node_out *out = node_end(g.nodes[leader]);
    assert_int_equal(out->fatal, 0);
    assert_int_equal(out->sends[out->sends_count - 1].msg.type, PEER_FORWARD_REPLY);
    assert_int_equal(out->sends[out->sends_count - 1].msg.forward_reply.result.code, -RD_EINVALID);
    assert_int_equal(rig_view(&g, leader).last, last);
    node_out_clear(g.nodes[leader]);
    rig_done(&g);
}

static void clients_bytes_are_bounded(void **state)
{
    (void)state;
    enum { BIG = 1000 * 1000, FIT = 64 * 1024 * 1024 / BIG };
    struct rig g;
    char *big = mem_zalloc(BIG + 1);

    memset(big, 'v', BIG);
    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    rig_cut(&g, leader, true);
    for (uint64_t i = 1; i <= FIT + 1; i++) {
        rig_write(&g, leader, i, "k", big, 60000);
    }
    assert_null(rig_answer(&g, FIT));
    assert_int_equal(rig_answer(&g, FIT + 1)->code, -RD_ENOT_READY);
    assert_non_null(strstr(rig_answer(&g, FIT + 1)->message, "67 writes of 67"));
    mem_free(big);
    rig_done(&g);
}

/* A hung disk under a living leader: heartbeats go on, their answers wait for the disk. */
static void what_waits_for_a_hung_disk_is_bounded(void **state)
{
    (void)state;
    struct rig g;

    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    raft_id follower = a_follower(leader);
    g.disk_held[follower] = true;
    rig_write(&g, leader, 1, "k", "v", 5000);
    for (int i = 0; i < 50; i++) {
        rig_write(&g, leader, (uint64_t)(100 + i), "k", "v", 5000);
        rig_run(&g, 100);
    }
    assert_int_equal(rig_answer(&g, 149)->code, 0); /* the other two are a majority */
    uint32_t queued = g.queue_count;
    g.disk_held[follower] = false;
    rig_run(&g, 1);
    assert_in_range(g.queue_count - queued, 0, 8); /* one acknowledgement, not fifty */
    rig_done(&g);
}

static void stall(struct rig *g, raft_id id)
{
    g->disk_held[id] = true;
    rig_write(g, id, 1, "k", "v", 20000); /* in the commit that hangs */
    rig_run(g, 10);
    node_begin(g->nodes[id], g->now, 0);
    node_disk(g->nodes[id], true);
}

/* The others have what it sent: one of them is told, and writes go on within milliseconds. */
static void a_stalled_disk_costs_the_leadership(void **state)
{
    (void)state;
    struct rig g;

    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    raft_term term = rig_view(&g, leader).term;
    stall(&g, leader);
    struct node_public p = rig_public(&g, leader);
    assert_int_equal(p.state, NODE_HANDING_OVER);
    assert_false(p.is_leader);
    assert_non_null(strstr(p.reason, "disk: a log commit is overdue, hands over to node "));
    rig_write(&g, leader, 2, "k", "w", 20000);
    rig_run(&g, 100);
    assert_int_not_equal(rig_leader(&g), leader);
    assert_int_equal(rig_view(&g, leader).term, term + 1);
    assert_string_equal(rig_public(&g, leader).reason, "disk: a log commit is overdue");
    assert_int_equal(rig_answer(&g, 1)->code, 0);
    assert_int_equal(rig_answer(&g, 2)->code, 0); /* it waited for the new leader */
    rig_done(&g);
}

static void a_stalled_disk_without_a_successor_costs_it_too(void **state)
{
    (void)state;
    struct rig g;

    rig_init(&g, 1, 1);
    (void)rig_leader(&g);
    stall(&g, 1);
    struct node_public p = rig_public(&g, 1);
    assert_int_equal(p.state, NODE_FOLLOWER);
    assert_string_equal(p.reason, "disk: a log commit is overdue");
    rig_run(&g, 3000);
    assert_int_equal(rig_public(&g, 1).state, NODE_FOLLOWER);
    g.disk_held[1] = false;
    rig_run(&g, 1);
    node_begin(g.nodes[1], g.now, 0);
    node_disk(g.nodes[1], false);
    assert_int_equal(rig_leader(&g), 1);
    rig_run(&g, 10);
    assert_int_equal(rig_answer(&g, 1)->code, 0);
    rig_done(&g);
}

static void set_log_use(struct rig *g, raft_id id, uint64_t used)
{
    node_begin(g->nodes[id], g->now, 0);
    node_set_log_use(g->nodes[id], used, 1024 * 1024);
    rig_run(g, 1);
}

static void assert_refused(const struct rig *g, uint64_t token, const char *words)
{
    assert_non_null(rig_answer(g, token));
    assert_int_equal(rig_answer(g, token)->code, -RD_ENO_SPACE);
    assert_non_null(strstr(rig_answer(g, token)->message, words));
}

/* Whoever asks hears at once and why; the cluster stays one, and room makes writes work again. */
static void a_leader_whose_log_is_full_takes_no_writes(void **state)
{
    (void)state;
    struct rig g;

    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    raft_id follower = a_follower(leader);
    set_log_use(&g, follower, 1024 * 1024); /* of no account: it does not lead */
    set_log_use(&g, leader, 900 * 1024);
    rig_write(&g, leader, 1, "k", "v", 5000);
    rig_write(&g, follower, 2, "k", "v", 5000);
    rig_run(&g, 50);
    assert_int_equal(rig_answer(&g, 1)->code, 0);
    assert_int_equal(rig_answer(&g, 2)->code, 0);

    set_log_use(&g, leader, 960 * 1024);
    rig_write(&g, leader, 3, "k", "v", 5000);
    rig_write(&g, follower, 4, "k", "v", 5000);
    rig_run(&g, 50);
    assert_refused(&g, 3, "the log fills 93% of storage.map_size (1M)");
    assert_refused(&g, 4, "bytes, fills more than 90% of storage.map_size");
    assert_int_equal(state_revision(node_state(g.nodes[leader])), 2);
    rig_run(&g, 5000);
    assert_int_equal(rig_leader(&g), leader);

    set_log_use(&g, leader, 100 * 1024);
    rig_write(&g, follower, 5, "k", "v", 5000);
    rig_run(&g, 50);
    assert_int_equal(rig_answer(&g, 5)->code, 0);
    rig_done(&g);
}

/* With the numbers: whoever applied the write knows the quota, a leader's reply does not tell it. */
static void what_the_quota_refuses_has_numbers(void **state)
{
    (void)state;
    enum { BIG = 600 * 1024 };
    struct rig g;
    char *big = mem_zalloc(BIG + 1);

    memset(big, 'v', BIG);
    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    raft_id follower = a_follower(leader);
    uint64_t quota = rig_config(leader, 3).state_bytes_max;
    rig_write(&g, leader, 1, "k", big, 5000);
    assert_code(rig_wait(&g, 1), 0);
    rig_write(&g, leader, 2, "l", big, 5000);
    rig_write(&g, follower, 3, "m", big, 5000);
    for (uint64_t token = 2; token <= 3; token++) {
        const struct node_answer *a = rig_wait(&g, token);
        assert_code(a, -RD_ENO_SPACE);
        assert_int_equal(a->result.actual, 2 * (BIG + 1 + STATE_KEY_COST));
        assert_int_equal(a->quota, token == 2 ? quota : 0);
    }
    g.forwards_dropped = UINT32_MAX; /* it sees the entry instead */
    rig_write(&g, follower, 4, "m", big, 5000);
    assert_code(rig_wait(&g, 4), -RD_ENO_SPACE);
    assert_int_equal(rig_answer(&g, 4)->quota, quota);
    rig_done(&g);
    mem_free(big);
}

/* What is on its way to the disk counts: one commit must not run into the end of the map. */
static void writes_that_would_fill_the_log_are_refused(void **state)
{
    (void)state;
    enum { BIG = 400 * 1024 };
    struct rig g;
    char *big = mem_zalloc(BIG + 1);

    memset(big, 'v', BIG);
    rig_init(&g, 1, 1);
    (void)rig_leader(&g);
    set_log_use(&g, 1, 100 * 1024);
    g.disk_held[1] = true;
    rig_write(&g, 1, 1, "a", big, 60000);
    rig_write(&g, 1, 2, "b", big, 60000);
    rig_write(&g, 1, 3, "c", big, 60000);
    rig_write(&g, 1, 4, "d", "v", 60000);
    assert_refused(&g, 3, "the log fills 9% of storage.map_size (1M), with this write 126%");
    g.disk_held[1] = false;
    rig_run(&g, 100);
    assert_int_equal(rig_answer(&g, 1)->code, 0);
    assert_int_equal(rig_answer(&g, 2)->code, 0);
    assert_int_equal(rig_answer(&g, 4)->code, 0); /* small enough */
    mem_free(big);
    rig_done(&g);
}

/* An earlier attempt may still be applied: saying that it surely was not would be a lie. */
static void a_full_log_says_nothing_of_earlier_attempts(void **state)
{
    (void)state;
    struct rig g;

    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    raft_id follower = a_follower(leader);
    g.forwards_dropped = 1000;
    rig_cut(&g, leader, true);
    rig_write(&g, leader, 1, "k", "v", 20000); /* in its own log, nowhere else */
    rig_run(&g, 3000);
    for (raft_id id = 1; id <= 3; id++) {
        set_log_use(&g, id, 1024 * 1024);
    }
    g.forwards_dropped = 0;
    rig_cut(&g, leader, false);
    rig_run(&g, 3000);
    assert_null(rig_answer(&g, 1));
    for (raft_id id = 1; id <= 3; id++) {
        set_log_use(&g, id, 0);
    }
    rig_run(&g, 3000);
    assert_int_equal(rig_answer(&g, 1)->code, 0);
    assert_int_equal(state_revision(node_state(g.nodes[follower])), 1);
    rig_done(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_node_takes_writes),
        cmocka_unit_test(a_lost_reply_is_made_up_for_by_the_log),
        cmocka_unit_test(a_write_outlives_its_leader_and_is_applied_once),
        cmocka_unit_test(a_write_given_to_who_joins_goes_on_when_it_has_joined),
        cmocka_unit_test(a_deposed_leaders_write_completes_elsewhere),
        cmocka_unit_test(without_a_leader_the_answer_says_so_by_the_deadline),
        cmocka_unit_test(between_two_leaders_the_quorum_is_not_called_lost),
        cmocka_unit_test(silent_voters_are_not_reachable),
        cmocka_unit_test(what_was_handed_out_is_called_unknown),
        cmocka_unit_test(the_window_of_open_writes_is_bounded),
        cmocka_unit_test(a_write_that_waited_for_its_link_goes_at_once),
        cmocka_unit_test(a_stranger_writes_nothing),
        cmocka_unit_test(a_transaction_of_a_later_version_is_not_logged),
        cmocka_unit_test(clients_bytes_are_bounded),
        cmocka_unit_test(what_waits_for_a_hung_disk_is_bounded),
        cmocka_unit_test(a_stalled_disk_costs_the_leadership),
        cmocka_unit_test(a_stalled_disk_without_a_successor_costs_it_too),
        cmocka_unit_test(a_leader_whose_log_is_full_takes_no_writes),
        cmocka_unit_test(writes_that_would_fill_the_log_are_refused),
        cmocka_unit_test(what_the_quota_refuses_has_numbers),
        cmocka_unit_test(a_full_log_says_nothing_of_earlier_attempts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
