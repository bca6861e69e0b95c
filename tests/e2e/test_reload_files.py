"""Files beside the callers' that change while the server runs: rates, roles, identity providers, tokens, our own keys,
authorities of callers.
The callers' own are in test_reload.py, the certificate that is shown in test_tls.py."""
import datetime
import http.client
import json
import re
import signal
import ssl
import threading
import urllib.error
import urllib.request

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from fhirlake import ROLE, Server, patient, wait
from identity import EVERYTHING, Idp, Key, claims, smart_store
from test_events import Endpoint
from test_kms import StandIn
from pki import Authority, name, write
from test_policies import said
from test_tls import ask, context, dial, tls_server

pytestmark = [pytest.mark.sanitize, pytest.mark.once]


class Rates:
    event, option, name, broken, says = "quotas", "--quotas", "rates", "[caller]\nListFHIRDatastores = secret-z\n", "line 2"

    def __init__(self, idp, folder):
        pass

    def text(self, allows):
        return f"[caller]\nListFHIRDatastores = {'none' if allows else '1/min'}\n"

    def ready(self, server):
        self.client = server.client()

    def allows(self):
        return {said(self.client.list_fhir_datastores)[0] for _ in range(2)} == {"OK"}


class Roles:
    event, option, name, says = "roles", "--roles", "roles.json", "roles[0].allow"
    broken = json.dumps({"roles": [{"arn": ROLE, "allow": ["secret-z"]}]})

    def __init__(self, idp, folder):
        pass

    def text(self, allows):
        return json.dumps({"roles": [{"arn": ROLE, "allow": ["s3://out/*" if allows else "s3://other/*"]}]})

    def ready(self, server):
        self.server, self.client, self.store = server, server.client(), server.create_store()

    def allows(self):
        try:
            self.server.start_export(self.store, client=self.client)
        except self.client.exceptions.ThrottlingException:
            return None  # so many wait already: it is asked again
        except self.client.exceptions.ClientError as e:
            assert "may not touch" in str(e), e
            return False
        return True


class Providers:
    event, option, name, says = "identity_providers", "--identity-providers", "identity.ini", "line 2"

    def __init__(self, idp, folder):
        self.idp = idp
        self.broken = f"[issuer {idp.url}]\nsecret-z = secret-z\n"
        for name, actions in (("all", "healthlake:*"), ("few", "healthlake:Create*")):
            policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
            write(folder / f"{name}.json", json.dumps(policy).encode())

    def text(self, allows):
        return (f"[issuer {self.idp.url}]\njwks_uri = {self.idp.url}/jwks\nrole = {ROLE}\n"
                f"[role {ROLE}]\npolicy = {'all' if allows else 'few'}.json\n")

    def ready(self, server):
        self.store = smart_store(server, self.idp.url)
        assert server.fhir(self.store).put("Patient/p", patient("p")).status == 201
        self.fhir = server.fhir(self.store, signed=False)
        self.token = self.idp.keys[0].token(claims(server, self.store, iss=self.idp.url))

    def allows(self):
        status = self.fhir.get("Patient/p", Authorization=f"Bearer {self.token}").status
        assert status in (200, 403)
        return status == 200


class Token:
    """Of the monitor: who has the old one is refused."""
    event, option, name, says = "metrics_token", "--metrics-token-file", "token", "one word"
    broken, more = "secret-z secret-z secret-z\n", ["--health-listen", "127.0.0.1:0"]

    def __init__(self, idp, folder):
        pass

    def text(self, allows):
        return ("the-token-that-is-right" if allows else "another-token-than-that") + "\n"

    def ready(self, server):
        self.url = re.search(r"health and metrics on (http://[^;)\s]+)", server.ready_line)[1] + "/metrics"

    def allows(self):
        try:
            urllib.request.urlopen(urllib.request.Request(self.url, headers={"Authorization": "Bearer the-token-that-is-right"}))
        except urllib.error.HTTPError as e:
            assert e.code == 401
            return False
        return True


