#include "fixture.h"

#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>

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
    log_init(LOG_INFO, LOG_FORMAT_TEXT);
    say_fields();
}

static void a_broken_log_stops_nothing(void **state)
{
    (void)state;
    assert_string_equal(said(LOG_INFO, LOG_FORMAT_TEXT, false, say_into_nothing), "");
}

/* ---- Whoever reads the log has stopped ---- */

enum { CROWD = 4000, HANGS_S = 30 };

/* The read end and the write end. */
static void small_pipe(int ends[2])
{
    if (pipe(ends) || fcntl(ends[1], F_SETPIPE_SZ, 4096) < 0) {
        _exit(9);
    }
}

/* Another user's, or no descriptor is left: it cannot be opened once more. */
static void closed_pipe(int ends[2])
{
    struct rlimit limit;

    if (pipe(ends) || getrlimit(RLIMIT_NOFILE, &limit)) {
        _exit(9);
    }
    limit.rlim_cur = 3;
    if (setrlimit(RLIMIT_NOFILE, &limit)) {
        _exit(9);
    }
}

static void stream_socket(int ends[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends)) {
        _exit(9);
    }
}

static void terminal(int ends[2])
{
    struct termios raw;
    char name[64];

    ends[0] = posix_openpt(O_RDWR | O_NOCTTY);
    if (ends[0] < 0 || grantpt(ends[0]) || unlockpt(ends[0]) ||
        ptsname_r(ends[0], name, sizeof name)) {
        _exit(9);
    }
    ends[1] = open(name, O_RDWR | O_NOCTTY);
    if (ends[1] < 0 || tcgetattr(ends[1], &raw)) {
        _exit(9);
    }
    cfmakeraw(&raw);
    (void)tcsetattr(ends[1], TCSANOW, &raw);
}

/* A sanitizer needs descriptors as the process ends. */
static void allow_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit)) {
        _exit(9);
    }
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* What is there, until nothing comes any more. */
static size_t take(int reader, char *text, size_t size)
{
    size_t used = 0;
    ssize_t n;

    while (poll(&(struct pollfd){.fd = reader, .events = POLLIN}, 1, 200) > 0 &&
           (n = read(reader, text + used, size - 1 - used)) > 0) {
        used += (size_t)n;
    }
    text[used] = 0;
    return used;
}

static unsigned sum_of_dropped(const char *text)
{
    unsigned sum = 0;

    for (const char *at = text; (at = strstr(at, " dropped=")); at++) {
        sum += (unsigned)strtoul(at + strlen(" dropped="), NULL, 10);
    }
    return sum;
}

static void say_to_a_stopped_reader(void *arg)
{
    void (*const *make)(int ends[2]) = arg;
    static char text[CROWD * 128];
    int ends[2];
    unsigned whole = 0;
    unsigned said = CROWD;

    int kept = dup(STDERR_FILENO);
    (*make)(ends);
    (void)dup2(ends[1], STDERR_FILENO);
    (void)alarm(HANGS_S);
    log_init(LOG_INFO, LOG_FORMAT_TEXT);
    allow_descriptors();
    for (int i = 0; i < CROWD; i++) {
        log_info("m", "x", LOG_STR("end", "of line"));
    }
    log_last_words("it ends\n", strlen("it ends\n"));
    (void)take(ends[0], text, sizeof text);
    for (const char *at = text; (at = strstr(at, " info    m: x end=\"of line\"\n")); at++) {
        whole++;
    }
    unsigned told = sum_of_dropped(text); /* a terminal has buffers behind it: it fills twice */
    do {                                  /* and has room again a moment later */
        log_error("m", "last");
        said++;
    } while (take(ends[0], text, sizeof text) == 0);
    (void)dprintf(kept, "gone=%u %s", said - 1 - whole - told, text);
}

static void a_stopped_reader_stops_nothing(void (*make)(int ends[2]))
{
    unsigned gone;
    unsigned dropped;
    int skip = 0;

    child_run(&child, say_to_a_stopped_reader, &make);
    assert_int_equal(child.status, 0);
    assert_int_equal(sscanf(child.text, "gone=%u%n", &gone, &skip), 1);
    assert_true(gone > 0 && gone < CROWD);
    const char *text = child.text + skip;
    text += strspn(text, " \n"); /* the end of a line that got out in part */
    text += time_stamp(text);
    assert_int_equal(sscanf(text,
                            " warning log: lines are missing here: what stderr leads to did not "
                            "take them dropped=%u\n%n",
                            &dropped, &skip),
                     1);
    assert_int_equal(dropped, gone);
    text += skip;
    text += time_stamp(text);
    assert_string_equal(text, " error   m: last\n");
}

static void a_full_pipe_stops_nothing(void **state)
{
    (void)state;
    a_stopped_reader_stops_nothing(small_pipe);
}

static void a_full_pipe_that_stays_closed_stops_nothing(void **state)
{
    (void)state;
    a_stopped_reader_stops_nothing(closed_pipe);
}

static void a_full_socket_stops_nothing(void **state)
{
    (void)state;
    a_stopped_reader_stops_nothing(stream_socket);
}

static void a_stopped_terminal_stops_nothing(void **state)
{
    (void)state;
    a_stopped_reader_stops_nothing(terminal);
}

/* As raftctl has it, and raftd before it serves: words of a command that somebody reads slowly. */
static void say_to_a_slow_reader(void *arg)
{
    (void)arg;
    (void)fcntl(STDERR_FILENO, F_SETPIPE_SZ, 4096);
    say_from_threads();
}

static void without_init_a_line_waits(void **state)
{
    int lines = 0;

    (void)state;
    child_run(&child, say_to_a_slow_reader, NULL);
    assert_int_equal(child.status, 0);
    for (const char *at = child.text; (at = strchr(at, '\n')); at++) {
        lines++;
    }
    assert_int_equal(lines, THREADS * LINES);
}

static char long_text[PIPE_BUF];

static void say_long(void)
{
    memset(long_text, 'x', sizeof long_text - 1);
    log_info("m", "long", LOG_U64("a", 1), LOG_STR("b", long_text), LOG_U64("c", 2));
    memset(long_text, '"', sizeof long_text / 2); /* two bytes each, once they are quoted */
    long_text[sizeof long_text * 2 / 3] = 0;
    log_info("m", "long", LOG_STR("b", long_text), LOG_STR("c", long_text), LOG_U64("d", 3));
}

/* Or a pipe that is ready would wait. */
static void a_line_has_a_longest_size(void **state)
{
    (void)state;
    assert_string_equal(said(LOG_INFO, LOG_FORMAT_TEXT, true, say_long),
                        "<6>m: long a=1 c=2 left_out=1\n<6>m: long d=3 left_out=2\n");
    const char *text = said(LOG_INFO, LOG_FORMAT_JSON, false, say_long);
    assert_non_null(strstr(text, "\"message\":\"long\",\"a\":1,\"c\":2,\"left_out\":1}\n{"));
    assert_non_null(strstr(text, "\"message\":\"long\",\"d\":3,\"left_out\":2}\n"));
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
        cmocka_unit_test(a_full_pipe_stops_nothing),
        cmocka_unit_test(a_full_pipe_that_stays_closed_stops_nothing),
        cmocka_unit_test(a_full_socket_stops_nothing),
        cmocka_unit_test(a_stopped_terminal_stops_nothing),
        cmocka_unit_test(without_init_a_line_waits),
        cmocka_unit_test(a_line_has_a_longest_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
