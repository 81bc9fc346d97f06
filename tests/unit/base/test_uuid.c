#include "fixture.h"

#include "base/uuid.h"

static const struct uuid sample = {{0x00, 0x01, 0x0a, 0x10, 0x7f, 0x80, 0x9f, 0xa0, 0xbc, 0xde,
                                    0xef, 0xf0, 0xff, 0x55, 0xaa, 0x42}};

static void none_is_all_zero(void **state)
{
    struct uuid u = {{0}};

    (void)state;
    assert_false(uuid_is_set(&u));
    for (size_t i = 0; i < sizeof u.bytes; i++) {
        u.bytes[i] = 1;
        assert_true(uuid_is_set(&u));
        u.bytes[i] = 0;
    }
}

static void every_byte_counts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof sample.bytes; i++) {
        struct uuid other = sample;
        assert_true(uuid_equal(&other, &sample));
        other.bytes[i] ^= 0x80;
        assert_false(uuid_equal(&other, &sample));
    }
}

static void text_is_lower_case_hex(void **state)
{
    char text[UUID_TEXT_SIZE + 1];

    (void)state;
    memset(text, '!', sizeof text);
    uuid_text(&sample, text);
    assert_string_equal(text, "00010a107f809fa0bcdeeff0ff55aa42");
    assert_int_equal(text[UUID_TEXT_SIZE], '!');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(none_is_all_zero),
        cmocka_unit_test(every_byte_counts),
        cmocka_unit_test(text_is_lower_case_hex),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
