#include "fixture.h"

#include <stdio.h>

static void test_versions(void **state)
{
    struct client c = client_open(*state);
    struct answer a;

    client_send(&c, "GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    client_answer(&c, false, &a);
    assert_string_equal(answer_header(&a, "Connection"), "keep-alive");
    assert_string_equal(a.body, "ok\n");
    client_send(&c, "GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n");
    client_answer(&c, false, &a);
    assert_string_equal(answer_header(&a, "Connection"), "close");
    client_expect_end(&c);
    client_close(&c);

    c = client_open(*state);
    client_send(&c, "GET /livez HTTP/1.0\r\n\r\n");
    client_expect_end(&c);
    assert_non_null(strstr((char *)c.in.data, "\r\n\r\nok\n"));
    client_close(&c);
}

/* By libevent, not by us; what matters is that it says so and ends. */
static void test_what_libevent_refuses(void **state)
{
    static const struct {
        const char *text;
        int status;
    } rows[] = {
        {"GET /livez\r\n\r\n", 400},
        {"GET  HTTP/1.1\r\n\r\n", 400},
        {"GET /livez HTTP/2.0\r\n\r\n", 400},
        {"nonsense, but long enough\r\n\r\n", 400},
        {"\r\n\r\n", 400},
        {"GET /livez HTTP/1.1\r\nno colon\r\n\r\n", 400},
        {"GET /livez HTTP/1.1\r\n continued\r\n\r\n", 400},
        {"GET /livez HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400},
        {"GET /livez HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {"POST /livez HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 413},
        {"POST /livez HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", 413},
        {"POST /livez HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 413},
        {"POST /livez HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 413},
        {"PUT /livez HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", 413},
        {"PUT /livez HTTP/1.1\r\nContent-Length: 5\r\nExpect: miracles\r\n\r\n", 417},
        {"BREW /livez HTTP/1.1\r\n\r\n", 501},
    };
    struct fixture *f = *state;
    struct answer a;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct client c = client_open(f);
        client_send(&c, rows[i].text);
        client_answer(&c, false, &a);
        if (a.status != rows[i].status) {
            fail_msg("%s: %d", rows[i].text, a.status);
        }
        client_expect_end(&c);
        client_close(&c);
    }
    struct client c = client_open(f);
    client_send(&c, "CONNECT host:80 HTTP/1.1\r\n\r\n"); /* the only one that it does not close */
    client_answer(&c, false, &a);
    assert_int_equal(a.status, 501);
    client_close(&c);
    assert_int_equal(fixture_stats(f).requests, 0);
}

static void test_headers_that_are_too_large(void **state)
{
    struct fixture *f = *state;
    static char line[HTTP_HEADERS_MAX + 64];
    struct answer a;

    for (int where = 0; where < 4;
         where++) { /* in the path or in a header, with an end or without */
        struct client c = client_open(f);
        memset(line, 'a', sizeof line - 1);
        client_send(&c, where % 2 ? "GET /" : "GET /livez HTTP/1.1\r\na: ");
        client_send(&c, line);
        if (where / 2) {
            client_send(&c, "\r\n\r\n");
        }
        client_answer(&c, false, &a);
        assert_int_equal(a.status, 400);
        client_expect_end(&c);
        client_close(&c);
    }
}

static void test_bodies_that_are_none(void **state)
{
    struct client c = client_open(*state);
    struct answer a;

    client_send(&c, "GET /livez HTTP/1.1\nContent-Length: 0\n\n"); /* bare line feeds, too */
    client_answer(&c, false, &a);
    assert_int_equal(a.status, 200);
    client_send(&c, "GET /livez HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    client_answer(&c, false, &a);
    assert_int_equal(a.status, 200);
    client_send(&c, "GET /livez HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    client_answer(&c, false, &a);
    assert_int_equal(a.status, 200);
    client_send(&c, "GET /livez HTTP/1.1\r\nExpect: 100-continue\r\n"
                    "Transfer-Encoding: chunked\r\n\r\n");
    client_until(&c, "HTTP/1.1 100 Continue\r\n\r\n");
    client_send(&c, "0\r\n\r\n");
    client_answer(&c, false, &a);
    assert_int_equal(a.status, 200);
    client_close(&c);
}

/* libevent has an interim answer to write while the request is with us, and finds that it cannot: the
 * request is left to us without its connection. (A tunnel takes it, whoever is at its end.) */
static void test_a_request_that_loses_its_connection(void **state)
{
    struct fixture *f = *state;

    if (f->client_tls) {
        return;
    }
    struct client c = client_open(f);
    client_send(&c, "GET /v1/status HTTP/1.1\r\nExpect: 100-continue\r\n"
                    "Transfer-Encoding: chunked\r\n\r\n");
    client_send(&c, "0\r\n\r\n");
    fixture_settle(f);
    assert_int_equal(f->asked_count, 1);
    struct http_conn *conn = RB_ROOT(&f->http->conns);
    client_close(&c);
    assert_int_equal(bufferevent_enable(conn->bev, EV_WRITE), 0);
    assert_int_equal(evbuffer_add(bufferevent_get_output(conn->bev), "late", 4), 0);
    fixture_pass(f, 2 * HTTP_SWEEP_MS);
    assert_int_equal(fixture_stats(f).connections, 0);
    fixture_answer(f, 0, "{}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_versions, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_what_libevent_refuses, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_headers_that_are_too_large, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_bodies_that_are_none, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_a_request_that_loses_its_connection, fixture_setup,
                                        fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
