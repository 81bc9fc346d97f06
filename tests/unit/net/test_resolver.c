#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <event2/dns.h>
#include <event2/dns_struct.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fixture.h"

static struct {
    uint32_t count;
    uint32_t addresses;
    char first[SOCKET_TEXT_SIZE];
    char why[128];
} answer;

static void answered(void *arg, const struct evutil_addrinfo *list, const char *why)
{
    (void)arg;
    answer.count++;
    answer.addresses = 0;
    answer.why[0] = 0;
    if (why) {
        (void)snprintf(answer.why, sizeof answer.why, "%s", why);
    }
    for (; list; list = list->ai_next) {
        if (answer.addresses++ == 0) {
            socket_text(list->ai_addr, answer.first, NULL);
        }
    }
}

static struct resolver_request *ask(struct resolver *r, const char *host)
{
    struct host_port name = {.port = 7400};

    memset(&answer, 0, sizeof answer);
    (void)snprintf(name.host, sizeof name.host, "%s", host);
    return resolver_ask(r, &name, answered, NULL);
}

static void file_write(char *path, const char *text)
{
    memcpy(path, "/tmp/raftd-test-net-XXXXXX", 27);
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(close(fd), 0);
}

static void file_rewrite(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* A name server for one test: knows "known.test", has never heard of anything else, and can keep
 * silent. */
struct name_server {
    int fd;
    struct evdns_server_port *port;
    bool silent;
    uint32_t asked;
};

static void name_server_cb(struct evdns_server_request *request, void *arg)
{
    struct name_server *s = arg;
    bool known = false;

    s->asked++;
    if (s->silent) {
        assert_int_equal(evdns_server_request_drop(request), 0);
        return;
    }
    for (int i = 0; i < request->nquestions; i++) {
        const struct evdns_server_question *q = request->questions[i];
        if (strcasecmp(q->name, "known.test") == 0) {
            known = true;
            if (q->type == EVDNS_TYPE_A) {
                struct in_addr at = {.s_addr = htonl(0x0a000009)};
                assert_int_equal(evdns_server_request_add_a_reply(request, q->name, 1, &at, 60), 0);
            }
        }
    }
    assert_int_equal(evdns_server_request_respond(request, known ? 0 : DNS_ERR_NOTEXIST), 0);
}

static void name_server_open(struct world *w, struct name_server *s, char *conf_path)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof at;
    char conf[64];

    *s = (struct name_server){0};
    s->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(s->fd >= 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&at, &size), 0);
    s->port = evdns_add_server_port_with_base(w->base, s->fd, 0, name_server_cb, s);
    assert_non_null(s->port);
    (void)snprintf(conf, sizeof conf, "nameserver 127.0.0.1:%u\n", ntohs(at.sin_port));
    file_write(conf_path, conf);
}

static void name_server_close(struct name_server *s, const char *conf_path)
{
    evdns_close_server_port(s->port); /* closes the descriptor too */
    assert_int_equal(unlink(conf_path), 0);
}

static void numbers_at_once(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    struct resolver *r = resolver_new(w.base, "/nonexistent", "/nonexistent");
    assert_null(ask(r, "10.1.2.3"));
    assert_int_equal(answer.count, 1);
    assert_int_equal(answer.addresses, 1);
    assert_string_equal(answer.first, "10.1.2.3:7400");
    assert_null(ask(r, "::1"));
    assert_string_equal(answer.first, "[::1]:7400");
    resolver_free(r);
    world_done(&w);
}

static void hosts_file_and_its_changes(void **state)
{
    struct world w;
    char hosts[32];

    (void)state;
    world_init(&w);
    file_write(hosts, "10.0.0.1 alpha\n");
    struct resolver *r = resolver_new(w.base, "/nonexistent", hosts);
    assert_null(ask(r, "alpha"));
    assert_string_equal(answer.first, "10.0.0.1:7400");
    file_rewrite(hosts, "10.0.0.22 alpha\n");
    assert_null(ask(r, "alpha"));
    assert_string_equal(answer.first, "10.0.0.22:7400");
    resolver_free(r);
    assert_int_equal(unlink(hosts), 0);
    world_done(&w);
}

static void name_server_answers(void **state)
{
    struct world w;
    struct name_server s;
    char conf[32];

    (void)state;
    world_init(&w);
    name_server_open(&w, &s, conf);
    struct resolver *r = resolver_new(w.base, conf, "/nonexistent");
    assert_non_null(ask(r, "known.test"));
    assert_int_equal(answer.count, 0); /* later, from the loop */
    until(&w, answer.count == 1);
    assert_int_equal(answer.addresses, 1);
    assert_string_equal(answer.first, "10.0.0.9:7400");
    assert_non_null(ask(r, "unknown.test"));
    until(&w, answer.count == 1);
    assert_int_equal(answer.addresses, 0);
    assert_string_equal(answer.why, "no such name");
    resolver_free(r);
    name_server_close(&s, conf);
    world_done(&w);
}

static void cancelled_is_silent(void **state)
{
    struct world w;
    struct name_server s;
    char conf[32];

    (void)state;
    world_init(&w);
    name_server_open(&w, &s, conf);
    s.silent = true;
    struct resolver *r = resolver_new(w.base, conf, "/nonexistent");
    struct resolver_request *request = ask(r, "known.test");
    until(&w, s.asked > 0);
    resolver_cancel(request);
    still_ms(&w, 50, answer.count == 0);
    s.silent = false;
    assert_non_null(ask(r, "known.test"));
    until(&w, answer.count == 1);
    resolver_free(r);
    name_server_close(&s, conf);
    world_done(&w);
}

/* What is under way when everything ends is neither answered nor leaked. */
static void freed_while_asking(void **state)
{
    struct world w;
    struct name_server s;
    char conf[32];

    (void)state;
    world_init(&w);
    name_server_open(&w, &s, conf);
    s.silent = true;
    struct resolver *r = resolver_new(w.base, conf, "/nonexistent");
    struct resolver_request *first = ask(r, "known.test");
    assert_non_null(first);
    assert_non_null(ask(r, "unknown.test"));
    until(&w, s.asked > 0);
    resolver_cancel(first);
    resolver_free(r);
    still_ms(&w, 50, answer.count == 0);
    name_server_close(&s, conf);
    world_done(&w);
}

static void silent_name_server_is_named(void **state)
{
    struct world w;
    struct name_server s;
    char conf[32];

    (void)state;
    world_init(&w);
    name_server_open(&w, &s, conf);
    s.silent = true;
    struct resolver *r = resolver_new(w.base, conf, "/nonexistent");
    assert_non_null(ask(r, "known.test"));
    until_ms(&w, 10000, answer.count == 1);
    assert_int_equal(answer.addresses, 0);
    assert_int_not_equal(strlen(answer.why), 0);
    resolver_free(r);
    name_server_close(&s, conf);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_at_once),     cmocka_unit_test(hosts_file_and_its_changes),
        cmocka_unit_test(name_server_answers), cmocka_unit_test(cancelled_is_silent),
        cmocka_unit_test(freed_while_asking),  cmocka_unit_test(silent_name_server_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
