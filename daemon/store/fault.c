#include "store/fault.h"

#include <errno.h>
#include <lmdb.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "store/reserve.h"

#define FREE_UNKNOWN UINT64_MAX
#define FULL_BELOW_BYTES (UINT64_C(1) << 20) /* less than this is "nothing left" */

static bool is_offline;

void store_fault_offline(void)
{
    is_offline = true;
}

/* Of a system call while the store is opened. */
static int code_of_errno(int error, uint64_t free_bytes)
{
    switch (error) {
    case ENOSPC:
    case EDQUOT:
        return -RD_EDISK_FULL;
    case EIO:
        return free_bytes < FULL_BELOW_BYTES ? -RD_EDISK_FULL : -RD_EDISK;
    case EACCES:
    case EPERM:
        return is_offline ? -RD_EPERMISSION : -RD_ECONFIG;
    case EROFS:
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case ELOOP:
    case ENAMETOOLONG:
    case ENOMEM: /* mmap: map_size is beyond what the system gives */
        return -RD_ECONFIG;
    default:
        return -RD_EDISK;
    }
}

int store_fault_code(int rc, uint64_t free_bytes)
{
    switch (rc) {
    case MDB_MAP_FULL:
        return -RD_EMAP_FULL;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
    case MDB_INCOMPATIBLE:
    case MDB_NOTFOUND:
    case MDB_KEYEXIST:
        return -RD_ECORRUPT;
    default:
        return code_of_errno(rc, free_bytes);
    }
}

int store_fault_code_running(int rc, uint64_t free_bytes)
{
    int code = store_fault_code(rc, free_bytes);

    /* It was configured well enough to open: what became of it since is the disk's doing. */
    return code == -RD_ECONFIG ? -RD_EDISK : code;
}

static const char *advice(int code)
{
    switch (-code) {
    case RD_EDISK_FULL:
        return is_offline ? "free space on this file system, then give the command again"
                          : "free space on this file system, then start raftd again";
    case RD_EMAP_FULL:
        return "raise storage.map_size, then start raftd again";
    case RD_ECORRUPT:
        return STORE_FAULT_DAMAGED;
    case RD_EPERMISSION:
        return "run it as root, or as the owner of the directory";
    case RD_ECONFIG:
        return is_offline ? "check the path, and who may use it"
                          : "check data_dir in [node], map_size in [storage], and who may use the "
                            "directory";
    default:
        return "check the disk and the kernel log";
    }
}

static void report(const char *what, const char *path, int rc, uint64_t free_bytes, int code)
{
    const char *cause = mdb_strerror(rc);

    if (free_bytes == FREE_UNKNOWN) {
        log_error("store", what, LOG_STR("path", path), LOG_STR("cause", cause), LOG_ERR(code),
                  LOG_STR("do", advice(code)));
    } else {
        log_error("store", what, LOG_STR("path", path), LOG_STR("cause", cause),
                  LOG_U64("free_bytes", free_bytes), LOG_ERR(code), LOG_STR("do", advice(code)));
    }
}

int store_fault_report(const char *what, const char *path, int rc)
{
    uint64_t free_bytes = store_free_bytes(path);
    int code = store_fault_code(rc, free_bytes);

    report(what, path, rc, free_bytes, code);
    return code;
}

int store_fault_report_running(const char *what, const char *path, int rc)
{
    uint64_t free_bytes = store_free_bytes(path);
    int code = store_fault_code_running(rc, free_bytes);

    report(what, path, rc, free_bytes, code);
    return code;
}

/* ---- Pages that cannot be read ---- */

static char guard_line[1280]; /* made beforehand: a signal handler may only write it */
static size_t guard_line_size;

static void on_sigbus(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (info->si_code == BUS_ADRERR || info->si_code == BUS_OBJERR) {
        log_last_words(guard_line, guard_line_size);
        _exit(RD_EXIT_IO);
    }
    (void)signal(number, SIG_DFL); /* sent by somebody, or a bug: die of it */
    (void)raise(number);
}

void store_fault_guard(const char *data_dir)
{
    struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};
    int size =
        snprintf(guard_line, sizeof guard_line,
                 "raftd: store: a page of the files in %s cannot be read: a file was cut short or "
                 "the disk has a bad sector; check the disk and the kernel log; raftd ends\n",
                 data_dir);

    guard_line_size = size < (int)sizeof guard_line ? (size_t)size : sizeof guard_line - 1;
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGBUS, &action, NULL);
}

_Noreturn void store_fault_die(const char *what, const char *path, int rc)
{
    _exit(err_exit_daemon(store_fault_report_running(what, path, rc)));
}
