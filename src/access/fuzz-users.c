/* user.cfg, a zero byte, token.cfg: whatever they say, nobody may more than its user, and who is nobody
 * nothing. */
#include "access/userid.h"
#include "access/users.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {"root@pam", "root@pam!t1", "a@pve", "a@pve!t1", "b@pve", "@g",
                                    "",         "!",           "a@pve!"};
static const char *const paths[] = {"/",          "/vms", "/vms/1", "//vms//1/", "/pool/p",
                                    "/storage/s", "",     "/x y",   "x"};

static void ask(const struct users *u, const char *who, const char *path)
{
    struct err e;
    privileges may = users_may(u, who, path, 1000), below = users_may_below(u, who, path, 1000);
    if ((may | below) & ~PRIVILEGES_ALL)
        abort();
    if ((may | below) && users_check(u, who, 1000, &e) < 0)
        abort();
    if (!who_is_token(who))
        return;
    char user[WHO_MAX] = "";
    memcpy(user, who, who_user_len(who));
    if (may & ~users_may(u, user, path, 1000))
        abort();
}

static void ask_all(const struct users *u)
{
    struct err e;
    for (size_t i = 0; i < ELEMENTS(names); i++) {
        for (size_t k = 0; k < ELEMENTS(paths); k++)
            ask(u, names[i], paths[k]);
        if (users_check_token(u, names[i], "", 1000, &e) == 0)
            abort();
    }
    _cleanup_strv_ struct strv all = STRV_INIT;
    users_paths(u, &all);
    for (size_t i = 0; i < all.n; i++) {
        char normal[ACCESS_PATH_MAX];
        if (!access_path_normalise(all.v[i], normal) || strcmp(normal, all.v[i]) != 0)
            abort();
    }
    if (users_may(u, "root@pam", "/vms/1", 1000) != PRIVILEGES_ALL)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    size_t len = zero ? (size_t)(zero - data) : size, rest = zero ? size - len - 1 : 0;
    char *user_cfg = xmalloc(len ? len : 1), *token_cfg = xmalloc(rest ? rest : 1); /* of exactly this size */
    memcpy(user_cfg, data, len);
    if (rest)
        memcpy(token_cfg, zero + 1, rest);
    _cleanup_strv_ struct strv warnings = STRV_INIT;
    struct err e;
    _cleanup_users_ struct users *u = users_parse(user_cfg, len, token_cfg, rest, &warnings, &e);
    if (u)
        ask_all(u);
    free(user_cfg);
    free(token_cfg);
    return 0;
}
