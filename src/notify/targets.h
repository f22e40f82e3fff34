/* Who is told what, and how (BEHAVIOUR.md#notifications): notify.cfg with the secrets in priv/notify.cfg, or,
 * by stock.h, the file of Proxmox VE. */
#pragma once

#include "base/strv.h"
#include "notify/event.h"
#include "notify/matcher.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TARGETS_MAX 32
#define NOTIFY_FILE "notify.cfg"

enum target_kind { TARGET_SENDMAIL, TARGET_SMTP, TARGET_WEBHOOK, TARGET_GOTIFY, TARGET_KINDS };

struct notify_target {
    enum target_kind kind;
    char *name;
    const char *file; /* where it stands: NOTIFY_FILE, or another one */
    unsigned events;  /* 1 << event_kind; by matchers where there are any */
    bool disabled;
    char *mail_to, *mail_from;    /* of mails; from may be NULL (sendmail): as for other mails */
    char *server, *mode, *user;   /* of smtp; server of gotify: a URL */
    uint16_t port;                /* 0: by the mode */
    char *url, *method, *body;    /* of webhook; body may be NULL: the event as JSON */
    struct strv headers, secrets; /* "NAME: TEMPLATE"; "NAME=VALUE" */
};

struct notify_targets {
    struct notify_target *v;
    size_t n;
    const char *file;
    struct matcher *matchers; /* of notifications.cfg alone */
    size_t n_matchers;
    struct strv warnings; /* "notify.cfg:3: …" */
};

/* A section that cannot work is left out, with a warning. */
void targets_parse(const char *text, size_t len, const char *secrets, size_t secrets_len,
                   struct notify_targets *ret);
void targets_release(struct notify_targets *t);
const struct notify_target *targets_find(const struct notify_targets *t, const char *name);
/* Is it to be told of the event at `at` (epoch)? */
bool targets_want(const struct notify_targets *all, const struct notify_target *t, const json_t *event,
                  int64_t at);
