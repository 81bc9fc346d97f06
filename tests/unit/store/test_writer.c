/* Tests of writer.h, through store.h: the hand-over between the threads, and a disk that fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "fixture.h"

static bool is_readable(int fd)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};

    return poll(&wait, 1, 0) == 1;
}

/* ---- Hand-over ---- */

static void a_batch_completes_once(void **state)
{
    struct fixture_log log = {0};
    struct store_info info;
    struct store_stats stats;
    uint64_t seq = 99;
    struct store *s = fixture_open(*state, &info);

    assert_int_equal(store_start(s), 0);
    assert_false(is_readable(store_event_fd(s)));
    assert_int_equal(store_completed(s, &seq), 0);
    assert_int_equal(seq, 0);
    fixture_log_add(&log, 1, 10, 1);
    fixture_log_add(&log, 1, 10, 2);
    struct store_batch batch = fixture_batch(&log, 41, 1);
    store_submit(s, &batch);
    assert_int_equal(fixture_wait(s, &seq), 0);
    assert_int_equal(seq, 41);
    assert_false(is_readable(store_event_fd(s)));
    assert_int_equal(store_completed(s, &seq), 0);
    assert_int_equal(seq, 0);
    store_stats_get(s, &stats);
    assert_int_equal(stats.commits, 1);
    assert_int_equal(stats.entries, 2);
    assert_int_equal(stats.outstanding_ms, 0);
    assert_false(stats.stalled);
    assert_true(stats.commit_p50_us > 0 && stats.commit_p50_us == stats.commit_p99_us);
    assert_true(stats.log_bytes >= 4096 && stats.log_bytes % 4096 == 0);
    assert_true(stats.state_bytes >= 4096);
    assert_int_equal(stats.log_bytes, store_log_bytes(s));
    store_close(s);
    fixture_log_done(&log);
}

/* Run under ThreadSanitizer: the loop reads the log and the numbers while the log thread writes. */
static void both_threads_work_at_once(void **state)
{
    struct fixture_log log = {0};
    struct store_info info;
    struct store_stats stats;
    struct raft_entry out[8];
    struct store *s = fixture_open(*state, &info);

    assert_int_equal(store_start(s), 0);
    for (uint64_t round = 1; round <= 200; round++) {
        raft_index first = log.count + 1;
        for (uint32_t i = 0; i < 1 + round % 7; i++) {
            fixture_log_add(&log, round / 50 + 1, round % 64, round * 100 + i);
        }
        struct store_batch batch = fixture_batch(&log, round, first);
        store_submit(s, &batch);
        if (first > 1) {
            uint32_t count = store_load(s, first > 5 ? first - 5 : 1, 8, UINT64_MAX, out);
            assert_int_equal(out[0].chain, log.entries[out[0].index - 1].chain);
            while (count > 0) {
                blob_unref(out[--count].data);
            }
        }
        store_stats_get(s, &stats);
        uint64_t seq = 0;
        assert_int_equal(fixture_wait(s, &seq), 0);
        assert_int_equal(seq, round);
    }
    assert_int_equal(stats.commits, 199);
    assert_int_equal(fixture_verify(s, &log), 0);
    store_close(s);
    fixture_log_done(&log);
}

static void close_finishes_the_batch_in_flight(void **state)
{
    struct fixture_log log = {0};
    struct store_info info;

    for (uint64_t round = 1; round <= 10; round++) {
        struct store *s = fixture_open(*state, &info);
        assert_int_equal(info.last, round - 1);
        assert_int_equal(store_start(s), 0);
        fixture_log_add(&log, 1, 10, round);
        struct store_batch batch = fixture_batch(&log, 1, log.count);
        store_submit(s, &batch);
        store_close(s);
    }
    struct store *s = fixture_open(*state, &info);
    assert_int_equal(fixture_verify(s, &log), 0);
    store_close(s);
    fixture_log_done(&log);
}

static void submit_twice(void *arg)
{
    struct fixture_log log = {0};
    struct store_info info;
    struct store *s = fixture_open(arg, &info);

    assert_int_equal(store_start(s), 0);
    fixture_log_add(&log, 1, 10, 1);
    struct store_batch batch = fixture_batch(&log, 1, 1);
    store_submit(s, &batch);
    store_submit(s, &batch);
}

