#include "fixture.h"

#include <ctype.h>
#include <pthread.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/log.h"

static struct child child;

struct setting {
    enum log_level level;
    enum log_format format;
    void (*say)(void);
    bool journal;
};

static void set_journal_stream(void)
{
    struct stat st;
    char text[64];

    (void)fstat(STDERR_FILENO, &st);
    (void)snprintf(text, sizeof text, "%llu:%llu", (unsigned long long)st.st_dev,
                   (unsigned long long)st.st_ino);
    (void)setenv("JOURNAL_STREAM", text, 1);
}

static void run(void *arg)
{
    const struct setting *s = arg;

    (void)unsetenv("JOURNAL_STREAM");
    if (s->journal) {
        set_journal_stream();
    }
    log_init(s->level, s->format);
    s->say();
}

/* What it prints, from the character after the time stamp in text form. */
static const char *said(enum log_level level, enum log_format format, bool journal,
                        void (*say)(void))
{
    struct setting s = {level, format, say, journal};

    child_run(&child, run, &s);
    assert_int_equal(child.status, 0);
    return child.text;
}

/* 2026-01-01T00:00:00.000Z */
static size_t time_stamp(const char *text)
{
    static const char form[] = "dddd-dd-ddTdd:dd:dd.dddZ";

    for (size_t i = 0; i < sizeof form - 1; i++) {
        assert_true(form[i] == 'd' ? isdigit((unsigned char)text[i]) : text[i] == form[i]);
    }
    return sizeof form - 1;
}

static void say_fields(void)
{
    log_notice("raft", "became leader", LOG_U64("term", UINT64_MAX), LOG_I64("delta", -3),
               LOG_STR("reason", "timeout"), LOG_STR("name", "a b"), LOG_STR("empty", ""),
               LOG_STR("none", NULL), LOG_ERR(-RD_ENO_QUORUM));
}

static void text_lines(void **state)
{
    const char *text = said(LOG_INFO, LOG_FORMAT_TEXT, false, say_fields);

    (void)state;
    text += time_stamp(text);
    assert_string_equal(text,
                        " notice  raft: became leader term=18446744073709551615 delta=-3 "
                        "reason=timeout name=\"a b\" empty=\"\" none=\"\" error=\"a majority is "
                        "out of reach\"\n");
}

static void json_lines(void **state)
{
    const char *text = said(LOG_INFO, LOG_FORMAT_JSON, false, say_fields);

    (void)state;
    assert_memory_equal(text, "{\"time\":\"", 9);
    text += 9;
    text += time_stamp(text);
    assert_string_equal(
        text, "\",\"level\":\"notice\",\"room\":\"raft\",\"message\":\"became leader\","
              "\"term\":18446744073709551615,\"delta\":-3,\"reason\":\"timeout\",\"name\":\"a b\","
              "\"empty\":\"\",\"none\":\"\",\"error\":\"a majority is out of reach\"}\n");
}

static void say_strange(void)
{
    log_error("net", "peer", LOG_STR("a", "x\ny"), LOG_STR("b", "x=\"y\""), LOG_STR("c", "\x1b[2J"),
              LOG_STR("d", "\xff"), LOG_STR("e", "\xc3\xa9"), LOG_STR("f", "back\\slash"),
              LOG_STR("g", "\x7f"));
}

/* Peers choose their names: a line stays one line and a terminal a terminal. */
static void strange_values_are_quoted(void **state)
{
    static const char expected[] = "net: peer a=\"x\\ny\" b=\"x=\\\"y\\\"\" c=\"\\u001b[2J\" "
                                   "d=\"\\ufffd\" e=\xc3\xa9 f=\"back\\\\slash\" g=\"\\u007f\"\n";

    (void)state;
    const char *text = said(LOG_INFO, LOG_FORMAT_TEXT, false, say_strange);
    text += time_stamp(text);
    assert_memory_equal(text, " error   ", 9);
    assert_string_equal(text + 9, expected);
    text = said(LOG_INFO, LOG_FORMAT_JSON, false, say_strange);
    assert_non_null(strstr(text, "\"a\":\"x\\ny\",\"b\":\"x=\\\"y\\\"\",\"c\":\"\\u001b[2J\","
                                 "\"d\":\"\\ufffd\",\"e\":\"\xc3\xa9\","));
}

static void say_each_level(void)
{
    log_error("m", "e");
    log_warning("m", "w");
    log_notice("m", "n");
    log_info("m", "i");
    log_debug("m", "d");
}

