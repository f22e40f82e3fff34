#include "guest/config.h"

#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- the configuration ---- */

static struct guest_config *parse(enum guest_type type, const char *text)
{
    return guest_config_parse("900.conf", type, 900, text, strlen(text));
}

static void reads_a_configuration(void **state)
{
    _cleanup_(guest_config_freep) struct guest_config *g =
        parse(GUEST_QEMU, "#description: no key\nname: a: b \r\nparent: s2\nmemory:512\nmemory: 1024\n\n"
                          "[PENDING]\nmemory: 1\n\n[special:cloudinit]\nname: z\n\n[s2]\nparent: s1\n"
                          "[s1]\nname: old\n[S-_9]\n[s1]\n");
    _cleanup_free_ char *snapshots = strv_join(guest_config_snapshots(g), " ");
    assert_string_equal(snapshots, "S-_9 s1 s2");
    assert_string_equal(guest_config_get(g, "name"), "a: b");
    assert_string_equal(guest_config_get(g, "memory"), "1024");
    assert_string_equal(guest_config_parent(g), "s2");
    assert_null(guest_config_get(g, "description"));
    assert_int_equal(guest_config_warnings(g)->n, 1);
    assert_string_equal(guest_config_warnings(g)->v[0],
                        "900.conf:4: line ignored, 'memory' is there again further down");
}

static void warns_of_odd_lines(void **state)
{
    static const struct {
        const char *text, *warning; /* NULL: none */
    } cases[] = {
        {"name: x\n", NULL},
        {"name\n", "900.conf:1: line ignored, not 'key: value': 'name'"},
        {"\n scsi0: x\n", "900.conf:2: line ignored, not 'key: value': ' scsi0: x'"},
        {": x\n", "900.conf:1: line ignored, not 'key: value': ': x'"},
        {"na me: x\n", "900.conf:1: line ignored, not 'key: value': 'na me: x'"},
        {"name: \001\n[../x]\n", "900.conf:2: section ignored, not a snapshot's name: '../x'"},
        {"[a]\n", "900.conf:1: section ignored, not a snapshot's name: 'a'"},
        {"[special:fleecing]\nwhat is this\n", NULL},
        {"lxc.mount.entry = a:b\nlxc.mount.entry = c:d\nlxc.apparmor.profile: x\n", NULL},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_(guest_config_freep) struct guest_config *g = parse(GUEST_LXC, cases[i].text);
        const struct strv *w = guest_config_warnings(g);
        if (w->n != (cases[i].warning ? 1 : 0) || (w->n && strcmp(w->v[0], cases[i].warning) != 0))
            fail_msg("'%s': %s", cases[i].text, w->n ? w->v[0] : "no warning");
    }
    static const char zero[] = "name: a\0b\nparent: s1\n";
    _cleanup_(guest_config_freep) struct guest_config *g =
        guest_config_parse("900.conf", GUEST_QEMU, 900, zero, sizeof zero - 1);
    assert_null(guest_config_get(g, "name"));
    assert_string_equal(guest_config_parent(g), "s1");
    assert_int_equal(guest_config_warnings(g)->n, 1);
}

