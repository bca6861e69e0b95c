/* limits.h - every ceiling of the product in one place (docs/limits in README). Past one: a clear
 * error or 429/ThrottlingException, never growth. Those a user may set are marked with their
 * option. Floor: base. */
#pragma once

/* ---- the edge ---- */
#define LIMIT_CONTROL_BODY_BYTES (1u << 20) /* a control-plane request body */
#define LIMIT_DATA_BODY_BYTES    (5u << 20) /* a REST resource; HealthLake answers 413 above 5 MB */
#define LIMIT_WHOLE_BYTES \
    (8u << 20) /* who looks at many gets a larger resource without its large members */
#define LIMIT_LARGE_AT_A_TIME     2u           /* that are in memory as a whole, of all requests */
#define LIMIT_LARGE_READERS       4u           /* who look at one without copying its whole ... */
#define LIMIT_LARGE_READERS_STORE 3u           /* ... in one data store */
#define LIMIT_BUNDLE_BYTES        (20u << 20)  /* a batch or transaction; each resource as above */
#define LIMIT_BUNDLE_ENTRIES      500u         /* HealthLake's */
#define LIMIT_BUNDLE_TREE_BYTES   (192u << 20) /* what a Bundle takes when it is read */
/* and while it is worked on, beside what it stores */
#define LIMIT_BUNDLE_WORK_BYTES (128u << 20)
#define LIMIT_BUNDLE_SECONDS    60u /* then what is left of it is refused */
#define LIMIT_BUNDLE_SOFT_SECONDS \
    20u /* or already after so many, while others wait for their Bundle */
#define LIMIT_BUNDLE_SEARCHES   1000u /* conditional references of one, each counted once */
#define LIMIT_BUNDLES           6u  /* worked on at a time, 4 of them of a caller in a data store */
#define LIMIT_BUNDLES_WAITING   64u /* half of them of one caller */
#define LIMIT_HEADERS_BYTES     (64u << 10) /* request line and headers of one request */
#define LIMIT_CONNECTIONS       1024u       /* --max-connections */
#define LIMIT_REQUEST_TIMEOUT_S 30u         /* idle time within one request, or between two */
#define LIMIT_REQUEST_MEMORY    (16u << 20) /* arena of one request */
#define LIMIT_CALL_SECONDS      5u          /* a search works so long at least, ... */
#define LIMIT_CALL_MOST_SECONDS 60u  /* ... and so long while no other request waits for a thread */
#define LIMIT_JSON_DEPTH        64u  /* nesting of a control-plane request */
#define LIMIT_RESOURCE_DEPTH    256u /* nesting of a resource */
#define LIMIT_PATCH_BYTES       (32u << 20) /* a resource while a JSON Patch works on it */
#define LIMIT_CLOCK_SKEW_S      900         /* SigV4 window, both sides */

/* ---- before a caller is known ---- */
/* --max-connections-per-address: 1/4 when not given, but ... */
#define LIMIT_CONNECTIONS_SHARE  4u
#define LIMIT_CONNECTIONS_LEAST  8u /* ... never fewer */
#define LIMIT_CONNECTIONS_HEALTH 8u /* beyond --max-connections, for GET /health */
/* from the connection, or a head's first byte, to its end */
#define LIMIT_HEAD_S 10u
/* in each such time a body, and an answer, goes on by ... */
#define LIMIT_SLOW_S 30u
/* ... 8 KiB a second, or ends */
#define LIMIT_SLOW_BYTES (LIMIT_SLOW_S * (8u << 10))
/* memory of all bodies, until they are answered */
#define LIMIT_BODIES_BYTES         (256u << 20)
#define LIMIT_BODIES_ADDRESS_BYTES (128u << 20) /* of those of one address */
/* of a body whose signature needs all of it */
#define LIMIT_UNPROVEN_BYTES (64u << 10)
/* of one, where it fits in what all may have: */
#define LIMIT_UNPROVEN_MOST_BYTES          (1u << 20)
#define LIMIT_UNPROVEN_MEMORY_BYTES        (16u << 20) /* beyond that they go on in files */
#define LIMIT_UNPROVEN_FILES               64u         /* half of one address */
#define LIMIT_UNPROVEN_FILES_BYTES         (1024u << 20)
#define LIMIT_UNPROVEN_ADDRESS_FILES_BYTES (512u << 20)
/* then a file makes room for another's, or when ... */
#define LIMIT_UNPROVEN_S        5u
#define LIMIT_UNPROVEN_STILL_MS 500u /* ... nothing came to it for so long */
#define LIMIT_BODIES_FREE_DISK_BYTES \
    (512u << 20) /* that bodies, and answers in files, leave free */
