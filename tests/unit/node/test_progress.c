/* What every node can show of the members: the leader's word, once for all who ask, or nothing. */
#include "fixture.h"

#include <string.h>

static void ask(struct rig *g, raft_id id, uint64_t token, mono_ms timeout)
{
    node_ask_progress(g->nodes[id], token, g->now + timeout);
}

static raft_id other_than(raft_id a)
{
    return a % 3 + 1;
}

static raft_id third(raft_id a, raft_id b)
{
    return 6 - a - b;
}

/* Take the turn of one node: how many questions leave, and for whom. Nothing is delivered. */
static uint32_t questions(struct rig *g, raft_id id, uint64_t *seq)
{
    node_begin(g->nodes[id], g->now, 0);
    struct node_out *out = node_end(g->nodes[id]);
    uint32_t count = 0;

    for (uint32_t i = 0; i < out->sends_count; i++) {
        if (out->sends[i].msg.type == PEER_PROGRESS_ASK) {
            count++;
            *seq = out->sends[i].msg.progress_ask.seq;
        }
    }
    for (uint32_t i = 0; i < out->answers_count; i++) {
        g->answers[g->answers_count++] = out->answers[i];
    }
    node_out_clear(g->nodes[id]);
    return count;
}

/* An answer of `from` with one row arrives at `to`. */
static void tell(struct rig *g, raft_id from, raft_id to, uint64_t seq, raft_term term,
                 uint32_t rows)
{
    struct peer_progress *p = mem_zalloc(sizeof *p);
    struct peer_msg msg = {.type = PEER_PROGRESS, .progress = p};

    *p = (struct peer_progress){.seq = seq, .term = term, .last = 12, .members_count = rows};
    p->members[0].id = from;
    p->members[0].match = 10;
    p->members[0].contact_ms = UINT64_MAX;
    node_message(g->nodes[to], from, &msg);
}

static void every_node_shows_what_the_leader_knows(void **state)
{
    (void)state;
    struct raft_peer_view by_leader;
    struct raft_peer_view seen;
    struct raft_view view;
    struct rig g;

    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    raft_id follower = other_than(leader);
    rig_write(&g, leader, 1, "k", "v", 1000);
    rig_run(&g, 300);
    assert_false(node_member_progress(g.nodes[follower], leader, &seen)); /* nobody asked yet */
    assert_int_equal(node_progress_last(g.nodes[follower]), 0);
    for (raft_id id = 1; id <= 3; id++) {
        ask(&g, id, 10 + id, 500);
    }
    rig_run(&g, 5);
    raft_view_get(node_raft(g.nodes[leader]), &view);
    for (raft_id id = 1; id <= 3; id++) {
        assert_int_equal(rig_answer(&g, 10 + id)->code, 0);
        assert_int_equal(node_progress_last(g.nodes[id]), view.last);
        for (raft_id of = 1; of <= 3; of++) {
            assert_true(node_member_progress(g.nodes[leader], of, &by_leader));
            assert_true(node_member_progress(g.nodes[id], of, &seen));
            assert_int_equal(seen.match, by_leader.match);
            assert_int_equal(seen.match, view.last);
            assert_in_range(seen.contact, g.now - 200, g.now);
        }
        assert_false(node_member_progress(g.nodes[id], 9, &seen));
    }
    rig_done(&g);
}

static void a_member_that_never_answered_is_shown_so(void **state)
{
    (void)state;
    struct raft_peer_view seen;
    struct raft_view view;
    struct rig g;
    uint64_t seq = 0;

    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    raft_id follower = other_than(leader);
    ask(&g, follower, 1, 500);
    assert_int_equal(questions(&g, follower, &seq), 1);
    raft_view_get(node_raft(g.nodes[follower]), &view);
    tell(&g, leader, follower, seq, view.term, 1);
    assert_true(node_member_progress(g.nodes[follower], leader, &seen));
    assert_int_equal(seen.match, 10);
    assert_int_equal(seen.contact, 0);
    assert_int_equal(node_progress_last(g.nodes[follower]), 12);
    assert_false(node_member_progress(g.nodes[follower], follower, &seen)); /* no row */
    rig_done(&g);
}

