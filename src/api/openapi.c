#include "api/openapi.h"

#include "api/endpoint.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* ---- parameters ---- */

static json_t *choices(const char *text)
{
    json_t *a = json_array();
    for (const char *c = text; *c; c += strcspn(c, "|") + (c[strcspn(c, "|")] == '|'))
        json_array_append_new(a, json_stringn(c, strcspn(c, "|")));
    return a;
}

static json_t *fallback(const struct parameter *p)
{
    if (p->type == TYPE_INTEGER || p->type == TYPE_BOOLEAN)
        return json_integer(strtoll(p->fallback, NULL, 10));
    return p->type == TYPE_NUMBER ? json_real(strtod(p->fallback, NULL)) : json_string(p->fallback);
}

static json_t *type_schema(const struct parameter *p)
{
    switch (p->type) {
    case TYPE_INTEGER:
    case TYPE_NUMBER:
        return json_pack("{s:s, s:I, s:I}", "type", p->type == TYPE_INTEGER ? "integer" : "number", "minimum",
                         (json_int_t)p->min, "maximum", (json_int_t)p->max);
    case TYPE_BOOLEAN:
        return json_pack("{s:s, s:[i, i]}", "type", "integer", "enum", 0, 1);
    case TYPE_CHOICE:
        return json_pack("{s:s, s:o}", "type", "string", "enum", choices(p->choices));
    case TYPE_TEXT:
    case TYPE_LIST:
        break;
    }
    return p->max ? json_pack("{s:s, s:I}", "type", "string", "maxLength", (json_int_t)p->max)
                  : json_pack("{s:s}", "type", "string");
}

static json_t *schema(enum parameter_id id)
{
    json_t *o = type_schema(&parameters[id]);
    if (parameters[id].fallback)
        json_object_set_new(o, "default", fallback(&parameters[id]));
    return o;
}

static json_t *parameter_json(enum parameter_id id, const char *in, bool needed)
{
    return json_pack("{s:s, s:s, s:b, s:s, s:o}", "name", parameters[id].name, "in", in, "required",
                     (int)needed, "description", parameters[id].help, "schema", schema(id));
}

static json_t *all_parameters(const struct endpoint *ep, bool in_body)
{
    json_t *a = json_array();
    for (unsigned i = 0; i < ENDPOINT_PATH_PARAMETERS && ep->in_path[i]; i++)
        json_array_append_new(a, parameter_json(ep->in_path[i], "path", true));
    for (unsigned i = 0; !in_body && i < ENDPOINT_PARAMETERS && ep->parameters[i]; i++)
        json_array_append_new(a, parameter_json(ep->parameters[i], "query", i < ep->needed));
    return a;
}

static json_t *body_json(const struct endpoint *ep)
{
    json_t *properties = json_object(), *needed = json_array();
    for (unsigned i = 0; i < ENDPOINT_PARAMETERS && ep->parameters[i]; i++) {
        const char *name = parameters[ep->parameters[i]].name;
        json_t *o = schema(ep->parameters[i]);
        json_object_set_new(o, "description", json_string(parameters[ep->parameters[i]].help));
        json_object_set_new(properties, name, o);
        if (i < ep->needed)
            json_array_append_new(needed, json_string(name));
    }
    json_t *object = json_pack("{s:s, s:o, s:o, s:b}", "type", "object", "properties", properties, "required",
                               needed, "additionalProperties", 0);
    return json_pack("{s:b, s:{s:{s:O}, s:{s:o}}}", "required", (int)(ep->needed > 0), "content",
                     "application/x-www-form-urlencoded", "schema", object, "application/json", "schema",
                     object);
}

/* ---- operations ---- */

static json_t *who_json(const struct endpoint *ep)
{
    if (ep->guard == GUARD_NONE)
        return json_array();
    return ep->method == API_GET ? json_pack("[{s:[]}, {s:[]}]", "token", "ticket")
                                 : json_pack("[{s:[]}, {s:[], s:[]}]", "token", "ticket", "csrf");
}

