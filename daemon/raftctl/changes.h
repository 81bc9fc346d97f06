/* changes.h - the commands that change the membership, or who leads: what they ask of raftd, and
 * what it answered as text for people. Threads: any. */
#ifndef RAFTD_RAFTCTL_CHANGES_H
#define RAFTD_RAFTCTL_CHANGES_H

#include "raftctl/render.h"
#include "wire/admin.h"

/* Arguments and options into the request. 0, or -RD_EUSAGE and the error. */
typedef int fill_fn(const struct ctl *ctl, const struct invocation *inv, struct admin_request *req,
                    struct ctl_error *e);
fill_fn fill_add_server, fill_replace_server;
fill_fn fill_member;    /* ID: promote, demote, remove-server, transfer */
fill_fn fill_step_down; /* nothing but options */

/* Is it an address that other members can dial? 0, or -RD_EUSAGE and why not. */
int changes_check_address(const char *text, struct ctl_error *e);

render_fn render_member; /* add-server, promote, demote: what the node is now */
render_fn render_removed, render_replaced, render_hand_over;

#endif
