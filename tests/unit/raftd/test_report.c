#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "raftd/report.h"

static struct uuid uuid_of(uint8_t byte)
{
    struct uuid u;

    memset(u.bytes, byte, sizeof u.bytes);
    return u;
}

static void expect(struct buf *out, const char *text)
{
    assert_string_equal(buf_str(out), text);
    buf_done(out);
}

/* ---- status ---- */

static const struct report_leader leader_1 = {.address = "10.0.0.1:7400", .uri = "amqp://one"};

static struct report_status sample_leader(void)
{
    struct report_status s = {
        .cluster = uuid_of(0xab),
        .cluster_name = "prod",
        .id = 1,
        .name = "n1",
        .address = "10.0.0.1:7400",
        .uri = "amqp://one",
        .store = uuid_of(0x01),
        .public = {.state = NODE_LEADER,
                   .role = RAFT_VOTER,
                   .is_leader = true,
                   .leader = 1,
                   .term = 7,
                   .fence = 7,
                   .lease_remaining_ms = 390},
        .leader = leader_1,
        .commit = 20,
        .applied = 20,
        .first = 1,
        .last = 21,
        .revision = 9,
        .digest_index = 20,
        .digest = 0x1f,
        .voters = 3,
        .need = 2,
        .reachable = 3,
        .disk_state = "ok",
        .tls = {.is_on = true,
                .cert_until_s = 1798761600,
                .cert_left_s = 86400,
                .ca_until_s = 1798588800,
                .ca_left_s = -86400,
                .cert_until = "2027-01-01T00:00:00Z",
                .ca_until = "2026-12-30T00:00:00Z"},
        .log_commit_p99_us = 410,
        .log_bytes = 4096,
        .state_bytes = 100,
        .state_used_bytes = 90,
        .state_max_bytes = 2097152,
        .log_commit_p50_us = 210,
        .free_bytes = 7000,
        .reserve_bytes = 8000,
        .disk_format = 1,
        .rss_bytes = 5000000,
        .fds = 12,
        .uptime_ms = 1500,
    };
    s.members = (struct report_members){.index = 1, .pending = false, .count = 2};
    s.members.rows[0] = (struct report_member){.id = 1,
                                               .role = RAFT_VOTER,
                                               .name = "n1",
                                               .address = "10.0.0.1:7400",
                                               .uri = "amqp://one",
                                               .version = "0.1.0",
                                               .protocol = 2,
                                               .store = uuid_of(0x01),
                                               .match_index = 21,
                                               .connected = true};
    s.members.rows[1] = (struct report_member){.id = 2,
                                               .role = RAFT_LEARNER,
                                               .auto_promote = true,
                                               .name = "",
                                               .address = "10.0.0.2:7400",
                                               .uri = "",
                                               .version = "",
                                               .match_index = REPORT_UNKNOWN,
                                               .lag = REPORT_UNKNOWN,
                                               .contact_ms = REPORT_UNKNOWN,
                                               .trouble = "refused"};
    return s;
}

