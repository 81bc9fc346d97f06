#include "base/shortage.h"

#include "base/err.h"
#include "base/log.h"

void shortage_note(struct shortage *s, const char *room, int error)
{
    mono_ms now = mono_now_ms();

    if (s->said && now < s->said + SHORTAGE_SAID_MS) {
        return;
    }
    s->said = now;
    s->lasts = true;
    log_error(room,
              "cannot accept connections: no descriptor is left; find out who holds them, or raise "
              "LimitNOFILE of the service",
              LOG_STR("error", err_text(-error)), LOG_U64("retry_ms", SHORTAGE_REST_MS));
}

void shortage_over(struct shortage *s, const char *room)
{
    if (s->lasts) {
        s->lasts = false;
        log_notice(room, "accepting connections again");
    }
}
