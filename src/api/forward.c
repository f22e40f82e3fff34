#include "api/forward.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

struct forwards {
    sd_event *event;
    CURLM *multi;
    sd_event_source *timer;
    struct forward *first;
};

struct forward {
    struct forwards *all;
    struct forward *next;
    char *who;
    CURL *easy;
    struct curl_slist *headers;
    struct buf body; /* what is sent */
    struct forward_result result;
    char problem[CURL_ERROR_SIZE];
    void (*done)(const struct forward_result *r, void *arg);
    void *arg;
};

static void wipe(struct buf *b)
{
    if (b->data)
        explicit_bzero(b->data, b->room);
    buf_release(b);
}

static void destroy(struct forward *f)
{
    struct forward **p = &f->all->first;
    while (*p != f)
        p = &(*p)->next;
    *p = f->next;
    curl_multi_remove_handle(f->all->multi, f->easy);
    curl_easy_cleanup(f->easy);
    for (struct curl_slist *h = f->headers; h; h = h->next)
        explicit_bzero(h->data, strlen(h->data));
    curl_slist_free_all(f->headers);
    wipe(&f->body);
    wipe(&f->result.body);
    free(f->who);
    free(f);
}

/* ---- the loop ---- */

static void end(struct forward *f, CURLcode code)
{
    long status = 0;
    curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &status);
    f->result.status = code == CURLE_OK ? (unsigned)status : 0;
    f->result.problem = *f->problem ? f->problem : curl_easy_strerror(code);
    if (code == CURLE_SSL_PINNEDPUBKEYNOTMATCH)
        f->result.problem = "it has another key than the cluster's tree says";
    f->done(&f->result, f->arg);
    destroy(f);
}

static void act(struct forwards *all, curl_socket_t fd, int mask)
{
    int running, left;
    CURLMsg *m;
    curl_multi_socket_action(all->multi, fd, mask, &running);
    while ((m = curl_multi_info_read(all->multi, &left))) {
        char *f;
        if (m->msg != CURLMSG_DONE)
            continue;
        CURLcode code = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &f);
        end((struct forward *)(void *)f, code);
    }
}

static int on_timer(sd_event_source *s, uint64_t usec, void *arg)
{
    act(arg, CURL_SOCKET_TIMEOUT, 0);
    return 0;
}

static int on_io(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
    bool in = revents & (EPOLLIN | EPOLLHUP | EPOLLERR), out = revents & EPOLLOUT;
    act(arg, fd, (in ? CURL_CSELECT_IN : 0) | (out ? CURL_CSELECT_OUT : 0));
    return 0;
}

static int want_timer(CURLM *multi, long ms, void *arg)
{
    struct forwards *all = arg;
    if (ms < 0)
        return sd_event_source_set_enabled(all->timer, SD_EVENT_OFF) < 0 ? -1 : 0;
    sd_event_source_set_time_relative(all->timer, (uint64_t)ms * 1000);
    return sd_event_source_set_enabled(all->timer, SD_EVENT_ONESHOT) < 0 ? -1 : 0;
}

static int want_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
    struct forwards *all = arg;
    sd_event_source *s = known;
    uint32_t events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
    if (what == CURL_POLL_REMOVE) {
        sd_event_source_disable_unref(s);
        curl_multi_assign(all->multi, fd, NULL);
        return 0;
    }
    if (s)
        return sd_event_source_set_io_events(s, events) < 0 ? -1 : 0;
    if (sd_event_add_io(all->event, &s, fd, events, on_io, all) < 0)
        return -1;
    sd_event_source_set_priority(s, SD_EVENT_PRIORITY_IDLE);
    curl_multi_assign(all->multi, fd, s);
    return 0;
}

/* ---- one ---- */

static size_t take(char *data, size_t one, size_t n, void *arg)
{
    struct forward *f = arg;
    if (f->result.body.len + n > FORWARD_ANSWER_MAX)
        return 0;
    buf_add(&f->result.body, data, n);
    return n;
}

