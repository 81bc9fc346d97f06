/* options.h - the command line as data: which option exists, what it takes, what was given.
 *
 * One table of options for all commands; a command lists those it takes, the global ones are taken
 * before and after the command word. Threads: one. Ownership: an invocation borrows argv. */
#ifndef RAFTD_RAFTCTL_OPTIONS_H
#define RAFTD_RAFTCTL_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "raftctl/ctl.h"

enum option_id {
    OPT_SOCKET, /* the global ones come first */
    OPT_JSON,
    OPT_TIMEOUT,
    OPT_QUIET,
    OPT_HELP,
    OPT_VERSION,
    OPT_IF_REVISION,
    OPT_FENCE,
    OPT_STALE,
    OPT_LIMIT,
    OPT_FOR,
    OPT_CLIENTS,
    OPT_CONNECTIONS,
    OPT_SIZE,
    OPT_DURATION,
    OPT_OP,
    OPT_KEEP,
    OPT_DATA_DIR,
    OPT_LEARNER,
    OPT_NO_WAIT,
    OPT_FORCE,
    OPT_MEMBERS,
    OPT_ID,
    OPT_ADDRESS,
    OPT_HOOK,
    OPT_HOOK_TIMEOUT,
    OPT_WAIT_TIMEOUT,
    OPT_GRACE,
    OPT_COUNT,
    OPT_GLOBALS = OPT_VERSION + 1,
    OPT_END = OPT_COUNT, /* ends a command's list */
};

enum option_kind {
    OPTION_FLAG,
    OPTION_TEXT,
    OPTION_NUMBER,   /* low..high */
    OPTION_SIZE,     /* low..high bytes */
    OPTION_DURATION, /* low..high ms */
    OPTION_CHOICE,   /* one of `choices`, number: which */
};

struct option {
    const char *name; /* without dashes */
    char letter;      /* 0: none */
    enum option_kind kind;
    const char *value; /* placeholder in help; NULL: takes none */
    uint64_t low, high;
    const char *const *choices; /* NULL-terminated */
    const char *help;
};
extern const struct option option_table[OPT_COUNT];

struct command;

enum { INVOCATION_ARGS_MAX = 4 };

struct invocation {
    const struct command *command; /* NULL: no command word was given */
    uint32_t args_count;
    const char *args[INVOCATION_ARGS_MAX];
    char *const *rest; /* a command's that takes_rest: as it stands, up to a NULL */
    bool set[OPT_COUNT];
    const char *text[OPT_COUNT];
    uint64_t number[OPT_COUNT];
};

/* Parse words (argv without the program's name). The first mistake is the one reported, but all
 * words are looked at, so that --json counts wherever it stands; `out` is filled in either way.
 * 0, or -RD_EUSAGE. --help and --version win over missing arguments. words[count] is NULL. */
int options_parse(uint32_t count, char *const *words, struct invocation *out, struct ctl_error *e);

#endif
