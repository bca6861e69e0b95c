/* limits.h - every ceiling of the product in one place.
 *
 * A request that would go past one gets a clear error, or 429 (ThrottlingException) when waiting
 * helps; nothing grows instead. A limit that an operator may set is named with its option, and is
 * the option's default (server/config.c). docs/api-fhir.md lists those that callers meet.
 * Floor: base. */
#pragma once

/* ---- the edge ---- */
#define LIMIT_CONTROL_BODY_BYTES (1u << 20) /* body of a control-plane request */
#define LIMIT_DATA_BODY_BYTES    (5u << 20) /* a REST resource; HealthLake answers 413 above 5 MB */
#define LIMIT_HEADERS_BYTES      (64u << 10) /* request line and headers of one request */
#define LIMIT_REQUEST_MEMORY     (16u << 20) /* arena of one request */
#define LIMIT_REQUEST_TIMEOUT_S  30u         /* idle time within one request, or between two */
#define LIMIT_JOB_CHECK_S        50u         /* for all peers that are asked before a job exists */
#define LIMIT_CONNECTIONS        1024u       /* --max-connections */
#define LIMIT_CLOCK_SKEW_S       900         /* SigV4 window, both sides */
#define LIMIT_JSON_DEPTH         64u         /* nesting of a control-plane request */
#define LIMIT_RESOURCE_DEPTH     256u        /* nesting of a resource */
#define LIMIT_PATCH_BYTES        (32u << 20) /* a resource while a patch works on it */
/* A search works for LIMIT_CALL_SECONDS while others wait for its thread, else longer. */
#define LIMIT_CALL_SECONDS      5u
#define LIMIT_CALL_MOST_SECONDS 60u
/* A larger resource comes without its large members to whoever reads many of them. */
#define LIMIT_WHOLE_BYTES         (8u << 20)
#define LIMIT_LARGE_AT_A_TIME     2u /* large resources in memory as a whole, of all requests */
#define LIMIT_LARGE_READERS       4u /* readers of a large resource that do not copy all of it */
#define LIMIT_LARGE_READERS_STORE 3u /* of these in one data store */
/* A larger line of an import, or resource of an export, is a giant: all jobs of the process work on
 * one giant at a time. */
#define LIMIT_GIANT_BYTES (8u << 20)

/* ---- a batch or transaction ---- */
#define LIMIT_BUNDLE_BYTES      (20u << 20)  /* each of its resources as above */
#define LIMIT_BUNDLE_ENTRIES    500u         /* HealthLake's */
#define LIMIT_BUNDLE_SEARCHES   1000u        /* conditional references, each counted once */
#define LIMIT_BUNDLE_TREE_BYTES (192u << 20) /* memory of it when it is read */
#define LIMIT_BUNDLE_WORK_BYTES (128u << 20) /* memory of the work, beside what it stores */
#define LIMIT_BUNDLE_SECONDS    60u          /* then the rest of its entries is refused */
/* It is refused so early while other Bundles wait. */
#define LIMIT_BUNDLE_SOFT_SECONDS 20u
#define LIMIT_BUNDLES             6u  /* at a time, 4 of them of one caller in one data store */
#define LIMIT_BUNDLES_WAITING     64u /* half of them of one caller */

/* ---- before a caller is known ---- */
/* --max-connections-per-address: this part of all connections, but never fewer than LEAST. */
#define LIMIT_CONNECTIONS_SHARE  4u
#define LIMIT_CONNECTIONS_LEAST  8u
#define LIMIT_CONNECTIONS_HEALTH 8u /* beyond --max-connections, for GET /health */
/* A head is whole after this time, counted from the connection or from the head's first byte. */
#define LIMIT_HEAD_S 10u
/* In each such time a body or an answer goes on by so many bytes (8 KiB a second), or ends. */
#define LIMIT_SLOW_S     30u
#define LIMIT_SLOW_BYTES (LIMIT_SLOW_S * (8u << 10))
/* Bodies are held until their request is answered. */
#define LIMIT_BODIES_BYTES         (256u << 20) /* memory of all of them */
#define LIMIT_BODIES_ADDRESS_BYTES (128u << 20) /* memory of those of one address */
/* Of a body whose signature covers all of it, UNPROVEN_BYTES stand in memory, or up to
 * UNPROVEN_MOST_BYTES where all such bodies together stay below UNPROVEN_MEMORY_BYTES. The rest
 * goes into a file. */
#define LIMIT_UNPROVEN_BYTES               (64u << 10)
#define LIMIT_UNPROVEN_MOST_BYTES          (1u << 20)
#define LIMIT_UNPROVEN_MEMORY_BYTES        (16u << 20)
#define LIMIT_UNPROVEN_FILES               64u /* half of them of one address */
#define LIMIT_UNPROVEN_FILES_BYTES         (1024u << 20)
#define LIMIT_UNPROVEN_ADDRESS_FILES_BYTES (512u << 20)
/* Such a file makes room for another one when it is so old, or when nothing came for so long. */
#define LIMIT_UNPROVEN_S        5u
#define LIMIT_UNPROVEN_STILL_MS 500u
/* Files of bodies and answers leave so much of the disk free. */
#define LIMIT_BODIES_FREE_DISK_BYTES (512u << 20)
/* Large answers that are not read yet: memory, then files; half of each for one address. */
#define LIMIT_ANSWERS_BYTES      (256u << 20)
#define LIMIT_ANSWER_FILES_BYTES (2048ull << 20)
#define LIMIT_ANSWER_FILES       128u
/* Answers that are being made and have grown beyond MAKING_FREE_BYTES. */
#define LIMIT_MAKING            8u
#define LIMIT_MAKING_OWNER      4u /* of one caller */
#define LIMIT_MAKING_FREE_BYTES (4u << 20)
/* Tables that go out while they are made ($viewdefinition-run) at a time, two thirds of them of one
 * caller in one data store. Others wait. */
