#include "fixture.h"

#include "base/err.h"
#include "base/units.h"

typedef int parse_fn(const char *text, uint64_t *value);

static void assert_parses(parse_fn *parse, const char *text, uint64_t expected)
{
    uint64_t value = 77;

    assert_int_equal(parse(text, &value), 0);
    assert_true(value == expected);
}

static void assert_invalid(parse_fn *parse, const char *text)
{
    uint64_t value = 77;

    assert_int_equal(parse(text, &value), -RD_EINVALID);
    assert_int_equal(value, 77); /* untouched */
}

static void durations(void **state)
{
    static const char *const bad[] = {"",
                                      "500",
                                      "ms",
                                      "-1s",
                                      "+1s",
                                      " 1s",
                                      "1s ",
                                      "1 s",
                                      "1.5s",
                                      "1S",
                                      "1d",
                                      "1sec",
                                      "0x1s",
                                      "1s1s",
                                      "99999999999999999999ms",
                                      "18446744073709552s"};

    (void)state;
    assert_parses(units_parse_duration, "0ms", 0);
    assert_parses(units_parse_duration, "500ms", 500);
    assert_parses(units_parse_duration, "2s", 2000);
    assert_parses(units_parse_duration, "1m", 60000);
    assert_parses(units_parse_duration, "1h", 3600000);
    assert_parses(units_parse_duration, "0010s", 10000);
    assert_parses(units_parse_duration, "18446744073709551615ms", UINT64_MAX);
    assert_parses(units_parse_duration, "18446744073709551s", 18446744073709551000U);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_invalid(units_parse_duration, bad[i]);
    }
}

static void sizes(void **state)
{
    static const char *const bad[] = {
        "",    "K",   "-1",   "+1", " 1",   "1 ",        "1k",
        "1KB", "1Ki", "1.5M", "1P", "0x10", "16777216T", "18446744073709551616"};

    (void)state;
    assert_parses(units_parse_size, "0", 0);
    assert_parses(units_parse_size, "4096", 4096);
    assert_parses(units_parse_size, "64K", 65536);
    assert_parses(units_parse_size, "256M", 256U << 20);
    assert_parses(units_parse_size, "16G", 16ULL << 30);
    assert_parses(units_parse_size, "16777215T", 16777215ULL << 40);
    assert_parses(units_parse_size, "18446744073709551615", UINT64_MAX);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_invalid(units_parse_size, bad[i]);
    }
}

static int parse_3_to_5(const char *text, uint64_t *value)
{
    return units_parse_number(text, 3, 5, value);
}

static int parse_any(const char *text, uint64_t *value)
{
    return units_parse_number(text, 0, UINT64_MAX, value);
}

static void numbers(void **state)
{
    static const char *const bad[] = {"2", "6", "", "4x", "x4", " 4", "4 ", "-4", "+4", "4.0"};

    (void)state;
    assert_parses(parse_3_to_5, "3", 3);
    assert_parses(parse_3_to_5, "5", 5);
    assert_parses(parse_3_to_5, "004", 4);
    assert_parses(parse_any, "18446744073709551615", UINT64_MAX);
    assert_invalid(parse_any, "18446744073709551616");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_invalid(parse_3_to_5, bad[i]);
    }
}

static void assert_address(const char *text, const char *host, uint16_t port)
{
    struct host_port a;

    memset(&a, 0, sizeof a);
    assert_int_equal(units_parse_host_port(text, &a), 0);
    assert_string_equal(a.host, host);
    assert_int_equal(a.port, port);
}

static void addresses(void **state)
{
    (void)state;
    assert_address("10.0.0.1:7400", "10.0.0.1", 7400);
    assert_address("host.example:1", "host.example", 1);
    assert_address("my_host-1:65535", "my_host-1", 65535);
    assert_address("[::1]:7400", "::1", 7400);
    assert_address("[::]:7400", "::", 7400);
    assert_address("[::ffff:10.0.0.1]:1", "::ffff:10.0.0.1", 1);
    assert_address("[fe80::1%eth0]:1", "fe80::1%eth0", 1);
    assert_address("[fe80::1%br-lan.7]:1", "fe80::1%br-lan.7", 1);
    assert_address("[fe80::1%2]:1", "fe80::1%2", 1);
}

