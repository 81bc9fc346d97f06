#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "raftctl/progress.h"

static struct progress progress;
static struct buf out;

static void begin(enum progress_style style, uint64_t now)
{
    progress_begin(&progress, style, now);
    assert_true(progress_due(&progress) == UINT64_MAX);
}

static void take(uint64_t now, const char *json)
{
    progress_take(&progress, json, strlen(json), now, &out);
}

/* What was to be written since the last look. */
static void expect(const char *text)
{
    assert_string_equal(buf_str(&out), text);
    out.size = 0;
}

static int done(void **state)
{
    (void)state;
    progress_end(&progress, &out);
    buf_done(&out);
    return 0;
}

#define STEP(step) "{\"progress\":{\"step\":\"" step "\"}}"
#define PERCENT(percent) "{\"progress\":{\"step\":\"catching_up\",\"percent\":" #percent "}}"

static void steps_in_words(void **state)
{
    static const char *const cases[][2] = {
        {"{\"progress\":{\"step\":\"dialling\",\"id\":4}}", "dialling node 4 ...\n"},
        {"{\"progress\":{\"step\":\"dialling\",\"id\":null}}", "dialling ...\n"},
        {"{\"progress\":{\"step\":\"committing\",\"id\":4}}",
         "waiting for a majority to store the change ...\n"},
        {"{\"progress\":{\"step\":\"catching_up\",\"id\":4,\"match_index\":430,\"last_index\":1000,"
         "\"percent\":43}}",
         "catching up 43% (430 of 1000) ...\n"},
        {"{\"progress\":{\"step\":\"catching_up\",\"id\":4,\"match_index\":430}}",
         "catching up ...\n"},
        {PERCENT(7), "catching up 7% ...\n"},
        {"{\"progress\":{\"step\":\"handing_over\",\"id\":4}}", "handing over ...\n"},
        {"{\"progress\":{\"step\":\"handing_over\",\"id\":null}}", "handing over ...\n"},
        {STEP("moving_house_2"), "moving house 2 ...\n"},
        {STEP("gr\xc3\xbcn\\u001b[2J\\n"), "gr??n??2J? ...\n"},
        {STEP("a_step_whose_name_is_longer_than_a_terminal_is_wide_at_least_than_mine"),
         "a step whose name is longer than a termi ...\n"},
        {STEP(""), "the change is under way ...\n"},
        {"{\"progress\":{}}", "the change is under way ...\n"},
        {"{\"progress\":\"dialling\"}", "the change is under way ...\n"},
        {"{\"progress\":{\"step\":3,\"id\":4}}", "the change is under way ...\n"},
        {"[]", "the change is under way ...\n"},
        {"{\"progress\":", "the change is under way ...\n"},
        {"", "the change is under way ...\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        begin(PROGRESS_LINES, 1000);
        take(1000 + PROGRESS_CALM_MS, cases[i][0]);
        expect(cases[i][1]);
        progress_end(&progress, &out);
        expect("");
    }
    begin(PROGRESS_LINES, 1000);
    progress_take(&progress, NULL, 0, 2000, &out);
    expect("the change is under way ...\n");
}

static void what_is_quick_is_not_told(void **state)
{
    static const enum progress_style styles[] = {PROGRESS_LINES, PROGRESS_TERMINAL};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        begin(styles[i], 1000);
        take(1000, STEP("dialling"));
        take(1000 + PROGRESS_CALM_MS - 1, STEP("committing"));
        assert_int_equal(progress_due(&progress), 1000 + PROGRESS_CALM_MS);
        progress_tick(&progress, 1000 + PROGRESS_CALM_MS - 1, &out);
        progress_end(&progress, &out);
        expect("");
    }
}

static void where_nothing_is_heard(void **state)
{
    (void)state;
    progress_begin(&progress, PROGRESS_TERMINAL, 1000);
    progress_await(&progress, "waiting ...");
    assert_int_equal(progress_due(&progress), 1000 + PROGRESS_UNHEARD_MS);
    progress_tick(&progress, 1000 + PROGRESS_UNHEARD_MS - 1, &out);
    expect("");
    progress_tick(&progress, 1000 + PROGRESS_UNHEARD_MS, &out);
    expect("\rwaiting ...");
    assert_true(progress_due(&progress) == UINT64_MAX);
    take(5000, PERCENT(7));
    expect("\rcatching up 7% ...");
    progress_end(&progress, &out);
    expect("\r                  \r");
}

