#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "raftctl/changes.h"
#include "raftctl/render.h"
#include "raftctl/watch.h"

static const struct ctl quiet = {.quiet = true};
static const struct invocation none;

static json_t *parse(const char *text)
{
    json_t *value = json_loads(text, 0, NULL);

    assert_non_null(value);
    return value;
}

static void expect(render_fn *render, const char *json, const char *expected)
{
    struct buf out = BUF_INIT;
    json_t *value = parse(json);

    render(&quiet, &none, value, &out);
    assert_string_equal(buf_str(&out), expected);
    json_decref(value);
    buf_done(&out);
}

/* The second line of status. */
static void expect_health(const char *json, const char *expected)
{
    struct buf out = BUF_INIT;
    json_t *value = parse(json);

    render_status(&quiet, &none, value, &out);
    const char *line = strchr(buf_str(&out), '\n') + 1;
    char health[256] = "";
    assert_in_range(strcspn(line, "\n"), 1, sizeof health - 1);
    memcpy(health, line, strcspn(line, "\n"));
    assert_string_equal(health, expected);
    json_decref(value);
    buf_done(&out);
}

static const char status_json[] =
    "{\"cluster\":{\"id\":\"00112233445566778899aabbccddeeff\",\"name\":\"prod\"},"
    "\"node\":{\"id\":2,\"name\":\"n2\",\"address\":\"10.0.0.2:7400\",\"http\":[\"127.0.0.1:7480\","
    "\"unix:/run/raftd/http.sock\"]},\"state\":\"follower\","
    "\"is_leader\":false,\"role\":\"voter\",\"reason\":null,\"term\":7,\"fence\":7,"
    "\"leader\":{\"id\":10,\"address\":\"10.0.0.10:7400\",\"uri\":null},\"lease_remaining_ms\":0,"
    "\"leader_contact_ms\":41,\"commit_index\":18231,\"applied_index\":18230,\"first_index\":8231,"
    "\"last_index\":18232,\"revision\":9120,\"membership\":{\"index\":18102,\"pending\":true},"
    "\"quorum\":{\"voters\":2,\"need\":2,\"reachable\":2,\"failure_tolerance\":0},"
    "\"members\":[{\"id\":2,\"name\":\"n2\",\"address\":\"10.0.0.2:7400\",\"role\":\"voter\","
    "\"match_index\":null,\"lag\":null,\"contact_ms\":null,\"connected\":true,\"version\":\"0.1."
    "0\"},"
    "{\"id\":10,\"name\":\"gr\\u00fcn\",\"address\":\"10.0.0.10:7400\",\"role\":\"voter\","
    "\"lag\":0,\"contact_ms\":41,\"connected\":true,\"version\":\"0.1.0\",\"trouble\":null},"
    "{\"id\":11,\"name\":\"evil\\u001b[2J\",\"address\":\"10.0.0.11:7400\",\"role\":\"learner\","
    "\"lag\":512,\"contact_ms\":9000,\"connected\":false,\"version\":null,"
    "\"trouble\":\"refused: it \\u001b[2J has another store, 4 tries\"}],"
    "\"tls\":{\"cert_expires_in_s\":86400,\"ca_expires_in_s\":-1,\"https\":true},"
    "\"disk\":{\"state\":\"ok\",\"log_commit_p99_us\":1410,\"log_bytes\":512,"
    "\"state_bytes\":3221225472,\"log_commit_p50_us\":380,\"free_bytes\":5368709120,"
    "\"reserve_bytes\":1572864,\"state_used_bytes\":3072,\"state_max_bytes\":2097152},"
    "\"process\":{\"uptime_ms\":90061000}}";

static void status_is_one_screen(void **state)
{
    (void)state;
    expect(render_status, status_json,
           "cluster   prod  00112233445566778899aabbccddeeff\n"
           "health    healthy\n"
           "node      2 n2  10.0.0.2:7400  follower, voter, up 1d01h\n"
           "leader    10  10.0.0.10:7400  term 7, heard 41ms ago\n"
           "log       committed 18231, applied 18230, holds 8231..18232, revision 9120\n"
           "disk      ok, commit p50 0.4ms, p99 1.4ms, log 512 B, state 3.0 GiB, "
           "data 3.0 KiB of 2.0 MiB, free 5.0 GiB, reserved 1.5 MiB\n"
           "tls       on, certificate expires in 1 day, authority EXPIRED\n"
           "http      https://127.0.0.1:7480, unix:/run/raftd/http.sock\n"
           "change    a membership change is not committed yet\n"
           "\n"
           "   ID  NAME      ROLE     ADDRESS         LAG  CONTACT  CONNECTED  VERSION\n"
           "*   2  n2        voter    10.0.0.2:7400     -        -  this node  0.1.0\n"
           "   10  gr\xc3\xbcn      leader   10.0.0.10:7400    0     41ms  yes        0.1.0\n"
           "   11  evil?[2J  learner  10.0.0.11:7400  512     9.0s  NO         -\n"
           "node 11: refused: it ?[2J has another store, 4 tries\n");
}