#define LIMIT_STREAMS         8u
#define LIMIT_STREAMS_WAITING 64u /* half of them of one caller */
/* While others wait, one whose reader has kept it waiting for so long, and for half of its time, is
 * broken off. */
#define LIMIT_STREAM_WAIT_S 60u
/* What still comes behind a refusal is read for so long, so that the refusal can be read. */
#define LIMIT_LINGER_S     30u
#define LIMIT_LINGER_BYTES (64u << 20)

/* ---- import ---- */
/* A line that is a Binary; HealthLake takes them up to 164 MB. Others: LIMIT_DATA_BODY_BYTES. */
#define LIMIT_IMPORT_LINE_BYTES (172u << 20)
/* A text that is made of one resource: with links replaced, or with an outcome in it. */
#define LIMIT_RESOURCE_TEXT_BYTES (2u * LIMIT_IMPORT_LINE_BYTES)
#define LIMIT_IMPORT_CHUNK_BYTES  (16u << 20) /* NDJSON taken as one unit of work and one commit */
#define LIMIT_IMPORT_FILES        1000000u
#define LIMIT_IMPORT_NAMES_BYTES  (256u << 20)    /* of all keys of a job */
#define LIMIT_IMPORT_FILE_BYTES   (50ull << 30)   /* packed, and unpacked */
#define LIMIT_IMPORT_JOB_BYTES    (5000ull << 30) /* likewise, of all files */
/* So many bytes come out of a packed file whatever its size; behind them RATIO bytes for each that
 * goes in. */
#define LIMIT_UNPACK_FREE_BYTES (64u << 20)
#define LIMIT_UNPACK_RATIO      1000u
#define LIMIT_UNPACK_WINDOW_LOG 27u /* of zstd: what its own program takes by default */
/* Lines about failures that are written. The others are counted, and a last line tells the sum. */
#define LIMIT_FAILURE_LINES_FILE 100000u /* of one input file */
#define LIMIT_FAILURE_LINES_JOB  1000000u
/* Outcomes of each kind: of a file so many bytes, and RATIO bytes for each byte of its input as it
 * came, not unpacked. */
#define LIMIT_OUTCOME_FILE_BYTES (512u << 10)
#define LIMIT_OUTCOME_RATIO      200u
#define LIMIT_OUTCOME_JOB_BYTES  (256u << 20) /* likewise of a job */
#define LIMIT_OUTCOME_ENDS_BYTES (64u << 20)  /* of the last lines of one job */

/* ---- export ---- */
#define LIMIT_EXPORT_OBJECT_BYTES (64u << 20) /* aim of one object; one line may be larger */
#define LIMIT_EXPORT_FILES        10000u      /* of an export that asks for _maximumFileSize */
#define LIMIT_EXPORT_PATIENTS     10000u      /* in one list of patients */
#define LIMIT_EXPORT_TEXTS        1000u       /* of one kind: filters, types, elements */
/* Files that are served over HTTP. */
#define LIMIT_SERVED_HOURS  48u  /* --export-retention-hours: files stay after completion */
#define LIMIT_SERVED_STORE  100u /* --max-served-exports: of a store, waiting, running or kept */
#define LIMIT_SERVED_CALLER 500u /* --max-served-exports-caller: over all data stores */
/* --max-served-copies: bytes of a data store, in its largest exports; SMALL_BYTES are kept
 * always. */
#define LIMIT_SERVED_COPIES       12u
#define LIMIT_SERVED_SMALL_BYTES  (16u << 20)
#define LIMIT_SERVED_STORE_BYTES  (100ull << 30) /* --max-served-export-mib */
#define LIMIT_SERVED_CALLER_BYTES (400ull << 30) /* --max-served-export-mib-caller */

/* ---- jobs ---- */
#define LIMIT_JOBS_QUEUED 25u /* per data store and kind */
/* --min-free-mib: jobs leave so much of the disk to the data stores, or a twentieth of it. */
#define LIMIT_FREE_DISK_BYTES (1ull << 30)
#define LIMIT_WORKERS         64u /* --workers; default: processors, at least 2 */

/* ---- data stores ---- */
#define LIMIT_STORE_FILES     16384u       /* descriptors of all open ones; fewer by ulimit -n */
#define LIMIT_STORE_IDLE_S    300u         /* then an open one is closed */
#define LIMIT_STORE_WAIT_S    5u           /* for room when all that may be open are in use */
#define LIMIT_UNWRITTEN_BYTES (512u << 20) /* of all open ones, in memory and the log alone */

/* ---- the audit log ---- */
#define LIMIT_AUDIT_SEGMENT_BYTES (64u << 20) /* --audit-segment-mib */
/* Records that nobody waits for and that are not on disk yet; then who adds one waits, too. */
#define LIMIT_AUDIT_WAITING_BYTES (8u << 20)

/* ---- peers ---- */
#define LIMIT_ASSUMED_ROLES 1000u /* roles whose credentials are kept */

/* ---- control plane ---- */
#define LIMIT_DATASTORES       1000u /* --max-datastores; HealthLake's default is 10 */
#define LIMIT_TAGS             200u
#define LIMIT_PRELOAD_PATIENTS 100u /* --preload-patients */
#define LIMIT_CONTROL_WORKERS  4u   /* threads for operations that wait for a peer */
#define LIMIT_CONTROL_WAITING  256u /* operations that wait for such a thread */
#define LIMIT_PAGE_DEFAULT     100u /* MaxResults when absent; the model allows 1..500 */
/* A page of a List* looks at so many records; then it is short, and has a token. */
#define LIMIT_LIST_SEEN 5000u
