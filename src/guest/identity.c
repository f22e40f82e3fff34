/* Which guest is it, whatever disks it has? An id comes again. */
#include "guest/config.h"

#include "conf/digest.h"
#include "conf/propstring.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* Enough to know a guest by: now, and with all that it was when its snapshots were taken. */
enum { IDENTITY_MAX = 8, EVER_MAX = 128 };

static bool is_mac(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (i % 3 == 2 ? s[i] != ':' : !isxdigit((unsigned char)s[i]))
            return false;
    return n == 17;
}

/* A digest: whoever may read the state may not read the configuration. */
static bool print_digest(const char *word, size_t n, char digest[41])
{
    char lower[64];
    if (n == 0 || n >= sizeof lower)
        return false;
    for (size_t i = 0; i < n; i++)
        lower[i] = (char)tolower((unsigned char)word[i]);
    digest_sha1(lower, n, digest);
    digest[16] = 0;
    return true;
}

static void add(struct strv *ret, const char *word, size_t n)
{
    char digest[41];
    if (ret->n < IDENTITY_MAX && print_digest(word, n, digest))
        strv_add_once(ret, digest);
}

static void add_ever(struct strv *ret, const char *what, const char *word, size_t n)
{
    char digest[41], text[64];
    if (ret->n == EVER_MAX || !print_digest(word, n, digest))
        return;
    snprintf(text, sizeof text, "%s:%s", what, digest);
    strv_add_once(ret, text);
}

static void add_macs(struct strv *ret, const char *net)
{
    const char *key, *value;
    size_t k, n;
    while (propstring_next(&net, &key, &k, &value, &n))
        if (is_mac(value, n))
            add(ret, value, n);
}

static void add_macs_ever(struct strv *ret, const char *net)
{
    const char *key, *value;
    size_t k, n;
    while (propstring_next(&net, &key, &k, &value, &n))
        if (is_mac(value, n))
            add_ever(ret, IDENTITY_MAC, value, n);
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

static void add_key_ever(const struct guest_config *g, const struct guest_key *key, struct strv *ret)
{
    char uuid[64];
    if (strcmp(key->key, "smbios1") == 0 && propstring_get(key->value, "uuid", uuid, sizeof uuid))
        add_ever(ret, IDENTITY_UUID, uuid, strlen(uuid));
    else if (g->type == GUEST_LXC && strcmp(key->key, "hostname") == 0)
        add_ever(ret, IDENTITY_NAME, key->value, strlen(key->value));
    else if (strncmp(key->key, "net", 3) == 0 && isdigit((unsigned char)key->key[3]))
        add_macs_ever(ret, key->value);
}

void guest_config_identity_ever(const struct guest_config *g, struct strv *ret)
{
    for (size_t i = 0; i < g->n; i++) {
        const struct guest_section *s = &g->sections[i];
        for (size_t k = 0; k < s->n && (s->kind == SECTION_MAIN || s->kind == SECTION_SNAPSHOT); k++)
            add_key_ever(g, &s->keys[k], ret);
    }
}
