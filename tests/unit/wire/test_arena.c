#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "admin.pb-c.h"
#include "peer.pb-c.h"
#include "samples.h"
#include "wire/arena.h"

static void *take(struct arena *a, size_t size)
{
    void *p = a->allocator.alloc(a->allocator.allocator_data, size);

    if (p) {
        assert_int_equal((uintptr_t)p % ARENA_ALIGN, 0);
        memset(p, 0xa5, size);
    }
    return p;
}

static void test_cap(void **arg)
{
    (void)arg;
    assert_int_equal(arena_cap(0), 64 * 1024);
    assert_int_equal(arena_cap(100), 64 * 1024 + 1600);
    assert_int_equal(arena_cap(FRAME_HEADER_MAX), 64 * 1024 + 16 * FRAME_HEADER_MAX);
    assert_int_equal(arena_cap(8 * 1024 * 1024), 8 * 1024 * 1024);
    assert_int_equal(arena_cap(SIZE_MAX), 8 * 1024 * 1024);
}

static void test_first_block_needs_no_heap(void **arg)
{
    struct arena a;

    (void)arg;
    arena_init(&a, arena_cap(0));
    for (size_t i = 0; i < ARENA_FIRST / ARENA_ALIGN; i++) {
        assert_non_null(take(&a, 1));
        assert_null(a.chunks);
    }
    assert_non_null(take(&a, 1));
    assert_non_null(a.chunks);
    a.allocator.free(a.allocator.allocator_data, NULL); /* harmless */
    arena_done(&a);
}

static void test_never_above_the_cap(void **arg)
{
    struct prng p = sample_prng();

    (void)arg;
    for (int round = 0; round < 200; round++) {
        struct arena a;
        size_t cap = arena_cap((size_t)prng_range(&p, 0, 65536));
        size_t taken = 0;
        arena_init(&a, cap);
        for (;;) {
            size_t size = (size_t)prng_range(&p, 0, 40000);
            if (!take(&a, size)) {
                break;
            }
            taken += size;
        }
        assert_true(taken <= cap);
        assert_true(taken >= cap / 4); /* the cap is the limit, not waste */
        arena_done(&a);
    }
}

static void test_absurd_sizes(void **arg)
{
    struct arena a;

    (void)arg;
    arena_init(&a, arena_cap(0));
    assert_null(take(&a, SIZE_MAX));
    assert_null(take(&a, 8 * 1024 * 1024 + 1));
    assert_null(take(&a, 64 * 1024 + 1));
    assert_non_null(take(&a, 64 * 1024 - ARENA_FIRST)); /* all that is left, in one piece */
    arena_done(&a);
    arena_init(&a, 100); /* a cap below the first block */
    assert_non_null(take(&a, 96));
    assert_null(take(&a, 16));
    arena_done(&a);
}

/* Two bytes of envelope per submessage of 48 bytes and a pointer: refused, within the cap. */
static void test_submessage_bomb(void **arg)
{
    struct buf envelope = BUF_INIT, b = BUF_INIT;
    struct arena a;
    const size_t inner = 65000;

    (void)arg;
    buf_put(&envelope, (const uint8_t[]){0x0a, 0xe8, 0xfb, 0x03}, 4); /* hello, 65000 bytes */
    for (size_t i = 0; i < inner / 2; i++) {
        buf_put(&envelope, (const uint8_t[]){0x72, 0x00}, 2); /* an empty binding */
    }
    struct frame f = sample_wrap(&b, envelope.data, envelope.size, NULL, 0);
    arena_init(&a, arena_cap(f.header_size));
    size_t before = a.budget;
    assert_null(arena_unpack(&a, &raftd__peer__envelope__descriptor, &f));
    assert_true(a.budget <= before);
    assert_true(before - a.budget <= 64 * 1024 + 16 * FRAME_HEADER_MAX);
    arena_done(&a);
    /* Without a cap to speak of it is a good message: what refused it was the cap. */
    arena_init(&a, 8 * 1024 * 1024);
    const Raftd__Peer__Envelope *e = arena_unpack(&a, &raftd__peer__envelope__descriptor, &f);
    assert_non_null(e);
    assert_int_equal(e->hello->n_bindings, inner / 2);
    arena_done(&a);
    struct peer_msg msg;
    assert_int_not_equal(peer_decode(&f, &msg), 0);
    buf_done(&envelope);
    buf_done(&b);
}

/* Fields nobody knows cost memory too. */
static void test_unknown_field_bomb(void **arg)
{
    struct buf envelope = BUF_INIT, b = BUF_INIT;
    struct arena a;

    (void)arg;
    for (size_t i = 0; i < 16000; i++) {
        buf_put(&envelope, (const uint8_t[]){0xf8, 0x3f, 0x01}, 3); /* field 1023, varint 1 */
    }
    struct frame f = sample_wrap(&b, envelope.data, envelope.size, NULL, 0);
    arena_init(&a, arena_cap(f.header_size));
    assert_null(arena_unpack(&a, &raftd__admin__request__descriptor, &f));
    arena_done(&a);
    buf_done(&envelope);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cap),
        cmocka_unit_test(test_first_block_needs_no_heap),
        cmocka_unit_test(test_never_above_the_cap),
        cmocka_unit_test(test_absurd_sizes),
        cmocka_unit_test(test_submessage_bomb),
        cmocka_unit_test(test_unknown_field_bomb),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
