#!/usr/bin/env python3
"""./dev bench [NAME...]: what fhirlake does, against a limit or a peer measured in the same run.

  generate   the generator, MB/s
  import     an import job from a directory, against the parse rate of yyjson over the same bytes
  export     an export job to a directory, digests included, against `cp -r` of the same files
  s3         an export job to a plain-HTTP S3 sink, against raw libcurl PUT of the same bytes
  memory     peak memory of import and export over an idle server, at two sizes
  start      time from exec to the ready line on the store that `import` filled

Sizes: --gb 2 (about 5,600 patients per 2 GB). Warm page cache. Medians of --runs, pair by pair for ratios."""
import argparse
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import fhirlake  # noqa: E402
from fhirlake import Server  # noqa: E402

BIN = ROOT / "build"
fhirlake.BIN = BIN / "fhirlake"
PATIENTS_PER_GB = 2810
rows = []


def row(name, value, note=""):
    rows.append((name, value, note))
    print(f"  {name:58} {value:>16}  {note}", flush=True)


def size_of(folder):
    return sum(p.stat().st_size for p in pathlib.Path(folder).rglob("*") if p.is_file())


def timed(command, **more):
    start = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **more)
    return time.monotonic() - start


def job_seconds(job):
    return (job["EndTime"] - job["SubmitTime"]).total_seconds()


def spread(values, scale=1.0, unit=""):
    low, mid, high = min(values) * scale, statistics.median(values) * scale, max(values) * scale
    return f"{low:,.2f} / {mid:,.2f} / {high:,.2f}{unit}"


def memory_kib(pid, field):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith(field):
            return int(line.split()[1])
    raise KeyError(field)