/* memory of large answers that are not read yet: ... */
#define LIMIT_ANSWERS_BYTES      (256u << 20)
#define LIMIT_ANSWER_FILES_BYTES (2048ull << 20) /* ... beyond that they go into files */
#define LIMIT_ANSWER_FILES       128u            /* of these three half of one address */
#define LIMIT_MAKING             8u         /* answers that are being made and have more than ... */
#define LIMIT_MAKING_OWNER       4u         /* (so many of one caller) */
#define LIMIT_MAKING_FREE_BYTES  (4u << 20) /* ... these */
#define LIMIT_LINGER_S           30u /* what still comes behind a refusal is read for so long ... */
/* ... and up to so much, so that the refusal can be read */
#define LIMIT_LINGER_BYTES (64u << 20)

/* ---- import ---- */
#define LIMIT_IMPORT_LINE_BYTES \
    (172u << 20) /* one Binary; HealthLake takes them up to 164 MB. Others: LIMIT_DATA_BODY_BYTES */
#define LIMIT_IMPORT_CHUNK_BYTES (16u << 20) /* NDJSON taken as one unit of work and one commit */
#define LIMIT_IMPORT_FILES       1000000u
#define LIMIT_IMPORT_NAMES_BYTES (256u << 20)    /* of all keys of a job */
#define LIMIT_IMPORT_FILE_BYTES  (50ull << 30)   /* as it stands there, and unpacked */
#define LIMIT_IMPORT_JOB_BYTES   (5000ull << 30) /* likewise, of all files */
#define LIMIT_UNPACK_FREE_BYTES  (64u << 20) /* come out of a file whatever its size; behind them */
#define LIMIT_UNPACK_RATIO       1000u       /* bytes for each that goes in */
#define LIMIT_UNPACK_WINDOW_LOG  27u /* of zstd: what its own program takes when nothing is said */
/* Outcome lines that are written; the others are counted, and a last line says how many they
 * are. */
#define LIMIT_FAILURE_LINES_FILE 100000u /* of one input file */
#define LIMIT_FAILURE_LINES_JOB  1000000u
#define LIMIT_OUTCOME_FILE_BYTES \
    (512u << 10) /* of each kind and file, and OUTCOME_RATIO bytes for each of the input */
#define LIMIT_OUTCOME_JOB_BYTES  (256u << 20) /* likewise of each kind and job */
#define LIMIT_OUTCOME_RATIO      200u /* bytes of input are as it stands there, not unpacked */
#define LIMIT_OUTCOME_ENDS_BYTES (64u << 20) /* of the last lines of one job */

/* ---- export ---- */
#define LIMIT_EXPORT_OBJECT_BYTES (64u << 20) /* aim of one object; one line may be larger */

#define LIMIT_EXPORT_FILES    10000u /* of one export whose _maximumFileSize was asked for */
#define LIMIT_EXPORT_PATIENTS 10000u /* in one list of patients */
#define LIMIT_EXPORT_TEXTS    1000u  /* of one kind in a request: filters, types, elements */
#define LIMIT_SERVED_HOURS    48u /* --export-retention-hours: served files stay after completion */
#define LIMIT_SERVED_STORE \
    100u /* --max-served-exports: waiting, running or kept, of one data store */
#define LIMIT_SERVED_CALLER \
    500u /* --max-served-exports-caller: of one caller, over all data stores */
#define LIMIT_SERVED_COPIES \
    12u /* --max-served-copies: bytes of one data store, in its largest exports; */
#define LIMIT_SERVED_SMALL_BYTES  (16u << 20)    /* so much is always kept */
#define LIMIT_SERVED_STORE_BYTES  (100ull << 30) /* --max-served-export-mib */
#define LIMIT_SERVED_CALLER_BYTES (400ull << 30) /* --max-served-export-mib-caller */

/* ---- jobs ---- */
#define LIMIT_JOBS_QUEUED 25u /* per data store and kind */
#define LIMIT_FREE_DISK_BYTES \
    (1ull << 30)          /* --min-free-mib: left to the data stores, or a twentieth of the disk */
#define LIMIT_WORKERS 64u /* --workers; default: processors, at least 2 */

/* ---- data stores ---- */
#define LIMIT_STORE_FILES     16384u /* descriptors of all open ones; less when ulimit -n is low */
#define LIMIT_STORE_IDLE_S    300u   /* then an open one is closed */
#define LIMIT_STORE_WAIT_S    5u     /* for room when all that may be open are in use; then 429 */
#define LIMIT_UNWRITTEN_BYTES (512u << 20) /* of all open ones, in memory and the log alone */

/* ---- peers ---- */
#define LIMIT_ASSUMED_ROLES 1000u /* roles whose credentials are kept */

/* ---- control plane ---- */
#define LIMIT_DATASTORES 1000u /* --max-datastores; HealthLake's default is 10 */
#define LIMIT_TAGS       200u
#define LIMIT_LIST_SEEN \
    5000u /* records that a page of a List* looks at; then it is short, with a token */
#define LIMIT_PAGE_DEFAULT 100u /* MaxResults when absent; the model allows 1..500 */