/* What is not understood is not what is not there. */
static void tells_what_may_hide_a_volume(void **state)
{
    static const struct {
        const char *text, *hides; /* NULL: nothing */
    } cases[] = {
        {"scsi0: a:b\nname: x\nname: y\nscsi0: a:b\nfoo:\n[special:x]\nscsi1\nscsi0:\n[s1]\nscsi1: a:c\n",
         NULL},
        {"scsi0: a:b\nscsi", "900.conf, line 2, is not 'key: value'"}, /* cut off */
        {"scsi0: a:b\ns", "900.conf, line 2, is not 'key: value'"},
        {"scsi0: a:b\n[special:cloudinit]\nci", "900.conf, line 3, is not 'key: value'"},
        {"scsi0: a:b\n[special:x]\n[s", "900.conf, line 3, is not 'key: value'"},
        {"scsi0: a:b\ns\n", NULL},
        {"scsi0: a:b\n#s", NULL},
        {"#what", "900.conf, line 1, a comment, is cut off"},
        {"scsi0: a:b\n[s1]\n#what", "900.conf, line 3, a comment, is cut off"},
        {"#what\nscsi0: a:b\n[s1]\nscsi0: a:b\n# mine", NULL},
        {"#what\n", NULL},
        {"scsi0: a:b\nname: x", NULL},
        {"scsi0: a:b\n[s1]", NULL},
        {"scsi0: a:b\n  ", NULL},
        {"scsi0: a:b\nname: x\nscsi0: a:c\n", "900.conf, line 1, says something else of 'scsi0' than line 3"},
        {"scsi0: a:b\nscsi0: a:c\nscsi0: a:b\n",
         "900.conf, line 1, says something else of 'scsi0' than line 2"},
        {"scsi0: a:b,replicate=0\nscsi0: a:b\n",
         "900.conf, line 1, says something else of 'scsi0' than line 2"},
        {"name: x\n[s1]\nscsi0: a:b\nscsi0: a:c\n",
         "900.conf, line 3, says something else of 'scsi0' than line 4"},
        {"name: x\n[special:x]\nscsi0: a:b\nscsi0: a:c\n", NULL},
        {"\xef\xbb\xbfscsi0: a:b\n#scsi1\n\n", NULL},
        {"scsi0: a:b\n scsi1: a:c\n", "900.conf, line 2, is not 'key: value'"},
        {"scsi0: a:b\n<<<<<<< HEAD\nodd line\n", NULL},
        {"scsi0: a:b\n<<<<<<< scsi1: a:c\n", "900.conf, line 2, is not 'key: value'"},
        {"[s1]\nscsi1\n", "900.conf, line 2, is not 'key: value'"},
        {"scsi0: a:b\n[pve:pending]\nscsi1: a:c\n[other:kind]\nscsi2: a:d\n", NULL},
        {"[pve:pending]\nscsi1\n", "900.conf, line 2, is not 'key: value'"},
        {"[PENDING]\nscsi1\n", "900.conf, line 2, is not 'key: value'"},
        {"scsi0: a:b\nscsi1:\n", "900.conf, line 2, has no value"},
        {"scsi0: a:b\n[my snapshot]\nscsi0: a:c\n", "900.conf, line 2, is no snapshot's name"},
        {"scsi0: a:b\n[s1\nname: x\n", "900.conf, line 2, is not 'key: value'"},
        {"scsi0: a:b\nSCSI1 : a:c\n", "900.conf, line 2, is not 'key: value'"},
        {"scsi0: a:b\nnvme0 : a:vm-900-disk-1\n", "900.conf, line 2, is not 'key: value'"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_(guest_config_freep) struct guest_config *g = parse(GUEST_QEMU, cases[i].text);
        if (strcmp(g->hides ? g->hides : "", cases[i].hides ? cases[i].hides : "") != 0)
            fail_msg("'%s': %s", cases[i].text, g->hides);
    }
    static const char zeros[] = "scsi0: a:b\n\0\0\0\0";
    _cleanup_(guest_config_freep) struct guest_config *g =
        guest_config_parse("900.conf", GUEST_QEMU, 900, zeros, sizeof zeros - 1);
    struct storages none = {0};
    _cleanup_strv_ struct strv got = STRV_INIT;
    struct err e = {0};
    assert_int_equal(guest_volumes(g, &none, VOLUMES_LENIENT, NULL, NULL, &got, &e), 0);
    assert_int_equal(guest_volumes(g, &none, VOLUMES_STRICT, NULL, NULL, &got, &e), -1);
    assert_int_equal(e.kind, ERR_CONFIG);
    assert_non_null(strstr(e.text, "900.conf, line 2, is not 'key: value': correct that"));
}

/* ---- which volumes ---- */

static const char storage_cfg[] =
    "dir: local\n\tpath /var/lib/vz\n\nzfspool: local-zfs\n\tpool rpool/data\n\n"
    "nfs: share\n\tpath /mnt/pve/share\n\ndir: marked\n\tpath /m\n\tshared 1\n\n"
    "btrfs: bt\n\tpath /bt\n";

/* As with drivers for zfspool and btrfs only, the latter for plain images only. */
static bool can(const struct storage *s, const char *volname, void *arg)
{
    assert_ptr_equal(arg, storage_cfg);
    return !strcmp(s->type, "zfspool") || (!strcmp(s->type, "btrfs") && !strstr(volname, ".qcow2"));
}

/* One line of a guest that has another volume: what it names is read, or it may hide one. */
static void reads_a_volume_or_refuses_the_line(void **state)
{
    static const struct {
        enum guest_type type;
        const char *line, *volid; /* NULL: it names none */
        const char *why;          /* NULL: it hides none */
    } cases[] = {
        /* wherever it stands, under each of its names */
        {GUEST_QEMU, "scsi1: size=4M,zz:vm-900-disk-1", "zz:vm-900-disk-1", NULL},
        {GUEST_QEMU, "scsi1: volume=zz:vm-900-disk-1,size=4M", "zz:vm-900-disk-1", NULL},
        {GUEST_QEMU, "scsi1: cache=none,volume=zz:vm-900-disk-1", "zz:vm-900-disk-1", NULL},
        {GUEST_QEMU, "scsi1: cache=none,file=zz:vm-900-disk-1,", "zz:vm-900-disk-1", NULL},
        {GUEST_QEMU, "scsi1: ,zz:vm-900-disk-1,,size=1G", "zz:vm-900-disk-1", NULL},
        {GUEST_QEMU, "scsi1: zz:vm-900-disk-1,import-from=zz:vm-900-disk-2", "zz:vm-900-disk-1", NULL},
        {GUEST_QEMU, "vmstate: zz:vm-900-state-s1", "zz:vm-900-state-s1", NULL},
        {GUEST_QEMU, "efidisk0: efitype=4m,zz:vm-900-disk-1,size=4M", "zz:vm-900-disk-1", NULL},
        {GUEST_QEMU, "tpmstate0: zz:vm-900-disk-1,size=4M,version=v2.0", "zz:vm-900-disk-1", NULL},
        {GUEST_QEMU, "unused255: zz:vm-900-disk-1", "zz:vm-900-disk-1", NULL},
        {GUEST_QEMU, "scsi1: zz:base-800-disk-0/vm-900-disk-1", "zz:base-800-disk-0/vm-900-disk-1", NULL},
        {GUEST_LXC, "mp0: mp=/x,zz:subvol-900-disk-1", "zz:subvol-900-disk-1", NULL},
        {GUEST_LXC, "mp0: mp=/x,volume=zz:subvol-900-disk-1", "zz:subvol-900-disk-1", NULL},
        /* no volume, and meant so */
        {GUEST_QEMU, "ide2: none,media=cdrom", NULL, NULL},
        {GUEST_QEMU, "ide2: media=cdrom,file=none", NULL, NULL},
        {GUEST_QEMU, "ide2: cdrom", NULL, NULL},
        {GUEST_QEMU, "ide2: cdrom,media=cdrom", NULL, NULL},
        {GUEST_QEMU, "ide2: zz:vm-900-cloudinit,media=cdrom,size=4M", NULL, NULL},
        {GUEST_QEMU, "scsi1: /dev/disk/by-id/x,replicate=0", NULL, NULL},
        {GUEST_LXC, "mp0: /srv/x,mp=/x,replicate=0", NULL, NULL},
        {GUEST_LXC, "mp0: /dev/sda1,mp=/x,replicate=0", NULL, NULL},
        {GUEST_QEMU, "scsi1: zz:vm-901-disk-0,serial=zz:vm-901-disk-1", NULL, NULL},
        {GUEST_QEMU, "scsi1: zz:vm-900-disk-1,serial=a:vm-900-x,model=a:vm-900-y", "zz:vm-900-disk-1", NULL},
        {GUEST_QEMU, "scsi1: zz:vm-900-disk-1,vendor=a:vm-900-x,product=a:vm-900-y,wwn=a:vm-900-z",
         "zz:vm-900-disk-1", NULL},
        {GUEST_LXC, "mp0: /srv/x,mp=/a:vm-900-b,mountoptions=a:vm-900-c,replicate=0", NULL, NULL},
        {GUEST_QEMU, "scsi1: zz:vm-900-disk-1,replicate=0", NULL, NULL},
        {GUEST_QEMU, "#scsi1: zz:vm-900-disk-1\n", NULL, NULL},
        {GUEST_QEMU, "net0: virtio=BC:24:11:00:00:0A,bridge=vmbr0,firewall=1", NULL, NULL},
        {GUEST_QEMU, "net1: e1000=BC:24:11:00:00:0B,bridge=vm-900-net", NULL, NULL},
        {GUEST_QEMU, "args: -drive file=/dev/z/vm-900-disk-1,if=none -device x,host=00:02.0", NULL, NULL},
        {GUEST_QEMU, "hookscript: zz:snippets/vm-900-hook.pl", NULL, NULL},
        {GUEST_QEMU, "cicustom: user=zz:snippets/vm-900-user,meta=zz:snippets/m.yaml", NULL, NULL},
        {GUEST_QEMU, "description: was on zz:900/vm-900-disk-1.raw, and zz:vm-900-disk-1", NULL, NULL},
        {GUEST_QEMU, "[s1]\ndescription: before zz:vm-900-disk-1", NULL, NULL},
        {GUEST_LXC, "description: zz:subvol-900-disk-1", NULL, NULL},
        {GUEST_QEMU, "args: -device x,drive=rbd:vm-900-disk-7", NULL, NULL},
        {GUEST_QEMU, "tags: a:vm-900-x", NULL, NULL},
        {GUEST_QEMU, "serial0: /dev/a:vm-900-x", NULL, NULL},
        {GUEST_QEMU, "smbios1: uuid=a,serial=a:vm-900-x", NULL, NULL},
        {GUEST_QEMU, "hostpci0: mapping=a:vm-900-x", NULL, NULL},
        {GUEST_LXC, "dev0: /dev/a:vm-900-x,mode=0660", NULL, NULL},
        {GUEST_LXC, "lxc.hook.pre-start: /x zz:subvol-900-disk-1", NULL, NULL},
        {GUEST_LXC, "lxc.mount.entry.0 = zz:subvol-900-disk-1", NULL, NULL},
        {GUEST_QEMU, "name: vm-900-disk-1", NULL, NULL},
        {GUEST_QEMU, "delete: scsi1", NULL, NULL},
        {GUEST_QEMU, "bootdisk: scsi1", NULL, NULL},
        {GUEST_QEMU, "scsihw: virtio-scsi-pci", NULL, NULL},
        {GUEST_LXC, "lxc.mount.entry = /dev/z/vm-900-disk-1 mnt none bind 0 0", NULL, NULL},
        {GUEST_LXC, "[s1]\nunused0: zz:subvol-900-disk-1", NULL, NULL},
        {GUEST_QEMU, "[special:fleecing]\nfleecing-images: zz:vm-900-fleece-0", NULL, NULL},
        {GUEST_QEMU, "[special:fleecing]\nscsi1: zz:vm-900-fleece-0", NULL, NULL},
        {GUEST_QEMU, "[special:cloudinit]\nide2: zz:vm-900-cloudinit,media=cdrom", NULL, NULL},
        {GUEST_QEMU, "[special:x]\nscsi1: zz:vm-901-disk-0\nimages: zz:vm-900-x-0", NULL, NULL},
        {GUEST_QEMU, "[s:1]\ndescription: was zz:vm-900-disk-1", NULL, NULL},
        /* none that could be made out */
        {GUEST_QEMU, "scsi1: size=4M", NULL, "names no volume in 'scsi1'"},
        {GUEST_QEMU, "scsi1: file=", NULL, "names no volume in 'scsi1'"},
        {GUEST_QEMU, "scsi1: ,", NULL, "names no volume in 'scsi1'"},
        {GUEST_QEMU, "scsi1: file = zz:vm-900-disk-1", NULL, "names no volume in 'scsi1'"},
        {GUEST_QEMU, "scsi1: FILE=zz:vm-900-disk-1", NULL, "names no volume in 'scsi1'"},
        {GUEST_QEMU, "scsi1: discard=on,z=zz:vm-900-disk-1", NULL, "names no volume in 'scsi1'"},
        {GUEST_QEMU, "efidisk0: efitype=4m", NULL, "names no volume in 'efidisk0'"},
        {GUEST_LXC, "mp0: mp=/x,size=4M", NULL, "names no volume in 'mp0'"},
        {GUEST_LXC, "mp0: mp=/x,file=zz:subvol-900-disk-1", NULL, "names no volume in 'mp0'"},
        {GUEST_LXC, "[s1]\nmp0: mp=/x", NULL, "names no volume in 'mp0'"},
        /* more than one */
        {GUEST_QEMU, "scsi1: cdrom,file=zz:vm-900-disk-1", NULL, "names more than one volume in 'scsi1'"},
        {GUEST_QEMU, "scsi1: zz:vm-900-disk-1,zz:vm-900-disk-2", NULL,
         "names more than one volume in 'scsi1'"},
        {GUEST_QEMU, "scsi1: volume=zz:vm-900-disk-1,file=none", NULL,
         "names more than one volume in 'scsi1'"},
        {GUEST_QEMU, "ide2: none,media=cdrom,x=zz:vm-900-disk-1", NULL,
         "names an image of the guest in 'ide2' where none is expected"},
        {GUEST_QEMU, "scsi1: zz:vm-900-disk-1,FILE=zz:vm-900-disk-2", "zz:vm-900-disk-1",
         "names an image of the guest in 'scsi1' where none is expected"},
        /* whether it counts */
        {GUEST_QEMU, "scsi1: zz:vm-900-disk-1,replicate=0,replicate=1", NULL,
         "says 'replicate' of 'scsi1' twice"},
        {GUEST_QEMU, "scsi1: zz:vm-900-disk-1,media=cdrom,media=disk", NULL, "says 'media' of 'scsi1' twice"},
        /* under no key of volumes */
        {GUEST_QEMU, "SCSI1: zz:vm-900-disk-1", NULL, "names a volume, but 'SCSI1' is not a key of volumes"},
        {GUEST_QEMU, "Scsi1: size=4M", NULL, "names a volume, but 'Scsi1' is not a key of volumes"},
        {GUEST_QEMU, "scsi31: zz:vm-900-disk-1", NULL,
         "names a volume, but 'scsi31' is not a key of volumes"},
        {GUEST_QEMU, "nvme0: file=zz:vm-900-disk-1", NULL,
         "names a volume, but 'nvme0' is not a key of volumes"},
        {GUEST_QEMU, "scsi-1: zz:vm-900-disk-1", NULL,
         "names a volume, but 'scsi-1' is not a key of volumes"},
        {GUEST_QEMU, "scsi: zz:vm-900-disk-1", NULL, "names a volume, but 'scsi' is not a key of volumes"},
        {GUEST_QEMU, "NET0: zz:vm-900-disk-1", NULL, "names a volume, but 'NET0' is not a key of volumes"},
        {GUEST_QEMU, "VMState: zz:vm-900-state-s1", NULL,
         "names a volume, but 'VMState' is not a key of volumes"},
        {GUEST_QEMU, "unused256: zz:900/vm-900-disk-1.raw size=4M", NULL,
         "names a volume, but 'unused256' is not a key of volumes"},
        {GUEST_QEMU, "mp0: zz:vm-900-disk-1", NULL, "names a volume, but 'mp0' is not a key of volumes"},
        {GUEST_QEMU, "[s1]\nscsi31: zz:vm-900-disk-1", NULL,
         "names a volume, but 'scsi31' is not a key of volumes"},
        {GUEST_QEMU, "[s:1]\nvmstate: zz:vm-900-state-s1", NULL,
         "names a volume in a section that nobody knows"},
        {GUEST_QEMU, "[special:x]\nscsi1: zz:vm-900-disk-1", NULL,
         "names a volume in a section that nobody knows"},
        {GUEST_QEMU, "[special:fleecing2]\nscsi31: cache=none,FILE=zz:vm-900-disk-1", NULL,
         "names a volume in a section that nobody knows"},
        {GUEST_LXC, "[special:x]\nmp0: zz:subvol-900-disk-1,mp=/x", NULL,
         "names a volume in a section that nobody knows"},
        {GUEST_LXC, "RootFS: zz:subvol-900-disk-1", NULL,
         "names a volume, but 'RootFS' is not a key of volumes"},
        {GUEST_LXC, "scsi1: zz:vm-900-disk-1", NULL, "names a volume, but 'scsi1' is not a key of volumes"},
    };
    static const char zfs[] = "zfspool: zz\n\tpool p\n";
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_(guest_config_freep) struct guest_config *g = parse(cases[i].type, cases[i].line);
        _cleanup_strv_ struct strv got = STRV_INIT;
        struct storages storages;
        struct err e;
        storages_parse("storage.cfg", zfs, sizeof zfs - 1, &storages);
        assert_int_equal(guest_volumes(g, &storages, VOLUMES_LENIENT, can, (void *)storage_cfg, &got, &e), 0);
        storages_release(&storages);
        _cleanup_free_ char *volids = strv_join(&got, " ");
        const char *line = strstr(cases[i].line, "]\n") ? "900.conf, line 2, " : "900.conf, line 1, ";
        _cleanup_free_ char *hides = cases[i].why ? xasprintf("%s%s", line, cases[i].why) : xstrdup("");
        if (strcmp(volids, cases[i].volid ? cases[i].volid : "") != 0 ||
            strcmp(g->hides ? g->hides : "", hides) != 0)
            fail_msg("'%s': '%s', %s", cases[i].line, volids, g->hides);
    }
}

