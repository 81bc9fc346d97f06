#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "admin/commands.h"
#include "base/err.h"
#include "fixture.h"

/* ---- The table ---- */

static void test_every_row_is_complete(void **state)
{
    const struct admin_command *row;
    size_t count = 0;

    (void)state;
    for (; (row = admin_command_at(count)) != NULL; count++) {
        assert_true(row->permission == ADMIN_ASK || row->permission == ADMIN_CHANGE);
        assert_non_null(row->run);
        assert_ptr_equal(admin_command_find(row->name), row); /* names are unique */
        assert_true(strlen(row->name) < sizeof((struct admin_request *)0)->command);
    }
    assert_int_equal(count, 22);
    assert_null(admin_command_find("add_server"));
    assert_null(admin_command_find(""));
}

/* The contract: who leads is for every local user; data and changes are not. */
static void test_permissions_are_the_contracts(void **state)
{
    static const char *const for_all[] = {"status", "members", "leader", "is-leader",
                                          "hold",   "release", "watch"};
    static const char *const for_trusted[] = {
        "bootstrap", "put",        "get",     "del",    "list",          "log-level",
        "reload",    "add-server", "promote", "demote", "remove-server", "replace-server",
        "step-down", "transfer",   "backup"};

    (void)state;
    for (size_t i = 0; i < sizeof for_all / sizeof for_all[0]; i++) {
        assert_int_equal(admin_command_find(for_all[i])->permission, ADMIN_ASK);
    }
    for (size_t i = 0; i < sizeof for_trusted / sizeof for_trusted[0]; i++) {
        assert_int_equal(admin_command_find(for_trusted[i])->permission, ADMIN_CHANGE);
    }
}

/* ---- What reaches the server ---- */

static void ask(struct fixture *f, struct client *c, struct admin_request *r, const char *command)
{
    (void)snprintf(r->command, sizeof r->command, "%s", command);
    client_put(c, r);
    client_send(f, c);
    admin_request_done(r);
}

static void decode(const struct asked *a, struct state_txn *txn)
{
    assert_int_equal(state_txn_decode(a->bytes->data, a->bytes->size, txn), 0);
}

static void test_put_becomes_a_transaction(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);
    struct admin_request r = {.id = 5,
                              .timeout_ms = 1234,
                              .key = blob_of("k"),
                              .value = blob_of("value"),
                              .if_revision_set = true,
                              .if_revision = 9,
                              .fence_set = true,
                              .fence = 7};
    struct state_txn txn;

    ask(f, &c, &r, "put");
    fixture_wait_asked(f, 1);
    assert_string_equal(f->asked[0].what, "write");
    assert_false(f->asked[0].flag);
    assert_int_equal(f->asked[0].timeout_ms, 1234);
    decode(&f->asked[0], &txn);
    assert_int_equal(txn.compares_count, 2);
    assert_int_equal(txn.compares[0].type, STATE_COMPARE_MOD_REVISION);
    assert_int_equal(txn.compares[0].number, 9);
    assert_int_equal(txn.compares[0].key_size, 1);
    assert_int_equal(txn.compares[1].type, STATE_COMPARE_TERM);
    assert_int_equal(txn.compares[1].number, 7);
    assert_int_equal(txn.ops_count, 1);
    assert_int_equal(txn.else_count, 0);
    assert_int_equal(txn.ops[0].type, STATE_OP_PUT);
    assert_memory_equal(txn.ops[0].value, "value", 5);
    fixture_answer(f, 0, 0, NULL, "{\"revision\":1}", 14);
    client_expect(f, &c, 5, 0, NULL, 0);
    client_close(&c);
}

static void test_put_takes_an_empty_value(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);
    struct admin_request r = {.id = 1, .key = blob_of("k"), .value = blob_of("")};
    struct state_txn txn;

    ask(f, &c, &r, "put");
    fixture_wait_asked(f, 1);
    decode(&f->asked[0], &txn);
    assert_int_equal(txn.compares_count, 0);
    assert_int_equal(txn.ops[0].value_size, 0);
    assert_int_equal(f->asked[0].timeout_ms, ADMIN_TIMEOUT_DEFAULT_MS);
    fixture_answer(f, 0, 0, NULL, "{}", 2);
    client_close(&c);
}

