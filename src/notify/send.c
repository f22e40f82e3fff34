#include "notify/send.h"

#include "base/text.h"
#include "notify/stock.h"
#include "notify/template.h"
#include "state/mail.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define CONNECT_SECONDS 15L

/* ---- libcurl ---- */

/* What the server says beside its status is not ours to print. */
static size_t drop(char *data, size_t size, size_t n, void *arg)
{
    return size * n;
}

static CURL *begin(const char *url, const char *protocols, char problem[CURL_ERROR_SIZE])
{
    CURL *curl = curl_easy_init();
    if (!curl)
        abort();
    *problem = 0;
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, protocols);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, problem);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)SEND_SECONDS);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, drop);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "pvesr/" PVESR_VERSION);
    return curl;
}

static int check(const struct notify_target *t, CURLcode code, const char *problem, struct err *e)
{
    if (code == CURLE_OK)
        return 0;
    return err_set(e, ERR_NETWORK, 0, "target '%s' of %s: %s", t->name, t->file,
                   *problem ? problem : curl_easy_strerror(code));
}

/* ---- HTTP ---- */

static int post(const struct notify_target *t, const char *method, const char *url,
                const struct strv *headers, const struct buf *body, struct err *e)
{
    char problem[CURL_ERROR_SIZE];
    long status = 0;
    struct curl_slist *list = NULL;
    CURL *curl = begin(url, "http,https", problem);
    for (size_t i = 0; i < headers->n; i++)
        list = curl_slist_append(list, headers->v[i]);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, list);
    if (strcmp(method, "GET") != 0) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)body->len);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, buf_str(body));
    }
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(curl);
    curl_slist_free_all(list);
    if (check(t, code, problem, e) < 0)
        return -1;
    bool for_good = status / 100 == 4 && status != 408 && status != 425 && status != 429;
    return status / 100 == 2
               ? 0
               : err_set(e, for_good ? ERR_DATA : ERR_NETWORK, 0,
                         "target '%s' of %s: the server answers with status %ld", t->name, t->file, status);
}

static void add_json(struct buf *out, const json_t *o)
{
    char *text = json_dumps(o, JSON_SORT_KEYS);
    buf_adds(out, text ? text : "{}");
    free(text);
}

/* Each on one line, whatever fills it. */
static int fill_headers(const struct notify_target *t, const json_t *event, const struct sending *s,
                        struct strv *ret, struct err *e)
{
    bool typed = false;
    for (size_t i = 0; i < t->headers.n; i++) {
        _cleanup_buf_ struct buf line = BUF_INIT;
        if (template_fill(t->headers.v[i], event, &t->secrets, &line, e) < 0)
            return -1;
        text_clean(line.data);
        typed = typed || strncasecmp(line.data, "content-type:", 13) == 0;
        strv_add(ret, line.data);
    }
    if (!typed)
        strv_add(ret, "Content-Type: application/json");
    strv_addf(ret, "Idempotency-Key: %s", s->id);
    return 0;
}

static int send_webhook(const struct notify_target *t, const json_t *event, const struct sending *s,
                        struct err *e)
{
    static const char *const methods[] = {"POST", "PUT", "GET"};
    const char *method = methods[0];
    _cleanup_buf_ struct buf url = BUF_INIT, body = BUF_INIT;
    _cleanup_strv_ struct strv headers = STRV_INIT;
    for (size_t i = 0; t->method && i < ELEMENTS(methods); i++)
        if (strcasecmp(t->method, methods[i]) == 0)
            method = methods[i];
    int r = template_fill(t->url, event, &t->secrets, &url, e);
    if (r == 0)
        r = fill_headers(t, event, s, &headers, e);
    if (r == 0 && t->body)
        r = template_fill(t->body, event, &t->secrets, &body, e);
    if (r < 0)
        return err_wrap(e, "target '%s' of %s", t->name, t->file);
    if (!t->body)
        add_json(&body, event);
    return post(t, method, buf_str(&url), &headers, &body, e);
}

/* NULL, and a sentence, where there is none. */
static const char *need_secret(const struct notify_target *t, const char *name, struct err *e)
{
    const char *secret = secret_find(&t->secrets, name);
    if (!secret)
        err_set(e, ERR_CONFIG, 0, "target '%s' of %s: there is no '%s' in priv/%s", t->name, t->file, name,
                t->file);
    return secret;
}

