#include "volume/name.h"

#include "base/mem.h"
#include "volume/volume.h"

#include <string.h>

#define DIGITS "0123456789"
#define ALNUM DIGITS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

/* Digits without a leading zero; moves *p behind them. 0 when it is no id. */
static uint32_t take_id(const char **p)
{
    size_t n = strspn(*p, DIGITS);
    if (n == 0 || n > 9 || **p == '0')
        return 0;
    uint32_t id = 0;
    for (size_t i = 0; i < n; i++)
        id = id * 10 + (uint32_t)((*p)[i] - '0');
    *p += n;
    return id;
}

bool volume_name_linked(const char *name)
{
    return (strncmp(name, "base-", 5) == 0 || strncmp(name, "basevol-", 8) == 0) && strchr(name, '/');
}

bool volume_name_valid(const char *name, uint32_t *vmid, const char **file)
{
    static const char *const kinds[] = {"vm-", "base-", "subvol-", "basevol-"};
    const char *p = name;
    uint32_t folder = 0;
    if (volume_name_linked(name)) {
        p = strchr(name, '/') + 1;
        _cleanup_free_ char *base = xstrndup(name, (size_t)(p - 1 - name));
        if (!volume_name_valid(base, NULL, NULL) || strchr(p, '/'))
            return false;
    } else if (*p >= '0' && *p <= '9') {
        folder = take_id(&p);
        if (!folder || *p++ != '/')
            return false;
    }
    const char *last = p;
    size_t skip = 0;
    for (size_t i = 0; i < ELEMENTS(kinds) && !skip; i++)
        if (strncmp(p, kinds[i], strlen(kinds[i])) == 0)
            skip = strlen(kinds[i]);
    p += skip;
    uint32_t id = skip ? take_id(&p) : 0;
    if (!id || (folder && folder != id) || *p++ != '-')
        return false;
    if (!*p || p[strspn(p, ALNUM "_.+-")] || strlen(last) > VOLUME_FILE_MAX)
        return false;
    if (vmid)
        *vmid = id;
    if (file)
        *file = last;
    return true;
}

bool snapshot_name_valid(const char *name)
{
    size_t n = strlen(name);
    return n >= 1 && n <= SNAPSHOT_NAME_MAX && strchr(ALNUM "_", name[0]) &&
           !name[strspn(name, ALNUM "_.:-")];
}

bool owner_name_valid(const char *owner)
{
    size_t n = strlen(owner);
    if (n >= 32 || strcmp(owner, "-") == 0)
        return false;
    for (size_t i = 0; i < n; i++)
        if (owner[i] <= ' ' || owner[i] > '~')
            return false;
    return true;
}
