/* err.h - every error code of raftd, in one table.
 *
 * Functions return 0, -errno or one of the negative codes below. Each code has a stable name that
 * users see (contract section 3), the exit status raftctl gives it, and a sentence. Codes of
 * libraries (LMDB, protobuf, inih) are translated where they occur and never leave their room.
 * Threads: any. */
#ifndef RAFTD_BASE_ERR_H
#define RAFTD_BASE_ERR_H

/*        symbol             value  name                   raftctl exit  sentence */
#define RD_ERRORS(X)                                                                               \
    X(RD_ENOT_LEADER, 1001, "not_leader", 1, "this node does not lead")                            \
    X(RD_ENO_LEADER, 1002, "no_leader", 4, "no leader is known")                                   \
    X(RD_ENO_QUORUM, 1003, "no_quorum", 4, "a majority is out of reach")                           \
    X(RD_ETIMEOUT, 1004, "timeout", 5, "timed out")                                                \
    X(RD_EUNKNOWN_OUTCOME, 1005, "unknown_outcome", 5, "timed out, may still be applied")          \
    X(RD_ENOT_FOUND, 1006, "not_found", 7, "no such key or member")                                \
    X(RD_EALREADY_MEMBER, 1007, "already_member", 1, "is a member already")                        \
    X(RD_ECHANGE_PENDING, 1008, "change_pending", 1, "another change is not committed")            \
    X(RD_ENOT_READY, 1009, "not_ready", 1, "not ready")                                            \
    X(RD_ELAST_VOTER, 1010, "last_voter", 1, "the last voter has to stay")                         \
    X(RD_EWOULD_LOSE_QUORUM, 1011, "would_lose_quorum", 6, "would leave too few live voters")      \
    X(RD_ENOT_CAUGHT_UP, 1012, "not_caught_up", 1, "has not caught up")                            \
    X(RD_EUNREACHABLE, 1013, "unreachable", 1, "does not answer")                                  \
    X(RD_EWRONG_CLUSTER, 1014, "wrong_cluster", 1, "belongs to another cluster")                   \
    X(RD_ENOT_EMPTY, 1015, "not_empty", 1, "has data already")                                     \
    X(RD_ETRANSFER, 1016, "transfer_in_progress", 1, "a hand-over is under way")                   \
    X(RD_ENO_TARGET, 1017, "no_target", 1, "nobody can take over")                                 \
    X(RD_ETRANSFER_FAILED, 1018, "transfer_failed", 1, "the hand-over failed")                     \
    X(RD_EPERMISSION, 1019, "permission_denied", 8, "not permitted")                               \
    X(RD_ETOO_LARGE, 1020, "too_large", 1, "above a limit")                                        \
    X(RD_ENO_SPACE, 1021, "no_space", 1, "the quota or the disk is full")                          \
    X(RD_ECONFLICT, 1022, "conflict", 1, "the compared revision differs")                          \
    X(RD_ESTALE_FENCE, 1023, "stale_fence", 1, "the term has passed")                              \
    X(RD_EREMOVED, 1024, "removed", 1, "was removed from the cluster")                             \
    X(RD_EUNCONFIGURED, 1025, "unconfigured", 1, "is in no cluster yet")                           \
    X(RD_EINVALID, 1026, "invalid", 1, "not valid")                                                \
    /* Below: never sent to a client; why raftd itself ends, or closes a connection. */            \
    X(RD_EUSAGE, 1100, "usage", 2, "bad command line")                                             \
    X(RD_ECONFIG, 1101, "bad_config", 1, "bad configuration or identity")                          \
    X(RD_ECORRUPT, 1102, "data_refused", 1, "data refused")                                        \
    X(RD_EDISK_FULL, 1103, "disk_full", 1, "the file system is full")                              \
    X(RD_EDISK, 1104, "disk_failed", 1, "the disk failed")                                         \
    X(RD_EMAP_FULL, 1105, "map_full", 1, "the LMDB map is full")                                   \
    X(RD_EPROTOCOL, 1106, "protocol", 1, "bytes break the protocol")                               \
    X(RD_EDAEMON, 1107, "daemon_unreachable", 3, "raftd does not answer")                          \
    X(RD_EHAND_OVER, 1108, "hand_over", 1, "the leader has to hand over first")                    \
    X(RD_ETLS, 1109, "tls", 1, "TLS does not come about")                                          \
    X(RD_EFORMAT, 1110, "data_format", 1, "data of another version of raftd")                      \
    X(RD_ENO_ADDRESS, 1111, "no_address", 1, "an address to listen on is not to be had")

#define RD_ERROR_ENUM(symbol, value, name, status, text) symbol = (value),
enum rd_error { RD_ERRORS(RD_ERROR_ENUM) };
#undef RD_ERROR_ENUM

/* Exit statuses of raftd (contract section 1). */
enum {
    RD_EXIT_USAGE = 64,
    RD_EXIT_BUG = 70,
    RD_EXIT_CONFIG = 78,
    RD_EXIT_DATA = 79,
    RD_EXIT_DISK_FULL = 80,
    RD_EXIT_IO = 81,
};

/* What to do about a node whose data has to be refused. Said to the administrator of that node. */
#define RD_MAKE_ANEW                                                                               \
    "make this node anew: raftctl remove-server, reset --force, add-server; see raftd-recovery(7)"

/* Stable snake_case name of a code (0, -errno or negative RD_E...); never NULL. */
const char *err_name(int code);

/* One sentence for people; never NULL. */
const char *err_text(int code);

/* The negative code whose name is `name`, or -RD_EINVALID when there is none. */
int err_by_name(const char *name);

/* Exit status of raftctl for a result code (contract section 3). */
int err_exit_ctl(int code);

/* Exit status of raftd when it ends because of a code (contract section 1). */
int err_exit_daemon(int code);

#endif
