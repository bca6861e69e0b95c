#!/usr/bin/env python3
"""Writes elements.inc and bindings.inc of src/fhir: what FHIR R4 says of every element.

    tools/gen_fhir_definitions.py [--check] [FOLDER]

elements.inc: one STRUCT row per data type, resource type and backbone element, its own ELEM rows below it (those
of its base are not repeated; this script checks that they are the same), then its RULE rows. bindings.inc: the
value sets of required bindings, with the codes that their definitions come to. The rows are described in
src/fhir/definitions_build.c, which reads them.
Source: the StructureDefinition, ValueSet and CodeSystem resources of FHIR R4 (4.0.1), which ./dev fhir-data brings into
.deps/fhir-r4."""
import itertools
import re

import generated

args = generated.arguments(__doc__)
MADE = "/* Made by tools/gen_fhir_definitions.py from the definitions of FHIR R4 (4.0.1); do not edit. */"
PROFILE = "http://hl7.org/fhir/StructureDefinition/"
FHIR_TYPE = PROFILE + "structuredefinition-fhir-type"
WIDTH = 110


def quote(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("??", "?\\?") + '"'


def lines_of(words, between):
    """Words as string literals of about WIDTH characters that C puts together again."""
    out, line = [], ""
    for word in words:
        piece = (between if out or line else "") + word
        if line and len(line) + len(piece) > WIDTH:
            out.append(line)
            line = ""
        line += piece
    return "\n    ".join(quote(line) for line in out + [line])


definitions = {d["type"]: d for kinds in (("complex-type", "primitive-type"), ("resource",))
               for d in generated.base_types(args.folder, *kinds)}
complex_types = {n: d for n, d in definitions.items() if d["kind"] != "primitive-type"}

# ---- elements ----


def type_of(path, entry):
    """'Reference(Patient,Group)', 'canonical(Library)', 'Quantity(SimpleQuantity)', 'string', ..."""
    code = entry["code"]
    if code.startswith("http://hl7.org/fhirpath/"):
        if path.split(".")[0] in resources and path.count(".") == 1:
            return "id"  # Resource.id; the published definition says string, the specification's text says id
        code = next(x["valueUrl"] for x in entry["extension"] if x["url"] == FHIR_TYPE)
    only = [p.removeprefix(PROFILE) for p in entry.get("targetProfile", []) + entry.get("profile", [])]
    if only == ["Resource"]:
        only = []
    return code + (f"({','.join(only)})" if only else "")


def is_structure(element):
    return [t["code"] for t in element.get("type", [])] in (["BackboneElement"], ["Element"])


resources = {n for n, d in definitions.items() if d["kind"] == "resource"}
structures = {}  # name -> (kind, base, [(element name, element)], [constraints])
for name, d in complex_types.items():
    base = d.get("baseDefinition", "").removeprefix(PROFILE)
    kind = "RESOURCE" if d["kind"] == "resource" else "DATATYPE"
    for e in d["snapshot"]["element"]:
        assert "sliceName" not in e and e["max"] in ("1", "*") and e["min"] in (0, 1) or "." not in e["path"]
        if "." not in e["path"]:
            structures[name] = (kind, base, [], e.get("constraint", []))
            continue
        owner, child = e["path"].rsplit(".", 1)
        structures[owner][2].append((child, e))
        if is_structure(e) and e["path"].count(".") >= 1 and any(
                x["path"].startswith(e["path"] + ".") for x in d["snapshot"]["element"]):
            structures[e["path"]] = ("BACKBONE", e["type"][0]["code"], [], e.get("constraint", []))

open_types = "|".join(type_of(e["path"], t) for child, e in structures["Extension"][2] if child == "value[x]"
                      for t in e["type"])


def row_of(child, e):
    if "contentReference" in e:
        types = e["contentReference"]
    elif e["path"] in structures:
        types = e["path"]
    else:
        types = "|".join(type_of(e["path"], t) for t in e["type"])
        types = "*" if types == open_types else types
    flags = [flag for flag, on in (("MODIFIER", e.get("isModifier")), ("SUMMARY", e.get("isSummary")),
                                   ("ATTRIBUTE", e.get("representation") in (["xmlAttr"], ["xhtml"])
                                    or types == "xhtml")) if on]
    binding = e.get("binding", {})
    value_set = binding["valueSet"].split("|")[0] if binding.get("strength") == "required" else None
    return (child, e["min"], "MANY" if e["max"] == "*" else "1", " | ".join(flags) or "0", types, value_set)


rows = {name: [row_of(child, e) for child, e in s[2]] for name, s in structures.items()}


def inherited(base):
    return inherited(structures[base][1]) + own(base) if base else []


def own(name):
    """The rows that are not the base's; the base's come first, unchanged."""
    have = inherited(structures[name][1])
    assert rows[name][:len(have)] == have, name
    return rows[name][len(have):]


# ---- rules: the constraints that only ask which children are there ----

TOKEN = re.compile(r"\s*(?:([a-zA-Z]+)\.(exists|empty)\(\)(\.not\(\))?|(\(|\)|!=|=|\b(?:and|or|xor|implies)\b))")


class Rule:
    """Boolean expressions over child.exists() and child.empty(); ValueError on any other."""

    def __init__(self, expression, children):
        self.children, self.names, self.tokens = children, [], []
        at = 0
        while expression[at:].strip():
            m = TOKEN.match(expression, at)
            if not m:
                raise ValueError(expression)
            at = m.end()
            if m[1]:
                if m[1] not in children:
                    raise ValueError(expression)
                if m[1] not in self.names:
                    self.names.append(m[1])
                self.tokens.append((self.names.index(m[1]), (m[2] == "exists") != bool(m[3])))
            else:
                self.tokens.append(m[4])

    def holds(self, present):
        tokens = iter(self.tokens + [None])
        current = next(tokens)

        def step():
            nonlocal current
            was, current = current, next(tokens, None)
            return was

        def atom():
            t = step()
            if t == "(":
                value = level(0)
                if step() != ")":
                    raise ValueError("bracket")
                return value
            if not isinstance(t, tuple):
                raise ValueError(t)
            return present[t[0]] == t[1]

        def level(n):  # FHIRPath's precedence, loosest first
            table = [("implies",), ("or", "xor"), ("and",), ("=", "!=")]
            if n == len(table):
                return atom()
            value = level(n + 1)
            while current in table[n] and current is not None:
                op, right = step(), level(n + 1)
                value = {"implies": not value or right, "or": value or right, "and": value and right,
                         "xor": value != right, "!=": value != right, "=": value == right}[op]
            return value

        value = level(0)
        if current is not None:
            raise ValueError(current)
        return value

    def violations(self):
        """Minimal terms, each a dict name -> must be there or not, of the ways to break the rule."""
        n = len(self.names)
        bad = {p for p in itertools.product((False, True), repeat=n) if not self.holds(p)}
        terms = [t for t in itertools.product((False, True, None), repeat=n)
                 if all(p in bad for p in itertools.product(*[(False, True) if x is None else (x,) for x in t]))]
        covers = {t: {p for p in bad if all(x is None or x == y for x, y in zip(t, p))} for t in terms}
        left, chosen = set(bad), []
        while left:
            best = max(terms, key=lambda t: (len(covers[t] & left), t.count(None)))
            chosen.append(best)
            left -= covers[best]
        return [" ".join(("" if x else "!") + name for name, x in zip(self.names, t) if x is not None) for t in chosen]


def rules_of(name):
    children = {row[0].removesuffix("[x]") for row in rows[name]}
    seen = set()
    for c in structures[name][3]:
        if c["severity"] != "error" or c["key"] in seen or c["key"].split("-")[0] in ("ele", "dom"):
            continue
        seen.add(c["key"])
        try:
            terms = Rule(c["expression"], children).violations()
        except ValueError:
            continue
        for term in terms:
            yield c["key"], c["human"].strip().rstrip("."), term


# ---- value sets ----

class NotEnumerable(Exception):
    """A value set whose codes the definitions do not list; the text says why."""


value_set_of = {d["url"]: d for d in generated.definitions(args.folder, "ValueSet")}
code_system_of = {d["url"]: d for d in generated.definitions(args.folder, "CodeSystem")}


def concepts(system):
    """Every code of a code system, each before those below it."""
    definition = code_system_of.get(system)
    if definition is None or definition["content"] != "complete":
        raise NotEnumerable(system)

    def below(listed):
        for concept in listed:
            yield concept["code"]
            yield from below(concept.get("concept", []))
    return below(definition["concept"])


def selected(part):
    """The (system, code) of one part of a compose: listed, a whole system's, or those that value sets have in common."""
    assert "filter" not in part, part  # no required binding of R4 has any
    sets = [codes_of(url.split("|")[0]) for url in part.get("valueSet", [])]
    if "system" in part:
        listed = [c["code"] for c in part["concept"]] if "concept" in part else concepts(part["system"])
        sets.insert(0, [(part["system"], code) for code in listed])
    return [code for code in sets[0] if all(code in other for other in sets[1:])]


def codes_of(url):
    if url not in value_set_of:
        raise NotEnumerable("value set not in package")
    compose = value_set_of[url]["compose"]
    excluded = {code for part in compose.get("exclude", []) for code in selected(part)}
    included = [code for part in compose["include"] for code in selected(part)]
    return [code for code in dict.fromkeys(included) if code not in excluded]


# ---- output ----

used = {row[5] for name in structures for row in own(name) if row[5]}
value_sets = {}
for url in used:
    short = url.rsplit("/", 1)[1]
    assert short not in value_sets, short
    value_sets[short] = url
short_of = {url: short for short, url in value_sets.items()}

order = sorted(complex_types, key=lambda n: (structures[n][0] == "RESOURCE", n))
elements = [MADE, f"OPEN_TYPES({lines_of(open_types.split('|'), '|')})"]
for name in order:
    for owner in [name] + [s for s in structures if s.startswith(name + ".")]:
        kind, base, _, _ = structures[owner]
        members = 0
        for row in rows[owner]:
            kinds = open_types if row[4] == "*" else row[4]
            members += kinds.count("|") + 1 if row[0].endswith("[x]") else 1
            assert row[0].endswith("[x]") or "|" not in kinds, row
        assert len(rows[owner]) <= 64 and members <= 250, (owner, len(rows[owner]), members)
        abstract = "true" if complex_types.get(owner, {}).get("abstract") else "false"
        elements.append(f"STRUCT({quote(owner)}, {kind}, {abstract}, {quote(base) if base else 'NULL'})")
        for child, low, high, flags, types, value_set in own(owner):
            binding = quote(short_of[value_set]) if value_set else "NULL"
            text = f"ELEM({quote(child)}, {low}, {high}, {flags}, {quote(types)}, {binding})"
            if len(text) > WIDTH + 20:
                text = (f"ELEM({quote(child)}, {low}, {high}, {flags},\n    "
                        f"{lines_of(re.split(r'(?<=[|,])', types), '')}, {binding})")
            elements.append(text)
        for key, human, term in rules_of(owner):
            elements.append(f"RULE({quote(key)}, {quote(term)},\n    {quote(human)})")

bindings = [MADE]
for short, url in sorted(value_sets.items()):
    bindings.append(f"VALUE_SET({quote(short)}, {quote(url)})")
    try:
        codes = codes_of(url)
    except NotEnumerable as why:
        bindings.append(f"/* not enumerable: {why} */")
        continue
    for system in sorted({system for system, _ in codes}):
        words = [code for of, code in codes if of == system]
        assert not any(" " in code for code in words)
        bindings.append(f"CODES({quote(system)},\n    {lines_of(words, ' ')})")
generated.done(args.check, {generated.table("elements.inc"): "\n".join(elements) + "\n",
                            generated.table("bindings.inc"): "\n".join(bindings) + "\n"})
