#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/mono.h"

enum { PATIENCE_MS = 20000 };

const char *process_binary;

static void pause_briefly(void)
{
    (void)poll(NULL, 0, 5);
}

/* ---- Life ---- */

uint16_t process_free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (const struct sockaddr *)(const void *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)(void *)&address, &size), 0);
    (void)close(fd);
    return ntohs(address.sin_port);
}

void process_configure(struct process *p, const char *more)
{
    FILE *out = fopen(p->config, "w");

    assert_non_null(out);
    (void)fprintf(out,
                  "[node]\nid = %u\nname = one\ndata_dir = %s/data\nlisten = 127.0.0.1:%u\n"
                  "[admin]\nsocket = %s\ngroup =\n[http]\nlisten =\n%s",
                  (unsigned)p->node_id, p->directory, (unsigned)p->port, p->socket, more);
    assert_int_equal(fclose(out), 0);
}

int process_setup(void **state)
{
    struct process *p = mem_zalloc(sizeof *p);

    p->fd = -1;
    p->node_id = 1;
    p->port = process_free_port();
    (void)snprintf(p->directory, sizeof p->directory, "/tmp/raftd-test-XXXXXX");
    assert_non_null(mkdtemp(p->directory));
    (void)snprintf(p->socket, sizeof p->socket, "%s/sock", p->directory);
    (void)snprintf(p->config, sizeof p->config, "%s/raftd.conf", p->directory);
    (void)snprintf(p->log, sizeof p->log, "%s/log", p->directory);
    process_configure(p, "");
    *state = p;
    return 0;
}

static void remove_tree(const char *directory)
{
    char command[128];

    (void)snprintf(command, sizeof command, "rm -rf -- '%s'", directory);
    assert_int_equal(system(command), 0);
}

int process_teardown(void **state)
{
    struct process *p = *state;

    process_disconnect(p);
    if (p->pid) {
        (void)process_stop(p, SIGKILL);
    }
    buf_done(&p->in);
    remove_tree(p->directory);
    mem_free(p);
    return 0;
}

static void spawn(struct process *p, const char *const *arguments)
{
    const char *argv[16] = {process_binary};
    int count = 1;

    while (*arguments) {
        assert_true(count < 15);
        argv[count++] = *arguments++;
    }
    p->pid = fork();
    assert_true(p->pid >= 0);
    if (p->pid == 0) {
        int log = open(p->log, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
        (void)dup2(log, STDOUT_FILENO);
        (void)dup2(log, STDERR_FILENO);
        (void)execv(process_binary, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
}

static int wait_end(struct process *p)
{
    mono_ms end = mono_now_ms() + PATIENCE_MS;
    int status;
    pid_t got;

    while ((got = waitpid(p->pid, &status, WNOHANG)) == 0) {
        assert_true(mono_now_ms() < end);
        pause_briefly();
    }
    assert_int_equal(got, p->pid);
    p->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int process_run(struct process *p, const char *const *arguments)
{
    spawn(p, arguments);
    return wait_end(p);
}

int process_stop(struct process *p, int number)
{
    assert_int_equal(kill(p->pid, number), 0);
    return wait_end(p);
}

static int try_connect(const struct process *p)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", p->socket);
    if (connect(fd, (const struct sockaddr *)(const void *)&address, sizeof address)) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

void process_connect(struct process *p)
{
    mono_ms end = mono_now_ms() + PATIENCE_MS;

    process_disconnect(p);
    while ((p->fd = try_connect(p)) < 0) {
        int status;
        if (waitpid(p->pid, &status, WNOHANG) != 0) {
            fail_msg("raftd ended: %s", process_log(p));
        }
        assert_true(mono_now_ms() < end);
        pause_briefly();
    }
}

void process_disconnect(struct process *p)
{
    if (p->fd >= 0) {
        (void)close(p->fd);
        p->fd = -1;
    }
    p->in.size = 0;
}

void process_start(struct process *p)
{
    const char *const arguments[] = {"-c", p->config, NULL};

    spawn(p, arguments);
    process_connect(p);
}

/* ---- Requests ---- */

void process_send(struct process *p, struct admin_request *request)
{
    struct buf out = BUF_INIT;

    request->id = ++p->id;
    request->timeout_ms = request->timeout_ms ? request->timeout_ms : 5000;
    assert_int_equal(admin_request_encode(request, &out), 0);
    for (size_t sent = 0; sent < out.size;) {
        ssize_t n = send(p->fd, out.data + sent, out.size - sent, MSG_NOSIGNAL);
        assert_true(n > 0);
        sent += (size_t)n;
    }
    buf_done(&out);
}

static const char *reply_text(const struct process *p, const struct admin_reply *reply)
{
    static struct buf text = BUF_INIT;
    const struct blob *said = reply->code ? reply->message : reply->json;

    assert_int_equal(reply->id, p->id);
    text.size = 0;
    if (reply->code) {
        buf_printf(&text, "error %s: ", err_name(reply->code));
    }
    if (said) {
        buf_put(&text, said->data, said->size);
    }
    return buf_str(&text);
}

const char *process_reply(struct process *p)
{
    struct frame frame;
    struct admin_reply reply;

    while (p->in.size == 0 ||
           frame_parse(p->in.data, p->in.size, FRAME_ADMIN_REPLY_MAX, &frame, NULL) != 1) {
        struct pollfd ready = {.fd = p->fd, .events = POLLIN};
        assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
        buf_reserve(&p->in, 1 << 16);
        ssize_t n = recv(p->fd, p->in.data + p->in.size, 1 << 16, 0);
        if (n <= 0) {
            return "closed";
        }
        p->in.size += (size_t)n;
    }
    assert_int_equal(admin_reply_decode(&frame, &reply), 0);
    const char *text = reply_text(p, &reply);
    buf_drop(&p->in, frame.total);
    admin_reply_done(&reply);
    return text;
}

const char *process_ask(struct process *p, struct admin_request *request)
{
    process_send(p, request);
    admin_request_done(request);
    return process_reply(p);
}

const char *process_command(struct process *p, const char *command)
{
    struct admin_request request = {0};

    (void)snprintf(request.command, sizeof request.command, "%s", command);
    return process_ask(p, &request);
}

void process_wait_leader(struct process *p)
{
    mono_ms end = mono_now_ms() + PATIENCE_MS;

    while (strstr(process_command(p, "leader"), "error no_leader: ")) {
        assert_true(mono_now_ms() < end);
        pause_briefly();
    }
}

/* ---- Log ---- */

const char *process_log(struct process *p)
{
    static struct buf text = BUF_INIT;
    FILE *in = fopen(p->log, "r");
    int c;

    text.size = 0;
    if (in) {
        while ((c = fgetc(in)) != EOF) {
            buf_put_u8(&text, (uint8_t)c);
        }
        (void)fclose(in);
    }
    return buf_str(&text);
}

void process_wait_log(struct process *p, const char *text)
{
    mono_ms end = mono_now_ms() + PATIENCE_MS;

    while (!strstr(process_log(p), text)) {
        if (mono_now_ms() >= end) {
            fail_msg("no \"%s\" in: %s", text, process_log(p));
        }
        pause_briefly();
    }
}
