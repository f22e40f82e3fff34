/* The functions behind the rows of the command table; what each does is said there. They print results on
 * stdout, notes on stderr, and leave the error to main. */
#pragma once

#include "cli/args.h"
#include "run/env.h"

typedef int command_function(struct env *env, const struct args *a, struct err *e);

command_function cmd_list, cmd_status, cmd_read;                          /* cmd_show.c */
command_function cmd_create, cmd_update, cmd_delete;                      /* cmd_edit.c */
command_function cmd_enable, cmd_disable;                                 /* cmd_edit.c */
command_function cmd_schedule_now, cmd_set_state;                         /* cmd_state.c */
command_function cmd_run, cmd_plan, cmd_agent, cmd_prepare, cmd_finalize; /* cmd_run.c */
command_function cmd_failover, cmd_settle;                                /* cmd_failover.c */
command_function cmd_history;                                             /* cmd_history.c */
command_function cmd_at_risk;                                             /* cmd_risk.c */
command_function cmd_metrics;                                             /* cmd_metrics.c */
command_function cmd_log;                                                 /* cmd_log.c */
command_function cmd_restore_points, cmd_clone, cmd_mount;                /* cmd_points.c */
command_function cmd_verify;                                              /* cmd_verify.c */
command_function cmd_doctor;                                              /* cmd_doctor.c */
command_function cmd_takeover;                                            /* cmd_takeover.c */
command_function cmd_calendar;                                            /* cmd_calendar.c */
command_function cmd_help;                                                /* help.c */
command_function cmd_bashcomplete;                                        /* complete.c */
