/* A raftd.conf of any bytes, and -o arguments. The first byte of the input says how many arguments follow,
 * each up to a NUL; the rest is the file. Asserted:
 *   - refused: `out` is untouched, and each message is one printable line that begins with file:line, the
 *     line being one of the file, or with the argument it is about;
 *   - accepted: no message; --dump-config reads back without arguments to a configuration in which no
 *     option differs and which is dumped as the same text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "base/err.h"
#include "base/units.h"
#include "config/config.h"
#include "target.h"

enum { ARGUMENTS_MAX = 7, PATH_SIZE = 32 };

/* A file of these bytes that has a name. */
static int make_file(const void *data, size_t size, char path[PATH_SIZE])
{
    int fd = memfd_create("raftd.conf", MFD_CLOEXEC);

    rd_assert(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    (void)snprintf(path, PATH_SIZE, "/proc/self/fd/%d", fd);
    return fd;
}

static uint32_t lines_of(const uint8_t *data, size_t size)
{
    uint32_t lines = 1;

    for (size_t i = 0; i < size; i++) {
        lines += data[i] == '\n';
    }
    return lines;
}

static void check_message(const char *line, const char *path, uint32_t lines,
                          uint32_t arguments_count)
{
    size_t path_size = strlen(path);
    char *end;

    rd_assert(units_is_utf8(line, strlen(line)));
    for (const char *p = line; *p; p++) {
        rd_assert((unsigned char)*p >= 0x20 && *p != 0x7f);
    }
    if (strncmp(line, "-o ", 3) == 0) {
        rd_assert(arguments_count > 0);
        return;
    }
    rd_assert(strncmp(line, path, path_size) == 0 && line[path_size] == ':');
    unsigned long number = strtoul(line + path_size + 1, &end, 10);
    rd_assert(end != line + path_size + 1 && strncmp(end, ": ", 2) == 0 && end[2] != 0);
    rd_assert(number <= lines);
}

static void check_messages(struct buf *errors, const char *path, uint32_t lines,
                           uint32_t arguments_count)
{
    char *rest;

    rd_assert(errors->size > 0 && errors->data[errors->size - 1] == '\n');
    rd_assert(!memchr(errors->data, 0, errors->size));
    (void)buf_str(errors);
    for (char *line = strtok_r((char *)errors->data, "\n", &rest); line;
         line = strtok_r(NULL, "\n", &rest)) {
        check_message(line, path, lines, arguments_count);
    }
}

static void dump(const struct config *c, char **text, size_t *size)
{
    FILE *out = open_memstream(text, size);

    rd_assert(out);
    config_dump(c, out);
    rd_assert(fclose(out) == 0);
}

static void on_change(void *arg, const struct config_option_info *info)
{
    (void)arg;
    check_fail("an option of the dump reads back as it was", __FILE__, __LINE__, info->key);
}

static void read_back(const struct config *c)
{
    struct buf errors = BUF_INIT;
    struct config again;
    char path[PATH_SIZE];
    char *text, *text_again;
    size_t size, size_again;

    dump(c, &text, &size);
    int fd = make_file(text, size, path);
    rd_assert(config_load(path, NULL, 0, &again, &errors) == 0 && errors.size == 0);
    (void)close(fd);
    config_each_change(c, &again, on_change, NULL);
    dump(&again, &text_again, &size_again);
    rd_assert(size == size_again && memcmp(text, text_again, size) == 0);
    free(text_again);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *arguments[ARGUMENTS_MAX];
    struct buf errors = BUF_INIT;
    struct config c, untouched;
    char path[PATH_SIZE];
    uint32_t count = 0;
    size_t at = 1;

    if (size == 0) {
        return 0;
    }
    for (; count < (data[0] & ARGUMENTS_MAX); count++) {
        const uint8_t *end = at < size ? memchr(data + at, 0, size - at) : NULL;
        if (!end) {
            break;
        }
        arguments[count] = mem_strdup((const char *)data + at);
        at = (size_t)(end - data) + 1;
    }
    at = at < size ? at : size;
    int fd = make_file(data + at, size - at, path);
    memset(&c, 0x5a, sizeof c);
    memset(&untouched, 0x5a, sizeof untouched);
    int code = config_load(path, (const char *const *)arguments, count, &c, &errors);
    (void)close(fd);
    rd_assert(code == 0 || code == -RD_ECONFIG);
    if (code) {
        rd_assert(memcmp(&c, &untouched, sizeof c) == 0);
        check_messages(&errors, path, lines_of(data + at, size - at), count);
    } else {
        rd_assert(errors.size == 0);
        read_back(&c);
    }
    buf_done(&errors);
    while (count > 0) {
        mem_free(arguments[--count]);
    }
    return 0;
}
