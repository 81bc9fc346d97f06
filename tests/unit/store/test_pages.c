/* Tests of pages.h: whatever LMDB writes is sound, and what is not sound is found before LMDB dies of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc.h"
#include "base/err.h"
#include "base/mem.h"
#include "fixture.h"
#include "store/pages.h"

#define MAP_SIZE (64U * 1024U * 1024U)

/* Two databases beside the named records, as raftd has them, in one file. */
struct data {
    MDB_env *env;
    MDB_dbi named, log, rows;
};

static struct data open_data(const char *path)
{
    struct data d;
    MDB_txn *txn;

    assert_int_equal(mdb_env_create(&d.env), 0);
    assert_int_equal(mdb_env_set_maxdbs(d.env, 4), 0);
    assert_int_equal(mdb_env_set_mapsize(d.env, MAP_SIZE), 0);
    /* The order of writes is what is looked at, not their durability. */
    assert_int_equal(mdb_env_open(d.env, path, MDB_NOTLS | MDB_NOSYNC, 0600), 0);
    assert_int_equal(mdb_txn_begin(d.env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, NULL, 0, &d.named), 0);
    assert_int_equal(mdb_dbi_open(txn, "log", MDB_CREATE | MDB_INTEGERKEY, &d.log), 0);
    assert_int_equal(mdb_dbi_open(txn, "rows", MDB_CREATE, &d.rows), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    return d;
}

static void put(MDB_txn *txn, MDB_dbi dbi, const void *key, size_t key_size, size_t size)
{
    uint8_t key_copy[600];
    MDB_val k = {key_size, key_copy};
    MDB_val v = {size, NULL};

    memcpy(key_copy, key, key_size);
    assert_int_equal(mdb_put(txn, dbi, &k, &v, MDB_RESERVE), 0);
    memset(v.mv_data, (int)size, size);
}

static void del(MDB_txn *txn, MDB_dbi dbi, const void *key, size_t key_size)
{
    uint8_t key_copy[600];
    MDB_val k = {key_size, key_copy};
    int rc;

    memcpy(key_copy, key, key_size);
    rc = mdb_del(txn, dbi, &k, NULL);
    assert_true(rc == 0 || rc == MDB_NOTFOUND);
}

static size_t random_size(struct prng *r)
{
    switch (prng_range(r, 0, 12)) {
    case 0:
        return prng_range(r, 2000, 2100); /* about where overflow pages begin */
    case 1:
        return prng_range(r, 4000, 40000);
    default:
        return prng_range(r, 0, 300);
    }
}

static size_t random_key(struct prng *r, uint8_t *out)
{
    uint64_t number = prng_range(r, 0, 400);
    size_t size = 1 + hash64(1, &number, sizeof number) % 480;

    for (size_t i = 0; i < size; i++) {
        out[i] = (uint8_t)hash64(i, &number, sizeof number);
    }
    return size;
}

struct ends { /* of the log */
    uint64_t first, next;
};

static void change_log(MDB_txn *txn, const struct data *d, struct prng *r, struct ends *ends)
{
    uint64_t cut = prng_range(r, 0, 8) == 0 && ends->next > ends->first + 5 ? 5 : 0;

    for (; cut > 0; cut--) {
        ends->next--;
        del(txn, d->log, &ends->next, sizeof ends->next);
    }
    for (uint64_t n = prng_range(r, 0, 30); n > 0; n--) {
        put(txn, d->log, &ends->next, sizeof ends->next, random_size(r));
        ends->next++;
    }
    uint64_t keep = prng_range(r, 0, 400);
    for (unsigned n = 0; n < 60 && ends->next > ends->first + keep; n++) {
        del(txn, d->log, &ends->first, sizeof ends->first);
        ends->first++;
    }
}

static void change_rows(MDB_txn *txn, const struct data *d, struct prng *r)
{
    uint8_t key[600];

    if (prng_range(r, 0, 100) == 0) {
        assert_int_equal(mdb_drop(txn, d->rows, 0), 0);
    }
    for (uint64_t n = prng_range(r, 0, 20); n > 0; n--) {
        size_t size = random_key(r, key);
        if (prng_range(r, 0, 3) == 0) {
            del(txn, d->rows, key, size);
        } else {
            put(txn, d->rows, key, size, random_size(r));
        }
    }
    if (prng_range(r, 0, 2)) {
        put(txn, d->named, "hs", 2, 36);
    }
}

static void run(const char *path, uint64_t seed, unsigned transactions)
{
    struct data d = open_data(path);
    struct ends ends = {1, 1};
    struct prng r;
    MDB_txn *reader = NULL;

    prng_seed(&r, seed);
    for (unsigned i = 0; i < transactions; i++) {
        MDB_txn *txn;
        if (prng_range(&r, 0, 10) == 0) { /* a reader keeps pages for a while */
            if (reader) {
                mdb_txn_abort(reader);
                reader = NULL;
            } else {
                assert_int_equal(mdb_txn_begin(d.env, NULL, MDB_RDONLY, &reader), 0);
            }
        }
        assert_int_equal(mdb_txn_begin(d.env, NULL, 0, &txn), 0);
        change_log(txn, &d, &r, &ends);
        if (prng_range(&r, 0, 2)) {
            change_rows(txn, &d, &r);
        }
        if (prng_range(&r, 0, 20) == 0) {
            mdb_txn_abort(txn);
            ends = (struct ends){
                1, 1}; /* what is there may be put again, what is not may be deleted */
        } else {
            assert_int_equal(mdb_txn_commit(txn), 0);
        }
        if (i % 8 == 0) {
            assert_int_equal(store_pages_check(path), 0);
        }
    }
    if (reader) {
        mdb_txn_abort(reader);
    }
    mdb_env_close(d.env);
}

static void whatever_lmdb_writes_is_sound(void **state)
{
    char path[PATH_MAX];
    const char *seeds = getenv("PAGES_SEEDS"); /* more of them */
    unsigned long count = seeds ? strtoul(seeds, NULL, 10) : 12;

    for (unsigned long seed = 1; seed <= count; seed++) {
        fixture_path(path, sizeof path, *state, "env");
        assert_int_equal(mkdir(path, 0700), 0);
        run(path, seed, 200);
        assert_int_equal(store_pages_check(path), 0);
        fixture_remove(path);
    }
}

static void nothing_and_an_empty_file_are_sound(void **state)
{
    char path[PATH_MAX];

    assert_int_equal(store_pages_check(*state), 0);
    fixture_path(path, sizeof path, *state, "data.mdb");
    (void)close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    assert_int_equal(store_pages_check(*state), 0);
}

/* ---- Damage ---- */

struct file {
    char path[PATH_MAX];
    uint8_t *data;
    size_t size;
};

static struct file load(const char *dir)
{
    struct file f;
    struct stat st;

