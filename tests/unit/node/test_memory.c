/* What members remember of each other's promises, and who stops because of it. */
#include "fixture.h"

#include <stdio.h>
#include <string.h>

static struct peer_memory *memory_in(struct peer_hello *hello, raft_id id)
{
    static struct peer_memory nobody;

    for (uint32_t i = 0; i < hello->bindings_count; i++) {
        if (hello->bindings[i].id == id) {
            return &hello->bindings[i].seen;
        }
    }
    fail_msg("node %u is not in the hello of node %u", id, hello->id);
    return &nobody;
}

/* What node `by` says it remembers of `of`. */
static struct peer_memory remembered(const struct rig *g, raft_id by, raft_id of)
{
    struct peer_hello hello;

    node_hello_get(g->nodes[by], &hello);
    return *memory_in(&hello, of);
}

static void write_some(struct rig *g, raft_id via, uint64_t token)
{
    rig_write(g, via, token, "k", "v", 1000);
    assert_code(rig_wait(g, token), 0);
    rig_run(g, 300);
}

/* ---- Those who remember ---- */

static void a_leader_remembers_who_acknowledged_what(void **state)
{
    (void)state;
    struct rig g;

    rig_grow(&g, 3, 3);
    write_some(&g, 1, 1);
    struct raft_view leader = rig_view(&g, 1);
    struct peer_memory seen = remembered(&g, 1, 2);
    assert_int_equal(seen.term, leader.term);
    assert_int_equal(seen.index, leader.last);
    assert_int_equal(seen.process, rig_process(&g, 2));
    assert_false(seen.voted);
    assert_int_equal(remembered(&g, 1, 3).index, leader.last);
    /* Nobody promises anything to himself, and followers do not speak to each other. */
    assert_int_equal(remembered(&g, 1, 1).term, 0);
    assert_int_equal(remembered(&g, 2, 3).term, 0);
    rig_done(&g);
}

static void followers_remember_what_the_leader_has_durably(void **state)
{
    (void)state;
    struct rig g;

    rig_grow(&g, 3, 3);
    write_some(&g, 1, 1);
    raft_index last = rig_view(&g, 1).last;
    assert_int_equal(remembered(&g, 2, 1).index, last);
    assert_int_equal(remembered(&g, 3, 1).index, last);
    /* What only the others' disks have is no promise of its own. */
    g.disk_held[1] = true;
    write_some(&g, 1, 2);
    assert_int_equal(rig_view(&g, 2).last, last + 1);
    assert_int_equal(remembered(&g, 2, 1).index, last);
    g.disk_held[1] = false;
    rig_run(&g, 300);
    assert_int_equal(remembered(&g, 2, 1).index, last + 1);
    rig_done(&g);
}

static void who_is_elected_remembers_the_votes(void **state)
{
    (void)state;
    struct rig g;

    rig_init(&g, 3, 3);
    raft_id leader = rig_leader(&g);
    rig_cut(&g, leader, true);
    rig_run(&g, 3000);
    raft_id next =
        rig_view(&g, leader % 3 + 1).state == RAFT_LEADER ? leader % 3 + 1 : (leader + 1) % 3 + 1;
    raft_id voter = 6 - leader - next;
    assert_int_equal(rig_view(&g, next).state, RAFT_LEADER);
    struct peer_memory seen = remembered(&g, next, voter);
    assert_int_equal(seen.term, rig_view(&g, next).term);
    assert_true(seen.voted);
    assert_false(remembered(&g, voter, next).voted);
    assert_true(remembered(&g, voter, leader).term < seen.term);
    rig_done(&g);
}

static void hear(struct rig *g, raft_id at, const struct raft_msg *m, uint64_t process)
{
    struct peer_msg msg = {.type = PEER_RAFT, .process = process, .raft = *m};

    msg.raft.to = msg.raft.to ? msg.raft.to : at;
    node_begin(g->nodes[at], g->now, 0);
    node_message(g->nodes[at], m->from, &msg);
    (void)node_end(g->nodes[at]);
    node_out_clear(g->nodes[at]);
}

