/* bench_commit.c - commits through the store beside a bare LMDB loop that writes the same bytes.
 *
 * Reports medians and 99th percentiles; passes whatever they are. The two are interleaved commit by
 * commit, so that a busy disk troubles both alike. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fixture.h"
#include "store/record.h"
#include "store/stats.h"

enum { PAYLOAD_SIZE = 128, ROUNDS = STORE_LATENCY_KEPT };

struct bare {
    MDB_env *env;
    MDB_dbi named;
    MDB_dbi dbi;
    uint8_t value[STORE_ENTRY_HEADER_SIZE + PAYLOAD_SIZE];
    uint8_t hard[STORE_HARD_SIZE];
};

static void bare_open(struct bare *b, const char *dir)
{
    MDB_txn *txn;

    assert_int_equal(mkdir(dir, 0700), 0);
    assert_int_equal(mdb_env_create(&b->env), 0);
    assert_int_equal(mdb_env_set_maxdbs(b->env, 4), 0);
    assert_int_equal(mdb_env_set_mapsize(b->env, FIXTURE_MAP_SIZE), 0);
    assert_int_equal(mdb_env_open(b->env, dir, MDB_NOTLS, 0600), 0);
    assert_int_equal(mdb_txn_begin(b->env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, NULL, 0, &b->named), 0);
    assert_int_equal(mdb_dbi_open(txn, "log", MDB_INTEGERKEY | MDB_CREATE, &b->dbi), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
}

static void bare_write(struct bare *b, uint64_t first, uint32_t count)
{
    char name[] = "hs";
    MDB_txn *txn;
    MDB_val key = {2, name};
    MDB_val value = {sizeof b->hard, b->hard};

    assert_int_equal(mdb_txn_begin(b->env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_put(txn, b->named, &key, &value, 0), 0);
    for (uint64_t index = first; index < first + count; index++) {
        key = (MDB_val){sizeof index, &index};
        value = (MDB_val){sizeof b->value, b->value};
        assert_int_equal(mdb_put(txn, b->dbi, &key, &value, MDB_APPEND), 0);
    }
    assert_int_equal(mdb_txn_commit(txn), 0);
}

static void compare(const char *dir, uint32_t count)
{
    char path[PATH_MAX];
    struct store_info info;
    struct bare bare = {0};
    struct fixture_log log = {0};
    struct store_latency bare_us = {0};
    struct store_latency turn_us = {0};
    struct store_stats stats;

    fixture_path(path, sizeof path, dir, "bare");
    bare_open(&bare, path);
    fixture_path(path, sizeof path, dir, "store");
    struct store *s = fixture_open(path, &info);
    assert_int_equal(store_start(s), 0);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        raft_index first = log.count + 1;
        for (uint32_t i = 0; i < count; i++) {
            fixture_log_add(&log, 1, PAYLOAD_SIZE, i);
        }
        struct store_batch batch = fixture_batch(&log, round + 1, first);
        uint64_t begun_us = mono_now_us();
        bare_write(&bare, first, count);
        store_latency_add(&bare_us, mono_now_us() - begun_us);
        begun_us = mono_now_us();
        fixture_write(s, &batch);
        store_latency_add(&turn_us, mono_now_us() - begun_us);
    }
    store_stats_get(s, &stats);
    (void)printf("%4u entries  bare LMDB p50 %4u p99 %5u us   store p50 %4u p99 %5u us   "
                 "with hand-over p50 %4u p99 %5u us\n",
                 count, store_latency_percentile(&bare_us, 50),
                 store_latency_percentile(&bare_us, 99), stats.commit_p50_us, stats.commit_p99_us,
                 store_latency_percentile(&turn_us, 50), store_latency_percentile(&turn_us, 99));
    store_close(s);
    mdb_env_close(bare.env);
    fixture_log_done(&log);
}

int main(void)
{
    static const uint32_t counts[] = {1, 64, 256};

    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        void *dir;
        assert_int_equal(fixture_setup(&dir), 0);
        compare(dir, counts[i]);
        (void)fixture_teardown(&dir);
    }
    return 0;
}
