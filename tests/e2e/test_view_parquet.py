"""`fhirlake view --format parquet`: DuckDB and pyarrow read every value back, of every type, as NDJSON has it."""
import datetime
import decimal
import json

import pytest

from fhirlake import run

duckdb = pytest.importorskip("duckdb", reason="DuckDB is not here: pip install duckdb")
parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not here: pip install pyarrow")


def sql(name, path, ansi, **more):
    return {"name": name, "path": path, "tag": [{"name": "ansi/type", "value": ansi}], **more}


EXTENSION = "extension('u').value.ofType(decimal)"
ALL = {"resource": "Patient", "select": [{"column": [
    {"name": "id", "path": "id", "type": "id"}, {"name": "active", "path": "active", "type": "boolean"},
    {"name": "gender", "path": "gender", "type": "code"}, sql("born", "birthDate", "DATE", type="date"),
    {"name": "at", "path": "meta.lastUpdated", "type": "instant"},
    {"name": "given", "path": "name.given", "collection": True, "type": "string"},
    {"name": "n", "path": "multipleBirth", "type": "http://hl7.org/fhirpath/System.Integer"}, sql("big", "multipleBirth", "bigint"),
    {"name": "digits", "path": EXTENSION, "type": "decimal"}, sql("number", EXTENSION, "DOUBLE PRECISION"),
    sql("exact", EXTENSION, "DECIMAL(38, 6)"), {"name": "text", "path": "extension('x').value"}, {"name": "none", "path": "photo.url"},
    sql("links", "link.select(true)", "BOOLEAN", collection=True), {"name": "names", "path": "name", "collection": True},
    {"name": "first", "path": "name.first()", "type": "HumanName"}]}]}


def people(count):
    for i in range(count):
        one = {"resourceType": "Patient", "id": f"p-{i}", "active": i % 3 == 0, "gender": ["male", "female"][i % 2],
               "meta": {"lastUpdated": f"{1800 + i % 400}-02-28T23:59:{i % 60:02}.{i * 7 % 1000000:06}-05:30"},
               "birthDate": f"{1000 + i * 13 % 3000}-{i % 12 + 1:02}-{i % 28 + 1:02}", "multipleBirthInteger": i * 7919 - 2**31 + 1,
               "name": [{"family": f"F {i % 700} é", "given": [f"A{k}" for k in range(i % 4)] or [""]}][:i % 5],
               "link": [{"type": "seealso"}] * (i % 11)}
        if i % 7:
            one["extension"] = [{"url": "u", "valueDecimal": decimal.Decimal(i * 1237 - 5000000) / 1000000},
                                {"url": "x", "valueString": f"\x00 \U0001f600 {i % 3}"}]
        yield json.dumps(one, default=str).replace('"valueDecimal": "', '"valueDecimal": ').replace('"}, {"url": "x"', '}, {"url": "x"')


def made(tmp_path, view, lines, *args):
    """The table of these lines, as pyarrow reads it, and the rows as NDJSON has them; DuckDB reads the same as pyarrow."""
    (tmp_path / "in").mkdir(exist_ok=True)
    (tmp_path / "in" / "a.ndjson").write_text("\n".join(lines) + "\n")
    (tmp_path / "view.json").write_text(json.dumps(view))
    for form in ("parquet", "ndjson"):
        done = run("view", "--view", tmp_path / "view.json", "--from", tmp_path / "in", "--format", form, "--to", tmp_path / f"out.{form}", *args)
        assert done.returncode == 0, done.stderr
    table = parquet.read_table(tmp_path / "out.parquet")
    rows = [json.loads(line, parse_float=str) for line in (tmp_path / "out.ndjson").read_text().splitlines()]
    assert table.num_rows == len(rows)
    ducks = duckdb.connect(config={"threads": 1})
    ducks.sql("SET TimeZone = 'UTC'")
    as_text = ", ".join(f'"{name}"::VARCHAR' for name in table.column_names)
    shown = ducks.sql(f"SELECT {as_text} FROM read_parquet('{tmp_path / 'out.parquet'}')").fetchall()
    assert shown == ducks.from_arrow(table).project(as_text).fetchall()
    return table, rows


