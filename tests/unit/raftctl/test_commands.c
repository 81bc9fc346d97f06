/* Every command, every error code, as words and as JSON: the program as its users meet it. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "raftctl/ctl.h"

static void version_and_help(void **state)
{
    struct run r;

    (void)state;
    expect("--version", 0, "raftctl 0.1.0\n", NULL);
    expect("status -V", 0, "raftctl 0.1.0\n", NULL);
    ctl_run(&r, "--help");
    assert_int_equal(r.status, 0);
    assert_memory_equal(buf_str(&r.out), "Examples:\n  raftctl ", 20);
    run_done(&r);
    ctl_run(&r, "put --help");
    assert_memory_equal(buf_str(&r.out), "Usage: raftctl put KEY VALUE", 28);
    struct run again;
    ctl_run(&again, "help put");
    assert_string_equal(buf_str(&again.out), buf_str(&r.out));
    run_done(&r);
    run_done(&again);
    expect("help frob", 2, "", "no command 'frob'");
    expect("help", 0, NULL, NULL);
}

static void batch_says_what_its_exit_status_is(void **state)
{
    struct run r;

    (void)state;
    ctl_run(&r, "help batch");
    for (size_t i = 0; i < r.out.size; i++) {
        r.out.data[i] = r.out.data[i] == '\n' ? ' ' : r.out.data[i]; /* as if it had no lines */
    }
    assert_non_null(strstr(buf_str(&r.out), "The exit status is 0 when all lines were answered"));
    run_done(&r);
}

static void usage_errors_exit_2_with_a_hint(void **state)
{
    (void)state;
    expect("", 2, "", "a command is missing\nUsage: raftctl [OPTION]... COMMAND");
    expect("put k", 2, "", "More: raftctl help put\n");
    expect("log-level loud", 2, "", "'loud' is not one of: error, warning");
    expect(
        "get --json", 2,
        "{\"error\":{\"code\":\"invalid\",\"message\":\"an argument is missing: KEY\",\"leader\":"
        "null}}\n",
        NULL);
}

/* Wants no raftd; what the store says is a sentence. */
static void offline_commands_refuse(void **state)
{
    static const char no_store[] =
        ": invalid: there is no raftd store here (path /nonexistent/d, missing "
        "/nonexistent/d/log/data.mdb): name the data_dir of a raftd.conf\n";
    char words[256];

    (void)state;
    (void)snprintf(words, sizeof words, "raftctl: check%s", no_store);
    expect("check --data-dir /nonexistent/d", 1, "", words);
    (void)snprintf(words, sizeof words, "raftctl: recover%s", no_store);
    expect("recover --data-dir /nonexistent/d --members 1", 1, "", words);
    (void)snprintf(words, sizeof words, "raftctl: reset%s", no_store);
    expect("reset --data-dir /nonexistent/d", 1, "", words);
    expect(
        "reset --data-dir /nonexistent/d --force", 1, "",
        "raftctl: reset: invalid: the data directory cannot be opened (path /nonexistent/d, cause "
        "No such file or directory)");
    expect("recover --data-dir d --members 1,x", 2, "",
           "--members: 'x' is not the id of a node; give ID[,ID]... as in 1 or 1,3\nUsage: ");
    expect("recover --data-dir d --members 2,2", 2, "", "--members: node 2 stands there twice");
    expect("restore /nonexistent/f --data-dir /nonexistent/d", 1, "",
           "raftctl: restore: invalid: cannot open /nonexistent/f: No such file or directory\n");
    expect("restore /dev/null --data-dir /nonexistent/d --json", 1,
           "{\"error\":{\"code\":\"invalid\",\"message\":\"/dev/null is no backup of raftd\","
           "\"leader\":null}}\n",
           NULL);
    expect("backup /dev/null", 1, "",
           "/dev/null is there and is no regular file: name another FILE");
    expect("backup /nonexistent/f", 1, "",
           "cannot write /nonexistent/f: No such file or directory. There is no new backup");
    expect("backup -", 2, "", "name a FILE\nUsage: raftctl backup FILE\n");
}

