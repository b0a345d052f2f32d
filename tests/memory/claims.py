#!/usr/bin/env python3
"""Claims about memory, shown on whole processes: each prints a line with what was reached.

    cargo build --release && python3 tests/memory/claims.py [--only NAME ...] [--kills 300] [--ramps 100] [--cases 200]

limit     a run whose replay is larger than its budget: budget a quarter of the peak without one, same weights bit for bit, what it costs
kills     kill -9 at random moments, then --resume, until the run has ended: same weights as a run that was never touched
ramps     memory beside the run grows until its budget is used up: it must save itself, exit with 75 and be resumable
workers   63 workers on one data set
cases     random models, batches and budgets: refused at the start, or the run stays below its budget

Only the standard library. Peaks are anonymous resident bytes (resident less file-backed, /proc/<pid>/statm), read every 5 ms; file pages, which the kernel
can take back, are printed apart. Where the machine lets a memory cgroup be made, `limit` runs inside one as well.
"""
import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARY = ROOT / "target" / "release" / "grandmodel"
PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1 << 20

# A replay several times as large as the rest of the process.
LIMIT = """
name = "limit"
[control]
id = "CartPole-v1"
[qrdqn]
total_timesteps = {steps}
num_envs = 64
train_frequency = 8192
gradient_steps = 8
learning_starts = 8192
buffer_size = {buffer}
batch_size = 256
target_network_frequency = 8192
[replay]
capacity = "2 GiB"
[train]
eval_every = 0
eval_episodes = 8
checkpoint_replay = false
checkpoint_every = {steps}
quiet = true
"""

KILLS = """
name = "kills"
[control]
id = "CartPole-v1"
{algorithm}
[train]
eval_every = 0
eval_episodes = 8
checkpoint_every = 2048
log_every = 2048
quiet = true
"""

ALGORITHMS = {
    "ppo": "[ppo]\ntotal_timesteps = 163840\nnum_envs = 8\nnum_steps = 128",
    "qrdqn": "[qrdqn]\ntotal_timesteps = 40960\nnum_envs = 8\ntrain_frequency = 64\ngradient_steps = 4\nlearning_starts = 1024\nbuffer_size = 20000",
    "sac": "[sac]\ntotal_timesteps = 20480\nnum_envs = 8\ntrain_frequency = 64\ngradient_steps = 2\nlearning_starts = 1024\nbuffer_size = 20000",
}


class Watched:
    """A process with the largest anonymous and file-backed bytes that were seen."""

    def __init__(self, arguments, folder, group=None):
        self.anonymous = self.file = 0
        enter = None if group is None else lambda: (group / "cgroup.procs").write_text(str(os.getpid()))
        self.process = subprocess.Popen([BINARY, *map(str, arguments)], cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=enter)
        self.started = time.monotonic()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self):
        try:
            with open(f"/proc/{self.process.pid}/statm", "rb", buffering=0) as statm:
                while True:
                    statm.seek(0)
                    _, resident, shared, *_ = map(int, statm.read().split())
                    self.anonymous = max(self.anonymous, (resident - shared) * PAGE)
                    self.file = max(self.file, shared * PAGE)
                    time.sleep(0.005)
        except (OSError, ValueError):
            pass  # it has ended

    def wait(self):
        self.out, self.err = self.process.communicate()
        self.seconds = time.monotonic() - self.started
        return self.process.returncode


def run(arguments, folder, group=None):
    watched = Watched(arguments, folder, group)
    watched.wait()
    return watched


def weights(folder, run_name):
    """A hash of the last weights of a run."""
    checkpoints = sorted((Path(folder) / "runs" / run_name / "checkpoints").glob("step-*"))
    return hashlib.sha256((checkpoints[-1] / "model.safetensors").read_bytes()).hexdigest()[:16]


def need(holds, what):
    if not holds:
        sys.exit(f"not shown: {what}")


def make_group(limit):
    """A memory cgroup with a limit, or nothing where the machine does not let one be made."""
    for parent, name in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")]:
        group = Path(parent) / f"grandmodel-{os.getpid()}"
        try:
            group.mkdir()
            (group / name).write_text(str(limit))
            return group
        except OSError:
            continue
    return None


