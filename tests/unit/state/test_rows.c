#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "build.h"
#include "state/rows.h"

/* What stands on disks already: these bytes may never change. */
static const uint8_t GOLDEN_KEY[] = {'k', 'n', 'a', 'm', 'e'};
static const uint8_t GOLDEN_KEY_VALUE[] = {
    1,                                /* format */
    3,   0,   0,   0,   0,   0, 0, 0, /* create_revision */
    0,   1,   0,   0,   0,   0, 0, 0, /* mod_revision */
    2,   0,   0,   0,   0,   0, 0, 0, /* version */
    'v', 'a', 'l', 'u', 'e',
};
static const uint8_t GOLDEN_REQUEST[] = {'r', 1, 2, 3, 4, 0x0f, 0xff}; /* slot 4095 */
static const uint8_t GOLDEN_REQUEST_VALUE[] = {
    1,    0,                                        /* format, succeeded */
    0x02, 0xfc, 0xff, 0xff,                         /* -1022: conflict */
    9,    0,    0,    0,                            /* deleted */
    0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, /* incarnation */
    0xff, 0x1f, 0,    0,    0,    0,    0,    0,    /* seq 8191 */
    0x00, 0x1f, 0,    0,    0,    0,    0,    0,    /* floor */
    11,   0,    0,    0,    0,    0,    0,    0,    /* revision */
    12,   0,    0,    0,    0,    0,    0,    0,    /* index */
    13,   0,    0,    0,    0,    0,    0,    0,    /* term */
    14,   0,    0,    0,    0,    0,    0,    0,    /* actual */
};

static void assert_row(const struct state_rows *rows, uint32_t at, const void *key, size_t key_size,
                       const void *value, size_t value_size)
{
    const struct state_row *row = &rows->rows[at];

    assert_true(at < rows->count);
    assert_int_equal(row->key_size, key_size);
    assert_memory_equal(rows->bytes.data + row->key_at, key, key_size);
    assert_int_equal(row->deleted, value == NULL);
    if (value) {
        assert_int_equal(row->value_size, value_size);
        assert_memory_equal(rows->bytes.data + row->value_at, value, value_size);
    }
}

static void key_rows_are_stable(void **unused)
{
    struct state_op op = op_put("name", "value");
    struct state_rows rows = {0};
    struct kv_map m;

    (void)unused;
    kv_map_init(&m);
    kv_put(&m, &op, 3);
    rows_put_key(&rows, kv_put(&m, &op, 256));
    rows_delete_key(&rows, "name", 4);
    assert_int_equal(rows.count, 2);
    assert_row(&rows, 0, GOLDEN_KEY, sizeof GOLDEN_KEY, GOLDEN_KEY_VALUE, sizeof GOLDEN_KEY_VALUE);
    assert_row(&rows, 1, GOLDEN_KEY, sizeof GOLDEN_KEY, NULL, 0);
    state_rows_done(&rows);
    kv_map_done(&m);
}

static const struct state_row *row_of(const struct state_rows *rows, const char *name)
{
    const struct state_row *found = NULL;

    for (uint32_t i = 0; i < rows->count; i++) {
        const struct state_row *row = &rows->rows[i];
        if (row->key_size == strlen(name) + 1 &&
            memcmp(rows->bytes.data + row->key_at + 1, name, strlen(name)) == 0) {
            assert_null(found); /* one of each */
            found = row;
        }
    }
    return found;
}

static void compacted_rows_mean_the_same(void **unused)
{
    static const char *const names[] = {"a", "b", "aa", "a", "c", "b", "a"};
    struct state_rows rows = {0};
    struct kv_map m;
    uint64_t revision = 0;

    (void)unused;
    state_rows_compact(&rows); /* none */
    assert_int_equal(rows.count, 0);
    kv_map_init(&m);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct state_op op = op_put(names[i], i == 6 ? "last" : "value");
        rows_put_key(&rows, kv_put(&m, &op, ++revision));
    }
    rows_delete_key(&rows, "b", 1);
    for (int i = 0; i < 2; i++) { /* a second time changes nothing */
        state_rows_compact(&rows);
        assert_int_equal(rows.count, 4);
        assert_true(row_of(&rows, "b")->deleted);
        const struct state_row *a = row_of(&rows, "a");
        assert_memory_equal(rows.bytes.data + a->value_at + a->value_size - 4, "last", 4);
        assert_false(row_of(&rows, "aa")->deleted);
        assert_non_null(row_of(&rows, "c"));
    }
    state_rows_done(&rows);
    kv_map_done(&m);
}

