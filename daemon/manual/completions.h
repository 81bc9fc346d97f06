/* completions.h - the commands and options of raftctl in the languages of shells.
 *
 * Each is a list of a template (template.h). Threads: any. */
#ifndef RAFTD_MANUAL_COMPLETIONS_H
#define RAFTD_MANUAL_COMPLETIONS_H

#include "base/buf.h"

/* Cases for bash, by `which`: "valued" (words after which an option's value stands), "values" (what
 * that may be), "commands", "globals", "options" (of each command), "arguments". */
int completions_bash(const char *which, struct buf *out);
/* Elements of arrays and cases for zsh: "commands", "globals", "cases". */
int completions_zsh(const char *which, struct buf *out);
/* For fish: "valued" (a case with the options after which a value stands), "commands" (all of them, as
 * `complete` commands). */
int completions_fish(const char *which, struct buf *out);

#endif
