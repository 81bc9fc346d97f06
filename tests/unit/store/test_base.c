/* Where the log begins, through store.h: what is forgotten, what comes instead, damage that needs no repair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "fixture.h"
#include "store/record.h"

static struct raft_point point_at(const struct fixture_log *log, raft_index index)
{
    const struct raft_entry *e = &log->entries[index - 1];

    return (struct raft_point){.index = index,
                               .term = e->term,
                               .chain = e->chain,
                               .membership_index = 1,
                               .membership = blob_copy("members", 7)};
}

/* Forget up to `base`; with entries from `first` on. */
static void write_with_base(struct store *s, const struct fixture_log *log, uint64_t seq,
                            raft_index base, raft_index first, bool reset)
{
    struct raft_point p = point_at(log, base);
    struct store_batch batch = {.seq = seq};

    if (first) {
        batch = fixture_batch(log, seq, first);
    }
    batch.base = &p;
    batch.reset = reset;
    fixture_write(s, &batch);
    raft_point_done(&p);
}

struct expected {
    const struct fixture_log *log;
    raft_index next;
};

static int expect_entry(void *arg, const struct raft_entry *entry)
{
    struct expected *e = arg;

    assert_int_equal(entry->index, e->next);
    assert_true(entry->chain == e->log->entries[e->next - 1].chain);
    e->next++;
    return 0;
}

/* What the directory holds: the log from base + 1 on. Returns what store_verify() said. */
static int verify(struct store *s, const struct fixture_log *log, struct store_info *info,
                  const struct raft_point *applied)
{
    const struct raft_point none = {0};
    struct expected e = {log, info->base.index + 1};
    int code = store_verify(s, applied ? applied : &none, expect_entry, NULL, &e, info);

    if (code == 0) {
        assert_int_equal(e.next, info->last + 1);
    }
    return code;
}

static void assert_holds(const char *dir, const struct fixture_log *log, raft_index base,
                         raft_index last)
{
    struct store_info info;
    struct store *s = fixture_open(dir, &info);

    assert_int_equal(info.base.index, base);
    assert_int_equal(info.last, last);
    assert_int_equal(info.first, last > base ? base + 1 : 0);
    if (base) {
        assert_int_equal(info.base.term, log->entries[base - 1].term);
        assert_true(info.base.chain == log->entries[base - 1].chain);
        assert_int_equal(info.base.membership_index, 1);
        assert_memory_equal(info.base.membership->data, "members", 7);
    }
    assert_int_equal(verify(s, log, &info, NULL), 0);
    store_close(s);
}

static struct store *begin(const char *dir, struct fixture_log *log, uint32_t count)
{
    struct store_info info;
    struct store *s = fixture_open(dir, &info);

    for (uint32_t i = 0; i < count; i++) {
        fixture_log_add(log, 1 + i / 10, 100, i);
    }
    assert_int_equal(store_start(s), 0);
    struct store_batch batch = fixture_batch(log, 1, 1);
    fixture_write(s, &batch);
    return s;
}

static void what_is_forgotten_is_gone(void **state)
{
    struct fixture_log log = {0};
    struct raft_entry e;
    struct store *s = begin(*state, &log, 30);

    write_with_base(s, &log, 2, 10, 0, false);
    assert_int_equal(store_load(s, 11, 1, 1000, &e), 1); /* at once */
    assert_int_equal(e.index, 11);
    blob_unref(e.data);
    store_close(s);
    assert_holds(*state, &log, 10, 30);
    struct store_info info;
    s = fixture_open(*state, &info);
    assert_int_equal(store_start(s), 0);
    fixture_log_add(&log, 5, 100, 31);
    write_with_base(s, &log, 1, 30, 31, false); /* all that was there goes, one comes */
    store_close(s);
    assert_holds(*state, &log, 30, 31);
    s = fixture_open(*state, &info);
    assert_int_equal(store_start(s), 0);
    write_with_base(s, &log, 1, 31, 0, false); /* nothing is left */
    store_close(s);
    assert_holds(*state, &log, 31, 31);
    fixture_log_done(&log);
}

