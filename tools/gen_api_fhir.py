#!/usr/bin/env python3
"""Fills the tables of docs/api-fhir.md from the tables of the program.

    tools/gen_api_fhir.py            write them
    tools/gen_api_fhir.py --check    end with 1 when they are not what the program has (tools/lint.py does)

A table stands between `<!-- NAME: made by tools/gen_api_fhir.py -->` and `<!-- end -->`; the rest of the document is
written by hand. Read are: rest_interactions[] (src/rest/interactions.c), shapes (src/rest/route_private.h), parameters
and compartments (src/search/*.inc), modifiers (src/search/query.c), limits (headers), statuses (src/service/errors.c)."""
import collections
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "api-fhir.md"
WIDTH = 120


def source(path):
    return (ROOT / "src" / path).read_text()


def table(head, rows):
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head)] +
                     ["| " + " | ".join(row) + " |" for row in rows])


def wrapped(words):
    lines = [""]
    for word in words:
        if len(lines[-1]) + len(word) + 1 > WIDTH:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return "\n".join(lines)


def interactions():
    paths = dict(re.findall(r"\b(REST_[A-Z_]+),\s*/\* (.+?) \*/", source("rest/route_private.h")))
    prefixes = dict(re.findall(r'#define (OPERATION_OF_\w+)\(\w+\)[\s\\]+"(.*?)"', source("rest/route_private.h")))
    text = source("rest/interactions.c")
    text = text[text.index("rest_interactions[] = {") + len("rest_interactions[] = {"):]
    text = text[:text.index("\n};")]
    rows = []
    for row in re.findall(r"\{(.*?)\}", text, re.S):
        row = re.sub(r'(OPERATION_OF_\w+)\("(.*?)"\)', lambda m: f'"{prefixes[m[1]]}{m[2]}"', " ".join(row.split()))
        cells = [c.strip() for c in re.split(r",\s*(?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)", row)]
        method, shape, name, action = cells[0].strip('"'), cells[1], cells[2].strip('"'), cells[3].strip('"')
        of = cells[7].strip('"') if len(cells) > 7 else None
        path = paths.get(shape, shape).split(",")[0].replace("STAR", "*")
        if of in (None, "NULL", "*"):
            path = re.sub(r"^Patient", "Type", path)
        path = re.sub(r"/1(?=/|$)", "/id", re.sub(r"/2$", "/vid", path))
        if shape == "REST_COMPARTMENT":
            path = "Owner/id/Type, Owner/id/*"
        rows.append((method, path, name, action, cells[6].strip('"') if len(cells) > 6 else None))
    return rows


def print_interactions():
    return table(("Request below [base]", "Interaction", "IAM action"),
                 [(f"`{m} {path}`", name, action) for m, path, name, action, _ in interactions()])


def print_operations():
    seen = {}
    for method, path, name, _, definition in interactions():
        if definition and definition != "NULL":
            seen.setdefault((name, definition), []).append(f"`{method} {path}`")
    return table(("Operation", "Requests", "Definition"),
                 [(f"${name}", ", ".join(on), definition) for (name, definition), on in seen.items()])


def parameters():
    return re.findall(r'PARAM\(\d+, "(.*?)", "(.*?)", ([A-Z]+),', source("search/params.inc"))


def print_kinds():
    counts = collections.Counter(kind for _, _, kind in parameters())
    modifiers = collections.defaultdict(list)
    for name, kinds in re.findall(r'\{ "([a-z-]+)", SEARCH_MOD_\w+, (.*?) \},', source("search/query.c")):
        listed = set(re.findall(r"KIND\((\w+)\)", kinds))
        for kind in counts:
            if (kind not in listed) if kinds.startswith("~") else kind in listed:
                modifiers[kind].append(f":{name}")
    modifiers["REFERENCE"].append(":Type")
    prefixes = "eq ne gt lt ge le sa eb ap"
    rows = [(kind.lower(), str(counts[kind]), " ".join(modifiers[kind]),
             prefixes if kind in ("NUMBER", "DATE", "QUANTITY") else "") for kind in sorted(counts)]
    return table(("Kind", "Parameters", "Modifiers", "Prefixes"), rows + [("all", str(sum(counts.values())), "", "")])


def print_types():
    types = re.findall(r'TYPE\(\d+, "(\w+)"\)', source("fhir/types.inc"))
    of = collections.Counter(t for t, _, _ in parameters())
    return (f"{len(types)} types; beside the {of['*']} parameters of every type ("
            + ", ".join(f"`{c}`" for t, c, _ in parameters() if t == "*") + ") they have:\n\n"
            + wrapped([f"{t} {of[t]}{',' if t != types[-1] else ''}" for t in types]))


