/* Changes of the membership and of who leads: what is asked, what is answered, and what is told
 * meanwhile. */
#include "harness.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "raftctl/progress.h"

#define DIALLING "dialling node 43 ..."
#define COMMITTING "waiting for a majority to store the change ..."

static void each_says_what_it_did(void **state)
{
    (void)state;
    fake_start("leader");
    expect("add-server 4 n4.example:7400", 0, "node 4 is a voter (index 12)\n", NULL);
    expect("add-server 4 10.0.0.4:7400 --learner", 0, "node 4 is a learner (index 12)\n", NULL);
    expect("add-server 4 [fd00::4]:7400 --no-wait", 0,
           "node 4 is a learner (index 12), a voter once it has caught up\n", NULL);
    expect("add-server 4 a:1 --no-wait --learner", 0, "node 4 is a learner (index 12)\n", NULL);
    expect("promote 4", 0, "node 4 is a voter (index 12)\n", NULL);
    expect("demote 4", 0, "node 4 is a learner (index 12)\n", NULL);
    expect("remove-server 4294967295", 0, "node 4294967295 removed (index 12)\n", NULL);
    expect("replace-server 3 5 n5:7400", 0, "node 5 replaces node 3 (index 20)\n", NULL);
    expect("step-down", 0, "node 1 handed over to node 2, term 8, writes waited 4ms\n", NULL);
    expect("step-down --no-wait", 0, "node 1 is handing over to node 2\n", NULL);
    expect("transfer 3", 0, "node 1 handed over to node 3, term 8, writes waited 4ms\n", NULL);
    expect("transfer 1", 0, "node 1 leads already\n", NULL);
}

/* Fields that this raftctl does not know included: here they show what was asked. */
static void the_answer_passes_unchanged_as_json(void **state)
{
    (void)state;
    fake_start("leader");
    expect("add-server 4 n4.example:7400 --json", 0,
           "{\"id\":4,\"role\":\"voter\",\"index\":12,\"asked\":\"n4.example:7400\"}\n", NULL);
    expect("add-server 4 [fd00::4]:7400 --learner --no-wait --json", 0,
           "{\"id\":4,\"role\":\"learner\",\"index\":12,\"asked\":\"[fd00::4]:7400 learner "
           "no_wait\"}\n",
           NULL);
    expect("promote 4 --force --json", 0,
           "{\"id\":4,\"role\":\"voter\",\"index\":12,\"asked\":\" force\"}\n", NULL);
    expect("demote 4 --force --json", 0,
           "{\"id\":4,\"role\":\"learner\",\"index\":12,\"asked\":\" force\"}\n", NULL);
    expect("remove-server 4 --force --json", 0, "{\"id\":4,\"index\":12,\"asked\":\" force\"}\n",
           NULL);
    expect("replace-server 3 5 n5:7400 --json", 0,
           "{\"added\":5,\"removed\":3,\"index\":20,\"asked\":\"n5:7400\"}\n", NULL);
    expect("step-down --json", 0, "{\"from\":1,\"to\":2,\"term\":8,\"gap_ms\":4,\"asked\":\"\"}\n",
           NULL);
    expect("transfer 3 --no-wait --json", 0,
           "{\"from\":1,\"to\":3,\"term\":null,\"gap_ms\":null,\"asked\":\" no_wait\"}\n", NULL);
}

#define NO_ID " is not the id of a node, 1 to 4294967295\n"
#define NO_ADDRESS " is not HOST:PORT, as in 10.0.0.4:7400, n4.example:7400 or [fd00::4]:7400\n"
#define TO_LISTEN " is to listen on; give the address that the other members dial\n"

