#include "raftctl/stream.h"

#include <inttypes.h>

#include "base/mono.h"
#include "raftctl/client.h"
#include "raftctl/commands.h"
#include "raftctl/watch.h"

enum { RETRY_MIN_MS = 20, RETRY_MAX_MS = 1000, PROBE_EVERY_MS = 1000 };

void stream_init(struct stream *s, struct ctl *ctl, uint64_t silence_ms)
{
    *s = (struct stream){.ctl = ctl, .silence_ms = silence_ms, .retry_ms = RETRY_MIN_MS};
}

void stream_close(struct stream *s)
{
    client_close(s->ctl->client);
    s->ctl->client = NULL;
    s->live = false;
    s->probe_open = false;
}

static enum stream_news lost(struct stream *s)
{
    stream_close(s);
    s->next = mono_now_ms() + s->retry_ms;
    s->retry_ms = s->retry_ms * 2 < RETRY_MAX_MS ? s->retry_ms * 2 : RETRY_MAX_MS;
    return STREAM_LOST;
}

static int connect_now(struct stream *s, struct ctl_error *e)
{
    int code = client_open(s->ctl->socket, 0, &s->ctl->client, e);

    if (code == 0) {
        code = watch_send(s->ctl, "watch", &s->watch_id, e);
    }
    s->heard = mono_now_ms();
    s->next = s->heard + PROBE_EVERY_MS;
    return code;
}

/* A stream says nothing while nothing changes, and a process that hangs neither. So somebody asks
 * who leads: of all questions the one whose answer entitles nobody to anything. */
static int probe(struct stream *s, struct ctl_error *e)
{
    if (mono_now_ms() >= s->heard + s->silence_ms && (s->probe_open || !s->live)) {
        return ctl_fail(e, -RD_EDAEMON, "raftd at %s has not answered for %" PRIu64 " ms: it hangs",
                        s->ctl->socket, mono_now_ms() - s->heard);
    }
    if (!s->live || s->probe_open || mono_now_ms() < s->next) {
        return 0;
    }
    s->probe_open = true;
    s->heard = mono_now_ms(); /* silence counts from the question */
    return watch_send(s->ctl, "leader", &s->probe_id, e);
}

static int take_reply(struct stream *s, const struct admin_reply *reply, json_t **state,
                      struct ctl_error *e)
{
    s->heard = mono_now_ms();
    if (s->probe_open && reply->id == s->probe_id) {
        s->probe_open = false; /* whatever it says */
        s->next = s->heard + PROBE_EVERY_MS;
        return 0;
    }
    if (reply->code) {
        return command_refused(command_find("watch"), reply, e);
    }
    json_t *told = watch_parse(reply);
    if (json_is_object(told)) {
        json_decref(*state);
        *state = told;
        s->live = true;
        s->retry_ms = RETRY_MIN_MS;
    } else {
        json_decref(told);
    }
    return reply->more ? 0
                       : ctl_fail(e, -RD_EDAEMON, "raftd at %s ended the stream: it is stopping",
                                  s->ctl->socket);
}

/* All that has arrived. */
static int receive(struct stream *s, json_t **state, struct ctl_error *e)
{
    struct admin_reply reply;
    int code = client_receive(s->ctl->client, 0, &reply, e);

    while (code == 0) {
        code = take_reply(s, &reply, state, e);
        admin_reply_done(&reply);
        if (code == 0) {
            code = client_receive(s->ctl->client, 0, &reply, e);
        }
    }
    return code == -RD_ETIMEOUT ? 0 : code;
}

enum stream_news stream_step(struct stream *s, json_t **state, struct ctl_error *e)
{
    json_t *newest = NULL;
    int code = 0;

    if (!s->ctl->client) {
        if (mono_now_ms() < s->next) {
            return STREAM_NOTHING;
        }
        code = connect_now(s, e);
    }
    if (code == 0) {
        code = receive(s, &newest, e);
    }
    if (code == 0) {
        code = probe(s, e);
    }
    if (code) {
        json_decref(newest); /* that was before */
        return lost(s);
    }
    if (!newest) {
        return STREAM_NOTHING;
    }
    *state = newest;
    return STREAM_STATE;
}

int stream_fd(const struct stream *s)
{
    return s->ctl->client ? client_fd(s->ctl->client) : -1;
}

uint64_t stream_deadline(const struct stream *s)
{
    bool waits_for_answer = s->ctl->client && (s->probe_open || !s->live);

    return waits_for_answer ? s->heard + s->silence_ms : s->next;
}