class Bench:
    def __init__(self, args):
        self.args = args
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="fhirlake-bench-", dir=args.dir))
        self.server = None
        self.store = None

    def close(self):
        if self.server:
            self.server.kill()
        shutil.rmtree(self.work, ignore_errors=True)

    def data(self, gb):
        folder = self.work / f"generated-{gb}"
        if not folder.exists():
            fhirlake.generate(folder, patients=int(PATIENTS_PER_GB * gb))
        return folder

    def start_server(self, *options, name="data"):
        if self.server:
            self.server.stop()
        self.server = Server(self.work / name, *options)
        self.server.start()
        return self.server

    def link_input(self, server, gb):
        target = server.objects / "input"
        target.mkdir(parents=True, exist_ok=True)
        for path in self.data(gb).glob("*.ndjson"):
            (target / f"g{gb}").mkdir(exist_ok=True)
            link = target / f"g{gb}" / path.name
            if not link.exists():
                link.hardlink_to(path)
        return f"s3://input/g{gb}/"

    def filled(self, *options):
        """A server whose store holds the generated data."""
        server = self.start_server(*options)
        if self.store is None:
            self.store = server.create_store()
            job = server.import_all(self.store, self.link_input(server, self.args.gb))
            assert job["JobStatus"] == "COMPLETED", job
        return server

    # ---- the benchmarks ----

    def generate(self):
        seconds = []
        for i in range(self.args.runs):
            out = self.work / "g"
            shutil.rmtree(out, ignore_errors=True)
            seconds.append(timed([BIN / "fhirlake", "generate", "--patients", str(int(PATIENTS_PER_GB * self.args.gb)),
                                  "--out", out]))
        total = size_of(out)
        shutil.rmtree(out)
        row("generate, MB/s (min / median / max)", spread([total / s / 1e6 for s in seconds]), f"{total / 1e9:.2f} GB")

    def import_(self):
        folder = self.data(self.args.gb)
        files = sorted(folder.glob("*.ndjson"))
        total = size_of(folder)
        count = sum(path.read_bytes().count(b"\n") for path in files)
        server = self.start_server()
        uri = self.link_input(server, self.args.gb)
        parse, rates, ratios = [], [], []
        for _ in range(self.args.runs):
            parse.append(float(subprocess.run([BIN / "bench" / "bench_parse", *files], check=True, capture_output=True,
                                              text=True).stdout))
            store = server.create_store()
            job = server.import_all(store, uri)
            assert job["JobStatus"] == "COMPLETED", job
            rates.append(count / job_seconds(job))
            ratios.append(total / job_seconds(job) / 1e6 / parse[-1])
            server.client().delete_fhir_datastore(DatastoreId=store)
        row("import from a directory, resources/s", spread(rates), f"{count:,} resources, {total / 1e9:.2f} GB")
        row("yyjson parse of the same bytes, one core, MB/s", spread(parse))
        row("ratio import MB/s : parse MB/s", spread(ratios))

    def export(self):
        for sync in ("no", "yes"):
            server = self.filled("--sync-objects", sync)
            copies, exports, ratios = [], [], []
            copy = self.work / "copy"
            for i in range(self.args.runs + 1):
                job = server.export_all(self.store, f"s3://out/x{sync}{i}")
                assert job["JobStatus"] == "COMPLETED", job
                folder = server.folder(job["OutputDataConfig"]["S3Configuration"]["S3Uri"])
                total = size_of(folder)
                shutil.rmtree(copy, ignore_errors=True)
                seconds = timed(["cp", "-r", folder, copy])
                if sync == "yes":
                    start = time.monotonic()
                    subprocess.run(["sync", "-f", copy], check=True)
                    seconds += time.monotonic() - start
                if i:  # the first pair warms the page cache
                    exports.append(total / job_seconds(job) / 1e6)
                    copies.append(total / seconds / 1e6)
                    ratios.append(exports[-1] / copies[-1])
                shutil.rmtree(folder)
            peer = "cp -r" if sync == "no" else "cp -r, then sync"
            kind = "not synced" if sync == "no" else "each object synced"
            row(f"export to a directory, {kind}, MB/s", spread(exports), f"{total / 1e9:.2f} GB")
            row(f"{peer} of the result, MB/s", spread(copies))
            row(f"ratio export : {peer}", spread(ratios))
            shutil.rmtree(copy, ignore_errors=True)

    def s3(self):
        self.filled()
        sink = subprocess.Popen([BIN / "bench" / "s3_blackhole"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        url = f"http://127.0.0.1:{sink.stdout.readline().split()[-1]}"
        roles = self.work / "roles.json"
        roles.write_text('{"roles":[{"arn":"%s","allow":["s3://bucket/*"],"credentials":{"accessKeyId":"a",'
                         '"secretAccessKey":"b"}}]}' % fhirlake.ROLE)
        try:
            server = self.start_server("--s3-endpoint", url, "--roles", str(roles))
            exports = []
            for i in range(self.args.runs + 1):
                job = server.export_all(self.store, f"s3://bucket/x{i}")
                assert job["JobStatus"] == "COMPLETED", job
                if i:
                    exports.append(size_of(self.data(self.args.gb)) / job_seconds(job) / 1e6)
            row("export to a plain-HTTP S3 sink, MB/s", spread(exports))
            raw = subprocess.run([BIN / "bench" / "bench_s3_put"], check=True, capture_output=True, text=True).stdout
            print("    raw libcurl PUT and its digest, in the same run:")
            print("    " + raw.strip().replace("\n", "\n    "))
        finally:
            sink.kill()

    def memory(self):
        for gb in (self.args.gb / 10, self.args.gb):
            server = self.start_server(name=f"memory-{gb}")
            store = server.create_store()
            uri = self.link_input(server, gb)
            pid = server.process.pid
            idle = memory_kib(pid, "VmRSS")
            for kind in ("import", "export"):
                open(f"/proc/{pid}/clear_refs", "w").write("5")  # the peak starts anew
                job = server.import_all(store, uri) if kind == "import" else server.export_all(store)
                assert job["JobStatus"] == "COMPLETED", job
                peak = memory_kib(pid, "VmHWM")
                row(f"peak memory of {kind} of {gb:g} GB over idle, MiB", f"{(peak - idle) / 1024:.0f}",
                    f"idle {idle / 1024:.0f} MiB")

    def start(self):
        self.filled()
        self.server.stop()
        seconds = []
        for _ in range(max(5, self.args.runs)):
            start = time.monotonic()
            self.server.start()
            seconds.append(time.monotonic() - start)
            self.server.stop()
        row("cold start to the ready line, ms", spread(seconds, 1000), f"store of {self.args.gb:g} GB")


NAMES = {"generate": Bench.generate, "import": Bench.import_, "export": Bench.export, "s3": Bench.s3,
         "memory": Bench.memory, "start": Bench.start}


def main():
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="which; all without")
    parser.add_argument("--gb", type=float, default=2.0)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--dir", default=None, help="folder for some 10 GB of scratch")
    args = parser.parse_args()
    wrong = [name for name in args.names if name not in NAMES]
    if wrong:
        parser.error(f"there is no benchmark {wrong[0]}; there are {', '.join(NAMES)}")
    bench = Bench(args)
    print(f"fhirlake benchmarks, {args.gb:g} GB, min / median / max of {args.runs}")
    try:
        for name in args.names or NAMES:
            NAMES[name](bench)
    finally:
        bench.close()


if __name__ == "__main__":
    main()
