"""Leader and followers: who leads, and when the lead changes; without gunicorn."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from agentidp.server import leadership
from agentidp.server.leadership import Leadership
from tests.factories import wait_until


class Shop:
    """Serves what is put into a queue, and notes which thread did and whether it led afterwards."""

    def __init__(self, most: int) -> None:
        self.work: queue.Queue[Callable[[], None]] = queue.Queue()
        self.waiting = 0
        self.most_waiting = 0
        self.set_aside = 0
        self.done: list[tuple[str, bool]] = []
        self.leadership = Leadership(self._lead, self._set_aside, most)

    def _set_aside(self) -> None:
        self.set_aside += 1

    def _lead(self) -> None:
        while self.leadership.leads():
            self.waiting += 1
            self.most_waiting = max(self.most_waiting, self.waiting)
            piece = self.work.get()
            self.waiting -= 1
            begin = self.leadership.begin()
            piece()
            still_leads = self.leadership.finish(begin)
            self.done.append((threading.current_thread().name, still_leads))

    def threads(self) -> list[str]:
        """Who has served, in the order of the ends."""
        return [name for name, _ in self.done]

    def watch_until(self, condition: Callable[[], bool]) -> None:
        """Do what the main thread does until *condition* is true."""
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            self.leadership.watch()


@contextmanager
def opened(most: int) -> Iterator[Shop]:
    shop = Shop(most)
    shop.leadership.start()
    yield shop
    shop.leadership.end()
    shop.work.put(lambda: None)


@pytest.fixture
def endless_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, a piece of work is short."""
    monkeypatch.setattr(leadership, "PATIENCE", 60.0)


@pytest.mark.usefixtures("endless_patience")
def test_short_work_is_done_by_one_thread() -> None:
    with opened(most=4) as shop:
        for _ in range(200):
            shop.work.put(lambda: None)
        wait_until(lambda: len(shop.done) == 200)
        assert set(shop.done) == {("server-0", True)}
        assert shop.set_aside == 0
        assert len([thread for thread in threading.enumerate() if thread.name == "server-1"]) == 0


def test_slow_work_gives_the_lead_to_another_thread_once() -> None:
    release = threading.Event()
    with opened(most=4) as shop:
        shop.work.put(lambda: release.wait(20) and None)
        shop.watch_until(lambda: shop.set_aside == 1)
        shop.work.put(lambda: None)
        wait_until(lambda: shop.threads() == ["server-1"])
        release.set()
        wait_until(lambda: ("server-0", False) in shop.done)
        assert shop.set_aside == 1


def test_the_thread_that_stood_by_last_leads_next() -> None:
    first, second = threading.Event(), threading.Event()
    with opened(most=2) as shop:
        shop.work.put(lambda: first.wait(20) and None)
        shop.watch_until(lambda: shop.set_aside == 1)
        first.set()
        wait_until(lambda: shop.done == [("server-0", False)])
        shop.work.put(lambda: second.wait(20) and None)
        # There is room for two threads only: it is the first one again.
        shop.watch_until(lambda: shop.set_aside == 2)
        shop.work.put(lambda: None)
        wait_until(lambda: shop.threads() == ["server-0", "server-0"])
        second.set()
        wait_until(lambda: ("server-1", False) in shop.done)


def test_if_all_threads_are_busy_the_first_that_is_free_leads_without_being_told() -> None:
    events = [threading.Event() for _ in range(2)]
    with opened(most=2) as shop:
        shop.work.put(lambda: events[0].wait(20) and None)
        shop.watch_until(lambda: shop.set_aside == 1)
        shop.work.put(lambda: events[1].wait(20) and None)
        wait_until(lambda: shop.leadership.is_overdue(leadership.PATIENCE))
        for _ in range(3):
            shop.leadership.watch()
        assert shop.set_aside == 1
        shop.work.put(lambda: None)
        events[0].set()
        # The main thread does not look meanwhile.
        wait_until(lambda: shop.threads() == ["server-0", "server-0"])
        events[1].set()
        wait_until(lambda: len(shop.done) == 3)


