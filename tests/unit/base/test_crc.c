#include "fixture.h"

/* The source itself: the way for processors without the instruction is private to it. */
#include "base/crc.c"
#include "base/prng.h"

/* RFC 3720 B.4, and the usual one. */
static void crc32c_vectors(void **state)
{
    uint8_t bytes[32];

    (void)state;
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283U);
    assert_int_equal(crc32c(0, "", 0), 0);
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(crc32c(0, bytes, sizeof bytes), 0x8a9136aaU);
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(crc32c(0, bytes, sizeof bytes), 0x62a8ab43U);
    for (uint8_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = i;
    }
    assert_int_equal(crc32c(0, bytes, sizeof bytes), 0x46dd794eU);
    for (uint8_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(31 - i);
    }
    assert_int_equal(crc32c(0, bytes, sizeof bytes), 0x113fdb5cU);
}

static void crc32c_continues(void **state)
{
    (void)state;
    for (size_t cut = 0; cut <= 9; cut++) {
        uint32_t crc = crc32c(0, "123456789", cut);
        assert_int_equal(crc32c(crc, &"123456789"[cut], 9 - cut), 0xe3069283U);
    }
}

/* The instruction and the table say the same, for each size and alignment. */
static void the_table_agrees(void **state)
{
    uint8_t bytes[80];
    struct prng p;

    (void)state;
    prng_seed(&p, 1);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)prng_next(&p);
    }
    assert_int_equal(~crc_table(~0U, (const uint8_t *)"123456789", 9), 0xe3069283U);
    for (size_t start = 0; start < 8; start++) {
        for (size_t size = 0; size <= 64; size++) {
            uint32_t seed = (uint32_t)prng_next(&p);
            assert_int_equal(crc32c(seed, bytes + start, size),
                             ~crc_table(~seed, bytes + start, size));
        }
    }
}

/* On disk: these numbers must never change. */
static void hash64_is_stable(void **state)
{
    (void)state;
    assert_int_equal(hash64(0, "", 0), 0x79ea3ccda4fd92d5U);
    assert_int_equal(hash64(1, "", 0), 0xa3d8dcc5382cd74dU);
    assert_int_equal(hash64(0, "a", 1), 0x5aa596cf59f40d5dU);
    assert_int_equal(hash64(0, "12345678", 8), 0xc233e6ec2a97dd61U);
    assert_int_equal(hash64(0, "123456789", 9), 0xdc45c74b66d8d4d7U);
    assert_int_equal(hash64_mix(0, 0), 0x79ea3ccda4fd92d5U);
    assert_int_equal(hash64_mix(1, 2), 0x3c02330de4c6aa92U);
}

static void hash64_tells_apart(void **state)
{
    uint8_t bytes[24] = {0};
    uint64_t plain = hash64(7, bytes, sizeof bytes);

    (void)state;
    for (size_t bit = 0; bit < sizeof bytes * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        uint64_t other = hash64(7, bytes, sizeof bytes);
        int differ = __builtin_popcountll(plain ^ other);
        assert_in_range(differ, 10, 54);
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    /* trailing zeros count */
    assert_true(hash64(7, bytes, 8) != hash64(7, bytes, 9));
    assert_true(hash64(7, bytes, 0) != hash64(7, bytes, 1));
    assert_true(hash64_mix(1, 2) != hash64_mix(2, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c_vectors),     cmocka_unit_test(crc32c_continues),
        cmocka_unit_test(the_table_agrees),   cmocka_unit_test(hash64_is_stable),
        cmocka_unit_test(hash64_tells_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
