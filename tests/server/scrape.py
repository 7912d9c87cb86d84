"""A server that serves metrics, and functions that read the metrics."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.factories import PATIENCE, SECRET_KEY, ServerWithoutLauncher, children, free_port, wait_until


class MeteredServer(ServerWithoutLauncher):
    """A server on a database, with metrics on a separate port."""

    def __init__(self, database_url: str, **changes: str) -> None:
        self.metrics_port = free_port()
        self.metrics_address = f"127.0.0.1:{self.metrics_port}"
        super().__init__(
            {
                "AGENTIDP_DATABASE_URL": database_url,
                "AGENTIDP_SECRET_KEY": SECRET_KEY,
                "AGENTIDP_METRICS_ADDRESS": self.metrics_address,
                **changes,
            }
        )

    def scrape(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """Return every sample by its name and labels."""
        with urllib.request.urlopen(f"http://{self.metrics_address}/metrics", timeout=PATIENCE) as response:
            page = response.read().decode()
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the samples with *labels*; 0 if there are none."""
        return sum(
            value
            for (found, its), value in self.scrape().items()
            if found == name and labels.items() <= dict(its).items()
        )

    def metrics_process(self) -> int:
        """Return the ID of the process that serves the metrics, from the log."""
        wait_until(lambda: "metrics are served" in self.logs())
        [line] = [json.loads(line) for line in self.logs().splitlines() if "metrics are served" in line]
        return int(line["pid"])

    def workers(self) -> list[int]:
        return [pid for pid in children(self.main_process(), "gunicorn") if pid != self.metrics_process()]

    def metrics_directory(self) -> Path:
        """Return the directory of the workers' metrics files."""
        # A worker that still starts has not opened its files.
        wait_until(self._directories_of_open_files)
        [directory] = self._directories_of_open_files()
        return directory

    def _directories_of_open_files(self) -> set[Path]:
        maps = [line for pid in self.workers() for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
        return {Path(line.split()[-1]).parent for line in maps if "agentidp-metrics-" in line}
