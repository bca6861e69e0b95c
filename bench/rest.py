"""The REST API's benchmarks: reads, creates, search, counting. Each against a peer or another request in the same run.

Rounds take peer and server in turns, and a ratio is made of the two halves of one round; medians of the rounds. Beside
the rate stands the processor time of a request (server and load generator together): where other work shares the
machine, rates say how the scheduler divided it, processor time says what a request costs."""
import json
import pathlib
import random
import shutil
import socket
import ssl
import statistics
import subprocess
import threading
import time

import fhirlake
import identity


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


class Load:
    """bench_load against one server process."""

    def __init__(self, tools, address, pid, keys=None, token=None):
        self.tools, self.address, self.pid, self.keys, self.token = tools, address.split("//")[-1], pid, keys, token
        self.tls = address.startswith("https")

    def run(self, requests, seconds, connections, pace=0):
        command = [self.tools / "bench_load", "--to", self.address, "--connections", str(connections), "--seconds",
                   str(seconds), "--requests", requests]
        if self.tls:
            command += ["--tls", "yes"]
        if pace:
            command += ["--pace", str(pace)]
        if self.keys:
            command += ["--key", self.keys[0], "--secret", self.keys[1]]
        if self.token:
            command += ["--token", self.token]
        before = cpu_seconds(self.pid)
        got = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        assert got["failed"] == 0, got
        got["server_us"] = (cpu_seconds(self.pid) - before) * 1e6 / got["requests"]
        got["us"] = got["server_us"] + got["cpu_us"]
        return got


