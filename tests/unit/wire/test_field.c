#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/err.h"
#include "base/units.h"
#include "samples.h"
#include "wire/field.h"

static void assert_mended(const char *in, size_t size_max, const char *expected)
{
    char text[64];
    size_t size = strlen(in);

    memcpy(text, in, size + 1);
    size_t kept = field_mend_text(text, size, size_max);
    text[kept] = 0;
    assert_string_equal(text, expected);
    assert_true(units_is_utf8(text, kept));
}

static void test_mend_text(void **arg)
{
    (void)arg;
    assert_mended("", 10, "");
    assert_mended("plain", 10, "plain");
    assert_mended("plain", 3, "pla");
    assert_mended("caf\xc3\xa9", 10, "caf\xc3\xa9");
    assert_mended("caf\xc3\xa9", 4, "caf");     /* cut after one of two bytes */
    assert_mended("a\xe2\x82\xac", 3, "a");     /* two of three */
    assert_mended("a\xf0\x9f\x98\x80", 4, "a"); /* three of four */
    assert_mended("\xc3", 10, "");              /* came cut */
    assert_mended("a\xff"
                  "b",
                  10, "a?b");                   /* not UTF-8 at all */
    assert_mended("\xc3\xa9\xffz", 10, "???z"); /* then no byte above 0x7f stays */
    assert_mended("\x80\x80\x80\x80", 10, "????");
    assert_mended("\xc3\xa9", 0, "");
}

static void test_is_text(void **arg)
{
    ProtobufCBinaryData empty = {0, NULL};
    ProtobufCBinaryData plain = field_view("abc", 3);
    ProtobufCBinaryData nul = field_view("a\0c", 3);
    ProtobufCBinaryData latin = field_view("\xe9", 1);

    (void)arg;
    assert_true(field_is_text(&empty));
    assert_true(field_is_text(&plain));
    assert_false(field_is_text(&nul));
    assert_false(field_is_text(&latin));
}

static void test_uuid(void **arg)
{
    struct uuid none = {{0}}, some = {{0}};
    ProtobufCBinaryData zeros = field_view(none.bytes, 16);
    ProtobufCBinaryData shorter = field_view("0123456789abcde", 15);

    (void)arg;
    some.bytes[15] = 1;
    assert_int_equal(field_uuid(&none).len, 0);
    ProtobufCBinaryData b = field_uuid(&some);
    assert_int_equal(b.len, 16);
    assert_true(field_is_uuid(&b));
    struct uuid back = field_copy_uuid(&b);
    assert_true(uuid_equal(&back, &some));
    assert_false(field_is_uuid(&zeros));
    assert_false(field_is_uuid(&shorter));
    b.len = 0;
    assert_true(field_is_uuid(&b));
    back = field_copy_uuid(&b);
    assert_false(uuid_is_set(&back));
}

static void test_text(void **arg)
{
    char array[4] = "abc", copy[4];
    ProtobufCBinaryData b = field_text(array, sizeof array);

    (void)arg;
    assert_int_equal(b.len, 3);
    field_copy_text(&b, copy);
    assert_string_equal(copy, "abc");
    b = (ProtobufCBinaryData){0, NULL};
    field_copy_text(&b, copy);
    assert_string_equal(copy, "");
}

static void test_numbers_and_codes(void **arg)
{
    (void)arg;
    assert_true(field_is_number(0));
    assert_true(field_is_number(INT64_MAX));
    assert_false(field_is_number((uint64_t)INT64_MAX + 1));
    assert_false(field_is_number(UINT64_MAX));
    assert_true(field_is_code(0));
    assert_true(field_is_code(RD_ENOT_LEADER));
    assert_true(field_is_code(RD_EDAEMON));
    assert_false(field_is_code(1));
    assert_false(field_is_code(1000));
    assert_false(field_is_code(RD_EINVALID + 1));
    assert_false(field_is_code(UINT32_MAX));
}

static void test_blob(void **arg)
{
    (void)arg;
    assert_null(field_copy_blob((const uint8_t *)"x", 0));
    struct blob *b = field_copy_blob((const uint8_t *)"xy", 2);
    assert_int_equal(b->size, 2);
    assert_memory_equal(b->data, "xy", 2);
    blob_unref(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mend_text),
        cmocka_unit_test(test_is_text),
        cmocka_unit_test(test_uuid),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_numbers_and_codes),
        cmocka_unit_test(test_blob),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
