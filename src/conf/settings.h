/* Node-local configuration, pvesr.conf(5): `key: value` lines, `#` comments. A missing file means all
 * defaults; an unknown key or a bad value is ERR_CONFIG with file and line. */
#pragma once

#include "base/cidr.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/strv.h"

#include <stdbool.h>
#include <stdint.h>

struct settings {
    char *file;          /* where it was read from (or would have been): passed on to local agents */
    char *node;          /* this node's name; default: short host name */
    char *cluster;       /* "dir:/etc/pve" */
    char *state_dir;     /* /var/lib/pve-manager */
    char *log_dir;       /* /var/log/pve/replicate */
    char *lock_dir;      /* /var/lock/pve-manager */
    char *run_dir;       /* /run/pvesr */
    char *storage_root;  /* NULL, or a prefix for the `path` of path-based storages */
    char *pool_prefix;   /* NULL, or a prefix for the pool (zfspool) and the volume group (lvmthin) */
    char *sendmail;      /* /usr/sbin/sendmail */
    char *mail_to;       /* root; "none": no mail */
    bool api;            /* off */
    char *listen;        /* where the API is: "ADDRESS:PORT"; NULL: all addresses, port 8006 or 8016 */
    char *panel_dir;     /* /usr/share/pvesr/panel: the web panel's files, served beside the API */
    char *metrics_allow; /* NULL, or the networks that may read /metrics without a token */
    char *tls_cert;      /* NULL, or a file in PEM; with tls_key */
    char *tls_key;
    unsigned history_days; /* for which the journal keeps runs */
    unsigned max_workers;
    unsigned max_per_target; /* of them, to one node */
    unsigned freeze_limit;   /* seconds that a guest stays frozen at most */
    unsigned hold_limit;     /* seconds that a guest without an agent is held still at most; 0: it is not */
    unsigned peer_limit;     /* seconds that a node may be busy with one request, and only say so */
    unsigned large_blocks;   /* 1: a new ZFS replica gets blocks above 128 KiB as they are */
    struct strv warnings;    /* "FILE:LINE: …": what may be damage, and counts nevertheless */
};

/* "10.0.0.1:8006", "[fe80::1]:8006", "[::]:8006": an IP address (malloc'ed, without brackets) and a port. */
int settings_parse_listen(const char *text, char **address, uint16_t *port, struct err *e);

/* One of `metrics-allow`: a network, or an address, which is a network of one. */
bool settings_parse_network(const char *text, struct cidr *ret);

/* From the `len` bytes of `text` (a file's content); `file` is for messages. */
int settings_parse(const char *file, const char *text, size_t len, struct settings *ret, struct err *e);
/* The file is `option` (from --config; it must exist), else $PVESR_CONFIG, else /etc/pvesr/pvesr.conf. A
 * relative path becomes absolute in ret->file. */
int settings_load(const char *option, struct settings *ret, struct err *e);
void settings_release(struct settings *s);
