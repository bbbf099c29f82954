"""`charrnn report`: one page about a run, that shows all of it, needs nothing else, and is safe with any text."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from charrnn.cli import report
from charrnn.insight import report as report_module

from ._material import SMALL, error_line
from .conftest import invoke

SECTIONS = [
    *("What it was trained on", "Settings, and why", "How training went", "How well it predicts"),
    *("Which characters are hard", "What it confuses", "Map of the symbols", "What it writes", "What it copies"),
    "Commands",
]


@pytest.fixture(autouse=True)
def _few_samples(monkeypatch):
    monkeypatch.setattr(report_module, "SEARCHED_CHARS", 2_000)
    monkeypatch.setattr(report_module, "SHOWN_CHARS", 50)


@pytest.fixture
def _undrawn(monkeypatch):
    """Leave the figures empty, since drawing takes most of the time."""
    empty = dict.fromkeys(("loss", "rate", "norm", "confusions", "symbols"), "<svg></svg>")
    monkeypatch.setattr(report, "_figures", lambda report: empty)


@pytest.fixture(scope="module")
def written(trained, tmp_path_factory):
    """Return the outcome of the command for a run, and its page."""
    path = tmp_path_factory.mktemp("written") / "page.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(trained)
        patch.setattr(report_module, "SEARCHED_CHARS", 2_000)
        outcome = invoke("report", "--out", str(path))
    return outcome, path


def headings(page):
    """Return the sections of a page."""
    return re.findall(r"<h2[^>]*>([^<]*)</h2>", page.read_text())


def test_it_is_one_page_that_has_everything(written):
    outcome, page = written
    assert outcome.stdout == f"{page}\n"
    assert outcome.stderr == "Model: checkpoints/tiny/best.npz\n"
    assert headings(page) == SECTIONS
    assert page.stat().st_size < 500_000
    ids = re.findall(r'\bid="(?!m[0-9a-f]{10}")([^"]*)"', page.read_text())  # but for marks, named by their shape
    assert len(ids) == len(set(ids))
    assert "http" not in re.sub(r'xmlns(:xlink)?="http[^"]*"', "", page.read_text())


@pytest.mark.usefixtures("_undrawn")
def test_it_is_in_the_folder_of_the_run_and_removed_with_it(run, tiny):
    assert run("report", "tiny").stdout == f"{tiny / 'report.html'}\n"
    assert headings(tiny / "report.html") == SECTIONS
    run("rm", "tiny", "--yes")
    assert not tiny.exists()


@pytest.mark.usefixtures("_undrawn")
def test_a_checkpoint_outside_of_a_run_has_its_page_beside_it(run, tiny):
    (tiny / "best.npz").rename("model.npz")
    assert run("report", "model.npz").stdout == "model.html\n"
    assert "Best validation loss" not in Path("model.html").read_text()


def test_what_a_checkpoint_outside_of_a_run_cannot_show_is_left_out(run, tiny):
    (tiny / "best.npz").rename("model.npz")
    Path("tiny.txt").unlink()
    run("report", "model.npz")
    assert headings(Path("model.html")) == ["Left out", *SECTIONS[:2], *SECTIONS[6:8], "Commands"]
    assert "the report has no scores and looks for no copies" in Path("model.html").read_text()


@pytest.mark.usefixtures("_undrawn")
def test_the_commands_on_the_page_repeat_what_it_shows(run, tiny):
    run("report", "tiny")
    page = (tiny / "report.html").read_text()
    train, score, sample, again = re.findall(r"<pre>(.*?)</pre>", page[page.index('id="commands"') :], re.DOTALL)
    assert train.startswith("charrnn train tiny.txt --hidden-size 16 --steps 40 ")
    assert score == "charrnn eval -m checkpoints/tiny --baselines"
    assert again == "charrnn report checkpoints/tiny"
    assert sample == "charrnn sample -m checkpoints/tiny --temp 0.8 --seed 1 -n 1000 --count 2"
    run(*shlex.split(train)[1:], "--out", "checkpoints/again", "--quiet")
    assert Path("checkpoints/again/best.npz").read_bytes() == (tiny / "best.npz").read_bytes()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("nothing",), "nothing does not exist"),
        (("tiny.txt",), "is a text, not a charrnn checkpoint"),
        (("--out", "none/here.html"), "there is no folder none"),
        (("--out", "."), "is a folder"),
    ],
)
def test_errors_are_one_line_before_the_work(run, tiny, args, message, monkeypatch):
    monkeypatch.setattr(report_module, "gather", lambda *args, **more: pytest.fail("it began to work"))
    assert message in error_line(run("report", *args, code=2).stderr)


def test_without_matplotlib_it_says_at_once_what_to_install(run, tiny, monkeypatch):
    for module in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(report_module, "gather", lambda *args, **more: pytest.fail("it began to work"))
    assert 'pip install "charrnn-numpy[' in error_line(run("report", code=2).stderr)


@pytest.fixture
def hostile(run):
    """Return the folder of a run on a text that a page could take for its own, with odd names."""
    name = "</script><b>&שלום😀.txt"
    name = name.replace("/", "∕")
    Path(name).write_text("<script>alert(1)</script> & שלום 😀\ta\u202eb\n" * 40)
    run("train", name, *SMALL, "--steps", "20", "--eval-every", "10", "--out", "checkpoints/<i>odd", "--quiet")
    log = Path("checkpoints/<i>odd/log.jsonl")
    sample = '{"step": 20, "seconds": 1, "recoveries": 0, "sample": "</pre><script>alert(2)</script>\\u0000\\ud800"}\n'
    log.write_text(log.read_text() + sample)
    return log.parent


def test_odd_texts_and_names_are_shown_as_they_are(run, hostile, open_page):
    run("report", "<i>odd")
    page = open_page(hostile / "report.html")
    assert page.locator("h1").inner_text() == "<i>odd"
    assert page.locator("script").count() == 0
    assert page.locator("main b, main i:not(.bar i), main pre *").count() == 0
    assert "</script><b>&שלום😀.txt".replace("/", "∕") in page.locator("section").first.inner_text()
    assert "</pre><script>alert(2)</script>" in page.locator("#samples ~ pre").first.inner_text()
    assert page.locator("#symbols ~ figure svg text", has_text="😀").count() == 1


def test_it_is_read_on_a_phone_in_the_light_and_in_the_dark(written, open_page):
    for scheme in ("light", "dark"):
        page = open_page(written[1], viewport={"width": 360, "height": 640}, color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        assert page.locator("h2").all_inner_texts() == SECTIONS
        assert page.locator("figure svg").count() == page.locator("figcaption").count() == 5
        for link in page.locator("nav a").all():
            assert page.locator(link.get_attribute("href")).count() == 1
        colors = "[...document.querySelectorAll('figure svg text:not([style*=fill]), body')]"
        styles = f"{colors}.map(one => getComputedStyle(one)).map(style => style.fill + ' ' + style.color)"
        *drawn, ink = page.evaluate(f"[...new Set({styles})].reverse()")
        assert {each.split(")")[0] + ")" for each in drawn} == {
            ink.split(") ")[1]
        }  # texts have the colour of the page's


@pytest.mark.usefixtures("_undrawn")
def test_models_of_bytes_and_of_documents_have_pages(run, corpus):
    for words in (("--bytes",), ("--split-documents", "lines")):
        run("train", corpus, *SMALL, "--steps", "10", *words, "--out", "checkpoints/other", "--force", "--quiet")
        run("report", "other")
        assert headings(Path("checkpoints/other/report.html")) == SECTIONS
