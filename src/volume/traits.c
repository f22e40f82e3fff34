#include "volume/traits.h"

#include <stdio.h>
#include <string.h>

#define TRAIT_MAX 64

bool trait_valid(const char *trait)
{
    size_t key = strspn(trait, "abcdefghijklmnopqrstuvwxyz_");
    if (!key || trait[key] != '=' || strlen(trait) > TRAIT_MAX)
        return false;
    const char *value = trait + key + 1;
    return *value && *value != '-' && !value[strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789-")];
}

bool trait_is(const char *trait, const char *key)
{
    size_t n = strlen(key);
    return strncmp(trait, key, n) == 0 && trait[n] == '=';
}

const char *trait_value(const struct strv *traits, const char *key)
{
    for (size_t i = 0; i < traits->n; i++)
        if (trait_is(traits->v[i], key))
            return traits->v[i] + strlen(key) + 1;
    return NULL;
}

void trait_remove(struct strv *traits, const char *key)
{
    for (size_t i = traits->n; i-- > 0;)
        if (trait_is(traits->v[i], key))
            strv_remove(traits, i);
}

void trait_note(struct strv *notes, const char *trait, const char *place, const char *why)
{
    strv_addf(notes, "%s is not set on '%s': %.*s", trait, place, (int)strcspn(why, "\n"), why);
}
