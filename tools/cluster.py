#!/usr/bin/env python3
"""./dev cluster: fhirlake on a PostgreSQL primary with a synchronous standby, on this machine. While an export runs and clients
write, a node is killed, then the primary. Shows that nothing acknowledged is lost, and that the export is exact."""
import argparse
import json
import os
import pathlib
import shutil
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# processes of fhirlake on the one database
NODES = 3
FINAL = {"COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCEL_COMPLETED", "CANCEL_FAILED"}
TTY = sys.stdout.isatty()
BEGUN = time.monotonic()


def bold(text):
    return f"\033[1m{text}\033[0m" if TTY else text


def step(text):
    print(f"\n{bold('==> ' + text)}", flush=True)


def told(text):
    print(f"    {time.monotonic() - BEGUN:6.1f} s  {text}", flush=True)


def mb(count):
    return f"{count / 1e6:,.0f} MB"


def arguments():
    parser = argparse.ArgumentParser(prog="./dev cluster", description=__doc__)
    parser.add_argument("--patients", type=int, default=400, help="synthetic patients to load (default 400)")
    args = parser.parse_args()
    if args.patients < 20:
        parser.error("--patients is at least 20")
    return args


class Writers:
    """Clients that create Patients, each once, until they are told to stop."""

    def __init__(self, cluster, n=2):
        self.stop, self.acknowledged, self.unanswered = threading.Event(), [], set()
        self.threads = [threading.Thread(target=self._write, args=(cluster, i)) for i in range(n)]
        for one in self.threads:
            one.start()

    def _write(self, cluster, i):
        n = 0
        while not self.stop.is_set():
            n += 1
            name = f"client-{i}-{n}"
            try:
                answer = cluster.any().fhir(cluster.store).put(f"Patient/{name}", {"resourceType": "Patient", "id": name})
            except OSError:  # its node was killed
                self.unanswered.add(name)
                time.sleep(0.05)
                continue
            if answer.status == 201:
                self.acknowledged.append(name)
            else:
                self.unanswered.add(name)

    def end(self):
        self.stop.set()
        for one in self.threads:
            one.join()


class Cluster:
    def __init__(self, folder):
        import postgres
        from fhirlake import Server
        self.folder, self.store = folder, None
        step("PostgreSQL: a primary and a synchronous standby")
        self.pair = postgres.Pair()
        self.database = self.pair.primary.database()
        for which, one in (("primary", self.pair.primary), ("standby", self.pair.standby)):
            told(f"{which} on 127.0.0.1:{one.port}, process {one.process.pid}")
        step(f"fhirlake: {NODES} node{'s' if NODES > 1 else ''}")
        uri = self.pair.uri(self.database)
        print(f"    fhirlake serve --store '{uri}' ...")
        self.nodes = []
        for i in range(NODES):
            node = Server(folder / f"node{i}", "--store", uri, "--objects", str(folder / "objects"))
            if i:  # the same callers
                node.data.mkdir(mode=0o700)
                shutil.copy(self.nodes[0].data / "credentials", node.data)
            self.nodes.append(node.start())
            told(f"node {i} on {node.url}, process {node.process.pid}")

    def any(self):
        """A node that is there."""
        return next((node for node in self.nodes if node.process), self.nodes[0])

    def kill_node(self):
        """The one that has been asked for the export."""
        node = self.nodes[0]
        told(f"kill -9 {node.process.pid}: node 0 is gone")
        node.kill()
        if NODES == 1:
            node.start()
            told(f"its successor on {node.url}, process {node.process.pid}")

    def kill_primary(self):
        told(f"kill -9 of the primary on 127.0.0.1:{self.pair.primary.port} and all of its processes")
        self.pair.lose_primary()
        told(f"the standby on 127.0.0.1:{self.pair.primary.port} is the primary")
        self.pair.add_standby()
        told(f"a new synchronous standby on 127.0.0.1:{self.pair.standby.port}")

    def job(self, job):
        """None: nobody answers just now."""
        import botocore.exceptions
        try:
            return self.any().client().describe_fhir_export_job(DatastoreId=self.store, JobId=job)["ExportJobProperties"]
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
            return None

    def close(self):
        for node in self.nodes:
            node.kill()
        self.pair.close()


def written(folder):
    return sum(path.stat().st_size for path in folder.rglob("*.ndjson") if path.exists())


