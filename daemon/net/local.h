/* local.h - listening Unix sockets, and the files they leave.
 *
 * Threads:   any. Ownership: the descriptor is the caller's; its file goes by local_remove().
 * Errors:    -RD_ECONFIG after one log line that names the option of the configuration. */
#ifndef RAFTD_NET_LOCAL_H
#define RAFTD_NET_LOCAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/un.h>

struct local_config {
    const char *option; /* as people know it: "[admin] socket" */
    const char *path;
    uint32_t mode;
    bool group_set;
    gid_t group; /* who owns the file with us */
};

struct local_file {
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* "": none was made */
    dev_t dev;
    ino_t ino;
};

/* Bound, and not listening yet: so nobody connects before its mode is set. A socket file that nobody
 * answers on is replaced. `file` is filled in as soon as there is one, in case of an error, too. */
int local_bind(const struct local_config *config, struct local_file *file, int *fd);

/* Only while it is the one that we made. */
void local_remove(const struct local_file *file);

#endif
