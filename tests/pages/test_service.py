"""The service's pages in a browser: with answers of the service that are given here."""

import json

import pytest

from charrnn.pages import render

MODELS = {"models": [{"name": "one", "cell": "lstm", "layers": 1, "hidden": 8, "symbols": 5}]}
ANSWERS = """<script>
  const answers = %s, asked = [];
  window.fetch = async (path, {body} = {}) => {
    asked.push([path, body && JSON.parse(body)]);
    return {status: 200, ok: true, json: async () => answers[path], body: new Blob([answers[path]]).stream()};
  };
</script>"""


@pytest.fixture
def open_service(open_page):
    """Return a function that opens a page whose requests get these answers, by path."""

    def show(name, **answers):
        paths = {path.replace("_", "/"): answer for path, answer in answers.items()}
        script = ANSWERS % json.dumps(paths).replace("<", "\\u003c")
        return open_page(render(name).replace("</head>", script + "</head>"))

    return show


def test_a_text_is_written(open_service):
    lines = '{"piece":"<b>"}\n{"piece":"é🦉"}\n{"text":"<b>é🦉","seed":7,"bpc":1.5,"ended":"length"}\n'
    page = open_service("service.html", models=MODELS, generate=lines)
    page.fill("#prompt", "The ")
    page.click("#go")
    page.wait_for_function("document.getElementById('write-note').textContent.includes('seed 7')")
    assert page.text_content("#text") == "The <b>é🦉"
    assert page.evaluate("asked.at(-1)[1].prime") == "The "
    assert page.text_content("#about") == "one: lstm, 1 × 8 units, 5 symbols"


def test_a_text_is_coloured_by_surprise(open_service):
    logprobs = {
        "tokens": ["<", "a", "\n"],
        "token_logprobs": [None, -0.1, -6.0],
        "top_logprobs": [None, {"a": -0.1, "b": -3.0}, {"b": -0.2, "\n": -6.0}],
    }
    page = open_service("service.html", models=MODELS, v1_completions={"choices": [{"logprobs": logprobs}]})
    page.click("#tab-score")
    page.fill("#scored", "<a\n")
    page.click("#score button")
    page.wait_for_selector("#colours span")
    spans = page.locator("#colours span")
    assert spans.all_text_contents() == ["<", "a", "\n"]
    assert spans.nth(1).get_attribute("title").startswith("0.1 bits; expected: a 90 %")
    strength = [
        float(spans.nth(at).evaluate("e => getComputedStyle(e).backgroundColor.match(/[.0-9]+/g).at(-1)"))
        for at in (1, 2)
    ]
    assert strength[0] < strength[1]


def test_the_description_is_listed(open_service):
    document = {
        "paths": {
            "/health": {"get": {"summary": "Say <whether> it runs.", "responses": {"200": {"description": "x"}}}}
        },
        "components": {"schemas": {}},
    }
    page = open_service("api.html", **{"openapi.json": document})
    page.wait_for_selector("section")
    assert page.text_content("section h2") == "GET/health"
    assert "Say <whether> it runs." in page.text_content("section")