static void test_status_of_a_leader(void **state)
{
    struct report_status s = sample_leader();
    struct buf out = BUF_INIT;

    (void)state;
    report_status(&out, &s);
    expect(&out,
           "{\"schema\":\"raftd/1\",\"version\":\"0.1.0\","
           "\"cluster\":{\"id\":\"abababababababababababababababab\",\"name\":\"prod\"},"
           "\"node\":{\"id\":1,\"name\":\"n1\",\"store_id\":\"01010101010101010101010101010101\","
           "\"address\":\"10.0.0.1:7400\",\"uri\":\"amqp://one\",\"http\":[],"
           "\"protocol\":{\"min\":1,\"max\":2}},"
           "\"state\":\"leader\",\"is_leader\":true,\"role\":\"voter\",\"reason\":null,"
           "\"term\":7,\"fence\":7,\"leader\":{\"id\":1,\"address\":\"10.0.0.1:7400\","
           "\"uri\":\"amqp://one\"},\"lease_remaining_ms\":390,\"leader_contact_ms\":0,"
           "\"commit_index\":20,\"applied_index\":20,\"first_index\":1,\"last_index\":21,"
           "\"revision\":9,\"membership\":{\"index\":1,\"pending\":false},"
           "\"digest\":{\"index\":20,\"value\":\"000000000000001f\"},"
           "\"quorum\":{\"voters\":3,\"need\":2,\"reachable\":3,\"failure_tolerance\":1},"
           "\"members\":[{\"id\":1,\"name\":\"n1\",\"address\":\"10.0.0.1:7400\","
           "\"uri\":\"amqp://one\",\"role\":\"voter\",\"auto_promote\":false,"
           "\"store_id\":\"01010101010101010101010101010101\",\"match_index\":21,\"lag\":0,"
           "\"contact_ms\":0,\"connected\":true,\"trouble\":null,\"version\":\"0.1.0\","
           "\"protocol\":2},"
           "{\"id\":2,\"name\":null,\"address\":\"10.0.0.2:7400\",\"uri\":null,"
           "\"role\":\"learner\",\"auto_promote\":true,\"store_id\":null,\"match_index\":null,"
           "\"lag\":null,"
           "\"contact_ms\":null,\"connected\":false,\"trouble\":\"refused\",\"version\":null,"
           "\"protocol\":null}],"
           "\"tls\":{\"cert_not_after\":\"2027-01-01T00:00:00Z\",\"cert_expires_in_s\":86400,"
           "\"ca_not_after\":\"2026-12-30T00:00:00Z\",\"ca_expires_in_s\":-86400,\"https\":false},"
           "\"disk\":{\"state\":\"ok\",\"log_commit_p99_us\":410,\"log_bytes\":4096,"
           "\"state_bytes\":100,\"log_commit_p50_us\":210,\"free_bytes\":7000,"
           "\"reserve_bytes\":8000,\"format\":1,\"state_used_bytes\":90,"
           "\"state_max_bytes\":2097152},"
           "\"process\":{\"rss_bytes\":5000000,\"fds\":12,\"uptime_ms\":1500}}");
}

/* A fresh node: what it does not know is null, and nothing else is missing. */
static void test_status_of_an_unconfigured_node(void **state)
{
    struct report_status s = {.cluster_name = "",
                              .id = 3,
                              .name = "n3",
                              .address = "",
                              .uri = "",
                              .store = uuid_of(0x03),
                              .public = {.state = NODE_UNCONFIGURED, .contact_ms = UINT64_MAX},
                              .disk_state = "stalled",
                              .free_bytes = REPORT_UNKNOWN};
    struct buf out = BUF_INIT;

    (void)state;
    (void)snprintf(s.public.reason, sizeof s.public.reason, "waits for \"bootstrap\"");
    report_status(&out, &s);
    expect(&out,
           "{\"schema\":\"raftd/1\",\"version\":\"0.1.0\",\"cluster\":{\"id\":null,\"name\":null},"
           "\"node\":{\"id\":3,\"name\":\"n3\",\"store_id\":\"03030303030303030303030303030303\","
           "\"address\":null,\"uri\":null,\"http\":[],"
           "\"protocol\":{\"min\":1,\"max\":2}},"
           "\"state\":\"unconfigured\",\"is_leader\":false,\"role\":null,"
           "\"reason\":\"waits for \\\"bootstrap\\\"\",\"term\":0,\"fence\":null,\"leader\":null,"
           "\"lease_remaining_ms\":0,\"leader_contact_ms\":null,"
           "\"commit_index\":0,\"applied_index\":0,\"first_index\":0,\"last_index\":0,"
           "\"revision\":0,\"membership\":{\"index\":0,\"pending\":false},"
           "\"digest\":{\"index\":0,\"value\":\"0000000000000000\"},"
           "\"quorum\":{\"voters\":0,\"need\":0,\"reachable\":0,\"failure_tolerance\":0},"
           "\"members\":[],"
           "\"tls\":null,"
           "\"disk\":{\"state\":\"stalled\",\"log_commit_p99_us\":0,\"log_bytes\":0,"
           "\"state_bytes\":0,\"log_commit_p50_us\":0,\"free_bytes\":null,\"reserve_bytes\":0,"
           "\"format\":0,\"state_used_bytes\":0,\"state_max_bytes\":0},"
           "\"process\":{\"rss_bytes\":0,\"fds\":0,\"uptime_ms\":0}}");
}

