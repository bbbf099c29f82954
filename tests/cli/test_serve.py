"""`charrnn serve`: over HTTP on a socket, as lines of JSON, and how it ends."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from charrnn import pages

from ._material import TIMEOUT, error_line, posix

SAMPLE = {"prime": "Der ", "seed": 7, "length": 60}


@pytest.fixture
def serving(command: Callable[..., Any], tiny: object) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Return the command as a process that serves the tiny run on a free port, and the port."""
    pytest.importorskip("charrnn.serve.server")
    process = command("serve", "--port", "0", "--max-chars", "1000000")
    for line in process.stderr:
        if found := re.search(rb"http://127\.0\.0\.1:(\d+)$", line.strip()):
            return process, int(found[1])
    pytest.fail("it never said where it serves")


@contextlib.contextmanager
def asked(port: int, path: str, **fields: Any) -> Iterator[http.client.HTTPResponse]:
    """Yield the answer to a request, still to be read."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)) as connection:
        if fields:
            connection.request("POST", path, json.dumps(fields))
        else:
            connection.request("GET", path)
        with connection.getresponse() as response:
            yield response


def ask(port: int, path: str, **fields: Any) -> list[Any]:
    """Return the lines of the answer."""
    with asked(port, path, **fields) as response:
        return [json.loads(line) for line in response]


def raw(port: int, data: bytes) -> bytes:
    """Send these bytes, and return the whole answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as own:
        own.sendall(data)
        own.shutdown(socket.SHUT_WR)
        answer = b""
        while more := own.recv(65536):
            answer += more
    return answer


def ended(process: subprocess.Popen[bytes], number: int) -> str:
    """Return the rest of standard error of a process that got this signal, after checking its exit code."""
    stderr = process.communicate(timeout=TIMEOUT)[1].decode()
    assert process.returncode == 128 + number, stderr
    return stderr


