#include "raftctl/spawn.h"

#include <errno.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/mono.h"

int spawn_exec(const struct spawn *s, pid_t parent, uint64_t deadline)
{
    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != parent) { /* it ended before that: no signal comes of it any more */
        _exit(spawn_status(ESRCH));
    }
    if (s->terminal) { /* every signal is blocked here, so SIGTTOU does not stop us */
        (void)tcsetpgrp(STDIN_FILENO, getpid());
    }
    (void)sigaction(SIGCHLD, &s->child_action, NULL);
    (void)pthread_sigmask(SIG_SETMASK, &s->mask, NULL);
    if (mono_now_ms() >= deadline) {
        return ETIME;
    }
    (void)execvp(s->argv[0], s->argv);
    return errno;
}

int spawn_status(int error)
{
    return error == ENOENT || error == ENOTDIR ? SPAWN_NOT_FOUND : SPAWN_NOT_RUNNABLE;
}