static void only_what_is_durable_counts(void **state)
{
    (void)state;
    struct rig g;

    rig_grow(&g, 3, 3);
    rig_run(&g, 300);
    struct raft_view view = rig_view(&g, 2);
    struct raft_msg m = {.type = RAFT_MSG_PRE_VOTE,
                         .from = 3,
                         .term = view.term + 7,
                         .cluster = view.cluster,
                         .log_term = 1,
                         .index = 1};
    hear(&g, 2, &m, 0); /* a term that nobody is in yet */
    assert_int_equal(remembered(&g, 2, 3).term, 0);
    m.type = RAFT_MSG_PRE_VOTE_REPLY;
    hear(&g, 2, &m, 0);
    assert_int_equal(remembered(&g, 2, 3).term, 0);
    m.type = RAFT_MSG_VOTE_REPLY;
    m.cluster.bytes[0] ^= 1; /* of another cluster */
    hear(&g, 2, &m, 0);
    assert_int_equal(remembered(&g, 2, 3).term, 0);
    m.cluster = view.cluster;
    m.to = 1; /* not for us */
    hear(&g, 2, &m, 0);
    assert_int_equal(remembered(&g, 2, 3).term, 0);
    m.to = 0;
    m.term = RAFT_NUMBER_MAX + 1;
    hear(&g, 2, &m, 0);
    assert_int_equal(remembered(&g, 2, 3).term, 0);
    m.term = 1;
    hear(&g, 2, &m, rig_process(&g, 3) + 1); /* not of the process that is connected now */
    assert_int_equal(remembered(&g, 2, 3).term, 0);
    m.type = RAFT_MSG_APPEND_REPLY;
    m.index = RAFT_NUMBER_MAX + 1;
    hear(&g, 2, &m, rig_process(&g, 3));
    assert_int_equal(remembered(&g, 2, 3).term, 0);
    m.index = 5;
    m.reject = true;
    hear(&g, 2, &m, rig_process(&g, 3));
    assert_int_equal(remembered(&g, 2, 3).term, 1);
    assert_int_equal(remembered(&g, 2, 3).index, 0);
    m.type = RAFT_MSG_PRE_VOTE_REPLY; /* a refusal carries the voter's own term */
    m.term = 2;
    hear(&g, 2, &m, rig_process(&g, 3));
    assert_int_equal(remembered(&g, 2, 3).term, 2);
    rig_done(&g);
}

static void a_higher_term_frees_the_log(void **state)
{
    (void)state;
    struct rig g;

    rig_grow(&g, 3, 3);
    write_some(&g, 1, 1);
    struct peer_memory seen = remembered(&g, 1, 3);
    struct raft_msg m = {.type = RAFT_MSG_VOTE_REPLY,
                         .from = 3,
                         .term = seen.term - 1,
                         .cluster = rig_view(&g, 1).cluster};
    assert_true(seen.index > 0);
    hear(&g, 1, &m, 0); /* late */
    assert_int_equal(remembered(&g, 1, 3).index, seen.index);
    assert_false(remembered(&g, 1, 3).voted);
    m.term = seen.term + 1;
    m.reject = true;
    hear(&g, 1, &m, 0);
    assert_int_equal(remembered(&g, 1, 3).term, seen.term + 1);
    assert_int_equal(remembered(&g, 1, 3).index, 0); /* a later term may cut it */
    rig_done(&g);
}

static void memory_belongs_to_a_data_directory(void **state)
{
    (void)state;
    struct rig g;

    rig_grow(&g, 3, 3);
    write_some(&g, 1, 1);
    struct peer_memory seen = remembered(&g, 1, 3);
    rig_restart(&g, 3);
    struct peer_hello hello;
    node_hello_get(g.nodes[3], &hello);
    node_begin(g.nodes[1], g.now, 0);
    node_hello(g.nodes[1], &hello);
    struct node_out *out = node_end(g.nodes[1]);
    assert_true(out->hello_changed &&
                out->hello_first); /* it has to know before it hears anything */
    node_out_clear(g.nodes[1]);
    assert_int_equal(remembered(&g, 1, 3).index, seen.index);
    assert_int_equal(remembered(&g, 1, 3).process, seen.process); /* who promised it */
    node_begin(g.nodes[1], g.now, 0);
    node_hello(g.nodes[1], &hello); /* the same once more */
    out = node_end(g.nodes[1]);
    assert_false(out->hello_first);
    node_out_clear(g.nodes[1]);
    write_some(&g, 1, 2);
    assert_int_equal(remembered(&g, 1, 3).process, rig_process(&g, 3));
    hello.store.bytes[9] ^= 1; /* another directory has promised nothing */
    node_hello(g.nodes[1], &hello);
    assert_int_equal(remembered(&g, 1, 3).term, 0);
    node_hello_get(g.nodes[3], &hello);
    node_hello(g.nodes[1], &hello);
    assert_int_equal(remembered(&g, 1, 3).term, 0);
    rig_done(&g);
}

/* ---- Who is remembered ---- */

struct found { /* what a directory holds at the start */
    raft_term term;
    raft_id vote;
    uint64_t entries;
};

