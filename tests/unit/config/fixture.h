/* fixture.h - a raftd.conf in a temporary file, and what config_load() says about it. */
#ifndef RAFTD_TESTS_CONFIG_FIXTURE_H
#define RAFTD_TESTS_CONFIG_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "config/config.h"

enum { OVERRIDES_MAX = 4 };

struct loaded {
    int rc;
    struct config config;
    char *errors; /* with the path of the file replaced by "F" */
};

/* Write bytes to a new file; the caller unlinks it. */
static inline void file_make(char path[64], const void *bytes, size_t size)
{
    (void)snprintf(path, 64, "/tmp/raftd-config-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), (ssize_t)size);
    assert_int_equal(close(fd), 0);
}

static inline char *errors_shorten(const char *errors, const char *path)
{
    struct buf out = BUF_INIT;
    size_t path_size = strlen(path);

    while (*errors) {
        if (strncmp(errors, path, path_size) == 0) {
            buf_put_u8(&out, 'F');
            errors += path_size;
        } else {
            buf_put_u8(&out, (uint8_t)*errors++);
        }
    }
    char *text = mem_strdup(buf_str(&out));
    buf_done(&out);
    return text;
}

/* Load bytes as a file. overrides end with NULL. */
static inline struct loaded load_bytes(const void *bytes, size_t size, const char *const *overrides)
{
    struct loaded result = {0};
    struct buf errors = BUF_INIT;
    char path[64];
    uint32_t count = 0;

    file_make(path, bytes, size);
    while (overrides && overrides[count]) {
        count++;
    }
    memset(&result.config, 0x5a, sizeof result.config);
    result.rc = config_load(path, overrides, count, &result.config, &errors);
    result.errors = errors_shorten(buf_str(&errors), path);
    (void)unlink(path);
    buf_done(&errors);
    return result;
}

static inline struct loaded load_text(const char *text)
{
    return load_bytes(text, strlen(text), NULL);
}

/* The file has to load; returns what it holds. */
static inline struct config load_good(const char *text, const char *const *overrides)
{
    struct loaded l = load_bytes(text, strlen(text), overrides);

    assert_string_equal(l.errors, "");
    assert_int_equal(l.rc, 0);
    mem_free(l.errors);
    return l.config;
}

/* The file has to be refused with exactly these lines, and leave the output untouched. */
static inline void assert_refused_with(const char *text, const char *const *overrides,
                                       const char *errors)
{
    struct loaded l = load_bytes(text, strlen(text), overrides);
    struct config untouched;

    memset(&untouched, 0x5a, sizeof untouched);
    assert_string_equal(l.errors, errors);
    assert_int_equal(l.rc, -RD_ECONFIG);
    assert_memory_equal(&l.config, &untouched, sizeof untouched);
    mem_free(l.errors);
}

static inline void assert_refused(const char *text, const char *errors)
{
    assert_refused_with(text, NULL, errors);
}

static inline char *dump_text(const struct config *c)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    config_dump(c, out);
    assert_int_equal(fclose(out), 0);
    return text; /* free() */
}

#endif
