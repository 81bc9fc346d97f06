/* systemd.h - tells the service manager how we are (sd_notify protocol, sd_notify(3)).
 *
 * Without NOTIFY_SOCKET in the environment every call does nothing. A message that cannot be sent
 * is dropped: the service manager's absence must not stop the daemon. Only READY waits for it.
 * Threads: loop thread only. */
#ifndef RAFTD_RAFTD_SYSTEMD_H
#define RAFTD_RAFTD_SYSTEMD_H

#include <stdint.h>

#include "base/mono.h"

struct systemd {
    int fd;                /* -1: nobody listens */
    uint32_t watchdog_ms;  /* ping this often: half of what systemd waits; 0: no watchdog */
    mono_ms watchdog_next; /* when the next ping is due */
    char status_last[256]; /* not sent twice in a row */
};

/* Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. */
void systemd_init(struct systemd *s);
void systemd_done(struct systemd *s);

enum { SYSTEMD_READY_WAIT_MS = 5000 };

void systemd_ready(
    struct systemd *s); /* waits while the manager's queue is full, at most so long */
void systemd_stopping(struct systemd *s);
/* One line for `systemctl status`; sent when it differs from the last. */
void systemd_status(struct systemd *s, const char *status);
/* Starting or stopping takes this much longer than now. */
void systemd_extend(struct systemd *s, uint32_t more_ms);
/* Ping when due. Returns when the next ping is due, UINT64_MAX: never. */
mono_ms systemd_watchdog(struct systemd *s, mono_ms now);

#endif
