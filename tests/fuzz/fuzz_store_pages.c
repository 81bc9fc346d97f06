/* An LMDB file, looked at by store/pages, then, when that finds nothing, read and written by LMDB. The input is
 * a data.mdb as it is when it begins with a zero byte, as those do. Else it is one written down shorter, of a
 * byte that says how many pages and of which size, and then
 *   - pieces (u8 page, u16 offset, u16 size, bytes) of a file of zeros;
 *   - or, with BUILT, what the two meta pages hold (u8 last page; each two databases, u8 transaction), then pages
 *     (u8 number, u8 flags, u8 nodes), whose nodes are laid out as LMDB does it, so that what is said by
 *     nodes is met by chance. A database: u8 root, flags, depth, pages and entries.
 * Asserted:
 *   - it is sound, or -RD_ECORRUPT after one line in the log that names file, page and reason;
 *   - what is sound LMDB opens, reads whole and writes to, with no error, no signal and no end of it, and
 *     what it then has written is sound. */
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/err.h"
#include "base/log.h"
#include "store/pages.h"
#include "target.h"

enum {
    PAGE_SMALLEST = 512,
    META_LAST_AT = 136, /* of the first meta page: the last page in use */
    PAGES_MAX = 64,     /* of those that LMDB is given */
    MAP_SIZE = 4 << 20,
    VALUE_SIZE = 3000,
    BUILT = 64, /* flags of the first byte */
    LARGE = 128,
    DATABASE_SIZE = 48,
    HEADER_SIZE = 16,
    NODE_SIZE = 8,
};

static char directory[] = "/tmp/raftd-fuzz-XXXXXX";
static char file[sizeof directory + sizeof "/data.mdb"];
static int fd;
static unsigned lines; /* that were logged */

/* In place of base/log's: counted, not shown. */
void log_write(enum log_level level, const char *room, const char *message, ...)
{
    (void)room;
    rd_assert(level == LOG_ERROR && message);
    lines++;
}

void log_last_words(const char *line, size_t size)
{
    ssize_t ignored = write(STDERR_FILENO, line, size);
    (void)ignored;
}

static void remove_directory(void)
{
    (void)unlink(file);
    (void)rmdir(directory);
}

/* data.mdb is in memory: what LMDB needs is its name. */
static void make_directory(void)
{
    char target[32];

    fd = memfd_create("data.mdb", MFD_CLOEXEC);
    rd_assert(fd >= 0 && mkdtemp(directory));
    (void)snprintf(file, sizeof file, "%s/data.mdb", directory);
    (void)snprintf(target, sizeof target, "/proc/self/fd/%d", fd);
    rd_assert(symlink(target, file) == 0);
    (void)atexit(remove_directory);
}

static void put_piece(struct buf *image, size_t page_size, struct cursor *c)
{
    size_t at = cursor_u8(c) * page_size;
    at += cursor_u16(c);
    size_t size = cursor_u16(c);

    size = size < c->left ? size : c->left;
    const uint8_t *bytes = cursor_bytes(c, size);
    if (bytes && at < image->size) {
        memcpy(image->data + at, bytes, size < image->size - at ? size : image->size - at);
    }
}

/* ---- Built ---- */

static uint64_t page_number(struct cursor *c)
{
    uint8_t number = cursor_u8(c);

    return number == UINT8_MAX ? UINT64_MAX : number;
}

static void put_database(struct buf *out, size_t page_size, struct cursor *c)
{
    uint64_t root = page_number(c);

    buf_put_u32(out, (uint32_t)page_size); /* of the first one, and nothing in others */
    buf_put_u16(out, cursor_u8(c));
    buf_put_u16(out, cursor_u8(c));
    for (int i = 0; i < 4; i++) {
        buf_put_u64(out, cursor_u8(c));
    }
    buf_put_u64(out, root);
}

