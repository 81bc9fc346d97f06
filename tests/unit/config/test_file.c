#include "fixture.h"

#include <sys/stat.h>

/* The form of the contract's own sample: comments after values. */
static void comments_and_blanks(void **state)
{
    struct config c = load_good("; first\n# second\n\n   \n  ; indented comment\n"
                                "[node] ; the node\n"
                                "id =  7   ; required\n"
                                "name=n1\n"
                                "uri = amqp://h;x=1#y ; cut here; and here\n"
                                "[cluster]#c\n"
                                "name =\t  ; optional guard\n"
                                "[log]\t\n"
                                "level\t=\tdebug\t; tabs",
                                NULL);

    (void)state;
    assert_int_equal(c.node_id, 7);
    assert_string_equal(c.node_name, "n1");
    assert_string_equal(c.uri, "amqp://h;x=1#y");
    assert_string_equal(c.cluster_name, "");
    assert_int_equal(c.log_level, LOG_DEBUG);
}

static void line_ends_and_byte_order_mark(void **state)
{
    struct config c = load_good("\xef\xbb\xbf[node]\r\nid = 3\r\nname = x \r\n\r\n", NULL);

    (void)state;
    assert_int_equal(c.node_id, 3);
    assert_string_equal(c.node_name, "x");
    assert_refused("[node]\nid = 1\n\xef\xbb\xbfname = x\n",
                   "F:3: unknown key \"\xef\xbb\xbfname\" in [node]; did you mean \"name\"?\n");
}

static void a_section_may_come_back(void **state)
{
    struct config c = load_good("[node]\nid=1\n[log]\nlevel=debug\n[node]\nname=x\n", NULL);

    (void)state;
    assert_int_equal(c.node_id, 1);
    assert_string_equal(c.node_name, "x");
}

static void keys_need_a_section(void **state)
{
    (void)state;
    assert_refused("\nid = 1\n", "F:2: no section yet; write [node] or another section before it\n"
                                 "F:0: node.id is missing; write \"id = N\" in [node], a number of "
                                 "1..4294967295 that no other node of the cluster has or had\n");
}

static void malformed_sections(void **state)
{
    static const char *const bad[] = {"[log", "[log] level = debug", "[log]]"};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[200];
        char errors[300];
        /* What follows must not land in [node]: "name" there would be legal. */
        (void)snprintf(text, sizeof text, "[node]\nid = 1\n%s\nname = a\nlevel = b\n[node]\n",
                       bad[i]);
        (void)snprintf(errors, sizeof errors,
                       "F:3: malformed section \"%s\"; write [name] and nothing but a comment "
                       "after it (the lines up to the next section are not checked)\n",
                       bad[i]);
        assert_refused(text, errors);
    }
    assert_refused("[node]\nid = 1\n[log ;]\nlevel = b\n",
                   "F:3: unknown section [log ;]; did you mean [log]?\n");
    assert_refused("[node]\nid = 1\n[]\nx = y\n",
                   "F:3: unknown section []; the sections are [node] [cluster] [raft] [storage] "
                   "[admin] [http] [tls] [log]\n");
}

static void unknown_sections_are_one_error(void **state)
{
    (void)state;
    assert_refused("[node]\nid = 1\n[strage]\nmap_size = 1\nfoo\n[log]\nlevel = x\n",
                   "F:3: unknown section [strage]; did you mean [storage]?\n"
                   "F:7: log.level: \"x\" is not a level; write error, warning, notice, info or "
                   "debug\n");
    /* inih would cut this name to 49 bytes */
    assert_refused("[node]\nid = 1\n[nodenodenodenodenodenodenodenodenodenodenodenodenodenode]\n",
                   "F:3: unknown section "
                   "[nodenodenodenodenodenodenodenodenodenodenodenodenodenode]; the sections are "
                   "[node] [cluster] [raft] [storage] [admin] [http] [tls] [log]\n");
}

static void unknown_keys(void **state)
{
    (void)state;
    assert_refused("[node]\nid = 1\nlisen = h:1\n\n\nlevel = info\n",
                   "F:3: unknown key \"lisen\" in [node]; did you mean \"listen\"?\n"
                   "F:6: unknown key \"level\" in [node]; it belongs in [log]\n");
}

