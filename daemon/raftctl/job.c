#include "raftctl/job.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "raftctl/relay.h"

enum { SWEEP_MS = 5 };

/* Half of what is kept free before the end of the claim: for us, if the guardian does not use
 * its. */
static uint64_t backstop(const struct lease *l, uint64_t kill_at)
{
    return kill_at + lease_margin_ms(l) / 2;
}

static struct guard_times times_of(const struct lease *l)
{
    return (struct guard_times){.term_at = lease_term_at(l), .kill_at = lease_kill_at(l)};
}

int job_start(struct job *j, const struct spawn *command, const struct lease *l)
{
    const struct sigaction usual = {.sa_handler = SIG_DFL};
    struct guard_times times = times_of(l);
    int code = family_open(&j->family);

    if (code == 0) {
        (void)sigaction(SIGCHLD, &usual, NULL); /* ignored, the ended would vanish */
        family_spare(&j->family);
        j->terminal = command->terminal;
        j->kill_by = backstop(l, times.kill_at);
        code = guard_start(command, &times, l->grace_ms, &j->guard);
    }
    return code;
}

void job_renew(struct job *j, const struct lease *l)
{
    struct guard_times times = times_of(l);

    j->kill_by = backstop(l, times.kill_at);
    guard_renew(&j->guard, &times);
}

void job_stop(struct job *j, const struct lease *l, uint64_t now)
{
    uint64_t by = backstop(l, now + l->grace_ms);

    j->kill_by = by < j->kill_by ? by : j->kill_by;
    guard_stop(&j->guard);
}

void job_signal(struct job *j, int number)
{
    const struct relay_rule *rule = relay_rule(number);

    guard_signal(&j->guard, rule->first);
    if (rule->then) {
        guard_signal(&j->guard, rule->then);
    }
}

void job_give_terminal(struct job *j)
{
    if (j->group) {
        j->terminal = tcsetpgrp(STDIN_FILENO, j->group) == 0;
    }
}

static void take_report(struct job *j, const struct guard_report *r)
{
    switch (r->news) {
    case GUARD_FAILED:
        j->failure = r->value;
        j->gone = true;
        break;
    case GUARD_STARTED:
        j->group = r->value;
        break;
    case GUARD_LATE:
        j->late = true;
        break;
    case GUARD_NOT_RUN:
        j->not_run = r->value;
        break;
    case GUARD_HALTED:
        j->halted = true;
        break;
    case GUARD_SILENCE:
        j->silent = true;
        break;
    case GUARD_KILLING:
        j->killing = true;
        break;
    case GUARD_GONE:
        j->status = r->value;
        j->gone = true;
        break;
    }
}

/* The guardian ended too early, and all that it looked after has come to us. The group is killed
 * once: in a group in which everybody was killed nobody is born, and its number is somebody else's
 * as soon as the command is buried. */
static void kill_all(struct job *j)
{
    if (!j->forsaken && j->group) {
        (void)kill(-j->group, SIGKILL);
    }
    j->forsaken = true;
    family_signal(&j->family, SIGKILL, 0);
    j->gone = family_bury(&j->family, 0) == 0;
}

/* The guardian ends with its last report; then the command is ours to bury. */
static void finish(struct job *j)
{
    (void)kill(j->guard.pid, SIGKILL);
    while (waitpid(j->guard.pid, NULL, 0) < 0 && errno == EINTR) {
    }
    (void)family_bury(&j->family, 0);
    family_close(&j->family);
    (void)close(j->guard.fd);
    if (j->terminal) {
        (void)tcsetpgrp(STDIN_FILENO, getpgrp());
    }
}

void job_turn(struct job *j, uint64_t now)
{
    struct guard_report r;
    int code = 0;

    j->halted = false;
    while (!j->forsaken && !j->gone && (code = guard_next(&j->guard, &r)) > 0) {
        take_report(j, &r);
    }
    if (!j->gone && (code < 0 || j->forsaken)) {
        kill_all(j);
    } else if (!j->gone && now >= j->kill_by) { /* it may have been stopped amid its work */
        (void)kill(j->guard.pid, SIGKILL);
    }
    if (j->gone) {
        finish(j);
    }
}

int job_fd(const struct job *j)
{
    return j->forsaken ? -1 : j->guard.fd;
}

uint64_t job_due(const struct job *j, uint64_t now)
{
    return j->forsaken || now >= j->kill_by ? now + SWEEP_MS : j->kill_by;
}