static void test_del_becomes_a_transaction(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);
    struct admin_request r = {.id = 1, .key = blob_of("gone"), .timeout_ms = UINT32_MAX};
    struct state_txn txn;

    ask(f, &c, &r, "del");
    fixture_wait_asked(f, 1);
    assert_true(f->asked[0].flag);
    assert_int_equal(f->asked[0].timeout_ms, ADMIN_TIMEOUT_MAX_MS);
    decode(&f->asked[0], &txn);
    assert_int_equal(txn.ops_count, 1);
    assert_int_equal(txn.ops[0].type, STATE_OP_DELETE);
    assert_memory_equal(txn.ops[0].key, "gone", 4);
    fixture_answer(f, 0, 0, NULL, "{}", 2);
    client_close(&c);
}

static void test_reads_carry_their_parameters(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);
    struct admin_request get = {.id = 1, .key = blob_of("k"), .stale = true};
    struct admin_request list = {.id = 2, .key = blob_of("pre"), .limit = 3};
    struct admin_request all = {.id = 3};

    ask(f, &c, &get, "get");
    ask(f, &c, &list, "list");
    ask(f, &c, &all, "list");
    fixture_wait_asked(f, 3);
    assert_string_equal(f->asked[0].what, "get");
    assert_true(f->asked[0].flag);
    assert_memory_equal(f->asked[0].bytes->data, "k", 1);
    assert_string_equal(f->asked[1].what, "list");
    assert_false(f->asked[1].flag);
    assert_int_equal(f->asked[1].limit, 3);
    assert_memory_equal(f->asked[1].bytes->data, "pre", 3);
    assert_null(f->asked[2].bytes);
    assert_int_equal(f->asked[2].limit, 0);
    for (uint32_t i = 0; i < 3; i++) {
        fixture_answer(f, i, 0, NULL, "{}", 2);
    }
    client_close(&c);
}

static void test_simple_commands_reach_their_handler(void **state)
{
    static const char *const names[] = {"status",  "members", "leader",    "is-leader", "hold",
                                        "release", "reload",  "bootstrap", "backup"};
    struct fixture *f = *state;
    struct client c = client_open(f);

    f->answer_at_once = true;
    for (uint32_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        client_ask(f, &c, i, names[i]);
        client_expect(f, &c, i, 0, NULL, 0);
        assert_string_equal(f->asked[i].what, names[i]);
    }
    client_close(&c);
}

static void test_log_level_is_checked(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);
    struct admin_request good = {.id = 1, .text = "debug"};
    struct admin_request bad = {.id = 2, .text = "loud"};
    char why[256];

    f->answer_at_once = true;
    ask(f, &c, &good, "log-level");
    client_expect(f, &c, 1, 0, NULL, 0);
    assert_string_equal(f->asked[0].text, "debug");
    ask(f, &c, &bad, "log-level");
    client_expect(f, &c, 2, -RD_EINVALID, why, sizeof why);
    assert_non_null(strstr(why, "notice"));
    assert_int_equal(f->asked_count, 1);
    client_close(&c);
}

/* ---- Changes ---- */

/* Everything a request can carry: what a command does not use must not get into its change. */
static struct admin_request full_request(void)
{
    return (struct admin_request){.id = 7,
                                  .timeout_ms = 1234,
                                  .member_id = 5,
                                  .replaces = 3,
                                  .address = "[fd00::5]:7400",
                                  .learner = true,
                                  .no_wait = true,
                                  .force = true};
}

static void assert_change_equal(const struct peer_change *a, const struct peer_change *b)
{
    assert_int_equal(a->incarnation, b->incarnation);
    assert_int_equal(a->seq, b->seq);
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->id, b->id);
    assert_int_equal(a->replaces, b->replaces);
    assert_int_equal(a->term, b->term);
    assert_int_equal(a->learner, b->learner);
    assert_int_equal(a->no_wait, b->no_wait);
    assert_int_equal(a->force, b->force);
    assert_string_equal(a->address, b->address);
}

