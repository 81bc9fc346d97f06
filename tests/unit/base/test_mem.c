#include "fixture.h"

#include "base/err.h"
#include "base/mem.h"

static void allocates(void **state)
{
    (void)state;
    unsigned char *p = mem_alloc(100);
    memset(p, 1, 100);
    p = mem_realloc(p, 1000);
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(p[i], 1);
    }
    mem_free(p);
    p = mem_zalloc(1000);
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(p[i], 0);
    }
    mem_free(p);
    p = mem_realloc(NULL, 10);
    assert_non_null(p);
    mem_free(p);
    mem_free(NULL);
}

static void nothing_is_something(void **state)
{
    void *p[4] = {mem_alloc(0), mem_zalloc(0), mem_realloc(NULL, 0), mem_dup(NULL, 0)};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        assert_non_null(p[i]);
        mem_free(p[i]);
    }
}

static void copies(void **state)
{
    static const char bytes[] = "a\0b";
    char *s = mem_strdup("text");
    char *d = mem_dup(bytes, sizeof bytes);

    (void)state;
    assert_string_equal(s, "text");
    assert_memory_equal(d, bytes, sizeof bytes);
    mem_free(s);
    mem_free(d);
}

static void run_out(void *arg)
{
    (void)arg;
    /* The sanitizers would report it themselves. */
    (void)mem_alloc(SIZE_MAX / 4);
}

static void no_memory_ends_the_process(void **state)
{
    struct child child;

    (void)state;
#if defined(__SANITIZE_ADDRESS__)
    skip();
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
    skip();
#endif
#endif
    child_run(&child, run_out, NULL);
    assert_int_equal(child.status, RD_EXIT_BUG);
    assert_string_equal(child.text, "raftd: out of memory: 4611686018427387903 bytes refused\n");
}

static void blobs_are_shared(void **state)
{
    struct blob *b = blob_copy("data", 4);

    (void)state;
    assert_int_equal(b->refs, 1);
    assert_int_equal(b->size, 4);
    assert_memory_equal(b->data, "data", 4);
    assert_ptr_equal(blob_ref(b), b);
    assert_int_equal(b->refs, 2);
    blob_unref(b);
    assert_int_equal(b->refs, 1);
    assert_memory_equal(b->data, "data", 4);
    blob_unref(b); /* freed: the sanitizers would see a leak */
    assert_null(blob_ref(NULL));
    blob_unref(NULL);
}

static void blobs_may_be_empty(void **state)
{
    struct blob *b = blob_copy(NULL, 0);
    struct blob *n = blob_new(3);

    (void)state;
    assert_int_equal(b->size, 0);
    assert_int_equal(n->size, 3);
    assert_int_equal(n->refs, 1);
    memset(n->data, 0xff, 3);
    blob_unref(b);
    blob_unref(n);
}

static void make_huge_blob(void *arg)
{
    (void)arg;
    (void)blob_new((size_t)UINT32_MAX + 1);
}

static void unref_without_reference(void *arg)
{
    struct blob b = {.refs = 0};

    (void)arg;
    blob_unref(&b);
}

static void misuse_is_a_bug(void **state)
{
    struct child child;

    (void)state;
    child_run(&child, make_huge_blob, NULL);
    assert_int_equal(child.status, RD_EXIT_BUG);
    assert_non_null(strstr(child.text, "size <= UINT32_MAX"));
    child_run(&child, unref_without_reference, NULL);
    assert_int_equal(child.status, RD_EXIT_BUG);
    assert_non_null(strstr(child.text, "b->refs > 0"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocates),        cmocka_unit_test(nothing_is_something),
        cmocka_unit_test(copies),           cmocka_unit_test(no_memory_ends_the_process),
        cmocka_unit_test(blobs_are_shared), cmocka_unit_test(blobs_may_be_empty),
        cmocka_unit_test(misuse_is_a_bug),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
