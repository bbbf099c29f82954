"""The page of inspect, opened in a browser: what it shows is compared with the data that it was made of."""

import re

import numpy as np
import pytest

from charrnn.insight import inspection
from charrnn.insight.finding import Found
from charrnn.insight.inspection import MOST_VALUES, page
from charrnn.insight.looks import Looks
from charrnn.insight.reach import Reach
from charrnn.insight.reading import Reading

TEXT = "Alice said `Oh dear!'\nand then she ran\tafter it.\n"
UNITS = 6
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
STEP = 1 / 16  # of the colours on each side of zero


def some_reading(text=TEXT, symbols=None, looks=None):
    """Return a reading of a text whose first character nothing predicts; one guess of two is right at odd positions."""
    symbols = tuple(symbols or sorted(set(text)))
    ids = np.array([symbols.index(char) for char in text])
    rng = np.random.default_rng(0)
    bits, top_probs = rng.uniform(0, 9, len(text)), rng.uniform(0, 0.5, (len(text), 2))
    top_ids = rng.integers(0, len(symbols), (len(text), 2))
    top_ids[1::2, 0] = ids[1::2]
    bits[0], top_ids[0], top_probs[0] = np.nan, -1, np.nan
    return Reading(text, ids, symbols, bits, top_ids, top_probs, looks or {})


def some_activations(T=len(TEXT)):  # noqa: B008
    """Return outputs from -1 to 1, cells of which each is larger than the one before, and a gate from 0 to 1."""
    rng = np.random.default_rng(1)
    h, c = rng.uniform(-1, 1, (2, T, UNITS)).astype(np.float32)
    return {
        "layer0.h": h,
        "layer0.c": c * np.arange(2, UNITS + 2, dtype=np.float32),
        "layer0.f": rng.uniform(0, 1, (T, UNITS)).astype(np.float32),
    }


def some_page(reading=None, activations=None, **more):
    reading = some_reading() if reading is None else reading
    activations = some_activations(len(reading)) if activations is None else activations
    return page(**{"model_name": "boats", "reading": reading, "activations": activations} | more)


def found(unit, name="quotes", **more):
    return Found(unit, name, **{"measure": "AUC", "sign": 1, "val": 0.9, "test": 0.97, "control": 0.6} | more)


@pytest.fixture
def show(open_page):
    """Return a function that opens a page and waits until the text is there."""

    def opened(html, **options):
        shown = open_page(html, **options)
        shown.wait_for_selector("#text div > span", state="attached")
        return shown

    return opened


def level(colour):
    """Return the share of its scale's end in a colour that the browser computed; negative for orange and red."""
    if colour == "rgba(0, 0, 0, 0)":
        return 0.0
    red, _, blue, alpha = [*map(float, re.findall(r"[\d.]+", colour)), 1.0][:4]
    return alpha if blue > red else -alpha


def levels(shown):
    """Return the levels of all characters."""
    colours = shown.locator("#text div > span").evaluate_all(
        "spans => spans.map(span => getComputedStyle(span).backgroundColor)"
    )
    return np.array([level(colour) for colour in colours])


def character(shown, t):
    return shown.locator("#text div > span").nth(t)


def colour_by(shown, name):
    """Choose a kind of activations, and wait until its numbers are unpacked."""
    shown.select_option("#kind", name)
    shown.wait_for_function("name => (kind?.name ?? '') === name", arg=name)


def words(shown, place):
    return shown.locator(place).inner_text()


def guesses(shown):
    """Return the predictions that the page lists."""
    return shown.locator("#character .bars span:nth-child(3n + 1)").all_inner_texts()


# Colours


def test_the_text_is_coloured_by_surprise(show):
    reading = some_reading()
    shown = show(some_page(reading))
    expected = np.nan_to_num(np.rint(np.minimum(reading.bits, 8) * 2) * STEP)
    np.testing.assert_allclose(levels(shown), -expected, atol=1e-3)
    assert words(shown, "#low") == "0 bits"
    assert words(shown, "#high") == "8 bits or more"
    assert f"{np.nanmean(reading.bits):.3f} bits per character" in words(shown, "header")


