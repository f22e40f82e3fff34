/* GET /events: what changes in the lists of jobs, told as it happens (server-sent events,
 * BEHAVIOUR.md#events).
 *
 *     a file changed ──► events_changed ──► a look (view/changes.h), once for all ──► what is new is kept
 *                                                                                         │
 *     server.c, for each stream: call->more ◄── there is something ◄──────────────────────┘
 *                                stream_read ──► what its caller may see, as of now
 *
 * What is kept is one ring for all: a stream is a place in it, so who reads slowly, or comes back
 * (Last-Event-ID), holds nothing. Whose place is gone is told to ask for the lists anew ("reset"). Nothing is
 * looked at while nobody listens. */
#pragma once

#include "api/call.h"

#include <sys/types.h>

#define EVENTS_STREAMS 200
#define EVENTS_STREAMS_USER 32 /* of a user and all of their tokens */
#define EVENTS_KEPT 4096       /* events, the newest… */
#define EVENTS_KEPT_BYTES (4 << 20)
#define EVENTS_BEAT_SECONDS 15 /* a comment, where there is nothing else */
#define EVENTS_IDLE_SECONDS 60 /* what is kept goes when nobody has listened for so long */

struct events;
/* api must outlive it. */
struct events *events_new(struct api *api);
/* After all streams. */
void events_free(struct events *ev);
/* A state has changed; `jobs`: perhaps more than that. NULL is fine. */
void events_changed(struct events *ev, bool jobs);
/* Each few seconds: ends the streams of who is nobody any more, and sends what the time brings. */
void events_sweep(struct events *ev);
/* Ends all streams: each is told by call->more. */
void events_end(struct events *ev);

struct stream;
/* Bytes written to out; 0: none for now, call->more is called when there are; -1: it is over. */
ssize_t stream_read(struct stream *s, char *out, size_t room);
void stream_close(struct stream *s);
