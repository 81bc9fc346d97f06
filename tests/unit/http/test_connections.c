#include "fixture.h"

#include <stdio.h>
#include <unistd.h>

#define GET "GET /livez HTTP/1.1\r\n\r\n"

static void expect_status(struct client *c, int status)
{
    struct answer a;

    client_answer(c, false, &a);
    assert_int_equal(a.status, status);
}

/* A byte now and then is no reason to stay. */
static void test_slow_loris(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);
    mono_ms began = f->now;

    fixture_turn(f);
    while (fixture_stats(f).connections) {
        client_write(&c, "G", 1);
        fixture_pass(f, HTTP_SWEEP_MS);
        assert_true(f->now - began <= HTTP_REQUEST_MS + HTTP_SWEEP_MS);
    }
    assert_true(f->now - began >= HTTP_REQUEST_MS);
    client_expect_end(&c);
    client_close(&c);
}

static void test_idle_connections_are_kept_longer(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);

    client_send(&c, GET);
    expect_status(&c, 200);
    fixture_pass(f, HTTP_IDLE_MS - HTTP_SWEEP_MS);
    client_expect_silence(&c);
    client_send(&c, GET);
    expect_status(&c, 200);
    fixture_pass(f, HTTP_IDLE_MS + 2 * HTTP_SWEEP_MS);
    client_expect_end(&c);
    client_close(&c);
}

static void test_one_that_never_takes_its_answer(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);

    f->leader_size = 4 << 20; /* more than a socket takes */
    client_send(&c, "GET /v1/leader HTTP/1.1\r\n\r\n");
    fixture_pass(f, HTTP_STALL_MS - 2 * HTTP_SWEEP_MS);
    assert_int_equal(fixture_stats(f).connections, 1);
    fixture_pass(f, 4 * HTTP_SWEEP_MS);
    assert_int_equal(fixture_stats(f).connections, 0);
    assert_int_equal(fixture_stats(f).cut_off, 1);
    client_close(&c);
}

/* The daemon takes its time: the client does not pay for it. */
static void test_no_deadline_while_the_daemon_is_asked(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);

    client_send(&c, "GET /v1/status HTTP/1.1\r\n\r\n");
    fixture_pass(f, 2 * (mono_ms)HTTP_IDLE_MS);
    client_expect_silence(&c);
    fixture_answer(f, 0, "{}");
    expect_status(&c, 200);
    client_close(&c);
}

/* Beyond the limit the slowest goes, not the newest. */
static void test_limit_of_connections(void **state)
{
    enum { MOST = WATCHERS_MAX + HTTP_CONNECTIONS_SPARE, MORE = 100 };
    static struct client crowd[MOST + MORE];
    struct fixture *f = *state;
    uint32_t ended = 0;

    for (size_t i = 0; i < MOST + MORE; i++) {
        crowd[i] = client_open(f);
        f->now++;
        fixture_turn(f);
        assert_true(fixture_stats(f).connections <= MOST);
    }
    struct client c = client_open(f);
    client_send(&c, GET);
    expect_status(&c, 200);
    client_close(&c);
    for (size_t i = 0; i < MOST + MORE; i++) {
        client_settle(&crowd[i]);
        /* And one for the last. A handshake takes several turns, so some are equally slow then. */
        assert_true(f->client_tls || crowd[i].has_ended == (i <= MORE));
        ended += crowd[i].has_ended;
        client_close(&crowd[i]);
    }
    assert_int_equal(ended, MORE + 1);
    assert_int_equal(fixture_stats(f).refused, ended);
}

/* libevent makes three allocations of each. */
static void test_too_many_lines(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);

    client_send(&c, "GET /livez HTTP/1.1\r\n");
    for (int i = 0; i < 2000; i++) {
        client_write(&c, ":\n", 2);
    }
    client_expect_end(&c);
    assert_int_equal(fixture_stats(f).refused, 1);
    client_close(&c);

    c = client_open(f);
    client_send(&c, "GET /livez HTTP/1.1\r\n");
    for (int i = 0; i < HTTP_LINES_MAX - 2; i++) {
        client_send(&c, "a: b\r\n");
    }
    client_send(&c, "\r\n");
    expect_status(&c, 200);
    client_close(&c);
}

/* With a read watermark bufferevent calls its reader for ever while this is not taken. */
static void test_the_line_of_a_chunk_that_does_not_end(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);
    char piece[1024];
    uint32_t sent = 0;

    memset(piece, 'a', sizeof piece);
    client_send(&c, "POST /livez HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
    while (fixture_stats(f).connections) {
        client_write(&c, piece, sizeof piece);
        fixture_turn(f);
        assert_true(++sent < 100);
    }
    assert_int_equal(fixture_stats(f).refused, 1);
    client_close(&c);
}

