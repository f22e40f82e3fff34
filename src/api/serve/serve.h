/* The functions of the table (api/endpoints.c), by what they are about. Each: parameters are checked, the
 * caller may, as the row says; see `serve` in api/endpoint.h. */
#pragma once

#include "api/call.h"

/* jobs.c: /cluster/replication */
int serve_jobs(struct call *c, struct err *e);
int serve_job(struct call *c, struct err *e);
int serve_job_create(struct call *c, struct err *e);
int serve_job_update(struct call *c, struct err *e);
int serve_job_delete(struct call *c, struct err *e);

/* states.c: /nodes/{node}/replication and doctor */
int serve_states(struct call *c, struct err *e);
int serve_state(struct call *c, struct err *e);
int serve_state_links(struct call *c, struct err *e);
int serve_log(struct call *c, struct err *e);
int serve_schedule_now(struct call *c, struct err *e);
int serve_history(struct call *c, struct err *e);
int serve_plan(struct call *c, struct err *e);
int serve_doctor(struct call *c, struct err *e);

/* recover.c: what would be lost, what there is to go back to, and going there */
int serve_at_risk(struct call *c, struct err *e);
int serve_all_at_risk(struct call *c, struct err *e);
int serve_points(struct call *c, struct err *e);
int serve_failover_plan(struct call *c, struct err *e);
int serve_failover(struct call *c, struct err *e);

/* cluster.c: what clients ask of a cluster before they get to the point */
int serve_version(struct call *c, struct err *e);
int serve_nodes(struct call *c, struct err *e);
int serve_cluster_status(struct call *c, struct err *e);
int serve_resources(struct call *c, struct err *e);
int serve_qemu(struct call *c, struct err *e);
int serve_lxc(struct call *c, struct err *e);
int serve_analyze(struct call *c, struct err *e);
json_t *cluster_name_json(struct call *c); /* new */

/* metrics.c: /metrics */
int serve_metrics(struct call *c, struct err *e);
/* May this address ask without being anybody? */
bool scrape_is_allowed(const struct settings *s, const char *address);

/* events.c: /events */
int serve_events(struct call *c, struct err *e);

/* guests.c: /nodes/{node}/qemu and lxc */
int serve_qemu_config(struct call *c, struct err *e);
int serve_lxc_config(struct call *c, struct err *e);
int serve_qemu_now(struct call *c, struct err *e);
int serve_lxc_now(struct call *c, struct err *e);
/* "running", "stopped", or of another node's guest "unknown". */
const char *guest_status(const struct call *c, const struct guest_entry *g, bool running);
/* What such a file says ("KEY: VALUE", the main section alone), with `description` and `digest`; new. */
json_t *config_json(const struct buf *text);

/* monitor.c: what monitors ask of cluster and node beside the jobs */
int serve_options(struct call *c, struct err *e);
int serve_options_set(struct call *c, struct err *e);
int serve_node_status(struct call *c, struct err *e);

/* access.c: /access */
int serve_ticket(struct call *c, struct err *e);
int serve_no_login(struct call *c, struct err *e);
int serve_permissions(struct call *c, struct err *e);
