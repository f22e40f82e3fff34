/* Guests, members and jobs as a plain directory shows them. */
#include "cluster/testtree.h"

#include "cluster/guests.h"
#include "cluster/jobs.h"
#include "cluster/members.h"
#include "cluster/tree_engine.h"

#include <sys/wait.h>

static char *list_guests(const struct guest_list *g)
{
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < g->n; i++)
        buf_addf(&b, "%u:%s:%s ", (unsigned)g->v[i].id, guest_type_name(g->v[i].type), g->v[i].node);
    return buf_take(&b);
}

static void test_guests_by_their_files(void **state)
{
    static const char *const files[] = {
        "nodes/pve2/qemu-server/1000.conf",
        "nodes/pve1/qemu-server/100.conf",
        "nodes/pve1/lxc/999999999.conf",
        "nodes/pve2/lxc/200.conf",
        /* none of these is a guest */
        "nodes/pve1/qemu-server/99.conf",
        "nodes/pve1/qemu-server/0300.conf",
        "nodes/pve1/qemu-server/1000000000.conf",
        "nodes/pve1/qemu-server/400.conf.tmp.12",
        "nodes/pve1/qemu-server/500",
        "nodes/pve1/qemu-server/600.conf.bak",
        "nodes/pve1/qemu-server/-700.conf",
        "nodes/pve1/openvz/800.conf",
        "nodes/bad name/lxc/900.conf",
        "nodes/stray",
    };
    struct test_tree *tt = *state;
    struct err e;
    struct guest_list g;
    assert_int_equal(guests_load(tt->tree, &g, &e), 0); /* no nodes/ at all: no guests */
    assert_int_equal(g.n, 0);
    guests_release(&g);
    for (size_t i = 0; i < ELEMENTS(files); i++)
        put(tt, files[i], "");
    if (guests_load(tt->tree, &g, &e) < 0)
        fail_msg("%s", e.text);
    _cleanup_free_ char *seen = list_guests(&g);
    assert_string_equal(seen, "100:qemu:pve1 200:lxc:pve2 1000:qemu:pve2 999999999:lxc:pve1 ");
    assert_int_equal(g.warnings.n, 0);
    for (size_t i = 0; i < g.n; i++)
        assert_ptr_equal(guests_find(&g, g.v[i].id), &g.v[i]);
    assert_null(guests_find(&g, 101));
    assert_null(guests_find(&g, 0));
    _cleanup_free_ char *path = guest_config_path(&g.v[1]);
    assert_string_equal(path, "nodes/pve2/lxc/200.conf");
    guests_release(&g);
}

static void test_guest_with_two_owners_is_left_out(void **state)
{
    struct test_tree *tt = *state;
    struct err e;
    struct guest_list g;
    put(tt, "nodes/pve1/qemu-server/100.conf", "");
    put(tt, "nodes/pve2/qemu-server/100.conf", "");
    put(tt, "nodes/pve1/lxc/101.conf", "");
    put(tt, "nodes/pve1/qemu-server/101.conf", "");
    put(tt, "nodes/pve1/qemu-server/102.conf", "");
    assert_int_equal(guests_load(tt->tree, &g, &e), 0);
    _cleanup_free_ char *seen = list_guests(&g);
    assert_string_equal(seen, "102:qemu:pve1 ");
    assert_int_equal(g.warnings.n, 2);
    assert_non_null(strstr(g.warnings.v[0], "'nodes/pve1/qemu-server/100.conf'"));
    assert_non_null(strstr(g.warnings.v[0], "'nodes/pve2/qemu-server/100.conf'"));
    guests_release(&g);
}

