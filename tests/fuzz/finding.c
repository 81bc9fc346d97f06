/* In place of base/check: a failed check is a finding. base/check would end the process with an exit status, and
 * libFuzzer keeps the input only of what ends by a signal. */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"

void check_fail(const char *expr, const char *file, int line, const char *function)
{
    (void)fprintf(stderr, "finding: %s at %s:%d in %s\n", expr, file, line, function);
    abort();
}
