/* What names LVM and the device mapper take. */
#include "volume/lvm/lvm.h"

#include "base/buf.h"

#include <string.h>

/* Names of device mapper, hyphens doubled. */
#define DM_NAME_MAX 127

static size_t mapped_length(const char *name)
{
    size_t n = 0;
    for (; *name; name++)
        n += *name == '-' ? 2 : 1;
    return n;
}

/* lvm(8), "VALID NAMES": parts that no volume's name may have. */
static const char *const reserved[] = {"_cdata", "_cmeta",  "_corig", "_cpool",   "_cvol",   "_iorig",
                                       "_imeta", "_mimage", "_mlog",  "_pmspare", "_rimage", "_rmeta",
                                       "_tdata", "_tmeta",  "_vdata", "_vorigin", "_wcorig"};

int lvm_check_name(const struct lvm *l, const char *snapshot, struct err *e)
{
    if (strchr(snapshot, ':'))
        return err_set(e, ERR_USAGE, 0, "'%s' is no name for a snapshot on LVM: it has no ':' in names",
                       snapshot);
    struct lvm_name name = lvm_name(l, LVM_SNAPSHOT, snapshot);
    for (size_t i = 0; i < ELEMENTS(reserved); i++)
        if (strstr(name.s, reserved[i]))
            return err_set(e, ERR_USAGE, 0,
                           "'%s' is no name for a snapshot on LVM: it keeps names with '%s' for itself",
                           snapshot, reserved[i]);
    if (mapped_length(l->vg) + 1 + mapped_length(lvm_name(l, LVM_TEMP, snapshot).s) > DM_NAME_MAX)
        return err_set(e, ERR_USAGE, 0, "the snapshot's name '%s' is too long for LVM", snapshot);
    return 0;
}

char *lvm_device(const char *vg, const char *name, const char *suffix)
{
    struct buf b = BUF_INIT;
    buf_adds(&b, "/dev/mapper/");
    for (const char *p = vg; *p; p++)
        buf_adds(&b, *p == '-' ? "--" : (const char[]){*p, 0});
    buf_addc(&b, '-');
    for (const char *p = name; *p; p++)
        buf_adds(&b, *p == '-' ? "--" : (const char[]){*p, 0});
    buf_adds(&b, suffix);
    return buf_take(&b);
}