static void test_members_from_nodes_cfg(void **state)
{
    struct test_tree *tt = *state;
    struct err e;
    struct members m;
    assert_int_equal(members_load(tt->tree, &m, &e), 0);
    assert_int_equal(m.n, 0);
    assert_true(m.quorate);
    members_release(&m);

    put(tt, "nodes.cfg",
        "node: pve1\n\taddress 10.0.0.1\n\nnode: pve2\n\taddress local\n\tport 2222\n\tconfig /etc/x.conf\n\n"
        "node: -bad\n\taddress 10.0.0.9\n");
    assert_int_equal(members_load(tt->tree, &m, &e), 0);
    assert_int_equal(m.n, 2);
    const struct member *pve2 = members_find(&m, "pve2");
    assert_non_null(pve2);
    assert_string_equal(pve2->node.address, "local");
    assert_int_equal(pve2->node.port, 2222);
    assert_string_equal(pve2->node.config, "/etc/x.conf");
    assert_true(pve2->online && m.quorate);
    assert_null(members_find(&m, "pve"));
    assert_true(m.warnings.n > 0); /* of the section that is no node */
    members_release(&m);
}

static char *describe(struct jobs *j)
{
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < j->n; i++)
        buf_addf(&b, "%s:%s>%s ", j->v[i].id, j->v[i].source ? j->v[i].source : "?", j->v[i].target);
    return buf_take(&b);
}

static void test_load_and_save(void **state)
{
    struct test_tree *tt = *state;
    struct err e;
    struct jobs j;
    assert_int_equal(jobs_load(tt->tree, &j, &e), 0);
    assert_int_equal(j.n, 0);
    assert_string_equal(j.digest, "");
    struct job job = {.guest = 100, .target = (char *)"pve2", .source = (char *)"pve1"};
    snprintf(job.id, sizeof job.id, "100-0");
    if (jobs_add(&j, &job, &e) < 0 || jobs_save(tt->tree, &j, &e) < 0)
        fail_msg("%s", e.text);
    jobs_release(&j);
    assert_int_equal(jobs_load(tt->tree, &j, &e), 0);
    _cleanup_free_ char *seen = describe(&j);
    assert_string_equal(seen, "100-0:pve1>pve2 ");
    assert_int_equal(strlen(j.digest), 40);
    jobs_release(&j);
}

#define JOB(id, target, source) "local: " id "\n\ttarget " target "\n\tsource " source "\n\n"

static void test_repair_of_the_source(void **state)
{
    static const struct {
        const char *what, *owner, *file, *after; /* after NULL: not written */
    } cases[] = {
        {"in order", "pve1", JOB("100-0", "pve2", "pve1") JOB("100-1", "pve3", "pve1"), NULL},
        {"another node's guest is that node's business", "pve9",
         JOB("100-0", "pve2", "pve1") JOB("100-1", "pve3", "pve1"), NULL},
        {"stolen by a target", "pve2", JOB("100-0", "pve2", "pve1") JOB("100-1", "pve3", "pve1"),
         "100-0:pve2>pve1 100-1:pve2>pve3 "},
        {"stolen by a third node", "pve4", JOB("100-0", "pve2", "pve1") JOB("100-1", "pve3", "pve1"),
         "100-0:pve4>pve2 100-1:pve4>pve3 "},
        {"stolen back", "pve1", JOB("100-0", "pve1", "pve2") JOB("100-1", "pve3", "pve2"),
         "100-0:pve1>pve2 100-1:pve1>pve3 "},
        {"no source yet", "pve1", "local: 100-0\n\ttarget pve2\n\n", "100-0:pve1>pve2 "},
        {"only its own guests", "pve2", JOB("100-0", "pve2", "pve1") JOB("200-0", "pve2", "pve1"),
         "100-0:pve2>pve1 200-0:pve1>pve2 "},
        {"disabled and to be removed too", "pve2",
         "local: 100-0\n\tdisable\n\ttarget pve2\n\tremove_job full\n\tsource pve1\n\n", "100-0:pve2>pve1 "},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        setup_dir(state);
        struct test_tree *tt = *state;
        struct err e;
        struct guest_list g;
        struct jobs j;
        _cleanup_free_ char *conf = xasprintf("nodes/%s/qemu-server/100.conf", cases[i].owner);
        put(tt, conf, "");
        put(tt, "nodes/pve1/lxc/200.conf", "");
        put(tt, "replication.cfg", cases[i].file);
        const char *me = strcmp(cases[i].owner, "pve9") == 0 ? "pve1" : cases[i].owner;
        assert_int_equal(guests_load(tt->tree, &g, &e), 0);
        if (jobs_load_repaired(tt->tree, &g, me, &j, &e) < 0)
            fail_msg("%s: %s", cases[i].what, e.text);
        _cleanup_free_ char *file = get(tt, "replication.cfg");
        _cleanup_free_ char *locks = xasprintf("%s/priv/lock", tt->root);
        assert_int_equal(fs_exists(locks), cases[i].after != NULL); /* no lock without need */
        if (cases[i].after) {
            struct jobs again;
            _cleanup_free_ char *seen = describe(&j);
            if (strcmp(seen, cases[i].after) != 0)
                fail_msg("%s: %s", cases[i].what, seen);
            assert_int_equal(jobs_load(tt->tree, &again, &e), 0);
            _cleanup_free_ char *written = describe(&again);
            assert_string_equal(written, cases[i].after);
            assert_string_equal(j.digest, again.digest);
            jobs_release(&again);
        } else {
            assert_string_equal(file, cases[i].file);
        }
        jobs_release(&j);
        guests_release(&g);
        teardown(state);
    }
}

