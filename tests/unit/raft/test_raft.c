/* The core through its header: events that are refused, saves, restart, and the bounds on what a
 * peer may say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "raft/membership.h"
#include "raft/raft.h"

static uint32_t no_load(void *arg, raft_index first, uint32_t count_max, uint64_t bytes_max,
                        struct raft_entry *out)
{
    (void)arg, (void)first, (void)count_max, (void)bytes_max, (void)out;
    fail_msg("nothing has left memory");
    return 0;
}

static const struct uuid cluster = {.bytes = {0xc1}};

struct rig {
    struct raft *r;
    struct raft_effects fx;
    mono_ms now;
};

static struct raft *new_core(raft_id id)
{
    struct raft_config config = {.id = id,
                                 .store = {.bytes = {(uint8_t)id}},
                                 .seed = id,
                                 .heartbeat_ms = 100,
                                 .election_timeout_ms = 500,
                                 .append_bytes_max = 1000,
                                 .append_entries_max = 10,
                                 .inflight_bytes_max = 4000,
                                 .inflight_msgs_max = 4,
                                 .cache_bytes_max = 1 << 20};

    return raft_new(&config, no_load, NULL);
}

static void step(struct rig *g, const struct raft_event *e)
{
    effects_clear(&g->fx);
    assert_int_equal(raft_step(g->r, g->now, e, &g->fx), 0);
}

static void save_all(struct rig *g)
{
    struct raft_save save;

    while (raft_save_take(g->r, UINT64_MAX, &save)) {
        struct raft_event e = {.type = RAFT_EV_PERSISTED, .persisted = {save.last, save.last_term}};
        raft_save_done(&save);
        step(g, &e);
    }
}

static struct raft_membership *voters(uint32_t count)
{
    struct raft_membership *m = mem_zalloc(sizeof *m);

    for (raft_id id = 1; id <= count; id++) {
        struct raft_member one = {.id = id,
                                  .role = RAFT_VOTER,
                                  .store = {.bytes = {(uint8_t)id}},
                                  .session = 1,
                                  .address = "h:1"};
        membership_insert(m, &one);
    }
    return m;
}

static void found(struct rig *g, uint32_t count)
{
    struct raft_membership *m = voters(count);

    *g = (struct rig){.r = new_core(1), .now = 1000};
    raft_start(g->r, g->now);
    step(g, &(struct raft_event){.type = RAFT_EV_FOUND,
                                 .found = {.cluster = &cluster, .membership = m}});
    mem_free(m);
}

static void done(struct rig *g)
{
    effects_done(&g->fx);
    raft_free(g->r);
}

static void lead_alone(struct rig *g)
{
    found(g, 1);
    save_all(g);
    step(g, &(struct raft_event){.type = RAFT_EV_TICK});
    save_all(g);
}

static void a_single_voter_elects_itself_after_its_own_fsync(void **state)
{
    (void)state;
    struct raft_view v;
    struct rig g;

    found(&g, 1);
    step(&g, &(struct raft_event){.type = RAFT_EV_TICK});
    raft_view_get(g.r, &v);
    assert_int_equal(v.state, RAFT_CANDIDATE); /* its own vote is not durable yet */
    save_all(&g);
    raft_view_get(g.r, &v);
    assert_int_equal(v.state, RAFT_LEADER);
    assert_int_equal(v.commit, 2); /* membership and no-op, counted when saved (traps 16, 47) */
    assert_true(v.leader_committed);
    assert_true(raft_claim_remaining(g.r, g.now) > 0);
    done(&g);
}

static void proposals_are_appended_by_leaders_only(void **state)
{
    (void)state;
    struct blob *data = blob_copy("x", 1);
    struct raft_event propose = {.type = RAFT_EV_PROPOSE, .propose = {.data = data}};
    struct rig g;

    found(&g, 1);
    step(&g, &propose);
    assert_int_equal(g.fx.propose_code, -RD_ENOT_LEADER);
    done(&g);
    lead_alone(&g);
    step(&g, &propose);
    assert_int_equal(g.fx.propose_code, 0);
    assert_int_equal(g.fx.propose_index, 3);
    assert_int_equal(g.fx.propose_term, 2);
    blob_unref(data);
    done(&g);
}

