/* mono.h - the only place that reads a clock.
 *
 * CLOCK_BOOTTIME: never set back, and it counts the time a suspended machine slept, so a lease
 * cannot outlive a nap. Threads: any. */
#ifndef RAFTD_BASE_MONO_H
#define RAFTD_BASE_MONO_H

#include <stdint.h>
#include <time.h>

typedef uint64_t mono_ms; /* milliseconds since boot */

mono_ms mono_now_ms(void);
/* Of two moments at which something is due; UINT64_MAX is never. */
static inline mono_ms mono_earlier(mono_ms a, mono_ms b)
{
    return a < b ? a : b;
}
uint64_t mono_now_us(void);  /* microseconds since boot */
uint64_t mono_wall_ms(void); /* milliseconds since 1970; for people and stamps, never for Raft */
/* So many milliseconds from now, by CLOCK_MONOTONIC: for waits of pthreads, which do not know the clock
 * above. It is not set back either, but stands still while the machine sleeps. */
struct timespec mono_wait_until(uint32_t ms);

#endif
