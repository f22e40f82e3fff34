/* Users, API tokens, groups, pools, roles and access lists: user.cfg and priv/token.cfg
 * (BEHAVIOUR.md#users-and-entries).
 *
 * Parsed once, then asked as often as there are jobs: a question costs a few look-ups, whatever the sizes.
 * Reading is strict where leniency would let somebody in: a line that makes no sense is ignored with a
 * warning, and a user, token or group of which the file has two lines is what the last one says. The lines'
 * order does not matter otherwise.
 */
#pragma once

#include "access/privilege.h"
#include "base/err.h"
#include "base/strv.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct users;

#define USERS_TEXT_MAX (4 << 20) /* bytes of either file */

/* Of both files' texts (NULL when len is 0: a missing file, which leaves root@pam alone). Warnings
 * "user.cfg:7: …" are added. NULL and ERR_CONFIG only when the files are larger than anybody's are: then
 * nobody may be let in, since the line that was to take something away may be among those not read.
 * users_free. */
struct users *users_parse(const char *user_cfg, size_t user_len, const char *token_cfg, size_t token_len,
                          struct strv *warnings, struct err *e);
/* Secrets are overwritten. NULL is fine. */
void users_free(struct users *u);
CLEANUP_FUNC(users_free, struct users)
#define _cleanup_users_ _cleanup_(users_freep)

/* Is `who` (USER@REALM or USER@REALM!TOKEN) somebody at `now` (epoch): known, enabled, not expired; of a
 * token it and its user? On failure the reason, for the log. */
int users_check(const struct users *u, const char *who, int64_t now, struct err *e);
/* Does `secret` belong to the token, and is that somebody at `now`? Takes the same time for every secret of
 * the right length. On failure the reason, for the log, without the secret. */
int users_check_token(const struct users *u, const char *tokenid, const char *secret, int64_t now,
                      struct err *e);
/* Is something noted in the user's field KEYS (a second factor of an earlier kind)? */
bool users_has_keys(const struct users *u, const char *userid);

/* What `who` may on `path` at `now`: 0 for nobody, for a path that is none, and where it has nothing. */
privileges users_may(const struct users *u, const char *who, const char *path, int64_t now);
/* Those of them that would be handed down to what lies below the path, too. */
privileges users_may_below(const struct users *u, const char *who, const char *path, int64_t now);
/* Shorthand for "/vms/ID". */
privileges users_may_guest(const struct users *u, const char *who, uint64_t guest, int64_t now);
/* Append every path that an entry names, and those of pools' members, each once, in ascending order: where
 * somebody may have other privileges than above it. */
void users_paths(const struct users *u, struct strv *ret);
/* The name of the pool that holds the guest, the first one in the file; NULL: none. Owned by u. */
const char *users_guest_pool(const struct users *u, uint64_t guest);

#define ACCESS_PATH_MAX 256
/* One slash between components, one at the beginning, none at the end but of "/"; only [A-Za-z0-9._/-].
 * False: not a path. */
bool access_path_normalise(const char *path, char out[ACCESS_PATH_MAX]);
