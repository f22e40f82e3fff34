#include "access/cookie.h"

#include "base/buf.h"
#include "conf/lines.h"

#include <ctype.h>
#include <string.h>

/* First our panel's own: a browser sends it those of the node's other ports, too. Later versions of Proxmox
 * VE use a name that only the host itself can set. */
static const char *const names[] = {"__Host-PVESRAuthCookie", ("__Host-" COOKIE_NAME), COOKIE_NAME};

static int hex(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c ? strchr(digits, tolower((unsigned char)c)) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* NULL: a "%" without two hex digits, or a zero byte. */
static char *decode(const char *s, size_t n)
{
    _cleanup_buf_ struct buf out = BUF_INIT;
    for (size_t i = 0; i < n; i++) {
        int c = (unsigned char)s[i];
        if (c == '%') {
            int high = i + 2 < n ? hex(s[i + 1]) : -1, low = i + 2 < n ? hex(s[i + 2]) : -1;
            c = high < 0 || low < 0 ? 0 : high << 4 | low;
            i += 2;
        }
        if (!c)
            return NULL;
        buf_addc(&out, (char)c);
    }
    return buf_take(&out);
}

/* The value of the first pair of that name. */
static const char *find(const char *header, const char *name, size_t *len)
{
    for (const char *at = header; *at; at += *at == ';') {
        size_t n = strcspn(at, ";"), lead = line_lead(at, n), name_len = strlen(name);
        const char *pair = at + lead;
        at += n;
        if ((size_t)(at - pair) <= name_len || strncmp(pair, name, name_len) != 0 || pair[name_len] != '=')
            continue;
        *len = line_trim(pair + name_len + 1, (size_t)(at - pair) - name_len - 1);
        return pair + name_len + 1;
    }
    return NULL;
}

char *cookie_ticket(const char *header)
{
    for (size_t i = 0; header && i < ELEMENTS(names); i++) {
        size_t len;
        const char *value = find(header, names[i], &len);
        if (value)
            return decode(value, len);
    }
    return NULL;
}
