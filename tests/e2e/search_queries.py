"""Queries made from data: every value that is asked for stands in some resource, or nearly does."""
import datetime
import json
import random
from decimal import Decimal

from search_oracle import (COMMON, Element, contained, dates, evaluate, fold, local, numbers, reference_of, texts,
                           tokens)

WRONG = {("MedicationRequest", "intended-dispenser")}  # in an example of HL7's it leads to a type that it may not
PREFIXES = ["", "", "", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"]


class Raw(str):
    """A number as it was written."""


def dump(value):
    """JSON with such numbers."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{dump(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dump, value)) + "]"
    return json.dumps(value)


def escape(text):
    for c in "\\$,|":
        text = text.replace(c, "\\" + c)
    return text


def usable(text):
    """Control characters and what a query cannot hold are left to the tests of bad input."""
    return bool(text) and len(text) < 200 and all(c >= " " for c in text)


def date_text(rnd, ms):
    shift = rnd.choice([0, 0, 1, -1, 1000, -1000, 60000, 3600000, -86400000, 86400000, 10 * 86400000])
    at = datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=int(ms) + shift)
    if not 2 <= at.year < 9990:
        at = at.replace(year=2000)
    form = rnd.randrange(8)
    text = [at.strftime("%Y"), at.strftime("%Y-%m"), at.strftime("%Y-%m-%d"), at.strftime("%Y-%m-%dT%H:%M"),
            at.strftime("%Y-%m-%dT%H:%M:%S"), at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03}",
            at.strftime("%Y-%m-%dT%H:%M:%S"), at.strftime("%Y-%m-%dT%H:%M")][form]
    text = text.zfill(len(text) + (4 - len(str(at.year)))) if at.year < 1000 else text
    if form >= 3:
        zone = rnd.choice(["", "Z", "+05:30", "-03:00"])
        text += zone
    return text


class Maker:
    def __init__(self, oracle, seed):
        self.o, self.rnd = oracle, random.Random(seed)
        self.by_type = {}
        self.all_of = {}  # with those that stand in others: values to ask for
        self.inside = {}  # (type, reference parameter) -> types of contained resources that it leads to
        for (t, id), r in sorted(oracle.resources.items()):
            self.by_type.setdefault(t, []).append(r)
            self.all_of.setdefault(t, []).append(r)
            for x in r.get("contained", []):
                self.all_of.setdefault(x["resourceType"], []).append(x)
            self.find_inside(t, r, r)

    def find_inside(self, type, r, holder):
        for code, p in self.o.table.get(type, {}).items() if holder.get("contained") else ():
            for e in self.o.elements(r, p, holder) if p[0] == "reference" else ():
                x = contained(holder, reference_of(e)[0])
                if x:
                    known = self.inside.setdefault((type, code), [])
                    if x["resourceType"] not in known:
                        known.append(x["resourceType"])
                        self.find_inside(x["resourceType"], x, holder)

    def some(self, type):
        return self.rnd.choice(self.by_type[type])

    def found(self, type, parameter):
        """An element that the parameter finds in some resource of the type, or None."""
        for _ in range(6):
            elements = self.o.elements(self.rnd.choice(self.all_of[type]), parameter)
            if elements:
                return self.rnd.choice(elements)
        return None

    def case(self, text):
        return self.rnd.choice([text, text, text.upper(), text.lower(), fold(text)])

    # -- one value --

    def string(self, e, modifier):
        choices = [t for t in texts(e) if usable(t)]
        if not choices:
            return None
        text = self.rnd.choice(choices)
        if modifier == "exact":
            return escape(self.rnd.choice([text, text, text[:-1] or text, text.swapcase()]))
        a = self.rnd.randrange(len(text)) if modifier else 0
        b = self.rnd.randrange(a, len(text)) + 1
        cut = text[a:b]
        if not fold(cut):
            return None  # nothing is left of it: the query is refused
        return escape(self.case(self.odd(cut)) or cut) or None

    def odd(self, text):
        """The same for a search: with other white space and punctuation."""
        form = self.rnd.randrange(6)
        if form == 0:
            return f" {text}\u00a0"
        if form == 1:
            return text.replace(" ", "  ").replace("'", "\u2019").replace("-", "\u2010")
        if form == 2:
            return text.replace("'", "").replace(".", "")
        return text

    def token(self, e, modifier):
        choices = tokens(e)
        if not choices:
            return None
        system, code, text, types = self.rnd.choice(choices)
        if modifier == "text":
            if not text or not usable(text):
                return None
            cut = text[:self.rnd.randrange(len(text)) + 1]
            return escape(self.case(cut)) if fold(cut) else None
        if modifier == "of-type":
            if not types or not code:
                return None
            t = self.rnd.choice(types)
            if not t.get("system") or not t.get("code"):
                return None
            return "|".join(map(escape, (t["system"], self.rnd.choice([t["code"], "XX"]), code)))
        if code is not None and not usable(code):
            return None
        implied = system is Ellipsis
        if code and not implied and self.rnd.random() < 0.2:
            code = code.swapcase()
        if code and self.rnd.random() < 0.1:
            code = code + "x"
        form = self.rnd.randrange(5)
        if form == 0 and system and not implied:
            return escape(system) + "|"
        if form == 1 and code:
            return "|" + escape(code)
        if form <= 3 and system and code and not implied:
            return escape(self.rnd.choice([system, system, system + "/x"])) + "|" + escape(code)
        return escape(code) if code else None

    def number(self, e, quantity):
        choices = numbers(e)
        if not choices:
            return None
        lo, hi, _, _, system, code, unit = self.rnd.choice(choices)
        value = self.rnd.choice([v for v in (lo, hi) if abs(v) != float("inf")] or [Decimal(1)])
        text = str(value)
        form = self.rnd.randrange(6)
        if form == 0:
            text = f"{value:.1f}"
        elif form == 1:
            text = f"{value:.0f}"
        elif form == 2:
            text = f"{value:.2e}"
        elif form == 3:
            text = f"{value * 2 + 1}"
        elif form == 4:
            text = text + ("0" if "." in text else ".0") if "e" not in text.lower() else text
        elif value and self.rnd.random() < 0.3:  # its neighbour in the last digit
            text = str(value + Decimal(1).scaleb(value.as_tuple().exponent))
        text = self.rnd.choice(PREFIXES) + text
        if not quantity:
            return text
        form = self.rnd.randrange(4)
        if form == 0 and system and code:
            return text + "|" + escape(system) + "|" + escape(code)
        if form == 1 and (code or unit):
            return text + "||" + escape(code if code and (not unit or self.rnd.random() < 0.5) else unit)
        if form == 2 and system:
            return text + "|" + escape(self.rnd.choice([system, system + "x"])) + "|"
        return text

    def date(self, e):
        choices = dates(e)
        if not choices:
            return None
        lo, hi = self.rnd.choice(choices)
        at = self.rnd.choice([v for v in (lo, hi) if abs(v) != float("inf")] or [0])
        return self.rnd.choice(PREFIXES) + date_text(self.rnd, at)

    def reference(self, e, modifier):
        text, display, identifier = reference_of(e)
        if modifier == "text":
            if not display or not usable(display):
                return None
            cut = display[:self.rnd.randrange(len(display)) + 1]
            return escape(self.case(cut)) if fold(cut) else None
        if modifier == "identifier":
            if not isinstance(identifier, dict) or not identifier.get("value"):
                return None
            system = identifier.get("system")
            return self.rnd.choice([escape(identifier["value"]),
                                    (escape(system) if system else "") + "|" + escape(identifier["value"])])
        if not text or not usable(text) or text.startswith("#"):
            return None
        here = local(self.o.base, text)
        if modifier and modifier != "below":
            return here[1] if here else None
        if here is None:
            return escape(self.rnd.choice([text, text.split("|")[0]]))
        id = self.rnd.choice([here[1]] * 5 + [here[1] + "x"])
        return escape(self.rnd.choice([id, f"{here[0]}/{id}", f"{self.o.base}/{here[0]}/{id}", text,
                                       f"http://elsewhere.org/fhir/{here[0]}/{id}"]))

    def uri(self, e, modifier):
        text = e.value
        if not isinstance(text, str) or not usable(text):
            return None
        if modifier == "below":
            return escape(text[:self.rnd.randrange(len(text)) + 1] + self.rnd.choice(["", "", "/", "|1"]))
        if modifier == "above":
            return escape(text + self.rnd.choice(["", "/x/y", "x", "|1.0"]))
        if modifier == "contains":
            a = self.rnd.randrange(len(text))
            return escape(text[a:a + 6])
        return escape(self.rnd.choice([text, text, text + "x", text.upper()]))

    def term(self, kind, modifier, e):
        if kind == "string":
            return self.string(e, modifier)
        if kind == "token":
            return self.token(e, modifier)
        if kind in ("number", "quantity"):
            return self.number(e, kind == "quantity")
        if kind == "date":
            return self.date(e)
        if kind == "uri":
            return self.uri(e, modifier)
        return self.reference(e, modifier)

    # -- one pair --

    MODIFIERS = {"string": ["", "", "", "exact", "contains"], "token": ["", "", "", "not", "text", "of-type"],
                 "reference": ["", "", "", "identifier", "text", "TYPE"], "uri": ["", "", "below", "above", "contains"],
                 "number": [""], "quantity": [""], "date": [""]}

    def parameters(self, type):
        return {**self.o.table.get(type, {}), **COMMON}

    def pair(self, type, depth=0):
        table = self.parameters(type)
        for _ in range(30):
            roll = self.rnd.random()
            if depth < 2 and roll < 0.15:
                made = self.chain(type, depth)
            elif depth < 2 and roll < 0.27:
                made = self.has(type, depth)
            else:
                code = self.rnd.choice(sorted(table))
                made = self.plain(type, code, table[code])
            if made:
                return made
        return ("_id", self.rnd.choice(self.all_of[type])["id"])

    def plain(self, type, code, parameter):
        kind = parameter[0]
        if kind == "composite":
            return self.composite(type, code, parameter)
        if code == "_id":
            return (code, ",".join(self.rnd.choice(self.all_of[type])["id"] for _ in range(self.rnd.randrange(1, 4))))
        if self.rnd.random() < 0.08 and not code.startswith("_"):
            return (code + ":missing", self.rnd.choice(["true", "false"]))
        modifier = "" if code == "_lastUpdated" else self.rnd.choice(self.MODIFIERS[kind])
        if modifier == "TYPE":
            e = self.found(type, parameter)
            here = e and local(self.o.base, reference_of(e)[0])
            if not here:
                return None
            modifier = here[0]
        terms = []
        for _ in range(self.rnd.choice([1, 1, 1, 2, 3])):
            e = self.found(type, parameter)
            t = e and self.term(kind, modifier, e)
            if t and not (code == "_lastUpdated" and t.startswith("ap")):  # it depends on when it is asked
                terms.append(t)
        return (code + (":" + modifier if modifier else ""), ",".join(terms)) if terms else None

    def composite(self, type, code, parameter):
        bases = evaluate(parameter[1], [Element(self.rnd.choice(self.all_of[type]))], type)
        if not bases:
            return None
        base, parts = self.rnd.choice(bases), []
        for kind, expression in parameter[2]:
            found = evaluate(expression, [base], type)
            if not found and self.rnd.random() < 0.5:
                base = self.rnd.choice(bases)
                found = evaluate(expression, [base], type)
            term = found and self.term(kind, "", self.rnd.choice(found))
            if not term:
                return None
            parts.append(term)
        return (code, "$".join(parts))

    def chain(self, type, depth):
        references = [c for c, p in sorted(self.parameters(type).items()) if p[0] == "reference" and (type, c) not in WRONG]
        if not references:
            return None
        code = self.rnd.choice(references)
        if self.inside.get((type, code)) and self.rnd.random() < 0.7:
            other = self.rnd.choice(self.inside[type, code])
            name, value = self.pair(other, depth + 1)
            return (f"{code}:{other}.{name}", value)
        e = self.found(type, self.o.parameter(type, code))
        here = e and local(self.o.base, reference_of(e)[0])
        if not here or here[0] not in self.by_type:
            return None
        name, value = self.pair(here[0], depth + 1)
        return (f"{code}:{here[0]}.{name}", value)

    def has(self, type, depth):
        other = self.rnd.choice(sorted(self.by_type))
        references = [c for c, p in sorted(self.o.table.get(other, {}).items()) if p[0] == "reference"]
        if not references:
            return None
        code = self.rnd.choice(references)
        e = self.found(other, self.o.parameter(other, code))
        here = e and local(self.o.base, reference_of(e)[0])
        if not here or here[0] != type:
            return None
        name, value = self.pair(other, depth + 1)
        return (f"_has:{other}:{code}:{name}", value)

    def query(self, type):
        return [self.pair(type) for _ in range(self.rnd.choice([1, 1, 1, 2, 2, 3]))]

    def includes(self, type):
        """(pairs of the query, rules for the oracle)"""
        pairs, rules = [], []
        for _ in range(self.rnd.randrange(1, 4)):
            reverse, iterate = self.rnd.random() < 0.5, self.rnd.random() < 0.3
            source = type if not reverse and self.rnd.random() < 0.7 else self.rnd.choice(sorted(self.by_type))
            references = [c for c, p in sorted(self.o.table.get(source, {}).items()) if p[0] == "reference"]
            if not references:
                continue
            for _ in range(3):  # rather one that leads to something
                code = self.rnd.choice(references)
                e = self.found(source, self.o.parameter(source, code))
                here = e and local(self.o.base, reference_of(e)[0])
                if here in self.o.resources:
                    break
            target = here[0] if here and self.rnd.random() < 0.3 else None
            if self.rnd.random() < 0.1 and self.o.full:
                code, target = "*", None
            rules.append((reverse, iterate, source, code, target))
            pairs.append(("_revinclude" if reverse else "_include") + (":iterate" if iterate else "") + "=" +
                         f"{source}:{code}" + (f":{target}" if target else ""))
        return pairs, rules


def odd_resources(base, seed, n=60):
    """Resources with the values that generated patients do not have: open periods, ranges, accents, other servers."""
    rnd = random.Random(seed)
    pick = rnd.choice
    inside = None  # (type, id) of contained resources that were referred to
    names = ["Müller-Lüdenscheidt", "ÅNGSTRÖM", "O'Brien", "de la Cruz", "Straße", "İzmir", "Smith  Jones", "a,b|c$d\\e",
             "Ωmega", "ﬁnn", "Nguyễn", "李", "x", "Zoë", "\u0301accent", " Lee ", "St. Mary\u2019s  Hospital", "van der  Berg",
             "Carre\u00f1o\u2010Quinones", "O\u00b4Neill", "Jean\u00a0Paul", "(x)", "- -", "C++", "C", "A&B/C_D", "one two three four five",
             "\u00bfQu\u00e9?", "N/A"]
    days = ["2019", "2020-02", "2020-02-29", "2020-02-29T23:59:59.999-05:00", "2020-03-01T00:00:00Z", "1950-01-01",
            "2021-12-31T23:30:00+14:00", "2020-02-29T10:00:00.5Z", "2016-12-31T23:59:60Z", "2017-01-01T02:59:60.5+03:00",
            "2016-12-31T23:59:59Z", "2017-01-01", "0999-05-05"]
    decimals = ["5.40", "5.4", "-3", "0", "1e2", "100", "99.6", "0.0054", "1000000", "5", "5.0", "0.30000000000000004", "0.3",
                "12345678901234567", "12345678901234568", "123456789012345678901234567890", "1e-300", "1e400", "-1e400", "1e-400",
                "-0.0", "27.358938723415303", "0.1000", "1E+2", "99.5", "100.5"]
    concepts = [{"coding": [{"system": "http://loinc.org", "code": "8480-6", "display": "Systolic blood pressure"}]},
                {"coding": [{"code": "no-system"}], "text": "Free text"}, {"text": "Only text"},
                {"coding": [{"system": "http://x.org", "code": "a|b"}, {"system": "http://y.org", "display": "No code"}]},
                {"coding": [{"system": "http://loinc.org", "code": "MixedCase", "display": "Étude"}]}]

    def period():
        a, b = sorted([pick(days[:-1]), pick(days[:-1])])
        return pick([{"start": a}, {"end": b}, {"start": a, "end": b}])

    def quantity(**more):
        q = {"value": Raw(pick(decimals)), "unit": "mg"}
        q = pick([q, {**q, "system": "http://unitsofmeasure.org", "code": "mg"}, {"value": q["value"]},
                  {**q, "comparator": pick(["<", "<=", ">", ">="])}])
        return {**q, **more}

    def reference(*types):
        t, i = pick(types), rnd.randrange(12)
        if inside is not None and rnd.random() < 0.3:
            inside.append((t, f"c{len(inside)}"))
            return {"reference": f"#c{len(inside) - 1}"}
        return pick([{"reference": f"{t}/odd-{i}"}, {"reference": f"{base}/{t}/odd-{i}"},
                     {"reference": f"http://elsewhere.org/fhir/{t}/odd-{i}"}, {"reference": f"{t}/odd-{i}/_history/1"},
                     {"reference": f"{t}/odd-{i}", "display": pick(names)},
                     {"identifier": {"system": "urn:mrn", "value": f"m{i}"}, "display": "By number"}])

    def meta():
        return pick([{}, {}, {"meta": {"tag": [{"system": "urn:tags", "code": pick(["a", "b"])}, {"code": "bare"}]}},
                     {"meta": {"security": [{"system": "urn:sec", "code": "R"}], "source": "http://src.org/x"}},
                     {"meta": {"profile": ["http://p.org/A", pick(["http://p.org/B", "http://p.org/B/C", "http://p.org/B|1.0", "http://p.org/B|10"])]}}])

    def identifier():
        return pick([{"system": "urn:mrn", "value": f"m{rnd.randrange(12)}"}, {"value": "bare"}, {"system": "urn:only"},
                     {"system": "urn:mrn", "value": "Case7", "type": {"text": "Récord", "coding": [
                         {"system": "urn:types", "code": "MR"}, {"system": "urn:types", "code": "SS"}]}}])

    def patient():
        return {"name": [{"family": pick(names), "given": [pick(names), pick(names)]}, {"text": pick(names)}],
                "gender": pick(["male", "female", "other"]), "birthDate": pick(["1950", "1950-01", "1950-01-01", "2020-02-29"]),
                "identifier": [identifier(), identifier()], "telecom": [{"system": pick(["phone", "email"]), "value": pick(["555", "A@b.c"])}],
                "address": [{"line": [pick(names)], "city": pick(names), "text": "x  y"}], "active": pick([True, False]),
                "generalPractitioner": [reference("Practitioner"), reference("Organization")],
                "managingOrganization": reference("Organization"), **pick([{}, {"deceasedDateTime": pick(days)}, {"deceasedBoolean": True}]),
                "link": [{"other": reference("Patient"), "type": "seealso"}]}

    def observation():
        value = pick([{"valueQuantity": quantity()}, {"valueCodeableConcept": pick(concepts)}, {"valueString": pick(names)},
                      {"valuePeriod": period()}, {"valueDateTime": pick(days)}, {}])
        when = pick([{"effectiveDateTime": pick(days)}, {"effectivePeriod": period()}, {"effectiveInstant": "2020-02-29T10:00:00Z"},
                     {"effectiveTiming": {"event": [pick(days[2:5]), pick(days[2:5])]}},
                     {"effectiveTiming": {"repeat": {"boundsPeriod": period()}}}, {}])
        return {"status": pick(["final", "amended"]), "code": pick(concepts), "category": [pick(concepts)], **value, **when,
                "subject": reference("Patient"), "performer": [reference("Practitioner")], "encounter": reference("Encounter"),
                "hasMember": [reference("Observation")], "derivedFrom": [reference("Observation")],
                "component": [{"code": pick(concepts), "valueQuantity": quantity()} for _ in range(rnd.randrange(3))]}

    makers = {
        "Patient": patient, "Observation": observation,
        "Practitioner": lambda: {"name": [{"family": pick(names), "given": [pick(names)]}], "gender": "female", "identifier": [identifier()]},
        "Organization": lambda: {"name": pick(names), "alias": [pick(names)], "partOf": reference("Organization"), "type": [pick(concepts)]},
        "Encounter": lambda: {"status": "finished", "class": {"system": "urn:class", "code": pick(["AMB", "IMP"])}, "period": period(),
                              "subject": reference("Patient"), "partOf": reference("Encounter"), "serviceProvider": reference("Organization")},
        "Condition": lambda: {"code": pick(concepts), "subject": reference("Patient"), **pick([
            {"onsetDateTime": pick(days)}, {"onsetPeriod": period()}, {"onsetAge": quantity(unit="a")}, {"onsetRange": {
                "low": quantity()}}, {"onsetRange": {"low": {"value": 1, "unit": "a"}, "high": {"value": 5, "unit": "a"}}}])},
        "RiskAssessment": lambda: {"status": "final", "subject": reference("Patient"), "prediction": [
            pick([{"probabilityDecimal": Raw(pick(["0.8", "0.80", "95", "0.00001", *decimals]))},
                  {"probabilityRange": {"low": {"value": Raw(pick(decimals))}}},
                  {"probabilityRange": {"low": {"value": 99.5}, "high": {"value": Raw("100.50")}}}])]},
        "ValueSet": lambda: {"status": "draft", "url": pick(["http://a.org/fhir/ValueSet/1", "http://a.org/fhir/ValueSet/12", "http://a.org/fhir",
                                                           "urn:oid:1.2.3", "urn:oid:1.2.34", "http://a.org/fhir/"]), "version": pick(["1", "1.0", "2"]),
                             "title": pick(names), "name": pick(names)},
        "QuestionnaireResponse": lambda: {"status": "completed", "authored": pick(days), "subject": reference("Patient"),
                                          "questionnaire": pick(["http://q.org/Q", "http://q.org/Q|1.0", "http://q.org/Q|1.1", "http://q.org/Q|2"])},
        "ServiceRequest": lambda: {"status": "active", "intent": "order", "code": pick(concepts), "subject": reference("Patient"), **pick([
            {"occurrenceDateTime": pick(days)}, {"occurrencePeriod": period()}, {"occurrenceTiming": {"event": [pick(days[2:5]), pick(days[2:5])]}}])},
    }
    def whole(make):
        """With what its references lead to inside, some of which lead on."""
        nonlocal inside
        inside = []
        r, made = make(), []
        while len(made) < len(inside):
            type, id = inside[len(made)]
            if len(inside) > 6:
                break  # the others lead nowhere
            made.append({"resourceType": type, "id": id, **makers[type]()})
        inside = None
        return {**r, "contained": made} if made else r

    for i in range(n):
        for type, make in makers.items():
            if i < 24 or type in ("Observation", "Patient", "Condition"):
                yield {"resourceType": type, "id": f"odd-{i}", **meta(), **(whole(make) if i % 3 == 0 else make())}
