"""A brute-force matcher of FHIR R4 search, written from the specification's text (search.html) and nothing else:
every resource is looked at for every query. Slow, plain, and independent of the C code.

Where the specification leaves a choice, docs/search.md says which one is meant; the same choice stands here.
"""
import datetime
import decimal
import json
import re
import unicodedata
from decimal import Decimal

decimal.getcontext().prec = 5000  # sums are exact
INF = float("inf")
DATATYPES = {"Quantity", "CodeableConcept", "String", "Boolean", "Integer", "Range", "Ratio", "SampledData", "Time",
             "DateTime", "Period", "Date", "Reference", "Age", "Timing", "Instant", "Uri", "Canonical", "Coding",
             "Decimal", "Attachment", "Identifier", "Money", "Duration", "PositiveInt", "Code", "Url", "Expression"}
SUBTYPES = {"uri": ("canonical", "url", "uuid", "oid"), "string": ("code", "id", "markdown"),
            "Quantity": ("age", "duration", "count", "distance")}
COMMON = {"_id": ("token", "Resource.id"), "_lastUpdated": ("date", "Resource.meta.lastUpdated"),
          "_tag": ("token", "Resource.meta.tag"), "_profile": ("uri", "Resource.meta.profile"),
          "_security": ("token", "Resource.meta.security"), "_source": ("uri", "Resource.meta.source")}
