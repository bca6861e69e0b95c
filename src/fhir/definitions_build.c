/* definitions_build.c - from the rows of elements.inc and bindings.inc to linked tables.
 *
 *   STRUCT(name, kind, abstract, base)              own elements and rules follow
 *   ELEM(name, min, max, flags, types, value set)   types "A|B"; "Reference(Patient,Group)" and
 *                                                   "canonical(Library)" have targets, "#Path" is a
 *                                                   contentReference, "*" is OPEN_TYPES
 *   RULE(key, "present !absent", text)
 *   VALUE_SET(name, url)   CODES(system, "code code ...") */
#include "fhir/definitions_private.h"

#include <pthread.h>

/* ---- the rows ---- */

/* Masks have 64 bits, indices of members eight (definitions.h). */
#define ELEMENTS_MAX 64u
#define MEMBERS_MAX  250u
#define TABLES_BYTES (64u << 20) /* more than twice what they take */

enum { MODIFIER = 1, SUMMARY = 2, ATTRIBUTE = 4 };

struct row {
    enum { ROW_STRUCT, ROW_ELEM, ROW_RULE } what;
    const char *name;  /* STRUCT, ELEM; RULE: its key */
    const char *types; /* ELEM; STRUCT: base; RULE: terms */
    const char *more;  /* ELEM: value set; RULE: text */
    uint8_t min, many; /* ELEM */
    uint8_t flags;     /* ELEM; STRUCT: is it abstract */
    uint8_t kind;      /* STRUCT */
};

#define DATATYPE FHIR_DATATYPE
#define BACKBONE FHIR_BACKBONE
#define RESOURCE FHIR_RESOURCE
#define MANY     2
#define STRUCT(n, k, abstract_, base_) \
    { .what = ROW_STRUCT, .name = (n), .types = (base_), .kind = (k), .flags = (abstract_) },
#define ELEM(n, low, high, f, t, v) \
    { .what = ROW_ELEM,             \
      .name = (n),                  \
      .types = (t),                 \
      .more = (v),                  \
      .min = (low),                 \
      .many = (high) == MANY,       \
      .flags = (f) },
#define RULE(k, terms, text) { .what = ROW_RULE, .name = (k), .types = (terms), .more = (text) },
#define OPEN_TYPES(t)
static const struct row rows[] = {
#include "fhir/elements.inc"
};
#undef STRUCT
#undef ELEM
#undef RULE
#undef OPEN_TYPES
#define STRUCT(n, k, abstract_, base_)
#define ELEM(n, low, high, f, t, v)
#define RULE(k, terms, text)
#define OPEN_TYPES(t) t
static const char open_types[] =
#include "fhir/elements.inc"
    ;
#undef STRUCT
#undef ELEM
#undef RULE
#undef OPEN_TYPES
#define N_ROWS (sizeof rows / sizeof rows[0])

struct code_row {
    const char *name, *url;     /* VALUE_SET */
    const char *system, *codes; /* CODES */
};
#define VALUE_SET(n, u) { .name = (n), .url = (u) },
#define CODES(s, c)     { .system = (s), .codes = (c) },
static const struct code_row code_rows[] = {
#include "fhir/bindings.inc"
};
#undef VALUE_SET
#undef CODES
#define N_CODE_ROWS (sizeof code_rows / sizeof code_rows[0])

/* ---- names and structures ---- */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct fhir_definitions defs;

/* Zeroed; the memory is that of the process, so running out of it is not reported. */
static void *make(size_t n, size_t size)
{
    void *p = arena_calloc(defs.mem, n ? n : 1, size);
    if (p == NULL)
        abort();
    return p;
}

static uint32_t mask_for(size_t n)
{
    uint32_t size = 4;
    while (size < 2 * n)
        size *= 2;
    return size - 1;
}

static fhir_role role_of(sv name)
{
    static const struct {
        const char *name;
        fhir_role role;
    } roles[] = {
        { "Element", FHIR_ROLE_ELEMENT },
        { "Extension", FHIR_ROLE_EXTENSION },
        { "Reference", FHIR_ROLE_REFERENCE },
        { "Coding", FHIR_ROLE_CODING },
        { "Period", FHIR_ROLE_PERIOD },
        { "CodeableConcept", FHIR_ROLE_CODEABLE_CONCEPT },
        { "Meta", FHIR_ROLE_META },
        { "Resource", FHIR_ROLE_ANY_RESOURCE },
        { "Attachment", FHIR_ROLE_ATTACHMENT },
        { "Bundle.entry", FHIR_ROLE_BUNDLE_ENTRY },
    };
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
        if (sv_eq_cstr(name, roles[i].name))
            return roles[i].role;
    return FHIR_ROLE_NONE;
}

