#include "fixture.h"

#include "base/prng.h"
#include "config/options.h"

static void defaults(void **state)
{
    struct config c = load_good("[node]\nid = 42\n", NULL);

    (void)state;
    assert_int_equal(c.node_id, 42);
    assert_string_equal(c.data_dir, "/var/lib/raftd");
    assert_string_equal(c.listen.host, "0.0.0.0");
    assert_int_equal(c.listen.port, 7400);
    assert_string_equal(c.advertise, "");
    assert_string_equal(c.uri, "");
    assert_string_equal(c.cluster_name, "");
    assert_int_equal(c.members_count, 0);
    assert_int_equal(c.heartbeat_ms, 100);
    assert_int_equal(c.election_timeout_ms, 500);
    assert_int_equal(c.shutdown_transfer_timeout_ms, 5000);
    assert_int_equal(c.map_size, 16ULL << 30);
    assert_int_equal(c.log_keep_entries, 10000);
    assert_int_equal(c.log_keep_bytes, 64 << 20);
    assert_int_equal(c.stall_timeout_ms, 2000);
    assert_int_equal(c.state_max_bytes, 256 << 20);
    assert_string_equal(c.admin_socket, "/run/raftd/raftd.sock");
    assert_int_equal(c.admin_mode, 0666);
    assert_string_equal(c.admin_group, "raftd");
    assert_int_equal(c.http_listen_count, 1);
    assert_string_equal(c.http_listen[0], "127.0.0.1:7480");
    assert_int_equal(c.http_max_watchers, 1024);
    assert_false(c.http_https);
    assert_string_equal(c.tls_cert, "");
    assert_string_equal(c.tls_key, "");
    assert_string_equal(c.tls_ca, "");
    assert_int_equal(c.log_level, LOG_INFO);
    assert_int_equal(c.log_format, LOG_FORMAT_TEXT);
}

/* Every key with a value that is not its default. */
static const char full[] = "[node]\nid=1\nname=n\xc3\xa9\ndata_dir=/d d\nlisten=[::]:1\n"
                           "advertise=a:1\nuri=u://x;y\n"
                           "[cluster]\nname=c\nmember=1@a:1\nmember=2@[::2]:2\n"
                           "[raft]\nheartbeat_interval=10ms\nelection_timeout=30ms\n"
                           "shutdown_transfer_timeout=1m\n"
                           "[storage]\nmap_size=1G\nlog_keep_entries=5\nlog_keep_bytes=5000\n"
                           "stall_timeout=2500ms\nstate_max_bytes=1M\n"
                           "[admin]\nsocket=/s\nmode=600\ngroup=\n"
                           "[http]\nlisten=127.0.0.1:1\nlisten=unix:/h\nmax_watchers=0\nhttps=yes\n"
                           "[tls]\ncert=/c\nkey=/k\nca=/a\n"
                           "[log]\nlevel=debug\nformat=json\n";

static void every_key(void **state)
{
    struct config c = load_good(full, NULL);

    (void)state;
    assert_int_equal(c.node_id, 1);
    assert_string_equal(c.node_name, "n\xc3\xa9");
    assert_string_equal(c.data_dir, "/d d");
    assert_string_equal(c.listen.host, "::");
    assert_int_equal(c.listen.port, 1);
    assert_string_equal(c.advertise, "a:1");
    assert_string_equal(c.uri, "u://x;y");
    assert_string_equal(c.cluster_name, "c");
    assert_int_equal(c.members_count, 2);
    assert_string_equal(c.members[1].address, "[::2]:2");
    assert_int_equal(c.heartbeat_ms, 10);
    assert_int_equal(c.election_timeout_ms, 30);
    assert_int_equal(c.shutdown_transfer_timeout_ms, 60000);
    assert_int_equal(c.map_size, 1 << 30);
    assert_int_equal(c.log_keep_entries, 5);
    assert_int_equal(c.log_keep_bytes, 5000);
    assert_int_equal(c.stall_timeout_ms, 2500);
    assert_int_equal(c.state_max_bytes, 1 << 20);
    assert_string_equal(c.admin_socket, "/s");
    assert_int_equal(c.admin_mode, 0600);
    assert_string_equal(c.admin_group, "");
    assert_int_equal(c.http_listen_count, 2);
    assert_string_equal(c.http_listen[0], "127.0.0.1:1");
    assert_string_equal(c.http_listen[1], "unix:/h");
    assert_int_equal(c.http_max_watchers, 0);
    assert_true(c.http_https);
    assert_string_equal(c.tls_cert, "/c");
    assert_string_equal(c.tls_key, "/k");
    assert_string_equal(c.tls_ca, "/a");
    assert_int_equal(c.log_level, LOG_DEBUG);
    assert_int_equal(c.log_format, LOG_FORMAT_JSON);
}