class Own:
    """fhirlake's own keys, under which KMS is asked for a key that a request names."""
    event, option, name, says = "s3_credentials", "--s3-credentials", "own", "line 2"
    broken = "[default]\naws_access_key_id = secret-z\n"

    def __init__(self, idp, folder):
        self.kms = StandIn()
        self.more = ["--kms-endpoint", self.kms.url]

    def text(self, allows):
        return f"[default]\naws_access_key_id = AKID{'RIGHT' if allows else 'OTHER'}\naws_secret_access_key = secret-o\n"

    def ready(self, server):
        self.server, self.client, self.store = server, server.client(), server.create_store()

    def allows(self):
        self.kms.keys(k="Disabled")
        with pytest.raises(self.client.exceptions.ValidationException):
            self.server.start_export(self.store, client=self.client, key="arn:aws:kms:us-east-1:123456789012:key/k")
        return "Credential=AKIDRIGHT/" in self.kms.asked()[-1]["headers"]["authorization"]

    def end(self):
        self.kms.stop()


class EventsToken:
    """The word that goes with each event."""
    event, option, name, says = "events_token", "--events-token-file", "word", "one word"
    broken = "secret-z secret-z\n"

    def __init__(self, idp, folder):
        self.endpoint = Endpoint().__enter__()
        self.more = ["--events-url", self.endpoint.url]

    def text(self, allows):
        return ("the-word-that-is-right" if allows else "another-word") + "\n"

    def ready(self, server):
        self.server, self.store = server, server.create_store()
        self.endpoint.wait_for(self.store, "Data Store Active")

    def allows(self):
        self.endpoint.tokens.clear()
        job = self.server.start_export(self.store)
        self.endpoint.wait_for(job, "Export Job Completed")
        assert len(self.endpoint.tokens) <= 2
        # all of a job's events by one of them, or it came in between
        return None if len(self.endpoint.tokens) > 1 else self.endpoint.tokens == {"Bearer the-word-that-is-right"}

    def end(self):
        self.endpoint.__exit__()


SUBJECTS = [Rates, Roles, Providers, Token, Own, EventsToken]


@pytest.fixture
def subject(request, idp, tmp_path):
    one = request.param(idp, tmp_path)
    yield one
    if hasattr(one, "end"):
        one.end()


def options_of(subject, file):
    return [subject.option, str(file)] + getattr(subject, "more", [])