def test_a_click_on_a_neuron_colours_the_text_by_its_activation(show):
    activations = some_activations()
    shown = show(some_page(activations=activations))
    for name, unit, half in (("layer0.h", 3, STEP), ("layer0.c", 4, STEP), ("layer0.f", 0, STEP / 2)):
        colour_by(shown, name)
        assert shown.input_value("#unit") == str(activations[name].std(axis=0).argmax())
        assert shown.locator("#units button").count() == UNITS
        assert f"All 6 units of {name}" in words(shown, "#units-note")
        shown.click(f"#units button[title^='{name}[{unit}]']")
        values = activations[name][:, unit]
        own = name == "layer0.c"
        scale = np.abs(values).max() if own else 1
        np.testing.assert_allclose(levels(shown), values / scale, atol=1.001 * half)
        assert words(shown, "#meaning") == f"{name}[{unit}]" + (", scaled by its own largest value" if own else "")
        assert words(shown, "#high").endswith(f"{scale:.3g}")
        character(shown, 7).hover()
        value = re.search(rf"{unit}\] after it: (\S+)", words(shown, "#character"))[1].replace("−", "-")
        assert float(value) == pytest.approx(values[7], abs=half * float(scale) + 0.005)


def test_neurons_are_flipped_through_by_keyboard(show):
    h = some_activations()["layer0.h"]
    shown = show(some_page())
    assert "flip through the neurons" in words(shown, "#reading")
    colour_by(shown, "layer0.h")
    shown.click("#units button >> nth=4")
    for key, unit in (("ArrowRight", 5), ("ArrowRight", 0), ("ArrowLeft", 5)):
        shown.keyboard.press(key)
        assert shown.input_value("#unit") == str(unit)
        np.testing.assert_allclose(levels(shown), h[:, unit], atol=1.001 * STEP)
    shown.focus("#kind")  # where the arrow keys up and down choose the kind
    shown.keyboard.press("ArrowLeft")
    assert words(shown, "#meaning") == "layer0.h[4]"
    shown.fill("#unit", "2")
    shown.keyboard.press("Enter")
    np.testing.assert_allclose(levels(shown), h[:, 2], atol=1.001 * STEP)
    shown.click("#before")
    assert words(shown, "#meaning") == "layer0.h[1]"
    shown.keyboard.press("s")
    assert words(shown, "#low") == "0 bits"


def contrast(*colours):
    """Return the ratio that WCAG 2 defines; 4.5 is enough for text."""

    def luminance(colour):
        numbers = np.array([float(number) for number in re.findall(r"[\d.]+", colour)[:3]])
        part = numbers if colour.startswith("color") else numbers / 255
        return np.dot((0.2126, 0.7152, 0.0722), np.where(part <= 0.04, part / 12.92, ((part + 0.055) / 1.055) ** 2.4))

    low, high = sorted(map(luminance, colours))
    return (high + 0.05) / (low + 0.05)


def test_text_on_every_colour_can_be_read(show):
    shown = show(some_page())
    for scheme in ("light", "dark"):
        shown.emulate_media(color_scheme=scheme)
        for kind, name in (("", "up16"), ("layer0.h", "up16"), ("layer0.h", "down16")):
            colour_by(shown, kind)
            colours = character(shown, 0).evaluate(
                "(span, name) => { span.className = name; const { color, backgroundColor } = getComputedStyle(span);"
                " return [color, backgroundColor]; }",
                name,
            )
            assert contrast(*colours) >= 4.5


# Characters


