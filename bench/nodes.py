"""Nodes on one PostgreSQL, part of ./dev bench pg: imports and exports as jobs, grouped creates by one node and by two, latency of reads at a steady pace, memory of
a node, an export by two nodes of one processor each against one with both. RocksDB stands beside in the same run. Clients, nodes and
database share the machine."""
import concurrent.futures
import json
import os
import shutil

from fhirlake import Server
from rest import Load, Rest

CLIENTS = 64  # of each node
PACE = 1000


def peak_mib(pid, field="VmHWM"):
    return next(int(line.split()[1]) for line in open(f"/proc/{pid}/status") if line.startswith(field)) / 1024


class Nodes:
    def __init__(self, bench, row, spread, tools, cluster):
        self.bench, self.row, self.spread, self.tools, self.cluster = bench, row, spread, tools, cluster
        self.objects = bench.work / "nodes-objects"
        self.objects.mkdir()
        for path in bench.data(bench.args.gb).glob("*.ndjson"):
            link = self.objects / "input" / "all" / path.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.hardlink_to(path)

    def node(self, name, *options, processors=None):
        """One that is asked without a signature and whose peak of memory can be set back. processors: it is held to these."""
        data = self.bench.work / name
        if not data.exists():
            data.mkdir(mode=0o700)
            (data / "objects").symlink_to(self.objects)
        before = (lambda: os.sched_setaffinity(0, processors)) if processors else None
        return Server(data, "--auth", "none", "--export-reuse", "no", "--core-dumps", "yes", *options, before=before)

    def database(self):
        return "--store", self.cluster.uri("")[:-1], "--store-ack", "local"

    def job(self, server, kind, store, place):
        client = server.client("any", "any")
        if kind == "import":
            return server.wait_import(store, server.start_import(store, "s3://input/all/", client=client), 3600, client=client)
        return server.wait_export(store, server.start_export(store, place, client=client), 3600, client=client)

    def memory(self, name, server, store):
        """MiB over idle."""
        pid, idle = server.process.pid, peak_mib(server.process.pid, "VmRSS")
        for kind in ("import", "export"):
            with open(f"/proc/{pid}/clear_refs", "w") as file:
                file.write("5")
            job = self.job(server, kind, store, f"s3://out/memory-{name}")
            assert job["JobStatus"] == "COMPLETED", job
            self.row(f"peak memory of a node's {kind}, over idle, {name}, MiB", f"{peak_mib(pid) - idle:,.0f}", f"idle {idle:,.0f} MiB")

    def jobs(self, sides):
        """Import and export by one node, as their users see them: {name: server}."""
        size = sum(path.stat().st_size for path in (self.objects / "input" / "all").iterdir())
        spent = {(kind, name): [] for kind in ("import", "export") for name in sides}
        rates = {key: [] for key in spent}
        for i in range(self.bench.args.runs):
            for name, server in sides.items():
                store = server.create_store(server.client("any", "any"))
                for kind in ("import", "export"):
                    before = self.cluster.cpu() + peer_cpu(server.process.pid)
                    job = self.job(server, kind, store, f"s3://out/jobs-{i}")
                    assert job["JobStatus"] == "COMPLETED", job
                    spent[kind, name].append(self.cluster.cpu() + peer_cpu(server.process.pid) - before)
                    if kind == "import":
                        n = job["JobProgressReport"]["TotalNumberOfResourcesImported"]
                    rates[kind, name].append(n / max((job["EndTime"] - job["SubmitTime"]).total_seconds(), 1e-3))
                server.client("any", "any").delete_fhir_datastore(DatastoreId=store)
            shutil.rmtree(self.objects / "out")
        for (kind, name), each in spent.items():
            self.row(f"{kind} by a job, {name}, res/s", self.spread(rates[kind, name]),
                     f"node + database: {self.spread([x / (size / 1e9) for x in each])} CPU s/GB")
        for kind in ("import", "export"):
            self.row(f"{kind} by a job: processor time to RocksDB's",
                     self.spread([a / b for a, b in zip(spent[kind, "PostgreSQL"], spent[kind, "RocksDB"])]))

    def load(self, server):
        return Load(self.tools, server.url, server.process.pid)

    def requests(self, name, lines):
        path = self.bench.work / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def reads(self, sides):
        of = Rest(self.bench, self.row, self.spread, self.tools)
        ids = of.ids("Observation", 20000)
        told = {name: [] for name in sides}
        for i in range(self.bench.args.runs + 1):
            for name, (server, store) in sides.items():
                requests = self.requests("paced", [f"GET /datastore/{store}/r4/Observation/{one}" for one in ids])
                got = self.load(server).run(requests, self.bench.args.seconds, 8, pace=PACE)
                if i:  # the first one warms up
                    told[name].append(got)
        for name, runs in told.items():
            for what in ("p50", "p99"):
                self.row(f"read by id, {PACE:,} a second, {name}: {what}, ms", self.spread([r[f"{what}_us"] for r in runs], 1e-3))

    def creates(self, sides):
        """sides: (name, servers, store). Of a second round and later."""
        with open(self.bench.data(self.bench.args.gb) / "Observation.ndjson") as lines:
            bodies = [line.strip() for _, line in zip(range(5000), lines)]
        told = {name: [] for name, _, _ in sides}
        for i in range(self.bench.args.runs + 1):
            for name, servers, store in sides:
                requests = self.requests("creates", [f"POST /datastore/{store}/r4/Observation\t{body}" for body in bodies])
                before = self.cluster.cpu()
                with concurrent.futures.ThreadPoolExecutor() as pool:
                    got = list(pool.map(lambda s: self.load(s).run(requests, self.bench.args.seconds, CLIENTS), servers))
                n = sum(g["requests"] for g in got)
                if i:
                    told[name].append((sum(g["rps"] for g in got), sum(g["server_us"] * g["requests"] for g in got) / n,
                                       (self.cluster.cpu() - before) / n * 1e6, max(g["p99_us"] for g in got)))
        for name, runs in told.items():
            rate, node, database, p99 = zip(*runs)
            self.row(f"durable creates, {CLIENTS} clients a node, {name}, /s", self.spread(rate))
            self.row("  processor of one, us: nodes / database", f"{sorted(node)[len(node) // 2]:.0f} / {sorted(database)[len(node) // 2]:.0f}",
                     f"p99 {sorted(p99)[len(p99) // 2] / 1000:.0f} ms")

    def exports(self, store):
        """One node with two processors, then two nodes with one each, in turns. Each side is started anew."""
        pair = sorted(os.sched_getaffinity(0))[:2]
        if len(pair) < 2:
            print("  two nodes against one: needs two processors")
            return
        times, spent = {"one": [], "two": []}, {"one": [], "two": []}
        for i in range(self.bench.args.runs):
            for side, parts in (("one", [set(pair)]), ("two", [{pair[0]}, {pair[1]}])):
                servers = [self.node(f"node-{k}", *self.database(), processors=p).start() for k, p in enumerate(parts)]
                try:
                    before = self.cluster.cpu()
                    job = self.job(servers[0], "export", store, f"s3://out/{side}-{i}")
                    assert job["JobStatus"] == "COMPLETED", job
                    times[side].append((job["EndTime"] - job["SubmitTime"]).total_seconds())
                    spent[side].append(self.cluster.cpu() - before + sum(peer_cpu(s.process.pid) for s in servers))
                finally:
                    for server in servers:
                        server.stop()
                shutil.rmtree(self.objects / "out")
        for side in times:
            self.row(f"export by {side} node{'s' if side == 'two' else ''}, s", self.spread(times[side]),
                     f"processor s of nodes and database: {self.spread(spent[side])}")
        self.row("export: time of one node to that of two", self.spread([a / b for a, b in zip(times["one"], times["two"])]))

    def all(self):
        rocks = self.node("node-rocksdb").start()
        first = self.node("node-0", *self.database()).start()
        second = None
        try:
            stores = {}
            for name, server in (("RocksDB", rocks), ("PostgreSQL", first)):
                stores[name] = server.create_store(server.client("any", "any"))
                self.memory(name, server, stores[name])
            self.jobs({"RocksDB": rocks, "PostgreSQL": first})
            store = stores["PostgreSQL"]
            self.reads({"RocksDB": (rocks, stores["RocksDB"]), "PostgreSQL": (first, store)})
            second = self.node("node-1", *self.database()).start()
            fresh = first.create_store(first.client("any", "any"))
            self.creates([("RocksDB", [rocks], stores["RocksDB"]), ("one node", [first], fresh), ("two nodes", [first, second], fresh)])
        finally:
            for server in filter(None, (rocks, first, second)):
                server.stop()
        self.exports(store)


def peer_cpu(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
