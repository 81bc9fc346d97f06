/* The state written behind: what a flush holds, and a node that starts with it. */
#include "fixture.h"

#include <inttypes.h>
#include <stdio.h>

static void write_some(struct rig *g, int from, int to)
{
    static uint64_t token = 1000;
    char key[16];

    for (int i = from; i < to; i++) {
        (void)snprintf(key, sizeof key, "k%d", i);
        rig_write(g, 1, ++token, key, "v", 1000);
    }
    rig_run(g, 50);
}

static struct node *born(void)
{
    struct node_config c = rig_config(1, 0);

    return node_new(&c, rig_no_load, NULL);
}

static int restore(struct rig *g, struct node *n, const struct node_flush *f, raft_index last)
{
    const struct rig_disk *disk = &g->disks[1];

    node_restore_hard(n, &disk->cluster, disk->term, disk->vote, disk->loyal_ms);
    for (uint32_t i = 0; i < f->rows.count; i++) {
        const struct state_row *row = &f->rows.rows[i];
        assert_int_equal(node_restore_row(n, f->rows.bytes.data + row->key_at, row->key_size,
                                          f->rows.bytes.data + row->value_at, row->value_size),
                         0);
    }
    for (raft_index i = 0; i < last; i++) {
        assert_int_equal(node_restore_entry(n, &disk->entries[i]), 0);
    }
    return node_restore_applied(n, &f->mark);
}

static void who_starts_with_a_flush_has_nothing_to_replay(void **state)
{
    (void)state;
    struct rig g;
    struct raft_view view;
    const struct uuid fresh = {{1}};

    rig_grow(&g, 1, 1);
    write_some(&g, 0, 10);
    assert_true(node_flush_wanted(g.nodes[1]));
    assert_true(node_flush_bytes(g.nodes[1]) > 0);
    const struct node_flush *f = node_flush_take(g.nodes[1]);
    assert_true(f->anew);
    assert_false(node_flush_wanted(g.nodes[1]));
    struct node *n = born();
    assert_int_equal(restore(&g, n, f, g.disks[1].entries_count), 0);
    node_start(n, g.now, &fresh);
    raft_view_get(node_raft(n), &view);
    assert_int_equal(view.commit, f->mark.at.index);
    assert_int_equal(state_index(node_state(n)), f->mark.at.index);
    assert_true(state_digest(node_state(n)) == state_digest(node_state(g.nodes[1])));
    assert_false(node_flush_wanted(n)); /* it is on disk already */
    assert_int_equal(raft_membership_committed(node_raft(n))->members_count, 1);
    node_free(n);
    rig_done(&g);
}

static void a_flush_that_is_not_of_this_log_is_refused(void **state)
{
    (void)state;
    struct rig g;

    rig_grow(&g, 1, 1);
    write_some(&g, 0, 10);
    struct node_flush f = *node_flush_take(g.nodes[1]);
    struct node *n = born();
    assert_int_equal(restore(&g, n, &f, f.mark.at.index - 1),
                     -RD_ECORRUPT); /* the log is shorter */
    node_free(n);
    n = born();
    f.mark.digest++;
    assert_int_equal(restore(&g, n, &f, f.mark.at.index), -RD_ECORRUPT);
    node_restore_anew(n);
    assert_int_equal(state_index(node_state(n)), 0);
    node_free(n);
    rig_done(&g);
}

/* Turns of a node that has only itself, with a disk that always works, until it wants to stop. */
static const struct node_out *run_alone(const struct rig *g, struct node *n)
{
    const struct uuid fresh = {{1}};
    struct node_out *out;
    mono_ms at = g->now;

    node_start(n, at, &fresh);
    do {
        at += 100;
        node_out_clear(n);
        node_begin(n, at, 0);
        out = node_end(n);
        if (out->batch) {
            node_persisted(n, out->batch->seq);
        }
    } while (out->fatal == 0 && at < g->now + 5000);
    return out;
}

static void a_command_of_a_later_version_is_not_passed_over(void **state)
{
    (void)state;
    struct rig g;
    char words[64];

    rig_grow(&g, 1, 1);
    write_some(&g, 0, 10);
    const struct node_flush f = *node_flush_take(g.nodes[1]);
    raft_index known = f.mark.at.index + 1;
    write_some(&g, 10, 13);
    const struct rig_disk *disk = &g.disks[1];
    struct node *n = born();
    assert_int_equal(restore(&g, n, &f, disk->entries_count), 0);
    disk->entries[known].data->data[0]++; /* of the one after it: the version */
    const struct node_out *out = run_alone(&g, n);
    assert_int_equal(out->fatal, -RD_EFORMAT);
    (void)snprintf(words, sizeof words,
                   "entry %" PRIu64 " is a command that this raftd does not know", known + 1);
    assert_non_null(strstr(out->fatal_why, words));
    assert_int_equal(state_index(node_state(n)), known);
    node_free(n);
    rig_done(&g);
}

static void what_the_own_log_does_not_hold_waits(void **state)
{
    (void)state;
    struct rig g;

    rig_grow(&g, 3, 3);
    rig_run(&g, 300);
    (void)node_flush_take(g.nodes[1]);
    node_flushed(g.nodes[1]);
    g.disk_held[1] = true; /* the others commit without it */
    rig_write(&g, 1, 1, "k", "v", 3000);
    rig_run(&g, 50);
    assert_int_equal(rig_answer(&g, 1)->code, 0);
    assert_false(node_flush_wanted(g.nodes[1]));
    g.disk_held[1] = false;
    rig_run(&g, 50);
    assert_true(node_flush_wanted(g.nodes[1]));
    const struct node_flush *f = node_flush_take(g.nodes[1]);
    assert_false(f->anew);
    assert_in_range(f->rows.count, 2, 3); /* the key, the request */
    rig_done(&g);
}

static void what_could_not_be_flushed_is_in_the_next_one(void **state)
{
    (void)state;
    struct rig g;

    rig_grow(&g, 1, 1);
    write_some(&g, 0, 5);
    (void)node_flush_take(g.nodes[1]);
    write_some(&g, 3, 8);
    node_flush_failed(g.nodes[1]);
    struct node *n = born();
    const struct node_flush *f = node_flush_take(g.nodes[1]);
    assert_true(f->anew);
    assert_int_equal(restore(&g, n, f, g.disks[1].entries_count),
                     0); /* each key once, as it is now */
    assert_true(state_digest(node_state(n)) == state_digest(node_state(g.nodes[1])));
    node_free(n);
    rig_done(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_starts_with_a_flush_has_nothing_to_replay),
        cmocka_unit_test(a_flush_that_is_not_of_this_log_is_refused),
        cmocka_unit_test(a_command_of_a_later_version_is_not_passed_over),
        cmocka_unit_test(what_the_own_log_does_not_hold_waits),
        cmocka_unit_test(what_could_not_be_flushed_is_in_the_next_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