/* What each mode gives: the volids, or "!" and the error. NULL: the same as strict. */
struct selection {
    const char *what;
    enum guest_type type;
    const char *text;
    const char *strict, *cleanup, *lenient;
};

static const struct selection selections[] = {
    {"nothing", GUEST_QEMU, "name: x\n", "", NULL, NULL},
    /* what takes part: BEHAVIOUR.md#volumes */
    {"V1 unknown storage", GUEST_QEMU, "scsi0: non-existent-store:vm-900-disk-0,size=4G\n",
     "!storage 'non-existent-store' does not exist", NULL, ""},
    {"V2 another guest's disk", GUEST_QEMU, "scsi0: local-zfs:vm-901-disk-0,size=4G\n", "", NULL, NULL},
    {"V3 storage that cannot", GUEST_QEMU, "scsi0: local:900/vm-900-disk-0.qcow2\n",
     "!missing replicate feature on volume 'local:900/vm-900-disk-0.qcow2'", "", ""},
    {"V4 device", GUEST_QEMU, "scsi0: /dev/disk/by-id/x,size=4G\n",
     "!unable to replicate local file/device '/dev/disk/by-id/x'", "", ""},
    {"V5 device without", GUEST_QEMU, "scsi0: /dev/sda,replicate=0\n", "", NULL, NULL},
    {"V6 image of a CD", GUEST_QEMU, "ide2: local:iso/x.iso,media=cdrom\n", "", NULL, NULL},
    {"V7 the drive", GUEST_QEMU, "ide2: cdrom,media=cdrom\nide3: none,media=cdrom\nide0: cdrom\n", "", NULL,
     NULL},
    {"V8 in a snapshot only", GUEST_QEMU, "name: x\n\n[s1]\nscsi0: local-zfs:vm-900-disk-0\n",
     "local-zfs:vm-900-disk-0", NULL, NULL},
    {"V9 replicate=0 but not in the snapshot", GUEST_QEMU,
     "scsi0: local-zfs:vm-900-disk-0,replicate=0\n\n[s1]\nscsi0: local-zfs:vm-900-disk-0\n",
     "local-zfs:vm-900-disk-0", NULL, NULL},
    {"V10 unused", GUEST_QEMU, "unused0: local-zfs:vm-900-disk-1\nunused255: local-zfs:vm-900-disk-0\n",
     "local-zfs:vm-900-disk-0 local-zfs:vm-900-disk-1", NULL, NULL},
    {"V11 unused on a storage that cannot", GUEST_QEMU, "unused0: local:900/vm-900-disk-0.raw\n",
     "!missing replicate feature on volume 'local:900/vm-900-disk-0.raw'", "", ""},
    /* virtual machines */
    {"every kind of key, each volume once, sorted", GUEST_QEMU,
     "virtio15: local-zfs:vm-900-disk-7\nide3: local-zfs:vm-900-disk-1\nsata5: local-zfs:vm-900-disk-2\n"
     "scsi30: local-zfs:vm-900-disk-3,size=1G\nefidisk0: local-zfs:vm-900-disk-4,efitype=4m\n"
     "tpmstate0: local-zfs:vm-900-disk-5,version=v2.0\nvmstate: local-zfs:vm-900-state-a\n"
     "[s1]\nvmstate: local-zfs:vm-900-state-s1\nscsi30: local-zfs:vm-900-disk-3\n"
     "[s2]\nvmstate: local-zfs:vm-900-state-s2\nscsi1: bt:900/vm-900-disk-0.raw\n",
     "bt:900/vm-900-disk-0.raw local-zfs:vm-900-disk-1 local-zfs:vm-900-disk-2 local-zfs:vm-900-disk-3 "
     "local-zfs:vm-900-disk-4 local-zfs:vm-900-disk-5 local-zfs:vm-900-disk-7 local-zfs:vm-900-state-a "
     "local-zfs:vm-900-state-s1 local-zfs:vm-900-state-s2",
     NULL, NULL},
    {"no such slot", GUEST_QEMU,
     "ide4: local-zfs:vm-900-disk-0\nscsi31: local-zfs:vm-900-disk-0\nvirtio16: local-zfs:vm-900-disk-0\n"
     "sata6: local-zfs:vm-900-disk-0\nunused256: local-zfs:vm-900-disk-0\nscsi: local-zfs:vm-900-disk-0\n"
     "scsihw: local-zfs:vm-900-disk-0\nmp0: local-zfs:vm-900-disk-0\n",
     "!the configuration of guest 900 is not understood: 900.conf, line ", "", ""},
    {"pending changes count, special sections do not", GUEST_QEMU,
     "name: x\n\n[PENDING]\nscsi0: local-zfs:vm-900-disk-0\n\n[special:fleecing]\n"
     "scsi1: local-zfs:vm-900-fleece-0\n\n[special:cloudinit]\nscsi2: local-zfs:vm-900-disk-2\n",
     "local-zfs:vm-900-disk-0", NULL, NULL},
    {"replicate in every spelling", GUEST_QEMU,
     "scsi0: local-zfs:vm-900-disk-0,replicate=no\nscsi1: local-zfs:vm-900-disk-1,replicate=off\n"
     "scsi2: local-zfs:vm-900-disk-2,replicate=False\nscsi3: local-zfs:vm-900-disk-3,replicate=1\n"
     "scsi4: local-zfs:vm-900-disk-4,replicate=yes\nscsi5: replicate=0,file=local-zfs:vm-900-disk-5\n"
     "scsi6: file=local-zfs:vm-900-disk-6\n",
     "local-zfs:vm-900-disk-3 local-zfs:vm-900-disk-4 local-zfs:vm-900-disk-6",
     "local-zfs:vm-900-disk-0 local-zfs:vm-900-disk-1 local-zfs:vm-900-disk-2 local-zfs:vm-900-disk-3 "
     "local-zfs:vm-900-disk-4 local-zfs:vm-900-disk-5 local-zfs:vm-900-disk-6",
     NULL},
    {"EFI and TPM have no replicate (N26)", GUEST_QEMU,
     "efidisk0: local:900/vm-900-disk-0.qcow2,replicate=0\nscsi0: local-zfs:vm-900-disk-1\n",
     "!missing replicate feature on volume 'local:900/vm-900-disk-0.qcow2'", "local-zfs:vm-900-disk-1",
     "local-zfs:vm-900-disk-1"},
    {"TPM", GUEST_QEMU, "tpmstate0: local-zfs:vm-900-disk-0,replicate=0\n", "local-zfs:vm-900-disk-0", NULL,
     NULL},
    {"a CD in one place, a disk in another", GUEST_QEMU,
     "scsi0: local-zfs:vm-900-disk-0,media=cdrom\n[s1]\nscsi0: local-zfs:vm-900-disk-0\n",
     "local-zfs:vm-900-disk-0", NULL, NULL},
    {"cloud-init drive", GUEST_QEMU, "ide2: local-zfs:vm-900-cloudinit,media=cdrom,size=4M\n", "", NULL,
     NULL},
    {"shared storages", GUEST_QEMU,
     "scsi0: share:900/vm-900-disk-0.raw\nscsi1: marked:900/vm-900-disk-0.qcow2\n", "", NULL, NULL},
    {"other content", GUEST_QEMU, "scsi0: local:iso/x.iso\n",
     "!unable to replicate volume 'local:iso/x.iso', type 'iso'", "", ""},
    {"backup", GUEST_QEMU, "scsi0: local:backup/vzdump-qemu-900-x.vma\n",
     "!unable to replicate volume 'local:backup/vzdump-qemu-900-x.vma', type 'backup'", "", ""},
    {"name of its own", GUEST_QEMU, "scsi0: bt:900/mine.raw\n",
     "!missing replicate feature on volume 'bt:900/mine.raw'", "", ""},
    {"name of its own in another guest's folder", GUEST_QEMU, "scsi0: bt:901/mine.raw\n", "", NULL, NULL},
    {"name that leads elsewhere", GUEST_QEMU, "scsi0: local-zfs:../vm-900-disk-0\n",
     "!unable to replicate volume 'local-zfs:../vm-900-disk-0', type '..'", "", ""},
    {"base image and linked clone", GUEST_QEMU,
     "scsi0: local-zfs:base-900-disk-0\nscsi1: local-zfs:base-800-disk-0/vm-900-disk-1\n",
     "local-zfs:base-800-disk-0/vm-900-disk-1 local-zfs:base-900-disk-0", NULL, NULL},
    {"no volume at all", GUEST_QEMU, "scsi0: size=4G\nscsi1: file=\nname:\n",
     "!the configuration of guest 900 is not understood: 900.conf, line 1, names no volume in 'scsi0'", "",
     ""},
    {"no volume id", GUEST_QEMU, "scsi0: what\n", "!unable to parse volume ID 'what'", "", ""},
    {"of a key set twice the last one counts, where what is hidden is not removed", GUEST_QEMU,
     "scsi0: local-zfs:vm-900-disk-0\nscsi0: local-zfs:vm-900-disk-1\n",
     "!the configuration of guest 900 is not understood: 900.conf, line 1, says something else of 'scsi0'",
     "local-zfs:vm-900-disk-1", "local-zfs:vm-900-disk-1"},
    /* containers */
    {"container", GUEST_LXC,
     "rootfs: local-zfs:subvol-900-disk-0,size=8G\nmp0: volume=local-zfs:subvol-900-disk-1,mp=/a\n"
     "mp255: local-zfs:subvol-900-disk-2,mp=/b,replicate=0\nunused0: local-zfs:subvol-900-disk-3\n"
     "scsi0: local-zfs:vm-901-disk-9\nvmstate: local-zfs:vm-901-disk-9\n",
     "local-zfs:subvol-900-disk-0 local-zfs:subvol-900-disk-1 local-zfs:subvol-900-disk-3",
     "local-zfs:subvol-900-disk-0 local-zfs:subvol-900-disk-1 local-zfs:subvol-900-disk-2 "
     "local-zfs:subvol-900-disk-3",
     NULL},
    {"no pending changes, no unused of snapshots", GUEST_LXC,
     "rootfs: local-zfs:subvol-900-disk-0\n\n[PENDING]\nmp0: local-zfs:subvol-900-disk-1,mp=/a\n\n"
     "[s1]\nrootfs: local-zfs:subvol-900-disk-0\nmp1: local-zfs:subvol-900-disk-2,mp=/b\n"
     "unused0: local-zfs:subvol-900-disk-3\n",
     "local-zfs:subvol-900-disk-0 local-zfs:subvol-900-disk-2", NULL, NULL},
    {"replicate=0 but not in the snapshot", GUEST_LXC,
     "mp0: local-zfs:subvol-900-disk-0,mp=/a,replicate=0\n[s1]\nmp0: local-zfs:subvol-900-disk-0,mp=/a\n",
     "local-zfs:subvol-900-disk-0", NULL, NULL},
    {"bind mount (N25)", GUEST_LXC, "rootfs: local-zfs:subvol-900-disk-0\nmp0: /srv,mp=/srv\n",
     "!unable to replicate mountpoint type 'bind'", "local-zfs:subvol-900-disk-0",
     "local-zfs:subvol-900-disk-0"},
    {"bind mount without", GUEST_LXC, "rootfs: local-zfs:subvol-900-disk-0\nmp0: /srv,mp=/srv,replicate=0\n",
     "local-zfs:subvol-900-disk-0", NULL, NULL},
    {"device mount", GUEST_LXC, "mp0: /dev/sda1,mp=/srv\n", "!unable to replicate mountpoint type 'device'",
     "", ""},
    {"btrfs", GUEST_LXC, "rootfs: bt:900/subvol-900-disk-0.subvol,size=8G\n",
     "bt:900/subvol-900-disk-0.subvol", NULL, NULL},
    {"there are no CDs in a container", GUEST_LXC, "mp0: local-zfs:subvol-900-disk-0,mp=/a,media=cdrom\n",
     "local-zfs:subvol-900-disk-0", NULL, NULL},
};

