"""Our own rows: runs `grandmodel bench` once and writes its components and the profiles of its actors as tables.

`--only` takes a filter of `grandmodel bench`. No peer takes part; the scripts beside this one compare.
"""

import json
import tempfile
from pathlib import Path

import side_by_side as beside


def header(report: dict) -> str:
    machine, peak = report["machine"], report["peak_f32"]
    return (f"date {report['started'][:10]}, cpu {machine['cpu']}, cores {machine['num_cpus']}, {report['simd']} kernels, {report['compiler'].split(' (')[0]}, "
            f"f32 peak {peak['one_thread'] / 1e9:.0f} GFLOP/s on one thread and {peak['all_threads'] / 1e9:.0f} on {report['threads']}, "
            f"load at start {report['load_average']}, grandmodel {report['version']} {report['git_hash']}\n")


def components(report: dict) -> str:
    lines = [header(report), "| component | a second | median us | interquartile range us | p99 us | repetitions | of peak |", "|---|---|---|---|---|---|---|"]
    for row in report["rows"]:
        share = f"{row['share_of_peak']:.0%}" if "share_of_peak" in row else ""
        times = " | ".join(beside.short(us) for us in (row["median_us"], row["q3_us"] - row["q1_us"], row["p99_us"]))
        lines.append(f"| {row['name']} | {beside.short(row['per_second'])} {row['unit']} | {times} | {row['repeats']} | {share} |")
    return "\n".join(lines)


def actors(report: dict) -> str:
    lines = [header(report)]
    for name, rows in report["profiles"].items():
        lines += [f"{name.removeprefix('actor profile: ')}:", "",
                  "| actor | message | count | queue, mean us | answer, mean us | round trip, p99 us | depth |", "|---|---|---|---|---|---|---|"]
        for row in rows:
            times = " | ".join(beside.short(row[key]) for key in ("queue_mean_us", "answer_mean_us", "round_trip_p99_us"))
            lines.append(f"| {row['actor']} | `{row['message']}` | {row['count']} | {times} | {row['depth_max']} |")
        lines.append("")
    return "\n".join(lines).rstrip()


def main() -> None:
    options = beside.arguments(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.json or Path(folder) / "bench.json"
        beside.spawn([options.binary, "bench", *([options.only] if options.only else []), "--json", path])
        report = json.loads(path.read_text())
    for table, text in (("components", components(report)), ("actors", actors(report))):
        if not report["rows" if table == "components" else "profiles"]:
            continue
        print(text + "\n")
        if options.write:
            beside.write(table, text)


if __name__ == "__main__":
    main()
