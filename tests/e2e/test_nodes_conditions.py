"""Two processes on one database: conditional writes, data stores, tokens and lists, as one of them and then the other is asked."""
import concurrent.futures
import http.client
import json
import shutil
import time
import urllib.parse
import uuid

import pytest

import postgres
from backend import FORM, JWT_BEARER, OURS, ClientKey, WithToken, register
from fhirlake import Fhir, Server, wait

pytestmark = [pytest.mark.skipif(postgres.INSTALLED is None, reason=postgres.NOT_INSTALLED), pytest.mark.once]
PUBLIC = "https://fhir.example"
KEY = ClientKey()
ROUNDS, EACH = 12, 3  # of races; requests of a node in each


class Nodes(list):
    """Two servers on one database, with the same callers and clients, as behind one name."""

    def __init__(self, folder):
        self.pg = postgres.server()
        self.database = self.pg.database()
        (folder / "a").mkdir(mode=0o700)
        register(folder / "a", "app", [KEY], "system/*.rs")
        try:
            self.append(self._start(folder / "a"))
            shutil.copytree(folder / "a", folder / "b", ignore=lambda path, names: {*names} - {"credentials", "smart-clients"})
            self.append(self._start(folder / "b"))
        except AssertionError:
            self.close()
            raise

    def _start(self, data):
        one = Server(data, "--store", self.pg.uri(self.database), "--public-url", PUBLIC)
        return one.start()

    def close(self):
        for one in self:
            assert one.stop() == 0, one.log_text()[-3000:]
        self.pg.drop(self.database)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    both = Nodes(tmp_path_factory.mktemp("nodes"))
    yield both
    both.close()


@pytest.fixture
def fhirs(nodes):
    """The API of a new data store, at each node."""
    store = nodes[0].create_store()
    return [node.fhir(store) for node in nodes]


def race(*tasks):
    """All at once; what each gave, in order."""
    with concurrent.futures.ThreadPoolExecutor(len(tasks)) as pool:
        return [f.result() for f in [pool.submit(task) for task in tasks]]


def found(fhir, path):
    return [e["resource"] for e in fhir.get(path).json.get("entry", [])]


# ---- conditional writes ----

def test_of_conditional_creates_on_both_one_creates(fhirs):
    def create(fhir, key):
        return lambda: fhir.post("Patient", {"resourceType": "Patient", "identifier": [{"value": key}]},
                                 **{"If-None-Exist": f"identifier={key}"})

    def plain(fhir, i):
        return lambda: fhir.post("Patient", {"resourceType": "Patient", "identifier": [{"value": f"other-{i}"}]})
    for i in range(ROUNDS):
        tasks = [create(fhir, f"key-{i}") for fhir in fhirs for _ in range(EACH)]
        # writers that nobody asks about are in nobody's way
        got = race(*tasks, *(plain(fhir, i) for fhir in fhirs))
        statuses = sorted(a.status for a in got[:len(tasks)])
        assert statuses.count(201) == 1 and {*statuses} <= {200, 201}, statuses
        assert {a.status for a in got[len(tasks):]} == {201}
        for fhir in fhirs:
            assert len(found(fhir, f"Patient?identifier=key-{i}")) == 1
        [one] = found(fhirs[0], f"Patient?identifier=key-{i}")
        assert {a.json["id"] for a in got[:len(tasks)]} == {one["id"]}


