"""An export is the store as of one instant, whatever is written meanwhile."""
import json
import threading
import time

from fhirlake import patient, read_export, wait

N = 3000


def content(exported):
    return {key: json.loads(line) for key, line in exported.items()}


def test_exports_beside_a_writer_equal_the_state_of_their_instant(server):
    store = server.create_store()
    server.put_object("s3://input/cc/base.ndjson", "\n".join(patient(i, multipleBirthInteger=0, name=[{"text": "x" * 2000}]) for i in range(N)))
    server.import_all(store, "s3://input/cc/base.ndjson")
    written = []  # (job's end time, round): each round is one commit, for it is one small chunk
    stop = threading.Event()

    def write():
        client = server.client()
        n = 0
        while not stop.is_set():
            n += 1
            lines = [patient(i, multipleBirthInteger=n) for i in [*range(n % 7, N, 7), f"new-{n}"]]
            server.put_object(f"s3://input/cc/w{n}.ndjson", "\n".join(lines))
            done = server.wait_import(store, server.start_import(store, f"s3://input/cc/w{n}.ndjson", client=client),
                                      client=client)
            assert done["JobStatus"] == "COMPLETED"
            written.append(n)

    writer = threading.Thread(target=write)
    writer.start()
    exports = []
    try:
        for k in range(8):
            wait(lambda: len(written) >= 2 * (k + 1), {True})
            exports.append(server.export_all(store, f"s3://out/cc{k}/"))
    finally:
        stop.set()
        writer.join()
    assert len(written) >= 16
    for job in exports:
        assert job["JobStatus"] == "COMPLETED"
        manifest, exported = read_export(server.folder(job["OutputDataConfig"]["S3Configuration"]["S3Uri"]))
        got = content(exported)
        # the oracle: rounds up to the last one that the export saw, applied in order
        last = max(r["multipleBirthInteger"] for r in got.values())
        want = {("Patient", str(i)): 0 for i in range(N)}
        versions = dict.fromkeys(want, 1)
        for n in range(1, last + 1):
            for i in [*range(n % 7, N, 7), f"new-{n}"]:
                key = ("Patient", str(i))
                want[key] = n
                versions[key] = versions.get(key, 0) + 1
        assert {key: r["multipleBirthInteger"] for key, r in got.items()} == want
        assert {key: int(r["meta"]["versionId"]) for key, r in got.items()} == versions
        newest = max(r["meta"]["lastUpdated"] for r in got.values())
        assert newest <= manifest["transactionTime"]
        assert manifest["countPerType"] == {"Patient": len(want)}
    # and what came after an instant is in a later export with a later lastUpdated
    final = server.export_all(store, "s3://out/cc-final/")
    _, exported = read_export(server.folder(final["OutputDataConfig"]["S3Configuration"]["S3Uri"]))
    latest = content(exported)
    for job in exports:
        manifest, exported = read_export(server.folder(job["OutputDataConfig"]["S3Configuration"]["S3Uri"]))
        before = content(exported)
        for key, resource in latest.items():
            if before.get(key) != resource:
                assert resource["meta"]["lastUpdated"] > manifest["transactionTime"], key


def test_two_stores_export_side_by_side(server):
    client = server.client()
    stores = [server.create_store(PreloadDataConfig={"PreloadDataType": "SYNTHEA"}) for _ in range(2)]
    jobs = [server.start_export(s, f"s3://out/side/{i}", client=client) for i, s in enumerate(stores)]
    for store, job in zip(stores, jobs):
        assert server.wait_export(store, job)["JobStatus"] == "COMPLETED"
    time.sleep(0)
