"""`charrnn vocab`: every character of a text, invisible ones included."""

import subprocess
from pathlib import Path

import pytest

from ._material import TEXT, TIMEOUT, error_line

#: A combining accent has a row of its own; "[" must not be read as the markup of a table's cell.
ODD = "\x01\t\n\r  [b]/\\é😀e\u0301\n"
TABLE = """\
Char  Code point  Name                             Count    Share
\\x01  U+0001      (Cc)                                 1   6.250%
\\t    U+0009      CHARACTER TABULATION                 1   6.250%
\\n    U+000A      LINE FEED                            2  12.500%
\\r    U+000D      CARRIAGE RETURN                      1   6.250%
' '   U+0020      SPACE                                2  12.500%
/     U+002F      SOLIDUS                              1   6.250%
[     U+005B      LEFT SQUARE BRACKET                  1   6.250%
\\     U+005C      REVERSE SOLIDUS                      1   6.250%
]     U+005D      RIGHT SQUARE BRACKET                 1   6.250%
b     U+0062      LATIN SMALL LETTER B                 1   6.250%
e     U+0065      LATIN SMALL LETTER E                 1   6.250%
é     U+00E9      LATIN SMALL LETTER E WITH ACUTE      1   6.250%
\u0301      U+0301      COMBINING ACUTE ACCENT               1   6.250%
😀    U+1F600     GRINNING FACE                        1   6.250%
16 characters, 14 different
"""


@pytest.fixture
def odd(cwd: Path) -> str:
    """Write the odd text to a file; return its name."""
    (cwd / "odd.txt").write_bytes(ODD.encode())
    return "odd.txt"


def test_table(run, odd):
    outcome = run("vocab", odd)
    assert outcome.stdout == TABLE
    assert outcome.stderr == ""


def test_table_from_standard_input(run):
    assert run("vocab", "-", input=ODD.encode()).stdout == TABLE


def test_json(run, odd):
    data = run("vocab", odd, "--json").json
    assert list(data) == ["chars", "size", "symbols"]
    assert (data["chars"], data["size"]) == (16, 14)
    assert [row["char"] for row in data["symbols"]] == sorted(set(ODD))
    assert data["symbols"][0] == {
        "char": "\x01",
        "shown": "\\x01",
        "code_point": "U+0001",
        "name": "(Cc)",
        "count": 1,
        "share": 1 / 16,
    }
    assert [row["count"] for row in data["symbols"]] == [ODD.count(row["char"]) for row in data["symbols"]]
    assert sum(row["share"] for row in data["symbols"]) == pytest.approx(1)


def test_json_is_not_escaped_beyond_need(run, odd):
    assert '"char": "😀"' in run("vocab", odd, "--json").stdout


def test_several_texts_are_counted_together(run, odd):
    Path("more.txt").write_text("zz", encoding="utf-8")
    data = run("vocab", odd, "more.txt", "-", "--json", input="yz").json
    assert (data["chars"], data["size"]) == (20, 16)
    assert {row["char"]: row["count"] for row in data["symbols"]}["z"] == 3


def test_a_text_is_read_as_train_reads_it(run):
    options = ("--encoding", "latin1", "--normalize", "NFKC", "--lowercase")
    data = run("vocab", "-", *options, "--json", input="Éé²".encode("latin1")).json
    assert {row["char"]: row["count"] for row in data["symbols"]} == {"2": 1, "é": 2}
    assert "offset 0" in error_line(run("vocab", "-", input="Éé".encode("latin1"), code=2).stderr)


def test_a_name_too_long_for_the_line_is_folded(run):
    text = "ﷺ\N{ARABIC LIGATURE UIGHUR KIRGHIZ YEH WITH HAMZA ABOVE WITH ALEF MAKSURA ISOLATED FORM}"
    table = run("vocab", "-", input=text.encode()).stdout
    words = "ARABIC LIGATURE UIGHUR KIRGHIZ YEH WITH HAMZA ABOVE WITH ALEF MAKSURA ISOLATED FORM".split()
    assert all(word in table for word in words)
    assert "…" not in table


@pytest.mark.parametrize("args", [(), ("--json",)], ids=["table", "json"])
def test_output_is_utf_8_whatever_the_locale(run, command, odd, args):
    env = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    process = command("vocab", odd, *args, env=env, stdin=subprocess.DEVNULL)
    stdout, stderr = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, stderr) == (0, b"")
    assert stdout.decode().splitlines() == run("vocab", odd, *args).stdout.splitlines()


def test_a_text_is_needed(run):
    assert "CORPUS" in error_line(run("vocab", code=2).stderr)
    assert "standard input is empty" in error_line(run("vocab", "-", code=2, input="").stderr)


def test_the_vocabulary_of_a_model_is_that_of_its_corpus(run, tiny):
    symbols = run("vocab", "tiny.txt", "--json").json["symbols"]
    assert "".join(row["char"] for row in symbols) == run("info", "--json").json["vocab"]["symbols"]
    assert sum(row["count"] for row in symbols) == len(TEXT)
