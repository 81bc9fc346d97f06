#include "fixture.h"

#include "config/options.h"

static struct config config;

static int reset(void **state)
{
    (void)state;
    memset(&config, 0, sizeof config);
    return 0;
}

/* The value is taken, and printed as `canonical`. */
static void assert_takes(const char *section, const char *key, const char *value,
                         const char *canonical)
{
    const struct option *o = option_find(section, key);
    struct buf text = BUF_INIT;

    assert_int_equal(option_set(o, value, &config, &text), 0);
    assert_int_equal(text.size, 0);
    option_print(o, &config, option_lines(o, &config) - 1, &text);
    assert_string_equal(buf_str(&text), canonical);
    buf_done(&text);
}

/* The value is refused with this reason and nothing changes. */
static void assert_refuses(const char *section, const char *key, const char *value,
                           const char *reason)
{
    struct config before = config;
    struct buf why = BUF_INIT;

    assert_int_equal(option_set(option_find(section, key), value, &config, &why), -RD_EINVALID);
    assert_string_equal(buf_str(&why), reason);
    assert_memory_equal(&config, &before, sizeof before);
    buf_done(&why);
}

static void ids(void **state)
{
    (void)state;
    assert_takes("node", "id", "1", "1");
    assert_takes("node", "id", "4294967295", "4294967295");
    assert_int_equal(config.node_id, UINT32_MAX);
    assert_refuses("node", "id", "0", "0 is out of range; write a value from 1 to 4294967295");
    assert_refuses("node", "id", "4294967296",
                   "4294967296 is out of range; write a value from 1 to 4294967295");
    assert_refuses("node", "id", "-1", "\"-1\" is not a number; write decimal digits");
    assert_refuses("node", "id", "1 2", "\"1 2\" is not a number; write decimal digits");
    assert_refuses("node", "id", "99999999999999999999",
                   "\"99999999999999999999\" is not a number; write decimal digits");
    assert_refuses("node", "id", "", "has no value; write one");
}

static void counts(void **state)
{
    (void)state;
    assert_takes("storage", "log_keep_entries", "1", "1");
    assert_takes("http", "max_watchers", "0", "0");
    assert_refuses("storage", "log_keep_entries", "0",
                   "0 is out of range; write a value from 1 to 1000000000");
    assert_refuses("http", "max_watchers", "65537",
                   "65537 is out of range; write a value from 0 to 65536");
    assert_refuses("http", "max_watchers", "",
                   "has no value; write one, or delete the line for the default 1024");
}

static void yes_or_no(void **state)
{
    (void)state;
    assert_takes("http", "https", "yes", "yes");
    assert_true(config.http_https);
    assert_takes("http", "https", "no", "no");
    assert_false(config.http_https);
    assert_refuses("http", "https", "on", "\"on\" is neither; write yes or no");
    assert_refuses("http", "https", "",
                   "has no value; write one, or delete the line for the default no");
}

static void durations(void **state)
{
    (void)state;
    assert_takes("raft", "heartbeat_interval", "5ms", "5ms");
    assert_takes("raft", "heartbeat_interval", "1000ms", "1s");
    assert_int_equal(config.heartbeat_ms, 1000);
    assert_takes("raft", "election_timeout", "10m", "10m");
    assert_takes("raft", "shutdown_transfer_timeout", "100ms", "100ms");
    assert_takes("storage", "stall_timeout", "1500ms", "1500ms");
    assert_int_equal(config.stall_timeout_ms, 1500);
    assert_refuses("raft", "heartbeat_interval", "4ms",
                   "4ms is out of range; write a value from 5ms to 1m");
    assert_refuses("raft", "election_timeout", "11m",
                   "11m is out of range; write a value from 20ms to 10m");
    assert_refuses("raft", "election_timeout", "500",
                   "\"500\" is not a duration; write a number and ms, s, m or h, such as 500ms");
}

static void sizes(void **state)
{
    (void)state;
    assert_takes("storage", "map_size", "1048576", "1M");
    assert_takes("storage", "map_size", "16T", "16T");
    assert_takes("storage", "log_keep_bytes", "4097", "4097");
    assert_takes("storage", "state_max_bytes", "4K", "4K");
    assert_int_equal(config.state_max_bytes, 4096);
    assert_refuses("storage", "map_size", "1048575",
                   "1048575 is out of range; write a value from 1M to 16T");
    assert_refuses("storage", "state_max_bytes", "65G",
                   "65G is out of range; write a value from 4K to 64G");
    assert_refuses(
        "storage", "log_keep_bytes", "64MB",
        "\"64MB\" is not a size; write bytes, or a number and K, M, G or T, such as 64M");
}

