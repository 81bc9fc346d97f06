#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "peer.pb-c.h"
#include "samples.h"
#include "wire/field.h"

static struct peer_hello *small_hello(struct peer_hello *h)
{
    memset(h, 0, sizeof *h);
    memset(&h->cluster, 0xcc, sizeof h->cluster);
    memset(&h->store, 0x55, sizeof h->store);
    h->id = 1;
    h->incarnation = 300;
    h->process = 0x0123456789abcdef;
    h->protocol_min = 1;
    h->protocol_max = 1;
    h->empty = true;
    (void)snprintf(h->name, sizeof h->name, "n1");
    (void)snprintf(h->uri, sizeof h->uri, "u");
    (void)snprintf(h->address, sizeof h->address, "h:1");
    (void)snprintf(h->version, sizeof h->version, "0.1.0");
    (void)snprintf(h->cluster_name, sizeof h->cluster_name, "c");
    (void)snprintf(h->member_list, sizeof h->member_list, "1@h:1");
    h->bindings_count = 1;
    h->bindings[0].id = 2;
    memset(&h->bindings[0].store, 0x22, sizeof h->bindings[0].store);
    return h;
}

/* What a member remembers of another one. */
static void test_golden_memory(void **arg)
{
    struct peer_hello h;

    (void)arg;
    small_hello(&h);
    h.name[0] = h.uri[0] = h.address[0] = h.version[0] = h.cluster_name[0] = h.member_list[0] = 0;
    h.bindings[0].seen = (struct peer_memory){
        .process = 0x1122334455667788, .term = 300, .index = 7, .log_term = 299, .voted = true};
    assert_golden(&(struct peer_msg){.type = PEER_HELLO, .hello = &h},
                  "68000000 01 00 6400"
                  "0a62"
                  "0a10 cccccccccccccccccccccccccccccccc"
                  "1001"
                  "1a10 55555555555555555555555555555555"
                  "20ac02 2801 3001 3801"
                  "7227 0802 1210 22222222222222222222222222222222"
                  "19 8877665544332211 20ac02 2807 30ab02 3801"
                  "8101 efcdab8967452301");
}

static void test_golden_hello(void **arg)
{
    struct peer_hello h;

    (void)arg;
    assert_golden(&(struct peer_msg){.type = PEER_HELLO, .hello = small_hello(&h)},
                  "72000000 01 00 6e00"
                  "0a6c"
                  "0a10 cccccccccccccccccccccccccccccccc"
                  "1001"
                  "1a10 55555555555555555555555555555555"
                  "20ac02 2801 3001 3801"
                  "4202 6e31 4a01 75 5203 683a31 5a05 302e312e30 6201 63 6a05 3140683a31"
                  "7214 0802 1210 22222222222222222222222222222222"
                  "8101 efcdab8967452301");
}

/* ---- Hello: limits ---- */

static void fill(char *text, size_t size)
{
    memset(text, 'x', size - 1);
    text[size - 1] = 0;
}

static void largest_hello(struct peer_hello *h)
{
    small_hello(h);
    h->id = UINT32_MAX;
    h->incarnation = INT64_MAX;
    h->process = UINT64_MAX;
    h->session = INT64_MAX;
    h->disk_low = true;
    h->election_timeout_ms = UINT32_MAX;
    h->protocol_max = UINT16_MAX;
    h->protocol_min = UINT16_MAX;
    fill(h->name, sizeof h->name);
    fill(h->uri, sizeof h->uri);
    fill(h->address, sizeof h->address);
    fill(h->version, sizeof h->version);
    fill(h->cluster_name, sizeof h->cluster_name);
    fill(h->member_list, sizeof h->member_list);
    h->bindings_count = 0;
}

