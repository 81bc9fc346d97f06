/* How much of the log stays: what is configured, not much more, more for members that lag, with a limit. */
#include "asking.h"

#include <stdio.h>

static void write_some(struct rig *g, int count, size_t size)
{
    static uint64_t token = 7000;
    char value[4096];

    memset(value, 'v', size);
    value[size] = '\0';
    for (int i = 0; i < count; i++) {
        rig_write(g, 1, ++token, "k", value, 5000);
        rig_run(g, 2);
    }
    rig_run(g, 200);
    assert_code(rig_answer(g, token), 0);
}

static uint64_t entries_left(const struct rig *g, raft_id id)
{
    struct raft_view v = rig_view(g, id);

    return v.last - v.base;
}

static void so_many_entries_stay(void **state)
{
    (void)state;
    struct rig g;

    rig_keep(64, 1 << 30, 1 << 30, 1000);
    rig_grow(&g, 1, 1);
    write_some(&g, 500, 10);
    assert_int_equal(rig_view(&g, 1).base, 0); /* nothing is flushed, so nothing is forgotten */
    g.flushes = true;
    rig_run(&g, 200);
    assert_in_range(entries_left(&g, 1), 64, 64 + 4);
    write_some(&g, 200, 10);
    assert_in_range(entries_left(&g, 1), 64, 64 + 4 + 30); /* and what came after the last flush */
    assert_int_equal(g.disks[1].base.index, rig_view(&g, 1).base);
    rig_done(&g);
}

static void or_so_many_bytes(void **state)
{
    (void)state;
    struct rig g;

    rig_keep(1000000, 64 * 1024, 1 << 30, 1000);
    rig_grow(&g, 1, 1);
    g.flushes = true;
    write_some(&g, 200, 1000);
    /* Each takes a little more than its value. */
    assert_in_range(entries_left(&g, 1), 64 * 1024 / 1200, 64 * 1024 / 1000 + 4 + 30);
    rig_done(&g);
}

static void what_is_not_flushed_stays(void **state)
{
    (void)state;
    struct rig g;

    rig_keep(16, 1 << 30, 1 << 30, 1000);
    rig_grow(&g, 1, 1);
    g.flushes = true;
    write_some(&g, 50, 10);
    raft_index flushed = g.disks[1].mark.at.index;
    g.flush_fails[1] = true;
    write_some(&g, 100, 10);
    assert_in_range(rig_view(&g, 1).base, 1, flushed);
    assert_true(entries_left(&g, 1) >= 100);
    rig_done(&g);
}

static bool no_appends_to_3(struct rig *g, raft_id from, raft_id to, const struct peer_msg *msg)
{
    (void)g, (void)from;
    return to == 3 && msg->type == PEER_RAFT && msg->raft.type == RAFT_MSG_APPEND &&
           msg->raft.entries_count > 0;
}

/* Node 3 answers heartbeats, and gets no entries. */
static void more_stays_for_who_lags_up_to_a_limit(void **state)
{
    (void)state;
    struct rig g;

    rig_keep(16, 1 << 30, 30 * 1024, 1000);
    rig_grow(&g, 3, 3);
    g.flushes = true;
    write_some(&g, 50, 10);
    g.drop = no_appends_to_3;
    raft_index had = rig_view(&g, 3).last;
    write_some(&g, 100, 10);
    assert_in_range(rig_view(&g, 1).base, 1, had);     /* kept by the leader, for node 3, */
    assert_in_range(entries_left(&g, 2), 16, 16 + 30); /* not by a follower */
    assert_false(node_log_is_long(g.nodes[1]));
    write_some(&g, 200, 100);
    assert_true(rig_view(&g, 1).base > had); /* too much */
    assert_in_range(entries_left(&g, 1), 16, 30 * 1024 / 164 + 30);
    g.drop = NULL;
    rig_run(&g, 3000);
    assert_int_equal(rig_view(&g, 3).last, rig_view(&g, 1).last);
    rig_done(&g);
}

static void nothing_stays_for_who_is_away(void **state)
{
    (void)state;
    struct rig g;

    rig_keep(16, 1 << 30, 1 << 30, 1000);
    rig_grow(&g, 3, 3);
    g.flushes = true;
    rig_cut(&g, 3, true);
    write_some(&g, 200, 10);
    assert_in_range(entries_left(&g, 1), 16, 16 + 30);
    rig_done(&g);
}

/* Half of the room that the log has is too long, whatever it holds. */
static void a_log_that_fills_its_room_waits_for_nobody(void **state)
{
    (void)state;
    struct rig g;

    rig_keep(16, 1 << 30, 1 << 30, 1000);
    rig_grow(&g, 3, 3);
    g.flushes = true;
    g.drop = no_appends_to_3;
    node_set_log_use(g.nodes[1], 600, 1000000);
    raft_index had = rig_view(&g, 3).last;
    write_some(&g, 100, 10);
    assert_in_range(rig_view(&g, 1).base, 0, had);
    node_set_log_use(g.nodes[1], 600000, 1000000);
    rig_run(&g, 300);
    assert_in_range(entries_left(&g, 1), 16, 16 + 30);
    rig_done(&g);
}