/* line, and what stderr begins with */
static const char *const mistakes[][2] = {
    {"add-server x a:1", "raftctl: add-server: ID: 'x'" NO_ID},
    {"add-server 0 a:1", "raftctl: add-server: ID: '0'" NO_ID},
    {"add-server 4294967296 a:1", "raftctl: add-server: ID: '4294967296'" NO_ID},
    {"add-server -- -4 a:1", "raftctl: add-server: ID: '-4'" NO_ID},
    {"add-server '' a:1", "raftctl: add-server: ID: ''" NO_ID},
    {"add-server 4 10.0.0.4", "raftctl: add-server: '10.0.0.4'" NO_ADDRESS},
    {"add-server 4 10.0.0.4:0", "raftctl: add-server: '10.0.0.4:0'" NO_ADDRESS},
    {"add-server 4 10.0.0.4:65536", "raftctl: add-server: '10.0.0.4:65536'" NO_ADDRESS},
    {"add-server 4 :7400", "raftctl: add-server: ':7400'" NO_ADDRESS},
    {"add-server 4 fd00::4:7400", "raftctl: add-server: 'fd00::4:7400'" NO_ADDRESS},
    {"add-server 4 ''", "raftctl: add-server: ''" NO_ADDRESS},
    {"add-server 4 0.0.0.0:7400", "raftctl: add-server: '0.0.0.0:7400'" TO_LISTEN},
    {"add-server 4 [::]:7400", "raftctl: add-server: '[::]:7400'" TO_LISTEN},
    {"promote n4", "raftctl: promote: ID: 'n4'" NO_ID},
    {"demote 1.5", "raftctl: demote: ID: '1.5'" NO_ID},
    {"remove-server 0", "raftctl: remove-server: ID: '0'" NO_ID},
    {"transfer 0", "raftctl: transfer: ID: '0'" NO_ID},
    {"replace-server x 5 a:1", "raftctl: replace-server: OLD: 'x'" NO_ID},
    {"replace-server 3 x a:1", "raftctl: replace-server: NEW: 'x'" NO_ID},
    {"replace-server 3 3 a:1", "raftctl: replace-server: node 3 cannot replace itself: give "
                               "the new node another id, or make node 3 anew (remove-server, "
                               "reset --force, add-server)\n"},
    {"replace-server 3 5 a", "raftctl: replace-server: 'a'" NO_ADDRESS},
    {"replace-server 3 5 [0::0]:1", "raftctl: replace-server: '[0::0]:1'" TO_LISTEN},
};

static void bad_arguments_exit_2(void **state)
{
    (void)state;
    fake_kill(); /* nobody is asked */
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        char line[128];
        expect(mistakes[i][0], 2, "", mistakes[i][1]);
        (void)snprintf(line, sizeof line, "--json %s", mistakes[i][0]);
        struct run r;
        ctl_run(&r, line);
        assert_int_equal(r.status, 2);
        assert_memory_equal(buf_str(&r.out), "{\"error\":{\"code\":\"invalid\",\"message\":\"", 38);
        assert_int_equal(r.err.size, 0);
        run_done(&r);
    }
    expect("promote x", 2, "", "Usage: raftctl promote ID [--force]\nMore: raftctl help promote\n");
}

/* The port may have any number of zeros before it, which the frame has no room for. */
static void an_address_too_long(void **state)
{
    char line[400] = "add-server 4 a:";

    (void)state;
    fake_start("leader");
    memset(line + 15, '0', 267);
    line[15 + 266] = '1';
    expect(line, 0, NULL, NULL); /* 269 bytes */
    memset(line + 15, '0', 268);
    line[15 + 267] = '1';
    expect(line, 2, "", NO_ADDRESS);
}

/* The member's id is the number of the error that raftd answers with. */
static void refusals(void **state)
{
#define ROW(symbol, value, name, status, text) {name, value, status},
    static const struct {
        const char *name;
        int value, status;
    } rows[] = {RD_ERRORS(ROW)};
#undef ROW

    (void)state;
    fake_start("leader");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char line[80], out[160];
        if (rows[i].value >= RD_EUSAGE) {
            continue; /* never sent to a client */
        }
        (void)snprintf(line, sizeof line, "remove-server %d --json", rows[i].value);
        (void)snprintf(out, sizeof out,
                       "{\"error\":{\"code\":\"%s\",\"message\":\"as asked\",\"leader\":2}}\n",
                       rows[i].name);
        expect(line, rows[i].status, out, NULL);
    }
    expect("demote 1011", 6, "", "raftctl: demote: would_lose_quorum: as asked\n");
    expect("promote 1012", 1, "", "raftctl: promote: not_caught_up: as asked\n");
    expect("add-server 1013 a:1", 1, "", "raftctl: add-server: unreachable: as asked\n");
    expect("transfer 1001", 1, "", "not_leader: as asked (the leader is node 2)\n");
    fake_start("refusing");
    expect("step-down", 8, "", "permission_denied: not permitted: needs root, raftd's own user");
}

