"""Writes ``vectors.json.gz``: 10,000 published buckets, computed without Truelift's own code.

    python tests/designs/make_vectors.py          write the file
    python tests/designs/make_vectors.py --check  compare it with what would be written

The file is a promise to every later release and to every other language: never edit it, never
regenerate it with other contents. Form: ``{"vectors": [{"salt", "id", "bucket"}, …], "normalised":
[{"salt", "raw", "nfc", "bucket"}, …]}``; ids under ``vectors`` are NFC already, as engines hold
them; ``raw`` under ``normalised`` is not.
"""

import gzip
import hashlib
import io
import json
import random
import sys
import unicodedata
from pathlib import Path

FILE = Path(__file__).with_name("vectors.json.gz")
COUNT = 10_000

SALTS = (
    "arm:womens-email-2008",
    "rollout:womens-email-2008",
    "layer:email",
    "holdout:global",
    "arm:a",
    "arm:été-2026",
    'arm:it\'s "quoted" \\ back',
    "arm:実験",
)

HAND_PICKED = (
    "0", "7", "07", "007", "0007", "1e5", "1E5", "100000", "1e400", "1_000", "1000", "-1",
    "+1", "-0", "0.0", "1.0", "1.10", "0x1F", "12345678901234567", "12345678901234568",
    "NaN", "nan", "inf", "null", "NULL", "None", "NA", "true", "True", "no", "=1+1",
    "@SUM(A1)", " ", "  ", " a", "a ", "a b", "\ta", "a\nb", "a\r\nb", "\u00a0", "\u200b",
    "\ufeff", "'", "''", '"', '""', "\\", "\\\\", "\\n", "$1", "%s", "%", "_", ";", "--",
    "x'; drop table assignments;--", "$$", "E'\\x00'", "{{7*7}}", "${a}",
    "<script>alert(1)</script>", "a\x1fb", "\x1f", "\x01", "\x7f", "e\u0327\u0301", "é",
    "ǅ", "ß", "ẞ", "İ", "ı", "ﬁ", "Å", "ñandú", "Straße", "ΑΒΓ", "σς", "Привет", "日本語",
    "한국어", "ไทย", "हिन्दी", "தமிழ்", "ქართული", "עברית", "العربية", "فارسی", "שָׁלוֹם",
    "\u202eabc\u202c", "\u200fabc", "👍", "👍🏽", "👩‍👩‍👧‍👦", "🇩🇪", "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "❤️", "❤", "𝕏", "𐍈", "\U0010fffd", "\ud7ff", "\ue000", "a@example.org",
    "A@EXAMPLE.ORG", "+491701234567", "00491701234567",
    "550e8400-e29b-41d4-a716-446655440000", "customer:1", "C-000001",
)  # fmt: skip

DECOMPOSED = (
    "é", "Å", "ñ", "ü", "Straße é", "ế", "ḱ", "한국어", "각", "が", "ὦ", "й", "ệ", "ά",
    "ö̲", "Ω", "K", "豈", "क़", "שּׁ", "q̣̇", "ș̦", "ṩ", "Amélie", "Zoë", "naïve", "Łódź",
    "Dvořák",
)  # fmt: skip

ALPHABETS = (
    "0123456789",
    "0123456789abcdef",
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.",
    " '\"\\;,:/|%$#@!?&=+*~^`<>()[]{}\t",
    "äöüßéèêñçøåæœÄÖÜÉÈÊÑÇØÅÆŒ",
    "абвгдежзиклмнопрстуфхцчшщыэюя",
    "αβγδεζηθικλμνξοπρστυφχψω",
    "日本語漢字仮名交文東京大阪",
    "가나다라마바사아자차카타파하",
    "אבגדהוזחטיכלמנסעפצקרשת",
    "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
    "กขคงจฉชซดตถทนบปผพฟมยรลวสห",
    "😀😁😂🤣🚀🎉👍👎🔥💡🐍🦆🍕🏁",
    "e\u0301a\u0300o\u0302u\u0308n\u0303c\u0327",
)


def expected(salt: str, unit_id: str) -> int:
    """Number of the first 15 hex digits, put together from bytes on purpose."""
    data = salt.encode("utf-8") + b"\x1f" + unit_id.encode("utf-8")
    number = int.from_bytes(hashlib.sha256(data).digest()[:8], "big")
    return number >> 4


def fit_bytes(text: str, limit: int) -> str:
    """Longest beginning of a text whose UTF-8 form has at most ``limit`` bytes."""
    return text.encode()[:limit].decode(errors="ignore")


def ids() -> list[str]:
    draw = random.Random(20080320)
    chosen = [unicodedata.normalize("NFC", text) for text in HAND_PICKED + DECOMPOSED]
    chosen += [f"{number:0{width}d}" for width in (1, 8, 17) for number in range(1, 700)]
    chosen += [fit_bytes("long-" + alphabet[:1] * 10_240, 10_240) for alphabet in ALPHABETS]
    chosen += [str(index) * (10_240 // len(str(index))) for index in range(10)]
    seen = set(chosen)
    while len(seen) < COUNT:
        alphabet = draw.choice(ALPHABETS)
        length = draw.choice((1, 2, 3, 5, 8, 13, 21, 34, 64, 255))
        text = "".join(draw.choice(alphabet) for _ in range(length))
        if draw.random() < 0.2:
            text += draw.choice(draw.choice(ALPHABETS))
        text = unicodedata.normalize("NFC", text)
        if text not in seen:
            chosen.append(text)
            seen.add(text)
    return list(dict.fromkeys(chosen))


def document() -> dict[str, list[dict[str, object]]]:
    vectors = []
    for index, unit_id in enumerate(ids()):
        salt = SALTS[index % len(SALTS)]
        vectors.append({"salt": salt, "id": unit_id, "bucket": expected(salt, unit_id)})
    pairs = []
    for text in DECOMPOSED:
        nfc = unicodedata.normalize("NFC", text)
        for form in ("NFC", "NFD"):
            raw = unicodedata.normalize(form, text)
            pairs.append(
                {"salt": SALTS[0], "raw": raw, "nfc": nfc, "bucket": expected(SALTS[0], nfc)}
            )
    return {"vectors": vectors, "normalised": pairs}


def packed() -> bytes:
    text = json.dumps(document(), ensure_ascii=True, separators=(",", ":"))
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as stream:
        stream.write(text.encode())
    return buffer.getvalue()


def stored() -> dict[str, list[dict[str, object]]]:
    loaded: dict[str, list[dict[str, object]]] = json.loads(gzip.decompress(FILE.read_bytes()))
    return loaded


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if stored() == document() else "vectors.json.gz differs from its generator")
    FILE.write_bytes(packed())
    print(f"{FILE}: {len(document()['vectors'])} vectors")
