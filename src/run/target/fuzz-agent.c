/* libFuzzer: the agent in a conversation of any calls and frames. Afterwards the replica that was
 * acknowledged before, and its restore point, are what they were, unless a commit was answered; and what
 * belongs to other guests, or lies outside of the storage, always is. */
#include "run/fuzztalk.h"

#include "run/target/agent.h"

#define ID_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define DISK "st:100/vm-100-disk-0.raw"
#define CALL(text)                                                                                           \
    {                                                                                                        \
        FRAME_CALL, "{\"do\":" text "}"                                                                      \
    }
#define STAGE(id, epoch, base, more)                                                                         \
    CALL("\"stage\",\"volume\":\"" DISK "\",\"snapshot\":\"__replicate_100-0_" epoch "__\",\"id\":\"" id     \
         "\",\"created\":" epoch ",\"base\":\"" base                                                         \
         "\",\"size\":131072,\"replace\":false,\"resume\":false" more)
#define COMMIT(id, epoch)                                                                                    \
    CALL("\"commit\",\"volumes\":[{\"volume\":\"" DISK "\",\"id\":\"" id                                     \
         "\",\"as\":\"__replicate_100-0_" epoch                                                              \
         "__\",\"live-aside\":\"diverged_100-0_9\",\"keep-live\":false,\"aside\":[],\"traits\":\"\"}]")

enum { HELLO, OPEN, STAGE_A, COMMIT_A };
static const struct line lines[] = {
    {FRAME_HELLO, "{\"pvesr\":1,\"version\":\"x\",\"node\":\"pve1\"}"},
    CALL("\"open\",\"job\":\"100-0\",\"volumes\":[\"" DISK "\"],\"scan\":[\"st\"]"),
    STAGE(ID_A, "5", "", ""),
    COMMIT(ID_A, "5"),
    STAGE(ID_B, "6", ID_A, ""),
    STAGE(ID_B, "6", "", ",\"anew\":true"),
    COMMIT(ID_B, "6"),
    CALL("\"open\",\"job\":\"100-0\",\"volumes\":[\"" DISK "\"],\"scan\":[],\"look\":true"),
    CALL("\"point\",\"volume\":\"" DISK "\",\"id\":\"" ID_B "\""),
    CALL("\"aside\",\"volume\":\"" DISK "\",\"aside\":[[\"__replicate_100-0_5__\",\"diverged_100-0_5\"]]"),
    CALL("\"prune\",\"volumes\":[{\"volume\":\"" DISK "\",\"snapshots\":[[\"__replicate_100-0_5__\",\"" ID_A
         "\"]],\"adopt\":[]}],\"drop\":[],\"why\":\"x\""),
    CALL("\"prune\",\"volumes\":[],\"drop\":[\"st:101/vm-101-disk-0.raw\",\"" DISK "\"],\"why\":\"x\""),
    CALL("\"digest\",\"volume\":\"" DISK "\",\"id\":\"" ID_A "\",\"offset\":0,\"blocks\":2"),
    CALL("\"mark\",\"volume\":\"" DISK "\",\"id\":\"" ID_A "\",\"damaged\":true"),
    CALL("\"address\",\"network\":\"127.0.0.0/8\""),
    CALL("\"open\",\"job\":\"100-1\",\"volumes\":[\"" DISK "\"],\"scan\":[\"st\"],\"signs\":[\"x\"]"),
};

/* HELLO, open, a whole copy of 128 KiB (256 times 512 bytes is the most of one frame), its end, commit. */
static const uint8_t first_copy[] = {0, 0,   0,   OPEN, 0,   0,   STAGE_A, 0,        0, 192,
                                     0, 255, 194, 2,    255, 224, 0,       COMMIT_A, 0, 0};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int in = -1, out = -1;
static uint64_t base;

/* Is there an answer among what the agent said that only a commit gets? */
static bool committed(void)
{
    static char said[1 << 20];
    ssize_t n = pread(out, said, sizeof said, 0);
    return n > 0 && memmem(said, (size_t)n, "\"asides\"", 8);
}

static void converse(const uint8_t *data, size_t size)
{
    struct env env;
    struct err e = {0};
    struct agent_options none = {0};
    _cleanup_free_ char *conf = xasprintf("%s/pve2.conf", talk_dir);
    talk_write(in, lines, ELEMENTS(lines), data, size);
    if (ftruncate(out, 0) < 0 || lseek(out, 0, SEEK_SET) < 0 || env_open(&env, conf, &e) < 0)
        abort();
    agent_serve(&env, in, out, &none, &e);
    env_release(&env);
}

static void begin_again(void)
{
    talk_empty("pve2/st/images/100", "", "");
    converse(first_copy, sizeof first_copy);
    base = talk_hash("pve2/st/images/100/vm-100-disk-0.raw");
    if (!base || !committed()) {
        fprintf(stderr, "the first copy was refused\n");
        abort();
    }
}

static size_t entries(void)
{
    size_t n = 0;
    _cleanup_free_ char *images = xasprintf("%s/pve2/st/images/100", talk_dir);
    DIR *d = opendir(images);
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

static void check(const char *name, uint64_t want)
{
    if (talk_hash(name) == want)
        return;
    fprintf(stderr, "'%s' is another than before\n", name);
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint64_t others[3];
    static const char *const names[] = {"pve2/st/images/200/vm-200-disk-0.raw",
                                        "pve2/st/images/101/vm-101-disk-0.raw", "pve2/outside"};
    static size_t n;
    if (in < 0) {
        talk_world("");
        in = memfd_create("in", MFD_CLOEXEC);
        out = memfd_create("out", MFD_CLOEXEC);
        begin_again();
        n = entries();
        for (size_t i = 0; i < ELEMENTS(names); i++)
            others[i] = talk_hash(names[i]);
    }
    converse(data, size);
    for (size_t i = 0; i < ELEMENTS(names); i++)
        check(names[i], others[i]);
    bool may_differ = committed();
    if (!may_differ)
        check("pve2/st/images/100/vm-100-disk-0.raw", base);
    talk_empty("pve2/st/images/100", ".pvesr-stage", "");
    talk_empty("pve2/st/images/100", ".pvesr-tmp", "");
    if (may_differ || entries() != n)
        begin_again();
    return 0;
}
