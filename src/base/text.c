#include "base/text.h"

#include <stdint.h>
#include <string.h>

size_t text_utf8_len(const char *text, const char *end)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t room = (size_t)(end - text);
    if (p[0] < 0x80)
        return 1;
    size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || room < n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool beyond = (p[0] == 0xed && p[1] >= 0xa0) || (p[0] == 0xf4 && p[1] >= 0x90);
    return overlong || beyond ? 0 : n;
}

static uint32_t code_point(const char *p, size_t n)
{
    uint32_t code = (unsigned char)p[0] & (n == 1 ? 0x7f : 0x7f >> n);
    for (size_t i = 1; i < n; i++)
        code = code << 6 | ((unsigned char)p[i] & 0x3f);
    return code;
}

/* Unicode's control characters, and its formatting characters by which a line may look like another one. */
static bool misleads(uint32_t code)
{
    static const struct {
        uint32_t from, to;
    } ranges[] = {{0, 0x1f},        {0x7f, 0x9f},     {0xad, 0xad},     {0x61c, 0x61c},   {0x200b, 0x200f},
                  {0x2028, 0x202e}, {0x2060, 0x206f}, {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe007f}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (code >= ranges[i].from && code <= ranges[i].to)
            return true;
    return false;
}

void text_clean(char *text)
{
    const char *end = text + strlen(text);
    char *to = text;
    while (end > text && (end[-1] == '\n' || end[-1] == '\r'))
        end--;
    for (const char *p = text; p < end;) {
        size_t n = text_utf8_len(p, end);
        if (*p == '\n' || *p == '\r' || *p == '\t')
            *to++ = ' ';
        else if (n == 0 || misleads(code_point(p, n)))
            *to++ = '?';
        else
            to = (char *)memmove(to, p, n) + n;
        p += n ? n : 1;
    }
    *to = 0;
}

bool text_is_clean(const char *text)
{
    const char *end = text + strlen(text);
    for (const char *p = text; p < end;) {
        size_t n = text_utf8_len(p, end);
        if (n == 0 || misleads(code_point(p, n)))
            return false;
        p += n;
    }
    return true;
}
