#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/mono.h"
#include "raftctl/words.h"

enum { PATIENCE_MS = 30000 };

static struct {
    const char *raftctl, *fake;
    char dir[64], socket[96];
    pid_t pid;
} harness;

void harness_init(int argc, char **argv)
{
    if (argc != 3) {
        (void)fprintf(stderr, "usage: %s RAFTCTL FAKE_RAFTD\n", argv[0]);
        exit(1);
    }
    harness.raftctl = argv[1];
    harness.fake = argv[2];
    (void)snprintf(harness.dir, sizeof harness.dir, "/tmp/raftctl-test-XXXXXX");
    if (!mkdtemp(harness.dir)) {
        perror("mkdtemp");
        exit(1);
    }
    (void)chmod(harness.dir, 0755);
    (void)snprintf(harness.socket, sizeof harness.socket, "%s/sock", harness.dir);
    (void)unsetenv("RAFTCTL_SOCKET");
    (void)signal(SIGPIPE, SIG_IGN);
}

int harness_done(void **state)
{
    (void)state;
    fake_kill();
    (void)unlink(harness.socket);
    return rmdir(harness.dir);
}

/* ---- The fake ---- */

static bool can_connect(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(address.sun_path, harness.socket, strlen(harness.socket) + 1);
    bool ok = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    (void)close(fd);
    return ok;
}

void fake_start(const char *mode)
{
    uint64_t deadline = mono_now_ms() + PATIENCE_MS;

    fake_kill();
    (void)unlink(harness.socket);
    harness.pid = fork();
    assert_true(harness.pid >= 0);
    if (harness.pid == 0) {
        execl(harness.fake, harness.fake, harness.socket, mode, (char *)NULL);
        _exit(127);
    }
    while (!can_connect()) {
        assert_true(mono_now_ms() < deadline);
        (void)poll(NULL, 0, 2);
    }
}

void fake_kill(void)
{
    if (harness.pid > 0) {
        (void)kill(harness.pid, SIGKILL);
        (void)waitpid(harness.pid, NULL, 0);
    }
    harness.pid = 0;
}

const char *fake_socket(void)
{
    return harness.socket;
}

/* ---- raftctl ---- */

static void exec_raftctl(const char *line)
{
    struct words words;
    const char *why;
    char *argv[WORDS_MAX + 2] = {NULL};

    if (words_split(line, strlen(line), &words, &why)) {
        _exit(126);
    }
    argv[0] = mem_strdup("raftctl");
    memcpy(argv + 1, words.word, words.count * sizeof argv[0]);
    (void)setenv("RAFTCTL_SOCKET", harness.socket, 0);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)execv(harness.raftctl, argv);
    _exit(127);
}

/* A terminal that passes on the bytes as they are: our end, and the program's. */
static void terminal_open(int ends[2])
{
    struct termios raw;

    assert_int_equal(openpty(&ends[0], &ends[1], NULL, NULL, NULL), 0);
    assert_int_equal(tcgetattr(ends[1], &raw), 0);
    cfmakeraw(&raw);
    assert_int_equal(tcsetattr(ends[1], TCSANOW, &raw), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fcntl(ends[i], F_SETFD, FD_CLOEXEC), 0);
    }
}

/* closed: a descriptor it is started without; -1: none. terminal: its stderr is one. */
static void start_with(struct child *c, const char *line, int closed, bool terminal)
{
    int in[2], out[2], err[2];

    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    if (terminal) {
        terminal_open(err);
    } else {
        assert_int_equal(pipe2(err, O_CLOEXEC), 0);
    }
    c->started_ms = mono_now_ms();
    c->pid = fork();
    assert_true(c->pid >= 0);
    if (c->pid == 0) {
        (void)dup2(in[0], STDIN_FILENO);
        (void)dup2(out[1], STDOUT_FILENO);
        (void)dup2(err[1], STDERR_FILENO);
        if (closed >= 0) {
            (void)close(closed);
        }
        exec_raftctl(line);
    }
    (void)close(in[0]);
    (void)close(out[1]);
    (void)close(err[1]);
    c->in = in[1];
    c->out = out[0];
    c->err = err[0];
}

void child_start(struct child *c, const char *line)
{
    start_with(c, line, -1, false);
}