static void those_who_ask_together_share_a_question(void **state)
{
    (void)state;
    struct rig g;
    uint64_t seq = 0;
    uint64_t first = 0;

    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    raft_id follower = other_than(leader);
    for (uint64_t token = 1; token <= 50; token++) {
        ask(&g, follower, token, 500);
    }
    assert_int_equal(questions(&g, follower, &first), 1);
    assert_int_equal(questions(&g, follower, &seq), 0); /* it is under way */
    ask(&g, follower, 51, 500); /* later: what is under way may be older than its request */
    assert_int_equal(questions(&g, follower, &seq), 1);
    assert_int_equal(seq, first + 1);
    struct raft_view view;
    raft_view_get(node_raft(g.nodes[follower]), &view);
    tell(&g, leader, follower, first, view.term, 1);
    (void)questions(&g, follower, &seq);
    assert_int_equal(rig_answer(&g, 50)->code, 0);
    assert_null(rig_answer(&g, 51));
    tell(&g, leader, follower, first + 1, view.term, 1);
    (void)questions(&g, follower, &seq);
    assert_int_equal(rig_answer(&g, 51)->code, 0);
    tell(&g, leader, follower, first + 1, view.term, 1); /* once more: nobody waits */
    (void)questions(&g, follower, &seq);
    assert_int_equal(rig_answer(&g, 51)->code, 0);
    rig_done(&g);
}

static void a_lost_question_is_repeated(void **state)
{
    (void)state;
    struct rig g;
    uint64_t seq = 0;
    uint64_t first = 0;

    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    raft_id follower = other_than(leader);
    ask(&g, follower, 1, 500);
    assert_int_equal(questions(&g, follower, &first), 1);
    node_messages_lost(g.nodes[follower], leader);
    assert_int_equal(questions(&g, follower, &seq), 1); /* known to be lost: at once */
    assert_int_equal(seq, first + 1);
    assert_int_equal(questions(&g, follower, &seq), 0);
    g.now += 100;
    assert_int_equal(questions(&g, follower, &seq), 1); /* or after a heartbeat interval */
    struct raft_view view;
    raft_view_get(node_raft(g.nodes[follower]), &view);
    tell(&g, leader, follower, first, view.term, 1); /* any of the answers will do */
    (void)questions(&g, follower, &seq);
    assert_int_equal(rig_answer(&g, 1)->code, 0);
    rig_done(&g);
}

static void without_a_leader_the_answer_comes_at_once(void **state)
{
    (void)state;
    struct raft_peer_view seen;
    struct rig g;

    rig_init(&g, 3, 3);
    ask(&g, 1, 1, 500);
    rig_run(&g, 1);
    assert_int_equal(rig_answer(&g, 1)->code, -RD_ENO_LEADER);
    assert_true(rig_answer(&g, 1)->message[0] != 0);
    raft_id leader = rig_leader(&g);
    raft_id follower = other_than(leader);
    ask(&g, follower, 2, 500);
    rig_run(&g, 5);
    assert_true(node_member_progress(g.nodes[follower], leader, &seen));
    rig_cut(&g, leader, true);
    rig_cut(&g, third(leader, follower), true);
    rig_run(&g, 600);
    assert_false(node_member_progress(g.nodes[follower], leader, &seen)); /* old news is no news */
    assert_int_equal(node_progress_last(g.nodes[follower]), 0);
    ask(&g, follower, 3, 500);
    rig_run(&g, 1);
    assert_int_equal(rig_answer(&g, 3)->code, -RD_ENO_LEADER);
    rig_done(&g);
}

static void a_silent_leader_is_waited_for_until_the_deadline(void **state)
{
    (void)state;
    struct raft_peer_view seen;
    struct rig g;
    uint64_t seq = 0;

    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    raft_id follower = other_than(leader);
    ask(&g, follower, 1, 300);
    rig_run(&g, 5);
    assert_true(node_member_progress(g.nodes[follower], leader, &seen));
    node_link_down(g.nodes[follower], leader); /* its heartbeats still come */
    ask(&g, follower, 2, 50);
    assert_int_equal(questions(&g, follower, &seq), 0); /* no way to send it */
    assert_null(rig_answer(&g, 2));
    assert_in_range(node_deadline(g.nodes[follower]), g.now, g.now + 50);
    g.now += 50;
    assert_int_equal(questions(&g, follower, &seq), 0);
    assert_int_equal(rig_answer(&g, 2)->code, -RD_ETIMEOUT);
    assert_false(node_member_progress(g.nodes[follower], leader, &seen));
    rig_done(&g);
}

