#include "raftctl/relay.h"

#include <errno.h>
#include <stddef.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* Who is to end has to run to hear of it. A stop has to stop: a command that runs on after ^Z
 * because it caught SIGTSTP would be in nobody's hands. */
static const struct relay_rule rules[] = {
    {SIGHUP, SIGHUP, SIGCONT},   {SIGINT, SIGINT, SIGCONT}, {SIGQUIT, SIGQUIT, SIGCONT},
    {SIGTERM, SIGTERM, SIGCONT}, {SIGUSR1, SIGUSR1, 0},     {SIGUSR2, SIGUSR2, 0},
    {SIGALRM, SIGALRM, 0},       {SIGCONT, SIGCONT, 0},     {SIGWINCH, SIGWINCH, 0},
    {SIGTSTP, SIGSTOP, 0},
};
enum { RULES_COUNT = sizeof rules / sizeof rules[0], RULES_ENDING = 4 };

const struct relay_rule *relay_rule(int number)
{
    for (size_t i = 0; i < RULES_COUNT; i++) {
        if (rules[i].number == number) {
            return &rules[i];
        }
    }
    return NULL;
}

static bool is_ignored(int number)
{
    struct sigaction now;

    return sigaction(number, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
}

static sigset_t those_of(size_t count)
{
    sigset_t set;

    (void)sigemptyset(&set);
    for (size_t i = 0; i < count; i++) {
        if (!is_ignored(rules[i].number)) {
            (void)sigaddset(&set, rules[i].number);
        }
    }
    return set;
}

int relay_open(struct relay *r)
{
    sigset_t ends = those_of(RULES_ENDING);

    (void)pthread_sigmask(SIG_BLOCK, &ends, &r->mask);
    r->fd = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
    return r->fd < 0 ? -errno : 0;
}

void relay_widen(struct relay *r)
{
    sigset_t all = those_of(RULES_COUNT);

    (void)signalfd(r->fd, &all, 0);
    /* The command may own the terminal: taking it back, or a line on it, must not stop us. */
    (void)sigaddset(&all, SIGTTOU);
    (void)pthread_sigmask(SIG_BLOCK, &all, NULL);
}

int relay_next(const struct relay *r)
{
    struct signalfd_siginfo info;

    return read(r->fd, &info, sizeof info) == (ssize_t)sizeof info ? (int)info.ssi_signo : 0;
}

_Noreturn void relay_end_by(int number)
{
    const struct sigaction usual = {.sa_handler = SIG_DFL};
    sigset_t one;

    (void)sigemptyset(&one);
    (void)sigaddset(&one, number);
    (void)sigaction(number, &usual, NULL);
    (void)raise(number);
    (void)pthread_sigmask(SIG_UNBLOCK, &one, NULL);
    _exit(128 + number); /* the first process of a container ends by no such signal */
}