#define REPEAT "It may or may not have been done: repeat the command, it is idempotent\n"

static void no_answer(void **state)
{
    (void)state;
    fake_start("leader");
    expect("add-server 41 a:1 --timeout 50ms", 5, "",
           " did not answer in time. It may or may not have been done: repeat the command");
    expect("remove-server 40 -q", 5, "", "unknown_outcome: lost raftd at ");
    expect("transfer 40 -q", 5, "", REPEAT);
    fake_start("mute");
    expect("promote 4 --timeout 50ms", 5, "", REPEAT);
    expect("demote 4 --timeout 50ms", 5, "", REPEAT);
    expect("remove-server 4 --timeout 50ms", 5, "", REPEAT);
    expect("replace-server 3 4 a:1 --timeout 50ms", 5, "", REPEAT);
    expect("transfer 4 --timeout 50ms", 5, "", REPEAT);
    /* Who asks for this again after it was done would ask the next leader. */
    expect("step-down --timeout 50ms", 5, "",
           "see who leads now, repeating it may move leadership again\n");
    fake_start("broken");
    expect("promote 4", 3, "", "what is no JSON");
}

static void expect_progress(const char *line, const char *out, const char *err)
{
    struct run r;

    ctl_run(&r, line);
    assert_string_equal(buf_str(&r.err), err);
    assert_string_equal(buf_str(&r.out), out);
    assert_int_equal(r.status, 0);
    run_done(&r);
}

static const char told[] = DIALLING "\n"
                                    "catching up 43% (430 of 1000) ...\n" COMMITTING "\n"
                                    "handing over ...\n"
                                    "moving house ...\n"
                                    "the change is under way ...\n";

static void progress_is_for_people(void **state)
{
    (void)state;
    fake_start("leader");
    expect_progress("add-server 43 a:1", "node 43 is a voter (index 12)\n", told);
    expect_progress("remove-server 43 --json", "{\"id\":43,\"index\":12,\"asked\":\"\"}\n", told);
    expect_progress("promote 43 -q", "node 43 is a voter (index 12)\n", "");
    expect_progress("transfer 43 -q --json",
                    "{\"from\":1,\"to\":43,\"term\":8,\"gap_ms\":4,\"asked\":\"\"}\n", "");
}

static void what_is_told_before_is_not_told_again(void **state)
{
    (void)state;
    fake_start("leader");
    expect_progress("replace-server 3 44 a:1", "node 44 replaces node 3 (index 20)\n",
                    "catching up 10% (100 of 1000) ...\ncatching up 50% (500 of 1000) ...\n");
}

static void a_quick_change_is_calm(void **state)
{
    struct run r;

    (void)state;
    fake_start("leader");
    ctl_run(&r, "demote 42");
    assert_string_equal(buf_str(&r.out), "node 42 is a learner (index 12)\n");
    if (r.took_ms < PROGRESS_CALM_MS) { /* else this machine was slow */
        assert_string_equal(buf_str(&r.err), "");
    }
    run_done(&r);
}

static void a_terminal_is_left_clean(void **state)
{
    static const char line[] = "\r" DIALLING;
    struct run r;

    (void)state;
    fake_start("leader");
    ctl_run_terminal(&r, "promote 43");
    assert_string_equal(buf_str(&r.out), "node 43 is a voter (index 12)\n");
    const char *err = buf_str(&r.err);
    assert_memory_equal(err, line, sizeof line - 1);
    assert_non_null(strstr(err, "\rcatching up 43% (430 of 1000) ..."));
    assert_null(strchr(err, '\n'));
    const char last[] = "\r                           \r"; /* the change is under way ... */
    assert_true(r.err.size > sizeof last);
    assert_string_equal(err + r.err.size - (sizeof last - 1), last);
    run_done(&r);
    ctl_run_terminal(&r, "promote 43 -q");
    assert_string_equal(buf_str(&r.err), "");
    run_done(&r);
}

