#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>

#define JSON "application/json"
#define TEXT "text/plain; charset=utf-8"
#define METRICS "text/plain; version=0.0.4; charset=utf-8"

static void test_what_each_path_answers(void **state)
{
    static const struct {
        const char *path;
        int as_follower, as_leader;
        const char *type, *body;
    } rows[] = {
        {"/livez", 200, 200, TEXT, "ok\n"},
        {"/readyz", 200, 200, TEXT, "readiness\n"},
        {"/readyz?verbose", 200, 200, TEXT, "readiness\n"},
        {"/health/leader", 503, 200, TEXT, "health\n"},
        {"/leader", 503, 200, TEXT, "health\n"},
        {"/primary", 503, 200, TEXT, "health\n"},
        {"/health/follower", 200, 503, TEXT, "health\n"},
        {"/replica", 200, 503, TEXT, "health\n"},
        {"/v1/leader", 200, 200, JSON, LEADER_JSON "\n"},
        {"/metrics", 200, 200, METRICS, "metric 1\n"},
        {"/livez?x=1#y", 200, 200, TEXT, "ok\n"},
    };
    struct fixture *f = *state;
    struct client c = client_open(f);
    struct answer a;

    f->state.is_ready = true;
    for (int leads = 0; leads < 2; leads++) {
        f->state.is_leader = leads;
        f->state.is_follower = !leads;
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            client_get(&c, rows[i].path, &a);
            assert_int_equal(a.status, leads ? rows[i].as_leader : rows[i].as_follower);
            assert_string_equal(answer_header(&a, "Content-Type"), rows[i].type);
            assert_string_equal(answer_header(&a, "Cache-Control"), "no-store");
            assert_string_equal(a.body, rows[i].body);
            client_ask(&c, "HEAD", rows[i].path, &a);
            assert_int_equal(a.status, leads ? rows[i].as_leader : rows[i].as_follower);
            assert_int_equal(strtoul(answer_header(&a, "Content-Length"), NULL, 10),
                             strlen(rows[i].body));
        }
    }
    client_close(&c);
}

/* libevent takes it for a proxy's, and closes. */
static void test_a_whole_uri(void **state)
{
    struct client c = client_open(*state);
    struct answer a;

    client_get(&c, "http://host/livez", &a);
    assert_int_equal(a.status, 200);
    client_expect_end(&c);
    client_close(&c);
    c = client_open(*state);
    client_get(&c, "http://host", &a);
    assert_int_equal(a.status, 404);
    client_close(&c);
}

static void test_readiness(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);
    struct answer a;

    client_get(&c, "/readyz", &a);
    assert_int_equal(a.status, 503);
    assert_false(f->verbose);
    client_get(&c, "/readyz?verbose", &a);
    assert_true(f->verbose);
    client_get(&c, "/replica", &a); /* a follower that is not ready */
    assert_int_equal(a.status, 503);
    f->state.is_known = false;
    client_get(&c, "/v1/leader", &a);
    assert_int_equal(a.status, 503);
    assert_string_equal(a.body, LEADER_JSON "\n");
    client_close(&c);
}

static void test_methods_and_unknown_paths(void **state)
{
    static const char *const methods[] = {"POST", "PUT", "DELETE", "PATCH", "TRACE"};
    static const char *const paths[] = {"/",          "/livez/",  "/LIVEZ", "//livez",
                                        "/livez%00x", "/%6civez", "*",      "/v1/../livez",
                                        "/metrics;x", "/v1"};
    struct client c = client_open(*state);
    struct answer a;

    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        client_ask(&c, methods[i], "/livez", &a);
        assert_int_equal(a.status, 405);
        assert_string_equal(answer_header(&a, "Allow"), "GET, HEAD, OPTIONS");
    }
    client_ask(&c, "OPTIONS", "/livez", &a);
    assert_int_equal(a.status, 204);
    assert_string_equal(answer_header(&a, "Allow"), "GET, HEAD, OPTIONS");
    assert_null(answer_header(&a, "Content-Length"));
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        client_get(&c, paths[i], &a);
        assert_int_equal(a.status, 404);
        assert_string_equal(answer_header(&a, "Content-Type"), JSON);
        assert_non_null(strstr(a.body, "\"code\":\"not_found\""));
        assert_non_null(strstr(a.body, "/v1/watch"));
    }
    client_close(&c);
}