/* Names first, so that types may stand anywhere in the file. */
static void name_structures(void)
{
    for (size_t r = 0; r < N_ROWS; r++)
        defs.n_structures += rows[r].what == ROW_STRUCT;
    defs.structures = make(defs.n_structures, sizeof *defs.structures);
    defs.row_of = make(defs.n_structures, sizeof *defs.row_of);
    defs.slot_mask = mask_for(defs.n_structures);
    defs.slots = make(defs.slot_mask + 1, sizeof *defs.slots);
    size_t n = 0;
    for (size_t r = 0; r < N_ROWS; r++) {
        if (rows[r].what != ROW_STRUCT)
            continue;
        struct fhir_structure *structure = &defs.structures[n];
        defs.row_of[n++] = (uint32_t)r;
        structure->name = sv_from(rows[r].name);
        structure->kind = (fhir_structure_kind)rows[r].kind;
        structure->abstract = rows[r].flags != 0;
        structure->role = role_of(structure->name);
        structure->type = fhir_type_find(structure->name);
        if (structure->type != FHIR_TYPE_NONE)
            defs.of_type[structure->type] = structure;
        uint32_t at = name_hash(name_key(structure->name), structure->name.len);
        while (defs.slots[at & defs.slot_mask])
            at++;
        defs.slots[at & defs.slot_mask] = (uint16_t)n;
    }
    for (size_t i = 0; i < n; i++)
        defs.structures[i].base =
            rows[defs.row_of[i]].types
                ? fhir_structure_named(&defs, sv_from(rows[defs.row_of[i]].types))
                : NULL;
}

/* ---- value sets ---- */

static void add_codes(struct fhir_value_set *value_set, const struct code_row *r)
{
    sv rest = sv_from(r->codes), text;
    while (sv_cut(&rest, ' ', &text)) {
        struct code *c = &value_set->codes[value_set->n_codes++];
        struct name_key k = name_key(text);
        *c = (struct code){ { k.a, k.b }, text, r->system };
        uint32_t at = name_hash(k, text.len);
        while (value_set->slots[at & value_set->slot_mask])
            at++;
        value_set->slots[at & value_set->slot_mask] = value_set->n_codes;
    }
}

static void build_value_sets(void)
{
    for (size_t r = 0; r < N_CODE_ROWS; r++)
        defs.n_value_sets += code_rows[r].name != NULL;
    defs.value_sets = make(defs.n_value_sets, sizeof *defs.value_sets);
    struct fhir_value_set *value_set = defs.value_sets;
    for (size_t r = 0; r < N_CODE_ROWS; value_set++) {
        *value_set = (struct fhir_value_set){ .name = code_rows[r].name, .url = code_rows[r].url };
        size_t first = ++r, n = 0;
        for (; r < N_CODE_ROWS && code_rows[r].name == NULL; r++) {
            n++;
            for (const char *p = code_rows[r].codes; *p; p++)
                n += *p == ' ';
        }
        value_set->codes = make(n, sizeof *value_set->codes);
        value_set->slot_mask = mask_for(n);
        value_set->slots = make(value_set->slot_mask + 1, sizeof *value_set->slots);
        for (size_t i = first; i < r; i++)
            add_codes(value_set, &code_rows[i]);
    }
}

static const struct fhir_value_set *value_set_named(const char *name)
{
    if (name == NULL)
        return NULL;
    for (size_t i = 0; i < defs.n_value_sets; i++)
        if (strcmp(defs.value_sets[i].name, name) == 0)
            return &defs.value_sets[i];
    /* the generator writes both files */
    abort();
}

/* ---- elements and members ---- */

/* Element rows of the structure, the base's first. */
static size_t collect(const struct fhir_structure *structure, const struct row *out[ELEMENTS_MAX])
{
    size_t n = structure->base ? collect(structure->base, out) : 0;
    for (size_t r = defs.row_of[structure - defs.structures] + 1;
         r < N_ROWS && rows[r].what != ROW_STRUCT; r++)
        if (rows[r].what == ROW_ELEM && n < ELEMENTS_MAX)
            out[n++] = &rows[r];
    return n;
}

static const char *types_of(const struct row *r)
{
    return strcmp(r->types, "*") == 0 ? open_types : r->types;
}

static size_t count_types(const struct row *r)
{
    size_t n = 1;
    for (const char *p = types_of(r); *p; p++)
        n += *p == '|';
    return n;
}

/* "Patient,Group" as bits. */
static const uint64_t *targets_of(sv list)
{
    uint64_t *bits = make(FHIR_TARGET_WORDS, sizeof *bits);
    sv name;
    while (sv_cut(&list, ',', &name)) {
        fhir_type t = fhir_type_find(name);
        if (t == FHIR_TYPE_NONE)
            abort();
        bits[t / 64] |= 1ull << t % 64;
    }
    return bits;
}

static sv choice_name(sv element, sv type)
{
    sv name = arena_fmt(defs.mem, "%.*s%.*s", SV_FMT(element), SV_FMT(type));
    /* to upper case */
    ((char *)(uintptr_t)name.ptr)[element.len] &= (char)~0x20;
    return name;
}