static void submit_without_start(void *arg)
{
    struct fixture_log log = {0};
    struct store_info info;
    struct store *s = fixture_open(arg, &info);

    fixture_log_add(&log, 1, 10, 1);
    struct store_batch batch = fixture_batch(&log, 1, 1);
    store_submit(s, &batch);
}

static void a_second_batch_in_flight_is_a_bug(void **state)
{
    fixture_child_cb *bodies[] = {submit_twice, submit_without_start};

    for (size_t i = 0; i < 2; i++) {
        fixture_capture_begin();
        int status = fixture_child(bodies[i], *state);
        assert_non_null(strstr(fixture_capture_end(), "STORE_IDLE"));
        assert_int_equal(status, RD_EXIT_BUG);
    }
}

/* The signals of the process are for the loop; a fault is for the thread it hits. */
static void the_log_thread_takes_no_signals(void **state)
{
    struct store_info info;
    char path[64];
    char line[256];
    unsigned long long blocked = 0;
    bool found = false;
    struct store_batch batch = {.seq = 1};
    struct store *s = fixture_open(*state, &info);

    assert_int_equal(store_start(s), 0);
    fixture_write(s, &batch); /* until it runs, a new thread has every signal blocked */
    for (int tid = (int)getpid(); tid < (int)getpid() + 64 && !found; tid++) {
        (void)snprintf(path, sizeof path, "/proc/self/task/%d/status", tid);
        FILE *file = fopen(path, "re");
        while (file && fgets(line, sizeof line, file)) {
            found = found || strcmp(line, "Name:\traftd-log\n") == 0;
            (void)sscanf(line, "SigBlk: %llx", &blocked);
        }
        if (file) {
            (void)fclose(file);
        }
    }
    store_close(s);
    if (!found) {
        skip(); /* thread ids are not consecutive here */
    }
    static const int loop_signals[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGUSR1, SIGPIPE};
    for (size_t i = 0; i < sizeof loop_signals / sizeof loop_signals[0]; i++) {
        assert_true(blocked & (1ULL << (loop_signals[i] - 1)));
    }
    assert_false(blocked & (1ULL << (SIGBUS - 1)));
    assert_false(blocked & (1ULL << (SIGSEGV - 1)));
}

/* ---- A disk that hangs ---- */

struct hang {
    const char *dir;
    int ready;
    int wait;
};

/* Another process in the middle of a write transaction: the log thread waits in LMDB for it, as it
 * would for a disk that does not answer. */
static void hold_writer(MDB_txn *txn, MDB_dbi named, void *arg)
{
    const struct hang *h = arg;
    char byte = 0;

    (void)txn;
    (void)named;
    (void)!write(h->ready, &byte, 1);
    (void)!read(h->wait, &byte, 1);
}

static void a_hanging_commit_is_a_stall(void **state)
{
    struct store_config config = fixture_config(*state);
    struct fixture_log log = {0};
    struct store_info info;
    struct store_stats stats = {0};
    struct store *s;
    int go[2];
    int ready[2];
    int wait[2];
    int status;
    char byte = 0;
    uint64_t seq = 0;

    assert_true(pipe(go) == 0 && pipe(ready) == 0 && pipe(wait) == 0);
    pid_t pid = fork(); /* before there is a thread or an environment to inherit */
    if (pid == 0) {
        (void)setenv("CMOCKA_TEST_ABORT", "1", 1);
        struct hang h = {*state, ready[1], wait[0]};
        (void)close(go[1]);
        (void)close(wait[1]);
        (void)!read(go[0], &byte, 1);
        fixture_edit(*state, "log", hold_writer, &h);
        _exit(0);
    }
    config.stall_timeout_ms = 30;
    assert_int_equal(store_open(&config, &s, &info), 0);
    assert_int_equal(store_start(s), 0);
    assert_int_equal(write(go[1], &byte, 1), 1);
    assert_int_equal(read(ready[0], &byte, 1), 1);

    fixture_log_add(&log, 1, 10, 1);
    struct store_batch batch = fixture_batch(&log, 1, 1);
    store_submit(s, &batch);
    store_stats_get(s, &stats);
    assert_true(stats.stalled == (stats.outstanding_ms > 30));
    for (mono_ms end = mono_now_ms() + 20000; !stats.stalled && mono_now_ms() < end;) {
        store_stats_get(s, &stats);
    }
    assert_true(stats.stalled && stats.outstanding_ms > 30);
    assert_int_equal(store_completed(s, &seq), 0);
    assert_int_equal(seq, 0);

    assert_int_equal(write(wait[1], &byte, 1), 1);
    assert_int_equal(fixture_wait(s, &seq), 0);
    assert_int_equal(seq, 1);
    store_stats_get(s, &stats);
    assert_false(stats.stalled);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    store_close(s);
    fixture_log_done(&log);
    for (int i = 0; i < 2; i++) {
        (void)close(go[i]);
        (void)close(ready[i]);
        (void)close(wait[i]);
    }
}

