/* target.h - what every fuzz target defines; the name is libFuzzer's. */
#ifndef RAFTD_TESTS_FUZZ_TARGET_H
#define RAFTD_TESTS_FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

/* Must return 0; ends the process when the input shows a bug. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