static void test_a_change_carries_what_its_command_uses(void **state)
{
    static const struct {
        const char *command;
        struct peer_change change;
    } cases[] = {
        {"add-server",
         {.kind = PEER_CHANGE_ADD,
          .id = 5,
          .learner = true,
          .no_wait = true,
          .address = "[fd00::5]:7400"}},
        {"promote", {.kind = PEER_CHANGE_PROMOTE, .id = 5, .force = true}},
        {"demote", {.kind = PEER_CHANGE_DEMOTE, .id = 5, .force = true}},
        {"remove-server", {.kind = PEER_CHANGE_REMOVE, .id = 5, .force = true}},
        {"replace-server",
         {.kind = PEER_CHANGE_ADD, .id = 5, .replaces = 3, .address = "[fd00::5]:7400"}},
        {"step-down", {.kind = PEER_CHANGE_TRANSFER, .no_wait = true}},
        {"transfer", {.kind = PEER_CHANGE_TRANSFER, .id = 5, .no_wait = true}},
    };
    struct fixture *f = *state;
    struct client c = client_open(f);

    f->answer_at_once = true;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct admin_request r = full_request();
        ask(f, &c, &r, cases[i].command);
        client_expect(f, &c, 7, 0, NULL, 0);
        assert_int_equal(f->asked_count, i + 1);
        assert_string_equal(f->asked[i].what, "change");
        assert_int_equal(f->asked[i].timeout_ms, 1234);
        assert_change_equal(&f->asked[i].change, &cases[i].change);
    }
    client_close(&c);
}

static void test_a_change_without_flags(void **state)
{
    static const char *const names[] = {"add-server",     "promote",   "demote",  "remove-server",
                                        "replace-server", "step-down", "transfer"};
    struct fixture *f = *state;
    struct client c = client_open(f);

    f->answer_at_once = true;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct admin_request r = {
            .member_id = UINT32_MAX, .replaces = UINT32_MAX - 1, .address = "n5.example:65535"};
        ask(f, &c, &r, names[i]);
        client_expect(f, &c, 0, 0, NULL, 0);
        const struct peer_change *change = &f->asked[i].change;
        assert_false(change->learner || change->no_wait || change->force);
        assert_int_equal(change->id, strcmp(names[i], "step-down") == 0 ? 0 : UINT32_MAX);
        assert_int_equal(f->asked[i].timeout_ms, ADMIN_TIMEOUT_DEFAULT_MS);
    }
    client_close(&c);
}

/* The longest address there is arrives whole. */
static void test_the_longest_address(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);
    struct admin_request r = {.member_id = 4};

    memset(r.address, 'h', 255);
    memcpy(r.address + 255, ":65535", 7);
    char expected[sizeof r.address];
    memcpy(expected, r.address, sizeof expected);
    f->answer_at_once = true;
    ask(f, &c, &r, "add-server");
    client_expect(f, &c, 0, 0, NULL, 0);
    assert_string_equal(f->asked[0].change.address, expected);
    client_close(&c);
}

static void test_a_change_tells_its_progress(void **state)
{
    static const char *const told[] = {"{\"progress\":{\"step\":\"dialling\"}}",
                                       "{\"progress\":{\"step\":\"committing\"}}"};
    struct fixture *f = *state;
    struct client c = client_open(f);
    struct admin_request r = full_request();

    ask(f, &c, &r, "add-server");
    fixture_wait_asked(f, 1);
    for (size_t i = 0; i < 2; i++) {
        assert_true(admin_answer_more(f->asked[0].call, told[i], strlen(told[i])));
        struct admin_reply reply = client_reply(f, &c);
        assert_int_equal(reply.id, 7);
        assert_true(reply.more);
        assert_int_equal(reply.json->size, strlen(told[i]));
        assert_memory_equal(reply.json->data, told[i], reply.json->size);
        admin_reply_done(&reply);
    }
    fixture_answer(f, 0, -RD_EUNREACHABLE, "node 5 at [fd00::5]:7400 does not answer", NULL, 0);
    struct admin_reply last = client_reply(f, &c);
    assert_int_equal(last.code, -RD_EUNREACHABLE);
    assert_false(last.more);
    admin_reply_done(&last);
    client_close(&c);
}