static void test_failure_tolerance_never_wraps(void **state)
{
    struct report_status s = sample_leader();
    struct buf out = BUF_INIT;

    (void)state;
    s.reachable = 1;
    report_status(&out, &s);
    assert_non_null(strstr(buf_str(&out), "\"reachable\":1,\"failure_tolerance\":0}"));
    buf_done(&out);
}

static void test_members(void **state)
{
    struct report_status s = sample_leader();
    struct buf out = BUF_INIT;

    (void)state;
    s.members.count = 0;
    s.members.pending = true;
    s.members.index = 12;
    report_members(&out, &s.members);
    expect(&out, "{\"index\":12,\"pending\":true,\"members\":[]}");
}

/* What the leader tells a follower: each number for itself, and the longest sentence in full. */
static void test_members_as_a_follower_is_told(void **state)
{
    struct report_status s = sample_leader();
    struct buf out = BUF_INIT;

    (void)state;
    s.members.count = 1;
    s.members.rows[0].match_index = 19;
    s.members.rows[0].lag = 2;
    s.members.rows[0].contact_ms = REPORT_UNKNOWN; /* it has not answered yet */
    report_members(&out, &s.members);
    assert_non_null(strstr(buf_str(&out), "\"match_index\":19,\"lag\":2,\"contact_ms\":null,"));
    out.size = 0;
    memset(s.public.reason, 'r', sizeof s.public.reason - 1);
    report_status(&out, &s);
    assert_non_null(strstr(buf_str(&out), s.public.reason));
    buf_done(&out);
}

/* ---- Who leads ---- */

static void test_leader(void **state)
{
    struct report_status s = sample_leader();
    struct buf out = BUF_INIT;

    (void)state;
    report_leader(&out, &s.public, &leader_1);
    expect(&out, "{\"leader\":{\"id\":1,\"address\":\"10.0.0.1:7400\",\"uri\":\"amqp://one\"},"
                 "\"term\":7,\"fence\":7}");
}

static void test_is_leader(void **state)
{
    struct report_status s = sample_leader();
    struct node_public follower = {.state = NODE_FOLLOWER, .leader = 2, .term = 8, .fence = 8};
    struct buf out = BUF_INIT;

    (void)state;
    report_is_leader(&out, &s.public);
    expect(&out, "{\"is_leader\":true,\"fence\":7,\"lease_remaining_ms\":390}");
    report_is_leader(&out, &follower);
    expect(&out, "{\"is_leader\":false,\"fence\":8,\"lease_remaining_ms\":0}");
}

static void test_watch(void **state)
{
    struct node_public p = {.state = NODE_CANDIDATE, .term = 8, .reason = "no quorum"};
    struct report_leader nobody = {.address = "", .uri = ""};
    struct buf out = BUF_INIT;

    (void)state;
    report_watch(&out, &p, &nobody);
    expect(&out, "{\"state\":\"candidate\",\"is_leader\":false,\"term\":8,\"leader\":null,"
                 "\"fence\":null,\"lease_remaining_ms\":0,\"reason\":\"no quorum\"}");
}

/* ---- Data ---- */

static void test_results_of_changes(void **state)
{
    const struct state_result r = {.revision = 12, .index = 40, .term = 7, .deleted = 1};
    const struct uuid cluster = uuid_of(0xcd);
    struct buf out = BUF_INIT;

    (void)state;
    report_put(&out, &r);
    expect(&out, "{\"revision\":12,\"index\":40,\"term\":7}");
    report_del(&out, &r);
    expect(&out, "{\"deleted\":1,\"revision\":12,\"index\":40}");
    report_bootstrap(&out, &cluster);
    expect(&out, "{\"cluster_id\":\"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd\"}");
}

