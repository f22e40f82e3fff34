/* Texts with gaps: {{ KEY }}, {{ json KEY }} (as within a JSON string), {{ url KEY }} (percent-encoded),
 * {{ secret NAME }}. An event with `fields` (stock.h) brings the words of Proxmox VE: {{ fields.NAME }},
 * {{ secrets.NAME }}, `escape` for json, `url-encode` for url, and `json` is the whole value, quoted. Pure.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/strv.h"

#include <jansson.h>

/* Appends to *out. A gap that nothing fills is ERR_CONFIG and names it. secrets: "NAME=VALUE". */
int template_fill(const char *text, const json_t *event, const struct strv *secrets, struct buf *out,
                  struct err *e);
/* The value of a secret, or NULL. */
const char *secret_find(const struct strv *secrets, const char *name);
