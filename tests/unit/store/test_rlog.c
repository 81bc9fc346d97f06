/* Tests of rlog.h, through store.h: what is written comes back, what is damaged is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/crc.h"
#include "base/err.h"
#include "fixture.h"
#include "raft/raft.h"
#include "store/record.h"

static void reopen(struct store **s, const char *dir, struct store_info *info)
{
    store_close(*s);
    *s = fixture_open(dir, info);
}

/* A store with `count` entries of a few bytes, closed. */
static void fill(const char *dir, struct fixture_log *log, uint32_t count)
{
    struct store_info info;
    struct store *s = fixture_open(dir, &info);

    for (uint32_t i = 0; i < count; i++) {
        fixture_log_add(log, 1 + i / 4, i % 3 * 10, i);
    }
    assert_int_equal(store_start(s), 0);
    struct store_batch batch = fixture_batch(log, 1, 1);
    fixture_write(s, &batch);
    store_close(s);
}

/* ---- Writing ---- */

static void entries_come_back_after_reopening(void **state)
{
    struct fixture_log log = {0};
    struct store_info info;
    struct store *s;

    fill(*state, &log, 300);
    s = fixture_open(*state, &info);
    assert_int_equal(info.first, 1);
    assert_int_equal(info.last, 300);
    assert_int_equal(fixture_verify(s, &log), 0);
    store_close(s);
    fixture_log_done(&log);
}

static void a_suffix_is_replaced(void **state)
{
    static const raft_index cuts[] = {301, 300, 299, 150, 2, 1};
    struct fixture_log log = {0};
    struct store_info info;
    uint64_t seq = 1;

    fill(*state, &log, 300);
    struct store *s = fixture_open(*state, &info);
    assert_int_equal(store_start(s), 0);
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        fixture_log_cut(&log, cuts[i]);
        fixture_log_add(&log, 100 + i, 50, i);
        struct store_batch batch = fixture_batch(&log, seq++, cuts[i]);
        fixture_write(s, &batch);
        assert_int_equal(fixture_verify(s, &log), 0); /* sees the commit at once */
        while (log.count < 300) {
            fixture_log_add(&log, 100 + i, log.count % 40, log.count);
        }
        batch = fixture_batch(&log, seq++, cuts[i] + 1 > 300 ? 300 : cuts[i] + 1);
        fixture_write(s, &batch);
    }
    reopen(&s, *state, &info);
    assert_int_equal(info.last, log.count);
    assert_int_equal(fixture_verify(s, &log), 0);
    store_close(s);
    fixture_log_done(&log);
}

/* Many pages, overflow pages among them, leave in one transaction. */
static void a_long_suffix_is_cut(void **state)
{
    struct fixture_log log = {0};
    struct store_info info;
    struct store *s = fixture_open(*state, &info);

    for (uint32_t i = 0; i < 20000; i++) {
        fixture_log_add(&log, 1, i % 1000 == 0 ? 9000 : 40, i);
    }
    assert_int_equal(store_start(s), 0);
    struct store_batch batch = fixture_batch(&log, 1, 1);
    fixture_write(s, &batch);
    fixture_log_cut(&log, 17);
    fixture_log_add(&log, 2, 40, 1);
    batch = fixture_batch(&log, 2, 17);
    fixture_write(s, &batch);
    assert_int_equal(fixture_verify(s, &log), 0);
    store_close(s);
    fixture_log_done(&log);
}

static void large_payloads_come_back(void **state)
{
    struct fixture_log log = {0};
    struct store_info info;
    struct store *s = fixture_open(*state, &info);
    struct raft_entry out[4];

    fixture_log_add(&log, 1, RAFT_PAYLOAD_MAX, 1);
    fixture_log_add(&log, 1, 0, 2);
    fixture_log_add(&log, 1, RAFT_PAYLOAD_MAX - 1, 3);
    assert_int_equal(store_start(s), 0);
    struct store_batch batch = fixture_batch(&log, 1, 1);
    fixture_write(s, &batch);
    reopen(&s, *state, &info);
    assert_int_equal(fixture_verify(s, &log), 0);
    assert_int_equal(store_load(s, 3, 4, 1, out), 1); /* at least one, whatever its size */
    assert_int_equal(out[0].data->size, RAFT_PAYLOAD_MAX - 1);
    assert_memory_equal(out[0].data->data, log.entries[2].data->data, RAFT_PAYLOAD_MAX - 1);
    blob_unref(out[0].data);
    store_close(s);
    fixture_log_done(&log);
}

