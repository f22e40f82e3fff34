#include "base/mountinfo.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_octal(const char *s)
{
    return s[0] >= '0' && s[0] <= '3' && s[1] >= '0' && s[1] <= '7' && s[2] >= '0' && s[2] <= '7';
}

/* A space is "\040". */
static char *unescape(char *text)
{
    char *to = text;
    for (const char *s = text; *s; to++) {
        bool octal = *s == '\\' && is_octal(s + 1);
        *to = octal ? (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0')) : *s;
        s += octal ? 4 : 1;
    }
    *to = 0;
    return text;
}

/* "36 35 98:0 /root /point options [fields…] - type source options" */
bool mountinfo_parse(char *line, struct mountinfo *ret)
{
    char *field[5], *save, *rest = strstr(line, " - ");
    if (!rest)
        return false;
    *rest = 0;
    line[strcspn(line, "\n")] = 0;
    for (int i = 0; i < 5; i++)
        field[i] = strtok_r(i ? NULL : line, " ", &save);
    char *type = strtok_r(rest + 3, " \n", &save), *source = strtok_r(NULL, " \n", &save);
    char *options = source ? strtok_r(NULL, " \n", &save) : NULL;
    if (!field[4] || !source || sscanf(field[2], "%u:%u", &ret->major, &ret->minor) != 2)
        return false;
    ret->id = strtoul(field[0], NULL, 10);
    ret->root = unescape(field[3]);
    ret->point = unescape(field[4]);
    ret->type = unescape(type);
    ret->source = unescape(source);
    ret->options = options ? unescape(options) : "";
    return true;
}

bool mountinfo_holds(const struct mountinfo *m, const char *path)
{
    size_t n = strlen(m->point);
    return n == 1 || (strncmp(path, m->point, n) == 0 && (!path[n] || path[n] == '/'));
}

static bool is_remote(const char *type)
{
    static const char *const prefixes[] = {"nfs",   "cifs", "smb", "ceph",   "fuse",   "gluster", "gfs2",
                                           "ocfs2", "9p",   "afs", "lustre", "beegfs", "gpfs",    "autofs"};
    for (size_t i = 0; i < ELEMENTS(prefixes); i++)
        if (strncmp(type, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return false;
}

/* Of mounts that lie upon each other the last one counts. */
bool mountinfo_is_remote(FILE *mounts, const char *path)
{
    struct mountinfo m;
    size_t room = 0, longest = 0;
    char *line = NULL;
    bool remote = false;
    while (getline(&line, &room, mounts) > 0) {
        if (!mountinfo_parse(line, &m) || !mountinfo_holds(&m, path) || strlen(m.point) < longest)
            continue;
        longest = strlen(m.point);
        remote = is_remote(m.type);
    }
    free(line);
    return remote;
}
