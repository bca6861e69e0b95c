#!/usr/bin/env python3
"""Writes params.inc of src/search: every search parameter of FHIR R4 that has an expression, for every type.

    tools/gen_search_params.py [--check] [FOLDER]

The expressions are a small part of FHIRPath; they are turned into plain JSON paths here, so that nothing has to
interpret FHIRPath while resources come in:

    name.given:string                      members, then the datatype of what stands there
    effectiveDateTime:dateTime             a choice element becomes one path per type
    subject:Reference>Patient              only references to that type
    telecom[system=phone]:ContactPoint     only elements with that member
    extension[url=...]:Extension           extensions of one URL
    entry[0].resource:Resource             the first item
    ^referenceSeq.chromosome:...           of a composite's part: from the resource, not from the base
    paths are separated by |; a composite is  base ; KIND paths ; KIND paths

Numbers are part of stored keys: a code keeps the number that it has in the present file.
Source: the SearchParameter and StructureDefinition resources of FHIR R4 (4.0.1), which ./dev fhir-data brings into
.deps/fhir-r4.
"""
import re
import sys

import generated

args = generated.arguments(__doc__)
HERE = generated.table("params.inc")

ELEMENTS = {}  # "Patient.contact" -> element definition
for sd in (generated.base_types(args.folder, "resource") +
           generated.base_types(args.folder, "complex-type", "primitive-type")):
    for el in sd.get("snapshot", {}).get("element", []):
        ELEMENTS.setdefault(el["path"], el)
TYPES = generated.resource_types(args.folder)


SUBTYPES = {"uri": ("canonical", "url", "oid", "uuid"), "string": ("code", "id", "markdown"),
            "integer": ("positiveInt", "unsignedInt"), "Quantity": ("Age", "Count", "Distance", "Duration")}


def cap(s):
    return s[0].upper() + s[1:]


def step(home, name):
    """Member `name` of the type or path `home`: list of (json name, home of what stands there, type)."""
    el = ELEMENTS.get(f"{home}.{name}")
    if el:
        if "contentReference" in el:
            path = el["contentReference"][1:]
            return [(name, path, "BackboneElement")]
        code = el["type"][0]["code"]
        if code.startswith("http"):
            code = "string" if home.endswith("id") else el["type"][0].get("extension", [{}])[0].get("valueUrl", "string")
        inline = code in ("BackboneElement", "Element")
        return [(name, f"{home}.{name}" if inline else code, code)]
    el = ELEMENTS.get(f"{home}.{name}[x]")
    if el:
        return [(name + cap(t["code"]), t["code"], t["code"]) for t in el["type"]]
    raise KeyError(f"{home}.{name}")


def walk(states, name, suffix=""):
    out = []
    for path, home in states:
        for js, nhome, _ in step(home, name):
            out.append((path + [js + suffix], nhome))
    return out


def only(states, t):
    t = {"DateTime": "dateTime"}.get(t, t)  # R4 has one expression that writes it so
    return [(p, h) for p, h in states if h == t or h in SUBTYPES.get(t, ())]


TOKEN = re.compile(r"\s*(?:(\.)|([A-Za-z]+)\(((?:[^()']|'[^']*'|\([^()]*\))*)\)|([A-Za-z]+)|(\[0\])|( as ))")


def compile_path(text, states):
    """One arm of a union -> list of (path, datatype or home, '>Type' or '')."""
    target = ""
    text = text.strip()
    m = re.fullmatch(r"\((.*)\)(\..*)?", text)
    if m and " as " in m[1]:
        base, t = m[1].split(" as ")
        text = f"{base.strip()}.as({t.strip()}){m[2] or ''}"
    elif " as " in text:
        base, t = text.split(" as ")
        text = f"{base.strip()}.as({t.strip()})"
    at = 0
    while at < len(text):
        m = TOKEN.match(text, at)
        if not m:
            raise ValueError(text)
        at = m.end()
        if m[1]:
            continue
        if m[4]:
            if m[4] == "$this":
                continue
            states = walk(states, m[4])
        elif m[5]:
            states = [(p[:-1] + [p[-1] + "[0]"], h) for p, h in states]
        elif m[2] in ("as", "ofType"):
            states = only(states, m[3].strip())
        elif m[2] == "where":
            r = re.fullmatch(r"resolve\(\) is ([A-Za-z]+)", m[3])
            w = re.fullmatch(r"([a-z]+)='([^']*)'", m[3])
            x = re.fullmatch(r"hasExtension\('([^']*)'\)", m[3])
            if r:
                target = ">" + r[1]
            elif w:
                states = [(p[:-1] + [f"{p[-1]}[{w[1]}={w[2]}]"], h) for p, h in states]
            elif x:
                states = [(p[:-1] + [f"{p[-1]}[has={x[1]}]"], h) for p, h in states]
            else:
                raise ValueError(text)
        elif m[2] == "extension":
            url = m[3].strip("'")
            states = [(p + [f"extension[url={url}]"], "Extension") for p, h in states]
        else:
            raise ValueError(text)
    return [(p, h, target) for p, h in states]


