#include "raftctl/backup_file.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc.h"
#include "base/mem.h"

static const char magic[12] = "raftd backup";

enum {
    FORMAT = 1,
    MAGIC_SIZE = sizeof magic + 4,
    FRAME_SIZE = 8,
    PIECE_MAX = 8 * 1024 * 1024, /* no piece is as large */
};

static uint32_t sum_piece(uint32_t size, const void *piece)
{
    uint32_t bytes = htole32(size);

    return crc32c(crc32c(0, &bytes, sizeof bytes), piece, size);
}

/* ---- Reading ---- */

struct reader {
    const char *name;
    int fd;
    uint64_t at;      /* bytes read */
    uint64_t piece;   /* where the piece in hand begins */
    uint64_t counted; /* bytes of the stream before it */
    struct buf buf;
    enum stream_kind kind; /* of the last piece; 0: none yet */
    struct backup *backup;
    struct ctl_error *error;
};

static int damaged(struct reader *r, const char *why)
{
    return ctl_fail(r->error, -RD_EINVALID,
                    "%s is damaged at byte %" PRIu64 ": %s. Use another backup", r->name, r->piece,
                    why);
}

/* Fewer only at the end of the file. */
static ssize_t read_up_to(struct reader *r, void *out, size_t size)
{
    size_t done = 0;

    while (done < size) {
        ssize_t n = read(r->fd, (uint8_t *)out + done, size - done);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return ctl_fail(r->error, -RD_EINVALID, "cannot read %s at byte %" PRIu64 ": %s",
                            r->name, r->at, err_text(-errno));
        }
        if (n == 0) {
            break;
        }
        done += (size_t)n;
        r->at += (uint64_t)n;
    }
    return (ssize_t)done;
}

static int read_exactly(struct reader *r, void *out, size_t size)
{
    ssize_t n = read_up_to(r, out, size);

    if (n >= 0 && (size_t)n < size) {
        return ctl_fail(r->error, -RD_EINVALID,
                        "%s is cut short at byte %" PRIu64
                        ": it was not copied as a whole. Use another "
                        "backup",
                        r->name, r->at);
    }
    return n < 0 ? (int)n : 0;
}

static int read_magic(struct reader *r)
{
    uint8_t head[MAGIC_SIZE] = {0};
    ssize_t n = read_up_to(r, head, sizeof head);

    if (n < 0) {
        return (int)n;
    }
    if ((size_t)n < sizeof head || memcmp(head, magic, sizeof magic) != 0) {
        return ctl_fail(r->error, -RD_EINVALID, "%s is no backup of raftd", r->name);
    }
    struct cursor c = cursor_over(head + sizeof magic, 4);
    uint32_t format = cursor_u32(&c);
    if (format != FORMAT) {
        return ctl_fail(r->error, -RD_EINVALID,
                        "%s has the format %" PRIu32
                        ", this raftctl knows %d: use the raftctl that "
                        "made it, or a newer one",
                        r->name, format, FORMAT);
    }
    return 0;
}

/* 1: a piece is in the buffer; 0: the file ends here. */
static int read_piece(struct reader *r)
{
    uint8_t frame[FRAME_SIZE];

    r->piece = r->at;
    ssize_t n = read_up_to(r, frame, sizeof frame);
    if (n <= 0) {
        return (int)n;
    }
    struct cursor c = cursor_over(frame, sizeof frame);
    uint32_t size = cursor_u32(&c);
    uint32_t sum = cursor_u32(&c);
    if ((size_t)n < sizeof frame) {
        return read_exactly(r, frame, 1); /* nothing follows: says so */
    }
    if (size == 0 || size > PIECE_MAX) {
        return damaged(r, "the piece there has an impossible size");
    }
    r->buf.size = 0;
    buf_reserve(&r->buf, size);
    int code = read_exactly(r, r->buf.data, size);
    if (code) {
        return code;
    }
    r->buf.size = size;
    return sum_piece(size, r->buf.data) == sum
               ? 1
               : damaged(r, "the checksum of the piece there differs");
}

static int row_cb(void *arg, const void *key, size_t key_size, const void *value, size_t value_size)
{
    return state_load_row(arg, key, key_size, value, value_size);
}

static int take_head(struct backup *b, const void *data, size_t size)
{
    int code = stream_get_head(data, size, &b->head);

    if (code == 0) {
        b->membership = blob_copy(b->head.membership, b->head.membership_size);
        b->head.membership = NULL;
    }
    return code;
}