def test_every_type_comes_back_as_ndjson_has_it(tmp_path):
    table, rows = made(tmp_path, ALL, list(people(9000)))
    types = {f.name: str(f.type) for f in table.schema}
    assert types == {"id": "string", "active": "bool", "gender": "string", "born": "date32[day]", "at": "timestamp[us, tz=UTC]",
                     "given": "list<element: string>", "n": "int32", "big": "int64", "digits": "string", "number": "double",
                     "exact": "decimal128(38, 6)", "text": "string", "none": "string", "links": "list<element: bool>",
                     "names": "list<element: string>", "first": "string"}
    for have, want in zip(table.to_pylist(), rows, strict=True):
        for same in ("id", "active", "gender", "given", "n", "digits", "text", "none", "links"):
            assert have[same] == want[same], same
        assert have["big"] == want["n"] and have["born"].isoformat() == want["born"]
        assert have["at"] == datetime.datetime.fromisoformat(want["at"])
        if want["digits"] is None:
            assert have["number"] is None and have["exact"] is None
        else:
            assert have["number"] == float(want["digits"]) and have["exact"] == decimal.Decimal(want["digits"])
        assert [json.loads(n) for n in have["names"]] == want["names"]
        assert (json.loads(have["first"]) if have["first"] else None) == want["first"]
    chunk = {parquet.ParquetFile(tmp_path / "out.parquet").metadata.row_group(0).column(c).path_in_schema:
             parquet.ParquetFile(tmp_path / "out.parquet").metadata.row_group(0).column(c) for c in range(16)}
    assert chunk["gender"].has_dictionary_page and not chunk["id"].has_dictionary_page and chunk["gender"].compression == "ZSTD"


def test_a_table_without_rows_is_a_table(tmp_path):
    table, rows = made(tmp_path, ALL, ['{"resourceType":"Group","id":"g"}'])
    assert rows == [] and table.num_columns == 16


def test_row_groups_are_bounded_and_threads_change_nothing(tmp_path):
    lines = [json.dumps({"resourceType": "Patient", "id": f"p{i}", "name": [{"text": "x" * 900}] * 100}) for i in range(800)]
    view = {"resource": "Patient", "select": [{"column": [{"name": "id", "path": "id"}]}, {
        "forEach": "name", "column": [{"name": "n", "path": "%rowIndex", "type": "integer"}, {"name": "t", "path": "text & %resource.id & %rowIndex.toString()"}]}]}
    table, rows = made(tmp_path, view, lines, "--threads", "1")
    assert table.to_pylist() == rows and len(rows) == 80_000
    meta = parquet.ParquetFile(tmp_path / "out.parquet").metadata
    # pieces of 32 MiB of 72 MB, and no group of much more than 64 MiB
    assert meta.num_row_groups >= 3
    assert all(meta.row_group(g).total_byte_size < 70 << 20 for g in range(meta.num_row_groups))
    one = (tmp_path / "out.parquet").read_bytes()
    assert run("view", "--view", tmp_path / "view.json", "--from", tmp_path / "in", "--format", "parquet", "--to", tmp_path / "out.parquet",
               "--threads", "3").returncode == 0
    assert (tmp_path / "out.parquet").read_bytes() == one


def test_hostile_values_and_a_thousand_columns(tmp_path):
    text = "\x00" + "\U0001f4a9" * 600_000
    lines = [json.dumps({"resourceType": "Patient", "id": f"p{i}", "gender": text[i:]}) for i in range(4)]
    view = {"resource": "Patient", "select": [{"column": [{"name": f"c{i}", "path": "gender" if i == 999 else "id", "collection": i % 2 == 0}
                                                          for i in range(1000)]}]}
    table, rows = made(tmp_path, view, lines)
    assert table.num_columns == 1000 and table.to_pylist() == rows and rows[0]["c999"] == text


@pytest.mark.parametrize("column, value, said", [
    ({"name": "x", "path": "gender", "type": "integer"}, '"1"', "column x: a value is not an integer of 32 bits"),
    ({"name": "x", "path": "multipleBirth", "type": "boolean"}, "1", "column x: a value is not a boolean"),
    (sql("x", "multipleBirth", "DECIMAL(2, 1)"), "17", "column x: a value is not a decimal of so many digits"),
    (sql("x", "birthDate", "DATE"), '"2020-01"', "column x: a value is not a whole date"),
])
def test_a_value_that_is_not_of_its_type_is_told_and_nothing_is_written(tmp_path, column, value, said):
    name = {"gender": "gender", "multipleBirth": "multipleBirthInteger", "birthDate": "birthDate"}[column["path"]]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.ndjson").write_text('{"resourceType":"Patient","id":"a"}\n{"resourceType":"Patient","id":"b","%s":%s}\n' % (name, value))
    (tmp_path / "view.json").write_text(json.dumps({"resource": "Patient", "select": [{"column": [column]}]}))
    done = run("view", "--view", tmp_path / "view.json", "--from", tmp_path / "in", "--format", "parquet", "--to", tmp_path / "out")
    assert done.returncode == 1 and said in done.stderr and "a.ndjson, line 2" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "view.json"]
