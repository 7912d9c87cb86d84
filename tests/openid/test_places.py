"""Who gets a place for exchanging a code."""

from __future__ import annotations

from datetime import timedelta

from agentidp.openid.places import (
    FAILED_FOR,
    MAX_REMEMBERED,
    PLACES,
    PLACES_OF_FAILED_NETWORKS,
    PLACES_PER_NETWORK,
    Places,
)
from tests.factories import NOON


def fail(places: Places, network: int) -> None:
    """A code of a network is refused."""
    assert places.reserve_thread(network, NOON)
    places.release_thread(network, NOON, has_failed=True)


def taken(places: Places, *networks: int, later: timedelta = timedelta()) -> list[bool]:
    """Return whether each of the networks gets a place, one after the other."""
    return [places.reserve_thread(network, NOON + later) for network in networks]


class TestPlaces:
    """A few for each, and half of them for who has not failed."""

    def test_a_site_has_few_and_all_together_have_few(self) -> None:
        places = Places()
        assert taken(places, *[1] * (PLACES_PER_NETWORK + 1)) == [True] * PLACES_PER_NETWORK + [False]
        assert taken(places, 2, 3, 4) == [True] * (PLACES - PLACES_PER_NETWORK) + [False]
        places.release_thread(1, NOON, has_failed=False)
        assert taken(places, 5, 6) == [True, False]

    def test_sites_that_have_failed_leave_half_to_others(self) -> None:
        places = Places()
        for network in range(4):
            fail(places, network)
        assert taken(places, 0, 1, 2) == [True] * PLACES_OF_FAILED_NETWORKS + [False]
        assert taken(places, 7, 8) == [True, True]

    def test_a_success_or_time_makes_it_good(self) -> None:
        places = Places()
        for network in range(4):
            fail(places, network)
        assert places.reserve_thread(2, NOON)
        places.release_thread(2, NOON, has_failed=False)
        assert taken(places, 0, 1, 2, 3) == [True, True, True, False]
        places = Places()
        for network in range(3):
            fail(places, network)
        assert taken(places, 0, 1, 2, later=FAILED_FOR) == [True, True, True]

    def test_finding_no_place_twice_is_a_failure(self) -> None:
        places = Places()
        fail(places, 1)
        fail(places, 2)
        assert taken(places, 11, 12, 13, 14, 15, 16, 16) == [True] * PLACES + [False] * 3
        for network in (11, 12, 13, 14):
            places.release_thread(network, NOON, has_failed=False)
        assert taken(places, 1, 2, 16, 15) == [True, True, False, True]

    def test_finding_no_place_beside_one_s_own_is_none(self) -> None:
        places = Places()
        fail(places, 1)
        assert taken(places, 11, 11, 11, 11, 1) == [True, True, False, False, True]

    def test_so_many_are_remembered(self) -> None:
        places = Places()
        for network in (*range(MAX_REMEMBERED), 0, MAX_REMEMBERED):
            fail(places, network)
        # The one whose failure is longest ago is not.
        assert taken(places, 0, 2, 3, 1) == [True, True, False, True]
