#!/usr/bin/env python3
"""./dev bench [NAME...]: what fhirlake does, against a limit or a peer measured in the same run.

  generate   the generator, MB/s
  import     an import job from a directory, validated and with all indexes, against the parse rate of yyjson over the
             same bytes; its processor time; bytes on disk. The same of Synthea's patients, if FHIRLAKE_SYNTHEA names a folder of them
  export     an export job to a directory, digests included, against `cp -r` of the same files
  reuse      a second full export, after nothing, scattered changes and growth, against the first; processor time. In a
             directory, and on MinIO where `./dev minio` built it; after nothing also on a peer that answers at once
  s3         an export job to an S3 sink, by plain HTTP and over TLS, against raw libcurl PUT of the same bytes; processor time
  ask        exports of a window in which 0.1 % changed, of a Group of 100 patients among 100,000, and of all patients,
             against a full one of the same million resources; wall and processor time
  memory     peak memory of import and export over an idle server, at two sizes
  start      time from exec to the ready line on the store that `import` filled
  reads      reads by id, open and signed, against our HTTP server with a constant answer
  tokens     reads by id with an access token that was checked lately, against the same with signatures
  tls        reads over kept connections, handshakes and a served file over TLS, against the same in plain HTTP
  together   latency of reads at a steady pace, alone and while exports or imports run
  share      latency of one caller's searches, reads and creates in his data store, alone and while another caller keeps
             all the threads busy that he can, in another one
  creates    durable creates of 16 clients, against RocksDB's group commits of the same keys and values
  metrics    reads and creates of a server that counts, against one that does not
  encryption imports and exports of a server that encrypts its data stores, against one that does not; processor time
  pg         the engine on PostgreSQL against RocksDB: loads, scans, reads, commits, disk; processor time of client and server.
             Nodes on it: creates by one and by two, reads at 1,000 a second, memory, an export by one and by two
  copy       `fhirlake copy` of a data store of many small commits out of a database and into one; processor time of both sides
  console    the console's list of 100,000 jobs in Chromium: the list, its pages, its filters
  view       tables of exported Observations by a ViewDefinition, against the parse rate of yyjson, DuckDB and sof-js (views.py
             says where they come from); processor time
  search     first pages against reading the same resources by id; counting; at a tenth of the data and at all

Sizes: --gb 2 (about 5,600 patients per 2 GB). Warm page cache. Medians of --runs, pair by pair for ratios."""
import argparse
import contextlib
import json
import mmap
import os
import pathlib
import random
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

BENCHMARKS = ("generate", "import", "export", "reuse", "s3", "ask", "memory", "start", "reads", "tokens", "tls", "together", "share", "creates", "metrics", "audit",
              "search", "encryption", "pg", "copy", "console", "view")


def arguments():
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="which; all without")
    parser.add_argument("--gb", type=float, default=2.0)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of one measurement of the REST API")
    parser.add_argument("--dir", default=None, help="folder for some 10 GB of scratch")
    args = parser.parse_args()
    wrong = [name for name in args.names if name not in BENCHMARKS]
    if wrong:
        parser.error(f"there is no benchmark {wrong[0]}; there are {', '.join(BENCHMARKS)}")
    return args


if os.environ.get("FHIRLAKE_ONLY_ARGUMENTS"):  # ./dev asks before it builds, and before boto3 is installed
    arguments()
    sys.exit()

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import console  # noqa: E402
import copies  # noqa: E402
import encryption  # noqa: E402
import fhirlake  # noqa: E402
import engines  # noqa: E402
import rest  # noqa: E402
import s3_peer  # noqa: E402
import views  # noqa: E402
from fhirlake import Server, wait  # noqa: E402

BIN = pathlib.Path(os.environ.get("FHIRLAKE_BUILD", ROOT / "build"))
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


def cpu_clock(pid):
    """The same to the nanosecond, both together: CPUCLOCK_SCHED of another process."""
    return time.clock_gettime(~pid << 3 | 2)


