/* change: what a leader does to its membership, seen through the header; and whom it talks to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "raft/membership.h"
#include "rig.h"

static struct raft_change change(enum raft_change_kind kind, raft_id id)
{
    struct raft_change c = {.kind = kind, .id = id, .store = {.bytes = {(uint8_t)id, 1}}};

    (void)snprintf(c.address, sizeof c.address, "n%u:1", id);
    return c;
}

/* Asks for it; the code. What it leads to, sending included, is in g->fx. */
static int ask(struct rig *g, enum raft_change_kind kind, raft_id id, bool force)
{
    struct raft_change c = change(kind, id);

    c.force = force;
    rig_step(g, &(struct raft_event){.type = RAFT_EV_CHANGE, .change = &c});
    int code = g->fx.request_code;
    assert_int_equal(raft_step(g->r, g->now, &(struct raft_event){.type = RAFT_EV_FLUSH}, &g->fx),
                     0);
    return code;
}

/* A peer has everything up to `index`. */
static void acknowledge(struct rig *g, raft_id from, raft_index session, raft_index index)
{
    rig_hear(g, (struct raft_msg){.type = RAFT_MSG_APPEND_REPLY,
                                  .from = from,
                                  .term = 2,
                                  .stamp = g->now,
                                  .session = session,
                                  .index = index});
}

static uint32_t messages_to(const struct rig *g, raft_id to)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < g->fx.msgs_count; i++) {
        n += g->fx.msgs[i].msg.to == to;
    }
    return n;
}

static void a_change_that_makes_no_sense_is_refused(void **state)
{
    (void)state;
    struct raft_view before;
    struct raft_view after;
    struct rig g;

    rig_lead_alone(&g);
    raft_view_get(g.r, &before);
    struct raft_change bad[] = {
        change((enum raft_change_kind)0, 2), change(RAFT_CHANGE_COUNT, 2),
        change(RAFT_CHANGE_REMOVE, 0),       change(RAFT_CHANGE_ADD, 0),
        change(RAFT_CHANGE_ADD, 2),          change(RAFT_CHANGE_ADD, 2),
    };
    memset(&bad[4].store, 0, sizeof bad[4].store);
    bad[5].address[0] = '\0';
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct raft_event e = {.type = RAFT_EV_CHANGE, .change = &bad[i]};
        assert_int_equal(raft_step(g.r, g.now, &e, &g.fx), -RD_EINVALID);
    }
    raft_view_get(g.r, &after);
    assert_int_equal(after.last, before.last);
    assert_false(after.change_pending);
    rig_done(&g);
}

static void a_change_is_in_force_at_once_and_over_when_committed(void **state)
{
    (void)state;
    struct raft_view v;
    struct rig g;

    rig_lead_alone(&g);
    assert_int_equal(ask(&g, RAFT_CHANGE_ADD, 2, false), 0);
    assert_int_equal(g.fx.change_index, 3);
    assert_int_equal(raft_membership(g.r)->index, 3);
    assert_int_equal(raft_membership(g.r)->members_count, 2);
    assert_int_equal(raft_membership_committed(g.r)->index, 1);
    raft_view_get(g.r, &v);
    assert_true(v.change_pending);
    assert_int_equal(ask(&g, RAFT_CHANGE_ADD, 3, false), -RD_ECHANGE_PENDING);
    assert_string_equal(g.fx.refusal.text,
                        "the change at index # is not committed yet, the commit index is #: try "
                        "again");
    assert_int_equal(g.fx.refusal.numbers[0], 3);
    assert_int_equal(g.fx.refusal.numbers[1], 2);
    rig_save(&g);
    raft_view_get(g.r, &v);
    assert_false(v.change_pending);
    assert_int_equal(raft_membership_committed(g.r)->index, 3);
    rig_done(&g);
}

static void only_a_leader_changes_anything(void **state)
{
    (void)state;
    struct rig g;

    rig_found(&g, 3);
    assert_int_equal(ask(&g, RAFT_CHANGE_REMOVE, 3, true), -RD_ENOT_LEADER);
    assert_int_equal(g.fx.change_index, 0);
    rig_done(&g);
}

