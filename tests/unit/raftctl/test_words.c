#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "raftctl/words.h"

/* The words of a line, each in brackets. */
static void expect(const char *line, const char *expected)
{
    struct words w;
    const char *why = NULL;
    struct buf got = BUF_INIT;

    assert_int_equal(words_split(line, strlen(line), &w, &why), 0);
    for (uint32_t i = 0; i < w.count; i++) {
        buf_printf(&got, "[%s]", w.word[i]);
    }
    assert_null(w.word[w.count]);
    assert_string_equal(buf_str(&got), expected);
    buf_done(&got);
    words_done(&w);
}

static void expect_refused(const char *line, size_t size, const char *reason)
{
    struct words w = {.count = 77};
    const char *why = NULL;

    assert_int_equal(words_split(line, size, &w, &why), -RD_EINVALID);
    assert_non_null(strstr(why, reason));
    assert_int_equal(w.count, 77);
}

static void splits_at_blanks(void **state)
{
    (void)state;
    expect("", "");
    expect(" \t \r", "");
    expect("put a 1", "[put][a][1]");
    expect("\tput   a\t1 \r", "[put][a][1]");
}

static void quotes_keep_and_join(void **state)
{
    (void)state;
    expect("put 'a b' \"c d\"", "[put][a b][c d]");
    expect("a'b'\"c\"d", "[abcd]");
    expect("'' \"\"", "[][]");
    expect("'\\n$x\"'", "[\\n$x\"]");
    expect("\"a'b\"", "[a'b]");
    expect("'$HOME' $HOME *", "[$HOME][$HOME][*]");
}

static void backslash_escapes(void **state)
{
    (void)state;
    expect("a\\ b \\' \\\\ \\#", "[a b]['][\\][#]");
    /* Inside double quotes only before $ ` " and itself. */
    expect("\"\\\" \\\\ \\$ \\` \\n\"", "[\" \\ $ ` \\n]");
}

static void comments_end_the_line(void **state)
{
    (void)state;
    expect("# put a 1", "");
    expect("get a # why", "[get][a]");
    expect("get a#b", "[get][a#b]");
    expect("get '#a'", "[get][#a]");
}

static void refuses_what_it_cannot_split(void **state)
{
    char many[2 * (WORDS_MAX + 1)];

    (void)state;
    expect_refused("get 'a", 6, "single quote");
    expect_refused("get \"a", 6, "double quote");
    expect_refused("get \"a\\", 7, "double quote");
    expect_refused("get a\\", 6, "backslash");
    expect_refused("get a\0b", 7, "NUL");
    memset(many, ' ', sizeof many);
    for (size_t i = 0; i < sizeof many; i += 2) {
        many[i] = 'w';
    }
    expect_refused(many, sizeof many, "64 words");
}

static void takes_as_many_words_as_it_says(void **state)
{
    char line[2 * WORDS_MAX];
    struct words w;
    const char *why;

    (void)state;
    memset(line, ' ', sizeof line);
    for (size_t i = 0; i < sizeof line; i += 2) {
        line[i] = 'w';
    }
    assert_int_equal(words_split(line, sizeof line, &w, &why), 0);
    assert_int_equal(w.count, WORDS_MAX);
    words_done(&w);
    assert_int_equal(w.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits_at_blanks),
        cmocka_unit_test(quotes_keep_and_join),
        cmocka_unit_test(backslash_escapes),
        cmocka_unit_test(comments_end_the_line),
        cmocka_unit_test(refuses_what_it_cannot_split),
        cmocka_unit_test(takes_as_many_words_as_it_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