static void key_rows_parse(void **unused)
{
    struct state_kv kv = {0};

    (void)unused;
    assert_int_equal(rows_parse_key(GOLDEN_KEY, sizeof GOLDEN_KEY, GOLDEN_KEY_VALUE,
                                    sizeof GOLDEN_KEY_VALUE, &kv),
                     0);
    assert_int_equal(kv.key_size, 4);
    assert_memory_equal(kv.key, "name", 4);
    assert_int_equal(kv.value_size, 5);
    assert_memory_equal(kv.value, "value", 5);
    assert_int_equal(kv.create_revision, 3);
    assert_int_equal(kv.mod_revision, 256);
    assert_int_equal(kv.version, 2);
    /* an empty value ends where the fixed part does */
    assert_int_equal(rows_parse_key(GOLDEN_KEY, 2, GOLDEN_KEY_VALUE, 25, &kv), 0);
    assert_int_equal(kv.key_size, 1);
    assert_int_equal(kv.value_size, 0);
}

static int parse_key(const void *key, size_t key_size, const void *value, size_t value_size)
{
    struct state_kv kv;

    return rows_parse_key(key, key_size, value, value_size, &kv);
}

static void key_rows_that_were_never_written_are_refused(void **unused)
{
    uint8_t key[ROW_KEY_MAX + 1] = {ROW_KEY};
    uint8_t *value = mem_zalloc(25 + STATE_VALUE_MAX + 1);

    (void)unused;
    value[0] = 1;
    assert_int_equal(parse_key(key, ROW_KEY_MAX, value, 25 + STATE_VALUE_MAX), 0);
    assert_int_equal(parse_key(key, ROW_KEY_MAX + 1, value, 25), -RD_ECORRUPT);
    assert_int_equal(parse_key(key, ROW_KEY_MAX, value, 25 + STATE_VALUE_MAX + 1), -RD_ECORRUPT);
    assert_int_equal(parse_key(key, 1, value, 25), -RD_ECORRUPT);
    assert_int_equal(parse_key(key, 0, value, 25), -RD_ECORRUPT);
    for (size_t size = 0; size < 25; size++) {
        assert_int_equal(parse_key(key, 2, value, size), -RD_ECORRUPT);
    }
    value[0] = 2;
    assert_int_equal(parse_key(key, 2, value, 25), -RD_ECORRUPT);
    value[0] = 1;
    key[0] = ROW_REQUEST;
    assert_int_equal(parse_key(key, 2, value, 25), -RD_ECORRUPT);
    mem_free(value);
}

static void request_rows_are_stable(void **unused)
{
    struct request_id id = {0x01020304, 0x1112131415161718U, 8191, 5}, back = {0};
    struct state_result r = {
        .code = -RD_ECONFLICT, .revision = 11, .index = 12, .term = 13, .actual = 14, .deleted = 9};
    struct state_result r_back = {.repeated = true};
    struct state_rows rows = {0};

    (void)unused;
    rows_put_request(&rows, &id, 0x1f00, &r); /* the window's floor, not the request's */
    assert_int_equal(rows.count, 1);
    assert_row(&rows, 0, GOLDEN_REQUEST, sizeof GOLDEN_REQUEST, GOLDEN_REQUEST_VALUE,
               sizeof GOLDEN_REQUEST_VALUE);
    assert_int_equal(rows_parse_request(GOLDEN_REQUEST, sizeof GOLDEN_REQUEST, GOLDEN_REQUEST_VALUE,
                                        sizeof GOLDEN_REQUEST_VALUE, &back, &r_back),
                     0);
    assert_true(back.node == id.node && back.incarnation == id.incarnation && back.seq == id.seq);
    assert_int_equal(back.floor, 0x1f00);
    assert_int_equal(r_back.code, -RD_ECONFLICT);
    assert_false(r_back.repeated);
    assert_false(r_back.succeeded);
    assert_int_equal(r_back.revision, 11);
    assert_int_equal(r_back.index, 12);
    assert_int_equal(r_back.term, 13);
    assert_int_equal(r_back.actual, 14);
    assert_int_equal(r_back.deleted, 9);
    state_rows_done(&rows);
}

