/* The API over HTTPS: libmicrohttpd on the daemon's event loop. It knows connections and bytes; what a
 * request means is call.h's.
 *
 * Nobody can hold much of it: head and body of a request are bounded, so are connections in all and of one
 * address, and a connection that has not sent its request, or not taken its answer, by a deadline is cut,
 * however often a byte of it comes. */
#pragma once

#include "api/call.h"

#define SERVER_CONNECTIONS 400
#define SERVER_CONNECTIONS_ADDRESS 200 /* of IPv6: of a /64 */
#define SERVER_HEAD_MAX (32 << 10)     /* bytes of memory for a connection: request line, headers, buffers */
#define SERVER_REQUEST_SECONDS                                                                               \
    30 /* for a request to arrive, from the connection's begin or the last answer */
#define SERVER_ANSWER_SECONDS 120 /* for an answer to be made, and again to be taken */
#define SERVER_MORE_SECONDS 15    /* …to be made, than its child, or another node's, may take */

struct server;

/* Listens as api->settings says: NULL and why not. api must outlive it. */
struct server *server_start(struct api *api, struct err *e);
/* Answers what is under way with 503, ends what is streamed, and ends. NULL is fine. */
void server_free(struct server *s);