static void status_of_a_node_in_no_cluster(void **state)
{
    (void)state;
    expect(
        render_status,
        "{\"cluster\":{\"id\":null,\"name\":null},\"node\":{\"id\":1,\"name\":\"n1\",\"address\":"
        "\"10.0.0.1:7400\"},\"state\":\"unconfigured\",\"role\":null,\"leader\":null,\"term\":0}",
        "cluster   none\n"
        "health    unconfigured: this node is in no cluster yet\n"
        "node      1 n1  10.0.0.1:7400  unconfigured\n"
        "leader    none  term 0\n"
        "log       committed 0, applied 0, holds 0..0, revision 0\n");
}

/* The daemon's reason says what to do, and is said once. */
static void status_of_a_removed_node(void **state)
{
    (void)state;
    expect(render_status,
           "{\"cluster\":{\"id\":\"00112233445566778899aabbccddeeff\",\"name\":null},\"node\":{"
           "\"id\":3,\"name\":\"n3\",\"address\":\"10.0.0.3:7400\"},\"state\":\"removed\","
           "\"role\":null,\"reason\":\"removed from the cluster: stop it, or reset and add it "
           "again\",\"leader\":null,\"term\":7,\"commit_index\":40,\"applied_index\":40,"
           "\"first_index\":1,\"last_index\":41,\"revision\":9,\"members\":[]}",
           "cluster   00112233445566778899aabbccddeeff\n"
           "health    removed from the cluster: stop it, or reset and add it again\n"
           "node      3 n3  10.0.0.3:7400  removed\n"
           "leader    none  term 7\n"
           "log       committed 40, applied 40, holds 1..41, revision 9\n");
}

static void status_while_leadership_moves(void **state)
{
    (void)state;
    expect(render_status,
           "{\"cluster\":{\"id\":\"c\",\"name\":\"prod\"},\"node\":{\"id\":1,\"name\":\"n1\","
           "\"address\":\"a:1\"},\"state\":\"handing_over\",\"role\":\"voter\",\"leader\":{"
           "\"id\":1,\"address\":\"a:1\"},\"term\":7,\"leader_contact_ms\":0,\"quorum\":{"
           "\"voters\":2,\"need\":2,\"reachable\":2},\"members\":["
           "{\"id\":1,\"address\":\"a:1\",\"role\":\"voter\"},"
           "{\"id\":2,\"address\":\"b:1\",\"role\":\"learner\",\"auto_promote\":true},"
           "{\"id\":3,\"address\":\"c:1\",\"role\":\"learner\",\"auto_promote\":false},"
           "{\"id\":4,\"address\":\"d:1\",\"role\":\"voter\",\"auto_promote\":true}]}",
           "cluster   prod  c\n"
           "health    handing over: leadership goes to another voter, writes wait until it leads\n"
           "node      1 n1  a:1  handing over, voter\n"
           "leader    1  a:1  term 7\n"
           "log       committed 0, applied 0, holds 0..0, revision 0\n"
           "\n"
           "   ID  NAME  ROLE             ADDRESS  LAG  CONTACT  CONNECTED  VERSION\n"
           "*   1  -     leader           a:1        -        -  -          -\n"
           "    2  -     learner (joins)  b:1        -        -  -          -\n"
           "    3  -     learner          c:1        -        -  -          -\n"
           "    4  -     voter            d:1        -        -  -          -\n");
}