/* One that answers with anything but a backup. */
static void a_backup_has_to_be_one(void **state)
{
    (void)state;
    fake_start("leader");
    expect("backup /tmp/raftctl-no-backup", 1, "", "raftctl: backup: ");
    fake_start("foreign");
    expect("backup /tmp/raftctl-no-backup", 3, "", "does not speak this raftctl's protocol");
    fake_start("refusing");
    expect("backup /tmp/raftctl-no-backup", 8, "", "raftctl: backup: permission_denied");
    fake_start("mute");
    expect("backup /tmp/raftctl-no-backup --timeout 100ms", 5, "", "did not answer in time");
    fake_start("closing");
    expect("backup /tmp/raftctl-no-backup", 3, "", "raftctl: backup: lost raftd");
    assert_int_not_equal(access("/tmp/raftctl-no-backup", F_OK), 0);
}

static void views(void **state)
{
    struct run r;

    (void)state;
    fake_start("leader");
    ctl_run(&r, "status");
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(buf_str(&r.out), "\nhealth    healthy\n"));
    run_done(&r);
    ctl_run(&r, "--json status");
    assert_int_equal(r.status, 0);
    assert_memory_equal(buf_str(&r.out), "{\"schema\":\"raftd/1\"", 19);
    assert_ptr_equal(strchr(buf_str(&r.out), '\n'), buf_str(&r.out) + r.out.size - 1);
    run_done(&r);
    expect("members", 0,
           "ID  NAME  ROLE             ADDRESS           URI\n"
           " 1  n1    voter            10.0.0.1:7400     amqp://1\n"
           "12  -     learner (joins)  n12.example:7400  -\n",
           NULL);
    expect("leader", 0, "leader 1  10.0.0.1:7400  amqp://1  term 7\n", NULL);
    expect("leader --json", 0,
           "{\"leader\":{\"id\":1,\"address\":\"10.0.0.1:7400\",\"uri\":\"amqp://1\"},\"term\":7,"
           "\"fence\":7}\n",
           NULL);
    expect("is-leader", 0, "yes, fence 7, for another 790ms\n", NULL);
    expect("bootstrap --json", 0, "{\"cluster_id\":\"00112233445566778899aabbccddeeff\"}\n", NULL);
    expect("bootstrap", 0,
           "cluster 00112233445566778899aabbccddeeff begins with this node as its only voter\n",
           NULL);
    expect("log-level debug", 0, "", "this node logs at debug");
    expect("log-level debug -q", 0, "", NULL);
    expect("log-level debug --json", 0, "{}\n", NULL);
    expect("reload", 0, "", "the configuration is read");
    expect("reload --json", 0, "{}\n", NULL);
}

static void views_without_a_leader(void **state)
{
    (void)state;
    fake_start("alone");
    expect("status", 0, NULL, NULL);
    expect("leader", 4, "", "raftctl: leader: no_leader: no leader since 2000 ms\n");
    expect("leader --json", 4,
           "{\"error\":{\"code\":\"no_leader\",\"message\":\"no leader since 2000 ms\",\"leader\":"
           "null}}\n",
           NULL);
    expect("is-leader", 1, "no\n", NULL);
    expect("is-leader --json", 1, "{\"is_leader\":false,\"fence\":7,\"lease_remaining_ms\":0}\n",
           NULL);
    fake_start("late"); /* says "leader":null instead of an error */
    expect("leader", 4, "", "no leader is known");
}