static void note_key(void *arg, const struct config_option_info *info)
{
    char *keys = arg;
    size_t used = strlen(keys);

    (void)snprintf(keys + used, 2048 - used, "%s.%s%s ", info->section, info->key,
                   info->reloadable ? "*" : "");
}

/* Keys that differ are named, those that may change at run time are taken over, and no others. */
static void changes_are_told_and_taken(void **state)
{
    static const char begin[] = "[node]\nid=1\nlisten=a:1\n[cluster]\nmember=1@a:1\n";
    static const char end[] = "[node]\nid=1\nlisten=a:1\nuri=u\n[cluster]\nmember=1@a:1\n"
                              "member=2@b:2\n[raft]\nelection_timeout=1s\n"
                              "shutdown_transfer_timeout=7s\n[storage]\nstall_timeout=3s\n"
                              "[http]\nlisten=\n[log]\nlevel=debug\n";
    struct config old = load_good(begin, NULL);
    struct config fresh = load_good(end, NULL);
    char keys[2048] = "";

    (void)state;
    config_each_change(&old, &old, note_key, keys);
    assert_string_equal(keys, "");
    config_each_change(&old, &fresh, note_key, keys);
    assert_string_equal(keys, "node.uri* cluster.member raft.election_timeout "
                              "raft.shutdown_transfer_timeout* storage.stall_timeout* http.listen "
                              "log.level* ");
    config_take_reloadable(&fresh, &old);
    assert_string_equal(old.uri, "u");
    assert_int_equal(old.shutdown_transfer_timeout_ms, 7000);
    assert_int_equal(old.stall_timeout_ms, 3000);
    assert_int_equal(old.log_level, LOG_DEBUG);
    keys[0] = 0;
    config_each_change(&old, &fresh, note_key, keys);
    assert_string_equal(keys, "cluster.member raft.election_timeout http.listen ");
}

/* dump -> load -> dump is the identity, and so is load(dump(c)) on the values. */
static void assert_round_trip(const struct config *c)
{
    char *first = dump_text(c);
    struct config again = load_good(first, NULL);
    char *second = dump_text(&again);

    assert_string_equal(first, second);
    assert_int_equal(again.members_count, c->members_count);
    assert_int_equal(again.http_listen_count, c->http_listen_count);
    assert_string_equal(again.node_name, c->node_name);
    assert_string_equal(again.advertise, c->advertise);
    assert_string_equal(again.uri, c->uri);
    free(first);
    free(second);
}

static void dumps_read_back(void **state)
{
    (void)state;
    struct config c = load_good(full, NULL);
    assert_round_trip(&c);
    c = load_good("[node]\nid=4294967295\n", NULL);
    assert_round_trip(&c);
    c = load_good("[node]\nid=1\n[http]\nlisten=\n", NULL);
    assert_int_equal(c.http_listen_count, 0);
    assert_round_trip(&c);
}

