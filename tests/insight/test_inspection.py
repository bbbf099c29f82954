"""The page of inspect, opened in a browser: what it shows is compared with the data that it was made of."""

import re

import numpy as np
import pytest
from charrnn.insight import inspection
from charrnn.insight.finding import Found
from charrnn.insight.inspection import MOST_VALUES, page
from charrnn.insight.looks import Looks
from charrnn.insight.reading import Reading
from charrnn.insight.reach import Reach

TEXT = "Alice said `Oh dear!'\nand then she ran\tafter it.\n"
UNITS = 6
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
STEPS = 16  # colours on each side of zero


def some_reading(text=TEXT, symbols=None, looks=None):
    """Return a reading of a text whose first character nothing predicts; K = 2 guesses, one of them right or not."""
    symbols = tuple(symbols or sorted(set(text)))
    ids = np.array([symbols.index(char) for char in text])
    rng = np.random.default_rng(0)
    bits = rng.uniform(0, 9, len(text))
    bits[0] = np.nan
    top_ids = rng.integers(0, len(symbols), (len(text), 2))
    top_ids[1::2, 0] = ids[1::2]
    top_ids[0] = -1
    top_probs = np.sort(rng.uniform(0, 0.5, (len(text), 2)))[:, ::-1]
    top_probs[0] = np.nan
    return Reading(text, ids, symbols, bits, top_ids, top_probs, looks or {})


def some_activations(T=len(TEXT)):
    """Return outputs within -1 and 1, cells of which each is larger than the one before, and a gate from 0 to 1."""
    rng = np.random.default_rng(1)
    return {
        "layer0.h": rng.uniform(-1, 1, (T, UNITS)).astype(np.float32),
        "layer0.c": rng.uniform(-1, 1, (T, UNITS)).astype(np.float32) * np.arange(2, UNITS + 2, dtype=np.float32),
        "layer0.f": rng.uniform(0, 1, (T, UNITS)).astype(np.float32),
    }


def some_page(reading=None, activations=None, **more):
    reading = some_reading() if reading is None else reading
    return page(
        model_name="boats",
        reading=reading,
        activations=some_activations(len(reading)) if activations is None else activations,
        **more,
    )


@pytest.fixture
def show(open_page):
    """Return a function that opens a page and waits until the text is there."""

    def opened(html, **options):
        shown = open_page(html, **options)
        shown.wait_for_selector("#text div > span", state="attached")
        return shown

    return opened


def levels(shown):
    """Return the colour of each character as drawn: the share of the scale's end in it, negative if orange is."""
    colours = shown.evaluate(
        """() => [...document.querySelectorAll("#text div > span")].map(span => getComputedStyle(span).backgroundColor)"""
    )
    return np.array([_level(colour) for colour in colours])


def _level(colour):
    if colour == "rgba(0, 0, 0, 0)":
        return 0.0
    numbers = [float(number) for number in re.findall(r"[\d.]+", colour)]
    red, _, blue, alpha = [*numbers, 1.0][:4]
    return alpha if blue > red else -alpha


def character(shown, t):
    return shown.locator("#text div > span").nth(t)


def guesses(shown):
    """Return the predictions that the page lists, as pairs of words."""
    words = shown.locator("#character .bars span").all_inner_texts()
    return list(zip(words[::2], words[1::2], strict=True))


# Colours


def test_the_text_is_coloured_by_surprise(show):
    reading = some_reading()
    shown = show(some_page(reading))
    expected = np.nan_to_num(np.rint(np.minimum(reading.bits, 8) * 2)) / STEPS
    np.testing.assert_allclose(np.abs(levels(shown)), expected, atol=1e-3)
    assert shown.locator("#legend").inner_text().split("\n")[0].startswith("0 bits")
    assert f"{np.nanmean(reading.bits):.3f} bits per character" in shown.locator("header").inner_text()