static void test_who_waits_for_a_change_may_leave(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);

    client_ask(f, &c, 1, "step-down");
    fixture_wait_asked(f, 1);
    client_close(&c);
    fixture_wait_number(f, &f->cancelled, 1);
}

/* ---- Refusals ---- */

static void test_unknown_command_names_the_known(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);
    char why[512];

    client_ask(f, &c, 8, "evict");
    client_expect(f, &c, 8, -RD_EINVALID, why, sizeof why);
    assert_non_null(strstr(why, "unknown command 'evict': this raftd knows status, members"));
    assert_non_null(strstr(why, ", replace-server, step-down, transfer, "));
    client_ask(f, &c, 9, "x\x01\x1b[2J");
    client_expect(f, &c, 9, -RD_EINVALID, why, sizeof why);
    assert_non_null(strstr(why, "'x??[2J'"));
    assert_int_equal(f->asked_count, 0);
    client_close(&c);
}

static void test_missing_parameters_are_refused(void **state)
{
    static const char *const names[] = {"put", "get", "del"};
    struct fixture *f = *state;
    struct client c = client_open(f);
    struct admin_request no_value = {.id = 9, .key = blob_of("k")};
    char why[256];

    for (uint32_t i = 0; i < 3; i++) {
        client_ask(f, &c, i, names[i]);
        client_expect(f, &c, i, -RD_EINVALID, why, sizeof why);
        assert_non_null(strstr(why, "key"));
    }
    ask(f, &c, &no_value, "put");
    client_expect(f, &c, 9, -RD_EINVALID, why, sizeof why);
    assert_non_null(strstr(why, "value"));
    assert_int_equal(f->asked_count, 0);
    client_close(&c);
}

struct refused {
    const char *command;
    struct admin_request request;
    const char *why; /* a piece of it */
};

static const struct refused refused_changes[] = {
    {"add-server", {.address = "a:1"}, "member_id: the id of a node is required"},
    {"add-server", {.member_id = 4}, "address: where the other members dial the node"},
    {"add-server", {.member_id = 4, .address = "10.0.0.4"}, "HOST:PORT as in 10.0.0.4:7400"},
    {"add-server", {.member_id = 4, .address = "10.0.0.4:0"}, "HOST:PORT"},
    {"add-server", {.member_id = 4, .address = "10.0.0.4:65536"}, "HOST:PORT"},
    {"add-server", {.member_id = 4, .address = "a b:1"}, "HOST:PORT"},
    {"add-server", {.member_id = 4, .address = "0.0.0.0:7400"}, "[::] are to listen on"},
    {"add-server", {.member_id = 4, .address = "[::]:7400"}, "are to listen on"},
    {"add-server", {.member_id = 4, .address = "[0:0::0]:7400"}, "are to listen on"},
    {"promote", {.force = true}, "member_id"},
    {"demote", {.force = true}, "member_id"},
    {"remove-server", {.force = true}, "member_id"},
    {"replace-server", {.member_id = 5, .address = "a:1"}, "replaces: the id of the member that"},
    {"replace-server", {.replaces = 3, .address = "a:1"}, "member_id"},
    {"replace-server", {.replaces = 3, .member_id = 5}, "address"},
    {"replace-server", {.replaces = 3, .member_id = 5, .address = "[::]:1"}, "to listen on"},
    {"replace-server",
     {.replaces = 3, .member_id = 3, .address = "a:1"},
     "cannot replace itself; give another id in member_id, or remove-server this one"},
    {"transfer", {.no_wait = true}, "member_id"},
};