/* Thirty-one members, one change after the other. */
static void members_have_a_limit(void **state)
{
    (void)state;
    struct rig g;

    rig_lead_alone(&g);
    for (raft_id id = 2; id <= RAFT_MEMBERS_MAX; id++) {
        assert_int_equal(ask(&g, RAFT_CHANGE_ADD, 100 - id, false), 0);
        rig_save(&g);
    }
    assert_int_equal(ask(&g, RAFT_CHANGE_ADD, 100, false), -RD_ETOO_LARGE);
    assert_int_equal(g.fx.refusal.numbers[0], RAFT_MEMBERS_MAX);
    const struct raft_membership *m = raft_membership(g.r);
    assert_int_equal(m->members_count, RAFT_MEMBERS_MAX);
    for (uint32_t i = 1; i < m->members_count; i++) {
        assert_true(m->members[i - 1].id < m->members[i].id);
    }
    rig_done(&g);
}

static void who_is_added_is_talked_to(void **state)
{
    (void)state;
    struct raft_peer_view peer;
    struct rig g;

    rig_lead_alone(&g);
    assert_false(raft_peer_view(g.r, 2, &peer));
    assert_int_equal(ask(&g, RAFT_CHANGE_ADD, 2, false), 0);
    assert_true(raft_peer_view(g.r, 2, &peer));
    assert_int_equal(peer.match, 0);
    assert_int_equal(peer.contact, 0);
    assert_int_equal(messages_to(&g, 2), 1);
    assert_int_equal(g.fx.msgs[0].msg.session, 3);
    acknowledge(&g, 2, 3, 3);
    assert_true(raft_peer_view(g.r, 2, &peer));
    assert_int_equal(peer.match, 3);
    assert_int_equal(peer.contact, g.now);
    rig_done(&g);
}

static void what_an_earlier_life_says_is_not_heard(void **state)
{
    (void)state;
    struct raft_peer_view peer;
    struct rig g;

    rig_lead_alone(&g);
    assert_int_equal(ask(&g, RAFT_CHANGE_ADD, 2, false), 0);
    rig_save(&g);
    acknowledge(&g, 2, 3, 3);
    assert_int_equal(ask(&g, RAFT_CHANGE_REMOVE, 2, false), 0);
    rig_save(&g);
    assert_int_equal(ask(&g, RAFT_CHANGE_ADD, 2, false), 0);
    rig_save(&g);
    assert_true(raft_peer_view(g.r, 2, &peer));
    assert_int_equal(peer.match, 0);
    acknowledge(&g, 2, 3, 5); /* the first life */
    assert_true(raft_peer_view(g.r, 2, &peer));
    assert_int_equal(peer.match, 0);
    assert_int_equal(peer.contact, 0);
    acknowledge(&g, 2, 5, 5); /* the second */
    assert_true(raft_peer_view(g.r, 2, &peer));
    assert_int_equal(peer.match, 5);
    rig_done(&g);
}

