#include "raftctl/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mono.h"
#include "raftctl/family.h"

enum {
    SWEEP_MS = 5,  /* between two looks at what outlived SIGKILL: it may have forked before */
    ORDERS_FD = 3, /* the guardian's end; above it nothing that raftctl had open */
    FIRST_FREE_FD = 4,
};

#define GUARD_NAME "exec-guard"

enum order_kind { ORDER_RENEW, ORDER_STOP, ORDER_SIGNAL };

struct order {
    enum order_kind kind;
    int number;
    struct guard_times times;
};

/* ---- raftctl's side ---- */

static void send_order(const struct guard *g, const struct order *o)
{
    (void)send(g->fd, o, sizeof *o, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void guard_renew(const struct guard *g, const struct guard_times *times)
{
    send_order(g, &(struct order){.kind = ORDER_RENEW, .times = *times});
}

void guard_stop(const struct guard *g)
{
    send_order(g, &(struct order){.kind = ORDER_STOP});
}

void guard_signal(const struct guard *g, int number)
{
    send_order(g, &(struct order){.kind = ORDER_SIGNAL, .number = number});
}

int guard_next(const struct guard *g, struct guard_report *out)
{
    ssize_t n;

    do {
        n = recv(g->fd, out, sizeof *out, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n == (ssize_t)sizeof *out) {
        return 1;
    }
    return n < 0 && errno == EAGAIN ? 0 : -EPIPE;
}

/* ---- The guardian ---- */

struct guardian {
    int timer, children; /* descriptors: a timerfd, and a signalfd for SIGCHLD */
    pid_t leader;        /* the command, and its group */
    uint64_t grace_ms;
    struct guard_times times;
    uint64_t stopped_at; /* SIGTERM was sent; 0: not yet */
    bool alone;          /* raftctl is gone */
    bool killing;        /* SIGKILL was sent */
    bool ended;          /* the command itself has, and waits to be buried */
    int status;          /* of it then */
    struct family family;
};

static void report(enum guard_news news, int value)
{
    struct guard_report r = {.news = news, .value = value};

    (void)send(ORDERS_FD, &r, sizeof r, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static _Noreturn void give_up(int error)
{
    report(GUARD_FAILED, error);
    _exit(1);
}

/* Those that are in no group of ours have nobody else to tell them. SIGCONT, so that who is stopped
 * hears it. */
static void terminate(struct guardian *g, uint64_t now)
{
    static const int signals[] = {SIGTERM, SIGCONT};

    g->stopped_at = now;
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        (void)kill(-g->leader, signals[i]);
        family_signal(&g->family, signals[i], g->leader);
    }
}

static void kill_all(struct guardian *g)
{
    (void)kill(-g->leader, SIGKILL);
    family_signal(&g->family, SIGKILL, 0);
    if (!g->killing) {
        g->killing = true;
        report(GUARD_KILLING, 0);
    }
}

static uint64_t kill_due(const struct guardian *g)
{
    uint64_t after_grace = g->stopped_at ? g->stopped_at + g->grace_ms : UINT64_MAX;

    if (g->alone) {
        return 0;
    }
    return after_grace < g->times.kill_at ? after_grace : g->times.kill_at;
}

static void take_order(struct guardian *g, const struct order *o, uint64_t now)
{
    switch (o->kind) {
    case ORDER_RENEW:
        g->times = o->times;
        break;
    case ORDER_STOP:
        if (!g->stopped_at) {
            terminate(g, now);
        }
        break;
    case ORDER_SIGNAL:
        (void)kill(-g->leader, o->number);
        break;
    }
}

static void take_orders(struct guardian *g, uint64_t now)
{
    struct order o;

    while (!g->alone) {
        ssize_t n = recv(ORDERS_FD, &o, sizeof o, MSG_DONTWAIT);
        if (n == (ssize_t)sizeof o) {
            take_order(g, &o, now);
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            g->alone = true;
        } else if (errno == EAGAIN) {
            return;
        }
    }
}

/* Look without burying it: see guard.h. */
static void look_at_command(struct guardian *g)
{
    siginfo_t i = {0};

    if (waitid(P_PID, (id_t)g->leader, &i, WSTOPPED | WNOHANG) == 0 && i.si_pid) {
        report(GUARD_HALTED, i.si_status);
    }
    i.si_pid = 0;
    if (!g->ended && waitid(P_PID, (id_t)g->leader, &i, WEXITED | WNOHANG | WNOWAIT) == 0 &&
        i.si_pid) {
        g->ended = true;
        g->status = i.si_code == CLD_EXITED ? i.si_status : 128 + i.si_status;
    }
}

static void act(struct guardian *g, uint64_t now)
{
    bool ended_before = g->ended;

    look_at_command(g);
    if (g->ended && !ended_before) { /* what it left behind has to go, too */
        terminate(g, g->stopped_at ? g->stopped_at : now);
    } else if (!g->stopped_at && now >= g->times.term_at) {
        report(GUARD_SILENCE, 0);
        terminate(g, now);
    }
    if (now >= kill_due(g)) {
        kill_all(g);
    }
    if (family_bury(&g->family, g->leader) == 0 && g->ended) {
        report(GUARD_GONE, g->status);
        _exit(0);
    }
}

/* A timer, because the time-out of poll() does not count the time a suspended machine slept. */
static void sleep_until(struct guardian *g, uint64_t at)
{
    struct itimerspec t = {
        .it_value = {.tv_sec = (time_t)(at / 1000), .tv_nsec = (long)(at % 1000) * 1000000 + 1}};
    struct pollfd p[] = {{.fd = g->timer, .events = POLLIN},
                         {.fd = g->children, .events = POLLIN},
                         {.fd = g->alone ? -1 : ORDERS_FD, .events = POLLIN}};
    struct signalfd_siginfo ignored;

    (void)timerfd_settime(g->timer, TFD_TIMER_ABSTIME, &t, NULL);
    (void)poll(p, sizeof p / sizeof p[0], -1);
    while (read(g->children, &ignored, sizeof ignored) > 0) {
    }
}

static uint64_t next_due(const struct guardian *g)
{
    if (g->killing) {
        return mono_now_ms() + SWEEP_MS;
    }
    uint64_t due = kill_due(g);
    return !g->stopped_at && g->times.term_at < due ? g->times.term_at : due;
}

/* Nothing of raftctl's: its signals, its descriptors, its place in the terminal's eyes. SIGCONT if
 * it dies: it may have been stopped together with us, and then we have work to do. */
static void settle_down(struct guardian *g, int orders, pid_t parent)
{
    const struct sigaction usual = {.sa_handler = SIG_DFL}; /* ignored, the ended would vanish */
    sigset_t all;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, NULL);
    (void)sigaction(SIGCHLD, &usual, NULL);
    (void)setpgid(0, 0);
    (void)prctl(PR_SET_NAME, GUARD_NAME, 0, 0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGCONT, 0, 0, 0);
    if (dup2(orders, ORDERS_FD) < 0 || getppid() != parent) {
        _exit(1);
    }
    (void)fcntl(ORDERS_FD, F_SETFD, FD_CLOEXEC);
    if (close_range(FIRST_FREE_FD, ~0U, 0) != 0) {
        give_up(errno);
    }
    (void)sigemptyset(&all);
    (void)sigaddset(&all, SIGCHLD);
    g->children = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
    g->timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    int code = family_open(&g->family);
    if (g->children < 0 || g->timer < 0 || code) {
        give_up(code ? -code : errno);
    }
}

/* Who reads what the command writes has to see its end; who looks for raftctl has to find one. */
static void step_back(const struct spawn *command)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        (void)dup2(null, fd);
    }
    (void)close(null);
    if (command->title_size > sizeof GUARD_NAME) {
        memset(command->title, 0, command->title_size);
        memcpy(command->title, GUARD_NAME, sizeof GUARD_NAME);
    }
}

static void start_command(struct guardian *g, const struct spawn *command)
{
    pid_t self = getpid();
    pid_t pid = fork();

    if (pid < 0) {
        give_up(errno);
    }
    if (pid == 0) {
        int error = spawn_exec(command, self, g->times.term_at);
        report(error == ETIME ? GUARD_LATE : GUARD_NOT_RUN, error);
        _exit(spawn_status(error));
    }
    (void)setpgid(pid, pid); /* whoever is first: from here on there is a group to be killed */
    g->leader = pid;
    report(GUARD_STARTED, pid);
    step_back(command);
}

static _Noreturn void guardian_run(struct guardian *g, const struct spawn *command, int orders,
                                   pid_t parent)
{
    settle_down(g, orders, parent);
    start_command(g, command);
    for (;;) {
        take_orders(g, mono_now_ms());
        act(g, mono_now_ms());
        sleep_until(g, next_due(g));
    }
}

int guard_start(const struct spawn *command, const struct guard_times *times, uint64_t grace_ms,
                struct guard *out)
{
    static struct guardian g; /* written to in the guardian only */
    pid_t self = getpid();
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        return -errno;
    }
    pid_t pid = fork();
    if (pid == 0) {
        g.times = *times;
        g.grace_ms = grace_ms;
        guardian_run(&g, command, ends[1], self);
    }
    int code = pid < 0 ? -errno : 0;
    (void)close(ends[1]);
    if (code) {
        (void)close(ends[0]);
        return code;
    }
    *out = (struct guard){.pid = pid, .fd = ends[0]};
    return 0;
}