static void lines_without_a_pair(void **state)
{
    static const char *const bad[] = {"data_dir",       "= x",     "listen 0.0.0.0:7400",
                                      "listen: h:7400", "a ; b=c", "a\t; b=c"};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[100];
        char errors[100];
        (void)snprintf(text, sizeof text, "[node]\nid = 1\n\n%s\n", bad[i]);
        (void)snprintf(errors, sizeof errors, "F:4: expected \"key = value\", found \"%s\"\n",
                       bad[i]);
        for (char *p = errors; *p; p++) {
            *p = *p == '\t' ? '?' : *p;
        }
        assert_refused(text, errors);
    }
}

/* inih takes an indented line for one more value of the key before it. */
static void indented_lines(void **state)
{
    (void)state;
    assert_refused("[node]\nid = 1\n name = x\n\turi = y\n [log]\n",
                   "F:3: indented line; remove the blanks at its beginning (values do not continue "
                   "on the next line)\n"
                   "F:4: indented line; remove the blanks at its beginning (values do not continue "
                   "on the next line)\n"
                   "F:5: indented line; remove the blanks at its beginning (values do not continue "
                   "on the next line)\n");
}

static void duplicates_name_both_lines(void **state)
{
    (void)state;
    assert_refused("[node]\nid = 1\n\n[log]\nlevel=info\n[node]\nname=\nid = 1\nid = 2\n",
                   "F:8: node.id is set twice, first on line 2; delete one of the two lines\n"
                   "F:9: node.id is set twice, first on line 2; delete one of the two lines\n");
}

/* A setting of data_dir in a line of exactly `line_size` bytes, filled up by a comment. */
static void put_long_line(struct buf *text, int value_size, int line_size)
{
    text->size = 0;
    buf_printf(text, "[node]\nid = 1\ndata_dir = %0*d ;%*s\n[log]\nlevel = debug\n", value_size, 0,
               line_size - (11 + value_size + 2), "");
}

static void long_lines(void **state)
{
    struct buf text = BUF_INIT;

    (void)state;
    put_long_line(&text, 1023, 2047);
    struct config c = load_good(buf_str(&text), NULL);
    assert_int_equal(strlen(c.data_dir), 1023);
    assert_int_equal(c.log_level, LOG_DEBUG);
    put_long_line(&text, 1024, 2047);
    assert_refused(buf_str(&text),
                   "F:3: node.data_dir: is 1024 bytes long; at most 1023 are possible\n");
    put_long_line(&text, 1023, 2048);
    assert_refused(buf_str(&text), "F:3: line of 2048 bytes; at most 2047 are possible\n");
    put_long_line(&text, 5000, 6000);
    buf_put_str(&text, "x\n"); /* the count of lines goes on */
    assert_refused(buf_str(&text), "F:3: line of 6000 bytes; at most 2047 are possible\n"
                                   "F:6: expected \"key = value\", found \"x\"\n");
    buf_done(&text);
}

static void nul_bytes(void **state)
{
    static const char text[] = "[node]\nid = 1\nname = a\0b\nuri = u\n\0\n";
    struct loaded l = load_bytes(text, sizeof text - 1, NULL);

    (void)state;
    assert_int_equal(l.rc, -RD_ECONFIG);
    assert_string_equal(l.errors,
                        "F:3: holds a NUL byte; this is not a text file, or a damaged one\n"
                        "F:5: holds a NUL byte; this is not a text file, or a damaged one\n");
    mem_free(l.errors);
}

/* What is quoted from a damaged file must not reach the terminal as it is. */
static void messages_are_printable(void **state)
{
    (void)state;
    assert_refused("[node]\nid = 1\n\x1b[2Jx\n\xff\xfe = 1\n",
                   "F:3: expected \"key = value\", found \"?[2Jx\"\n"
                   "F:4: unknown key \"??\" in [node]; the keys of [node] are id name data_dir "
                   "listen advertise uri\n");
}

static void empty_files(void **state)
{
    static const char missing[] =
        "F:0: node.id is missing; write \"id = N\" in [node], a number of 1..4294967295 that no "
        "other node of the cluster has or had\n";

    (void)state;
    assert_refused("", missing);
    assert_refused("\n\n", missing);
}

