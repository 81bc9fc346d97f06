#include "fixture.h"

#include <stdio.h>

/* Everything that can be open is. */
static void test_closed_with_everything_open(void **state)
{
    static const char *const requests[] = {
        "",
        "GET /livez HT",
        "POST /livez HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET /v1/status HTTP/1.1\r\n\r\nGET /livez HTTP/1.1\r\n\r\n",
        "GET /v1/leader?after=abcd&wait=10s HTTP/1.1\r\n\r\n",
        "GET /v1/watch HTTP/1.1\r\n\r\n",
    };
    enum { COUNT = sizeof requests / sizeof requests[0] };
    struct client clients[COUNT + 1];
    struct fixture *f = *state;
    uint32_t before = fixture_descriptors();

    for (size_t i = 0; i < COUNT; i++) {
        clients[i] = client_open(f);
        client_send(&clients[i], requests[i]);
        fixture_settle(f);
    }
    clients[COUNT] = client_open(f);
    client_write(&clients[COUNT], "GET /v1/leader HTTP/1.1\r\n\r\n", 27);
    while (TAILQ_EMPTY(&f->http->fresh)) { /* asked, and no turn has come */
        assert_true(event_base_loop(f->base, EVLOOP_ONCE | EVLOOP_NONBLOCK) >= 0);
    }
    assert_int_equal(fixture_stats(f).connections, COUNT + 1);
    fixture_close(f);
    for (size_t i = 0; i <= COUNT; i++) {
        client_close(&clients[i]);
    }
    f->asked_count = 0; /* freed with the room */
    fixture_open(f);
    assert_int_equal(fixture_descriptors(), before);
}

static void test_close_of_none(void **state)
{
    (void)state;
    http_close(NULL);
}

static void test_a_turn_answers_so_many(void **state)
{
    enum { COUNT = 2 * HTTP_ANSWERS_MAX + 1 };
    static struct client clients[COUNT];
    struct fixture *f = *state;
    struct answer a;

    for (size_t i = 0; i < COUNT; i++) {
        clients[i] = client_open(f);
        fixture_turn(f);
    }
    for (size_t i = 0; i < COUNT; i++) {
        client_write(&clients[i], "GET /v1/members HTTP/1.1\r\n\r\n", 28);
    }
    while (fixture_stats(f).requests < COUNT) {
        assert_true(event_base_loop(f->base, EVLOOP_ONCE | EVLOOP_NONBLOCK) >= 0);
    }
    http_turn(f->http, f->now);
    assert_int_equal(f->asked_count, HTTP_ANSWERS_MAX);
    assert_true(http_due(f->http) <= f->now);
    fixture_settle(f);
    assert_int_equal(f->asked_count, COUNT);
    assert_true(http_due(f->http) > f->now);
    for (uint32_t i = 0; i < COUNT; i++) {
        fixture_answer(f, i, "{}");
    }
    for (size_t i = 0; i < COUNT; i++) {
        client_answer(&clients[i], false, &a);
        client_close(&clients[i]);
    }
}

static void test_due(void **state)
{
    struct fixture *f = *state;

    fixture_settle(f);
    assert_true(http_due(f->http) == UINT64_MAX); /* nobody is there */
    struct client c = client_open(f);
    fixture_settle(f);
    assert_int_equal(http_due(f->http), f->now + HTTP_SWEEP_MS);
    client_send(&c, "GET /v1/leader?after=abcd&wait=70ms HTTP/1.1\r\n\r\n");
    fixture_settle(f);
    assert_int_equal(http_due(f->http), f->now + 70);
    client_close(&c);
    fixture_settle(f);
    assert_true(http_due(f->http) > f->now);
}

static void test_stats(void **state)
{
    struct fixture *f = *state;
    struct client c = client_open(f);
    struct answer a;

    client_get(&c, "/livez", &a);
    client_get(&c, "/nothing", &a);
    assert_int_equal(fixture_stats(f).requests, 2);
    assert_int_equal(fixture_stats(f).connections, 1);
    assert_int_equal(fixture_stats(f).watchers, 0);
    client_close(&c);
    fixture_settle(f);
    fixture_pass(f, HTTP_SWEEP_MS);
    assert_int_equal(fixture_stats(f).connections, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_closed_with_everything_open, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test(test_close_of_none),
        cmocka_unit_test_setup_teardown(test_a_turn_answers_so_many, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_due, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_stats, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
