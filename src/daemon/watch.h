/* Noticing changes of the configuration tree and the state file: inotify; on pmxcfs, whose changes on other
 * nodes inotify does not see, also the version counters in its file .version, each two seconds. Where the
 * kernel has no inotify left, what would be watched is looked at as often. */
#pragma once

#include "base/strv.h"
#include "cluster/tree.h"

#include <systemd/sd-event.h>

struct watch {
    int fd;
    sd_event_source *source, *poll;
    sd_event *event;
    char *version;    /* pmxcfs: what .version said */
    bool blind;       /* not all of `dirs` is watched… */
    struct strv dirs; /* …and is to be */
    uint64_t stamp;   /* of them, as of the last look */
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
 * live until the next call. Of what cannot be watched the log has one warning. */
void watch_update(struct watch *w, struct tree *tree, const char *state_dir);
void watch_release(struct watch *w);
