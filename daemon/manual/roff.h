/* roff.h - sentences of the tables as mdoc text.
 *
 * Threads: any. Ownership: output is appended. */
#ifndef RAFTD_MANUAL_ROFF_H
#define RAFTD_MANUAL_ROFF_H

#include "base/buf.h"

/* Lines of at most 78 characters, each sentence on a new one as mandoc wants it, nothing of it taken
 * for a macro; `quoted` words in quotes. "\n\n" begins a paragraph. */
void roff_put_text(struct buf *out, const char *text);

/* Lines as they stand, kept so (a display). */
void roff_put_display(struct buf *out, const char *text);

/* One word as an argument of a macro. */
void roff_put_word(struct buf *out, const char *word);

#endif
