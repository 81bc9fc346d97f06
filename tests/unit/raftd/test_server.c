#include <lmdb.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/mono.h"
#include "process.h"

static struct blob *blob_of(const char *text)
{
    return blob_copy(text, strlen(text));
}

static void expect_has(const char *text, const char *part)
{
    if (!text || !strstr(text, part)) {
        fail_msg("no %s in: %s", part, text ? text : "nothing");
    }
}

/* A cluster of this one node, led by it. */
static void start_leader(struct process *p)
{
    process_start(p);
    expect_has(process_command(p, "bootstrap"), "{\"cluster_id\":\"");
}

static const char *put(struct process *p, const char *key, const char *value)
{
    return process_ask(
        p, &(struct admin_request){.command = "put", .key = blob_of(key), .value = blob_of(value)});
}

static const char *get(struct process *p, const char *key)
{
    return process_ask(p, &(struct admin_request){.command = "get", .key = blob_of(key)});
}

/* ---- Command line ---- */

static int run(struct process *p, const char *a, const char *b, const char *c, const char *d)
{
    const char *const arguments[] = {a, b, c, d, NULL};

    (void)unlink(p->log);
    return process_run(p, arguments);
}

static void test_help_and_version(void **state)
{
    struct process *p = *state;

    assert_int_equal(run(p, "--help", NULL, NULL, NULL), 0);
    assert_memory_equal(process_log(p), "Examples:\n  raftd ", 18);
    expect_has(process_log(p), "--check-config");
    assert_int_equal(run(p, "--version", NULL, NULL, NULL), 0);
    assert_string_equal(process_log(p), "raftd 0.1.0\n");
}

static void test_bad_command_lines(void **state)
{
    struct process *p = *state;

    assert_int_equal(run(p, "--wrong", NULL, NULL, NULL), RD_EXIT_USAGE);
    expect_has(process_log(p), "--help");
    assert_int_equal(run(p, "start", NULL, NULL, NULL), RD_EXIT_USAGE);
    expect_has(process_log(p), "unexpected argument 'start'");
    assert_int_equal(run(p, "-c", NULL, NULL, NULL), RD_EXIT_USAGE);
}

static void test_configuration_is_checked(void **state)
{
    struct process *p = *state;

    assert_int_equal(run(p, "-c", p->config, "--check-config", NULL), 0);
    expect_has(process_log(p), "valid");
    assert_int_equal(run(p, "-c", p->config, "-o", "node.id=0"), RD_EXIT_CONFIG);
    expect_has(process_log(p), "-o node.id=0");
    assert_int_equal(run(p, "-c", "/nonexistent/raftd.conf", NULL, NULL), RD_EXIT_CONFIG);
    process_configure(p, "wrong = 1\n");
    assert_int_equal(run(p, "-c", p->config, "--check-config", NULL), RD_EXIT_CONFIG);
    expect_has(process_log(p), "raftd.conf:11: ");
}

static void test_dumped_configuration_reads_back(void **state)
{
    struct process *p = *state;

    assert_int_equal(run(p, "-c", p->config, "--dump-config", NULL), 0);
    expect_has(process_log(p), "election_timeout = 500ms");
    assert_int_equal(rename(p->log, p->config), 0);
    assert_int_equal(run(p, "-c", p->config, "--check-config", NULL), 0);
}

/* ---- One node ---- */

static void test_unconfigured(void **state)
{
    struct process *p = *state;

    process_start(p);
    const char *status = process_command(p, "status");
    expect_has(status, "\"state\":\"unconfigured\",\"is_leader\":false,\"role\":null");
    expect_has(status, "\"cluster\":{\"id\":null");
    expect_has(status, "\"members\":[]");
    expect_has(process_command(p, "leader"), "error no_leader: ");
    expect_has(process_command(p, "is-leader"),
               "{\"is_leader\":false,\"fence\":null,\"lease_remaining_ms\":0}");
    struct admin_request quick = {
        .command = "put", .timeout_ms = 50, .key = blob_of("k"), .value = blob_of("v")};
    expect_has(process_ask(p, &quick), "error ");
    assert_int_equal(process_stop(p, SIGTERM), 0);
}