/* A process of node 3 begins with this and hears that hello: its fatal code. */
static int began_with(const struct rig *g, const struct found *found, uint64_t process,
                      const struct peer_hello *hello, char *why)
{
    const struct uuid fresh = {.bytes = {0xfc}};
    const struct rig_disk *disk = &g->disks[3];
    struct node_config c = rig_config(3, 0);

    c.process = process;
    struct node *n = node_new(&c, rig_no_load, NULL);
    if (found->term) {
        node_restore_hard(n, &disk->cluster, found->term, found->vote, 500);
    }
    for (uint64_t i = 0; i < found->entries; i++) {
        assert_int_equal(node_restore_entry(n, &disk->entries[i]), 0);
    }
    node_start(n, g->now, &fresh);
    node_begin(n, g->now, 0);
    node_hello(n, hello);
    struct node_out *out = node_end(n);
    int fatal = out->fatal;
    if (why) {
        memcpy(why, out->fatal_why, sizeof out->fatal_why);
    }
    node_free(n);
    return fatal;
}

static void an_older_copy_stops(void **state)
{
    (void)state;
    struct rig g;
    struct peer_hello hello;
    char why[NODE_FATAL_SIZE];

    rig_grow(&g, 3, 3);
    write_some(&g, 1, 1);
    const struct rig_disk *disk = &g.disks[3];
    struct found now = {.term = disk->term, .vote = disk->vote, .entries = disk->entries_count};
    node_hello_get(g.nodes[1], &hello);
    assert_int_equal(began_with(&g, &now, 77, &hello, NULL), 0); /* the newest copy */
    struct found shorter = now;
    shorter.entries--;
    assert_int_equal(began_with(&g, &shorter, 77, &hello, why), -RD_ECORRUPT);
    char numbers[128];
    (void)snprintf(numbers, sizeof numbers,
                   "node 1 remembers this store in term %u, with the log up to index %u;",
                   (unsigned)now.term, (unsigned)now.entries);
    assert_non_null(strstr(why, numbers));
    (void)snprintf(numbers, sizeof numbers,
                   "began this time in term %u (vote %u), with the log up to index %u of term",
                   (unsigned)now.term, now.vote, (unsigned)shorter.entries);
    assert_non_null(strstr(why, numbers));
    assert_non_null(strstr(why, "is an older copy"));
    assert_non_null(strstr(why, "remove-server and add-server)"));
    /* Its own promises are no news to the process that made them. */
    assert_int_equal(began_with(&g, &shorter, rig_process(&g, 3), &hello, NULL), 0);
    /* A later term may have cut entries. */
    shorter.term++;
    assert_int_equal(began_with(&g, &shorter, 77, &hello, NULL), 0);
    rig_done(&g);
}