def wait_written(cluster, job, folder, share, total):
    """Until so much of the export is there. False: it has ended."""
    while (n := written(folder)) < share * total:
        got = cluster.job(job) if n > 0.9 * total else None
        if got and got["JobStatus"] in FINAL:
            return False
        time.sleep(0.002)
    told(f"{mb(written(folder))} of about {mb(total)} are written")
    return True


def export(cluster, total):
    step("An export, while two clients write")
    writers = Writers(cluster)
    try:
        while len(writers.acknowledged) < 20:
            time.sleep(0.01)
        node = cluster.nodes[0]
        job = node.start_export(cluster.store, "s3://output/cluster")
        folder = cluster.folder / "objects/output/cluster" / f"{cluster.store}-FHIR_EXPORT-{job}"
        told(f"job {job}")
        if wait_written(cluster, job, folder, 0.1, total):
            cluster.kill_node()
        if wait_written(cluster, job, folder, 0.4, total):
            cluster.kill_primary()
        while not (got := cluster.job(job)) or got["JobStatus"] not in FINAL:
            time.sleep(0.1)
        told(f"the export is {got['JobStatus']}")
        n = len(writers.acknowledged)
        while len(writers.acknowledged) < n + 20:
            time.sleep(0.01)
    finally:
        writers.end()
    told(f"clients: {len(writers.acknowledged):,} writes were acknowledged, {len(writers.unanswered)} were not")
    if got["JobStatus"] != "COMPLETED":
        sys.exit(f"    {got.get('Message')}")
    return folder, writers


def check(cluster, inputs, folder, writers):
    from fhirlake import assert_same_resources, read_export, read_ndjson
    step("Is it exact?")
    lines = [line for path in inputs for line in read_ndjson(path)]
    manifest, got = read_export(folder)
    told(f"{len(manifest['output'])} files have the size, count and SHA-256 that the manifest names, none is beside them")
    job = cluster.any().export_all(cluster.store, output_uri="s3://output/after")
    _, after = read_export(cluster.folder / "objects" / job["OutputDataConfig"]["S3Configuration"]["S3Uri"].removeprefix("s3://"))
    online = {key: json.loads(line) for key, line in after.items() if key[1].startswith("client-")}
    by_clients = {("Patient", name) for name in writers.acknowledged}
    lost = by_clients - online.keys()
    twice = [key for key, resource in online.items() if resource["meta"]["versionId"] != "1"]
    unknown = online.keys() - by_clients - {("Patient", name) for name in writers.unanswered}
    if lost or twice or unknown:
        sys.exit(f"    {len(lost)} acknowledged writes are lost, {len(twice)} are there twice, {len(unknown)} are nobody's")
    told(f"all {len(by_clients):,} acknowledged writes are there, each once")
    wanted = {key for key, resource in online.items() if resource["meta"]["lastUpdated"] <= manifest["transactionTime"]}
    if {key for key in got if key[1].startswith("client-")} != wanted:
        sys.exit("    the export has not the writes up to its instant, or others")
    told(f"the export is as of {manifest['transactionTime']}: it has the {len(wanted):,} writes up to there, and no later one")
    assert_same_resources({k: v for k, v in got.items() if not k[1].startswith("client-")}, lines)
    told(f"{len(lines):,} imported resources came out once, number for number what went in")


def main():
    args = arguments()
    if os.environ.get("FHIRLAKE_ONLY_ARGUMENTS"):  # ./dev asks before it builds
        return
    sys.path.insert(0, str(ROOT / "tests" / "e2e"))
    import postgres
    from fhirlake import generate
    if postgres.INSTALLED is None:
        sys.exit(postgres.NOT_INSTALLED)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="fhirlake-cluster-"))
    cluster = None
    try:
        step(f"Generating {args.patients:,} synthetic patients (nobody in them is real)")
        inputs = generate(folder / "objects/input/synthea", args.patients)
        total = sum(path.stat().st_size for path in inputs)
        told(f"{mb(total)}")
        cluster = Cluster(folder)
        step("Import")
        cluster.store = cluster.nodes[0].create_store()
        done = cluster.nodes[0].import_all(cluster.store, "s3://input/synthea/", output_uri="s3://output/import")
        told(f"{done['JobStatus']}: {done['JobProgressReport']['TotalNumberOfResourcesImported']:,} resources")
        check(cluster, inputs, *export(cluster, total))
        step("Cleaning up")
        told("servers, databases and files of this run go")
    finally:
        if cluster:
            cluster.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
