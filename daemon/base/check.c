#include "base/check.h"

#include <stdio.h>
#include <unistd.h>

#include "base/err.h"

static check_context_cb *context_cb;
static void *context_arg;

void check_set_context(check_context_cb *cb, void *arg)
{
    context_cb = cb;
    context_arg = arg;
}

_Noreturn void check_fail(const char *expr, const char *file, int line, const char *function)
{
    char context[256] = "";

    if (context_cb) {
        check_context_cb *cb = context_cb;
        context_cb = NULL; /* its own checks may fail, too */
        cb(context_arg, context, sizeof context);
    }
    (void)fprintf(stderr, "raftd: bug: assertion failed: %s at %s:%d in %s %s\n", expr, file, line,
                  function, context);
    (void)fflush(stderr);
    _exit(RD_EXIT_BUG);
}
