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

static struct guest_config *parse(enum guest_type type, const char *text)
{
    return guest_config_parse("900.conf", type, 900, text, strlen(text));
}

static void tells_guests_apart(void **state)
{
    static const struct {
        enum guest_type type;
        const char *one, *other;
        bool same;
    } cases[] = {
        {GUEST_QEMU, "smbios1: uuid=A-b\n", "smbios1: base64=1,uuid=a-B\n", true},
        {GUEST_QEMU, "smbios1: uuid=a\n", "smbios1: uuid=b\n", false},
        {GUEST_QEMU, "net0: virtio=BC:24:11:00:00:0A,bridge=vmbr0\n",
         "net3: model=e1000,macaddr=bc:24:11:00:00:0a\n", true},
        {GUEST_QEMU, "net0: virtio=BC:24:11:00:00:0A\n", "net0: virtio=BC:24:11:00:00:0B\n", false},
        {GUEST_QEMU, "net0: virtio=BC:24:11:00:00:0A\nnet1: virtio=BC:24:11:00:00:0B\n",
         "net0: virtio=BC:24:11:00:00:0C\nnet1: virtio=BC:24:11:00:00:0B\n", true},
        {GUEST_LXC, "net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:0A,ip=dhcp\n",
         "net0: hwaddr=BC:24:11:00:00:0A\n", true},
        {GUEST_LXC, "net0: name=eth0,bridge=vmbr0\n", "net0: name=eth0,bridge=vmbr0\n", false},
        {GUEST_LXC, "hostname: a\n", "hostname: a\n", false},
        {GUEST_QEMU, "net0: virtio=BC:24:11:00:00:0A\n", "[s1]\nnet0: virtio=BC:24:11:00:00:0A\n", false},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_(guest_config_freep) struct guest_config *one = parse(cases[i].type, cases[i].one);
        _cleanup_(guest_config_freep) struct guest_config *other = parse(cases[i].type, cases[i].other);
        _cleanup_strv_ struct strv a = STRV_INIT, b = STRV_INIT;
        bool same = false;
        guest_config_identity(one, &a);
        guest_config_identity(other, &b);
        for (size_t k = 0; k < a.n; k++)
            same = same || strv_has(&b, a.v[k]);
        if (same != cases[i].same)
            fail_msg("'%s' and '%s': %d", cases[i].one, cases[i].other, same);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_guests_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
