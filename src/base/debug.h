/* The debug level: what is done to the storages, one line each, for whoever looks for a fault. Off unless
 * PVESR_DEBUG is set to something else than 0; then on stderr. A source asks its target's agent for the same,
 * and passes on what that says (run/source/peer.c). */
#pragma once

#include <stdbool.h>

bool debug_on(void);
void debug_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A command with its arguments, quoted so that a shell would take it: "+ lvremove -f vg/vm-100-disk-0". */
void debug_command(char *const argv[]);
