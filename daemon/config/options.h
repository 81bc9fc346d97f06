/* options.h - the one table of options. The parser, the defaults, --dump-config, the manuals and
 * the tests all read it; adding a key means adding a row (and, for a new kind of value, a kind).
 *
 * Private to the room. Threads: any (the table is constant). */
#ifndef RAFTD_CONFIG_OPTIONS_H
#define RAFTD_CONFIG_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "config/config.h"

enum option_kind {
    OPTION_ID,        /* uint32_t, low..high */
    OPTION_COUNT,     /* uint64_t, low..high */
    OPTION_DURATION,  /* uint64_t milliseconds, low..high */
    OPTION_SIZE,      /* uint64_t bytes, low..high */
    OPTION_MODE,      /* uint32_t permission bits, written in octal */
    OPTION_TEXT,      /* char[size] */
    OPTION_LISTEN,    /* struct host_port */
    OPTION_ADVERTISE, /* char[size], an address that can be dialled */
    OPTION_MEMBER,    /* config.members, repeatable */
    OPTION_HTTP,      /* config.http_listen, repeatable */
    OPTION_LEVEL,     /* enum log_level */
    OPTION_FORMAT,    /* enum log_format */
    OPTION_YES_NO,    /* bool */
};

enum {
    OPTION_REPEATABLE = 1,
    OPTION_RELOADABLE = 2, /* taken over at run time: a plain value, without a pointer in it */
    OPTION_EMPTY_OK = 4,   /* "key =" means something: not set, none, or off */
};

struct option {
    const char *section, *key;
    const char *default_text; /* "": not set, or computed (the help says how) */
    const char *help;         /* sentences for people; --dump-config wraps them */
    uint64_t low, high;       /* of numbers, durations and sizes */
    size_t offset, size;      /* where in struct config */
    enum option_kind kind;
    unsigned flags;
};

enum { OPTIONS = 27 };
extern const struct option option_table[OPTIONS];

/* The row of a key, or NULL. */
const struct option *option_find(const char *section, const char *key);
bool option_is_section(const char *section);

/* Explain an unknown section or key: what is meant most likely, appended to `out` as " (...)" or
 * ": ...", ready to end a message. */
void option_suggest_section(const char *section, struct buf *out);
void option_suggest_key(const char *section, const char *key, struct buf *out);

/* Store a value (surrounding blanks already removed); of a repeatable option: one more, and ""
 * takes away all before it. 0, or -RD_EINVALID with the reason and the remedy appended to `why` and
 * `c` unchanged. */
int option_set(const struct option *o, const char *value, struct config *c, struct buf *why);

/* The values as option_set() reads them: how many lines (0 only for an empty repeatable option),
 * and the text of one. */
uint32_t option_lines(const struct option *o, const struct config *c);
void option_print(const struct option *o, const struct config *c, uint32_t nth, struct buf *out);

/* One spelling for one address: "host:port" in lower case, IPv6 in its short form in brackets. */
void address_text(const struct host_port *address, char text[UNITS_ADDRESS_SIZE]);

#endif
