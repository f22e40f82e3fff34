#include "api/server.h"

#include "api/attempts.h"
#include "api/certificate.h"
#include "api/events.h"
#include "api/files.h"
#include "api/listen.h"
#include "api/place.h"
#include "api/reason.h"
#include "api/relay.h"
#include "api/tls.h"
#include "base/clock.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <syslog.h>

#define SWEEP_USEC (2 * 1000000u)
#define PUBLISH_SECONDS 30
#define STREAM_BLOCK 4096
#define DROP_MAX (4 << 20) /* bytes of a body that is too large */
#define LAST_ROUNDS 4      /* in which streams say that they end, and nobody is waited for */
#define TLS_PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.2:+VERS-TLS1.3"

struct connection {
    struct connection *next, **to_me;
    int fd;
    char network[INET6_ADDRSTRLEN];
    double deadline; /* monotonic */
};

struct http_request {
    struct call call;
    struct server *server;
    struct MHD_Connection *mhd;
    struct http_request *next, **to_me; /* those that wait for a child */
    char *uri;
    bool seen, too_big, waiting, ready;
    bool asleep; /* a stream for which there is nothing */
};

struct server {
    struct api *api;
    struct MHD_Daemon *mhd;
    struct buf stamp; /* of the certificate's files */
    struct buf cert;  /* PEM of the one that is used */
    struct files files;
    sd_event_source *io, *timer, *sweep;
    struct connection *connections;
    struct http_request *waiting;
    bool running;         /* within MHD_run */
    bool unpublished;     /* the others do not know of us yet… */
    double publish_again; /* …or may have lost it: looked at then; monotonic */
};

/* ---- lists ---- */

static void connection_link(struct connection **head, struct connection *c)
{
    c->next = *head;
    c->to_me = head;
    if (c->next)
        c->next->to_me = &c->next;
    *head = c;
}

static void connection_unlink(struct connection *c)
{
    *c->to_me = c->next;
    if (c->next)
        c->next->to_me = c->to_me;
}

static void wait_begin(struct http_request *r)
{
    struct http_request **head = &r->server->waiting;
    r->waiting = true;
    r->next = *head;
    r->to_me = head;
    if (r->next)
        r->next->to_me = &r->next;
    *head = r;
}

static void wait_end(struct http_request *r)
{
    if (!r->waiting)
        return;
    r->waiting = false;
    *r->to_me = r->next;
    if (r->next)
        r->next->to_me = r->to_me;
}

/* ---- the loop ---- */

static int on_io(sd_event_source *s, int fd, uint32_t revents, void *arg);

static void set_timer(struct server *s)
{
    MHD_UNSIGNED_LONG_LONG ms = 0;
    if (MHD_get_timeout(s->mhd, &ms) == MHD_YES) {
        sd_event_source_set_time_relative(s->timer, ms * 1000);
        sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT);
    } else {
        sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);
    }
}

static void run(struct server *s)
{
    if (s->running)
        return;
    s->running = true;
    MHD_run(s->mhd);
    s->running = false;
    set_timer(s);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
    run(arg);
    return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *arg)
{
    run(arg);
    return 0;
}

/* ---- the certificate ---- */

/* A tree that cannot be written now is no reason not to serve. */
static void publish(struct server *s, struct tree *t)
{
    struct err e = {0};
    _cleanup_free_ char *where = listen_where(s->api->settings);
    bool said = s->unpublished;
    s->publish_again = clock_mono() + PUBLISH_SECONDS;
    s->unpublished = place_publish(t, s->api->settings, where, buf_str(&s->cert), &e) < 0;
    if (s->unpublished && !said)
        s->api->log(LOG_WARNING, "other nodes cannot ask this one's API until that is mended: %s", e.text);
    else if (said && !s->unpublished)
        s->api->log(LOG_INFO, "other nodes can ask this one's API now");
}

static int take_certificate(struct server *s, struct tree *t, struct err *e)
{
    struct err why = {0};
    struct certificate c = {0};
    const char *file = s->api->settings->tls_cert;
    int r = certificate_load(s->api->settings, t, &c, e);
    if (r == 0 && (r = tls_use(&c, &why)) < 0)
        err_set(e, ERR_CONFIG, 0, "the API's certificate (%s) cannot be used: %s",
                file ? file : "the node's own, in the cluster's tree", why.text);
    if (r == 0) {
        buf_clear(&s->cert);
        buf_add(&s->cert, c.cert.data, c.cert.len);
        publish(s, t);
    }
    certificate_release(&c);
    return r;
}

/* Where there is none the first look makes it, and what is stamped is there. */
static int first_certificate(struct server *s, struct tree *t, struct err *e)
{
    if (take_certificate(s, t, e) < 0)
        return -1;
    certificate_stamp(s->api->settings, t, &s->stamp);
    return take_certificate(s, t, e);
}

