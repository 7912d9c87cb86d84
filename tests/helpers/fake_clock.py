"""Sets the clock of another process with libfaketime."""

from __future__ import annotations

from pathlib import Path

[LIBFAKETIME] = list(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")) or ["install the Debian package faketime"]


class FakeClock:
    """The clock of a process and its children, which a test sets while the processes run."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)
        self.environment = {
            "LD_PRELOAD": str(LIBFAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, seconds_ahead: int) -> None:
        """Set the clock. The next reading of the clock shows the new time."""
        draft = self._file.with_suffix(".draft")
        draft.write_text(f"{seconds_ahead:+d}s\n")
        draft.replace(self._file)
