#include "manual/template.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

struct template
{
    const char *path;
    unsigned line;
    int names_count;
    char *const *names; /* NAME=VALUE */
    const struct template_list *lists;
};

static int complain(const struct template *t, const char *what, const char *name)
{
    (void)fprintf(stderr, "%s:%u: %s %s\n", t->path, t->line, what, name);
    return -1;
}

/* "@name word@" alone on a line. */
static int put_list(const struct template *t, char *tag, struct buf *out)
{
    size_t size = strlen(tag);

    if (size == 0 || tag[size - 1] != '@') {
        return complain(t, "a list ends with @:", tag);
    }
    tag[size - 1] = 0;
    char *word = tag + strcspn(tag, " ");
    word += *word ? (*word = 0, 1) : 0;
    for (const struct template_list *l = t->lists; l->name; l++) {
        if (strcmp(l->name, tag) == 0) {
            return l->put(word, out) ? complain(t, "there is nothing of the name", word) : 0;
        }
    }
    return complain(t, "there is no list", tag);
}

/* The value of the name that `text` begins with, up to the next '@'. NULL: none. */
static const char *value_of(const struct template *t, const char *text, size_t size)
{
    for (int i = 0; i < t->names_count; i++) {
        if (strncmp(t->names[i], text, size) == 0 && t->names[i][size] == '=') {
            return t->names[i] + size + 1;
        }
    }
    return NULL;
}

static void put_line(const struct template *t, const char *text, struct buf *out)
{
    while (*text) {
        size_t plain = strcspn(text, "@");
        buf_put(out, text, plain);
        text += plain;
        size_t size = *text ? strcspn(text + 1, "@") : 0;
        const char *value = *text && text[1 + size] ? value_of(t, text + 1, size) : NULL;
        if (value) {
            buf_put_str(out, value);
            text += size + 2;
        } else if (*text) {
            buf_put_u8(out, (uint8_t)*text++);
        }
    }
    buf_put_u8(out, '\n');
}

static int put_lines(struct template *t, FILE *in, struct buf *out)
{
    char line[1024];
    int code = 0;

    while (code == 0 && fgets(line, sizeof line, in)) {
        t->line++;
        line[strcspn(line, "\n")] = 0;
        if (line[0] == '@') {
            code = put_list(t, line + 1, out);
        } else {
            put_line(t, line, out);
        }
    }
    return code;
}

int template_main(int argc, char *const *argv, const struct template_list *lists)
{
    struct template t = {.path = argc > 1 ? argv[1] : "", .lists = lists};
    struct buf out = BUF_INIT;
    FILE *in = fopen(t.path, "re");

    if (!in) {
        return complain(&t, "cannot be read:", "the template"), 1;
    }
    t.names = argv + 2;
    t.names_count = argc - 2;
    int code = put_lines(&t, in, &out);
    (void)fclose(in);
    if (code == 0 && (fwrite(out.data, 1, out.size, stdout) != out.size || fflush(stdout))) {
        code = complain(&t, "cannot write", "the output");
    }
    buf_done(&out);
    return code ? 1 : 0;
}