static void events_that_make_no_sense_change_nothing(void **state)
{
    (void)state;
    struct raft_view before;
    struct raft_view after;
    struct rig g;

    lead_alone(&g);
    raft_view_get(g.r, &before);
    struct blob *huge = blob_new(RAFT_PAYLOAD_MAX + 1);
    const struct raft_event bad[] = {
        {.type = (enum raft_event_type)0},
        {.type = RAFT_EV_COUNT},
        {.type = RAFT_EV_MESSAGE},
        {.type = RAFT_EV_PROPOSE},
        {.type = RAFT_EV_PROPOSE, .propose = {.data = huge}},
        {.type = RAFT_EV_PERSISTED},
        {.type = RAFT_EV_FOUND, .found = {.cluster = &cluster}},
        {.type = RAFT_EV_ADOPT, .found = {.cluster = &cluster}},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(raft_step(g.r, g.now, &bad[i], &g.fx), -RD_EINVALID);
    }
    raft_view_get(g.r, &after);
    assert_int_equal(after.state, before.state);
    assert_int_equal(after.term, before.term);
    assert_int_equal(after.last, before.last);
    assert_int_equal(after.commit, before.commit);
    assert_int_equal(after.saved, before.saved);
    blob_unref(huge);
    done(&g);
}

static void saves_come_in_bounded_parts(void **state)
{
    (void)state;
    struct raft_save save;
    struct rig g;

    lead_alone(&g);
    for (int i = 0; i < 5; i++) {
        struct blob *data = blob_new(100);
        memset(data->data, i, 100);
        step(&g, &(struct raft_event){.type = RAFT_EV_PROPOSE, .propose = {.data = data}});
        blob_unref(data);
    }
    assert_true(raft_save_take(g.r, 250, &save));
    assert_int_equal(save.entries_count, 2);
    assert_int_equal(save.first, 3);
    assert_int_equal(save.last, 4);
    assert_false(save.hard_set);
    raft_save_done(&save);
    assert_true(raft_save_wanted(g.r));
    done(&g);
}

static struct raft_msg append(raft_term term, raft_index prev, raft_term prev_term)
{
    return (struct raft_msg){.type = RAFT_MSG_APPEND,
                             .cluster = cluster,
                             .from = 2,
                             .to = 1,
                             .term = term,
                             .index = prev,
                             .log_term = prev_term};
}

static void strangers_words_are_bounded(void **state)
{
    (void)state;
    struct raft_view v;
    struct rig g;

    found(&g, 3);
    save_all(&g);
    struct raft_msg m = append(9, 50, 3);
    const struct raft_event e = {.type = RAFT_EV_MESSAGE, .message = &m};
    m.cluster.bytes[0] ^= 1; /* another cluster */
    step(&g, &e);
    m.cluster = cluster;
    m.to = 2; /* not for us */
    step(&g, &e);
    m.to = 1;
    m.from = 1; /* from ourselves */
    step(&g, &e);
    m.from = 77; /* a stranger's reply raises nobody's term */
    m.type = RAFT_MSG_APPEND_REPLY;
    step(&g, &e);
    raft_view_get(g.r, &v);
    assert_int_equal(v.term, 1);
    assert_int_equal(g.fx.msgs_count, 0);
    struct raft_entry wild = {.index = 7, .term = 12, .type = RAFT_ENTRY_NOOP};
    m = append(9, 1, 1);
    m.entries = &wild; /* does not follow its previous entry, and is newer than its leader */
    m.entries_count = 1;
    step(&g, &e);
    raft_view_get(g.r, &v);
    assert_int_equal(v.last, 1);
    done(&g);
}

