/* The format is that of LMDB 0.9 (mdb.c): pages with a header of 16 bytes, then offsets of nodes that grow
 * upwards, then free room, then the nodes, without a gap between them. Numbers are the machine's own. */
#include "store/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/fault.h"

#define NO_PAGE UINT64_MAX
#define FLAG_BRANCH 0x01U
#define FLAG_LEAF 0x02U
#define FLAG_OVERFLOW 0x04U
#define FLAG_META 0x08U
#define NODE_BIG 0x01U      /* the value is on overflow pages */
#define NODE_DATABASE 0x02U /* the value is the record of a database */
#define DATABASE_INTEGER_KEYS 0x08U
#define META_MAGIC 0xbeefc0deU
#define META_VERSION 1U

enum {
    HEADER_SIZE = 16,
    NODE_HEADER_SIZE = 8,
    KEY_MAX = 511,
    LEVELS_MAX = 32,
    DATABASES_MAX = 8,
    DATABASE_SIZE = 48,
    PAGE_SIZE_MIN = 512,
    PAGE_SIZE_MAX = 32768,
    META_SIZE = 152, /* with the header */
    META_AT_MAGIC = 16,
    META_AT_VERSION = 20,
    META_AT_FREE = 40, /* the record of the free list */
    META_AT_MAIN = 88,
    META_AT_LAST = 136,
    META_AT_TXN = 144,
    PAGES_AHEAD = 1 << 16, /* so many may be in use by their number, and not written yet */
};

struct database { /* as its record says */
    uint32_t pad;
    uint16_t flags;
    uint16_t depth;
    uint64_t branch, leaf, overflow, entries;
    uint64_t root;
};

struct meta {
    uint64_t number;
    uint16_t flags;
    uint32_t magic, version;
    struct database free, main;
    uint64_t last; /* page in use */
    uint64_t txn;
};

struct level { /* a page of a tree, while its nodes are gone through */
    uint8_t *bytes;
    uint64_t number;
    unsigned count; /* of nodes */
    unsigned next;
};

struct node {
    const uint8_t *key;
    size_t key_size;
    unsigned flags;
    uint64_t child;       /* of a branch */
    const uint8_t *value; /* of a leaf; of NODE_BIG the number of a page */
    size_t value_size;
};

struct walk {
    int fd;
    uint64_t file_size;
    uint32_t page_size;
    uint64_t last;
    uint8_t *seen;                        /* one bit for each page up to the last */
    uint64_t at;                          /* the page that is looked at */
    int error;                            /* errno, when a page could not be read */
    struct database found[DATABASES_MAX]; /* in the main one */
    unsigned found_count;

    /* of the database that is walked */
    const struct database *database;
    bool is_main, is_free;
    struct database counted;
    struct level levels[LEVELS_MAX];
    uint8_t key[KEY_MAX]; /* the last one met */
    size_t key_size;
    bool key_set;
    bool key_may_equal; /* it was a separator: the next one may be the same */
};