static void keys(void **state)
{
    (void)state;
    fake_start("leader");
    expect("put a 1", 0, "revision 1\n", NULL);
    expect("put a 2 --if-revision 0", 1, "", "raftctl: put: conflict: ");
    expect("put a 2 --if-revision 1 --fence 7 --json", 0,
           "{\"revision\":2,\"index\":40,\"term\":7}\n", NULL);
    expect("put a 3 --fence 6", 1, "", "stale_fence: the term is 7");
    expect("get a", 0, "2", NULL);
    expect(
        "get a --stale --json", 0,
        "{\"key\":\"a\",\"value\":\"2\",\"create_revision\":1,\"mod_revision\":2,\"version\":2}\n",
        NULL);
    expect("get b", 7, "", "not_found");
    expect("put b ''", 0, "revision 3\n", NULL);
    expect("get b", 0, "", NULL);
    expect("put -- -c -d", 0, "revision 4\n", NULL);
    expect("list", 0, "a\t2\nb\t\n-c\t-d\n", NULL);
    expect("list a", 0, "a\t2\n", NULL);
    expect("list --limit 3", 0, "a\t2\nb\t\n-c\t-d\n", NULL);
    expect("list --limit 2", 0, "a\t2\nb\t\n",
           "more keys follow: raise --limit, or give a longer prefix\n");
    expect("list --limit 2 -q", 0, "a\t2\nb\t\n", NULL);
    expect("list zz", 0, "", "no keys begin with zz");
    expect("list zz --json", 0, "{\"revision\":4,\"kvs\":[]}\n", NULL);
    expect("del a", 0, "deleted 1, revision 5\n", NULL);
    expect("del a --json", 0, "{\"deleted\":0,\"revision\":5,\"index\":41}\n", NULL);
}

/* Half a list must not pass for a whole one. */
static void an_answer_in_pages_is_refused(void **state)
{
    (void)state;
    fake_start("leader");
    expect("put paged1 a", 0, NULL, NULL);
    expect("put paged2 b", 0, NULL, NULL);
    expect("list paged", 3, "", "answered list with the first of several replies");
    expect("list", 0, "paged1\ta\npaged2\tb\n", NULL);
}

static void bytes_that_are_no_text(void **state)
{
    struct run r;

    (void)state;
    fake_start("leader");
    ctl_run_input(&r, "put a -", "\xff\0", 2);
    assert_int_equal(r.status, 0);
    run_done(&r);
    expect("put b \xc3\xbc", 0, NULL, NULL);
    expect("list --json", 0,
           "{\"revision\":2,\"kvs\":[{\"key\":\"a\",\"value_base64\":\"/wA=\",\"create_"
           "revision\":1,\"mod_revision\":1,\"version\":1},{\"key\":\"b\",\"value\":\"\xc3\xbc\","
           "\"create_revision\":2,\"mod_revision\":2,\"version\":1}]}\n",
           NULL);
    expect("list", 0, "a\t\\xff\\x00\nb\t\xc3\xbc\n", NULL);
}

/* A descriptor that is closed must neither become raftctl's socket nor count as success. */
static void closed_standard_descriptors(void **state)
{
    struct run r;

    (void)state;
    fake_start("leader");
    expect("put a 1", 0, NULL, NULL);
    ctl_run_closed(&r, "get a", STDOUT_FILENO);
    assert_int_equal(r.status, 1);
    assert_non_null(strstr(buf_str(&r.err), "cannot write the result to standard output: "));
    run_done(&r);
    ctl_run_closed(&r, "put a -", STDIN_FILENO);
    assert_int_equal(r.status, 1);
    assert_non_null(strstr(buf_str(&r.err), "cannot read the value from standard input: "));
    run_done(&r);
    ctl_run_closed(&r, "get none", STDERR_FILENO);
    assert_int_equal(r.status, 7);
    run_done(&r);
    expect("get a", 0, "1", NULL); /* and nothing was written where it does not belong */
}

static void values_from_standard_input(void **state)
{
    struct run r;
    char *big = mem_alloc(CTL_VALUE_MAX + 1);

    (void)state;
    fake_start("leader");
    for (size_t i = 0; i <= CTL_VALUE_MAX; i++) {
        big[i] = (char)(i * 7);
    }
    ctl_run_input(&r, "put big -", big, CTL_VALUE_MAX);
    assert_int_equal(r.status, 0);
    run_done(&r);
    ctl_run(&r, "get big");
    assert_int_equal(r.out.size, CTL_VALUE_MAX);
    assert_memory_equal(r.out.data, big, CTL_VALUE_MAX);
    run_done(&r);
    ctl_run_input(&r, "put big - --json", big, CTL_VALUE_MAX + 1);
    assert_int_equal(r.status, 1);
    assert_non_null(strstr(buf_str(&r.out), "{\"error\":{\"code\":\"too_large\""));
    run_done(&r);
    ctl_run_input(&r, "put none -", "", 0);
    assert_int_equal(r.status, 0);
    run_done(&r);
    mem_free(big);
}

