/* Where the log begins: what is forgotten with one save, the membership as of a point, a start with a
 * state, a snapshot in the place of the log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "raft/internal.h"
#include "raft/membership.h"
#include "rig.h"

static void propose(struct rig *g, int count)
{
    struct blob *data = blob_copy("x", 1);

    for (int i = 0; i < count; i++) {
        rig_step(g, &(struct raft_event){.type = RAFT_EV_PROPOSE, .propose = {.data = data}});
    }
    blob_unref(data);
    rig_save(g);
}

static struct raft_view view_of(const struct rig *g)
{
    struct raft_view v;

    raft_view_get(g->r, &v);
    return v;
}

static void persisted(struct rig *g, struct raft_save *save)
{
    struct raft_event e = {.type = RAFT_EV_PERSISTED, .persisted = {save->last, save->last_term}};

    raft_save_done(save);
    rig_step(g, &e);
}

/* ---- Trimming ---- */

static void one_save_forgets_so_many_entries(void **state)
{
    (void)state;
    struct raft_save save;
    struct rig g;

    rig_lead_alone(&g);
    propose(&g, 5000);
    raft_index last = view_of(&g).last;
    assert_int_equal(view_of(&g).commit, last);
    assert_false(raft_save_wanted(g.r));
    raft_trim(g.r, last - 10);
    static const raft_index steps[] = {2000, 4000, 0};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        assert_true(raft_save_wanted(g.r));
        assert_true(raft_save_take(g.r, UINT64_MAX, &save));
        assert_true(save.base_set);
        assert_false(save.reset);
        assert_int_equal(save.base.index, steps[i] ? steps[i] : last - 10);
        assert_int_equal(save.base.term, raft_term_at(g.r, save.base.index));
        assert_int_equal(save.base.membership_index, 1);
        assert_int_equal(save.first, 0);
        assert_int_equal(view_of(&g).base, save.base.index);
        persisted(&g, &save);
        assert_int_equal(view_of(&g).saved, last);
    }
    assert_false(raft_save_wanted(g.r));
    raft_trim(g.r, 5); /* long gone */
    assert_false(raft_save_wanted(g.r));
    rig_done(&g);
}

static void what_is_forgotten_goes_with_what_is_new(void **state)
{
    (void)state;
    struct raft_save save;
    struct rig g;
    struct blob *data = blob_copy("x", 1);

    rig_lead_alone(&g);
    propose(&g, 10);
    raft_index last = view_of(&g).last;
    raft_trim(g.r, last);
    rig_step(&g, &(struct raft_event){.type = RAFT_EV_PROPOSE, .propose = {.data = data}});
    blob_unref(data);
    assert_true(raft_save_take(g.r, UINT64_MAX, &save));
    assert_int_equal(save.base.index, last);
    assert_int_equal(save.first, last + 1);
    assert_int_equal(save.entries_count, 1);
    assert_true(save.entries[0].chain == raft_chain_after(save.base.chain, &save.entries[0]));
    persisted(&g, &save);
    assert_int_equal(view_of(&g).commit, last + 1);
    rig_done(&g);
}

/* ---- Points ---- */

static void add_server(struct rig *g, raft_id id)
{
    struct raft_change c = {
        .kind = RAFT_CHANGE_ADD, .id = id, .store = {.bytes = {(uint8_t)id}}, .address = "h:1"};

    rig_step(g, &(struct raft_event){.type = RAFT_EV_CHANGE, .change = &c});
    assert_int_equal(g->fx.request_code, 0);
    rig_save(g);
}

static uint32_t members_at(struct rig *g, raft_index index, raft_index expected_membership)
{
    struct raft_membership *m = mem_zalloc(sizeof *m);
    struct raft_point p;

    raft_point_get(g->r, index, &p);
    assert_int_equal(p.index, index);
    assert_int_equal(p.term, raft_term_at(g->r, index));
    assert_int_equal(p.membership_index, expected_membership);
    assert_int_equal(
        membership_decode(p.membership->data, p.membership->size, p.membership_index, m), 0);
    uint32_t count = m->members_count;
    raft_point_done(&p);
    mem_free(m);
    return count;
}