    fixture_path(f.path, sizeof f.path, dir, "data.mdb");
    int fd = open(f.path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(fstat(fd, &st), 0);
    f.size = (size_t)st.st_size;
    f.data = mem_alloc(f.size);
    assert_int_equal(read(fd, f.data, f.size), f.size);
    (void)close(fd);
    return f;
}

static void save(const struct file *f, size_t size)
{
    int fd = open(f->path, O_WRONLY | O_TRUNC | O_CLOEXEC);

    assert_int_equal(write(fd, f->data, size), size);
    (void)close(fd);
}

/* All keys, and how large their values are: what a damaged structure could change. */
static uint64_t summary(const struct data *d)
{
    const MDB_dbi all[] = {d->named, d->log, d->rows};
    uint64_t hash = 0;
    MDB_txn *txn;

    assert_int_equal(mdb_txn_begin(d->env, NULL, MDB_RDONLY, &txn), 0);
    for (unsigned i = 0; i < 3; i++) {
        MDB_cursor *cursor;
        MDB_val key;
        MDB_val value;
        assert_int_equal(mdb_cursor_open(txn, all[i], &cursor), 0);
        while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
            hash = hash64_mix(hash, value.mv_size);
            hash = hash64_mix(hash, key.mv_size);
        }
        mdb_cursor_close(cursor);
    }
    mdb_txn_abort(txn);
    return hash;
}

struct use {
    const char *path;
    uint64_t want;
};

/* As raftd would, with what was found sound. */
static void use(void *arg)
{
    const struct use *u = arg;
    struct data d = open_data(u->path);
    struct prng r;

    if (summary(&d) != u->want) {
        _exit(1);
    }
    prng_seed(&r, 5);
    for (unsigned i = 0; i < 10; i++) {
        struct ends ends = {10000 + i * 100, 10000 + i * 100};
        MDB_txn *txn;
        assert_int_equal(mdb_txn_begin(d.env, NULL, 0, &txn), 0);
        change_log(txn, &d, &r, &ends);
        change_rows(txn, &d, &r);
        assert_int_equal(mdb_txn_commit(txn), 0);
    }
    mdb_env_close(d.env);
    _exit(store_pages_check(u->path) == 0 ? 0 : 2);
}

/* One bit anywhere: found, or it changes nothing but what stands in keys, values and unused room. */
static void a_flipped_bit_is_found_or_harmless(void **state)
{
    const char *flips = getenv("PAGES_FLIPS");
    unsigned long count = flips ? strtoul(flips, NULL, 10) : 400;
    unsigned found = 0;
    struct prng r;

    run(*state, 7, 60);
    struct data d = open_data(*state);
    struct use u = {*state, summary(&d)};
    mdb_env_close(d.env);
    struct file f = load(*state);
    prng_seed(&r, 11);
    for (unsigned long i = 0; i < count; i++) {
        /* Mostly where the structure is: the meta pages and the beginnings of pages. */
        size_t at = prng_range(&r, 0, f.size);
        if (i % 3 == 0) {
            at = prng_range(&r, 0, 2) * 4096 + prng_range(&r, 0, 152);
        } else if (i % 3 == 1) {
            at = at / 4096 * 4096 + prng_range(&r, 0, 64);
        }
        uint8_t bit = (uint8_t)(1U << prng_range(&r, 0, 8));
        f.data[at] ^= bit;
        save(&f, f.size);
        fixture_capture_begin();
        int code = store_pages_check(*state);
        const char *text = fixture_capture_end();
        if (code) {
            found++;
            assert_int_equal(code, -RD_ECORRUPT);
            assert_non_null(strstr(text, "data.mdb"));
            assert_non_null(strstr(text, "page="));
        } else {
            int status = fixture_child(use, &u);
            if (status != 0) {
                print_error("byte %zu, bit %02x: %d\n", at, bit, status);
            }
            assert_int_equal(status, 0);
        }
        f.data[at] ^= bit;
    }
    print_message("%u of %lu were found\n", found, count);
    assert_true(found > count / 8);
    mem_free(f.data);
}

static void a_file_cut_short_is_found(void **state)
{
    run(*state, 3, 60);
    struct file f = load(*state);
    const size_t sizes[] = {1, 100, 151, 4096, 4200, 8192, f.size / 2};

    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        save(&f, sizes[i]);
        fixture_capture_begin();
        int code = store_pages_check(*state);
        assert_non_null(strstr(fixture_capture_end(), "the file ends before it"));
        assert_int_equal(code, -RD_ECORRUPT);
    }
    mem_free(f.data);
}

