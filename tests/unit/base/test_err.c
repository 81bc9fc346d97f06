#include "fixture.h"

#include <ctype.h>
#include <errno.h>

#include "base/err.h"

#define ROW(symbol, value, name, status, text) {(symbol), (value), (name), (status), (text)},
static const struct {
    int code, value;
    const char *name;
    int status;
    const char *text;
} rows[] = {RD_ERRORS(ROW)};
enum { ROWS = sizeof rows / sizeof rows[0] };

/* The codes of the contract, section 3, that a client can be sent, and the exit status of each. */
static const struct {
    const char *name;
    int status;
} contract[] = {{"not_leader", 1},        {"no_leader", 4},
                {"no_quorum", 4},         {"timeout", 5},
                {"unknown_outcome", 5},   {"not_found", 7},
                {"already_member", 1},    {"change_pending", 1},
                {"not_ready", 1},         {"last_voter", 1},
                {"would_lose_quorum", 6}, {"not_caught_up", 1},
                {"unreachable", 1},       {"wrong_cluster", 1},
                {"not_empty", 1},         {"transfer_in_progress", 1},
                {"no_target", 1},         {"transfer_failed", 1},
                {"permission_denied", 8}, {"too_large", 1},
                {"no_space", 1},          {"conflict", 1},
                {"stale_fence", 1},       {"removed", 1},
                {"unconfigured", 1},      {"invalid", 1}};

static void the_contract_is_covered(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof contract / sizeof contract[0]; i++) {
        int code = err_by_name(contract[i].name);
        assert_string_equal(err_name(code), contract[i].name);
        assert_int_equal(err_exit_ctl(code), contract[i].status);
    }
}

static void rows_are_whole_and_unique(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS; i++) {
        assert_int_equal(rows[i].code, rows[i].value);
        assert_in_range(rows[i].value, 1001, 1999); /* away from errno */
        assert_in_range(rows[i].status, 1, 8);
        assert_true(strlen(rows[i].text) > 3);
        for (const char *p = rows[i].name; *p; p++) {
            assert_true(islower((unsigned char)*p) || *p == '_');
        }
        assert_int_equal(err_by_name(rows[i].name), -rows[i].value);
        assert_string_equal(err_name(-rows[i].value), rows[i].name);
        assert_string_equal(err_text(-rows[i].value), rows[i].text);
        assert_int_equal(err_exit_ctl(-rows[i].value), rows[i].status);
        for (size_t j = 0; j < i; j++) {
            assert_true(rows[i].value != rows[j].value);
            assert_string_not_equal(rows[i].name, rows[j].name);
            assert_string_not_equal(rows[i].text, rows[j].text);
        }
    }
}

static void other_codes(void **state)
{
    (void)state;
    assert_string_equal(err_name(0), "ok");
    assert_string_equal(err_text(0), "ok");
    assert_int_equal(err_exit_ctl(0), 0);
    assert_string_equal(err_name(-ENOENT), "system_error");
    assert_string_equal(err_text(-ENOENT), "No such file or directory");
    assert_int_equal(err_exit_ctl(-ENOENT), 1);
    assert_string_equal(err_text(-999), "unknown error");
    assert_string_equal(err_text(5), "unknown error"); /* codes are negative */
    assert_int_equal(err_by_name("nonsense"), -RD_EINVALID);
    assert_int_equal(err_by_name(""), -RD_EINVALID);
}

/* The contract, section 1. */
static void daemon_exit_statuses(void **state)
{
    (void)state;
    assert_int_equal(err_exit_daemon(0), 0);
    assert_int_equal(err_exit_daemon(-RD_EUSAGE), 64);
    assert_int_equal(err_exit_daemon(-RD_ECONFIG), 78);
    assert_int_equal(err_exit_daemon(-RD_ECORRUPT), 79);
    assert_int_equal(err_exit_daemon(-RD_EFORMAT), 79);
    assert_int_equal(err_exit_daemon(-RD_EDISK_FULL), 80);
    assert_int_equal(err_exit_daemon(-RD_EDISK), 81);
    assert_int_equal(err_exit_daemon(-RD_ENO_ADDRESS), 81); /* systemd tries again */
    assert_int_equal(err_exit_daemon(-EIO), 81);
    assert_int_equal(RD_EXIT_BUG, 70);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_contract_is_covered),
        cmocka_unit_test(rows_are_whole_and_unique),
        cmocka_unit_test(other_codes),
        cmocka_unit_test(daemon_exit_statuses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