@posix
def test_http(run, serving):
    process, port = serving
    url = f"http://127.0.0.1:{port}"
    assert process.stderr.readline().decode() == f"API: {url}/docs; base URL for OpenAI clients: {url}/v1\n"
    written = run("sample", "--prime", "Der ", "--seed", "7", "-n", "60", "--no-echo").stdout
    assert ask(port, "/generate", **SAMPLE)[0]["text"] == written
    *pieces, last = ask(port, "/generate", **SAMPLE, stream=True)
    assert "".join(piece["piece"] for piece in pieces) == last["text"] == written
    assert ask(port, "/sample", **SAMPLE)[0]["text"] == written
    assert ask(port, "/models")[0]["models"][0]["name"] == "tiny"
    with asked(port, "/") as page:
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "<title>charrnn</title>" in page.read().decode()
    assert ask(port, "/generate", prime=1) == [{"error": "prime must be a string"}]

    # Garbage, half a request, a name that somebody gave this machine: each is refused or disconnected, and no more.
    for data in (b"garbage\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"GET /health HTTP/1.1\r\n\r\n", b"A" * 100_000):
        assert raw(port, data).startswith(b"HTTP/1.1 400 ")
    assert raw(port, b"GET /hea") == b""
    assert raw(port, b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{") == b""
    assert raw(port, b"GET /health HTTP/1.0\r\nHost: evil.com\r\n\r\n").startswith(b"HTTP/1.1 403 ")
    (health,) = ask(port, "/health")
    assert (health["status"], health["requests"]) == ("ok", 0)

    refused = run("serve", "--port", str(port), code=1).stderr
    assert error_line(refused).startswith(f"cannot listen on 127.0.0.1:{port}: ")

    with asked(port, "/generate", length=1_000_000, stream=True) as running:
        assert "piece" in json.loads(running.readline())
        process.send_signal(signal.SIGTERM)
        assert json.loads(running.readlines()[-1])["ended"] == "shutdown"
    assert ended(process, signal.SIGTERM) in ("Stopped.\n", "Model: checkpoints/tiny/best.npz\nStopped.\n")


def test_lines(command, tiny):
    process = command("serve", "tiny", "--stdio")
    asks = b"".join(json.dumps({"do": "generate", **SAMPLE}).encode() + end for end in (b"\n", b"\n\ngarbage\n", b""))
    stdout, stderr = process.communicate(asks, timeout=TIMEOUT)
    assert (process.returncode, stderr.decode()) == (0, f"Model: {tiny / 'best.npz'}\n")
    found = {answer.pop("id"): answer for answer in map(json.loads, stdout.splitlines())}
    assert found.keys() == {1, 2, 4, 5}
    inexact = {name: pytest.approx(found[1][name], rel=1e-5) for name in ("logprob", "bpc")}
    for other in (2, 5):  # which lines share a batch is chance, and a product's last bits depend on it
        assert found[other] == found[1] | inexact
    assert len(found[1]["text"]) == 60
    assert "not JSON" in found[4]["error"]


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_lines(command, tiny, number):
    process = command("serve", "--stdio")
    process.stdin.write(b'{"do": "health"}\n')
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["status"] == "ok"
    process.stdin.write(b'{"do": "generate", "length": 10000}\n')
    process.stdin.flush()
    process.send_signal(number)
    assert ended(process, number).endswith("Stopped.\n")


@posix
def test_a_closed_pipe_ends_the_command_quietly(command, tiny):
    process = command("serve", "--stdio")
    process.stdout.close()
    process.stdin.write(b'{"do": "health"}\n')
    process.stdin.flush()
    process.stdin.close()
    assert process.stderr.read().decode() == f"Model: {tiny / 'best.npz'}\n"
    assert process.wait(TIMEOUT) == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "::", "example.org"])
def test_others_come_in_only_with_a_token(run, tiny, host):
    pytest.importorskip("charrnn.serve.server")
    assert "set a token too" in error_line(run("serve", "--host", host, code=2).stderr)


@pytest.mark.parametrize("token", ["", " ", "a\nb", "ä"])
def test_a_token_that_no_header_can_carry(run, tiny, token):
    pytest.importorskip("charrnn.serve.server")
    assert "--token must be printable ASCII" in error_line(run("serve", "--token", token, code=2).stderr)


def test_an_address_that_is_not_here(run, tiny):
    pytest.importorskip("charrnn.serve.server")
    told = error_line(run("serve", "--host", "192.0.2.1", "--port", "0", "--token", "t", code=1).stderr)
    assert told.startswith("cannot listen on 192.0.2.1:0: ")


@pytest.mark.parametrize("package", ["uvicorn", "starlette.applications", "jinja2"])
def test_without_the_extra(run, tiny, monkeypatch, package):
    for name in ("charrnn.serve.server", "charrnn.serve.web"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    pages._environment.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)
    said = error_line(run("serve", code=2).stderr)
    assert said == 'HTTP needs three more packages: pip install "charrnn-numpy[serve]", or use --stdio'


def test_no_model(run):
    assert "train one" in error_line(run("serve", "--stdio", code=2).stderr)


def test_two_models_of_one_name(run, tiny):
    shutil.copytree(tiny, "other/tiny")
    told = error_line(run("serve", "--stdio", "-m", str(tiny), "-m", "other/tiny", code=2).stderr)
    assert "two models have the name 'tiny'" in told


@posix
def test_closed_standard_input(command, tiny):
    process = command("serve", "--stdio", stdin=None, preexec_fn=lambda: os.close(0))
    assert "standard input is closed" in error_line(process.communicate(timeout=TIMEOUT)[1].decode())
    assert process.returncode == 2


@posix
def test_standard_input_that_cannot_be_read(command, tiny, tmp_path):
    with open(tmp_path / "out", "wb") as file:
        process = command("serve", "--stdio", stdin=file)
    told = error_line(process.communicate(timeout=TIMEOUT)[1].decode())
    assert told == "cannot read standard input: Bad file descriptor: pipe requests in"
    assert process.returncode == 2
