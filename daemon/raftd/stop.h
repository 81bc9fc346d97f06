/* stop.h - SIGTERM, SIGINT and SIGHUP, from the first line of main() on.
 *
 * The first one asks for a clean end: it is noted here, and whoever is at work looks - the loop
 * through its own handler, a start that still verifies the log at every entry. One more, later than
 * STOP_REPEAT_MS after the first, ends the process at once by that signal: what waits for a disk
 * waits no longer, and nothing is lost that would not survive a crash. (timeout(1), a terminal and a
 * script around raftd may all send one for the same wish.)
 *
 * A SIGHUP that comes before there is a loop is kept for it: the file may have been read before it was
 * changed, and a start that verifies a long log takes minutes.
 * Threads: loop thread; others block these signals. */
#ifndef RAFTD_RAFTD_STOP_H
#define RAFTD_RAFTD_STOP_H

#include <stdbool.h>

enum { STOP_REPEAT_MS = 500 };

void stop_init(void); /* installs the handlers */

/* The signal that asked for the end, 0: none did. */
int stop_signal(void);

/* What the handlers do, for a loop with handlers of its own. Async-signal-safe. */
void stop_take(int number);

/* Was a reload asked for (SIGHUP) before a loop with a handler of its own was there? */
bool stop_reload_asked(void);

#endif
