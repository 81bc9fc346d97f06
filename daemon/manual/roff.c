#include "manual/roff.h"

#include <stdbool.h>
#include <string.h>

enum { COLUMNS = 78 };

struct roff {
    struct buf *out;
    size_t column;
    bool in_quotes;
};

static void put_character(struct roff *r, char c)
{
    switch (c) {
    case '\\':
        buf_put_str(r->out, "\\e");
        break;
    case '`':
        buf_put_str(r->out, r->in_quotes ? "\\(cq" : "\\(oq");
        r->in_quotes = !r->in_quotes;
        break;
    case '~':
        buf_put_str(r->out, "\\(ti");
        break;
    case '^':
        buf_put_str(r->out, "\\(ha");
        break;
    default:
        buf_put_u8(r->out, (uint8_t)c);
    }
}

static void put_word(struct roff *r, const char *word, size_t size)
{
    size_t before = r->out->size;

    if (r->column == 0 && (word[0] == '.' || word[0] == '\'')) {
        buf_put_str(r->out, "\\&");
    }
    for (size_t i = 0; i < size; i++) {
        /* An option, not a hyphen: copied from the page it works. */
        if (word[i] == '-' && ((i == 0 && size > 1) || (i == 1 && word[0] == '-'))) {
            buf_put_u8(r->out, '\\');
        }
        put_character(r, word[i]);
    }
    r->column += r->out->size - before;
}

static void end_line(struct roff *r)
{
    if (r->column) {
        buf_put_u8(r->out, '\n');
        r->column = 0;
    }
}

static bool ends_sentence(const char *word, size_t size)
{
    while (size && strchr(")\"'", word[size - 1])) {
        size--;
    }
    return size > 1 && strchr(".!?", word[size - 1]);
}

void roff_put_text(struct buf *out, const char *text)
{
    struct roff r = {.out = out};

    while (*text) {
        size_t size = strcspn(text, " \n");
        if (r.column && size && r.column + 1 + size > COLUMNS) {
            end_line(&r);
        } else if (r.column && size) {
            buf_put_u8(out, ' ');
            r.column++;
        }
        put_word(&r, text, size);
        if (ends_sentence(text, size)) {
            end_line(&r);
        }
        text += size;
        if (strncmp(text, "\n\n", 2) == 0) {
            end_line(&r);
            buf_put_str(out, ".Pp\n");
            text++;
        }
        text += *text != 0;
    }
    end_line(&r);
}

void roff_put_display(struct buf *out, const char *text)
{
    struct roff r = {.out = out};

    buf_put_str(out, ".Bd -literal -offset indent -compact\n");
    while (*text) {
        text += strspn(text, " ");
        size_t size = strcspn(text, "\n");
        put_word(&r, text, size);
        end_line(&r);
        text += size + (text[size] != 0);
    }
    buf_put_str(out, ".Ed\n");
}

void roff_put_word(struct buf *out, const char *word)
{
    struct roff r = {.out = out};

    /* Two or three letters may be the name of a macro. */
    if (strlen(word) <= 3) {
        buf_put_str(out, "\\&");
    }
    for (; *word; word++) {
        put_character(&r, *word);
    }
}