static int take_piece(struct reader *r)
{
    struct backup *b = r->backup;
    enum stream_kind kind = r->buf.data[0];
    const uint8_t *data = r->buf.data + 1;
    size_t size = r->buf.size - 1;
    bool in_order = kind == STREAM_ROWS   ? r->kind == STREAM_HEAD || r->kind == STREAM_ROWS
                    : kind == STREAM_TAIL ? r->kind == STREAM_HEAD || r->kind == STREAM_ROWS
                                          : (unsigned)kind == (unsigned)r->kind + 1;
    int code = -RD_ECORRUPT;

    if (!in_order) {
        return damaged(r, "the piece there is not one that follows the one before");
    }
    switch (kind) {
    case STREAM_ORIGIN:
        code = stream_get_origin(data, size, &b->origin);
        break;
    case STREAM_HEAD:
        code = take_head(b, data, size);
        break;
    case STREAM_ROWS:
        code = stream_each_row(data, size, row_cb, b->state);
        break;
    case STREAM_TAIL:
        code = stream_check_tail(data, size, r->counted);
        break;
    }
    r->counted += kind == STREAM_ORIGIN ? 0 : size;
    r->kind = kind;
    return code ? damaged(r, "what the piece there says makes no sense") : 0;
}

static int take_end(struct reader *r)
{
    struct backup *b = r->backup;

    b->bytes = r->at;
    if (r->kind != STREAM_TAIL) {
        return read_exactly(r, r->buf.data, 1); /* nothing follows: says so */
    }
    if (state_load_done(b->state, b->head.index, b->head.term, b->head.revision, b->head.digest)) {
        return ctl_fail(r->error, -RD_EINVALID,
                        "%s is damaged: its rows have the digest %016" PRIx64
                        ", it says they have %016" PRIx64 ". Use another backup",
                        r->name, state_digest(b->state), b->head.digest);
    }
    return 0;
}

static int read_all(struct reader *r)
{
    int code = read_magic(r);
    int more = code ? 0 : 1;

    buf_reserve(&r->buf, 1);
    while (code == 0 && more > 0) {
        more = read_piece(r);
        code = more < 0 ? more : more == 0 ? take_end(r) : take_piece(r);
    }
    return code;
}

int backup_load(const char *path, const char *name, struct backup *out, struct ctl_error *e)
{
    struct reader r = {.name = name, .fd = open(path, O_RDONLY | O_CLOEXEC), .error = e};

    if (r.fd < 0) {
        return ctl_fail(e, errno == EACCES ? -RD_EPERMISSION : -RD_EINVALID, "cannot open %s: %s",
                        name, err_text(-errno));
    }
    *out = (struct backup){.state = state_new()};
    r.backup = out;
    int code = read_all(&r);
    (void)close(r.fd);
    buf_done(&r.buf);
    if (code) {
        backup_done(out);
    }
    return code;
}

void backup_done(struct backup *b)
{
    state_free(b->state);
    blob_unref(b->membership);
    *b = (struct backup){0};
}

/* ---- Writing ---- */

/* For the signal handler: the file to remove. */
static const char *volatile unfinished;

static void on_signal(int number)
{
    const char *path = unfinished;

    if (path) {
        (void)unlink(path);
    }
    (void)raise(number);
}

static const int ending_signals[] = {SIGINT, SIGTERM, SIGHUP};

/* The signal then ends the process, as it would have; who ignores one goes on doing so. */
static void mind_signals(const char *temporary)
{
    const struct sigaction ours = {.sa_handler = on_signal,
                                   .sa_flags = (int)(SA_RESETHAND | SA_NODEFER)};
    struct sigaction now;

    unfinished = temporary;
    for (size_t i = 0; i < sizeof ending_signals / sizeof ending_signals[0]; i++) {
        if (sigaction(ending_signals[i], NULL, &now) == 0 && now.sa_handler == SIG_DFL) {
            (void)sigaction(ending_signals[i], &ours, NULL);
        }
    }
}

static int cannot_write(const struct backup_writer *w, int error, struct ctl_error *e)
{
    int code = error == EACCES || error == EPERM    ? -RD_EPERMISSION
               : error == ENOSPC || error == EDQUOT ? -RD_ENO_SPACE
                                                    : -RD_EINVALID;

    return ctl_fail(e, code, "cannot write %s: %s. There is no new backup", w->path,
                    err_text(-error));
}

