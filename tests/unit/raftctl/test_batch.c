#include "harness.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "raftctl/ctl.h"

static void expect_batch(const char *in, int status, const char *out)
{
    struct run r;

    ctl_run_input(&r, "batch", in, strlen(in));
    assert_string_equal(buf_str(&r.out), out);
    assert_string_equal(buf_str(&r.err), "");
    assert_int_equal(r.status, status);
    run_done(&r);
}

#define BAD(message)                                                                               \
    "{\"error\":{\"code\":\"invalid\",\"message\":\"" message "\",\"leader\":null}}\n"

static void each_line_is_answered_in_order(void **state)
{
    (void)state;
    fake_start("leader");
    expect_batch("put x 'a b'\n\n  # a comment\nget x --stale\nput x y --if-revision 9\n"
                 "list x --limit 1\ndel x\nget err/not_found\nis-leader\nlog-level debug\n"
                 "get err/no_quorum --json",
                 0,
                 "{\"revision\":1,\"index\":40,\"term\":7}\n"
                 "{\"key\":\"x\",\"value\":\"a b\",\"create_revision\":1,\"mod_revision\":1,"
                 "\"version\":1}\n"
                 "{\"error\":{\"code\":\"conflict\",\"message\":\"the key is at another revision\","
                 "\"leader\":1}}\n"
                 "{\"revision\":1,\"kvs\":[{\"key\":\"x\",\"value\":\"a b\",\"create_revision\":1,"
                 "\"mod_revision\":1,\"version\":1}]}\n"
                 "{\"deleted\":1,\"revision\":2,\"index\":41}\n"
                 "{\"error\":{\"code\":\"not_found\",\"message\":\"as asked\",\"leader\":2}}\n"
                 "{\"is_leader\":true,\"fence\":7,\"lease_remaining_ms\":790}\n"
                 "{}\n"
                 "{\"error\":{\"code\":\"no_quorum\",\"message\":\"as asked\",\"leader\":2}}\n");
}

static void bad_lines_are_answered_too(void **state)
{
    (void)state;
    fake_start("leader");
    expect_batch("get 'x\nfrob\nput a\nwatch\nbatch\nput a -\nget a -s /x\n--help\nlog-level x\n"
                 "get ''\n",
                 0,
                 BAD("a single quote is not closed on this line") BAD("there is no command 'frob'")
                     BAD("an argument is missing: KEY VALUE") BAD("watch cannot run in a batch")
                         BAD("batch cannot run in a batch")
                             BAD("the value - means standard input, which holds the batch itself")
                                 BAD("--help, --version and --socket mean nothing in a batch") BAD(
                                     "--help, --version and --socket mean nothing in a batch")
                                     BAD("'x' is not one of: error, warning, notice, info, debug")
                                         BAD("the key is empty; a key has 1 to 480 bytes"));
}

static void nothing_in_nothing_out(void **state)
{
    (void)state;
    fake_start("leader");
    expect_batch("", 0, "");
    expect_batch("\n\n# only words\n  ", 0, "");
}

static void a_nul_byte(void **state)
{
    struct run r;

    (void)state;
    fake_start("leader");
    ctl_run_input(&r, "batch", "get a\0b\nis-leader\n", 18);
    assert_non_null(strstr(buf_str(&r.out), "NUL byte"));
    assert_non_null(strstr(buf_str(&r.out), "\"is_leader\":true"));
    run_done(&r);
}

/* Who asks line by line gets each answer before the next question. */
static void answers_at_once(void **state)
{
    struct child c;
    struct run r;
    char line[256];

    (void)state;
    fake_start("leader");
    child_start(&c, "batch");
    for (int i = 1; i <= 3; i++) {
        char expected[64];
        assert_int_equal(write(c.in, "put k v\n", 8), 8);
        child_read_line(&c, line, sizeof line);
        (void)snprintf(expected, sizeof expected, "{\"revision\":%d,\"index\":40,\"term\":7}", i);
        assert_string_equal(line, expected);
    }
    child_wait(&c, &r);
    assert_int_equal(r.status, 0);
    run_done(&r);
}