static int send_gotify(const struct notify_target *t, const json_t *event, struct err *e)
{
    const char *token = need_secret(t, "token", e);
    if (!token)
        return -1;
    const char *severity = event_text(event, "severity");
    int priority = strcmp(severity, "error") == 0 ? 8 : strcmp(severity, "warning") == 0 ? 5 : 3;
    size_t n = strlen(t->server);
    _cleanup_free_ char *url = xasprintf("%.*s/message", (int)(n - (t->server[n - 1] == '/')), t->server);
    _cleanup_buf_ struct buf body = BUF_INIT;
    _cleanup_strv_ struct strv headers = STRV_INIT;
    json_t *o = json_pack("{s:s, s:s, s:i}", "title", event_text(event, "title"), "message",
                          event_text(event, "message"), "priority", priority);
    add_json(&body, o);
    json_decref(o);
    strv_add(&headers, "Content-Type: application/json");
    strv_addf(&headers, "X-Gotify-Key: %s", token);
    return post(t, "POST", url, &headers, &body, e);
}

/* ---- mail ---- */

struct upload {
    const struct buf *text;
    size_t at;
};

static size_t read_mail(char *to, size_t size, size_t n, void *arg)
{
    struct upload *u = arg;
    size_t rest = u->text->len - u->at, take = rest < size * n ? rest : size * n;
    if (take)
        memcpy(to, u->text->data + u->at, take);
    u->at += take;
    return take;
}

static void add_crlf(const struct buf *text, struct buf *out)
{
    for (size_t i = 0; i < text->len; i++)
        if (text->data[i] == '\n')
            buf_adds(out, "\r\n");
        else
            buf_addc(out, text->data[i]);
}

static void compose(const struct notify_target *t, const json_t *event, const struct sending *s,
                    struct buf *ret)
{
    mail_compose_text(&(struct text_mail){.from = t->mail_from ? t->mail_from : s->from,
                                          .to = t->mail_to,
                                          .id = s->id,
                                          .subject = event_text(event, "title"),
                                          .text = event_text(event, "message")},
                      ret);
}

static int send_mail(const struct notify_target *t, const json_t *event, const struct sending *s,
                     struct err *e)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    compose(t, event, s, &text);
    return mail_send(s->sendmail, &text, e) < 0 ? err_wrap(e, "target '%s' of %s", t->name, t->file) : 0;
}

/* What the server says of a mail: whether it was offered at all (what is refused before that, the greeting, a
 * password, no TLS, is mended without it), and to whom it is not taken. */
struct smtp_talk {
    const struct strv *to;
    size_t asked; /* of them */
    bool awaits;  /* the answer to the last one */
    bool offered, later;
    struct strv refused, why;
};

static void hear(struct smtp_talk *t, const char *line, size_t n)
{
    if (!t->awaits || n < 4 || line[3] == '-' || t->asked > t->to->n)
        return;
    t->awaits = false;
    if (*line == '2')
        return;
    t->later = t->later || *line != '5';
    strv_add(&t->refused, t->to->v[t->asked - 1]);
    strv_addf(&t->why, "%s (%.*s)", t->to->v[t->asked - 1], (int)(n < 200 ? strcspn(line, "\r\n") : 200),
              line);
}

static int watch_smtp(CURL *curl, curl_infotype type, char *data, size_t n, void *arg)
{
    struct smtp_talk *t = arg;
    _cleanup_free_ char *line = xstrndup(data, n);
    if (type == CURLINFO_HEADER_OUT && strncasecmp(line, "MAIL ", 5) == 0)
        t->offered = true;
    if (type == CURLINFO_HEADER_OUT && strncasecmp(line, "RCPT ", 5) == 0) {
        t->awaits = true;
        t->asked++;
    }
    if (type == CURLINFO_HEADER_IN)
        hear(t, line, strlen(line));
    return 0;
}

/* It was taken, but perhaps not for all. */
static int check_recipients(const struct notify_target *t, const struct smtp_talk *talk, struct strv *had,
                            struct err *e)
{
    for (size_t i = 0; i < talk->to->n; i++)
        if (had && !strv_has(&talk->refused, talk->to->v[i]))
            strv_add_once(had, talk->to->v[i]);
    if (!talk->refused.n)
        return 0;
    _cleanup_free_ char *who = strv_join(&talk->why, ", ");
    return err_set(e, talk->later ? ERR_NETWORK : ERR_DATA, 0,
                   "target '%s' of %s: the server takes it for others, who have it, but not for %s", t->name,
                   t->file, who);
}

/* As check; with what the server answered. 421: it goes away, which says nothing of the mail. */
static int check_smtp(const struct notify_target *t, CURL *curl, CURLcode code, const struct smtp_talk *talk,
                      const char *problem, struct err *e)
{
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    bool answered = code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR || code == CURLE_WEIRD_SERVER_REPLY;
    if (!answered || status < 400)
        return check(t, code, problem, e);
    return err_set(e, talk->offered && !talk->later && status >= 500 ? ERR_DATA : ERR_NETWORK, 0,
                   "target '%s' of %s: the server answers with status %ld (%s)", t->name, t->file, status,
                   *problem ? problem : curl_easy_strerror(code));
}

