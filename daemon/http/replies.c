#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/jw.h"
#include "base/mem.h"
#include "http/internal.h"

static const struct {
    int code;
    const char *text;
} reasons[] = {
    {200, "OK"},
    {204, "No Content"},
    {304, "Not Modified"},
    {400, "Bad Request"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {503, "Service Unavailable"},
};

static const char *reason_of(int code)
{
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (reasons[i].code == code) {
            return reasons[i].text;
        }
    }
    return "Unknown";
}

void call_free(struct http_call *call)
{
    call->http->watchers -= call->is_watcher;
    mem_free(call);
}

/* libevent frees the connection. The request goes with it, or is left to us without one. */
static void closed_cb(struct evhttp_connection *connection, void *arg)
{
    struct http_call *call = arg;

    (void)connection;
    if (!evhttp_request_get_connection(call->req)) {
        evhttp_send_reply_end(call->req); /* frees it */
    }
    call->req = NULL;
    if (call->is_watcher) {
        watchers_gone(call);
    }
}

void call_watch_end(struct http_call *call)
{
    evhttp_connection_set_closecb(evhttp_request_get_connection(call->req), closed_cb, call);
}

bool call_is_head(const struct http_call *call)
{
    return evhttp_request_get_command(call->req) == EVHTTP_REQ_HEAD;
}

static void put_header(struct http_call *call, const char *name, const char *value)
{
    rd_assert(evhttp_add_header(evhttp_request_get_output_headers(call->req), name, value) == 0);
}

void reply_headers(struct http_call *call, const char *type, uint64_t etag)
{
    char text[24];

    put_header(call, "Cache-Control", "no-store");
    if (type) {
        put_header(call, "Content-Type", type);
    }
    if (etag) {
        (void)snprintf(text, sizeof text, "\"%016" PRIx64 "\"", etag);
        put_header(call, "ETag", text);
    }
}

static void taken_cb(struct evhttp_request *req, void *conn)
{
    (void)req;
    conn_asks(conn);
}

/* libevent adds the length of a body, but not for HEAD. */
static void put_length(struct http_call *call, size_t size)
{
    char text[24];

    if (call_is_head(call)) {
        (void)snprintf(text, sizeof text, "%zu", size);
        put_header(call, "Content-Length", text);
    }
}

void reply_send(struct http_call *call, const struct http_reply *reply)
{
    struct evhttp_request *req = call->req;
    struct http_conn *conn = call->conn;

    if (!req) {
        call_free(call);
        return;
    }
    reply_headers(call, reply->type, reply->etag);
    if (reply->code == 405 || reply->code == 204) {
        put_header(call, "Allow", "GET, HEAD, OPTIONS");
    }
    if (reply->body) {
        put_length(call, reply->body->size);
    }
    if (reply->body && !call_is_head(call)) {
        rd_assert(evbuffer_add(evhttp_request_get_output_buffer(req), reply->body->data,
                               reply->body->size) == 0);
    }
    evhttp_connection_set_closecb(evhttp_request_get_connection(req), NULL, NULL);
    evhttp_request_set_on_complete_cb(req, taken_cb, conn);
    call_free(call);
    evhttp_send_reply(req, reply->code, reason_of(reply->code), NULL);
    conn_takes(conn);
}

void reply_error(struct http_call *call, int status, const char *code, const char *message)
{
    struct buf *body = &call->http->body;

    body->size = 0;
    struct jw j = jw_begin(body);
    jw_object(&j, NULL);
    jw_object(&j, "error");
    jw_str(&j, "code", code);
    jw_str(&j, "message", message);
    jw_object_end(&j);
    jw_object_end(&j);
    buf_put_u8(body, '\n');
    reply_send(call,
               &(struct http_reply){.code = status, .type = "application/json", .body = body});
}