/* What it would have said is of no interest then, and the calm is that of changes. */
static void what_is_heard_comes_first(void **state)
{
    (void)state;
    progress_begin(&progress, PROGRESS_TERMINAL, 1000);
    progress_await(&progress, "waiting ...");
    take(1010, STEP("dialling"));
    assert_int_equal(progress_due(&progress), 1000 + PROGRESS_CALM_MS);
    progress_tick(&progress, 1000 + PROGRESS_CALM_MS, &out);
    expect("\rdialling ...");
}

static void in_lines_it_is_not_told_that_nothing_is_heard(void **state)
{
    static const enum progress_style styles[] = {PROGRESS_LINES, PROGRESS_SILENT};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        begin(styles[i], 1000);
        progress_await(&progress, "waiting ...");
        assert_true(progress_due(&progress) == UINT64_MAX);
        progress_tick(&progress, 9000, &out);
        progress_end(&progress, &out);
        expect("");
    }
}

static void what_is_not_quick_is_told_when_the_calm_is_over(void **state)
{
    (void)state;
    begin(PROGRESS_LINES, 1000);
    take(1001, STEP("dialling"));
    take(1002, STEP("committing"));
    assert_int_equal(progress_due(&progress), 1000 + PROGRESS_CALM_MS);
    progress_tick(&progress, 1000 + PROGRESS_CALM_MS, &out);
    expect("waiting for a majority to store the change ...\n"); /* the newest alone */
    assert_true(progress_due(&progress) == UINT64_MAX);
    progress_tick(&progress, 9000, &out);
    take(9001, STEP("committing"));
    expect(""); /* and only once */
}

static void a_line_for_each_step(void **state)
{
    (void)state;
    begin(PROGRESS_LINES, 1000);
    take(2000, STEP("dialling"));
    take(2000, STEP("committing"));
    take(2001, PERCENT(0));
    take(2002, STEP("committing"));
    take(2003, STEP("committing"));
    expect("dialling ...\nwaiting for a majority to store the change ...\ncatching up 0% ...\n"
           "waiting for a majority to store the change ...\n");
}

static void few_lines_within_a_step(void **state)
{
    (void)state;
    begin(PROGRESS_LINES, 1000);
    take(2000, PERCENT(1));
    take(2500, PERCENT(2));
    take(2600, PERCENT(3));
    expect("catching up 1% ...\n");
    assert_int_equal(progress_due(&progress), 2000 + PROGRESS_EVERY_MS);
    progress_tick(&progress, 3999, &out);
    expect("");
    progress_tick(&progress, 4000, &out);
    expect("catching up 3% ...\n");
    assert_true(progress_due(&progress) == UINT64_MAX);
    take(5000, PERCENT(4));
    take(5001, PERCENT(3)); /* back to what was told */
    assert_true(progress_due(&progress) == UINT64_MAX);
    take(9000, PERCENT(9));
    expect("catching up 9% ...\n");
    take(9001, STEP("committing")); /* another step does not wait */
    take(9002, PERCENT(10));
    expect("waiting for a majority to store the change ...\ncatching up 10% ...\n");
}

static void a_terminal_has_one_line(void **state)
{
    (void)state;
    begin(PROGRESS_TERMINAL, 1000);
    take(2000, STEP("dialling"));
    expect("\rdialling ...");
    take(2001, PERCENT(9));
    expect("\rcatching up 9% ...");
    take(2002, PERCENT(10));
    expect("\rcatching up 10% ...");
    take(2003, STEP("dialling")); /* shorter: the rest of the longer one goes */
    expect("\rdialling ...       ");
    take(2004, STEP("dialling"));
    expect("");
    progress_end(&progress, &out);
    expect("\r            \r");
}

static void silence(void **state)
{
    (void)state;
    begin(PROGRESS_SILENT, 1000);
    take(2000, STEP("dialling"));
    assert_true(progress_due(&progress) == UINT64_MAX);
    progress_tick(&progress, 5000, &out);
    progress_end(&progress, &out);
    expect("");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(steps_in_words, done),
        cmocka_unit_test_teardown(what_is_quick_is_not_told, done),
        cmocka_unit_test_teardown(where_nothing_is_heard, done),
        cmocka_unit_test_teardown(what_is_heard_comes_first, done),
        cmocka_unit_test_teardown(in_lines_it_is_not_told_that_nothing_is_heard, done),
        cmocka_unit_test_teardown(what_is_not_quick_is_told_when_the_calm_is_over, done),
        cmocka_unit_test_teardown(a_line_for_each_step, done),
        cmocka_unit_test_teardown(few_lines_within_a_step, done),
        cmocka_unit_test_teardown(a_terminal_has_one_line, done),
        cmocka_unit_test_teardown(silence, done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
