/* Proxmox VE's notifications.cfg with priv/notifications.cfg: its targets and matchers, so that who is told
 * of backups there is told of replication, too (https://pve.proxmox.com/pve-docs/chapter-notifications.html).
 * As there, the target mail-to-root and the matcher default-matcher are there unless the file has them
 * otherwise. */
#pragma once

#include "notify/targets.h"

#define STOCK_FILE "notifications.cfg"
#define STOCK_SECRETS_FILE "priv/notifications.cfg"

/* users: user.cfg, for the addresses of `mailto-user`; "": none. What cannot work is left out, with a
 * warning. */
void stock_parse(const char *text, size_t len, const char *secrets, size_t secrets_len, const char *users,
                 size_t users_len, struct notify_targets *ret);
/* What the templates of its webhooks know: the event with `fields`. New. */
json_t *stock_event(const json_t *event);
