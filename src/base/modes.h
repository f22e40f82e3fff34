/* The modes of all that this program makes, in one place: what other users of a node may see of guests and of
 * replication, which is nothing but what the described tool shows them as well. A file that is there already,
 * made by an earlier version or by that tool, loses what it has more (fs_restrict).
 *
 * Not here: what a container's files have (they are the container's, and nobody else reaches them through the
 * folder of its guest), and what lies where only root gets (a mount's place, for example).
 */
#pragma once

/* Folders that are shared with others, whose files have modes of their own: state, logs, locks. */
#define MODE_FOLDER 0755
/* The job state file, which others read: the described tool makes it so. */
#define MODE_STATE 0644
/* Job logs and the journal: they quote errors, names and times of all guests. */
#define MODE_LOG 0640
/* Locks: whoever can open a file can hold a lock on it, and stop all runs. */
#define MODE_LOCK 0600
/* Notes for ourselves, and their folders. */
#define MODE_NOTE 0600
#define MODE_NOTES 0700
/* The cluster's tree, where the engine has no modes of its own; below priv/ MODE_NOTE. */
#define MODE_TREE 0644
/* Replicas: the folder of one guest's images, and a disk in it. What is set-user-ID in a container must not
 * be reached by a user of the node. */
#define MODE_GUEST_FOLDER 0750
#define MODE_DISK 0600
