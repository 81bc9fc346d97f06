#include "store/reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

enum {
    STEP_MAX_MIB = 64,
    STEP_PART = 16, /* of a small file system */
    PAGE = STORE_RESERVE_PAGE,
    OVERHEAD = 128,    /* of a record: its headers, and its share of the branches */
    RECORD_MAX = 1100, /* of larger ones not many share a page, and the largest have their own */
    STAT_BLOCK = 512,
};

/* ---- Arithmetic ---- */

static uint64_t min_of(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t beyond(uint64_t end, uint64_t used)
{
    return end > used ? end - used : 0;
}

uint64_t store_reserve_step(uint64_t file_system_bytes)
{
    return min_of(file_system_bytes / STEP_PART / PAGE * PAGE, STEP_MAX_MIB * MIB);
}

uint64_t store_reserve_target(uint64_t used, uint64_t end, uint64_t step, uint64_t limit, bool low)
{
    uint64_t target = min_of(used + step, limit);
    uint64_t enough = low ? target : min_of(used + step / 2, limit);

    return end >= enough ? 0 : target;
}

void store_reserve_record(uint64_t key_and_value, struct store_need *need)
{
    uint64_t bytes = key_and_value + OVERHEAD;

    if (bytes <= RECORD_MAX) {
        need->pages_bytes += 2 * bytes; /* pages that were split are half full */
    } else {
        need->bytes += (bytes + PAGE - 1) / PAGE * PAGE;
        need->pages_bytes += OVERHEAD; /* the reference to them */
    }
}

/* ---- The file system ---- */

uint64_t store_free_bytes(const char *path)
{
    struct statvfs fs;

    if (statvfs(path, &fs) != 0) {
        return UINT64_MAX;
    }
    return (uint64_t)fs.f_frsize * (geteuid() == 0 ? fs.f_bfree : fs.f_bavail);
}

static uint64_t file_system_bytes(const char *path)
{
    struct statvfs fs;

    return statvfs(path, &fs) == 0 ? (uint64_t)fs.f_frsize * fs.f_blocks : UINT64_MAX;
}

struct measures {
    uint64_t used;  /* where the pages end that LMDB has ever used */
    uint64_t limit; /* of the map */
};

static struct measures measure(const struct store_reserve *r)
{
    MDB_envinfo info = {0};
    MDB_stat stat = {0};

    if (mdb_env_info(r->env->mdb, &info) != 0 || mdb_env_stat(r->env->mdb, &stat) != 0) {
        return (struct measures){0, 0};
    }
    return (struct measures){((uint64_t)info.me_last_pgno + 1) * stat.ms_psize, info.me_mapsize};
}

/* 0; -errno. From the beginning: holes are filled, what was allocated before costs nothing. */
static int allocate(const struct store_reserve *r, uint64_t to)
{
    int fd;
    int rc = mdb_env_get_fd(r->env->mdb, &fd);

    while (rc == 0 && fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)to) != 0) {
        if (errno != EINTR) {
            return -errno;
        }
    }
    return -rc;
}

/* After a restart on a full file system: what an earlier run has allocated. */
static uint64_t allocated_before(const struct store_reserve *r)
{
    struct stat file;
    int fd;

    if (mdb_env_get_fd(r->env->mdb, &fd) != 0 || fstat(fd, &file) != 0) {
        return 0;
    }
    return (uint64_t)file.st_blocks * STAT_BLOCK;
}

/* ---- Keeping it ---- */

void store_reserve_init(struct store_reserve *r, const struct store_env *env)
{
    *r = (struct store_reserve){.env = env};
}

static void publish(struct store_reserve *r, uint64_t used, bool low, bool *news)
{
    *news = *news || low != atomic_load(&r->low);
    atomic_store(&r->ahead, beyond(r->end, used));
    atomic_store(&r->low, low);
}

static void publish_free(struct store_reserve *r, uint64_t free_bytes)
{
    atomic_store(&r->free, free_bytes == UINT64_MAX ? 0 : free_bytes);
}