static int parse_request(const uint8_t *key, size_t key_size, const uint8_t *value,
                         size_t value_size)
{
    struct request_id id;
    struct state_result result;

    return rows_parse_request(key, key_size, value, value_size, &id, &result);
}

static void request_rows_that_were_never_written_are_refused(void **unused)
{
    enum { KEY_SIZE = sizeof GOLDEN_REQUEST, VALUE_SIZE = sizeof GOLDEN_REQUEST_VALUE };
    static const struct {
        bool in_key;
        size_t at;
        uint8_t value;
    } damage[] = {{true, 0, 'x'}, {true, 5, 0x1f}, {true, 6, 0xfe},
                  {false, 0, 0},  {false, 1, 2},   {false, 18, 0xfe}};
    uint8_t key[KEY_SIZE + 1], value[VALUE_SIZE + 1];

    (void)unused;
    for (size_t i = 0; i < sizeof damage / sizeof *damage; i++) {
        memcpy(key, GOLDEN_REQUEST, KEY_SIZE);
        memcpy(value, GOLDEN_REQUEST_VALUE, VALUE_SIZE);
        *(damage[i].in_key ? &key[damage[i].at] : &value[damage[i].at]) = damage[i].value;
        assert_int_equal(parse_request(key, KEY_SIZE, value, VALUE_SIZE), -RD_ECORRUPT);
    }
    memcpy(key, GOLDEN_REQUEST, KEY_SIZE);
    memcpy(value, GOLDEN_REQUEST_VALUE, VALUE_SIZE);
    for (size_t size = 0; size < KEY_SIZE; size++) {
        assert_int_equal(parse_request(key, size, value, VALUE_SIZE), -RD_ECORRUPT);
    }
    for (size_t size = 0; size < VALUE_SIZE; size++) {
        assert_int_equal(parse_request(key, KEY_SIZE, value, size), -RD_ECORRUPT);
    }
    key[KEY_SIZE] = value[VALUE_SIZE] = 0;
    assert_int_equal(parse_request(key, KEY_SIZE + 1, value, VALUE_SIZE), -RD_ECORRUPT);
    assert_int_equal(parse_request(key, KEY_SIZE, value, VALUE_SIZE + 1), -RD_ECORRUPT);
    memset(key + 1, 0, 4); /* node 0 has no window */
    assert_int_equal(parse_request(key, KEY_SIZE, value, VALUE_SIZE), -RD_ECORRUPT);
}

static void rows_grow_and_clear(void **unused)
{
    struct state_rows rows = {0};

    (void)unused;
    for (uint32_t i = 0; i < 1000; i++) {
        rows_delete_key(&rows, &i, sizeof i);
    }
    assert_int_equal(rows.count, 1000);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_memory_equal(rows.bytes.data + rows.rows[i].key_at + 1, &i, sizeof i);
    }
    state_rows_clear(&rows);
    assert_int_equal(rows.count, 0);
    assert_int_equal(rows.bytes.size, 0);
    state_rows_done(&rows);
    assert_null(rows.rows);
    assert_null(rows.bytes.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(key_rows_are_stable),
        cmocka_unit_test(compacted_rows_mean_the_same),
        cmocka_unit_test(key_rows_parse),
        cmocka_unit_test(key_rows_that_were_never_written_are_refused),
        cmocka_unit_test(request_rows_are_stable),
        cmocka_unit_test(request_rows_that_were_never_written_are_refused),
        cmocka_unit_test(rows_grow_and_clear),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
