/* The text behind the number in the first line of an answer. Clients of Proxmox VE show that line and nothing
 * else, so it must say what is wrong; libmicrohttpd has no way to set it, but asks a function of its own that
 * a program may replace (reason.c). Where it does not ask, the line has the usual words, and the body says it
 * all the same. */
#pragma once

/* For the answer that is queued next. text: one line; NULL: the usual words. */
void reason_set(unsigned status, const char *text);
