#include "raftctl/changes.h"

#include <inttypes.h>
#include <string.h>

#include "base/units.h"

/* ---- Requests ---- */

static int fill_id(const char *name, const char *text, uint32_t *id, struct ctl_error *e)
{
    uint64_t number;

    if (units_parse_number(text, 1, UINT32_MAX, &number)) {
        return ctl_fail(e, -RD_EUSAGE, "%s: '%s' is not the id of a node, 1 to 4294967295", name,
                        text);
    }
    *id = (uint32_t)number;
    return 0;
}

int changes_check_address(const char *text, struct ctl_error *e)
{
    struct host_port address;

    if (units_parse_host_port(text, &address) || strlen(text) >= UNITS_ADDRESS_SIZE) {
        return ctl_fail(e, -RD_EUSAGE,
                        "'%s' is not HOST:PORT, as in 10.0.0.4:7400, n4.example:7400 or "
                        "[fd00::4]:7400",
                        text);
    }
    if (units_is_wildcard(&address)) {
        return ctl_fail(e, -RD_EUSAGE,
                        "'%s' is to listen on; give the address that the other members dial", text);
    }
    return 0;
}

static int fill_address(const char *text, struct admin_request *req, struct ctl_error *e)
{
    int code = changes_check_address(text, e);

    _Static_assert(sizeof req->address == UNITS_ADDRESS_SIZE, "what was checked fits");
    if (code == 0) {
        memcpy(req->address, text, strlen(text) + 1);
    }
    return code;
}

static void fill_options(const struct invocation *inv, struct admin_request *req)
{
    req->learner = inv->set[OPT_LEARNER];
    req->no_wait = inv->set[OPT_NO_WAIT];
    req->force = inv->set[OPT_FORCE];
}

int fill_add_server(const struct ctl *ctl, const struct invocation *inv, struct admin_request *req,
                    struct ctl_error *e)
{
    int code = fill_member(ctl, inv, req, e);

    return code ? code : fill_address(inv->args[1], req, e);
}

int fill_member(const struct ctl *ctl, const struct invocation *inv, struct admin_request *req,
                struct ctl_error *e)
{
    (void)ctl;
    fill_options(inv, req);
    return fill_id("ID", inv->args[0], &req->member_id, e);
}

int fill_replace_server(const struct ctl *ctl, const struct invocation *inv,
                        struct admin_request *req, struct ctl_error *e)
{
    (void)ctl;
    int code = fill_id("OLD", inv->args[0], &req->replaces, e);

    if (code == 0) {
        code = fill_id("NEW", inv->args[1], &req->member_id, e);
    }
    if (code == 0 && req->replaces == req->member_id) {
        code = ctl_fail(e, -RD_EUSAGE,
                        "node %" PRIu32 " cannot replace itself: give the new node another id, or "
                        "make node %" PRIu32 " anew (remove-server, reset --force, add-server)",
                        req->member_id, req->member_id);
    }
    return code ? code : fill_address(inv->args[2], req, e);
}

int fill_step_down(const struct ctl *ctl, const struct invocation *inv, struct admin_request *req,
                   struct ctl_error *e)
{
    (void)ctl;
    (void)e;
    fill_options(inv, req);
    return 0;
}

/* ---- Results ---- */

#define NONE UINT64_MAX

static void put_node(const json_t *answer, const char *key, struct buf *out)
{
    uint64_t id = render_number(answer, key, NONE);

    if (id == NONE) {
        buf_put_str(out, "node -");
    } else {
        buf_printf(out, "node %" PRIu64, id);
    }
}

static void put_index(const json_t *answer, struct buf *out)
{
    uint64_t index = render_number(answer, "index", NONE);

    if (index != NONE) {
        buf_printf(out, " (index %" PRIu64 ")", index);
    }
}

void render_member(const struct ctl *ctl, const struct invocation *inv, const json_t *answer,
                   struct buf *out)
{
    const char *role = render_text(answer, "role");

    (void)ctl;
    put_node(answer, "id", out);
    buf_put_str(out, " is a ");
    render_safe(out, role ? role : "member");
    put_index(answer, out);
    if (inv->set[OPT_NO_WAIT] && !inv->set[OPT_LEARNER] && role && strcmp(role, "learner") == 0) {
        buf_put_str(out, ", a voter once it has caught up");
    }
    buf_put_u8(out, '\n');
}

void render_removed(const struct ctl *ctl, const struct invocation *inv, const json_t *answer,
                    struct buf *out)
{
    (void)ctl;
    (void)inv;
    put_node(answer, "id", out);
    buf_put_str(out, " removed");
    put_index(answer, out);
    buf_put_u8(out, '\n');
}

void render_replaced(const struct ctl *ctl, const struct invocation *inv, const json_t *answer,
                     struct buf *out)
{
    (void)ctl;
    (void)inv;
    put_node(answer, "added", out);
    buf_put_str(out, " replaces ");
    put_node(answer, "removed", out);
    put_index(answer, out);
    buf_put_u8(out, '\n');
}

static void put_handed_over(const json_t *answer, struct buf *out)
{
    uint64_t term = render_number(answer, "term", NONE);
    uint64_t gap_ms = render_number(answer, "gap_ms", NONE);
    bool begun = term == NONE; /* nobody waited for its end */

    put_node(answer, "from", out);
    buf_put_str(out, begun ? " is handing over" : " handed over");
    if (render_number(answer, "to", NONE) != NONE) {
        buf_put_str(out, " to ");
        put_node(answer, "to", out);
    }
    if (!begun) {
        buf_printf(out, ", term %" PRIu64, term);
    }
    if (gap_ms != NONE) {
        buf_put_str(out, ", writes waited ");
        render_duration(out, gap_ms);
    }
    buf_put_u8(out, '\n');
}

void render_hand_over(const struct ctl *ctl, const struct invocation *inv, const json_t *answer,
                      struct buf *out)
{
    uint64_t to = render_number(answer, "to", NONE);

    (void)ctl;
    (void)inv;
    if (to != NONE && to == render_number(answer, "from", NONE)) {
        buf_printf(out, "node %" PRIu64 " leads already\n", to);
    } else {
        put_handed_over(answer, out);
    }
}
