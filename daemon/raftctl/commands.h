/* commands.h - raftctl's commands in one table: the parser, the help and the tests read it.
 *
 * A plain command is one request and one answer: `fill` makes the request, `render` prints the
 * answer for people. The others (`run`) hold their own conversation. Threads: one. */
#ifndef RAFTD_RAFTCTL_COMMANDS_H
#define RAFTD_RAFTCTL_COMMANDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "raftctl/ctl.h"
#include "raftctl/options.h"
#include "raftctl/progress.h"
#include "wire/admin.h"

enum command_needs { /* what raftd asks of who calls; a hint, raftd decides */
                     NEEDS_NOTHING,
                     NEEDS_OPERATOR,
};

struct command {
    const char *name;
    const char *args; /* as shown, "" when none */
    uint32_t args_min, args_max;
    bool takes_rest; /* the first argument and all that follows are somebody else's command line */
    const enum option_id *options; /* ends with OPT_END */
    enum option_id required;       /* an option that must be given, or OPT_END */
    const enum option_id *also;    /* more of them, ends with OPT_END; NULL: none */
    enum command_needs needs;
    const char *unanswered; /* changes something: what to do when no answer came, and so the outcome
                             * is unknown. NULL: it only asks */
    bool progress;          /* the answer is the last reply; those before it say how far it is */
    bool in_batch;          /* makes sense as a line of `batch` */
    int usage_status;       /* exit status of a bad command line; 0: 2, the usual one */
    const char *help;       /* one line */
    const char *details;
    const char *examples; /* whole lines; NULL: none */
    /* Put arguments and options into the request, whose id, command and timeout are set by the
     * caller. 0, or a negative code and the error. */
    int (*fill)(const struct ctl *ctl, const struct invocation *inv, struct admin_request *req,
                struct ctl_error *e);
    /* Append the answer as text for people; returns nothing that can fail: fields an older or newer
     * raftd does not send are left out. */
    void (*render)(const struct ctl *ctl, const struct invocation *inv, const json_t *answer,
                   struct buf *out);
    /* Exit status or error for a well-formed answer; NULL: 0. */
    int (*judge)(const json_t *answer, struct ctl_error *e);
    /* Instead of the above: the whole conversation. Exit status, or a negative code. */
    int (*run)(struct ctl *ctl, const struct invocation *inv, struct ctl_error *e);
};

extern const struct command command_table[];
extern const uint32_t command_count;

const struct command *command_find(const char *name); /* NULL: none */
bool command_requires(const struct command *command, enum option_id option);
const char *command_nearest(const char *name); /* a name one or two slips away, or NULL */

/* One request, one answer over ctl->client (connected when it is not): the daemon's JSON text is
 * appended to `out` and *status is the exit status it stands for. 0, or a negative code. */
int command_call(struct ctl *ctl, const struct invocation *inv, struct buf *out, int *status,
                 struct ctl_error *e);

/* Turn a reply that refuses into the error it tells of; returns its code. */
int command_refused(const struct command *command, const struct admin_reply *reply,
                    struct ctl_error *e);

/* How to tell people how far it is while they wait. */
enum progress_style command_style(const struct ctl *ctl, const struct command *command);

/* Run a command to its end and print what it says. Exit status, or a negative code to report. */
int command_run(struct ctl *ctl, const struct invocation *inv, struct ctl_error *e);

/* Help: of raftctl, and of one command. */
int help_run(struct ctl *ctl, const struct invocation *inv, struct ctl_error *e);
void help_all(struct buf *out);
void help_command(const struct command *command, struct buf *out);
void help_usage_line(const struct command *command, struct buf *out);

#endif
