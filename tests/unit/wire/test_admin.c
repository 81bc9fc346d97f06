#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "admin.pb-c.h"
#include "base/err.h"
#include "samples.h"
#include "state/command.h"
#include "wire/field.h"

static void test_request_identity(void **arg)
{
    struct prng p = sample_prng();
    struct buf b = BUF_INIT;

    (void)arg;
    for (int round = 0; round < 3000; round++) {
        struct admin_request in, out;
        sample_request(&p, &in);
        b.size = 0;
        assert_int_equal(admin_request_encode(&in, &b), 0);
        struct frame f = sample_frame(&b, 0);
        assert_int_equal(admin_request_decode(&f, &out), 0);
        assert_request_equal(&in, &out);
        admin_request_done(&in);
        admin_request_done(&out);
    }
    buf_done(&b);
}

static void test_reply_identity(void **arg)
{
    struct prng p = sample_prng();
    struct buf b = BUF_INIT, put = BUF_INIT;

    (void)arg;
    for (int round = 0; round < 3000; round++) {
        struct admin_reply in, out;
        char message[ADMIN_MESSAGE_MAX + 1] = "";
        sample_reply(&p, &in);
        b.size = put.size = 0;
        assert_int_equal(admin_reply_encode(&in, &b), 0);
        struct frame f = sample_frame(&b, 0);
        assert_int_equal(admin_reply_decode(&f, &out), 0);
        assert_reply_equal(&in, &out);
        if (in.message) { /* the other way to say it gives the same bytes */
            memcpy(message, in.message->data, in.message->size);
        }
        assert_int_equal(
            admin_reply_put(&put, in.id, in.code, in.more, in.leader, in.message ? message : NULL,
                            in.json ? in.json->data : NULL, in.json ? in.json->size : 0),
            0);
        assert_int_equal(put.size, b.size);
        assert_memory_equal(put.data, b.data, b.size);
        admin_reply_done(&in);
        admin_reply_done(&out);
    }
    buf_done(&b);
    buf_done(&put);
}

static void test_golden_request(void **arg)
{
    struct buf b = BUF_INIT;
    struct admin_request r = {
        .id = 300,
        .command = "put",
        .timeout_ms = 10000,
        .key = blob_copy("k", 1),
        .value = blob_copy("val", 3),
        .if_revision_set = true, /* set, and 0: present on the wire */
        .fence_set = true,
        .fence = 7,
        .stale = true,
        .limit = 5,
        .member_id = 4,
        .address = "h:1",
        .learner = true,
        .no_wait = true,
        .force = true,
        .text = "t",
        .replaces = 3,
    };

    (void)arg;
    assert_int_equal(admin_request_encode(&r, &b), 0);
    assert_bytes(&b, "32000000 01 00 2b00"
                     "08ac02 1203 707574 18904e 2201 6b 2801 3000 3807 4001 4805 5004"
                     "5a03 683a31 6001 6801 7001 7a01 74 800103"
                     "76616c");
    admin_request_done(&r);
    assert_null(r.key);
    assert_null(r.value);
    buf_done(&b);
}

static void test_golden_reply(void **arg)
{
    struct buf b = BUF_INIT;

    (void)arg;
    assert_int_equal(admin_reply_put(&b, 300, -RD_ENOT_LEADER, true, 2, "no", "{}", 2), 0);
    assert_bytes(&b, "14000000 01 00 0e00"
                     "08ac02 10e907 1801 2002 2a02 6e6f"
                     "7b7d");
    b.size = 0;
    assert_int_equal(admin_reply_put(&b, 0, 0, false, 0, NULL, NULL, 99), 0);
    assert_bytes(&b, "04000000 01 00 0000");
    buf_done(&b);
}

/* ---- Limits ---- */