def lines(server, event, state):
    return [line for line in server.log_text().splitlines()
            if re.search(rf" (info|error) {event} ", line) and f"state={state}" in line.replace('"', "").replace("read again", "again")]


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda s: s.event, indirect=True)
def test_a_file_that_changes_counts_and_a_broken_one_does_not(subject, tmp_path):
    file = tmp_path / subject.name
    write(file, subject.text(False).encode())
    with Server(None, *options_of(subject, file)) as server:
        subject.ready(server)
        assert subject.allows() is False

        # another in its place
        write(file, subject.text(True).encode())
        wait(subject.allows, {True})

        # broken, told once with its place, and no value of it
        before = len(lines(server, subject.event, "refused"))
        write(file, subject.broken.encode())
        wait(lambda: len(lines(server, subject.event, "refused")), {before + 1})
        told = lines(server, subject.event, "refused")[-1]
        assert subject.says in told.replace("\\", "") and f"file={file}" in told.replace('"', ""), told
        assert subject.allows() is True

        # written in place, one half behind the other
        half = subject.text(False)
        with open(file, "w") as out:
            out.write(half[:len(half) // 2])
            out.flush()
            subject.allows()
            out.write(half[len(half) // 2:])
        wait(subject.allows, {False})

        # gone, and there again
        before = len(lines(server, subject.event, "refused"))
        file.unlink()
        wait(lambda: len(lines(server, subject.event, "refused")) > before, {True})
        assert "No such file" in lines(server, subject.event, "refused")[-1]
        assert subject.allows() is False
        write(file, subject.text(True).encode())
        wait(subject.allows, {True})

        # SIGHUP has it read at once, and tells what is wrong once more
        again = len(lines(server, subject.event, "again"))
        server.process.send_signal(signal.SIGHUP)
        wait(lambda: len(lines(server, subject.event, "again")) > again, {True})
        assert subject.allows() is True
        assert "secret-z" not in server.log_text()


@pytest.mark.threads
@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda s: s.event, indirect=True)
def test_a_link_that_is_turned_is_a_change(subject, tmp_path):
    """As Kubernetes has it: the file is a link into a folder that is a link, and that one is changed."""
    def turn(name, allows):
        (tmp_path / name).mkdir(mode=0o700)
        write(tmp_path / name / subject.name, subject.text(allows).encode())
        (tmp_path / "..new").symlink_to(name)
        (tmp_path / "..new").rename(tmp_path / "..data")

    tmp_path.chmod(0o700)
    turn("one", False)
    (tmp_path / subject.name).symlink_to(f"..data/{subject.name}")
    with Server(None, *options_of(subject, tmp_path / subject.name)) as server:
        subject.ready(server)
        assert subject.allows() is False
        turn("two", True)
        wait(subject.allows, {True})


# ---- identity providers ----

@pytest.mark.threads
def test_tokens_go_on_while_their_providers_are_read_again(idp, tmp_path):
    """Four clients read while the file is replaced; each answer is whole, and no connection ends."""
    subject = Providers(idp, tmp_path)
    file = tmp_path / subject.name
    write(file, subject.text(True).encode())
    with Server(None, subject.option, str(file)) as server:
        subject.ready(server)
        stop, faults, counts = threading.Event(), [], [0] * 4

        def work(i):
            connection = http.client.HTTPConnection(server.url.split("//")[1], timeout=60)
            path = f"/datastore/{subject.store}/r4/Patient/p"
            try:
                while not stop.is_set():
                    token = idp.keys[counts[i] % 2].token(claims(server, subject.store, iss=idp.url, jti=f"{i}-{counts[i]}"))
                    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
                    answer = connection.getresponse()
                    if answer.status != 200 or json.loads(answer.read())["id"] != "p":
                        faults.append(answer.status)
                    counts[i] += 1
            except Exception as e:  # told below
                faults.append(e)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        for i in range(20):
            before = len(lines(server, subject.event, "again"))
            write(file, (subject.text(True) + f"# {i}\n").encode())
            server.process.send_signal(signal.SIGHUP)
            wait(lambda: len(lines(server, subject.event, "again")) > before, {True})
        wait(lambda: all(counts) or faults != [], {True})
        stop.set()
        for t in threads:
            t.join()
        assert faults == []


def test_files_that_the_providers_file_names_are_read_again_with_it(idp, tmp_path):
    """A key that is taken out of jwks_file lets nobody in any more, also with a token that was checked before."""
    old, new = Key("ES384", "old"), Key("ES384", "new")
    write(tmp_path / "keys.json", json.dumps({"keys": [old.jwk()]}).encode())
    write(tmp_path / "all.json", json.dumps(EVERYTHING).encode())
    file = write(tmp_path / "identity.ini", (f"[issuer {idp.url}]\njwks_file = keys.json\nrole = {ROLE}\n"
                                             f"[role {ROLE}]\npolicy = all.json\n").encode())
    with Server(None, "--identity-providers", str(file)) as server:
        store = smart_store(server, idp.url)
        fhir = server.fhir(store, signed=False)

        def status(key):
            token = key.token(claims(server, store, iss=idp.url))
            return fhir.get("Patient/none", Authorization=f"Bearer {token}").status

        kept = old.token(claims(server, store, iss=idp.url))
        assert (status(old), status(new)) == (404, 401)
        assert fhir.get("Patient/none", Authorization=f"Bearer {kept}").status == 404
        write(tmp_path / "keys.json", json.dumps({"keys": [new.jwk()]}).encode())
        wait(lambda: status(new), {404})
        assert status(old) == 401
        assert fhir.get("Patient/none", Authorization=f"Bearer {kept}").status == 401
        # the policy of the role
        write(tmp_path / "all.json", b"{}")
        wait(lambda: len(lines(server, "identity_providers", "refused")), {1})
        assert "policy all.json" in lines(server, "identity_providers", "refused")[0] and status(new) == 404
        write(tmp_path / "all.json", json.dumps(EVERYTHING | {"Statement": [dict(EVERYTHING["Statement"][0], Effect="Deny")]}).encode())
        wait(lambda: status(new), {403})
        # an issuer that is gone
        write(file, f"[role {ROLE}]\npolicy = all.json\n".encode())
        wait(lambda: status(new), {503})


def test_keys_that_were_fetched_stay_when_the_file_is_read_again(tmp_path):
    """A provider that cannot be asked at that moment locks nobody out."""
    idp = Idp()
    subject = Providers(idp, tmp_path)
    file = write(tmp_path / subject.name, subject.text(True).encode())
    with Server(None, subject.option, str(file)) as server:
        subject.ready(server)
        assert subject.allows() and idp.n_asked("/jwks") == 1
        idp.published = 500
        write(file, subject.text(False).encode())
        wait(subject.allows, {False})
        assert idp.n_asked("/jwks") == 1
        # at another address they are others
        write(file, subject.text(True).replace("/jwks", "/jwks?2").encode())
        wait(lambda: subject.fhir.get("Patient/p", Authorization=f"Bearer {subject.token}").status, {503})
    idp.close()


def test_a_role_that_would_take_every_bucket_is_refused_as_at_the_start(idp, tmp_path):
    subject = Providers(idp, tmp_path)
    few = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "healthlake:*", "Resource": "*"}]})
    write(tmp_path / "all.json", few.encode())
    file = write(tmp_path / subject.name, subject.text(True).encode())
    with Server(None, subject.option, str(file)) as server:
        subject.ready(server)
        write(tmp_path / "all.json", few.replace("healthlake:*", "*").encode())
        wait(lambda: len(lines(server, subject.event, "refused")), {1})
        assert "--roles none" in lines(server, subject.event, "refused")[0] and subject.allows()


