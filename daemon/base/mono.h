/* mono.h - the only place that reads a clock.
 *
 * CLOCK_BOOTTIME: never set back, and it counts the time a suspended machine slept, so a lease
 * cannot outlive a nap. Threads: any. */
#ifndef RAFTD_BASE_MONO_H
#define RAFTD_BASE_MONO_H

#include <stdint.h>

typedef uint64_t mono_ms; /* milliseconds since boot */

mono_ms mono_now_ms(void);
uint64_t mono_now_us(void);  /* microseconds since boot */
uint64_t mono_wall_ms(void); /* milliseconds since 1970; for people and stamps, never for Raft */

#endif
