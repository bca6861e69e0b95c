"""`fhirlake copy` out of a database and into one: a data store of many small commits, each way, and what a commit costs. Processor
seconds are those of the command and, of PostgreSQL, of all its processes."""
import re
import resource
import shutil
import subprocess
import threading
import time
import urllib.request

import engines

COMMITS, WRITERS = 4000, 8


def write(url, store, n):
    for i in range(n):
        body = b'{"resourceType":"Basic","code":{"text":"small commit %d"}}' % i
        request = urllib.request.Request(f"{url}/datastore/{store}/r4/Basic", body, {"Content-Type": "application/fhir+json"})
        with urllib.request.urlopen(request) as answer:
            answer.read()


def filled(program, bench, uri, n):
    """A data store of n commits in the database."""
    data = bench.work / "copies-server"
    with subprocess.Popen([program, "serve", "--listen", "127.0.0.1:0", "--data", data, "--store", uri, "--auth", "none"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        url = re.search(r"http://\S+", server.stdout.readline())[0].rstrip("/")
        make = urllib.request.Request(url, b'{"DatastoreTypeVersion":"R4"}', {
            "X-Amz-Target": "HealthLake.CreateFHIRDatastore", "Content-Type": "application/x-amz-json-1.0"})
        with urllib.request.urlopen(make) as answer:
            store = re.search(rb'"DatastoreId":\s*"(\w+)"', answer.read())[1].decode()
        while True:
            try:
                write(url, store, 1)
                break
            except OSError:
                time.sleep(0.05)
        threads = [threading.Thread(target=write, args=(url, store, n // WRITERS)) for _ in range(WRITERS)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        server.terminate()
    shutil.rmtree(data)
    return n // WRITERS * WRITERS + 1


def timed(cluster, command):
    before, of_server, began = resource.getrusage(resource.RUSAGE_CHILDREN), cluster.cpu(), time.monotonic()
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    client = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - began, client, cluster.cpu() - of_server


def copies(bench, row, spread, program):
    cluster = engines.Cluster()
    try:
        n = filled(program, bench, f"postgresql://bench@/postgres?host={cluster.folder}", COMMITS)
        runs = {"out of a database": [], "into a database": []}
        for i in range(bench.args.runs):
            folder, again = bench.work / f"copies-{i}", f"copies{i}"
            runs["out of a database"].append(timed(cluster, [program, "copy", "--from", f"postgresql://bench@/postgres?host={cluster.folder}", "--to", folder]))
            subprocess.run([cluster.bin / "createdb", "-h", cluster.folder, "-U", "bench", again], check=True)
            runs["into a database"].append(timed(cluster, [program, "copy", "--from", folder, "--to", f"postgresql://bench@/{again}?host={cluster.folder}"]))
            shutil.rmtree(folder)
        for way, told in runs.items():
            seconds, client, server = zip(*told)
            row(f"copy {way}, {n:,} commits of one resource, us each", spread([s / n * 1e6 for s in seconds]),
                f"client + server: {min(client) / n * 1e6:.0f} + {min(server) / n * 1e6:.0f} CPU us each")
    finally:
        cluster.close()
