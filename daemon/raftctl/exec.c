#include "raftctl/exec.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mono.h"
#include "raftctl/client.h"
#include "raftctl/holder.h"
#include "raftctl/job.h"
#include "raftctl/relay.h"

enum { GRACE_MS_DEFAULT = 2000, RETRY_MS_MIN = 50, RETRY_MS_MAX = 1000, POLL_MS_MAX = 60000 };

struct exec {
    struct ctl *ctl;
    const struct invocation *inv;
    struct holder holder;
    struct relay relay;
    struct job job;

    uint64_t began, give_up_at; /* waiting */
    uint64_t retry_at, retry_ms;
    bool told_missing;              /* that raftd is not there, since it was last */
    bool told_waiting;              /* that this node does not lead */
    bool told;                      /* any of the two, ever */
    char missing[CTL_MESSAGE_SIZE]; /* why it is not there; "": it is */

    uint64_t lost_at; /* 0: this node leads */
    char why_lost[CTL_MESSAGE_SIZE];
};

/* Until something can be read, or `until`. */
static void doze(const struct exec *x, int job_fd, uint64_t until)
{
    uint64_t now = mono_now_ms();
    uint64_t left = until > now ? until - now : 0;
    struct pollfd p[] = {{.fd = x->relay.fd, .events = POLLIN},
                         {.fd = holder_fd(&x->holder), .events = POLLIN},
                         {.fd = job_fd, .events = POLLIN}};

    (void)poll(p, sizeof p / sizeof p[0], left < POLL_MS_MAX ? (int)left : POLL_MS_MAX);
}

/* ---- Until this node leads ---- */

/* What may be otherwise when we ask again: raftd starts, stops, hangs, has too many clients. */
static bool may_pass(int code)
{
    static const int passing[] = {-RD_EDAEMON, -RD_ETIMEOUT, -RD_ENOT_READY, -RD_ETOO_LARGE};

    for (size_t i = 0; i < sizeof passing / sizeof passing[0]; i++) {
        if (passing[i] == code) {
            return true;
        }
    }
    return false;
}

static int raftd_missing(struct exec *x, int code, struct ctl_error *e)
{
    holder_close(&x->holder);
    if (!may_pass(code)) {
        return code;
    }
    x->retry_ms = mono_earlier(2 * x->retry_ms, RETRY_MS_MAX);
    x->retry_at = ctl_deadline(x->retry_ms);
    (void)snprintf(x->missing, sizeof x->missing, "%s", e->message);
    if (!x->told_missing) {
        ctl_note(x->ctl, "raftctl: exec: waiting for raftd: %s", x->missing);
    }
    x->told_missing = x->told = true;
    return 0;
}

/* raftd answers: what is to be said of it the first time, and never again while it does. */
static void raftd_found(struct exec *x)
{
    if (!x->holder.where[0]) {
        return;
    }
    x->missing[0] = 0;
    x->told_missing = false;
    x->retry_ms = RETRY_MS_MIN;
    if (!x->told_waiting && x->holder.lease.fence == 0 &&
        lease_due(&x->holder.lease) == UINT64_MAX && !x->holder.lease.open) {
        ctl_note(x->ctl, "raftctl: exec: waiting until this node leads: %s", x->holder.where);
        x->told_waiting = x->told = true;
    }
}

static int try_to_lead(struct exec *x, enum lease_verdict *verdict, struct ctl_error *e)
{
    int code = 0;

    if (!x->ctl->client) {
        if (mono_now_ms() < x->retry_at) {
            return 0;
        }
        x->holder.where[0] = 0;
        code = holder_open(&x->holder, e);
    }
    if (code == 0) {
        code = holder_turn(&x->holder, verdict, e);
    }
    if (code) {
        return raftd_missing(x, code, e);
    }
    raftd_found(x);
    return 0;
}

static int waited_enough(const struct exec *x, struct ctl_error *e)
{
    const char *last = x->missing[0] ? x->missing : x->holder.where;

    (void)ctl_fail(e, -RD_ETIMEOUT, "this node does not lead after %" PRIu64 " ms: %s",
                   mono_now_ms() - x->began, last[0] ? last : "raftd has not answered");
    e->status = EXEC_WAITED;
    e->leader = x->missing[0] ? 0 : x->holder.leader;
    return e->code;
}