@pytest.mark.parametrize(("kind", "unit"), [("h", 3), ("c", 4), ("f", 0)])
def test_a_click_on_a_neuron_colours_the_text_by_its_activation(show, kind, unit):
    activations = some_activations()
    shown = show(some_page(activations=activations))
    shown.select_option("#kind", f"layer0.{kind}")
    shown.click(f"#units button[title^='layer0.{kind}[{unit}]']")
    values = activations[f"layer0.{kind}"][:, unit]
    scale = np.abs(values).max() if kind == "c" else 1
    np.testing.assert_allclose(levels(shown), values / scale, atol=1.01 / STEPS if kind != "f" else 0.51 / STEPS)
    legend = shown.locator("#legend").inner_text()
    assert f"layer0.{kind}[{unit}]" in legend
    assert ("scaled by its own largest value" in legend) == (kind == "c")
    assert f"{scale:.3g}" in legend
    assert shown.locator("#units button").count() == UNITS
    assert shown.locator("#units [aria-pressed=true]").inner_text() == ""  # its number is only in its title
    assert "All 6 units" in shown.locator("#units-note").inner_text()


def test_a_kind_begins_with_the_unit_that_varies_most(show):
    activations = some_activations()
    shown = show(some_page(activations=activations))
    shown.select_option("#kind", "layer0.c")
    assert shown.input_value("#unit") == str(activations["layer0.c"].std(axis=0).argmax())


def test_arrow_keys_flip_through_the_neurons(show):
    activations = some_activations()
    shown = show(some_page(activations=activations))
    assert "flip through the neurons" in shown.locator("#reading").inner_text()
    shown.select_option("#kind", "layer0.h")
    shown.click("#units button >> nth=4")
    for key, unit in (("ArrowRight", 5), ("ArrowRight", 0), ("ArrowLeft", 5)):
        shown.keyboard.press(key)
        assert shown.input_value("#unit") == str(unit)
        np.testing.assert_allclose(levels(shown), activations["layer0.h"][:, unit], atol=1.01 / STEPS)
    shown.keyboard.press("s")
    assert shown.input_value("#kind") == ""


def test_a_number_of_a_unit_can_be_typed(show):
    shown = show(some_page())
    shown.select_option("#kind", "layer0.f")
    shown.fill("#unit", "2")
    shown.keyboard.press("Enter")
    assert "layer0.f[2]" in shown.locator("#legend").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_on_every_colour_can_be_read(show, scheme):
    shown = show(some_page(), color_scheme=scheme)
    for kind in ("", "layer0.h"):
        shown.select_option("#kind", kind)
        for name in ("up", "down") if kind else ("up",):
            character(shown, 0).evaluate(f"span => span.className = '{name}{STEPS}'")
            ink, colour = character(shown, 0).evaluate(
                "span => [getComputedStyle(span).color, getComputedStyle(span).backgroundColor]"
            )
            assert _contrast(ink, colour) >= 4.5


def _contrast(*colours):
    """Return the ratio that WCAG 2 defines; 4.5 is enough for text."""

    def luminance(colour):
        numbers = np.array([float(number) for number in re.findall(r"[\d.]+", colour)][:3])
        part = numbers / (1 if colour.startswith("color") else 255)
        return np.dot((0.2126, 0.7152, 0.0722), np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4))

    low, high = sorted(map(luminance, colours))
    return (high + 0.05) / (low + 0.05)


# Characters


def test_pointing_at_a_character_shows_its_surprise_and_the_guesses(show):
    reading = some_reading()
    shown = show(some_page(reading))
    character(shown, 5).hover()
    words = shown.locator("#character").inner_text()
    assert f"{reading.bits[5]:.2f} bits of surprise" in words
    assert "Character 6 · U+0020" in words
    found = guesses(shown)
    assert [name for name, _ in found] == [reading.symbols[id_].replace(" ", "␣") for id_ in reading.top_ids[5]]
    assert shown.locator("#character .bars .right >> nth=0").inner_text() == "␣"
    character(shown, 0).hover()
    assert "nothing before it predicts it" in shown.locator("#character").inner_text()


def test_a_character_that_was_not_among_the_guesses_is_added_to_them(show):
    reading = some_reading()
    t = next(t for t in range(2, len(TEXT), 2) if reading.ids[t] not in reading.top_ids[t])
    shown = show(some_page(reading))
    character(shown, t).hover()
    assert len(guesses(shown)) == 3
    assert guesses(shown)[2][0] == TEXT[t]


