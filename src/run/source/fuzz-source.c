/* libFuzzer: a run whose target answers anything. Afterwards the guest's disk is what it was, and so is the
 * restore point of the last run that was acknowledged, unless another one was. The link (wire/link.h) is one
 * that has all answers from the beginning and takes whatever is said. */
#include "run/fuzztalk.h"

#include "run/run.h"
#include "run/snapshot.h"
#include "state/jobstate.h"
#include "wire/link.h"

#include <sys/xattr.h>

#define IMAGES "pve1/st/images/100"
#define DISK IMAGES "/vm-100-disk-0.raw"
#define VOLID "st:100/vm-100-disk-0.raw"
#define REPLICA(exists, more, stage, snapshots)                                                              \
    "{\"exists\":" exists                                                                                    \
    ",\"stream\":false,\"many\":true,\"encrypts\":false,\"size\":131072,\"available\":99999999,"             \
    "\"written\":false,\"owner\":\"100-0\",\"base\":\"\"" more ",\"stage\":" stage                           \
    ",\"snapshots\":[" snapshots "]}"
#define OPENED(replica, more) "{\"volumes\":[" replica "],\"stale\":[],\"kept\":[],\"used\":[]" more "}"
#define POINT(id, name)                                                                                      \
    "{\"name\":\"" name "\",\"id\":\"" id                                                                    \
    "\",\"created\":5,\"seq\":1,\"size\":131072,\"received\":true,\"readable\":true}"
#define NO_ID "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define OUR_ID "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@" /* becomes that of the last run's restore point */

enum { HELLO, NOTHING, OFFSET, SEALED, COMMITTED, PRUNED };
static const char *const texts[] = {
    "{\"pvesr\":1,\"version\":\"x\",\"node\":\"pve2\"}",
    OPENED(REPLICA("false", "", "null", ""), ""),
    "{\"offset\":0}",
    "{\"sealed\":true}",
    "{\"asides\":[],\"kept\":[\"diverged_100-0_5 of " VOLID "\"]}",
    "{\"problems\":[],\"removed\":[\"x\"]}",
    OPENED(REPLICA("true", "", "null", POINT(OUR_ID, "__replicate_100-0_5__")), ",\"marks\":true"),
    OPENED(REPLICA("true", ",\"proves\":false", "null",
                   POINT(OUR_ID, "__replicate_100-0_5__") "," POINT(NO_ID, "x1")),
           ",\"marks\":true"),
    OPENED(REPLICA("true", "", "null", POINT(NO_ID, "__replicate_100-0_9__")), ""),
    OPENED(REPLICA("true", "",
                   "{\"snapshot\":\"x1\",\"id\":\"" NO_ID "\",\"base\":\"" OUR_ID
                   "\",\"offset\":65536,\"sealed\":false}",
                   POINT(OUR_ID, "x2")),
           ",\"looks\":true"),
    "{\"offset\":65536}",
    "{\"sealed\":false}",
    "{\"size\":131072,\"bad\":\"\",\"wanted\":false}",
    "{\"problem\":\"\",\"wanted\":false}",
    "{\"addresses\":[\"127.0.0.1\"]}",
};
static struct line lines[ELEMENTS(texts) + 1];

static const uint8_t first_run[] = {0,      0, 0, NOTHING,   0, 0, OFFSET, 0, 0,
                                    SEALED, 0, 0, COMMITTED, 0, 0, PRUNED, 0, 0};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int in = -1, nothing = -1;

int link_open(const struct link_target *t, struct link *ret, struct err *e)
{
    *ret = (struct link){.channel = channel_new(in, nothing, 10)};
    return 0;
}

void link_close(struct link *l, struct err *e)
{
    channel_free(l->channel);
    l->channel = NULL;
}

void link_forget(const struct link_target *t)
{
}

int link_command(const struct link_target *t, char *const argv[], struct err *e)
{
    return 0;
}

static int run(const uint8_t *data, size_t size)
{
    struct env env;
    struct err e = {0};
    struct run_options o = {0};
    _cleanup_free_ char *conf = xasprintf("%s/pve1.conf", talk_dir);
    talk_write(in, lines, ELEMENTS(lines), data, size);
    if (env_open(&env, conf, &e) < 0)
        abort();
    int r = run_job(&env, "100-0", &o, &e);
    env_release(&env);
    if (r < 0 && strpbrk(e.text, "\n\033"))
        abort();
    return r;
}

static char base[SNAPSHOT_ID_LEN + 1]; /* the last acknowledged restore point */

static char base_file[NAME_MAX + 1];

/* Is the base there? `any`: what is found becomes it. */
static bool has_base(bool any)
{
    bool has = false;
    _cleanup_free_ char *images = xasprintf("%s/" IMAGES, talk_dir);
    DIR *d = opendir(images);
    for (struct dirent *entry; d && (entry = readdir(d));) {
        char id[SNAPSHOT_ID_LEN];
        _cleanup_free_ char *path = xasprintf("%s/%s", images, entry->d_name);
        if (strncmp(entry->d_name, ".pvesr", 6) != 0 ||
            getxattr(path, "user.pvesr.id", id, sizeof id) != sizeof id)
            continue;
        if (any)
            memcpy(base, id, sizeof id);
        if (memcmp(base, id, sizeof id) != 0)
            continue;
        snprintf(base_file, sizeof base_file, "%s", entry->d_name);
        has = true;
    }
    if (d)
        closedir(d);
    return has;
}

/* A run that was acknowledged, and the messages that know its restore point. */
static void begin_again(void)
{
    static char *known[ELEMENTS(texts)];
    talk_empty("state", "", "");
    talk_empty(IMAGES, ".pvesr", "");
    for (size_t i = 0; i < ELEMENTS(texts); i++)
        lines[i] = (struct line){FRAME_REPLY, texts[i]};
    lines[HELLO].type = FRAME_HELLO;
    lines[ELEMENTS(texts)] = (struct line){FRAME_ERROR, "{\"kind\":\"busy\",\"code\":0,\"text\":\"x\"}"};
    if (run(first_run, sizeof first_run) < 0)
        abort();
    if (!has_base(true))
        abort();
    for (size_t i = 0; i < ELEMENTS(texts); i++) {
        free(known[i]);
        known[i] = xstrdup(texts[i]);
        for (char *p = known[i]; (p = strstr(p, OUR_ID));)
            memcpy(p, base, SNAPSHOT_ID_LEN);
        lines[i].json = known[i];
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint64_t disk;
    if (in < 0) {
        talk_world("");
        in = memfd_create("in", MFD_CLOEXEC);
        nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
        disk = talk_hash(DISK);
        begin_again();
    }
    int r = run(data, size);
    if (talk_hash(DISK) != disk) {
        fprintf(stderr, "the disk is another than before\n");
        abort();
    }
    if (r < 0 && !has_base(false)) {
        fprintf(stderr, "the last restore point is gone\n");
        abort();
    }
    if (r == 0)
        begin_again();
    else
        talk_empty(IMAGES, ".pvesr", base_file);
    return 0;
}