static void a_point_has_the_membership_as_of_it(void **state)
{
    (void)state;
    struct rig g;

    rig_lead_alone(&g); /* 1 the membership, 2 the no-op */
    propose(&g, 2);     /* 3, 4 */
    add_server(&g, 2);  /* 5 */
    propose(&g, 1);     /* 6 */
    add_server(&g, 3);  /* 7 */
    propose(&g, 1);     /* 8 */
    assert_int_equal(view_of(&g).commit, 8);
    for (raft_index base = 0; base < 8; base++) { /* wherever the log begins */
        if (base > 0) {
            raft_trim(g.r, base);
            rig_save(&g);
            assert_int_equal(view_of(&g).base, base);
        }
        for (raft_index i = base ? base : 1; i <= 8; i++) {
            raft_index membership = i >= 7 ? 7 : i >= 5 ? 5 : 1;
            assert_int_equal(members_at(&g, i, membership), i >= 7 ? 3 : i >= 5 ? 2 : 1);
        }
    }
    rig_done(&g);
}

/* ---- A start with a state ---- */

/* A disk whose log begins after `base`, with entries up to `last`, all of term 2. */
static struct raft_point restore(struct raft *r, raft_index base, raft_index last, raft_index at)
{
    struct raft_membership *m = rig_voters(3);
    struct raft_point p = {.index = base, .term = 2, .chain = 77, .membership_index = 1};
    struct raft_point found = {.index = at, .term = 2};

    p.membership = found.membership = membership_encode(m);
    found.membership_index = 1;
    uint64_t chain = p.chain;
    raft_restore_hard(r, &rig_cluster, 2, 0, 500);
    assert_int_equal(raft_restore_base(r, &p), 0);
    for (raft_index i = base + 1; i <= last; i++) {
        struct raft_entry e = {.index = i, .term = 2, .type = RAFT_ENTRY_NOOP};
        chain = e.chain = raft_chain_after(chain, &e);
        assert_int_equal(raft_restore_entry(r, &e), 0);
        found.chain = i == at ? chain : found.chain;
    }
    found.chain = at == base ? p.chain : found.chain;
    mem_free(m);
    return found; /* with the reference of both */
}

static void a_state_has_to_fit_the_log(void **state)
{
    (void)state;
    static const struct {
        raft_index at;
        raft_term term_more;
        uint64_t chain_more;
        bool installed;
        int code;
        raft_index base, last; /* then */
    } rows[] = {
        {12, 0, 0, false, 0, 10, 15},
        {10, 0, 0, false, 0, 10, 15},
        {15, 0, 0, true, 0, 10, 15},
        {12, 0, 1, false, -RD_ECORRUPT, 0, 0}, /* another history */
        {12, 0, 1, true, -RD_ECORRUPT, 0, 0},
        {10, 0, 1, true, -RD_ECORRUPT, 0, 0},
        {9, 0, 0, false, -RD_ECORRUPT, 0, 0}, /* behind what is forgotten */
        {9, 0, 0, true, -RD_ECORRUPT, 0, 0},
        {16, 0, 0, false, -RD_ECORRUPT, 0, 0}, /* ahead of the log */
        {16, 0, 0, true, 0, 16, 16},           /* as a snapshot may be (trap 42) */
        {12, UINT64_MAX, 0, true, 0, 12, 12},  /* or instead of it */
        {16, 1, 0, true, -RD_ECORRUPT, 0, 0},  /* of a term that was never heard of */
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rig g = {.r = rig_core(1), .now = 1000};
        struct raft_point p = restore(g.r, 10, 15, rows[i].at);
        p.term = rows[i].term_more == UINT64_MAX ? 1 : p.term + rows[i].term_more;
        p.chain += rows[i].chain_more;
        assert_int_equal(raft_restore_applied(g.r, &p, rows[i].installed), rows[i].code);
        if (rows[i].code == 0) {
            raft_start(g.r, g.now);
            assert_int_equal(view_of(&g).base, rows[i].base);
            assert_int_equal(view_of(&g).last, rows[i].last);
            assert_int_equal(view_of(&g).commit, rows[i].at);
            assert_int_equal(view_of(&g).saved, rows[i].last);
            assert_int_equal(raft_save_wanted(g.r), rows[i].base != 10);
        }
        raft_point_done(&p);
        rig_done(&g);
    }
}

