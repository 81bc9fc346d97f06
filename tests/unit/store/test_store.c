/* Tests of store.h: starts, hard state, and a process killed at any moment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fixture.h"

/* ---- Starts ---- */

static void a_new_store_is_empty(void **state)
{
    char path[PATH_MAX];
    struct store_info info;
    struct store_info other;

    fixture_path(path, sizeof path, *state, "a");
    struct store *s = fixture_open(path, &info);
    assert_true(info.created);
    assert_true(uuid_is_set(&info.store));
    assert_false(uuid_is_set(&info.cluster));
    assert_int_equal(info.incarnation, 1);
    assert_true(info.term == 0 && info.vote == 0 && info.first == 0 && info.last == 0);
    store_close(s);
    fixture_path(path, sizeof path, *state, "b");
    s = fixture_open(path, &other);
    assert_false(uuid_equal(&info.store, &other.store));
    store_close(s);
}

static void the_incarnation_grows_at_every_start(void **state)
{
    struct store_info first;
    struct store_info info;

    store_close(fixture_open(*state, &first));
    for (uint64_t i = 2; i < 6; i++) {
        store_close(fixture_open(*state, &info));
        assert_false(info.created);
        assert_int_equal(info.incarnation, i);
        assert_true(uuid_equal(&info.store, &first.store));
    }
}

static void hard_state_is_kept_without_entries(void **state)
{
    struct store_info info;
    struct store *s = fixture_open(*state, &info);
    struct store_batch batch = {.seq = 1,
                                .hard_set = true,
                                .cluster = {.bytes = {1, 2, 3}},
                                .term = UINT64_MAX,
                                .vote = UINT32_MAX};

    assert_int_equal(store_start(s), 0);
    fixture_write(s, &batch);
    batch.hard_set = false; /* an empty batch is a commit of nothing */
    batch.seq = 2;
    fixture_write(s, &batch);
    store_close(s);
    s = fixture_open(*state, &info);
    assert_true(info.term == UINT64_MAX && info.vote == UINT32_MAX && info.last == 0);
    assert_true(uuid_equal(&info.cluster, &batch.cluster));
    store_close(s);
}

static void entries_without_hard_state_leave_it_alone(void **state)
{
    struct fixture_log log = {0};
    struct store_info info;

    fixture_fill(*state);
    struct store *s = fixture_open(*state, &info);
    assert_true(info.term == 1 && info.vote == 1 && info.first == 1 && info.last == 1);
    fixture_log_add(&log, 1, 10, 1);
    fixture_log_add(&log, 1, 10, 2);
    struct store_batch batch = fixture_batch(&log, 1, 2);
    batch.hard_set = false;
    batch.term = 77; /* not to be saved */
    assert_int_equal(store_start(s), 0);
    fixture_write(s, &batch);
    store_close(s);
    s = fixture_open(*state, &info);
    assert_true(info.term == 1 && info.vote == 1 && info.last == 2);
    assert_int_equal(fixture_verify(s, &log), 0);
    store_close(s);
    fixture_log_done(&log);
}

/* ---- Killed at any moment ---- */

enum { KILL_ROUNDS = 25 };

/* Batch `seq` on top of the ones before it: a function of the seed alone. Returns its first index.
 */
static raft_index grow(struct fixture_log *log, struct prng *prng, uint64_t seq)
{
    raft_index first = log->count + 1;

    if (log->count > 0 && prng_chance(prng, 200000)) {
        raft_index back = prng_range(prng, 1, log->count < 20 ? log->count + 1 : 21);
        first -= back;
        fixture_log_cut(log, first);
    }
    uint64_t count = prng_range(prng, 1, 12);
    for (uint64_t i = 0; i < count; i++) {
        size_t size = prng_chance(prng, 20000) ? 20000 : (size_t)prng_range(prng, 0, 300);
        fixture_log_add(log, seq, size, prng_next(prng));
    }
    return first;
}

static void stream(const char *dir, uint64_t seed, int report)
{
    struct fixture_log log = {0};
    struct store_info info;
    struct prng prng;
    struct store *s = fixture_open(dir, &info);

    prng_seed(&prng, seed);
    assert_int_equal(store_start(s), 0);
    for (uint64_t seq = 1;; seq++) {
        raft_index first = grow(&log, &prng, seq);
        struct store_batch batch = fixture_batch(&log, seq, first);
        fixture_write(s, &batch);
        assert_int_equal(write(report, &seq, sizeof seq), sizeof seq);
    }
}

/* The newest report when `until` has come, or the pipe has ended; `seq` when there is none. */
static uint64_t read_reports(int fd, uint64_t seq, uint64_t until)
{
    while (seq < until && read(fd, &seq, sizeof seq) == (ssize_t)sizeof seq) {
    }
    return seq;
}

/* The disk holds the batches 1..completed, or one more that had no time to be reported. */
static void check_after_kill(const char *dir, uint64_t seed, uint64_t completed)
{
    struct fixture_log log = {0};
    struct store_info info;
    struct prng prng;
    struct store *s = fixture_open(dir, &info);

    assert_true(info.term == completed || info.term == completed + 1);
    prng_seed(&prng, seed);
    for (uint64_t seq = 1; seq <= info.term; seq++) {
        (void)grow(&log, &prng, seq);
    }
    assert_int_equal(info.last, log.count);
    assert_int_equal(fixture_verify(s, &log), 0);
    store_close(s);
    fixture_log_done(&log);
}

static void kill_once(const char *dir, uint64_t seed)
{
    struct prng prng;
    int report[2];
    int status;

    prng_seed(&prng, ~seed);
    assert_int_equal(pipe(report), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)setenv("CMOCKA_TEST_ABORT", "1", 1);
        (void)close(report[0]); /* a parent that fails ends the child by SIGPIPE */
        stream(dir, seed, report[1]);
    }
    (void)close(report[1]);
    uint64_t completed = read_reports(report[0], 0, prng_range(&prng, 1, 60));
    struct timespec moment = {0, (long)prng_range(&prng, 0, 1500000)};
    (void)nanosleep(&moment, NULL); /* not to wait for anything: to hit any point of a commit */
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    completed = read_reports(report[0], completed, UINT64_MAX);
    (void)close(report[0]);
    check_after_kill(dir, seed, completed);
}

static void nothing_completed_is_lost_by_a_kill(void **state)
{
    const char *given = getenv("RAFTD_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : mono_now_us();

    (void)printf("repeat with RAFTD_TEST_SEED=%" PRIu64 "\n", seed);
    (void)fflush(stdout); /* once: a child would print it again */
    for (uint64_t round = 0; round < KILL_ROUNDS; round++) {
        char dir[PATH_MAX];
        char name[32];

        (void)snprintf(name, sizeof name, "round%" PRIu64, round);
        fixture_path(dir, sizeof dir, *state, name);
        kill_once(dir, seed + round);
        fixture_remove(dir);
    }
}

#define WITH_DIR(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIR(a_new_store_is_empty),
        WITH_DIR(the_incarnation_grows_at_every_start),
        WITH_DIR(hard_state_is_kept_without_entries),
        WITH_DIR(entries_without_hard_state_leave_it_alone),
        WITH_DIR(nothing_completed_is_lost_by_a_kill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