# A part of the official definitions, so that the test can do without the file of all of them
SOME = {
    "Patient": {
        "name": ("string", "Patient.name"), "family": ("string", "Patient.name.family"),
        "given": ("string", "Patient.name.given"), "gender": ("token", "Patient.gender"),
        "birthdate": ("date", "Patient.birthDate"), "identifier": ("token", "Patient.identifier"),
        "active": ("token", "Patient.active"), "address": ("string", "Patient.address"),
        "address-city": ("string", "Patient.address.city"), "telecom": ("token", "Patient.telecom"),
        "phone": ("token", "Patient.telecom.where(system='phone')"),
        "email": ("token", "Patient.telecom.where(system='email')"),
        "general-practitioner": ("reference", "Patient.generalPractitioner"),
        "organization": ("reference", "Patient.managingOrganization"),
        "death-date": ("date", "(Patient.deceased as dateTime)"),
        "language": ("token", "Patient.communication.language"), "link": ("reference", "Patient.link.other"),
    },
    "Observation": {
        "code": ("token", "Observation.code"), "status": ("token", "Observation.status"),
        "category": ("token", "Observation.category"), "subject": ("reference", "Observation.subject"),
        "patient": ("reference", "Observation.subject.where(resolve() is Patient)"),
        "encounter": ("reference", "Observation.encounter"), "performer": ("reference", "Observation.performer"),
        "date": ("date", "Observation.effective"), "value-quantity":
            ("quantity", "(Observation.value as Quantity) | (Observation.value as SampledData)"),
        "value-concept": ("token", "(Observation.value as CodeableConcept)"),
        "value-date": ("date", "(Observation.value as dateTime) | (Observation.value as Period)"),
        "value-string": ("string", "(Observation.value as string) | (Observation.value as CodeableConcept).text"),
        "component-code": ("token", "Observation.component.code"),
        "combo-code": ("token", "Observation.code | Observation.component.code"),
        "has-member": ("reference", "Observation.hasMember"), "derived-from": ("reference", "Observation.derivedFrom"),
        "code-value-quantity": ("composite", "Observation", [("token", "code"), ("quantity", "value.as(Quantity)")]),
        "component-code-value-quantity":
            ("composite", "Observation.component", [("token", "code"), ("quantity", "value.as(Quantity)")]),
        "combo-code-value-quantity": ("composite", "Observation | Observation.component",
                                      [("token", "code"), ("quantity", "value.as(Quantity)")]),
    },
    "Condition": {
        "code": ("token", "Condition.code"), "clinical-status": ("token", "Condition.clinicalStatus"),
        "subject": ("reference", "Condition.subject"), "encounter": ("reference", "Condition.encounter"),
        "patient": ("reference", "Condition.subject.where(resolve() is Patient)"),
        "onset-date": ("date", "Condition.onset.as(dateTime) | Condition.onset.as(Period)"),
        "onset-age": ("quantity", "Condition.onset.as(Age) | Condition.onset.as(Range)"),
        "recorded-date": ("date", "Condition.recordedDate"),
    },
    "Encounter": {
        "class": ("token", "Encounter.class"), "status": ("token", "Encounter.status"),
        "subject": ("reference", "Encounter.subject"), "date": ("date", "Encounter.period"),
        "patient": ("reference", "Encounter.subject.where(resolve() is Patient)"),
        "service-provider": ("reference", "Encounter.serviceProvider"),
        "part-of": ("reference", "Encounter.partOf"), "type": ("token", "Encounter.type"),
    },
    "Practitioner": {"name": ("string", "Practitioner.name"), "identifier": ("token", "Practitioner.identifier"),
                     "family": ("string", "Practitioner.name.family"), "gender": ("token", "Practitioner.gender")},
    "Organization": {"name": ("string", "Organization.name | Organization.alias"),
                     "partof": ("reference", "Organization.partOf"), "type": ("token", "Organization.type"),
                     "address": ("string", "Organization.address")},
    "RiskAssessment": {"probability": ("number", "RiskAssessment.prediction.probability"),
                       "subject": ("reference", "RiskAssessment.subject"),
                       "date": ("date", "(RiskAssessment.occurrence as dateTime)")},
    "ValueSet": {"url": ("uri", "ValueSet.url"), "version": ("token", "ValueSet.version"),
                 "title": ("string", "ValueSet.title"), "name": ("string", "ValueSet.name")},
    "QuestionnaireResponse": {"questionnaire": ("reference", "QuestionnaireResponse.questionnaire"),
                              "authored": ("date", "QuestionnaireResponse.authored"),
                              "subject": ("reference", "QuestionnaireResponse.subject")},
    "ServiceRequest": {"occurrence": ("date", "ServiceRequest.occurrence"), "status": ("token", "ServiceRequest.status"),
                       "code": ("token", "ServiceRequest.code"), "subject": ("reference", "ServiceRequest.subject")},
    "Claim": {"patient": ("reference", "Claim.patient"), "created": ("date", "Claim.created"),
              "use": ("token", "Claim.use"), "priority": ("token", "Claim.priority")},
    "MedicationRequest": {
        "code": ("token", "(MedicationRequest.medication as CodeableConcept)"),
        "authoredon": ("date", "MedicationRequest.authoredOn"), "intent": ("token", "MedicationRequest.intent"),
        "patient": ("reference", "MedicationRequest.subject.where(resolve() is Patient)"),
        "requester": ("reference", "MedicationRequest.requester")},
}
# Left out: resources as values, a calculated value, and values that take more than an expression
SPECIAL = {("Bundle", "composition"), ("Bundle", "message"), ("Patient", "deceased"), ("Patient", "age"),
           ("Location", "near"), ("QuestionnaireResponse", "item-subject")}


def all_parameters(path):
    """Every parameter with an expression, of the official file."""
    definitions = [json.loads(line) for line in open(path, encoding="utf-8")]
    by_url = {d["url"]: d for d in definitions}
    table = {}
    for d in definitions:
        if not d.get("expression") or d["type"] == "special" or d["code"].startswith("_"):
            continue
        for base in d["base"]:
            if (base, d["code"]) in SPECIAL or base in ("Resource", "DomainResource"):
                continue
            if d["type"] == "composite":
                parts = [(by_url[c["definition"]]["type"], c["expression"]) for c in d["component"]]
                if d["code"] == "relationship":  # its two components stand in the wrong order in R4
                    parts = [("token", "code"), ("reference", "target")]
                if "%resource" in str(parts):
                    continue
                table.setdefault(base, {})[d["code"]] = ("composite", d["expression"], parts)
            else:
                table.setdefault(base, {})[d["code"]] = (d["type"], d["expression"])
    return table


