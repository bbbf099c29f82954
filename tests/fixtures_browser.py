"""A headless Chromium for the tests of pages; `tests/conftest.py` makes the fixture known everywhere."""

import os
import shutil

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")  # not longer: its driver runs an event loop in this thread, and other tests run theirs
def _chromium():
    """Return a running browser; the tests that need one are skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pages are tested with playwright")
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("pages are tested with Chromium: install Debian's package chromium")
    sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # Chromium's refuses root
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=sandbox)
        yield browser
        browser.close()


@pytest.fixture
def open_page(_chromium):
    """Return a function that opens a file or HTML without a network and returns the page; errors fail the test.

    Its arguments: the path or the HTML, then options of a browser context, such as viewport and color_scheme.
    """
    contexts, errors = [], []

    def show(what, **options):
        context = _chromium.new_context(offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None
        )
        page.on("request", lambda asked: errors.append(asked.url) if asked.url.startswith("http") else None)
        if isinstance(what, os.PathLike):
            page.goto(what.absolute().as_uri())
        else:
            page.set_content(what)
        return page

    yield show
    for context in contexts:
        context.close()
    assert errors == []