/* One that is not whole yet is said once; its next change is looked at again. */
static void look_at_certificate(struct server *s)
{
    struct err e = {0};
    _cleanup_buf_ struct buf stamp = BUF_INIT;
    _cleanup_(tree_freep) struct tree *t = tree_open(s->api->settings->cluster, &e);
    if (!t)
        return;
    certificate_stamp(s->api->settings, t, &stamp);
    bool same = strcmp(buf_str(&stamp), buf_str(&s->stamp)) == 0;
    if (same) {
        if (clock_mono() >= s->publish_again)
            publish(s, t);
        return;
    }
    buf_clear(&s->stamp);
    buf_adds(&s->stamp, buf_str(&stamp));
    if (take_certificate(s, t, &e) < 0)
        s->api->log(LOG_WARNING, "%s; the former one is used on", e.text);
    else
        s->api->log(LOG_INFO, "the API's certificate was read again");
}

/* Whoever is late. The library sees the end of the connection and clears up. */
static int on_sweep(sd_event_source *source, uint64_t usec, void *arg)
{
    struct server *s = arg;
    double now = clock_mono();
    for (struct connection *c = s->connections; c; c = c->next)
        if (now > c->deadline)
            shutdown(c->fd, SHUT_RDWR);
    api_log_held(s->api);
    tls_sweep(2 * SERVER_REQUEST_SECONDS);
    look_at_certificate(s);
    events_sweep(s->api->events);
    sd_event_source_set_time_relative(source, SWEEP_USEC);
    sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    run(s);
    return 0;
}

/* ---- connections ---- */

static void print_client(struct MHD_Connection *mhd, char out[INET6_ADDRSTRLEN])
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    listen_print_peer(info ? info->client_addr : NULL, out);
}

static enum MHD_Result may_connect(void *cls, const struct sockaddr *sa, socklen_t len)
{
    const struct server *s = cls;
    char address[INET6_ADDRSTRLEN], room[INET6_ADDRSTRLEN];
    unsigned n = 0;
    listen_print_peer(sa, address);
    const char *network = attempts_network(address, room);
    for (const struct connection *c = s->connections; c; c = c->next)
        n += strcmp(c->network, network) == 0;
    return n < SERVER_CONNECTIONS_ADDRESS ? MHD_YES : MHD_NO;
}

static struct connection *connection_new(struct MHD_Connection *mhd)
{
    char address[INET6_ADDRSTRLEN], room[INET6_ADDRSTRLEN];
    struct connection *c = xcalloc(1, sizeof *c);
    c->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    c->deadline = clock_mono() + SERVER_REQUEST_SECONDS;
    print_client(mhd, address);
    snprintf(c->network, sizeof c->network, "%s", attempts_network(address, room));
    return c;
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct server *s = cls;
    struct connection *c = *context;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        c = connection_new(mhd);
        connection_link(&s->connections, c);
        *context = c;
    } else if (c) {
        connection_unlink(c);
        free(c);
        *context = NULL;
    }
}

static void set_deadline(struct MHD_Connection *mhd, double seconds)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct connection *c = info ? info->socket_context : NULL;
    if (c)
        c->deadline = clock_mono() + seconds;
}

/* ---- requests ---- */

/* The request line as it came: escapes are ours to understand. */
static void *on_request_line(void *cls, const char *uri, struct MHD_Connection *mhd)
{
    struct http_request *r = xcalloc(1, sizeof *r);
    r->server = cls;
    r->mhd = mhd;
    r->uri = xstrdup(uri);
    return r;
}

static void on_answered(struct call *c)
{
    struct http_request *r = c->arg;
    r->ready = true;
    wait_end(r);
    MHD_resume_connection(r->mhd);
    run(r->server);
}

/* Many may have more at the same time: they are served by one round. */
static void on_more(struct call *c)
{
    struct http_request *r = c->arg;
    if (!r->asleep)
        return;
    r->asleep = false;
    MHD_resume_connection(r->mhd);
    sd_event_source_set_time_relative(r->server->timer, 0);
    sd_event_source_set_enabled(r->server->timer, SD_EVENT_ONESHOT);
}

static const char *header(struct MHD_Connection *mhd, const char *name)
{
    return MHD_lookup_connection_value(mhd, MHD_HEADER_KIND, name);
}

static void fill(struct http_request *r, const char *method)
{
    struct call *c = &r->call;
    c->api = r->server->api;
    c->method = method;
    c->uri = r->uri;
    c->content_type = header(r->mhd, "Content-Type");
    c->credentials =
        (struct credentials){.authorization = header(r->mhd, "Authorization"),
                             .cookie = header(r->mhd, "Cookie"),
                             .csrf = header(r->mhd, "CSRFPreventionToken"),
                             .method_is_safe = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0};
    c->forwarded_by = header(r->mhd, RELAY_HEADER);
    c->last_event_id = header(r->mhd, "Last-Event-ID");
    print_client(r->mhd, c->address);
    c->answered = on_answered;
    c->more = on_more;
    c->arg = r;
}