def test_pointing_at_a_character_shows_its_surprise_and_the_guesses(show):
    reading = some_reading()
    shown = show(some_page(reading))
    character(shown, 5).hover()
    bits = re.search(r"([\d.]+) bits of surprise\n+Character 6 · U\+0020$", words(shown, "#character"), re.MULTILINE)[1]
    assert float(bits) == pytest.approx(reading.bits[5], abs=0.0056)  # sent in thousandths
    assert guesses(shown) == [reading.symbols[id_].replace(" ", "␣").replace("\n", "↵") for id_ in reading.top_ids[5]]
    assert shown.locator("#character .bars .right").first.inner_text() == "␣"
    wrong = next(t for t in range(2, len(TEXT), 2) if reading.ids[t] not in reading.top_ids[t])
    character(shown, wrong).hover()
    assert guesses(shown)[2:] == [TEXT[wrong]]
    character(shown, 0).hover()
    assert "nothing before it predicts it" in words(shown, "#character")
    assert guesses(shown) == []


def test_the_keyboard_goes_from_character_to_character_and_holds_one(show):
    shown = show(some_page())
    shown.focus("#text")
    assert "Character 1 " in words(shown, "#character")
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft", "Enter"):
        shown.keyboard.press(key)
    assert re.search("Character 3 .* held", words(shown, "#character"))
    character(shown, 9).hover()
    assert "Character 3 " in words(shown, "#character")
    shown.keyboard.press("Escape")
    character(shown, 10).hover()
    assert "Character 11 " in words(shown, "#character")


def test_where_the_model_looks_lights_up(show):
    looks = Looks.empty(len(TEXT))
    looks.at[20, :2], looks.share[20, :2] = (3, 11), (0.25, 0.5)
    looks.at[21, :2], looks.share[21, :2] = (12, 4), (0.125, 1e-5)
    shown = show(some_page(some_reading(looks={"memory": looks, "attention": Looks.empty(len(TEXT))})))
    lit = "spans => spans.map(span => [span.t, +span.style.getPropertyValue('--share')])"
    character(shown, 20).hover()
    assert shown.locator("#text .lit").evaluate_all(lit) == [[3, 0.25], [11, 0.5]]
    listed = words(shown, "#character")
    assert "Where its memory looks" in listed
    assert listed.index("50 %, 9 back") < listed.index("25 %, 17 back")
    assert "Its attention copies nothing here." in listed
    character(shown, 21).hover()
    assert shown.locator("#text .lit").evaluate_all(lit) == [[12, 0.125]]
    character(shown, 22).hover()
    assert shown.locator("#text .lit").count() == 0


def test_a_click_shows_what_moved_a_prediction(show):
    moved = np.zeros((len(TEXT), 5))
    moved[9, :4] = 0.5, -1.0, 0, 0.125
    shown = show(some_page(connections=moved))
    character(shown, 9).click()
    expected = np.zeros(len(TEXT))
    expected[[8, 7, 5]] = 0.5, -1, 0.125
    np.testing.assert_allclose(levels(shown), expected, atol=1e-3)
    assert "gradient × (input − mean input)" in words(shown, "#meaning")
    listed = words(shown, "#character")
    assert listed.index("−1.00, 2 back") < listed.index("+0.50, 1 back")
    shown.keyboard.press("Escape")
    assert levels(shown).min() < -0.8  # surprise again
    character(shown, 9).click()
    colour_by(shown, "layer0.f")
    assert (levels(shown) >= 0).all()
    assert words(shown, "#meaning").startswith("layer0.f")


# Lists and figures


def test_a_click_in_the_list_colours_the_text_by_that_unit(show):
    some = [found("layer0.c[4]"), found("layer0.h[1]", test=0.5, sign=-1), found("layer7.c[1]")]
    other = found("layer0.f[2]", "(?i)x|<b>", measure="correlation")
    shown = show(some_page(found=[*some, other]))
    assert [row.split("\t") for row in shown.locator("#found tr").all_inner_texts()] == [
        ["quotes", "AUC", "control"],
        ["layer0.c[4]", "0.970", "0.600"],
        ["layer0.h[1] ↓", "0.500", "0.600"],
        ["layer7.c[1]", "0.970", "0.600"],
        ["(?i)x|<b>", "correlation", "control"],
        ["layer0.f[2]", "0.970", "0.600"],
    ]
    shown.click("#found button:text-is('layer0.h[1]')")
    shown.wait_for_selector("#found [aria-current]")
    np.testing.assert_allclose(levels(shown), some_activations()["layer0.h"][:, 1], atol=1.001 * STEP)
    assert shown.locator("#found [aria-current] button").all_inner_texts() == ["layer0.h[1]"]
    assert shown.locator("#found .quiet button").all_inner_texts() == ["layer0.h[1]"]  # no better than the control
    assert shown.locator("#found button:disabled").all_inner_texts() == ["layer7.c[1]"]
    assert shown.locator("#units [data-found]").count() == 1


