/* hook_list.h - which files --hook means, at this moment. Threads: one. */
#ifndef RAFTD_RAFTCTL_HOOK_LIST_H
#define RAFTD_RAFTCTL_HOOK_LIST_H

#include <stdbool.h>
#include <stdint.h>

#include "raftctl/ctl.h"

struct hook_list { /* zeroed: empty */
    uint32_t count;
    char **paths; /* owned */
    char *idle;   /* one that would be a hook, were it executable; owned; NULL: there is none */
};

/* The executable files of a directory in byte order of their names, or one executable file.
 * -RD_EUSAGE: it is neither; the error says what it is. `out` is empty or freed before. */
int hook_list_make(const char *path, struct hook_list *out, struct ctl_error *e);
void hook_list_add(struct hook_list *l, const char *path);
bool hook_list_has(const struct hook_list *l, const char *path);
void hook_list_done(struct hook_list *l); /* usable again */

/* Is a file of this name a hook? As run-parts has it, with dots: no hidden file, no backup of an
 * editor, nothing that a package manager has put aside. */
bool hook_list_is_name(const char *name);

#endif
