/* sim - run seeds through the simulator.
 *
 *   sim --seed N [--verbose]              one seed in this process
 *   sim --seeds FROM..TO [--jobs N]       a range, spread over worker processes
 *       [--failures N]                    stop after so many violations (default 5)
 *
 * Exit status: 0 all seeds passed, 1 a violation, 2 usage. */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/err.h"
#include "base/units.h"
#include "sim.h"

enum { JOBS_MAX = 64, CHUNK = 16 };

struct options {
    uint64_t from, to; /* both included */
    bool single, verbose;
    uint64_t jobs, failures;
};

struct shared { /* between the workers and the parent */
    _Atomic uint64_t next;
    _Atomic uint64_t done;
    _Atomic uint64_t seed[JOBS_MAX]; /* what each works on; UINT64_MAX: nothing */
    uint64_t resume[JOBS_MAX][2];    /* rest of the chunk of a worker that died: [from, to) */
    struct sim_stats stats[JOBS_MAX];
};

static void where(void *arg, char *text, unsigned text_size)
{
    (void)arg;
    sim_where(text, text_size);
}

static int usage(void)
{
    (void)fprintf(stderr, "usage: sim --seed N [--verbose]\n"
                          "       sim --seeds FROM..TO [--jobs N] [--failures N]\n");
    return 2;
}

static bool parse_range(const char *text, struct options *o)
{
    const char *dots = strstr(text, "..");
    char from[32];

    if (!dots || (size_t)(dots - text) >= sizeof from) {
        return false;
    }
    memcpy(from, text, (size_t)(dots - text));
    from[dots - text] = '\0';
    return units_parse_number(from, 0, UINT64_MAX - 1, &o->from) == 0 &&
           units_parse_number(dots + 2, o->from, UINT64_MAX - 1, &o->to) == 0;
}

static bool parse(int argc, char **argv, struct options *o)
{
    bool have = false;

    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";

        if (strcmp(argv[i], "--verbose") == 0) {
            o->verbose = true;
            continue;
        }
        i++;
        if (strcmp(argv[i - 1], "--seed") == 0) {
            have = o->single = units_parse_number(value, 0, UINT64_MAX - 1, &o->from) == 0;
        } else if (strcmp(argv[i - 1], "--seeds") == 0) {
            have = parse_range(value, o);
        } else if (strcmp(argv[i - 1], "--jobs") == 0) {
            have = have && units_parse_number(value, 1, JOBS_MAX, &o->jobs) == 0;
        } else if (strcmp(argv[i - 1], "--failures") == 0) {
            have = have && units_parse_number(value, 1, UINT32_MAX, &o->failures) == 0;
        } else {
            return false;
        }
    }
    return have;
}

/* ---- Workers ---- */

static void work(struct shared *sh, const struct options *o, uint64_t slot)
{
    for (;;) {
        uint64_t *chunk = sh->resume[slot];

        if (chunk[0] >= chunk[1]) {
            chunk[0] = atomic_fetch_add(&sh->next, CHUNK);
            chunk[1] = chunk[0] + CHUNK;
        }
        if (chunk[0] > o->to) {
            return;
        }
        while (chunk[0] < chunk[1] && chunk[0] <= o->to) {
            uint64_t seed = chunk[0]++; /* before: who dies here does not try it again */

            sh->seed[slot] = seed;
            sim_run(seed, false, &sh->stats[slot]);
            atomic_fetch_add(&sh->done, 1);
        }
    }
}

static pid_t start(struct shared *sh, const struct options *o, uint64_t slot)
{
    (void)fflush(stdout);
    pid_t pid = fork();

    if (pid == 0) {
        work(sh, o, slot);
        exit(0);
    }
    return pid;
}

static void report(const struct shared *sh, const struct options *o, time_t started, bool last)
{
    struct sim_stats t = {0};

    for (uint64_t i = 0; i < o->jobs; i++) {
        const uint64_t *from = (const uint64_t *)&sh->stats[i];
        uint64_t *to = (uint64_t *)&t;

        for (size_t k = 0; k < sizeof t / sizeof *to; k++) {
            to[k] += from[k];
        }
    }
    (void)printf(
        "%s%" PRIu64 " of %" PRIu64 " seeds, %lld s: %" PRIu64 " turns, %" PRIu64
        " messages, %" PRIu64 " crashes, %" PRIu64 " elections, %" PRIu64 " entries, %" PRIu64
        " writes, %" PRIu64 " reads, %" PRIu64 " changes asked, %" PRIu64 " hand-overs, %" PRIu64
        " claims, %" PRIu64 " released, %" PRIu64 " hand-overs shortened, %" PRIu64
        " wipes, %" PRIu64 " trims, %" PRIu64 " snapshots, %" PRIu64 " older copies\n",
        last ? "done: " : "", sh->done, o->to - o->from + 1, (long long)(time(NULL) - started),
        t.turns, t.messages, t.crashes, t.elections, t.entries, t.ops_done, t.reads_done, t.changes,
        t.handovers, t.claims, t.releases, t.shortened, t.wipes, t.trims, t.snapshots, t.restored);
    (void)fflush(stdout);
}

/* A worker ended: 0 it is finished, 1 its seed failed. */
static int judge(const struct shared *sh, uint64_t slot, int status)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return 0;
    }
    (void)fprintf(stderr, "FAILED seed %" PRIu64 ": %s %d\n", sh->seed[slot],
                  WIFSIGNALED(status) ? "signal" : "exit status",
                  WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return 1;
}

static int run_range(const struct options *o)
{
    struct shared *sh =
        mmap(NULL, sizeof *sh, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pids[JOBS_MAX];
    uint64_t running = o->jobs, failures = 0;
    time_t started = time(NULL), reported = started;

    if (sh == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    sh->next = o->from;
    for (uint64_t i = 0; i < o->jobs; i++) {
        pids[i] = start(sh, o, i);
    }
    while (running > 0) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);

        if (pid <= 0) {
            (void)usleep(20000);
            if (time(NULL) - reported >= 10) {
                reported = time(NULL);
                report(sh, o, started, false);
            }
            continue;
        }
        uint64_t slot = 0;
        while (slot < o->jobs && pids[slot] != pid) {
            slot++;
        }
        rd_assert(slot < o->jobs);
        if (judge(sh, slot, status) && ++failures < o->failures) {
            pids[slot] = start(sh, o, slot);
            continue;
        }
        running--;
        if (failures >= o->failures) {
            sh->next = o->to + 1;
        }
    }
    report(sh, o, started, true);
    munmap(sh, sizeof *sh);
    return failures ? 1 : 0;
}

int main(int argc, char **argv)
{
    struct options o = {.jobs = 2, .failures = 5};
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);

    if (cpus > 0) {
        o.jobs = cpus < JOBS_MAX ? (uint64_t)cpus : JOBS_MAX;
    }
    if (!parse(argc, argv, &o)) {
        return usage();
    }
    check_set_context(where, NULL);
    if (o.single) {
        struct sim_stats stats = {0};

        sim_run(o.from, o.verbose, &stats);
        (void)printf("seed %" PRIu64 " passed: %" PRIu64 " turns, %" PRIu64 " messages, %" PRIu64
                     " entries\n",
                     o.from, stats.turns, stats.messages, stats.entries);
        return 0;
    }
    return run_range(&o);
}
