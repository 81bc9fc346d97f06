#include "harness.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/mono.h"

static long long field(const json_t *result, const char *key)
{
    const json_t *v = json_object_get(result, key);

    assert_true(json_is_integer(v));
    return json_integer_value(v);
}

static json_t *bench(const char *line)
{
    struct run r;

    ctl_run(&r, line);
    assert_string_equal(buf_str(&r.err), "");
    assert_int_equal(r.status, 0);
    json_t *result = json_loads(buf_str(&r.out), 0, NULL);
    assert_non_null(result);
    run_done(&r);
    return result;
}

static void check_result(const json_t *result)
{
    assert_in_range(field(result, "ops"), 1, 100000000);
    assert_int_equal(field(result, "errors"), 0);
    assert_true(json_real_value(json_object_get(result, "ops_per_s")) > 0);
    assert_in_range(field(result, "p50_us"), 0, field(result, "p99_us"));
    assert_in_range(field(result, "p99_us"), 0, field(result, "max_us"));
    assert_in_range(field(result, "elapsed_ms"), 200, 20000);
}

static void puts_and_cleans_up(void **state)
{
    (void)state;
    fake_start("leader");
    json_t *result = bench("bench --clients 32 --duration 200ms --json");
    check_result(result);
    assert_int_equal(field(result, "connections"), 8);
    json_decref(result);
    expect("list", 0, "", "no keys");
}

static void gets_what_it_put_first(void **state)
{
    struct run r;

    (void)state;
    fake_start("leader");
    json_t *result = bench("bench --op get --clients 3 --connections 2 --size 10 --duration 200ms "
                           "--keep --json");
    check_result(result);
    assert_int_equal(field(result, "connections"), 2);
    json_decref(result);
    ctl_run(&r, "list bench/");
    int lines = 0;
    for (const char *at = buf_str(&r.out); (at = strchr(at, '\n')) != NULL; at++) {
        lines++;
    }
    assert_int_equal(lines, 1000);
    run_done(&r);
}

static void says_it_in_words(void **state)
{
    struct run r;
    unsigned long ops;

    (void)state;
    fake_start("leader");
    ctl_run(&r, "bench --duration 200ms --connections 100 --size 0");
    assert_int_equal(r.status, 0);
    assert_memory_equal(buf_str(&r.out), "put 0 bytes, 1 client over 1 connection, 0.2 s\n", 47);
    assert_int_equal(sscanf(strchr(buf_str(&r.out), '\n'), "\noperations %lu,", &ops), 1);
    assert_true(ops > 0);
    assert_non_null(strstr(buf_str(&r.out), "\nlatency     p50 "));
    assert_non_null(strstr(buf_str(&r.out), "\nerrors      0\n"));
    run_done(&r);
}

/* More in flight than the sockets hold: neither side may wait for the other for ever. */
static void large_values_in_both_directions(void **state)
{
    (void)state;
    fake_start("leader");
    json_t *result = bench("bench --op get --size 1M --clients 16 --connections 2 --duration 300ms "
                           "--json");
    assert_in_range(field(result, "ops"), 1, 1000000);
    json_decref(result);
}

static void refused(void **state)
{
    struct run r;

    (void)state;
    fake_start("refusing");
    expect("bench --duration 100ms", 8, "",
           "raftctl: bench: permission_denied: not permitted: needs root");
    expect("bench --duration 100ms --op get", 8, "", "permission_denied");
    ctl_run(&r, "bench --duration 100ms --json");
    assert_int_equal(r.status, 8);
    assert_memory_equal(buf_str(&r.out), "{\"error\":{\"code\":\"permission_denied\"", 36);
    run_done(&r);
}

/* Where nothing was put there is nothing to delete, and to wait for a second time. */
static void nothing_was_put(void **state)
{
    struct run r;

    (void)state;
    fake_start("cut-off");
    ctl_run(&r, "bench --duration 50ms --clients 3");
    assert_int_equal(r.status, 4);
    assert_string_equal(buf_str(&r.err), "raftctl: bench: no_quorum: 1 of 3 voters reachable\n");
    run_done(&r);
}

static void what_may_have_been_put_is_deleted(void **state)
{
    (void)state;
    fake_start("doubtful");
    expect("bench --duration 50ms --clients 3", 5, "", "bench: unknown_outcome: ");
    expect("list", 0, "", "no keys");
}

static void unanswered(void **state)
{
    (void)state;
    fake_start("mute");
    expect("bench --duration 50ms --timeout 50ms --clients 5", 5, "", "left 5 requests unanswered");
    fake_start("closing");
    expect("bench --duration 1s", 3, "", "lost raftd at ");
}

/* Start a long run and come back when it has written. */
static void start_long(struct child *c)
{
    uint64_t deadline = mono_now_ms() + 10000;
    bool running = false;

    child_start(c, "bench --duration 60s --clients 4");
    while (!running) {
        struct run r;
        assert_true(mono_now_ms() < deadline);
        (void)poll(NULL, 0, 5);
        ctl_run(&r, "list bench/ --limit 1");
        running = r.out.size > 0;
        run_done(&r);
    }
}

static void raftd_dies_meanwhile(void **state)
{
    struct child c;
    struct run r;

    (void)state;
    fake_start("leader");
    start_long(&c);
    fake_kill();
    child_wait(&c, &r);
    assert_int_equal(r.status, 3);
    assert_non_null(strstr(buf_str(&r.err), "lost raftd at "));
    run_done(&r);
}

static void an_interrupt_ends_it_early_and_cleans_up(void **state)
{
    struct child c;
    struct run r;

    (void)state;
    fake_start("leader");
    start_long(&c);
    assert_int_equal(kill(c.pid, SIGINT), 0);
    child_wait(&c, &r);
    assert_int_equal(r.status, 0);
    assert_non_null(strstr(buf_str(&r.out), "operations "));
    run_done(&r);
    expect("list", 0, "", "no keys");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(puts_and_cleans_up),
        cmocka_unit_test(gets_what_it_put_first),
        cmocka_unit_test(says_it_in_words),
        cmocka_unit_test(large_values_in_both_directions),
        cmocka_unit_test(refused),
        cmocka_unit_test(nothing_was_put),
        cmocka_unit_test(what_may_have_been_put_is_deleted),
        cmocka_unit_test(unanswered),
        cmocka_unit_test(raftd_dies_meanwhile),
        cmocka_unit_test(an_interrupt_ends_it_early_and_cleans_up),
    };
    harness_init(argc, argv);
    return cmocka_run_group_tests(tests, NULL, harness_done);
}