def test_a_neuron_is_reported_at_each_character(show):
    activations = some_activations()
    shown = show(some_page(activations=activations))
    shown.select_option("#kind", "layer0.c")
    shown.fill("#unit", "5")
    shown.keyboard.press("Tab")
    character(shown, 7).hover()
    value = float(re.search(r"layer0.c\[5\] after it: (\S+)", shown.locator("#character").inner_text())[1].replace("−", "-"))
    assert value == pytest.approx(activations["layer0.c"][7, 5], abs=1.01 * 7 / STEPS)


def test_the_keyboard_goes_from_character_to_character(show):
    shown = show(some_page())
    shown.focus("#text")
    assert "Character 1 " in shown.locator("#character").inner_text()
    for _ in range(3):
        shown.keyboard.press("ArrowRight")
    shown.keyboard.press("ArrowLeft")
    assert "Character 3 " in shown.locator("#character").inner_text()
    shown.keyboard.press("Enter")
    assert "held" in shown.locator("#character").inner_text()


def test_a_held_character_stays_until_it_is_released(show):
    shown = show(some_page())
    character(shown, 4).click()
    character(shown, 9).hover()
    assert "Character 5 " in shown.locator("#character").inner_text()
    shown.keyboard.press("Escape")
    character(shown, 10).hover()
    assert "Character 11 " in shown.locator("#character").inner_text()


def some_looks():
    """Return looks of character 20 at 3 and 11, and of character 21 at 12 and one with too small a share."""
    looks = Looks.empty(len(TEXT))
    looks.at[20, :2], looks.share[20, :2] = (3, 11), (0.25, 0.5)
    looks.at[21, :2], looks.share[21, :2] = (12, 4), (0.125, 1e-5)
    return looks


def test_where_the_model_looks_lights_up(show):
    shown = show(some_page(some_reading(looks={"memory": some_looks(), "attention": Looks.empty(len(TEXT))})))
    character(shown, 20).hover()
    lit = shown.locator("#text .lit")
    assert lit.evaluate_all("nodes => nodes.map(node => [node.t, +node.style.getPropertyValue('--share')])") == [
        [3, 0.25],
        [11, 0.5],
    ]
    words = shown.locator("#character").inner_text()
    assert "Where its memory looks" in words
    assert words.index("50 %, 9 back") < words.index("25 %, 17 back")
    assert "Its attention copies nothing here." in words
    character(shown, 21).hover()
    assert lit.count() == 1
    character(shown, 22).hover()
    assert lit.count() == 0


def test_a_click_shows_what_moved_a_prediction(show):
    moved = np.zeros((len(TEXT), 5))
    moved[9, :4] = 0.5, -1.0, 0, 0.125
    shown = show(some_page(connections=moved))
    character(shown, 9).click()
    expected = np.zeros(len(TEXT))
    expected[[8, 7, 5]] = 0.5, -1, 0.125
    np.testing.assert_allclose(levels(shown), expected, atol=1e-3)
    assert "gradient × input" in shown.locator("#legend").inner_text()
    words = shown.locator("#character").inner_text()
    assert words.index("−1.00, 2 back") < words.index("+0.50, 1 back")
    shown.keyboard.press("Escape")
    assert np.abs(levels(shown)).max() > 0.8
    character(shown, 9).click()
    shown.select_option("#kind", "layer0.h")  # shows the neuron, not what moved the prediction
    np.testing.assert_allclose(levels(shown).size, len(TEXT))
    assert "layer0.h" in shown.locator("#legend").inner_text()


# Lists and figures


def found(unit, name="quotes", test=0.97, **more):
    return Found(unit, name, **{"measure": "AUC", "sign": 1, "val": 0.9, "test": test, "control": 0.6} | more)


def test_a_click_in_the_list_colours_the_text_by_that_unit(show):
    activations = some_activations()
    some = [found("layer0.c[4]"), found("layer0.h[1]", test=0.5, sign=-1), found("layer0.f[2]", "(?i)x|<b>", measure="correlation")]
    shown = show(some_page(activations=activations, found=[*some, found("layer7.c[1]")]))
    rows = shown.locator("#found tr").all_inner_texts()
    assert [row.split("\t") for row in rows] == [
        ["quotes", "AUC", "control"],
        ["layer0.c[4]", "0.970", "0.600"],
        ["layer0.h[1] ↓", "0.500", "0.600"],
        ["layer7.c[1]", "0.970", "0.600"],
        ["(?i)x|<b>", "correlation", "control"],
        ["layer0.f[2]", "0.970", "0.600"],
    ]
    shown.click("#found button:text-is('layer0.h[1]')")
    np.testing.assert_allclose(levels(shown), activations["layer0.h"][:, 1], atol=1.01 / STEPS)
    assert shown.locator("#found [aria-current]").count() == 1
    assert shown.locator("#units [data-found]").count() == 1
    assert shown.locator("#found button:disabled").inner_text() == "layer7.c[1]"