static void a_beginning_without_members_is_none(void **state)
{
    (void)state;
    struct rig g = {.r = rig_core(1), .now = 1000};
    struct raft_point p = {.index = 5, .term = 1, .membership_index = 1};

    raft_restore_hard(g.r, &rig_cluster, 2, 0, 500);
    p.membership = blob_copy("not a membership", 16);
    assert_int_equal(raft_restore_base(g.r, &p), -RD_ECORRUPT);
    assert_int_equal(p.membership->refs, 1);
    raft_point_done(&p);
    rig_done(&g);
}

/* ---- Snapshots ---- */

/* A follower of node 2 in term 5, whose log is 1..15 of term 2, after 10. */
static struct raft_point follow(struct rig *g, raft_index at)
{
    *g = (struct rig){.r = rig_core(1), .now = 1000};
    struct raft_point p = restore(g->r, 10, 15, at);

    raft_start(g->r, g->now);
    rig_hear(g, (struct raft_msg){.type = RAFT_MSG_APPEND, .from = 2, .term = 5});
    rig_save(g);
    return p;
}

static struct raft_msg piece(const struct raft_point *p, uint64_t offset, bool done)
{
    return (struct raft_msg){.type = RAFT_MSG_SNAPSHOT,
                             .from = 2,
                             .term = 5,
                             .seq = 9,
                             .stamp = 1000,
                             .session = 1,
                             .index = p->index,
                             .log_term = p->term,
                             .chain = p->chain,
                             .offset = offset,
                             .done = done};
}

static void an_answer_echoes_what_was_asked(void **state)
{
    (void)state;
    struct rig g;
    struct raft_point p = follow(&g, 30);
    struct raft_msg m = piece(&p, 100, false);

    p.term = 5;
    rig_hear(&g, m);
    assert_ptr_equal(g.fx.msgs_count, 0); /* its caller looks at it first */
    assert_non_null(g.fx.snapshot);
    rig_step(&g, &(struct raft_event){.type = RAFT_EV_PIECE_TAKEN,
                                      .snapshot = {.message = &m, .offset = 77, .reject = true}});
    assert_int_equal(g.fx.msgs_count, 1);
    const struct raft_msg *reply = &g.fx.msgs[0].msg;
    assert_int_equal(reply->type, RAFT_MSG_SNAPSHOT_REPLY);
    assert_int_equal(reply->to, 2);
    assert_int_equal(reply->seq, 9);
    assert_int_equal(reply->stamp, 1000);
    assert_int_equal(reply->session, 1);
    assert_int_equal(reply->index, 30);
    assert_int_equal(reply->offset, 77);
    assert_true(reply->reject);
    assert_false(reply->done);
    assert_false(g.fx.msgs[0].after_save);
    raft_point_done(&p);
    rig_done(&g);
}

/* Another leader's entry of the same index and term, with another history: it cannot be (log matching). */
static void a_snapshot_of_another_history_stops_the_node(void **state)
{
    (void)state;
    struct rig g;
    struct raft_point p = follow(&g, 12);
    struct raft_msg m;

    p.chain++;
    m = piece(&p, 0, false);
    rig_hear(&g, m);
    assert_true(g.fx.diverged);
    assert_null(g.fx.snapshot);
    rig_step(&g, &(struct raft_event){.type = RAFT_EV_INSTALLED,
                                      .snapshot = {.message = &m, .point = &p}});
    assert_true(g.fx.diverged);
    assert_int_equal(g.fx.msgs_count, 0);
    raft_point_done(&p);
    rig_done(&g);
}

