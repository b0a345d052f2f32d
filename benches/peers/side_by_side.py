"""Runs peers beside the binary on the same work, and says what came out.

In: sides, each a function that does the work once in processes of its own and returns one number a row. Out: medians, ranges, ratios and peak memory of
interleaved repetitions as a table on standard output, as JSON, and with `--write` in the place of the table of that name in docs/benchmarks.md.
Nothing here imports a peer: peers live in virtual environments of their own below target/peers, which `environment` makes.
"""

import argparse
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "target" / "peers"
DOCUMENT = ROOT / "docs" / "benchmarks.md"
# PyPI's PyTorch is the CUDA build, about 5 GB: whatever needs it shares one environment.
TORCH = ["torch==2.15.0", "numpy==2.4.6", "torchrl==0.14.1", "stable-baselines3==2.9.2", "sbx-rl==0.28.0", "jax[cpu]==0.10.2",
         "gymnasium[classic-control]==1.4.0"]
# Longest that one process may take, in seconds.
PROCESS_S_MAX = 400


@dataclass
class Ended:
    """A process that has ended well."""

    stdout: str
    seconds: float
    rss_mib: float


@dataclass
class Side:
    """One of those that are compared. `work` does everything once: values by row, and the peak memory of its processes in MiB."""

    name: str
    work: Callable[[], tuple[dict[str, float], float]]
    versions: dict[str, str] = field(default_factory=dict)


def arguments(description: str) -> argparse.ArgumentParser:
    """What every script takes."""
    parser = argparse.ArgumentParser(description=description.strip().splitlines()[0])
    parser.add_argument("--binary", type=Path, default=Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "grandmodel")
    parser.add_argument("--repeats", type=int, default=5, help="repetitions of every side, interleaved")
    parser.add_argument("--core", type=int, default=min(os.sched_getaffinity(0)), help="core that one-thread rows are pinned to")
    parser.add_argument("--only", default="", help="only peers whose name contains this")
    parser.add_argument("--json", type=Path, help="where the results go; default: target/peers/results/<table>.json")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    return parser


def environment(name: str, packages: list[str]) -> Path:
    """The Python of a virtual environment with exactly these packages; made when it is not there."""
    folder, wanted = PEERS / name, "\n".join(packages)
    python, stamp = folder / "bin" / "python", folder / "packages.txt"
    if not (python.exists() and stamp.exists() and stamp.read_text() == wanted):
        print(f"making {folder.relative_to(ROOT)}: {' '.join(packages)}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
        stamp.write_text(wanted)
    return python


def versions(python: Path, names: list[str]) -> dict[str, str]:
    """Installed versions of packages."""
    code = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {names!r}}}))"
    return json.loads(subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout)


def spawn(command: list, core: int | None = None, threads: int = 1) -> Ended:
    """Runs a process to its end, pinned to one core where one is given; its own peak memory is the kernel's count."""
    env = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS=str(threads),
               CUDA_VISIBLE_DEVICES="", JAX_PLATFORMS="cpu", MPLBACKEND="Agg", PYTHONWARNINGS="ignore")
    pin = (lambda: os.sched_setaffinity(0, {core})) if core is not None else None
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        started = time.perf_counter()
        process = subprocess.Popen([str(part) for part in command], stdout=out, stderr=err, env=env, preexec_fn=pin, cwd=ROOT)
        deadline = started + PROCESS_S_MAX
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.perf_counter() > deadline:
                process.kill()
            time.sleep(0.005)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0), err.seek(0)
        if process.returncode != 0:
            raise RuntimeError(f"{command[0]} {command[1]} ended with {process.returncode}:\n{err.read()[-3000:]}")
        return Ended(out.read(), seconds, usage.ru_maxrss / 1024)


def worker(python: Path, script: str, *args, core: int | None = None, threads: int = 1) -> tuple[dict[str, float], float]:
    """Runs `script --worker args` in a peer's environment; the last line it prints is a JSON object of values by row."""
    ended = spawn([python, script, "--worker", *args], core, threads)
    return json.loads(ended.stdout.strip().splitlines()[-1]), ended.rss_mib


def bench(binary: Path, filters: list[str], value: str, core: int | None = None) -> tuple[dict[str, float], float]:
    """Runs `grandmodel bench`; the named value of every row, and the peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.json"
        ended = spawn([binary, "bench", *filters, "--json", path], core)
        return {row["name"]: row[value] for row in json.loads(path.read_text())["rows"]}, ended.rss_mib


def train(binary: Path, config: Path, settings: list[str], core: int | None = None) -> tuple[list[dict], Ended]:
    """Runs `grandmodel train`; the lines of its metrics file, and how it ended."""
    with tempfile.TemporaryDirectory() as runs:
        flags = [part for setting in [f"runs={runs}", *settings] for part in ("--set", setting)]
        ended = spawn([binary, "train", config, *flags], core)
        (metrics,) = Path(runs).glob("*/metrics.jsonl")
        return [json.loads(line) for line in metrics.read_text().splitlines()], ended


def speed_between(lines: list[dict]) -> float:
    """Steps a second from the first to the last line of a metrics file: neither start nor final evaluation counts."""
    (first, last) = (lines[0], lines[-1])
    return (last["step"] - first["step"]) / (last["time"]["elapsed_s"] - first["time"]["elapsed_s"])


def machine(binary: Path) -> dict[str, str]:
    """What the results belong to."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu.group(1) if cpu else "unknown",
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "python": platform.python_version(),
        "load at start": f"{os.getloadavg()[0]:.1f}",
        "grandmodel": f"{spawn([binary, '--version']).stdout.split()[-1]} {commit}".strip(),
    }


