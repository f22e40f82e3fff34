/* The names of guests' images: "vm-100-disk-0", "base-9-disk-0/vm-100-disk-0", "100/vm-100-disk-0.raw",
 * "9/base-9-disk-0.raw/100/vm-100-disk-0.qcow2". */
#include "guest/guest.h"

#include "base/mem.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct part {
    const char *s;
    size_t n;
};

/* A guest's id at the start of a part: its length, or 0. */
static size_t id_length(struct part p)
{
    size_t n = 0;
    while (n < p.n && isdigit((unsigned char)p.s[n]))
        n++;
    return n <= 9 && n && *p.s != '0' ? n : 0;
}

/* The id in PREFIX-ID-REST as a part of it; length 0 when the name is not of that form. */
static struct part id_of_image(struct part p, const char *const *prefixes, size_t n_prefixes)
{
    for (size_t i = 0; i < n_prefixes; i++) {
        size_t k = strlen(prefixes[i]);
        if (p.n <= k || strncmp(p.s, prefixes[i], k) != 0)
            continue;
        struct part id = {p.s + k, p.n - k};
        size_t n = id_length(id);
        if (n == 0 || n + 1 >= id.n || id.s[n] != '-')
            continue;
        for (size_t c = n; c < id.n; c++)
            if (!isalnum((unsigned char)id.s[c]) && !strchr("._-+", id.s[c]))
                return (struct part){0};
        return (struct part){id.s, n};
    }
    return (struct part){0};
}

static bool same(struct part a, struct part b)
{
    return a.n && a.n == b.n && memcmp(a.s, b.s, a.n) == 0;
}

static bool is_folder_of(struct part folder, struct part id)
{
    return id_length(folder) == folder.n && same(folder, id);
}

uint32_t volname_owner(const char *volname)
{
    static const char *const prefixes[] = {"vm-", "base-", "subvol-", "basevol-"};
    static const char *const bases[] = {"base-", "basevol-"};
    struct part p[4];
    size_t n = 0;
    for (const char *s = volname;; s++) {
        size_t len = strcspn(s, "/");
        if (n == ELEMENTS(p))
            return 0;
        p[n++] = (struct part){s, len};
        s += len;
        if (!*s)
            break;
    }
    struct part id = id_of_image(p[n - 1], prefixes, ELEMENTS(prefixes));
    bool ok = id.n > 0;
    if (n == 2)
        ok = ok && (is_folder_of(p[0], id) || id_of_image(p[0], bases, ELEMENTS(bases)).n);
    else if (n == 4)
        ok = ok && is_folder_of(p[2], id) && is_folder_of(p[0], id_of_image(p[1], bases, ELEMENTS(bases)));
    else
        ok = ok && n == 1;
    return ok ? (uint32_t)strtoul(id.s, NULL, 10) : 0;
}
