/* server.h - the running daemon: one loop, one turn (ARCHITECTURE.md, "one turn").
 *
 * Threads: loop thread only. */
#ifndef RAFTD_RAFTD_SERVER_H
#define RAFTD_RAFTD_SERVER_H

#include "config/config.h"
#include "raftd/systemd.h"

struct server;

struct server_source { /* where the configuration came from, to read it again */
    const char *path;
    const char *const *overrides;
    uint32_t overrides_count;
};

/* Everything up to "ready": store, log, sockets. `config`, `source` and `systemd` stay the
 * caller's and outlive the server, which changes `config` at a reload. 0, or a negative code after at least one log line; -ECANCELED:
 * told to stop meanwhile (stop.h). */
int server_open(struct config *config, const struct server_source *source, struct systemd *systemd,
                struct server **out);

/* Serve until a signal or something fatal: 0, or the negative code the process has to end with. */
int server_run(struct server *s);

/* Answers what is open, finishes the batch in flight, removes the socket file. NULL is fine. */
void server_close(struct server *s);

#endif
