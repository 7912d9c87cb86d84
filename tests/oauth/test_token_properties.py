"""Whatever stands in the token form and the Basic header: an answer of RFC 6749, and no token for a wrong secret."""

from __future__ import annotations

import base64
import itertools
import re
from typing import Any
from urllib.parse import quote, quote_from_bytes

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from agentidp.oauth import client_assertion
from tests.conftest import Cast
from tests.routes import CLIENT_PATHS

pytestmark = pytest.mark.slow

ERRORS = {
    400: {
        "invalid_request",
        "invalid_scope",
        "invalid_target",
        "invalid_dpop_proof",
        "unauthorized_client",
        "unsupported_grant_type",
    },
    401: {"invalid_client"},
    413: {"invalid_request"},
}
"""Status -> the error codes of RFC 6749 section 5.2, RFC 8707 section 2 and RFC 9449 section 5."""

TOKEN_REQUEST = b"grant_type=client_credentials&token=x"
DESCRIPTION = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+")
BOUNDED = settings(
    max_examples=300,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
_numbers = itertools.count()


def send(client: FlaskClient, path: str, body: bytes, authorization: bytes | None) -> TestResponse:
    """A form whose bytes are exactly these, a second after the one before and from another address, so that no
    throttle answers.
    """
    number = next(_numbers)
    client.application.extensions["agentidp"].clock.advance(seconds=1)
    environ = {"REMOTE_ADDR": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"}
    if authorization is not None:
        # In WSGI, each byte of a header is one character (PEP 3333).
        environ["HTTP_AUTHORIZATION"] = authorization.decode("latin-1")
    form = "application/x-www-form-urlencoded"
    return client.post(path, data=body, content_type=form, environ_overrides=environ)


def assert_is_an_error(response: TestResponse) -> None:
    """The answer is an error of the RFCs, whole."""
    assert response.status_code in ERRORS, (response.status_code, response.json)
    body: dict[str, Any] = response.json
    assert set(body) == {"error", "error_description"}
    assert body["error"] in ERRORS[response.status_code]
    assert DESCRIPTION.fullmatch(body["error_description"])
    assert response.headers["Cache-Control"] == "no-store"
    assert ("WWW-Authenticate" in response.headers) == (response.status_code == 401)


raw = st.binary(max_size=60) | st.text(max_size=30).map(lambda text: text.encode("utf-8", "surrogatepass"))
huge = st.integers(1, 70_000).map(lambda length: b"a" * length)
good = st.sampled_from(
    [
        b"client_credentials",
        b"agents:read",
        b"http://localhost:3000/api/v1",
        b"https://nowhere.example",
        client_assertion.TYPE.encode(),
        b"eyJhbGciOiJub25lIn0.e30.",
        b"eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIiwiaXNzIjoiYSJ9.AAAA",
    ]
)
values = raw | good | st.sampled_from([b"\x00", b"\xff", b"\xed\xa0\x80", b"' or '1'='1", b'"\\'])
names = st.sampled_from(
    [
        b"grant_type",
        b"scope",
        b"resource",
        b"client_id",
        b"client_secret",
        b"client_assertion",
        b"client_assertion_type",
        b"token",
        b"token_type_hint",
    ]
)
# Percent-encoded as it should be, in part, or not at all.
encodings = st.sampled_from([quote_from_bytes, lambda value: quote(value.decode("latin-1"), safe="&=;%+"), None])


@st.composite
def parameters(draw: st.DrawFn) -> bytes:
    """A form that is nearly right, with a few parameters that are not."""
    pairs = [(b"grant_type", draw(st.just(b"client_credentials") | values))]
    pairs += draw(st.lists(st.tuples(names | raw, values), max_size=5, unique_by=lambda pair: pair[0]))
    is_right = draw(st.booleans())
    if draw(st.integers(0, 20)) == 0:
        pairs.append((draw(names), draw(huge)))
    if draw(st.integers(0, 5)) == 0:
        pairs += pairs
    written = []
    for name, value in draw(st.permutations(pairs)):
        encode = quote_from_bytes if is_right else draw(encodings)
        written.append(name + b"=" + (encode(value).encode() if encode else value))
    return b"&".join(written)


# In UTF-8, each parameter once: these get as far as each parameter's own rules.
texts = st.text(st.characters(codec="utf-8"), max_size=20) | st.text('ab:/ #"\\', max_size=8)
well_formed = st.tuples(
    st.just(b"grant_type=client_credentials&token=x"),
    st.dictionaries(names.filter(lambda name: name not in (b"grant_type", b"token")), texts.map(str.encode) | good),
).map(lambda parts: parts[0] + b"".join(b"&%s=%s" % (n, quote_from_bytes(v).encode()) for n, v in parts[1].items()))

forms = parameters() | well_formed | st.binary(max_size=200)


@st.composite
def basic_headers(draw: st.DrawFn) -> bytes:
    """Generate a header that is nearly valid HTTP Basic."""
    scheme = draw(st.sampled_from([b"Basic", b"basic", b"BASIC", b"Bearer", b"DPoP", b""]))
    credentials = draw(raw) + draw(st.sampled_from([b":", b"", b"%3A", b"::"])) + draw(raw | huge)
    encoded = draw(st.sampled_from([base64.b64encode, base64.urlsafe_b64encode, bytes]))(credentials)
    return scheme + draw(st.sampled_from([b" ", b"  ", b"", b"\t", b","])) + encoded


@given(path=st.sampled_from(CLIENT_PATHS), body=forms, header=st.none() | basic_headers() | raw)
@BOUNDED
def test_nothing_but_a_secret_gets_anything(
    shared_client: FlaskClient, path: str, body: bytes, header: bytes | None
) -> None:
    assert_is_an_error(send(shared_client, path, body, header))


@given(path=st.sampled_from(CLIENT_PATHS), secret=raw.filter(bool) | huge, is_basic=st.booleans())
@BOUNDED
def test_no_wrong_secret_of_an_agent_gets_anything(
    shared_client: FlaskClient, shared_cast: Cast, path: str, secret: bytes, is_basic: bool
) -> None:
    client_id = shared_cast.acme.client_id.encode()
    if is_basic:
        header = b"Basic " + base64.b64encode(client_id + b":" + secret)
        response = send(shared_client, path, TOKEN_REQUEST, header)
    else:
        secret_post = b"&client_id=" + client_id + b"&client_secret=" + quote_from_bytes(secret).encode()
        response = send(shared_client, path, TOKEN_REQUEST + secret_post, None)
    assert_is_an_error(response)
