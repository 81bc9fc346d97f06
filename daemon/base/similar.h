/* similar.h - how far a word is from one that is known, to say "did you mean".
 *
 * Threads: any. */
#ifndef RAFTD_BASE_SIMILAR_H
#define RAFTD_BASE_SIMILAR_H

#include <stdint.h>

enum { SIMILAR_WORD_MAX = 40 }; /* bytes */

/* Bytes to insert, delete, replace, or swap with a neighbour to turn one word into the other. Of a
 * word longer than SIMILAR_WORD_MAX the rest counts one each: it is like nothing that is known. */
uint32_t similar_distance(const char *a, const char *b);

#endif
