"""Rates of callers and of data stores, on both planes, and clients that try again."""
import http.client
import os
import subprocess
import time

import botocore.config
import boto3
import pytest

from backend import OURS, Backend, ClientKey, register
from fhirlake import BIN, Answer, Server, patient, wait
from identity import Idp, smart_store
from test_policies import Callers, allow, said

pytestmark = [pytest.mark.sanitize, pytest.mark.once]


class Limited(Callers):
    def __init__(self, folder, rates):
        (folder / "rates").write_text(rates)
        super().__init__(folder, {"admin": None, "app": None, "reader": [allow("healthlake:Read*")]}, "--roles", "none",
                         "--quotas", str(folder / "rates") if rates != "healthlake" else rates)

    def patient_client(self, name):
        """A client that tries again, as SDKs do by themselves."""
        key, secret = self.secrets[name]
        return boto3.client("healthlake", endpoint_url=self.url, region_name="us-east-1", aws_access_key_id=key,
                            aws_secret_access_key=secret,
                            config=botocore.config.Config(retries={"total_max_attempts": 10, "mode": "standard"}))


def until_refused(call, most=200):
    """The first answer that is 429, after so many that were not."""
    for n in range(most):
        answer = call()
        if answer.status == 429:
            return n, answer
    raise AssertionError("never refused")


def test_an_sdk_that_tries_again_gets_through(tmp_path):
    with Limited(tmp_path, "[caller]\nListFHIRDatastores = 60/min\n") as server:
        client, impatient = server.patient_client("app"), server.as_("admin")
        tries = []
        client.meta.events.register("before-send.*.*", lambda **k: tries.append(1))
        calls, told = 0, set()
        while calls < 64 or (len(tries) == calls and calls < 2000):  # a slow machine may be slower than its rate for a while
            assert client.list_fhir_datastores()["DatastorePropertiesList"] == []
            calls += 1
        assert len(tries) > calls, "it was refused meanwhile"
        for _ in range(2000):
            told.add(said(impatient.list_fhir_datastores)[0])
            if len(told) > 1:
                break
        assert told == {"OK", "ThrottlingException"}


def test_a_refusal_of_the_control_plane_is_a_429_that_says_how_long_to_wait(tmp_path):
    with Limited(tmp_path, "healthlake") as server:
        client = server.as_("app")
        client.create_fhir_datastore(DatastoreTypeVersion="R4")
        with pytest.raises(client.exceptions.ThrottlingException) as refused:
            client.create_fhir_datastore(DatastoreTypeVersion="R4")
        told = refused.value.response
        assert told["ResponseMetadata"]["HTTPStatusCode"] == 429
        assert told["Error"]["Message"] == "Rate exceeded: CreateFHIRDatastore of one caller, 1 a minute"
        assert 1 <= int(told["ResponseMetadata"]["HTTPHeaders"]["retry-after"]) <= 60
        # another caller has his own
        server.as_("admin").create_fhir_datastore(DatastoreTypeVersion="R4")


def test_a_refusal_of_the_data_plane_is_a_429_and_who_waits_gets_through(tmp_path):
    with Limited(tmp_path, "[caller]\nread = 60/min\nsearch-get = 5/min\n") as server:
        store = server.create_store(server.as_("admin"))
        app, admin = server.rest("app", store), server.rest("admin", store)
        assert admin.put("Patient/p", patient("p")).status == 201
        began = time.monotonic()
        n, answer = until_refused(lambda: app.get("Patient?name=x"))
        assert 5 <= n <= 5 + (time.monotonic() - began) / 12 and answer.json["issue"][0]["code"] == "throttled"
        assert answer.text == "Rate exceeded: search-get of one caller, 5 a minute"
        assert 1 <= int(answer.headers["Retry-After"]) <= 12
        # other kinds, and other callers, have what they had
        assert app.get("Patient/p").status == 200
        assert admin.get("Patient?name=x").status == 200
        _, answer = until_refused(lambda: app.get("Patient/p"))
        assert answer.headers["Retry-After"] == "1"
        wait(lambda: app.get("Patient/p").status, {200})


def test_a_data_store_has_a_rate_for_all_its_callers_and_rights_come_first(tmp_path):
    with Limited(tmp_path, "[datastore]\nread = 20/min\nDescribeFHIRDatastore = 40/min\n") as server:
        first, second = (server.create_store(server.as_("admin")) for _ in range(2))
        assert server.rest("admin", first).put("Patient/p", patient("p")).status == 201
        for _ in range(50):  # none of these is counted: he may not search, there is no such data store
            assert server.rest("reader", first).get("Patient").status == 403
            assert server.rest("admin", "f" * 32).get("Patient/p").status == 404
        got = [server.rest(("app", "reader")[i % 2], first).get("Patient/p").status for i in range(20)]
        assert got == [200] * 20
        # a slow machine may have given time for some more
        n, answer = until_refused(lambda: server.rest("admin", first).get("Patient/p"))
        assert n < 20 and "read of one data store, 20 a minute" in answer.text
        assert server.rest("app", second).get("Patient/p").status == 404
        client = server.as_("app")
        told = [said(client.describe_fhir_datastore, DatastoreId=second)[0]]
        while len(told) < 2000 and told[-1] == "OK":
            told.append(said(client.describe_fhir_datastore, DatastoreId=second)[0])
        assert told[0] == "OK" and told[-1] == "ThrottlingException"
        assert server.as_("app").describe_fhir_datastore(DatastoreId=first)