def test_of_many_units_the_best_are_on_the_page(monkeypatch, show):
    monkeypatch.setattr(inspection, "MOST_VALUES", 3 * 2 * len(TEXT))
    monkeypatch.setattr(inspection, "_FEWEST_UNITS", 1)
    c = some_activations()["layer0.c"]
    shown = show(some_page(found=[found("layer0.c[0]")]))
    colour_by(shown, "layer0.c")
    titles = shown.locator("#units button").evaluate_all("nodes => nodes.map(node => node.title.split(':')[0])")
    assert titles == ["layer0.c[0]", f"layer0.c[{c.std(axis=0).argmax()}]"]
    note = "2 of 6 units of layer0.c: those that follow a property in the list, then those that vary most."
    assert note in words(shown, "#units-note")
    np.testing.assert_allclose(levels(shown), c[:, c.std(axis=0).argmax()] / np.abs(c[:, -1]).max(), atol=1.001 * STEP)


def test_figures_show_the_reach_and_the_saturation(monkeypatch):
    drawn = []
    monkeypatch.setattr(inspection, "inline_svg", lambda made: drawn.append(made.axes[0]) or "<svg></svg>")
    shares = {
        "layer0.i": np.array([[0.1, 0.25], [0.5, 0.5]]),
        "layer0.f": np.array([[0, 1.0]]),
        "layer1.i": np.array([[0.75, 0.0]]),
    }
    reach = Reach(np.array([1, 0.1, 0.001, 0]), np.ones(4, int), np.arange(4))
    html = some_page(reach=reach, saturation=shares)
    curve, *scatters = drawn
    np.testing.assert_array_equal(curve.lines[0].get_ydata(), [1, 0.1, 0.001, np.nan])
    assert curve.get_yscale() == "log"
    assert [[line.get_xydata().tolist() for line in axes.lines] for axes in scatters] == [
        [shares["layer0.i"].tolist(), shares["layer1.i"].tolist()],
        [shares["layer0.f"].tolist()],
    ]
    titles = ["How far back the loss feels a character", "Saturation of i", "Saturation of f"]
    assert re.findall("<h2>(.*?)</h2>", html) == titles
    assert "from 2 characters back less than a hundredth" in html


# Any text, any screen

AWKWARD = (
    "</script><script>document.title = 'x'</script><img src=x onerror=alert(1)> & <!-- ' \" `\n"
    "😀 👨\u200d👩\u200d👧 🏳️\u200d🌈 𝔘𝔫𝔦\tשלום עולם\nمرحبا بالعالم abc\n"
    "e\u0301 a\u0308\u0323\t\t全角\u3000\u00a0x\n\n\n"
)


def test_any_text_is_shown_character_by_character(show):
    name = "<i>boats</i> & co"
    shown = show(some_page(some_reading(AWKWARD), model_name=name, notes=["<b>Bold</b>"]))
    assert shown.locator("#text div > span").all_text_contents() == list(AWKWARD)
    assert shown.title() == f"{name}: what it sees"
    assert words(shown, "h1") == name
    assert "<b>Bold</b>" in words(shown, "body")
    described = shown.evaluate("() => chars.map((_, t) => { point(t); return $('character').innerText; })")
    found = [re.search(r"Character (\d+) · U\+(\w+)", each).groups() for each in described]
    assert [(int(t), int(code, 16)) for t, code in found] == list(enumerate(map(ord, AWKWARD), 1))
    shown.evaluate("point(chars.indexOf('\u0301'))")
    assert words(shown, "#character .glyph") == "◌\u0301"
    glyphs = shown.locator("#text [data-glyph]").evaluate_all(
        "spans => spans.map(span => getComputedStyle(span, '::before').content)"
    )
    assert glyphs == [{"\n": '"↵"', "\t": '"⇥"'}[char] for char in AWKWARD if char in "\n\t"]


