/* progress.h - how far a command is, told to people while they wait for its end.
 *
 * Calm: of a change that is done within PROGRESS_CALM_MS nothing is told; nor is it that raftd says
 * nothing, before PROGRESS_UNHEARD_MS. On a terminal there is one line, overwritten, and gone at the
 * end; elsewhere a line when the step changes, and within a step one every PROGRESS_EVERY_MS while it
 * moves.
 *
 * Pure: times are the caller's mono_now_ms(), and what is to be written is appended to a buf.
 * Threads: any. Ownership: a progress owns its texts until progress_end(). */
#ifndef RAFTD_RAFTCTL_PROGRESS_H
#define RAFTD_RAFTCTL_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum {
    PROGRESS_CALM_MS = 200,
    PROGRESS_UNHEARD_MS = 2000,
    PROGRESS_EVERY_MS = 2000,
    PROGRESS_STEP_SIZE = 41,
};

enum progress_style {
    PROGRESS_SILENT,
    PROGRESS_LINES,
    PROGRESS_TERMINAL, /* one line, overwritten */
};

struct progress {
    enum progress_style style;
    uint64_t began;
    bool heard; /* raftd has said something about it */
    bool waits; /* the newest text is not told yet */
    char step[PROGRESS_STEP_SIZE];
    struct buf text;
    uint64_t told_at;
    char told_step[PROGRESS_STEP_SIZE];
    struct buf told; /* empty: nothing so far */
};

void progress_begin(struct progress *p, enum progress_style style, uint64_t now);

/* The words to show on a terminal while nothing is heard; each byte takes one column. Elsewhere nobody
 * sits and waits, and they are not told. */
void progress_await(struct progress *p, const char *words);

/* What raftd says about it: {"progress":{...}}, or anything else, from which no step is known.
 * Steps that only a newer raftd has are shown by their names. */
void progress_take(struct progress *p, const void *json, size_t json_size, uint64_t now,
                   struct buf *out);

/* When to call progress_tick() if nothing else happens; UINT64_MAX: not at all. */
uint64_t progress_due(const struct progress *p);
void progress_tick(struct progress *p, uint64_t now, struct buf *out);

void progress_end(struct progress *p, struct buf *out);

#endif
