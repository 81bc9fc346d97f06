#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/prng.h"
#include "build.h"
#include "state/kv.h"

#define GOLDEN_KV_DIGEST 0x109ae30a0d243829U

static struct kv_item *put(struct kv_map *m, const char *key, const char *value, uint64_t revision)
{
    struct state_op op = op_put(key, value);

    return kv_put(m, &op, revision);
}

static void put_keeps_revisions_and_version(void **unused)
{
    struct kv_map m;

    (void)unused;
    kv_map_init(&m);
    struct kv_item *item = put(&m, "k", "one", 5);
    assert_int_equal(item->create_revision, 5);
    assert_int_equal(item->mod_revision, 5);
    assert_int_equal(item->version, 1);
    assert_ptr_equal(put(&m, "k", "a longer value than before", 9), item);
    assert_int_equal(item->create_revision, 5);
    assert_int_equal(item->mod_revision, 9);
    assert_int_equal(item->version, 2);
    assert_memory_equal(item->value, "a longer value than before", item->value_size);
    kv_map_done(&m);
}

static void count_bytes_and_digest_return_to_nothing(void **unused)
{
    struct kv_map m;

    (void)unused;
    kv_map_init(&m);
    put(&m, "key", "12345", 1);
    assert_int_equal(m.count, 1);
    assert_int_equal(m.bytes, STATE_KEY_COST + 3 + 5);
    uint64_t digest = m.digest;
    put(&m, "other", "", 2);
    assert_int_equal(m.bytes, 2 * STATE_KEY_COST + 3 + 5 + 5);
    kv_remove(&m, kv_find(&m, "other", 5));
    assert_true(m.digest == digest);
    kv_remove(&m, kv_find(&m, "key", 3));
    assert_int_equal(m.count, 0);
    assert_int_equal(m.bytes, 0);
    assert_true(m.digest == 0);
    assert_null(kv_find(&m, "key", 3));
    kv_map_done(&m);
}

static void digest_sees_every_field(void **unused)
{
    static const struct state_kv base = {.key = (const uint8_t *)"k",
                                         .key_size = 1,
                                         .value = (const uint8_t *)"v",
                                         .value_size = 1,
                                         .create_revision = 1,
                                         .mod_revision = 2,
                                         .version = 2};
    uint64_t seen[7];

    (void)unused;
    for (int i = 0; i < 7; i++) {
        struct state_kv kv = base;
        struct kv_map m;

        kv.key = i == 1 ? (const uint8_t *)"K" : kv.key;
        kv.value = i == 2 ? (const uint8_t *)"V" : kv.value;
        kv.value_size = i == 3 ? 0 : 1;
        kv.create_revision += i == 4;
        kv.mod_revision += i == 5;
        kv.version += i == 6;
        kv_map_init(&m);
        assert_int_equal(kv_restore(&m, &kv), 0);
        seen[i] = m.digest;
        kv_map_done(&m);
        for (int earlier = 0; earlier < i; earlier++) {
            assert_true(seen[earlier] != seen[i]);
        }
    }
}

/* The digest stands on disk: what it is of these rows may not change. */
static void digest_is_stable(void **unused)
{
    struct kv_map m;

    (void)unused;
    kv_map_init(&m);
    put(&m, "a key", "a value", 1);
    put(&m, "b", "", 2);
    print_message("digest %#llx\n", (unsigned long long)m.digest);
    assert_true(m.digest == GOLDEN_KV_DIGEST);
    kv_map_done(&m);
}

static void restore_refuses_a_second_key(void **unused)
{
    struct state_kv kv = {.key = (const uint8_t *)"k", .key_size = 1, .version = 1};
    struct kv_map m;

    (void)unused;
    kv_map_init(&m);
    assert_int_equal(kv_restore(&m, &kv), 0);
    assert_int_equal(kv_restore(&m, &kv), -RD_ECORRUPT);
    assert_int_equal(m.count, 1);
    kv_map_done(&m);
}

