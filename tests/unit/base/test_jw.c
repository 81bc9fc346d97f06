#include "fixture.h"

#include <math.h>

#include "base/jw.h"
#include "base/mem.h"

static struct buf out;

static int begin(void **state)
{
    (void)state;
    buf_done(&out);
    return 0;
}

static struct jw fresh(void)
{
    out.size = 0;
    return jw_begin(&out);
}

static void values_and_commas(void **state)
{
    struct jw j = fresh();

    (void)state;
    jw_object(&j, NULL);
    jw_u64(&j, "u", UINT64_MAX);
    jw_i64(&j, "i", INT64_MIN);
    jw_bool(&j, "t", true);
    jw_bool(&j, "f", false);
    jw_null(&j, "n");
    jw_str(&j, "s", "x");
    jw_str(&j, "e", "");
    jw_str(&j, "z", NULL);
    jw_str_or_null(&j, "o", "");
    jw_str_or_null(&j, "p", NULL);
    jw_str_or_null(&j, "q", "y");
    jw_object_end(&j);
    assert_string_equal(buf_str(&out),
                        "{\"u\":18446744073709551615,\"i\":-9223372036854775808,\"t\":true,"
                        "\"f\":false,\"n\":null,\"s\":\"x\",\"e\":\"\",\"z\":null,\"o\":null,"
                        "\"p\":null,\"q\":\"y\"}");
}

static void doubles_have_one_decimal(void **state)
{
    struct jw j = fresh();

    (void)state;
    jw_array(&j, NULL);
    jw_double(&j, NULL, 1.25);
    jw_double(&j, NULL, -0.06);
    jw_double(&j, NULL, 1e15);
    jw_double(&j, NULL, (double)NAN);
    jw_double(&j, NULL, (double)INFINITY);
    jw_array_end(&j);
    assert_string_equal(buf_str(&out), "[1.2,-0.1,1000000000000000.0,null,null]");
}

static void nesting(void **state)
{
    struct jw j = fresh();

    (void)state;
    jw_object(&j, NULL);
    jw_array(&j, "a");
    jw_array_end(&j);
    jw_object(&j, "b");
    jw_object_end(&j);
    jw_array(&j, "c");
    jw_u64(&j, NULL, 1);
    jw_object(&j, NULL);
    jw_u64(&j, "d", 2);
    jw_object_end(&j);
    jw_array(&j, NULL);
    jw_str(&j, NULL, "deep");
    jw_array_end(&j);
    jw_u64(&j, NULL, 3);
    jw_array_end(&j);
    jw_u64(&j, "e", 4);
    jw_object_end(&j);
    assert_string_equal(buf_str(&out),
                        "{\"a\":[],\"b\":{},\"c\":[1,{\"d\":2},[\"deep\"],3],\"e\":4}");
}

static void assert_string(const void *v, size_t size, const char *expected)
{
    struct jw j = fresh();

    jw_strn(&j, NULL, v, size);
    assert_string_equal(buf_str(&out), expected);
}

static void escapes(void **state)
{
    (void)state;
    assert_string("\"\\/", 3, "\"\\\"\\\\/\"");
    assert_string("\b\f\n\r\t", 5, "\"\\b\\f\\n\\r\\t\"");
    assert_string("a\0b\x01\x1f\x7f", 6, "\"a\\u0000b\\u0001\\u001f\\u007f\"");
    assert_string("\xc3\xa9\xf0\x9f\x98\x80", 6, "\"\xc3\xa9\xf0\x9f\x98\x80\"");
    assert_string("", 0, "\"\"");
    /* never malformed output, whatever the bytes */
    assert_string("a\xff\xc3", 3, "\"a\\ufffd\\ufffd\"");
}

static void assert_bytes(const void *v, size_t size, const char *expected)
{
    struct jw j = fresh();

    jw_object(&j, NULL);
    jw_u64(&j, "n", 1);
    jw_bytes(&j, "v", v, size);
    jw_u64(&j, "m", 2);
    jw_object_end(&j);
    assert_string_equal(buf_str(&out), expected);
}

/* RFC 4648 section 10, shifted to bytes that are not UTF-8. */
static void bytes_are_text_or_base64(void **state)
{
    (void)state;
    assert_bytes("", 0, "{\"n\":1,\"v\":\"\",\"m\":2}");
    assert_bytes("ab\n", 3, "{\"n\":1,\"v\":\"ab\\n\",\"m\":2}");
    assert_bytes("\xff", 1, "{\"n\":1,\"v_base64\":\"/w==\",\"m\":2}");
    assert_bytes("\xff\xef", 2, "{\"n\":1,\"v_base64\":\"/+8=\",\"m\":2}");
    assert_bytes("\xff\xef\xbe", 3, "{\"n\":1,\"v_base64\":\"/+++\",\"m\":2}");
    assert_bytes("\xff\0\0\0", 4, "{\"n\":1,\"v_base64\":\"/wAAAA==\",\"m\":2}");
    assert_bytes("foobar\xfb", 7, "{\"n\":1,\"v_base64\":\"Zm9vYmFy+w==\",\"m\":2}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(values_and_commas, begin),
        cmocka_unit_test_setup(doubles_have_one_decimal, begin),
        cmocka_unit_test_setup(nesting, begin),
        cmocka_unit_test_setup(escapes, begin),
        cmocka_unit_test_setup_teardown(bytes_are_text_or_base64, begin, begin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