def cpu_seconds(pid):
    """Of all threads so far: in the program, in the kernel."""
    ticks = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[11:13]
    return [int(t) / os.sysconf("SC_CLK_TCK") for t in ticks]


def copy_seconds(folder, to):
    """Processor seconds of cp, which has to copy each byte. It leaves nothing behind."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(["cp", "-r", "--reflink=never", folder, to], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    shutil.rmtree(to)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def stolen_seconds():
    """What the hypervisor gave to others while one of our processors had work, since the machine began."""
    return int(open("/proc/stat").readline().split()[8]) / os.sysconf("SC_CLK_TCK")


def warm_memory():
    """Take most of the free memory and give it back: a hypervisor may hold what was free for long, and whoever writes
    there first pays."""
    free = next(int(line.split()[1]) << 10 for line in open("/proc/meminfo") if line.startswith("MemFree:"))
    piece = bytes(1 << 20)
    with mmap.mmap(-1, int(free * 0.8)) as taken:
        for _ in range(len(taken) // len(piece)):
            taken.write(piece)


def read_through(path):
    with open(path, "rb", buffering=0) as file:
        while file.read(1 << 20):
            pass


def spread(values, scale=1.0, unit="", digits=2):
    low, mid, high = min(values) * scale, statistics.median(values) * scale, max(values) * scale
    return f"{low:,.{digits}f} / {mid:,.{digits}f} / {high:,.{digits}f}{unit}"


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

    def start_server(self, *options, name="data", env=None):
        if self.server:
            self.server.stop()
        if "--export-reuse" not in options:  # what is measured writes what it says
            options = (*options, "--export-reuse", "no")
        self.server = Server(self.work / name, *options, env=env)
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
            job = server.wait_import(self.store, server.start_import(self.store, self.link_input(server, self.args.gb)), 3600)
            assert job["JobStatus"] == "COMPLETED", job
        return server

    def rest(self, server):
        """Until the server does nothing more: no compaction is under way."""
        spent = [0, sum(cpu_seconds(server.process.pid))]
        while spent[-1] - spent[-2] > 0.05:
            time.sleep(2)
            spent.append(sum(cpu_seconds(server.process.pid)))

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
        self.import_set("generated", self.data(self.args.gb))
        if fhirlake.SYNTHEA:
            folder = self.work / "synthea"
            folder.mkdir(exist_ok=True)
            for path in fhirlake.SYNTHEA.glob("*.ndjson.zst"):
                subprocess.run(["zstd", "-dqf", path, "-o", folder / path.name.removesuffix(".zst")], check=True)
            self.import_set("synthea", folder)

    def import_set(self, name, folder):
        files = sorted(folder.glob("*.ndjson"))
        total = size_of(folder)
        count = sum(path.read_bytes().count(b"\n") for path in files)
        print(f"  {name}: {count:,} resources, {total / 1e9:.2f} GB, validation strict, every index")
        server = self.start_server(name=f"import-{name}")
        target = server.objects / "input" / name
        target.mkdir(parents=True)
        for path in files:
            (target / path.name).hardlink_to(path)
        parse, rates, spent, at_rest, ratios, store = [], [], [], [], [], None
        for _ in range(self.args.runs):
            if store:
                server.client().delete_fhir_datastore(DatastoreId=store)
                wait(lambda: (server.data / "stores" / store).exists(), {False})
            parse.append(float(subprocess.run([BIN / "bench" / "bench_parse", *files], check=True, capture_output=True,
                                              text=True).stdout))
            store = server.create_store()
            before = sum(cpu_seconds(server.process.pid))
            job = server.import_all(store, f"s3://input/{name}/", ValidationLevel="strict")
            spent.append((sum(cpu_seconds(server.process.pid)) - before) / count * 1e6)
            assert job["JobStatus"] == "COMPLETED", job
            rates.append(count / job_seconds(job))
            ratios.append(total / job_seconds(job) / 1e6 / parse[-1])
            self.rest(server)
            at_rest.append((sum(cpu_seconds(server.process.pid)) - before) / count * 1e6)
        row("import from a directory, resources/s", spread(rates), name)
        row("processor time, us per resource", spread(spent), f"2 cores: {2e6 / statistics.median(spent):,.0f}/s")
        row("... until compaction rests", spread(at_rest))
        row("yyjson parse of the same bytes, one core, MB/s", spread(parse))
        row("ratio import MB/s : parse MB/s", spread(ratios))
        folder = server.data / "stores" / store
        server.stop()
        text = subprocess.run([BIN / "bench" / "bench_disk", folder], check=True, capture_output=True, text=True).stdout
        disk = {line.split()[0]: int(line.split()[1]) / count for line in text.splitlines()}
        parts = ", ".join(f"{cf} {each:,.0f}" for cf, each in disk.items() if each >= 1)
        row("bytes on disk per resource", f"{sum(disk.values()):,.0f}", f"{parts}; NDJSON {total / count:,.0f}")

    def level_ground(self, paths):
        """Before either side of a pair: nothing left for the disk to write, free memory that is ours, its input in the page
        cache."""
        subprocess.run(["sync", "-f", self.work], check=True)
        time.sleep(1)
        warm_memory()
        for path in paths:
            read_through(path)

    def export(self):
        """Rounds of an export, a `cp -r` of what it wrote, and the limit: writing and digesting as much, from memory. The
        store's compaction rests but for the first row."""
        server = self.filled("--sync-objects", "no")
        largest = max(self.data(self.args.gb).glob("*.ndjson"), key=lambda p: p.stat().st_size)
        job = server.export_all(self.store, "s3://out/at-once")
        folder = server.folder(job["OutputDataConfig"]["S3Configuration"]["S3Uri"])
        total = size_of(folder)
        row("export right after the import, not synced, MB/s", f"{total / job_seconds(job) / 1e6:,.0f}")
        shutil.rmtree(folder)
        start = time.monotonic()
        self.rest(server)
        row("compaction rests, seconds later", f"{time.monotonic() - start:.0f}")
        for sync in ("no", "yes"):
            server = self.filled("--sync-objects", sync)
            pid = server.process.pid
            copies, exports, limits, packed_limits, ratios, ours, theirs, stolen = [], [], [], [], [], [], [], []
            copy = self.work / "copy"
            for i in range(self.args.runs + 1):
                self.level_ground((server.data / "stores" / self.store).glob("*.sst"))
                before, lost = cpu_seconds(pid), stolen_seconds()
                job = server.export_all(self.store, f"s3://out/x{sync}{i}")
                assert job["JobStatus"] == "COMPLETED", job
                spent = [now - then for now, then in zip(cpu_seconds(pid), before)]
                lost = stolen_seconds() - lost
                folder = server.folder(job["OutputDataConfig"]["S3Configuration"]["S3Uri"])
                self.level_ground(folder.rglob("*.ndjson"))
                children = resource.getrusage(resource.RUSAGE_CHILDREN)
                seconds = timed(["cp", "-r", folder, copy])
                if sync == "yes":
                    start = time.monotonic()
                    subprocess.run(["sync", "-f", copy], check=True)
                    seconds += time.monotonic() - start
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                shutil.rmtree(folder)
                shutil.rmtree(copy)
                if i:  # the first round opens the store
                    exports.append(total / job_seconds(job) / 1e6)
                    copies.append(total / seconds / 1e6)
                    ratios.append(exports[-1] / copies[-1])
                    ours.append([s / total * 1e9 for s in spent])
                    stolen.append(lost / total * 1e9)
                    theirs.append((after.ru_utime + after.ru_stime - children.ru_utime - children.ru_stime) / total * 1e9)
                if i and sync == "no":
                    limits.append(self.limit(total))
                    packed_limits.append(self.limit(total, largest))
            peer = "cp -r" if sync == "no" else "cp -r, then sync"
            kind = "not synced" if sync == "no" else "each object synced"
            row(f"export to a directory, {kind}, MB/s", spread(exports), f"{total / 1e9:.2f} GB")
            row(f"{peer} of the result, MB/s", spread(copies))
            row(f"ratio export : {peer}", spread(ratios))
            if limits:
                row("limit: SHA-256 and write(2) from memory, MB/s", spread(limits), "no store, both processors")
                row("ratio export : limit", spread([x / y for x, y in zip(exports, limits)]))
                row("ratio limit : cp -r", spread([x / y for x, y in zip(limits, copies)]))
                row("limit, its bytes unpacked from lz4, MB/s", spread(packed_limits), "blocks of the store's size, read from a file")
                row("ratio export : that limit", spread([x / y for x, y in zip(exports, packed_limits)]))
                row("ratio that limit : cp -r", spread([x / y for x, y in zip(packed_limits, copies)]))
            row("  processor seconds per GB, export, all of the server", spread([sum(o) for o in ours]),
                f"of them in the kernel {statistics.median([o[1] for o in ours]):.2f}")
            row("  of them taken by the hypervisor while it ran", spread(stolen))
            row(f"  processor seconds per GB, {peer.split(',')[0]}", spread(theirs))
            self.where(server)

    def reuse(self):
        """Full exports one after the other: what each costs, by the bytes that it comes to. In a directory, and on MinIO
        where `./dev minio` built it."""
        options = ("--sync-objects", "no", "--export-reuse", "yes", "--account-id", s3_peer.ACCOUNT)
        server = self.filled(*options)
        self.rest(server)
        self.reuse_at_once(options)
        server = self.start_server("--export-reuse", "yes", *options[-2:])  # as it is by default: each file is synced
        self.rest(server)
        self.reuse_in("directory", server)
        if not (ROOT / ".deps" / "minio").exists():
            print("    ./dev minio builds an S3 server, for the same there")
            return
        peer = s3_peer.Peer("minio")
        try:
            server = self.start_server(*options, *peer.options(), env=peer.env())
            self.rest(server)
            self.reuse_in("MinIO", server, peer)
        finally:
            peer.stop()

    def reuse_at_once(self, options):
        """On a peer that makes a copy at once: what the program itself takes."""
        with self.blackhole() as more:
            server = self.start_server(*options, *more)
            pid, spent = server.process.pid, []
            for _ in range(10):
                before = cpu_clock(pid)
                job = server.export_all(self.store, "s3://bucket/reuse")
                assert job["JobStatus"] == "COMPLETED", job
                spent.append(cpu_clock(pid) - before)
                if len(spent) == 1:
                    self.rest(server)
            n, total, of = map(int, re.findall(r"export_reused .* objects=(\d+) bytes=(\d+) of_objects=(\d+)", server.log_text())[-1])
            assert n == of
            row("a peer that answers at once, first full export: processor s/GB", f"{spent[0] / total * 1e9:.3f}",
                f"{of} objects, {total / 1e9:.2f} GB")
            again = [s / total * 1e9 for s in spent[1:]]
            of_first = [s * total / 1e9 / spent[0] for s in again]
            row("... again, nothing changed, nine times", spread(again, digits=3), f"of the first: {spread(of_first, digits=3)}")

    def reuse_in(self, place, server, peer=None):
        fhir = server.fhir(self.store)
        chosen = random.Random(1)
        out, to = ("s3://out/reuse", {})
        if peer:
            out, to = f"s3://{peer.bucket}/reuse", {"role": peer.role, "key": peer.kms_key}
        first, made = None, []

        def take_away(uri):
            if not peer:
                shutil.rmtree(server.folder(uri))
                return
            for name in peer.names(uri.removeprefix(f"s3://{peer.bucket}/")):
                peer.s3.delete_object(Bucket=peer.bucket, Key=name)

        def export(what):
            nonlocal first
            before = cpu_clock(server.process.pid)
            job = server.export_all(self.store, out, **to)
            assert job["JobStatus"] == "COMPLETED", job
            spent = cpu_clock(server.process.pid) - before
            made.append(job["OutputDataConfig"]["S3Configuration"]["S3Uri"])
            manifest = made[-1].rstrip("/") + "/manifest.json"
            text = peer.get(manifest.removeprefix(f"s3://{peer.bucket}/")) if peer else server.folder(manifest).read_bytes()
            if len(made) > 1:
                take_away(made.pop(0))
            output = json.loads(text)["output"]
            total = sum(item["bytes"] for item in output)
            copied = [item["bytes"] for item in output if item.get("reused")]
            first = first or spent / total
            row(f"{place}, {what}: processor s/GB", f"{spent / total * 1e9:.3f}",
                f"{spent / total / first:.3f} of the first; {len(copied)} of {len(output)} files copied, "
                f"{sum(copied) / total:.1%} of {total / 1e9:.2f} GB; {job_seconds(job):.1f} s")
            if "nothing changed" in what and not peer:
                theirs = copy_seconds(server.folder(made[-1]), self.work / "copy")
                row("  cp --reflink=never of the same files: processor s/GB", f"{theirs / total * 1e9:.3f}",
                    f"the export: {spent / theirs:.2f} of it" if theirs else "")

        def change(n):
            files = list(self.data(self.args.gb).glob("*.ndjson"))
            for path in chosen.choices(files, [path.stat().st_size for path in files], k=n):
                with open(path, "rb") as f:
                    f.seek(chosen.randrange(path.stat().st_size))
                    f.readline()
                    line = f.readline() or open(path, "rb").readline()
                resource_ = json.loads(line) | {"language": chosen.choice(("en", "fr", "de"))}
                assert fhir.put(f"{resource_['resourceType']}/{resource_['id']}", resource_).status == 200

        def grow(parts, seed):
            more = self.work / f"more-{place}-{seed}"
            fhirlake.generate(more, patients=max(1, int(PATIENTS_PER_GB * self.args.gb / parts)), seed=seed)
            for path in more.glob("*.ndjson"):
                key = f"more/{more.name}/{path.name}"
                if peer:
                    peer.s3.upload_file(str(path), peer.bucket, key)
                else:
                    server.put_object(f"s3://input/{key}", path.read_bytes())
            where = f"s3://{peer.bucket if peer else 'input'}/more/{more.name}/"
            result = f"s3://{peer.bucket if peer else 'out'}/import"
            job = server.import_all(self.store, where, output_uri=result, **to)
            assert job["JobStatus"] == "COMPLETED", job

        seed = 10 if peer else 2
        export("first full export")
        export("again, nothing changed")
        grow(1000, seed)
        export("after 0.1 % growth")
        for n in (1, 10, 100):
            change(n)
            export(f"after {n} scattered changes")
        export("again, nothing changed")
        grow(100, seed + 1)
        export("after 1 % growth")
        take_away(made[0])

    def limit(self, total, *ndjson):
        """MB/s of what an export could reach; with a file, its bytes are unpacked first."""
        self.level_ground([])
        return float(subprocess.run([BIN / "bench" / "bench_limit", self.work / "limit", str(int(total / 1e6)), *ndjson],
                                    check=True, capture_output=True, text=True).stdout)

    def where(self, server):
        """One more export under perf, where there is one: what its processor time goes to."""
        if shutil.which("perf") is None:
            print("    (no perf here: install linux-perf to see where the time goes)")
            return
        data = self.work / "perf.data"
        perf = subprocess.Popen(["perf", "record", "-q", "-F", "999", "-p", str(server.process.pid), "-o", data],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        job = server.export_all(self.store, "s3://out/perf")
        perf.send_signal(2)
        perf.wait()
        shutil.rmtree(server.folder(job["OutputDataConfig"]["S3Configuration"]["S3Uri"]))
        report = subprocess.run(["perf", "report", "-i", data, "--stdio", "-g", "none", "--sort", "dso,sym", "--percent-limit", "0"],
                                capture_output=True, text=True).stdout
        shares = dict.fromkeys(("SHA-256", "kernel", "RocksDB", "lz4", "copies in libc", "our scan, splice and count"), 0.0)
        for line in report.splitlines():
            words = line.split()
            if len(words) < 4 or not words[0].endswith("%"):
                continue
            share, library, symbol = float(words[0][:-1]), words[1], words[-1]
            place = ("SHA-256" if "sha256" in symbol or "libcrypto" in library else
                     "kernel" if "kernel" in library else
                     "RocksDB" if "rocksdb" in library or "libstdc++" in library or "ld-linux" in library else
                     "lz4" if "lz4" in library else
                     "copies in libc" if "libc.so" in library else "our scan, splice and count")
            shares[place] += share
        known = sum(shares.values()) or 1
        print("    where (perf): " + ", ".join(f"{name} {share / known:.0%}" for name, share in
                                               sorted(shares.items(), key=lambda s: -s[1])))

    def certificate(self):
        """Of a TLS peer on this machine: its files."""
        cert, key = self.work / "cert.pem", self.work / "key.pem"
        if not cert.exists():
            subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=peer",
                            "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert], check=True,
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return [str(cert), str(key)]

    @contextlib.contextmanager
    def blackhole(self, pace="0", *files):
        """An S3 peer that throws bodies away, over TLS where there are files of a certificate: options of a server for it."""
        sink = subprocess.Popen([BIN / "bench" / "s3_blackhole", "0", pace, *files], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True)
        url = f"{'https' if files else 'http'}://127.0.0.1:{sink.stdout.readline().split()[-1]}"
        roles = self.work / "roles.json"
        roles.write_text('{"roles":[{"arn":"%s","allow":["s3://bucket/*"],"credentials":{"accessKeyId":"a",'
                         '"secretAccessKey":"b"}}]}' % fhirlake.ROLE)
        roles.chmod(0o600)  # else the server does not start
        try:
            yield ["--s3-endpoint", url, "--roles", str(roles)]
        finally:
            sink.kill()

    def s3_exports(self, pace, tls):
        """Exports to a peer that throws bodies away, each connection at most at so many MB/s (0: as fast as it goes):
        MB/s, processor seconds per GB, raw PUTs over two connections in MB/s (of an unlimited peer),
        peak memory over idle in MiB."""
        files = self.certificate() if tls else []
        with self.blackhole(str(pace), *files) as options:
            server = self.start_server(*options, env={"SSL_CERT_FILE": files[0]} if tls else None)
            exports, ours, raws = [], [], []
            pid = server.process.pid
            idle = memory_kib(pid, "VmRSS")
            total = size_of(self.data(self.args.gb))
            for i in range(self.args.runs + 1):
                self.level_ground((server.data / "stores" / self.store).glob("*.sst"))
                before = cpu_seconds(pid)
                job = server.export_all(self.store, f"s3://bucket/x{i}")
                assert job["JobStatus"] == "COMPLETED", job
                spent = sum(cpu_seconds(pid)) - sum(before)
                if i == 0:
                    continue
                exports.append(total / job_seconds(job) / 1e6)
                ours.append(spent / total * 1e9)
                if pace == 0:  # else the connections are the limit
                    raw = subprocess.run([BIN / "bench" / "bench_s3_put", "16", "1", "0", *files], check=True, capture_output=True,
                                         text=True).stdout
                    both = raw[raw.index("2 connections"):]
                    raws.append(float(re.search(r"raw libcurl PUT +([0-9]+) MB/s", both).group(1)))
            return exports, ours, raws, (memory_kib(pid, "VmHWM") - idle) / 1024

    def connections(self):
        """With the system's authorities, and the peer's own behind them."""
        files = self.certificate()
        authorities = self.work / "authorities.pem"
        authorities.write_text(pathlib.Path("/etc/ssl/certs/ca-certificates.crt").read_text() + pathlib.Path(files[0]).read_text())
        with self.blackhole("0", *files) as options:
            for _ in range(self.args.runs):
                print("    " + subprocess.run([BIN / "bench" / "bench_connect", options[1] + "/bucket", authorities], check=True,
                                              capture_output=True, text=True).stdout.strip())

    def s3(self):
        self.connections()
        self.rest(self.filled())
        pace, connections = 50, 8
        for tls, by in ((False, "by plain HTTP"), (True, "over TLS")):
            exports, ours, raws, peak = self.s3_exports(0, tls)
            row(f"export to an S3 sink {by}, MB/s", spread(exports))
            row("ratio export : raw libcurl PUT, 2 connections", spread([x / y for x, y in zip(exports, raws)]))
            row("  processor seconds per GB, export", spread(ours))
            row("  peak memory over idle, MiB", f"{peak:,.0f}")
            exports, ours, _, peak = self.s3_exports(pace, tls)
            row(f"export {by} to a peer of {pace} MB/s a connection, MB/s", spread(exports))
            row(f"ratio to {connections} connections of it", spread([x / (pace * connections) for x in exports]))
            row("  processor seconds per GB, export", spread(ours))
            row("  peak memory over idle, MiB", f"{peak:,.0f}", f"{connections} objects on their way")
            raw = subprocess.run([BIN / "bench" / "bench_s3_put", "16", "5", "0", *(self.certificate() if tls else [])],
                                 check=True, capture_output=True, text=True).stdout
            print(f"    what PUTs cost {by} without a store behind them:")
            print("    " + raw.strip().replace("\n", "\n    "))

    def ask(self):
        out = subprocess.run([BIN / "bench" / "bench_ask", self.work / "ask", "100000"], check=True, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        for line in out.splitlines():
            m = re.match(r"(.{34}) +(\d+) resources +([\d.]+) MB +([\d.]+) s +([\d.]+) s of processor"
                         r" +(\d+) MiB(?:  ratio to full ([\d.]+), processor ([\d.]+))?", line)
            if not m:
                print(f"    {line}")
                continue
            name, n, mb, wall, cpu, peak, ratio, cpu_ratio = m.groups()
            note = f"{cpu} s of processor, {n} resources, {mb} MB, {peak} MiB over idle"
            if ratio:
                note += f"; to the full export {float(ratio):.2%}, processor {float(cpu_ratio):.2%}"
            row(f"ask: {name.strip()}", f"{wall} s", note)

    def memory(self):
        for gb in (self.args.gb / 10, self.args.gb):
            server = self.start_server("--core-dumps", "yes", name=f"memory-{gb}")  # its peak is reset from outside
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


NAMES = {"generate": Bench.generate, "import": Bench.import_, "export": Bench.export, "reuse": Bench.reuse, "s3": Bench.s3,
         "ask": Bench.ask, "memory": Bench.memory, "start": Bench.start,
         "reads": lambda b: of_rest(b).reads(),
         "tokens": lambda b: of_rest(b).tokens(),
         "tls": lambda b: of_rest(b).tls(),
         "together": lambda b: of_rest(b).together(),
         "share": lambda b: of_rest(b).share(),
         "creates": lambda b: of_rest(b).creates(), "metrics": lambda b: of_rest(b).metrics(),
         "audit": lambda b: of_rest(b).audit(), "search": lambda b: of_rest(b).search(),
         "encryption": lambda b: encryption.encryption(b, row, spread, cpu_seconds),
         "pg": lambda b: engines.postgres(b, row, spread, BIN / "bench" / "bench_engine"),
         "copy": lambda b: copies.copies(b, row, spread, BIN / "fhirlake"),
         "console": lambda b: console.console(b, row, spread, BIN / "fhirlake", BIN / "bench" / "bench_jobs"),
         "view": lambda b: views.views(b, row, spread, BIN, cpu_seconds)}
assert tuple(NAMES) == BENCHMARKS


def of_rest(bench):
    return rest.Rest(bench, row, spread, BIN / "bench")


def main():
    args = arguments()
    bench = Bench(args)
    print(f"fhirlake benchmarks, {args.gb:g} GB, min / median / max of {args.runs}")
    try:
        for name in args.names or NAMES:
            NAMES[name](bench)
    finally:
        bench.close()


if __name__ == "__main__":
    main()
