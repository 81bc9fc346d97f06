#include "raftctl/child.h"

#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define STORE_LINE "store: "

struct shared { /* with the child */
    bool done;  /* it has returned */
    int code;
    uint8_t answer[];
};

static void become_owner(const char *data_dir)
{
    struct stat st;

    if (geteuid() != 0 || stat(data_dir, &st) != 0 || st.st_uid == 0) {
        return;
    }
    if (setgroups(0, NULL) != 0 || setegid(st.st_gid) != 0 || seteuid(st.st_uid) != 0) {
        _exit(1);
    }
}

static _Noreturn void run(const char *data_dir, child_job *job, const void *arg,
                          struct shared *shared, int log_fd)
{
    if (dup2(log_fd, STDERR_FILENO) < 0) {
        _exit(1);
    }
    become_owner(data_dir);
    shared->code = job(arg, shared->answer);
    shared->done = true;
    _exit(0);
}

/* The first line the store logged, without time and level; or how the child ended. */
static void read_reason(int log_fd, const struct shared *shared, int status, struct buf *out)
{
    char text[4096];
    ssize_t size = pread(log_fd, text, sizeof text - 1, 0);

    text[size > 0 ? size : 0] = 0;
    char *line = strstr(text, STORE_LINE);
    if (line) {
        line += strlen(STORE_LINE);
        line[strcspn(line, "\n")] = 0;
        buf_put_str(out, line);
    } else if (shared->done) {
        return;
    } else if (WIFSIGNALED(status)) {
        buf_printf(out, "the files make no sense: reading them ended by signal %d",
                   WTERMSIG(status));
    } else {
        buf_printf(out, "reading the files ended with status %d", WEXITSTATUS(status));
    }
}

static int wait_for(pid_t pid)
{
    int status = 0;

    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

int child_run(const char *data_dir, child_job *job, const void *arg, void *answer,
              size_t answer_size, struct buf *reason)
{
    size_t size = sizeof(struct shared) + answer_size;
    int log_fd = memfd_create("raftctl-child", MFD_CLOEXEC);
    struct shared *shared =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (log_fd < 0 || shared == MAP_FAILED) {
        return -errno;
    }
    pid_t pid = fork();
    if (pid < 0) {
        return -errno;
    }
    if (pid == 0) {
        run(data_dir, job, arg, shared, log_fd);
    }
    int status = wait_for(pid);
    int code = shared->done ? shared->code : -RD_ECORRUPT;
    read_reason(log_fd, shared, status, reason);
    if (answer_size) {
        memcpy(answer, shared->answer, answer_size);
    }
    (void)munmap(shared, size);
    (void)close(log_fd);
    return code;
}

int child_fail(struct ctl_error *e, int code, struct buf *reason)
{
    static const struct {
        int code, shown;
    } shown[] = {{-RD_ECONFIG, -RD_EINVALID},
                 {-RD_ECORRUPT, -RD_EINVALID},
                 {-RD_EDISK, -RD_EINVALID},
                 {-RD_EDISK_FULL, -RD_ENO_SPACE},
                 {-RD_EMAP_FULL, -RD_ENO_SPACE}};

    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++) {
        code = code == shown[i].code ? shown[i].shown : code;
    }
    return ctl_fail(e, code, "%s", reason->size ? buf_str(reason) : err_text(code));
}