def test_of_many_units_the_best_are_on_the_page(monkeypatch, show):
    monkeypatch.setattr(inspection, "MOST_VALUES", 3 * 2 * len(TEXT))
    monkeypatch.setattr(inspection, "_FEWEST_UNITS", 1)
    activations = some_activations()
    shown = show(some_page(activations=activations, found=[found("layer0.c[0]")]))
    shown.select_option("#kind", "layer0.c")
    titles = shown.locator("#units button").evaluate_all("nodes => nodes.map(node => node.title.split(':')[0])")
    assert titles == ["layer0.c[0]", f"layer0.c[{activations['layer0.c'].std(axis=0).argmax()}]"]
    note = "The page shows 2 of 6 units of layer0.c: those that follow a property in the list, then those that vary most."
    assert note in shown.locator("#units-note").inner_text()
    shown.keyboard.press("ArrowRight")
    assert shown.locator("#units [aria-pressed=true]").count() == 1


def test_figures_show_the_reach_and_the_saturation(monkeypatch):
    drawn = []
    monkeypatch.setattr(inspection, "inline_svg", lambda made: drawn.append(made.axes[0]) or "<svg></svg>")
    norms = np.array([1, 0.1, 0.01, 0])
    shares = {
        "layer0.i": np.array([[0.1, 0.25], [0.5, 0.5]]),
        "layer0.f": np.array([[0, 1.0]]),
        "layer1.i": np.array([[0.75, 0.0]]),
    }
    html = some_page(reach=Reach(norms, np.ones(4, int), np.arange(4)), saturation=shares)
    curve, *scatters = drawn
    np.testing.assert_array_equal(curve.lines[0].get_ydata(), [1, 0.1, 0.01, np.nan])
    assert curve.get_yscale() == "log"
    assert [[line.get_xydata().tolist() for line in axes.lines] for axes in scatters] == [
        [shares["layer0.i"].tolist(), shares["layer1.i"].tolist()],
        [shares["layer0.f"].tolist()],
    ]
    assert re.findall("<h2>(.*?)</h2>", html) == [
        "How far back the loss feels a character",
        "Saturation of i",
        "Saturation of f",
    ]


def test_notes_and_names_are_text(show):
    html = page(model_name="<i>boats</i>", reading=some_reading(), activations={}, notes=["<b>Bold</b> & true"])
    shown = show(html)
    assert shown.locator("h1").inner_text() == "<i>boats</i>"
    assert "<b>Bold</b> & true" in shown.locator("body").inner_text()
    shown.keyboard.press("ArrowRight")  # without activations there is nothing to flip through


# Any text, any screen


def texts_of(shown):
    return shown.locator("#text div > span").all_text_contents()


@pytest.mark.parametrize(
    "text",
    [
        "</script><script>document.title = 'x'</script><img src=x onerror=alert(1)> & <!-- ' \" `",
        "😀 👨\u200d👩\u200d👧 🏳️\u200d🌈 and 𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
        "שלום עולם\nمرحبا بالعالم abc\n",
        "e\u0301 a\u0308\u0323 n\u0303\ttab\t\ttabs\n\n\n",
        "全角\u3000空白\u00a0x",
    ],
)
def test_any_text_is_shown_character_by_character(show, text):
    shown = show(some_page(some_reading(text)))
    assert texts_of(shown) == list(text)
    assert shown.title() == "boats: what it sees"
    for t in range(len(text)):  # code points, not halves of them
        shown.evaluate(f"point({t})")
        assert f"Character {t + 1} · U+{ord(text[t]):04X}" in shown.locator("#character").inner_text()