# ---- FHIRPath, as far as search parameters use it ----

class Element:
    """An element with the datatype that its choice names, if it is a choice."""

    def __init__(self, value, datatype=None):
        self.value, self.datatype = value, datatype


def children(element, name):
    value = element.value
    if not isinstance(value, dict):
        return []
    if name in value:
        found = [(value[name], None)]
    else:
        found = [(v, k[len(name):]) for k, v in value.items()
                 if k.startswith(name) and k[len(name):] in DATATYPES]
    return [Element(x, t) for v, t in found for x in (v if isinstance(v, list) else [v]) if x is not None]


def is_type(element, name):
    if isinstance(element.value, dict) and "resourceType" in element.value:
        return element.value["resourceType"] == name
    if element.datatype:
        return element.datatype.lower() in {name.lower(), *SUBTYPES.get(name, ())}
    return True  # not a choice: the definitions cast what it is already


def split_top(text, separator):
    parts, depth, at = [], 0, 0
    for i, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if c == separator and depth == 0:
            parts.append(text[at:i])
            at = i + 1
    return [p.strip() for p in parts + [text[at:]]]


def leads_to(e, type, holder):
    """resolve() is Type: by what the reference says, or by the contained resource it leads to."""
    text = str(e.value.get("reference", "") if isinstance(e.value, dict) else e.value)
    inside = contained(holder, text)
    return f"{type}/" in text or (inside is not None and inside["resourceType"] == type)


def evaluate(expression, roots, resource_type, holder=None):
    """Elements that an expression selects from roots. holder: whose contained resources resolve() knows."""
    expression = expression.strip()
    arms = split_top(expression, "|")
    if len(arms) > 1:
        seen, out = set(), []
        for arm in arms:
            for e in evaluate(arm, roots, resource_type, holder):
                if id(e.value) not in seen or not isinstance(e.value, dict):
                    seen.add(id(e.value))
                    out.append(e)
        return out
    here, first = roots, True
    for step in split_top(expression, "."):
        if first and step.startswith("("):
            inner = step[1:-1]
            cast = re.fullmatch(r"(.*) as (\w+)", inner)
            here = evaluate(cast[1] if cast else inner, roots, resource_type, holder)
            if cast:
                here = [e for e in here if is_type(e, cast[2])]
        elif first and step[0].isupper():
            if step not in (resource_type, "Resource", "DomainResource"):
                return []
        elif m := re.fullmatch(r"(?:as|ofType)\((\w+)\)", step):
            here = [e for e in here if is_type(e, m[1])]
        elif m := re.fullmatch(r"where\(resolve\(\) is (\w+)\)", step):
            here = [e for e in here if leads_to(e, m[1], holder)]
        elif m := re.fullmatch(r"where\((\w+)='([^']*)'\)", step):
            here = [e for e in here if e.value.get(m[1]) == m[2]]
        elif m := re.fullmatch(r"extension\('([^']*)'\)", step):
            here = [c for e in here for x in children(e, "extension") if x.value.get("url") == m[1]
                    for c in children(x, "value")]
        else:
            cast = re.fullmatch(r"(\w+) as (\w+)", step)  # "Type.a as b" without brackets
            here = [c for e in here for c in children(e, cast[1] if cast else step)]
            if cast:
                here = [e for e in here if is_type(e, cast[2])]
        first = False
    return here


# ---- values ----

APOSTROPHES = set("'`\u00b4\u055a\u05f3\u2018\u2019\u201a\u201b\u2032\u2035\uff07") | {chr(c) for c in range(0x2b9, 0x2c0)}


def words(text):
    """[(what stands in front, letters)]: case, accents and apostrophes are gone; " " is white space, "-" punctuation
    alone, which can be passed over or taken for a blank."""
    plain = "".join("'" if c in APOSTROPHES else c for c in text)
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", plain).casefold())
    out, between = [], ""
    for c in plain:
        category = unicodedata.category(c)
        if category[0] == "M" or c in APOSTROPHES or category == "Cf":
            continue
        if category[0] == "Z" or category == "Cc":
            between = " "
        elif category[0] == "P":
            between = between or "-"
        else:
            if between or not out:
                out.append([between if out else "", ""])
            out[-1][1] += c
            between = ""
    return out