static void a_question_waits_for_the_link(void **state)
{
    (void)state;
    struct rig g;
    uint64_t seq = 0;

    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    raft_id follower = other_than(leader);
    node_link_down(g.nodes[follower], leader);
    ask(&g, follower, 1, 300);
    assert_int_equal(questions(&g, follower, &seq), 0);
    rig_run(&g, 5); /* the link comes up */
    assert_int_equal(rig_answer(&g, 1)->code, 0);
    rig_done(&g);
}

static void who_leads_no_more_says_so(void **state)
{
    (void)state;
    struct raft_peer_view seen;
    struct raft_view view;
    struct rig g;
    uint64_t seq = 0;

    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    raft_id follower = other_than(leader);
    raft_view_get(node_raft(g.nodes[follower]), &view);
    ask(&g, follower, 1, 500);
    assert_int_equal(questions(&g, follower, &seq), 1);
    tell(&g, third(leader, follower), follower, seq, view.term, 1); /* not whom we asked */
    assert_false(node_member_progress(g.nodes[follower], 1, &seen));
    tell(&g, leader, follower, seq, view.term, 0);
    (void)questions(&g, follower, &seq);
    assert_int_equal(rig_answer(&g, 1)->code, -RD_ENO_LEADER);
    ask(&g, follower, 2, 500);
    assert_int_equal(questions(&g, follower, &seq), 1);
    tell(&g, leader, follower, seq, view.term + 1, 1); /* of a term not known here */
    (void)questions(&g, follower, &seq);
    assert_int_equal(rig_answer(&g, 2)->code, -RD_ENO_LEADER);
    assert_false(node_member_progress(g.nodes[follower], leader, &seen));
    rig_done(&g);
}

static void only_members_are_answered(void **state)
{
    (void)state;
    struct rig g;

    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    for (raft_id from = 1; from <= 9; from++) {
        struct peer_msg msg = {.type = PEER_PROGRESS_ASK, .progress_ask = {.seq = 7}};
        uint32_t answers = 0;
        node_begin(g.nodes[leader], g.now, 0);
        node_message(g.nodes[leader], from, &msg);
        struct node_out *out = node_end(g.nodes[leader]);
        for (uint32_t i = 0; i < out->sends_count; i++) {
            if (out->sends[i].msg.type == PEER_PROGRESS) {
                assert_int_equal(out->sends[i].to, from);
                assert_int_equal(out->sends[i].msg.progress->seq, 7);
                assert_int_equal(out->sends[i].msg.progress->members_count, 3);
                answers++;
            }
        }
        assert_int_equal(answers, from <= 3);
        node_out_clear(g.nodes[leader]);
    }
    rig_done(&g);
}

static void who_is_gone_is_not_answered(void **state)
{
    (void)state;
    struct rig g;

    rig_init(&g, 3, 3);
    raft_id follower = other_than(rig_leader(&g));
    ask(&g, follower, 1, 500);
    ask(&g, follower, 2, 500);
    node_cancel(g.nodes[follower], 1);
    node_cancel(g.nodes[follower], 99);
    rig_run(&g, 600);
    assert_null(rig_answer(&g, 1));
    assert_int_equal(rig_answer(&g, 2)->code, 0);
    rig_done(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_node_shows_what_the_leader_knows),
        cmocka_unit_test(a_member_that_never_answered_is_shown_so),
        cmocka_unit_test(those_who_ask_together_share_a_question),
        cmocka_unit_test(a_lost_question_is_repeated),
        cmocka_unit_test(without_a_leader_the_answer_comes_at_once),
        cmocka_unit_test(a_silent_leader_is_waited_for_until_the_deadline),
        cmocka_unit_test(a_question_waits_for_the_link),
        cmocka_unit_test(who_leads_no_more_says_so),
        cmocka_unit_test(only_members_are_answered),
        cmocka_unit_test(who_is_gone_is_not_answered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
