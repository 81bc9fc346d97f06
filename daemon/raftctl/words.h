/* words.h - split a line into words the way a POSIX shell does, without any expansion.
 *
 * Spaces and tabs separate; 'single quotes' keep everything; "double quotes" keep everything but
 * a backslash before one of $ ` " \ ; a backslash outside quotes keeps the next character; a word
 * that begins with # ends the line. Nothing else is special: no variables, globs or substitution.
 * Threads: any. Ownership: the words own one allocation until words_done(). */
#ifndef RAFTD_RAFTCTL_WORDS_H
#define RAFTD_RAFTCTL_WORDS_H

#include <stddef.h>
#include <stdint.h>

enum { WORDS_MAX = 64 };

struct words {
    uint32_t count;
    char *word[WORDS_MAX + 1]; /* NUL-terminated, then NULL as in argv */
    char *storage;
};

/* 0; -RD_EINVALID with *why set to one static sentence: quote left open, backslash at the end, a
 * NUL byte, too many words (`out` untouched). */
int words_split(const char *line, size_t size, struct words *out, const char **why);
void words_done(struct words *w);

#endif