/* The replaced tail may begin right after what is forgotten. */
static void a_cut_and_a_new_beginning_in_one_batch(void **state)
{
    struct fixture_log log = {0};
    struct store *s = begin(*state, &log, 30);

    fixture_log_cut(&log, 21);
    fixture_log_add(&log, 7, 50, 99);
    write_with_base(s, &log, 2, 20, 21, false);
    store_close(s);
    assert_holds(*state, &log, 20, 21);
    fixture_log_done(&log);
}

static void a_snapshot_takes_the_place_of_all(void **state)
{
    struct fixture_log log = {0};
    struct fixture_log other = {0};
    struct store *s = begin(*state, &log, 30);

    for (uint32_t i = 0; i < 50; i++) {
        fixture_log_add(&other, 3, 100, 1000 + i);
    }
    write_with_base(s, &other, 2, 20, 0, true); /* in the middle of what is there */
    store_close(s);
    assert_holds(*state, &other, 20, 20);
    struct store_info info;
    s = fixture_open(*state, &info);
    assert_int_equal(store_start(s), 0);
    write_with_base(s, &other, 1, 45, 46, true); /* far ahead of it, with entries */
    store_close(s);
    assert_holds(*state, &other, 45, 50);
    fixture_log_done(&log);
    fixture_log_done(&other);
}

/* ---- The record ---- */

static void flip_base(MDB_txn *txn, MDB_dbi named, void *arg)
{
    MDB_val key = {strlen(STORE_NAME_BASE), (void *)(uintptr_t)STORE_NAME_BASE};
    MDB_val value;
    const size_t *bit = arg;

    assert_int_equal(mdb_get(txn, named, &key, &value), 0);
    uint8_t *copy = mem_dup(value.mv_data, value.mv_size);
    copy[*bit / 8 % value.mv_size] ^= (uint8_t)(1U << *bit % 8);
    MDB_val damaged = {value.mv_size, copy};
    assert_int_equal(mdb_put(txn, named, &key, &damaged, 0), 0);
    mem_free(copy);
}

static void a_damaged_beginning_is_refused(void **state)
{
    struct fixture_log log = {0};
    const struct store_config config = fixture_config(*state);

    struct store *s = begin(*state, &log, 30);
    write_with_base(s, &log, 2, 10, 0, false);
    store_close(s);
    for (size_t bit = 3; bit < 8 * 47; bit += 37) {
        fixture_edit(*state, "log", flip_base, &bit);
        fixture_capture_begin();
        int code = fixture_open_code(&config);
        assert_non_null(strstr(fixture_capture_end(), "where the log begins"));
        assert_int_equal(code, -RD_ECORRUPT);
        fixture_edit(*state, "log", flip_base, &bit); /* back */
    }
    assert_holds(*state, &log, 10, 30);
    fixture_log_done(&log);
}

static void a_beginning_without_its_entries_is_found_out(void **state)
{
    struct fixture_log log = {0};
    struct store_info info;
    struct store *s = begin(*state, &log, 30);
    struct raft_point p = point_at(&log, 10);
    struct store_batch batch = {.seq = 2, .base = &p};

    p.chain++; /* not what the entries continue */
    fixture_write(s, &batch);
    store_close(s);
    raft_point_done(&p);
    s = fixture_open(*state, &info);
    fixture_capture_begin();
    assert_int_equal(verify(s, &log, &info, NULL), -RD_ECORRUPT);
    assert_non_null(strstr(fixture_capture_end(), "index=11 "));
    store_close(s);
    fixture_log_done(&log);
}

/* ---- Damage ---- */

static void remove_entry(MDB_txn *txn, MDB_dbi named, void *arg)
{
    MDB_dbi dbi;
    raft_index *index = arg;
    MDB_val key = {sizeof *index, index};

    (void)named;
    assert_int_equal(mdb_dbi_open(txn, "log", MDB_INTEGERKEY, &dbi), 0);
    assert_int_equal(mdb_del(txn, dbi, &key, NULL), 0);
}