static void a_restart_counts_what_is_there(void **state)
{
    (void)state;
    struct rig g;

    rig_keep(64, 1 << 30, 1 << 30, 1000);
    rig_grow(&g, 1, 1);
    g.flushes = true;
    write_some(&g, 300, 10);
    for (int i = 0; i < 3; i++) {
        rig_restart(&g, 1);
        assert_int_equal(rig_leader(&g), 1);
        rig_run(&g, 300);
        assert_in_range(entries_left(&g, 1), 64, 64 + 4 + 30);
        write_some(&g, 3, 10);
    }
    write_some(&g, 200, 10);
    assert_in_range(entries_left(&g, 1), 64, 64 + 4 + 30);
    rig_done(&g);
}

static void nothing_at_all_need_stay(void **state)
{
    (void)state;
    struct rig g;

    rig_keep(0, 0, 1 << 20, 1000);
    rig_grow(&g, 1, 1);
    g.flushes = true;
    write_some(&g, 100, 10);
    assert_in_range(entries_left(&g, 1), 0, 1);
    rig_restart(&g, 1);
    assert_int_equal(rig_leader(&g), 1);
    write_some(&g, 100, 10);
    assert_in_range(entries_left(&g, 1), 0, 1);
    rig_done(&g);
}

static void a_low_disk_keeps_nothing(void **state)
{
    (void)state;
    struct rig g;

    rig_keep(1000, 1 << 20, 1 << 20, 1000);
    rig_grow(&g, 1, 1);
    g.flushes = true;
    write_some(&g, 100, 10);
    assert_true(entries_left(&g, 1) > 90);
    node_set_room(g.nodes[1], &(struct node_room){.low = true, .path = "/"});
    rig_run(&g, 100);
    assert_in_range(entries_left(&g, 1), 0, 40); /* of the segment that is not full yet */
    rig_done(&g);
}

/* ---- Much to forget at once ---- */

static struct {
    raft_index wanted; /* node 2 acknowledges this entry, */
    raft_index base;   /* and its log began there when it did; 0: it did not yet */
} late;

static bool note_acknowledgement(struct rig *g, raft_id from, raft_id to,
                                 const struct peer_msg *msg)
{
    (void)to;
    bool acks = from == 2 && msg->type == PEER_RAFT && msg->raft.type == RAFT_MSG_APPEND_REPLY &&
                !msg->raft.reject && msg->raft.index >= late.wanted;

    if (acks && late.base == 0) {
        late.base = rig_view(g, 2).base;
    }
    return false;
}

/* What is forgotten goes in steps so that nobody waits for all of it: an acknowledgement leaves with
 * the save that holds its entry, whatever is still to be forgotten. */
static void an_acknowledgement_does_not_wait_for_all_that_is_forgotten(void **state)
{
    (void)state;
    struct rig g;

    rig_keep(16, 1 << 30, 1 << 30, 1000);
    rig_grow(&g, 3, 3);
    for (int i = 0; i < 500; i++) {
        for (int k = 0; k < 20; k++) {
            rig_write(&g, 1, (uint64_t)(100000 + 20 * i + k), "k", "v", 5000);
        }
        rig_run(&g, 2);
        rig_forget_answers(&g);
    }
    rig_run(&g, 300);
    g.disk_held[2] = true;
    g.flushes = true;
    rig_run(&g, 100); /* the first step is on its way to the disk */
    assert_in_range(rig_view(&g, 2).base, 1, 3000);
    late.wanted = rig_view(&g, 1).last + 1;
    late.base = 0;
    g.drop = note_acknowledgement;
    rig_write(&g, 1, 999999, "k", "v", 5000);
    rig_run(&g, 20);
    assert_int_equal(late.base, 0);
    g.disk_held[2] = false;
    rig_run(&g, 100);
    assert_in_range(late.base, 1, 7000); /* of about 10,000 */
    assert_in_range(entries_left(&g, 2), 16, 16 + 30);
    g.drop = NULL;
    rig_done(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(so_many_entries_stay),
        cmocka_unit_test(or_so_many_bytes),
        cmocka_unit_test(what_is_not_flushed_stays),
        cmocka_unit_test(more_stays_for_who_lags_up_to_a_limit),
        cmocka_unit_test(nothing_stays_for_who_is_away),
        cmocka_unit_test(a_log_that_fills_its_room_waits_for_nobody),
        cmocka_unit_test(a_restart_counts_what_is_there),
        cmocka_unit_test(nothing_at_all_need_stay),
        cmocka_unit_test(a_low_disk_keeps_nothing),
        cmocka_unit_test(an_acknowledgement_does_not_wait_for_all_that_is_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