static void key_limits(void **state)
{
    char line[600] = "put ";

    (void)state;
    fake_start("leader");
    memset(line + 4, 'k', CTL_KEY_MAX);
    memcpy(line + 4 + CTL_KEY_MAX, " v", 3);
    expect(line, 0, NULL, NULL);
    memcpy(line + 4 + CTL_KEY_MAX, "k v", 4);
    expect(line, 1, "", "too_large: the key has 481 bytes, the limit is 480");
    expect("put '' v", 1, "", "invalid: the key is empty");
    expect("get ''", 1, "", "invalid: the key is empty");
    expect("list ''", 0, NULL, NULL);
}

/* Whatever raftd refuses with, the script finds the code and the exit status of the contract. */
static void every_error_code(void **state)
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
        char line[80], out[160], err[80];
        if (rows[i].value >= RD_EUSAGE) {
            continue; /* never sent to a client */
        }
        (void)snprintf(line, sizeof line, "put err/%s v --json", rows[i].name);
        (void)snprintf(out, sizeof out,
                       "{\"error\":{\"code\":\"%s\",\"message\":\"as asked\",\"leader\":2}}\n",
                       rows[i].name);
        expect(line, rows[i].status, out, NULL);
        (void)snprintf(line, sizeof line, "get err/%s", rows[i].name);
        (void)snprintf(err, sizeof err, "raftctl: get: %s: as asked%s\n", rows[i].name,
                       rows[i].value == RD_ENOT_LEADER ? " (the leader is node 2)" : "");
        expect(line, rows[i].status, "", err);
    }
}

static void refusals_without_words_get_some(void **state)
{
    (void)state;
    fake_start("refusing");
    expect("put a b", 8, "", "permission_denied: not permitted: needs root, raftd's own user");
    expect("status", 8, "", "permission_denied: not permitted\n");
}

static void a_full_disk_behind_standard_output(void **state)
{
    struct buf text = BUF_INIT;
    struct ctl_error e = {0};
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    int saved = dup(STDOUT_FILENO);

    (void)state;
    buf_put_str(&text, "result");
    assert_true(full >= 0 && saved >= 0);
    (void)fflush(stdout);
    (void)dup2(full, STDOUT_FILENO);
    int code = ctl_write(&text, &e);
    (void)dup2(saved, STDOUT_FILENO);
    (void)close(saved);
    (void)close(full);
    assert_int_equal(code, -ENOSPC);
    assert_int_equal(err_exit_ctl(code), 1);
    assert_non_null(strstr(e.message, "cannot write the result to standard output: "));
    buf_done(&text);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_and_help),
        cmocka_unit_test(batch_says_what_its_exit_status_is),
        cmocka_unit_test(usage_errors_exit_2_with_a_hint),
        cmocka_unit_test(offline_commands_refuse),
        cmocka_unit_test(a_backup_has_to_be_one),
        cmocka_unit_test(views),
        cmocka_unit_test(views_without_a_leader),
        cmocka_unit_test(keys),
        cmocka_unit_test(an_answer_in_pages_is_refused),
        cmocka_unit_test(bytes_that_are_no_text),
        cmocka_unit_test(closed_standard_descriptors),
        cmocka_unit_test(values_from_standard_input),
        cmocka_unit_test(key_limits),
        cmocka_unit_test(every_error_code),
        cmocka_unit_test(refusals_without_words_get_some),
        cmocka_unit_test(a_full_disk_behind_standard_output),
    };
    harness_init(argc, argv);
    return cmocka_run_group_tests(tests, NULL, harness_done);
}