static int wait_to_lead(struct exec *x, struct ctl_error *e)
{
    for (;;) {
        enum lease_verdict verdict = LEASE_NONE;
        int code = try_to_lead(x, &verdict, e);
        if (code || verdict == LEASE_BEGINS) {
            return code;
        }
        if (mono_now_ms() >= x->give_up_at) {
            return waited_enough(x, e);
        }
        uint64_t due = x->ctl->client ? holder_due(&x->holder) : x->retry_at;
        doze(x, -1, mono_earlier(due, x->give_up_at));
        int number = relay_next(&x->relay);
        if (number) {
            relay_end_by(number);
        }
    }
}

/* ---- While it leads ---- */

static int set_number(const char *name, uint64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof text, "%" PRIu64, value);
    return setenv(name, text, 1); /* NOLINT(concurrency-mt-unsafe): one thread */
}

/* Is the terminal ours to give? Not when we write into a pipe: whoever reads it is in our group,
 * and would be without a terminal then. */
static bool has_terminal(void)
{
    struct stat st;

    return isatty(STDIN_FILENO) && tcgetpgrp(STDIN_FILENO) == getpgrp() &&
           !(fstat(STDOUT_FILENO, &st) == 0 && S_ISFIFO(st.st_mode));
}

/* The words of a command line stand in memory one behind the other. */
static void find_title(const struct exec *x, struct spawn *command)
{
    char *const *last = x->inv->rest;

    while (last[1]) {
        last++;
    }
    command->title = program_invocation_name;
    command->title_size = (size_t)(*last + strlen(*last) - program_invocation_name);
}

static int start(struct exec *x, struct ctl_error *e)
{
    const struct holder *h = &x->holder;
    struct spawn command = {.argv = x->inv->rest, .mask = x->relay.mask};

    relay_widen(&x->relay);
    command.terminal = has_terminal();
    (void)sigaction(SIGCHLD, NULL, &command.child_action);
    find_title(x, &command);
    if (set_number("RAFTD_FENCE", h->lease.fence) || set_number("RAFTD_TERM", h->term) ||
        set_number("RAFTD_NODE_ID", h->node) ||
        setenv("RAFTD_CLUSTER_ID", h->cluster_id, 1)) { /* NOLINT(concurrency-mt-unsafe) */
        return ctl_fail(e, -RD_EINVALID, "cannot set the environment of %s: %s", command.argv[0],
                        err_text(-errno));
    }
    int code = job_start(&x->job, &command, &h->lease);
    if (code) {
        return ctl_fail(e, -RD_EINVALID, "cannot start the guardian of %s: %s", command.argv[0],
                        err_text(code));
    }
    if (x->told) {
        ctl_note(x->ctl, "raftctl: exec: this node leads with fence %" PRIu64 ": running %s",
                 h->lease.fence, command.argv[0]);
    }
    return 0;
}

static void lose(struct exec *x, const char *why)
{
    if (x->lost_at) {
        return;
    }
    x->lost_at = mono_now_ms();
    (void)snprintf(x->why_lost, sizeof x->why_lost, "%s", why);
    lease_lose(&x->holder.lease);
    job_stop(&x->job, &x->holder.lease, x->lost_at);
}

static void lose_silently(struct exec *x)
{
    const struct lease *l = &x->holder.lease;
    char why[128] = "its lease was not renewed in time";

    if (l->open) {
        (void)snprintf(why, sizeof why, "raftd has not answered for %" PRIu64 " ms",
                       mono_now_ms() - l->asked_at);
    }
    lose(x, why);
}

static void talk(struct exec *x)
{
    enum lease_verdict verdict;
    struct ctl_error e;

    if (!x->ctl->client) {
        return;
    }
    if (holder_turn(&x->holder, &verdict, &e)) {
        holder_close(&x->holder);
        lose(x, e.message);
    } else if (verdict == LEASE_LOST) {
        lose(x, x->holder.where);
    } else if (verdict == LEASE_GOES_ON) {
        job_renew(&x->job, &x->holder.lease);
    }
}

