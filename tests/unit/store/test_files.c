/* Tests of files.h, through store.h: whose the directory is, what is missing or damaged in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "fixture.h"
#include "store/offline.h"
#include "store/record.h"

/* Opening fails with `want` and one line that has `word`. */
static void assert_refused(const struct store_config *config, int want, const char *word)
{
    fixture_capture_begin();
    int code = fixture_open_code(config);
    const char *text = fixture_capture_end();
    if (code != want || !strstr(text, word)) {
        (void)fprintf(stderr, "wanted \"%s\", have: %s", word, text);
    }
    assert_int_equal(code, want);
    assert_non_null(strstr(text, word));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

static void assert_corrupt(const char *dir, const char *word)
{
    struct store_config config = fixture_config(dir);

    assert_refused(&config, -RD_ECORRUPT, word);
}

/* ---- Identity ---- */

static void another_node_id_is_refused(void **state)
{
    struct store_config config = fixture_config(*state);
    struct store_info info;

    fixture_fill(*state);
    config.id = FIXTURE_NODE + 1;
    assert_refused(&config, -RD_ECONFIG, "directory_id=7 config_id=8");
    store_close(fixture_open(*state, &info));
    assert_int_equal(info.incarnation, 2); /* a refused start counts for nothing */
}

static void environments_of_two_stores_are_refused(void **state)
{
    char a[PATH_MAX];
    char b[PATH_MAX];
    char from[PATH_MAX];
    char to[PATH_MAX];

    fixture_path(a, sizeof a, *state, "a");
    fixture_path(b, sizeof b, *state, "b");
    fixture_fill(a);
    fixture_fill(b);
    fixture_path(from, sizeof from, a, "state");
    fixture_path(to, sizeof to, b, "state");
    fixture_copy(from, to);
    assert_corrupt(b, "not of the same store");
    fixture_path(from, sizeof from, a, "log"); /* now all of b is a copy of a: one store again */
    fixture_path(to, sizeof to, b, "log");
    fixture_copy(from, to);
    struct store_config config = fixture_config(b);
    assert_int_equal(fixture_open_code(&config), 0);
}

static void a_lost_half_is_refused(void **state)
{
    char path[PATH_MAX];
    char file[PATH_MAX];

    fixture_fill(*state);
    fixture_path(path, sizeof path, *state, "state");
    fixture_remove(path);
    assert_corrupt(*state, "the state was lost");
    assert_int_not_equal(access(path, F_OK), 0); /* nothing was made in its place */
    assert_int_equal(mkdir(path, 0700), 0);
    assert_corrupt(*state, "the state was lost");
    fixture_path(file, sizeof file, path, "data.mdb"); /* an environment with nothing in it */
    assert_null(fopen(file, "re"));
    (void)fclose(fopen(file, "we"));
    assert_corrupt(*state, "the state was lost");
}

static void a_lost_log_is_refused(void **state)
{
    char path[PATH_MAX];
    char file[PATH_MAX];
    struct store_info info;

    /* Even when nothing was ever voted: the log may have had a vote the state does not know of. */
    store_close(fixture_open(*state, &info));
    fixture_path(path, sizeof path, *state, "log");
    fixture_remove(path);
    assert_corrupt(*state, "the log was lost");
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    fixture_path(file, sizeof file, path, "data.mdb");
    (void)fclose(fopen(file, "we"));
    assert_corrupt(*state, "the log was lost");
}

/* As a crash leaves it between the two identities, at each of the steps in between. */
static void a_half_made_store_is_completed(void **state)
{
    for (int step = 0; step < 3; step++) {
        char dir[PATH_MAX];
        char name[16];
        char path[PATH_MAX];
        char file[PATH_MAX];
        struct store_info first;
        struct store_info info;

        (void)snprintf(name, sizeof name, "step%d", step);
        fixture_path(dir, sizeof dir, *state, name);
        store_close(fixture_open(dir, &first));
        fixture_path(path, sizeof path, dir, "state");
        fixture_remove(path);
        if (step > 0) {
            assert_int_equal(mkdir(path, 0700), 0);
        }
        if (step > 1) {
            fixture_path(file, sizeof file, path, "data.mdb");
            (void)fclose(fopen(file, "we"));
        }
        struct store *s = fixture_open(dir, &info);
        assert_true(info.created);
        assert_true(uuid_equal(&info.store, &first.store));
        assert_int_equal(info.incarnation, 2);
        store_close(s);
        store_close(fixture_open(dir, &info));
        assert_false(info.created);
    }
}

static void an_unfinished_log_is_started_over(void **state)
{
    char path[PATH_MAX];
    struct store_info info;

    fixture_path(path, sizeof path, *state, "log");
    assert_int_equal(mkdir(path, 0700), 0);
    fixture_path(path, sizeof path, *state, "log/data.mdb");
    (void)fclose(fopen(path, "we"));
    store_close(fixture_open(*state, &info));
    assert_true(info.created);
}

/* ---- Damaged records ---- */

static void drop_record(MDB_txn *txn, MDB_dbi named, void *arg)
{
    MDB_val key = {strlen(arg), arg};

    assert_int_equal(mdb_del(txn, named, &key, NULL), 0);
}

static void flip_record(MDB_txn *txn, MDB_dbi named, void *arg)
{
    MDB_val key = {strlen(arg), arg};
    MDB_val value;
    uint8_t bytes[256];

    assert_int_equal(mdb_get(txn, named, &key, &value), 0);
    assert_true(value.mv_size <= sizeof bytes);
    memcpy(bytes, value.mv_data, value.mv_size);
    bytes[value.mv_size - 1] ^= 4;
    value.mv_data = bytes;
    assert_int_equal(mdb_put(txn, named, &key, &value, 0), 0);
}

static void drop_database(MDB_txn *txn, MDB_dbi named, void *arg)
{
    MDB_dbi dbi;

    (void)named;
    assert_int_equal(mdb_dbi_open(txn, arg, 0, &dbi), 0);
    assert_int_equal(mdb_drop(txn, dbi, 1), 0);
}

static void damaged_records_are_refused(void **state)
{
    static const struct {
        const char *env;
        const char *record;
        fixture_edit_cb *edit;
        const char *word;
    } cases[] = {
        {"log", "fmt", flip_record, "identity of the data directory cannot be read"},
        {"log", "fmt", drop_record, "identity of the data directory cannot be read"},
        {"log", "hs", flip_record, "term and vote cannot be read"},
        {"log", "hs", drop_record, "term and vote cannot be read"},
        {"log", "boot", flip_record, "start counter cannot be read"},
        {"log", "boot", drop_record, "start counter cannot be read"},
        {"log", "log", drop_database, "the log cannot be opened"},
        {"state", "fmt", flip_record, "identity of the data directory cannot be read"},
        {"state", "fmt", drop_record, "identity of the data directory cannot be read"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char dir[PATH_MAX];
        char name[16];
        char record[8];

        (void)snprintf(name, sizeof name, "case%zu", i);
        (void)snprintf(record, sizeof record, "%s", cases[i].record);
        fixture_path(dir, sizeof dir, *state, name);
        fixture_fill(dir);
        fixture_edit(dir, cases[i].env, cases[i].edit, record);
        assert_corrupt(dir, cases[i].word);
        assert_corrupt(dir, cases[i].word); /* and stays refused */
    }
}

/* Amnesia before the first entry is amnesia too: a vote may have been the only thing saved. */
static void a_missing_vote_without_entries_is_refused(void **state)
{
    char record[] = "hs";
    struct store_info info;

    store_close(fixture_open(*state, &info));
    fixture_edit(*state, "log", drop_record, record);
    assert_corrupt(*state, "must not take part again");
}

static void put_foreign(MDB_txn *txn, MDB_dbi named, void *arg)
{
    MDB_val key = {3, arg};
    MDB_val value = {3, arg};

    assert_int_equal(mdb_put(txn, named, &key, &value, 0), 0);
}

static void a_foreign_environment_is_refused(void **state)
{
    char path[PATH_MAX];
    char word[] = "abc";

    fixture_path(path, sizeof path, *state, "log");
    assert_int_equal(mkdir(path, 0700), 0);
    fixture_edit(*state, "log", put_foreign, word);
    assert_corrupt(*state, "the record is missing");
}

/* ---- Versions ---- */

static void raise_format(MDB_txn *txn, MDB_dbi named, void *arg)
{
    struct store_identity identity;
    uint8_t record[STORE_IDENTITY_SIZE];
    char name[] = STORE_NAME_FMT;
    MDB_val key = {strlen(name), name};
    MDB_val value;

    assert_int_equal(mdb_get(txn, named, &key, &value), 0);
    assert_null(store_record_get_identity(value.mv_data, value.mv_size, &identity));
    identity.format = *(const uint32_t *)arg;
    store_record_put_identity(&identity, record);
    value = (MDB_val){STORE_IDENTITY_SIZE, record};
    assert_int_equal(mdb_put(txn, named, &key, &value, 0), 0);
}

/* Nor is it looked into, or forgotten, where only half of it is of that format. */
static void assert_offline_refused(const char *dir)
{
    struct store_offline *o;
    raft_id id;

    fixture_capture_begin();
    assert_int_equal(store_offline_open(dir, false, &o), -RD_EFORMAT);
    assert_int_equal(store_offline_reset(dir, &id), -RD_EFORMAT);
    assert_null(strstr(fixture_capture_end(), "reset --force"));
    assert_false(store_offline_is_half_reset(dir));
}

/* It is told from damage: who goes back to an older raftd is told which one to go back to. */
static void a_later_format_is_refused_by_its_number(void **state)
{
    uint32_t later = STORE_FORMAT + 1;
    struct store_config config = fixture_config(*state);

    config.version = "7.8.9";
    fixture_fill(*state);
    assert_int_equal(fixture_open_code(&config), 0);
    fixture_edit(*state, "log", raise_format, &later);
    assert_offline_refused(*state);
    fixture_edit(*state, "state", raise_format, &later);
    assert_refused(&config, -RD_EFORMAT, "a format that this raftd does not read");
    assert_refused(&config, -RD_EFORMAT, "format=2 reads_from=1 reads_to=1 used_by=7.8.9");
}

static void who_used_it_before_is_remembered(void **state)
{
    struct store_config config = fixture_config(*state);
    char record[] = STORE_NAME_USED;
    struct store_info info;

    fixture_fill(*state);
    store_close(fixture_open(*state, &info));
    assert_string_equal(info.used_by, "0.0.1");
    assert_int_equal(info.format, STORE_FORMAT);
    config.version = "0.0.2";
    log_set_level(LOG_NOTICE);
    fixture_capture_begin();
    int code = fixture_open_code(&config);
    const char *text = fixture_capture_end();
    log_set_level(LOG_WARNING);
    assert_int_equal(code, 0);
    assert_non_null(strstr(text, "another version of raftd used this data directory before "
                                 "before=0.0.1 now=0.0.2 format=1"));
    store_close(fixture_open(*state, &info));
    assert_string_equal(info.used_by, "0.0.2");
    fixture_edit(*state, "log", flip_record, record); /* nothing rests on it */
    store_close(fixture_open(*state, &info));
    assert_string_equal(info.used_by, "");
    fixture_edit(*state, "log", drop_record, record); /* as a raftd that did not have it left it */
    store_close(fixture_open(*state, &info));
    assert_string_equal(info.used_by, "");
}

#define WITH_DIR(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIR(another_node_id_is_refused),
        WITH_DIR(environments_of_two_stores_are_refused),
        WITH_DIR(a_lost_half_is_refused),
        WITH_DIR(a_lost_log_is_refused),
        WITH_DIR(a_half_made_store_is_completed),
        WITH_DIR(an_unfinished_log_is_started_over),
        WITH_DIR(damaged_records_are_refused),
        WITH_DIR(a_missing_vote_without_entries_is_refused),
        WITH_DIR(a_foreign_environment_is_refused),
        WITH_DIR(a_later_format_is_refused_by_its_number),
        WITH_DIR(who_used_it_before_is_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