static void flip_entry(MDB_txn *txn, MDB_dbi named, void *arg)
{
    MDB_dbi dbi;
    raft_index *index = arg;
    MDB_val key = {sizeof *index, index};
    MDB_val value;

    (void)named;
    assert_int_equal(mdb_dbi_open(txn, "log", MDB_INTEGERKEY, &dbi), 0);
    assert_int_equal(mdb_get(txn, dbi, &key, &value), 0);
    uint8_t *copy = mem_dup(value.mv_data, value.mv_size);
    copy[value.mv_size / 2] ^= 4;
    MDB_val damaged = {value.mv_size, copy};
    assert_int_equal(mdb_put(txn, dbi, &key, &damaged, 0), 0);
    mem_free(copy);
}

static void what_the_state_has_needs_no_repair(void **state)
{
    static fixture_edit_cb *const damages[] = {remove_entry, flip_entry};
    static const raft_index places[] = {1, 7, 19, 20};

    for (size_t i = 0; i < 8; i++) {
        struct fixture_log log = {0};
        struct store_info info;
        char dir[4096];
        char name[16];
        raft_index at = places[i / 2];

        (void)snprintf(name, sizeof name, "case%zu", i);
        fixture_path(dir, sizeof dir, *state, name);
        store_close(begin(dir, &log, 30));
        fixture_edit(dir, "log", damages[i % 2], &at);
        struct raft_point applied = point_at(&log, 20);
        struct store *s = fixture_open(dir, &info);
        fixture_capture_begin();
        assert_int_equal(verify(s, &log, &info, &applied), 1);
        const char *text = fixture_capture_end();
        assert_non_null(strstr(text, "first=21"));
        assert_non_null(strstr(text, "check the disk"));
        assert_int_equal(info.base.index, 20);
        assert_int_equal(info.first, 21);
        assert_int_equal(info.last, 30);
        assert_int_equal(verify(s, &log, &info, &applied), 0);
        store_close(s);
        raft_point_done(&applied);
        assert_holds(dir, &log, 20, 30); /* and it is durable */
        fixture_log_done(&log);
    }
}

static void what_only_the_log_has_is_refused(void **state)
{
    static const raft_index places[] = {21, 25, 30};

    for (size_t i = 0; i < 3; i++) {
        struct fixture_log log = {0};
        struct store_info info;
        char dir[4096];
        char name[16];
        raft_index at = places[i];

        (void)snprintf(name, sizeof name, "case%zu", i);
        fixture_path(dir, sizeof dir, *state, name);
        store_close(begin(dir, &log, 30));
        fixture_edit(dir, "log", flip_entry, &at);
        struct raft_point applied = point_at(&log, 20);
        for (int tries = 0; tries < 2; tries++) { /* nothing is made good in secret */
            struct store *s = fixture_open(dir, &info);
            fixture_capture_begin();
            assert_int_equal(verify(s, &log, &info, &applied), -RD_ECORRUPT);
            assert_non_null(
                strstr(fixture_capture_end(), "remove-server, reset --force, add-server"));
            assert_int_equal(info.base.index, 0);
            store_close(s);
        }
        raft_point_done(&applied);
        fixture_log_done(&log);
    }
}

/* Two places, one of them beyond what the state has: the first is made good, the second is refused. */
static void making_good_one_hides_no_other(void **state)
{
    struct fixture_log log = {0};
    struct store_info info;
    raft_index below = 5;
    raft_index above = 25;

    store_close(begin(*state, &log, 30));
    fixture_edit(*state, "log", flip_entry, &below);
    fixture_edit(*state, "log", flip_entry, &above);
    struct raft_point applied = point_at(&log, 20);
    struct store *s = fixture_open(*state, &info);
    fixture_capture_begin();
    assert_int_equal(verify(s, &log, &info, &applied), 1);
    assert_int_equal(verify(s, &log, &info, &applied), -RD_ECORRUPT);
    assert_non_null(strstr(fixture_capture_end(), "index=25 "));
    store_close(s);
    raft_point_done(&applied);
    fixture_log_done(&log);
}

