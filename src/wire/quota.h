/* What a peer may make us hold, print or record: all of it in one place, for both ends of a run. A peer may
 * be broken or hostile, and holds back nothing that it need not. Who reads from a peer allocates by these,
 * not by what it says; the numbers are what an honest node may need, rounded up.
 *
 * What an entry of the job state may take, whoever filled it, is said in state/statecodec.c.
 */
#pragma once

/* ---- a frame, in bytes (docs/PROTOCOL.md) ---- */

#define FRAME_DATA_MAX (1u << 20)  /* of volume data */
#define FRAME_MAX (4u << 20)       /* of payload, for the largest JSON answer */
#define FRAME_HELLO_MAX (4u << 10) /* from somebody of whom we know nothing yet */
#define FRAME_NOTE_MAX (64u << 10)
#define FRAME_DIGESTS_MAX 4096u /* digests of blocks */

/* ---- a message: the JSON of a frame ---- */

/* Bytes of memory for its values. Four bytes of text ("{},") become a hundred times as many, and compressed
 * text is a thousand times shorter: without this, 421 bytes became 319 MiB. */
#define MESSAGE_HOLD_MAX (64u << 20)
#define MESSAGE_VOLUMES_MAX 512
#define MESSAGE_SNAPSHOTS_MAX 8192      /* of one volume */
#define MESSAGE_ALL_SNAPSHOTS_MAX 32768 /* of all volumes: no more fit into FRAME_MAX */
#define MESSAGE_NAME_MAX 512            /* bytes of a volid, a sign, an address */

/* ---- sentences, which go to logs and to `status` ---- */

#define MESSAGE_TEXT_MAX 1024    /* bytes of one, the rest is cut off */
#define MESSAGE_TEXTS_MAX 4096   /* in one list */
#define PEER_SAID_MAX (4u << 20) /* bytes in one run: what is more is left out of its log */
#define PEER_KEPT_MAX 32         /* of what is kept aside: the newest go to `status` */
#define PEER_PROBLEMS_MAX 256    /* of a pruning; that there are more is said */
