"""``make test-beyond`` repeats a failed test, and passes only if the failure does not come again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.beyond import MAX_REPEATED, RUNS, run

FAILING = """
from pathlib import Path
import pytest

@pytest.mark.parametrize("number", range({tests}))
def test_that_fails(number):
    runs = Path(f"runs-{{number}}")
    runs.write_text(runs.read_text() + "x" if runs.exists() else "x")
    assert len(runs.read_text()) not in {failing_runs}
"""
"""A test file whose tests fail in some of their runs."""


@pytest.mark.very_slow
@pytest.mark.parametrize(
    ("tests", "failing_runs", "code"),
    [
        (MAX_REPEATED, [1], 0),
        (1, [1, 1 + RUNS], 1),
        (MAX_REPEATED + 1, [1], 1),
    ],
)
def test_only_few_failures_that_do_not_come_again_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tests: int, failing_runs: list[int], code: int
) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]")
    (tmp_path / "test_file.py").write_text(FAILING.format(tests=tests, failing_runs=failing_runs))
    monkeypatch.chdir(tmp_path)
    assert run(["test_file.py"]) == code
