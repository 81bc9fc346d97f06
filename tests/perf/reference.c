/* reference - what the hardware allows, measured beside raftd's own figures.
 *
 *   reference lmdb DIR COMMITS    three processes, each with an LMDB environment of its own below
 *                                 DIR, commit one 128-byte entry at a time, all at once, as three
 *                                 raftd on one disk do
 *   reference quorum DIR COMMITS  the same three commit in step, told through pipes; over when two
 *                                 have answered: the floor for any three nodes on this disk
 *   reference loopback ROUNDS     a 128-byte message there and back over a loopback TCP connection
 *
 * Prints one JSON line: {"p50_us":..,"p99_us":..,"max_us":..}. */
#include <errno.h>
#include <lmdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/mono.h"
#include "base/units.h"

enum { ENVIRONMENTS = 3, ENTRY_SIZE = 128, SAMPLES_MAX = 1000000 };

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static void report(uint32_t *samples, size_t count)
{
    qsort(samples, count, sizeof *samples, by_value);
    (void)printf("{\"p50_us\":%u,\"p99_us\":%u,\"max_us\":%u}\n", samples[count / 2],
                 samples[count * 99 / 100], samples[count - 1]);
}

static void must(int failed, const char *what)
{
    if (failed) {
        (void)fprintf(stderr, "reference: %s: %s\n", what, strerror(errno));
        exit(1);
    }
}

static void commit_one(MDB_env *env, uint64_t index)
{
    uint8_t entry[ENTRY_SIZE] = {(uint8_t)index};
    MDB_val key = {sizeof index, &index};
    MDB_val value = {sizeof entry, entry};
    MDB_txn *txn;
    MDB_dbi dbi;

    must(mdb_txn_begin(env, NULL, 0, &txn), "begin");
    must(mdb_dbi_open(txn, "log", MDB_CREATE | MDB_INTEGERKEY, &dbi), "open log");
    must(mdb_put(txn, dbi, &key, &value, MDB_APPEND), "put");
    must(mdb_txn_commit(txn), "commit");
}

static MDB_env *open_environment(const char *dir)
{
    MDB_env *env;

    must(mkdir(dir, 0700) && errno != EEXIST, dir);
    must(mdb_env_create(&env), "create");
    must(mdb_env_set_mapsize(env, 1ULL << 30) || mdb_env_set_maxdbs(env, 2), "size");
    must(mdb_env_open(env, dir, MDB_NOTLS, 0600), dir);
    return env;
}

static void commit_many(const char *dir, size_t commits, uint32_t *samples)
{
    MDB_env *env = open_environment(dir);

    for (size_t i = 0; i < commits; i++) {
        uint64_t start = mono_now_us();
        commit_one(env, i + 1);
        samples[i] = (uint32_t)(mono_now_us() - start);
    }
    mdb_env_close(env);
}

static void measure_lmdb(const char *dir, size_t commits)
{
    size_t bytes = ENVIRONMENTS * commits * sizeof(uint32_t);
    uint32_t *samples =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t children[ENVIRONMENTS];

    must(samples == MAP_FAILED, "mmap");
    for (int e = 0; e < ENVIRONMENTS; e++) {
        children[e] = fork();
        must(children[e] < 0, "fork");
        if (children[e] == 0) {
            char path[4096];
            (void)snprintf(path, sizeof path, "%s/reference-%d", dir, e);
            commit_many(path, commits, samples + (size_t)e * commits);
            _exit(0);
        }
    }
    for (int e = 0; e < ENVIRONMENTS; e++) {
        int status;
        must(waitpid(children[e], &status, 0) < 0 || status != 0, "a committing child");
    }
    report(samples, ENVIRONMENTS * commits);
    must(munmap(samples, bytes), "munmap");
}

/* One of the three: a commit for every number that comes in, which goes out again. */
static void commit_when_told(const char *dir, int in, int out)
{
    MDB_env *env = open_environment(dir);
    uint32_t round;

    while (read(in, &round, sizeof round) == (ssize_t)sizeof round) {
        commit_one(env, round + 1);
        must(write(out, &round, sizeof round) != (ssize_t)sizeof round, "answer");
    }
    mdb_env_close(env);
}