def limit(arguments):
    steps = buffer = 8 << 20
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "limit.toml"
        config.write_text(LIMIT.format(steps=steps, buffer=buffer))
        free = run(["train", config], folder)
        need(free.process.returncode == 0, f"a run without a limit: {free.err}")
        budget = free.anonymous // 4
        settings = ["--set", f'memory.budget="{budget} B"', "--set", "memory.sample_every_s=0.2", "--set", "memory.cooldown_s=0.2"]
        settings += ["--set", "name=\"tight\""]
        tight = run(["train", config, *settings], folder)
        need(tight.process.returncode == 0, f"a run at {budget / MIB:.0f} MiB: exit {tight.process.returncode} {tight.out} {tight.err}")
        same = weights(folder, "limit-s0-001") == weights(folder, "tight-s0-001")
        print(f"limit   peak without {free.anonymous / MIB:.0f} MiB anonymous (+ {free.file / MIB:.0f} file), {free.seconds:.1f} s")
        print(f"limit   budget {budget / MIB:.0f} MiB: peak {tight.anonymous / MIB:.0f} MiB anonymous (+ {tight.file / MIB:.0f} file), {tight.seconds:.1f} s,"
              f" throughput {free.seconds / tight.seconds:.0%}, weights {'the same' if same else 'DIFFER'}")
        need(same, "the same weights")
        need(tight.anonymous <= budget, "a peak within the budget")
        group = make_group(budget)
        if group is None:
            print("limit   inside a memory cgroup: not shown, this machine lets none be made")
            return
        # No budget is given: it is 80 % of what the group grants.
        inside = run(["train", config, *settings[2:-1], 'name="inside"'], folder, group)
        need(inside.process.returncode == 0, f"a run in a cgroup: exit {inside.process.returncode} {inside.out} {inside.err}")
        same = weights(folder, "inside-s0-001") == weights(folder, "limit-s0-001")
        print(f"limit   in a memory cgroup of {budget / MIB:.0f} MiB, which kills: exit 0, peak {inside.anonymous / MIB:.0f} MiB anonymous, {inside.seconds:.1f} s,"
              f" throughput {free.seconds / inside.seconds:.0%}, weights {'the same' if same else 'DIFFER'}")
        group.rmdir()
        need(same, "the same weights in a cgroup")


def kills(arguments):
    done, resumed, fresh = 0, 0, 0
    generator = random.Random(1)
    began = time.monotonic()
    for name in ALGORITHMS:
        share = arguments.kills // len(ALGORITHMS)
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "kills.toml"
            config.write_text(KILLS.format(algorithm=ALGORITHMS[name]))
            whole = run(["train", config], folder)
            need(whole.process.returncode == 0, f"{name}: {whole.err}")
            expected = weights(folder, "kills-s0-001")
            killed = 0
            while killed < share:
                shutil.rmtree(Path(folder) / "runs", ignore_errors=True)
                command = ["train", config]
                while True:
                    process = Watched(command, folder)
                    # Long enough to get somewhere, short enough to be hit before its end.
                    time.sleep(generator.uniform(0.02, 0.8 * whole.seconds))
                    if process.process.poll() is None and killed < share:
                        process.process.send_signal(signal.SIGKILL)
                        process.wait()
                        killed += 1
                        checkpoints = list((Path(folder) / "runs" / "kills-s0-001" / "checkpoints").glob("step-*/manifest.json"))
                        resumed, fresh = resumed + bool(checkpoints), fresh + (not checkpoints)
                        if not checkpoints:
                            shutil.rmtree(Path(folder) / "runs", ignore_errors=True)
                        command = ["train", "--resume", "runs/kills-s0-001"] if checkpoints else ["train", config]
                        continue
                    code = process.wait()
                    need(code == 0, f"{name}: after {killed} kills exit {code}: {process.err}")
                    need(weights(folder, "kills-s0-001") == expected, f"{name}: the same weights after {killed} kills")
                    break
            done += killed
    print(f"kills   {done} times SIGKILL ({resumed} resumed from a checkpoint, {fresh} before the first): every run ended with the weights of one never touched;"
          f" PPO, QR-DQN, SAC, {time.monotonic() - began:.0f} s")


def ramps(arguments):
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "ramp.toml"
        config.write_text(KILLS.format(algorithm="[ppo]\ntotal_timesteps = 100000000\nnum_envs = 8\nnum_steps = 128"))
        survived = 0
        group = make_group(320 * MIB)
        for i in range(arguments.ramps):
            # The replay of `limit` grows by some 24 MiB/s, the fastest that a run of ours does: up to ten times that.
            rate = [60, 120, 180, 240][i % 4]
            # 256 MiB are 80 % of what the group grants, as by default.
            command = ["soak", config, "--ramp", f"{rate} MiB", "--set", 'memory.budget="256 MiB"']
            ended = run(command, folder, group)
            if ended.process.returncode == 75 and ended.anonymous <= 320 * MIB:
                survived += 1
            else:
                print(f"ramps   {rate} MiB/s: exit {ended.process.returncode}, peak {ended.anonymous / MIB:.0f} MiB: {ended.err[-300:]}")
        if group is not None:
            group.rmdir()
        print(f"ramps   {survived} of {arguments.ramps} runs saved themselves {'in a cgroup' if group else 'below a limit'} of 320 MiB, budget 80 % of it, while memory"
              " grew by 60 to 240 MiB/s")
        need(survived >= 0.99 * arguments.ramps, "99 of 100 ramps survived")


