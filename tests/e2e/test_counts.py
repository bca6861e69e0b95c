"""_summary=count and _total are what the resources themselves say, after imports, updates, deletions, re-imports."""
import collections
import json

import fhirlake
from fhirlake import Server


def codes(resource):
    return {(c.get("system"), c["code"]) for c in resource.get("code", {}).get("coding", []) if "code" in c}


def check(fhir, live):
    of_type = collections.Counter(kind for kind, _ in live)
    for kind in ("Patient", "Observation", "Condition"):
        assert fhir.get(f"{kind}?_summary=count").json["total"] == of_type[kind], kind
    assert fhir.get("?_summary=count").json["total"] == len(live)
    by_code = collections.Counter()
    for (kind, _), resource in live.items():
        if kind == "Observation":
            by_code.update({code for _, code in codes(resource)} | codes(resource))
    asked = [c for c, _ in by_code.most_common(8)]
    for c in asked:
        value = c if isinstance(c, str) else f"{c[0]}|{c[1]}"
        assert fhir.get(f"Observation?code={value}&_summary=count").json["total"] == by_code[c], value
    code = next(c for c in asked if isinstance(c, str))
    page = fhir.get(f"Observation?code={code}&_total=accurate&_count=3").json
    assert page["total"] == by_code[code] and len(page["entry"]) == min(3, page["total"])
    final = sum(r.get("status") == "final" for (kind, _), r in live.items() if kind == "Observation")
    assert fhir.get("Observation?status=final&_summary=count").json["total"] == final
    assert fhir.get("Observation?status=final&code=nothing&_summary=count").json["total"] == 0


def test_counts_follow_every_kind_of_write(tmp_path):
    lines = [line for path in fhirlake.generate(tmp_path / "g", patients=6) for line in fhirlake.read_ndjson(path)]
    live = {(r["resourceType"], r["id"]): r for r in map(json.loads, lines)}
    observations = [key for key in live if key[0] == "Observation"]
    with Server() as server:
        store = server.create_store()
        fhir = server.fhir(store)
        server.put_object("s3://input/1/a.ndjson", b"\n".join(lines))
        assert server.import_all(store, "s3://input/1/")["JobStatus"] == "COMPLETED"
        check(fhir, live)
        for key in observations[:5]:
            changed = dict(live[key], status="amended", code={"coding": [{"system": "http://s", "code": "new"}]})
            assert fhir.put("/".join(key), changed).status == 200
            live[key] = changed
        for key in observations[5:10]:
            assert fhir.delete("/".join(key)).status == 204
            del live[key]
        made = fhir.post("Observation", {"resourceType": "Observation", "status": "final", "code": {"coding": [
            {"system": "http://s", "code": "new"}, {"system": "http://t", "code": "new"}]}}).json
        live["Observation", made["id"]] = made
        check(fhir, live)
        again = [live[key] for key in observations[:3]] + [r for r in map(json.loads, lines)
                                                           if ("Observation", r["id"]) in observations[5:8]]
        server.put_object("s3://input/2/b.ndjson", "\n".join(map(json.dumps, again)))
        assert server.import_all(store, "s3://input/2/")["JobStatus"] == "COMPLETED"
        live.update({(r["resourceType"], r["id"]): r for r in again})
        check(fhir, live)
