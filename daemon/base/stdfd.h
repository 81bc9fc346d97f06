/* stdfd.h - descriptors 0, 1 and 2 are what they are called.
 *
 * A program that was started with one of them closed gets its number for the next file it opens: a
 * log line would go into a database. Threads: call it first, before there is a second one. */
#ifndef RAFTD_BASE_STDFD_H
#define RAFTD_BASE_STDFD_H

/* Open /dev/null for those of the three that are closed, the wrong way round: reading standard
 * input and writing the others then fails as it would have, instead of doing nothing. 0; -errno:
 * one is closed still. */
int stdfd_ensure(void);

#endif