static void test_empty_lines_instead_of_chunks(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);
    uint32_t sent = 0;

    client_send(&c, "POST /livez HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
    while (fixture_stats(f).connections) {
        client_write(&c, "\r\n", 2);
        fixture_turn(f);
        assert_true(++sent < 1000);
    }
    client_close(&c);
}

/* What is behind a request that waits, or a stream, stays with the client. */
static void test_read_ahead_is_bounded(void **state)
{
    static const char *const first[] = {
        "GET /v1/status HTTP/1.1\r\n\r\n",
        "GET /v1/leader?after=000000000000abcd&wait=10m HTTP/1.1\r\n\r\n",
        "GET /v1/watch HTTP/1.1\r\n\r\n"};
    struct fixture *f = *state;
    static char flood[1 << 16];

    memset(flood, 'a', sizeof flood);
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++) {
        struct client c = client_open(f);
        client_send(&c, first[i]);
        for (int n = 0; n < 100; n++) {
            client_write(&c, flood, sizeof flood);
            fixture_pass(f, BEAT_MS);
        }
        struct http_conn *conn = RB_ROOT(&f->http->conns);
        assert_non_null(conn);
        assert_true(evbuffer_get_length(bufferevent_get_input(conn->bev)) <=
                    (size_t)2 * HTTP_HEADERS_MAX);
        client_close(&c);
        if (i == 0) {
            fixture_answer(f, 0, "{}");
        } else if (i == 1) {
            f->state.etag++; /* nobody looks at that client before the answer */
        }
        fixture_pass(f, 10 * BEAT_MS);
        assert_int_equal(fixture_stats(f).connections, 0);
    }
}

static void test_pipelined(void **state)
{
    enum { COUNT = 2000 };
    struct fixture *f = *state;
    struct client c = client_open(f);

    for (int i = 0; i < COUNT; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "GET /%s HTTP/1.1\r\n\r\n", i % 2 ? "livez" : "nothing");
        client_send(&c, text);
    }
    for (int i = 0; i < COUNT; i++) {
        expect_status(&c, i % 2 ? 200 : 404);
    }
    assert_int_equal(fixture_stats(f).requests, COUNT);
    client_close(&c);
}

/* It reads on, more than goes into a socket at once. */
static void test_half_closed(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);

    f->leader_size = 1 << 20;
    client_send(&c, "GET /v1/leader HTTP/1.1\r\n\r\n");
    client_half_close(&c);
    client_expect_end(&c);
    assert_true(c.in.size > f->leader_size);
    client_close(&c);
}

/* Whatever comes when: nothing is left, and nothing is used after libevent has freed it. */
static void test_clients_that_leave_at_any_time(void **state)
{
    static const char *const texts[] = {
        "GET /livez HTTP/1.1\r\n\r\n",
        "GET /livez HTTP/1.0\r\n\r\n",
        "GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "GET /livez HTTP/0.9\r\n\r\n",
        "GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n" GET,
        "GET /livez HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        "GET /v1/watch HTTP/1.1\r\n\r\n" GET,
        "GET /v1/leader?after=000000000000abcd&wait=1s HTTP/1.1\r\n\r\n" GET,
        "POST /livez HTTP/1.1\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST /livez HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\na: b\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        GET GET GET,
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        for (size_t size = 0; size <= strlen(texts[i]); size += f->client_tls ? 11 : 1) {
            for (uint32_t how = 0; how < 8; how++) {
                struct client c = client_open(f);
                client_write(&c, texts[i], size);
                for (uint32_t turn = 0; turn < how / 2; turn++) {
                    fixture_turn(f);
                }
                if (how % 2) {
                    client_half_close(&c);
                    fixture_turn(f);
                }
                client_close(&c);
                fixture_turn(f);
            }
        }
    }
    fixture_pass(f, 2 * HTTP_SWEEP_MS);
    assert_int_equal(fixture_stats(f).connections, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_slow_loris, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_idle_connections_are_kept_longer, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_one_that_never_takes_its_answer, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_no_deadline_while_the_daemon_is_asked, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_limit_of_connections, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_too_many_lines, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_the_line_of_a_chunk_that_does_not_end, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_empty_lines_instead_of_chunks, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_read_ahead_is_bounded, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_pipelined, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_half_closed, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_clients_that_leave_at_any_time, fixture_setup,
                                        fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
