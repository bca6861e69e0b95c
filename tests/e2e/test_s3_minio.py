"""Jobs against MinIO (`./dev minio`) with the rights that its STS lends, and SSE-KMS: who may not is denied."""
import pytest
from botocore.exceptions import ClientError

from fhirlake import Server, assert_same_resources, patient, read_ndjson
from s3_peer import Peer

pytestmark = [pytest.mark.long, pytest.mark.once]


@pytest.fixture(scope="module", params=["plain", "tls"])
def peer(request):
    there = Peer("minio", *(["--tls"] if request.param == "tls" else []))
    yield there
    there.stop()


def uri(peer, key):
    return f"s3://{peer.bucket}/{key}"


def refused(call, *args, **more):
    with pytest.raises(ClientError) as info:
        call(*args, **more)
    return info.value.response["Error"]["Code"], info.value.response["Error"]["Message"]


def starts(server, peer, store, place, output, key=None):
    """The two requests that start a job which reads or writes there."""
    more = {"role": peer.role, "key": key or peer.kms_key}
    return {"export": lambda: server.start_export(store, output, **more),
            "import": lambda: server.start_import(store, place, output, **more)}


def assert_nothing_began(server, peer, store, prefix):
    client = server.client()
    assert client.list_fhir_export_jobs(DatastoreId=store)["ExportJobPropertiesList"] == []
    assert client.list_fhir_import_jobs(DatastoreId=store)["ImportJobPropertiesList"] == []
    assert peer.names(prefix) == [] and peer.s3.list_objects_v2(Bucket="other-bucket").get("KeyCount") == 0
    secrets = [who[name] for who in peer.users.values() for name in ("own_secret", "own_token") if name in who]
    assert not any(secret in server.log_text() for secret in [*secrets, peer.own_secret])


def test_an_import_and_an_export_under_a_lent_role_and_a_key(peer, generated):
    with Server(None, *peer.options(), env=peer.env("bound")) as server:
        store = server.create_store()
        lines = []
        for path in sorted(generated.glob("*.ndjson")):
            lines += read_ndjson(path)
            peer.put(f"lent-in/{path.name}", read_ndjson(path))
        done = server.import_all(store, uri(peer, "lent-in/"), output_uri=uri(peer, "lent-log"), role=peer.role,
                                 key=peer.kms_key)
        assert done["JobStatus"] == "COMPLETED", done
        assert done["JobProgressReport"]["TotalNumberOfResourcesImported"] == len(lines)
        peer.assert_under_key(peer.names("lent-log/"))
        for _ in range(2):  # the second by copies
            done = server.export_all(store, uri(peer, "lent-out"), role=peer.role, key=peer.kms_key)
            assert done["JobStatus"] == "COMPLETED", done
            _, exported = peer.read_export(done["OutputDataConfig"]["S3Configuration"]["S3Uri"])
            assert_same_resources(exported, lines)
    # what came back is taken by another data store
    with Server(None, *peer.options(), env=peer.env("bound")) as server:
        store = server.create_store()
        folder = done["OutputDataConfig"]["S3Configuration"]["S3Uri"]
        done = server.import_all(store, folder, output_uri=uri(peer, "lent-log-2"), role=peer.role, key=peer.kms_key)
        assert done["JobProgressReport"]["TotalNumberOfResourcesImported"] == len(lines), done


def test_the_rights_end_at_the_bucket_and_at_keys_that_are_there(peer):
    peer.put("ends/p.ndjson", [patient(1).encode()])
    with Server(None, *peer.options(), env=peer.env("bound")) as server:
        store = server.create_store()
        for start in starts(server, peer, store, uri(peer, "ends/"), "s3://other-bucket/x").values():
            name, text = refused(start)
            assert name == "AccessDeniedException", text
        name, text = refused(server.start_import, store, "s3://other-bucket/x", uri(peer, "ended"), role=peer.role,
                             key=peer.kms_key)
        assert name == "AccessDeniedException", text
        for start in starts(server, peer, store, uri(peer, "ends/"), uri(peer, "ended"), "alias/nobody").values():
            name, text = refused(start)
            assert name == "ValidationException" and "KeyNotFound" in text, text
        assert_nothing_began(server, peer, store, "ended")


@pytest.mark.parametrize("who", ["reader", "lent"])
def test_a_role_that_the_bucket_or_sts_denies_is_denied_at_submit(peer, who):
    peer.put("denied/p.ndjson", [patient(1).encode()])
    with Server(None, *peer.options(), env=peer.env(who)) as server:
        store = server.create_store()
        for start in starts(server, peer, store, uri(peer, "denied/"), uri(peer, f"denied-{who}")).values():
            name, text = refused(start)
            assert name == "AccessDeniedException", text
        assert_nothing_began(server, peer, store, f"denied-{who}")
