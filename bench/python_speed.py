"""How fast a Python is. Run by each Python of the machine as a script: ``python3.13 bench/python_speed.py``.

Debian's configuration does not say that its Python was built with profile-guided optimization, so it is measured.
"""

from __future__ import annotations

import time

DICTIONARIES = 20_000
ATTEMPTS = 20


def loop_time() -> float:
    """Seconds of processor time that 20,000 small dictionaries take, the least of some attempts.

    A Python that was built without optimization takes about three quarters more.
    """
    times = []
    for _ in range(ATTEMPTS):
        begin = time.thread_time()
        for number in range(DICTIONARIES):
            made = {"number": number, "text": str(number)}
            len(made)
        times.append(time.thread_time() - begin)
    return min(times)


if __name__ == "__main__":
    print(loop_time())
