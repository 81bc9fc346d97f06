/* What is asked again, because a word was lost or another leads, happens once, and is answered by what
 * came of it. */
#include "asking.h"

/* ---- A last word that is lost ---- */

static bool drop_change_replies(struct rig *g, raft_id from, raft_id to, const struct peer_msg *msg)
{
    (void)g, (void)from, (void)to;
    return msg->type == PEER_CHANGE_REPLY;
}

/* Done, and undone by somebody else before the first was told: it is told, not done again. */
static void a_lost_word_is_said_again_and_nothing_done_again(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change c = rig_add(3);

    rig_grow(&g, 3, 2);
    c.learner = true;
    g.drop = drop_change_replies;
    rig_change(&g, 2, 1, &c, 20000);
    for (int i = 0; i < 1000 && !rig_member(&g, 1, 3); i++) {
        rig_run(&g, 1);
    }
    rig_run(&g, 20);
    raft_index added = committed(&g, 1);
    assert_int_equal(rig_member(&g, 1, 3)->role, RAFT_LEARNER);
    assert_code(remove_server(&g, 1, 3, false), 0);
    rig_empty(&g, 3);
    assert_null(rig_answer(&g, 1));
    g.drop = NULL;
    assert_code(rig_wait(&g, 1), 0);
    assert_int_equal(rig_answer(&g, 1)->change->index, added);
    rig_run(&g, 2000);
    assert_null(rig_member(&g, 1, 3));
    rig_done(&g);
}

/* Requests are numbered by the process: one on a new data directory begins again. */
static void a_new_life_is_not_told_what_an_earlier_one_asked(void **state)
{
    (void)state;
    struct rig g;

    rig_grow(&g, 4, 3);
    assert_code(add_learner(&g, 3, 4), 0);
    assert_code(remove_server(&g, 1, 3, false), 0);
    rig_empty(&g, 3);
    assert_code(add(&g, 1, 3), 0);
    assert_code(remove_server(&g, 3, 4, false), 0); /* its first, too */
    assert_null(rig_member(&g, 1, 4));
    rig_done(&g);
}

/* ---- Whose word it is ---- */

static bool drop_changes(struct rig *g, raft_id from, raft_id to, const struct peer_msg *msg)
{
    (void)g, (void)from, (void)to;
    return msg->type == PEER_CHANGE;
}

static void reply_to(struct rig *g, raft_id id, raft_id from, struct peer_change_reply reply)
{
    struct peer_msg m = {.type = PEER_CHANGE_REPLY, .change_reply = mem_dup(&reply, sizeof reply)};

    node_begin(g->nodes[id], g->now, 0);
    node_message(g->nodes[id], from, &m);
    peer_msg_done(&m);
    rig_run(g, 1);
}

/* An answer of the leader of an earlier term may have been true in its time. */
static void an_answer_of_an_earlier_term_is_none(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change c = rig_add(3);

    rig_grow(&g, 3, 2);
    g.drop = drop_changes;
    rig_change(&g, 2, 1, &c, 20000);
    rig_run(&g, 10);
    assert_int_equal(g.dropped, 1);
    raft_term term = rig_view(&g, 2).term;
    struct peer_change_reply reply = {.incarnation = rig_process(&g, 2) >> 1,
                                      .seq = 1,
                                      .step = PEER_CHANGE_DONE,
                                      .term = term - 1,
                                      .index = 1,
                                      .role = RAFT_VOTER};
    reply_to(&g, 2, 1, reply);
    assert_null(rig_answer(&g, 1));
    reply.term = term;
    reply_to(&g, 2, 1, reply);
    assert_code(rig_answer(&g, 1), 0);
    rig_done(&g);
}

/* What the leader before may have begun is not undone by the word of the next, however often that one was
 * asked. */
static void what_others_were_asked_stays_open(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change c = rig_add(4);
    struct peer_change transfer = change_of(PEER_CHANGE_TRANSFER, 2);

    rig_grow(&g, 4, 3);
    g.drop = drop_changes;
    rig_change(&g, 3, 1, &c, 20000);
    rig_run(&g, 10);
    assert_code(rig_do(&g, 1, &transfer), 0);
    rig_run(&g, 1100); /* the next one is asked, and again */
    assert_in_range(g.dropped, 3, 4);
    struct peer_change_reply reply = {.incarnation = rig_process(&g, 3) >> 1,
                                      .seq = 1,
                                      .step = PEER_CHANGE_REFUSED,
                                      .code = -RD_EREMOVED,
                                      .term = rig_view(&g, 3).term};
    reply_to(&g, 3, 2, reply);
    assert_code(rig_answer(&g, 1), -RD_EUNKNOWN_OUTCOME);
    rig_done(&g);
}

/* ---- Begun, and then changed by somebody else ---- */

static void who_is_removed_while_it_catches_up_is_not_added_again(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change c = rig_add(3);

    rig_grow(&g, 3, 2);
    fill(&g, 1, 60);
    starved = 3;
    g.drop = drop_appends;
    rig_change(&g, 2, 1, &c, 20000);
    rig_wait_step(&g, 1, PEER_CHANGE_CATCHING_UP);
    assert_code(remove_server(&g, 1, 3, false), 0);
    const struct node_answer *a = rig_wait(&g, 1);
    assert_code(a, -RD_ECONFLICT);
    assert_says(
        a, "it was begun, and undone or changed since: node 3 was added, and removed meanwhile");
    rig_run(&g, 2000);
    assert_null(rig_member(&g, 1, 3));
    rig_done(&g);
}

/* The next leader refuses it for another reason: that does not make it undone. A word that comes late
 * does not either. */
static void what_was_begun_is_not_refused_as_if_it_was_not(void **state)
{
    (void)state;
    struct rig g;
    struct peer_change c = rig_add(3);

    rig_grow(&g, 3, 2);
    g.drop = drop_changes;
    rig_change(&g, 2, 1, &c, 20000);
    rig_run(&g, 10);
    struct peer_change_reply reply = {.incarnation = rig_process(&g, 2) >> 1,
                                      .seq = 1,
                                      .step = PEER_CHANGE_COMMITTING,
                                      .term = rig_view(&g, 2).term};
    reply_to(&g, 2, 1, reply);
    reply.step = PEER_CHANGE_DIALLING;
    reply_to(&g, 2, 1, reply);
    reply.step = PEER_CHANGE_REFUSED;
    reply.code = -RD_ECHANGE_PENDING;
    reply_to(&g, 2, 1, reply);
    assert_code(rig_answer(&g, 1), -RD_ECONFLICT);
    assert_says(rig_answer(&g, 1), "it was begun, and undone or changed since");
    rig_done(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lost_word_is_said_again_and_nothing_done_again),
        cmocka_unit_test(a_new_life_is_not_told_what_an_earlier_one_asked),
        cmocka_unit_test(an_answer_of_an_earlier_term_is_none),
        cmocka_unit_test(what_others_were_asked_stays_open),
        cmocka_unit_test(who_is_removed_while_it_catches_up_is_not_added_again),
        cmocka_unit_test(what_was_begun_is_not_refused_as_if_it_was_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
