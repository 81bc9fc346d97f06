#include "raftd/systemd.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/units.h"

/* A path, or '@' and the name of an abstract socket. */
static int connect_to(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t size = strlen(name);

    if (size < 2 || size >= sizeof address.sun_path || (name[0] != '/' && name[0] != '@')) {
        return -1;
    }
    memcpy(address.sun_path, name, size);
    if (name[0] == '@') {
        address.sun_path[0] = 0;
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -1;
    }
    socklen_t address_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
    if (connect(fd, (const struct sockaddr *)(const void *)&address, address_size)) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

/* At start, before there is a second thread. */
static const char *environment(const char *variable)
{
    return getenv(variable); /* NOLINT(concurrency-mt-unsafe) */
}

static uint64_t number_from(const char *variable, uint64_t high)
{
    const char *text = environment(variable);
    uint64_t value;

    return text && units_parse_number(text, 1, high, &value) == 0 ? value : 0;
}

void systemd_init(struct systemd *s)
{
    const char *name = environment("NOTIFY_SOCKET");
    uint64_t pid = number_from("WATCHDOG_PID", UINT32_MAX);

    *s = (struct systemd){.fd = name ? connect_to(name) : -1};
    if (s->fd >= 0 && (pid == 0 || pid == (uint64_t)getpid())) {
        uint64_t half_ms = number_from("WATCHDOG_USEC", UINT64_MAX) / 2 / 1000;
        s->watchdog_ms = half_ms < UINT32_MAX ? (uint32_t)half_ms : UINT32_MAX;
    }
}

void systemd_done(struct systemd *s)
{
    if (s->fd >= 0) {
        (void)close(s->fd);
        s->fd = -1;
    }
}

/* -1: the queue is full, or nobody is there. The loop does not wait for either. */
static int notify(const struct systemd *s, const char *text)
{
    return s->fd < 0 || send(s->fd, text, strlen(text), MSG_NOSIGNAL) >= 0 ? 0 : -1;
}

void systemd_ready(struct systemd *s)
{
    /* Without this one the start would time out. A manager that is busy reads the progress of the start late,
     * and the queue holds ten messages where nobody has raised net.unix.max_dgram_qlen. */
    if (notify(s, "READY=1") && errno == EAGAIN) {
        (void)poll(&(struct pollfd){.fd = s->fd, .events = POLLOUT}, 1, SYSTEMD_READY_WAIT_MS);
        (void)notify(s, "READY=1");
    }
}

void systemd_stopping(struct systemd *s)
{
    (void)notify(s, "STOPPING=1");
}

void systemd_status(struct systemd *s, const char *status)
{
    char text[sizeof "STATUS=" + sizeof s->status_last];

    if (strncmp(s->status_last, status, sizeof s->status_last - 1) == 0) {
        return;
    }
    (void)snprintf(s->status_last, sizeof s->status_last, "%s", status);
    (void)snprintf(text, sizeof text, "STATUS=%s", s->status_last);
    if (notify(s, text)) {
        s->status_last[0] = 0; /* not told: the next one is, even if it is the same */
    }
}

void systemd_extend(struct systemd *s, uint32_t more_ms)
{
    char text[64];

    (void)snprintf(text, sizeof text, "EXTEND_TIMEOUT_USEC=%llu",
                   (unsigned long long)more_ms * 1000U);
    (void)notify(s, text);
}

mono_ms systemd_watchdog(struct systemd *s, mono_ms now)
{
    if (s->fd < 0 || s->watchdog_ms == 0) {
        return UINT64_MAX;
    }
    if (now >= s->watchdog_next) {
        bool lost = notify(s, "WATCHDOG=1") != 0;
        s->watchdog_next = now + (lost ? s->watchdog_ms / 8 + 1 : s->watchdog_ms);
    }
    return s->watchdog_next;
}