static void check_mode(const struct selection *s, enum volumes_mode mode, const char *expect)
{
    struct storages storages;
    struct err e = {0};
    _cleanup_strv_ struct strv volumes = STRV_INIT;
    _cleanup_(guest_config_freep) struct guest_config *g = parse(s->type, s->text);
    storages_parse("storage.cfg", storage_cfg, sizeof storage_cfg - 1, &storages);
    int r = guest_volumes(g, &storages, mode, can, (void *)storage_cfg, &volumes, &e);
    _cleanup_free_ char *got = strv_join(&volumes, " ");
    storages_release(&storages);
    if (*expect == '!') {
        if (r != -1 || e.kind != ERR_CONFIG || strncmp(e.text, expect + 1, strlen(expect + 1)) != 0)
            fail_msg("%s, mode %d: %d '%s'", s->what, mode, r, e.text);
    } else if (r != 0 || strcmp(got, expect) != 0) {
        fail_msg("%s, mode %d: %d '%s' %s", s->what, mode, r, got, e.text);
    }
}

static void tells_what_it_leaves_out(void **state)
{
    static const char text[] =
        "scsi0: local-zfs:vm-900-disk-0\nscsi1: local-zfs:vm-901-disk-0\n"
        "scsi2: bt:901/mine.raw\nscsi3: marked:900/vm-900-disk-0.raw\n"
        "scsi4: local-zfs:vm-902-disk-0,replicate=0\n"
        "ide2: local-zfs:vm-901-cloudinit,media=cdrom\nscsi5: gone:901/vm-901-disk-0.raw\n"
        "scsi6: local-zfs:base-800-disk-0/vm-900-disk-1\nscsi7: local:iso/x.iso\n"
        "scsi8: marked:901/vm-901-disk-0.raw\nunused0: local-zfs:vm-903-disk-0\n";
    _cleanup_(guest_config_freep) struct guest_config *g = parse(GUEST_QEMU, text);
    struct storages storages;
    storages_parse("storage.cfg", storage_cfg, sizeof storage_cfg - 1, &storages);
    for (int all = 0; all < 2; all++) {
        _cleanup_strv_ struct strv shared = STRV_INIT, foreign = STRV_INIT;
        guest_volumes_left_out(g, &storages, all, &shared, &foreign);
        _cleanup_free_ char *is_shared = strv_join(&shared, " ");
        _cleanup_free_ char *is_foreign = strv_join(&foreign, " ");
        assert_string_equal(is_shared, "marked:900/vm-900-disk-0.raw marked:901/vm-901-disk-0.raw");
        assert_string_equal(is_foreign, all ? "bt:901/mine.raw local-zfs:vm-901-disk-0 "
                                              "local-zfs:vm-902-disk-0 local-zfs:vm-903-disk-0"
                                            : "bt:901/mine.raw local-zfs:vm-901-disk-0 "
                                              "local-zfs:vm-903-disk-0");
    }
    storages_release(&storages);
}

