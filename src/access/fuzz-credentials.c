/* Authorization, Cookie and CSRFPreventionToken, a line each: in gets only who sends what is good, to the
 * letter. */
#include "access/caller.h"
#include "access/cookie.h"
#include "access/login.h"
#include "access/testkeys.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TOKEN "root@pam!tok"
#define SECRET "01234567-89ab-cdef-0123-456789abcdef"

static struct access *make(void)
{
    static const char user_cfg[] = "token:" TOKEN ":0:0::\n", token_cfg[] = TOKEN " " SECRET "\n";
    const struct access_texts texts = {
        .user_cfg = user_cfg,
        .user_len = sizeof user_cfg - 1,
        .token_cfg = token_cfg,
        .token_len = sizeof token_cfg - 1,
        .www_key = TEST_WWW_KEY,
        .www_len = sizeof TEST_WWW_KEY - 1,
        .keys = {TEST_KEY, TEST_PUB, TEST_OLD_PUB, TEST_NOW},
    };
    struct strv warnings = STRV_INIT;
    struct err e;
    struct access *a = access_new(&texts, &warnings, &e);
    if (!a || warnings.n)
        abort();
    return a;
}

static bool is_good_ticket(const char *cookie)
{
    _cleanup_free_ char *ticket = cookie_ticket(cookie);
    return ticket && (strcmp(ticket, TEST_TICKET) == 0 || strcmp(ticket, TEST_OLD_TICKET) == 0);
}

static void check(const struct credentials *c, const struct caller *who)
{
    bool good = who->is_token
                    ? strcmp(c->authorization, "PVEAPIToken=" TOKEN "=" SECRET) == 0 ||
                          strcmp(c->authorization, "PVEAPIToken " TOKEN "=" SECRET) == 0
                    : is_good_ticket(c->cookie) && (c->method_is_safe || strcmp(c->csrf, TEST_CSRF) == 0);
    if (!good)
        abort();
}

static char *line(const char **at, const char *end)
{
    if (*at == end)
        return NULL;
    const char *eol = memchr(*at, '\n', (size_t)(end - *at));
    char *text = xstrndup(*at, (size_t)((eol ? eol : end) - *at));
    *at = eol ? eol + 1 : end;
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct access *a;
    if (!a)
        a = make();
    const char *at = (const char *)data, *end = at + size;
    _cleanup_free_ char *authorization = line(&at, end), *cookie = line(&at, end), *csrf = line(&at, end);
    struct credentials c = {authorization, cookie, csrf, false};
    struct caller who;
    struct err e;
    for (int safe = 0; safe < 2; safe++) {
        c.method_is_safe = safe;
        if (caller_identify(a, &c, TEST_NOW, &who, &e) == 0)
            check(&c, &who);
    }
    tfa_has((const char *)data, size, "root@pam");
    return 0;
}