class Rest:
    def __init__(self, bench, row, spread, tools):
        self.bench, self.row, self.spread, self.tools = bench, row, spread, tools
        self.seconds, self.rounds = bench.args.seconds, bench.args.runs
        self.random = random.Random(1)

    def file(self, name, lines):
        path = self.bench.work / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def ids(self, kind, count):
        folder = self.bench.data(self.bench.args.gb)
        ids = []
        for path in sorted(folder.glob(f"{kind}*.ndjson")):
            if path.stem.split(".")[0].split("-")[0] != kind:
                continue
            with open(path) as lines:
                ids += [json.loads(line)["id"] for _, line in zip(range(20 * count), lines)]
        self.random.shuffle(ids)
        return ids[:count]

    def base(self):
        return f"/datastore/{self.bench.store}/r4"

    def against(self, name, peer, load, requests, peer_requests, connections=32):
        rates, costs, of_server, p99 = [], [], [], []
        load.run(requests, self.seconds, connections)  # warm
        for _ in range(self.rounds):
            a = peer.run(peer_requests, self.seconds, connections)
            b = load.run(requests, self.seconds, connections)
            rates.append(b["rps"] / a["rps"])
            costs.append(a["us"] / b["us"])
            of_server.append(a["server_us"] / b["server_us"])
            p99.append((b["rps"], b["p99_us"], a["p99_us"], b["us"]))
        self.row(f"{name}: requests/s", self.spread([p[0] for p in p99]))
        self.row(f"{name}: processor time of a request, us", self.spread([p[3] for p in p99]))
        self.row(f"{name}: p99, ms (peer {statistics.median(p[2] for p in p99) / 1000:.1f})",
                 self.spread([p[1] for p in p99], 1e-3))
        self.row(f"{name}: ratio of rates to the peer's", self.spread(rates))
        self.row(f"{name}: ratio of processor times", self.spread(costs))
        self.row(f"{name}: ratio of the servers' alone", self.spread(of_server))

    def reads(self):
        """Reads by id against the same HTTP server with a constant answer."""
        peer = subprocess.Popen([self.tools / "bench_constant", "2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                text=True)
        try:
            constant = Load(self.tools, peer.stdout.readline().strip(), peer.pid)
            self.bench.filled().stop()
            some = {"2,000 ids": 2000, "ids of the whole type": 200000}
            for auth in ("none", "sigv4"):
                server = self.bench.start_server("--auth", auth)
                keys = server.keys() if auth == "sigv4" else None
                for what, count in some.items():
                    requests = self.file("reads", [f"GET {self.base()}/Observation/{i}"
                                                   for i in self.ids("Observation", count)])
                    self.against(f"read, {'signed' if keys else 'open'}, {what}", constant,
                                 Load(self.tools, server.url, server.process.pid, keys), requests, requests)
        finally:
            peer.kill()

    def tokens(self):
        """Reads by id with an access token that was checked lately, against the same with signatures, on one server."""
        idp = identity.Idp()
        try:
            server = self.bench.start_server("--identity-providers", str(idp.file(self.bench.work / "idp")), name="smart")
            store = identity.smart_store(server, idp.url)
            job = server.wait_import(store, server.start_import(store, self.bench.link_input(server, self.bench.args.gb)), 3600)
            assert job["JobStatus"] == "COMPLETED", job
            requests = self.file("reads", [f"GET /datastore/{store}/r4/Observation/{i}" for i in self.ids("Observation", 2000)])
            signed = Load(self.tools, server.url, server.process.pid, server.keys())
            for scope in ("system/*.rs", "system/Observation.rs?status=final"):
                token = idp.keys[0].token(identity.claims(server, store, iss=idp.url, scope=scope, exp=int(time.time()) + 86400))
                self.against(f"read with a token of {scope}", signed,
                             Load(self.tools, server.url, server.process.pid, token=token), requests, requests)
        finally:
            idp.close()

    def tls(self):
        """Reads by id over TLS, and a served file: against the same without TLS, in the same round."""
        self.bench.filled().stop()
        secure = fhirlake.Server(self.bench.work / "tls", "--auth", "none", "--tls", "self-signed")
        # a copy, because two servers cannot share a folder
        shutil.copytree(self.bench.server.data, secure.data)
        plain = self.bench.start_server("--auth", "none")
        secure.start()
        try:
            requests = self.file("reads", [f"GET {self.base()}/Observation/{i}" for i in self.ids("Observation", 2000)])
            self.against("read over TLS, 2,000 ids", Load(self.tools, plain.url, plain.process.pid),
                         Load(self.tools, secure.url, secure.process.pid), requests, requests)
            handshakes = self.handshakes(secure)
            self.row("handshakes a second, one client, P-256", self.spread(handshakes))
            speeds = {"plain": [], "TLS": []}
            files = {"plain": self.exported(plain), "TLS": self.exported(secure)}
            for _ in range(self.rounds + 1):
                for name, url in files.items():
                    speeds[name].append(self.fetched(url))
            for name, got in speeds.items():
                self.row(f"a served file, {name}, MB/s", self.spread(got[1:]))
            self.row("a served file: ratio of TLS to plain", self.spread(
                [b / a for a, b in zip(speeds["plain"][1:], speeds["TLS"][1:])]))
        finally:
            secure.kill()

    def handshakes(self, server, seconds=2):
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        host, port = server.url.split("//")[1].split(":")
        rates = []
        for _ in range(self.rounds):
            n, start = 0, time.monotonic()
            while time.monotonic() - start < seconds:
                tls.wrap_socket(socket.create_connection((host, int(port)))).close()
                n += 1
            rates.append(n / (time.monotonic() - start))
        return rates

    def exported(self, server):
        """The address of the largest file of a served export."""
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        fhir = server.fhir(self.bench.store, signed=False)
        fhir.tls = tls
        status = fhir.get("$export", Prefer="respond-async", Accept="application/fhir+json").headers["Content-Location"]
        fhirlake.wait(lambda: fhir.get(status).status, {200}, 600)
        return max(fhir.get(status).json["output"], key=lambda o: o.get("count", 0))["url"]

    def fetched(self, url):
        got = subprocess.run(["curl", "-sk", "-o", "/dev/null", "-w", "%{size_download} %{time_total}", url], check=True,
                             capture_output=True, text=True).stdout.split()
        return int(got[0]) / float(got[1]) / 1e6

    def together(self):
        """Latency of reads at a steady pace, alone and while full exports and imports run one after the other."""
        self.bench.filled().stop()
        server = self.bench.start_server("--auth", "none")
        store, load = self.bench.store, Load(self.tools, server.url, server.process.pid)
        requests = self.file("paced", [f"GET {self.base()}/Observation/{i}" for i in self.ids("Observation", 20000)])
        source = self.bench.link_input(server, self.bench.args.gb)
        other = server.create_store()
        load.run(requests, self.seconds, 8, pace=1000)  # warm
        for _ in range(self.rounds):
            for name, start in (("alone", None), ("with an export", lambda n: server.export_all(store, f"s3://out/t{n}")),
                                ("with an import", lambda n: server.import_all(other, source))):
                stop, runs = threading.Event(), []

                def work():
                    while not stop.is_set():
                        runs.append(start(len(runs))["JobStatus"])

                thread = threading.Thread(target=work) if start else None
                if thread:
                    thread.start()
                    time.sleep(0.5)
                got = load.run(requests, self.seconds, 8, pace=1000)
                stop.set()
                if thread:
                    thread.join()
                assert set(runs) <= {"COMPLETED"}, runs
                self.row(f"reads {name}, 1,000 a second: p50 / p99 / worst, ms",
                         " / ".join(f"{got[k] / 1000:.2f}" for k in ("p50_us", "p99_us", "max_us")))
                shutil.rmtree(server.objects / "out", ignore_errors=True)

    def share(self):
        """An honest caller at a steady pace in one data store; a hostile one sends without pause in another."""
        data = self.bench.work / "share"
        data.mkdir(mode=0o700)
        keys = {"honest": ("AKIAHONEST", "o" * 40), "hostile": ("AKIAHOSTILE", "h" * 40)}
        (data / "credentials").write_text("".join(f"[{n}]\naws_access_key_id = {k}\naws_secret_access_key = {s}\n"
                                                  for n, (k, s) in keys.items()))
        (data / "credentials").chmod(0o600)
        server = self.bench.start_server(name="share")
        client = server.client(*keys["honest"])
        source = self.bench.link_input(server, 0.1)
        ours, theirs = server.create_store(client), server.create_store(client)
        people, n = [{"resourceType": "Patient", "id": f"p{i}", "gender": "male"} for i in range(1500)], 1500
        facts = [{"resourceType": "Observation", "id": f"o{i}", "status": "final", "code": {"text": "x"},
                  "subject": {"reference": f"Patient/p{i}"}} for i in range(n)]
        server.put_object("s3://input/hostile/all.ndjson", "".join(json.dumps(r) + "\n" for r in people + facts))
        for store, place in (ours, source), (theirs, "s3://input/hostile/"):
            job = server.wait_import(store, server.start_import(store, place, client=client), client=client)
            assert job["JobStatus"] == "COMPLETED", job
        with open(self.bench.data(0.1) / "Observation.ndjson") as lines:
            seen = [json.loads(line) for _, line in zip(range(500), lines)]
        base, their_base = f"/datastore/{ours}/r4", f"/datastore/{theirs}/r4"
        slow = "&".join(["_has:Observation:subject:subject:Patient.gender:not=x".replace(":", "%3A")] * 20)
        entry = {"request": {"method": "GET", "url": f"Patient?_count=1&{slow}"}}
        batch = json.dumps({"resourceType": "Bundle", "type": "batch", "entry": [entry] * 20})
        works = {"searches": [f"GET {base}/Observation?_count=10&subject={o['subject']['reference'].replace('/', '%2F')}"
                              for o in seen],
                 "reads": [f"GET {base}/Observation/{o['id']}" for o in seen],
                 "creates": [f"POST {base}/Observation\t{json.dumps(o)}" for o in seen]}
        hostiles = {"slow searches": [f"GET {their_base}/Patient?_count=1&{slow}"],
                    "slow conditional deletes": [f"DELETE {their_base}/Patient?{slow}&name=nobody"],
                    "slow batches": [f"POST {their_base}\t{batch}"]}
        load = Load(self.tools, server.url, server.process.pid, keys["honest"])
        for name, requests in works.items():
            honest = self.file("honest", requests)
            load.run(honest, self.seconds, 4, pace=200)  # warm
            alone = [load.run(honest, self.seconds, 4, pace=200) for _ in range(self.rounds)]
            self.row(f"{name}, 200 a second, alone: p50 / p99, ms",
                     " / ".join(f"{statistics.median(a[k] for a in alone) / 1000:.2f}" for k in ("p50_us", "p99_us")))
            for kind, asked in hostiles.items():
                hostile = subprocess.Popen(
                    [self.tools / "bench_load", "--to", load.address, "--connections", "64", "--seconds",
                     str(self.seconds * self.rounds * 3 + 30), "--requests", self.file("hostile", asked), "--key",
                     keys["hostile"][0], "--secret", keys["hostile"][1]], stdout=subprocess.DEVNULL)
                try:
                    time.sleep(1)
                    got = [load.run(honest, self.seconds, 4, pace=200) for _ in range(self.rounds)]
                finally:
                    hostile.kill()
                    hostile.wait()
                self.row(f"{name} beside 64 {kind}: p50 / p99, ms", " / ".join(
                    f"{statistics.median(g[k] for g in got) / 1000:.2f}" for k in ("p50_us", "p99_us")))
                self.row(f"{name} beside 64 {kind}: p99 : p99 alone",
                         self.spread([g["p99_us"] / a["p99_us"] for g, a in zip(got, alone)]))

    def metrics(self):
        """Reads and creates of a server that counts against one that does not, in turns: what counting costs."""
        self.bench.filled().stop()
        source = self.bench.data(self.bench.args.gb) / "Observation.ndjson"
        with open(source) as lines:
            bodies = [line.strip() for _, line in zip(range(5000), lines)]
        works = {"read": self.file("reads", [f"GET {self.base()}/Observation/{i}" for i in self.ids("Observation", 2000)]),
                 "create": self.file("creates", [f"POST {self.base()}/Observation\t{body}" for body in bodies])}
        counts = {"not counted": [], "counted": ["--health-listen", "127.0.0.1:0"],
                  "counted for each data store": ["--health-listen", "127.0.0.1:0", "--metrics-per-datastore", "yes"]}
        spent = {(w, c): [] for w in works for c in counts}
        for _ in range(self.rounds):
            for how, options in counts.items():
                server = self.bench.start_server("--auth", "none", *options)
                load = Load(self.tools, server.url, server.process.pid)
                for work, requests in works.items():
                    load.run(requests, 1, 16)  # warm
                    spent[work, how].append(load.run(requests, self.seconds, 16)["us"])
        for work in works:
            self.row(f"processor time of a {work}, not counted, us", self.spread(spent[work, "not counted"]))
            for how in list(counts)[1:]:
                self.row(f"... {how}, ratio to that",
                         self.spread([a / b for a, b in zip(spent[work, how], spent[work, "not counted"])]))
        for line in subprocess.run([self.tools / "bench_metrics", "4"], check=True, capture_output=True,
                                   text=True).stdout.splitlines():
            threads, plain, placed = line.split()
            self.row(f"counting a request, {threads} threads side by side, ns of each", f"{plain}",
                     f"{placed} with data stores")

    def creates(self):
        """Durable creates of 16 clients against RocksDB's own group commits of the same keys and values."""
        self.bench.filled().stop()
        server = self.bench.start_server("--auth", "none")
        source = self.bench.data(self.bench.args.gb) / "Observation.ndjson"
        with open(source) as lines:
            bodies = [line.strip() for _, line in zip(range(5000), lines)]
        lines = self.bench.work / "creates.ndjson"
        lines.write_text("\n".join(bodies) + "\n")
        requests = self.file("creates", [f"POST {self.base()}/Observation\t{body}" for body in bodies])
        load = Load(self.tools, server.url, server.process.pid)
        rates, ratios, p99 = [], [], []
        for _ in range(self.rounds):
            raw = float(subprocess.run([self.tools / "bench_commits", self.bench.work / "raw", lines, "16",
                                        str(self.seconds)], check=True, capture_output=True, text=True).stdout)
            got = load.run(requests, self.seconds, 16)
            rates.append(got["rps"])
            ratios.append(got["rps"] / raw)
            p99.append(got["p99_us"])
        self.row("durable creates of 16 clients, /s", self.spread(rates))
        self.row("p99 of a create, ms", self.spread(p99, 1e-3))
        self.row("ratio to RocksDB's group commits of the same", self.spread(ratios))

    def audit(self):
        """Reads and durable creates with an audit log against those of a second server without one."""
        plain = self.bench.start_server("--auth", "none", name="plain")
        audited = type(plain)(self.bench.work / "audited", "--auth", "none", "--audit", str(self.bench.work / "audit"))
        loads = []
        with audited:
            for server in plain, audited:
                client = server.client("any", "any")
                base = f"/datastore/{server.create_store(client)}/r4"
                seen = [{"resourceType": "Observation", "id": f"o{i}", "status": "final", "code": {"text": "x" * 600}}
                        for i in range(500)]
                entries = [{"request": {"method": "PUT", "url": f"Observation/{o['id']}"}, "resource": o} for o in seen]
                filled = server.fhir(base.split("/")[2], signed=False).post(
                    "", {"resourceType": "Bundle", "type": "batch", "entry": entries})
                assert filled.status == 200
                name = server.data.name
                loads.append((Load(self.tools, server.url, server.process.pid), {
                    "read": self.file(f"reads-{name}", [f"GET {base}/Observation/{o['id']}" for o in seen]),
                    "durable create": self.file(f"creates-{name}",
                                                [f"POST {base}/Observation\t{json.dumps(o)}" for o in seen])}))
            for what, connections in ("read", 32), ("durable create", 16), ("durable create", 64):
                rates, costs, spent = [], [], []
                for i in range(self.rounds):
                    # whoever is first meets another disk and cache than the second
                    turns = loads if i % 2 else loads[::-1]
                    got = [load.run(files[what], self.seconds, connections) for load, files in turns]
                    without, with_log = got if i % 2 else got[::-1]
                    rates.append(with_log["rps"] / without["rps"])
                    costs.append(with_log["server_us"] / without["server_us"])
                    spent.append((with_log["server_us"], without["server_us"]))
                of = f"{what}, {connections} clients, with an audit log"
                self.row(f"{of}: rate to that without", self.spread(rates))
                self.row(f"{of}: server's processor time, us", self.spread([s[0] for s in spent]),
                         f"without {statistics.median(s[1] for s in spent):.1f}")
                self.row(f"{of}: ... to that without", self.spread(costs))

    def timed(self, fhir, path, times=5):
        seconds, answer = [], None
        for _ in range(times):
            start = time.monotonic()
            answer = fhir.get(path)
            seconds.append(time.monotonic() - start)
            assert answer.status == 200, answer.body[:300]
        return statistics.median(seconds), answer

    def search(self):
        """First pages against reading their resources by id; counting; both at a tenth of the data too."""
        small, large = self.bench.args.gb / 10, self.bench.args.gb
        for gb in (small, large):
            server = self.bench.start_server(name=f"search-{gb}")
            store = server.create_store()
            job = server.import_all(store, self.bench.link_input(server, gb))
            assert job["JobStatus"] == "COMPLETED", job
            start = time.monotonic()
            total = server.fhir(store).get("Observation?_summary=count").json["total"]
            self.row(f"{gb:g} GB: first count, asked as the import ends, ms",
                     f"{(time.monotonic() - start) * 1000:.0f}", f"{total:,} Observations")
            server = self.bench.start_server("--auth", "none", name=f"search-{gb}")
            fhir = server.fhir(store, signed=False)
            with open(self.bench.data(gb) / "Observation.ndjson") as lines:
                seen = [json.loads(line) for _, line in zip(range(40), lines)]
            with open(self.bench.data(gb) / "Patient.ndjson") as lines:
                name = json.loads(next(lines))["name"][0]["family"]
            one = seen[self.random.randrange(len(seen))]
            coding = one["code"]["coding"][0]
            subject = one["subject"]["reference"]
            load = Load(self.tools, server.url, server.process.pid)
            for what, path in (("Observation?subject&code",
                                f"Observation?subject={subject}&code={coding['code']}&_count=20"),
                               ("Patient?name", f"Patient?name={name}&_count=20")):
                page = fhir.get(path).json
                found = [f"{e['resource']['resourceType']}/{e['resource']['id']}" for e in page.get("entry", [])]
                assert found
                base = f"/datastore/{store}/r4"
                searches = self.file("searches", [f"GET {base}/{path}"])
                reads = self.file("single", [f"GET {base}/{r}" for r in found])
                ratios, costs, first = [], [], []
                for _ in range(self.rounds):
                    s = load.run(searches, self.seconds, 1)
                    r = load.run(reads, self.seconds, 1)
                    first.append(s["p50_us"])
                    ratios.append(s["p50_us"] / (r["p50_us"] * len(found)))
                    costs.append(s["us"] / (r["us"] * len(found)))
                self.row(f"{gb:g} GB: {what}, first page of {len(found)}, ms", self.spread(first, 1e-3))
                self.row(f"{gb:g} GB: {what}, ratio to reading them by id", self.spread(ratios))
                self.row(f"{gb:g} GB: {what}, the same of processor times", self.spread(costs))
            for what, path in (("whole type", "Observation?_summary=count"),
                               ("one token", "Observation?status=final&_summary=count"),
                               ("system and code", f"Observation?code={coding['system']}|{coding['code']}"
                                                   "&_summary=count")):
                seconds, answer = self.timed(fhir, path, 9)
                self.row(f"{gb:g} GB: count, {what}, ms (client included)", f"{seconds * 1000:.1f}",
                         f"{answer.json['total']:,} match")