/* Asked for more when what it gave is on its way: whoever does not take that in time is cut, as all are. */
static ssize_t on_read(void *cls, uint64_t at, char *out, size_t room)
{
    struct http_request *r = cls;
    ssize_t n = stream_read(r->call.stream, out, room);
    set_deadline(r->mhd, SERVER_ANSWER_SECONDS);
    if (n < 0)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (n == 0) {
        r->asleep = true;
        MHD_suspend_connection(r->mhd);
    }
    return n;
}

static enum MHD_Result send_stream(struct http_request *r)
{
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, on_read, r, NULL);
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, "Content-Type", "text/event-stream");
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    reason_set(200, NULL);
    enum MHD_Result result = MHD_queue_response(r->mhd, 200, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result send_answer(struct http_request *r)
{
    struct call *c = &r->call;
    if (c->stream)
        return send_stream(r);
    _cleanup_buf_ struct buf body = BUF_INIT;
    call_print(c, &body);
    size_t n = body.len;
    struct MHD_Response *response =
        MHD_create_response_from_buffer(n, buf_take(&body), MHD_RESPMEM_MUST_FREE);
    if (!response)
        return MHD_NO;
    unsigned status = c->extjs && c->status != 401 ? 200 : c->status;
    MHD_add_response_header(response, "Content-Type", call_type(c, header(r->mhd, "Accept")));
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    reason_set(status, status == c->status ? c->message : NULL);
    enum MHD_Result result = MHD_queue_response(r->mhd, status, response);
    MHD_destroy_response(response);
    return result;
}

/* What the panel may load, and who may show it: nothing from elsewhere, no script in a page's text, no page
 * around it. */
static const char *const file_headers[][2] = {
    {"Cache-Control", "no-cache"},
    {"Content-Security-Policy",
     "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"},
    {"Referrer-Policy", "no-referrer"},
    {"X-Content-Type-Options", "nosniff"},
    {"X-Frame-Options", "DENY"},
};

static enum MHD_Result send_file(struct http_request *r, const struct file *f)
{
    bool known = file_is_known(f, header(r->mhd, "If-None-Match"));
    struct MHD_Response *response =
        MHD_create_response_from_buffer(known ? 0 : f->len, f->data, MHD_RESPMEM_PERSISTENT);
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, "Content-Type", f->type);
    MHD_add_response_header(response, "ETag", f->etag);
    for (size_t i = 0; i < ELEMENTS(file_headers); i++)
        MHD_add_response_header(response, file_headers[i][0], file_headers[i][1]);
    unsigned status = known ? 304 : 200;
    reason_set(status, NULL);
    enum MHD_Result result = MHD_queue_response(r->mhd, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result take_body(struct http_request *r, const char *data, size_t *size)
{
    struct buf *body = &r->call.body;
    if (body->len + *size > API_BODY_MAX)
        r->too_big = true; /* the rest is read and dropped: until the deadline */
    else
        buf_add(body, data, *size);
    *size = 0;
    return MHD_YES;
}

static enum MHD_Result begin(struct http_request *r, const char *method)
{
    set_deadline(r->mhd, SERVER_ANSWER_SECONDS);
    fill(r, method);
    if (r->too_big) {
        call_refuse(&r->call, 413, "the request's body is larger than %d bytes", API_BODY_MAX);
        return send_answer(r);
    }
    const struct file *file =
        r->call.credentials.method_is_safe ? files_find(&r->server->files, r->uri) : NULL;
    if (file)
        return send_file(r, file);
    if (call_begin(&r->call) == 0)
        return send_answer(r);
    unsigned seconds = call_seconds(&r->call) + SERVER_MORE_SECONDS;
    if (seconds > SERVER_ANSWER_SECONDS)
        set_deadline(r->mhd, seconds);
    wait_begin(r);
    MHD_suspend_connection(r->mhd);
    return MHD_YES;
}

static enum MHD_Result refuse_early(struct http_request *r, unsigned status, const char *why)
{
    call_refuse(&r->call, status, "%s", why);
    return send_answer(r);
}

/* Who sends a body already reads no answer before its end, and would only see the connection go: what is not
 * far too large is read, and dropped. */
static bool is_refused_early(struct MHD_Connection *mhd)
{
    const char *length = header(mhd, "Content-Length");
    unsigned long most = header(mhd, "Expect") ? API_BODY_MAX : DROP_MAX;
    return length && (strlen(length) > 9 || strtoul(length, NULL, 10) > most);
}

/* Called with the head, with each part of the body, at its end, and once more when a child has answered. */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
                                  const char *version, const char *data, size_t *size, void **context)
{
    struct http_request *r = *context;
    if (!r)
        return MHD_NO;
    if (!r->seen) {
        r->seen = true;
        return is_refused_early(mhd) ? refuse_early(r, 413, "the request's body is too large") : MHD_YES;
    }
    if (r->ready) {
        set_deadline(mhd, SERVER_ANSWER_SECONDS);
        return send_answer(r);
    }
    if (*size)
        return take_body(r, data, size);
    return r->waiting ? MHD_YES : begin(r, method);
}

static void on_completed(void *cls, struct MHD_Connection *mhd, void **context,
                         enum MHD_RequestTerminationCode how)
{
    struct http_request *r = *context;
    if (!r)
        return;
    *context = NULL;
    wait_end(r);
    set_deadline(mhd, SERVER_REQUEST_SECONDS);
    call_release(&r->call);
    free(r->uri);
    free(r);
}

static void on_log(void *cls, const char *format, va_list ap)
{
}

/* ---- life ---- */

static int start_http(struct server *s, int fd)
{
    s->mhd = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_TLS | MHD_USE_ERROR_LOG, 0, may_connect, s,
        on_request, s, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_HTTPS_CERT_CALLBACK, tls_retrieve, MHD_OPTION_HTTPS_PRIORITIES, TLS_PRIORITIES,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)SERVER_CONNECTIONS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)SERVER_HEAD_MAX, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SERVER_REQUEST_SECONDS,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, s, MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_URI_LOG_CALLBACK,
        on_request_line, s, MHD_OPTION_END);
    return s->mhd ? 0 : -1;
}