static char *smtp_url(const struct notify_target *t, bool tls)
{
    bool six = strchr(t->server, ':') && *t->server != '[';
    bool starts = t->mode && strcmp(t->mode, "starttls") == 0;
    unsigned port = t->port ? t->port : tls ? 465 : starts ? 587 : 25;
    return xasprintf("%s://%s%s%s:%u", tls ? "smtps" : "smtp", six ? "[" : "", t->server, six ? "]" : "",
                     port);
}

/* To those of `to` who are there; one who is refused keeps it from no other one. */
static int submit(const struct notify_target *t, const char *password, const struct buf *text,
                  const struct strv *to, struct strv *had, struct err *e)
{
    char problem[CURL_ERROR_SIZE];
    bool tls = !t->mode || strcmp(t->mode, "tls") == 0;
    _cleanup_free_ char *url = smtp_url(t, tls);
    struct upload upload = {.text = text};
    struct smtp_talk talk = {.to = to};
    struct curl_slist *recipients = NULL;
    for (size_t i = 0; i < to->n; i++)
        recipients = curl_slist_append(recipients, to->v[i]);
    CURL *curl = begin(url, "smtp,smtps", problem);
    if (tls || strcmp(t->mode, "starttls") == 0)
        curl_easy_setopt(curl, CURLOPT_USE_SSL, (long)CURLUSESSL_ALL);
    curl_easy_setopt(curl, CURLOPT_USERNAME, t->user);
    curl_easy_setopt(curl, CURLOPT_PASSWORD, password);
    curl_easy_setopt(curl, CURLOPT_MAIL_FROM, t->mail_from);
    curl_easy_setopt(curl, CURLOPT_MAIL_RCPT, recipients);
    curl_easy_setopt(curl, CURLOPT_MAIL_RCPT_ALLLOWFAILS, 1L);
    curl_easy_setopt(curl, CURLOPT_READFUNCTION, read_mail);
    curl_easy_setopt(curl, CURLOPT_READDATA, &upload);
    curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(curl, CURLOPT_VERBOSE, 1L); /* for the watch alone, which prints nothing */
    curl_easy_setopt(curl, CURLOPT_DEBUGFUNCTION, watch_smtp);
    curl_easy_setopt(curl, CURLOPT_DEBUGDATA, &talk);
    CURLcode code = curl_easy_perform(curl);
    int r = check_smtp(t, curl, code, &talk, problem, e);
    if (r == 0)
        r = check_recipients(t, &talk, had, e);
    curl_easy_cleanup(curl);
    curl_slist_free_all(recipients);
    strv_release(&talk.refused);
    strv_release(&talk.why);
    return r;
}

static int send_smtp(const struct notify_target *t, const json_t *event, const struct sending *s,
                     struct err *e)
{
    const char *password = t->user ? need_secret(t, "password", e) : NULL;
    if (t->user && !password)
        return -1;
    _cleanup_buf_ struct buf text = BUF_INIT, lines = BUF_INIT;
    _cleanup_strv_ struct strv all = STRV_INIT, to = STRV_INIT;
    strv_split(&all, t->mail_to, ", \t");
    for (size_t i = 0; i < all.n; i++)
        if (!s->had || !strv_has(s->had, all.v[i]))
            strv_add_once(&to, all.v[i]);
    if (all.n && !to.n) /* who did not take it is no recipient any more */
        return 0;
    compose(t, event, s, &text);
    add_crlf(&text, &lines);
    return submit(t, password, &lines, &to, s->had, e);
}

static int send_by_kind(const struct notify_target *t, const json_t *event, const struct sending *s,
                        struct err *e)
{
    switch (t->kind) {
    case TARGET_SENDMAIL:
        return send_mail(t, event, s, e);
    case TARGET_SMTP:
        return send_smtp(t, event, s, e);
    case TARGET_GOTIFY:
        return send_gotify(t, event, e);
    default:
        return send_webhook(t, event, s, e);
    }
}

int notify_send(const struct notify_target *t, const json_t *event, const struct sending *s, struct err *e)
{
    if (strcmp(t->file, STOCK_FILE) != 0)
        return send_by_kind(t, event, s, e);
    json_t *o = stock_event(event);
    int r = send_by_kind(t, o, s, e);
    json_decref(o);
    return r;
}
