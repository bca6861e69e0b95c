"""The engine on PostgreSQL beside RocksDB, in turns over the same generated resources: loads as an import's, scans as an
export's, reads by id, commits, disk. Processor seconds are this process's and, of PostgreSQL, those of all of its processes.
The server is one of its own, synced, on a socket; it shares the machine with its client."""
import os
import pathlib
import pwd
import shutil
import statistics
import subprocess
import tempfile
import time

import nodes

TICK = os.sysconf("SC_CLK_TCK")
PHASES = (("import", "loads, 2 threads", "res/s"), ("scan-1", "scan, 1 thread", "MB/s"), ("scan-2", "scan, 2 threads", "MB/s"),
          ("read", "read by id, 1 thread", "/s"), ("commits-1", "commits, 1 thread", "/s"), ("commits-16", "commits, 16 threads", "/s"))


class Cluster:
    """A temporary one. initdb refuses root, who becomes postgres or nobody."""

    def __init__(self):
        found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
        if not found:
            raise SystemExit("bench: PostgreSQL is not installed (apt: postgresql)")
        self.bin = found[-1].parent
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="fhirlake-bench-pg-", dir="/tmp"))
        self.more = {"cwd": "/"}
        if os.getuid() == 0:
            name = next(n for n in ("postgres", "nobody") if n in {u.pw_name for u in pwd.getpwall()})
            user = pwd.getpwnam(name)
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self.more |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([self.bin / "initdb", "-D", self.folder / "data", "-U", "bench", "-A", "trust", "-E", "UTF8", "--no-locale", "-k"],
                       check=True, **quiet, **self.more)
        options = {"listen_addresses": "", "shared_buffers": "1GB", "max_wal_size": "4GB", "wal_compression": "lz4"}
        self.process = subprocess.Popen([self.bin / "postgres", "-D", self.folder / "data", "-k", self.folder,
                                         *(f"--{k}={v}" for k, v in options.items())], **quiet, **self.more)
        while subprocess.run([self.bin / "pg_isready", "-h", self.folder], **quiet).returncode:
            assert self.process.poll() is None
            time.sleep(0.05)

    def uri(self, name):
        return f"postgresql://bench@/postgres?host={self.folder}/{name}"

    def cpu(self):
        """Of the server, of those of its processes that are there, and of those that ended."""
        total = 0
        for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(path.parent.name) == self.process.pid:
                total += sum(map(int, fields[11:15]))
            elif int(fields[1]) == self.process.pid:
                total += sum(map(int, fields[11:13]))
        return total / TICK

    def checkpoint(self):
        subprocess.run([self.bin / "psql", "-h", self.folder, "-U", "bench", "-qc", "checkpoint", "postgres"], check=True)

    def close(self):
        self.process.send_signal(2)
        self.process.wait()
        shutil.rmtree(self.folder)


def disk(folder):
    return sum(p.stat().st_size for p in pathlib.Path(folder).rglob("*") if p.is_file())


def measure(program, uri, mb, server_cpu, on_import):
    """{phase: (count, bytes, seconds, processor seconds of the client, of the server)}"""
    told = {}
    with subprocess.Popen([program, uri, str(mb)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        before = server_cpu()
        for line in process.stdout:
            name, n, size, seconds, cpu = line.split()
            told[name] = (int(n), int(size), float(seconds), float(cpu), server_cpu() - before)
            if name == "import":
                on_import()
            before = server_cpu()
            process.stdin.write("\n")
            process.stdin.flush()
    assert process.returncode == 0
    return told


def engines(bench, row, spread, program, cluster):
    mb = int(bench.args.gb * 1000)
    sides, sizes = {"rocksdb": [], "postgresql": []}, {}
    for i in range(bench.args.runs):
        folder = bench.work / f"engine-{i}"
        sides["rocksdb"].append(measure(program, str(folder), mb, lambda: 0.0, lambda: None))
        sizes["rocksdb"] = disk(folder)
        shutil.rmtree(folder)
        empty = disk(cluster.folder / "data" / "base")
        sides["postgresql"].append(measure(program, cluster.uri(f"bench{i}"), mb, cluster.cpu, cluster.checkpoint))
        sizes["postgresql"] = disk(cluster.folder / "data" / "base") - empty
    for name, title, unit in PHASES:
        for side, runs in sides.items():
            per = [(r[name][1] / 1e6 if unit == "MB/s" else r[name][0]) / r[name][2] for r in runs]
            n, size, _, client, server = (statistics.median(column) for column in zip(*(r[name] for r in runs)))
            each = (f"{client / size * 1e9:.2f} + {server / size * 1e9:.2f} CPU s/GB" if unit == "MB/s"
                    else f"{client / n * 1e6:.1f} + {server / n * 1e6:.1f} CPU us each")
            row(f"{title}, {side}, {unit}", spread(per), f"client + server: {each}")
        row(f"{title}: processor time to RocksDB's",
            spread([sum(p[name][3:]) / sum(r[name][3:]) for r, p in zip(sides["rocksdb"], sides["postgresql"])]))
    n, size = sides["rocksdb"][0]["import"][:2]
    for side, bytes_ in sizes.items():
        row(f"on disk, {side}, MB", f"{bytes_ / 1e6:,.0f}", f"of {size / 1e6:,.0f} MB of JSON, {n:,} resources")
    row("on disk: to RocksDB's", f"{sizes['postgresql'] / sizes['rocksdb']:.2f}")


def postgres(bench, row, spread, program):
    cluster = Cluster()
    try:
        engines(bench, row, spread, program, cluster)
        nodes.Nodes(bench, row, spread, program.parent, cluster).all()
    finally:
        cluster.close()
