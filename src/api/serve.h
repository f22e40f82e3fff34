/* The functions of the table (api/endpoints.c), by what they are about. Each: parameters are checked, the
 * caller may, as the row says; see `serve` in api/endpoint.h. */
#pragma once

#include "api/call.h"

/* serve_jobs.c: /cluster/replication */
int serve_jobs(struct call *c, struct err *e);
int serve_job(struct call *c, struct err *e);
int serve_job_create(struct call *c, struct err *e);
int serve_job_update(struct call *c, struct err *e);
int serve_job_delete(struct call *c, struct err *e);

/* serve_states.c: /nodes/{node}/replication */
int serve_states(struct call *c, struct err *e);
int serve_state(struct call *c, struct err *e);
int serve_state_links(struct call *c, struct err *e);
int serve_log(struct call *c, struct err *e);
int serve_schedule_now(struct call *c, struct err *e);

/* serve_cluster.c: what clients ask of a cluster before they get to the point */
int serve_version(struct call *c, struct err *e);
int serve_nodes(struct call *c, struct err *e);
int serve_cluster_status(struct call *c, struct err *e);
int serve_resources(struct call *c, struct err *e);
int serve_qemu(struct call *c, struct err *e);
int serve_lxc(struct call *c, struct err *e);
int serve_analyze(struct call *c, struct err *e);

/* serve_metrics.c: /metrics */
int serve_metrics(struct call *c, struct err *e);
/* May this address ask without being anybody? */
bool scrape_is_allowed(const struct settings *s, const char *address);

/* events.c: /events */
int serve_events(struct call *c, struct err *e);

/* serve_guests.c: /nodes/{node}/qemu and lxc */
int serve_qemu_config(struct call *c, struct err *e);
int serve_lxc_config(struct call *c, struct err *e);

/* serve_access.c: /access */
int serve_ticket(struct call *c, struct err *e);
int serve_no_login(struct call *c, struct err *e);
int serve_permissions(struct call *c, struct err *e);
