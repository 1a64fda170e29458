"""How many rows a text file holds, counted apart from the parser that reads it.

A fast parser may pass over a line that does not fit its buffer. Here line ends, quotes and
brackets alone are followed, block by block, so that the parser's count has something to be held
against; lines that are too long and JSON that is nested too deep are met before they are parsed.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Protocol

import numpy as np

DEEPEST = 100
"""Levels of lists and objects within each other."""
LONGEST_LINE = 1_000_000
"""Bytes of a line."""
_QUOTE = ord('"')
_ESCAPED = re.compile(rb"\\.", re.DOTALL)


def _table(text: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    found = np.zeros(256, dtype=np.bool_)
    found[[ord(sign) for sign in text]] = True
    return found


_CSV_SIGNS = _table('"\r\n')
_JSON_SIGNS = _table('"[]{}')
_STEPS = np.zeros(256, dtype=np.int8)
_STEPS[[ord("["), ord("{")]] = 1
_STEPS[[ord("]"), ord("}")]] = -1


class Scan(Protocol):
    """Follows a file; :attr:`rows` is what it found once the last block was taken in."""

    rows: int

    def take(self, block: bytes) -> None:
        """Take in the next block."""


class CsvScan:
    """Lines outside quotes that are not blank, and the longest line of all."""

    def __init__(self) -> None:
        self.rows = 0
        self.longest = 0
        self._in_quotes = False
        self._since_line = 0
        self._since_row = 0

    def take(self, block: bytes) -> None:
        """Take in the next block; an empty one ends the last line."""
        if not block:
            self.rows += self._since_row > 0
            self._since_row = 0
            return
        signs = np.frombuffer(block, np.uint8)
        places = np.flatnonzero(_CSV_SIGNS[signs])
        quotes = signs[places] == _QUOTE
        quoted = (np.cumsum(quotes) + self._in_quotes) % 2 == 1
        lines, rows = places[~quotes], places[~quotes & ~quoted]
        self._in_quotes = bool(quoted[-1]) if quoted.size else self._in_quotes
        gaps = np.diff(lines, prepend=-1 - self._since_line) - 1
        self._since_line = _rest(lines, block, self._since_line)
        self.longest = max(self.longest, int(gaps.max(initial=0)), self._since_line)
        self.rows += int(np.count_nonzero(np.diff(rows, prepend=-1 - self._since_row) > 1))
        self._since_row = _rest(rows, block, self._since_row)


def _rest(places: np.ndarray[tuple[int], np.dtype[np.intp]], block: bytes, before: int) -> int:
    """Bytes since the last of these places, which may lie in an earlier block."""
    return len(block) - 1 - int(places[-1]) if places.size else before + len(block)


class JsonScan:
    """Objects at a level, and how deep anything is nested."""

    def __init__(self, level: int) -> None:
        self.rows = 0
        self.deepest = 0
        self._level = level
        self._depth = 0
        self._in_text = False
        self._cut = b""

    def take(self, block: bytes) -> None:
        """Take in the next block."""
        block = _ESCAPED.sub(b"__", self._cut + block)
        self._cut = b"\\" if block.endswith(b"\\") else b""
        signs = np.frombuffer(block, np.uint8)
        signs = signs[_JSON_SIGNS[signs]]
        in_text = (np.cumsum(signs == _QUOTE) + self._in_text) % 2 == 1
        steps = np.where(in_text, 0, _STEPS[signs])
        depths = self._depth + np.cumsum(steps, dtype=np.int64)
        if depths.size:
            self.rows += int(np.count_nonzero((steps == 1) & (depths == self._level)))
            self.deepest = max(self.deepest, int(depths.max()))
            self._depth, self._in_text = int(depths[-1]), bool(in_text[-1])


def exact_csv_rows(path: Path, delimiter: str) -> int:
    """Rows of a CSV file without its header, by a slow parser that is not the engine's.

    A quote within an unquoted field is a letter like any other; counting quotes cannot know that.
    """
    csv.field_size_limit(LONGEST_LINE * 100)
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return sum(1 for row in csv.reader(stream, delimiter=delimiter) if row) - 1