# ---- authorities of callers ----

@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pki")
    folder.chmod(0o700)
    return Authority(folder)


def revoked(of, serials=(), days=(-1, 30), signed_by=None, extensions=()):
    """A revocation list, PEM."""
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (x509.CertificateRevocationListBuilder().issuer_name(of.certificate.subject)
               .last_update(now + datetime.timedelta(days=days[0])).next_update(now + datetime.timedelta(days=days[1])))
    for serial in serials:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build())
    for extension in extensions:
        builder = builder.add_extension(extension, True)
    return builder.sign((signed_by or of).key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def serial_of(files):
    return x509.load_pem_x509_certificate(files[0].read_bytes()).serial_number


def test_callers_whose_certificates_are_revoked(authority, tmp_path):
    tmp_path.chmod(0o700)
    clients, foreign = Authority(tmp_path, "clients"), Authority(tmp_path, "foreigners")
    right = clients.issue("right", kind="client", names=[x509.DNSName("a.example")])
    lost = clients.issue("lost", kind="client", names=[x509.DNSName("b.example")])
    ways = {"right": (right, 200, ""), "revoked": (lost, 403, "has been revoked"),
            "none": (None, 403, "with a client certificate only"),
            "foreign": (foreign.issue("foreign", kind="client"), 403, "not of an authority"),
            "expired": (clients.issue("expired", kind="client", days=(-20, -2)), 403, "has expired")}
    crl = write(tmp_path / "list.pem", revoked(clients, [serial_of(lost)]))
    ca = write(tmp_path / "ca.pem", clients.ca.read_bytes())
    with tls_server(authority, "--tls-client-ca", str(ca), "--tls-client-crl", str(crl), file="crl") as server:
        def contexts(files):
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                c = context(server, minimum_version=version, maximum_version=version)
                if files:
                    c.load_cert_chain(*files)
                yield c

        def status(files):
            with dial(server, list(contexts(files))[1]) as s:
                return ask(s)[0]

        wait(lambda: bool(re.search(r"info tls_client_ca authorities=1 lists=1 until=\"?20", server.log_text())), {True})
        for way, (files, wanted, says) in ways.items():
            for c in contexts(files):
                with dial(server, c) as s:
                    got, _, body = ask(s)
                    assert got == wanted and says in body.decode(), (way, body)

        # a caller who is connected is looked at again; who is still taken goes on over the same connection
        held = dial(server, list(contexts(right))[1])
        late = clients.issue("late", kind="client", names=[x509.DNSName("c.example")])
        with dial(server, list(contexts(late))[1]) as s:
            assert ask(s)[0] == 200
            write(crl, revoked(clients, [serial_of(lost), serial_of(late)]))
            # one of these requests is the first under the new list
            wait(lambda: ask(held)[0] == 200 and ask(s)[0], {403})
        assert status(late) == 403

        # what is broken is told, and the list before counts
        other = Authority(tmp_path, "others")
        delta = x509.DeltaCRLIndicator(1)
        for i, (data, says) in enumerate([
                (b"none", "no revocation list in PEM"), (revoked(clients, signed_by=other), "not signed by"),
                (revoked(clients, days=(-20, -2)), "too old"), (revoked(other), "not signed by"),
                (revoked(clients, days=(2, 20)), "of the future"), (revoked(clients, extensions=[delta]), "changes of another")]):
            write(crl, data)
            wait(lambda: ask(held)[0] == 200 and len(lines(server, "tls_client_ca", "refused")), {i + 1})
            told = lines(server, "tls_client_ca", "refused")[-1]
            assert says in told and "--tls-client-crl" in told, told
            assert (status(right), status(lost), status(late)) == (200, 403, 403)

        # another authority beside the first: its list must be there too
        n = len(lines(server, "tls_client_ca", "refused"))
        write(ca, clients.ca.read_bytes() + foreign.ca.read_bytes())
        write(crl, revoked(clients, [serial_of(lost)]))
        wait(lambda: ask(held)[0] == 200 and any(
            "no list of authority 2" in x for x in lines(server, "tls_client_ca", "refused")[n:]), {True})
        assert status(ways["foreign"][0]) == 403
        write(crl, revoked(clients, [serial_of(lost)]) + revoked(foreign))
        wait(lambda: status(ways["foreign"][0]), {200})
        assert (status(right), status(lost), status(late)) == (200, 403, 200)

        # and in its place
        write(ca, foreign.ca.read_bytes())
        write(crl, revoked(foreign))
        wait(lambda: ask(held)[0], {403})
        assert (status(right), status(ways["foreign"][0])) == (403, 200)
        held.close()


def test_an_authority_in_between_needs_its_list_too(authority, tmp_path):
    tmp_path.chmod(0o700)
    root = Authority(tmp_path, "root")
    between = Authority(tmp_path, "between")
    between.certificate = root._sign(name("between"), between.key.public_key(), (-30, 365), [
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (x509.KeyUsage(False, False, False, False, False, True, True, False, False), True)])
    certificate, key = between.issue("leaf", kind="client", names=[x509.DNSName("a.example")])
    chain = write(tmp_path / "chain.pem", certificate.read_bytes() + between.pem(between.certificate))
    ca, crl = write(tmp_path / "ca.pem", root.ca.read_bytes()), write(tmp_path / "list.pem", revoked(root))
    with tls_server(authority, "--tls-client-ca", str(ca), "--tls-client-crl", str(crl), file="between") as server:
        def status():
            c = context(server)
            c.load_cert_chain(chain, key)
            with dial(server, c) as s:
                answer = ask(s)
                return answer[0], "No revocation list" in answer[2].decode(), "has been revoked" in answer[2].decode()

        assert status() == (403, True, False)
        write(ca, root.ca.read_bytes() + between.pem(between.certificate))
        write(crl, revoked(root) + revoked(between))
        wait(status, {(200, False, False)})
        write(crl, revoked(root) + revoked(between, [serial_of((certificate,))]))
        wait(status, {(403, False, True)})
        write(crl, revoked(root) + revoked(between))
        wait(status, {(200, False, False)})
        # the authority in between is revoked by its own
        write(crl, revoked(root, [between.certificate.serial_number]) + revoked(between))
        wait(status, {(403, False, True)})


@pytest.mark.threads
def test_authorities_without_lists_are_read_again_as_well(authority, tmp_path):
    tmp_path.chmod(0o700)
    first, second = Authority(tmp_path, "first"), Authority(tmp_path, "second")
    files = [one.issue(f"of-{one.common}", kind="client") for one in (first, second)]
    ca = write(tmp_path / "ca.pem", first.ca.read_bytes())
    with tls_server(authority, "--tls-client-ca", str(ca), file="turning") as server:
        def status(i):
            c = context(server)
            c.load_cert_chain(*files[i])
            with dial(server, c) as s:
                return ask(s)[0]

        assert (status(0), status(1)) == (200, 403)
        write(ca, b"")
        wait(lambda: len(lines(server, "tls_client_ca", "refused")), {1})
        assert (status(0), status(1)) == (200, 403)
        write(ca, second.ca.read_bytes())
        wait(lambda: status(1), {200})
        assert status(0) == 403
