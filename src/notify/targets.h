/* notify.cfg, and the secrets in priv/notify.cfg (BEHAVIOUR.md#notifications): who is told what, and how. */
#pragma once

#include "base/strv.h"
#include "notify/event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TARGETS_MAX 32

enum target_kind { TARGET_SENDMAIL, TARGET_SMTP, TARGET_WEBHOOK, TARGET_GOTIFY, TARGET_KINDS };

struct notify_target {
    enum target_kind kind;
    char *name;
    unsigned events; /* 1 << event_kind */
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
    struct strv warnings; /* "notify.cfg:3: …" */
};

/* A section that cannot work is left out, with a warning. */
void targets_parse(const char *text, size_t len, const char *secrets, size_t secrets_len,
                   struct notify_targets *ret);
void targets_release(struct notify_targets *t);
const struct notify_target *targets_find(const struct notify_targets *t, const char *name);
bool target_wants(const struct notify_target *t, enum event_kind k);