static void test_bootstrap_then_data(void **state)
{
    struct process *p = *state;

    char cluster[128];

    process_start(p);
    (void)snprintf(cluster, sizeof cluster, "%s", process_command(p, "bootstrap"));
    expect_has(cluster, "{\"cluster_id\":\"");
    assert_string_equal(process_command(p, "bootstrap"), cluster); /* changes are idempotent */
    expect_has(put(p, "a", "1"), "{\"revision\":1,\"index\":");
    expect_has(put(p, "ab", "2"), "{\"revision\":2,\"index\":");
    expect_has(get(p, "a"), "{\"key\":\"a\",\"value\":\"1\",\"create_revision\":1,"
                            "\"mod_revision\":1,\"version\":1}");
    expect_has(get(p, "none"), "error not_found: ");
    expect_has(process_command(p, "list"), "{\"revision\":2,\"kvs\":[{\"key\":\"a\"");
    struct admin_request some = {.command = "list", .key = blob_of("a"), .limit = 1, .stale = true};
    expect_has(process_ask(p, &some), "\"more\":true}");
    struct admin_request stale = {.command = "get", .key = blob_of("ab"), .stale = true};
    expect_has(process_ask(p, &stale), "\"value\":\"2\"");
    struct admin_request del = {.command = "del", .key = blob_of("a")};
    expect_has(process_ask(p, &del), "{\"deleted\":1,\"revision\":3,");
    struct admin_request again = {.command = "del", .key = blob_of("a")};
    expect_has(process_ask(p, &again), "{\"deleted\":0,");
}

static void test_conditions(void **state)
{
    struct process *p = *state;

    start_leader(p);
    (void)put(p, "k", "1");
    struct admin_request absent = {
        .command = "put", .key = blob_of("k"), .value = blob_of("2"), .if_revision_set = true};
    expect_has(process_ask(p, &absent), "error conflict: ");
    struct admin_request matching = {.command = "put",
                                     .key = blob_of("k"),
                                     .value = blob_of("2"),
                                     .if_revision_set = true,
                                     .if_revision = 1};
    expect_has(process_ask(p, &matching), "{\"revision\":2,");
    struct admin_request fenced = {.command = "put",
                                   .key = blob_of("k"),
                                   .value = blob_of("3"),
                                   .fence_set = true,
                                   .fence = 1000};
    expect_has(process_ask(p, &fenced), "error stale_fence: ");
    expect_has(get(p, "k"), "\"value\":\"2\"");
}

static void test_leader_reports(void **state)
{
    struct process *p = *state;

    start_leader(p);
    (void)put(p, "k", "v");
    const char *status = process_command(p, "status");
    expect_has(status,
               "\"state\":\"leader\",\"is_leader\":true,\"role\":\"voter\",\"reason\":null");
    expect_has(status, "\"quorum\":{\"voters\":1,\"need\":1,\"reachable\":1,"
                       "\"failure_tolerance\":0}");
    expect_has(status, "\"lag\":0,\"contact_ms\":0,\"connected\":true");
    expect_has(status, "\"disk\":{\"state\":\"ok\"");
    assert_null(strstr(status, "\"rss_bytes\":0"));
    assert_null(strstr(status, "\"fds\":0"));
    expect_has(process_command(p, "leader"), "{\"leader\":{\"id\":1,\"address\":\"127.0.0.1:");
    expect_has(process_command(p, "is-leader"), "{\"is_leader\":true,\"fence\":");
    expect_has(process_command(p, "members"), "{\"index\":1,\"pending\":false,\"members\":[{");
}

static void test_watch_tells_changes(void **state)
{
    struct process *p = *state;
    struct process other = *p;
    struct admin_request watch = {.command = "watch"};

    process_start(p);
    process_send(p, &watch);
    expect_has(process_reply(p), "{\"state\":\"unconfigured\",\"is_leader\":false");
    other.pid = p->pid;
    other.fd = -1;
    other.in = (struct buf)BUF_INIT;
    process_connect(&other);
    expect_has(process_command(&other, "bootstrap"), "cluster_id");
    for (int lines = 0;; lines++) {
        const char *line = process_reply(p);
        assert_true(lines < 10);
        if (strstr(line, "\"state\":\"leader\",\"is_leader\":true")) {
            expect_has(line, "\"leader\":{\"id\":1,");
            break;
        }
    }
    process_disconnect(&other);
    buf_done(&other.in);
    assert_int_equal(process_stop(p, SIGTERM), 0);
    expect_has(process_reply(p), "error not_ready: "); /* the watch ends with a word */
    assert_string_equal(process_reply(p), "closed");
}

