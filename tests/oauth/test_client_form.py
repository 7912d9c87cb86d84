"""A form without encoded characters is read by a fast path with the same result as Python's parser."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agentidp.oauth.client_form import MAX_PARAMETERS, parse_pairs

PIECES = st.sampled_from(
    ["a", "grant_type", "1.0", "~", "=", "&", ";", "+", "%20", "%", "%ff", ":", "/", "-", "ä", "\n"]
)


def parsed(form: str) -> list[tuple[str, str]] | None:
    """Return the result of Python's parser; ``None`` if the parser refuses the form."""
    try:
        return parse_qsl(form, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except ValueError:
        return None


@given(st.lists(PIECES, max_size=12).map("".join))
@example("")
@example("a=b=c")
@example("a=&b=")
@example("a")
@example("&a=b")
@example("a=b\n")
@example("grant_type=client_credentials&resource=https://api.example:8443/a")
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_form_is_read_as_python_does(form: str) -> None:
    try:
        found = parse_pairs(form)
    except ValueError:
        found = None
    assert found == parsed(form)


@pytest.mark.parametrize("value", ["1", "%31"])
def test_it_may_have_fifty_parameters(value: str) -> None:
    form = "&".join(f"p{number}={value}" for number in range(MAX_PARAMETERS))
    assert parse_pairs(form) == [(f"p{number}", "1") for number in range(MAX_PARAMETERS)]
    with pytest.raises(ValueError, match="Max number of fields exceeded"):
        parse_pairs(f"{form}&more={value}")