static void test_etags(void **state)
{
    static const struct {
        const char *after;
        int status;
    } rows[] = {
        {"000000000000abcd", 304},
        {"%22000000000000abcd%22", 304},
        {"abcd", 304},
        {"%22ABCD%22", 304},
        {"000000000000abce", 200},
        {"", 200},
        {"nonsense", 200},
        {"%00", 200},
    };
    struct client c = client_open(*state);
    struct answer a;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char path[96];
        (void)snprintf(path, sizeof path, "/v1/leader?after=%s", rows[i].after);
        client_get(&c, path, &a);
        assert_int_equal(a.status, rows[i].status);
        assert_string_equal(answer_header(&a, "ETag"), "\"000000000000abcd\"");
        if (a.status == 304) {
            assert_null(answer_header(&a, "Content-Length"));
            assert_null(answer_header(&a, "Content-Type"));
        }
    }
    client_close(&c);
}

static void test_waits_that_are_refused(void **state)
{
    static const char *const waits[] = {"5", "-1s", "601s", "11m", "", "99999999999999999999s",
                                        "1x"};
    struct client c = client_open(*state);
    struct answer a;

    for (size_t i = 0; i < sizeof waits / sizeof waits[0]; i++) {
        char path[96];
        (void)snprintf(path, sizeof path, "/v1/leader?after=abcd&wait=%s", waits[i]);
        client_get(&c, path, &a);
        assert_int_equal(a.status, 400);
        assert_non_null(strstr(a.body, "\"code\":\"invalid\""));
    }
    client_get(&c, "/v1/leader?wait", &a);
    assert_int_equal(a.status, 400);
    client_get(&c, "/v1/leader?after=abcd&wait=0s", &a);
    assert_int_equal(a.status, 304);
    client_get(&c, "/v1/leader?after=1&wait=10m", &a);
    assert_int_equal(a.status, 200);
    client_close(&c);
}

/* Exactly when is_leader leaves the process. */
static void test_claims_are_counted(void **state)
{
    static const char *const claiming[] = {"/health/leader", "/leader", "/primary", "/v1/leader",
                                           "/metrics"};
    static const char *const others[] = {
        "/livez",   "/readyz",          "/health/follower", "/replica", "/v1/leader?after=abcd",
        "/nothing", "/v1/leader?wait=1"};
    struct fixture *f = *state;
    struct client c = client_open(f);
    struct answer a;

    for (size_t i = 0; i < sizeof claiming / sizeof claiming[0]; i++) {
        client_get(&c, claiming[i], &a);
    }
    assert_int_equal(f->claims, 0); /* there was none */
    f->state.is_leader = true;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        client_get(&c, others[i], &a);
        assert_false(f->claim_shown);
    }
    assert_int_equal(f->claims, 0);
    for (uint32_t i = 0; i < sizeof claiming / sizeof claiming[0]; i++) {
        client_get(&c, claiming[i], &a);
        assert_int_equal(f->claims, i + 1);
        assert_int_equal(f->claim_shown, strstr(a.body, "health") != NULL);
        f->claim_shown = false;
    }
    client_close(&c);
}

static void test_what_the_daemon_answers_later(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);
    struct answer a;

    client_send(&c, "GET /v1/status HTTP/1.1\r\n\r\nGET /v1/members HTTP/1.1\r\n\r\n");
    client_expect_silence(&c);
    assert_int_equal(f->asked_count, 1); /* one after the other */
    fixture_answer(f, 0, "{\"status\":1}");
    client_answer(&c, false, &a);
    assert_int_equal(a.status, 200);
    assert_string_equal(answer_header(&a, "Content-Type"), JSON);
    assert_string_equal(a.body, "{\"status\":1}\n");
    client_expect_silence(&c);
    fixture_answer(f, 1, "{}");
    client_answer(&c, false, &a);
    assert_string_equal(a.body, "{}\n");
    client_close(&c);
}

static void test_answered_after_its_client_left(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);

    client_send(&c, "GET /v1/status HTTP/1.1\r\n\r\n");
    fixture_settle(f);
    client_close(&c);
    fixture_settle(f);
    fixture_answer(f, 0, "{}");
    fixture_settle(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_each_path_answers, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_a_whole_uri, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_readiness, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_methods_and_unknown_paths, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_etags, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_waits_that_are_refused, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_claims_are_counted, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_what_the_daemon_answers_later, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_answered_after_its_client_left, fixture_setup,
                                        fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
