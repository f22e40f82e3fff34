/* The configuration files beside replication.cfg, and property strings. */
#include "conf/datacenter.h"
#include "conf/nodes.h"
#include "conf/propstring.h"
#include "conf/settings.h"
#include "conf/storage.h"
#include "conf/testdump.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char *or_dash(const char *s)
{
    return s ? s : "-";
}

/* ---- property strings ---- */

static void reads_property_strings(void **state)
{
    static const struct {
        const char *text, *key, *value; /* value NULL: not there */
    } cases[] = {
        {"store:vol,size=4G,replicate=0", NULL, "store:vol"},
        {"store:vol,size=4G,replicate=0", "size", "4G"},
        {"store:vol,size=4G,replicate=0", "replicate", "0"},
        {"store:vol,size=4G", "siz", NULL},
        {"store:vol,size=4G", "sizes", NULL},
        {"file=a,size=4G", NULL, NULL},
        {"file=a,b", NULL, "b"},
        {"a=b=c", "a", "b=c"},
        {"a=", "a", ""},
        {"", NULL, NULL},
        {",,a=1", "a", "1"},
        {"a=123456789", "a", "1234567"}, /* cut to the room */
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        char out[8] = "", wide[64] = "";
        bool cut = i + 1 == ELEMENTS(cases);
        char *to = cut ? out : wide;
        bool there = propstring_get(cases[i].text, cases[i].key, to, cut ? sizeof out : sizeof wide);
        if (there != (cases[i].value != NULL) || (there && strcmp(to, cases[i].value) != 0))
            fail_msg("'%s' %s: %d '%s'", cases[i].text, or_dash(cases[i].key), there, to);
    }
}

/* ---- settings ---- */

static void reads_settings(void **state)
{
    struct settings s;
    struct err e;
    assert_int_equal(settings_parse("f", "", 0, &s, &e), 0);
    assert_string_equal(s.file, "f");
    assert_string_equal(s.cluster, "dir:/etc/pve");
    assert_string_equal(s.state_dir, "/var/lib/pve-manager");
    assert_string_equal(s.log_dir, "/var/log/pve/replicate");
    assert_string_equal(s.lock_dir, "/var/lock/pve-manager");
    assert_string_equal(s.run_dir, "/run/pvesr");
    assert_null(s.storage_root);
    assert_string_equal(s.sendmail, "/usr/sbin/sendmail");
    assert_string_equal(s.mail_to, "root");
    assert_null(s.pool_prefix);
    assert_int_equal(s.max_workers, 4);
    assert_int_equal(s.max_per_target, 2);
    assert_int_equal(s.history_days, 30);
    assert_int_equal(s.freeze_limit, 30);
    assert_int_equal(s.peer_limit, 3600);
    assert_null(strchr(s.node, '.'));
    settings_release(&s);

    static const char all[] =
        "# c\nnode: n1\r\n\n  cluster:dir:/c \nstate-dir: /s\nlog-dir:\t/l\n"
        "lock-dir: /k\nrun-dir: /r\nstorage-root: /sr\npool-prefix: n1-\nmax-workers: 7\n"
        "max-workers-per-target: 3\nfreeze-limit: 5\n"
        "history-days: 7\n"
        "large-blocks: 1\n"
        "peer-limit: 60\n";
    assert_int_equal(settings_parse("f", all, sizeof all - 1, &s, &e), 0);
    assert_int_equal(s.warnings.n, 0);
    assert_string_equal(s.node, "n1");
    assert_string_equal(s.cluster, "dir:/c");
    assert_string_equal(s.state_dir, "/s");
    assert_string_equal(s.log_dir, "/l");
    assert_string_equal(s.lock_dir, "/k");
    assert_string_equal(s.run_dir, "/r");
    assert_string_equal(s.storage_root, "/sr");
    assert_string_equal(s.pool_prefix, "n1-");
    assert_int_equal(s.max_workers, 7);
    assert_int_equal(s.max_per_target, 3);
    assert_int_equal(s.history_days, 7);
    assert_int_equal(s.freeze_limit, 5);
    assert_int_equal(s.peer_limit, 60);
    settings_release(&s);
}