static void each_promise_counts(void **state)
{
    (void)state;
    struct rig g;
    struct peer_hello hello;

    rig_grow(&g, 3, 3);
    write_some(&g, 1, 1);
    node_hello_get(g.nodes[1], &hello);
    struct peer_memory *seen = memory_in(&hello, 3);
    const struct found has = {.term = 5, .vote = 2, .entries = g.disks[3].entries_count};
    raft_term last_term = rig_view(&g, 3).last_term;
    const struct {
        const char *what;
        struct peer_memory seen;
        int expected;
    } cases[] = {
        {"nothing is remembered", {.process = 1}, 0},
        {"a lower term, whatever it says of the log", {.process = 1, .term = 4, .index = 900}, 0},
        {"all that it has",
         {.process = 1, .term = 5, .index = has.entries, .log_term = last_term},
         0},
        {"a higher term", {.process = 1, .term = 6}, -RD_ECORRUPT},
        {"a longer log", {.process = 1, .term = 5, .index = has.entries + 1}, -RD_ECORRUPT},
        {"a log of a later term",
         {.process = 1, .term = 5, .index = 1, .log_term = last_term + 1},
         -RD_ECORRUPT},
        {"another vote", {.process = 1, .term = 5, .voted = true}, -RD_ECORRUPT},
        {"a vote in an earlier term", {.process = 1, .term = 4, .voted = true}, 0},
        {"as much as can be", {.process = 1, .term = 5 + RAFT_AHEAD_MAX}, -RD_ECORRUPT},
        {"an absurd term", {.process = 1, .term = 6 + RAFT_AHEAD_MAX}, 0},
        {"an absurd log", {.process = 1, .term = 5, .index = has.entries + RAFT_AHEAD_MAX + 1}, 0},
        {"a log of an absurd term",
         {.process = 1, .term = 5, .index = 1, .log_term = 6 + RAFT_AHEAD_MAX},
         0},
        {"its own", {.process = 77, .term = 6, .index = 900, .voted = true}, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        *seen = cases[i].seen;
        int code = began_with(&g, &has, 77, &hello, NULL);
        if (code != cases[i].expected) {
            fail_msg("%s: %d", cases[i].what, code);
        }
    }
    *seen = (struct peer_memory){.process = 1, .term = 5, .voted = true};
    hello.id = 2; /* for whom it did vote */
    assert_int_equal(began_with(&g, &has, 77, &hello, NULL), 0);
    rig_done(&g);
}

static void only_a_member_that_means_us_is_believed(void **state)
{
    (void)state;
    struct rig g;
    struct peer_hello hello;

    rig_grow(&g, 3, 3);
    write_some(&g, 1, 1);
    const struct found older = {.term = 1, .entries = 1};
    node_hello_get(g.nodes[1], &hello);
    assert_int_equal(began_with(&g, &older, 77, &hello, NULL), -RD_ECORRUPT);
    const struct found none = {0}; /* in no cluster: it would join this one */
    assert_int_equal(began_with(&g, &none, 77, &hello, NULL), -RD_ECORRUPT);
    struct peer_hello other = hello;
    other.cluster.bytes[3] ^= 1;
    assert_int_equal(began_with(&g, &older, 77, &other, NULL), 0);
    other.cluster = (struct uuid){{0}};
    assert_int_equal(began_with(&g, &older, 77, &other, NULL), 0);
    assert_int_equal(began_with(&g, &none, 77, &other, NULL), 0);
    other = hello;
    for (uint32_t i = 0; i < other.bindings_count; i++) {
        other.bindings[i].store.bytes[9] ^= 1; /* it means another directory */
    }
    assert_int_equal(began_with(&g, &older, 77, &other, NULL), 0);
    other.bindings_count = 0;
    assert_int_equal(began_with(&g, &older, 77, &other, NULL), 0);
    rig_done(&g);
}

/* Whom it met first may have moved it on. */
static void what_it_heard_since_does_not_hide_it(void **state)
{
    (void)state;
    struct rig g;
    struct peer_hello hello;
    const struct uuid fresh = {.bytes = {0xfc}};
    struct node_config c = rig_config(3, 0);

    rig_grow(&g, 3, 3);
    write_some(&g, 1, 1);
    const struct rig_disk *disk = &g.disks[3];
    c.process = 77;
    struct node *n = node_new(&c, rig_no_load, NULL);
    node_restore_hard(n, &disk->cluster, disk->term, 0, 500);
    for (uint64_t i = 0; i + 1 < disk->entries_count; i++) {
        assert_int_equal(node_restore_entry(n, &disk->entries[i]), 0);
    }
    node_start(n, g.now, &fresh);
    struct peer_msg msg = {.type = PEER_RAFT,
                           .raft = {.type = RAFT_MSG_VOTE,
                                    .cluster = disk->cluster,
                                    .from = 2,
                                    .to = 3,
                                    .term = disk->term + 3}};
    node_begin(n, g.now + 2000, 0);
    node_message(n, 2, &msg);
    struct node_out *out = node_end(n);
    assert_int_equal(out->fatal, 0);
    struct raft_view view;
    raft_view_get(node_raft(n), &view);
    assert_int_equal(view.term, disk->term + 3);
    node_persisted(n, out->batch->seq);
    node_out_clear(n);
    node_hello_get(g.nodes[1], &hello);
    node_begin(n, g.now + 2001, 0);
    node_hello(n, &hello);
    assert_int_equal(node_end(n)->fatal, -RD_ECORRUPT);
    node_free(n);
    rig_done(&g);
}

/* Nodes that lose nothing are killed and started again and again: nobody is accused. */
static void restarts_are_never_refused(void **state)
{
    (void)state;
    struct rig g;

    rig_grow(&g, 3, 3);
    for (uint32_t i = 0; i < 60; i++) {
        raft_id id = i % 3 + 1;
        rig_write(&g, id, 100 + i, "k", "v", 200);
        rig_run(&g, i % 7);
        rig_restart(&g, id); /* a fatal code fails the test */
        rig_run(&g, 40 + 97 * (i % 13));
    }
    assert_in_range(rig_leader(&g), 1, 3);
    write_some(&g, 1, 1);
    rig_done(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_leader_remembers_who_acknowledged_what),
        cmocka_unit_test(followers_remember_what_the_leader_has_durably),
        cmocka_unit_test(who_is_elected_remembers_the_votes),
        cmocka_unit_test(only_what_is_durable_counts),
        cmocka_unit_test(a_higher_term_frees_the_log),
        cmocka_unit_test(memory_belongs_to_a_data_directory),
        cmocka_unit_test(an_older_copy_stops),
        cmocka_unit_test(each_promise_counts),
        cmocka_unit_test(only_a_member_that_means_us_is_believed),
        cmocka_unit_test(what_it_heard_since_does_not_hide_it),
        cmocka_unit_test(restarts_are_never_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