/* A state of a term that this store has never heard of is not its own: it makes nothing good. */
static void a_state_of_a_later_term_makes_nothing_good(void **state)
{
    struct fixture_log log = {0};
    struct store_info info;
    raft_index at = 5;

    store_close(begin(*state, &log, 30));
    fixture_edit(*state, "log", flip_entry, &at);
    struct raft_point applied = point_at(&log, 20);
    applied.term = 99;
    struct store *s = fixture_open(*state, &info);
    fixture_capture_begin();
    assert_int_equal(verify(s, &log, &info, &applied), -RD_ECORRUPT);
    (void)fixture_capture_end();
    store_close(s);
    raft_point_done(&applied);
    fixture_log_done(&log);
}

/* ---- Crashes ---- */

/* Round r appends 10 entries and forgets all but the last 15; each tenth begins anew. */
static void round_of(const struct fixture_log *log, uint64_t round, raft_index *base, bool *reset)
{
    raft_index last = 10 * round;

    (void)log;
    *reset = round % 10 == 0;
    *base = *reset ? last - 10 : last > 15 ? last - 15 : 0;
}

static void add_round(struct fixture_log *log, uint64_t round)
{
    for (uint64_t i = 0; i < 10; i++) {
        fixture_log_add(log, 1 + round / 4, 200, round * 100 + i);
    }
}

static void write_rounds(const char *dir, int report)
{
    struct fixture_log log = {0};
    struct store_info info;
    struct store *s = fixture_open(dir, &info);

    assert_int_equal(store_start(s), 0);
    for (uint64_t round = 1; round < 5000; round++) {
        raft_index base;
        bool reset;
        round_of(&log, round, &base, &reset);
        add_round(&log, round);
        if (base) {
            write_with_base(s, &log, round, base, 10 * round - 9, reset);
        } else {
            struct store_batch batch = fixture_batch(&log, round, 10 * round - 9);
            fixture_write(s, &batch);
        }
        assert_int_equal(write(report, &round, sizeof round), sizeof round);
    }
    _exit(0);
}

static uint64_t last_report(int from)
{
    uint64_t last = 0;
    uint64_t round;

    while (read(from, &round, sizeof round) == sizeof round) {
        last = round;
    }
    return last;
}

/* Killed at any moment: the batch under way is there as a whole, its beginning, too, or not at all. */
static void a_killed_writer_leaves_whole_batches(void **state)
{
    for (int life = 0; life < 8; life++) {
        struct fixture_log log = {0};
        struct store_info info;
        char dir[4096];
        char name[16];
        int report[2];
        int status;
        raft_index base;
        bool reset;

        (void)snprintf(name, sizeof name, "life%d", life);
        fixture_path(dir, sizeof dir, *state, name);
        assert_int_equal(pipe(report), 0);
        pid_t pid = fork();
        if (pid == 0) {
            (void)setenv("CMOCKA_TEST_ABORT", "1", 1);
            write_rounds(dir, report[1]);
        }
        (void)close(report[1]);
        (void)usleep(20000 + 7001 * (unsigned)life);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        uint64_t told = last_report(report[0]);
        (void)close(report[0]);
        struct store *s = fixture_open(dir, &info);
        uint64_t round = info.last / 10;
        assert_in_range(round, told, told + 1);
        assert_int_equal(info.last % 10, 0);
        for (uint64_t r = 1; r <= round; r++) {
            add_round(&log, r);
        }
        if (round > 0) {
            round_of(&log, round, &base, &reset);
            assert_int_equal(info.base.index, base);
        }
        assert_int_equal(verify(s, &log, &info, NULL), 0);
        store_close(s);
        fixture_log_done(&log);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_forgotten_is_gone, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_cut_and_a_new_beginning_in_one_batch, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(a_snapshot_takes_the_place_of_all, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(a_damaged_beginning_is_refused, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(a_beginning_without_its_entries_is_found_out, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(what_the_state_has_needs_no_repair, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(what_only_the_log_has_is_refused, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(making_good_one_hides_no_other, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(a_state_of_a_later_term_makes_nothing_good, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(a_killed_writer_leaves_whole_batches, fixture_setup,
                                        fixture_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
