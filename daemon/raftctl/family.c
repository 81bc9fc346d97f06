#include "raftctl/family.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

int family_open(struct family *f)
{
    f->count = f->spared_count = 0;
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) {
        return -errno;
    }
    /* Opened once: when it is needed there may be no descriptor left. */
    f->fd = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
    return f->fd < 0 ? -errno : 0;
}

void family_close(struct family *f)
{
    (void)close(f->fd);
}

static bool is_spared(const struct family *f, pid_t pid)
{
    for (uint32_t i = 0; i < f->spared_count; i++) {
        if (f->spared[i] == pid) {
            return true;
        }
    }
    return false;
}

static void add(struct family *f, pid_t pid)
{
    if (is_spared(f, pid)) {
        return;
    }
    if (f->count == FAMILY_MAX) {
        f->more = true;
        return;
    }
    f->pids[f->count++] = pid;
}

/* Numbers, each with a blank behind it. Nobody leaves the list while it is read: only we bury. */
static void look(struct family *f)
{
    char text[4096];
    pid_t pid = 0;
    ssize_t n;

    f->count = 0;
    f->more = false;
    (void)lseek(f->fd, 0, SEEK_SET);
    while ((n = read(f->fd, text, sizeof text)) > 0 || (n < 0 && errno == EINTR)) {
        for (ssize_t i = 0; i < n; i++) {
            if (text[i] >= '0' && text[i] <= '9') {
                pid = pid * 10 + (text[i] - '0');
            } else if (pid) {
                add(f, pid);
                pid = 0;
            }
        }
    }
}

void family_spare(struct family *f)
{
    look(f);
    memcpy(f->spared, f->pids, f->count * sizeof f->pids[0]);
    f->spared_count = f->count;
}

void family_signal(struct family *f, int number, pid_t except)
{
    look(f);
    for (uint32_t i = 0; i < f->count; i++) {
        if (except == 0 || getpgid(f->pids[i]) != except) {
            (void)kill(f->pids[i], number);
        }
    }
}

uint32_t family_bury(struct family *f, pid_t kept)
{
    uint32_t left;
    bool buried;

    do { /* whom the buried left behind may have come to us after we looked */
        left = 0;
        buried = false;
        look(f);
        for (uint32_t i = 0; i < f->count; i++) {
            if (f->pids[i] != kept) {
                pid_t ended = waitpid(f->pids[i], NULL, WNOHANG);
                left += ended == 0;
                buried = buried || ended > 0;
            }
        }
    } while (buried);
    return left + f->more;
}
