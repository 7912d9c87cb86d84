"""``make test-beyond`` repeats a failed test, and passes only if the failure does not come again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.beyond import MAX_REPEATED, RUNS, run, run_possible
from tests.conftest import EXIT_CODE_IF_SKIPPED, NOTHING_SKIPPED
from tests.factories import ROOT

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


@pytest.fixture(autouse=True)
def in_another_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run pytest with only the plugin that it needs, because the others take a second to start."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p xdist")
    (tmp_path / "pytest.ini").write_text("[pytest]")
    monkeypatch.chdir(tmp_path)


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
    tmp_path: Path, tests: int, failing_runs: list[int], code: int
) -> None:
    (tmp_path / "test_file.py").write_text(FAILING.format(tests=tests, failing_runs=failing_runs))
    assert run(["test_file.py"]) == code


@pytest.mark.very_slow
def test_a_failed_comparison_of_counts_is_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "tests" / "faults").mkdir(parents=True)
    (tmp_path / "tests" / "faults" / "test_file.py").write_text(FAILING.format(tests=1, failing_runs=[1]))
    assert run(["tests"]) == pytest.ExitCode.TESTS_FAILED


@pytest.mark.very_slow
def test_a_skipped_test_fails_the_run_also_if_a_failed_one_passes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skipped = "\n@pytest.mark.skip\ndef test_that_is_skipped():\n    pass\n"
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_sessionfinish")
    (tmp_path / "test_file.py").write_text(FAILING.format(tests=1, failing_runs=[1]) + skipped)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert run(["test_file.py"]) == EXIT_CODE_IF_SKIPPED


@pytest.mark.very_slow
@pytest.mark.parametrize(("nothing_skipped", "code"), [("1", EXIT_CODE_IF_SKIPPED), ("", 0)])
def test_tests_that_are_left_out_fail_the_run_where_all_must_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_skipped: str, code: int
) -> None:
    (tmp_path / "test_file.py").write_text(FAILING.format(tests=1, failing_runs=[]))
    monkeypatch.setenv(NOTHING_SKIPPED, nothing_skipped)
    assert run_possible("not node", ["test_file.py"], {"citus": "No Citus is installed."}) == code
