/* Guest configurations. The first byte chooses the type of the guest and the mode. */
#include "guest/guest.h"
#include "volume/name.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
    if (!good)
        abort();
}

static bool can(const struct storage *s, const char *volname, void *arg)
{
    check(!s->shared && volume_name_owner(volname) == 100 && arg == NULL);
    return strcmp(s->type, "zfspool") == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char cfg[] = "zfspool: zfs\n\tpool p\n\nnfs: nfs\n\tpath /n\n";
    struct storages storages;
    struct err e;
    _cleanup_strv_ struct strv volumes = STRV_INIT;
    if (size == 0)
        return 0;
    _cleanup_(guest_config_freep) struct guest_config *g =
        guest_config_parse("f", data[0] & 1 ? GUEST_LXC : GUEST_QEMU, 100, (const char *)data + 1, size - 1);
    guest_config_parent(g);
    const struct strv *snapshots = guest_config_snapshots(g);
    for (size_t i = 1; i < snapshots->n; i++)
        check(strcmp(snapshots->v[i - 1], snapshots->v[i]) < 0);
    storages_parse("s", cfg, sizeof cfg - 1, &storages);
    int r = guest_volumes(g, &storages, (enum volumes_mode)((data[0] >> 1) % 3), can, NULL, &volumes, &e);
    check(r == 0 || e.kind == ERR_CONFIG);
    for (size_t i = 0; i < volumes.n; i++)
        check(strncmp(volumes.v[i], "zfs:", 4) == 0 && volume_name_owner(volumes.v[i] + 4) == 100 &&
              (i == 0 || strcmp(volumes.v[i - 1], volumes.v[i]) < 0));
    storages_release(&storages);
    return 0;
}
