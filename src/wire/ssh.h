/* OpenSSH's command line for a target, and the master connection that runs share. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/strv.h"
#include "wire/link.h"

/* Append `word` so that a POSIX shell reads it as exactly one word. */
void shell_quote(struct buf *b, const char *word);

/* Nothing in the target can be taken for an option, a second word or a token by ssh or the remote shell.
 * ERR_CONFIG otherwise. */
int ssh_check_target(const struct link_target *t, struct err *e);

/* "/usr/bin/ssh OPTIONS": what every connection to t gets. */
void ssh_options(const struct link_target *t, int connect_seconds, struct strv *argv);
/* "USER@ADDRESS --": the words of the remote command follow. */
void ssh_destination(const struct link_target *t, struct strv *argv);

/* RUN_DIR/ssh-HASH, malloc'ed; NULL when the target cannot be shared. */
char *ssh_control_path(const struct link_target *t);
/* See that a master listens at `control`, starting one if need be: at most 15 s. */
int ssh_master(const struct link_target *t, const char *control, struct err *e);
