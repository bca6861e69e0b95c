"""A client of the Bulk Data guide, as its clauses describe one."""
import contextlib
import json
import time

from fhirlake import Answer

ASYNC = {"Prefer": "respond-async", "Accept": "application/fhir+json"}


class Export:
    """One export that was kicked off: its status URL, and what comes of it."""

    def __init__(self, fhir, kick):
        self.fhir, self.kick = fhir, kick
        self.url = kick.headers["Content-Location"]
        self.id = self.url.rsplit("/", 1)[1]
        self.waits = []  # every answer before the last

    def status(self):
        return self.fhir.get(self.url, Accept="application/json")

    def wait(self, timeout=300):
        end = time.monotonic() + timeout
        while True:
            answer = self.status()
            if answer.status == 429:  # it takes very long, and we come very often
                time.sleep(int(answer.headers["Retry-After"]))
                continue
            if answer.status != 202:
                return answer
            self.waits.append(answer)
            assert time.monotonic() < end, "still running"
            time.sleep(0.02)

    def manifest(self):
        done = self.wait()
        assert done.status == 200, done.body
        return done.json

    def cancel(self):
        return self.fhir.delete(self.url)

    def lines(self, section="output", manifest=None):
        """(type of the manifest, parsed line) of every file of a section."""
        out = []
        for item in (manifest or self.manifest())[section]:
            file = self.fhir.get(item["url"], Accept="application/fhir+ndjson")
            assert file.status == 200, (item["url"], file.status, file.body)
            assert file.headers["Content-Type"].startswith("application/fhir+ndjson")
            lines = file.body.split(b"\n")
            assert lines.pop() == b"" and len(lines) == item["count"] and len(file.body) == item["fileSize"]
            out += [(item["type"], json.loads(line)) for line in lines]
        return out

    def resources(self, manifest=None):
        """{"Type/id": resource}; each once."""
        got = {}
        for type, resource in self.lines("output", manifest):
            assert resource["resourceType"] == type
            key = f"{type}/{resource['id']}"
            assert key not in got, f"{key} twice"
            got[key] = resource
        return got

    def deleted(self, manifest=None):
        """{"Type/id"} of the deletions."""
        got = []
        for type, bundle in self.lines("deleted", manifest):
            assert type == "Bundle" and bundle["resourceType"] == "Bundle" and bundle["type"] == "transaction"
            for entry in bundle["entry"]:
                assert entry["request"]["method"] == "DELETE" and "resource" not in entry
                got.append(entry["request"]["url"])
        assert len(got) == len(set(got))
        return set(got)

    def outcomes(self, manifest=None):
        return [outcome for _, outcome in self.lines("error", manifest)]


def parameters(*pairs, **named):
    """A Parameters resource; values by their Python type."""
    def value(v):
        return ({"valueBoolean": v} if isinstance(v, bool) else {"valueInteger": v} if isinstance(v, int)
                else v if isinstance(v, dict) else {"valueString": v})
    return {"resourceType": "Parameters",
            "parameter": [{"name": n, **value(v)} for n, v in [*pairs, *named.items()]]}


def kick(fhir, path="$export", body=None, **headers) -> Answer:
    headers = {**ASYNC, **{k.replace("_", "-"): v for k, v in headers.items()}}
    return fhir.call("GET" if body is None else "POST", path, None if body == "" else body, **headers)


def export(fhir, path="$export", body=None, **headers):
    answer = kick(fhir, path, body, **headers)
    assert answer.status == 202, (answer.status, answer.body)
    return Export(fhir, answer)


@contextlib.contextmanager
def backing_up(server):
    """Within this, erasures do not end: as while `fhirlake backup` copies from a snapshot."""
    snapshot = server.data / "backup"
    snapshot.mkdir()
    try:
        yield
    finally:
        snapshot.rmdir()


@contextlib.contextmanager
def held(server, fhir):
    """Jobs that are asked for within this wait for its end: an erasure is before them."""
    assert fhir.put("Basic/held", {"resourceType": "Basic", "id": "held", "code": {"text": "x"}}).status == 201
    with backing_up(server):
        assert fhir.post("Basic/held/$erase", None, content_type=None).status == 202
        yield


def refused(fhir, path="$export", body=None, **headers):
    """The texts of a refusal, which is an OperationOutcome and no job."""
    answer = kick(fhir, path, body, **headers)
    assert 400 <= answer.status < 500, (answer.status, answer.body)
    assert answer.headers["Content-Type"].startswith("application/fhir+json")
    assert "Content-Location" not in answer.headers
    assert all(i["severity"] == "error" for i in answer.json["issue"])
    return answer.text
