#!/usr/bin/env python3
"""./dev demo: start fhirlake, load generated patients, export them through the AWS API, check the result."""
import argparse
import configparser
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = ROOT / "build" / "fhirlake"
DATA = ROOT / "demo-data"
ROLE = "arn:aws:iam::000000000000:role/demo"
KEY = "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000000"
TTY = sys.stdout.isatty()


def bold(text):
    return f"\033[1m{text}\033[0m" if TTY else text


def step(text):
    print(f"\n{bold('==> ' + text)}", flush=True)


def bar(done, total, suffix):
    """A progress bar on a terminal; one line at the end elsewhere."""
    share = min(1.0, done / total) if total else 0.0
    if TTY:
        filled = int(share * 40)
        print(f"\r    [{'#' * filled}{'.' * (40 - filled)}] {share:4.0%}  {suffix}\033[K", end="", flush=True)


def end_bar(text):
    print(f"\r    {text}\033[K" if TTY else f"    {text}", flush=True)


def mb(count):
    return f"{count / 1e6:,.1f} MB"


def follow(describe, total, exported_bytes=None):
    started = time.monotonic()
    while True:
        job = describe()
        report = job.get("JobProgressReport", {})
        seconds = time.monotonic() - started
        if report:
            done = report["TotalNumberOfResourcesImported"]
            bar(done, total, f"{done:,} of {total:,} resources, {report['Throughput']:,.0f}/s")
        else:
            done = exported_bytes()
            bar(done, total, f"{mb(done)} of {mb(total)}, {job['JobStatus']}")
        if job["JobStatus"] not in ("SUBMITTED", "QUEUED", "IN_PROGRESS"):
            return job, seconds
        time.sleep(0.1)


def arguments():
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__)
    parser.add_argument("--patients", type=int, default=2000, help="synthetic patients to load (default 2000)")
    parser.add_argument("--keep", action="store_true", help="leave the server running and its data in place")
    args = parser.parse_args()
    if args.patients < 1:
        parser.error("--patients is at least 1")
    return args


def main():
    args = arguments()
    if os.environ.get("FHIRLAKE_ONLY_ARGUMENTS"):  # ./dev asks before it builds
        return
    shutil.rmtree(DATA, ignore_errors=True)
    step(f"Generating {args.patients:,} synthetic patients (nobody in them is real)")
    made = subprocess.run([BIN, "generate", "--patients", str(args.patients), "--out", DATA / "objects/input/synthea"],
                          check=True, capture_output=True, text=True).stdout
    print("    " + made.strip().split("\n")[-1])

    step("Starting the server:  fhirlake serve --listen 127.0.0.1:0 --data demo-data")
    log = open(DATA / "server.log", "wb")
    server = subprocess.Popen([BIN, "serve", "--listen", "127.0.0.1:0", "--data", DATA], stdout=subprocess.PIPE,
                              stderr=log, text=True)
    try:
        ready = server.stdout.readline().strip()
        if "ready on" not in ready:
            sys.exit(f"the server did not start; see {DATA / 'server.log'}")
        print(f"    {ready.replace(str(ROOT) + '/', '')}")
        run(args, ready.split()[3])
        if args.keep:
            print(f"\nThe server is running; stop it with: kill {server.pid}")
            return
    finally:
        if not args.keep or sys.exc_info()[0]:
            server.terminate()
            server.wait(30)
    print(f"\nThe export is in demo-data/objects/output; the server's log in demo-data/server.log.")


