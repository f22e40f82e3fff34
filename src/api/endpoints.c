#include "api/endpoint.h"

#include "api/serve/serve.h"

#include <string.h>

#define JOB_SETTINGS                                                                                         \
    P_COMMENT, P_DISABLE, P_KEEP_POINTS, P_MAX_AGE, P_RATE, P_REMOVE_JOB, P_SCHEDULE, P_SCRUB_DAYS,          \
        P_SOURCE, P_TARGET_STORAGE

/* In the order of the page docs/API.md. */
const struct endpoint endpoints[] = {
    {API_GET, "/version", .guard = GUARD_USER, .serve = serve_version,
     .help = "What this is, and of which Proxmox VE's API.",
     .returns = "object: `version`, `release`, `repoid`"},

    {API_GET, "/access/ticket", .guard = GUARD_NONE, .serve = serve_no_login,
     .help = "Nothing; clients ask to see whether a server is there.", .returns = "null"},
    {API_POST, "/access/ticket", .parameters = {P_USERNAME, P_PASSWORD, P_REALM, P_NEW_FORMAT}, .needed = 2,
     .guard = GUARD_NONE, .serve = serve_ticket, .help = "Log in, or renew a ticket that is good still.",
     .returns =
         "object: `username`, `ticket`, `CSRFPreventionToken`, `cap`; with Sys.Audit on / `clustername`"},
    {API_GET, "/access/permissions", .parameters = {P_ACL_PATH, P_USERID}, .guard = GUARD_USER,
     .serve = serve_permissions,
     .help = "Who asks: what they may. Of somebody else only with Sys.Audit on /access.",
     .returns = "object by path: object by privilege: 1 where what lies below gets it too, else 0"},

    {API_GET, "/cluster/replication", .guard = GUARD_USER, .serve = serve_jobs,
     .help = "All jobs of guests on which the caller has VM.Audit, by their ids.",
     .returns = "array of jobs"},
    {API_POST, "/cluster/replication", .parameters = {P_ID, P_TARGET, P_TYPE, JOB_SETTINGS}, .needed = 3,
     .guard = GUARD_GUEST, .may = PRIV(VM_Replicate), .serve = serve_job_create, .help = "Make a job.",
     .returns = "null"},
    {API_GET, "/cluster/replication/{id}", .in_path = {P_ID}, .guard = GUARD_GUEST, .may = PRIV(VM_Audit),
     .serve = serve_job, .help = "A job as it is configured.", .returns = "a job, and `digest`"},
    {API_PUT, "/cluster/replication/{id}", .in_path = {P_ID},
     .parameters = {JOB_SETTINGS, P_DELETE, P_DIGEST}, .guard = GUARD_GUEST, .may = PRIV(VM_Replicate),
     .serve = serve_job_update, .help = "Change a job's settings.", .returns = "null"},
    {API_DELETE, "/cluster/replication/{id}", .in_path = {P_ID}, .parameters = {P_KEEP, P_FORCE},
     .guard = GUARD_GUEST, .may = PRIV(VM_Replicate), .serve = serve_job_delete,
     .help = "Mark a job for removal; the node of its guest begins with it at once.", .returns = "null"},

    {API_GET, "/nodes/{node}/replication", .in_path = {P_NODE}, .parameters = {P_GUEST}, .guard = GUARD_USER,
     .on_node = true, .serve = serve_states,
     .help = "The jobs of the node's guests on which the caller has VM.Audit, and how they are doing.",
     .returns = "array of states"},
    {API_GET, "/nodes/{node}/replication/{id}", .in_path = {P_NODE, P_ID}, .guard = GUARD_USER,
     .on_node = true, .serve = serve_state_links, .help = "What there is below.",
     .returns = "array of objects: `name`"},
    {API_GET, "/nodes/{node}/replication/{id}/status", .in_path = {P_NODE, P_ID}, .guard = GUARD_GUEST,
     .may = PRIV(VM_Audit), .on_node = true, .serve = serve_state, .help = "How a job is doing.",
     .returns = "a state"},
    {API_GET, "/nodes/{node}/replication/{id}/log", .in_path = {P_NODE, P_ID},
     .parameters = {P_LOG_START, P_LOG_LIMIT}, .guard = GUARD_GUEST, .may = PRIV(VM_Audit),
     .or_on_node = PRIV(Sys_Audit), .on_node = true, .serve = serve_log,
     .help = "What the job's last run on the node said.",
     .returns = "array of objects: `n` the line's number, `t` its text; beside it `total`"},
    {API_POST, "/nodes/{node}/replication/{id}/schedule_now", .in_path = {P_NODE, P_ID}, .guard = GUARD_GUEST,
     .may = PRIV(VM_Replicate), .on_node = true, .serve = serve_schedule_now,
     .help = "Let the job run at once.", .returns = "string, empty"},

    {API_GET, "/nodes/{node}/replication/{id}/history", .in_path = {P_NODE, P_ID},
     .parameters = {P_RUNS, P_LOGS}, .guard = GUARD_GUEST, .may = PRIV(VM_Audit),
     .or_on_node = PRIV(Sys_Audit), .on_node = true, .serve = serve_history,
     .help = "The job's runs on the node, newest first, as `pvesr history` gives them.",
     .returns = "array of objects: `job`, `node`, `target`, `start`, `result`, `bytes` sent, `delta` the "
                "bytes that had changed; where there are any `duration`, `error`, `error-kind`, `steps` "
                "(array of objects: `name`, `seconds`), `log`"},
    {API_GET, "/nodes/{node}/replication/{id}/plan", .in_path = {P_NODE, P_ID}, .guard = GUARD_GUEST,
     .may = PRIV(VM_Audit), .on_node = true, .serve = serve_plan, .look = true, .one_at_a_time = true,
     .help = "What a run of the job would do now, and why, as `pvesr plan` says it; the target is asked.",
     .returns = "array of strings, its lines"},

    {API_POST, "/nodes/{node}/doctor", .in_path = {P_NODE}, .parameters = {P_GUEST}, .guard = GUARD_NODE,
     .may = PRIV(Sys_Modify), .on_node = true, .serve = serve_doctor, .look = true, .one_at_a_time = true,
     .seconds = 600,
     .help = "End what a crash of the node interrupted, and list what is left over of replication there, as "
             "`pvesr doctor` does: under the locks of each guest, which its runs wait for.",
     .returns =
         "object: `findings`, array of objects: `guest` (0: none), `state`, `volid`, `text`, of guests "
         "on which the caller has VM.Audit; `warnings`, array of strings, with VM.Audit on /vms alone"},

    {API_GET, "/nodes/{node}/at-risk", .in_path = {P_NODE}, .parameters = {P_GUEST}, .guard = GUARD_USER,
     .on_node = true, .serve = serve_at_risk, .look = true,
     .help = "What would be lost if the node died now: of its guests on which the caller has VM.Audit, that "
             "with most to lose first.",
     .returns = "array of objects, one for each target of a guest: `guest`, `vmtype`, `node`, `state`, "
                "`job`, `target`, `newest`, `age` and `allowed` in seconds, `left-out`: volumes that no job "
                "carries"},
    {API_GET, "/cluster/at-risk", .parameters = {P_GUEST}, .guard = GUARD_USER, .serve = serve_all_at_risk,
     .look = true, .seconds = 90,
     .help = "What would be lost if one of the cluster's nodes died now; all of them are asked.",
     .returns = "object: `risks`, array of objects as of /nodes/{node}/at-risk, that guest first which has "
                "most to lose; `silent`, array of objects: `node`, `problem`, of nodes that do not say: what "
                "is at risk there is not known"},
    {API_GET, "/nodes/{node}/restore-points/{vmid}", .in_path = {P_NODE, P_VMID}, .guard = GUARD_GUEST,
     .may = PRIV(VM_Audit), .on_node = true, .serve = serve_points, .look = true, .one_at_a_time = true,
     .help = "What the node can give back of a guest, the oldest first.",
     .returns = "object: `points`, array of objects: `name`, `time`, `job`, `aside`, `volumes`, `lacks`; "
                "`problems`, array of lines: what could not be read, so that there may be more; which it is, "
                "only with VM.Audit on /vms"},
    {API_GET, "/nodes/{node}/failover/{vmid}", .in_path = {P_NODE, P_VMID}, .parameters = {P_POINT},
     .guard = GUARD_GUEST, .may = PRIV(VM_Migrate), .on_node = true, .serve = serve_failover_plan,
     .look = true, .one_at_a_time = true,
     .help = "What a failover of the guest to the node would do; nothing is changed.",
     .returns = "object: `guest`, `from`, `point`, `time` of that: what is newer is lost; `said`: lines"},
    {API_POST, "/nodes/{node}/failover/{vmid}", .in_path = {P_NODE, P_VMID},
     .parameters = {P_POINT, P_FORCE_FAILOVER}, .guard = GUARD_GUEST, .may = PRIV(VM_Migrate),
     .on_node = true, .serve = serve_failover, .one_at_a_time = true, .seconds = 3600,
     .help = "Make the node the owner of the guest, on its replicas; goes on if nobody waits for its end. "
             "`force` needs Sys.Modify on the node that has the guest, too.",
     .returns = "the same, of what was done"},

    {API_GET, "/cluster/jobs/schedule-analyze", .parameters = {P_SCHEDULE, P_STARTTIME, P_EVENTS},
     .needed = 1, .guard = GUARD_USER, .serve = serve_analyze,
     .help = "The next events of a schedule, in this node's time.",
     .returns = "array of objects: `timestamp`, `utc`, `local` the node's time"},
    {API_GET, "/cluster/status", .guard = GUARD_USER, .serve = serve_cluster_status,
     .help = "The cluster and its nodes.",
     .returns =
         "array of objects: one of `type` cluster (where there are several nodes), one of `type` node each"},
    {API_GET, "/cluster/options", .guard = GUARD_ROOT, .may = PRIV(Sys_Audit), .serve = serve_options,
     .help = "The cluster's settings, of `datacenter.cfg`.",
     .returns = "object of its settings, `replication` and `migration` as objects: `type`, `network`; "
                "`description`, `digest`"},
    {API_PUT, "/cluster/options", .parameters = {P_REPLICATION, P_MIGRATION, P_DELETE_OPTIONS},
     .guard = GUARD_ROOT, .may = PRIV(Sys_Modify), .serve = serve_options_set,
     .help = "Change those of the cluster's settings that say how replication goes.", .returns = "null"},
    {API_GET, "/cluster/resources", .parameters = {P_RESOURCE}, .guard = GUARD_USER, .serve = serve_resources,
     .help = "The nodes, and the guests on which the caller has VM.Audit.",
     .returns = "array of objects: `id`, `type`, `node`, `status`, of guests `vmid`, `name`, `template`; "
                "whether a guest of another node runs is `unknown`"},
    {API_GET, "/nodes", .guard = GUARD_USER, .serve = serve_nodes, .help = "The nodes of the cluster.",
     .returns = "array of objects: `node`, `id`, `type`, `status`"},
    {API_GET, "/nodes/{node}/status", .in_path = {P_NODE}, .guard = GUARD_NODE, .may = PRIV(Sys_Audit),
     .on_node = true, .serve = serve_node_status, .help = "How the node itself is doing.",
     .returns = "object: `uptime` in seconds, `loadavg` (array of texts), `memory`, `swap` and `rootfs` "
                "(objects of bytes: `total`, `used`, `free`; of the last `avail`), `cpuinfo` (`cpus`), "
                "`kversion`, `pveversion`"},
    {API_GET, "/nodes/{node}/qemu", .in_path = {P_NODE}, .guard = GUARD_USER, .on_node = true,
     .serve = serve_qemu, .help = "The node's virtual machines on which the caller has VM.Audit.",
     .returns = "array of objects: `vmid`, `name`, `status`, `template`"},
    {API_GET, "/nodes/{node}/lxc", .in_path = {P_NODE}, .guard = GUARD_USER, .on_node = true,
     .serve = serve_lxc, .help = "The node's containers on which the caller has VM.Audit.",
     .returns = "array of objects: `vmid`, `name`, `status`, `template`, `type`"},

    {API_GET, "/events", .guard = GUARD_USER, .serve = serve_events,
     .help = "What changes in the lists of jobs from now on, or since the event of the header Last-Event-ID: "
             "of guests on which the caller has VM.Audit.",
     .returns = "no JSON: server-sent events without an end"},

    {API_GET, "/metrics", .guard = GUARD_SCRAPE, .may = PRIV(Sys_Audit), .serve = serve_metrics, .look = true,
     .help = "Figures of this node's jobs and of pvesrd, for Prometheus; also at /metrics itself.",
     .returns = "no JSON: OpenMetrics text"},
    {API_GET, "/nodes/{node}/qemu/{vmid}/config", .in_path = {P_NODE, P_VMID}, .guard = GUARD_GUEST,
     .may = PRIV(VM_Audit), .serve = serve_qemu_config, .help = "A virtual machine as it is configured now.",
     .returns = "object of its settings; `description`, `digest`"},
    {API_GET, "/nodes/{node}/lxc/{vmid}/config", .in_path = {P_NODE, P_VMID}, .guard = GUARD_GUEST,
     .may = PRIV(VM_Audit), .serve = serve_lxc_config, .help = "A container as it is configured now.",
     .returns = "object of its settings; `description`, `digest`"},
    {API_GET, "/nodes/{node}/qemu/{vmid}/status/current", .in_path = {P_NODE, P_VMID}, .guard = GUARD_GUEST,
     .may = PRIV(VM_Audit), .on_node = true, .serve = serve_qemu_now,
     .help = "Does a virtual machine run? What is not known from its configuration and its process is left "
             "out.",
     .returns = "object: `vmid`, `name`, `status` (running, stopped), `cpus`, `maxmem` bytes; while it runs "
                "`pid`, `uptime` seconds; where they are set `lock`, `tags`, `template`"},
    {API_GET, "/nodes/{node}/lxc/{vmid}/status/current", .in_path = {P_NODE, P_VMID}, .guard = GUARD_GUEST,
     .may = PRIV(VM_Audit), .on_node = true, .serve = serve_lxc_now,
     .help = "Does a container run? What is not known from its configuration is left out.",
     .returns =
         "object: `vmid`, `type`, `name`, `status` (running, stopped), `maxmem`, `maxswap` bytes; where "
         "they are set `cpus`, `lock`, `tags`, `template`"},
};