static void a_restarted_voter_keeps_the_lease_it_granted(void **state)
{
    (void)state;
    struct raft_msg ask = {.type = RAFT_MSG_VOTE,
                           .cluster = cluster,
                           .from = 2,
                           .to = 1,
                           .term = 9,
                           .index = 100,
                           .log_term = 8};
    const struct raft_event e = {.type = RAFT_EV_MESSAGE, .message = &ask};
    struct rig g = {.r = new_core(1), .now = 1000};

    raft_restore_hard(g.r, &cluster, 7, 3, 500);
    raft_start(g.r, g.now); /* an empty log, but a term: it has heard somebody (trap 52) */
    g.now += 499;
    step(&g, &e);
    assert_int_equal(g.fx.msgs_count, 1);
    assert_true(g.fx.msgs[0].msg.reject);
    assert_int_equal(g.fx.msgs[0].msg.term, 7);
    g.now += 1;
    step(&g, &e);
    assert_false(g.fx.msgs[0].msg.reject);
    assert_true(g.fx.msgs[0].after_save); /* term and vote first (trap 28) */
    done(&g);
}

static void hear(struct rig *g, struct raft_msg m)
{
    m.cluster = cluster;
    m.to = 1;
    step(g, &(struct raft_event){.type = RAFT_EV_MESSAGE, .message = &m});
}

static struct raft_msg vote_request(raft_id from, raft_term term)
{
    return (struct raft_msg){
        .type = RAFT_MSG_VOTE, .from = from, .term = term, .index = 100, .log_term = term - 1};
}

/* Node 1 of 3 leads in term 2, and node 2 has acknowledged its lease. */
static void lead_with_a_lease(struct rig *g)
{
    found(g, 3);
    save_all(g);
    g->now = raft_deadline(g->r);
    step(g, &(struct raft_event){.type = RAFT_EV_TICK});
    uint64_t seq = g->fx.msgs[0].msg.seq; /* the questions are numbered upwards */
    hear(g, (struct raft_msg){.type = RAFT_MSG_PRE_VOTE_REPLY, .from = 2, .term = 2, .seq = seq});
    seq = g->fx.msgs[0].msg.seq;
    save_all(g);
    hear(g, (struct raft_msg){.type = RAFT_MSG_VOTE_REPLY, .from = 2, .term = 2, .seq = seq});
    seq = g->fx.msgs[0].msg.seq;
    hear(g, (struct raft_msg){.type = RAFT_MSG_APPEND_REPLY,
                              .from = 2,
                              .term = 2,
                              .seq = seq,
                              .stamp = g->now,
                              .session = 1,
                              .index = 2});
    save_all(g);
    assert_int_equal(raft_claim_remaining(g->r, g->now), 400);
}

/* The lease may have been granted under a longer election timeout than today's configuration says.
 */
static void a_shorter_timeout_does_not_shorten_an_old_promise(void **state)
{
    (void)state;
    struct raft_save save;
    struct rig g = {.r = new_core(1), .now = 1000};

    raft_restore_hard(g.r, &cluster, 7, 3, 2000);
    raft_start(g.r, g.now);
    g.now += 1999;
    hear(&g, vote_request(2, 9));
    assert_true(g.fx.msgs[0].msg.reject);
    g.now += 1;
    hear(&g, vote_request(2, 9));
    assert_false(g.fx.msgs[0].msg.reject);
    assert_true(raft_save_take(g.r, UINT64_MAX, &save));
    assert_int_equal(save.loyal_ms, 500); /* nothing older is alive */
    raft_save_done(&save);
    done(&g);
}

