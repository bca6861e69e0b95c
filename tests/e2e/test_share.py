"""One caller who asks for much, beside others: everybody has a share, work without an end has one, and nobody is worked for who left."""
import concurrent.futures
import contextlib
import http.client
import json
import re
import threading
import time
import urllib.parse

import pytest

from fhirlake import SANITIZED, Fhir, Server, wait

pytestmark = [pytest.mark.sanitize, pytest.mark.threads]

N = 300 if SANITIZED else 1500
# each level finds everybody, and sixty of them are asked one after the other
SLOW = "&".join(["_has:Observation:subject:subject:Patient.gender:not=female"] * 60)
KEYS = {"hostile": ("AKIAHOSTILE", "h" * 40), "honest": ("AKIAHONEST", "o" * 40), "leaver": ("AKIALEAVER", "l" * 40)}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    data = tmp_path_factory.mktemp("share") / "data"
    data.mkdir(mode=0o700)
    (data / "credentials").write_text("".join(
        f"[{name}]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n" for name, (key, secret) in KEYS.items()))
    (data / "credentials").chmod(0o600)
    with Server(data) as server:
        client = server.client(*KEYS["hostile"])
        server.theirs, server.ours = server.create_store(client), server.create_store(client)
        server.put_object("s3://input/share/Patient.ndjson", "".join(
            json.dumps({"resourceType": "Patient", "id": f"p{i}", "gender": "male"}) + "\n" for i in range(N)))
        server.put_object("s3://input/share/Observation.ndjson", "".join(json.dumps({
            "resourceType": "Observation", "id": f"o{i}", "status": "final", "code": {"text": "x"},
            "subject": {"reference": f"Patient/p{i}"}}) + "\n" for i in range(N)))
        server.wait_import(server.theirs, server.start_import(server.theirs, "s3://input/share/", client=client), client=client)
        yield server


def fhir(server, who, store):
    return Fhir(f"{server.url}/datastore/{store}/r4", KEYS[who])


class Hogs:
    """So many requests of the hostile caller at any time: who has an answer asks again, until all leave, a second after the others
    had their answers."""

    def __init__(self, server, n, ask):
        self.server, self.n, self.ask = server, n, ask
        self.caller = fhir(server, "hostile", server.theirs)
        self.left, self.answers = threading.Event(), []
        self.pool = concurrent.futures.ThreadPoolExecutor(n)
        self.asking = [self.pool.submit(self.work) for _ in range(n)]

    def work(self):
        while not self.left.is_set():
            try:
                self.answers.append(self.ask(self.caller))
            except (OSError, http.client.HTTPException):
                assert self.left.is_set(), "nobody else ends a request"
                return
            if self.answers[-1].status == 429:
                self.left.wait(int(self.answers[-1].headers["Retry-After"]))

    def __enter__(self):
        wait(lambda: len(self.caller.under_way) + len(self.answers) >= self.n, {True})
        time.sleep(0.3)  # they are on their way
        return self

    def __exit__(self, *failed):
        time.sleep(1)
        self.left.set()
        before = self.worked_on()
        while not all(a.done() for a in self.asking):  # those that were only about to connect are to leave, too
            self.caller.hang_up()
            time.sleep(0.05)
        self.pool.shutdown()
        if failed[0]:
            return
        for a in self.asking:
            a.result()
        # they were still being worked on when the others had their answers
        wait(lambda: self.worked_on() > before, {True})

    def worked_on(self):
        """Requests that have ended by now and were not refused."""
        return len(re.findall(r" request .* status=(?!429).*key=AKIAHOSTILE ", self.server.log_text()))


def honest_work(server):
    """One of everything that waits for a thread, in another data store."""
    us = fhir(server, "honest", server.ours)
    made = us.post("Patient", {"resourceType": "Patient", "gender": "other"})
    assert made.status == 201
    assert us.get("Patient?gender=other").json["entry"]
    assert us.post("Patient", {"resourceType": "Patient"}, If_None_Exist="_id=" + made.json["id"]).status == 200
    assert us.delete("Patient?_id=" + made.json["id"]).status == 204
    entry = {"request": {"method": "GET", "url": "Patient?gender=other"}}
    assert us.post("", {"resourceType": "Bundle", "type": "batch", "entry": [entry]}).status == 200
    assert us.get("Patient/_history").status == 200


