#include "store/dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/units.h"
#include "store/fault.h"

#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_CLOEXEC)
#define ENV_PATH_SIZE 64 /* "state/data.mdb" and the like */

/* ---- File system ---- */

/* Their locks and mapped files do not behave as LMDB needs. FUSE is not here: it does not tell a
 * local file system from a remote one. */
static const struct {
    unsigned long magic;
    const char *name;
} network_file_systems[] = {
    {NFS_SUPER_MAGIC, "nfs"},   {SMB_SUPER_MAGIC, "smb"}, {CIFS_SUPER_MAGIC, "cifs"},
    {SMB2_SUPER_MAGIC, "smb2"}, {NCP_SUPER_MAGIC, "ncp"}, {V9FS_MAGIC, "9p"},
    {CEPH_SUPER_MAGIC, "ceph"}, {AFS_SUPER_MAGIC, "afs"}, {AFS_FS_MAGIC, "afs"},
    {CODA_SUPER_MAGIC, "coda"}, {0x0bd00bd0UL, "lustre"},
};

const char *store_dir_network_name(unsigned long magic)
{
    /* f_type is a signed long and some magic numbers have bit 31: compare 32 bits. */
    for (size_t i = 0; i < sizeof network_file_systems / sizeof network_file_systems[0]; i++) {
        if (network_file_systems[i].magic == (magic & 0xffffffffUL)) {
            return network_file_systems[i].name;
        }
    }
    return NULL;
}

static int refuse_network(const struct store_dir *dir)
{
    struct statfs fs;

    if (fstatfs(dir->fd, &fs) != 0) {
        return store_fault_report("the file system of the data directory cannot be examined",
                                  dir->path, errno);
    }
    const char *name = store_dir_network_name((unsigned long)fs.f_type);
    if (name) {
        log_error("store", "the data directory is on a network file system, which cannot keep it",
                  LOG_STR("path", dir->path), LOG_STR("type", name),
                  LOG_STR("do", "set data_dir in [node] to a directory on a local disk"));
        return -RD_ECONFIG;
    }
    return 0;
}

/* ---- Contents ---- */

