"""Records of .csv, .tsv and JSON Lines: the same ones wherever the pieces end, and refusals that name the line."""

import csv
import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.config import TextConfig
from charrnn.data import records as records_module
from charrnn.data.documents import drop_empty_documents
from charrnn.data.reading import read_text
from charrnn.data.records import join_pieces, read_records
from charrnn.data.text import END
from charrnn.errors import CorpusError

from ._material import pieces, refusal, sizes, some_text

TEXT = TextConfig(field="text")


@given(st.lists(some_text), st.integers(1, 9))
def test_joined_pieces_are_the_same_text(texts, least):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records_module, "CHUNK", least)
        found = list(join_pieces(texts))
    assert "".join(found) == "".join(texts)
    assert all(len(piece) >= least for piece in found[:-1])


def fields(name, text, field, sizes=(3,), **settings):
    suffix, config = "." + name.rpartition(".")[2], TextConfig(field=field, **settings)
    found = drop_empty_documents(read_records(name, suffix, pieces(text, list(sizes)), config), config)
    return "".join(found).split(END)[1:-1]


cells = st.lists(st.tuples(some_text, some_text.filter(bool)), max_size=5)


@given(cells, sizes, st.sampled_from(["\n", "\r\n", "\r"]))
def test_a_column_is_taken_of_each_row(rows, sizes, end):
    rows = [[cell.replace("\0", "") or "x" for cell in row] for row in rows]
    file = io.StringIO()
    csv.writer(file, lineterminator=end).writerows([["id", "text"], *rows])
    assert fields("x.csv", file.getvalue(), "text", sizes) == [row[1] for row in rows if row[1].strip()]


@given(st.lists(st.text('ab" ,', min_size=1), max_size=5), sizes, st.sampled_from(["\n", "\r\n", "\r"]))
@example(['"Ha b.', "middle", 'Ker d."', '"Hi" said x'], [3], "\n")
def test_in_tsv_a_quote_is_a_character(cells, sizes, end):
    text = "".join(f"{number}\t{cell}{end}" for number, cell in [("id", "text"), *enumerate(cells)])
    assert fields("x.tsv", text, "text", sizes) == [cell for cell in cells if cell.strip()]


def test_before_cells_of_tsv_were_quoted():
    text = 'id\ttext\n0\t"one\n1\ttwo"\n2\t"three ""quoted"""\n'
    assert fields("x.tsv", text, "text", document_rules=1) == ["one\n1\ttwo", 'three "quoted"']
    assert fields("x.tsv", text, "text") == ['"one', 'two"', '"three ""quoted"""']


@given(cells, sizes, st.booleans())
def test_a_field_is_taken_of_each_line_of_json(rows, sizes, ascii_only):
    rows = [(a, b.replace("\0", "x")) for a, b in rows]
    lines = [json.dumps({"id": a, "text": b}, ensure_ascii=ascii_only) + "\n" for a, b in rows]
    assert fields("x.jsonl", "\n".join(lines), "text", sizes) == [text for _, text in rows if text.strip()]


def test_null_is_an_empty_document():
    assert fields("x.jsonl", '{"text": "a"}\n{"text": null}\n{"text": ""}\n{"text": "b"}\n', "text") == ["a", "b"]


def test_the_limits_of_the_csv_module_are_left_alone():
    before = csv.field_size_limit(5)
    try:
        for record in read_records("x.csv", ".csv", pieces("text\n" + f"{'x' * 200_000}\n" * 3, [999]), TEXT):
            assert record == f"{END}{'x' * 200_000}{END}"
            assert csv.field_size_limit() == 5
        with pytest.raises(CorpusError):
            list(read_records("x.csv", ".csv", pieces('text\n"a', [9]), TEXT))
        assert csv.field_size_limit() == 5
    finally:
        csv.field_size_limit(before)


def test_two_readers_in_threads_are_independent():
    limit = csv.field_size_limit()
    meet = threading.Barrier(2, timeout=30)

    def slowly(text):
        for piece in pieces(text, [7]):
            meet.wait()
            yield piece

    def read(char):
        return list(read_records("x", ".csv", slowly(f"text\n{char * 50}\n{char * 50}\n"), TEXT))

    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(read, "ab"))
    assert found == [[f"{END}{char * 50}{END}"] * 2 for char in "ab"]
    assert csv.field_size_limit() == limit