def run(args, url):
    import boto3  # not above: arguments are looked at before it is installed
    import botocore.config

    keys = configparser.ConfigParser()
    keys.read(DATA / "credentials")
    section = keys[keys.sections()[0]]
    client = boto3.client("healthlake", endpoint_url=url, region_name="us-east-1",
                          aws_access_key_id=section["aws_access_key_id"],
                          aws_secret_access_key=section["aws_secret_access_key"],
                          config=botocore.config.Config(retries={"mode": "standard"}))

    step("Creating a data store with an unmodified boto3")
    store = client.create_fhir_datastore(DatastoreName="demo", DatastoreTypeVersion="R4")
    waiter = client.get_waiter("fhir_datastore_active")
    waiter.config.delay, waiter.config.max_attempts = 0.1, 600  # a minute; the SDK alone would ask five times
    waiter.wait(DatastoreId=store["DatastoreId"])
    print(f"    {store['DatastoreArn']}")
    store = store["DatastoreId"]

    inputs = sorted((DATA / "objects/input/synthea").glob("*.ndjson"))
    lines = sum(path.read_bytes().count(b"\n") for path in inputs)
    step("Importing:  client.start_fhir_import_job(InputDataConfig={'S3Uri': 's3://input/synthea/'}, ...)")
    output = {"S3Configuration": {"S3Uri": "s3://output/demo", "KmsKeyId": KEY}}
    job = client.start_fhir_import_job(DatastoreId=store, DataAccessRoleArn=ROLE, JobOutputDataConfig=output,
                                       InputDataConfig={"S3Uri": "s3://input/synthea/"})["JobId"]
    done, seconds = follow(lambda: client.describe_fhir_import_job(DatastoreId=store, JobId=job)["ImportJobProperties"],
                           lines)
    count = done["JobProgressReport"]["TotalNumberOfResourcesImported"]
    end_bar(f"{done['JobStatus']}: {count:,} resources in {seconds:.2f} s, {count / seconds:,.0f} resources/s")

    step("Exporting:  client.start_fhir_export_job(OutputDataConfig={'S3Configuration': {'S3Uri': 's3://output/demo', ...")
    total = sum(path.stat().st_size for path in inputs)
    job = client.start_fhir_export_job(DatastoreId=store, DataAccessRoleArn=ROLE, OutputDataConfig=output)["JobId"]
    folder = DATA / "objects/output/demo" / f"{store}-FHIR_EXPORT-{job}"
    done, seconds = follow(lambda: client.describe_fhir_export_job(DatastoreId=store, JobId=job)["ExportJobProperties"],
                           total, lambda: sum(p.stat().st_size for p in folder.rglob("*.ndjson") if p.exists()))
    manifest = json.loads((folder / "manifest.json").read_text())
    end_bar(f"{done['JobStatus']}: {manifest['count']:,} resources, {mb(manifest['bytes'])} in {seconds:.2f} s, "
            f"{manifest['count'] / seconds:,.0f} resources/s")

    step(f"What came out:  {done['OutputDataConfig']['S3Configuration']['S3Uri']}")
    for kind, n in manifest["countPerType"].items():
        files = [item for item in manifest["output"] if item["type"] == kind]
        print(f"    {kind + '/':28} {len(files):3} file{'s' if len(files) > 1 else ' '} {n:10,} resources "
              f"{mb(sum(item['bytes'] for item in files)):>12}")
    print(f"    manifest.json                as of {manifest['transactionTime']}")

    step("One of them")
    name = next(item["url"] for item in manifest["output"] if item["type"] == "Coverage")
    first = (folder / name.split(folder.name + "/")[1]).open().readline()
    print("\n".join("    " + line for line in json.dumps(json.loads(first), indent=2, ensure_ascii=False).split("\n")))

    step("Is what came out what went in?")
    check(inputs, folder, manifest)

    step("Next")
    print("    ./build/fhirlake serve                           a server of your own (its first start makes a key pair)")
    print("    AWS_SHARED_CREDENTIALS_FILE=fhirlake-data/credentials \\")
    print("      aws healthlake list-fhir-datastores --endpoint-url http://127.0.0.1:8080 --region us-east-1")
    print("    README.md                                        the five-minute tour with boto3 and the AWS CLI")


# what the store sets in meta, in the three forms in which it comes out
SET_BY_STORE = re.compile(rb',"meta":\{"versionId":"\d+","lastUpdated":"[^"]+"\}'
                          rb'|(?<="meta":\{)"versionId":"\d+","lastUpdated":"[^"]+",?')


def fingerprint(line, exported):
    """Digest of a resource's text, byte for byte, without the two members of meta that the store sets."""
    return hashlib.sha256(SET_BY_STORE.sub(b"", line, count=1) if exported else line).digest()


def check(inputs, folder, manifest):
    for item in manifest["output"]:
        data = (folder / item["url"].split(folder.name + "/")[1]).read_bytes()
        if hashlib.sha256(data).hexdigest() != item["sha256"] or data.count(b"\n") != item["count"]:
            sys.exit(f"    {item['url']} is not what the manifest says")
    print(f"    {len(manifest['output'])} files have the size, count and SHA-256 that the manifest names")
    for path in inputs:
        want = {fingerprint(line, False) for line in path.open("rb")}
        got = [fingerprint(line, True) for out in (folder / path.stem).glob("*.ndjson") for line in out.open("rb")]
        if len(got) != len(want) or set(got) != want:
            sys.exit(f"    {path.stem}: what came out differs from what went in")
        bar(inputs.index(path) + 1, len(inputs), path.stem)
    end_bar("every resource came out once, byte for byte what went in (but for meta.versionId and lastUpdated)")


if __name__ == "__main__":
    main()