static void who_was_removed_is_listed_until_it_knows(void **state)
{
    (void)state;
    const char *address;
    raft_id id;
    struct rig g;

    rig_lead_alone(&g);
    assert_int_equal(ask(&g, RAFT_CHANGE_ADD, 2, false), 0);
    rig_save(&g);
    assert_int_equal(ask(&g, RAFT_CHANGE_ADD, 3, false), 0);
    rig_save(&g);
    assert_false(raft_leaving(g.r, 0, &id, &address));
    assert_int_equal(ask(&g, RAFT_CHANGE_REMOVE, 2, false), 0);
    rig_save(&g);
    assert_int_equal(ask(&g, RAFT_CHANGE_REMOVE, 3, false), 0);
    rig_save(&g);
    assert_true(raft_leaving(g.r, 0, &id, &address));
    assert_int_equal(id, 2);
    assert_string_equal(address, "n2:1");
    assert_true(raft_leaving(g.r, 1, &id, &address));
    assert_int_equal(id, 3);
    assert_false(raft_leaving(g.r, 2, &id, &address));
    /* It has the entry; the next message tells it of the commit, and the answer to that is all. */
    acknowledge(&g, 2, 3, 5);
    rig_step(&g, &(struct raft_event){.type = RAFT_EV_FLUSH});
    g.now += 100;
    rig_step(&g, &(struct raft_event){.type = RAFT_EV_TICK});
    uint64_t seq = 0;
    for (uint32_t i = 0; i < g.fx.msgs_count; i++) {
        seq = g.fx.msgs[i].msg.to == 2 ? g.fx.msgs[i].msg.seq : seq;
    }
    assert_true(seq > 0);
    rig_hear(&g, (struct raft_msg){.type = RAFT_MSG_APPEND_REPLY,
                                   .from = 2,
                                   .term = 2,
                                   .seq = seq,
                                   .session = 3,
                                   .index = 5});
    rig_step(&g, &(struct raft_event){.type = RAFT_EV_FLUSH});
    assert_true(raft_leaving(g.r, 0, &id, &address));
    assert_int_equal(id, 3);
    assert_false(raft_leaving(g.r, 1, &id, &address));
    /* And who never answers is forgotten after ten election timeouts. */
    g.now += 5000;
    rig_step(&g, &(struct raft_event){.type = RAFT_EV_FLUSH});
    assert_false(raft_leaving(g.r, 0, &id, &address));
    rig_done(&g);
}

static void a_follower_has_nobody_to_tell(void **state)
{
    (void)state;
    const char *address;
    raft_id id;
    struct rig g;

    rig_lead(&g);
    acknowledge(&g, 3, 1, 2);
    assert_int_equal(ask(&g, RAFT_CHANGE_REMOVE, 3, false), 0);
    assert_int_equal(messages_to(&g, 3), 0); /* not before it is committed */
    assert_true(raft_leaving(g.r, 0, &id, &address));
    acknowledge(&g, 2, 1, 3);
    rig_save(&g);
    rig_step(&g, &(struct raft_event){.type = RAFT_EV_FLUSH});
    assert_int_equal(messages_to(&g, 3), 1);
    rig_hear(&g, (struct raft_msg){.type = RAFT_MSG_APPEND_REPLY, .from = 2, .term = 9});
    assert_false(raft_leaving(g.r, 0, &id, &address));
    rig_done(&g);
}

static void who_is_promoted_counts_from_the_entry_on(void **state)
{
    (void)state;
    struct raft_view v;
    struct rig g;

    rig_lead_alone(&g);
    assert_int_equal(ask(&g, RAFT_CHANGE_ADD, 2, false), 0);
    rig_save(&g);
    assert_int_equal(ask(&g, RAFT_CHANGE_PROMOTE, 2, false), -RD_ENOT_READY);
    assert_int_equal(ask(&g, RAFT_CHANGE_PROMOTE, 2, true), -RD_ENOT_READY);
    acknowledge(&g, 2, 3, 3);
    assert_int_equal(ask(&g, RAFT_CHANGE_PROMOTE, 2, false), 0);
    rig_save(&g);
    raft_view_get(g.r, &v);
    assert_int_equal(v.commit, 3); /* alone it commits nothing any more */
    acknowledge(&g, 2, 3, 4);
    raft_view_get(g.r, &v);
    assert_int_equal(v.commit, 4);
    assert_int_equal(raft_voters_reachable(g.r, g.now), 2);
    rig_done(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_that_makes_no_sense_is_refused),
        cmocka_unit_test(a_change_is_in_force_at_once_and_over_when_committed),
        cmocka_unit_test(only_a_leader_changes_anything),
        cmocka_unit_test(members_have_a_limit),
        cmocka_unit_test(who_is_added_is_talked_to),
        cmocka_unit_test(what_an_earlier_life_says_is_not_heard),
        cmocka_unit_test(who_was_removed_is_listed_until_it_knows),
        cmocka_unit_test(a_follower_has_nobody_to_tell),
        cmocka_unit_test(who_is_promoted_counts_from_the_entry_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