/* The list of guests is older than the lock: what counts is who owns the guest when the lock is held. */
static void test_repair_looks_again_under_the_lock(void **state)
{
    struct test_tree *tt = *state;
    struct err e;
    struct guest_list old;
    struct jobs j;
    put(tt, "nodes/pve1/qemu-server/100.conf", "");
    assert_int_equal(guests_load(tt->tree, &old, &e), 0);
    assert_int_equal(
        tree_rename(tt->tree, "nodes/pve1/qemu-server/100.conf", "nodes/pve2/qemu-server/100.conf", &e), 0);
    put(tt, "replication.cfg", JOB("100-0", "pve1", "pve2")); /* a migration has switched the direction */
    assert_int_equal(jobs_load_repaired(tt->tree, &old, "pve1", &j, &e), 0);
    _cleanup_free_ char *seen = describe(&j);
    assert_string_equal(seen, "100-0:pve2>pve1 ");
    jobs_release(&j);
    guests_release(&old);
}

/* Parsed anew only where a file has changed, and put right where a guest is elsewhere. */
static void test_jobs_kept(void **state)
{
    struct test_tree *tt = *state;
    struct err e;
    struct guest_list g;
    struct jobs_kept k = {0};
    assert_int_equal(jobs_again(tt->tree, &k, &e), 1);
    assert_int_equal(jobs_again(tt->tree, &k, &e), 0);
    put(tt, "replication.cfg", "");
    assert_int_equal(jobs_again(tt->tree, &k, &e), 1); /* there, though empty */
    put(tt, "replication.cfg", JOB("100-0", "pve1", "pve2"));
    assert_int_equal(jobs_again(tt->tree, &k, &e), 1);
    assert_int_equal(jobs_again(tt->tree, &k, &e), 0);
    put(tt, "replication-ext.cfg", "local: 100-0\n\tkeep last=2\n\n");
    assert_int_equal(jobs_again(tt->tree, &k, &e), 1);
    assert_string_equal(k.jobs.v[0].keep, "last=2");
    put(tt, "nodes/pve1/qemu-server/100.conf", "");
    assert_int_equal(guests_load(tt->tree, &g, &e), 0);
    assert_int_equal(jobs_again_repaired(tt->tree, &g, "pve2", &k, &e), 0);
    assert_int_equal(jobs_again_repaired(tt->tree, &g, "pve1", &k, &e), 1);
    _cleanup_free_ char *seen = describe(&k.jobs);
    assert_string_equal(seen, "100-0:pve1>pve2 ");
    assert_int_equal(jobs_again_repaired(tt->tree, &g, "pve1", &k, &e), 0);
    jobs_kept_release(&k);
    guests_release(&g);
}