static bool is_own_name(const char *name)
{
    static const char *const own[] = {".",     "..",         STORE_LOCK_NAME,      "log",
                                      "state", "lost+found", STORE_UNFINISHED_NAME};

    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        if (strcmp(name, own[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* What is half made or half gone must not be taken for a store, nor for an empty directory. */
static int refuse_unfinished(const struct store_dir *dir)
{
    char what[64];
    ssize_t size = readlinkat(dir->fd, STORE_UNFINISHED_NAME, what, sizeof what - 1);

    if (size < 0 && errno == ENOENT) {
        return 0;
    }
    what[size > 0 ? size : 0] = 0;
    what[strcspn(what, " ")] = 0;
    log_error("store", "what was done to the data directory is not finished",
              LOG_STR("path", dir->path), LOG_STR("unfinished", what),
              LOG_STR("do", "run that raftctl command on it again"));
    return -RD_ECONFIG;
}

int store_dir_each_name(const struct store_dir *dir, store_name_cb *cb)
{
    int fd = openat(dir->fd, ".", DIR_FLAGS);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    int code = 0;

    if (!stream) {
        int error = errno;
        if (fd >= 0) {
            (void)close(fd);
        }
        return store_fault_report("the data directory cannot be read", dir->path, error);
    }
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is ours alone */
    for (struct dirent *entry = readdir(stream); entry && code == 0; entry = readdir(stream)) {
        code = cb(dir, entry->d_name);
    }
    (void)closedir(stream);
    return code;
}

static int refuse_foreign_name(const struct store_dir *dir, const char *name)
{
    if (is_own_name(name)) {
        return 0;
    }
    log_error("store", "the data directory holds other files but no raftd store",
              LOG_STR("path", dir->path), LOG_STR("found", name),
              LOG_STR("do", "set data_dir in [node] to an empty directory"));
    return -RD_ECONFIG;
}

/* A directory without a store becomes one only when nothing of somebody else is in it. */
static int refuse_foreign(const struct store_dir *dir)
{
    bool has_store = store_dir_has_env(dir, "log") || store_dir_has_env(dir, "state");

    return has_store ? 0 : store_dir_each_name(dir, refuse_foreign_name);
}

/* Its size; -1: it is not there. What cannot be examined is there: opening it says why it cannot be used. */
static off_t env_size(const struct store_dir *dir, const char *name)
{
    char file[ENV_PATH_SIZE];
    struct stat st;

    (void)snprintf(file, sizeof file, "%s/data.mdb", name);
    if (fstatat(dir->fd, file, &st, 0) == 0) {
        return st.st_size;
    }
    return errno == ENOENT || errno == ENOTDIR ? -1 : 1;
}

bool store_dir_has_env(const struct store_dir *dir, const char *name)
{
    return env_size(dir, name) >= 0;
}

bool store_dir_has_data(const struct store_dir *dir, const char *name)
{
    return env_size(dir, name) > 0;
}

/* ---- Durable names ---- */

static int sync_at(int fd, const char *name)
{
    int target = openat(fd, name, DIR_FLAGS);

    if (target < 0) {
        return errno;
    }
    int error = fsync(target) == 0 ? 0 : errno;
    (void)close(target);
    return error;
}

int store_dir_make_env(const struct store_dir *dir, const char *name)
{
    int error = mkdirat(dir->fd, name, 0700) == 0 || errno == EEXIST ? 0 : errno;

    if (!error) {
        error = sync_at(dir->fd, ".");
    }
    return error ? store_fault_report("a directory cannot be made in the data directory", dir->path,
                                      error)
                 : 0;
}

int store_dir_sync_env(const struct store_dir *dir, const char *name)
{
    int error = sync_at(dir->fd, name);

    return error ? store_fault_report("a directory in the data directory cannot be synced",
                                      dir->path, error)
                 : 0;
}

static int open_or_make(struct store_dir *dir)
{
    bool made = false;

    dir->fd = open(dir->path, DIR_FLAGS);
    if (dir->fd < 0 && errno == ENOENT) {
        if (mkdir(dir->path, 0700) != 0) {
            return store_fault_report("the data directory cannot be made", dir->path, errno);
        }
        made = true;
        dir->fd = open(dir->path, DIR_FLAGS);
    }
    if (dir->fd < 0) {
        return store_fault_report("the data directory cannot be opened", dir->path, errno);
    }
    /* An earlier start may have made it and crashed before this. Whoever else made it has no need
     * to let us read the parent. */
    int error = sync_at(dir->fd, "..");
    return made && error ? store_fault_report("the parent of the data directory cannot be synced",
                                              dir->path, error)
                         : 0;
}

/* ---- Lock ---- */

static uint64_t pid_in_lock(int fd)
{
    char text[24];
    uint64_t pid = 0;
    ssize_t size = pread(fd, text, sizeof text - 1, 0);

    if (size > 0) {
        text[size] = 0;
        text[strcspn(text, "\n")] = 0;
        (void)units_parse_number(text, 1, INT32_MAX, &pid);
    }
    return pid;
}

static int report_held(const struct store_dir *dir)
{
    static const char what[] = "another process holds the data directory";
    static const char advice[] = "stop it first, or give this node a data_dir of its own";
    uint64_t pid = pid_in_lock(dir->lock_fd);

    if (pid) {
        log_error("store", what, LOG_STR("path", dir->path), LOG_U64("pid", pid),
                  LOG_STR("do", advice));
    } else {
        log_error("store", what, LOG_STR("path", dir->path), LOG_STR("do", advice));
    }
    return -RD_ECONFIG;
}

static int lock_file(struct store_dir *dir, int flags)
{
    dir->lock_fd = openat(dir->fd, STORE_LOCK_NAME, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (dir->lock_fd < 0) {
        return store_fault_report("the lock file cannot be opened", dir->path, errno);
    }
    if (flock(dir->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        return errno == EWOULDBLOCK
                   ? report_held(dir)
                   : store_fault_report("the data directory cannot be locked", dir->path, errno);
    }
    return 0;
}

static int take_lock(struct store_dir *dir)
{
    char text[24];
    int code = lock_file(dir, O_RDWR | O_CREAT);

    if (code != 0) {
        return code;
    }
    /* The pid is only for the message of a second raftd: when it cannot be written, so be it. */
    int size = snprintf(text, sizeof text, "%" PRIdMAX "\n", (intmax_t)getpid());
    if (ftruncate(dir->lock_fd, 0) != 0 || pwrite(dir->lock_fd, text, (size_t)size, 0) != size) {
        log_warning("store", "the lock file cannot be written", LOG_STR("path", dir->path),
                    LOG_ERR(-errno));
    }
    return 0;
}

/* A copy of a data directory may lack the file, and then nobody holds it. */
static int lock_if_there(struct store_dir *dir)
{
    struct stat st;

    if (fstatat(dir->fd, STORE_LOCK_NAME, &st, 0) != 0 && errno == ENOENT) {
        return 0;
    }
    return lock_file(dir, O_RDONLY);
}

/* Gives back the directory, or makes it the caller's. */
static int opened(struct store_dir *dir, int code, struct store_dir *out)
{
    if (code != 0) {
        store_dir_close(dir);
        return code;
    }
    *out = *dir;
    return 0;
}

int store_dir_open_to_look(const char *path, struct store_dir *out)
{
    struct store_dir dir = {mem_strdup(path), open(path, DIR_FLAGS), -1};
    int code = dir.fd < 0
                   ? store_fault_report("the data directory cannot be opened", dir.path, errno)
                   : lock_if_there(&dir);

    if (code == 0) {
        code = refuse_unfinished(&dir);
    }
    return opened(&dir, code, out);
}

int store_dir_open_unfinished(const char *path, struct store_dir *out)
{
    struct store_dir dir = {mem_strdup(path), -1, -1};
    int code = open_or_make(&dir);

    if (code == 0) {
        code = refuse_network(&dir);
    }
    if (code == 0) {
        code = refuse_foreign(&dir);
    }
    if (code == 0) {
        code = take_lock(&dir);
    }
    return opened(&dir, code, out);
}

int store_dir_open(const char *path, struct store_dir *out)
{
    struct store_dir dir;
    int code = store_dir_open_unfinished(path, &dir);

    return code ? code : opened(&dir, refuse_unfinished(&dir), out);
}

void store_dir_close(struct store_dir *dir)
{
    if (dir->lock_fd >= 0) {
        (void)close(dir->lock_fd);
    }
    if (dir->fd >= 0) {
        (void)close(dir->fd);
    }
    mem_free(dir->path);
    *dir = (struct store_dir){NULL, -1, -1};
}
