/* Who somebody is: USER@REALM, or USER@REALM!TOKEN (BEHAVIOUR.md#users-and-entries). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define USERID_MAX 64        /* bytes of USER@REALM */
#define WHO_MAX 192          /* bytes of either */
#define ROOT_USER "root@pam" /* always exists, is enabled and may do everything */

/* USER@REALM: no blanks, control characters, ':' or '/'; the last '@' is the one before the realm. A name
 * that begins with '!' is none: so begin tickets of half-done log-ins. */
bool userid_is_valid(const char *text);
/* USER@REALM!TOKEN. */
bool tokenid_is_valid(const char *text);
/* Length of the USER@REALM of either form: of all of it when it is no token. */
size_t who_user_len(const char *who);
bool who_is_token(const char *who);
/* The realm of a valid USER@REALM; points into it. */
const char *userid_realm(const char *userid);
