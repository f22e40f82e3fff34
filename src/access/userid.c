#include "access/userid.h"

#include "base/text.h"

#include <ctype.h>
#include <string.h>

/* A letter, then letters, digits, dots, dashes, underscores: the form of realms and of tokens' names. */
static bool is_name(const char *s, size_t n)
{
    if (n < 2 || !isalpha((unsigned char)s[0]))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && !strchr("._-", s[i]))
            return false;
    return true;
}

/* Neither a mark of something else (a group's "@", a half-done log-in's "!") nor what separates fields. */
static bool is_user(const char *s, size_t n)
{
    if (n == 0 || *s == '!' || *s == '@')
        return false;
    for (size_t i = 0; i < n; i++)
        if (strchr(":/ \t\r\n\v\f", s[i]))
            return false;
    return true;
}

size_t who_user_len(const char *who)
{
    const char *at = strrchr(who, '@');
    return at ? (size_t)(strchrnul(at, '!') - who) : strlen(who);
}

bool who_is_token(const char *who)
{
    return who[who_user_len(who)] == '!';
}

const char *userid_realm(const char *userid)
{
    const char *at = strrchr(userid, '@');
    return at ? at + 1 : "";
}

static bool user_is_valid(const char *text, size_t n)
{
    const char *at = memrchr(text, '@', n);
    return at && n <= USERID_MAX && is_user(text, (size_t)(at - text)) &&
           is_name(at + 1, (size_t)(text + n - at - 1));
}

bool userid_is_valid(const char *text)
{
    return text_is_clean(text) && user_is_valid(text, strlen(text));
}

bool tokenid_is_valid(const char *text)
{
    size_t n = who_user_len(text);
    return strlen(text) < WHO_MAX && text_is_clean(text) && text[n] == '!' && user_is_valid(text, n) &&
           is_name(text + n + 1, strlen(text + n + 1));
}