static void refuses_settings(void **state)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"\nfoo: 1", "f:2: unknown key 'foo'"},
        {"node", "f:1: 'node' is not 'key: value'"},
        {"node: ../x", "f: node: value does not look like a valid node name"},
        {"node:", "f:1: node: '' is not a value"},
        {"state-dir: rel", "f:1: state-dir: 'rel' is not an absolute path"},
        {"storage-root: rel", "f:1: storage-root: 'rel' is not an absolute path"},
        {"pool-prefix: -n", "f:1: pool-prefix: '-n' cannot begin a pool's name"},
        {"pool-prefix: n/", "f:1: pool-prefix: 'n/' cannot begin a pool's name"},
        {"max-workers: 0", "f:1: max-workers: '0'"},
        {"sendmail: mail", "f:1: sendmail: 'mail' is not an absolute path"},
        {"mail-to:", "f:1: mail-to: '' is not a value"},
        {"max-workers-per-target: 257", "f:1: max-workers-per-target: '257'"},
        {"freeze-limit: 301", "f:1: freeze-limit: '301'"},
        {"peer-limit: 0", "f:1: peer-limit: '0'"},
        {"large-blocks: 2", "f:1: large-blocks: '2'"},
        {"max-workers: x", "f:1: max-workers: 'x'"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct settings s;
        struct err e = {0};
        assert_int_equal(settings_parse("f", cases[i].text, strlen(cases[i].text), &s, &e), -1);
        assert_int_equal(e.kind, ERR_CONFIG);
        if (strncmp(e.text, cases[i].error, strlen(cases[i].error)) != 0)
            fail_msg("'%s': %s", cases[i].text, e.text);
    }
}

static void doubts_settings(void **state)
{
#define CASE(text, warning)                                                                                  \
    {                                                                                                        \
        text, sizeof text - 1, warning                                                                       \
    }
    static const struct {
        const char *text;
        size_t len;
        const char *warning; /* NULL: none */
    } cases[] = {
        CASE("", NULL),
        CASE("# nothing is set\n", NULL),
        CASE("mail-to: a\n", NULL),
        CASE("mail-to: admin@examp", "f ends in the midst of a line"),
        CASE("mail-to: a\nmail-to: b\n", "f:2: 'mail-to' is there twice, the last one counts"),
        CASE("\0\0\0\0", "f has zero bytes behind its first 0 bytes"),
        CASE("node: x\n\0\0\n", "f has zero bytes behind its first 8 bytes"),
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct settings s;
        struct err e = {0};
        assert_int_equal(settings_parse("f", cases[i].text, cases[i].len, &s, &e), 0);
        const char *want = cases[i].warning;
        if (s.warnings.n != (want != NULL) || (want && strncmp(s.warnings.v[0], want, strlen(want)) != 0))
            fail_msg("'%s': %s", cases[i].text, s.warnings.n ? s.warnings.v[0] : "no warning");
        settings_release(&s);
    }
}

static void finds_settings(void **state)
{
    struct settings s;
    struct err e;
    char dir[] = "/tmp/pvesr-test-conf-XXXXXX", here[4096];
    assert_non_null(getcwd(here, sizeof here));
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chdir(dir), 0);
    FILE *f = fopen("a.conf", "w");
    assert_non_null(f);
    fputs("node: x1\n", f);
    fclose(f);

    assert_int_equal(settings_load("a.conf", &s, &e), 0);
    assert_string_equal(s.node, "x1");
    assert_int_equal(strncmp(s.file, "/", 1), 0);
    assert_int_equal(access(s.file, R_OK), 0);
    setenv("PVESR_CONFIG", s.file, 1);
    settings_release(&s);
    assert_int_equal(settings_load(NULL, &s, &e), 0);
    assert_string_equal(s.node, "x1");
    settings_release(&s);
    fclose(fopen("b.conf", "w"));
    assert_int_equal(settings_load("b.conf", &s, &e), 0);
    assert_true(s.warnings.n == 1 && strstr(s.warnings.v[0], "b.conf is empty, so all defaults count"));
    settings_release(&s);
    assert_int_equal(unlink("b.conf"), 0);
    assert_int_equal(settings_load("none.conf", &s, &e), -1);
    assert_int_equal(e.kind, ERR_CONFIG);
    setenv("PVESR_CONFIG", "/nowhere/none.conf", 1); /* a missing file means all defaults */
    assert_int_equal(settings_load(NULL, &s, &e), 0);
    assert_string_equal(s.file, "/nowhere/none.conf");
    assert_string_equal(s.cluster, "dir:/etc/pve");
    settings_release(&s);
    unsetenv("PVESR_CONFIG");

    assert_int_equal(unlink("a.conf"), 0);
    assert_int_equal(chdir(here), 0);
    assert_int_equal(rmdir(dir), 0);
}

/* ---- nodes.cfg ---- */