/* Each request is answered although the client sends them all before it reads. */
static void test_pipelined_writes(void **state)
{
    enum { COUNT = 200 };
    struct process *p = *state;

    start_leader(p);
    for (int i = 0; i < COUNT; i++) {
        struct admin_request r = {
            .command = "put", .key = blob_of("k"), .value = blob_of("v"), .id = 0};
        process_send(p, &r);
        admin_request_done(&r);
    }
    uint64_t last = p->id;
    for (p->id = last - COUNT + 1; p->id <= last; p->id++) {
        expect_has(process_reply(p), "{\"revision\":"); /* which also checks the id */
    }
    p->id = last;
    expect_has(get(p, "k"), "\"version\":200}");
}

/* ---- Restart, signals ---- */

static void test_data_survives_any_end(void **state)
{
    struct process *p = *state;

    start_leader(p);
    (void)put(p, "k", "kept");
    assert_int_equal(process_stop(p, SIGKILL), 128 + SIGKILL);
    process_start(p); /* over the socket file that is left */
    expect_has(get(p, "k"), "\"value\":\"kept\"");
    assert_int_equal(process_stop(p, SIGINT), 0);
    assert_int_equal(access(p->socket, F_OK), -1);
    process_start(p);
    expect_has(get(p, "k"), "\"value\":\"kept\"");
    assert_int_equal(process_stop(p, SIGTERM), 0);
    expect_has(process_log(p), "stopped exit=0");
}

static void test_data_directory_is_taken_once(void **state)
{
    struct process *p = *state;
    const char *const arguments[] = {"-c", p->config, "-o", "admin.socket=/tmp/raftd-unused", NULL};

    start_leader(p);
    struct process second = *p;
    assert_int_equal(process_run(&second, arguments), RD_EXIT_CONFIG);
    expect_has(put(p, "k", "v"), "{\"revision\":1,"); /* the first is unharmed */
}

static void test_foreign_directory_is_refused(void **state)
{
    struct process *p = *state;
    const char *const arguments[] = {"-c", p->config, "-o", "node.id=2", NULL};

    start_leader(p);
    assert_int_equal(process_stop(p, SIGTERM), 0);
    assert_int_equal(process_run(p, arguments), RD_EXIT_CONFIG);
}

static void test_reload(void **state)
{
    struct process *p = *state;

    start_leader(p);
    process_configure(p, "[log]\nlevel = debug\n[raft]\nheartbeat_interval = 50ms\n");
    assert_int_equal(kill(p->pid, SIGHUP), 0);
    process_wait_log(p, "reloaded changed=log.level");
    process_wait_log(p, "need a restart keys=raft.heartbeat_interval");
    process_configure(p, "[raft]\nheartbeat_interval = 50\n");
    assert_int_equal(kill(p->pid, SIGHUP), 0);
    process_wait_log(p, "reload refused");
    expect_has(process_command(p, "reload"), "error invalid: ");
    process_configure(p, "");
    assert_string_equal(process_command(p, "reload"),
                        "{\"changed\":[\"log.level\"],\"needs_restart\":[]}");
    assert_string_equal(process_command(p, "reload"), "{\"changed\":[],\"needs_restart\":[]}");
    expect_has(process_log(p), "reloaded changed=nothing");
}

/* What `raftctl log-level` has set is in force: the file's comes back, and that is a change. */
static void test_reload_after_log_level(void **state)
{
    struct admin_request level = {.command = "log-level", .text = "debug"};
    struct process *p = *state;

    start_leader(p);
    assert_string_equal(process_ask(p, &level), "{}");
    assert_string_equal(process_command(p, "reload"),
                        "{\"changed\":[\"log.level\"],\"needs_restart\":[]}");
    process_configure(p, "[raft]\nshutdown_transfer_timeout = 7s\nelection_timeout = 700ms\n"
                         "[storage]\nstall_timeout = 3s\nmap_size = 2G\n");
    assert_string_equal(process_command(p, "reload"),
                        "{\"changed\":[\"raft.shutdown_transfer_timeout\","
                        "\"storage.stall_timeout\"],"
                        "\"needs_restart\":[\"raft.election_timeout\",\"storage.map_size\"]}");
    /* What was taken over is told once, what waits for a restart each time. */
    assert_string_equal(process_command(p, "reload"),
                        "{\"changed\":[],"
                        "\"needs_restart\":[\"raft.election_timeout\",\"storage.map_size\"]}");
}