/* Values that shrink, grow and vanish keep their bytes and do not hoard memory. */
static void values_fit_their_memory(void **unused)
{
    static const size_t sizes[] = {0, 1, 100, 90, 5, 0, 300, 299, 10, 4000, 1, 0, 0};
    struct kv_map m;
    char value[4001];

    (void)unused;
    kv_map_init(&m);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        memset(value, (int)('a' + i), sizes[i]);
        value[sizes[i]] = 0;
        const struct kv_item *item = put(&m, "k", value, i + 1);
        assert_int_equal(item->value_size, sizes[i]);
        if (sizes[i]) {
            assert_memory_equal(item->value, value, sizes[i]);
        }
        assert_in_range(item->value_capacity, sizes[i], 2 * sizes[i] + 200);
    }
    assert_int_equal(m.bytes, STATE_KEY_COST + 1);
    kv_map_done(&m);
}

static void order_is_that_of_bytes(void **unused)
{
    /* each above the one before: prefixes first, bytes as unsigned numbers, NUL counts */
    static const struct {
        const char *bytes;
        size_t size;
    } keys[] = {{"\0", 1}, {"\0\0", 2}, {"a", 1},    {"a\0", 2},  {"a\0b", 3},   {"ab", 2},
                {"b", 1},  {"\x7f", 1}, {"\x80", 1}, {"\xff", 1}, {"\xff\0", 2}, {"\xff\xff", 2}};
    enum { COUNT = sizeof keys / sizeof *keys };
    struct kv_map m;

    (void)unused;
    kv_map_init(&m);
    for (size_t i = 0; i < COUNT; i++) {
        size_t at = (i * 5) % COUNT;
        struct state_op op = {STATE_OP_PUT, (const uint8_t *)keys[at].bytes,
                              (uint16_t)keys[at].size, NULL, 0};
        kv_put(&m, &op, i + 1);
    }
    struct kv_item *item = kv_lower_bound(&m, NULL, 0);
    for (size_t i = 0; i < COUNT; i++, item = kv_next(item)) {
        assert_non_null(item);
        assert_int_equal(item->key_size, keys[i].size);
        assert_memory_equal(item->key, keys[i].bytes, keys[i].size);
        assert_ptr_equal(kv_lower_bound(&m, keys[i].bytes, keys[i].size), item);
        assert_ptr_equal(kv_find(&m, keys[i].bytes, keys[i].size), item);
    }
    assert_null(item);
    item = kv_lower_bound(&m, "aa", 2);
    assert_memory_equal(item->key, "ab", 2);
    assert_null(kv_lower_bound(&m, "\xff\xff\0", 3));
    assert_null(kv_find(&m, "aa", 2));
    kv_map_done(&m);
}

static void many_keys_stay_in_order(void **unused)
{
    enum { KEYS = 2000 };
    const uint64_t seed = 0x5eed0002;
    struct kv_map m;
    struct prng p;
    uint64_t count = 0;

    (void)unused;
    print_message("seed %#llx\n", (unsigned long long)seed);
    prng_seed(&p, seed);
    kv_map_init(&m);
    for (uint64_t i = 0; i < 4 * KEYS; i++) {
        char key[16];
        snprintf(key, sizeof key, "key%04u", (unsigned)prng_range(&p, 0, KEYS));
        struct kv_item *item = kv_find(&m, key, strlen(key));
        if (item && prng_chance(&p, 500000)) {
            kv_remove(&m, item);
        } else {
            put(&m, key, key, i + 1);
        }
    }
    const struct kv_item *before = NULL;
    for (struct kv_item *item = kv_lower_bound(&m, "", 0); item; item = kv_next(item)) {
        assert_true(!before || memcmp(before->key, item->key, 7) < 0);
        before = item;
        count++;
    }
    assert_in_range(count, KEYS / 4, KEYS);
    assert_int_equal(count, m.count);
    kv_map_done(&m);
    assert_int_equal(m.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(put_keeps_revisions_and_version),
        cmocka_unit_test(count_bytes_and_digest_return_to_nothing),
        cmocka_unit_test(digest_sees_every_field),
        cmocka_unit_test(digest_is_stable),
        cmocka_unit_test(restore_refuses_a_second_key),
        cmocka_unit_test(values_fit_their_memory),
        cmocka_unit_test(order_is_that_of_bytes),
        cmocka_unit_test(many_keys_stay_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
