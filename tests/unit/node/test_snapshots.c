/* Snapshots from node to node: what gets there whatever happens on the way, and what of a client's
 * request that stood in entries which were never applied here. */
#include "asking.h"

#include <stdio.h>

enum { KEYS = 60 };

static uint64_t last_token = 5000;

static void write_keys(struct rig *g, raft_id via, int count)
{
    char key[16];

    for (int i = 0; i < count; i++) {
        (void)snprintf(key, sizeof key, "key%d", i);
        rig_write(g, via, ++last_token, key, "a value of some forty bytes, all the same", 5000);
        if (i % 10 == 9) {
            rig_run(g, 20);
        }
    }
    rig_run(g, 300);
    assert_code(rig_answer(g, last_token), 0);
}

/* A cluster whose node 1 leads and writes its state down; `away` hears nothing until more is forgotten
 * than it has. */
static void leave_behind(struct rig *g, raft_id away)
{
    raft_index had = rig_view(g, away).last;

    rig_cut(g, away, true);
    write_keys(g, 1, KEYS);
    assert_true(rig_view(g, 1).base > had);
}

static void begin(struct rig *g, uint32_t count, uint32_t voters)
{
    rig_keep(8, 1 << 20, 1 << 20, 200);
    rig_grow(g, count, voters);
    g->flushes = true;
    rig_run(g, 200);
}

static void assert_same_state(const struct rig *g, raft_id a, raft_id b)
{
    const struct state *x = node_state(g->nodes[a]);
    const struct state *y = node_state(g->nodes[b]);

    assert_int_equal(state_index(x), state_index(y));
    assert_int_equal(state_revision(x), state_revision(y));
    assert_true(state_digest(x) == state_digest(y));
}

static bool is_piece(const struct peer_msg *msg)
{
    return msg->type == PEER_RAFT && msg->raft.type == RAFT_MSG_SNAPSHOT;
}

static bool is_word(const struct peer_msg *msg)
{
    return msg->type == PEER_RAFT && msg->raft.type == RAFT_MSG_SNAPSHOT_REPLY;
}

static uint32_t pieces; /* that travelled */

static bool count_pieces(struct rig *g, raft_id from, raft_id to, const struct peer_msg *msg)
{
    (void)g, (void)from, (void)to;
    pieces += is_piece(msg);
    return false;
}

static void who_needs_what_is_forgotten_gets_the_state(void **state)
{
    (void)state;
    struct rig g;

    begin(&g, 3, 3);
    leave_behind(&g, 3);
    pieces = 0;
    g.drop = count_pieces;
    rig_cut(&g, 3, false);
    rig_run(&g, 1000);
    assert_same_state(&g, 1, 3);
    assert_true(rig_view(&g, 3).base > 0);
    assert_in_range(pieces, 10, 60); /* one after the other, nothing twice */
    assert_int_equal(g.disks[1].readers, 0);
    assert_int_equal(g.disks[3].base.index, rig_view(&g, 3).base);
    rig_write(&g, 3, 1, "after", "x", 2000);
    rig_run(&g, 300);
    assert_code(rig_answer(&g, 1), 0);
    rig_restart(&g, 3); /* its disk holds a state and a log that fit */
    assert_int_equal(rig_leader(&g), 1);
    rig_run(&g, 200);
    assert_same_state(&g, 1, 3);
    rig_done(&g);
}

static uint32_t nth;

static bool lose_every_seventh(struct rig *g, raft_id from, raft_id to, const struct peer_msg *msg)
{
    (void)g, (void)from, (void)to;
    return (is_piece(msg) || is_word(msg)) && ++nth % 7 == 0;
}

static void lost_pieces_are_sent_again(void **state)
{
    (void)state;
    struct rig g;

    begin(&g, 3, 3);
    leave_behind(&g, 3);
    g.drop = lose_every_seventh;
    rig_cut(&g, 3, false);
    rig_run(&g, 9000);
    assert_true(g.dropped > 5);
    assert_same_state(&g, 1, 3);
    rig_done(&g);
}

enum {
    PIECES_SOME = 30,       /* several windows full */
    ONE_LOST_MS_MAX = 2000, /* far below what a receiver may be silent for */
};

static uint32_t lost; /* the piece of that number gets lost, once */

static bool lose_one(struct rig *g, raft_id from, raft_id to, const struct peer_msg *msg)
{
    (void)g, (void)from, (void)to;
    return is_piece(msg) && ++pieces == lost;
}