def cases(arguments):
    generator = random.Random(2)
    refused = ended = 0
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        made = run(["data", "synth", "regime", "bars.csv", "--bars", "6000"], folder)
        need(made.process.returncode == 0, made.err)
        for i in range(arguments.cases):
            preset = generator.choice(["tiny", "small", "full"])
            algorithm = generator.choice(["ppo", "qrdqn", "sac"])
            block, batch = generator.choice([(8, 32), (8, 64), (16, 64), (16, 128)])
            budget = int(2 ** generator.uniform(5.5, 9.5))
            text = f'name = "case"\nseed = {i}\n[data]\npath = "bars.csv"\n[costs]\ncommission_bp = 1.0\n[env]\ninitial_cash = 100000.0\n'
            text += f'[decision]\nconsensus_passes = 0\n[model]\npreset = "{preset}"\n[memory]\nbudget = "{budget} MiB"\n[train]\neval_every = 0\nquiet = true\n'
            if algorithm == "ppo":
                text += f"[ppo]\ntotal_timesteps = 512\nnum_envs = 16\nnum_steps = {batch // 8}\nnum_minibatches = 2\ngrad_block = {block}\n"
            else:
                text += f"[{algorithm}]\ntotal_timesteps = 512\nnum_envs = 16\ntrain_frequency = 64\ngradient_steps = 1\nlearning_starts = 256\n"
                text += f"buffer_size = 2048\nbatch_size = {batch}\n[{algorithm}.encoder]\ngrad_block = {block}\n"
            config = Path(folder) / "case.toml"
            config.write_text(text)
            case = run(["train", config], folder)
            code = case.process.returncode
            if code in (0, 75):
                ended += 1
                worst = max(worst, case.anonymous / (budget * MIB))
                need(case.anonymous <= budget * MIB, f"case {i}: {preset} {algorithm} at {budget} MiB took {case.anonymous / MIB:.0f} MiB\n{text}")
            else:
                refused += 1
                need(code == 1 and "budget" in case.err, f"case {i}: {preset} {algorithm} at {budget} MiB: exit {code}: {case.err}")
            shutil.rmtree(Path(folder) / "runs", ignore_errors=True)
    print(f"cases   {arguments.cases} random models and budgets: {ended} ran and stayed below theirs (at most {worst:.0%} of it), {refused} were refused at the"
          " start with what would fit, none was killed")


def workers(arguments):
    with tempfile.TemporaryDirectory() as folder:
        made = run(["data", "synth", "regime", "bars.csv", "--bars", "350000"], folder)
        need(made.process.returncode == 0, made.err)
        config = Path(folder) / "workers.toml"
        text = 'name = "workers"\n[data]\npath = "bars.csv"\ncache = "cache"\n[costs]\ncommission_bp = 1.0\n[env]\ninitial_cash = 100000.0\n'
        text += '[decision]\nconsensus_passes = 0\n[model]\npreset = "tiny"\n[ppo]\ntotal_timesteps = 16384\n[train]\neval_every = 0\nquiet = true\n'
        config.write_text(text)
        # The first run builds the feature table, the others map it.
        found = [run(["train", config, "--set", f"train.threads={threads}"], folder) for threads in (1, 1, 63)]
        need(all(each.process.returncode == 0 for each in found), found[-1].err)
        _, one, many = found
        whole = (many.anonymous + many.file) / MIB
        print(f"workers 63 on {(Path(folder) / 'bars.csv').stat().st_size / MIB:.0f} MiB of bars: {many.anonymous / MIB:.0f} MiB anonymous + {many.file / MIB:.0f} file at most;"
              f" one worker {one.anonymous / MIB:.0f} + {one.file / MIB:.0f}")
        need(whole < 500, "63 workers below 500 MB")


CLAIMS = {"limit": limit, "kills": kills, "ramps": ramps, "workers": workers, "cases": cases}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=CLAIMS, default=list(CLAIMS))
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--ramps", type=int, default=100)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--binary", type=Path, default=BINARY)
    arguments = parser.parse_args()
    globals()["BINARY"] = arguments.binary.resolve()
    need(BINARY.is_file(), f"{BINARY} is not there: cargo build --release")
    for name in arguments.only:
        CLAIMS[name](arguments)


if __name__ == "__main__":
    main()