/* The member of element e for one type, "Reference(Patient,Group)". */
static void build_member(struct fhir_member *member, const struct fhir_element *e, sv spec)
{
    sv inside = sv_tail(spec, sv_find(spec, '(') + 1);
    sv code = sv_head(spec, sv_find(spec, '('));
    /* without its ')' */
    if (inside.len)
        inside.len--;
    if (code.ptr[0] == '#')
        code = sv_tail(code, 1);
    member->element = e;
    member->name = e->choice ? choice_name(e->name, code) : e->name;
    struct name_key k = name_key(member->name);
    member->key[0] = k.a;
    member->key[1] = k.b;
    member->primitive = fhir_primitive_find(code);
    if (member->primitive == FHIR_NOT_PRIMITIVE &&
        (member->type = fhir_structure_named(&defs, code)) == NULL)
        abort();
    member->simple_quantity = sv_eq(inside, SV_LIT("SimpleQuantity"));
    if (inside.len && sv_eq(code, SV_LIT("Reference")))
        member->targets = targets_of(inside);
}

static void build_elements(struct fhir_structure *structure)
{
    const struct row *own[ELEMENTS_MAX];
    size_t n = collect(structure, own), n_members = 0;
    for (size_t i = 0; i < n; i++)
        n_members += count_types(own[i]);
    assert(n_members <= MEMBERS_MAX);
    struct fhir_element *elements = make(n, sizeof *elements);
    struct fhir_member *members = make(n_members, sizeof *members), *m = members;
    for (size_t i = 0; i < n; i++) {
        const struct row *r = own[i];
        struct fhir_element *e = &elements[i];
        sv name = sv_from(r->name), rest = sv_from(types_of(r)), spec;
        e->choice = sv_ends(name, SV_LIT("[x]"));
        e->name = sv_head(name, name.len - (e->choice ? 3 : 0));
        e->owner = structure;
        e->members = m;
        e->value_set = value_set_named(r->more);
        e->index = (uint8_t)i;
        e->required = r->min != 0;
        e->many = r->many;
        e->modifier = (r->flags & MODIFIER) != 0;
        e->summary = (r->flags & SUMMARY) != 0;
        e->attribute = (r->flags & ATTRIBUTE) != 0;
        structure->required |= (uint64_t)e->required << i;
        structure->modifier |= (uint64_t)e->modifier << i;
        structure->summary |= (uint64_t)e->summary << i;
        while (sv_cut(&rest, '|', &spec)) {
            m->index = (uint8_t)(m - members);
            build_member(m++, e, spec);
            e->n_members++;
        }
    }
    structure->elements = elements;
    structure->n_elements = (uint8_t)n;
    structure->members = members;
    structure->n_members = (uint8_t)n_members;
}

static void build_lookup(struct fhir_structure *structure)
{
    structure->slot_mask = mask_for(structure->n_members);
    uint8_t *slots = make(structure->slot_mask + 1, 1);
    for (uint8_t i = 0; i < structure->n_members; i++) {
        const struct fhir_member *member = &structure->members[i];
        uint32_t at =
            name_hash((struct name_key){ member->key[0], member->key[1] }, member->name.len);
        while (slots[at & structure->slot_mask])
            at++;
        slots[at & structure->slot_mask] = (uint8_t)(i + 1);
    }
    structure->slots = slots;
}

static uint64_t element_bit(const struct fhir_structure *structure, sv name)
{
    for (uint8_t i = 0; i < structure->n_elements; i++)
        if (sv_eq(structure->elements[i].name, name))
            return 1ull << i;
    abort();
}

/* A structure's rules are all of them: its base's are in its own rows again. */
static void build_rules(struct fhir_structure *structure)
{
    size_t first = defs.row_of[structure - defs.structures] + 1, n = 0;
    for (size_t r = first; r < N_ROWS && rows[r].what != ROW_STRUCT; r++)
        n += rows[r].what == ROW_RULE;
    struct fhir_rule *rules = make(n, sizeof *rules);
    structure->rules = rules;
    structure->n_rules = (uint8_t)n;
    for (size_t r = first; r < N_ROWS && rows[r].what != ROW_STRUCT; r++) {
        if (rows[r].what != ROW_RULE)
            continue;
        sv rest = sv_from(rows[r].types), term;
        rules->key = rows[r].name;
        rules->text = rows[r].more;
        while (sv_cut(&rest, ' ', &term)) {
            if (term.ptr[0] == '!')
                rules->absent |= element_bit(structure, sv_tail(term, 1));
            else
                rules->present |= element_bit(structure, term);
        }
        rules++;
    }
}

static void build(void)
{
    defs.mem = arena_new(TABLES_BYTES);
    name_structures();
    build_value_sets();
    for (size_t i = 0; i < defs.n_structures; i++) {
        build_elements(&defs.structures[i]);
        build_lookup(&defs.structures[i]);
        build_rules(&defs.structures[i]);
    }
}

const struct fhir_definitions *fhir_definitions(void)
{
    if (pthread_once(&once, build) != 0)
        abort();
    return &defs;
}