static void selects_volumes(void **state)
{
    for (size_t i = 0; i < ELEMENTS(selections); i++) {
        const struct selection *s = &selections[i];
        check_mode(s, VOLUMES_STRICT, s->strict);
        check_mode(s, VOLUMES_CLEANUP, s->cleanup ? s->cleanup : s->strict);
        check_mode(s, VOLUMES_LENIENT, s->lenient ? s->lenient : s->strict);
    }
}

/* Whatever it is, in whatever section that counts. */
static void tells_all_that_is_named(void **state)
{
    _cleanup_strv_ struct strv got = STRV_INIT;
    _cleanup_(guest_config_freep) struct guest_config *g = parse(
        GUEST_QEMU,
        "scsi0: a:vm-900-disk-0\nscsi1: a:vm-900-disk-1,replicate=0\nide2: a:vm-900-cloudinit,media=cdrom\n"
        "unused0: b:vm-901-disk-0\nnet0: virtio\n[s1]\nscsi0: a:vm-900-disk-2\nvmstate: a:vm-900-state-s1\n"
        "[special:x]\nscsi0: a:vm-900-disk-3\n");
    guest_volumes_named(g, &got);
    _cleanup_free_ char *all = strv_join(&got, " ");
    assert_string_equal(
        all, "a:vm-900-cloudinit a:vm-900-disk-0 a:vm-900-disk-1 a:vm-900-disk-2 a:vm-900-state-s1 "
             "b:vm-901-disk-0");
}