def leave(server, path, n, timeout):
    """So many requests at once of one who leaves: each ends as cancelled, or was done before. The first that were all under way."""
    us = fhir(server, "leaver", server.theirs)
    us.timeout = timeout

    def told():
        return re.findall(r" request op=search-type .*key=AKIALEAVER .*", server.log_text())

    def ask():
        with contextlib.suppress(TimeoutError):
            us.get(path)
    for _ in range(20):
        before = len(told())
        with concurrent.futures.ThreadPoolExecutor(n) as pool:
            for asked in [pool.submit(ask) for _ in range(n)]:
                asked.result()
        wait(lambda: len(told()), {before + n})
        if all("error=cancelled" in line for line in told()[before:]):
            return
        us.timeout /= 2  # it was too quick for us
    raise AssertionError(told())


def test_work_ends_when_its_caller_hangs_up(place):
    leave(place, f"Patient?_count=1&{SLOW}&{SLOW}", 3, 0.3)
    assert "rest_failed" not in place.log_text()


@pytest.fixture
def giant(place):
    """One resource as large as they may be, and a query that compares all of it with each of thousands of values."""
    owner = fhir(place, "hostile", place.theirs)
    text = "é" * 2_300_000
    body = json.dumps({"resourceType": "Patient", "id": "giant", "address": [{"text": text}]}, ensure_ascii=False).encode()
    assert owner.put("Patient/giant", body, x_amzn_healthlake_fhir_validation_level="minimal").status in (200, 201)
    terms = ",".join(f"z{i:02x}" for i in range(80)) + ",é"
    yield "Patient?_id=giant&" + "&".join(["address:contains=" + urllib.parse.quote(terms)] * 58)
    owner.delete("Patient/giant")


def test_comparing_one_resource_ends_when_its_caller_hangs_up(place, giant):
    leave(place, giant, 1, 1)


@pytest.mark.parametrize("kind,n", [("searches", 60), ("conditional deletes", 60), ("totals", 60), ("batches", 12),
                                    ("sorted searches", 60), ("chained references", 12)])
def test_others_are_served_while_one_keeps_all_that_he_can_busy(place, kind, n):
    slow = {"request": {"method": "GET", "url": f"Patient?_count=1&{SLOW}"}}
    linked = {"request": {"method": "POST", "url": "Observation"},
              "resource": {"resourceType": "Observation", "status": "final", "code": {"text": "x"},
                           "subject": {"reference": f"Patient?{SLOW}"}}}
    ask = {"searches": lambda f: f.get(f"Patient?_count=1&{SLOW}"),
           "conditional deletes": lambda f: f.delete(f"Patient?{SLOW}&name=nobody"),
           "totals": lambda f: f.get(f"Patient?_count=1&_total=accurate&{SLOW}"),
           "sorted searches": lambda f: f.get(f"Patient?_count=1&_sort=-_lastUpdated&{SLOW}"),
           "batches": lambda f: f.post("", {"resourceType": "Bundle", "type": "batch", "entry": [slow] * 8}),
           "chained references": lambda f: f.post("", {"resourceType": "Bundle", "type": "transaction", "entry": [linked]}),
           }[kind]
    with Hogs(place, n, ask) as hogs:
        honest_work(place)
    for answer in hogs.answers:
        assert answer.status in {200, 404, 412, 429, 504}, answer.body
        if answer.status in (429, 504):
            assert answer.json["issue"][0]["code"] == {429: "throttled", 504: "timeout"}[answer.status]
        if answer.status == 429:
            assert answer.headers["Retry-After"]
    honest_work(place)


def test_a_token_of_a_list_is_its_callers_alone(place):
    hostile, honest = (place.client(*KEYS[who]) for who in ("hostile", "honest"))
    token = hostile.list_fhir_datastores(MaxResults=1)["NextToken"]
    assert hostile.list_fhir_datastores(NextToken=token)["DatastorePropertiesList"]
    with pytest.raises(honest.exceptions.ValidationException, match="NextToken"):
        honest.list_fhir_datastores(NextToken=token)


def test_others_are_served_while_single_resources_are_compared(place, giant):
    with Hogs(place, 60, lambda f: f.get(giant)) as hogs:
        honest_work(place)
    for answer in hogs.answers:
        assert answer.status in {400, 429, 504}, answer.body


def test_an_export_that_compares_one_resource_can_be_cancelled(place, giant):
    us = fhir(place, "hostile", place.theirs)
    kick = us.post("$export", {"resourceType": "Parameters", "parameter": [
        {"name": "_typeFilter", "valueString": giant.replace("_id=giant&", "", 1)}]}, Prefer="respond-async")
    assert kick.status == 202
    status = kick.headers["Content-Location"].split("/r4/")[1]
    time.sleep(1)
    assert us.get(status).status == 202
    assert us.delete(status).status == 202
    plain = us.get("$export?_type=Observation", Prefer="respond-async")
    assert plain.status == 202
    wait(lambda: us.get(plain.headers["Content-Location"].split("/r4/")[1]).status, {200}, timeout=60)
