#include "raftctl/words.h"

#include <stdbool.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

struct splitter {
    const char *at, *end;
    char *to; /* words are never longer than what they are written as */
    const char *why;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* What a backslash quotes inside double quotes (POSIX shell, 2.2.3). */
static bool is_escapable(char c)
{
    return c == '$' || c == '`' || c == '"' || c == '\\';
}

/* Copy up to the closing quote; `at` stands behind the opening one. */
static int take_quoted(struct splitter *s, char quote)
{
    while (s->at < s->end && *s->at != quote) {
        if (quote == '"' && *s->at == '\\' && s->at + 1 < s->end && is_escapable(s->at[1])) {
            s->at++;
        }
        *s->to++ = *s->at++;
    }
    if (s->at == s->end) {
        s->why = quote == '"' ? "a double quote is not closed on this line"
                              : "a single quote is not closed on this line";
        return -RD_EINVALID;
    }
    s->at++;
    return 0;
}

static int take_word(struct splitter *s)
{
    while (s->at < s->end && !is_blank(*s->at)) {
        char c = *s->at++;
        if (c == '\'' || c == '"') {
            int code = take_quoted(s, c);
            if (code) {
                return code;
            }
        } else if (c == '\\') {
            if (s->at == s->end) {
                s->why = "a backslash at the end of the line escapes nothing";
                return -RD_EINVALID;
            }
            *s->to++ = *s->at++;
        } else {
            *s->to++ = c;
        }
    }
    *s->to++ = 0;
    return 0;
}

static int split_all(struct splitter *s, struct words *w)
{
    for (;;) {
        while (s->at < s->end && is_blank(*s->at)) {
            s->at++;
        }
        if (s->at == s->end || *s->at == '#') {
            return 0;
        }
        if (w->count == WORDS_MAX) {
            s->why = "more than 64 words on one line";
            return -RD_EINVALID;
        }
        w->word[w->count++] = s->to;
        int code = take_word(s);
        if (code) {
            return code;
        }
    }
}

int words_split(const char *line, size_t size, struct words *out, const char **why)
{
    struct words w = {0};

    if (memchr(line, 0, size)) {
        *why = "the line holds a NUL byte, which no word can";
        return -RD_EINVALID;
    }
    w.storage = mem_alloc(size + WORDS_MAX + 1);
    struct splitter s = {.at = line, .end = line + size, .to = w.storage};
    int code = split_all(&s, &w);
    if (code) {
        *why = s.why;
        words_done(&w);
        return code;
    }
    *out = w;
    return 0;
}

void words_done(struct words *w)
{
    mem_free(w->storage);
    *w = (struct words){0};
}