static int write_all(struct backup_writer *w, const void *data, size_t size, struct ctl_error *e)
{
    size_t done = 0;

    while (done < size) {
        ssize_t n = write(w->fd, (const uint8_t *)data + done, size - done);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return cannot_write(w, errno, e);
        }
        done += (size_t)n;
    }
    w->bytes += size;
    return 0;
}

/* What is no file of its own must not be replaced by one: a device, a link, a directory. */
static int check_target(const char *path, struct ctl_error *e)
{
    struct stat st;

    if (lstat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        return ctl_fail(e, -RD_EINVALID, "%s is there and is no regular file: name another FILE",
                        path);
    }
    return 0;
}

/* A signal that comes in between waits until there is somebody who removes the file. */
static int make_temporary(struct backup_writer *w, struct ctl_error *e)
{
    sigset_t ours, before;
    int code = 0;

    (void)sigemptyset(&ours);
    for (size_t i = 0; i < sizeof ending_signals / sizeof ending_signals[0]; i++) {
        (void)sigaddset(&ours, ending_signals[i]);
    }
    (void)pthread_sigmask(SIG_BLOCK, &ours, &before);
    w->fd = mkostemps(w->temporary, 4, O_CLOEXEC); /* 0600 */
    if (w->fd < 0) {
        code = cannot_write(w, errno, e);
    } else {
        mind_signals(w->temporary);
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code;
}

int backup_create(struct backup_writer *w, const char *path, struct ctl_error *e)
{
    static const char suffix[] = ".XXXXXX.tmp";
    uint8_t head[MAGIC_SIZE];
    uint32_t format = htole32(FORMAT);
    size_t size = strlen(path);
    int code = check_target(path, e);

    if (code) {
        return code;
    }
    *w = (struct backup_writer){.path = path, .temporary = mem_alloc(size + sizeof suffix)};
    memcpy(w->temporary, path, size);
    memcpy(w->temporary + size, suffix, sizeof suffix);
    code = make_temporary(w, e);
    if (code) {
        mem_free(w->temporary);
        return code;
    }
    memcpy(head, magic, sizeof magic);
    memcpy(head + sizeof magic, &format, sizeof format);
    code = write_all(w, head, sizeof head, e);
    if (code) {
        backup_close(w);
    }
    return code;
}

int backup_add(struct backup_writer *w, const void *piece, size_t size, struct ctl_error *e)
{
    uint32_t frame[2] = {htole32((uint32_t)size), htole32(sum_piece((uint32_t)size, piece))};

    _Static_assert(sizeof frame == FRAME_SIZE, "a size and a sum");
    int code = write_all(w, frame, sizeof frame, e);
    return code ? code : write_all(w, piece, size, e);
}

static int sync_directory(const struct backup_writer *w, struct ctl_error *e)
{
    const char *slash = strrchr(w->path, '/');
    size_t size = slash ? (size_t)(slash - w->path) + 1 : 0;
    char *directory = mem_alloc(size + 2);

    memcpy(directory, w->path, size);
    memcpy(directory + size, ".", 2);
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    mem_free(directory);
    int error = fd >= 0 && fsync(fd) == 0 ? 0 : errno;
    if (fd >= 0) {
        (void)close(fd);
    }
    return error
               ? ctl_fail(e, -RD_EINVALID,
                          "%s is written and whole, but its directory cannot be synced: %s. It may "
                          "be gone after a power cut",
                          w->path, err_text(-error))
               : 0;
}

int backup_commit(struct backup_writer *w, struct backup *out, struct ctl_error *e)
{
    if (fsync(w->fd) != 0) {
        return cannot_write(w, errno, e);
    }
    int code = backup_load(w->temporary, "what raftd sent", out, e);
    if (code) {
        return code;
    }
    if (rename(w->temporary, w->path) != 0) {
        code = cannot_write(w, errno, e);
    } else {
        unfinished = NULL;
        mem_free(w->temporary);
        w->temporary = NULL;
        code = sync_directory(w, e);
    }
    if (code) {
        backup_done(out);
    }
    return code;
}

void backup_close(struct backup_writer *w)
{
    if (w->temporary) {
        (void)unlink(w->temporary);
        unfinished = NULL;
        mem_free(w->temporary);
        w->temporary = NULL;
    }
    if (w->fd >= 0) {
        (void)close(w->fd);
        w->fd = -1;
    }
}
