/* template.h - texts written by hand with lists from the tables in them: manual pages, completions.
 *
 * A template is copied to standard output; "@NAME@" becomes what the build says of it, and a line
 * that begins with '@' names a list ("@commands@", "@command put@"), which is printed in its place.
 * The programs are for the build only. Threads: one. */
#ifndef RAFTD_MANUAL_TEMPLATE_H
#define RAFTD_MANUAL_TEMPLATE_H

#include "base/buf.h"

struct template_list {
    const char *name;                              /* NULL ends the table */
    int (*put)(const char *word, struct buf *out); /* `word` after the name, "" when none; 0, or -1:
                                                  * there is nothing of that name */
};

/* What main() does: argv is the template, then NAME=VALUE for each "@NAME@" within a line. The exit
 * status: 1, with the reason on standard error, when a list or a file is not there. */
int template_main(int argc, char *const *argv, const struct template_list *lists);

#endif
