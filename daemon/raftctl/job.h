/* job.h - the command that runs, as raftctl sees it: its guardian, what became of it, and what is
 * to be done when the guardian itself fails. Threads: one. */
#ifndef RAFTD_RAFTCTL_JOB_H
#define RAFTD_RAFTCTL_JOB_H

#include "raftctl/family.h"
#include "raftctl/guard.h"
#include "raftctl/lease.h"

struct job {
    struct guard guard;
    struct family family; /* what comes to raftctl when the guardian has died */
    pid_t group;          /* 0: not known (yet) */
    bool terminal;        /* was given to it */
    uint64_t kill_by;     /* the guardian has used SIGKILL by then, or it does not work */
    bool killing;
    bool forsaken; /* the guardian died, or had to */

    bool gone; /* nothing of it is left; below: what became of it */
    int status;
    int failure; /* errno: it could not be started; 0: none */
    int not_run; /* errno: it could not be executed; 0: none */
    bool late;   /* it was not executed, its time was over */
    bool silent; /* the guardian was not told in time to go on */
    bool halted; /* it was stopped since job_turn() before */
};

/* 0, or -errno: nothing was started. */
int job_start(struct job *j, const struct spawn *command, const struct lease *l);

/* What the lease allows now; the end has begun; a signal of relay.h was caught. */
void job_renew(struct job *j, const struct lease *l);
void job_stop(struct job *j, const struct lease *l, uint64_t now);
void job_signal(struct job *j, int number);

/* Standard input is one, and is ours again. */
void job_give_terminal(struct job *j);

/* Take what the guardian says, or do what it no longer can. */
void job_turn(struct job *j, uint64_t now);
int job_fd(const struct job *j); /* -1: none */
uint64_t job_due(const struct job *j, uint64_t now);

#endif
