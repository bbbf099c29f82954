"""Guess the encoding of a text from some of its bytes, so that an error can suggest one.

A candidate must decode the bytes without an error. Its score is the share of characters beyond ASCII that are typical
of the languages that are written in it, relative to the share in real texts. The best score wins, if it is good.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

_LEAST_SCORE = 0.6
_LEAST_SHARE = 0.8  # of characters in UTF-16 that are typical of some language, or of valid sequences in damaged UTF-8
_LEAST_UTF_16 = 8  # bytes, from which a text in UTF-16 is recognised
_QUOTES = "«»‘’‚“”„–—…•"
_WESTERN = "äöüßÄÖÜéèêëàâáãåæçñíìîïóòôõøœúùûýÉÈÀÅÆØ€°§£©½¿¡" + _QUOTES
_CENTRAL = "ąćęłńóśźżĄĆĘŁŃÓŚŹŻáčďéěíňřšťúůýžÁČĎÉĚÍŇŘŠŤÚŮÝŽőűöüäßÖÜÄľĺŕôâîăşţđ§°" + _QUOTES
_TURKISH = "çğıöşüâîûÇĞİÖŞÜ" + _QUOTES
_BALTIC = "āčēģīķļņšūžąęėįųĀČŠŽ" + _QUOTES
_RUSSIAN = "оеаинтсрвлкмдпуяыьгзбчй" + _QUOTES
_UKRAINIAN = _RUSSIAN + "іїєґ"
_GREEK = "αοιετσνηυρπκμλςωγδθάίόέήύώ" + _QUOTES
_HEBREW = "אבגדהוזחטיכלמנסעפצקרשתךםןףץ" + _QUOTES
_ARABIC = "اليمونترعبهدسفةكقحجشأطصىذخغإءضظزثئؤآ،؟" + _QUOTES
_THAI = "านรอกเงมยลวดทสตะปบคหแจพชขใไโถศณึีัิุู่้็์ื"
_CJK_MARKS = "、。，．；：？！「」『』（）《》・ー　々" + _QUOTES
_KANA = "".join(map(chr, [*range(0x3041, 0x3097), *range(0x30A1, 0x30FB)]))
_KOREAN = "이다는의에을가를고하은도로지한서기시사리자나어그들아인만해라것수대과있"


class _Candidate(NamedTuple):
    """An encoding, with what is typical of its texts.

    typical  returns whether a character is
    share    the least share of such characters in real texts, of those beyond ASCII
    latin    most letters are in ASCII; in other scripts, few characters beyond ASCII are alone
    """

    encoding: str
    typical: Callable[[str], bool]
    share: float
    latin: bool = False


def _leads(char: str, encoding: str, first: int, last: int) -> bool:
    """Return whether the first byte of a character is in a range: that of the frequent ones in encodings of Chinese."""
    try:
        data = char.encode(encoding)
    except UnicodeEncodeError:
        return False
    return len(data) == 2 and first <= data[0] <= last


def _simplified(char: str) -> bool:
    return char in _CJK_MARKS or _leads(char, "gb2312", 0xB0, 0xD7)


def _traditional(char: str) -> bool:
    return char in _CJK_MARKS or _leads(char, "big5", 0xA4, 0xC6)


#: Where two encodings score the same, the earlier one wins: it is more common.
_CANDIDATES = (
    *(_Candidate(name, _WESTERN.__contains__, 1.0, True) for name in ("latin1", "cp1252", "macintosh", "cp850")),
    *(_Candidate(name, _CENTRAL.__contains__, 1.0, True) for name in ("cp1250", "iso8859-2")),
    _Candidate("cp1254", _TURKISH.__contains__, 1.0, True),
    _Candidate("cp1257", _BALTIC.__contains__, 1.0, True),
    *(_Candidate(name, _RUSSIAN.__contains__, 0.9) for name in ("cp1251", "koi8-r", "cp866", "iso8859-5")),
    _Candidate("koi8-u", _UKRAINIAN.__contains__, 0.9),
    *(_Candidate(name, _GREEK.__contains__, 0.8) for name in ("cp1253", "iso8859-7")),
    _Candidate("cp1255", _HEBREW.__contains__, 1.0),
    _Candidate("cp1256", _ARABIC.__contains__, 1.0),
    *(_Candidate(name, (_KANA + _CJK_MARKS).__contains__, 0.5) for name in ("shift_jis", "cp932", "euc-jp")),
    *(_Candidate(name, _KOREAN.__contains__, 0.3) for name in ("euc-kr", "cp949")),
    _Candidate("gb18030", _simplified, 0.8),
    _Candidate("big5", _traditional, 0.8),
    _Candidate("cp874", _THAI.__contains__, 1.0),
)


def likely_encoding(sample: bytes, tried: str) -> str | None:
    """Return the encoding that these bytes of a text most likely have; None if none is likely.

    tried: an encoding that it is not
    """
    tried = codecs.lookup(tried).name
    if b"\0" in sample:  # as in the line ends of UTF-16
        if tried.startswith("utf-16"):
            return None
        texts = {encoding: _decode(sample, encoding) for encoding in ("utf-16le", "utf-16be")}
        usual = (name for name, text in texts.items() if text and _share(text, _is_usual) >= _LEAST_SHARE)
        return next(usual, None) if len(sample) >= _LEAST_UTF_16 else None
    if tried != "utf-8" and _decode(sample, "utf-8") is not None:
        return "utf-8"
    others = (candidate for candidate in _CANDIDATES if codecs.lookup(candidate.encoding).name != tried)
    scored = [(_score(sample, candidate), candidate.encoding) for candidate in others]
    best, encoding = max(scored, key=lambda pair: pair[0])
    return encoding if best >= _LEAST_SCORE else None


def is_damaged_utf8(sample: bytes) -> bool:
    """Return whether nearly all bytes beyond ASCII are valid UTF-8."""
    beyond = [char for char in sample.decode("utf-8", "replace") if char > "\x7f"]
    return bool(beyond) and beyond.count("\ufffd") <= (1 - _LEAST_SHARE) * len(beyond)


def _decode(sample: bytes, encoding: str) -> str | None:
    """Return the text of a sample, which may end inside a character; None if it is not in this encoding."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeError:
        return None


def _share(text: str, typical: Callable[[str], bool]) -> float:
    return sum(map(typical, text)) / len(text)


def _is_usual(char: str) -> bool:
    """Return whether a character is usual in texts of some language."""
    ordinary = char in "\t\n\r" or " " <= char <= "~" or "가" <= char <= "힣"
    return ordinary or any(candidate.typical(char) for candidate in _CANDIDATES)


def _score(sample: bytes, candidate: _Candidate) -> float:
    text = _decode(sample, candidate.encoding) or ""
    runs = re.findall(r"[^\0-\x7f]+", text)
    beyond = "".join(runs)
    if not beyond or any(unicodedata.category(char) in ("Cc", "Cn", "Co") for char in beyond):
        return 0.0
    if sum(map(str.isalpha, beyond)) > len(text) / 3 if candidate.latin else len(beyond) < 2 * len(runs):
        return 0.0
    return min(1.0, _share(beyond, candidate.typical) / candidate.share)