static int add_sources(struct server *s, struct err *e)
{
    sd_event *event = s->api->event;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->mhd, MHD_DAEMON_INFO_EPOLL_FD);
    int r = info ? sd_event_add_io(event, &s->io, info->epoll_fd, EPOLLIN, on_io, s) : -EINVAL;
    if (r >= 0)
        r = sd_event_add_time_relative(event, &s->timer, CLOCK_MONOTONIC, 0, 1, on_timer, s);
    if (r >= 0)
        r = sd_event_add_time_relative(event, &s->sweep, CLOCK_MONOTONIC, SWEEP_USEC, 0, on_sweep, s);
    /* replication comes first, however many ask */
    if (r >= 0)
        r = sd_event_source_set_priority(s->io, SD_EVENT_PRIORITY_IDLE);
    if (r >= 0)
        r = sd_event_source_set_priority(s->timer, SD_EVENT_PRIORITY_IDLE);
    return r < 0 ? err_set(e, ERR_SYSTEM, -r, "cannot put the API on the event loop") : 0;
}

/* The API is there without it, too. */
static void load_panel(struct server *s)
{
    struct err e = {0};
    if (files_load(s->api->settings->panel_dir, &s->files, &e) < 0)
        s->api->log(LOG_WARNING, "the web panel is not served: %s", e.text);
}

static int start(struct server *s, struct err *e)
{
    const struct settings *settings = s->api->settings;
    _cleanup_(tree_freep) struct tree *t = tree_open(settings->cluster, e);
    if (!t || first_certificate(s, t, e) < 0)
        return -1;
    load_panel(s);
    _cleanup_free_ char *where = listen_where(settings);
    _cleanup_close_ int fd = listen_open(where, e);
    if (fd < 0)
        return -1;
    if (start_http(s, fd) < 0)
        return err_set(e, ERR_SYSTEM, 0, "cannot serve the API: libmicrohttpd does not start");
    (void)take_fd(&fd);
    s->api->log(LOG_INFO, "the API is served on %s", where);
    return add_sources(s, e);
}

struct server *server_start(struct api *api, struct err *e)
{
    struct server *s = xcalloc(1, sizeof *s);
    s->api = api;
    if (!api->attempts)
        api->attempts = attempts_new();
    api->events = events_new(api);
    if (!api->forwards)
        api->forwards = forwards_new(api->event, e);
    if (api->forwards && start(s, e) == 0)
        return s;
    server_free(s);
    return NULL;
}

void server_free(struct server *s)
{
    if (!s)
        return;
    while (s->waiting)
        call_cut(&s->waiting->call);
    events_end(s->api->events);
    for (size_t i = 0; s->mhd && i < LAST_ROUNDS; i++)
        run(s);
    s->running = true;
    if (s->mhd)
        MHD_stop_daemon(s->mhd);
    events_free(s->api->events);
    s->api->events = NULL;
    sd_event_source_disable_unref(s->io);
    sd_event_source_disable_unref(s->timer);
    sd_event_source_disable_unref(s->sweep);
    tls_release();
    buf_release(&s->stamp);
    buf_release(&s->cert);
    files_release(&s->files);
    free(s);
}