/* Two environments live on what is free. */
static void look(struct store_reserve *r, uint64_t used)
{
    uint64_t free_bytes = store_free_bytes(r->env->path);

    publish_free(r, free_bytes);
    r->end = used + min_of(free_bytes / 2, r->step);
}

/* true: it ends at `target` now. */
static bool extend(struct store_reserve *r, uint64_t used, uint64_t target)
{
    int code = allocate(r, target);

    if (code == 0) {
        r->end = target;
    } else if (code != -ENOSPC && code != -EDQUOT) {
        r->looks = true;
        look(r, used);
    } else if (r->end == 0) {
        r->end = min_of(allocated_before(r), target);
    }
    publish_free(r, store_free_bytes(r->env->path));
    return r->end >= target;
}

/* The file system has told its size, and what may have changed by others' doing is known. */
static struct measures begin(struct store_reserve *r)
{
    struct measures m = measure(r);

    if (r->step == 0) {
        r->step = store_reserve_step(file_system_bytes(r->env->path));
        atomic_store(&r->wanted, r->step);
    }
    if (r->looks) {
        look(r, m.used);
    }
    return m;
}

uint32_t store_reserve_keep(struct store_reserve *r, bool *news)
{
    struct measures m = begin(r);
    bool low = atomic_load(&r->low);
    uint64_t target = store_reserve_target(m.used, r->end, r->step, m.limit, low);
    low = target != 0 && !extend(r, m.used, target);
    publish(r, m.used, low, news);
    return low ? STORE_RESERVE_AGAIN_MS : 0;
}

/* What the record of a commit that freed pages says: their number, then theirs. Those of the last two
 * commits are not used again yet. */
static uint64_t reusable_in(const MDB_val *key, const MDB_val *freed, size_t last_commit)
{
    size_t commit;
    size_t pages;

    memcpy(&commit, key->mv_data, sizeof commit);
    memcpy(&pages, freed->mv_data, sizeof pages);
    return commit + 2 <= last_commit ? (uint64_t)pages * PAGE : 0;
}

/* Bytes in pages that the next commit may use again, not necessarily neighbours. */
static uint64_t reusable_bytes(const struct store_reserve *r)
{
    enum { FREE_PAGES_DBI = 0 }; /* may be read, says LMDB */
    MDB_envinfo info = {0};
    MDB_cursor *cursor;
    MDB_txn *txn;
    MDB_val key;
    MDB_val freed;
    uint64_t bytes = 0;

    if (mdb_env_info(r->env->mdb, &info) != 0 ||
        mdb_txn_begin(r->env->mdb, NULL, MDB_RDONLY, &txn) != 0) {
        return 0;
    }
    if (mdb_cursor_open(txn, FREE_PAGES_DBI, &cursor) == 0) {
        while (mdb_cursor_get(cursor, &key, &freed, MDB_NEXT) == 0) {
            bytes += reusable_in(&key, &freed, info.me_last_txnid);
        }
        mdb_cursor_close(cursor);
    }
    mdb_txn_abort(txn);
    return bytes;
}

/* A full map is not the file system's fault. */
static uint64_t end_needed(const struct measures *m, const struct store_need *need,
                           uint64_t reusable)
{
    return min_of(m->used + need->bytes + beyond(need->pages_bytes, reusable), m->limit);
}

bool store_reserve_covers(struct store_reserve *r, const struct store_need *need, bool *news)
{
    struct measures m = begin(r);

    if (r->end >= end_needed(&m, need, 0)) {
        return true;
    }
    uint64_t target = end_needed(&m, need, reusable_bytes(r));
    if (r->end >= target) {
        return true;
    }
    bool covered = extend(r, m.used, target);
    publish(r, m.used, !covered || atomic_load(&r->low), news);
    return covered;
}

void store_reserve_get(const struct store_reserve *r, struct store_reserve_state *out)
{
    *out = (struct store_reserve_state){.low = atomic_load(&r->low),
                                        .ahead_bytes = atomic_load(&r->ahead),
                                        .wanted_bytes = atomic_load(&r->wanted),
                                        .free_bytes = atomic_load(&r->free)};
}
