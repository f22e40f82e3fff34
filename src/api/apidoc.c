/* api-doc: the page docs/API.md, from the table; with an argument docs/openapi.json. */
#include "api/endpoint.h"
#include "api/openapi.h"

#include <stdio.h>
#include <string.h>

static const char *type_name(const struct parameter *p)
{
    switch (p->type) {
    case TYPE_INTEGER:
        return "integer";
    case TYPE_NUMBER:
        return "number";
    case TYPE_BOOLEAN:
        return "boolean";
    case TYPE_CHOICE:
        return "one of";
    case TYPE_LIST:
        return "list";
    case TYPE_TEXT:
        break;
    }
    return "text";
}

static void print_range(const struct parameter *p)
{
    if (p->type == TYPE_INTEGER || p->type == TYPE_NUMBER)
        printf(" %lld to %lld", (long long)p->min, (long long)p->max);
    else if (p->type == TYPE_CHOICE)
        for (const char *c = p->choices; *c; c += strcspn(c, "|") + (c[strcspn(c, "|")] == '|'))
            printf(" `%.*s`", (int)strcspn(c, "|"), c);
    else if (p->max)
        printf(", at most %lld %s", (long long)p->max, p->characters ? "characters" : "bytes");
}

static void print_parameter(enum parameter_id id, bool needed)
{
    const struct parameter *p = &parameters[id];
    printf("| `%s` | %s", p->name, type_name(p));
    print_range(p);
    printf(" | %s | %s |\n", needed ? "needed" : p->fallback ? p->fallback : "", p->help);
}

static void print_privileges(privileges set)
{
    bool any = false;
    for (enum privilege p = 0; p < PRIVILEGES; p++)
        if (set & ((privileges)1 << p)) {
            printf("%s%s", any ? " or " : "", privilege_name(p));
            any = true;
        }
}

static void print_guard(const struct endpoint *ep)
{
    static const char *const where[] = {[GUARD_ROOT] = "/",
                                        [GUARD_SCRAPE] = "/",
                                        [GUARD_NODE] = "/nodes/{node}",
                                        [GUARD_GUEST] = "/vms/GUEST"};
    printf("Who may: ");
    if (ep->guard == GUARD_NONE || ep->guard == GUARD_USER) {
        printf(ep->guard == GUARD_NONE ? "anybody" : "any user");
    } else {
        print_privileges(ep->may);
        printf(" on %s", where[ep->guard]);
        if (ep->guard == GUARD_SCRAPE)
            printf(", or anybody from an address of `metrics-allow`");
    }
    if (ep->or_on_node) {
        printf(", or ");
        print_privileges(ep->or_on_node);
        printf(" on /nodes/{node}");
    }
    printf(". Returns: %s.\n", ep->returns);
}

static void print_endpoint(const struct endpoint *ep)
{
    printf("\n## %s %s\n%s ", api_method_name(ep->method), ep->path, ep->help);
    print_guard(ep);
    if (!ep->parameters[0])
        return;
    printf("\n| parameter | type | default | |\n|---|---|---|---|\n");
    for (unsigned i = 0; i < ENDPOINT_PARAMETERS && ep->parameters[i]; i++)
        print_parameter(ep->parameters[i], i < ep->needed);
}

static const char head[] = "# The API of pvesrd\n"
                           "This page is made from the table in `src/api/endpoints.c` by `tools/apidoc`. "
                           "What all requests have in common is in\n"
                           "[BEHAVIOUR.md](BEHAVIOUR.md#api). All paths are below `/api2/json`.\n"
                           "[openapi.json](openapi.json) says the same to programs.\n";

static int print_openapi(void)
{
    json_t *o = openapi_document();
    int r = json_dumpf(o, stdout, JSON_INDENT(1));
    json_decref(o);
    return r < 0 || putchar('\n') < 0;
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return print_openapi();
    fputs(head, stdout);
    for (size_t i = 0; i < n_endpoints; i++)
        print_endpoint(&endpoints[i]);
    return 0;
}
