/* commands.h - the one table of admin commands: name, who may, what it does.
 *
 * Threads: loop thread only. */
#ifndef RAFTD_ADMIN_COMMANDS_H
#define RAFTD_ADMIN_COMMANDS_H

#include "admin/admin.h"
#include "admin/credentials.h"

struct admin_command {
    const char *name;
    enum admin_permission permission; /* a row without one is refused for everybody */
    bool is_watch;                    /* replies until the client leaves */
    /* NULL when the request fits the command, else what is wrong with it. NULL: anything fits. */
    const char *(*check)(const struct admin_request *request);
    /* Hands the call to the server; may take blobs out of the request. */
    void (*run)(const struct server_ops *ops, struct admin_call *call,
                struct admin_request *request);
};

/* The row of a command, or NULL. */
const struct admin_command *admin_command_find(const char *name);
/* Row by position, NULL behind the last. */
const struct admin_command *admin_command_at(size_t position);

#endif