static void test_reload_changes_the_uri(void **state)
{
    struct process *p = *state;
    FILE *out;

    start_leader(p);
    process_configure(p, "");
    out = fopen(p->config, "a");
    (void)fputs("[log]\nlevel = notice\n", out);
    (void)fclose(out);
    expect_has(process_command(p, "leader"), "\"uri\":null");
    /* [node] is the first section of the file: write it anew with a uri. */
    char text[2048];
    FILE *in = fopen(p->config, "r");
    size_t size = fread(text, 1, sizeof text - 1, in);
    (void)fclose(in);
    text[size] = 0;
    out = fopen(p->config, "w");
    (void)fprintf(out, "[node]\nuri = amqp://here\n%s", text + strlen("[node]\n"));
    (void)fclose(out);
    assert_string_equal(process_command(p, "reload"),
                        "{\"changed\":[\"node.uri\",\"log.level\"],\"needs_restart\":[]}");
    expect_has(process_command(p, "leader"), "\"uri\":\"amqp://here\"");
}

static void test_log_level(void **state)
{
    struct process *p = *state;
    struct admin_request level = {.command = "log-level", .text = "debug"};

    process_start(p);
    assert_string_equal(process_ask(p, &level), "{}");
    expect_has(process_log(p), "log level set level=debug");
}

/* Two nodes that found a cluster together. */
static void start_pair(struct process *p, struct process *other)
{
    char members[128];

    (void)snprintf(members, sizeof members,
                   "[cluster]\nmember = 1@127.0.0.1:%u\nmember = 2@127.0.0.1:%u\n",
                   (unsigned)p->port, (unsigned)other->port);
    other->node_id = 2;
    process_configure(p, members);
    process_configure(other, members);
    process_start(p);
    process_start(other);
    process_wait_leader(p);
    expect_has(put(p, "first", "1"), "{\"revision\":1,");
}

static void test_an_open_write_is_answered_at_the_end(void **state)
{
    struct process *p = *state;
    void *second = NULL;
    struct admin_request r = {
        .command = "put", .key = blob_of("k"), .value = blob_of("v"), .timeout_ms = 60000};

    assert_int_equal(process_setup(&second), 0);
    struct process *other = second;
    while (other->port == p->port) {
        other->port = process_free_port();
    }
    start_pair(p, other);
    assert_int_equal(process_stop(other, SIGKILL), 128 + SIGKILL);
    process_send(p, &r); /* without a majority it stays open */
    admin_request_done(&r);
    uint64_t id = p->id;
    expect_has(process_command(p, "status"), "\"revision\":1,"); /* so the write is in */
    assert_int_equal(process_stop(p, SIGTERM), 0);
    p->id = id;
    expect_has(process_reply(p), "error unknown_outcome: ");
    assert_string_equal(process_reply(p), "closed");
    assert_int_equal(process_teardown(&second), 0);
}

/* ---- A disk that hangs ---- */

struct held { /* this process holds the log's writer lock, as a disk that never answers would */
    MDB_env *env;
    MDB_txn *txn;
};

/* A leader with a write that cannot be made durable, and that knows. */
static void start_with_hanging_disk(struct process *p, struct held *held)
{
    struct admin_request r = {.command = "put", .key = blob_of("k"), .value = blob_of("v")};
    char path[96];

    process_configure(p, "[storage]\nmap_size = 16M\nstall_timeout = 200ms\n");
    start_leader(p);
    expect_has(put(p, "before", "v"), "{\"revision\":1,");
    (void)snprintf(path, sizeof path, "%s/data/log", p->directory);
    assert_int_equal(mdb_env_create(&held->env), 0);
    assert_int_equal(mdb_env_set_maxdbs(held->env, 4), 0);
    assert_int_equal(mdb_env_open(held->env, path, MDB_NOTLS, 0600), 0);
    assert_int_equal(mdb_txn_begin(held->env, NULL, 0, &held->txn), 0);
    process_send(p, &r);
    admin_request_done(&r);
    process_wait_log(p, "the log disk hangs");
}

static void release(struct held *held)
{
    mdb_txn_abort(held->txn);
    mdb_env_close(held->env);
}