struct closing {
    const char *dir;
    int go, ready;
};

static void close_while_it_hangs(void *arg)
{
    struct closing *c = arg;
    struct fixture_log log = {0};
    struct store_info info;
    char byte = 0;
    struct store *s = fixture_open(c->dir, &info);

    assert_int_equal(store_start(s), 0);
    assert_int_equal(write(c->go, &byte, 1), 1);
    assert_int_equal(read(c->ready, &byte, 1), 1);
    fixture_log_add(&log, 1, 10, 1);
    struct store_batch batch = fixture_batch(&log, 1, 1);
    store_submit(s, &batch);
    store_close(s);
}

/* Nobody waits for the answer of a dead disk for ever. */
static void closing_gives_up_on_a_hanging_disk(void **state)
{
    int go[2];
    int ready[2];
    int wait[2];
    int status;
    char byte = 0;

    assert_true(pipe(go) == 0 && pipe(ready) == 0 && pipe(wait) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)setenv("CMOCKA_TEST_ABORT", "1", 1);
        struct hang h = {*state, ready[1], wait[0]};
        (void)close(wait[1]);
        (void)!read(go[0], &byte, 1);
        fixture_edit(*state, "log", hold_writer, &h);
        _exit(0);
    }
    struct closing c = {*state, go[1], ready[0]};
    mono_ms begun = mono_now_ms();
    fixture_capture_begin();
    status = fixture_child(close_while_it_hangs, &c);
    const char *text = fixture_capture_end();
    assert_int_equal(status, RD_EXIT_IO);
    assert_true(mono_now_ms() - begun >= 4900);
    assert_non_null(strstr(text, "the disk hangs"));
    assert_non_null(strstr(text, "waited_ms=5000"));
    assert_int_equal(write(wait[1], &byte, 1), 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    for (int i = 0; i < 2; i++) {
        (void)close(go[i]);
        (void)close(ready[i]);
        (void)close(wait[i]);
    }
}

/* ---- A disk that fails ---- */

static void a_full_map_is_told_and_harms_nothing(void **state)
{
    struct store_config config = fixture_config(*state);
    struct fixture_log log = {0};
    struct store_info info;
    struct store *s;
    uint64_t seq = 0;
    int code = 0;

    config.map_size = 256 * 1024;
    assert_int_equal(store_open(&config, &s, &info), 0);
    assert_int_equal(store_start(s), 0);
    fixture_capture_begin();
    for (uint64_t round = 1; code == 0 && round < 100; round++) {
        fixture_log_add(&log, round, 10000, round);
        struct store_batch batch = fixture_batch(&log, round, round);
        store_submit(s, &batch);
        code = fixture_wait(s, &seq);
    }
    const char *text = fixture_capture_end();
    assert_int_equal(code, -RD_EMAP_FULL);
    assert_non_null(strstr(text, "raise storage.map_size"));
    assert_int_equal(seq, log.count - 1); /* untouched by the failure */
    store_close(s);

    fixture_log_cut(&log, log.count); /* all of the failed batch is absent, its term too */
    s = fixture_open(*state, &info);
    assert_int_equal(info.last, log.count);
    assert_int_equal(info.term, log.count);
    assert_int_equal(fixture_verify(s, &log), 0);
    assert_int_equal(store_start(s), 0);
    fixture_log_add(&log, 1000, 10000, 1); /* the larger map has room */
    struct store_batch batch = fixture_batch(&log, 1, log.count);
    fixture_write(s, &batch);
    store_close(s);
    fixture_log_done(&log);
}