static void status_survives_nonsense(void **state)
{
    struct buf out = BUF_INIT;
    static const char *const values[] = {
        "{}", "[]", "{\"members\":[1,null,{}],\"leader\":{}}",
        "{\"state\":3,\"node\":{\"http\":[1]},\"disk\":{},\"members\":{}}"};

    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        json_t *value = parse(values[i]);
        render_status(&quiet, &none, value, &out);
        render_members(&quiet, &none, value, &out);
        render_leader(&quiet, &none, value, &out);
        render_list(&quiet, &none, value, &out);
        render_member(&quiet, &none, value, &out);
        render_removed(&quiet, &none, value, &out);
        render_replaced(&quiet, &none, value, &out);
        render_hand_over(&quiet, &none, value, &out);
        render_watch(value, &out);
        render_where(value, &out);
        json_decref(value);
    }
    render_watch(NULL, &out);
    assert_non_null(strstr(buf_str(&out), "no leader"));
    buf_done(&out);
}

#define LED "\"state\":\"follower\",\"leader\":{\"id\":1}"
#define QUORUM(v, n, r) "\"quorum\":{\"voters\":" #v ",\"need\":" #n ",\"reachable\":" #r "}"

static void expect_where(const char *json, const char *text)
{
    struct buf out = BUF_INIT;
    json_t *value = parse(json);

    render_where(value, &out);
    assert_string_equal(buf_str(&out), text);
    json_decref(value);
    buf_done(&out);
}

static void where_a_wait_ended_says_why(void **state)
{
    (void)state;
    expect_where("{\"state\":\"forming\",\"term\":0,\"leader\":null,\"reason\":\"forming: no\"}",
                 "this node is forming in term 0, no leader is known: forming: no");
    expect_where("{\"state\":\"follower\",\"term\":3,\"reason\":\"electing for 5 ms\"}",
                 "this node is follower in term 3, no leader is known");
    expect_where("{\"state\":\"handing_over\",\"term\":3,\"leader\":null}",
                 "this node is handing over in term 3, no leader is known");
    expect_where("{\"state\":\"follower\",\"term\":3,\"leader\":{\"id\":2}}",
                 "this node is follower in term 3, node 2 leads");
}

static void health_is_one_word_and_why(void **state)
{
    (void)state;
    expect_health("{" LED "," QUORUM(3, 2, 3) "}", "health    healthy");
    expect_health("{" LED "," QUORUM(3, 2, 2) "}",
                  "health    degraded: 2 of 3 voters reachable, tolerates 0 failures");
    expect_health("{" LED "," QUORUM(5, 3, 4) "}",
                  "health    degraded: 4 of 5 voters reachable, tolerates 1 failure");
    expect_health("{" LED "," QUORUM(3, 2, 1) "}",
                  "health    NO QUORUM: 1 of 3 voters reachable, 2 needed");
    expect_health("{" LED ",\"quorum\":{\"voters\":3,\"need\":2,\"reachable\":null}}",
                  "health    led (which voters are reachable, the leader knows)");
    expect_health("{" LED "," QUORUM(3, 2, 3) ",\"disk\":{\"state\":\"stalled\"}}",
                  "health    degraded: disk stalled");
    expect_health("{" LED "," QUORUM(3, 2, 3) ",\"disk\":{\"state\":\"stalled\"},\"reason\":"
                                              "\"disk: a log commit is overdue\"}",
                  "health    degraded: disk stalled: a log commit is overdue");
    expect_health("{" LED "," QUORUM(3, 2, 3) ",\"disk\":{\"state\":\"low\",\"free_bytes\":1024,"
                                              "\"reserve_bytes\":1048576},\"reason\":\"late\"}",
                  "health    degraded: disk low (1.0 KiB free, 1.0 MiB in reserve); late");
    expect_health("{" LED "," QUORUM(3, 2, 2) ",\"disk\":{\"state\":\"full\"},\"reason\":\"late\"}",
                  "health    degraded: 2 of 3 voters reachable, tolerates 0 failures; disk full; "
                  "late");
    expect_health("{" LED "," QUORUM(3, 2, 3) ",\"reason\":\"snapshot\"}",
                  "health    degraded: snapshot");
}