def test_records_may_be_long():
    long = "x" * 10_000_000
    assert fields("x.csv", f"text\n{long}\n", "text", [1 << 20]) == [long]
    assert fields("x.jsonl", json.dumps({"text": long}), "text", [1 << 20]) == [long]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("x.csv", "a,b\n1,2\n", "x.csv has no column 'text': it has 'a', 'b'"),
        ("x.csv", "a;text\n1;2\n", "it has 'a;text'; export it with commas, not semicolons"),
        ("x.csv", "a\ttext\n1\t2\n", "; let its name end in .tsv, as its cells are separated by tabs"),
        ("x.tsv", "a,text\n1,2\n", "; let its name end in .csv, as its cells are separated by commas"),
        (
            "x.txt",
            "one\ntwo\n",
            "x.txt, line 1 is not JSON (Expecting value: line 1 column 1 (char 0)): leave out --field",
        ),
        ("x.csv", "", "x.csv has no column 'text': it has none"),
        ("x.csv", "a,text\n1,2\n3\n", "x.csv, line 3: the row has 1 cell, so 'text' is missing: add it"),
        ("x.csv", 'a,text\n1,"2\n', "x.csv, in the record that begins in line 2: unexpected end of data: correct its"),
        ("x.csv", 'a,text\n1,2\n\n3,"4\n' + "5,6\n" * 9, "x.csv, in the record that begins in line 4: unexpected end"),
        ("x.csv", '"a,text\n1,2\n', "x.csv, in the record that begins in line 1: unexpected end"),
        ("x.csv", "text,a,text\n1,2,3\n", "x.csv has 2 columns 'text': rename all but one"),
        ("x.jsonl", '{"text": "a"}\n{"text": \n', "x.jsonl, line 2 is not JSON (Expecting value"),
        ("x.jsonl", '{"text": "a"}\n\n[1]\n', "x.jsonl, line 3 has no field 'text': it has an array, not an object"),
        ("x.jsonl", '{"txt": "a"}', "x.jsonl, line 1 has no field 'text': it has 'txt'"),
        ("x.jsonl", '{"text": "a"}\n{"text": 3}', "x.jsonl, line 2: 'text' is a number, not a string: make all values"),
        ("x.jsonl", '{"text": {"a": "b"}}', "x.jsonl, line 1: 'text' is an object, not a string"),
        ("x.jsonl", '{"text": false}', "x.jsonl, line 1: 'text' is true or false, not a string"),
        (
            "x.json",
            '[{"text": "a"}, {"text": "b"}]',
            "x.json is a JSON array, but each line must be one object: convert",
        ),
        ("x.json", '\n[\n  {"text": "a"}\n]\n', "x.json is a JSON array, but each line must be one object"),
        (
            "x.json",
            '{\n  "text": "a"\n}\n',
            "but each line must be one object: convert it with `jq -c '.' FILE > FILE.jsonl`",
        ),
        ("x.json", '{"text": oops}\n', "x.json, line 1 is not JSON (Expecting value"),
        ("x.jsonl", '{"text": "\\ud800"}', "x.jsonl, line 1: 'text' has half a surrogate pair"),
        (
            "x.jsonl",
            '{"text": "a\\u0000"}',
            "x.jsonl, line 1: 'text' has a NUL character: remove it",
        ),
        ("x.jsonl", "[" * 100_000, "x.jsonl, line 1 is not JSON"),
    ],
)
def test_damaged_records_are_named_by_line(name, text, words):
    assert words in refusal(fields, name, text, "text")


def test_the_command_that_converts_json_names_the_file(tmp_path):
    path = tmp_path / "all.json"
    path.write_text('[{"text": "a"}]')
    told = refusal(partial(read_text, config=TextConfig(field="text")), str(path))
    assert told.endswith(f"convert it with `jq -c '.[]' {path} > {path}l`")