static void the_longest_values_read_back(void **state)
{
    struct buf text = BUF_INIT;

    (void)state;
    buf_printf(&text,
               "[node]\nid=1\nname=%064d\ndata_dir=%01023d\nuri=%0512d\nadvertise=%0255d:65535\n",
               1, 1, 1, 1);
    struct loaded l = load_bytes(text.data, text.size, NULL);
    assert_string_equal(l.errors, "F:6: node.advertise: \"0000000000000000000000000000000000000000"
                                  "000000000000000000000000000000000000000000000000000000000000000"
                                  "000000000000000000000000000000000000000000000000000000000000000"
                                  "000000000000000000000000000000000000000000000000000000000000000"
                                  "00000000000000000000000001:65535\" is not an address; write "
                                  "HOST:PORT with a port of 1..65535, such as 10.0.0.1:7400, "
                                  "n1.example.org:7400 or [::1]:7400\n");
    mem_free(l.errors);
    text.size = 0;
    buf_printf(&text,
               "[node]\nid=1\nname=%064d\ndata_dir=%01023d\nuri=%0512d\nadvertise=h%0254d:65535\n",
               1, 1, 1, 1);
    struct config c = load_good(buf_str(&text), NULL);
    assert_round_trip(&c);
    buf_done(&text);
}

struct check {
    const char *dump;
    const char *at; /* reading goes on here: the order is that of the table */
};

static void is_dumped(void *arg, const struct config_option_info *info)
{
    struct check *c = arg;
    char line[64];

    (void)snprintf(line, sizeof line, "\n%s =", info->key);
    c->at = strstr(c->at, line);
    assert_non_null(c->at);
    const char *comment = c->at;
    while (comment > c->dump && comment[-1] != '\n') {
        comment--;
    }
    assert_true(strncmp(comment, "# ", 2) == 0); /* the last line of its description */
    c->at += 1;
}

static void dumps_explain_every_key(void **state)
{
    struct config c = load_good("[node]\nid=1\n", NULL);
    char *dump = dump_text(&c);
    struct check check = {dump, dump};

    (void)state;
    config_each_option(is_dumped, &check);
    for (const char *line = dump; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        assert_true(strcspn(line, "\n") <= 80);
        assert_true(*line != ' ');
    }
    assert_non_null(strstr(dump, "# IPv6.\nlisten = 0.0.0.0:7400\n"));
    assert_non_null(strstr(dump, "\nuri =\n\n[cluster]\n"));
    free(dump);
}

static void overrides_win(void **state)
{
    static const char *const args[] = {"node.id=2", " log.level = debug ", "node.uri=a=b.c",
                                       "node.id=3", NULL};
    struct config c = load_good("[node]\nid = 1\n[log]\nlevel = error\n", args);

    (void)state;
    assert_int_equal(c.node_id, 3);
    assert_int_equal(c.log_level, LOG_DEBUG);
    assert_string_equal(c.uri, "a=b.c");
}

static void overrides_can_give_the_id(void **state)
{
    static const char *const args[] = {"node.id=9", NULL};

    (void)state;
    assert_int_equal(load_good("", args).node_id, 9);
}

static void overrides_of_lists_add(void **state)
{
    static const char *const add[] = {"http.listen=127.0.0.1:2", "http.listen=127.0.0.1:3", NULL};
    static const char *const off[] = {"http.listen=", NULL};
    static const char *const only[] = {"http.listen=", "http.listen=127.0.0.1:4", NULL};
    static const char *const members[] = {"cluster.member=2@b:1", "cluster.member=1@a:1", NULL};

    (void)state;
    struct config c = load_good("[node]\nid=1\n[http]\nlisten=127.0.0.1:1\n", add);
    assert_int_equal(c.http_listen_count, 3);
    assert_string_equal(c.http_listen[0], "127.0.0.1:1");
    assert_string_equal(c.http_listen[2], "127.0.0.1:3");
    c = load_good("[node]\nid=1\n", add); /* the first value replaces the default */
    assert_int_equal(c.http_listen_count, 2);
    assert_string_equal(c.http_listen[0], "127.0.0.1:2");
    c = load_good("[node]\nid=1\n[http]\nlisten=127.0.0.1:1\n", off);
    assert_int_equal(c.http_listen_count, 0);
    c = load_good("[node]\nid=1\n[http]\nlisten=127.0.0.1:1\n", only);
    assert_int_equal(c.http_listen_count, 1);
    assert_string_equal(c.http_listen[0], "127.0.0.1:4");
    c = load_good("[node]\nid=1\nlisten=a:1\n", members);
    assert_int_equal(c.members_count, 2);
    assert_int_equal(c.members[0].id, 1);
}