def test_symbols_that_are_invisible_or_no_characters_have_names(show):
    special = ("<end>", "<unknown>")
    text = "a\x00\r\x1b\u202eb\u2066\u2028\udc80"
    reading = some_reading(f"{text}\u2404\ufffd", (*text, "\u2404", "\ufffd"))
    shown = show(some_page(Reading(**vars(reading) | {"symbols": (*text, *special)})))
    expected = ["a", r"\x00", r"\r", r"\x1b", r"\u202e", "b", r"\u2066", r"\u2028", r"\udc80", *special]
    assert shown.locator("#text div > span").all_text_contents() == expected
    assert shown.locator("#text [data-named]").count() == 9


def test_bytes_that_are_not_ascii_are_numbers(show):
    shown = show(some_page(some_reading("h\xc3\xa9!", map(chr, range(256)))))
    assert shown.locator("#text div > span").all_text_contents() == ["h", r"\xc3", r"\xa9", "!"]


def test_a_hundred_thousand_characters_open_and_recolour(show):
    text = ("It was the best of times, it was the worst.\n" * 2100 + "endless " * 1000)[:100_000]
    activations = {"layer0.h": np.sin(np.arange(100_000) / 50)[:, None].astype(np.float32)}
    shown = show(some_page(some_reading(text), activations))
    assert shown.evaluate("$('text').textContent") == text
    assert shown.locator("#text div > span").count() < 10_000  # only what is near becomes spans
    assert shown.evaluate("Math.max(...blocks.map(block => block.end - block.begin))") == 2000
    colour_by(shown, "layer0.h")
    shown.evaluate("show(50000)")
    shown.wait_for_function("spans[50000]?.className")
    drawn, char = shown.evaluate("[getComputedStyle(spans[50000]).backgroundColor, spans[50000].textContent]")
    assert level(drawn) == pytest.approx(activations["layer0.h"][50_000, 0], abs=1.001 * STEP)
    assert char == text[50_000]


def test_it_fits_a_phone(show):
    reading = some_reading("x" * 300 + TEXT, looks={"memory": Looks.empty(300 + len(TEXT))})
    shown = show(some_page(reading, found=[found("layer0.c[4]", "a-very-long-expression-" * 5)]), **PHONE)
    colour_by(shown, "layer0.c")
    character(shown, 3).tap()
    assert re.search("Character 4 .* held", words(shown, "#character"))
    sheet = shown.locator("#character").bounding_box()
    assert sheet["y"] + sheet["height"] == pytest.approx(740, abs=1)  # at the bottom of the screen
    for scheme, paper in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(0, 0, 0)")):
        shown.emulate_media(color_scheme=scheme)
        assert shown.evaluate("document.documentElement.scrollWidth") == 360
        assert contrast(shown.evaluate("getComputedStyle(document.body).backgroundColor"), paper) < 1.3


def test_a_browser_that_cannot_unpack_the_data_says_so(open_page):
    html = some_page().replace("<script>", "<script>delete globalThis.DecompressionStream;</script><script>", 1)
    assert "cannot unpack" in words(open_page(html), "#problem")


@pytest.mark.slow
def test_all_units_of_an_lstm_take_less_than_three_megabytes():
    T, rng = MOST_VALUES // 768, np.random.default_rng(0)
    reading = some_reading("".join(rng.choice(list("etaoin shrdlu\n"), T)))
    activations = {
        f"layer0.{kind}": np.tanh(rng.standard_normal((T, 128), np.float32)) * scale + 1 - scale
        for kind, scale in {"h": 1, "c": 1, "i": 0.5, "f": 0.5, "g": 1, "o": 0.5}.items()
    }
    html = some_page(reading, activations)
    assert len(html.encode()) < 3e6
    assert "All 128 units" in html