static void huge_files(void **state)
{
    size_t size = 1024 * 1024;
    char *text = mem_alloc(size + 1);
    static const char head[] = "[node]\nid = 1\n";

    (void)state;
    memset(text, '\n', size + 1);
    memcpy(text, head, sizeof head - 1);
    struct loaded l = load_bytes(text, size, NULL);
    assert_string_equal(l.errors, "");
    assert_int_equal(l.rc, 0);
    mem_free(l.errors);
    l = load_bytes(text, size + 1, NULL);
    assert_string_equal(l.errors, "F:0: is larger than 1048576 bytes; this is not a raftd.conf\n");
    assert_int_equal(l.rc, -RD_ECONFIG);
    mem_free(l.errors);
    mem_free(text);
}

static void assert_path_refused(const char *path, const char *errors)
{
    struct buf said = BUF_INIT;
    struct config c;

    assert_int_equal(config_load(path, NULL, 0, &c, &said), -RD_ECONFIG);
    assert_string_equal(buf_str(&said), errors);
    buf_done(&said);
}

static void paths_that_are_no_files(void **state)
{
    (void)state;
    assert_path_refused("/", "/:0: is a directory; name the file in it\n");
    assert_path_refused("/nonexistent/raftd.conf",
                        "/nonexistent/raftd.conf:0: cannot be opened: No such file or directory; "
                        "create it, or name another file with -c\n");
    assert_path_refused("/etc/passwd/raftd.conf",
                        "/etc/passwd/raftd.conf:0: cannot be opened: Not a directory; create it, "
                        "or name another file with -c\n");
    assert_path_refused("/dev/null", "/dev/null:0: is not a regular file; it could not be read "
                                     "again at a reload\n");
}

static void a_file_that_fails(void **state)
{
    (void)state;
    /* a regular file for stat(2), but nothing is mapped at its beginning */
    assert_path_refused("/proc/self/mem", "/proc/self/mem:0: cannot be read: Input/output error\n");
}

/* Opening one must not hang. */
static void a_fifo_is_refused(void **state)
{
    char path[64] = "/tmp/raftd-config-fifo-XXXXXX";
    char errors[200];

    (void)state;
    assert_non_null(mkdtemp(path));
    size_t size = strlen(path);
    memcpy(path + size, "/f", 3);
    assert_int_equal(mkfifo(path, 0600), 0);
    (void)snprintf(errors, sizeof errors,
                   "%s:0: is not a regular file; it could not be read again at a reload\n", path);
    assert_path_refused(path, errors);
    assert_int_equal(unlink(path), 0);
    path[size] = 0;
    assert_int_equal(rmdir(path), 0);
}

static void an_unreadable_file(void **state)
{
    char path[64];
    char errors[200];

    (void)state;
    file_make(path, "[node]\nid = 1\n", 14);
    assert_int_equal(chmod(path, 0), 0);
    if (geteuid() == 0) { /* root may read everything: become somebody else for the attempt */
        assert_int_equal(seteuid(65534), 0);
    }
    (void)snprintf(errors, sizeof errors,
                   "%s:0: cannot be opened: Permission denied; make it readable for the user raftd "
                   "runs as\n",
                   path);
    assert_path_refused(path, errors);
    if (getuid() == 0) {
        assert_int_equal(seteuid(0), 0);
    }
    assert_int_equal(unlink(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comments_and_blanks),
        cmocka_unit_test(line_ends_and_byte_order_mark),
        cmocka_unit_test(a_section_may_come_back),
        cmocka_unit_test(keys_need_a_section),
        cmocka_unit_test(malformed_sections),
        cmocka_unit_test(unknown_sections_are_one_error),
        cmocka_unit_test(unknown_keys),
        cmocka_unit_test(lines_without_a_pair),
        cmocka_unit_test(indented_lines),
        cmocka_unit_test(duplicates_name_both_lines),
        cmocka_unit_test(long_lines),
        cmocka_unit_test(nul_bytes),
        cmocka_unit_test(messages_are_printable),
        cmocka_unit_test(empty_files),
        cmocka_unit_test(huge_files),
        cmocka_unit_test(paths_that_are_no_files),
        cmocka_unit_test(a_file_that_fails),
        cmocka_unit_test(a_fifo_is_refused),
        cmocka_unit_test(an_unreadable_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
