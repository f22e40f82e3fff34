#include "volume/lvm/thinmap.h"

#include "base/num.h"

#include <expat.h>
#include <inttypes.h>
#include <string.h>

#define SECTOR 512u
#define CHUNK_MIN (64u << 10)
#define CHUNK_MAX (1u << 30)

size_t thinmap_regions_max = 2u << 20;

struct region {
    uint64_t begin, end; /* chunks */
    enum thin_kind kind;
};

struct thinmap {
    XML_Parser parser;
    int depth;
    bool diff, done; /* <diff> was opened, closed */
    bool coarse;
    uint64_t chunk, same_from;
    uint64_t last; /* end of the last region read, kept or not */
    struct region *v;
    size_t n, room, at;
    struct err wrong;
};

static void refuse(struct thinmap *m, const char *what, const char *name)
{
    if (m->wrong.kind == ERR_NONE)
        err_set(&m->wrong, ERR_DATA, 0, "what thin_delta says is damaged: %s '%.60s'", what, name);
    XML_StopParser(m->parser, XML_FALSE);
}

static bool number(const char **attributes, const char *name, uint64_t *ret)
{
    struct err ignored;
    for (; attributes[0]; attributes += 2)
        if (strcmp(attributes[0], name) == 0)
            return num_parse_u64(name, attributes[1], 0, INT64_MAX, ret, &ignored) == 0;
    return false;
}

/* Halves the number of regions: pairs become one, of which nothing is known unless they are of a kind and
 * adjoin: what lies between may be `same` and left out. */
static void coarsen(struct thinmap *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n; i += 2) {
        struct region r = m->v[i];
        if (i + 1 < m->n) {
            const struct region *next = &m->v[i + 1];
            if (r.kind != next->kind || r.end != next->begin)
                r.kind = THIN_DIFFERENT;
            r.end = next->end;
        }
        m->v[n++] = r;
    }
    m->n = n;
    m->coarse = true;
}

static void add(struct thinmap *m, uint64_t begin, uint64_t end, enum thin_kind kind)
{
    struct region *before = m->n ? &m->v[m->n - 1] : NULL;
    m->last = end;
    if (begin == end || (kind == THIN_SAME && end * m->chunk <= m->same_from))
        return;
    if (before && before->kind == kind && before->end == begin) {
        before->end = end;
        return;
    }
    if (m->n >= thinmap_regions_max)
        coarsen(m);
    if (m->n == m->room) {
        m->room = m->room ? m->room * 2 : 64;
        m->v = xreallocarray(m->v, m->room, sizeof *m->v);
    }
    m->v[m->n++] = (struct region){.begin = begin, .end = end, .kind = kind};
}

static void take_region(struct thinmap *m, const char *name, const char **attributes)
{
    static const struct {
        const char *name;
        enum thin_kind kind;
    } kinds[] = {{"same", THIN_SAME},
                 {"different", THIN_DIFFERENT},
                 {"left_only", THIN_LEFT},
                 {"right_only", THIN_RIGHT}};
    uint64_t begin, length;
    for (size_t i = 0; i < ELEMENTS(kinds); i++) {
        if (strcmp(name, kinds[i].name) != 0)
            continue;
        if (!number(attributes, "begin", &begin) || !number(attributes, "length", &length) ||
            begin < m->last || begin > INT64_MAX / m->chunk || length > INT64_MAX / m->chunk - begin)
            refuse(m, "the region", name);
        else
            add(m, begin, begin + length, kinds[i].kind);
        return;
    }
    refuse(m, "unknown region", name);
}

static void take_superblock(struct thinmap *m, const char *name, const char **attributes)
{
    uint64_t sectors;
    if (strcmp(name, "superblock") != 0 || !number(attributes, "data_block_size", &sectors) ||
        sectors < CHUNK_MIN / SECTOR || sectors > CHUNK_MAX / SECTOR || sectors % (CHUNK_MIN / SECTOR))
        refuse(m, "the head", name);
    else
        m->chunk = sectors * SECTOR;
}

static void on_start(void *arg, const char *name, const char **attributes)
{
    struct thinmap *m = arg;
    if (m->wrong.kind != ERR_NONE)
        return;
    switch (m->depth++) {
    case 0:
        take_superblock(m, name, attributes);
        break;
    case 1:
        if (strcmp(name, "diff") != 0 || m->diff)
            refuse(m, "the element", name);
        m->diff = true;
        break;
    case 2:
        take_region(m, name, attributes);
        break;
    default:
        refuse(m, "the element", name);
    }
}

static void on_end(void *arg, const char *name)
{
    struct thinmap *m = arg;
    (void)name;
    if (--m->depth == 1)
        m->done = true;
}

/* No entities: nothing that a few bytes could grow into. */
static void on_doctype(void *arg, const char *name, const char *system, const char *public, int internal)
{
    (void)system, (void)public, (void)internal;
    refuse(arg, "a document type", name);
}

struct thinmap *thinmap_new(uint64_t same_from)
{
    struct thinmap *m = xcalloc(1, sizeof *m);
    m->same_from = same_from;
    m->parser = XML_ParserCreate(NULL);
    if (!m->parser)
        abort();
    XML_SetUserData(m->parser, m);
    XML_SetElementHandler(m->parser, on_start, on_end);
    XML_SetStartDoctypeDeclHandler(m->parser, on_doctype);
    return m;
}

void thinmap_free(struct thinmap *m)
{
    if (!m)
        return;
    if (m->parser)
        XML_ParserFree(m->parser);
    free(m->v);
    free(m);
}

static int parse(struct thinmap *m, const char *data, size_t n, bool last, struct err *e)
{
    while (m->wrong.kind == ERR_NONE) {
        size_t part = n > 1 << 20 ? 1 << 20 : n;
        if (XML_Parse(m->parser, data, (int)part, last && part == n) != XML_STATUS_OK)
            refuse(m, "no XML,", XML_ErrorString(XML_GetErrorCode(m->parser)));
        data += part;
        n -= part;
        if (!n)
            break;
    }
    if (m->wrong.kind == ERR_NONE)
        return 0;
    *e = m->wrong;
    return -1;
}

int thinmap_feed(struct thinmap *m, const char *data, size_t n, struct err *e)
{
    return n ? parse(m, data, n, false, e) : 0;
}

int thinmap_finish(struct thinmap *m, struct err *e)
{
    if (parse(m, "", 0, true, e) < 0)
        return -1;
    if (!m->done)
        return err_set(e, ERR_DATA, 0, "what thin_delta says is damaged: it compares nothing");
    XML_ParserFree(m->parser);
    m->parser = NULL;
    return 0;
}

enum thin_kind thinmap_at(struct thinmap *m, uint64_t pos, uint64_t *end)
{
    uint64_t chunk = pos / m->chunk;
    while (m->at < m->n && m->v[m->at].end <= chunk)
        m->at++;
    if (m->at == m->n) {
        *end = UINT64_MAX;
        return THIN_NONE;
    }
    const struct region *r = &m->v[m->at];
    *end = (chunk < r->begin ? r->begin : r->end) * m->chunk;
    return chunk < r->begin ? THIN_NONE : r->kind;
}

bool thinmap_empty(const struct thinmap *m)
{
    return m->n == 0;
}

bool thinmap_coarse(const struct thinmap *m)
{
    return m->coarse;
}

uint64_t thinmap_chunk(const struct thinmap *m)
{
    return m->chunk;
}
