/* Tests of metrics.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "raftd/metrics.h"

static void fill(struct report_status *status, struct metrics_view *view,
                 const struct metrics_counts *counts)
{
    *status = (struct report_status){.id = 1,
                                     .public = {.state = NODE_LEADER,
                                                .is_leader = true,
                                                .leader = 1,
                                                .term = 7,
                                                .fence = 7,
                                                .lease_remaining_ms = 390},
                                     .disk_state = "low",
                                     .free_bytes = REPORT_UNKNOWN,
                                     .log_commit_p99_us = 410,
                                     .state_used_bytes = 90,
                                     .state_max_bytes = 2097152,
                                     .commit = UINT64_MAX - 1};
    status->members.count = 2;
    status->members.rows[0] = (struct report_member){.id = 1, .match_index = 40, .contact_ms = 0};
    status->members.rows[1] = (struct report_member){
        .id = 2, .match_index = REPORT_UNKNOWN, .lag = REPORT_UNKNOWN, .contact_ms = 1500};
    *view = (struct metrics_view){.status = status, .counts = counts, .started_s = 1.5};
}

static void assert_line(struct buf *out, const char *line)
{
    if (!strstr(buf_str(out), line)) {
        fail_msg("no line \"%s\" in:\n%s", line, buf_str(out));
    }
}

static void test_base_units_and_labels(void **state)
{
    const struct metrics_counts counts = {.answered = {[METRICS_WRITE] = 3}};
    struct report_status status;
    struct metrics_view view;
    struct buf out = BUF_INIT;

    (void)state;
    fill(&status, &view, &counts);
    status.tls =
        (struct report_tls){.is_on = true, .cert_until_s = 1798761600, .ca_until_s = 2000000000};
    metrics_put(&out, &view);
    assert_line(&out, "\nraftd_tls_certificate_expiry_timestamp_seconds 1798761600\n");
    assert_line(&out, "\nraftd_tls_ca_expiry_timestamp_seconds 2000000000\n");
    assert_line(&out, "\nraftd_lease_remaining_seconds 0.39\n");
    assert_line(&out, "\nraftd_log_commit_p99_seconds 0.00041\n");
    assert_line(&out, "\nraftd_state{state=\"leader\"} 1\n");
    assert_line(&out, "\nraftd_state{state=\"follower\"} 0\n");
    assert_line(&out, "\nraftd_disk_state{state=\"low\"} 1\n");
    assert_line(&out, "\nraftd_state_used_bytes 90\n");
    assert_line(&out, "\nraftd_state_max_bytes 2097152\n");
    assert_line(&out, "\nraftd_commit_index 18446744073709551614\n");
    assert_line(&out, "\nraftd_member_contact_seconds{id=\"2\"} 1.5\n");
    assert_line(&out, "\nraftd_requests_total{kind=\"write\",result=\"ok\"} 3\n");
    assert_line(&out, "\nprocess_start_time_seconds 1.500\n");
    buf_done(&out);
}

/* Not 0, and not 18446744073709551615. */
static void test_what_is_not_known_has_no_sample(void **state)
{
    const struct metrics_counts counts = {.leaderships = 0};
    struct report_status status;
    struct metrics_view view;
    struct buf out = BUF_INIT;

    (void)state;
    fill(&status, &view, &counts);
    status.public.leader = 0;
    metrics_put(&out, &view);
    assert_line(&out, "# TYPE raftd_disk_free_bytes gauge\n# HELP raftd_disk_reserve_bytes");
    assert_null(strstr(buf_str(&out), "raftd_member_match_index{id=\"2\"}"));
    assert_null(strstr(buf_str(&out), "\nraftd_leader_contact_seconds "));
    assert_null(strstr(buf_str(&out), "\nraftd_tls_certificate_expiry_timestamp_seconds "));
    assert_null(strstr(buf_str(&out), "18446744073709551615"));
    buf_done(&out);
}

static void note(void *arg, const char *name, const char *type, const char *help)
{
    const char *total = strstr(name, "_total");

    (*(uint32_t *)arg)++;
    assert_int_equal(strcmp(type, "counter") == 0, total && total[6] == 0);
    assert_int_equal(help[strlen(help) - 1], '.');
}

static void test_the_table_follows_the_conventions(void **state)
{
    uint32_t count = 0;

    (void)state;
    metrics_each(note, &count);
    assert_true(count > 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base_units_and_labels),
        cmocka_unit_test(test_what_is_not_known_has_no_sample),
        cmocka_unit_test(test_the_table_follows_the_conventions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