def compare(table: str, unit: str, sides: list[Side], options: argparse.Namespace) -> None:
    """Runs all sides, interleaved, ours first; prints and writes what came out. A row is compared with ours of the same name."""
    if not options.binary.exists():
        sys.exit(f"{options.binary} is not there: cargo build --release, or --binary")
    header = machine(options.binary)
    ours, *peers = sides
    peers = [peer for peer in peers if options.only in peer.name]
    values: dict[str, dict[str, list[float]]] = {side.name: {} for side in [ours, *peers]}
    rss: dict[str, list[float]] = {side.name: [] for side in [ours, *peers]}
    for repeat in range(options.repeats):
        for side in [ours, *peers]:
            print(f"{table}: {side.name}, {repeat + 1} of {options.repeats}", file=sys.stderr)
            try:
                rows, peak = side.work()
            except RuntimeError as failure:
                if side is ours:
                    raise
                print(f"{side.name} gave no result: {failure}", file=sys.stderr)
                continue
            rss[side.name].append(peak)
            for row, value in rows.items():
                values[side.name].setdefault(row, []).append(value)
    report = {"table": table, "unit": unit, "machine": header, "repeats": options.repeats,
              "versions": {peer.name: peer.versions for peer in peers}, "values": values, "rss_mib": rss}
    path = options.json or PEERS / "results" / f"{table}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1))
    text = render(report)
    print(text)
    if options.write:
        write(table, text)


def render(report: dict) -> str:
    """A report as Markdown."""
    values, unit = report["values"], report["unit"]
    ours, *peers = values
    lines = [", ".join(f"{key} {value}" for key, value in report["machine"].items()) + f"; {report['repeats']} repetitions", "",
             f"| {unit} | ours: median (range) | peer | its median (range) | ours / peer | peak memory, ours / peer |", "|---|---|---|---|---|---|"]
    for row, mine in values[ours].items():
        beside = [peer for peer in peers if row in values[peer]]
        for index, peer in enumerate(beside):
            theirs = values[peer][row]
            ratio = statistics.median(mine) / statistics.median(theirs)
            memory = " / ".join(f"{max(report['rss_mib'][name]):.0f}" for name in (ours, peer))
            first = (row, spread(mine)) if index == 0 else ("", "")
            lines.append(f"| {first[0]} | {first[1]} | {peer} | {spread(theirs)} | {significant(ratio)} | {memory} MiB |")
        if not beside:
            lines.append(f"| {row} | {spread(mine)} | – | | | |")
    lines += [f"| {row} | – | {peer} | {spread(theirs)} | | |"
              for peer in peers for row, theirs in values[peer].items() if row not in values[ours]]
    named = "; ".join(f"{peer}: {', '.join(f'{n} {v}' for n, v in found.items())}" for peer, found in report["versions"].items() if found)
    return "\n".join([*lines, "", f"Peers: {named}."] if named else lines)


def spread(values: list[float]) -> str:
    """`12.3 k (11.9 k to 12.5 k)`."""
    return f"{short(statistics.median(values))} ({short(min(values))} to {short(max(values))})"


def short(value: float) -> str:
    for limit, letter in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(value) >= limit:
            return significant(value / (limit if limit > 1e4 else 1e3)) + letter
    return significant(value)


def significant(value: float) -> str:
    """Three digits."""
    digits = f"{value:.3g}"
    return f"{float(digits):.0f}" if "e" in digits else digits


def write(table: str, text: str) -> None:
    """Replaces what stands between the table's two marks."""
    document = DOCUMENT.read_text()
    start, end = f"<!-- {table} -->", f"<!-- end of {table} -->"
    if start not in document or end not in document:
        sys.exit(f"{DOCUMENT.name} has no place for the table: expected the lines {start} and {end}")
    before, rest = document.split(start, 1)
    DOCUMENT.write_text(f"{before}{start}\n{text}\n{end}{rest.split(end, 1)[1]}")


def timed(work: Callable[[], object], budget_s: float = 1.0, warm_up: int = 3, fewest: int = 5) -> float:
    """For workers: the median duration of one call in seconds, as `grandmodel bench` takes it."""
    for _ in range(warm_up):
        work()
    durations, started = [], time.perf_counter()
    while len(durations) < fewest or time.perf_counter() - started < budget_s:
        before = time.perf_counter()
        work()
        durations.append(time.perf_counter() - before)
    return statistics.median(durations)