static void bad_overrides(void **state)
{
    static const char *const malformed[] = {"node", "node=1.2", "id=1", "=", NULL};
    static const char *const unknown[] = {"node.idd=1", "nod.id=1", NULL};
    static const char *const refused[] = {"node.id=", "node.uri=a ;b", "node.name=a\nb", NULL};

    (void)state;
    assert_refused_with("[node]\nid=1\n", malformed,
                        "-o node: expected SECTION.KEY=VALUE, such as -o node.id=1\n"
                        "-o node=1.2: expected SECTION.KEY=VALUE, such as -o node.id=1\n"
                        "-o id=1: expected SECTION.KEY=VALUE, such as -o node.id=1\n"
                        "-o =: expected SECTION.KEY=VALUE, such as -o node.id=1\n");
    assert_refused_with("[node]\nid=1\n", unknown,
                        "-o node.idd=1: unknown key \"idd\" in [node]; did you mean \"id\"?\n"
                        "-o nod.id=1: unknown section [nod]; did you mean [node]?\n");
    assert_refused_with("[node]\nid=1\n", refused,
                        "-o node.id=: node.id: has no value; write one\n"
                        "-o node.uri=a ;b: node.uri: holds a ';' where a comment begins; remove "
                        "it, or the blank before it\n"
                        "-o node.name=a?b: node.name: holds the control character 0x0a; remove "
                        "it\n");
}

/* What is wrong with the file is not hidden by an override, nor by the other errors. */
static void all_errors_are_collected(void **state)
{
    static const char *const args[] = {"log.level=info", "node.id=0", NULL};

    (void)state;
    assert_refused_with("[node]\nidd = 1\n[log]\nlevel = x\n", args,
                        "F:2: unknown key \"idd\" in [node]; did you mean \"id\"?\n"
                        "F:4: log.level: \"x\" is not a level; write error, warning, notice, info "
                        "or debug\n"
                        "-o node.id=0: node.id: 0 is out of range; write a value from 1 to "
                        "4294967295\n");
}

static void errors_are_appended(void **state)
{
    struct buf errors = BUF_INIT;
    struct config c;

    (void)state;
    buf_put_str(&errors, "before\n");
    assert_int_equal(config_load("/", NULL, 0, &c, &errors), -RD_ECONFIG);
    assert_string_equal(buf_str(&errors), "before\n/:0: is a directory; name the file in it\n");
    buf_done(&errors);
}

/* What a lost override does to a file that cannot be read: both are reported. */
static void overrides_are_checked_without_a_file(void **state)
{
    static const char *const args[] = {"log.level=x"};
    struct buf errors = BUF_INIT;
    struct config c;

    (void)state;
    assert_int_equal(config_load("/", args, 1, &c, &errors), -RD_ECONFIG);
    assert_string_equal(buf_str(&errors),
                        "/:0: is a directory; name the file in it\n"
                        "-o log.level=x: log.level: \"x\" is not a level; write error, warning, "
                        "notice, info or debug\n");
    buf_done(&errors);
}

static char *sample_read(void)
{
    FILE *in = fopen(SAMPLE_CONF, "r");
    char *text = NULL;
    size_t size = 0;

    assert_non_null(in);
    assert_true(getdelim(&text, &size, 0, in) > 0);
    assert_int_equal(fclose(in), 0);
    return text;
}

static void the_installed_file_is_all_defaults(void **state)
{
    char *sample = sample_read();
    struct config c = load_good(sample, NULL);
    struct config plain = load_good("[node]\nid = 1\n", NULL);
    char *dump = dump_text(&c);
    char *plain_dump = dump_text(&plain);

    (void)state;
    assert_string_equal(dump, plain_dump);
    free(sample);
    free(dump);
    free(plain_dump);
}

struct sample {
    const char *text, *section;
    size_t keys;
};