static void a_longer_timeout_is_durable_before_it_is_acknowledged(void **state)
{
    (void)state;
    struct raft_msg heartbeat = {.type = RAFT_MSG_APPEND, .from = 2, .term = 7, .session = 1};
    struct raft_save save;
    struct rig g = {.r = new_core(1), .now = 1000};

    raft_restore_hard(g.r, &cluster, 7, 0, 300);
    raft_start(g.r, g.now);
    hear(&g, heartbeat);
    assert_true(g.fx.msgs[0].after_save);
    assert_true(raft_save_take(g.r, UINT64_MAX, &save));
    assert_int_equal(save.loyal_ms, 500);
    raft_save_done(&save);
    done(&g);
}

/* What it told others under its lease outlives its leadership: its own vote waits for the end of
 * it. */
static void a_deposed_leader_is_bound_by_its_own_lease(void **state)
{
    (void)state;
    struct rig g;

    lead_with_a_lease(&g);
    hear(&g,
         (struct raft_msg){
             .type = RAFT_MSG_APPEND_REPLY, .from = 3, .term = 5, .session = 1, .reject = true});
    assert_int_equal(raft_claim_remaining(g.r, g.now), 0);
    save_all(&g);
    g.now += 399;
    hear(&g, vote_request(3, 6));
    assert_true(g.fx.msgs[0].msg.reject);
    g.now += 1;
    hear(&g, vote_request(3, 6));
    assert_false(g.fx.msgs[0].msg.reject);
    done(&g);
}

/* A term can be learnt from anybody; the lease this voter granted does not end by it. */
static void a_known_term_does_not_free_the_vote(void **state)
{
    (void)state;
    struct raft_msg heartbeat = {.type = RAFT_MSG_APPEND, .from = 2, .term = 3, .session = 1};
    struct rig g;

    found(&g, 3);
    save_all(&g);
    hear(&g, heartbeat);
    save_all(&g);
    hear(&g, (struct raft_msg){.type = RAFT_MSG_READ_INDEX, .from = 3, .term = 7});
    save_all(&g);
    g.now += 499;
    hear(&g, vote_request(3, 7));
    assert_true(g.fx.msgs[0].msg.reject);
    g.now += 1;
    hear(&g, vote_request(3, 7));
    assert_false(g.fx.msgs[0].msg.reject);
    done(&g);
}

/* A grant of an earlier round must not make a candidate of a follower that hears its leader (trap
 * 27). */
static void an_answer_to_an_earlier_round_does_not_count(void **state)
{
    (void)state;
    struct raft_view v;
    struct rig g;

    found(&g, 3);
    save_all(&g);
    g.now = raft_deadline(g.r);
    step(&g, &(struct raft_event){.type = RAFT_EV_TICK});
    uint64_t old = g.fx.msgs[0].msg.seq;
    g.now = raft_deadline(g.r);
    step(&g, &(struct raft_event){.type = RAFT_EV_TICK}); /* the next round, of the same term */
    hear(&g, (struct raft_msg){.type = RAFT_MSG_PRE_VOTE_REPLY, .from = 2, .term = 2, .seq = old});
    raft_view_get(g.r, &v);
    assert_int_equal(v.state, RAFT_PRE_CANDIDATE);
    hear(&g,
         (struct raft_msg){.type = RAFT_MSG_PRE_VOTE_REPLY, .from = 2, .term = 2, .seq = old + 2});
    raft_view_get(g.r, &v);
    assert_int_equal(v.state, RAFT_CANDIDATE);
    /* Nor does an answer to a question that has not left: our own vote is not durable. */
    hear(&g, (struct raft_msg){.type = RAFT_MSG_VOTE_REPLY, .from = 2, .term = 2, .seq = old + 4});
    hear(&g, (struct raft_msg){.type = RAFT_MSG_VOTE_REPLY, .from = 3, .term = 2, .seq = old + 5});
    raft_view_get(g.r, &v);
    assert_int_equal(v.state, RAFT_CANDIDATE);
    done(&g);
}

/* Two disks in a row are in the way of a vote: it gets T, or slow disks would never elect anybody.
 */
