#include "fixture.h"

#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

#define POLL "GET /v1/leader?after=000000000000abcd&wait=5s HTTP/1.1\r\n\r\n"
#define WATCH "GET /v1/watch HTTP/1.1\r\n\r\n"
#define WATCH_LINES "GET /v1/watch HTTP/1.1\r\nAccept: application/x-ndjson\r\n\r\n"
#define BEAT "event: hb\ndata: {}\n\n"

static void change(struct fixture *f)
{
    f->state.etag++;
}

static struct client watcher(struct fixture *f, const char *request)
{
    struct client c = client_open(f);

    client_send(&c, request);
    fixture_settle(f);
    return c;
}

static void test_poll_is_answered_at_the_change(void **state)
{
    struct fixture *f = *state;
    struct client c = watcher(f, POLL);
    struct answer a;

    assert_true(http_has_watchers(f->http));
    fixture_pass(f, 4000);
    client_expect_silence(&c);
    change(f);
    client_answer(&c, false, &a);
    assert_int_equal(a.status, 200);
    assert_string_equal(answer_header(&a, "ETag"), "\"000000000000abce\"");
    assert_string_equal(a.body, LEADER_JSON "\n");
    assert_false(http_has_watchers(f->http));
    client_send(&c, "GET /livez HTTP/1.1\r\n\r\n"); /* the connection goes on */
    client_answer(&c, false, &a);
    assert_int_equal(a.status, 200);
    client_close(&c);
}

static void test_poll_without_a_change(void **state)
{
    struct fixture *f = *state;
    struct client c = watcher(f, POLL "GET /livez HTTP/1.1\r\n\r\n");
    mono_ms until = f->now + 5000;
    struct answer a;

    fixture_pass(f, 4900);
    client_expect_silence(&c);
    f->now = until - 1;
    client_expect_silence(&c);
    f->now = until;
    client_answer(&c, false, &a);
    assert_int_equal(a.status, 304);
    client_answer(&c, false, &a); /* what was asked behind it */
    assert_string_equal(a.body, "ok\n");
    client_close(&c);
}

/* Longer than any other deadline of a connection. */
static void test_the_longest_poll(void **state)
{
    struct fixture *f = *state;
    struct client c = watcher(f, "GET /v1/leader?after=000000000000abcd&wait=10m HTTP/1.1\r\n\r\n");
    struct answer a;

    fixture_pass(f, HTTP_WAIT_MAX_MS - HTTP_SWEEP_MS);
    client_expect_silence(&c);
    fixture_pass(f, HTTP_SWEEP_MS);
    client_answer(&c, false, &a);
    assert_int_equal(a.status, 304);
    client_close(&c);
}

static void test_stream(void **state)
{
    struct fixture *f = *state;
    struct client c = watcher(f, WATCH);

    client_until(&c, "HTTP/1.1 200 OK\r\n");
    client_until(&c, "Content-Type: text/event-stream\r\n");
    client_until(&c, "\r\n\r\n");
    client_until(&c, "event: state\nid: 000000000000abcd\ndata: " LEADER_JSON "\n\n\r\n");
    client_expect_silence(&c);
    f->now += BEAT_MS - 1;
    client_expect_silence(&c);
    f->now += 1;
    client_until(&c, "\r\n" BEAT);
    client_until(&c, "\r\n");
    change(f);
    client_until(&c, "event: state\nid: 000000000000abce\ndata: " LEADER_JSON "\n\n\r\n");
    client_expect_silence(&c);
    client_close(&c);
}

static void test_stream_of_lines(void **state)
{
    struct fixture *f = *state;
    struct client c = watcher(f, WATCH_LINES);

    client_until(&c, "Content-Type: application/x-ndjson\r\n");
    client_until(&c, "\r\n" LEADER_JSON "\n\r\n");
    fixture_pass(f, BEAT_MS);
    client_until(&c, "\r\n{\"event\":\"hb\"}\n\r\n");
    change(f);
    client_until(&c, "\r\n" LEADER_JSON "\n\r\n");
    client_close(&c);
}

/* HTTP/1.0 knows no chunks; HEAD no stream. */
static void test_streams_of_old_clients_and_of_none(void **state)
{
    struct fixture *f = *state;
    struct client c = watcher(f, "GET /v1/watch HTTP/1.0\r\n\r\n");
    struct answer a;

    client_until(&c, "\r\n\r\nevent: state\nid: 000000000000abcd\ndata: " LEADER_JSON "\n\n");
    fixture_pass(f, BEAT_MS);
    client_settle(&c);
    assert_string_equal((char *)c.in.data, BEAT);
    client_close(&c);
    c = client_open(f);
    client_ask(&c, "HEAD", "/v1/watch", &a);
    assert_int_equal(a.status, 200);
    assert_string_equal(answer_header(&a, "Content-Type"), "text/event-stream");
    client_close(&c);
}