static void is_in_sample(void *arg, const struct config_option_info *info)
{
    struct sample *s = arg;
    char line[128];

    (void)snprintf(line, sizeof line, "\n[%s]\n", info->section);
    const char *section = strstr(s->text, line);
    assert_non_null(section);
    (void)snprintf(line, sizeof line, "\n#%s = %s", info->key, info->default_text);
    if (strcmp(info->key, "id") == 0) {
        (void)snprintf(line, sizeof line, "\nid = 1");
    }
    const char *at = strstr(section, line);
    assert_non_null(at);
    assert_true(!*info->default_text || at[strlen(line)] == '\n');
    const char *next = strstr(section + 1, "\n[");
    assert_true(!next || at < next || info->repeatable);
    s->keys++;
}

/* Each key stands there, with its default; and as a whole it is right with the comments taken off.
 */
static void the_installed_file_shows_every_key(void **state)
{
    char *text = sample_read();
    struct sample s = {.text = text};
    struct buf bare = BUF_INIT;

    (void)state;
    config_each_option(is_in_sample, &s);
    assert_int_equal(s.keys, OPTIONS);
    for (const char *p = text; *p; p++) {
        bool setting = *p == '#' && p[1] != ' ' && p[1] != '\n' && (p == text || p[-1] == '\n');
        if (!setting) {
            buf_put_u8(&bare, (uint8_t)*p);
        }
    }
    struct config c = load_good(buf_str(&bare), NULL);
    assert_int_equal(c.members_count, 3);
    assert_string_equal(c.advertise, c.members[0].address);
    buf_done(&bare);
    free(text);
}

/* Whatever the bytes: an answer, and what is accepted dumps to something that reads back. */
static void random_bytes(void **state)
{
    static const char *const words[] = {
        "[node]",   "[cluster]", "[raft]", "[http]", "[tls]",  "[log]", "[admin]", "id",
        "member",   "listen",    "level",  "name",   "uri",    "cert",  "key",     "mode",
        "= ",       "=",         "1",      "2@h:1",  "1@h:2",  "\n",    "\n",      "\n",
        "\n",       " ;",        "#",      "debug",  "h:1",    "[",     "]",       "\xff",
        "\xc3\xa9", "0666",      "500ms",  "64M",    "[::]:1", "@",     ".",       "\t"};
    struct prng p;
    struct buf text = BUF_INIT;
    uint32_t accepted = 0;

    (void)state;
    prng_seed(&p, 20260701);
    for (int run = 0; run < 3000; run++) {
        text.size = 0;
        if (run % 2) {
            buf_put_str(&text, "[node]\nid = 1\n");
        }
        for (uint64_t i = prng_range(&p, 0, 40); i > 0; i--) {
            if (prng_chance(&p, 50000)) {
                buf_put_u8(&text, (uint8_t)prng_next(&p));
            } else {
                buf_put_str(&text, words[prng_range(&p, 0, sizeof words / sizeof words[0])]);
            }
        }
        struct loaded l = load_bytes(text.data, text.size, NULL);
        if (l.rc == 0) {
            accepted++;
            assert_string_equal(l.errors, "");
            assert_round_trip(&l.config);
        } else {
            assert_int_equal(l.rc, -RD_ECONFIG);
            assert_true(strncmp(l.errors, "F:", 2) == 0);
        }
        mem_free(l.errors);
    }
    assert_true(accepted > 20);
    buf_done(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(every_key),
        cmocka_unit_test(changes_are_told_and_taken),
        cmocka_unit_test(dumps_read_back),
        cmocka_unit_test(the_longest_values_read_back),
        cmocka_unit_test(dumps_explain_every_key),
        cmocka_unit_test(overrides_win),
        cmocka_unit_test(overrides_can_give_the_id),
        cmocka_unit_test(overrides_of_lists_add),
        cmocka_unit_test(bad_overrides),
        cmocka_unit_test(all_errors_are_collected),
        cmocka_unit_test(errors_are_appended),
        cmocka_unit_test(overrides_are_checked_without_a_file),
        cmocka_unit_test(the_installed_file_is_all_defaults),
        cmocka_unit_test(the_installed_file_shows_every_key),
        cmocka_unit_test(random_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
