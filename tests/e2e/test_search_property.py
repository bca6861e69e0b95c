"""Search against a brute-force matcher: generated queries over generated data, what comes along, orders, totals.
A failure prints the seed and the query; FHIRLAKE_SEED runs one seed again, FHIRLAKE_LONG=1 many."""
import itertools
import json
import os
import random
import shutil
import subprocess
import time
import urllib.parse

import pytest

from fhirlake import EXAMPLES, FHIR_R4, LONG, NO_FHIR_DATA, NO_SYNTHEA, SYNTHEA, generate, read_ndjson
from search_oracle import SOME, Oracle, all_parameters
from search_queries import Maker, Raw, dump, odd_resources

DEFINITIONS = FHIR_R4 / "SearchParameter.ndjson"
SEED = int(os.environ.get("FHIRLAKE_SEED", "20261125"))
N = 4000 if LONG else 120
LEVEL = {"x_amzn_healthlake_fhir_validation_level": "minimal"}


def encode(pairs):
    return "&".join(f"{urllib.parse.quote(n, safe='')}={urllib.parse.quote(v, safe='')}" for n, v in pairs)


class Loaded:
    """A data store with resources in it, and the oracle over what it says they are."""

    def __init__(self, server, lines, table, updates=0):
        self.server = server
        self.store = server.create_store()
        self.fhir = server.fhir(self.store)
        server.put_object(f"s3://input/{self.store}/a.ndjson", b"\n".join(lines) + b"\n")
        job = server.import_all(self.store, f"s3://input/{self.store}/", ValidationLevel="minimal")
        assert job["JobStatus"] == "COMPLETED", job
        self.oracle = Oracle(self.fhir.base, table, int(time.time() * 1000))
        rnd = random.Random(SEED)
        expected = {(h["resourceType"], h["id"]) for h in map(json.loads, lines)}
        changeable = sorted(k for k in expected if k[0] != "AuditEvent")  # one stays as it was stored
        expected = self.change(rnd, changeable, expected, updates)
        for t in sorted({t for t, _ in expected}):
            for e in self.pages(f"{t}?_count=1000"):
                self.oracle.put(e["raw"])
        assert set(self.oracle.resources) == expected
        for e in self.pages("_history?_count=1000"):
            if e["raw"]:
                self.oracle.put_version(e["raw"])

    def change(self, rnd, keys, expected, n):
        """Resources are written again, deleted, and made anew: entries of old versions must not be found."""
        for type, id in rnd.sample(keys, n):
            other = rnd.choice([k for k in rnd.sample(keys, 40) if k[0] == type] or [(type, id)])
            path = f"{type}/{id}"
            what = rnd.randrange(3)
            if what:
                body = self.fhir.get(f"{other[0]}/{other[1]}")
                if body.status == 410:
                    continue
                body = json.loads(body.body, parse_float=Raw, parse_int=Raw)
                body["id"] = id
                body = dump(body)
                assert self.fhir.put(path, body, **LEVEL).status in (200, 201)
            if what != 1:
                assert self.fhir.delete(path).status == 204
                expected.discard((type, id))
            if what == 2 and rnd.random() < 0.5:
                assert self.fhir.put(path, body, **LEVEL).status == 201
                expected.add((type, id))
        return expected

    def pages(self, path):
        """Entries of all pages, with the resource as text."""
        while path:
            answer = self.fhir.get(path)
            assert answer.status == 200, (path, answer.body)
            bundle = answer.json
            exact = json.loads(answer.body, parse_float=Raw, parse_int=Raw)
            for e, x in zip(bundle.get("entry", []), exact.get("entry", [])):
                yield {**e, "raw": dump(x["resource"]) if "resource" in x else None}
            path = next((x["url"] for x in bundle["link"] if x["relation"] == "next"), None)

    def found(self, type, query):
        """(ids of matches in order, {(type, id)} of what came along)"""
        matches, along = [], set()
        for e in self.pages(f"{type}?{query}"):
            r = e["resource"]
            if e["search"]["mode"] == "match":
                assert r["resourceType"] == type
                matches.append(r["id"])
            else:
                assert e["search"]["mode"] == "include", r
                along.add((r["resourceType"], r["id"]))
        assert len(matches) == len(set(matches)), f"twice in {query}"
        return matches, along


def table():
    return all_parameters(DEFINITIONS) if DEFINITIONS.exists() else SOME


@pytest.fixture(scope="module")
def small(server, tmp_path_factory):
    """Generated patients and odd values."""
    out = tmp_path_factory.mktemp("search")
    lines = [line for f in generate(out, patients=3, seed=SEED % 1000) for line in read_ndjson(f)]
    keep = {}
    for line in lines:
        h = json.loads(line)
        keep.setdefault(h["resourceType"], []).append(line)
    lines = [line for many in keep.values() for line in many[:120]]
    lines += [dump(r).encode() for r in odd_resources("http://placeholder", SEED)]
    return Loaded(server, lines, table(), updates=120)