static void reads_nodes(void **state)
{
    static const struct {
        const char *text, *nodes, *warned;
    } cases[] = {
        {"", "", ""},
        {"node: pve1\n\taddress 10.0.0.1\n\nnode: pve2\n\taddress fe80::1%eth0\n\tport 2222\n\tuser u\n"
         "\tconfig /c\n\tagent /opt/pvesr agent\n",
         "pve1 root@10.0.0.1:22 - pvesr agent; pve2 u@fe80::1%eth0:2222 /c /opt/pvesr agent", ""},
        {"node: a\n\taddress local\n", "a root@local:22 - pvesr agent", ""},
        {"node: a\n", "", "1"},
        {"node: a\n\taddress -oProxyCommand=x\n", "", "2 1"},
        {"node: a\n\taddress x y\n", "", "2 1"},
        {"node: a\n\taddress x\n\tuser -l\n\tport 0\n\tconfig c\n\tfoo 1\n", "a root@x:22 - pvesr agent",
         "3 4 5 6"},
        {"node: ../a\n\taddress x\n\nthing: a\n\taddress x\n", "", "1 4"},
        {"node: a\n\taddress x\n\nnode: a\n\taddress y\n", "a root@y:22 - pvesr agent", "4"},
        {"node: a\n\taddress x\n\nnode: a\n\tport 1\n", "a root@x:22 - pvesr agent", "4"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct nodes n;
        _cleanup_buf_ struct buf dump = BUF_INIT, lines = BUF_INIT;
        nodes_parse("nodes.cfg", cases[i].text, strlen(cases[i].text), &n);
        for (size_t k = 0; k < n.n; k++)
            buf_addf(&dump, "%s%s %s@%s:%u %s %s", k ? "; " : "", n.v[k].name, n.v[k].user, n.v[k].address,
                     n.v[k].port, or_dash(n.v[k].config), n.v[k].agent);
        dump_lines(&n.warnings, &lines);
        if (strcmp(buf_str(&dump), cases[i].nodes) || strcmp(buf_str(&lines), cases[i].warned))
            fail_msg("'%s': %s, warned %s", cases[i].text, buf_str(&dump), buf_str(&lines));
        nodes_release(&n);
    }
}

/* ---- storage.cfg ---- */

static void reads_storages(void **state)
{
    static const char *const local = "local dir /var/lib/vz";
    static const struct {
        const char *text, *storages, *warned; /* storages without the implicit local */
    } cases[] = {
        {"", "", ""},
        {"zfspool: local-zfs\n\tpool rpool/data\n\tsparse\n\tcontent images,rootdir\n\n"
         "btrfs: bt\n\tpath /mnt/bt\n\tnodes a,b c;d\n\ndir: d1\n\tpath /d\n\tdisable\n\tshared 1\n\n"
         "lvmthin: thin\n\tvgname vg\n\tthinpool tp\n",
         "local-zfs zfspool pool=rpool/data; bt btrfs /mnt/bt nodes=a,b,c,d; d1 dir /d disabled shared; "
         "thin lvmthin vg=vg/tp",
         ""},
        {"nfs: n1\n\tpath /mnt/pve/n1\n\npbs: p1\n\nown-type: o1\n",
         "n1 nfs /mnt/pve/n1 shared; p1 pbs shared; o1 own-type", ""},
        {"zfspool: zz\n\tpool p\n\tshared 1\n", "zz zfspool pool=p", ""},
        {"dir: aa\n\tpath rel\n\nzfspool: bb\n\nlvmthin: cc\n\tvgname v\n\nbtrfs: dd\n", "", "1 4 6 9"},
        {"dir: a\n\tpath /a\n\ndir: -a\n\tpath /a\n\ndir: a/b\n\tpath /a\n", "", "1 4 7"},
        {"dir: aa\n\tpath /a\n\ndir: aa\n\tpath /b\n", "aa dir /b", "4"},
        {"dir: aa\n\tpath /a\n\tdisable 0\n", "aa dir /a", ""},
        {"dir: aa\n\tpath /a\n\tshared false\n\tdisable FALSE\n", "aa dir /a", ""},
        {"dir: aa\n\tpath /a\n\tshared No\n\tdisable OFF\n", "aa dir /a", ""},
        {"dir: aa\n\tpath /a\n\tshared True\n\tdisable\n", "aa dir /a disabled shared", ""},
        {"dir: aa\n\tpath /a\n\tshared maybe\n\ndir: bb\n\tpath /b\n\tdisable 2\n", "", "1 5"},
        {"dir: aa\n\tpath /a\n\tis_mountpoint\n", "aa dir /a mount=/a", ""},
        {"dir: aa\n\tpath /a\n\tis_mountpoint yes\n", "aa dir /a mount=/a", ""},
        {"dir: aa\n\tpath /a\n\tis_mountpoint 0\n", "aa dir /a", ""},
        {"btrfs: aa\n\tpath /a/b\n\tis_mountpoint /a\n", "aa btrfs /a/b mount=/a", ""},
        {"dir: aa\n\tpath /a\n\tis_mountpoint perhaps\n", "", "1"},
        {"zfspool: aa\n\tpool p\n\tis_mountpoint yes\n", "aa zfspool pool=p", ""},
        {"dir: aa\n\tpath /a\n\tcontent-dirs iso=x,images=vms/disks\n", "aa dir /a images=vms/disks", ""},
        {"dir: aa\n\tpath /a\n\tcontent-dirs iso=x\n", "aa dir /a", ""},
        {"dir: aa\n\tpath /a\n\tcontent-dirs images=../x\n\nbtrfs: bb\n\tpath /b\n\tcontent-dirs "
         "images=/x\n\n"
         "dir: cc\n\tpath /c\n\tcontent-dirs images=\n\ndir: dd\n\tpath /d\n\tcontent-dirs images=a/./b\n",
         "", "1 5 9 13"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct storages all;
        _cleanup_buf_ struct buf dump = BUF_INIT, lines = BUF_INIT, expect = BUF_INIT;
        storages_parse("storage.cfg", cases[i].text, strlen(cases[i].text), &all);
        for (size_t k = 0; k < all.n; k++) {
            const struct storage *s = &all.v[k];
            buf_addf(&dump, "%s%s %s", k ? "; " : "", s->id, s->type);
            if (s->path)
                buf_addf(&dump, " %s", s->path);
            if (s->mountpoint)
                buf_addf(&dump, " mount=%s", s->mountpoint);
            if (s->images)
                buf_addf(&dump, " images=%s", s->images);
            if (s->pool)
                buf_addf(&dump, " pool=%s", s->pool);
            if (s->vgname)
                buf_addf(&dump, " vg=%s/%s", s->vgname, s->thinpool);
            _cleanup_free_ char *nodes = strv_join(&s->nodes, ",");
            if (s->nodes.n)
                buf_addf(&dump, " nodes=%s", nodes);
            buf_addf(&dump, "%s%s", s->disabled ? " disabled" : "", s->shared ? " shared" : "");
        }
        dump_lines(&all.warnings, &lines);
        buf_addf(&expect, "%s%s%s", cases[i].storages, *cases[i].storages ? "; " : "", local);
        if (strcmp(buf_str(&dump), buf_str(&expect)) || strcmp(buf_str(&lines), cases[i].warned))
            fail_msg("'%s': %s, warned %s", cases[i].text, buf_str(&dump), buf_str(&lines));
        storages_release(&all);
    }
}

static void says_why_a_storage_is_none(void **state)
{
    static const char text[] = "dir: aa\n\tpath /a\n\tshared maybe\n";
    struct storages all;
    storages_parse("storage.cfg", text, sizeof text - 1, &all);
    assert_null(storages_find(&all, "aa"));
    assert_string_equal(storages_skipped(&all, "aa"),
                        "its section in storage.cfg, line 1, does not count: 'shared' of storage 'aa' is "
                        "'maybe': make it 1 or 0");
    assert_null(storages_skipped(&all, "bb"));
    storages_release(&all);
}

static void knows_where_a_storage_is(void **state)
{
    struct storages all;
    static const char text[] = "dir: local\n\tdisable\n\ndir: aa\n\tpath /a\n\tnodes n1,n2\n";
    storages_parse("storage.cfg", text, sizeof text - 1, &all);
    assert_int_equal(all.n, 2); /* local is configured, its path is the usual one */
    assert_string_equal(storages_find(&all, "local")->path, "/var/lib/vz");
    assert_false(storage_enabled_on(storages_find(&all, "local"), "n1"));
    assert_true(storage_enabled_on(storages_find(&all, "aa"), "n2"));
    assert_false(storage_enabled_on(storages_find(&all, "aa"), "n3"));
    assert_null(storages_find(&all, "bb"));
    storages_release(&all);
}

static void splits_volids(void **state)
{
    static const struct {
        const char *volid, *store, *name; /* store NULL: refused */
    } cases[] = {
        {"local-zfs:vm-100-disk-0", "local-zfs", "vm-100-disk-0"},
        {"d.1_x:100/vm-100-disk-0.raw", "d.1_x", "100/vm-100-disk-0.raw"},
        {"aa:b:c", "aa", "b:c"},
        {"a:b", NULL, NULL},
        {"aa:", NULL, NULL},
        {":b", NULL, NULL},
        {"aa", NULL, NULL},
        {"", NULL, NULL},
        {"1a:b", NULL, NULL},
        {"a-:b", NULL, NULL},
        {"a/b:c", NULL, NULL},
        {"aa:b c", NULL, NULL},
        {"aa:b\n", NULL, NULL},
        {"aa:b,c", NULL, NULL},
        {"/dev/sda", NULL, NULL},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_free_ char *store = NULL;
        _cleanup_free_ char *name = NULL;
        struct err e = {0};
        int r = volid_split(cases[i].volid, &store, &name, &e);
        if ((r == 0) != (cases[i].store != NULL))
            fail_msg("'%s': %d", cases[i].volid, r);
        if (r < 0) {
            assert_int_equal(e.kind, ERR_USAGE);
            continue;
        }
        assert_string_equal(store, cases[i].store);
        assert_string_equal(name, cases[i].name);
    }
}

/* ---- datacenter.cfg ---- */

static void reads_the_transport(void **state)
{
    static const struct {
        const char *text;
        bool insecure;
        const char *network, *warned;
    } cases[] = {
        {"", false, NULL, ""},
        {"migration: insecure\n", true, NULL, ""},
        {"migration: type=insecure,network=10.0.0.0/8\n", true, "10.0.0.0/8", ""},
        {"migration: network=10.0.0.0/8,type=insecure\n", true, "10.0.0.0/8", ""},
        {"replication: secure\nmigration: insecure,network=10.0.0.0/8\n", false, NULL, ""},
        {"migration: insecure\nreplication: secure,network=fd00::/64\n", false, "fd00::/64", ""},
        {"replication: network=10.0.0.0/8\nmigration: insecure\n", true, NULL, "1"},
        {"replication: insecure,foo=1\nmigration: secure\n", false, NULL, "1"},
        {"replication: insecure,network=10.0.0.1\n", false, NULL, "1"},
        {"replication: insecure,network=10.0.0.0/33\n", false, NULL, "1"},
        {"replication: insecure,network=x/8\n", false, NULL, "1"},
        {"replication: insecure,insecure\n", false, NULL, "1"},
        {"replication: fast\n", false, NULL, "1"},
        {"replication: insecure,network=10.0.0.5/24\n", true, "10.0.0.5/24", ""},
        {"migration_unsecure: 1\n", true, NULL, ""},
        {"migration_unsecure: 0\n", false, NULL, ""},
        {"migration_unsecure: 1\nmigration: secure\n", false, NULL, ""},
        {"migration: secure\nmigration_unsecure: 1\n", false, NULL, ""},
        {"# replication: insecure\nkeyboard: de\nodd\n\n", false, NULL, ""},
        {"replication:insecure\r\n", true, NULL, ""},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct transport t;
        struct strv warnings = STRV_INIT;
        _cleanup_buf_ struct buf lines = BUF_INIT;
        datacenter_parse("datacenter.cfg", cases[i].text, strlen(cases[i].text), &t, &warnings);
        dump_lines(&warnings, &lines);
        if (t.insecure != cases[i].insecure || strcmp(or_dash(t.network), or_dash(cases[i].network)) ||
            strcmp(buf_str(&lines), cases[i].warned))
            fail_msg("'%s': %d %s, warned '%s'", cases[i].text, t.insecure, or_dash(t.network),
                     buf_str(&lines));
        transport_release(&t);
        strv_release(&warnings);
    }
}

static void finds_the_sender(void **state)
{
    static const struct {
        const char *text, *from;
    } cases[] = {
        {"", NULL},
        {"keyboard: de\nemail_from: a@example.com\r\nemail_from: b@example.com\n", "a@example.com"},
        {"# email_from: a@example.com\nemail_fromx: b\n", NULL},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_free_ char *from = datacenter_email_from(cases[i].text, strlen(cases[i].text));
        assert_string_equal(or_dash(from), or_dash(cases[i].from));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_property_strings),   cmocka_unit_test(reads_settings),
        cmocka_unit_test(refuses_settings),         cmocka_unit_test(doubts_settings),
        cmocka_unit_test(finds_settings),           cmocka_unit_test(reads_nodes),
        cmocka_unit_test(reads_storages),           cmocka_unit_test(says_why_a_storage_is_none),
        cmocka_unit_test(knows_where_a_storage_is), cmocka_unit_test(splits_volids),
        cmocka_unit_test(reads_the_transport),      cmocka_unit_test(finds_the_sender),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
