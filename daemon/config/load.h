/* load.h - what the steps of config_load() share. Private to the room. */
#ifndef RAFTD_CONFIG_LOAD_H
#define RAFTD_CONFIG_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "config/config.h"
#include "config/options.h"

/* Where a value was written. */
struct place {
    int line;         /* of the file; 0: the file as a whole */
    const char *text; /* or a "-o" argument; borrowed */
};

struct load {
    const char *path;
    struct buf *errors;
    uint32_t errors_count;
    struct config config;
    struct {
        bool given;   /* by the file or by -o */
        bool refused; /* a value of it was: checks of the whole leave it alone */
        struct place place;
    } options[OPTIONS];
    struct place member_places[CONFIG_FOUNDERS_MAX]; /* of config.members */
    int node_line;                                   /* of "[node]", 0: not there */
};

void load_error(struct load *l, struct place place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Take one value, from wherever. */
void load_value(struct load *l, const struct option *o, const char *value, struct place place);

/* Read the file at l->path. false: there was nothing to read (reported), so what is missing in it
 * is not worth a message. */
bool load_file(struct load *l);

/* Fill in what is computed from other options, and check what concerns several. */
void load_check(struct load *l);

#endif