static void test_request_limits_at_encode(void **arg)
{
    struct buf b = BUF_INIT;
    struct admin_request r = {.command = "put"}, out;

    (void)arg;
    r.key = blob_new(STATE_KEY_MAX);
    r.value = blob_new(STATE_VALUE_MAX);
    memset(r.key->data, 0, STATE_KEY_MAX);
    memset(r.value->data, 0xff, STATE_VALUE_MAX);
    assert_int_equal(admin_request_encode(&r, &b), 0);
    assert_true(b.size <= FRAME_ADMIN_MAX);
    struct frame f = sample_frame(&b, 0);
    assert_int_equal(admin_request_decode(&f, &out), 0);
    assert_request_equal(&r, &out);
    admin_request_done(&out);
    size_t size = b.size;
    blob_unref(r.key);
    r.key = blob_new(STATE_KEY_MAX + 1);
    assert_int_equal(admin_request_encode(&r, &b), -RD_ETOO_LARGE);
    blob_unref(r.key);
    blob_unref(r.value);
    r.key = NULL;
    r.value = blob_new(STATE_VALUE_MAX + 1);
    assert_int_equal(admin_request_encode(&r, &b), -RD_ETOO_LARGE);
    admin_request_done(&r);
    (void)snprintf(r.text, sizeof r.text, "\xff");
    assert_int_equal(admin_request_encode(&r, &b), -RD_EINVALID);
    assert_int_equal(b.size, size); /* nothing appended */
    buf_done(&b);
}

struct request_case {
    const char *what;
    int expected;
    size_t payload_size;
    void (*change)(Raftd__Admin__Request *m);
};

static uint8_t some_bytes[600];

#define CHANGE(name, ...)                                                                          \
    static void change_##name(Raftd__Admin__Request *m)                                            \
    {                                                                                              \
        __VA_ARGS__;                                                                               \
    }
CHANGE(nothing, (void)m)
CHANGE(no_value, m->has_value = 0)
CHANGE(key_limit, m->key.len = STATE_KEY_MAX)
CHANGE(key_above, m->key.len = STATE_KEY_MAX + 1)
CHANGE(key_any_bytes, m->key = field_view("\0\xff", 2))
CHANGE(command_limit, m->command.len = 31)
CHANGE(command_above, m->command.len = 32)
CHANGE(command_nul, m->command = field_view("a\0", 2))
CHANGE(address_limit, m->address.len = 269)
CHANGE(address_above, m->address.len = 270)
CHANGE(address_latin, m->address = field_view("\xe9", 1))
CHANGE(text_limit, m->text.len = 63)
CHANGE(text_above, m->text.len = 64)
CHANGE(text_latin, m->text = field_view("\xe9", 1))

static const struct request_case request_cases[] = {
    {"unchanged", 0, 5, change_nothing},
    {"an empty value", 0, 0, change_nothing},
    {"no value", 0, 0, change_no_value},
    {"payload without value", -RD_EPROTOCOL, 1, change_no_value},
    {"value at its limit", 0, STATE_VALUE_MAX, change_nothing},
    {"value above its limit", -RD_ETOO_LARGE, STATE_VALUE_MAX + 1, change_nothing},
    {"key at its limit", 0, 5, change_key_limit},
    {"key above its limit", -RD_ETOO_LARGE, 5, change_key_above},
    {"any bytes as key", 0, 5, change_key_any_bytes},
    {"command at its limit", 0, 5, change_command_limit},
    {"command above its limit", -RD_ETOO_LARGE, 5, change_command_above},
    {"NUL in command", -RD_EPROTOCOL, 5, change_command_nul},
    {"address at its limit", 0, 5, change_address_limit},
    {"address above its limit", -RD_ETOO_LARGE, 5, change_address_above},
    {"address in Latin-1", -RD_EPROTOCOL, 5, change_address_latin},
    {"text at its limit", 0, 5, change_text_limit},
    {"text above its limit", -RD_ETOO_LARGE, 5, change_text_above},
    {"text in Latin-1", -RD_EPROTOCOL, 5, change_text_latin},
};

static void request_case_run(const struct request_case *c, const uint8_t *payload)
{
    struct buf b = BUF_INIT;
    Raftd__Admin__Request m;
    struct admin_request out;

    memset(&out, 0x77, sizeof out);
    raftd__admin__request__init(&m);
    m.id = 77;
    m.command = m.address = m.text = field_view(some_bytes, 5);
    m.key_presence_case = RAFTD__ADMIN__REQUEST__KEY_PRESENCE_KEY;
    m.key = field_view(some_bytes, 5);
    m.has_value = 1;
    c->change(&m);
    size_t at = field_pack(&m.base, c->payload_size, &b);
    buf_put(&b, payload, c->payload_size);
    frame_end(&b, at);
    struct frame f = sample_frame(&b, 0);
    int err = admin_request_decode(&f, &out);
    if (err != c->expected) {
        fail_msg("%s: %d instead of %d", c->what, err, c->expected);
    }
    if (err == 0) {
        assert_int_equal(out.value != NULL, m.has_value);
        admin_request_done(&out);
    } else if (err == -RD_ETOO_LARGE) { /* the refusal can be addressed, nothing to free */
        const struct admin_request id_only = {.id = 77};
        assert_request_equal(&out, &id_only);
    } else {
        assert_int_equal(out.id, 0x7777777777777777); /* untouched */
    }
    buf_done(&b);
}