static void modes(void **state)
{
    (void)state;
    assert_takes("admin", "mode", "0660", "0660");
    assert_int_equal(config.admin_mode, 0660);
    assert_takes("admin", "mode", "600", "0600");
    assert_takes("admin", "mode", "0000", "0000");
    assert_takes("admin", "mode", "0777", "0777");
    static const char *const bad[] = {"0668", "66", "00660", "1777", "rw", "0x1f", "-600", "660 "};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char reason[128];
        (void)snprintf(
            reason, sizeof reason,
            "\"%s\" is not a mode; write octal permissions from 0000 to 0777, such as 0660",
            bad[i]);
        assert_refuses("admin", "mode", bad[i], reason);
    }
}

static void texts(void **state)
{
    char longest[1200];

    (void)state;
    assert_takes("node", "name", "k\xc3\xb6ln 1", "k\xc3\xb6ln 1");
    assert_takes("node", "name", "", "");
    assert_takes("node", "uri", "amqp://h:1;x#y", "amqp://h:1;x#y");
    memset(longest, 'a', sizeof longest);
    longest[64] = 0;
    assert_takes("node", "name", longest, longest);
    assert_takes("cluster", "name", "b", "b");
    longest[64] = 'a';
    longest[65] = 0;
    assert_refuses("node", "name", longest, "is 65 bytes long; at most 64 are possible");
    longest[65] = 'a';
    longest[108] = 0;
    assert_refuses("admin", "socket", longest, "is 108 bytes long; at most 107 are possible");
    longest[107] = 0;
    assert_takes("admin", "socket", longest, longest);
    longest[107] = longest[108] = 'a';
    longest[1023] = 0;
    assert_takes("node", "data_dir", longest, longest);
    assert_takes("tls", "ca", longest, longest);
    assert_refuses("node", "data_dir", "",
                   "has no value; write one, or delete the line for the default /var/lib/raftd");
}

/* A shorter value leaves nothing of the longer one before it. */
static void texts_are_replaced_wholly(void **state)
{
    (void)state;
    assert_takes("node", "uri", "longer", "longer");
    assert_takes("node", "uri", "abc", "abc");
    assert_memory_equal(config.uri, "abc\0\0\0\0", 7);
}

static void unwritable_texts(void **state)
{
    (void)state;
    assert_refuses("node", "uri", "a\x01", "holds the control character 0x01; remove it");
    assert_refuses("node", "uri", "a\tb", "holds the control character 0x09; remove it");
    assert_refuses("node", "uri", "a\x7f", "holds the control character 0x7f; remove it");
    assert_refuses("node", "uri", "a\xff", "is not UTF-8; save the file in that encoding");
    assert_refuses("node", "uri", "a ;b",
                   "holds a ';' where a comment begins; remove it, or the blank before it");
    assert_refuses("node", "uri", ";b",
                   "holds a ';' where a comment begins; remove it, or the blank before it");
}

#define NOT_AN_ADDRESS(value)                                                                      \
    "\"" value "\" is not an address; write HOST:PORT with a port of 1..65535, such as "           \
    "10.0.0.1:7400, n1.example.org:7400 or [::1]:7400"
#define NOT_DIALLED(value)                                                                         \
    "\"" value "\" is a wildcard, which nobody can dial; write the address at which the other "    \
    "members reach the node"

static void addresses(void **state)
{
    (void)state;
    assert_takes("node", "listen", "[::]:7400", "[::]:7400");
    assert_takes("node", "listen", "[0:0:0:0:0:0:0:1]:65535", "[::1]:65535");
    assert_int_equal(config.listen.port, 65535);
    assert_takes("node", "listen", "0.0.0.0:1", "0.0.0.0:1");
    assert_takes("node", "advertise", "N1.Example.org:7400", "n1.example.org:7400");
    assert_takes("node", "advertise", "[FE80::1%eth0]:7400", "[fe80::1%eth0]:7400");
    assert_takes("node", "advertise", "", "");
    assert_refuses("node", "listen", "7400", NOT_AN_ADDRESS("7400"));
    assert_refuses("node", "listen", ":7400", NOT_AN_ADDRESS(":7400"));
    assert_refuses("node", "listen", "h:0", NOT_AN_ADDRESS("h:0"));
    assert_refuses("node", "listen", "h:65536", NOT_AN_ADDRESS("h:65536"));
    assert_refuses("node", "listen", "10.0.0.256:1", NOT_AN_ADDRESS("10.0.0.256:1"));
    assert_refuses("node", "listen", "10.0.1:1", NOT_AN_ADDRESS("10.0.1:1"));
    assert_refuses("node", "listen", "[1:2]:1", NOT_AN_ADDRESS("[1:2]:1"));
    assert_refuses("node", "advertise", "::1:7400", NOT_AN_ADDRESS("::1:7400"));
    assert_refuses("node", "advertise", "0.0.0.0:1", NOT_DIALLED("0.0.0.0:1"));
    assert_refuses("node", "advertise", "[::]:1", NOT_DIALLED("[::]:1"));
}