static json_t *answers_json(const struct endpoint *ep)
{
    return json_pack("{s:{s:s, s:{s:{s:{s:s, s:[s], s:{s:{s:s}}}}}}, s:{s:s}}", "200", "description",
                     ep->returns, "content", "application/json", "schema", "type", "object", "required",
                     "data", "properties", "data", "description", ep->returns, "default", "$ref",
                     "#/components/responses/failure");
}

/* "getClusterReplicationId" */
static json_t *operation_id(const struct endpoint *ep)
{
    char text[128], *to = text;
    bool upper = false;
    for (const char *p = api_method_name(ep->method); *p; p++)
        *to++ = (char)tolower((unsigned char)*p);
    for (const char *p = ep->path; *p && to < text + sizeof text - 1; p++) {
        if (isalnum((unsigned char)*p))
            *to++ = upper ? (char)toupper((unsigned char)*p) : *p;
        upper = !isalnum((unsigned char)*p);
    }
    *to = 0;
    return json_string(text);
}

static json_t *operation(const struct endpoint *ep)
{
    bool in_body = ep->method == API_POST || ep->method == API_PUT;
    json_t *o = json_object();
    json_object_set_new(o, "operationId", operation_id(ep));
    json_object_set_new(o, "summary", json_string(ep->help));
    json_object_set_new(o, "parameters", all_parameters(ep, in_body));
    if (in_body && ep->parameters[0])
        json_object_set_new(o, "requestBody", body_json(ep));
    json_object_set_new(o, "security", who_json(ep));
    json_object_set_new(o, "responses", answers_json(ep));
    return o;
}

static void add_operation(const struct endpoint *ep, json_t *paths)
{
    char verb[8] = "";
    for (size_t i = 0; api_method_name(ep->method)[i]; i++)
        verb[i] = (char)tolower((unsigned char)api_method_name(ep->method)[i]);
    if (!json_object_get(paths, ep->path))
        json_object_set_new(paths, ep->path, json_object());
    json_object_set_new(json_object_get(paths, ep->path), verb, operation(ep));
}

/* ---- the document ---- */

static json_t *components(void)
{
    json_t *schemes =
        json_pack("{s:{s:s, s:s, s:s, s:s}, s:{s:s, s:s, s:s}, s:{s:s, s:s, s:s}}", "token", "type", "apiKey",
                  "in", "header", "name", "Authorization", "description",
                  "PVEAPIToken=USER@REALM!TOKEN=SECRET", "ticket", "type", "apiKey", "in", "cookie", "name",
                  "PVEAuthCookie", "csrf", "type", "apiKey", "in", "header", "name", "CSRFPreventionToken");
    json_t *failure = json_pack("{s:s, s:{s:{s:{s:s, s:[s, s], s:{s:{s:s}, s:{s:s}, s:{s:s, s:{s:s}}}}}}}",
                                "description", "What is wrong; the status line says it, too.", "content",
                                "application/json", "schema", "type", "object", "required", "data", "message",
                                "properties", "data", "type", "null", "message", "type", "string", "errors",
                                "type", "object", "additionalProperties", "type", "string");
    return json_pack("{s:o, s:{s:o}}", "securitySchemes", schemes, "responses", "failure", failure);
}

json_t *openapi_document(void)
{
    json_t *paths = json_object();
    for (size_t i = 0; i < n_endpoints; i++)
        add_operation(&endpoints[i], paths);
    return json_pack("{s:s, s:{s:s, s:s, s:s}, s:[{s:s}], s:o, s:o}", "openapi", "3.1.0", "info", "title",
                     "pvesrd", "version", PVESR_VERSION, "description",
                     "Storage replication of virtual guests: made from the table of endpoints.", "servers",
                     "url", "/api2/json", "paths", paths, "components", components());
}