def paths(expression, base, root=None):
    out = []
    for arm in expression.split("|"):
        arm = arm.strip()
        if "deceased.exists()" in arm:
            out.append("deceasedBoolean:exists|deceasedDateTime:exists")
            continue
        inner = arm.lstrip("(")
        head = (re.match(r"[A-Za-z]+", inner) or [""])[0]
        if root is None and head in ELEMENTS:
            if head not in (base, "Resource", "DomainResource"):
                continue
            rest = arm.replace(head + ".", "", 1) if inner.startswith(head + ".") else ""
            states = [([], base)]
            if not rest:
                out.append(":" + base)
                continue
            found = compile_path(rest, states)
        elif root is None:  # InsurancePlan.name says "name | alias"
            found = compile_path(arm, [([], base)])
        else:
            if inner.startswith("Observation."):
                arm = arm.replace("Observation.", "", 1)
            if arm.startswith("%resource."):
                found = [(["^" + q[0]] + q[1:], h, g) for q, h, g in compile_path(arm[10:], [([], base)])]
            elif arm == "$this":
                found = [(["$this"], root, "")]
            else:
                found = compile_path(arm, [([], root)])
        for p, h, target in found:
            h = h if re.fullmatch(r"[A-Za-z]+", h) else "BackboneElement"
            out.append(".".join(p) + ":" + h + target)
    return "|".join(dict.fromkeys("|".join(out).split("|"))) if out else ""


params = generated.definitions(args.folder, "SearchParameter")
by_url = {p["url"]: p for p in params}
old = {}
if HERE.exists():
    for m in re.finditer(r'^PARAM\((\d+), "[^"]*", "([^"]*)"', HERE.read_text(), re.M):
        old[m[2]] = int(m[1])

rows, seen = [], set()
for p in params:
    if not p.get("expression") and p["code"] != "_text":
        continue
    if p["code"] in ("_text", "_content", "_query", "_filter"):
        continue
    for base in p.get("base", []):
        for t in TYPES if base in ("Resource", "DomainResource") else [base]:
            if (t, p["code"]) in seen:
                continue
            kind = p["type"].upper()
            targets = p.get("target", [])
            targets = "*" if len(targets) > 140 else ",".join(targets)
            if kind == "COMPOSITE":
                here, parts = "", []
                arms = [a.strip() for a in p["expression"].split("|") if re.match(r"\(*" + t + r"\b", a.strip())]
                bases = []
                for arm in arms:
                    rest = arm[len(t) + 1:]
                    states = [([], t)] if not rest else [(q, h) for q, h, _ in compile_path(rest, [([], t)])]
                    bases += states
                if not bases:
                    continue
                here = ",".join(".".join(q) if q else "$this" for q, h in bases)
                for c in p["component"]:
                    sub = by_url[c["definition"]]
                    text = "|".join(dict.fromkeys("|".join(paths(c["expression"], t, h) for q, h in bases).split("|")))
                    parts.append(f'{sub["type"].upper()} {text}')
                path = " ; ".join([here] + parts)
                targets = ",".join(by_url[c["definition"]]["code"] for c in p["component"])
            else:
                path = paths(p["expression"], t)
            if not path:
                print(f"no path for {t} {p['code']}: {p['expression']}", file=sys.stderr)
                continue
            seen.add((t, p["code"]))
            rows.append((t, p["code"], kind, targets, path, p["url"].rsplit("/", 1)[1]))

number = dict(old)
for code in sorted({r[1] for r in rows}):
    if code not in number:
        number[code] = max(number.values(), default=0) + 1
# what stands in every type is written once, for the type "*"
common = {}
for t, code, kind, targets, path, ident in rows:
    common.setdefault((code, kind, targets, path, ident), set()).add(t)
lines = ["/* Made by tools/gen_search_params.py from FHIR R4 (4.0.1); do not edit. Its head explains the paths. */",
         "/* number of the code, type (\"*\": all), code, kind, targets or component codes, paths, definition */"]
done = set()
for t, code, kind, targets, path, ident in sorted(rows, key=lambda r: (not r[1].startswith("_"), r[0], r[1])):
    key = (code, kind, targets, path, ident)
    if len(common[key]) == len(TYPES):
        if key in done:
            continue
        done.add(key)
        t = "*"
    lines.append(f'PARAM({number[code]}, "{t}", "{code}", {kind}, "{targets}",\n      "{path}", "{ident}")')
generated.done(args.check, {HERE: "\n".join(lines) + "\n"})
