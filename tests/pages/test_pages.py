"""Pages: what a template inserts is escaped, and a page needs nothing but itself."""

import builtins
import json
from html.parser import HTMLParser

import pytest

from charrnn.errors import MissingExtraError
from charrnn.pages import _environment, render


@pytest.fixture
def template(monkeypatch):
    """Return a function that renders a template given as text."""
    return lambda text, **values: _environment().from_string(text).render(values)


def test_values_are_escaped(template):
    assert template("{{ x }}", x="<b>&") == "&lt;b&gt;&amp;"


def test_json_cannot_end_a_script(template):
    """The tests of the page of inspect open such a text in a browser."""
    value = {"text": "</script><script>document.title='x'</script>\u2028 & <!--"}
    scripts = []
    parser = HTMLParser()
    parser.handle_data = scripts.append
    parser.feed(template("<script>{{ v|json }}</script>", v=value))
    assert [json.loads(script) for script in scripts] == [value]


def test_without_jinja2_a_page_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def refuse(name, *more, **others):
        if name.startswith("jinja2"):
            raise ImportError(name)
        return real(name, *more, **others)

    _environment.cache_clear()
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError, match=r'pip install "charrnn-numpy\[pages\]"'):
        render("service.html")
    _environment.cache_clear()