static void start_committers(const char *dir, int tell[ENVIRONMENTS], int *answers)
{
    int back[2];

    must(pipe(back), "pipe");
    for (int e = 0; e < ENVIRONMENTS; e++) {
        int fds[2];
        must(pipe(fds), "pipe");
        pid_t pid = fork();
        must(pid < 0, "fork");
        if (pid == 0) {
            char path[4096];
            for (int other = 0; other < e; other++) {
                (void)close(tell[other]);
            }
            (void)close(fds[1]);
            (void)snprintf(path, sizeof path, "%s/quorum-%d", dir, e);
            commit_when_told(path, fds[0], back[1]);
            _exit(0);
        }
        (void)close(fds[0]);
        tell[e] = fds[1];
    }
    (void)close(back[1]);
    *answers = back[0];
}

static void measure_quorum(const char *dir, size_t commits)
{
    uint32_t *samples = mem_alloc(commits * sizeof *samples);
    int tell[ENVIRONMENTS];
    int answers;

    start_committers(dir, tell, &answers);
    for (uint32_t round = 0; round < commits; round++) {
        uint64_t start = mono_now_us();
        for (int e = 0; e < ENVIRONMENTS; e++) {
            must(write(tell[e], &round, sizeof round) != (ssize_t)sizeof round, "tell");
        }
        for (int answered = 0; answered < ENVIRONMENTS / 2 + 1;) {
            uint32_t which;
            must(read(answers, &which, sizeof which) != (ssize_t)sizeof which, "an answer");
            answered += which == round; /* the third of an earlier round may come late */
        }
        samples[round] = (uint32_t)(mono_now_us() - start);
    }
    for (int e = 0; e < ENVIRONMENTS; e++) {
        must(close(tell[e]), "close");
    }
    while (wait(NULL) > 0) {
    }
    report(samples, commits);
    mem_free(samples);
}

static void move(int fd, uint8_t *bytes, ssize_t (*one)(int, void *, size_t))
{
    size_t done = 0;

    while (done < ENTRY_SIZE) {
        ssize_t n = one(fd, bytes + done, ENTRY_SIZE - done);
        if (n <= 0) {
            _exit(0); /* the other side is done */
        }
        done += (size_t)n;
    }
}

static ssize_t write_some(int fd, void *bytes, size_t size)
{
    return write(fd, bytes, size);
}

static int loopback_pair(int *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    int one = 1;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    int client = socket(AF_INET, SOCK_STREAM, 0);

    must(listener < 0 || client < 0, "socket");
    must(bind(listener, (struct sockaddr *)&address, size) || listen(listener, 1), "listen");
    must(getsockname(listener, (struct sockaddr *)&address, &size), "getsockname");
    must(connect(client, (struct sockaddr *)&address, size), "connect");
    *server = accept(listener, NULL, NULL);
    must(*server < 0, "accept");
    must(setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one), "nodelay");
    must(setsockopt(*server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one), "nodelay");
    must(close(listener), "close");
    return client;
}

static void measure_loopback(size_t rounds)
{
    uint32_t *samples = mem_alloc(rounds * sizeof *samples);
    uint8_t bytes[ENTRY_SIZE] = {0};
    int server;
    int client = loopback_pair(&server);
    pid_t echo = fork();

    must(echo < 0, "fork");
    if (echo == 0) {
        (void)close(client);
        for (;;) {
            move(server, bytes, read);
            move(server, bytes, write_some);
        }
    }
    must(close(server), "close");
    for (size_t i = 0; i < rounds; i++) {
        uint64_t start = mono_now_us();
        move(client, bytes, write_some);
        move(client, bytes, read);
        samples[i] = (uint32_t)(mono_now_us() - start);
    }
    must(close(client), "close");
    (void)waitpid(echo, NULL, 0);
    report(samples, rounds);
    mem_free(samples);
}

int main(int argc, char **argv)
{
    uint64_t count;

    if (argc == 4 && strcmp(argv[1], "lmdb") == 0 &&
        units_parse_number(argv[3], 1, SAMPLES_MAX, &count) == 0) {
        measure_lmdb(argv[2], count);
        return 0;
    }
    if (argc == 4 && strcmp(argv[1], "quorum") == 0 &&
        units_parse_number(argv[3], 1, SAMPLES_MAX, &count) == 0) {
        measure_quorum(argv[2], count);
        return 0;
    }
    if (argc == 3 && strcmp(argv[1], "loopback") == 0 &&
        units_parse_number(argv[2], 1, SAMPLES_MAX, &count) == 0) {
        measure_loopback(count);
        return 0;
    }
    (void)fprintf(stderr, "usage: reference lmdb|quorum DIR COMMITS | reference loopback ROUNDS\n");
    return 2;
}
