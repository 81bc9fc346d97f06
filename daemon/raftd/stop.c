#include "raftd/stop.h"

#include <signal.h>
#include <stddef.h>

#include "base/check.h"
#include "base/log.h"
#include "base/mono.h"

static volatile sig_atomic_t first; /* the signal, 0: none yet */
static mono_ms first_at;            /* written before `first`, read after it, in one thread */
static volatile sig_atomic_t reload_asked;

int stop_signal(void)
{
    return first;
}

static void end_now(int number)
{
    static const char line[] = "raftd: a second signal: ends at once\n";
    struct sigaction standard = {.sa_handler = SIG_DFL};
    sigset_t mask;

    log_last_words(line, sizeof line - 1);
    (void)sigemptyset(&standard.sa_mask);
    (void)sigaction(number, &standard, NULL);
    (void)sigemptyset(&mask);
    (void)sigaddset(&mask, number);
    (void)raise(number);
    (void)pthread_sigmask(SIG_UNBLOCK, &mask, NULL); /* blocked within its handler */
}

void stop_take(int number)
{
    if (first == 0) {
        first_at = mono_now_ms();
        first = number;
    } else if (mono_now_ms() >= first_at + STOP_REPEAT_MS) {
        end_now(number);
    }
}

bool stop_reload_asked(void)
{
    return reload_asked;
}

static void reload_take(int number)
{
    (void)number;
    reload_asked = 1;
}

void stop_init(void)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    struct sigaction action = {.sa_handler = stop_take, .sa_flags = SA_RESTART};
    struct sigaction reload = {.sa_handler = reload_take, .sa_flags = SA_RESTART};

    first = 0;
    (void)sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        (void)sigaddset(&action.sa_mask, numbers[i]);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        rd_assert(sigaction(numbers[i], &action, NULL) == 0);
    }
    (void)sigemptyset(&reload.sa_mask);
    rd_assert(sigaction(SIGHUP, &reload, NULL) == 0);
}
