"""What the JSON Web Tokens that we read have in common (RFC 7519)."""

from __future__ import annotations

from datetime import UTC, datetime

NUMERIC_DATE_LIMIT = int(datetime.max.replace(tzinfo=UTC).timestamp())
"""The greatest NumericDate (RFC 7519 section 2) that :class:`datetime.datetime` knows."""
