/* Which guest is it, whatever disks it has? An id comes again. */
#include "guest/config.h"

#include "conf/digest.h"
#include "conf/propstring.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* Enough to know a guest by. */
enum { IDENTITY_MAX = 8 };

static bool is_mac(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (i % 3 == 2 ? s[i] != ':' : !isxdigit((unsigned char)s[i]))
            return false;
    return n == 17;
}

/* A digest: whoever may read the state may not read the configuration. */
static void add(struct strv *ret, const char *word, size_t n)
{
    char lower[64], digest[41];
    if (n == 0 || n >= sizeof lower || ret->n == IDENTITY_MAX)
        return;
    for (size_t i = 0; i < n; i++)
        lower[i] = (char)tolower((unsigned char)word[i]);
    digest_sha1(lower, n, digest);
    digest[16] = 0;
    strv_add_once(ret, digest);
}

static void add_macs(struct strv *ret, const char *net)
{
    const char *key, *value;
    size_t k, n;
    while (propstring_next(&net, &key, &k, &value, &n))
        if (is_mac(value, n))
            add(ret, value, n);
}

void guest_config_identity(const struct guest_config *g, struct strv *ret)
{
    char uuid[64], net[16];
    const char *smbios = guest_config_get(g, "smbios1");
    if (smbios && propstring_get(smbios, "uuid", uuid, sizeof uuid))
        add(ret, uuid, strlen(uuid));
    for (int i = 0; i < 32; i++) {
        snprintf(net, sizeof net, "net%d", i);
        add_macs(ret, guest_config_get(g, net));
    }
}
