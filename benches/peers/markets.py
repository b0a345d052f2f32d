"""Backtests of moving averages 12/48 and steps of a trading environment, on one core: ours beside vectorbt, backtesting.py and gym-anytrading.

Bars a second over a million synthetic minutes: ours sends every order through the venue with every kind of cost; vectorbt (compiled by Numba, warm) and
backtesting.py (100,000 bars, as it is slow) take a fee in proportion. vectorbt's cold row is the first call of a process, compilation included. Environment
steps a second with actions drawn before: ours one lane and 1,024 lanes, gym-anytrading as `gym.make` gives it and without its wrappers.
"""

import json
import sys
import time

import side_by_side as beside

MARKETS = ["vectorbt==1.2.0", "gym-anytrading==2.0.0", "backtesting==0.6.6"]
BACKTEST, COLD = "backtest of moving averages: bars/s", "backtest of moving averages, first call: bars/s"
ONE_LANE, MANY_LANES = "environment, one lane: steps/s", "environment, 1,024 lanes: steps/s"
# Rows of `grandmodel bench` by the beginning of their names; the first that is there counts.
OURS = {BACKTEST: ["market: backtest of moving averages", "market: backtest of a rule"], ONE_LANE: ["environment: 1 lanes, full costs"],
        MANY_LANES: ["environment: 1024 lanes, full costs"]}
BARS, FEWER_BARS, STEPS, FAST, SLOW = 1_000_000, 100_000, 20_000, 12, 48


def closes(bars: int):
    import numpy as np
    import pandas as pd

    path = 1000.0 * np.exp(np.cumsum(np.random.default_rng(1).normal(0.0, 1e-4, bars)))
    return pd.Series(path, index=pd.date_range("2020-01-01", periods=bars, freq="min"))


def in_vectorbt() -> dict[str, float]:
    import vectorbt as vbt

    prices = closes(BARS)

    def once():
        fast, slow = vbt.MA.run(prices, FAST), vbt.MA.run(prices, SLOW)
        above, below = fast.ma_crossed_above(slow), fast.ma_crossed_below(slow)
        return vbt.Portfolio.from_signals(prices, above, short_entries=below, fees=2e-4, freq="1min").final_value()

    before = time.perf_counter()
    once()
    cold = time.perf_counter() - before
    return {BACKTEST: BARS / beside.timed(once, warm_up=1, fewest=3), COLD: BARS / cold}


def in_backtesting() -> dict[str, float]:
    import pandas as pd
    from backtesting import Backtest, Strategy
    from backtesting.lib import crossover

    class Averages(Strategy):
        def init(self):
            average = lambda values, window: pd.Series(values).rolling(window).mean()
            self.fast, self.slow = self.I(average, self.data.Close, FAST), self.I(average, self.data.Close, SLOW)

        def next(self):
            if crossover(self.fast, self.slow):
                self.position.close()
                self.buy(size=0.99)
            elif crossover(self.slow, self.fast):
                self.position.close()
                self.sell(size=0.99)

    prices = closes(FEWER_BARS)
    frame = pd.DataFrame({"Open": prices, "High": prices, "Low": prices, "Close": prices})
    test = Backtest(frame, Averages, cash=1e6, commission=2e-4)
    before = time.perf_counter()
    test.run()
    return {BACKTEST: FEWER_BARS / (time.perf_counter() - before)}


def in_anytrading(raw: bool) -> dict[str, float]:
    import gym_anytrading  # noqa: F401, registers its environments
    import gymnasium
    import numpy as np

    env = gymnasium.make("stocks-v0")
    env = env.unwrapped if raw else env
    actions = np.random.default_rng(1).integers(0, 2, STEPS)
    env.reset(seed=0)

    def once():
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()

    return {ONE_LANE: STEPS / beside.timed(once, warm_up=1, fewest=3)}


def main() -> None:
    options = beside.arguments(__doc__).parse_args()
    python = beside.environment("markets", MARKETS)

    def ours():
        filters = [name for names in OURS.values() for name in names]
        rows, rss = beside.bench(options.binary, filters, "per_second", options.core)
        found = {label: next((rows[row] for name in names for row in rows if row.startswith(name)), None) for label, names in OURS.items()}
        return {label: value for label, value in found.items() if value is not None}, rss

    def peer(which):
        return lambda: beside.worker(python, __file__, which, core=options.core)

    beside.compare("markets", "bars/s or steps/s", [
        beside.Side("grandmodel", ours),
        beside.Side("vectorbt", peer("vectorbt"), beside.versions(python, ["vectorbt", "numba", "pandas"])),
        beside.Side("backtesting.py", peer("backtesting"), beside.versions(python, ["backtesting"])),
        beside.Side("gym-anytrading", peer("anytrading"), beside.versions(python, ["gym-anytrading", "gymnasium"])),
        beside.Side("gym-anytrading, unwrapped", peer("anytrading-raw")),
    ], options)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        workers = {"vectorbt": in_vectorbt, "backtesting": in_backtesting, "anytrading": lambda: in_anytrading(False),
                   "anytrading-raw": lambda: in_anytrading(True)}
        print(json.dumps(workers[sys.argv[2]]()))
    else:
        main()
