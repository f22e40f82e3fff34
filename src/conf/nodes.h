/* nodes.cfg: the nodes of a cluster that has no pmxcfs. */
#pragma once

#include "base/err.h"
#include "base/strv.h"
#include "conf/section.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct node {
    char *name;
    char *address; /* host name or IP, never starting with '-'; "local": same machine, no ssh */
    uint16_t port; /* 22 */
    char *user;    /* root */
    char *config;  /* the far node's pvesr.conf, or NULL */
    char *agent;   /* "pvesr agent" */
};

struct nodes {
    struct node *v;
    size_t n;
    struct strv warnings;
};

void nodes_parse(const char *name, const char *text, size_t len, struct nodes *ret);
void nodes_release(struct nodes *n);
const struct node *nodes_find(const struct nodes *n, const char *name);
/* Append a node with the defaults; used for pmxcfs members. */
struct node *nodes_add(struct nodes *n, const char *name, const char *address);