/* LMDB would take the older of the two meta pages for the newer one, and with it the state before the last
 * commit: of what was promised in between nobody would know. One bit cannot be told from a commit that failed,
 * see below. */
static void a_meta_page_that_brings_back_the_past_is_found(void **state)
{
    unsigned missed = 0;

    run(*state, 3, 60);
    struct file f = load(*state);
    for (unsigned page = 0; page < 2; page++) {
        for (unsigned bit = 0; bit < 64; bit++) {
            uint8_t *at = f.data + page * 4096 + 144 + bit / 8;
            *at ^= (uint8_t)(1U << bit % 8);
            save(&f, f.size);
            fixture_capture_begin();
            int code = store_pages_check(*state);
            bool told = strstr(fixture_capture_end(), "page=") != NULL;
            assert_true(code == 0 ? bit == 1 : told && code == -RD_ECORRUPT);
            missed += code == 0;
            *at ^= (uint8_t)(1U << bit % 8);
        }
    }
    assert_true(missed <= 1);
    mem_free(f.data);
}

/* A meta page that cannot be written gets back the number it had before, with the roots of the commit that
 * failed. The one before it is in force, as it should be. */
static void a_commit_that_failed_is_sound(void **state)
{
    run(*state, 3, 60);
    struct file f = load(*state);
    uint64_t txns[2];

    for (unsigned page = 0; page < 2; page++) {
        memcpy(&txns[page], f.data + page * 4096 + 144, sizeof txns[page]);
    }
    unsigned newer = txns[1] > txns[0];
    txns[newer] -= 2;
    memcpy(f.data + newer * 4096 + 144, &txns[newer], sizeof txns[newer]);
    save(&f, f.size);
    assert_int_equal(store_pages_check(*state), 0);
    mem_free(f.data);
}

static uint64_t number_at(const uint8_t *p, size_t size)
{
    uint64_t v = 0;

    memcpy(&v, p, size);
    return v;
}

static void put_u16(uint8_t *p, size_t v)
{
    uint16_t number = (uint16_t)v;

    memcpy(p, &number, sizeof number);
}

/* A record of the free list without a value: it is not read beyond its page, as if it had one. */
static void a_free_list_without_a_count_is_found(void **state)
{
    run(*state, 3, 60);
    struct file f = load(*state);
    bool second = number_at(f.data + 4096 + 144, 8) > number_at(f.data + 144, 8);
    const uint8_t *meta = f.data + (second ? 4096 : 0);
    assert_int_equal(number_at(meta + 46, 2), 1); /* its depth */
    uint8_t *leaf = f.data + number_at(meta + 80, 8) * 4096;
    size_t last = number_at(leaf + number_at(leaf + 12, 2) - 2, 2); /* where its last node is */
    uint64_t txn = number_at(leaf + last + 8, 8);

    put_u16(leaf + 12, 18); /* one node, at the end of the page */
    put_u16(leaf + 14, 4096 - 16);
    put_u16(leaf + 16, 4096 - 16);
    memset(leaf + 4096 - 16, 0, 8);
    put_u16(leaf + 4096 - 10, sizeof txn);
    memcpy(leaf + 4096 - 8, &txn, sizeof txn);
    save(&f, f.size);
    fixture_capture_begin();
    assert_int_equal(store_pages_check(*state), -RD_ECORRUPT);
    assert_non_null(strstr(fixture_capture_end(), "its list of free pages makes no sense"));
    mem_free(f.data);
}

#define WITH_DIR(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIR(whatever_lmdb_writes_is_sound),
        WITH_DIR(nothing_and_an_empty_file_are_sound),
        WITH_DIR(a_flipped_bit_is_found_or_harmless),
        WITH_DIR(a_file_cut_short_is_found),
        WITH_DIR(a_meta_page_that_brings_back_the_past_is_found),
        WITH_DIR(a_commit_that_failed_is_sound),
        WITH_DIR(a_free_list_without_a_count_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
