"""The characters that text may contain, and the escapes for other characters."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest

from agentidp.http.text import printable, text_refusal

EXPLICIT_DIRECTIONS = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}


def test_no_character_that_ends_a_line_or_changes_the_direction_of_text_is_allowed() -> None:
    allowed = [
        character
        for character in map(chr, range(sys.maxunicode + 1))
        if text_refusal(character) is None
        and (
            unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
            or unicodedata.bidirectional(character) in EXPLICIT_DIRECTIONS
            or character in "\u061c\u200e\u200f"
        )
    ]
    assert allowed == []


@pytest.mark.parametrize("text", ["Größe", "資料", "👩\u200d💻", "می\u200cکنم", "क्\u200dष", "a\u00a0b", "☁\ufe0f"])
def test_what_languages_and_emoji_need_is_allowed_and_printed_as_it_is(text: str) -> None:
    assert (text_refusal(text), printable(text)) == (None, text)


def test_json_that_is_printed_is_the_same_json() -> None:
    text = "a\u202eb\u2028\x7f\U000e0041 \\u202e \n"
    shown = printable(json.dumps(text, ensure_ascii=False))
    assert shown == r'"a\u202eb\u2028\u007f\udb40\udc41 \\u202e \n"'
    assert json.loads(shown) == text
