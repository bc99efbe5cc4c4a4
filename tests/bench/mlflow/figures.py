"""What was measured: per figure and server a median with the smallest and largest; kept as JSON, shown as tables."""

import contextlib
import datetime
import json
import os
import pathlib
import platform
import re

from load import spread

SERVERS = ("mlflow", "tapline")
# What tapline is meant to reach: so many times what MLflow's server does, or at most so much.
GOALS = {
    r"(log-metric|create-run|get-run|log-batch)\b.*, (one|16) at .*": "100×",
    r"search 10,000 runs: metric filter and order": "10 ms",
    r"search 100,000 runs: metric filter and order": "50 ms",
    r".*\bmemory\b.*": "60 MB",
    r".*: refused": "0",
}
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


class Figures:
    def __init__(self, file: pathlib.Path | None = None):
        """Those of a file, to add to; none where it is missing."""
        self.rows: dict[str, dict] = json.loads(file.read_text()) if file and file.exists() else {}
        self.machine = machine()

    def save(self, file: pathlib.Path) -> None:
        file.write_text(json.dumps(self.rows, indent=1, ensure_ascii=False))

    def add(self, figure: str, unit: str, target: str, values: list[float]) -> None:
        row = self.rows.setdefault(figure, {"unit": unit})
        row[target] = list(spread(values))
        print(f"  {target:8} {figure}: {cell(row[target])} {unit}", flush=True)

    def table(self) -> str:
        lines = ["| figure | unit | mlflow server | tapline | ratio | goal |", "| --- | --- | --- | --- | --- | --- |"]
        for figure, row in self.rows.items():
            cells = [cell(row[server]) if server in row else "" for server in SERVERS]
            goal = next((goal for pattern, goal in GOALS.items() if re.fullmatch(pattern, figure)), "")
            lines.append(f"| {figure} | {row['unit']} | {' | '.join(cells)} | {ratio(row)} | {goal} |")
        return "\n".join(lines)

    def write(self, page: pathlib.Path) -> None:
        """The table, between its marks in a page."""
        before, rest = page.read_text().split(BEGIN)
        _, after = rest.split(END)
        told = f"{datetime.date.today().isoformat()}: {self.machine}."
        page.write_text(f"{before}{BEGIN}\n{told}\n\n{self.table()}\n{END}{after}")


def ratio(row: dict) -> str:
    """How many times better tapline is."""
    if not all(server in row and row[server][0] for server in SERVERS):
        return ""
    # More per second is better; of everything else, less.
    better, worse = ("tapline", "mlflow") if row["unit"].endswith("/s") else ("mlflow", "tapline")
    return f"{shown(row[better][0] / row[worse][0])}×"


def cell(values: list[float]) -> str:
    median, low, high = values
    return shown(median) if low == high else f"{shown(median)} ({shown(low)}–{shown(high)})"


def shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or not value else f"{value:.1f}" if value >= 1 else f"{value:.3f}"


def machine() -> str:
    model = "unknown processor"
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    load = os.getloadavg()[0]
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, load average at the start {load:.2f}"