static void goes_on_when_raftd_goes_away(void **state)
{
    struct run r;
    static const char in[] = "put vanish v\nget vanish\nis-leader\nget nope\n";

    (void)state;
    fake_start("leader");
    ctl_run_input(&r, "batch", in, strlen(in));
    const char *at = strstr(buf_str(&r.out), "\"unknown_outcome\"");
    assert_non_null(at);
    at = strstr(at, "\"unreachable\"");
    assert_non_null(at);
    at = strstr(at, "\"is_leader\":true");
    assert_non_null(at);
    assert_non_null(strstr(at, "\"not_found\""));
    assert_int_equal(r.status, 3);
    run_done(&r);
}

static void goes_on_when_raftd_is_gone(void **state)
{
    struct run r;
    static const char in[] = "get exit\nget a\nput a b\nfrob\n";
    int lines = 0;

    (void)state;
    fake_start("leader");
    ctl_run_input(&r, "batch", in, strlen(in));
    for (const char *at = buf_str(&r.out); (at = strchr(at, '\n')) != NULL; at++) {
        lines++;
    }
    assert_int_equal(lines, 4);
    assert_null(strstr(buf_str(&r.out), "unknown_outcome")); /* put was never sent */
    assert_int_equal(r.status, 3);
    run_done(&r);
}

/* An answer that comes after its question was given up is not taken for the next one's. */
static void late_answers_are_dropped(void **state)
{
    struct run r;
    static const char in[] = "get late --timeout 50ms\nget a\nis-leader\n";

    (void)state;
    fake_start("leader");
    expect("put a 1", 0, NULL, NULL);
    ctl_run_input(&r, "batch", in, strlen(in));
    assert_memory_equal(buf_str(&r.out), "{\"error\":{\"code\":\"timeout\"", 26);
    assert_non_null(strstr(buf_str(&r.out), "\n{\"key\":\"a\",\"value\":\"1\""));
    assert_null(strstr(buf_str(&r.out), "too late"));
    assert_int_equal(r.status, 0);
    run_done(&r);
}

static void long_lines(void **state)
{
    enum { TOO_MANY = 2 * CTL_VALUE_MAX + 70000 };
    struct buf in = BUF_INIT;
    struct run r;

    (void)state;
    fake_start("leader");
    buf_put_str(&in, "put big ");
    for (size_t i = 0; i < CTL_VALUE_MAX; i++) {
        buf_put_str(&in, "\\v");
    }
    buf_put_str(&in, "\nput big ");
    for (size_t i = 0; i <= CTL_VALUE_MAX; i++) {
        buf_put_u8(&in, 'v');
    }
    buf_put_u8(&in, '\n');
    for (size_t i = 0; i < 2 * TOO_MANY; i++) {
        buf_put_u8(&in, 'x');
    }
    buf_put_str(&in, "\nis-leader\n");
    for (size_t i = 0; i < TOO_MANY; i++) {
        buf_put_u8(&in, 'y');
    }
    ctl_run_input(&r, "batch", in.data, in.size);
    assert_int_equal(r.status, 0);
    const char *at = buf_str(&r.out);
    assert_memory_equal(at, "{\"revision\":1,", 14);
    at = strstr(at, "the value has 1048577 bytes, the limit is 1048576");
    assert_non_null(at);
    at = strstr(at, "\"too_large\",\"message\":\"the line is longer than the limit");
    assert_non_null(at);
    at = strstr(at, "\"is_leader\":true");
    assert_non_null(at);
    assert_non_null(strstr(at, "the line is longer than the limit"));
    run_done(&r);
    buf_done(&in);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_line_is_answered_in_order),
        cmocka_unit_test(bad_lines_are_answered_too),
        cmocka_unit_test(nothing_in_nothing_out),
        cmocka_unit_test(a_nul_byte),
        cmocka_unit_test(answers_at_once),
        cmocka_unit_test(goes_on_when_raftd_goes_away),
        cmocka_unit_test(goes_on_when_raftd_is_gone),
        cmocka_unit_test(late_answers_are_dropped),
        cmocka_unit_test(long_lines),
    };
    harness_init(argc, argv);
    return cmocka_run_group_tests(tests, NULL, harness_done);
}