static int lock_is_busy(struct tree *t, const char *name, double seconds, void **ret, struct err *e)
{
    return err_set(e, ERR_BUSY, 0, "can't lock file '%s' - got timeout", name);
}

/* That is no fault of the jobs: whoever loads them tries again. */
static void test_repair_while_the_lock_is_busy(void **state)
{
    struct test_tree *tt = *state;
    struct err e = {0};
    struct guest_list g;
    struct jobs j;
    struct jobs_kept k = {0};
    const struct tree_engine *usual = tt->tree->engine;
    struct tree_engine busy = *usual;
    busy.lock = lock_is_busy;
    put(tt, "nodes/pve2/qemu-server/100.conf", "");
    put(tt, "replication.cfg", JOB("100-0", "pve2", "pve1") JOB("200-0", "pve1", "pve2"));
    assert_int_equal(guests_load(tt->tree, &g, &e), 0);
    tt->tree->engine = &busy;
    assert_int_equal(jobs_load_repaired(tt->tree, &g, "pve2", &j, &e), -1);
    assert_int_equal(e.kind, ERR_BUSY);
    assert_non_null(strstr(e.text, "cannot repair the source of job '100-0': can't lock"));
    e = (struct err){0};
    assert_int_equal(jobs_again_repaired(tt->tree, &g, "pve2", &k, &e), -1);
    assert_int_equal(e.kind, ERR_BUSY);
    tt->tree->engine = usual;
    assert_int_equal(jobs_again_repaired(tt->tree, &g, "pve2", &k, &e), 1);
    _cleanup_free_ char *seen = describe(&k.jobs);
    assert_string_equal(seen, "100-0:pve2>pve1 200-0:pve2>pve1 ");
    jobs_kept_release(&k);
    guests_release(&g);
}

/* One guest moved, and the file cannot be written: its jobs cannot run, the others can. */
static void test_no_repair_stops_only_its_jobs(void **state)
{
    struct test_tree *tt = *state;
    struct err e;
    struct guest_list g;
    struct jobs j;
    struct jobs_kept k = {0};
    put(tt, "nodes/pve2/qemu-server/100.conf", "");
    put(tt, "nodes/pve2/qemu-server/200.conf", "");
    put(tt, "replication.cfg",
        JOB("100-0", "pve2", "pve1") JOB("100-1", "pve3", "pve1") JOB("200-0", "pve1", "pve2"));
    put(tt, "priv/lock", "no directory");
    assert_int_equal(guests_load(tt->tree, &g, &e), 0);
    assert_int_equal(jobs_load_repaired(tt->tree, &g, "pve2", &j, &e), 0);
    assert_int_equal(jobs_again_repaired(tt->tree, &g, "pve2", &k, &e), 1);
    const struct jobs *both[] = {&j, &k.jobs};
    for (size_t i = 0; i < ELEMENTS(both); i++) {
        const struct jobs *seen = both[i];
        assert_int_equal(seen->n, 3);
        for (size_t n = 0; n < 2; n++) {
            assert_true(seen->v[n].unturned);
            assert_string_equal(seen->v[n].source, "pve2");
            assert_non_null(strstr(seen->v[n].fault, "priv/lock"));
            assert_non_null(strstr(seen->warnings.v[n], seen->v[n].id));
        }
        assert_true(!seen->v[2].unturned && !seen->v[2].fault);
        assert_int_equal(seen->warnings.n, 2);
    }
    jobs_release(&j);
    _cleanup_free_ char *in_the_way = xasprintf("%s/priv/lock", tt->root);
    assert_int_equal(unlink(in_the_way), 0);
    assert_int_equal(jobs_again_repaired(tt->tree, &g, "pve2", &k, &e), 1);
    _cleanup_free_ char *seen = describe(&k.jobs);
    assert_string_equal(seen, "100-0:pve2>pve1 100-1:pve2>pve3 200-0:pve2>pve1 ");
    for (size_t i = 0; i < k.jobs.n; i++)
        assert_null(k.jobs.v[i].fault);
    jobs_kept_release(&k);
    guests_release(&g);
}

