"""Files that are no texts: each is named, with what to do about it."""

import gzip
import io
import pickle
import sqlite3
import tarfile
import zipfile

import numpy as np
import pytest

from charrnn import checkpoint as ckpt
from charrnn.arrays import Params
from charrnn.checkpoint import Checkpoint
from charrnn.config import ModelConfig, TextConfig, TrainConfig
from charrnn.data.corpus import Source
from charrnn.data.kinds import describe_kind
from charrnn.data.reading import read_text
from charrnn.data.vocab import Vocab
from charrnn.nn import model

from ._material import refusal


def zipped(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def tarred():
    file, text = io.BytesIO(), b"one\n"
    with tarfile.open(fileobj=file, mode="w") as archive:
        item = tarfile.TarInfo("book/one.txt")
        item.size = len(text)
        archive.addfile(item, io.BytesIO(text))
    return file.getvalue()


def saved(save, value):
    file = io.BytesIO()
    save(file, value)
    return file.getvalue()


NUL = b"\0" * 40
CASES = [
    ("x.pdf", b"%PDF-1.5\n%\xe2\xe3\xcf\xd3\n1 0 obj", "a PDF: convert it with `pdftotext x.pdf x.txt`"),
    ("x.txt", b"%PDF-1.5\n1 0 obj", "a PDF: convert it with `pdftotext x.txt x.txt.txt`"),
    ("x.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a picture (PNG): name a text file"),
    ("x.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF", "a picture (JPEG): name a text file"),
    ("x.gif", b"GIF89a\1\0\1\0", "a picture (GIF): name a text file"),
    ("x.webp", b"RIFF\x24\0\0\0WEBPVP8 ", "a picture (WebP): name a text file"),
    ("x.mp3", b"ID3\4\0\0\0", "a sound file (MP3): name a text file"),
    ("x.wav", b"RIFF\x24\0\0\0WAVEfmt ", "a sound file (WAV): name a text file"),
    (
        "x.doc",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + NUL,
        "a document of an old office program, such as .doc or .xls: save",
    ),
    (
        "a b.docx",
        zipped(**{"word/document.xml": "<x/>"}),
        "a Word document (.docx): convert it with `pandoc 'a b.docx' -t",
    ),
    (
        "x.odt",
        zipped(mimetype="application/vnd.oasis.opendocument.text"),
        "an OpenDocument text (.odt): convert it with",
    ),
    (
        "x.epub",
        zipped(mimetype="application/epub+zip"),
        "an EPUB book: convert it with `pandoc x.epub -t plain -o x.txt`",
    ),
    (
        "x.xlsx",
        zipped(**{"xl/workbook.xml": "<x/>"}),
        "an Excel table (.xlsx): export it as x.csv, and name its column",
    ),
    ("x.pptx", zipped(**{"ppt/presentation.xml": "<x/>"}), "a PowerPoint presentation (.pptx): save it as plain text"),
    ("x", zipped(a="one"), "a zip archive: let its name end in .zip, or unpack it with `unzip x`"),
    ("x.tar", tarred(), "a tar archive: unpack it with `tar -xf x.tar`, and name the text files from it"),
    ("x.tar.gz", gzip.compress(tarred()), "a tar archive: unpack it with `tar -xf x.tar.gz`"),
    ("x.tgz", gzip.compress(tarred()), "a tar archive: unpack it with `tar -xf x.tgz`"),
    ("x", gzip.compress(b"one"), "compressed: unpack it with `gunzip`, or let its name end in .gz"),
    ("x.parquet", b"PAR1\x15\4" + NUL, "a Parquet table: export it as x.csv"),
    ("x.pkl", pickle.dumps(["one"]), "a pickle of Python objects: name a text file, or write the text to one"),
    ("x.npy", saved(np.save, np.arange(3)), "a NumPy array: name a text file, or write the text to one"),
    ("x.npz", saved(np.savez, np.arange(3)), "a NumPy archive of arrays: name a text file, or write the text to one"),
    ("x.pt", zipped(**{"archive/data.pkl": "x"}), "a PyTorch file: name a text file"),
    ("x.exe", b"MZ\x90\0\3" + NUL, "a program: name a text file; --bytes learns files of any kind"),
]


@pytest.mark.parametrize(("name", "data", "says"), CASES, ids=[f"{case[0]} {case[2][:20]}" for case in CASES])
def test_a_file_of_another_kind_is_named(tmp_path, monkeypatch, name, data, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(data)
    assert refusal(read_text, name).startswith(f"{name} is {says}")


def test_a_database_is_named(tmp_path):
    with sqlite3.connect(tmp_path / "x.db") as database:
        database.execute("create table texts (text)")
    database.close()
    assert "x.db is an SQLite database: export texts with `sqlite3 " in refusal(read_text, str(tmp_path / "x.db"))


def test_a_checkpoint_is_named(tmp_path):
    config, vocab = ModelConfig(2, hidden_size=3), Vocab("ab")
    params: Params = model.init_params(config, np.random.default_rng(1))
    path = tmp_path / "best.npz"
    ckpt.save(path, Checkpoint(config, TrainConfig(), vocab, params, 1, Source(None, "")))
    assert f"{path} is a checkpoint: name a text; --init-from {path} trains its model" in refusal(read_text, str(path))


def test_in_an_archive_no_file_has_a_name_for_a_program(tmp_path):
    (tmp_path / "x.zip").write_bytes(zipped(**{"a.pdf": b"%PDF-1.5"}))
    assert refusal(read_text, str(tmp_path / "x.zip")).endswith(
        "x.zip/a.pdf is a PDF: convert it with `pdftotext FILE FILE.txt`"
    )


def test_any_file_is_learned_as_bytes(tmp_path):
    (tmp_path / "x.pdf").write_bytes(b"%PDF-1.5")
    assert str(read_text(str(tmp_path / "x.pdf"), config=TextConfig(bytes=True))) == "%PDF-1.5"


@pytest.mark.parametrize(
    "text", ["MZ is a newspaper", "GIF89a is a format", "PAR1 and ORC", "ID3 tags", "BM", "", "é" * 600]
)
def test_a_text_may_begin_as_other_kinds_do(text):
    assert describe_kind("x", text.encode()) is None
    assert describe_kind("x", text.encode("latin-1")) is None