/* Returns how many pieces travelled. */
static uint32_t get_all_but_one(uint32_t number)
{
    struct rig g;

    begin(&g, 3, 3);
    leave_behind(&g, 3);
    pieces = 0;
    lost = number;
    g.drop = lose_one;
    rig_cut(&g, 3, false);
    assert_int_equal(rig_view(&g, 3).base, 0);
    uint32_t opened = g.disks[1].opened;
    mono_ms began = g.now;
    while (rig_view(&g, 3).base == 0 && g.now < began + ONE_LOST_MS_MAX) {
        rig_run(&g, 10);
    }
    if (rig_view(&g, 3).base == 0) {
        fail_msg("piece %u was lost, and the snapshot is not there after %d ms", number,
                 ONE_LOST_MS_MAX);
    }
    rig_run(&g, 300);
    assert_same_state(&g, 1, 3);
    /* Without its beginning the rest is refused: then it is begun again. */
    assert_int_equal(g.disks[1].opened, opened + (number == 1 ? 2 : 1));
    rig_done(&g);
    return pieces;
}

static void whichever_piece_is_lost_is_soon_sent_again(void **state)
{
    (void)state;
    uint32_t all = get_all_but_one(0);

    assert_true(all >= PIECES_SOME);
    for (uint32_t number = 1; number <= all; number++) {
        assert_true(get_all_but_one(number) > all);
    }
}

/* Pieces that were kept back come after all others, and all of them twice. */
static struct rig_flight kept[64];
static uint32_t kept_count;

static bool keep_some(struct rig *g, raft_id from, raft_id to, const struct peer_msg *msg)
{
    (void)g;
    if (!is_piece(msg) || kept_count == 64) {
        return false;
    }
    kept[kept_count] = (struct rig_flight){.from = from, .to = to, .msg = *msg};
    (void)blob_ref(kept[kept_count++].msg.raft.data);
    return kept_count % 2;
}

static void deliver_kept(struct rig *g)
{
    while (kept_count > 0) {
        assert_true(g->queue_count < RIG_QUEUE_MAX);
        g->queue[g->queue_count++] = kept[--kept_count];
    }
}

static void pieces_come_in_any_order_and_twice(void **state)
{
    (void)state;
    struct rig g;

    begin(&g, 3, 3);
    leave_behind(&g, 3);
    g.drop = keep_some;
    rig_cut(&g, 3, false);
    for (int i = 0; i < 200; i++) {
        rig_run(&g, 30);
        deliver_kept(&g);
    }
    g.drop = NULL;
    rig_run(&g, 2000);
    assert_same_state(&g, 1, 3);
    deliver_kept(&g); /* of one that is long over */
    rig_run(&g, 500);
    assert_same_state(&g, 1, 3);
    assert_int_equal(g.disks[1].readers, 0);
    rig_done(&g);
}

static uint32_t allowed;

static bool stop_after_some(struct rig *g, raft_id from, raft_id to, const struct peer_msg *msg)
{
    (void)g, (void)from, (void)to;
    return is_piece(msg) && (allowed == 0 || allowed-- == 0);
}

static void another_sender_begins_again(void **state)
{
    (void)state;
    struct rig g;

    begin(&g, 3, 3);
    leave_behind(&g, 3);
    g.drop = stop_after_some;
    allowed = 5;
    rig_cut(&g, 3, false);
    rig_run(&g, 300);
    assert_true(rig_view(&g, 3).commit < rig_view(&g, 1).base);
    rig_kill(&g, 1);
    allowed = UINT32_MAX;
    rig_run(&g, 2000);
    assert_int_equal(rig_leader(&g), 2);
    rig_run(&g, 2000);
    assert_same_state(&g, 2, 3);
    assert_true(rig_view(&g, 3).base > 0);
    rig_done(&g);
}

static void what_does_not_fit_changes_nothing(void **state)
{
    (void)state;
    struct rig g;

    begin(&g, 3, 3);
    leave_behind(&g, 3);
    raft_index had = state_index(node_state(g.nodes[3]));
    raft_index last = rig_view(&g, 3).last;
    g.flush_fails[3] = true;
    rig_cut(&g, 3, false);
    rig_run(&g, 3000);
    assert_int_equal(state_index(node_state(g.nodes[3])), had);
    assert_int_equal(rig_view(&g, 3).last, last);
    assert_int_equal(rig_view(&g, 3).base, g.disks[3].base.index);
    assert_in_range(g.disks[1].opened, 2, 3); /* who cannot use it waits longer each time */
    g.flush_fails[3] = false;
    rig_run(&g, 8000);
    assert_same_state(&g, 1, 3);
    rig_done(&g);
}