static void health_without_a_leader(void **state)
{
    (void)state;
    expect_health("{\"state\":\"candidate\",\"leader\":null," QUORUM(3, 2, 1) "}",
                  "health    NO QUORUM: 1 of 3 voters reachable, 2 needed");
    expect_health("{\"state\":\"candidate\",\"leader\":null," QUORUM(3, 2, 1) ",\"reason\":\"x\"}",
                  "health    NO QUORUM: 1 of 3 voters reachable, 2 needed; x");
    expect_health("{\"state\":\"follower\",\"leader\":null," QUORUM(3, 2, 2) ",\"reason\":\"y\"}",
                  "health    NO LEADER: 2 of 3 voters reachable; y");
    expect_health("{\"state\":\"follower\",\"leader\":null}",
                  "health    NO QUORUM: no leader is known");
    expect_health("{\"state\":\"follower\",\"leader\":null,\"reason\":\"cut off\"}",
                  "health    NO QUORUM: cut off");
    expect_health("{\"state\":\"forming\",\"reason\":\"node 2 is missing\"}",
                  "health    forming: node 2 is missing");
    expect_health("{\"state\":\"forming\",\"reason\":\"forming: node 2 refused this node: no\"}",
                  "health    forming: node 2 refused this node: no");
    expect_health("{\"state\":\"forming\",\"reason\":\"forming\"}", "health    forming: forming");
    expect_health("{\"state\":\"forming\"}",
                  "health    forming: a new cluster waits for its members");
    expect_health("{\"state\":\"joining\"}",
                  "health    joining: this node waits to be told the membership");
    expect_health("{\"state\":\"removed\"}", "health    removed: this node is no longer a member");
    expect_health("{\"state\":\"removed\",\"reason\":\"removed from x: stop it\"}",
                  "health    removed from x: stop it");
    expect_health("{\"state\":\"removed\",\"reason\":\"removedly\"}",
                  "health    removed: removedly");
}

static void health_while_leadership_moves(void **state)
{
    (void)state;
    expect_health("{\"state\":\"leader\",\"is_leader\":false,\"node\":{\"id\":1},"
                  "\"leader\":{\"id\":1},\"reason\":\"leads, and may not claim it yet\"}",
                  "health    taking over: leads, and may not claim it yet");
    expect_health(
        "{\"state\":\"leader\",\"is_leader\":false,\"node\":{\"id\":1},"
        "\"leader\":{\"id\":1},\"reason\":\"leads, and may not claim it yet\","
        "\"quorum\":{\"voters\":3,\"need\":2,\"reachable\":2}}",
        "health    degraded: 2 of 3 voters reachable, tolerates 0 failures; leads, and may not "
        "claim it yet");
    expect_health("{\"state\":\"handing_over\",\"leader\":null}",
                  "health    handing over: leadership goes to another voter, writes wait until it "
                  "leads");
    expect_health("{\"state\":\"handing_over\",\"leader\":null," QUORUM(
                      3, 2, 3) ",\"reason\":"
                               "\"node 2 is asked to lead\"}",
                  "health    handing over: node 2 is asked to lead");
    expect_health("{\"state\":\"handing_over\",\"reason\":\"handing over to node 2\"}",
                  "health    handing over to node 2");
    expect_health("{\"state\":\"handing_over\",\"leader\":null," QUORUM(3, 2, 1) "}",
                  "health    NO QUORUM: 1 of 3 voters reachable, 2 needed");
}

static void watch_says_states_as_words(void **state)
{
    struct buf out = BUF_INIT;
    json_t *value = parse("{\"state\":\"handing_over\",\"term\":3,\"leader\":null}");

    (void)state;
    render_watch(value, &out);
    assert_string_equal(buf_str(&out), "term 3  no leader  this node: handing over\n");
    json_decref(value);
    buf_done(&out);
}

static void changes(void **state)
{
    (void)state;
    expect(render_member, "{\"id\":4,\"role\":\"voter\",\"index\":12}",
           "node 4 is a voter (index 12)\n");
    expect(render_member, "{\"id\":4,\"role\":null}", "node 4 is a member\n");
    expect(render_member, "{\"id\":4,\"role\":\"\\u001b[2J\"}", "node 4 is a ?[2J\n");
    expect(render_member, "{}", "node - is a member\n");
    expect(render_removed, "{\"id\":3,\"index\":15}", "node 3 removed (index 15)\n");
    expect(render_removed, "{\"id\":3}", "node 3 removed\n");
    expect(render_replaced, "{\"added\":5,\"removed\":3,\"index\":20}",
           "node 5 replaces node 3 (index 20)\n");
    expect(render_replaced, "{}", "node - replaces node -\n");
    expect(render_hand_over, "{\"from\":1,\"to\":2,\"term\":8,\"gap_ms\":4}",
           "node 1 handed over to node 2, term 8, writes waited 4ms\n");
    expect(render_hand_over, "{\"from\":1,\"to\":2,\"term\":8,\"gap_ms\":1250}",
           "node 1 handed over to node 2, term 8, writes waited 1.2s\n");
    expect(render_hand_over, "{\"from\":1,\"to\":2,\"term\":8,\"gap_ms\":null}",
           "node 1 handed over to node 2, term 8\n");
    expect(render_hand_over, "{\"from\":1,\"to\":2,\"term\":null,\"gap_ms\":null}",
           "node 1 is handing over to node 2\n");
    expect(render_hand_over, "{\"from\":1,\"to\":null,\"term\":null}", "node 1 is handing over\n");
    expect(render_hand_over, "{\"from\":2,\"to\":2,\"term\":8,\"gap_ms\":0}",
           "node 2 leads already\n");
    expect(render_hand_over, "{}", "node - is handing over\n");
}