static void the_journal_gets_priorities_and_no_time(void **state)
{
    (void)state;
    assert_string_equal(said(LOG_DEBUG, LOG_FORMAT_TEXT, true, say_each_level),
                        "<3>m: e\n<4>m: w\n<5>m: n\n<6>m: i\n<7>m: d\n");
    assert_memory_equal(said(LOG_ERROR, LOG_FORMAT_JSON, true, say_each_level), "<3>{\"time\":\"",
                        12);
}

static void say_after_raising(void)
{
    log_set_level(LOG_WARNING);
    say_each_level();
    log_set_level(LOG_DEBUG);
    log_debug("m", "d2");
}

static void levels_filter(void **state)
{
    (void)state;
    assert_string_equal(said(LOG_ERROR, LOG_FORMAT_TEXT, true, say_each_level), "<3>m: e\n");
    assert_string_equal(said(LOG_NOTICE, LOG_FORMAT_TEXT, true, say_each_level),
                        "<3>m: e\n<4>m: w\n<5>m: n\n");
    assert_string_equal(said(LOG_INFO, LOG_FORMAT_TEXT, true, say_after_raising),
                        "<3>m: e\n<4>m: w\n<7>m: d2\n");
}

static void level_names(void **state)
{
    static const char *const names[] = {"error", "warning", "notice", "info", "debug"};
    enum log_level level = LOG_DEBUG;

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_true(log_level_by_name(names[i], &level));
        assert_int_equal(level, i);
        assert_string_equal(log_level_name(level), names[i]);
    }
    level = LOG_NOTICE;
    assert_false(log_level_by_name("Info", &level));
    assert_false(log_level_by_name("", &level));
    assert_int_equal(level, LOG_NOTICE); /* untouched */
    log_set_level(LOG_WARNING);
    assert_int_equal(log_level_get(), LOG_WARNING);
    log_set_level(LOG_INFO);
}

/* Another service's stream, or a wrong variable, is not our journal. */
static void say_with_foreign_journal(void)
{
    (void)setenv("JOURNAL_STREAM", "1:1", 1);
    log_init(LOG_INFO, LOG_FORMAT_TEXT);
    log_info("m", "one");
    (void)setenv("JOURNAL_STREAM", "nonsense", 1);
    log_init(LOG_INFO, LOG_FORMAT_TEXT);
    log_info("m", "two");
}

static void a_foreign_journal_is_not_ours(void **state)
{
    const char *text = said(LOG_INFO, LOG_FORMAT_TEXT, true, say_with_foreign_journal);

    (void)state;
    text += time_stamp(text);
    assert_memory_equal(text, " info    m: one\n", 16);
    text += 16;
    text += time_stamp(text);
    assert_string_equal(text, " info    m: two\n");
}

enum { THREADS = 4, LINES = 50 };

static void *say_much(void *arg)
{
    for (int i = 0; i < LINES; i++) {
        log_info("m", "x", LOG_STR("who", arg), LOG_STR("filler", "0123456789012345678901234567"));
    }
    return NULL;
}

static void say_from_threads(void)
{
    pthread_t threads[THREADS];
    char names[THREADS][2] = {"a", "b", "c", "d"};

    for (int i = 0; i < THREADS; i++) {
        if (pthread_create(&threads[i], NULL, say_much, names[i])) {
            _exit(9);
        }
    }
    for (int i = 0; i < THREADS; i++) {
        (void)pthread_join(threads[i], NULL);
    }
}

static void each_line_is_one_write(void **state)
{
    char *text = child.text;
    int lines = 0;

    (void)state;
    (void)said(LOG_INFO, LOG_FORMAT_TEXT, true, say_from_threads);
    for (char *line = strtok_r(text, "\n", &text); line; line = strtok_r(NULL, "\n", &text)) {
        char who = line[strlen("<6>m: x who=")];
        char expected[64];
        (void)snprintf(expected, sizeof expected,
                       "<6>m: x who=%c filler=0123456789012345678901234567", who);
        assert_string_equal(line, expected);
        lines++;
    }
    assert_int_equal(lines, THREADS * LINES);
}

static void say_into_nothing(void)
{
    (void)close(STDERR_FILENO);
    say_fields();
}

static void a_broken_log_stops_nothing(void **state)
{
    (void)state;
    assert_string_equal(said(LOG_INFO, LOG_FORMAT_TEXT, false, say_into_nothing), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_lines),
        cmocka_unit_test(json_lines),
        cmocka_unit_test(strange_values_are_quoted),
        cmocka_unit_test(the_journal_gets_priorities_and_no_time),
        cmocka_unit_test(levels_filter),
        cmocka_unit_test(level_names),
        cmocka_unit_test(a_foreign_journal_is_not_ours),
        cmocka_unit_test(each_line_is_one_write),
        cmocka_unit_test(a_broken_log_stops_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