static void test_limit_of_watchers(void **state)
{
    struct fixture *f = *state;
    struct client some[WATCHERS_MAX];
    struct answer a;

    for (size_t i = 0; i < WATCHERS_MAX; i++) {
        some[i] = watcher(f, i % 2 ? WATCH : POLL);
    }
    assert_int_equal(fixture_stats(f).watchers, WATCHERS_MAX);
    struct client c = client_open(f);
    client_get(&c, "/v1/watch", &a);
    assert_int_equal(a.status, 503);
    assert_non_null(strstr(a.body, "4 clients wait or stream"));
    client_get(&c, "/v1/leader?after=000000000000abcd&wait=1s", &a);
    assert_int_equal(a.status, 503);
    assert_int_equal(fixture_stats(f).refused, 2);
    client_get(&c, "/v1/leader?after=1&wait=1s", &a); /* does not wait */
    assert_int_equal(a.status, 200);
    client_close(&some[0]);
    client_close(&some[1]);
    fixture_settle(f);
    assert_int_equal(fixture_stats(f).watchers, WATCHERS_MAX - 2);
    client_send(&c, WATCH);
    client_until(&c, "event: state");
    client_close(&c);
    client_close(&some[2]);
    client_close(&some[3]);
}

/* How each of them hears of it, and nobody else is there. */
static void test_claims_are_counted(void **state)
{
    static const char *const requests[] = {WATCH, WATCH_LINES, POLL};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        f->state = (struct http_state){.etag = 0xabcd, .is_known = true};
        struct client c = watcher(f, requests[i]);
        f->claims = 0;
        f->state.is_leader = true;
        change(f);
        fixture_settle(f);
        assert_int_equal(f->claims, 1);
        fixture_pass(f, 3 * BEAT_MS); /* a beat claims nothing */
        assert_int_equal(f->claims, 1);
        f->state.is_leader = false;
        change(f);
        fixture_settle(f);
        assert_int_equal(f->claims, 1);
        client_close(&c);
        fixture_settle(f);
    }
    f->state.is_leader = true;
    struct client late = watcher(f, WATCH);
    assert_int_equal(f->claims, 2); /* the beginning of a stream is one, too */
    client_close(&late);
}

/* It leaves more unread than is kept for it; the others do not notice. */
static void test_slow_reader(void **state)
{
    struct fixture *f = *state;
    struct client slow = watcher(f, WATCH);
    struct client quick = watcher(f, WATCH);
    uint32_t told = 0;

    f->leader_size = 4096;
    while (fixture_stats(f).watchers == 2) {
        change(f);
        fixture_turn(f);
        client_settle(&quick);
        assert_true(++told < 100);
    }
    assert_int_equal(fixture_stats(f).cut_off, 1);
    assert_false(quick.has_ended);
    client_expect_end(&slow);
    client_close(&slow);
    client_close(&quick);
}

/* On a busy machine the kernel may take a while to see that there is room still. */
static bool stays_unread(struct fixture *f, struct evbuffer *output)
{
    for (int i = 0; i < 30 && evbuffer_get_length(output) > 0; i++) {
        (void)poll(NULL, 0, 1);
        fixture_settle(f);
    }
    return evbuffer_get_length(output) > 0;
}

/* States until there is one that it has not taken. */
static void fill(struct fixture *f)
{
    struct evbuffer *output = bufferevent_get_output(RB_ROOT(&f->http->conns)->bev);

    f->leader_size = 16 << 10;
    while (!stays_unread(f, output)) {
        change(f);
        fixture_settle(f);
    }
}

/* It leaves little unread, but for long. */
static void test_stalled_reader(void **state)
{
    struct fixture *f = *state;
    struct client c = watcher(f, WATCH);

    f->http->beat_at = UINT64_MAX - 1; /* a beat would count as unread, too */
    fixture_pass(f, 2 * HTTP_STALL_MS);
    assert_int_equal(fixture_stats(f).watchers, 1); /* there was nothing to take */
    fill(f);
    fixture_pass(f, HTTP_STALL_MS - HTTP_SWEEP_MS);
    client_settle(&c);
    client_settle(&c); /* it has taken everything, and has its time again */
    fill(f);
    fixture_pass(f, HTTP_STALL_MS - HTTP_SWEEP_MS);
    assert_int_equal(fixture_stats(f).watchers, 1);
    fixture_pass(f, 2 * HTTP_SWEEP_MS);
    assert_int_equal(fixture_stats(f).watchers, 0);
    assert_int_equal(fixture_stats(f).cut_off, 1);
    client_close(&c);
}

static void test_a_client_that_has_closed_its_side_has_left(void **state)
{
    static const char *const requests[] = {POLL, WATCH, WATCH_LINES};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        struct client c = watcher(f, requests[i]);
        assert_int_equal(fixture_stats(f).watchers, 1);
        client_half_close(&c);
        fixture_settle(f);
        assert_int_equal(fixture_stats(f).watchers, 0);
        client_close(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_poll_is_answered_at_the_change, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_poll_without_a_change, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_the_longest_poll, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_stream, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_stream_of_lines, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_streams_of_old_clients_and_of_none, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_limit_of_watchers, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_claims_are_counted, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_slow_reader, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_stalled_reader, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_a_client_that_has_closed_its_side_has_left,
                                        fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