/* Of the sections of one id in replication-ext.cfg the last counts, also among many. */
static void test_many_extras(void **state)
{
    struct test_tree *tt = *state;
    struct err e;
    struct jobs j;
    _cleanup_buf_ struct buf text = BUF_INIT, extras = BUF_INIT;
    buf_adds(&extras, "local: 100-0\n\tkeep last=9\n\n");
    for (unsigned i = 100; i < 200; i++) {
        buf_addf(&text, "local: %u-0\n\ttarget pve2\n\tsource pve1\n\n", i);
        buf_addf(&extras, "local: %u-0\n\tkeep last=%u\n\n", i, i);
    }
    put(tt, "replication.cfg", buf_str(&text));
    put(tt, "replication-ext.cfg", buf_str(&extras));
    assert_int_equal(jobs_load(tt->tree, &j, &e), 0);
    assert_int_equal(j.n, 100);
    for (size_t i = 0; i < j.n; i++) {
        char want[16];
        snprintf(want, sizeof want, "last=%zu", 100 + i);
        assert_string_equal(j.v[i].keep, want);
    }
    jobs_remove(&j, "150-0");
    assert_true(jobs_drop_extras(&j));
    assert_int_equal(j.extras.n, 100);
    jobs_release(&j);
}

/* What a list says of one guest, held against the tree. */
static void check_still(struct test_tree *tt, const struct guest_list *g, uint32_t id, int want)
{
    struct err e;
    assert_int_equal(guests_still(tt->tree, g, id, &e), want);
}

static void test_guest_still_there(void **state)
{
    struct test_tree *tt = *state;
    struct err e;
    struct guest_list g;
    put(tt, "nodes/pve1/qemu-server/100.conf", "");
    put(tt, "nodes/pve1/lxc/101.conf", "");
    put(tt, "nodes/pve2/qemu-server/102.conf", "");
    put(tt, "nodes/pve1/lxc/102.conf", "");
    assert_int_equal(guests_load(tt->tree, &g, &e), 0);
    for (uint32_t id = 100; id < 104; id++)
        check_still(tt, &g, id, id != 102); /* a guest with two files is always looked for again */
    put(tt, "nodes/pve2/lxc/101.conf", "");
    put(tt, "nodes/pve2/lxc/103.conf", "");
    check_still(tt, &g, 100, 1);
    check_still(tt, &g, 101, 0);
    check_still(tt, &g, 103, 0);
    assert_int_equal(
        tree_rename(tt->tree, "nodes/pve1/qemu-server/100.conf", "nodes/pve2/qemu-server/100.conf", &e), 0);
    check_still(tt, &g, 100, 0);
    guests_release(&g);
}

static void test_guest_still_in_vmlist(void **state)
{
    struct test_tree *tt = *state;
    struct err e;
    struct guest_list g;
    put(tt, ".vmlist", "{\"ids\":{\"100\":{\"node\":\"pve1\",\"type\":\"qemu\"}}}");
    assert_int_equal(guests_load(tt->tree, &g, &e), 0);
    check_still(tt, &g, 100, 1);
    check_still(tt, &g, 101, 1);
    put(tt, ".vmlist", "{\"ids\":{\"100\":{\"node\":\"pve2\",\"type\":\"qemu\"}}}");
    check_still(tt, &g, 100, 0);
    put(tt, ".vmlist", "{\"ids\":{}}");
    check_still(tt, &g, 100, 0);
    guests_release(&g);
}

