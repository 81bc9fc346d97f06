/* process.h - a real raftd in a scratch directory, and what the tests do with one. */
#ifndef TESTS_RAFTD_PROCESS_H
#define TESTS_RAFTD_PROCESS_H

#include <sys/types.h>

#include "wire/admin.h"

extern const char *process_binary; /* of raftd; the test's first argument */

struct process {
    pid_t pid; /* 0: not running */
    char directory[64];
    char socket[96];
    char config[96];
    char log[96];     /* its stderr */
    uint32_t node_id; /* 1 unless changed before process_configure() */
    uint16_t port;    /* of [node] listen */
    int fd;           /* admin connection; -1: none */
    struct buf in;
    uint64_t id; /* of the last request */
};

uint16_t process_free_port(void); /* one that was free a moment ago */

int process_setup(void **state);
int process_teardown(void **state); /* kills what still runs */

/* Write raftd.conf: [node] id, data_dir, listen, [admin] socket, then `more`. */
void process_configure(struct process *p, const char *more);
/* Start it and connect. */
void process_start(struct process *p);
/* Start and wait for the end: its exit status. */
int process_run(struct process *p, const char *const *arguments);
/* Send a signal and wait for the end: its exit status. */
int process_stop(struct process *p, int number);
void process_connect(struct process *p);
void process_disconnect(struct process *p);

/* One request and its reply, as text: the JSON, or "error NAME: MESSAGE". Valid until the next. */
const char *process_ask(struct process *p, struct admin_request *request);
const char *process_command(struct process *p, const char *command);
void process_send(struct process *p, struct admin_request *request);
const char *process_reply(struct process *p);

/* Ask until somebody leads. */
void process_wait_leader(struct process *p);

/* Everything the daemon has written to stderr. Valid until the next. */
const char *process_log(struct process *p);
/* Wait until the log holds `text`. */
void process_wait_log(struct process *p, const char *text);

#endif
