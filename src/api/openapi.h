/* The table of endpoints as an OpenAPI 3.1 document. */
#pragma once

#include <jansson.h>

json_t *openapi_document(void); /* new */