static void small_answers(void **state)
{
    (void)state;
    expect(render_put, "{\"revision\":12,\"index\":40,\"term\":7}", "revision 12\n");
    expect(render_del, "{\"deleted\":1,\"revision\":13}", "deleted 1, revision 13\n");
    expect(render_is_leader, "{\"is_leader\":true,\"fence\":7,\"lease_remaining_ms\":790}",
           "yes, fence 7, for another 790ms\n");
    expect(render_is_leader, "{\"is_leader\":false}", "no\n");
    expect(render_leader,
           "{\"leader\":{\"id\":1,\"address\":\"a:1\",\"uri\":\"amqp://x\"},\"term\":7}",
           "leader 1  a:1  amqp://x  term 7\n");
    expect(render_leader, "{\"leader\":{\"id\":1,\"address\":\"a:1\",\"uri\":\"\"},\"term\":7}",
           "leader 1  a:1  term 7\n");
    expect(render_members, "{\"members\":[]}", "");
    expect(render_members,
           "{\"pending\":true,\"members\":[{\"id\":1,\"name\":\"n1\",\"role\":\"voter\","
           "\"address\":\"a:1\",\"uri\":\"\"}]}",
           "ID  NAME  ROLE   ADDRESS  URI\n 1  n1    voter  a:1      -\n");
}

static void list_shows_any_bytes_on_one_line(void **state)
{
    (void)state;
    expect(render_list, "{\"kvs\":[]}", "");
    expect(render_list,
           "{\"kvs\":[{\"key\":\"a\",\"value\":\"x\\ny\\tz\\\\\\u0007\\u00fc\"},"
           "{\"key_base64\":\"/w==\",\"value_base64\":\"AP9h\"},{\"key\":\"z\",\"value\":\"\"}]}",
           "a\tx\\ny\\tz\\\\\\x07\xc3\xbc\n\\xff\t\\x00\\xffa\nz\t\n");
}

static void values_come_out_as_they_went_in(void **state)
{
    static const char *const cases[][3] = {
        {"{\"value\":\"\"}", "", "0"},
        {"{\"value\":\"a\\u0000b\"}", "a\0b", "3"},
        {"{\"value_base64\":\"\"}", "", "0"},
        {"{\"value_base64\":\"/w==\"}", "\xff", "1"},
        {"{\"value_base64\":\"//4=\"}", "\xff\xfe", "2"},
        {"{\"value_base64\":\"+/8A\"}", "\xfb\xff\0", "3"},
        {"{\"value_base64\":\"+/8AYQ==\"}", "\xfb\xff\0a", "4"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf out = BUF_INIT;
        json_t *value = json_loads(cases[i][0], JSON_ALLOW_NUL, NULL);
        assert_true(render_bytes(value, "value", &out));
        assert_int_equal(out.size, cases[i][2][0] - '0');
        if (out.size) {
            assert_memory_equal(out.data, cases[i][1], out.size);
        }
        json_decref(value);
        buf_done(&out);
    }
}

static void bytes_that_are_none(void **state)
{
    static const char *const cases[] = {"{}", "{\"value\":3}", "{\"value_base64\":\"a*bc\"}",
                                        "{\"value_base64\":7}"};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf out = BUF_INIT;
        json_t *value = parse(cases[i]);
        assert_false(render_bytes(value, "value", &out));
        assert_int_equal(out.size, 0);
        json_decref(value);
        buf_done(&out);
    }
}

