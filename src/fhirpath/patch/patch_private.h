/* patch_private.h - what the rooms of a FHIRPath Patch share.
 *
 *   operation.c  Parameters become operations
 *   value.c      the part "value" becomes a member of the resource
 *   place.c      where a path leads: a member of an object, or an item of its list
 *   list.c       values and their twins in a list, and members of an object
 *   apply.c      the five operations, one after the other
 *
 * Two trees are in hand: `from`, which does not change and is what a path is run over, and `doc`,
 * which an operation changes. They are the same resource when an operation begins, so a JSON
 * Pointer found in the one leads to the same place in the other. */
#pragma once
#include "fhirpath/fhirpath_private.h"
#include "fhirpath/patch.h"

typedef enum { PATCH_ADD, PATCH_INSERT, PATCH_DELETE, PATCH_REPLACE, PATCH_MOVE } patch_type;

struct patch_op {
    size_t number; /* from 1 */
    patch_type type;
    sv path, name;
    yyjson_val *value; /* the part; NULL where the type has none */
    uint64_t index, source, destination;
};

struct patch {
    struct arena *turn; /* of one operation: from the mark on it goes in front of the next */
    arena_mark mark;    /* behind the copy that `from` is the root of */
    bool changed;       /* `doc` is no longer what `from` shows */
    const struct fhirpath_patch_limits *limits;
    yyjson_mut_doc *doc;
    yyjson_val *from; /* its root */
    uint64_t steps;   /* left, of all paths */
    struct patch_op op;
};

/* A member of an object, or an item of it when it is a list. */
struct patch_place {
    sv owner;                               /* JSON Pointer of the object; "" is the resource */
    sv key;                                 /* "birthDate": never with a bar */
    const struct fhir_structure *structure; /* of the object, NULL: not known */
    const struct fhir_member *member;       /* NULL: the structure has none of that name */
    bool listed;
    bool twin; /* it is the twin alone: {"extension": ...} of a primitive */
    size_t index;
};

/* What goes in; not both are NULL. */
struct patch_value {
    const struct fhir_member *member;
    yyjson_mut_val *value, *twin;
};

/* ERR_INVALID and ERR_UNPROCESSABLE: "Operation 2 of the patch (add)...". */
err_code patch_malformed(const struct patch_op *op, const char *why, struct err *e);
err_code patch_cannot(const struct patch_op *op, const char *why, struct err *e);
err_code patch_too_large(const struct patch_op *op, struct err *e);

/* The parameter that p->op.number counts, into p->op. */
MUST_USE err_code patch_operation(struct patch *p, yyjson_val *parameter, struct err *e);
/* The one value[x] of a part, its twin and the name of its type as value[x] has it ("Quantity");
 * all empty when there is none. ERR_INVALID: the part has what no part has. */
struct patch_part {
    sv name, suffix;
    const struct fhir_member *type; /* of value[x] */
    yyjson_val *value, *twin, *parts, *resource;
};
MUST_USE err_code patch_part_read(const struct patch_op *op, yyjson_val *part,
                                  struct patch_part *out, struct err *e);

/* Part as the element `name` of a structure. */
MUST_USE err_code patch_value_make(struct patch *p, const struct fhir_structure *structure, sv name,
                                   yyjson_val *part, struct patch_value *out, struct err *e);

MUST_USE err_code patch_place_of(struct patch *p, sv pointer, struct patch_place *out,
                                 struct err *e);
/* Of an item that a path found; ERR_UNPROCESSABLE when it is none of the resource's elements. */
MUST_USE err_code patch_pointer_of(struct patch *p, const struct fhirpath_item *item, sv *out,
                                   struct err *e);

/* The object of doc that a place is in. */
yyjson_mut_val *patch_owner(const struct patch *p, sv pointer);
/* How many items a list has, twins counted; false: what stands there is no list. */
bool patch_list_len(yyjson_mut_val *owner, sv key, size_t *n);
/* Put into a list at index, or in place of what is at index. */
MUST_USE err_code patch_list_put(struct patch *p, yyjson_mut_val *owner, sv key, size_t index,
                                 bool instead, const struct patch_value *v, struct err *e);
MUST_USE err_code patch_list_move(struct patch *p, yyjson_mut_val *owner, sv key, size_t from,
                                  size_t to, struct err *e);
/* Set a member that is no list. was: the key that it has now, empty for none; in its place. */
MUST_USE err_code patch_member_set(struct patch *p, yyjson_mut_val *owner, sv was, sv key,
                                   const struct patch_value *v, struct err *e);
/* Take out of doc what stands at a place. */
MUST_USE err_code patch_remove(struct patch *p, const struct patch_place *place, struct err *e);
/* Is a member or its twin there? */
bool patch_is_there(yyjson_mut_val *owner, sv key);