static void test_request_fields(void **arg)
{
    uint8_t *payload = mem_zalloc(STATE_VALUE_MAX + 1);

    (void)arg;
    memset(some_bytes, 'x', sizeof some_bytes);
    for (size_t i = 0; i < sizeof request_cases / sizeof request_cases[0]; i++) {
        request_case_run(&request_cases[i], payload);
    }
    mem_free(payload);
}

static void test_reply_json_limit(void **arg)
{
    struct buf b = BUF_INIT;
    struct admin_reply out;
    struct frame f;
    uint8_t *json = mem_zalloc(ADMIN_JSON_MAX + 1);

    (void)arg;
    assert_int_equal(admin_reply_put(&b, 1, 0, false, 0, NULL, json, ADMIN_JSON_MAX + 1),
                     -RD_ETOO_LARGE);
    assert_int_equal(b.size, 0);
    assert_int_equal(admin_reply_put(&b, 1, 0, false, 0, NULL, json, ADMIN_JSON_MAX), 0);
    assert_int_equal(frame_parse(b.data, b.size, FRAME_ADMIN_REPLY_MAX, &f, NULL), 1);
    assert_int_equal(admin_reply_decode(&f, &out), 0);
    assert_int_equal(out.json->size, ADMIN_JSON_MAX);
    admin_reply_done(&out);
    f = sample_wrap(&b, "\x08\x05", 2, json, ADMIN_JSON_MAX + 1);
    assert_int_equal(admin_reply_decode(&f, &out), -RD_ETOO_LARGE);
    assert_int_equal(out.id, 5);
    assert_null(out.json);
    mem_free(json);
    buf_done(&b);
}

static void assert_message(const char *message, const char *expected, size_t expected_size)
{
    struct buf b = BUF_INIT;
    struct admin_reply out;

    assert_int_equal(admin_reply_put(&b, 1, -RD_EINVALID, false, 0, message, NULL, 0), 0);
    struct frame f = sample_frame(&b, 0);
    assert_int_equal(admin_reply_decode(&f, &out), 0);
    assert_int_equal(out.message->size, expected_size);
    assert_memory_equal(out.message->data, expected, expected_size);
    admin_reply_done(&out);
    buf_done(&b);
}

static void test_message_is_mended(void **arg)
{
    char message[ADMIN_MESSAGE_MAX + 10];
    struct admin_reply in = {.code = -RD_EINVALID}, out;
    struct buf b = BUF_INIT;

    (void)arg;
    assert_message("no \xe9", "no ", 3);
    assert_message("n\xe9n", "n?n", 3);
    memset(message, 'm', sizeof message - 1);
    message[sizeof message - 1] = 0;
    assert_message(message, message, ADMIN_MESSAGE_MAX);
    message[ADMIN_MESSAGE_MAX - 1] = '\xc3'; /* the limit falls into a character */
    message[ADMIN_MESSAGE_MAX] = '\xa9';
    assert_message(message, message, ADMIN_MESSAGE_MAX - 1);

    in.message = blob_copy("a\0b", 3); /* a NUL ends it */
    assert_int_equal(admin_reply_encode(&in, &b), 0);
    struct frame f = sample_frame(&b, 0);
    assert_int_equal(admin_reply_decode(&f, &out), 0);
    assert_int_equal(out.message->size, 1);
    admin_reply_done(&in);
    admin_reply_done(&out);
    buf_done(&b);
}

static void test_reply_codes(void **arg)
{
    struct buf b = BUF_INIT;
    struct admin_reply out;

    (void)arg;
    assert_int_equal(admin_reply_put(&b, 1, -ENOENT, false, 0, NULL, NULL, 0), 0);
    struct frame f = sample_frame(&b, 0);
    assert_int_equal(admin_reply_decode(&f, &out), 0);
    assert_int_equal(out.code, -RD_EINVALID);        /* system codes never leave the process */
    f = sample_wrap(&b, "\x10\x90\x4e", 3, NULL, 0); /* 10000: a newer daemon's */
    assert_int_equal(admin_reply_decode(&f, &out), 0);
    assert_int_equal(out.code, -RD_EINVALID);
    f = sample_wrap(&b, "\x2a\x01\xe9", 3, NULL, 0);
    assert_int_equal(admin_reply_decode(&f, &out), -RD_EPROTOCOL);
    f = sample_wrap(&b, "\x2a\x05", 2, NULL, 0);
    assert_int_equal(admin_reply_decode(&f, &out), -RD_EPROTOCOL);
    buf_done(&b);
}

