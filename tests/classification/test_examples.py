"""Labelled texts: the same from lines, folders and records; refusals that name the line; a split without leaks."""

import gzip
import io
import json
import os
import sys
from itertools import chain

import pytest
from fixtures_run import output_of
from hypothesis import given
from hypothesis import strategies as st

from charrnn.classification.examples import (
    Example,
    check_classes,
    describe_unseen,
    labels,
    read_examples,
    sha256,
    split,
)
from charrnn.config import TextConfig
from charrnn.errors import ConfigError, CorpusError

PLAIN = TextConfig()
#: The same texts in each form.
TEXTS = [("très bien", "pos"), ("so so", "neg"), ("so so", "neg"), ("so so", "pos")]


def read(*paths, config=PLAIN, **fields):
    return read_examples([str(path) for path in paths], config, **fields)


def refusal(*paths, error=CorpusError, **options):
    with pytest.raises(error) as caught:
        read(*paths, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def as_json(rows, **more):
    return "".join(json.dumps({"t": text, "l": label, **more}) + "\n" for text, label in rows)


FORMS = {
    "x.txt": ("".join(f"{label}\t{text}\n" for text, label in TEXTS), {}),
    "x.csv": ("l,t\n" + "".join(f'{label},"{text}"\n' for text, label in TEXTS), "tl"),
    "x.tsv": ("t\tid\tl\n" + "".join(f"{text}\t0\t{label}\n" for text, label in TEXTS), "tl"),
    "x.jsonl": (as_json(TEXTS, id=3), "tl"),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("packed", [False, True])
def test_lines_and_records_are_the_same_texts(write, name, packed):
    text, fields = FORMS[name]
    fields = {"text_field": "t", "label_field": "l"} if fields else {}
    path = write(name + ".gz", gzip.compress(text.encode())) if packed else write(name, text)
    assert read(path, **fields) == ([Example(*pair) for pair in TEXTS], [])


def test_a_folder_of_files_has_a_text_in_each_line(write, tmp_path):
    write("names/Czech.txt", "Abl\n\nAdsit\r\n")
    write("names/Arabic.txt.gz", gzip.compress(b"Khoury\tx"))
    write("names/.hidden", "no")
    assert read(tmp_path / "names") == ([("Khoury\tx", "Arabic"), ("Abl", "Czech"), ("Adsit", "Czech")], [])


def test_a_folder_of_subfolders_has_a_text_in_each_file(write, tmp_path, monkeypatch):
    write("reviews/pos/1.txt", "good\nand short\n")
    write("reviews/pos/deep/2.txt", "fine")
    write("reviews/neg/1.txt", "neg\tbad")
    write("reviews/README", "about")
    expected = [("neg\tbad", "neg"), ("good\nand short", "pos"), ("fine", "pos")]
    found, notes = read(tmp_path / "reviews")
    assert found == expected
    assert [note.replace(str(tmp_path), "") for note in notes] == [
        "left out 1 file directly in /reviews, since its subfolders are the labels"
    ]
    monkeypatch.chdir(tmp_path / "reviews")
    assert read(".")[0] == read("../reviews/")[0] == expected


def test_several_paths_are_read_in_their_order(write, tmp_path):
    write("names/b.txt", "two\n")
    assert read(write("x", "a\tone\n"), tmp_path / "names")[0] == [("one", "a"), ("two", "b")]


def test_standard_input_has_lines(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\tone\nb\ttwo")))
    assert read("-")[0] == [("one", "a"), ("two", "b")]


def test_texts_are_normalized_and_labels_are_not(write):
    config = TextConfig(encoding="latin-1", normalize="NFKC", lowercase=True)
    assert read(write("x", "É²\tÉ²\n".encode("latin-1")), config=config)[0] == [("é2", "É²")]


def test_of_bytes_what_is_not_utf_8_becomes_surrogates(write, tmp_path):
    config = TextConfig(bytes=True)
    assert read(write("x", "é\té\n".encode() + b"\xff\t\xff"), config=config)[0] == [("é", "é"), ("\udcff", "ÿ")]
    write("folder/Ã©.txt", b"\xff")
    assert read(tmp_path / "folder", config=config)[0] == [("\udcff", "Ã©")]


def test_a_label_of_json_may_be_a_number_or_a_boolean(write):
    path = write("x.jsonl", as_json([("a", 1), ("b", 2.5), ("c", True), ("d", "1"), (None, 1)]))
    found, notes = read(path, text_field="t", label_field="l")
    assert found == [("a", "1"), ("b", "2.5"), ("c", "true"), ("d", "1")]
    assert notes == ["left out 1 empty text"]


def test_empty_texts_are_left_out(write):
    assert read(write("x", "a\t\n\n  \na\t \u3000\na\tb\tc\n")) == ([("b\tc", "a")], ["left out 2 empty texts"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a\tb\nc d\n", "x, line 2 has no tab: write a label, a tab and a text, or name a folder with"),
        ("a\tb\n\n\tc\n", "x, line 3 has an empty label: write one"),
        ("a\tb\n \tc\n", "x, line 2 has an empty label: write one"),
        ("\n\n", "x has no text: give texts and their labels"),
        ("a\t\n", "x has no text"),
        (b"a\tb\n\xff\tc", "x is not UTF-8: byte 0xff at offset 4"),
    ],
)
def test_lines_without_label_or_text_are_refused(write, text, words):
    assert words in refusal(write("x", text))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("x.jsonl", '{"t": "a", "l": "b"}\n{"t": "a", "l": null}', "x.jsonl, line 2: 'l' is null, not a string: give"),
        ("x.jsonl", '{"t": "a", "l": ["b"]}', "x.jsonl, line 1: 'l' is an array, not a string: give each record"),
        ("x.jsonl", '{"t": 3, "l": "b"}', "x.jsonl, line 1: 't' is a number, not a string: make all values"),
        ("x.jsonl", '{"t": "a", "label": "b"}', "x.jsonl, line 1 has no field 'l': it has 't', 'label'"),
        ("x.jsonl", '{"t": "a", "l": "\\ud800"}', "x.jsonl, line 1: 'l' has half a surrogate pair"),
        ("x.jsonl", '{"t": "a\\u0000", "l": "b"}', "x.jsonl, line 1: 't' has a NUL character"),
        ("x.jsonl", '{"t": "a", "l": "b\\nc"}', "x.jsonl, line 1: the label 'b\\nc' has a tab or a line end: remove"),
        ("x.csv", "t,l\na,\n", "x.csv, line 2 has an empty label"),
        ("x.csv", "t,label\na,b\n", "x.csv has no column 'l': it has 't', 'label'"),
        ("x.csv", "t,l\na,b\nc\n", "x.csv, line 3: the row has 1 cell, so 'l' is missing: add it"),
    ],
)
def test_records_without_label_or_text_are_refused(write, name, text, words):
    assert words in refusal(write(name, text), text_field="t", label_field="l")


def test_the_fields_come_in_pairs(write):
    path = write("x", "a\tb")
    assert refusal(path, error=ConfigError, text_field="t").startswith("--text-field needs --label-field")
    assert refusal(path, error=ConfigError, label_field="t").startswith("--label-field needs --text-field")
    assert "both 't': name two" in refusal(path, error=ConfigError, label_field="t", text_field="t")


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes")
def test_a_file_whose_name_is_no_text_is_no_label(tmp_path):
    try:
        (tmp_path / os.fsdecode(b"a\xff.txt")).write_text("a")
    except OSError:
        pytest.skip("the file system wants names in UTF-8")
    assert "is not UTF-8: rename the file or folder" in refusal(tmp_path)


def test_one_class_is_refused_and_a_class_of_one_text_noted():
    same = [Example(f"{at}", "x") for at in range(20)]
    with pytest.raises(CorpusError, match=r"^all 20 texts have the label 'x': give texts of two labels or more$"):
        check_classes(same)
    with pytest.raises(CorpusError, match=r"^the only text has the label 'x'"):
        check_classes(same[:1])
    assert check_classes([*same, Example("a", "y"), Example("a", "y")]) == [
        "label 'y' has a single text, which is in the training split"
    ]
    several = [Example(label, label) for label in "gfedcba"]
    assert check_classes([*same, *several]) == [
        "7 labels have a single text each, which is in the training split: 'a', 'b', 'c', 'd', 'e', …"
    ]
    assert check_classes([*same, *several, *(Example("new", label) for label in "abcdefg")]) == []


def test_labels_that_were_not_learned_are_noted():
    examples = [Example("1", "b"), Example("2", "b"), Example("3", "c"), Example("4", "a")]
    assert describe_unseen(examples, ["a", "b", "c"]) is None
    assert describe_unseen(examples, ["a", "b"]).startswith("1 text has a label that the training split lacks")
    assert describe_unseen(examples, ["a"]).endswith(" and count as errors: 'b', 'c'")


some_examples = st.lists(st.builds(Example, st.sampled_from("abcdefghijkl"), st.sampled_from("xyz")), min_size=1)


@given(some_examples, st.integers(0, 3), st.integers(0, 3), st.integers(0, 9))
def test_a_split_keeps_every_example_and_parts_no_text(examples, val, test, seed):
    parts = split(examples, val / 10, test / 10, seed)
    assert sorted(chain(*parts)) == sorted(examples)
    texts = [{example.text for example in part} for part in parts]
    assert sum(map(len, texts)) == len(set.union(*texts))
    n = len({text for text, _ in examples})
    assert labels(parts[0]) == labels(examples)
    usual, learned = n * (10 - val - test) // 10, len(texts[0])
    assert usual <= learned <= max(usual, len(labels(examples)))
    assert len(texts[2]) == n - max(learned if learned > usual else 1, n * (10 - test) // 10)
    again = split(examples[::-1], val / 10, test / 10, seed)
    assert [sorted(part) for part in again] == [sorted(part) for part in parts]


def test_the_seed_decides_the_split():
    examples = [Example(f"{at}", "xy"[at % 2]) for at in range(100)]
    assert split(examples, 0.1, 0.1, 1) == split(examples, 0.1, 0.1, 1) != split(examples, 0.1, 0.1, 2)


def test_the_split_is_the_same_in_any_process():
    code = """
from charrnn.classification.examples import Example, labels, split
examples = [Example(f"{at}", f"{at % 7}") for at in range(50)]
print(labels(examples), *(example.text for part in split(examples, 0.2, 0.2, 3) for example in part))
"""
    examples = [Example(f"{at}", f"{at % 7}") for at in range(50)]
    parts = split(examples, 0.2, 0.2, 3)
    texts = [example.text for part in parts for example in part]
    assert output_of(code) == " ".join([str(labels(examples)), *texts]) + "\n"


@given(some_examples, some_examples)
def test_the_hash_is_of_texts_and_labels_in_order(one, other):
    assert (sha256(one) == sha256(other)) == (one == other)


def test_the_hash_tells_a_text_from_its_label():
    pairs = [("ab", "c"), ("a", "bc"), ("c", "ab"), ("a b", "c"), ("a", "b c")]
    assert len({sha256([Example(*pair)]) for pair in pairs}) == len(pairs)