/* As contract section 3 has them: one result for each kind of change. */
static void test_membership_changes(void **state)
{
    struct buf out = BUF_INIT;

    (void)state;
    report_change(&out, &(struct report_asked){.kind = PEER_CHANGE_ADD, .id = 4},
                  &(struct peer_change_reply){.index = 12, .role = RAFT_VOTER});
    expect(&out, "{\"id\":4,\"role\":\"voter\",\"index\":12}");
    report_change(&out, &(struct report_asked){.kind = PEER_CHANGE_DEMOTE, .id = 4},
                  &(struct peer_change_reply){.index = 13, .role = RAFT_LEARNER});
    expect(&out, "{\"id\":4,\"role\":\"learner\",\"index\":13}");
    report_change(&out, &(struct report_asked){.kind = PEER_CHANGE_REMOVE, .id = 3},
                  &(struct peer_change_reply){.index = 14});
    expect(&out, "{\"id\":3,\"index\":14}");
    report_change(&out, &(struct report_asked){.kind = PEER_CHANGE_ADD, .id = 5, .replaces = 3},
                  &(struct peer_change_reply){.index = 15});
    expect(&out, "{\"added\":5,\"removed\":3,\"index\":15}");
}

static void test_hand_over(void **state)
{
    const struct report_asked asked = {.kind = PEER_CHANGE_TRANSFER};
    struct peer_change_reply done = {.from = 1, .to = 2, .term = 8, .gap_ms = 4};
    struct buf out = BUF_INIT;

    (void)state;
    report_change(&out, &asked, &done);
    expect(&out, "{\"from\":1,\"to\":2,\"term\":8,\"gap_ms\":4}");
    done.term = 0; /* --no-wait: the end is not known */
    report_change(&out, &asked, &done);
    expect(&out, "{\"from\":1,\"to\":2,\"term\":null,\"gap_ms\":null}");
}

static void test_progress(void **state)
{
    const struct report_asked four = {.kind = PEER_CHANGE_ADD, .id = 4};
    const struct report_asked best = {.kind = PEER_CHANGE_TRANSFER};
    struct peer_change_reply r = {.step = PEER_CHANGE_CATCHING_UP, .match = 430, .last = 1000};
    struct buf out = BUF_INIT;

    (void)state;
    report_progress(&out, &four, &r);
    expect(&out, "{\"progress\":{\"step\":\"catching_up\",\"id\":4,\"match_index\":430,"
                 "\"last_index\":1000,\"percent\":43}}");
    r = (struct peer_change_reply){.step = PEER_CHANGE_HANDING_OVER};
    report_progress(&out, &best, &r);
    expect(&out, "{\"progress\":{\"step\":\"handing_over\",\"id\":null}}");
}

static void test_get(void **state)
{
    struct state_kv kv = {.key = (const uint8_t *)"k",
                          .key_size = 1,
                          .value = (const uint8_t *)"v\n",
                          .value_size = 2,
                          .create_revision = 3,
                          .mod_revision = 5,
                          .version = 2};
    struct buf out = BUF_INIT;

    (void)state;
    report_get(&out, &kv);
    expect(&out, "{\"key\":\"k\",\"value\":\"v\\n\",\"create_revision\":3,\"mod_revision\":5,"
                 "\"version\":2}");
    kv.value = (const uint8_t *)"\xff\x00";
    report_get(&out, &kv);
    expect(&out, "{\"key\":\"k\",\"value_base64\":\"/wA=\",\"create_revision\":3,"
                 "\"mod_revision\":5,\"version\":2}");
}

static void put(struct state *s, uint64_t index, const char *key, const void *value, size_t size)
{
    struct state_txn txn = {.ops_count = 1};
    struct buf bytes = BUF_INIT;
    struct buf entry = BUF_INIT;
    struct state_result result;

    txn.ops[0] = (struct state_op){.type = STATE_OP_PUT,
                                   .key = (const uint8_t *)key,
                                   .key_size = (uint16_t)strlen(key),
                                   .value = value,
                                   .value_size = (uint32_t)size};
    assert_int_equal(state_txn_encode(&txn, &bytes), 0);
    const struct state_command command = {
        .request = {.node = 1, .incarnation = 1, .seq = index, .floor = index},
        .quota = UINT32_MAX,
        .txn = bytes.data,
        .txn_size = bytes.size};
    state_command_encode(&command, &entry);
    state_apply(s, index, 1, entry.data, entry.size, &result, NULL);
    assert_int_equal(result.code, 0);
    buf_done(&bytes);
    buf_done(&entry);
}