/* Several processes add jobs at once, each under the lock: none is lost. */
static int add_jobs(struct tree *t, unsigned writer)
{
    for (unsigned i = 0; i < 10; i++) {
        struct err e;
        struct jobs j;
        struct job job = {.guest = 100 + writer, .number = i, .source = (char *)"pve1"};
        char target[16];
        snprintf(job.id, sizeof job.id, "%u-%u", job.guest, i);
        snprintf(target, sizeof target, "node%u", i);
        job.target = target;
        struct tree_lock *l = tree_lock(t, "replication.cfg", &e);
        if (!l || jobs_load(t, &j, &e) < 0 || jobs_add(&j, &job, &e) < 0 || jobs_save(t, &j, &e) < 0)
            return 1;
        jobs_release(&j);
        tree_unlock(l);
    }
    return 0;
}

static void test_writers_at_once(void **state)
{
    enum { WRITERS = 3 };
    struct test_tree *tt = *state;
    pid_t pids[WRITERS];
    for (unsigned i = 0; i < WRITERS; i++)
        if ((pids[i] = fork()) == 0)
            _exit(add_jobs(tt->tree, i));
    for (unsigned i = 0; i < WRITERS; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    struct err e;
    struct jobs j;
    assert_int_equal(jobs_load(tt->tree, &j, &e), 0);
    assert_int_equal(j.n, WRITERS * 10);
    assert_int_equal(j.warnings.n, 0);
    jobs_release(&j);
}

/* What nothing of this node is in says something only where the tree is this node's. */
static void test_node_of_the_tree(void **state)
{
    struct test_tree *tt = *state;
    static const struct {
        const char *path, *text; /* one more file */
        const char *node;
        bool had_jobs;
        const char *refused; /* a part of it; NULL: fine */
    } cases[] = {
        {"storage.cfg", "", "pve1", false, NULL}, /* a new cluster */
        {"storage.cfg", "", "pve1", true, "is empty, and this node has had jobs"},
        {"nodes/pve2/qemu-server/100.conf", "", "pve1", false, "'pve1', so nothing says"},
        {"nodes/pve1/qemu-server/101.conf", "", "pve1", true, NULL},
        {"nodes.cfg", "node: pve3\n\taddress local\n", "pve3", true, NULL},
        {"nodes.cfg", "node: pve3\n\taddress local\n", "pve4", false,
         "(known: pve1, pve2, pve3); add a section 'node: pve4' to nodes.cfg, or put"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct err e = {0};
        struct members m;
        put(tt, cases[i].path, cases[i].text);
        assert_int_equal(members_load(tt->tree, &m, &e), 0);
        int r = members_check_node(tt->tree, &m, cases[i].node, cases[i].had_jobs, &e);
        members_release(&m);
        assert_int_equal(r, cases[i].refused ? -1 : 0);
        if (cases[i].refused && !strstr(e.text, cases[i].refused))
            fail_msg("%zu: %s", i, e.text);
    }
}

/* Jobs, and nobody who could have them. */
static void test_jobs_without_a_node(void **state)
{
    struct test_tree *tt = *state;
    struct err e = {0};
    struct members m;
    put(tt, "replication.cfg", JOB("100-0", "pve2", "pve1"));
    assert_int_equal(members_load(tt->tree, &m, &e), 0);
    assert_int_equal(members_check_node(tt->tree, &m, "pve1", false, &e), -1);
    members_release(&m);
    assert_non_null(strstr(e.text, "(known: none)"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        DIR_TEST(test_guests_by_their_files),
        DIR_TEST(test_guest_with_two_owners_is_left_out),
        DIR_TEST(test_members_from_nodes_cfg),
        DIR_TEST(test_node_of_the_tree),
        DIR_TEST(test_jobs_without_a_node),
        DIR_TEST(test_load_and_save),
        cmocka_unit_test(test_repair_of_the_source),
        DIR_TEST(test_repair_looks_again_under_the_lock),
        DIR_TEST(test_jobs_kept),
        DIR_TEST(test_repair_while_the_lock_is_busy),
        DIR_TEST(test_no_repair_stops_only_its_jobs),
        DIR_TEST(test_many_extras),
        DIR_TEST(test_guest_still_there),
        PMXCFS_TEST(test_guest_still_in_vmlist),
        DIR_TEST(test_writers_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
