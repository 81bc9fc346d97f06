#include "raftctl/follow.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/mono.h"
#include "raftctl/render.h"
#include "raftctl/round.h"
#include "raftctl/stream.h"

enum {
    HOOK_TIMEOUT_MS = 30000,
    SILENCE_MS = 3000,    /* of raftd */
    STOP_GRACE_MS = 5000, /* for the hook that runs when a signal ends us */
    WAIT_MAX_MS = 60000,  /* at once; then it is waited for again */
};

struct follow {
    struct ctl *ctl;
    struct stream stream;
    struct round round;
    int signals;    /* a signalfd */
    json_t *newest; /* NULL: nothing is known yet */
    bool lost;      /* raftd is, and it was said */
    bool stops;
    int code; /* negative: why it stops */
    struct ctl_error *error;
};

/* ---- States ---- */

bool follow_differs(const json_t *told, const json_t *state)
{
    static const char *const counts[] = {"state", "is_leader", "leader", "fence", "term"};

    for (size_t i = 0; told && i < sizeof counts / sizeof counts[0]; i++) {
        const json_t *a = json_object_get(told, counts[i]);
        const json_t *b = json_object_get(state, counts[i]);
        if (a != b && !json_equal(a, b)) {
            return true;
        }
    }
    return !told;
}

json_t *follow_unreachable(const json_t *last, const char *reason)
{
    json_t *term = json_object_get(last, "term");

    return json_pack("{s:s, s:b, s:O?, s:n, s:n, s:i, s:s}", "state", "unreachable", "is_leader", 0,
                     "term", json_is_integer(term) ? term : NULL, "leader", "fence",
                     "lease_remaining_ms", 0, "reason", reason);
}

static void take(struct follow *f, json_t *state)
{
    json_decref(f->newest);
    f->newest = state;
}

/* Nobody may go on believing that this node leads: it is told at once. */
static void take_lost(struct follow *f, const struct ctl_error *e)
{
    if (e->code == -RD_EUSAGE) { /* a path that can never be a socket */
        f->code = e->code;
        *f->error = *e;
    } else if (!f->lost) {
        json_t *gone = follow_unreachable(f->newest, e->message);
        ctl_note(f->ctl, "raftctl: follow: %s. Trying again until it answers", e->message);
        take(f, gone);
        f->lost = true;
    }
}

static void step_stream(struct follow *f)
{
    struct ctl_error e = {0};
    json_t *state = NULL;

    switch (stream_step(&f->stream, &state, &e)) {
    case STREAM_NOTHING:
        break;
    case STREAM_STATE:
        if (f->lost) {
            ctl_note(f->ctl, "raftctl: follow: raftd at %s answers", f->ctl->socket);
        }
        f->lost = false;
        take(f, state);
        break;
    case STREAM_LOST:
        take_lost(f, &e);
        break;
    }
}

/* ---- Its life ---- */

/* To be read where everything else is waited for. One that is ignored, by nohup, stays so. */
static int signals_open(void)
{
    sigset_t set;

    (void)signal(SIGCHLD, SIG_DFL); /* ignored, no child could be waited for */
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* The first one lets the hook finish that runs, in time; the second one does not. */
static void read_signals(struct follow *f)
{
    struct signalfd_siginfo info;

    while (read(f->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo != SIGCHLD) {
            round_stop(&f->round, f->stops ? 0 : STOP_GRACE_MS);
            f->stops = true;
        }
    }
}

static void wait_for_news(const struct follow *f)
{
    struct pollfd p[2] = {{.fd = f->signals, .events = POLLIN},
                          {.fd = f->stops ? -1 : stream_fd(&f->stream), .events = POLLIN}};
    uint64_t due = round_deadline(&f->round);
    uint64_t now = mono_now_ms();

    if (!f->stops && stream_deadline(&f->stream) < due) {
        due = stream_deadline(&f->stream);
    }
    uint64_t left = due > now ? due - now : 0;
    (void)poll(p, 2, left > WAIT_MAX_MS ? WAIT_MAX_MS : (int)left);
}

static bool is_behind(const struct follow *f)
{
    return !f->stops && !f->round.open && f->newest && follow_differs(f->round.state, f->newest);
}

static void step_round(struct follow *f)
{
    int code;

    if (is_behind(f)) {
        round_begin(&f->round, f->newest);
    }
    code = round_step(&f->round, f->error);
    f->code = f->code ? f->code : code;
    if (f->code && !f->stops) {
        round_stop(&f->round, STOP_GRACE_MS);
        f->stops = true;
    }
}

static void step(struct follow *f)
{
    read_signals(f);
    if (!f->stops) {
        step_stream(f);
    }
    do {
        step_round(f);
    } while (is_behind(f));
}

static void run(struct follow *f)
{
    step(f);
    while (!f->stops || f->round.hook.runs) {
        wait_for_news(f);
        step(f);
    }
}

/* A hook that nobody runs is noticed late. */
static void note_hooks(const struct ctl *ctl, const char *path, const struct hook_list *list)
{
    if (list->count == 0) {
        ctl_note(ctl, "raftctl: follow: there is no hook in %s yet", path);
    }
    if (list->idle) {
        ctl_note(ctl, "raftctl: follow: %s is not executable, so it is not run (chmod +x)",
                 list->idle);
    }
}

int follow_run(struct ctl *ctl, const struct invocation *inv, struct ctl_error *e)
{
    struct follow f = {.ctl = ctl, .error = e};
    struct hook_list list = {0};
    int code = hook_list_make(inv->text[OPT_HOOK], &list, e);

    if (code == 0) {
        note_hooks(ctl, inv->text[OPT_HOOK], &list);
    }
    hook_list_done(&list);
    if (code) {
        return code;
    }
    f.signals = signals_open();
    if (f.signals < 0) {
        return ctl_fail(e, -RD_EINVALID, "cannot wait for signals");
    }
    stream_init(&f.stream, ctl, inv->set[OPT_TIMEOUT] ? ctl->timeout_ms : SILENCE_MS);
    round_init(&f.round, inv->text[OPT_HOOK]);
    f.round.timeout_ms =
        inv->set[OPT_HOOK_TIMEOUT] ? inv->number[OPT_HOOK_TIMEOUT] : HOOK_TIMEOUT_MS;
    f.round.json = ctl->json;
    run(&f);
    round_done(&f.round);
    stream_close(&f.stream);
    json_decref(f.newest);
    (void)close(f.signals);
    return f.code;
}
