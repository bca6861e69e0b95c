"""What the generators (gen_*.py) share: their arguments, FHIR's definitions as they read them, and how they end.

A generator makes the text of the files that it writes and gives it to done(): that writes them, or with --check ends with 1
when the tree has others. FHIR's definitions are read from .deps/fhir-r4, where ./dev fhir-data puts them, or from a folder
with the same files that is named."""
import argparse
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FHIR_R4 = ROOT / ".deps" / "fhir-r4"


def arguments(doc, reads_definitions=True):
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 when the tree has other tables")
    if reads_definitions:
        parser.add_argument("folder", nargs="?", type=pathlib.Path, default=FHIR_R4,
                            help="of FHIR's definitions, one file of NDJSON per type (default .deps/fhir-r4)")
    return parser.parse_args()


def definitions(folder, kind):
    """Every definition of a type, in order of their ids."""
    path = folder / f"{kind}.ndjson"
    if not path.is_file():
        sys.exit(f"{path} is not there: ./dev fhir-data brings FHIR's definitions into .deps/fhir-r4")
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def base_types(folder, *kinds):
    """The StructureDefinitions of FHIR's own types, of these kinds: 'resource', 'complex-type', 'primitive-type'."""
    return [d for d in definitions(folder, "StructureDefinition")
            if d["kind"] in kinds and d.get("derivation") != "constraint" and d["id"] == d["type"]]


def resource_types(folder):
    """The names of the concrete resource types, in order."""
    return sorted(d["type"] for d in base_types(folder, "resource") if not d["abstract"])


def table(name):
    """Where in src/ the table of that name stands."""
    found = list((ROOT / "src").glob(f"*/{name}"))
    if len(found) != 1:
        sys.exit(f"{name} is to stand once in a folder of src/, and stands {len(found)} times")
    return found[0]


def done(check, files):
    """The end of a generator. files: path -> the text or bytes that it is to hold."""
    files = {path: text if isinstance(text, bytes) else text.encode() for path, text in files.items()}
    differ = [path for path, data in files.items() if not path.is_file() or path.read_bytes() != data]
    names = " ".join(str(path.relative_to(ROOT)) for path in differ[:5])
    names += f" and {len(differ) - 5} more" if len(differ) > 5 else ""
    if check:
        sys.exit(f"not as {pathlib.Path(sys.argv[0]).name} makes it: {names}" if differ else 0)
    for path in differ:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[path])
    print(f"{pathlib.Path(sys.argv[0]).name}: {'wrote ' + names if differ else 'nothing changed'}", file=sys.stderr)