static void bad_addresses(void **state)
{
    static const char *const bad[] = {
        "",           "host",        ":1",           "host:",    "host:0",
        "host:65536", "host:-1",     "host:1x",      "host: 1",  " host:1",
        "ho st:1",    "host/x:1",    "::1:7400",     "[]:1",     "[::1]",
        "[::1]7400",  "[::1:7400",   "::1]:7400",    "[host]:1", "[::1%]:1",
        "[%eth0]:1",  "[::1%a/b]:1", "[fe80%a%b]:1", "h%eth0:1", "h\xc3\xa9:1"};
    struct host_port a;
    struct host_port untouched;
    char text[UNITS_HOST_SIZE + 8];

    (void)state;
    memset(&untouched, 0x5a, sizeof untouched);
    a = untouched;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(units_parse_host_port(bad[i], &a), -RD_EINVALID);
        assert_memory_equal(&a, &untouched, sizeof a);
    }
    memset(text, 'h', UNITS_HOST_SIZE);
    memcpy(text + UNITS_HOST_SIZE, ":1", 3);
    assert_int_equal(units_parse_host_port(text, &a), -RD_EINVALID);
    memcpy(text + UNITS_HOST_SIZE - 1, ":1", 3);
    assert_int_equal(units_parse_host_port(text, &a), 0);
    assert_int_equal(strlen(a.host), UNITS_HOST_SIZE - 1);
}

static void wildcards(void **state)
{
    static const char *const wild[] = {"0.0.0.0:1", "[::]:1", "[0::0]:1", "[0:0:0:0:0:0:0:0]:1",
                                       "[::0.0.0.0]:1"};
    static const char *const real[] = {"0.0.0.1:1", "[::1]:1", "host:1", "127.0.0.1:1"};
    struct host_port a;

    (void)state;
    for (size_t i = 0; i < sizeof wild / sizeof wild[0]; i++) {
        assert_int_equal(units_parse_host_port(wild[i], &a), 0);
        assert_true(units_is_wildcard(&a));
    }
    for (size_t i = 0; i < sizeof real / sizeof real[0]; i++) {
        assert_int_equal(units_parse_host_port(real[i], &a), 0);
        assert_false(units_is_wildcard(&a));
    }
}

static void texts_are_canonical(void **state)
{
    static const struct {
        uint64_t value;
        const char *duration, *size;
    } rows[] = {{0, "0ms", "0"},
                {1, "1ms", "1"},
                {500, "500ms", "500"},
                {1000, "1s", "1000"},
                {1024, "1024ms", "1K"},
                {1536, "1536ms", "1536"},
                {60000, "1m", "60000"},
                {90000, "90s", "90000"},
                {3600000, "1h", "3600000"},
                {64ULL << 20, "67108864ms", "64M"},
                {1536ULL << 20, "1610612736ms", "1536M"},
                {1ULL << 40, "1099511627776ms", "1T"},
                {UINT64_MAX, "18446744073709551615ms", "18446744073709551615"}};
    char text[32];
    uint64_t back;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        units_duration_text(rows[i].value, text, sizeof text);
        assert_string_equal(text, rows[i].duration);
        assert_int_equal(units_parse_duration(text, &back), 0);
        assert_true(back == rows[i].value);
        units_size_text(rows[i].value, text, sizeof text);
        assert_string_equal(text, rows[i].size);
        assert_int_equal(units_parse_size(text, &back), 0);
        assert_true(back == rows[i].value);
    }
}

/* The corners of RFC 3629. */
static void utf8(void **state)
{
    static const char *const good[] = {"",
                                       "plain\x7f",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xef\xbf\xbf",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf",
                                       "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z"};
    static const char *const bad[] = {"\x80",             /* a continuation alone */
                                      "\xc0\x80",         /* overlong */
                                      "\xc1\xbf",         /* overlong */
                                      "\xe0\x9f\xbf",     /* overlong */
                                      "\xf0\x8f\xbf\xbf", /* overlong */
                                      "\xed\xa0\x80",     /* a surrogate */
                                      "\xed\xbf\xbf",     /* a surrogate */
                                      "\xf4\x90\x80\x80", /* above U+10FFFF */
                                      "\xf8\x88\x80\x80\x80",
                                      "\xff",
                                      "\xc3",     /* cut off */
                                      "\xe2\x82", /* cut off */
                                      "\xf0\x9f\x98",
                                      "\xc3(",
                                      "\xe2(\xa1",
                                      "ok\xf0\x9f\x98z"};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(units_is_utf8(good[i], strlen(good[i])));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(units_is_utf8(bad[i], strlen(bad[i])));
    }
    assert_true(units_is_utf8("a\0b", 3));
    assert_true(units_is_utf8(NULL, 0));
    assert_false(units_is_utf8("\xc3\xa9", 1)); /* the size counts, not the NUL */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations),
        cmocka_unit_test(sizes),
        cmocka_unit_test(numbers),
        cmocka_unit_test(addresses),
        cmocka_unit_test(bad_addresses),
        cmocka_unit_test(wildcards),
        cmocka_unit_test(texts_are_canonical),
        cmocka_unit_test(utf8),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
