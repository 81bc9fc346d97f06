/* The part of a connection that is TLS: the handshake, its records, and how it is refused. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "net/conn_internal.h"
#include "wire/peer.h"

/* Small frames leave together. What was handed to TLS has to come again unchanged until it is
 * written, so it is taken out of the queue, where an urgent frame may pass it. */
static void conn_fill_record(struct conn *c)
{
    struct iovec iov[QUEUE_IOV_MAX];
    int count = queue_iov(&c->out, iov);

    for (int i = 0; i < count && c->record.size < TLS_RECORD_MAX; i++) {
        size_t room = TLS_RECORD_MAX - c->record.size;
        buf_put(&c->record, iov[i].iov_base, iov[i].iov_len < room ? iov[i].iov_len : room);
    }
    c->env->stats->frames_out += queue_written(&c->out, c->record.size);
}

int conn_tls_write(struct conn *c)
{
    for (size_t done = 0; done < CONN_WRITE_BUDGET && conn_has_unsent(c);) {
        if (c->record.size == 0) {
            conn_fill_record(c);
        }
        ssize_t n = tls_write(c->tls, c->record.data + c->record_at, c->record.size - c->record_at);
        if (n < 0) {
            return (int)n;
        }
        c->env->stats->bytes_out += (uint64_t)n;
        c->record_at += (size_t)n;
        done += (size_t)n;
        if (c->record_at == c->record.size) {
            c->record.size = c->record_at = 0;
        }
    }
    return 0;
}

/* It comes to nothing, and the peer is to hear why: what is said by now, an alert, is delivered. Who
 * speaks plain frames, or looks whether we do, is told in one. */
static void conn_part(struct conn *c, const char *why, const char *told)
{
    struct peer_refusal refusal = {.code = -RD_EINVALID};
    struct peer_msg msg = {.type = PEER_REFUSAL, .refusal = &refusal};

    tls_free(c->tls);
    c->tls = NULL;
    c->state = CONN_OPEN;
    conn_set_blocked(c, false);
    if (told) {
        (void)snprintf(refusal.why, sizeof refusal.why, "%s", told);
        (void)queue_put(&c->out, &msg, UINT32_MAX);
    }
    conn_drain(c);
    c->ops->failed(c->arg, -RD_ETLS, why);
}

/* ---- The handshake: it costs the loop's time, so turns have their share of it ---- */

/* Those we dialled are few, and no stranger makes them. */
void conn_tls_wait(struct conn *c)
{
    (void)event_del(&c->readable);
    conn_set_blocked(c, false);
    c->is_waiting = true;
    c->env->waiting_count++;
    if (c->is_dialled) {
        TAILQ_INSERT_HEAD(&c->env->waiting, c, entry);
    } else {
        TAILQ_INSERT_TAIL(&c->env->waiting, c, entry);
    }
}

void conn_tls_wait_no_more(struct conn *c)
{
    if (c->is_waiting) {
        TAILQ_REMOVE(&c->env->waiting, c, entry);
        c->env->waiting_count--;
        c->is_waiting = false;
    }
}

/* May open the connection, or end it. */
static void conn_tls_shake(struct conn *c)
{
    int code = tls_handshake(c->tls);

    if (code == -RD_ETLS) {
        c->env->stats->bad_frames++;
        char why[CONN_WHY_SIZE];
        bool plain = tls_is_plain(c->tls) && !c->is_dialled;
        (void)snprintf(why, sizeof why, "%s", tls_why(c->tls));
        conn_part(c, why, plain ? "this node takes TLS only; set [tls] on both, or on none" : NULL);
    } else if (code && code != -EAGAIN) {
        conn_fail_code(c, code);
    } else {
        conn_set_blocked(c, code == -EAGAIN && tls_wants_write(c->tls));
        if (code == 0) {
            conn_open(c);
        }
    }
}

void conn_env_shake(struct conn_env *env)
{
    struct conn *c;

    for (int i = 0; i < CONN_SHAKES_MAX && (c = TAILQ_FIRST(&env->waiting)) != NULL; i++) {
        conn_tls_wait_no_more(c);
        (void)event_add(&c->readable, NULL);
        conn_tls_shake(c);
    }
}

/* ---- Who does not speak it ---- */

/* A TLS client begins so: to a stranger's frame that is a length far above the limit. */
static bool conn_begins_as_tls(const struct conn *c)
{
    static const uint8_t record[] = {0x16, 0x03};

    return !c->tls && !c->is_dialled && c->in.size >= sizeof record &&
           memcmp(c->in.data, record, sizeof record) == 0;
}

bool conn_tls_refuse(struct conn *c, int code)
{
    if (code != -RD_ETOO_LARGE || !conn_begins_as_tls(c)) {
        return false;
    }
    conn_part(c, "speaks TLS; set [tls] here, or take it away there", "this node speaks no TLS");
    return true;
}

bool conn_is_outdated(const struct conn *c)
{
    return c->tls && tls_context_of(c->tls) != c->env->tls;
}