/* The sentence does not begin behind what was told. */
static void an_error_on_a_terminal(void **state)
{
    static const char begins[] = "\r" DIALLING "\r                    \rraftctl: promote: ";
    struct run r;

    (void)state;
    fake_start("leader");
    ctl_run_terminal(&r, "promote 40");
    assert_int_equal(r.status, 5);
    assert_memory_equal(buf_str(&r.err), begins, sizeof begins - 1);
    run_done(&r);
}

static void expect_batch(const char *in, const char *out)
{
    struct run r;

    ctl_run_input(&r, "batch", in, strlen(in));
    assert_string_equal(buf_str(&r.out), out);
    assert_string_equal(buf_str(&r.err), "");
    assert_int_equal(r.status, 0);
    run_done(&r);
}

static void in_a_batch(void **state)
{
    (void)state;
    fake_start("leader");
    expect_batch("add-server 43 a:1 --learner\npromote 4\ndemote 4\nremove-server 4 --force\n"
                 "replace-server 3 5 a:1\nstep-down\ntransfer 2\npromote 1011\n"
                 "replace-server 3 3 a:1\n",
                 "{\"id\":43,\"role\":\"learner\",\"index\":12,\"asked\":\"a:1 learner\"}\n"
                 "{\"id\":4,\"role\":\"voter\",\"index\":12,\"asked\":\"\"}\n"
                 "{\"id\":4,\"role\":\"learner\",\"index\":12,\"asked\":\"\"}\n"
                 "{\"id\":4,\"index\":12,\"asked\":\" force\"}\n"
                 "{\"added\":5,\"removed\":3,\"index\":20,\"asked\":\"a:1\"}\n"
                 "{\"from\":1,\"to\":2,\"term\":8,\"gap_ms\":4,\"asked\":\"\"}\n"
                 "{\"from\":1,\"to\":2,\"term\":8,\"gap_ms\":4,\"asked\":\"\"}\n"
                 "{\"error\":{\"code\":\"would_lose_quorum\",\"message\":\"as asked\","
                 "\"leader\":2}}\n"
                 "{\"error\":{\"code\":\"invalid\",\"message\":\"node 3 cannot replace itself: "
                 "give the new node another id, or make node 3 anew (remove-server, reset "
                 "--force, add-server)\",\"leader\":null}}\n");
}

/* Replies to a change that was given up belong to nothing that follows it. */
static void late_replies_in_a_batch(void **state)
{
    static const char in[] = "promote 44 --timeout 50ms\npromote 45 --timeout 20ms\npromote 43\n";
    struct run r;

    (void)state;
    fake_start("leader");
    ctl_run_input(&r, "batch", in, strlen(in));
    const char *first = buf_str(&r.out);
    assert_memory_equal(first, "{\"error\":{\"code\":\"unknown_outcome\"", 34);
    const char *second = strchr(first, '\n') + 1;
    assert_memory_equal(second, "{\"error\":{\"code\":\"unknown_outcome\"", 34);
    assert_string_equal(strchr(second, '\n') + 1,
                        "{\"id\":43,\"role\":\"voter\",\"index\":12,\"asked\":\"\"}\n");
    assert_int_equal(r.err.size, 0);
    assert_int_equal(r.status, 0);
    run_done(&r);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_says_what_it_did),
        cmocka_unit_test(the_answer_passes_unchanged_as_json),
        cmocka_unit_test(bad_arguments_exit_2),
        cmocka_unit_test(an_address_too_long),
        cmocka_unit_test(refusals),
        cmocka_unit_test(no_answer),
        cmocka_unit_test(progress_is_for_people),
        cmocka_unit_test(what_is_told_before_is_not_told_again),
        cmocka_unit_test(a_quick_change_is_calm),
        cmocka_unit_test(a_terminal_is_left_clean),
        cmocka_unit_test(an_error_on_a_terminal),
        cmocka_unit_test(in_a_batch),
        cmocka_unit_test(late_replies_in_a_batch),
    };
    harness_init(argc, argv);
    return cmocka_run_group_tests(tests, NULL, harness_done);
}
