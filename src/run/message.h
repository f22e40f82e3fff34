/* The JSON of the conversation (docs/PROTOCOL.md): what is read from it is checked here, once, whoever sent
 * it. A decoded struct has well-formed names and ids and bounded counts, nothing else is promised. */
#pragma once

#include "base/err.h"
#include "base/strv.h"
#include "run/replica.h"
#include "wire/frame.h"

#include <jansson.h>

/* What both say in HELLO. */
#define PROTOCOL_VERSION 1

/* Parse a frame's payload as a JSON object that takes at most MESSAGE_HOLD_MAX bytes of memory; ERR_DATA. The
 * caller decrefs. */
json_t *message_parse(const struct frame *f, struct err *e);
/* Queue an object as a frame of this type and flush; the reference is taken in every case. */
int message_send(struct channel *c, enum frame_type type, json_t *object, struct err *e);
/* Read the next frame and expect this type. A FRAME_ERROR becomes *e with the peer's kind, its text prefixed
 * by `who`. The end of the stream is ERR_NETWORK. NULL on error. */
json_t *message_receive(struct channel *c, enum frame_type type, const char *who, struct err *e);
/* The same of a FRAME_REPLY, with message_removed of whatever comes. */
json_t *message_reply(struct channel *c, const char *who, struct strv *removed, struct err *e);
/* Fill *e from a FRAME_ERROR; -1. */
int message_take_error(const struct frame *f, const char *who, struct err *e);
/* Sentences for people, added to *ret: each one clean line, cut at MESSAGE_TEXT_MAX bytes. Of more than
 * MESSAGE_TEXTS_MAX the rest is left out, and a sentence says so. */
int message_texts(const json_t *o, const char *key, struct strv *ret, struct err *e);
/* One such sentence, cut at room - 1 bytes. */
int message_text(const json_t *o, const char *key, char *ret, size_t room, struct err *e);
/* The texts of what the peer removed, added to *ret, out of a FRAME_REPLY's or a FRAME_ERROR's object. A node
 * of an older version does not say. */
void message_removed(const json_t *o, struct strv *ret);
json_t *message_error(const struct err *err);

/* Fields: a missing or wrong one is ERR_DATA and names the key. A string is one clean line (base/text.h). */
int message_string(const json_t *o, const char *key, size_t max, const char **ret, struct err *e);
int message_u64(const json_t *o, const char *key, uint64_t *ret, struct err *e);
int message_bool(const json_t *o, const char *key, bool *ret, struct err *e);
/* An array of at most max elements. */
int message_array(const json_t *o, const char *key, size_t max, const json_t **ret, struct err *e);

json_t *message_strings(const struct strv *s);
/* The field `traits` (volume_traits), malloc'ed; NULL where there is none, as from an older version. */
int message_traits(const json_t *o, char **ret, struct err *e);
/* An array of at most MESSAGE_VOLUMES_MAX names, none twice, added to *ret. */
int message_volids(const json_t *o, const char *key, struct strv *ret, struct err *e);

json_t *message_snapshot(const struct snapshot *s);
int message_snapshot_parse(const json_t *o, struct snapshot *ret, struct err *e);
json_t *message_replica(const struct replica *r);
int message_replica_parse(const json_t *o, struct replica *ret, struct err *e);