def check(loaded, n, seed):
    maker = Maker(loaded.oracle, seed)
    types = sorted(t for t in maker.by_type if loaded.oracle.table.get(t))
    wrong, some_found = [], 0
    for i in range(n):
        type = maker.rnd.choice(types)
        pairs = maker.query(type)
        want = loaded.oracle.search(type, pairs)
        query = encode(pairs + [("_count", str(maker.rnd.choice([3, 20, 500])))]) if len(want) < 60 else encode(
            pairs + [("_count", "500")])
        answer = loaded.fhir.get(f"{type}?{query}")
        if answer.status != 200:
            wrong.append((seed, i, type, pairs, answer.text))
            continue
        got = set(loaded.found(type, query)[0])
        some_found += bool(want)
        if got != want:
            wrong.append((seed, i, type, pairs, f"missing {sorted(want - got)[:3]} of {len(want)}, too many {sorted(got - want)[:3]}"))
    assert not wrong, f"{len(wrong)} of {n}\n" + "\n".join(map(str, wrong[:40]))
    assert some_found > n * 0.4, "queries that find nothing prove little"


def test_matches_are_those_of_the_oracle(small):
    check(small, N, SEED)


@pytest.mark.skipif(not EXAMPLES.exists() or not DEFINITIONS.exists(), reason=NO_FHIR_DATA)
def test_matches_in_the_official_examples(server):
    lines = [line for line in read_ndjson(EXAMPLES)  # the one example's reference leads to a type it may not
             if len(line) < 1 << 20 and b'"resourceType":"DeviceMetric"' not in line[:40]]
    check(Loaded(server, lines, all_parameters(DEFINITIONS), updates=60), N, SEED)


def first_lines(path, n):
    """Of a packed file, without unpacking all of it."""
    with subprocess.Popen(["zstd", "-dcq", str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as p:
        lines = [line.strip() for line in itertools.islice(p.stdout, n)]
        p.kill()
    return lines


@pytest.mark.skipif(not SYNTHEA or not shutil.which("zstd"), reason=NO_SYNTHEA)
def test_matches_in_patients_of_synthea(server):
    lines = [line for f in sorted(SYNTHEA.glob("*.ndjson.zst")) for line in first_lines(f, 400 if LONG else 60)]
    check(Loaded(server, lines, table(), updates=40), N // 2, SEED + 4)


def test_what_comes_along_is_what_the_oracle_says(small):
    maker, n_along = Maker(small.oracle, SEED + 1), 0
    types = sorted(t for t in maker.by_type if small.oracle.table.get(t))
    for i in range(N // 4):
        type = maker.rnd.choice(types)
        pairs = maker.query(type) if maker.rnd.random() < 0.4 else []
        includes, rules = maker.includes(type)
        want = small.oracle.search(type, pairs)
        query = "&".join(filter(None, [encode(pairs), *includes, "_count=500"]))
        answer = small.fhir.get(f"{type}?{query}")
        assert answer.status == 200, (SEED, i, query, answer.body)
        modes = {}
        for e in answer.json.get("entry", []):
            r = e["resource"]
            modes.setdefault(e["search"]["mode"], []).append((r["resourceType"], r.get("id"), r.get("meta", {}).get("versionId")))
        assert "outcome" not in modes, (SEED, i, query, answer.json["entry"][-1])
        assert {id for _, id, _ in modes.get("match", [])} == want, (SEED, i, query)
        got = modes.get("include", [])
        expected = small.oracle.include({(type, id) for id in want}, rules)
        assert len(got) == len(set(got))
        assert set(got) == expected, (SEED, i, query, sorted(expected - set(got))[:3], sorted(set(got) - expected)[:3])
        n_along += len(got)
    assert n_along > N / 4


def in_order(keys, descending):
    """Does this list of sort keys follow the rules? Resources without a value come last, either way."""
    for a, b in zip(keys, keys[1:]):
        for x, y, down in zip(a, b, descending):
            if x == y:
                continue
            if x is None or (y is not None and (x < y if down else x > y)):
                return False
            break
    return True


def test_orders_are_those_of_the_keys(small):
    maker = Maker(small.oracle, SEED + 2)
    types = sorted(t for t in maker.by_type if small.oracle.table.get(t))
    for i in range(N // 4):
        type = maker.rnd.choice(types)
        codes = sorted(c for c, p in maker.parameters(type).items() if p[0] != "composite")
        rules = [(maker.rnd.choice(codes), maker.rnd.random() < 0.5) for _ in range(maker.rnd.randrange(1, 4))]
        pairs = maker.query(type) if maker.rnd.random() < 0.6 else []
        want = small.oracle.search(type, pairs)
        sort = ",".join(("-" if down else "") + code for code, down in rules)
        count = maker.rnd.choice([7, 50, 500]) if len(want) > 5 else 2
        got = small.found(type, encode([*pairs, ("_sort", sort), ("_count", str(count))]))[0]
        assert set(got) == want, (SEED, i, type, pairs, sort)
        keys = [[small.oracle.sort_key(type, id, code, down) for code, down in rules] for id in got]
        assert in_order(keys, [down for _, down in rules]), (SEED, i, type, pairs, sort, keys[:10])


def test_totals_count_all_matches(small):
    maker = Maker(small.oracle, SEED + 3)
    types = sorted(t for t in maker.by_type if small.oracle.table.get(t))
    for i in range(N // 10):
        type = maker.rnd.choice(types)
        pairs = maker.query(type)
        want = len(small.oracle.search(type, pairs))
        for more in (("_total", "accurate"), ("_summary", "count"), ("_count", "0"), ("_total", "estimate")):
            bundle = small.fhir.get(f"{type}?{encode([*pairs, more])}").json
            assert bundle["total"] == want, (SEED, i, type, pairs, more)
            if more[0] != "_total":
                assert "entry" not in bundle and [x["relation"] for x in bundle["link"]] == ["self"]
