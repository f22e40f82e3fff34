#include "api/facts.h"

#include "cluster/testtree.h"
#include "guest/cgroup.h"

#include <unistd.h>

#define CONFIG "nodes/pve1/qemu-server/100.conf"
#define CONTAINER "nodes/pve1/lxc/100.conf"

static struct guest_entry entry = {100, GUEST_QEMU, "pve1"};
static const struct guest_list guests = {.v = &entry, .n = 1};

static const struct fact *look(struct facts *f, const struct test_tree *tt, double now)
{
    facts_look(f, tt->tree, &guests, "pve1", now);
    assert_int_equal(f->n, 1);
    return f->v;
}

/* Another guest of the number, and one that came here: at once. */
static void test_another(void **state)
{
    const struct test_tree *tt = *state;
    struct facts f = {0};
    _cleanup_free_ char *pid = xasprintf("%d\n", (int)getpid());
    put(tt, CONFIG, "name: a\n");
    put(tt, CONTAINER, "hostname: b\n");
    put(tt, "run/qemu-server/100.pid", pid);
    guest_runtime_root = tt->root;
    entry = (struct guest_entry){100, GUEST_QEMU, "pve2"};
    assert_false(look(&f, tt, 0)->running);
    entry = (struct guest_entry){100, GUEST_QEMU, "pve1"};
    assert_true(look(&f, tt, 0)->running);
    entry = (struct guest_entry){100, GUEST_LXC, "pve1"};
    assert_string_equal(look(&f, tt, 0)->name, "b");
    assert_false(look(&f, tt, 0)->running);
    guest_runtime_root = "";
    facts_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DIR_TEST(test_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
