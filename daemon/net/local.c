#include "net/local.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"

static int refuse(const struct local_config *config, const char *why)
{
    char what[64];

    (void)snprintf(what, sizeof what, "cannot listen on the socket of %s", config->option);
    log_error("net", what, LOG_STR("socket", config->path), LOG_STR("why", why));
    return -RD_ECONFIG;
}

/* Another path would help. */
static int refuse_place(const struct local_config *config, const char *what)
{
    char why[256];

    (void)snprintf(why, sizeof why, "%s, or choose another path in %s", what, config->option);
    return refuse(config, why);
}

static int refuse_errno(const struct local_config *config, const char *what, int error)
{
    char why[256];

    (void)snprintf(why, sizeof why, "%s: %s", what, err_text(-error));
    return refuse(config, why);
}

static int check_directory(const struct local_config *config)
{
    char directory[sizeof((struct sockaddr_un *)0)->sun_path];
    struct stat st;

    (void)snprintf(directory, sizeof directory, "%s", config->path);
    char *slash = strrchr(directory, '/');
    if (!slash) {
        return 0; /* the working directory */
    }
    slash[slash == directory ? 1 : 0] = 0;
    if (stat(directory, &st) == 0 && S_ISDIR(st.st_mode)) {
        return 0;
    }
    return refuse_place(config, "its directory does not exist: systemd makes it from "
                                "RuntimeDirectory=; without systemd create it");
}

/* What stands at the path may be left over from a raftd that was killed, or be in use. */
static int clear_path(const struct local_config *config, const struct sockaddr_un *address)
{
    struct stat st;

    if (lstat(config->path, &st)) {
        return errno == ENOENT ? 0 : refuse_errno(config, "cannot look at it", errno);
    }
    if (!S_ISSOCK(st.st_mode)) {
        return refuse_place(config, "a file that is no socket stands there: move it away");
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return refuse_errno(config, "no socket", errno);
    }
    int error =
        connect(fd, (const struct sockaddr *)(const void *)address, sizeof *address) ? errno : 0;
    (void)close(fd);
    if (error == 0 || error == EAGAIN) {
        return refuse_place(config, "another process answers there: stop it");
    }
    if (error != ECONNREFUSED) {
        return refuse_errno(config, "cannot tell whether another process uses it", error);
    }
    if (unlink(config->path) && errno != ENOENT) {
        return refuse_errno(config, "cannot remove the left-over socket file", errno);
    }
    return 0;
}

/* Before anybody can connect: the kernel refuses until listen(). */
static int set_access(const struct local_config *config)
{
    if (config->group_set && chown(config->path, (uid_t)-1, config->group)) {
        log_warning("net", "cannot give a socket to its group", LOG_STR("socket", config->path),
                    LOG_STR("why", err_text(-errno)));
    }
    if (chmod(config->path, (mode_t)config->mode)) {
        return refuse_errno(config, "cannot set its mode", errno);
    }
    return 0;
}

static int bind_path(const struct local_config *config, const struct sockaddr_un *address, int fd,
                     struct local_file *file)
{
    struct stat st;

    if (bind(fd, (const struct sockaddr *)(const void *)address, sizeof *address)) {
        char what[160];
        (void)snprintf(what, sizeof what,
                       "cannot create it (let raftd's user write into its directory, or choose "
                       "another path in %s)",
                       config->option);
        return refuse_errno(config, what, errno);
    }
    if (lstat(config->path, &st)) {
        return refuse_errno(config, "cannot look at it", errno);
    }
    memcpy(file->path, address->sun_path, sizeof file->path);
    file->dev = st.st_dev;
    file->ino = st.st_ino;
    return set_access(config);
}

int local_bind(const struct local_config *config, struct local_file *file, int *out)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t size = strlen(config->path);

    if (size == 0 || size >= sizeof address.sun_path) {
        return refuse(config, "a socket path has 1 to 107 bytes");
    }
    memcpy(address.sun_path, config->path, size);
    int code = check_directory(config);
    code = code ? code : clear_path(config, &address);
    if (code) {
        return code;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return refuse_errno(config, "no socket", errno);
    }
    code = bind_path(config, &address, fd, file);
    if (code) {
        (void)close(fd);
        return code;
    }
    *out = fd;
    return 0;
}

void local_remove(const struct local_file *file)
{
    struct stat st;

    if (file->path[0] && lstat(file->path, &st) == 0 && st.st_dev == file->dev &&
        st.st_ino == file->ino) {
        (void)unlink(file->path);
    }
}