static void several_get_it_at_once(void **state)
{
    (void)state;
    struct rig g;

    begin(&g, 7, 7);
    for (raft_id id = 5; id <= 7; id++) {
        rig_cut(&g, id, true);
    }
    write_keys(&g, 1, KEYS);
    for (raft_id id = 5; id <= 7; id++) {
        rig_cut(&g, id, false);
    }
    rig_run(&g, 3000);
    for (raft_id id = 5; id <= 7; id++) {
        assert_same_state(&g, 1, id);
        assert_true(rig_view(&g, id).base > 0);
    }
    assert_int_equal(g.disks[1].readers, 0);
    rig_done(&g);
}

static bool no_word(struct rig *g, raft_id from, raft_id to, const struct peer_msg *msg)
{
    (void)g, (void)from, (void)to;
    return is_word(msg);
}

static void who_is_too_slow_is_given_up_and_tried_again(void **state)
{
    (void)state;
    struct rig g;

    begin(&g, 3, 3);
    leave_behind(&g, 3);
    g.drop = no_word;
    rig_cut(&g, 3, false);
    rig_run(&g, 5000);
    assert_int_equal(g.disks[1].readers, 1);
    rig_run(&g, 5100);
    assert_int_equal(g.disks[1].readers, 0); /* its pages are free, for a while */
    rig_run(&g, 2000);
    assert_int_equal(g.disks[1].readers, 1);
    g.drop = NULL;
    rig_run(&g, 3000);
    assert_same_state(&g, 1, 3);
    rig_done(&g);
}

static void what_cannot_be_read_any_more_is_begun_again(void **state)
{
    (void)state;
    struct rig g;

    begin(&g, 3, 3);
    leave_behind(&g, 3);
    g.disks[1].reads_fail = true;
    rig_cut(&g, 3, false);
    rig_run(&g, 3000);
    assert_int_equal(g.disks[1].readers, 0);
    g.disks[1].reads_fail = false;
    rig_run(&g, 3000);
    assert_same_state(&g, 1, 3);
    rig_done(&g);
}

/* A link that takes its time for each piece: they stand in a queue, in order. */
static struct rig_flight slow[256];
static uint32_t slow_count, slow_most;

static bool queue_pieces(struct rig *g, raft_id from, raft_id to, const struct peer_msg *msg)
{
    (void)g;
    if (!is_piece(msg)) {
        return false;
    }
    assert_in_range(slow_count, 0, 255);
    slow[slow_count] = (struct rig_flight){.from = from, .to = to, .msg = *msg};
    (void)blob_ref(slow[slow_count++].msg.raft.data);
    slow_most = slow_count > slow_most ? slow_count : slow_most;
    return true;
}

static void slow_link_delivers_one(struct rig *g)
{
    if (slow_count > 0) {
        g->queue[g->queue_count++] = slow[0];
        memmove(&slow[0], &slow[1], --slow_count * sizeof slow[0]);
    }
}

static void a_slow_link_is_not_filled_with_repetitions(void **state)
{
    (void)state;
    struct rig g;
    uint32_t carried = 0;

    begin(&g, 3, 3);
    leave_behind(&g, 3);
    slow_count = slow_most = 0;
    g.drop = queue_pieces;
    rig_cut(&g, 3, false);
    for (int i = 0; i < 200 && rig_view(&g, 3).base == 0; i++, carried++) {
        rig_run(&g, 500);
        slow_link_delivers_one(&g);
    }
    assert_true(rig_view(&g, 3).base > 0);
    assert_in_range(slow_most, 1, 24);
    assert_in_range(carried, 10, 100); /* some fifty pieces */
    while (slow_count > 0) {
        peer_msg_done(&slow[--slow_count].msg);
    }
    rig_done(&g);
}

/* ---- Crashes ---- */

static void run_until_flushing(struct rig *g, raft_id id)
{
    for (int i = 0; i < 5000; i++) {
        if (g->flushing[id] && g->flushing[id]->mark.installed) {
            return;
        }
        rig_run(g, 1);
    }
    fail_msg("no snapshot came");
}

/* It is on disk, and the process ends before it knows. */
static void installed_and_not_known(void **state)
{
    (void)state;
    struct rig g;

    begin(&g, 3, 3);
    leave_behind(&g, 3);
    g.flush_held[3] = true;
    rig_cut(&g, 3, false);
    run_until_flushing(&g, 3);
    disk_flush(&g.disks[3], g.flushing[3]);
    g.flush_held[3] = false;
    rig_restart(&g, 3);
    assert_int_equal(rig_view(&g, 3).commit, g.disks[3].mark.at.index);
    assert_int_equal(rig_view(&g, 3).base, g.disks[3].mark.at.index);
    rig_run(&g, 1500);
    assert_same_state(&g, 1, 3);
    rig_done(&g);
}