struct bad_batch {
    const char *dir;
    struct store_batch batch;
};

static void submit_bad(void *arg)
{
    struct bad_batch *bad = arg;
    struct store_info info;
    struct store *s = fixture_open(bad->dir, &info);
    uint64_t seq;

    assert_int_equal(store_start(s), 0);
    store_submit(s, &bad->batch);
    (void)fixture_wait(s, &seq);
}

/* Each would break a promise of this node: the process ends before the disk is touched. */
static void broken_batches_are_bugs(void **state)
{
    struct fixture_log log = {0};
    struct store_info info;

    fill(*state, &log, 8); /* the last entries, and so the saved term, are of term 2; vote 1 */
    fixture_log_add(&log, 2, 1, 1);
    fixture_log_add(&log, 2, 1, 2);
    struct store_batch good = fixture_batch(&log, 1, 9);
    struct store_batch bad[7] = {good, good, good, good, good, good, good};
    bad[0].first = 10; /* a gap */
    bad[0].entries = &log.entries[9];
    bad[0].entries_count = 1;
    bad[1].first = 8; /* not the index of entries[0] */
    bad[2].term = 1;  /* below the saved term */
    bad[3].vote = 2;  /* a second vote in one term */
    bad[4].seq = 0;
    bad[5].entries_count = 0; /* a cut without its replacement */
    bad[6].first = 0;         /* entries without a place */
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct bad_batch arg = {*state, bad[i]};
        fixture_capture_begin();
        int status = fixture_child(submit_bad, &arg);
        assert_non_null(strstr(fixture_capture_end(), "assertion failed"));
        assert_int_equal(status, RD_EXIT_BUG);
    }
    struct bad_batch arg = {*state, good};
    assert_int_equal(fixture_child(submit_bad, &arg), 0); /* and the good one is good */
    struct store *s = fixture_open(*state, &info);
    assert_int_equal(fixture_verify(s, &log), 0);
    store_close(s);
    fixture_log_done(&log);
}

/* ---- Loading ---- */

static void loads_keep_their_limits(void **state)
{
    struct fixture_log log = {0};
    struct store_info info;
    struct store *s = fixture_open(*state, &info);
    struct raft_entry out[64];

    for (uint32_t i = 0; i < 40; i++) {
        fixture_log_add(&log, 1, 100, i);
    }
    assert_int_equal(store_start(s), 0);
    struct store_batch batch = fixture_batch(&log, 1, 1);
    fixture_write(s, &batch);
    static const struct {
        raft_index first;
        uint32_t count_max;
        uint64_t bytes_max;
        uint32_t want;
    } cases[] = {{1, 64, UINT64_MAX, 40}, {1, 40, UINT64_MAX, 40}, {1, 39, UINT64_MAX, 39},
                 {40, 64, UINT64_MAX, 1}, {10, 1, 0, 1},           {10, 64, 0, 1},
                 {10, 64, 100, 1},        {10, 64, 199, 1},        {10, 64, 200, 2},
                 {10, 64, 1000, 10},      {38, 64, 1000, 3}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t count = store_load(s, cases[i].first, cases[i].count_max, cases[i].bytes_max, out);
        assert_int_equal(count, cases[i].want);
        for (uint32_t k = 0; k < count; k++) {
            const struct raft_entry *want = &log.entries[cases[i].first - 1 + k];
            assert_true(out[k].index == want->index && out[k].chain == want->chain &&
                        out[k].term == want->term && out[k].type == want->type);
            assert_memory_equal(out[k].data->data, want->data->data, 100);
            assert_int_equal(out[k].data->refs, 1);
            blob_unref(out[k].data);
        }
    }
    store_close(s);
    fixture_log_done(&log);
}

struct load {
    const char *dir;
    raft_index first;
};

static void load_in_child(void *arg)
{
    const struct load *load = arg;
    struct store_info info;
    struct raft_entry out[64];

    (void)store_load(fixture_open(load->dir, &info), load->first, 64, UINT64_MAX, out);
}

static void assert_load_dies(const char *dir, raft_index first, const char *word)
{
    struct load load = {dir, first};

    fixture_capture_begin();
    int status = fixture_child(load_in_child, &load);
    const char *text = fixture_capture_end();
    assert_non_null(strstr(text, word));
    assert_int_equal(status, RD_EXIT_IO);
}

