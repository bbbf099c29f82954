"""Errors: their words, and their exit codes, which say whether the same command can succeed later."""

import errno
import os
import pickle
from collections.abc import Iterator

import pytest

from charrnn import checkpoint as ckpt
from charrnn import errors
from charrnn.data.cache import Stamp
from charrnn.data.files import open_inputs
from charrnn.data.reading import read_text
from charrnn.errors import MAY_PASS, RECURS, CharRNNError, CorpusError, DivergedError, MissingExtraError
from charrnn.insight.log import read_log
from charrnn.system.atomic import writing

CODES = {
    "ENOSPC": MAY_PASS,
    "EIO": MAY_PASS,
    "ENOMEM": MAY_PASS,
    "EMFILE": MAY_PASS,
    "ENFILE": MAY_PASS,
    "EAGAIN": MAY_PASS,
    "EBUSY": MAY_PASS,
    "ESTALE": MAY_PASS,
    "ETIMEDOUT": MAY_PASS,
    "ENOLCK": MAY_PASS,
    "EPIPE": MAY_PASS,
    "ENOENT": RECURS,
    "ENOTDIR": RECURS,
    "EISDIR": RECURS,
    "EACCES": RECURS,
    "EPERM": RECURS,
    "EROFS": RECURS,
    "ENAMETOOLONG": RECURS,
    "EFBIG": RECURS,
}


def write(path):
    with writing(path), open(path, "wb"):
        pass


def read(path):
    for item in open_inputs(str(path), lambda _: None):
        list(item.data)


#: What reads or writes a file, by the kind of its errors.
FILES = {
    "output": write,
    "text": read,
    "checkpoint": ckpt.load,
    "stamp": lambda path: Stamp.of(str(path)),
    "log": lambda path: read_log(path.parent),
}


@pytest.mark.parametrize("what", FILES)
@pytest.mark.parametrize("name", CODES)
def test_an_error_of_the_system_has_the_code_of_its_cause(tmp_path, monkeypatch, name, what):
    if what == "log" and name == "ENOENT":
        pytest.skip("without a log, the checkpoint's history is read")
    number = getattr(errno, name)
    path = tmp_path / "log.jsonl"
    path.write_text("text")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", refuse)
        patch.setattr("os.stat" if what == "stamp" else "io.open", refuse)
        with pytest.raises(CharRNNError) as caught:
            FILES[what](path)
    assert caught.value.exit_code == CODES[name]


def test_an_error_of_the_system_without_a_number_may_pass():
    assert CharRNNError.of(OSError("odd"), "cannot read it").exit_code == MAY_PASS


def test_an_error_about_a_text_keeps_its_code_where_words_are_added(tmp_path, monkeypatch):
    (tmp_path / "text.txt").write_text("text")

    def refuse(*_: object) -> Iterator[str]:
        yield "a"
        raise CorpusError("not now", MAY_PASS)

    monkeypatch.setattr("charrnn.data.reading.decode_pieces", refuse)
    with pytest.raises(CorpusError, match="not now; or leave it out") as caught:
        read_text(str(tmp_path))
    assert caught.value.exit_code == MAY_PASS


def test_other_errors_recur_and_errors_can_be_sent_between_processes():
    for error in (CorpusError("short"), DivergedError("the loss", 3), MissingExtraError("a page", "Jinja2", "pages")):
        assert error.exit_code == RECURS
    sent = pickle.loads(pickle.dumps(CorpusError("not now", MAY_PASS)))
    assert (type(sent), str(sent), sent.exit_code) == (CorpusError, "not now", MAY_PASS)


def test_every_error_is_a_charrnn_error_with_a_listed_code():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and kind.__module__ == errors.__name__]
    assert len(kinds) > 5
    assert all(issubclass(kind, CharRNNError) for kind in kinds)
    assert {MAY_PASS, RECURS} < errors.EXIT_CODES.keys()