def test_updates_by_search_on_both_make_one_resource_and_lose_none(fhirs):
    for i in range(ROUNDS // 2):
        tasks = [lambda fhir=fhir, k=k: fhir.put(
            f"Patient?identifier=key-{i}", {"resourceType": "Patient", "identifier": [{"value": f"key-{i}"}],
                                            "multipleBirthInteger": k}) for k, fhir in enumerate(fhirs * EACH)]
        statuses = [a.status for a in race(*tasks)]
        assert statuses.count(201) == 1 and {*statuses} <= {200, 201}, statuses
        [one] = found(fhirs[1], f"Patient?identifier=key-{i}")
        assert one["meta"]["versionId"] == str(len(tasks))


def test_a_counter_that_both_count_up_by_version_loses_no_step(fhirs):
    assert fhirs[0].put("Basic/n", {"resourceType": "Basic", "id": "n", "code": {"text": "0"}}).status == 201

    def count(fhir):
        done = 0
        while done < ROUNDS:
            got = fhir.get("Basic/n")
            n = int(got.json["code"]["text"]) + 1
            answer = fhir.put("Basic/n", {"resourceType": "Basic", "id": "n", "code": {"text": str(n)}},
                              **{"If-Match": got.headers["ETag"]})
            assert answer.status in (200, 412), answer.body
            done += answer.status == 200
    race(*(lambda fhir=fhir: count(fhir) for fhir in fhirs * 2))
    for fhir in fhirs:
        got = fhir.get("Basic/n").json
        assert got["code"]["text"] == str(4 * ROUNDS) and got["meta"]["versionId"] == str(4 * ROUNDS + 1)


def test_transactions_on_both_refer_to_one_patient(fhirs):
    def bundle(key):
        return {"resourceType": "Bundle", "type": "transaction", "entry": [
            {"request": {"method": "POST", "url": "Patient", "ifNoneExist": f"identifier={key}"},
             "resource": {"resourceType": "Patient", "identifier": [{"value": key}]}},
            {"request": {"method": "POST", "url": "Observation"},
             "resource": {"resourceType": "Observation", "status": "final", "code": {"text": key},
                          "subject": {"reference": f"Patient?identifier={key}"}}}]}
    for i in range(ROUNDS // 2):
        got = race(*(lambda fhir=fhir: fhir.post("", bundle(f"key-{i}")) for fhir in fhirs * 2))
        assert {a.status for a in got} == {200}, [a.body for a in got]
        [one] = found(fhirs[0], f"Patient?identifier=key-{i}")
        assert len(found(fhirs[1], f"Observation?subject=Patient/{one['id']}")) == 4


def test_an_idempotency_key_creates_once_whoever_has_it(fhirs):
    key = str(uuid.uuid4())
    got = race(*(lambda fhir=fhir: fhir.post("Patient", {"resourceType": "Patient"}, **{"x-amz-fhir-idempotency-key": key})
                 for fhir in fhirs * EACH))
    assert sorted(a.status for a in got)[0] == 201 and len([a for a in got if a.status == 201]) == 1, [a.status for a in got]
    assert len(found(fhirs[0], "Patient")) == 1


# ---- pages ----

def test_a_page_that_one_gave_goes_on_at_the_other(nodes, fhirs):
    for i in range(5):
        assert fhirs[i % 2].put(f"Patient/p{i}", {"resourceType": "Patient", "id": f"p{i}"}).status == 201
    page, seen, at = fhirs[0].get("Patient?_count=2").json, [], 0
    while True:
        seen += [e["resource"]["id"] for e in page["entry"]]
        links = [link["url"] for link in page["link"] if link["relation"] == "next"]
        if not links:
            break
        at = 1 - at
        assert links[0].startswith(PUBLIC)
        page = fhirs[at].get(links[0].replace(PUBLIC, nodes[at].url)).json
    assert sorted(seen) == [f"p{i}" for i in range(5)]


# ---- data stores ----

def test_one_token_makes_one_data_store(nodes):
    token = str(uuid.uuid4())
    made = race(*(lambda node=node: node.client().create_fhir_datastore(DatastoreTypeVersion="R4", ClientToken=token)["DatastoreId"]
                  for node in [*nodes] * 2))
    assert len({*made}) == 1
    wait(lambda: nodes[1].client().describe_fhir_datastore(DatastoreId=made[0])["DatastoreProperties"]["DatastoreStatus"], {"ACTIVE"})


def test_tags_of_both_are_there(nodes):
    arn = nodes[0].client().describe_fhir_datastore(DatastoreId=nodes[0].create_store())["DatastoreProperties"]["DatastoreArn"]
    names = [f"tag-{i}" for i in range(12)]
    race(*(lambda name=name, i=i: nodes[i % 2].client(retries=5).tag_resource(ResourceARN=arn, Tags=[{"Key": name, "Value": "x"}])
           for i, name in enumerate(names)))
    assert sorted(t["Key"] for t in nodes[0].client().list_tags_for_resource(ResourceARN=arn)["Tags"]) == sorted(names)


def test_a_data_store_that_one_deletes_takes_nothing_from_the_other(nodes):
    store = nodes[0].create_store()
    fhir = nodes[1].fhir(store)
    assert fhir.put("Patient/p", {"resourceType": "Patient", "id": "p"}).status == 201
    client = nodes[0].client()
    client.delete_fhir_datastore(DatastoreId=store)

    def status():
        answer = fhir.put("Patient/p", {"resourceType": "Patient", "id": "p"})
        assert answer.status in (200, 404, 409, 410), answer.body
        return answer.status
    # for a second it may go by what it knew; then it knows, too
    wait(status, {404})
    wait(lambda: client.describe_fhir_datastore(DatastoreId=store)["DatastoreProperties"]["DatastoreStatus"], {"DELETED"})
    assert fhir.get("Patient/p").status == 404


def test_what_a_node_was_making_when_it_was_killed_another_makes(nodes, tmp_path):
    third = Server(tmp_path / "c", "--store", nodes.pg.uri(nodes.database), "--preload-patients", "1000000").start()  # without an end
    store = third.client().create_fhir_datastore(DatastoreTypeVersion="R4", PreloadDataConfig={"PreloadDataType": "SYNTHEA"})["DatastoreId"]
    third.kill()
    # its lease ends, and somebody looks
    wait(lambda: nodes[0].client().describe_fhir_datastore(DatastoreId=store)["DatastoreProperties"]["DatastoreStatus"], {"ACTIVE"})
    assert found(nodes[1].fhir(store), "Patient?_count=1")


# ---- tokens ----

def ask_token(node, store, assertion):
    form = {"grant_type": "client_credentials", "scope": "system/*.rs", "client_assertion_type": JWT_BEARER, "client_assertion": assertion}
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(node.url).netloc, timeout=120)
    try:
        connection.request("POST", f"/datastore/{store}/r4/auth/token", urllib.parse.urlencode(form), {"Content-Type": FORM})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_an_assertion_is_good_once_and_its_token_everywhere(nodes):
    store = nodes[0].create_store(IdentityProviderConfiguration=OURS)
    url = f"{PUBLIC}/datastore/{store}/r4/auth/token"
    for i in range(4):
        assertion = KEY.jwt({"iss": "app", "sub": "app", "aud": url, "exp": int(time.time()) + 200, "jti": str(uuid.uuid4())})
        got = race(*(lambda node=node: ask_token(node, store, assertion) for node in nodes))
        assert sorted(status for status, _ in got) == [200, 401], got
        [token] = [said["access_token"] for status, said in got if status == 200]
        assert [said["error"] for status, said in got if status == 401] == ["invalid_client"]
        for node in nodes:
            fhir = Fhir(f"{node.url}/datastore/{store}/r4", None)
            assert WithToken(fhir, token).get("Patient").status == 200
    told = [Fhir(f"{node.url}/datastore/{store}/r4", None).get("auth/jwks").json for node in nodes]
    assert told[0] == told[1] and len(told[0]["keys"]) == 1