static void test_a_hanging_disk_cannot_keep_it_from_stopping(void **state)
{
    struct process *p = *state;
    struct held held;

    start_with_hanging_disk(p, &held);
    assert_int_equal(process_stop(p, SIGTERM), RD_EXIT_IO);
    expect_has(process_log(p), "raftd ends without it");
    release(&held);
    process_start(p);
    process_wait_leader(p);
    expect_has(get(p, "before"), "\"value\":\"v\"");
}

static void test_a_second_signal_ends_it_at_once(void **state)
{
    struct process *p = *state;
    struct held held;

    start_with_hanging_disk(p, &held);
    mono_ms begun = mono_now_ms();
    assert_int_equal(kill(p->pid, SIGTERM), 0);
    process_wait_log(p, "stopping");
    assert_int_equal(kill(p->pid, SIGTERM), 0); /* one more for the same wish */
    while (mono_now_ms() < begun + 700) {
        (void)poll(NULL, 0, 20);
    }
    assert_int_equal(process_stop(p, SIGINT), 128 + SIGINT);
    assert_true(mono_now_ms() < begun + 4000);
    expect_has(process_log(p), "a second signal: ends at once");
    release(&held);
}

/* ---- What cannot be meant ---- */

static void test_half_of_tls_is_refused(void **state)
{
    struct process *p = *state;

    assert_int_equal(run(p, "-c", p->config, "-o", "tls.cert=/c"), RD_EXIT_CONFIG);
    expect_has(process_log(p), "set all of cert, key and ca, or none of them");
}

/* In an outage nobody says what is committed: the members are shown nevertheless. */
static void test_members_without_a_leader(void **state)
{
    struct process *p = *state;
    void *second = NULL;

    assert_int_equal(process_setup(&second), 0);
    struct process *other = second;
    while (other->port == p->port) {
        other->port = process_free_port();
    }
    start_pair(p, other);
    const char *members = process_command(other, "members"); /* as the leader knows it, on both */
    expect_has(members, "{\"index\":1,\"pending\":false,\"members\":[{\"id\":1,");
    assert_null(strstr(members, "\"match_index\":null"));
    assert_int_equal(process_stop(other, SIGKILL), 128 + SIGKILL);
    assert_int_equal(process_stop(p, SIGKILL), 128 + SIGKILL);
    process_start(p);
    members = process_command(p, "members");
    expect_has(members, "{\"index\":1,\"pending\":false,\"members\":[{\"id\":1,");
    expect_has(members, "{\"id\":2,");
    assert_null(strstr(members, "\"match_index\":1"));
    expect_has(process_command(p, "status"), "\"membership\":{\"index\":1,\"pending\":false}");
    assert_int_equal(process_teardown(&second), 0);
}

#define PROCESS_TEST(t) cmocka_unit_test_setup_teardown(t, process_setup, process_teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PROCESS_TEST(test_help_and_version),
        PROCESS_TEST(test_bad_command_lines),
        PROCESS_TEST(test_configuration_is_checked),
        PROCESS_TEST(test_dumped_configuration_reads_back),
        PROCESS_TEST(test_unconfigured),
        PROCESS_TEST(test_bootstrap_then_data),
        PROCESS_TEST(test_conditions),
        PROCESS_TEST(test_leader_reports),
        PROCESS_TEST(test_watch_tells_changes),
        PROCESS_TEST(test_pipelined_writes),
        PROCESS_TEST(test_data_survives_any_end),
        PROCESS_TEST(test_data_directory_is_taken_once),
        PROCESS_TEST(test_foreign_directory_is_refused),
        PROCESS_TEST(test_reload),
        PROCESS_TEST(test_reload_after_log_level),
        PROCESS_TEST(test_reload_changes_the_uri),
        PROCESS_TEST(test_log_level),
        PROCESS_TEST(test_an_open_write_is_answered_at_the_end),
        PROCESS_TEST(test_members_without_a_leader),
        PROCESS_TEST(test_a_hanging_disk_cannot_keep_it_from_stopping),
        PROCESS_TEST(test_a_second_signal_ends_it_at_once),
        PROCESS_TEST(test_half_of_tls_is_refused),
    };
    if (argc != 2) {
        (void)fprintf(stderr, "usage: %s RAFTD\n", argv[0]);
        return 2;
    }
    process_binary = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