static void test_largest_hellos_fit(void **arg)
{
    struct peer_hello h;
    struct peer_msg msg = {.type = PEER_HELLO, .hello = &h}, out;
    struct buf b = BUF_INIT;

    (void)arg;
    largest_hello(&h); /* forming: nine founders, no bindings */
    peer_encode(&msg, &b);
    assert_true(b.size <= FRAME_HELLO_MAX);
    struct frame f = sample_frame(&b, 0);
    assert_int_equal(peer_decode(&f, &out), 0);
    assert_peer_equal(&msg, &out);
    peer_msg_done(&out);

    h.bindings_count = RAFT_MEMBERS_MAX; /* a member: its list would not fit, and has no say */
    for (uint32_t i = 0; i < h.bindings_count; i++) {
        h.bindings[i].id = UINT32_MAX - i;
        h.bindings[i].store = h.store;
        h.bindings[i].seen = (struct peer_memory){.process = UINT64_MAX,
                                                  .term = INT64_MAX,
                                                  .index = INT64_MAX,
                                                  .log_term = INT64_MAX,
                                                  .voted = true};
    }
    b.size = 0;
    peer_encode(&msg, &b);
    assert_true(b.size <= FRAME_HELLO_MAX);
    f = sample_frame(&b, 0);
    assert_int_equal(peer_decode(&f, &out), 0);
    assert_string_equal(out.hello->member_list, "");
    h.member_list[0] = 0;
    assert_peer_equal(&msg, &out);
    peer_msg_done(&out);

    (void)snprintf(h.member_list, sizeof h.member_list, "1@h:1 2@h:2"); /* this one does fit */
    b.size = 0;
    peer_encode(&msg, &b);
    f = sample_frame(&b, 0);
    assert_int_equal(peer_decode(&f, &out), 0);
    assert_peer_equal(&msg, &out);
    peer_msg_done(&out);
    buf_done(&b);
}

/* A hello above 4 KiB is refused even where frames of 8 MiB are allowed. */
static void test_hello_above_its_limit(void **arg)
{
    struct peer_hello h;
    struct buf b = BUF_INIT, padded = BUF_INIT, wrapped = BUF_INIT;
    struct peer_msg out;

    (void)arg;
    peer_encode(&(struct peer_msg){.type = PEER_HELLO, .hello = small_hello(&h)}, &b);
    struct frame f = sample_unsummed(&b);
    for (int more = 0; more < 2; more++) {
        size_t size = FRAME_HELLO_MAX - f.total - 4 + (size_t)more;
        padded.size = 0;
        buf_put(&padded, f.header, f.header_size);
        buf_put(&padded, (const uint8_t[]){0xfa, 0x3f}, 2); /* an unknown field */
        buf_put_u8(&padded, (uint8_t)(size | 0x80));
        buf_put_u8(&padded, (uint8_t)(size >> 7));
        buf_reserve(&padded, size);
        memset(padded.data + padded.size, 'x', size);
        padded.size += size;
        struct frame g = sample_wrap(&wrapped, padded.data, padded.size, NULL, 0);
        assert_int_equal(g.total, FRAME_HELLO_MAX + more);
        int err = peer_decode(&g, &out);
        assert_int_equal(err, more ? -RD_EPROTOCOL : 0);
        if (err == 0) {
            peer_msg_done(&out);
        }
    }
    buf_done(&b);
    buf_done(&padded);
    buf_done(&wrapped);
}

static void test_text_is_mended(void **arg)
{
    struct peer_hello h;
    struct peer_msg msg = {.type = PEER_HELLO, .hello = small_hello(&h)}, out;
    struct buf b = BUF_INIT;

    (void)arg;
    (void)snprintf(h.name, sizeof h.name, "\xe9t\xe9"); /* Latin-1 */
    peer_encode(&msg, &b);
    struct frame f = sample_frame(&b, 0);
    assert_int_equal(peer_decode(&f, &out), 0);
    assert_string_equal(out.hello->name, "?t?");
    peer_msg_done(&out);
    assert_string_equal(h.name, "\xe9t\xe9"); /* the caller's stays */
    buf_done(&b);
}

/* ---- What is refused, field by field: a good hello with one thing changed ---- */

enum { BAD = -RD_EPROTOCOL };
static uint8_t some_bytes[PEER_MEMBER_LIST_SIZE];
static uint8_t zero_bytes[16];

