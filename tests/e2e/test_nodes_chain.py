"""A chain of exports over two nodes that both write: a copy that is brought up to date by `_since` alone, and whole exports
between, are each compared with what the writers were told, as of the export's instant.

    FHIRLAKE_CHAIN_S=3600 pytest tests/e2e/test_nodes_chain.py    for an hour (`./dev test --long`: two minutes)"""
import datetime
import json
import os
import random
import threading
import time

import pytest

import bulk
import postgres
from fhirlake import LONG, read_export
from test_nodes import Nodes

pytestmark = pytest.mark.skipif(postgres.INSTALLED is None, reason=postgres.NOT_INSTALLED)
SECONDS = float(os.environ.get("FHIRLAKE_CHAIN_S", 120 if LONG else 6))
TYPES = ("Basic", "Patient", "Observation")
LINKS = 4  # of a round; then what they gave is compared


def instant(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def resource(type, id, text):
    more = {"Basic": {"code": {"text": text}}, "Patient": {"gender": "other", "name": [{"text": text}]},
            "Observation": {"status": "final", "code": {"text": text}}}
    return {"resourceType": type, "id": id, **more[type]}


class Writer(threading.Thread):
    """Resources that nobody else writes, at whichever node. `log`: {key: [(instant, resource, or None of a deletion)]}, in the
    order of the versions; a deletion's instant is None until it is asked for."""

    def __init__(self, name, fhirs, log, rng):
        super().__init__()
        self.tag, self.fhirs, self.log, self.rng = name, fhirs, log, rng
        self.stop, self.error, self.n = False, None, 0

    def run(self):
        try:
            while not self.stop:
                self.act()
        except BaseException as e:  # told by who joins
            self.error = e

    def key(self):
        mine = [k for k in self.log if k[1].startswith(self.tag)]
        if mine and self.rng.random() < .6:
            return self.rng.choice(mine)
        self.n += 1
        return self.rng.choice(TYPES), f"{self.tag}-{len(mine)}-{self.n}"

    def text(self):
        return f"{self.tag} {self.rng.randrange(1 << 40):x} \u00e9\u2603"

    def note(self, key, stored):
        self.log.setdefault(key, []).append((instant(stored["meta"]["lastUpdated"]), stored))

    def act(self):
        fhir, dice, key = self.rng.choice(self.fhirs), self.rng.random(), self.key()
        name = "/".join(key)
        if dice < .6:
            answer = fhir.put(name, resource(*key, self.text()))
            assert answer.status in (200, 201), (answer.status, answer.body)
            self.note(key, answer.json)
        elif dice < .8:
            answer = fhir.delete(name)
            versions = self.log.get(key)
            assert answer.status in ((200, 204) if versions else (404,)), (answer.status, answer.body)
            if versions and versions[-1][1] is not None:
                versions.append((None, None))
        else:
            keys = {self.key() for _ in range(4)}
            body = {"resourceType": "Bundle", "type": "transaction", "entry": [
                {"resource": resource(*k, self.text()), "request": {"method": "PUT", "url": "/".join(k)}} for k in sorted(keys)]}
            answer = fhir.post("", body, Prefer="return=representation")
            assert answer.status == 200, (answer.status, answer.body)
            stored = [entry["resource"] for entry in answer.json["entry"]]
            assert len({one["meta"]["lastUpdated"] for one in stored}) == 1
            for one in stored:
                self.note((one["resourceType"], one["id"]), one)


def as_of(log, t, fhir):
    """{"Type/id": resource}, by what the writers were told."""
    out = {}
    for key, versions in log.items():
        now = None
        for i, (at, stored) in enumerate(versions):
            if at is None and i + 1 < len(versions) and versions[i + 1][0] and versions[i + 1][0] <= t:
                continue  # it was written again before
            if at is None:
                if versions[i - 1][0] > t:
                    break
                at = deleted_at(fhir, key, i + 1)
                versions[i] = (at, None)
            if at > t:
                break
            now = stored
        if now is not None:
            out["/".join(key)] = now
    return out


def deleted_at(fhir, key, version):
    entries = fhir.get(f"{key[0]}/{key[1]}/_history?_count=1000").json["entry"]
    entry, = [e for e in entries if e["request"]["method"] == "DELETE" and e["response"]["etag"] == f'W/"{version}"']
    return instant(entry["response"]["lastModified"])


class Whichever:
    """A FHIR client that asks another node each time, each with its own keys."""

    def __init__(self, servers, store, rng):
        self.servers, self.store, self.rng = servers, store, rng

    def call(self, method, path, *more, **headers):
        server = self.rng.choice(self.servers)
        if path.startswith("http"):
            path = server.url + path[path.index("/datastore/"):]
        return server.fhir(self.store).call(method, path, *more, **headers)

    def get(self, path, **headers):
        return self.call("GET", path, **headers)

    def delete(self, path, **headers):
        return self.call("DELETE", path, **headers)


class Chain:
    def __init__(self, nodes, store, rng):
        self.nodes, self.store, self.rng = nodes, store, rng
        self.fhir = Whichever(nodes.all, store, rng)
        self.copy, self.since = {}, None

    def link(self):
        """(instant, {"Type/id": resource}) of the copy behind it."""
        export = bulk.export(self.fhir, "$export" + (f"?_since={self.since}" if self.since else ""))
        manifest = export.manifest()
        assert manifest["error"] == []
        if self.since:
            for name in export.deleted(manifest):
                self.copy.pop(name, None)
        self.copy.update(export.resources(manifest))
        self.since = manifest["transactionTime"]
        assert export.cancel().status == 202
        return instant(self.since), dict(self.copy)

    def whole(self):
        """The same of a job of the control plane."""
        server, other = self.rng.sample(self.nodes.all, 2)
        done = other.wait_export(self.store, server.start_export(self.store, f"s3://out/{self.rng.randrange(1 << 40):x}"))
        assert done["JobStatus"] == "COMPLETED", done
        manifest, lines = read_export(server.folder(done["OutputDataConfig"]["S3Configuration"]["S3Uri"]))
        return instant(manifest["transactionTime"]), {"/".join(key): json.loads(line) for key, line in lines.items()}


def test_a_chain_of_exports_over_two_nodes_that_write_is_what_was_written():
    seed = int(os.environ.get("FHIRLAKE_SEED") or random.randrange(1 << 30))
    print("seed", seed)
    rng = random.Random(seed)
    nodes = Nodes(2, shared=("objects", "files"))
    for server in nodes.all:
        server.options += ["--export-files", str(nodes.dir / "files")]
    end, n = time.monotonic() + SECONDS, 0
    with nodes:
        while n == 0 or time.monotonic() < end:
            store = nodes.all[0].create_store()
            chain, log = Chain(nodes, store, rng), {}
            for _ in range(1 if not LONG else 5):
                fhirs = [server.fhir(store) for server in nodes.all]
                writers = [Writer(f"w{n}-{i}", fhirs, {}, random.Random(rng.random())) for i in range(3)]
                for writer in writers:
                    writer.log.update({k: v for k, v in log.items() if k[1].startswith(f"w{n}-{writers.index(writer)}")})
                    writer.start()
                links = []
                for _ in range(LINKS):
                    time.sleep(rng.uniform(0, .5))
                    links.append(chain.whole() if rng.random() < .3 else chain.link())
                for writer in writers:
                    writer.stop = True
                for writer in writers:
                    writer.join()
                    assert writer.error is None, writer.error
                    log.update(writer.log)
                links.append(chain.link())
                for t, got in links:
                    n += 1
                    wanted = as_of(log, t, rng.choice(fhirs))
                    assert got.keys() == wanted.keys(), (seed, t, sorted(got.keys() ^ wanted.keys())[:5])
                    for name, one in wanted.items():
                        assert got[name] == one, (seed, t, name)
            nodes.all[0].client().delete_fhir_datastore(DatastoreId=store)
    print(f"{n} exports, each as of its instant")