static void pass_signals(struct exec *x)
{
    int number;

    while ((number = relay_next(&x->relay)) != 0) {
        if (number == SIGCONT && has_terminal()) { /* a shell's fg */
            job_give_terminal(&x->job);
        }
        job_signal(&x->job, number);
    }
}

/* ^Z on a terminal that is the command's: nobody could take it up again, for raftctl has to go
 * on. */
static void look_at_halt(struct exec *x)
{
    if (x->job.halted && x->job.terminal) {
        ctl_note(x->ctl, "raftctl: exec: %s cannot be stopped from the terminal, it leads",
                 x->inv->rest[0]);
        job_signal(&x->job, SIGCONT);
    }
}

static void follow(struct exec *x)
{
    for (;;) {
        pass_signals(x);
        job_turn(&x->job, mono_now_ms());
        if (x->job.silent) {
            lose_silently(x);
        } else if (x->job.late) {
            lose(x, "the lease ended before it was started");
        }
        if (x->job.gone) { /* what it ended with before we ended it is its own */
            break;
        }
        talk(x);
        look_at_halt(x);
        uint64_t due = mono_earlier(holder_due(&x->holder), job_due(&x->job, mono_now_ms()));
        doze(x, job_fd(&x->job), due);
    }
}

/* ---- What became of it ---- */

static int lost(const struct exec *x, struct ctl_error *e)
{
    (void)ctl_fail(e, -RD_ENOT_LEADER,
                   "leadership with fence %" PRIu64 " is lost: %s. %s was %s within %" PRIu64 " ms",
                   x->holder.lease.fence, x->why_lost, x->inv->rest[0],
                   x->job.killing || x->job.forsaken ? "killed" : "stopped",
                   mono_now_ms() - x->lost_at);
    e->status = EXEC_LOST;
    e->leader = x->holder.leader;
    return e->code;
}

static int judge(const struct exec *x, struct ctl_error *e)
{
    const char *name = x->inv->rest[0];
    const struct job *j = &x->job;

    if (x->lost_at) {
        return lost(x, e);
    }
    if (j->failure) {
        return ctl_fail(e, -RD_EINVALID, "the guardian of %s cannot work: %s", name,
                        err_text(-j->failure));
    }
    if (j->forsaken) {
        return ctl_fail(e, -RD_EINVALID, "the guardian of %s was killed, so it was killed, too",
                        name);
    }
    if (j->not_run) {
        int status = spawn_status(j->not_run);
        int code = status == SPAWN_NOT_FOUND ? -RD_ENOT_FOUND : -RD_EINVALID;
        (void)ctl_fail(e, j->not_run == EACCES ? -RD_EPERMISSION : code, "cannot run %s: %s", name,
                       err_text(-j->not_run));
        e->status = status;
        return e->code;
    }
    return j->status;
}

static int run(struct exec *x, struct ctl_error *e)
{
    int code = relay_open(&x->relay);

    if (code) {
        return ctl_fail(e, -RD_EINVALID, "cannot catch signals: %s", err_text(code));
    }
    code = wait_to_lead(x, e);
    if (code == 0) {
        code = start(x, e);
    }
    if (code == 0) {
        follow(x);
        code = judge(x, e); /* releasing may take a moment, and is not stopping */
    }
    holder_release(&x->holder);
    return code;
}

int exec_run(struct ctl *ctl, const struct invocation *inv, struct ctl_error *e)
{
    static struct exec x; /* large */
    uint64_t grace_ms = inv->set[OPT_GRACE] ? inv->number[OPT_GRACE] : GRACE_MS_DEFAULT;

    x = (struct exec){.ctl = ctl, .inv = inv, .began = mono_now_ms(), .retry_ms = RETRY_MS_MIN};
    x.give_up_at =
        inv->set[OPT_WAIT_TIMEOUT] ? x.began + inv->number[OPT_WAIT_TIMEOUT] : UINT64_MAX;
    holder_init(&x.holder, ctl, inv->command, grace_ms);
    int code = run(&x, e);
    if (code < 0 && e->status == 0) {
        e->status = EXEC_FAILED;
    }
    if (code == -RD_EUSAGE) {
        e->code = -RD_EINVALID; /* a socket path: nothing that the usage line would explain */
    }
    return code < 0 ? e->code : code;
}