/* Writes until the process ends; anything reported as completed goes to the pipe first. */
static void write_until_the_end(const char *dir, int report)
{
    struct fixture_log log = {0};
    struct store_info info;
    uint64_t seq = 0;
    struct store *s = fixture_open(dir, &info);

    assert_int_equal(store_start(s), 0);
    for (uint64_t round = 1; round < 1000; round++) {
        fixture_log_add(&log, 1, 20000, round);
        struct store_batch batch = fixture_batch(&log, round, round);
        store_submit(s, &batch);
        assert_int_equal(fixture_wait(s, &seq), 0);
        if (report >= 0) {
            assert_int_equal(write(report, &seq, sizeof seq), sizeof seq);
        }
    }
}

struct failing {
    const char *dir;
    int report;
};

static void write_against_a_file_limit(void *arg)
{
    const struct failing *f = arg;
    struct rlimit limit = {512 * 1024, 512 * 1024};

    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    write_until_the_end(f->dir, f->report);
}

static void a_failed_write_ends_the_process(void **state)
{
    struct fixture_log log = {0};
    struct store_info info;
    uint64_t seq = 0;
    uint64_t last = 0;
    int report[2];

    assert_int_equal(pipe(report), 0);
    struct failing f = {*state, report[1]};
    fixture_capture_begin();
    int status = fixture_child(write_against_a_file_limit, &f);
    const char *text = fixture_capture_end();
    assert_int_equal(status, RD_EXIT_IO);
    assert_non_null(strstr(text, "the log cannot be written, raftd ends"));
    (void)close(report[1]);
    while (read(report[0], &seq, sizeof seq) == sizeof seq) {
        last = seq;
        fixture_log_add(&log, 1, 20000, seq);
    }
    (void)close(report[0]);
    assert_true(last > 0);
    struct store *s = fixture_open(*state, &info);
    assert_int_equal(info.last, last); /* all that was reported, nothing of what failed */
    assert_int_equal(fixture_verify(s, &log), 0);
    store_close(s);
    fixture_log_done(&log);
}

/* Is there a completion within so many milliseconds? */
static bool completes(struct store *s, int within_ms, uint64_t *seq)
{
    mono_ms end = mono_now_ms() + (uint64_t)within_ms;

    *seq = 0;
    while (*seq == 0 && mono_now_ms() < end) {
        struct pollfd wait = {.fd = store_event_fd(s), .events = POLLIN};
        (void)poll(&wait, 1, (int)(end - mono_now_ms()));
        assert_int_equal(store_completed(s, seq), 0);
    }
    return *seq != 0;
}

/* One entry of 20,000 bytes after the other, until one waits; its number. */
static uint64_t write_until_one_waits(struct store *s, struct fixture_log *log)
{
    uint64_t done = 0;

    for (uint64_t round = 1;; round++) {
        fixture_log_add(log, 1, 20000, round);
        struct store_batch batch = fixture_batch(log, round, round);
        store_submit(s, &batch);
        if (!completes(s, 1000, &done)) {
            return round;
        }
        assert_int_equal(done, round);
    }
}

static void await_room(struct store *s, bool low)
{
    struct store_room room = {.low = !low};
    uint64_t none;

    for (mono_ms end = mono_now_ms() + 20000; room.low != low && mono_now_ms() < end;) {
        assert_false(completes(s, 10, &none));
        store_room_get(s, &room);
    }
    assert_int_equal(room.low, low);
}

