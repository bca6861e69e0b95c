/* grant.h - which resources a token's scopes give, for each type and letter.
 *
 * Scopes unite. For a type and a letter each scope that names both is one alternative: the resource
 * is in the patient's record (patient level), and meets every parameter of the scope's query. One
 * alternative is enough. A scope that cannot be understood for a type gives nothing there.
 *
 *   patient level            gives
 *   Patient                  the patient alone, no one whom Patient.link names
 *   types of R4's Patient    what a parameter of CompartmentDefinition leads to the patient
 *     compartment
 *   Device, Task             by Device.patient and Task.for
 *   Binary                   with securityContext Patient/<id>
 *   shared types             all, to read and search: practitioners, organizations, places,
 *                            medications, definitions, terminology (grant.c has the list)
 *   any other type           nothing
 *
 * To create, update and delete it must be about the patient: of the parameters of the compartment
 * only `patient` counts then, where the type has it. A performer, an author or a payer is none.
 *
 * A query that has a grant shows only what the grant gives, and so does every chain and _has within
 * it: they are queries of their own. Without a grant nothing is limited.
 * Source: SMART App Launch 2.2, scopes; FHIR R4 compartmentdefinition-patient.html.
 * Limits: SMART_*; QUERY_GRANT_BYTES.   Floor: query. */
#pragma once
#include "auth/smart.h"
#include "query/query.h"

/* A budget for a grant of a request. When it is used up, further types give nothing. */
#define QUERY_GRANT_BYTES (16u << 20)

enum query_extent { QUERY_NOTHING, QUERY_SOME, QUERY_ALL };

/* smart and cx->base are borrowed for as long as the grant lives; it and its filters are the
 * arena's. Filters are made when they are first asked for, so one thread at a time may ask, unless
 * query_grant_extent() was asked of every type and letter before. ERR_TOO_LARGE. */
MUST_USE err_code query_grant_new(const struct smart_grant *smart, const struct search_context *cx,
                                  struct arena *a, struct query_grant **out, struct err *e);

/* How much of a type the grant gives under all of these letters (SMART_*). type FHIR_TYPE_NONE: of
 * all types; QUERY_NOTHING: of none. grant NULL: QUERY_ALL. */
enum query_extent query_grant_extent(struct query_grant *grant, fhir_type type, unsigned letters);
/* Does it give this one resource, under all of these letters? deadline may be NULL. ERR_TIMEOUT,
 * ERR_CANCELLED. */
MUST_USE err_code query_grant_met(struct query_grant *grant, unsigned letters,
                                  struct query_deadline *deadline, const struct search_subject *s,
                                  bool *met, struct err *e);