def test_characters_that_are_invisible_or_do_harm_are_escaped(show):
    reading = some_reading("a\x00\r\x1b\u202eb\u2066\u2028\udc80\n\t")
    shown = show(some_page(reading))
    assert texts_of(shown) == ["a", r"\x00", r"\r", r"\x1b", r"\u202e", "b", r"\u2066", r"\u2028", r"\udc80", "\n", "\t"]
    assert shown.locator("#text [data-named]").count() == 7
    glyphs = shown.locator("#text [data-glyph]").evaluate_all("nodes => nodes.map(n => getComputedStyle(n, '::before').content)")
    assert glyphs == ['"↵"', '"⇥"']


def test_special_symbols_have_names(show):
    reading = some_reading("ab\u2404\ufffd", ("a", "b", "\u2404", "\ufffd"))
    named = Reading(**vars(reading) | {"symbols": ("a", "b", "<end>", "<unknown>")})
    shown = show(some_page(named))
    assert texts_of(shown) == ["a", "b", "<end>", "<unknown>"]


def test_bytes_that_are_no_ascii_are_shown_as_numbers(show):
    shown = show(some_page(some_reading("h\xc3\xa9!", tuple(map(chr, range(256))))))
    assert texts_of(shown) == ["h", r"\xc3", r"\xa9", "!"]


def test_a_hundred_thousand_characters_open_and_recolour(show):
    text = "It was the best of times, it was the worst.\n" * 2273
    reading = some_reading(text[:100_000])
    activations = {"layer0.h": np.sin(np.arange(100_000) / 50)[:, None].astype(np.float32)}
    shown = show(some_page(reading, activations))
    assert shown.locator("#text").evaluate("box => box.textContent") == reading.text
    assert shown.locator("#text div > span").count() < 10_000  # only what is near becomes spans
    shown.select_option("#kind", "layer0.h")
    shown.locator("#text").evaluate("box => box.scrollTop = box.scrollHeight / 2")
    shown.wait_for_function("seen.has(blockOf(50000))")
    drawn = shown.evaluate("[getComputedStyle(spans[50000]).backgroundColor, spans[50000].textContent]")
    assert _level(drawn[0]) == pytest.approx(activations["layer0.h"][50_000, 0], abs=1.01 / STEPS)
    assert drawn[1] == reading.text[50_000]


def test_a_line_without_end_is_cut_into_blocks(show):
    shown = show(some_page(some_reading("abc" * 3000)))
    assert shown.evaluate("blocks.map(block => block.end - block.begin)") == [2000] * 4 + [1000]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(show, scheme):
    some = {"found": [found("layer0.c[4]", "a-very-long-expression-" * 5)], "connections": np.ones((len(TEXT), 5))}
    shown = show(some_page(some_reading("x" * 300 + TEXT, looks={}), **some | {"connections": None}), color_scheme=scheme, **PHONE)
    shown.select_option("#kind", "layer0.c")
    character(shown, 3).tap()
    assert "Character 4 " in shown.locator("#character").inner_text()
    assert shown.evaluate("document.documentElement.scrollWidth") == 360
    below = shown.locator("#character").bounding_box()
    assert below["y"] + below["height"] == pytest.approx(740, abs=1)  # a sheet at the bottom of the screen
    paper = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    assert _contrast(paper, "rgb(255, 255, 255)" if scheme == "light" else "rgb(0, 0, 0)") < 1.3


def test_a_browser_that_cannot_unpack_the_data_says_so(open_page):
    html = some_page().replace("<script>", "<script>delete globalThis.DecompressionStream;</script><script>", 1)
    shown = open_page(html)
    assert "cannot unpack" in shown.locator("#problem").inner_text()


@pytest.mark.slow
def test_all_units_of_an_lstm_take_less_than_three_megabytes():
    T, rng = MOST_VALUES // 768, np.random.default_rng(0)
    reading = some_reading("".join(rng.choice(list("etaoin shrdlu\n"), T)))
    activations = {
        f"layer0.{kind}": np.tanh(rng.standard_normal((T, 128))).astype(np.float32) * (0.5 if kind in "ifo" else 1) + (0.5 if kind in "ifo" else 0)
        for kind in "hcifgo"
    }
    html = some_page(reading, activations)
    assert len(html.encode()) < 3e6
    assert "All 128 units" in html