static void run_into_the_end_of_the_disk(void *arg)
{
    const char *dir = arg;
    struct fixture_log log = {0};
    struct store_info info;
    struct store_stats stats;
    struct store_room room;
    uint64_t seq = 0;
    char filler[PATH_MAX];

    fixture_small_disk(dir, "size=4m");
    struct store *s = fixture_open(dir, &info);
    fixture_path(filler, sizeof filler, dir, "filler");
    fixture_put_filler(filler, 2U << 20);
    assert_int_equal(store_start(s), 0);
    uint64_t waits = write_until_one_waits(s, &log);
    assert_true(waits > 20);
    store_room_get(s, &room);
    assert_true(room.low && room.wanted_bytes == 256 * 1024 && room.free_bytes < 256 * 1024);
    assert_non_null(strstr(room.path, "/log"));
    store_stats_get(s, &stats);
    assert_true(stats.outstanding_ms > 0 && stats.free_bytes < 256 * 1024);
    assert_int_equal(unlink(filler), 0);
    assert_true(completes(s, 20000, &seq));
    assert_int_equal(seq, waits);
    await_room(s, false);
    store_room_get(s, &room);
    assert_true(room.log_bytes >= room.wanted_bytes / 2);
    store_close(s);
    s = fixture_open(dir, &info);
    assert_int_equal(info.last, waits);
    assert_int_equal(fixture_verify(s, &log), 0);
    store_close(s);
    fixture_log_done(&log);
}

/* Nobody is told that it is durable, nothing fails, and it is written once there is room. */
static void a_batch_without_room_waits_for_it(void **state)
{
    fixture_capture_begin();
    int status = fixture_child(run_into_the_end_of_the_disk, *state);
    const char *text = fixture_capture_end();

    if (status == FIXTURE_NO_NAMESPACE) {
        skip(); /* no user namespaces here */
    }
    if (status) {
        print_error("%s", text);
    }
    assert_int_equal(status, 0);
}

static void stop_without_room(void *arg)
{
    const char *dir = arg;
    struct fixture_log log = {0};
    struct store_info info;
    struct store_stats stats;
    uint64_t seq = 0;

    fixture_small_disk(dir, "size=4m");
    struct store *s = fixture_open(dir, &info);
    assert_int_equal(store_start(s), 0);
    uint64_t waits = write_until_one_waits(s, &log);
    mono_ms begun = mono_now_ms();
    store_close(s);
    assert_true(mono_now_ms() - begun < 4000); /* not given up on like a disk that hangs */
    s = fixture_open(dir, &info);              /* what was reserved is there for a start */
    assert_int_equal(info.last, waits - 1);
    assert_int_equal(store_start(s), 0);
    await_room(s, true);
    const struct store_batch vote = {
        .seq = 1, .hard_set = true, .cluster = {.bytes = {0xc1}}, .term = 2, .vote = 1};
    store_submit(s, &vote); /* this needs no room */
    assert_true(completes(s, 20000, &seq));
    store_stats_get(s, &stats);
    assert_int_equal(stats.outstanding_ms, 0);
    store_close(s);
    fixture_log_done(&log);
}

static void closing_does_not_wait_for_room(void **state)
{
    fixture_capture_begin();
    int status = fixture_child(stop_without_room, *state);
    const char *text = fixture_capture_end();

    if (status == FIXTURE_NO_NAMESPACE) {
        skip(); /* no user namespaces here */
    }
    if (status) {
        print_error("%s", text);
    }
    assert_int_equal(status, 0);
}

#define WITH_DIR(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIR(a_batch_completes_once),
        WITH_DIR(both_threads_work_at_once),
        WITH_DIR(close_finishes_the_batch_in_flight),
        WITH_DIR(a_second_batch_in_flight_is_a_bug),
        WITH_DIR(the_log_thread_takes_no_signals),
        WITH_DIR(a_hanging_commit_is_a_stall),
        WITH_DIR(closing_gives_up_on_a_hanging_disk),
        WITH_DIR(a_full_map_is_told_and_harms_nothing),
        WITH_DIR(a_failed_write_ends_the_process),
        WITH_DIR(a_batch_without_room_waits_for_it),
        WITH_DIR(closing_does_not_wait_for_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
