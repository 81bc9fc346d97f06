#include "store/unfinished.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/units.h"
#include "store/fault.h"

enum { TEXT_SIZE = 64 };

raft_id store_unfinished_node(const struct store_dir *dir, const char *what)
{
    char text[TEXT_SIZE];
    size_t what_size = strlen(what);
    uint64_t node = 0;
    ssize_t size = readlinkat(dir->fd, STORE_UNFINISHED_NAME, text, sizeof text - 1);

    if (size <= 0) {
        return 0;
    }
    text[size] = 0;
    if (strncmp(text, what, what_size) != 0 || text[what_size] != ' ' ||
        units_parse_number(text + what_size + 1, 1, UINT32_MAX, &node)) {
        return 0;
    }
    return (raft_id)node;
}

/* What a directory says about its names is durable when it was synced. */
static int synced(const struct store_dir *dir, int error)
{
    if (!error && fsync(dir->fd) != 0) {
        error = errno;
    }
    return error ? store_fault_report("the data directory cannot be changed", dir->path, error) : 0;
}

int store_unfinished_begin(const struct store_dir *dir, const char *what, raft_id node)
{
    char text[TEXT_SIZE];

    (void)snprintf(text, sizeof text, "%s %" PRIu32, what, node);
    if (unlinkat(dir->fd, STORE_UNFINISHED_NAME, 0) != 0 && errno != ENOENT) {
        return synced(dir, errno);
    }
    return synced(dir, symlinkat(text, dir->fd, STORE_UNFINISHED_NAME) == 0 ? 0 : errno);
}

int store_unfinished_end(const struct store_dir *dir)
{
    return synced(dir, unlinkat(dir->fd, STORE_UNFINISHED_NAME, 0) == 0 ? 0 : errno);
}

static int remove_files(DIR *stream)
{
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is ours alone */
    for (struct dirent *entry = readdir(stream); entry; entry = readdir(stream)) {
        bool is_dot = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        if (!is_dot && unlinkat(dirfd(stream), entry->d_name, 0) != 0) {
            return errno;
        }
    }
    return 0;
}

static int remove_all(const struct store_dir *dir, const char *name)
{
    int fd = openat(dir->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);

    if (!stream) {
        int error = errno;
        if (fd >= 0) {
            (void)close(fd);
        }
        return error == ENOENT ? 0 : error;
    }
    int error = remove_files(stream);
    (void)closedir(stream);
    if (!error && unlinkat(dir->fd, name, AT_REMOVEDIR) != 0) {
        error = errno;
    }
    return error;
}

int store_unfinished_remove_env(const struct store_dir *dir, const char *name)
{
    return synced(dir, remove_all(dir, name));
}
