/* file.c - raftd.conf through inih.
 *
 * inih tells no line numbers, splits long lines, takes an indented line for one more value of the
 * key before it and stays in the old section after a malformed "[section". So every line is judged
 * here first, and inih sees only those it cannot misread. */
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/err.h"
#include "config/load.h"

enum {
    FILE_BYTES_MAX = 1024 * 1024,
    LINE_BYTES_MAX = 2047, /* holds the longest value and a comment */
};

struct reader {
    struct load *load;
    const char *at; /* what is left of the file */
    size_t left;
    int line;
    char section[64];
    bool skip; /* in a section that is unknown or malformed: one error is enough */
};

static struct place here(const struct reader *r)
{
    return (struct place){.line = r->line};
}

static const char *skip_blanks(const char *p)
{
    return p + strspn(p, " \t\r");
}

static bool is_blank_or_comment(const char *text)
{
    text = skip_blanks(text);
    return *text == 0 || *text == ';' || *text == '#';
}

/* "[name]", already known to begin with the bracket. */
static void enter_section(struct reader *r, const char *text)
{
    size_t size = strcspn(text + 1, "]");

    r->skip = true;
    if (text[1 + size] != ']' || !is_blank_or_comment(text + 1 + size + 1)) {
        load_error(r->load, here(r),
                   "malformed section \"%.60s\"; write [name] and nothing but a comment after it "
                   "(the lines up to the next section are not checked)",
                   text);
        return;
    }
    size = size < sizeof r->section ? size : sizeof r->section - 1;
    memcpy(r->section, text + 1, size);
    r->section[size] = 0;
    if (option_is_section(r->section)) {
        r->skip = false;
        if (strcmp(r->section, "node") == 0 && r->load->node_line == 0) {
            r->load->node_line = r->line;
        }
        return;
    }
    struct buf hint = BUF_INIT;
    option_suggest_section(r->section, &hint);
    load_error(r->load, here(r), "unknown section [%s]%s", r->section, buf_str(&hint));
    buf_done(&hint);
}

/* Is this a line that inih reads as we do? Reports when it is not. */
static bool accept_line(struct reader *r, const char *text)
{
    if (is_blank_or_comment(text)) {
        return true;
    }
    if (*text == ' ' || *text == '\t') {
        load_error(r->load, here(r),
                   "indented line; remove the blanks at its beginning (values do not continue on "
                   "the next line)");
        return false;
    }
    if (*text == '[') {
        enter_section(r, text);
        return !r->skip;
    }
    if (r->skip) {
        return false;
    }
    if (r->section[0] == 0) {
        load_error(r->load, here(r), "no section yet; write [node] or another section before it");
        return false;
    }
    size_t key_size = strcspn(text, "=:;"); /* inih would take a colon, and cut at a comment */
    if (text[key_size] != '=' || key_size == 0) {
        load_error(r->load, here(r), "expected \"key = value\", found \"%.60s\"", text);
        return false;
    }
    return true;
}

/* The next line without its end, or false at the end of the file. */
static bool next_line(struct reader *r, const char **line, size_t *size)
{
    if (r->left == 0) {
        return false;
    }
    const char *end = memchr(r->at, '\n', r->left);

    *line = r->at;
    *size = end ? (size_t)(end - r->at) : r->left;
    r->left -= *size + (end ? 1 : 0);
    r->at = end ? end + 1 : r->at + *size;
    r->line++;
    if (*size && (*line)[*size - 1] == '\r') {
        (*size)--;
    }
    return true;
}

/* As fgets(). A line that was refused is passed on as an empty one, which keeps inih's count. */
static char *read_line(char *text, int text_size, void *arg)
{
    struct reader *r = arg;
    const char *line;
    size_t size;

    rd_assert(text_size > LINE_BYTES_MAX);
    text[0] = 0;
    if (!next_line(r, &line, &size)) {
        return NULL;
    }
    if (r->line == 1 && size >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0) {
        line += 3; /* the byte order mark of some editors */
        size -= 3;
    }
    if (memchr(line, 0, size)) {
        load_error(r->load, here(r), "holds a NUL byte; this is not a text file, or a damaged one");
    } else if (size > LINE_BYTES_MAX) {
        load_error(r->load, here(r), "line of %zu bytes; at most %d are possible", size,
                   LINE_BYTES_MAX);
    } else {
        memcpy(text, line, size);
        text[size] = 0;
        if (!accept_line(r, text)) {
            text[0] = 0;
        }
    }
    return text;
}

/* inih strips the blanks and the comment. */
static int take_pair(void *arg, const char *section, const char *key, const char *value)
{
    struct reader *r = arg;
    const struct option *o = option_find(r->section, key);

    (void)section; /* inih cuts long names */
    if (o) {
        load_value(r->load, o, value, here(r));
        return 1;
    }
    struct buf hint = BUF_INIT;
    option_suggest_key(r->section, key, &hint);
    load_error(r->load, here(r), "unknown key \"%.60s\" in [%s]%s", key, r->section,
               buf_str(&hint));
    buf_done(&hint);
    return 1;
}

static void parse(struct load *l, const struct buf *content)
{
    struct reader r = {.load = l, .at = (const char *)content->data, .left = content->size};
    /* Debian's inih has its limits in variables; 200 bytes are too few for a path. */
    int max_line = ini_max_line;

    ini_max_line = LINE_BYTES_MAX + 1;
    int rc = ini_parse_stream(read_line, &r, take_pair, &r);
    ini_max_line = max_line;
    if (rc) { /* every line was judged above: only another inih could get here */
        load_error(l, (struct place){.line = rc > 0 ? rc : 0}, "inih cannot parse it (%d)", rc);
    }
}

static int read_all(int fd, struct buf *out)
{
    for (;;) {
        buf_reserve(out, 4096);
        ssize_t n = read(fd, out->data + out->size, 4096);
        if (n > 0) {
            out->size += (size_t)n;
        } else if (n == 0) {
            return 0;
        } else if (errno != EINTR) {
            return -errno;
        }
        if (out->size > FILE_BYTES_MAX) {
            return -EFBIG;
        }
    }
}

/* The content of the file, or false after an error. */
static bool read_file(struct load *l, int fd, struct buf *content)
{
    struct stat st;
    const struct place whole = {0};
    int rc = fstat(fd, &st) == 0 ? 0 : -errno;

    if (rc == 0 && S_ISDIR(st.st_mode)) {
        load_error(l, whole, "is a directory; name the file in it");
        return false;
    }
    if (rc == 0 && !S_ISREG(st.st_mode)) {
        load_error(l, whole, "is not a regular file; it could not be read again at a reload");
        return false;
    }
    if (rc == 0) {
        rc = read_all(fd, content);
    }
    if (rc == -EFBIG) {
        load_error(l, whole, "is larger than %d bytes; this is not a raftd.conf", FILE_BYTES_MAX);
    } else if (rc) {
        load_error(l, whole, "cannot be read: %s", err_text(rc));
    }
    return rc == 0;
}

bool load_file(struct load *l)
{
    const struct place whole = {0};
    struct buf content = BUF_INIT;
    int fd = open(l->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0) {
        const char *remedy = "";
        if (errno == ENOENT || errno == ENOTDIR) {
            remedy = "; create it, or name another file with -c";
        } else if (errno == EACCES) {
            remedy = "; make it readable for the user raftd runs as";
        }
        load_error(l, whole, "cannot be opened: %s%s", err_text(-errno), remedy);
        return false;
    }
    bool readable = read_file(l, fd, &content);
    if (readable) {
        parse(l, &content);
    }
    (void)close(fd);
    buf_done(&content);
    return readable;
}
