/* shortage.h - a listener for which the process has no descriptor left: what it says, how long it rests.
 *
 * The kernel keeps the connection in the backlog and reports it for ever, so who cannot accept it has to
 * rest. Those who hold the descriptors may give back one now and then: still one line a minute.
 * Threads: any, one at a time. */
#ifndef RAFTD_BASE_SHORTAGE_H
#define RAFTD_BASE_SHORTAGE_H

#include <stdbool.h>

#include "base/mono.h"

enum { SHORTAGE_REST_MS = 250, SHORTAGE_SAID_MS = 60000 };

struct shortage {
    mono_ms said; /* 0: never */
    bool lasts;   /* that was the last word */
};

/* A connection could not be accepted, for want of this (errno). */
void shortage_note(struct shortage *s, const char *room, int error);
/* One was accepted. */
void shortage_over(struct shortage *s, const char *room);

#endif