static void loading_what_is_not_there_ends_the_process(void **state)
{
    struct fixture_log log = {0};

    fill(*state, &log, 5);
    assert_load_dies(*state, 6, "index=6 reason=\"the entry is missing\"");
    fixture_log_done(&log);
}

/* ---- Damage ---- */

enum damage {
    FLIP_PAYLOAD,  /* the sum differs */
    WRONG_CHAIN,   /* sums are right */
    WRONG_PAYLOAD, /* sums are right, the chain is not of this payload */
    TERM_BACK,     /* a term below the one before; sum and chain are right */
    TERM_BEYOND,   /* a term above the saved one; sum and chain are right */
    OTHER_VERSION,
    OTHER_TYPE,
    TOO_SHORT,
    MISSING,
    MOVED, /* the record of another index */
};

struct wound {
    enum damage damage;
    raft_index index;
    const struct fixture_log *log;
};

static void seal(raft_index index, uint8_t *bytes, size_t size)
{
    uint32_t sum = crc32c(crc32c(0, &index, sizeof index), bytes + 4, size - 4);

    memcpy(bytes, &sum, sizeof sum);
}

static void rewrite_term(const struct wound *w, raft_term term, uint8_t *bytes, size_t size)
{
    struct raft_entry entry = w->log->entries[w->index - 1];

    entry.term = term;
    entry.chain = raft_chain_after(w->log->entries[w->index - 2].chain, &entry);
    assert_int_equal(store_record_entry_size(&entry), size);
    store_record_put_entry(&entry, bytes);
}

static void wound(MDB_txn *txn, MDB_dbi named, void *arg)
{
    const struct wound *w = arg;
    raft_index index = w->index;
    raft_index source = w->damage == MOVED ? index - 3 : index;
    MDB_dbi dbi;
    MDB_val key = {sizeof source, &source};
    MDB_val value;
    uint8_t bytes[256];

    (void)named;
    assert_int_equal(mdb_dbi_open(txn, STORE_NAME_LOG, MDB_INTEGERKEY, &dbi), 0);
    if (w->damage == MISSING) {
        assert_int_equal(mdb_del(txn, dbi, &key, NULL), 0);
        return;
    }
    assert_int_equal(mdb_get(txn, dbi, &key, &value), 0);
    assert_in_range(value.mv_size, STORE_ENTRY_HEADER_SIZE + 1, sizeof bytes);
    memcpy(bytes, value.mv_data, value.mv_size);
    value.mv_data = bytes;
    key.mv_data = &index;
    switch (w->damage) {
    case FLIP_PAYLOAD:
        bytes[value.mv_size - 1] ^= 0x10;
        break;
    case WRONG_CHAIN:
        bytes[16] ^= 1;
        seal(index, bytes, value.mv_size);
        break;
    case WRONG_PAYLOAD:
        bytes[value.mv_size - 1] ^= 0x10;
        seal(index, bytes, value.mv_size);
        break;
    case TERM_BACK:
        rewrite_term(w, w->log->entries[index - 2].term - 1, bytes, value.mv_size);
        break;
    case TERM_BEYOND:
        rewrite_term(w, w->log->entries[w->log->count - 1].term + 1, bytes, value.mv_size);
        break;
    case OTHER_VERSION:
        bytes[4]++;
        seal(index, bytes, value.mv_size);
        break;
    case OTHER_TYPE:
        bytes[5] = 99;
        seal(index, bytes, value.mv_size);
        break;
    case TOO_SHORT:
        value.mv_size = STORE_ENTRY_HEADER_SIZE - 1;
        break;
    case MISSING:
    case MOVED:
        break;
    }
    assert_int_equal(mdb_put(txn, dbi, &key, &value, 0), 0);
}