static void a_vote_is_given_time_for_two_disks(void **state)
{
    (void)state;
    struct rig g;

    for (int i = 0; i < 50; i++) {
        found(&g, 3);
        save_all(&g);
        g.now = raft_deadline(g.r) + (mono_ms)i;
        step(&g, &(struct raft_event){.type = RAFT_EV_TICK});
        hear(&g, (struct raft_msg){.type = RAFT_MSG_PRE_VOTE_REPLY,
                                   .from = 2,
                                   .term = 2,
                                   .seq = g.fx.msgs[0].msg.seq});
        assert_in_range(raft_deadline(g.r) - g.now, 500, 750);
        done(&g);
    }
}

/* The slowest follower hears of a commit within milliseconds, not at the next heartbeat. */
static void a_late_acknowledgement_still_hears_of_the_commit(void **state)
{
    (void)state;
    struct rig g;

    lead_with_a_lease(&g);
    step(&g, &(struct raft_event){.type = RAFT_EV_FLUSH});
    g.now += 20; /* node 3 was slow; the commit is old news by now */
    step(&g, &(struct raft_event){.type = RAFT_EV_TICK});
    step(&g, &(struct raft_event){.type = RAFT_EV_FLUSH});
    hear(&g, (struct raft_msg){.type = RAFT_MSG_APPEND_REPLY,
                               .from = 3,
                               .term = 2,
                               .stamp = g.now,
                               .session = 1,
                               .index = 2});
    step(&g, &(struct raft_event){.type = RAFT_EV_FLUSH});
    assert_in_range(raft_deadline(g.r) - g.now, 1, 5);
    g.now = raft_deadline(g.r);
    step(&g, &(struct raft_event){.type = RAFT_EV_FLUSH});
    assert_int_equal(g.fx.msgs_count, 1);
    assert_int_equal(g.fx.msgs[0].msg.to, 3);
    assert_int_equal(g.fx.msgs[0].msg.commit, 2);
    done(&g);
}

static void absurd_numbers_do_not_come_in(void **state)
{
    (void)state;
    struct raft_view v;
    struct rig g;

    found(&g, 3);
    save_all(&g);
    hear(&g, append(RAFT_NUMBER_MAX + 1, 1, 1));
    hear(&g, append(9, RAFT_NUMBER_MAX + 1, 1));
    raft_view_get(g.r, &v);
    assert_int_equal(v.term, 1);
    done(&g);
}

static void another_leader_in_our_term_stops_us(void **state)
{
    (void)state;
    struct rig g;

    lead_with_a_lease(&g);
    hear(&g, append(2, 1, 1));
    assert_true(g.fx.diverged);
    assert_int_equal(g.fx.msgs_count, 0);
    done(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_single_voter_elects_itself_after_its_own_fsync),
        cmocka_unit_test(proposals_are_appended_by_leaders_only),
        cmocka_unit_test(events_that_make_no_sense_change_nothing),
        cmocka_unit_test(saves_come_in_bounded_parts),
        cmocka_unit_test(strangers_words_are_bounded),
        cmocka_unit_test(a_restarted_voter_keeps_the_lease_it_granted),
        cmocka_unit_test(a_shorter_timeout_does_not_shorten_an_old_promise),
        cmocka_unit_test(a_longer_timeout_is_durable_before_it_is_acknowledged),
        cmocka_unit_test(a_deposed_leader_is_bound_by_its_own_lease),
        cmocka_unit_test(a_known_term_does_not_free_the_vote),
        cmocka_unit_test(an_answer_to_an_earlier_round_does_not_count),
        cmocka_unit_test(a_vote_is_given_time_for_two_disks),
        cmocka_unit_test(a_late_acknowledgement_still_hears_of_the_commit),
        cmocka_unit_test(absurd_numbers_do_not_come_in),
        cmocka_unit_test(another_leader_in_our_term_stops_us),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