static void the_longest_address(void **state)
{
    char text[UNITS_ADDRESS_SIZE + 8] = "";

    (void)state;
    memset(text, 'h', UNITS_HOST_SIZE - 1);
    memcpy(text + UNITS_HOST_SIZE - 1, ":65535", 7);
    assert_takes("node", "advertise", text, text);
    assert_takes("http", "listen", text, text);
}

static void members(void **state)
{
    (void)state;
    assert_takes("cluster", "member", "2@H:7400", "2@h:7400");
    assert_takes("cluster", "member", "1@[::1]:7400", "1@[::1]:7400");
    assert_int_equal(config.members_count, 2);
#define NOT_A_MEMBER(value)                                                                        \
    "\"" value "\" is not a member; write ID@HOST:PORT with an id of 1..4294967295, such as "      \
    "1@10.0.0.1:7400"
    assert_refuses("cluster", "member", "h:1", NOT_A_MEMBER("h:1"));
    assert_refuses("cluster", "member", "@h:1", NOT_A_MEMBER("@h:1"));
    assert_refuses("cluster", "member", "0@h:1", NOT_A_MEMBER("0@h:1"));
    assert_refuses("cluster", "member", "4294967296@h:1", NOT_A_MEMBER("4294967296@h:1"));
    assert_refuses("cluster", "member", "0000000000000000000001@h:1",
                   NOT_A_MEMBER("0000000000000000000001@h:1"));
    assert_refuses("cluster", "member", "3@h", NOT_AN_ADDRESS("h"));
    assert_refuses("cluster", "member", "3@0.0.0.0:1", NOT_DIALLED("0.0.0.0:1"));
    assert_int_equal(option_set(option_find("cluster", "member"), "", &config, NULL), 0);
    assert_int_equal(config.members_count, 0);
}

static void nine_members(void **state)
{
    char text[32];

    (void)state;
    for (int i = 1; i <= CONFIG_FOUNDERS_MAX; i++) {
        (void)snprintf(text, sizeof text, "%d@h%d:1", i, i);
        assert_takes("cluster", "member", text, text);
    }
    assert_refuses("cluster", "member", "10@h10:1",
                   "more than 9 members; found the cluster with at most that many and add the "
                   "others with `raftctl add-server`");
}

static void http_addresses(void **state)
{
    char text[32];

    (void)state;
    for (int i = 1; i <= CONFIG_HTTP_MAX; i++) {
        (void)snprintf(text, sizeof text, "127.0.0.1:%d", i);
        assert_takes("http", "listen", text, text);
    }
    assert_refuses("http", "listen", "127.0.0.1:8", "127.0.0.1:8 is listed twice; delete one");
    assert_refuses("http", "listen", "127.0.0.1:9",
                   "more than 8 addresses; delete some, or listen on 0.0.0.0 or [::]");
    assert_refuses("http", "listen", "off", NOT_AN_ADDRESS("off"));
    assert_int_equal(option_set(option_find("http", "listen"), "", &config, NULL), 0);
    assert_int_equal(option_lines(option_find("http", "listen"), &config), 0);
}

static void words(void **state)
{
    static const char *const levels[] = {"error", "warning", "notice", "info", "debug"};

    (void)state;
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        assert_takes("log", "level", levels[i], levels[i]);
        assert_int_equal(config.log_level, i);
    }
    assert_takes("log", "format", "json", "json");
    assert_int_equal(config.log_format, LOG_FORMAT_JSON);
    assert_takes("log", "format", "text", "text");
    assert_int_equal(config.log_format, LOG_FORMAT_TEXT);
    assert_refuses("log", "level", "INFO",
                   "\"INFO\" is not a level; write error, warning, notice, info or debug");
    assert_refuses("log", "format", "js", "\"js\" is not a format; write text or json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(ids, reset),
        cmocka_unit_test_setup(counts, reset),
        cmocka_unit_test_setup(yes_or_no, reset),
        cmocka_unit_test_setup(durations, reset),
        cmocka_unit_test_setup(sizes, reset),
        cmocka_unit_test_setup(modes, reset),
        cmocka_unit_test_setup(texts, reset),
        cmocka_unit_test_setup(texts_are_replaced_wholly, reset),
        cmocka_unit_test_setup(unwritable_texts, reset),
        cmocka_unit_test_setup(addresses, reset),
        cmocka_unit_test_setup(the_longest_address, reset),
        cmocka_unit_test_setup(members, reset),
        cmocka_unit_test_setup(nine_members, reset),
        cmocka_unit_test_setup(http_addresses, reset),
        cmocka_unit_test_setup(words, reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