def print_compartments():
    members = collections.defaultdict(list)
    for owner, member in re.findall(r'COMPARTMENT\("(\w+)", "(\w+)"', source("search/compartments.inc")):
        members[owner].append(member)
    return table(("Owner", "Types that can be members"), [(o, str(len(m))) for o, m in members.items()])


def size(text):
    """(64u << 10) as people say it."""
    value = eval(re.sub(r"(?<=\d)[uUlL]+", "", text), {"__builtins__": {}})  # numbers, shifts and products
    for unit, name in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if "<<" in text and value >= 1 << unit and value % (1 << unit) == 0:
            return f"{value >> unit} {name}"
    return f"{value:,}"


LIMITS = (
    ("base/limits.h", "LIMIT_DATA_BODY_BYTES", "body of a request"),
    ("base/limits.h", "LIMIT_RESOURCE_DEPTH", "nesting of a resource"),
    ("base/limits.h", "LIMIT_HEADERS_BYTES", "request line and headers"),
    ("rest/params.c", "QUERY_MAX", "bytes of a query, or of a posted form"),
    ("rest/params.c", "PARAMS_MAX", "parameters of a query and a form together"),
    ("codec/json_patch.h", "JSON_PATCH_OPS_MAX", "operations of a patch"),
    ("rest/read/page_private.h", "PAGE_COUNT_DEFAULT", "matches on a page without `_count`"),
    ("rest/read/page_private.h", "PAGE_COUNT_MAX", "most of them; a larger `_count` means this"),
    ("rest/read/page_private.h", "PAGE_BYTES", "bytes after which a page ends"),
    ("query/query.h", "QUERY_SORT_MAX", "rules of `_sort`"),
    ("base/limits.h", "LIMIT_CALL_SECONDS", "seconds of work on a request that is no Bundle, while others wait"),
    ("base/limits.h", "LIMIT_CALL_MOST_SECONDS", "seconds of work on it in any case"),
    ("rest/read/page_private.h", "PAGE_INCLUDES_MAX", "`_include` and `_revinclude` of one search"),
    ("rest/read/page_private.h", "PAGE_INCLUDED_MAX", "resources that come with the matches of one page"),
    ("rest/read/page_private.h", "PAGE_ITERATIONS", "rounds of `:iterate`"),
    ("rest/read/page_private.h", "PAGE_ELEMENTS_MAX", "names in `_elements`"),
    ("query/query.h", "QUERY_CLAUSES_MAX", "search parameters of one query"),
    ("query/query.h", "QUERY_DEPTH_MAX", "chains and `_has` within each other"),
    ("query/query.h", "QUERY_IDS_MAX", "resources that a chain or `_has` may find on its way"),
    ("search/search.h", "SEARCH_TERMS_MAX", "values of one parameter, divided by commas"),
    ("rest/read/history.c", "HISTORY_COUNT_DEFAULT", "entries on a page of a history without `_count`"),
    ("rest/read/history.c", "HISTORY_COUNT_MAX", "most of them"),
    ("rest/read/everything.c", "EVERYTHING_MAX", "resources of one `$everything`"),
)


def print_limits():
    rows = []
    for path, name, what in LIMITS:
        value = re.search(rf"#define {name}\s+(.+?)\s*(/\*|$)", source(path), re.M)
        rows.append((what, size(value[1])))
    return table(("What", "Limit"), rows)


def print_statuses():
    text = source("service/errors.c")
    text = text[text.index("error_fhir fhir["):]
    rows = collections.OrderedDict()
    for name, issue, status in re.findall(r'\[ERR_(\w+)\] = \{ "([a-z-]+)", (\d+),', text):
        rows.setdefault(int(status), []).append((issue, name))
    return table(("Status", "Issue codes"), [(str(s), ", ".join(dict.fromkeys(i for i, _ in rows[s]))) for s in sorted(rows)])


TABLES = {"interactions": print_interactions, "operations": print_operations, "search parameters": print_kinds,
          "types": print_types, "compartments": print_compartments, "limits": print_limits, "statuses": print_statuses}


def filled(text):
    def fill(m):
        return f"{m[1]}\n{TABLES[m[2]]()}\n<!-- end -->"
    return re.sub(r"(<!-- ([a-z ]+): made by tools/gen_api_fhir\.py -->)\n.*?<!-- end -->", fill, text, flags=re.S)


def stale():
    """Is the document not what the program has?"""
    text = DOCUMENT.read_text()
    return filled(text) != text


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit("docs/api-fhir.md is not what the tables say: run tools/gen_api_fhir.py" if stale() else 0)
    DOCUMENT.write_text(filled(DOCUMENT.read_text()))