static void durations_and_sizes(void **state)
{
    struct buf out = BUF_INIT;
    static const uint64_t ms[] = {0, 999, 1000, 59949, 60000, 3599000, 3600000, 86399000, 90000000};
    static const uint64_t bytes[] = {0,       1023,       1024,       1536,
                                     1048576, 1ULL << 30, 1ULL << 40, 1ULL << 52};

    (void)state;
    for (size_t i = 0; i < sizeof ms / sizeof ms[0]; i++) {
        render_duration(&out, ms[i]);
        buf_put_u8(&out, ' ');
    }
    assert_string_equal(buf_str(&out), "0ms 999ms 1.0s 59.9s 1m00s 59m59s 1h00m 23h59m 1d01h ");
    out.size = 0;
    for (size_t i = 0; i < sizeof bytes / sizeof bytes[0]; i++) {
        render_size(&out, bytes[i]);
        buf_put_u8(&out, ',');
    }
    assert_string_equal(buf_str(&out),
                        "0 B,1023 B,1.0 KiB,1.5 KiB,1.0 MiB,1.0 GiB,1.0 TiB,4096.0 TiB,");
    buf_done(&out);
}

static bool met(enum wait_for what, const char *json)
{
    json_t *value = parse(json);
    bool result = wait_is_met(what, value);

    json_decref(value);
    return result;
}

static void wait_conditions(void **state)
{
    (void)state;
    assert_true(met(WAIT_HAS_LEADER, "{\"leader\":{\"id\":1}}"));
    assert_false(met(WAIT_HAS_LEADER, "{\"leader\":null}"));
    assert_false(met(WAIT_HAS_LEADER, "{}"));
    assert_true(met(WAIT_LEADER, "{\"state\":\"leader\",\"lease_remaining_ms\":5}"));
    assert_false(met(WAIT_LEADER, "{\"state\":\"leader\",\"lease_remaining_ms\":0}"));
    assert_false(met(WAIT_LEADER, "{\"state\":\"follower\",\"lease_remaining_ms\":5}"));
    assert_false(met(WAIT_LEADER, "{}"));
    assert_true(met(WAIT_LEADER, "{\"is_leader\":true}"));
    assert_false(
        met(WAIT_LEADER, "{\"is_leader\":false,\"state\":\"leader\",\"lease_remaining_ms\":5}"));
    assert_true(met(WAIT_VOTER, "{\"state\":\"follower\"}"));
    assert_true(met(WAIT_VOTER, "{\"state\":\"handing_over\"}"));
    assert_false(met(WAIT_VOTER, "{\"state\":\"learner\"}"));
    assert_false(met(WAIT_VOTER, "{}"));
    assert_true(met(WAIT_VOTER, "{\"state\":\"x\",\"role\":\"voter\"}"));
    assert_false(met(WAIT_VOTER, "{\"state\":\"follower\",\"role\":\"learner\"}"));
    assert_false(met(WAIT_CAUGHT_UP, "{\"leader\":{\"id\":1}}"));
}

static uint64_t target(const char *json)
{
    json_t *value = parse(json);
    uint64_t result = wait_target(value);

    json_decref(value);
    return result;
}

static void wait_targets(void **state)
{
    (void)state;
    assert_int_equal(target("{\"leader\":null,\"commit_index\":9}"), 0);
    assert_int_equal(target("{\"leader\":{},\"commit_index\":9}"), 9);
    assert_int_equal(target("{\"leader\":{},\"commit_index\":9,\"node\":{\"id\":2},\"members\":["
                            "{\"id\":1,\"match_index\":50,\"lag\":0},"
                            "{\"id\":2,\"match_index\":8,\"lag\":12}]}"),
                     20);
    assert_int_equal(target("{\"leader\":{},\"commit_index\":9,\"node\":{\"id\":2},\"members\":["
                            "{\"id\":2,\"match_index\":null,\"lag\":null}]}"),
                     9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_is_one_screen),
        cmocka_unit_test(status_of_a_node_in_no_cluster),
        cmocka_unit_test(status_of_a_removed_node),
        cmocka_unit_test(status_while_leadership_moves),
        cmocka_unit_test(status_survives_nonsense),
        cmocka_unit_test(health_is_one_word_and_why),
        cmocka_unit_test(where_a_wait_ended_says_why),
        cmocka_unit_test(health_without_a_leader),
        cmocka_unit_test(health_while_leadership_moves),
        cmocka_unit_test(watch_says_states_as_words),
        cmocka_unit_test(changes),
        cmocka_unit_test(small_answers),
        cmocka_unit_test(list_shows_any_bytes_on_one_line),
        cmocka_unit_test(values_come_out_as_they_went_in),
        cmocka_unit_test(bytes_that_are_none),
        cmocka_unit_test(durations_and_sizes),
        cmocka_unit_test(wait_conditions),
        cmocka_unit_test(wait_targets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