static void test_list(void **state)
{
    struct state *s = state_new();
    struct buf out = BUF_INIT;

    (void)state;
    assert_int_equal(report_list(&out, s, NULL, 0, 0), 0);
    expect(&out, "{\"revision\":0,\"kvs\":[],\"more\":false}");
    put(s, 1, "a", "1", 1);
    put(s, 2, "ab", "2", 1);
    put(s, 3, "b", "3", 1);
    assert_int_equal(report_list(&out, s, "a", 1, 0), 0);
    expect(&out, "{\"revision\":3,\"kvs\":["
                 "{\"key\":\"a\",\"value\":\"1\",\"create_revision\":1,\"mod_revision\":1,"
                 "\"version\":1},"
                 "{\"key\":\"ab\",\"value\":\"2\",\"create_revision\":2,\"mod_revision\":2,"
                 "\"version\":1}],\"more\":false}");
    assert_int_equal(report_list(&out, s, NULL, 0, 1), 0);
    expect(&out, "{\"revision\":3,\"kvs\":["
                 "{\"key\":\"a\",\"value\":\"1\",\"create_revision\":1,\"mod_revision\":1,"
                 "\"version\":1}],\"more\":true}");
    assert_int_equal(report_list(&out, s, NULL, 0, 3), 0);
    assert_non_null(strstr(buf_str(&out), "\"more\":false"));
    buf_done(&out);
    state_free(s);
}

static void test_a_list_above_the_limit_is_refused(void **state)
{
    static char value[STATE_VALUE_MAX];
    struct state *s = state_new();
    struct buf out = BUF_INIT;
    char key[8];

    (void)state;
    memset(value, 'x', sizeof value);
    buf_put_str(&out, "before");
    for (uint32_t i = 0; i < 8; i++) {
        (void)snprintf(key, sizeof key, "k%u", i);
        put(s, i + 1, key, value, sizeof value);
    }
    assert_int_equal(report_list(&out, s, NULL, 0, 0), -RD_ETOO_LARGE);
    expect(&out, "before");
    assert_int_equal(report_list(&out, s, NULL, 0, 6), 0);
    buf_done(&out);
    state_free(s);
}

/* ---- Refusals ---- */

static void test_refusals_have_words_and_numbers(void **state)
{
    static const struct {
        int code;
        uint64_t actual, quota;
        const char *text;
    } cases[] = {{-RD_ECONFLICT, 0, 0, "the key does not exist"},
                 {-RD_ECONFLICT, 12, 0, "the key's mod_revision is 12"},
                 {-RD_ESTALE_FENCE, 9, 0, "the term is 9 now"},
                 {-RD_ENO_SPACE, 3000, 2048,
                  "the state would have 3000 bytes, storage.state_max_bytes of the leader is 2048; "
                  "deletes still work"},
                 {-RD_ENO_SPACE, 3000, 0,
                  "the state would have 3000 bytes, more than storage.state_max_bytes of the "
                  "leader; deletes still work"},
                 {-RD_ENO_QUORUM, 0, 0, "a majority is out of reach"}};
    char text[160];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct node_answer a = {
            .code = cases[i].code, .result = {.actual = cases[i].actual}, .quota = cases[i].quota};
        report_refusal(&a, text, sizeof text);
        assert_string_equal(text, cases[i].text);
        a.result.code = a.code; /* the state's code alone says the same */
        a.code = 0;
        report_refusal(&a, text, sizeof text);
        assert_string_equal(text, cases[i].text);
    }
    struct node_answer worded = {.code = -RD_ENO_QUORUM, .message = "1 of 3 voters answers"};
    report_refusal(&worded, text, sizeof text);
    assert_string_equal(text, "1 of 3 voters answers");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_of_a_leader),
        cmocka_unit_test(test_status_of_an_unconfigured_node),
        cmocka_unit_test(test_failure_tolerance_never_wraps),
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_members_as_a_follower_is_told),
        cmocka_unit_test(test_leader),
        cmocka_unit_test(test_is_leader),
        cmocka_unit_test(test_watch),
        cmocka_unit_test(test_results_of_changes),
        cmocka_unit_test(test_membership_changes),
        cmocka_unit_test(test_hand_over),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_get),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_a_list_above_the_limit_is_refused),
        cmocka_unit_test(test_refusals_have_words_and_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
