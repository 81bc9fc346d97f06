/* Runs a fuzz target over files instead of random input: every build tests the corpora.
 * Arguments: files, or directories of them; options (-...) are libFuzzer's and ignored. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "target.h"

static int run_file(const char *path)
{
    struct buf input = BUF_INIT;
    FILE *file = fopen(path, "rb");

    if (!file) {
        (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    for (;;) {
        buf_reserve(&input, 65536);
        size_t got = fread(input.data + input.size, 1, 65536, file);
        input.size += got;
        if (got == 0) {
            break;
        }
    }
    int failed = ferror(file);
    (void)fclose(file);
    /* A copy of the exact size: a sanitizer sees a read behind the end. */
    uint8_t *exact = mem_dup(input.data, input.size);
    (void)LLVMFuzzerTestOneInput(exact, input.size);
    mem_free(exact);
    buf_done(&input);
    return failed ? -1 : 1;
}

static int run_dir(const char *path)
{
    DIR *dir = opendir(path);
    int count = 0;

    if (!dir) {
        return errno == ENOTDIR ? run_file(path) : -1;
    }
    for (const struct dirent *e = readdir(dir); e && count >= 0; e = readdir(dir)) {
        struct buf name = BUF_INIT;
        if (e->d_name[0] == '.') {
            continue;
        }
        buf_printf(&name, "%s/%s", path, e->d_name);
        count = run_file(buf_str(&name)) < 0 ? -1 : count + 1;
        buf_done(&name);
    }
    (void)closedir(dir);
    return count;
}

int main(int argc, char **argv)
{
    int total = 0;

    for (int i = 1; i < argc; i++) {
        int count = argv[i][0] == '-' ? 0 : run_dir(argv[i]);
        if (count < 0) {
            (void)fprintf(stderr, "%s: cannot be read\n", argv[i]);
            return 1;
        }
        total += count;
    }
    (void)printf("%d inputs\n", total);
    return total > 0 ? 0 : 1; /* an empty corpus would pass everything */
}