static void put_metas(struct buf *image, size_t page_size, struct cursor *c)
{
    static const uint8_t magic[] = {0xde, 0xc0, 0xef, 0xbe, 1, 0, 0, 0};
    uint64_t last = cursor_u8(c);

    for (uint64_t i = 0; i < 2 && (i + 1) * page_size <= image->size; i++) {
        struct buf meta = BUF_INIT;
        buf_put_u64(&meta, i);
        buf_put_u64(&meta, 0x80000); /* its flags */
        buf_put(&meta, magic, sizeof magic);
        buf_put_u64(&meta, 0);
        buf_put_u64(&meta, MAP_SIZE);
        put_database(&meta, page_size, c);
        put_database(&meta, page_size, c);
        buf_put_u64(&meta, last);
        buf_put_u64(&meta, cursor_u8(c));
        memcpy(image->data + i * page_size, meta.data, meta.size);
        buf_done(&meta);
    }
}

/* Header, key and value. */
static void put_node(struct buf *out, size_t page_size, bool is_branch, struct cursor *c)
{
    uint8_t flags = cursor_u8(c);
    size_t key_size = cursor_u8(c);
    const uint8_t *key = cursor_bytes(c, key_size);
    uint32_t size = is_branch ? cursor_u8(c) : cursor_u16(c);
    struct buf value = BUF_INIT;

    if (!is_branch && flags & 2) {
        put_database(&value, page_size, c);
        size = DATABASE_SIZE;
    } else if (!is_branch && flags & 1) {
        buf_put_u64(&value, page_number(c));
    } else if (!is_branch) {
        size = size < c->left ? size : (uint32_t)c->left;
        buf_put(&value, cursor_bytes(c, size), size);
    }
    buf_put_u32(out, size); /* of a branch the page below it */
    buf_put_u16(out, is_branch ? 0 : flags);
    buf_put_u16(out, (uint16_t)key_size);
    buf_put(out, key, key ? key_size : 0);
    buf_put(out, value.data, value.size);
    if (out->size % 2) {
        buf_put_u8(out, 0);
    }
    buf_done(&value);
}

static void put_u16(uint8_t *p, size_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static void put_page(struct buf *image, size_t page_size, struct cursor *c)
{
    size_t number = cursor_u8(c);
    uint8_t flags = cursor_u8(c);
    unsigned count = cursor_u8(c);
    size_t lower = HEADER_SIZE, upper = page_size;

    if ((number + 1) * page_size > image->size) {
        return;
    }
    uint8_t *page = image->data + number * page_size;
    page[0] = (uint8_t)number;
    page[10] = flags;
    for (unsigned i = 0; flags != 4 && i < count && !c->bad; i++) {
        struct buf node = BUF_INIT;
        put_node(&node, page_size, flags == 1, c);
        if (!c->bad && node.size + 2 <= upper - lower) {
            upper -= node.size;
            memcpy(page + upper, node.data, node.size);
            put_u16(page + lower, upper);
            lower += 2;
        }
        buf_done(&node);
    }
    put_u16(page + 12, flags == 4 ? count : lower); /* of an overflow page how many there are */
    put_u16(page + 14, flags == 4 ? 0 : upper);
}

static void expand(struct buf *image, const uint8_t *data, size_t size)
{
    struct cursor c = cursor_over(data, size);
    uint8_t head = cursor_u8(&c);
    size_t page_size = head & LARGE ? 4096 : PAGE_SMALLEST;
    size_t pages = head & 63;

    buf_reserve(image, pages * page_size + 1);
    image->size = pages * page_size;
    memset(image->data, 0, image->size);
    if (head & BUILT) {
        put_metas(image, page_size, &c);
    }
    while (c.left > 0 && !c.bad) {
        (head & BUILT ? put_page : put_piece)(image, page_size, &c);
    }
}

static int check_pages(void)
{
    lines = 0;
    int code = store_pages_check(directory);
    rd_assert(code == 0 || code == -RD_ECORRUPT);
    rd_assert(lines == (code != 0));
    return code;
}

/* ---- LMDB ---- */

static void on_lmdb_assert(MDB_env *env, const char *text)
{
    (void)env;
    check_fail(text, "LMDB, on a file that was found sound", 0, __func__);
}

static MDB_env *open_lmdb(void)
{
    MDB_env *env;

    rd_assert(mdb_env_create(&env) == 0 && mdb_env_set_maxdbs(env, 8) == 0);
    rd_assert(mdb_env_set_assert(env, on_lmdb_assert) == 0);
    rd_assert(mdb_env_set_mapsize(env, MAP_SIZE) == 0);
    rd_assert(mdb_env_open(env, directory, MDB_NOTLS | MDB_NOLOCK | MDB_NOSYNC, 0600) == 0);
    return env;
}

struct seen { /* of one database */
    uint64_t records;
    uint64_t sum; /* so that each byte is read */
};

static void read_database(MDB_txn *txn, MDB_dbi dbi, struct seen *seen)
{
    MDB_val key, value;
    MDB_cursor *cursor;
    MDB_stat stat;
    int rc;

    rd_assert(mdb_stat(txn, dbi, &stat) == 0 && mdb_cursor_open(txn, dbi, &cursor) == 0);
    while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        const uint8_t *bytes = value.mv_data;
        MDB_val found;
        for (size_t i = 0; i < value.mv_size; i++) {
            seen->sum += bytes[i];
        }
        rd_assert(mdb_get(txn, dbi, &key, &found) == 0 && found.mv_data == value.mv_data);
        seen->records++;
        rd_assert(seen->records <= stat.ms_entries);
    }
    rd_assert(rc == MDB_NOTFOUND && seen->records == stat.ms_entries);
    mdb_cursor_close(cursor);
}