struct hello_case {
    const char *what;
    int expected;
    size_t payload_size;
    void (*change)(Raftd__Peer__Hello *m);
};

#define HELLO_CHANGE(name, ...)                                                                    \
    static void hello_##name(Raftd__Peer__Hello *m)                                                \
    {                                                                                              \
        __VA_ARGS__;                                                                               \
    }
#define TEXT_LIMIT(field, size)                                                                    \
    HELLO_CHANGE(field##_at_limit, m->field.len = (size)-1)                                        \
    HELLO_CHANGE(field##_above, m->field.len = (size))
HELLO_CHANGE(same, (void)m)
HELLO_CHANGE(no_cluster, m->cluster.len = 0)
HELLO_CHANGE(cluster_15, m->cluster.len = 15)
HELLO_CHANGE(cluster_17, m->cluster.len = 17)
HELLO_CHANGE(cluster_zero, m->cluster.data = zero_bytes)
HELLO_CHANGE(id_zero, m->id = 0)
HELLO_CHANGE(no_store, m->store.len = 0)
HELLO_CHANGE(store_zero, m->store.data = zero_bytes)
HELLO_CHANGE(incarnation, m->incarnation = 1ULL << 63)
HELLO_CHANGE(process_any, m->process = UINT64_MAX)
HELLO_CHANGE(process_none, m->process = 0)
HELLO_CHANGE(protocol_zero, m->protocol_min = 0)
HELLO_CHANGE(protocol_order, m->protocol_min = 3)
HELLO_CHANGE(protocol_large, m->protocol_max = 65536)
HELLO_CHANGE(nul, m->name = field_view("a\0b", 3))
HELLO_CHANGE(latin, m->uri = field_view("\xe9", 1))
HELLO_CHANGE(surrogate, m->version = field_view("\xed\xa0\x80", 3))
TEXT_LIMIT(name, PEER_NAME_SIZE)
TEXT_LIMIT(uri, PEER_URI_SIZE)
TEXT_LIMIT(address, RAFT_ADDRESS_SIZE)
TEXT_LIMIT(version, PEER_VERSION_SIZE)
TEXT_LIMIT(cluster_name, PEER_NAME_SIZE)
TEXT_LIMIT(member_list, PEER_MEMBER_LIST_SIZE)
HELLO_CHANGE(bindings_31, m->n_bindings = 31)
HELLO_CHANGE(bindings_32, m->n_bindings = 32)
HELLO_CHANGE(binding_id, m->bindings[1]->id = 0)
HELLO_CHANGE(binding_twice, m->bindings[1]->id = m->bindings[0]->id)
HELLO_CHANGE(binding_store, m->bindings[1]->store.len = 3)
HELLO_CHANGE(binding_no_store, m->bindings[1]->store.len = 0)
HELLO_CHANGE(seen_term, m->bindings[1]->seen_term = 1ULL << 63)
HELLO_CHANGE(seen_index, m->bindings[1]->seen_index = 1ULL << 63)
HELLO_CHANGE(seen_log_term, m->bindings[1]->seen_log_term = 1)
HELLO_CHANGE(seen_process, m->bindings[1]->seen_process = UINT64_MAX)

#define TEXT_CASES(field)                                                                          \
    {#field " at its limit", 0, 0, hello_##field##_at_limit},                                      \
    {                                                                                              \
#field " above its limit", BAD, 0, hello_##field##_above                                   \
    }
static const struct hello_case hello_cases[] = {
    {"unchanged", 0, 0, hello_same},
    {"payload", BAD, 1, hello_same},
    {"no cluster", 0, 0, hello_no_cluster},
    {"cluster of 15", BAD, 0, hello_cluster_15},
    {"cluster of 17", BAD, 0, hello_cluster_17},
    {"cluster of zeros", BAD, 0, hello_cluster_zero},
    {"id 0", BAD, 0, hello_id_zero},
    {"no store", BAD, 0, hello_no_store},
    {"store of zeros", BAD, 0, hello_store_zero},
    {"incarnation 2^63", BAD, 0, hello_incarnation},
    {"any process", 0, 0, hello_process_any},
    {"process not told", 0, 0, hello_process_none},
    {"protocol 0", BAD, 0, hello_protocol_zero},
    {"protocol min above max", BAD, 0, hello_protocol_order},
    {"protocol 65536", BAD, 0, hello_protocol_large},
    {"NUL in text", BAD, 0, hello_nul},
    {"Latin-1", BAD, 0, hello_latin},
    {"surrogate", BAD, 0, hello_surrogate},
    TEXT_CASES(name),
    TEXT_CASES(uri),
    TEXT_CASES(address),
    TEXT_CASES(version),
    TEXT_CASES(cluster_name),
    TEXT_CASES(member_list),
    {"31 bindings", 0, 0, hello_bindings_31},
    {"32 bindings", BAD, 0, hello_bindings_32},
    {"binding of id 0", BAD, 0, hello_binding_id},
    {"id bound twice", BAD, 0, hello_binding_twice},
    {"binding store of 3", BAD, 0, hello_binding_store},
    {"binding without store", 0, 0, hello_binding_no_store},
    {"remembered term 2^63", BAD, 0, hello_seen_term},
    {"remembered index 2^63", BAD, 0, hello_seen_index},
    {"remembered log above its term", BAD, 0, hello_seen_log_term},
    {"any remembered process", 0, 0, hello_seen_process},
};

static void hello_case_run(const struct hello_case *c)
{
    Raftd__Peer__Envelope e;
    Raftd__Peer__Hello m;
    Raftd__Peer__Binding bindings[RAFT_MEMBERS_MAX + 1];
    Raftd__Peer__Binding *pointers[RAFT_MEMBERS_MAX + 1];

    raftd__peer__envelope__init(&e);
    e.body_case = RAFTD__PEER__ENVELOPE__BODY_HELLO;
    e.hello = &m;
    raftd__peer__hello__init(&m);
    m.cluster = field_view(some_bytes, 16);
    m.id = 1;
    m.store = field_view(some_bytes, 16);
    m.process = 5;
    m.protocol_min = m.protocol_max = 1;
    m.name = m.uri = m.address = m.version = m.cluster_name = m.member_list =
        field_view(some_bytes, 5);
    m.n_bindings = 2;
    m.bindings = pointers;
    for (uint32_t i = 0; i <= RAFT_MEMBERS_MAX; i++) {
        raftd__peer__binding__init(&bindings[i]);
        bindings[i].id = i + 1;
        bindings[i].store = field_view(some_bytes, 16);
        pointers[i] = &bindings[i];
    }
    c->change(&m);
    int err = sample_decode_body(&e.base, c->payload_size);
    if (err != c->expected) {
        fail_msg("%s: %d instead of %d", c->what, err, c->expected);
    }
}

static void test_hello_fields(void **arg)
{
    (void)arg;
    memset(some_bytes, 'x', sizeof some_bytes);
    for (size_t i = 0; i < sizeof hello_cases / sizeof hello_cases[0]; i++) {
        hello_case_run(&hello_cases[i]);
    }
}

static void test_encode_asserts_the_limits(void **arg)
{
    struct peer_hello h;
    struct peer_msg hello = {.type = PEER_HELLO, .hello = small_hello(&h)};

    (void)arg;
    assert_false(sample_encode_fails(&hello));
    memset(h.version, 'v', sizeof h.version); /* no NUL */
    assert_true(sample_encode_fails(&hello));
    small_hello(&h);
    h.bindings_count = RAFT_MEMBERS_MAX + 1;
    assert_true(sample_encode_fails(&hello));
    small_hello(&h);
    h.id = 0;
    assert_true(sample_encode_fails(&hello));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_hello),
        cmocka_unit_test(test_golden_memory),
        cmocka_unit_test(test_largest_hellos_fit),
        cmocka_unit_test(test_hello_above_its_limit),
        cmocka_unit_test(test_text_is_mended),
        cmocka_unit_test(test_hello_fields),
        cmocka_unit_test(test_encode_asserts_the_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