static void set_limits(CURL *c)
{
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_QUICK_EXIT, 1L); /* else the end waits for a resolver that is still at it */
    curl_easy_setopt(c, CURLOPT_PROXY, "");
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(c, CURLOPT_FORBID_REUSE, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)(FORWARD_CONNECT_SECONDS * 1000));
    /* the pin says who it is: names and authorities are not asked, nor are the system's read, which takes
     * long */
    curl_easy_setopt(c, CURLOPT_CAINFO, NULL);
    curl_easy_setopt(c, CURLOPT_CAPATH, NULL);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 0L);
    curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
}

static CURLcode describe(struct forward *f, const struct forward_request *r)
{
    CURL *c = f->easy;
    set_limits(c);
    for (size_t i = 0; i < r->headers->n; i++)
        f->headers = curl_slist_append(f->headers, r->headers->v[i]);
    curl_easy_setopt(c, CURLOPT_TIMEOUT, (long)r->seconds);
    curl_easy_setopt(c, CURLOPT_PRIVATE, f);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, f->problem);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, f);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, f->headers);
    curl_easy_setopt(c, CURLOPT_URL, r->url);
    if (r->body) {
        buf_add(&f->body, r->body, r->len);
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, buf_str(&f->body));
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE, (long)f->body.len);
    }
    curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, r->method);
    return curl_easy_setopt(c, CURLOPT_PINNEDPUBLICKEY, r->pin);
}

static int check_room(const struct forwards *all, const char *who, struct err *e)
{
    unsigned n = 0, own = 0;
    for (const struct forward *f = all->first; f; f = f->next) {
        n++;
        own += strcmp(f->who, who) == 0;
    }
    if (own >= FORWARDS_OF_ONE)
        return err_set(e, ERR_BUSY, 0, "%u requests of yours to other nodes are under way: try again", own);
    if (n >= FORWARDS_MAX)
        return err_set(e, ERR_BUSY, 0, "%u requests to other nodes are under way: try again", n);
    return 0;
}

struct forward *forward_start(struct forwards *all, const struct forward_request *r,
                              void (*done)(const struct forward_result *r, void *arg), void *arg,
                              struct err *e)
{
    if (check_room(all, r->who, e) < 0)
        return NULL;
    struct forward *f = xcalloc(1, sizeof *f);
    *f = (struct forward){.all = all,
                          .next = all->first,
                          .who = xstrdup(r->who),
                          .easy = curl_easy_init(),
                          .done = done,
                          .arg = arg};
    all->first = f;
    /* without a pin anybody would be believed */
    if (f->easy && describe(f, r) == CURLE_OK && curl_multi_add_handle(all->multi, f->easy) == CURLM_OK)
        return f;
    destroy(f);
    err_set(e, ERR_SYSTEM, 0, "libcurl cannot send a request to another node");
    return NULL;
}

void forward_cancel(struct forward *f)
{
    if (f)
        destroy(f);
}

/* ---- all ---- */

struct forwards *forwards_new(sd_event *event, struct err *e)
{
    struct forwards *all = xcalloc(1, sizeof *all);
    all->event = event;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
        all->multi = curl_multi_init();
    if (!all->multi ||
        sd_event_add_time_relative(event, &all->timer, CLOCK_MONOTONIC, 0, 1, on_timer, all) < 0) {
        err_set(e, ERR_SYSTEM, 0, "libcurl cannot be put on the event loop");
        forwards_free(all);
        return NULL;
    }
    sd_event_source_set_enabled(all->timer, SD_EVENT_OFF);
    sd_event_source_set_priority(all->timer, SD_EVENT_PRIORITY_IDLE);
    curl_multi_setopt(all->multi, CURLMOPT_SOCKETFUNCTION, want_socket);
    curl_multi_setopt(all->multi, CURLMOPT_SOCKETDATA, all);
    curl_multi_setopt(all->multi, CURLMOPT_TIMERFUNCTION, want_timer);
    curl_multi_setopt(all->multi, CURLMOPT_TIMERDATA, all);
    return all;
}

void forwards_free(struct forwards *all)
{
    if (!all)
        return;
    if (all->multi)
        curl_multi_cleanup(all->multi);
    sd_event_source_disable_unref(all->timer);
    free(all);
}
