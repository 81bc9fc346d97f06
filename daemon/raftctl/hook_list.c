#include "raftctl/hook_list.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

bool hook_list_is_name(const char *name)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.";
    static const char *const aside[] = {".dpkg-", ".ucf-", ".rpmnew", ".rpmorig", ".rpmsave"};

    if (name[0] == '.' || name[0] == 0 || name[strspn(name, letters)]) {
        return false;
    }
    for (size_t i = 0; i < sizeof aside / sizeof aside[0]; i++) {
        if (strstr(name, aside[i])) {
            return false;
        }
    }
    return true;
}

static bool is_file(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static bool is_program(const char *path)
{
    return is_file(path) && access(path, X_OK) == 0;
}

void hook_list_add(struct hook_list *l, const char *path)
{
    l->paths = mem_realloc(l->paths, (l->count + 1) * sizeof *l->paths);
    l->paths[l->count++] = mem_strdup(path);
}

bool hook_list_has(const struct hook_list *l, const char *path)
{
    uint32_t i = 0;

    while (i < l->count && strcmp(l->paths[i], path) != 0) {
        i++;
    }
    return i < l->count;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list_directory(const char *path, struct hook_list *out, struct ctl_error *e)
{
    DIR *stream = opendir(path);
    struct buf file = BUF_INIT;

    if (!stream) {
        return ctl_fail(e, -RD_EUSAGE, "--hook: cannot read the directory %s: %s", path,
                        err_text(-errno));
    }
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is ours alone */
    for (struct dirent *entry = readdir(stream); entry; entry = readdir(stream)) {
        file.size = 0;
        buf_printf(&file, "%s/%s", path, entry->d_name);
        if (!hook_list_is_name(entry->d_name) || !is_file(buf_str(&file))) {
            continue;
        }
        if (is_program(buf_str(&file))) {
            hook_list_add(out, buf_str(&file));
        } else if (!out->idle) {
            out->idle = mem_strdup(buf_str(&file));
        }
    }
    (void)closedir(stream);
    buf_done(&file);
    if (out->count) {
        qsort(out->paths, out->count, sizeof *out->paths, by_bytes);
    }
    return 0;
}

int hook_list_make(const char *path, struct hook_list *out, struct ctl_error *e)
{
    struct stat st;

    hook_list_done(out);
    if (stat(path, &st) != 0) {
        return ctl_fail(e, -RD_EUSAGE, "--hook: cannot use '%s': %s", path, err_text(-errno));
    }
    if (S_ISDIR(st.st_mode)) {
        return list_directory(path, out, e);
    }
    if (!is_program(path)) {
        return ctl_fail(e, -RD_EUSAGE,
                        "--hook: '%s' is neither a directory nor an executable file%s", path,
                        S_ISREG(st.st_mode) ? ": chmod +x it" : "");
    }
    hook_list_add(out, path);
    return 0;
}

void hook_list_done(struct hook_list *l)
{
    for (uint32_t i = 0; i < l->count; i++) {
        mem_free(l->paths[i]);
    }
    mem_free(l->paths);
    mem_free(l->idle);
    *l = (struct hook_list){0};
}
