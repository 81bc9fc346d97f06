#include "fixture.h"

#include "config/options.h"

struct seen {
    uint32_t count;
    char keys[2048];
};

static void see(void *arg, const struct config_option_info *info)
{
    struct seen *s = arg;
    size_t used = strlen(s->keys);

    s->count++;
    (void)snprintf(s->keys + used, sizeof s->keys - used, "%s.%s=%s%s%s\n", info->section,
                   info->key, info->default_text, info->repeatable ? " repeatable" : "",
                   info->reloadable ? " reloadable" : "");
    assert_true(strlen(info->help) > 20);
    assert_int_equal(info->help[strlen(info->help) - 1], '.');
    assert_null(strstr(info->help, "  "));
    assert_null(strchr(info->help, '\n'));
}

/* The contract, section 2, key by key. */
static void table_is_the_contract(void **state)
{
    struct seen s = {0};

    (void)state;
    config_each_option(see, &s);
    assert_int_equal(s.count, OPTIONS);
    assert_string_equal(s.keys, "node.id=\n"
                                "node.name=\n"
                                "node.data_dir=/var/lib/raftd\n"
                                "node.listen=0.0.0.0:7400\n"
                                "node.advertise=\n"
                                "node.uri= reloadable\n"
                                "cluster.name=\n"
                                "cluster.member= repeatable\n"
                                "raft.heartbeat_interval=100ms\n"
                                "raft.election_timeout=500ms\n"
                                "raft.shutdown_transfer_timeout=5s reloadable\n"
                                "storage.map_size=16G\n"
                                "storage.log_keep_entries=10000\n"
                                "storage.log_keep_bytes=64M\n"
                                "storage.stall_timeout=2s reloadable\n"
                                "storage.state_max_bytes=256M\n"
                                "admin.socket=/run/raftd/raftd.sock\n"
                                "admin.mode=0666\n"
                                "admin.group=raftd\n"
                                "http.listen=127.0.0.1:7480 repeatable\n"
                                "http.max_watchers=1024\n"
                                "http.https=no\n"
                                "tls.cert= reloadable\n"
                                "tls.key= reloadable\n"
                                "tls.ca= reloadable\n"
                                "log.level=info reloadable\n"
                                "log.format=text\n");
}

static void find_wants_section_and_key(void **state)
{
    (void)state;
    assert_string_equal(option_find("http", "listen")->default_text, "127.0.0.1:7480");
    assert_string_equal(option_find("node", "listen")->default_text, "0.0.0.0:7400");
    assert_null(option_find("http", "id"));
    assert_null(option_find("https", "listen"));
    assert_true(option_is_section("tls"));
    assert_false(option_is_section("TLS"));
    assert_false(option_is_section(""));
}

static void assert_key_hint(const char *section, const char *key, const char *hint)
{
    struct buf out = BUF_INIT;

    option_suggest_key(section, key, &out);
    assert_string_equal(buf_str(&out), hint);
    buf_done(&out);
}

static void assert_section_hint(const char *section, const char *hint)
{
    struct buf out = BUF_INIT;

    option_suggest_section(section, &out);
    assert_string_equal(buf_str(&out), hint);
    buf_done(&out);
}

static void keys_are_suggested(void **state)
{
    (void)state;
    assert_key_hint("node", "idd", "; did you mean \"id\"?");
    assert_key_hint("node", "lsiten", "; did you mean \"listen\"?"); /* swapped */
    assert_key_hint("node", "data-dir", "; did you mean \"data_dir\"?");
    assert_key_hint("node", "DATA_DIR", "; did you mean \"data_dir\"?");
    assert_key_hint("raft", "heartbeat", "; did you mean \"heartbeat_interval\"?");
    assert_key_hint("cluster", "members", "; did you mean \"member\"?");
    assert_key_hint("log", "lvl", "; did you mean \"level\"?");
    assert_key_hint("node", "stall_timeout", "; it belongs in [storage]");
    assert_key_hint("node", "zzz",
                    "; the keys of [node] are id name data_dir listen advertise uri");
    assert_key_hint("log", "", "; the keys of [log] are level format");
}

static void sections_are_suggested(void **state)
{
    char huge[300];

    (void)state;
    assert_section_hint("nodes", "; did you mean [node]?");
    assert_section_hint("Raft", "; did you mean [raft]?");
    assert_section_hint("stor", "; did you mean [storage]?");
    assert_section_hint("mqtt", "; the sections are [node] [cluster] [raft] [storage] [admin] "
                                "[http] [tls] [log]");
    memset(huge, 'n', sizeof huge - 1);
    huge[sizeof huge - 1] = 0;
    assert_section_hint(huge, "; the sections are [node] [cluster] [raft] [storage] [admin] [http] "
                              "[tls] [log]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_is_the_contract),
        cmocka_unit_test(find_wants_section_and_key),
        cmocka_unit_test(keys_are_suggested),
        cmocka_unit_test(sections_are_suggested),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