static void nobody_leads_without_what_was_committed(void **state)
{
    (void)state;
    struct rig g;
    struct raft_point p = {.index = 50, .term = 2, .membership_index = 1};
    struct raft_membership *m = rig_voters(3);

    rig_lead(&g);
    p.membership = membership_encode(m);
    mem_free(m);
    struct raft_msg last = piece(&p, 0, true);
    rig_step(&g, &(struct raft_event){.type = RAFT_EV_INSTALLED,
                                      .snapshot = {.message = &last, .point = &p}});
    assert_true(g.fx.diverged);
    assert_int_equal(view_of(&g).last, 2);
    raft_point_done(&p);
    rig_done(&g);
}

static void a_snapshot_whose_members_cannot_be_read_stops_the_node(void **state)
{
    (void)state;
    struct rig g;
    struct raft_point p = follow(&g, 30);
    struct raft_msg m = piece(&p, 0, true);

    blob_unref(p.membership);
    p.membership = NULL;
    rig_step(&g, &(struct raft_event){.type = RAFT_EV_INSTALLED,
                                      .snapshot = {.message = &m, .point = &p}});
    assert_true(g.fx.diverged);
    assert_int_equal(view_of(&g).last, 15); /* nothing has changed */
    assert_int_equal(raft_membership(g.r)->members_count, 3);
    rig_done(&g);
}

/* A save of the old log is on its way when the log begins anew: what it says to be durable is not what
 * is in the log now (trap 13). */
static void a_save_of_the_log_before_says_nothing_of_the_new_one(void **state)
{
    (void)state;
    struct raft_save save;
    struct rig g;
    struct raft_point p = follow(&g, 30);
    struct raft_entry e = {.index = 16, .term = 5, .type = RAFT_ENTRY_NOOP};
    struct raft_msg append = {.type = RAFT_MSG_APPEND,
                              .from = 2,
                              .term = 5,
                              .index = 15,
                              .log_term = 2,
                              .chain = g.r->log.last_chain,
                              .entries = &e,
                              .entries_count = 1};

    rig_hear(&g, append);
    assert_int_equal(view_of(&g).last, 16);
    assert_true(raft_save_take(g.r, UINT64_MAX, &save));
    struct raft_msg m = piece(&p, 0, true);
    rig_step(&g, &(struct raft_event){.type = RAFT_EV_INSTALLED,
                                      .snapshot = {.message = &m, .point = &p}});
    assert_int_equal(view_of(&g).base, 30);
    assert_true(g.fx.msgs[0].after_save);
    persisted(&g, &save);
    assert_int_equal(view_of(&g).saved, 30);
    assert_true(raft_save_take(g.r, UINT64_MAX, &save));
    assert_true(save.reset);
    assert_int_equal(save.base.index, 30);
    persisted(&g, &save);
    assert_false(raft_save_wanted(g.r));
    raft_point_done(&p);
    rig_done(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_save_forgets_so_many_entries),
        cmocka_unit_test(what_is_forgotten_goes_with_what_is_new),
        cmocka_unit_test(a_point_has_the_membership_as_of_it),
        cmocka_unit_test(a_state_has_to_fit_the_log),
        cmocka_unit_test(a_beginning_without_members_is_none),
        cmocka_unit_test(an_answer_echoes_what_was_asked),
        cmocka_unit_test(a_snapshot_of_another_history_stops_the_node),
        cmocka_unit_test(nobody_leads_without_what_was_committed),
        cmocka_unit_test(a_snapshot_whose_members_cannot_be_read_stops_the_node),
        cmocka_unit_test(a_save_of_the_log_before_says_nothing_of_the_new_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