/* It was on its way to the disk, and did not get there. */
static void nothing_of_it_is_left(void **state)
{
    (void)state;
    struct rig g;

    begin(&g, 3, 3);
    leave_behind(&g, 3);
    g.flush_held[3] = true;
    rig_cut(&g, 3, false);
    run_until_flushing(&g, 3);
    raft_index had = rig_view(&g, 3).last;
    g.flush_held[3] = false;
    rig_restart(&g, 3);
    assert_int_equal(rig_view(&g, 3).last, had);
    rig_run(&g, 1500);
    assert_same_state(&g, 1, 3);
    rig_done(&g);
}

/* It is known, and the log that begins after it is not on disk. */
static void known_and_not_reset(void **state)
{
    (void)state;
    struct rig g;

    begin(&g, 3, 3);
    leave_behind(&g, 3);
    g.flush_held[3] = true;
    rig_cut(&g, 3, false);
    run_until_flushing(&g, 3);
    g.disk_held[3] = true;
    g.flush_held[3] = false;
    rig_run(&g, 50);
    assert_true(rig_view(&g, 3).base > g.disks[3].base.index);
    g.disk_held[3] = false;
    rig_restart(&g, 3);
    rig_run(&g, 1500);
    assert_same_state(&g, 1, 3);
    rig_done(&g);
}

/* ---- Clients of who gets it ---- */

/* Node 3 hears nothing of Raft any more. Its links are up. */
static bool deaf_3(struct rig *g, raft_id from, raft_id to, const struct peer_msg *msg)
{
    (void)g, (void)from;
    return to == 3 && (msg->type == PEER_FORWARD_REPLY || msg->type == PEER_RAFT);
}

/* A write of node 3 that is in every log but its own. */
static void write_and_go_deaf(struct rig *g)
{
    struct state_kv kv;

    g->drop = deaf_3;
    rig_write(g, 3, 1, "mine", "x", 60000);
    rig_run(g, 20);
    assert_true(state_get(node_state(g->nodes[1]), "mine", 4, &kv));
    assert_null(rig_answer(g, 1));
}

static void what_was_asked_here_is_answered(void **state)
{
    (void)state;
    struct rig g;

    begin(&g, 3, 3);
    write_and_go_deaf(&g);
    raft_index mine = rig_view(&g, 1).commit;
    rig_cut(&g, 3, true);
    g.drop = NULL;
    leave_behind(&g, 3);
    rig_cut(&g, 3, false);
    rig_run(&g, 1000);
    assert_same_state(&g, 1, 3);
    assert_code(rig_answer(&g, 1), 0);
    assert_int_equal(rig_answer(&g, 1)->result.index, mine);
    rig_done(&g);
}

static void nothing_is_read_from_the_state_before(void **state)
{
    (void)state;
    struct rig g;
    struct state_kv kv;

    begin(&g, 3, 3);
    leave_behind(&g, 3);
    g.flush_held[3] = true;
    rig_cut(&g, 3, false);
    run_until_flushing(&g, 3);
    rig_read(&g, 3, 1, 10000);
    rig_run(&g, 500);
    assert_null(rig_answer(&g, 1)); /* what it has is older than the question */
    g.flush_held[3] = false;
    assert_code(rig_wait(&g, 1), 0);
    assert_true(state_get(node_state(g.nodes[3]), "key59", 5, &kv));
    rig_done(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_needs_what_is_forgotten_gets_the_state),
        cmocka_unit_test(lost_pieces_are_sent_again),
        cmocka_unit_test(whichever_piece_is_lost_is_soon_sent_again),
        cmocka_unit_test(pieces_come_in_any_order_and_twice),
        cmocka_unit_test(another_sender_begins_again),
        cmocka_unit_test(what_does_not_fit_changes_nothing),
        cmocka_unit_test(several_get_it_at_once),
        cmocka_unit_test(who_is_too_slow_is_given_up_and_tried_again),
        cmocka_unit_test(what_cannot_be_read_any_more_is_begun_again),
        cmocka_unit_test(a_slow_link_is_not_filled_with_repetitions),
        cmocka_unit_test(installed_and_not_known),
        cmocka_unit_test(nothing_of_it_is_left),
        cmocka_unit_test(known_and_not_reset),
        cmocka_unit_test(what_was_asked_here_is_answered),
        cmocka_unit_test(nothing_is_read_from_the_state_before),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