static void write_to(MDB_txn *txn, MDB_dbi dbi)
{
    uint64_t number = 1;
    MDB_val key = {sizeof number, &number};
    MDB_val value = {VALUE_SIZE, NULL};

    int rc = mdb_del(txn, dbi, &key, NULL);
    rd_assert(rc == 0 || rc == MDB_NOTFOUND);
    rd_assert(mdb_put(txn, dbi, &key, &value, MDB_RESERVE) == 0);
    memset(value.mv_data, 0, VALUE_SIZE);
}

static void use_databases(MDB_env *env, bool writes)
{
    static const char *const names[] = {NULL, "log", "rows"};
    MDB_txn *txn;

    rd_assert(mdb_txn_begin(env, NULL, writes ? 0 : MDB_RDONLY, &txn) == 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct seen seen = {0};
        MDB_dbi dbi;
        int rc = mdb_dbi_open(txn, names[i], 0, &dbi);
        rd_assert(rc == 0 || rc == MDB_NOTFOUND || rc == MDB_INCOMPATIBLE);
        if (rc == 0) {
            read_database(txn, dbi, &seen);
        }
        if (rc == 0 && writes && names[i]) {
            write_to(txn, dbi);
        }
    }
    rd_assert(mdb_txn_commit(txn) == 0);
}

/* Whatever page of those in use LMDB looks at is in the file, as after raftd's reservation. */
static bool is_small(const uint8_t *data, size_t size)
{
    uint64_t last[2];
    uint32_t page_size;

    memcpy(&page_size, data + 40, sizeof page_size);
    memcpy(&last[0], data + META_LAST_AT, sizeof last[0]);
    memcpy(&last[1], data + page_size + META_LAST_AT, sizeof last[1]);
    uint64_t most = last[0] > last[1] ? last[0] : last[1];
    if (size > MAP_SIZE / 2 || most >= PAGES_MAX || (most + 1) * page_size > MAP_SIZE / 2) {
        return false;
    }
    return size >= (most + 1) * page_size || ftruncate(fd, (off_t)((most + 1) * page_size)) == 0;
}

static void use_it(const uint8_t *data, size_t size)
{
    if (size == 0 || !is_small(data, size)) {
        return;
    }
    for (int round = 0; round < 3;
         round++) { /* each one uses the pages that the one before freed */
        MDB_env *env = open_lmdb();
        use_databases(env, false);
        use_databases(env, true);
        mdb_env_close(env);
        rd_assert(check_pages() == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf image = BUF_INIT;

    if (!fd) {
        make_directory();
    }
    if (size > 0 && data[0] != 0) {
        expand(&image, data, size);
        data = image.data;
        size = image.size;
    }
    rd_assert(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    if (check_pages() == 0) {
        use_it(data, size);
    }
    buf_done(&image);
    return 0;
}
