/* Noticing changes of the configuration tree and the state file: inotify; on pmxcfs, whose changes on other
 * nodes inotify does not see, also the version counters in its file .version, each two seconds. */
#pragma once

#include "cluster/tree.h"

#include <systemd/sd-event.h>

struct watch {
    int fd;
    sd_event_source *source, *poll;
    char *version; /* pmxcfs: what .version said */
    struct tree *tree;
    void (*changed)(bool jobs, bool states, void *arg);
    void *arg;
};

#define WATCH_INIT                                                                                           \
    {                                                                                                        \
        .fd = -1                                                                                             \
    }

int watch_init(struct watch *w, sd_event *event, void (*changed)(bool jobs, bool states, void *arg),
               void *arg, struct err *e);
/* Watch all directories that are there now; again after each change, for those that are new. The tree must
 * live until the next call. */
void watch_update(struct watch *w, struct tree *tree, const char *state_dir);
void watch_release(struct watch *w);