static void test_reply_message_limit_at_decode(void **arg)
{
    struct buf b = BUF_INIT;
    struct admin_reply out;
    Raftd__Admin__Reply m;
    uint8_t *message = mem_alloc(ADMIN_MESSAGE_MAX + 1);

    (void)arg;
    memset(message, 'm', ADMIN_MESSAGE_MAX + 1);
    raftd__admin__reply__init(&m);
    m.id = 6;
    m.message = field_view(message, ADMIN_MESSAGE_MAX + 1);
    size_t at = field_pack(&m.base, 0, &b);
    frame_end(&b, at);
    struct frame f = sample_frame(&b, 0);
    assert_int_equal(admin_reply_decode(&f, &out), -RD_ETOO_LARGE);
    assert_int_equal(out.id, 6);
    mem_free(message);
    buf_done(&b);
}

/* ---- Damage ---- */

static void try_both(const struct frame *f, int *valid, int *refused)
{
    struct admin_request request, request_again;
    struct admin_reply reply;
    struct buf b = BUF_INIT;

    if (admin_request_decode(f, &request) == 0) {
        (*valid)++;
        assert_int_equal(admin_request_encode(&request, &b), 0);
        struct frame g = sample_frame(&b, 0);
        assert_int_equal(admin_request_decode(&g, &request_again), 0);
        assert_request_equal(&request, &request_again);
        admin_request_done(&request_again);
        admin_request_done(&request);
    } else {
        (*refused)++;
    }
    if (admin_reply_decode(f, &reply) == 0) {
        b.size = 0;
        assert_int_equal(admin_reply_encode(&reply, &b), 0);
        admin_reply_done(&reply);
    }
    buf_done(&b);
}

static void test_damage(void **arg)
{
    struct prng p = sample_prng();
    struct buf b = BUF_INIT, cut = BUF_INIT;
    int valid = 0, refused = 0;

    (void)arg;
    for (int round = 0; round < 6; round++) {
        struct admin_request r;
        struct frame f;
        sample_request(&p, &r);
        b.size = 0;
        assert_int_equal(admin_request_encode(&r, &b), 0);
        admin_request_done(&r);
        struct frame whole = sample_frame(&b, 0);
        for (uint16_t size = 0; size < whole.header_size; size++) {
            struct frame g =
                sample_wrap(&cut, whole.header, size, whole.payload, whole.payload_size);
            try_both(&g, &valid, &refused);
        }
        size_t bits = 8 * (size_t)(FRAME_HEAD + whole.header_size);
        for (size_t bit = 0; bit < bits; bit++) {
            b.data[bit / 8] ^= (uint8_t)(1U << (bit % 8));
            if (frame_parse(b.data, b.size, FRAME_ADMIN_MAX, &f, NULL) == 1) {
                try_both(&f, &valid, &refused);
            }
            b.data[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        }
    }
    assert_true(valid > 0);
    assert_true(refused > 0);
    buf_done(&b);
    buf_done(&cut);
}

static void test_unknown_fields(void **arg)
{
    struct buf b = BUF_INIT;
    struct admin_request out;
    struct frame f = sample_wrap(&b, "\x08\x05\xf8\x3f\x01", 5, NULL, 0);

    (void)arg;
    assert_int_equal(admin_request_decode(&f, &out), 0);
    assert_int_equal(out.id, 5);
    admin_request_done(&out);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_identity),
        cmocka_unit_test(test_reply_identity),
        cmocka_unit_test(test_golden_request),
        cmocka_unit_test(test_golden_reply),
        cmocka_unit_test(test_request_limits_at_encode),
        cmocka_unit_test(test_request_fields),
        cmocka_unit_test(test_reply_json_limit),
        cmocka_unit_test(test_message_is_mended),
        cmocka_unit_test(test_reply_codes),
        cmocka_unit_test(test_reply_message_limit_at_decode),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_unknown_fields),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