void child_read_line(struct child *c, char *line, size_t line_size)
{
    size_t size = 0;
    struct pollfd p = {.fd = c->out, .events = POLLIN};

    for (;;) {
        assert_int_equal(poll(&p, 1, 10000), 1);
        assert_true(size < line_size);
        assert_int_equal(read(c->out, line + size, 1), 1);
        if (line[size] == '\n') {
            line[size] = 0;
            return;
        }
        size++;
    }
}

static bool drain(int *fd, struct buf *into)
{
    buf_reserve(into, 65536);
    ssize_t n = read(*fd, into->data + into->size, 65536);

    if (n <= 0) {
        (void)close(*fd);
        *fd = -1;
        return false;
    }
    into->size += (size_t)n;
    return true;
}

static void feed(int *fd, const uint8_t **in, size_t *size)
{
    ssize_t n = *size ? write(*fd, *in, *size > 4096 ? 4096 : *size) : 0;

    if (n > 0) {
        *in += n;
        *size -= (size_t)n;
    }
    if (n < 0 || *size == 0) {
        (void)close(*fd);
        *fd = -1;
    }
}

static void converse(struct child *c, struct run *r, const uint8_t *in, size_t in_size)
{
    int status;

    *r = (struct run){0};
    while (c->out >= 0 || c->err >= 0) {
        struct pollfd p[3] = {{.fd = c->out, .events = POLLIN},
                              {.fd = c->err, .events = POLLIN},
                              {.fd = c->in, .events = POLLOUT}};
        assert_true(poll(p, 3, PATIENCE_MS) > 0);
        if (p[0].revents) {
            (void)drain(&c->out, &r->out);
        }
        if (p[1].revents) {
            (void)drain(&c->err, &r->err);
        }
        if (p[2].revents) {
            feed(&c->in, &in, &in_size);
        }
    }
    if (c->in >= 0) {
        (void)close(c->in);
    }
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    r->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    r->took_ms = mono_now_ms() - c->started_ms;
    (void)buf_str(&r->out);
    (void)buf_str(&r->err);
}

void child_wait(struct child *c, struct run *r)
{
    converse(c, r, NULL, 0);
}

void ctl_run_input(struct run *r, const char *line, const void *in, size_t in_size)
{
    struct child c;

    child_start(&c, line);
    converse(&c, r, in, in_size);
}

void ctl_run(struct run *r, const char *line)
{
    ctl_run_input(r, line, "", 0);
}

void ctl_run_terminal(struct run *r, const char *line)
{
    struct child c;

    start_with(&c, line, -1, true);
    converse(&c, r, NULL, 0);
}

void ctl_run_closed(struct run *r, const char *line, int fd)
{
    struct child c;

    start_with(&c, line, fd, false);
    converse(&c, r, NULL, 0);
}

void run_done(struct run *r)
{
    buf_done(&r->out);
    buf_done(&r->err);
}

void expect(const char *line, int status, const char *out, const char *err_piece)
{
    struct run r;

    ctl_run(&r, line);
    const char *got_out = buf_str(&r.out);
    const char *got_err = buf_str(&r.err);
    bool err_ok = err_piece ? strstr(got_err, err_piece) != NULL : got_err[0] == 0;
    if (r.status != status || (out && strcmp(got_out, out) != 0) || !err_ok) {
        fail_msg(
            "raftctl %s\n  exit %d (expected %d)\n  stdout: %s\n  expected: %s\n  stderr: %s\n  "
            "expected in it: %s",
            line, r.status, status, got_out, out ? out : "(any)", got_err,
            err_piece ? err_piece : "(nothing)");
    }
    run_done(&r);
}

void expect_terminal(const char *line, const char *in, int status, const char *err_begins)
{
    struct child c;
    struct run r;

    start_with(&c, line, -1, true);
    converse(&c, &r, (const uint8_t *)in, strlen(in));
    assert_int_equal(r.status, status);
    size_t size = err_begins[0] ? strlen(err_begins) : r.err.size + 1;
    if (strncmp(buf_str(&r.err), err_begins, size) != 0) {
        fail_msg("'%s': its stderr: %s", line, buf_str(&r.err));
    }
    run_done(&r);
}