def test_writes_count_by_their_size_and_bundles_too(tmp_path):
    with Limited(tmp_path, "[caller]\nwrite = 100/min\nsearch-get = 3/min\n") as server:
        store = server.create_store(server.as_("admin"))
        app, admin = server.rest("app", store), server.rest("admin", store)
        large = {"resourceType": "Patient", "id": "l", "name": [{"family": "x" * 60 * 1024}]}
        assert app.put("Patient/l", large).status == 201
        n, answer = until_refused(lambda: app.put("Patient/l", large))
        assert "write of one caller, 100 a minute" in answer.text
        assert app.put("Patient/s", patient("s")).status == 201 or n > 0
        searches = [{"request": {"method": "GET", "url": "Patient?name=x"}} for _ in range(5)]
        batch = app.post("", {"resourceType": "Bundle", "type": "batch", "entry": searches})
        assert batch.status == 200
        assert [e["response"]["status"][:3] for e in batch.json["entry"]] == ["200"] * 3 + ["429"] * 2
        # a transaction of more searches than the bucket holds passes, and is paid afterwards
        whole = admin.post("", {"resourceType": "Bundle", "type": "transaction", "entry": searches})
        assert whole.status == 200 and len(whole.json["entry"]) == 5
        assert admin.get("Patient?name=x").status == 429
        again = admin.post("", {"resourceType": "Bundle", "type": "transaction", "entry": searches})
        assert again.status == 429 and again.headers["Retry-After"]
        assert admin.put("Patient/s", patient("s")).status == 200


@pytest.mark.parametrize("rates, says", [
    ("[caller]\nreed = 1/s\n", 'line 2: "reed" is no kind of request; is "read" meant?'),
    ("[caller]\nread = fast\n", "line 2: read takes a rate such as 100/s or 1/min, or none"),
    ("[datastore]\nCreateFHIRDatastore = 1/s\n", "line 2"), (None, "No such file"),
], ids=range(4))
def test_a_file_that_is_broken_refuses_the_start(tmp_path, rates, says):
    if rates:
        (tmp_path / "rates").write_text(rates)
    done = subprocess.run([str(BIN), "serve", "--data", str(tmp_path / "data"), "--listen", "127.0.0.1:0", "--quotas",
                           str(tmp_path / "rates")], capture_output=True, text=True, timeout=60,
                          env={k: v for k, v in os.environ.items() if not k.startswith("FHIRLAKE_")})
    assert done.returncode == 1 and says in done.stderr and "--quotas" in done.stderr, done.stderr


def test_the_rates_of_healthlake_are_those_of_the_guide(tmp_path):
    with Limited(tmp_path, "healthlake") as server:
        store = server.create_store(server.patient_client("admin"))
        app = server.rest("app", store)
        kick_off = {"Prefer": "respond-async"}
        assert app.get("$export", **kick_off).status == 202
        _, answer = until_refused(lambda: app.get("$export", **kick_off))
        assert "export-get of one caller, 1 a second" in answer.text
        assert app.post("$export", None, **kick_off).status == 202


# ---- paths that are open to all ----

def test_strangers_are_counted_by_their_addresses_and_take_nothing_from_callers(tmp_path):
    """Discovery and metadata of a data store with SMART on FHIR need no signature."""
    idp = Idp()
    (tmp_path / "rates").write_text("base = healthlake\n[caller]\ncapabilities = 2/min\n")
    with Server(None, "--identity-providers", str(idp.file(tmp_path / "idp")), "--quotas", str(tmp_path / "rates")) as server:
        store = smart_store(server, idp.url)

        def ask(path, address="127.0.0.1", method="GET"):
            connection = http.client.HTTPConnection(server.url.split("//")[1], timeout=60, source_address=(address, 0))
            connection.request(method, f"/datastore/{store}/r4/{path}")
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            return Answer(answer.status, answer.headers, body)

        n, refused = until_refused(lambda: ask(".well-known/smart-configuration"))
        assert n >= 10 and refused.text == "Rate exceeded: discovery of one caller, 10 a minute"
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        # HEAD is the same, another address is another one, and metadata has a rate of its own
        assert until_refused(lambda: ask(".well-known/smart-configuration", method="HEAD"))[0] < 10
        assert ask(".well-known/smart-configuration", "127.0.0.2").status == 200
        assert ask("metadata").status == 200
        n, refused = until_refused(lambda: ask("metadata", "127.0.0.3"))
        assert n >= 2 and refused.text == "Rate exceeded: capabilities of one caller, 2 a minute"
        # whoever signs has his own
        assert server.fhir(store).get("Patient").status == 200
    idp.close()


# ---- tokens of our own ----

def test_tokens_are_counted_by_address_and_by_who_proved_to_be_a_client(tmp_path):
    (tmp_path / "rates").write_text("[caller]\ntoken = 2/min\n")
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    key = ClientKey()
    for name in ("one", "other"):
        register(data, name, [key])
    with Server(data, "--quotas", str(tmp_path / "rates")) as server:
        store = server.create_store(IdentityProviderConfiguration=OURS)
        one, other = (Backend(server, store, name, key) for name in ("one", "other"))

        def elsewhere(client):
            client.move()
            return client.ask()

        def refused(answer):
            assert set(answer.json) == {"error", "error_description"} and answer.json["error"] == "temporarily_unavailable"
            assert answer.headers["Cache-Control"] == "no-store" and 1 <= int(answer.headers["Retry-After"]) <= 60
            assert answer.headers["Content-Type"] == "application/json"

        # an address is counted whatever it brings; the client whose name it took, and other addresses, have what they had
        n, answer = until_refused(Backend(server, store, "one", ClientKey()).ask)
        assert n >= 2
        refused(answer)
        assert elsewhere(one).status == 200
        # a client is counted wherever it comes from, when it has proved who it is
        n, answer = until_refused(lambda: elsewhere(one))
        assert n >= 1
        refused(answer)
        assert elsewhere(other).status == 200
        wait(lambda: "rate exceeded" in server.log_text(), {True})
