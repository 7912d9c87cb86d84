"""Text for people: the characters that it may contain, because others can forge lines on a terminal, and counts."""

from __future__ import annotations

import re

CONTROL = r"\u0000-\u001f\u007f-\u009f"
CONTROL_BUT_BREAKS = r"\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f"
INVISIBLE = r"\u00ad\u034f\u061c\u115f\u1160\u3164\uffa0\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
"""Invisible characters, separators of lines and paragraphs, and characters that change the direction of text.

U+180E, U+200C and U+200D are allowed, because Mongolian, Persian, the scripts of India and emoji need them.
"""

# Lone surrogates and tag characters. Patterns in schemas cannot exclude these characters, because many clients see each
# character above U+FFFF as two surrogates.
_IN_NO_SCHEMA = "\ud800-\udfff\U000e0000-\U000e007f"
_FORBIDDEN = re.compile(f"[{CONTROL}{INVISIBLE}{_IN_NO_SCHEMA}]")
_FORBIDDEN_IN_LINES = re.compile(f"[{CONTROL_BUT_BREAKS}{INVISIBLE}{_IN_NO_SCHEMA}]")


def text_refusal(text: str, *, is_multiline: bool = False) -> str | None:
    """Return the rule that *text* breaks, or ``None`` if it breaks none. *is_multiline* allows line breaks and tabs."""
    forbidden = (_FORBIDDEN_IN_LINES if is_multiline else _FORBIDDEN).search(text)
    if forbidden is None:
        return None
    return (
        f"must not contain U+{ord(forbidden[0]):04X}: no control characters, no lone surrogates, and no characters "
        "that are invisible or change the direction of text"
    )


def format_count(count: float, noun: str) -> str:
    """Return a count with its noun, such as ``1 token`` or ``2,000 tokens``. *noun* is in the singular."""
    digits = f"{count:,.0f}"
    return f"{digits} {noun}{'' if digits == '1' else 's'}"


def in_one_line(text: str) -> str:
    """Replace each sequence of forbidden characters and blanks by a single blank."""
    return " ".join(_FORBIDDEN.sub(" ", text).split())


def printable(text: str, *, is_multiline: bool = False) -> str:
    r"""Replace forbidden characters by JSON escapes (``\u202e``), so that text is safe to print. JSON stays valid."""
    return (_FORBIDDEN_IN_LINES if is_multiline else _FORBIDDEN).sub(lambda match: _escape_character(match[0]), text)


def _escape_character(character: str) -> str:
    code_units = character.encode("utf-16-be", "surrogatepass").hex(" ", 2).split()
    return "".join(f"\\u{code_unit}" for code_unit in code_units)
