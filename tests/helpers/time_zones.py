"""Runs statements in sessions of other time zones."""

from __future__ import annotations

from agentidp.services import Services

ZONES = ("UTC", "America/New_York", "Asia/Kolkata", "Pacific/Kiritimati")


def session_time_zone(services: Services) -> str:
    with services.database.pool.connection() as connection:
        [(zone,)] = connection.execute("show timezone").fetchall()
    return str(zone)


def with_options(url: str, **options: str) -> str:
    chosen = "%20".join(f"-c%20{name}%3D{value.replace(' ', '')}" for name, value in options.items())
    return f"{url}{'' if url.endswith('?') else '&'}options={chosen}"
