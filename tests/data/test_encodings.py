"""Encodings that are guessed from the bytes: the one that gives the text back, or none."""

import pytest

from charrnn.data.encodings import is_damaged_utf8, likely_encoding

TEXTS = {
    "german": "Der müde Käfer läuft über die größte Straße. Jörg grüßt „Anna“ — schön!\n",
    "french": "Voilà l’été où les élèves français reçoivent des œufs à Noël… ça coûte 5 €.\n",
    "spanish": "¿Dónde está el niño? Mañana será otro día, dice el pingüino.\n",
    "polish": "Zażółć gęślą jaźń. Wyszedł chłopiec, który się śmiał.\n",
    "turkish": "Bugün hava çok güzel, ığdır'da şeftali yiyoruz. Öğretmen geldi mi?\n",
    "russian": "Все мы знаем, что пишут о погоде: завтра будет дождь, а потом снова солнце.\n",
    "ukrainian": "Завтра буде дощ, а потім знову сонце, і діти підуть гуляти біля її хати.\n",
    "greek": "Αύριο θα βρέξει και μετά θα έχει πάλι ήλιο στην πόλη μας.\n",
    "hebrew": "מחר ירד גשם ואחר כך תזרח השמש שוב\n",
    "arabic": "غدا ستمطر ثم تشرق الشمس من جديد على المدينة\n",
    "thai": "พรุ่งนี้ฝนจะตกแล้วแดดจะออกอีกครั้งในเมืองของเรา\n",
    "japanese": "明日は雨が降るでしょう。それからまた太陽が出ます。\n",
    "japanese of Windows": "明日は雨が降るでしょう。それから①番の太陽。\n",
    "korean": "내일은 비가 오고 그 다음에는 다시 해가 나올 것이라고 사람들은 이야기하고 있다\n",
    "simplified": "明天会下雨，然后太阳又会出来，孩子们都到公园里去玩。\n",
    "traditional": "明天會下雨，然後太陽又會出來，孩子們都到公園裡去玩。\n",
    "english": "Tomorrow it will rain, and then the sun will shine again.\n",
}
GUESSED = [
    *(("german", name) for name in ("latin1", "cp1252", "macintosh", "utf-16le", "utf-16be")),
    *(("french", name) for name in ("cp1252", "macintosh", "utf-16le")),
    *(("spanish", name) for name in ("latin1", "cp850", "macintosh")),
    *(("polish", name) for name in ("cp1250", "iso8859-2")),
    ("turkish", "cp1254"),
    *(("russian", name) for name in ("cp1251", "koi8-r", "cp866", "iso8859-5", "utf-16le", "utf-16be")),
    *(("ukrainian", name) for name in ("cp1251", "koi8-u")),
    *(("greek", name) for name in ("cp1253", "iso8859-7")),
    ("hebrew", "cp1255"),
    ("arabic", "cp1256"),
    ("thai", "cp874"),
    *(("japanese", name) for name in ("shift_jis", "euc-jp", "utf-16le")),
    ("japanese of Windows", "cp932"),
    *(("korean", name) for name in ("euc-kr", "utf-16le")),
    *(("simplified", name) for name in ("gb18030", "utf-16be")),
    ("traditional", "big5"),
    *(("english", name) for name in ("utf-16le", "utf-16be")),
]


@pytest.mark.parametrize(("language", "encoding"), GUESSED, ids=str)
def test_the_encoding_that_is_guessed_gives_the_text_back(language, encoding):
    data = TEXTS[language].encode(encoding, "ignore")  # what an encoding lacks, such as a dash, is left out
    guessed = likely_encoding(data, "utf-8")
    assert guessed is not None
    assert data.decode(guessed) == data.decode(encoding)


@pytest.mark.parametrize("language", ["japanese", "simplified", "korean"])
def test_a_sample_may_end_inside_a_character(language):
    encoding = {"japanese": "shift_jis", "simplified": "gb18030", "korean": "euc-kr"}[language]
    assert likely_encoding(TEXTS[language].encode(encoding)[:21], "utf-8") == encoding


def test_the_encoding_that_was_tried_is_not_guessed():
    assert likely_encoding(TEXTS["russian"].encode("koi8-r"), "koi8_r") != "koi8-r"
    assert likely_encoding(TEXTS["japanese of Windows"].encode("cp932"), "shift_jis") == "cp932"
    assert likely_encoding(TEXTS["german"].encode(), "latin-1") == "utf-8"
    assert likely_encoding(b"plain", "utf-16") == "utf-8"


@pytest.mark.parametrize(
    "data",
    [bytes(range(256)) * 4, bytes(range(128, 256)), b"one \xff byte in a longer English text", b"\x81\x8d\x8f\x90\x9d"],
    ids=repr,
)
def test_of_what_is_no_text_no_encoding_is_guessed(data):
    assert likely_encoding(data, "utf-8") is None


def test_a_text_of_utf_8_with_a_byte_too_many_is_damaged():
    assert is_damaged_utf8(TEXTS["german"].encode() * 2 + b"caf\xe9\n")
    assert not is_damaged_utf8(TEXTS["german"].encode("latin1", "ignore"))
    assert not is_damaged_utf8(b"plain \xff")
