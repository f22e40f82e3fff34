/* What the service manager is told. */
#pragma once

/* What it can do without, as "KEY=VALUE…", sd_notify(3). Unlike that it does not wait: a service manager that
 * stands still, frozen or stopped, is told nothing, and the jobs run. */
void notify(const char *text);