/* A file of the largest size that the tree holds, made to be slow. */
static void copes_with_a_large_file(void **state)
{
    _cleanup_buf_ struct buf text = BUF_INIT;
    for (unsigned i = 0; text.len < (1 << 20) - 100; i++)
        buf_addf(&text, "[s%u]\nide0:aa:vm-900-%u\n", i, i);
    struct storages storages;
    struct err e;
    _cleanup_strv_ struct strv volumes = STRV_INIT;
    _cleanup_(guest_config_freep) struct guest_config *g =
        guest_config_parse("900.conf", GUEST_QEMU, 900, text.data, text.len);
    static const char zfs[] = "zfspool: aa\n\tpool p\n";
    storages_parse("storage.cfg", zfs, sizeof zfs - 1, &storages);
    assert_int_equal(guest_volumes(g, &storages, VOLUMES_STRICT, can, (void *)storage_cfg, &volumes, &e), 0);
    assert_true(volumes.n > 20000);
    assert_int_equal(guest_config_snapshots(g)->n, volumes.n);
    storages_release(&storages);
}

/* ---- volumes under other names ---- */

static void renames_volumes(void **state)
{
    static const struct {
        const char *what;
        enum guest_type type;
        const char *before, *after; /* NULL: as before */
    } cases[] = {
        {"nothing", GUEST_QEMU, "", NULL},
        {"no volume of these", GUEST_QEMU, "scsi0: aa:900/vm-900-disk-1.raw,size=1G\n", NULL},
        {"every way to write it", GUEST_QEMU,
         "# scsi0: aa:900/vm-900-disk-0.raw\nscsi0: "
         "aa:900/vm-900-disk-0.raw,size=1G\nscsi1:aa:vm-900-disk-9\r\n"
         "virtio2: size=1G,file=aa:900/vm-900-disk-0.raw,cache=none  \nunused0: aa:900/vm-900-disk-0.raw",
         "# scsi0: aa:900/vm-900-disk-0.raw\nscsi0: "
         "bb:vm-900-disk-0,size=1G\nscsi1:c:900/vm-900-disk-9.raw\r\n"
         "virtio2: size=1G,file=bb:vm-900-disk-0,cache=none  \nunused0: bb:vm-900-disk-0"},
        {"only whole names, and only of volumes", GUEST_QEMU,
         "scsi0: aa:900/vm-900-disk-0.rawx\nscsi1: xaa:900/vm-900-disk-0.raw\nname: "
         "aa:900/vm-900-disk-0.raw\n"
         "args: -drive file=aa:900/vm-900-disk-0.raw\nscsi2: none,x=aa:900/vm-900-disk-0.raw\nscsi31: "
         "aa:900/vm-900-disk-0.raw\n",
         NULL},
        {"in all sections", GUEST_QEMU,
         "efidisk0: aa:900/vm-900-disk-0.raw\n\n[PENDING]\nscsi0: aa:900/vm-900-disk-0.raw\ndelete: x\n\n"
         "[s1]\n#text\nvmstate: aa:vm-900-disk-9\ntpmstate0: aa:900/vm-900-disk-0.raw\n[special:x]\nscsi0: "
         "aa:vm-900-disk-9\n",
         "efidisk0: bb:vm-900-disk-0\n\n[PENDING]\nscsi0: bb:vm-900-disk-0\ndelete: x\n\n"
         "[s1]\n#text\nvmstate: c:900/vm-900-disk-9.raw\ntpmstate0: bb:vm-900-disk-0\n[special:x]\nscsi0: "
         "aa:vm-900-disk-9\n"},
        {"a container", GUEST_LXC,
         "rootfs: aa:vm-900-disk-9,size=8G\nmp0: volume=aa:900/vm-900-disk-0.raw,mp=/a\nscsi0: "
         "aa:vm-900-disk-9\nlxc.mount.entry = aa:vm-900-disk-9\n[s1]\nmp0: aa:900/vm-900-disk-0.raw,mp=/a\n",
         "rootfs: c:900/vm-900-disk-9.raw,size=8G\nmp0: volume=bb:vm-900-disk-0,mp=/a\nscsi0: "
         "aa:vm-900-disk-9\nlxc.mount.entry = aa:vm-900-disk-9\n[s1]\nmp0: bb:vm-900-disk-0,mp=/a\n"},
        {"what counts of a key that is there twice", GUEST_QEMU,
         "scsi0: aa:vm-900-disk-9\nscsi0: aa:900/vm-900-disk-0.raw\n",
         "scsi0: aa:vm-900-disk-9\nscsi0: bb:vm-900-disk-0\n"},
    };
    _cleanup_strv_ struct strv from = STRV_INIT, to = STRV_INIT;
    strv_adds(&from, "aa:900/vm-900-disk-0.raw", "aa:vm-900-disk-9", NULL);
    strv_adds(&to, "bb:vm-900-disk-0", "c:900/vm-900-disk-9.raw", NULL);
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        const char *before = cases[i].before, *after = cases[i].after ? cases[i].after : before;
        _cleanup_(guest_config_freep) struct guest_config *g = parse(cases[i].type, before);
        _cleanup_buf_ struct buf out = BUF_INIT;
        guest_config_rename(g, before, strlen(before), &from, &to, &out);
        if (strcmp(buf_str(&out), after) != 0)
            fail_msg("%s: '%s', not '%s'", cases[i].what, buf_str(&out), after);
    }
}