static uint16_t u16_at(const uint8_t *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

static uint32_t u32_at(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

static uint64_t u64_at(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

static struct database database_at(const uint8_t *p)
{
    return (struct database){.pad = u32_at(p),
                             .flags = u16_at(p + 4),
                             .depth = u16_at(p + 6),
                             .branch = u64_at(p + 8),
                             .leaf = u64_at(p + 16),
                             .overflow = u64_at(p + 24),
                             .entries = u64_at(p + 32),
                             .root = u64_at(p + 40)};
}

/* ---- Reading ---- */

/* NULL, or why not. */
static const char *read_at(struct walk *w, uint64_t offset, uint8_t *out, size_t size)
{
    size_t done = 0;

    while (done < size) {
        ssize_t n = pread(w->fd, out + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            w->error = errno;
            return "it cannot be read";
        }
        if (n == 0) {
            return "the file ends before it";
        }
        done += (size_t)n;
    }
    return NULL;
}

/* From now on these pages are taken. */
static const char *claim(struct walk *w, uint64_t first, uint64_t count)
{
    w->at = first;
    if (first < 2 || first > w->last || count > w->last - first + 1) {
        return "it is beyond the pages in use";
    }
    for (uint64_t page = first; page < first + count; page++) {
        uint8_t bit = (uint8_t)(1U << (page % 8));
        w->at = page;
        if (w->seen[page / 8] & bit) {
            return "it is used twice, or both used and free";
        }
        w->seen[page / 8] |= bit;
    }
    w->at = first;
    return NULL;
}

/* ---- Nodes ---- */

static size_t node_size(const uint8_t *p, bool is_branch)
{
    size_t key_size = u16_at(p + 6);
    size_t value_size = (size_t)u16_at(p) | (size_t)u16_at(p + 2) << 16;

    if (is_branch) {
        value_size = 0;
    } else if (u16_at(p + 4) & NODE_BIG) {
        value_size = sizeof(uint64_t);
    }
    return (NODE_HEADER_SIZE + key_size + value_size + 1) & ~(size_t)1;
}

/* All nodes are inside the page and fill it from `upper` to its end. */
static const char *check_layout(const struct walk *w, struct level *l, bool is_branch)
{
    size_t lower = u16_at(l->bytes + 12);
    size_t upper = u16_at(l->bytes + 14);
    size_t used = 0;

    if (lower < HEADER_SIZE || lower % 2 != 0 || lower > upper || upper > w->page_size) {
        return "the bounds in its header make no sense";
    }
    l->count = (unsigned)((lower - HEADER_SIZE) / 2);
    for (unsigned i = 0; i < l->count; i++) {
        size_t at = u16_at(l->bytes + HEADER_SIZE + i * sizeof(uint16_t));
        if (at < upper || at % 2 != 0 || at + NODE_HEADER_SIZE > w->page_size) {
            return "a node is outside of it";
        }
        size_t size = node_size(l->bytes + at, is_branch);
        if (size > w->page_size - at) {
            return "a node leaves it";
        }
        used += size;
    }
    return used == w->page_size - upper ? NULL : "its nodes do not fill it";
}

static struct node node_of(const struct level *l, unsigned i, bool is_branch)
{
    const uint8_t *p = l->bytes + u16_at(l->bytes + HEADER_SIZE + i * sizeof(uint16_t));
    struct node n = {.key = p + NODE_HEADER_SIZE, .key_size = u16_at(p + 6)};

    if (is_branch) {
        n.child =
            (uint64_t)u16_at(p) | (uint64_t)u16_at(p + 2) << 16 | (uint64_t)u16_at(p + 4) << 32;
    } else {
        n.flags = u16_at(p + 4);
        n.value = n.key + n.key_size;
        n.value_size = (size_t)u16_at(p) | (size_t)u16_at(p + 2) << 16;
    }
    return n;
}

static int compare(const struct walk *w, const uint8_t *key, size_t size)
{
    if (w->database->flags & DATABASE_INTEGER_KEYS) {
        uint64_t a = u64_at(w->key);
        uint64_t b = u64_at(key);
        return a < b ? -1 : a > b;
    }
    int order = memcmp(w->key, key, w->key_size < size ? w->key_size : size);
    return order ? order : (w->key_size > size) - (w->key_size < size);
}

/* Keys only ever grow, and a separator is above what is left of it, and not above what is right. */
static const char *check_key(struct walk *w, const struct node *n, bool is_separator)
{
    if (n->key_size == 0 || n->key_size > KEY_MAX ||
        ((w->database->flags & DATABASE_INTEGER_KEYS) && n->key_size != sizeof(uint64_t))) {
        return "a key has a size that none can have";
    }
    if (w->key_set) {
        int order = compare(w, n->key, n->key_size);
        if (order > 0 || (order == 0 && !w->key_may_equal)) {
            return "its keys are out of order";
        }
    }
    memcpy(w->key, n->key, n->key_size);
    w->key_size = n->key_size;
    w->key_set = true;
    w->key_may_equal = is_separator;
    return NULL;
}

/* ---- Leaves ---- */

/* `first` is the first of the pages that hold a value. */
static const char *take_overflow(struct walk *w, uint64_t first, size_t value_size)
{
    uint8_t header[HEADER_SIZE];
    uint64_t needed = (HEADER_SIZE - 1 + value_size) / w->page_size + 1;

    w->at = first;
    if (first < 2 || first > w->last) {
        return "it is beyond the pages in use";
    }
    const char *why = read_at(w, first * w->page_size, header, sizeof header);
    if (why) {
        return why;
    }
    uint64_t count = u32_at(header + 12);
    if (u64_at(header) != first || u16_at(header + 10) != FLAG_OVERFLOW) {
        return "it should hold a large value, and its header says otherwise";
    }
    if (count < needed) {
        return "it is too short for its value";
    }
    w->counted.overflow += count;
    return claim(w, first, count);
}

/* The value: how many, then their numbers, each lower than the one before. */
static const char *take_free(struct walk *w, const uint8_t *value, size_t size)
{
    uint64_t at = w->at;
    bool has_count = size >= sizeof(uint64_t) && size % sizeof(uint64_t) == 0;
    uint64_t count = has_count ? u64_at(value) : 0;

    if (!has_count || count > size / sizeof(uint64_t) - 1) {
        return "its list of free pages makes no sense";
    }
    for (uint64_t i = 1; i <= count; i++) {
        uint64_t page = u64_at(value + i * sizeof(uint64_t));
        if (i > 1 && page >= u64_at(value + (i - 1) * sizeof(uint64_t))) {
            return "its list of free pages is out of order";
        }
        const char *why = claim(w, page, 1);
        if (why) {
            return why;
        }
    }
    w->at = at;
    return NULL;
}

static const char *take_big_free(struct walk *w, uint64_t first, size_t size)
{
    uint64_t offset = first * w->page_size + HEADER_SIZE;

    if (offset > w->file_size || size > w->file_size - offset) {
        return "the file ends before it"; /* and memory is not taken for what it does not have */
    }
    uint8_t *value = mem_alloc(size);
    const char *why = read_at(w, offset, value, size);

    if (!why) {
        why = take_free(w, value, size);
    }
    mem_free(value);
    return why;
}

static const char *take_database(struct walk *w, const struct node *n)
{
    if (!w->is_main || n->value_size != DATABASE_SIZE) {
        return "there is a database where none can be";
    }
    if (w->found_count == DATABASES_MAX) {
        return "there are more databases than raftd has";
    }
    w->found[w->found_count++] = database_at(n->value);
    return NULL;
}

static const char *take_leaf(struct walk *w, const struct node *n)
{
    uint64_t at = w->at;
    const char *why = check_key(w, n, false);

    w->counted.entries++;
    if (why) {
        return why;
    }
    switch (n->flags) {
    case 0:
        return w->is_free ? take_free(w, n->value, n->value_size) : NULL;
    case NODE_DATABASE:
        return take_database(w, n);
    case NODE_BIG: {
        uint64_t first = u64_at(n->value);
        why = take_overflow(w, first, n->value_size);
        if (!why && w->is_free) {
            why = take_big_free(w, first, n->value_size);
        }
        if (!why) {
            w->at = at;
        }
        return why;
    }
    default:
        return "a node has flags that none can have";
    }
}

/* ---- Trees ---- */

static const char *enter(struct walk *w, unsigned depth, uint64_t number)
{
    struct level *l = &w->levels[depth];
    bool is_branch = depth + 1U < w->database->depth;
    const char *why = claim(w, number, 1);

    if (!why) {
        why = read_at(w, number * w->page_size, l->bytes, w->page_size);
    }
    if (why) {
        return why;
    }
    if (u64_at(l->bytes) != number ||
        u16_at(l->bytes + 10) != (is_branch ? FLAG_BRANCH : FLAG_LEAF)) {
        return "its header is not that of the page that is looked for";
    }
    l->number = number;
    l->next = 0;
    why = check_layout(w, l, is_branch);
    if (!why && l->count < (is_branch && !w->is_free ? 2U : 1U)) {
        why = "it has too few nodes";
    }
    w->counted.branch += is_branch;
    w->counted.leaf += !is_branch;
    return why;
}

static const char *walk_pages(struct walk *w)
{
    unsigned depth = 0;
    const char *why = enter(w, 0, w->database->root);

    while (!why) {
        struct level *l = &w->levels[depth];
        bool is_branch = depth + 1U < w->database->depth;
        w->at = l->number;
        if (l->next == l->count) {
            if (depth == 0) {
                break;
            }
            depth--;
            continue;
        }
        struct node n = node_of(l, l->next, is_branch);
        if (!is_branch) {
            why = take_leaf(w, &n);
        } else {
            why = l->next == 0 ? NULL : check_key(w, &n, true); /* the first has none */
            if (!why) {
                why = enter(w, ++depth, n.child);
            }
        }
        l->next++;
    }
    return why;
}

static const char *check_counts(const struct walk *w)
{
    const struct database *said = w->database;
    const struct database *counted = &w->counted;

    return said->branch == counted->branch && said->leaf == counted->leaf &&
                   said->overflow == counted->overflow && said->entries == counted->entries
               ? NULL
               : "a database has other pages or entries than its record says";
}

static const char *walk_database(struct walk *w, const struct database *database, bool is_main,
                                 bool is_free)
{
    const char *why = NULL;

    w->database = database;
    w->is_main = is_main;
    w->is_free = is_free;
    w->counted = (struct database){0};
    w->key_set = false;
    if (database->root == NO_PAGE ? database->depth != 0
                                  : database->depth < 1 || database->depth > LEVELS_MAX) {
        return "the depth of a database makes no sense";
    }
    if (database->flags & ~DATABASE_INTEGER_KEYS ||
        (is_main && database->flags & DATABASE_INTEGER_KEYS)) {
        return "a database has flags that raftd does not use";
    }
    if (database->root != NO_PAGE) {
        for (unsigned i = 0; i < database->depth; i++) {
            if (!w->levels[i].bytes) {
                w->levels[i].bytes = mem_alloc(w->page_size);
            }
        }
        why = walk_pages(w);
    }
    return why ? why : check_counts(w);
}

static const char *walk_all(struct walk *w, const struct meta *m)
{
    const char *why = walk_database(w, &m->main, true, false);

    for (unsigned i = 0; !why && i < w->found_count; i++) {
        why = walk_database(w, &w->found[i], false, false);
    }
    return why ? why : walk_database(w, &m->free, false, true);
}

/* Each transaction replaces pages that were in use, and lists them as free under its own number: the last key
 * of its free list. 0 when there is none, or it cannot be found. */
static uint64_t last_freed(struct walk *w, const struct database *database)
{
    struct level *l = &w->levels[0];
    uint64_t number = database->root;

    if (!l->bytes) {
        l->bytes = mem_alloc(w->page_size);
    }
    for (unsigned depth = 0; depth < database->depth && depth < LEVELS_MAX; depth++) {
        bool is_branch = depth + 1U < database->depth;
        if (number > w->last || read_at(w, number * w->page_size, l->bytes, w->page_size) ||
            u16_at(l->bytes + 10) != (is_branch ? FLAG_BRANCH : FLAG_LEAF) ||
            check_layout(w, l, is_branch) || l->count == 0) {
            return 0;
        }
        struct node n = node_of(l, l->count - 1, is_branch);
        if (!is_branch) {
            return n.key_size == sizeof(uint64_t) ? u64_at(n.key) : 0;
        }
        number = n.child;
    }
    return 0;
}

/* ---- Meta pages ---- */

static const char *read_meta(struct walk *w, uint64_t number, struct meta *out)
{
    uint8_t bytes[META_SIZE];

    w->at = number;
    const char *why = read_at(w, number * w->page_size, bytes, sizeof bytes);
    if (why) {
        return why;
    }
    *out = (struct meta){.number = u64_at(bytes),
                         .flags = u16_at(bytes + 10),
                         .magic = u32_at(bytes + META_AT_MAGIC),
                         .version = u32_at(bytes + META_AT_VERSION),
                         .free = database_at(bytes + META_AT_FREE),
                         .main = database_at(bytes + META_AT_MAIN),
                         .last = u64_at(bytes + META_AT_LAST),
                         .txn = u64_at(bytes + META_AT_TXN)};
    if (out->number != number || out->flags != FLAG_META || out->magic != META_MAGIC ||
        out->version != META_VERSION) {
        return "it is no meta page of LMDB";
    }
    uint32_t size = out->free.pad;
    if (size < PAGE_SIZE_MIN || size > PAGE_SIZE_MAX || (size & (size - 1)) != 0 ||
        (number == 1 && size != w->page_size)) {
        return "the size of pages in it makes no sense";
    }
    if (!(out->free.flags & DATABASE_INTEGER_KEYS)) {
        return "a database has flags that raftd does not use";
    }
    w->page_size = size;
    return NULL;
}

/* Transaction n writes meta page n % 2, so the two are of consecutive ones, unless the file was just made. A
 * number that was changed would bring back the state before the last commit, or call the older one the newer. */
static bool follow_each_other(const struct meta *newer, const struct meta *older)
{
    return (newer->txn == 0 && older->txn == 0) ||
           (newer->txn - older->txn == 1 && newer->txn % 2 == newer->number);
}

/* A commit whose meta page could not be written puts back the number that the page had, and nothing else: the
 * older page may be of the transaction that failed. */
static bool is_of_its_number(struct walk *w, const struct meta *m, bool is_older)
{
    uint64_t freed = last_freed(w, &m->free);

    return freed == 0 || freed == m->txn || (is_older && freed == m->txn + 2);
}

static const char *pick_meta(struct walk *w, struct meta *out)
{
    struct meta metas[2];
    const char *why = read_meta(w, 0, &metas[0]);

    if (!why) {
        why = read_meta(w, 1, &metas[1]);
    }
    if (why) {
        return why;
    }
    unsigned newer = metas[1].txn > metas[0].txn;
    *out = metas[newer];
    w->at = newer;
    w->last = out->last;
    if (out->last < 1 || out->last > w->file_size / w->page_size + PAGES_AHEAD) {
        return "its last page is far beyond the end of the file";
    }
    if (!follow_each_other(out, &metas[!newer]) || !is_of_its_number(w, out, false) ||
        !is_of_its_number(w, &metas[!newer], true)) {
        return "the meta pages are not of the last two transactions";
    }
    return NULL;
}

static const char *check(struct walk *w, uint64_t file_size)
{
    struct meta m;

    w->file_size = file_size;
    const char *why = pick_meta(w, &m);
    if (!why) {
        w->seen = mem_zalloc(m.last / 8 + 1);
        why = walk_all(w, &m);
        mem_free(w->seen);
    }
    for (unsigned i = 0; i < LEVELS_MAX; i++) {
        mem_free(w->levels[i].bytes);
    }
    return why;
}

/* ---- The file ---- */

static int check_file(int fd, const char *file)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        return store_fault_report("a data file cannot be examined", file, errno);
    }
    if (st.st_size == 0) {
        return 0; /* a crash before anything was in it */
    }
    struct walk *w = mem_zalloc(sizeof *w);
    w->fd = fd;
    const char *why = check(w, (uint64_t)st.st_size);
    uint64_t page = w->at;
    int error = w->error;
    mem_free(w);
    if (error) {
        return store_fault_report("a page cannot be read", file, error);
    }
    if (why) {
        log_error("store", "the data is damaged: a page makes no sense", LOG_STR("path", file),
                  LOG_U64("page", page), LOG_STR("reason", why),
                  LOG_STR("do", STORE_FAULT_DAMAGED));
        return -RD_ECORRUPT;
    }
    return 0;
}

int store_pages_check(const char *path)
{
    size_t size = strlen(path) + sizeof "/data.mdb";
    char *file = mem_alloc(size);

    (void)snprintf(file, size, "%s/data.mdb", path);
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    int code = 0;
    if (fd >= 0) {
        code = check_file(fd, file);
        (void)close(fd);
    } else if (errno != ENOENT) {
        code = store_fault_report("a data file cannot be opened", file, errno);
    }
    mem_free(file);
    return code;
}