static void test_changes_that_do_not_fit_are_refused(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);
    char why[256];

    for (size_t i = 0; i < sizeof refused_changes / sizeof refused_changes[0]; i++) {
        struct admin_request r = refused_changes[i].request;
        r.id = i;
        ask(f, &c, &r, refused_changes[i].command);
        client_expect(f, &c, i, -RD_EINVALID, why, sizeof why);
        if (!strstr(why, refused_changes[i].why)) {
            fail_msg("%s, case %zu: %s", refused_changes[i].command, i, why);
        }
    }
    assert_int_equal(f->asked_count, 0);
    client_close(&c);
}

/* The decision itself is credentials_allow(); here it is that every command asks it. */
static void test_a_stranger_is_refused_what_is_not_for_all(void **state)
{
    struct fixture *f = *state;
    uid_t uid = geteuid() ? geteuid() : 4242;
    struct client c = client_open_stranger(f, uid);
    const struct admin_command *row;
    char why[256];
    char number[16];

    (void)snprintf(number, sizeof number, "%u", (unsigned)uid);
    f->answer_at_once = true;
    for (size_t i = 0; (row = admin_command_at(i)) != NULL; i++) {
        if (row->permission == ADMIN_CHANGE) {
            client_ask(f, &c, i, row->name);
            client_expect(f, &c, i, -RD_EPERMISSION, why, sizeof why);
            assert_non_null(strstr(why, row->name));
            assert_non_null(strstr(why, number));
        }
    }
    assert_int_equal(f->asked_count, 0);
    client_ask(f, &c, 99, "leader");
    client_expect(f, &c, 99, 0, NULL, 0);
    client_close(&c);
}

static void test_refusals_do_not_flood_the_log(void **state)
{
    enum { ASKED = 10 * ADMIN_LOG_LINES_MAX };
    struct fixture *f = *state;
    struct client c = client_open_stranger(f, 4242);
    mono_ms begun = mono_now_ms();

    f->admin->log.since = begun;
    for (uint32_t i = 0; i < ASKED; i++) {
        client_ask(f, &c, i, "reload");
        client_expect(f, &c, i, -RD_EPERMISSION, NULL, 0);
    }
    /* One window of lines for each second that this took, the rest only counted. */
    uint64_t windows = (mono_now_ms() - begun) / 1000 + 1;
    assert_true(f->admin->log.lines <= ADMIN_LOG_LINES_MAX);
    assert_true(windows > 1 || f->admin->log.dropped == ASKED - ADMIN_LOG_LINES_MAX);
    client_close(&c);
}

static void test_watches_are_bounded(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);

    for (uint32_t i = 0; i < ADMIN_WATCHES_MAX; i++) {
        client_ask(f, &c, i, "watch");
    }
    fixture_wait_asked(f, ADMIN_WATCHES_MAX);
    client_ask(f, &c, 77, "watch");
    client_expect(f, &c, 77, -RD_ETOO_LARGE, NULL, 0);
    client_close(&c);
    fixture_wait_number(f, &f->cancelled, ADMIN_WATCHES_MAX);
}

#define SOCKET_TEST(t) cmocka_unit_test_setup_teardown(t, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row_is_complete),
        cmocka_unit_test(test_permissions_are_the_contracts),
        SOCKET_TEST(test_put_becomes_a_transaction),
        SOCKET_TEST(test_put_takes_an_empty_value),
        SOCKET_TEST(test_del_becomes_a_transaction),
        SOCKET_TEST(test_reads_carry_their_parameters),
        SOCKET_TEST(test_simple_commands_reach_their_handler),
        SOCKET_TEST(test_log_level_is_checked),
        SOCKET_TEST(test_a_change_carries_what_its_command_uses),
        SOCKET_TEST(test_a_change_without_flags),
        SOCKET_TEST(test_the_longest_address),
        SOCKET_TEST(test_a_change_tells_its_progress),
        SOCKET_TEST(test_who_waits_for_a_change_may_leave),
        SOCKET_TEST(test_unknown_command_names_the_known),
        SOCKET_TEST(test_missing_parameters_are_refused),
        SOCKET_TEST(test_changes_that_do_not_fit_are_refused),
        SOCKET_TEST(test_a_stranger_is_refused_what_is_not_for_all),
        SOCKET_TEST(test_refusals_do_not_flood_the_log),
        SOCKET_TEST(test_watches_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