static void tells_what_a_guest_starts_with(void **state)
{
    (void)state;
    static const char text[] = "scsi0: s:d0\nunused0: s:u0\nscsi1: s:both\nvmstate: s:asleep\n"
                               "[PENDING]\nscsi2: s:soon\nunused1: s:u1\n"
                               "[one]\nscsi0: s:d0\nscsi3: s:gone\nvmstate: s:memory\nunused4: s:u4\n"
                               "[two]\nscsi3: s:gone\nunused0: s:both\n";
    static const struct {
        const char *volid, *snapshots;
        bool starts;
    } cases[] = {
        {"s:d0", "one", true},    {"s:u0", "", false},        {"s:both", "", true},
        {"s:asleep", "", true},   {"s:soon", "", true},       {"s:u1", "", false},
        {"s:u4", "", false},      {"s:memory", "one", false}, {"s:gone", "one two", false},
        {"s:nothing", "", false},
    };
    _cleanup_(guest_config_freep) struct guest_config *g =
        guest_config_parse("100.conf", GUEST_QEMU, 100, text, strlen(text));
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_strv_ struct strv in = STRV_INIT;
        guest_config_snapshots_with(g, cases[i].volid, &in);
        _cleanup_free_ char *names = strv_join(&in, " ");
        assert_string_equal(names, cases[i].snapshots);
        assert_int_equal(guest_config_starts_with(g, cases[i].volid), cases[i].starts);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(renames_volumes),
        cmocka_unit_test(tells_what_a_guest_starts_with),
        cmocka_unit_test(reads_a_configuration),
        cmocka_unit_test(warns_of_odd_lines),
        cmocka_unit_test(tells_what_it_leaves_out),
        cmocka_unit_test(selects_volumes),
        cmocka_unit_test(tells_all_that_is_named),
        cmocka_unit_test(tells_what_may_hide_a_volume),
        cmocka_unit_test(reads_a_volume_or_refuses_the_line),
        cmocka_unit_test(copes_with_a_large_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
