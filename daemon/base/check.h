/* check.h - assertions that stay in release builds.
 *
 * A failed check is a bug in raftd, never bad input. The process prints the expression, the place
 * and what the context callback adds (term, index, role), then ends with exit status 70, before any
 * reply that could rest on a broken invariant leaves. Threads: any. */
#ifndef RAFTD_BASE_CHECK_H
#define RAFTD_BASE_CHECK_H

#define rd_assert(expr) ((expr) ? (void)0 : check_fail(#expr, __FILE__, __LINE__, __func__))

/* Called once by the failing thread; writes one line about the process into `text`. */
typedef void check_context_cb(void *arg, char *text, unsigned text_size);

/* Set what a failed check adds; NULL removes it. Loop thread, at start. */
void check_set_context(check_context_cb *cb, void *arg);

_Noreturn void check_fail(const char *expr, const char *file, int line, const char *function);

#endif