def readings(parts):
    """The two ways to read it: without punctuation, and with blanks for it."""
    return {"".join((" " if gap == " " and i else "") + w for i, (gap, w) in enumerate(parts)),
            " ".join(w for _, w in parts)}


def fold(text):
    """Without punctuation."""
    return "".join((" " if gap == " " else "") + w for gap, w in words(text))


def text_meets(text, wanted, how):
    have = words(text)
    if how == "anywhere":
        return any(w in h for h in readings(have) for w in readings(words(wanted)))
    starts = range(min(len(have), 16)) if how == "parts" else range(min(len(have), 1))
    return any(h.startswith(w) for k in starts for h in readings(have[k:]) for w in readings(words(wanted)))


def moment(text):
    """Milliseconds [lo, hi)."""
    m = re.fullmatch(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?(Z|[+-]\d\d:\d\d)?)?)?)?",
                     text)
    if not m:
        raise ValueError(text)
    year, month, day = int(m[1]), int(m[2] or 1), int(m[3] or 1)
    epoch = datetime.date(1970, 1, 1).toordinal()

    def ms(y, mo, d):
        return (datetime.date(y, mo, d).toordinal() - epoch) * 86400000
    lo = ms(year, month, day)
    if not m[2]:
        return lo, ms(year + 1, 1, 1)
    if not m[3]:
        return lo, ms(year + month // 12, month % 12 + 1, 1)
    if not m[4]:
        return lo, lo + 86400000
    lo += int(m[4]) * 3600000 + int(m[5]) * 60000 + int(m[6] or 0) * 1000
    width = 60000 if not m[6] else 1000
    if m[6] == "60":  # a leap second belongs to its own minute: the last moment of it
        lo, width = lo - 1, 1
    elif m[7]:
        digits = (m[7] + "00")[:3]
        lo += int(digits)
        width = 10 ** max(0, 3 - len(m[7]))
    if m[8] and m[8] != "Z":
        offset = int(m[8][1:3]) * 60 + int(m[8][4:6])
        lo -= (offset if m[8][0] == "+" else -offset) * 60000
    return lo, lo + width


def dates(e):
    v = e.value
    if isinstance(v, str):
        try:
            return [moment(v)]
        except ValueError:
            return []
    if "event" in v or "repeat" in v:  # of a Timing only the outer limits matter
        ranges = [moment(x) for x in v.get("event", [])]
        ranges += [r for r in dates(Element(v.get("repeat", {}).get("boundsPeriod", {})))]
        return [(min(r[0] for r in ranges), max(r[1] for r in ranges))] if ranges else []
    if "start" not in v and "end" not in v:
        return []
    lo, hi = moment(v["start"])[0] if "start" in v else -INF, moment(v["end"])[1] if "end" in v else INF
    return [(lo, hi)] if lo < hi else []  # what ends before it begins is no time


def texts(e):
    v = e.value
    if isinstance(v, str):
        return [v]
    if not isinstance(v, dict):
        return []
    out = []
    for k in ("family", "given", "prefix", "suffix", "text", "line", "city", "district", "state", "postalCode", "country"):
        if k in v:
            out += v[k] if isinstance(v[k], list) else [v[k]]
    return out


def tokens(e):
    """(system, code, text, types) for each."""
    v = e.value
    if isinstance(v, bool):
        return [(Ellipsis, "true" if v else "false", None, [])]
    if isinstance(v, str):
        return [(Ellipsis, v, None, [])]  # the system is implied
    if isinstance(v, Decimal):
        return [(None, str(v), None, [])]
    if "coding" in v or e.datatype == "CodeableConcept" or set(v) <= {"text", "id", "extension"}:
        out = [(c.get("system"), c.get("code"), c.get("display"), []) for c in v.get("coding", [])]
        return out + ([(None, None, v["text"], [])] if "text" in v else [])
    if "code" in v or "display" in v:
        return [(v.get("system"), v.get("code"), v.get("display"), [])]
    return [(v.get("system"), v.get("value"), v.get("type", {}).get("text") if isinstance(v.get("type"), dict) else None,
             v.get("type", {}).get("coding", []) if isinstance(v.get("type"), dict) else [])]


def numbers(e):
    """(lo, hi, lo is not in, hi is not in, system, code, unit)"""
    v = e.value
    if isinstance(v, Decimal):
        return [(v, v, False, False, None, None, None)]
    if not isinstance(v, dict):
        return []
    if "low" in v or "high" in v:
        low, high = v.get("low", {}), v.get("high", {})
        if "value" not in low and "value" not in high:
            return []
        side = v.get("low") or v.get("high")
        if low.get("value", -INF) > high.get("value", INF):
            return []  # it holds nothing
        return [(low.get("value", -INF), high.get("value", INF), False, False, side.get("system"), side.get("code"),
                 side.get("unit"))]
    if "value" not in v or not isinstance(v["value"], Decimal):
        return []
    n = v["value"]
    if "currency" in v:
        return [(n, n, False, False, "urn:iso:std:iso:4217", v["currency"], None)]
    ends = {"<": (-INF, n, False, True), "<=": (-INF, n, False, False), ">": (n, INF, True, False),
            ">=": (n, INF, False, False)}.get(v.get("comparator"), (n, n, False, False))
    return [(*ends, v.get("system"), v.get("code"), v.get("unit"))]


def reference_of(e):
    """(text, display, identifier)"""
    v = e.value
    if isinstance(v, str):
        return v, None, None
    if not isinstance(v, dict):
        return None, None, None
    return v.get("reference", v.get("url")), v.get("display"), v.get("identifier")


# ---- one value of a query ----

def unescape(text):
    return re.sub(r"\\([\\$,|])", r"\1", text)


def split_escaped(text, separator, limit=0):
    parts = re.split(r"(?<!\\)((?:\\\\)*)" + re.escape(separator), text, maxsplit=limit)
    out = [parts[0]]
    for i in range(1, len(parts), 2):  # what stands before the separator belongs to the part in front
        out[-1] += parts[i]
        out.append(parts[i + 1])
    return out


def prefixed(text):
    return (text[:2], text[2:]) if text[:2] in ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap") else ("eq", text)


def number_meets(prefix, text, lo, hi, lo_out, hi_out):
    """The target is the numbers from lo to hi, the ends among them unless they are out."""
    value = Decimal(text)
    half = Decimal(5).scaleb(value.as_tuple().exponent - 1)
    low, high = value - half, value + half
    above = hi > value or (hi == value and not hi_out)  # something of it is value or more
    below = lo < value or (lo == value and not lo_out)
    if prefix in ("eq", "ne"):  # the search value's range [low, high) contains the target
        return (low <= lo and (hi < high or (hi == high and hi_out))) == (prefix == "eq")
    if prefix == "ap":
        least, most = sorted((value * Decimal("0.9"), value * Decimal("1.1")))
        return (lo < most or (lo == most and not lo_out)) and (hi > least or (hi == least and not hi_out))
    return {"gt": hi > value, "lt": lo < value, "ge": above, "le": below,
            "sa": not below, "eb": not above}[prefix]


def date_meets(prefix, text, lo, hi, now):
    low, high = moment(text)
    if prefix == "ap":
        gap = abs(now - low) // 10
        return lo < high + gap and hi > low - gap
    inside = low <= lo and hi <= high
    # ge: not all of it is in front; le: not all of it is behind
    return {"eq": inside, "ne": not inside, "gt": hi > high, "lt": lo < low, "ge": hi > low, "le": lo < high,
            "sa": lo >= high, "eb": hi <= low}[prefix]


def same_code(wanted, have, implied):
    return wanted == have if implied else (have is not None and wanted.lower() == have.lower())


def token_meets(term, system, code):
    parts = split_escaped(term, "|", 1)
    implied = system is Ellipsis
    if len(parts) == 1:
        return code is not None and same_code(unescape(parts[0]), code, implied)
    want_system, want_code = map(unescape, parts)
    if want_code and not (code is not None and same_code(want_code, code, implied)):
        return False
    if not want_system:
        return code is not None and system in (None, Ellipsis, "")
    return implied or want_system == system


def contained(holder, text):
    """The resource that "#id" leads to; None when it is no such reference or leads nowhere."""
    if not holder or not text or not text.startswith("#") or text == "#":
        return None
    return next((r for r in holder.get("contained", []) if r.get("id") == text[1:]), None)


def left_matches(above, below, canonical):
    """Is the URI `above` a beginning of `below`? URNs have none; a version has versions within it."""
    if canonical and ("|" in above or above.lower().startswith("urn:")):
        url, _, version = above.partition("|")
        have_url, _, have = below.partition("|")
        return url == have_url and (not version or have == version or have.startswith(version + "."))
    if above.lower().startswith("urn:") or below.lower().startswith("urn:"):
        return above == below
    return below.startswith(above)


def local(base, text):
    """Type/id of a reference to this server; None when it is none."""
    if text is None:
        return None
    text = text.split("|")[0].split("#")[0]
    m = re.fullmatch(r"(?:(.*)/)?([A-Z][A-Za-z]+)/([A-Za-z0-9.-]{1,64})(?:/_history/[A-Za-z0-9.-]+)?", text)
    return (m[2], m[3]) if m and (m[1] in (None, base)) else None


def version_named(text):
    """N of Type/id/_history/N, as text; None when none is named."""
    m = re.search(r"/_history/([^|#]*)", text)
    return m and m[1]


class Oracle:
    def __init__(self, base, table, now):
        self.base, self.now = base, now
        self.table = table
        self.full = "Account" in table
        self.resources = {}   # (type, id) -> resource, numbers as Decimal
        self.versions = {}    # (type, id, versionId) -> resource, without deletions

    def put(self, line):
        r = json.loads(line, parse_float=Decimal, parse_int=Decimal)
        self.resources[r["resourceType"], r["id"]] = r
        self.put_version(line)

    def put_version(self, line):
        r = json.loads(line, parse_float=Decimal, parse_int=Decimal)
        self.versions[r["resourceType"], r["id"], r["meta"]["versionId"]] = r

    def parameter(self, type, code):
        return COMMON.get(code) or self.table.get(type, {}).get(code)

    def elements(self, r, parameter, holder=None):
        return evaluate(parameter[1], [Element(r)], r["resourceType"], holder)

    # -- one parameter against one resource --

    def term_meets(self, kind, modifier, term, e, named=False, canonical=False):
        if modifier == "text":
            want = unescape(term)
            if kind == "token":
                return any(t is not None and text_meets(t, want, "start") for _, _, t, _ in tokens(e))
            if kind == "reference":
                display = reference_of(e)[1]
                return display is not None and text_meets(display, want, "start")
            return any(text_meets(t, want, "anywhere") for t in texts(e))
        if kind == "string":
            want = unescape(term)
            if modifier == "exact":
                return want in texts(e)
            how = "anywhere" if modifier == "contains" else "parts" if named else "start"
            return any(text_meets(t, want, how) for t in texts(e))
        if kind == "token":
            if modifier == "of-type":
                system, code, value = map(unescape, split_escaped(term, "|", 2))
                return any(v is not None and v.lower() == value.lower() and any(
                    t.get("code", "").lower() == code.lower() and t.get("system") == system for t in types)
                    for _, v, _, types in tokens(e))
            return any(token_meets(term, s, c) for s, c, _, _ in tokens(e))
        if kind in ("number", "quantity"):
            parts = split_escaped(term, "|")
            prefix, text = prefixed(parts[0])
            for *ends, system, code, unit in numbers(e):
                if not number_meets(prefix, text, *ends):
                    continue
                if len(parts) == 1:
                    return True
                want_system, want_unit = unescape(parts[1]), unescape(parts[2])
                if want_system and (system != want_system or (want_unit and code != want_unit)):
                    continue
                if not want_system and want_unit and want_unit not in (code, unit):
                    continue
                return True
            return False
        if kind == "date":
            prefix, text = prefixed(term)
            return any(date_meets(prefix, text, lo, hi, self.now) for lo, hi in dates(e))
        if kind == "uri":
            want, have = unescape(term), e.value
            if modifier == "below":
                return left_matches(want, have, canonical)
            if modifier == "above":
                return left_matches(have, want, canonical)
            if modifier == "contains":
                return want in have
            return want == have or (canonical and want == have.split("|")[0])
        return self.reference_meets(modifier, unescape(term), term, e)

    def reference_meets(self, modifier, want, raw, e):
        text, _, identifier = reference_of(e)
        if modifier == "identifier":
            return identifier is not None and token_meets(raw, identifier.get("system"), identifier.get("value"))
        here = local(self.base, text)
        if modifier == "below":  # of a canonical: a part of its version
            url, _, version = want.partition("|")
            have_url, _, have = (text or "").partition("|")
            return url == have_url and (not version or have == version or have.startswith(version + "."))
        if modifier:  # a type
            return here is not None and here[0] == modifier and (
                want == here[1] or local(self.base, want) == here)
        if text is None:
            return False
        if here:
            wanted = local(self.base, want)
            if wanted == here or want == here[1]:
                return True
        return want == text or ("|" not in want and want == text.split("|")[0])

    def meets(self, r, code, modifier, value, inside=False):
        """inside: r is a contained resource, which has no id and no instant of its own."""
        type = r["resourceType"]
        parameter = self.parameter(type, code)
        if parameter[0] == "composite":
            bases = evaluate(parameter[1], [Element(r)], type)
            return any(any(all(any(self.term_meets(kind, "", part, x) for x in evaluate(expr, [b], type))
                               for (kind, expr), part in zip(parameter[2], split_escaped(term, "$")))
                           for b in bases) for term in split_escaped(value, ","))
        found = [] if inside and code in ("_id", "_lastUpdated") else self.elements(r, parameter)
        if modifier == "missing":
            return (not any(self.has_value(parameter[0], e) for e in found)) == (value == "true")
        named = code in ("name", "family", "given", "phonetic") and type in ("Patient", "Person", "Practitioner", "RelatedPerson")
        met = any(self.term_meets(parameter[0], modifier, term, e, named, code == "_profile")
                  for term in split_escaped(value, ",") for e in found)
        if not met and code == "url" and parameter[0] == "uri" and "|" in value:  # the resource's own version
            for term in split_escaped(value, ","):
                url, bar, version = unescape(term).partition("|")
                have = r.get("version", "")
                met = met or (bool(bar) and r.get("url") == url and
                              (have == version if not modifier else modifier == "below" and
                               (have == version or have.startswith(version + "."))))
        return met != (modifier == "not")

    def has_value(self, kind, e):
        return bool({"string": texts, "token": tokens, "date": dates, "number": numbers, "quantity": numbers}.get(
            kind, lambda x: [x])(e))

    # -- one pair of a query --

    def select(self, type, name, value):
        """Ids of a type that a pair of a query selects."""
        if name.startswith("_has:"):
            _, other, ref, rest = name.split(":", 3)
            inner = self.select(other, rest, value)
            targets = {local(self.base, reference_of(e)[0]) for id in inner
                       for e in self.elements(self.resources[other, id], self.parameter(other, ref))}
            return {id for t, id in self.resources if t == type and (t, id) in targets}
        if "." in name:
            sets = {}
            return {id for (t, id), r in self.resources.items() if t == type and self.chain_meets(r, r, name, value, sets)}
        code, _, modifier = name.partition(":")
        return {id for (t, id), r in self.resources.items() if t == type and self.meets(r, code, modifier, value)}

    def chain_meets(self, holder, r, name, value, sets):
        """A chain from r, which is the holder itself or one of its contained resources; those that it leads to are
        looked at where they stand, the others are selected once (sets)."""
        first, rest = name.split(".", 1)
        code, _, only = first.partition(":")

        def known(type):
            inner_code = re.split(r"[.:]", rest)[0]
            return (not only or type == only) and (inner_code == "_has" or self.parameter(type, inner_code))

        for e in self.elements(r, self.parameter(r["resourceType"], code), holder):
            text = reference_of(e)[0]
            to, inside = local(self.base, text), contained(holder, text)
            if to and known(to[0]):
                key = (to[0], rest)
                if key not in sets:
                    sets[key] = self.select(to[0], rest, value)
                if to[1] in sets[key]:
                    return True
            if inside and known(inside["resourceType"]) and self.inside_meets(holder, inside, rest, value, sets):
                return True
        return False

    def inside_meets(self, holder, r, name, value, sets):
        if name.startswith("_has:"):
            return False  # nothing outside can refer to it
        if "." in name:
            return self.chain_meets(holder, r, name, value, sets)
        code, _, modifier = name.partition(":")
        return self.meets(r, code, modifier, value, inside=True)

    def search(self, type, pairs):
        out = {id for t, id in self.resources if t == type}
        for name, value in pairs:
            out &= self.select(type, name, value)
        return out

    # -- what comes along --

    def current(self, key):
        return (*key, self.resources[key]["meta"]["versionId"])

    def led_to(self, text):
        """(type, id, version) of what a reference leads to; the version is the one that it names, or the current one."""
        to = local(self.base, text)
        named = to and version_named(text)
        if named is not None:
            return (*to, named.lstrip("0")) if (*to, named.lstrip("0")) in self.versions else None
        return self.current(to) if to in self.resources else None

    def include(self, matches, rules):
        """(type, id, version) of what comes with the matches, (type, id). rules: (reverse, iterate, source, code, target)"""
        start = {self.current(key) for key in matches}
        out, frontier, first = set(), start, True
        while frontier:
            new, here = set(), {key[:2] for key in frontier}
            for reverse, iterate, source, code, target in rules:
                if not first and not iterate:
                    continue
                codes = [code] if code != "*" else [c for c, p in self.table[source].items() if p[0] == "reference"]
                holders = [(self.current(key), r) for key, r in self.resources.items()] if reverse else [
                    (key, self.versions[key]) for key in frontier]
                for c in codes:
                    p = self.parameter(source, c)
                    for key, r in holders:
                        if key[0] != source:
                            continue
                        for e in self.elements(r, p):
                            text = reference_of(e)[0]
                            to = local(self.base, text)
                            if to is None or (target and to[0] != target):
                                continue
                            if reverse and to in here:
                                new.add(key)
                            elif not reverse and self.led_to(text):
                                new.add(self.led_to(text))
            frontier = new - out - start
            out |= frontier
            first = False
        return out

    def sort_key(self, type, id, code, descending):
        """None: no value."""
        r = self.resources[type, id]
        p = self.parameter(type, code)
        keys = []
        for e in self.elements(r, p):
            if p[0] == "string":
                keys += [fold(t) for t in texts(e)]
            elif p[0] == "token":
                keys += [c if c is not None else (t or "") for _, c, t, _ in tokens(e)]
            elif p[0] == "date":
                keys += [lo for lo, _ in dates(e)]
            elif p[0] in ("number", "quantity"):
                keys += [(n[0], n[2]) for n in numbers(e)]  # what begins behind a number comes behind it
            elif p[0] == "reference":
                text = reference_of(e)[0] or ""
                ends = re.search(r"(?:^|/)[A-Z][A-Za-z]+/([A-Za-z0-9.-]{1,64})(?:/_history/[A-Za-z0-9.-]+)?$",
                                 text.split("|")[0].split("#")[0])
                keys.append(ends[1] if ends else text)
            else:
                keys.append(e.value)
        if not keys:
            return None
        return max(keys) if descending else min(keys)