def test_if_most_are_slow_the_lead_is_given_before_the_next_ones_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(number: int) -> None:
        wanted = len(shop.done) + number
        for _ in range(number):
            shop.work.put(lambda: None)
        wait_until(lambda: len(shop.done) == wanted)

    # The main thread does not look in this test.
    with opened(most=4) as shop:
        monkeypatch.setattr(leadership, "PATIENCE", 60.0)
        serve(5 * leadership.TRIAL + 7)
        monkeypatch.setattr(leadership, "PATIENCE", 0.0)
        serve(leadership.TRIAL - 7 + leadership.TRIAL)
        # The first of these trials had seven short ones of sixteen, so most were slow.
        assert shop.set_aside == leadership.TRIAL
        monkeypatch.setattr(leadership, "PATIENCE", 60.0)
        serve(leadership.FIRST_SPAN + 3 * leadership.TRIAL)
        assert shop.set_aside == leadership.FIRST_SPAN
        assert all(still_leads for _, still_leads in shop.done[-leadership.TRIAL :])


def test_while_trials_fail_the_spans_become_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leadership, "PATIENCE", 0.0)
    monkeypatch.setattr(leadership, "LAST_SPAN", 128)
    expected, served = 0, 0
    with opened(most=4) as shop:
        for span in (32, 64, 128, 128):
            for _ in range(leadership.TRIAL + span):
                shop.work.put(lambda: None)
            expected, served = expected + span, served + leadership.TRIAL + span
            wait_until(lambda served=served: len(shop.done) == served)
            assert shop.set_aside == expected


def test_who_lost_the_lead_at_the_very_beginning_takes_it_from_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leadership, "PATIENCE", 0.0)
    with opened(most=4) as shop:
        for _ in range(leadership.TRIAL):
            shop.work.put(lambda: None)
        wait_until(lambda: len(shop.done) == leadership.TRIAL)
        # The leader is about to hand over before it serves, and waits for the lock that the main thread has.
        with shop.leadership._turn:
            shop.work.put(lambda: None)
            wait_until(lambda: shop.leadership.is_overdue(0))
            shop.leadership._hand_over()
        wait_until(lambda: len(shop.done) == leadership.TRIAL + 1)
        assert shop.set_aside == 1


def test_there_is_never_more_than_one_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leadership, "PATIENCE", 0.0005)
    with opened(most=6) as shop:
        for number in range(3000):
            shop.work.put((lambda: time.sleep(0.001)) if number % 7 == 0 else (lambda: None))
        shop.watch_until(lambda: len(shop.done) == 3000)
        assert shop.most_waiting == 1
        assert shop.set_aside > 50


def test_the_main_thread_sleeps_while_nothing_is_served_and_wakes_for_what_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leadership, "NAP", 30.0)
    release, looks = threading.Event(), 0
    with opened(most=2) as shop:

        def count() -> bool:
            nonlocal looks
            looks += 1
            return len(shop.done) == 1

        # The first piece wakes the main thread, which gives the lead to another; the second one wakes it again.
        timers = [
            threading.Timer(0.5, lambda: shop.work.put(lambda: release.wait(20) and None)),
            threading.Timer(1.0, lambda: shop.work.put(lambda: None)),
        ]
        for timer in timers:
            timer.start()
        shop.watch_until(count)
        assert shop.threads() == ["server-1"]
        assert looks < 50
        release.set()
        for timer in timers:
            timer.join()


def test_what_a_leader_raises_reaches_the_main_thread() -> None:
    def broken() -> None:
        raise ZeroDivisionError

    with opened(most=2) as shop:
        shop.work.put(broken)
        shop.watch_until(lambda: shop.leadership.has_ended)
        assert isinstance(shop.leadership.failure, ZeroDivisionError)
