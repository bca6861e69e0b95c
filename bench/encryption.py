"""What encryption at rest costs: two servers, one that encrypts its data stores and one that does not, in turns over the same
files. Processor time of the whole server, compaction included: it does not care who else runs."""
import secrets
import shutil
import statistics
import time

import bulk
from fhirlake import Server, wait


class Side:
    def __init__(self, bench, name, *options):
        self.bench, self.name = bench, name
        self.server = Server(bench.work / f"encryption-{name}", "--sync-objects", "no", "--export-reuse", "no", *options).start()
        self.uri = bench.link_input(self.server, bench.args.gb)
        self.store = None

    def spent(self, work, cpu_seconds):
        before = sum(cpu_seconds(self.server.process.pid))
        work()
        self.settle(cpu_seconds)
        return sum(cpu_seconds(self.server.process.pid)) - before

    def settle(self, cpu_seconds):
        spent = [0, sum(cpu_seconds(self.server.process.pid))]
        while spent[-1] - spent[-2] > 0.05:
            time.sleep(2)
            spent.append(sum(cpu_seconds(self.server.process.pid)))

    def fill(self):
        if self.store:
            self.server.client().delete_fhir_datastore(DatastoreId=self.store)
            wait(lambda: (self.server.data / "stores" / self.store).exists(), {False})
        self.store = self.server.create_store()
        job = self.server.import_all(self.store, self.uri, ValidationLevel="strict")
        assert job["JobStatus"] == "COMPLETED", job

    def export(self):
        job = self.server.export_all(self.store, "s3://out/x")
        assert job["JobStatus"] == "COMPLETED", job
        shutil.rmtree(self.server.folder(job["OutputDataConfig"]["S3Configuration"]["S3Uri"]))

    def serve(self):
        """An export whose files are kept by the server: encrypted ones, where the data store is."""
        export = bulk.export(self.server.fhir(self.store))
        assert export.wait(3600).status == 200
        export.cancel()


def encryption(bench, row, spread, cpu_seconds):
    keys = bench.work / "keys"
    keys.write_text(secrets.token_hex(32))
    keys.chmod(0o600)
    plain, coded = Side(bench, "plain"), Side(bench, "encrypted", "--encryption-key-file", str(keys))
    try:
        for name, work in (("import", Side.fill), ("export to a directory", Side.export), ("export that is served", Side.serve)):
            pairs = []
            for i in range(bench.args.runs + 1):
                order = (plain, coded) if i % 2 else (coded, plain)
                spent = {side.name: side.spent(lambda s=side: work(s), cpu_seconds) for side in order}
                if i:  # the first round opens stores and fills caches
                    pairs.append((spent["plain"], spent["encrypted"]))
            row(f"{name}, processor seconds, plain", spread([p for p, _ in pairs]))
            row(f"{name}, processor seconds, encrypted", spread([c for _, c in pairs]))
            row(f"ratio {name}, encrypted : plain", spread([c / p for p, c in pairs]),
                f"of medians {statistics.median(c for _, c in pairs) / statistics.median(p for p, _ in pairs):.2f}")
    finally:
        plain.server.kill()
        coded.server.kill()