static void every_damage_is_found(void **state)
{
    static const struct {
        enum damage damage;
        const char *reason;
        bool load_sees_it; /* a load has no chain to compare with */
    } cases[] = {{FLIP_PAYLOAD, "checksum differs", true},
                 {WRONG_CHAIN, "its chain does not continue", false},
                 {WRONG_PAYLOAD, "its chain does not continue", false},
                 {TERM_BACK, "below the term of the entry before", false},
                 {TERM_BEYOND, "above the saved term", false},
                 {OTHER_VERSION, "version, type or flags", true},
                 {OTHER_TYPE, "version, type or flags", true},
                 {TOO_SHORT, "record too short", true},
                 {MISSING, "the entry is missing", true},
                 {MOVED, "checksum differs", true}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char dir[4096];
        char name[16];
        struct fixture_log log = {0};
        struct store_info info;
        struct wound w = {cases[i].damage, 12, &log};

        (void)snprintf(name, sizeof name, "case%zu", i);
        fixture_path(dir, sizeof dir, *state, name);
        fill(dir, &log, 20);
        fixture_edit(dir, "log", wound, &w);
        struct store *s = fixture_open(dir, &info); /* opening does not read the log */
        fixture_capture_begin();
        int code = fixture_verify(s, &log);
        const char *text = fixture_capture_end();
        assert_int_equal(code, -RD_ECORRUPT);
        assert_non_null(strstr(text, "index=12"));
        assert_non_null(strstr(text, cases[i].reason));
        assert_non_null(strstr(text, "remove-server, reset --force, add-server"));
        store_close(s);
        if (cases[i].load_sees_it) {
            assert_load_dies(dir, 10, "index=12");
        }
        fixture_log_done(&log);
    }
}

static void a_missing_first_entry_is_found(void **state)
{
    struct fixture_log log = {0};
    struct store_info info;

    fill(*state, &log, 9);
    struct wound w = {MISSING, 1, &log};
    fixture_edit(*state, "log", wound, &w);
    struct store *s = fixture_open(*state, &info);
    fixture_capture_begin();
    assert_int_equal(fixture_verify(s, &log), -RD_ECORRUPT);
    assert_non_null(strstr(fixture_capture_end(), "index=1 "));
    store_close(s);
    fixture_log_done(&log);
}

/* ---- Verify ---- */

static int stop_at_three(void *arg, const struct raft_entry *entry)
{
    raft_index *seen = arg;

    *seen = entry->index;
    return entry->index == 3 ? -RD_EINVALID : 0;
}

static const struct raft_point nothing; /* is applied */

static void the_callback_can_end_it(void **state)
{
    struct fixture_log log = {0};
    struct store_info info;
    raft_index seen = 0;

    fill(*state, &log, 9);
    struct store *s = fixture_open(*state, &info);
    assert_int_equal(store_verify(s, &nothing, stop_at_three, NULL, &seen, &info), -RD_EINVALID);
    assert_int_equal(seen, 3);
    assert_int_equal(fixture_verify(s, &log), 0); /* and again from the start */
    store_close(s);
    fixture_log_done(&log);
}

struct watch {
    mono_ms begun;
    raft_index at;
    raft_index last;
    uint32_t calls;
};

/* Slow as a large log on a cold disk: waits until the first progress is due. */
static int slow_entry(void *arg, const struct raft_entry *entry)
{
    struct watch *w = arg;

    while (entry->index == 255 && mono_now_ms() < w->begun + 1001) {
    }
    return 0;
}

static void note_progress(void *arg, raft_index at, raft_index last)
{
    struct watch *w = arg;

    w->at = at;
    w->last = last;
    w->calls++;
}

static void progress_is_told_once_a_second(void **state)
{
    struct fixture_log log = {0};
    struct store_info info;

    fill(*state, &log, 700);
    struct store *s = fixture_open(*state, &info);
    struct watch w = {.begun = mono_now_ms()};
    assert_int_equal(store_verify(s, &nothing, slow_entry, note_progress, &w, &info), 0);
    assert_int_equal(w.calls, 1);
    assert_int_equal(w.at, 256);
    assert_int_equal(w.last, 700);
    store_close(s);
    fixture_log_done(&log);
}

static void an_empty_log_is_sound(void **state)
{
    struct fixture_log log = {0};
    struct store_info info;
    struct store *s = fixture_open(*state, &info);

    assert_int_equal(fixture_verify(s, &log), 0);
    store_close(s);
}

#define WITH_DIR(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIR(entries_come_back_after_reopening),
        WITH_DIR(a_suffix_is_replaced),
        WITH_DIR(a_long_suffix_is_cut),
        WITH_DIR(large_payloads_come_back),
        WITH_DIR(broken_batches_are_bugs),
        WITH_DIR(loads_keep_their_limits),
        WITH_DIR(loading_what_is_not_there_ends_the_process),
        WITH_DIR(every_damage_is_found),
        WITH_DIR(a_missing_first_entry_is_found),
        WITH_DIR(the_callback_can_end_it),
        WITH_DIR(progress_is_told_once_a_second),
        WITH_DIR(an_empty_log_is_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
