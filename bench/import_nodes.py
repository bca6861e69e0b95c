"""One import over one and over two nodes of one PostgreSQL, in turns: seconds, and processor seconds of the nodes and of the
server, which all share this machine: one node with one worker, one with two, two with one. Run by itself, with
boto3: python3 bench/import_nodes.py [--patients N] [--rounds N]"""
import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
from engines import TICK, Cluster  # noqa: E402
from fhirlake import Server, generate  # noqa: E402

SETUPS = ((1, 1), (1, 2), (2, 1))  # nodes, workers of each


def cpu_of(server):
    fields = pathlib.Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:13])) / TICK


def one(cluster, objects, nodes, workers):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="fhirlake-bench-nodes-"))
    name = f"n{os.getpid()}x{time.monotonic_ns()}"
    psql = [cluster.bin / "psql", "-h", cluster.folder, "-U", "bench", "-qc"]
    subprocess.run([*psql, f"create database {name}", "postgres"], check=True)
    servers = []
    try:
        for i in range(nodes):
            data = folder / f"data{i}"
            data.mkdir(mode=0o700)
            (data / "objects").symlink_to(objects)
            servers.append(Server(data, "--store", f"postgresql://bench@/{name}?host={cluster.folder}", "--workers", str(workers)))
            servers[-1].start()
        cluster.checkpoint()
        store = servers[0].create_store()
        before, database, begin = [cpu_of(s) for s in servers], cluster.cpu(), time.monotonic()
        done = servers[0].wait_import(store, servers[0].start_import(store, "s3://input/pop/"))
        seconds = time.monotonic() - begin
        assert done["JobStatus"] == "COMPLETED", done
        each = [cpu_of(s) - b for s, b in zip(servers, before)]
        return {"n": done["JobProgressReport"]["TotalNumberOfResourcesImported"], "s": seconds, "each": each,
                "database": cluster.cpu() - database}
    finally:
        for s in servers:
            s.stop()
        subprocess.run([*psql, f"drop database {name} with (force)", "postgres"], check=True)
        shutil.rmtree(folder)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--patients", type=int, default=600)
    p.add_argument("--rounds", type=int, default=3)
    a = p.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="fhirlake-bench-pop-"))
    cluster = Cluster()
    got = {s: [] for s in SETUPS}
    try:
        generate(folder / "input/pop", patients=a.patients, seed=5)
        for _ in range(a.rounds):
            for setup in SETUPS:
                r = one(cluster, folder, *setup)
                got[setup].append(r)
                print(f"{setup[0]} node(s), {setup[1]} worker(s): {r['n']} resources, {r['s']:.1f} s; processor s of the nodes "
                      + " + ".join(f"{x:.1f}" for x in r["each"]) + f", of the database {r['database']:.1f}", flush=True)
        for (nodes, workers), rs in got.items():
            m = [statistics.median(f(r) for r in rs) for f in
                 (lambda r: r["s"], lambda r: sum(r["each"]), lambda r: max(r["each"]) / sum(r["each"]), lambda r: r["database"])]
            print(f"median of {nodes} x {workers}: {m[0]:.1f} s, nodes {m[1]:.1f} processor s (the busiest has {m[2]:.0%}), database {m[3]:.1f}")
    finally:
        cluster.close()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
