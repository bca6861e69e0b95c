/* params_private.h - what a call is given beside its path: parameters, and a body of some type.
 *
 *   params.c   parameters of the query, of a form, of Parameters
 *   body.c     what the body is taken for, by its Content-Type
 *   binary.c   content of a Binary, which comes and goes in its own type
 *
 * Floor: rest. */
#pragma once
#include "rest/call_private.h"

/* ---- params.c ---- */
/* Decode a query or form into pairs, appended to call->params. ERR_INVALID, ERR_TOO_LARGE. */
MUST_USE err_code rest_params_add(struct rest_call *call, sv encoded, struct err *e);
/* A copy of a list, with room for more behind it. NULL: the arena is full. */
struct rest_param *rest_params_copy(struct arena *a, const struct rest_param_list *l, size_t more);
sv rest_param(const struct rest_call *call, const char *name); /* the first of that name */
/* A value of nothing but blanks and commas. A read passes over its parameter, as FHIR says
 * (search.html#errors); a condition of a write refuses it. */
bool rest_says_nothing(sv value);
/* Before a read looks at its parameters: those that say nothing lose their names. */
MUST_USE err_code rest_read_names(struct rest_call *call, struct err *e);
/* The call's pairs, encoded and appended to out, but for page and those without a name. */
MUST_USE err_code rest_params_write(const struct rest_call *call, struct buf *out, struct err *e);
/* A date or dateTime of any precision that is no search parameter; `what` is its name. It begins
 * at *lo and ends before *hi; either may be NULL. ERR_INVALID. */
MUST_USE err_code rest_read_date(struct rest_call *call, const char *what, sv value, int64_t *lo,
                                 int64_t *hi, struct err *e);

/* ---- body.c ---- */
/* The primitive in value[x] of a parameter, as a query would say it; SV_NONE: there is none. */
sv rest_parameter_value(yyjson_val *parameter);
/* The text without the byte order mark that it may begin with. */
sv rest_without_mark(sv text);
/* A media type may say which version of FHIR it means: "application/fhir+json; fhirVersion=4.0".
 * True: ours, or it says nothing. */
bool rest_is_our_version(sv media_type);
bool rest_body_is_json(sv content_type);
/* Does the type leave open that the body is a resource? */
bool rest_body_may_be_resource(sv content_type);
/* There is a body, and it is to be read as JSON. ERR_MEDIA_TYPE, ERR_INVALID: it is empty. */
MUST_USE err_code rest_json_body(const struct rest_call *call, struct err *e);
/* Add the parameters of a posted form to the call's. No body adds none. ERR_MEDIA_TYPE. */
MUST_USE err_code rest_form_body(struct rest_call *call, struct err *e);
/* The same for an operation, which takes a Parameters resource too. */
MUST_USE err_code rest_parameters_body(struct rest_call *call, struct err *e);

/* ---- binary.c ---- */
/* May the answer be a Binary's content? Then binary.c answers for Accept. */
bool rest_binary_reads(const struct rest_call *call);
/* May the body be a Binary's content, in whatever type? */
bool rest_binary_writes(const struct rest_call *call);
/* Answer with the content of v when the call asks for that: *done. ERR_NOT_ACCEPTABLE;
 * ERR_UNPROCESSABLE: its data is no base64. */
MUST_USE err_code rest_binary_read(struct rest_call *call, const struct store_version *v,
                                   bool *done, struct err *e);
/* A body that is a Binary's content becomes that Binary, in made. ERR_MEDIA_TYPE, ERR_INVALID. */
MUST_USE err_code rest_binary_take(struct rest_call *call, struct buf *made, struct err *e);