const size_t n_endpoints = ELEMENTS(endpoints);

static const char *const names[API_METHODS] = {"GET", "POST", "PUT", "DELETE"};

const char *api_method_name(enum api_method m)
{
    return names[m];
}

bool api_method_parse(const char *name, enum api_method *ret)
{
    for (enum api_method m = 0; m < API_METHODS; m++)
        if (strcmp(name, names[m]) == 0) {
            *ret = m;
            return true;
        }
    *ret = API_GET;
    return strcmp(name, "HEAD") == 0; /* whose answer has no body, else it is the same */
}

/* Does the path fit? The components that stand for parameters into *values. */
static bool fits(const char *pattern, const struct strv *path, struct strv *values)
{
    for (size_t i = 0; i < path->n; i++) {
        if (*pattern++ != '/')
            return false;
        size_t n = strcspn(pattern, "/");
        if (*pattern == '{')
            strv_add(values, path->v[i]);
        else if (strlen(path->v[i]) != n || strncmp(path->v[i], pattern, n) != 0)
            return false;
        pattern += n;
    }
    return !*pattern;
}

const struct endpoint *endpoint_find(enum api_method m, const struct strv *path, bool *known,
                                     struct strv *values)
{
    *known = false;
    for (size_t i = 0; i < n_endpoints; i++) {
        _cleanup_strv_ struct strv found = STRV_INIT;
        if (!fits(endpoints[i].path, path, &found))
            continue;
        *known = true;
        if (endpoints[i].method != m)
            continue;
        *values = found;
        found = (struct strv)STRV_INIT;
        return &endpoints[i];
    }
    return NULL;
}
