/* fn_private.h - the functions of FHIRPath, one C function each, as the table in functions.c names
 * them. Floor: fhirpath. */
#pragma once
#include "fhirpath/fhirpath_private.h"

/* What a function is called on, and its first argument, which are to be texts (text.c). *has: both
 * are there; what is not is empty. */
MUST_USE err_code fp_two_texts(struct fp_cx *cx, const struct fp_node *n, const struct fp_list *in,
                               sv *self, sv *arg, bool *has, struct err *e);

#define FN(name)                                                                            \
    err_code fn_##name(struct fp_cx *cx, const struct fp_node *n, const struct fp_list *in, \
                       struct fp_list *out, struct err *e)

/* filter.c: those that run an expression for each item */
FN(where);
FN(select);
FN(repeat);
FN(exists);
FN(all);
FN(aggregate);
FN(iif);
FN(sort);
FN(trace);
FN(coalesce);
FN(define_variable);
/* collection.c */
FN(empty);
FN(negation);
FN(count);
FN(distinct);
FN(is_distinct);
FN(all_true);
FN(any_true);
FN(all_false);
FN(any_false);
FN(subset_of);
FN(superset_of);
FN(single);
FN(first);
FN(last);
FN(tail);
FN(skip);
FN(take);
FN(intersect);
FN(exclude);
FN(union);
FN(combine);
/* convert.c */
FN(to);
FN(converts_to);
/* text.c */
FN(index_of);
FN(last_index_of);
FN(substring);
FN(starts_with);
FN(ends_with);
FN(contains);
FN(upper);
FN(lower);
FN(replace);
FN(length);
FN(to_chars);
FN(split);
FN(join);
FN(trim);
/* encode.c */
FN(encode);
FN(decode);
FN(escape);
FN(unescape);
/* regex.c */
FN(matches);
FN(matches_full);
FN(replace_matches);
/* math.c */
FN(abs);
FN(ceiling);
FN(floor);
FN(truncate);
FN(round);
FN(sqrt);
FN(exp);
FN(ln);
FN(log);
FN(power);
/* bounds.c */
FN(low_boundary);
FN(high_boundary);
FN(precision);
FN(comparable);
/* html.c */
FN(html_checks);
/* fhir.c */
FN(extension);
FN(has_value);
FN(get_value);
FN(resolve);
FN(type);
FN(is);
FN(as);
FN(of_type);
FN(children);
FN(descendants);
FN(conforms_to);
FN(check_modifiers);
FN(resource_key);
FN(reference_key);
FN(now);
FN(today);
FN(time_of_day);
