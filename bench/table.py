# SPDX-License-Identifier: Apache-2.0
"""What was measured in one run: named samples, shown as medians and 95th percentiles with their number, beside what must be reached."""
import json
import statistics
import sys

ROWS = []  # (name, unit, samples)


def p95(values):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(round(0.95 * (len(ordered) - 1))))]


def add(name, samples, unit="ms"):
    samples = list(samples)
    if not samples:
        return
    ROWS.append((name, unit, samples))
    print(f"  {name}: {statistics.median(samples):.{digits(unit)}f} {unit} (n={len(samples)})", file=sys.stderr, flush=True)


def digits(unit):
    return 2 if unit == "x" else 1


def median_of(name):
    return next((statistics.median(s) for n, _, s in ROWS if n == name), None)


def report(path, goals):
    """goals: name -> (relation, number) of the median, and of p95 where a third stands."""
    width = max(len(name) for name, _, _ in ROWS)
    print(f"\n{'':{width}}  {'n':>4} {'median':>9} {'p95':>9}  unit  goal")
    measured = {name for name, _, _ in ROWS}
    missed = []
    for name, unit, samples in ROWS:
        middle, high = statistics.median(samples), p95(samples)
        goal = goals.get(name)
        said = ""
        if goal:
            relation, limit, limit95 = goal
            met = middle <= limit if relation == "<=" else middle >= limit
            if limit95 is not None:
                met = met and high <= limit95
            said = f"{relation} {limit}{f', p95 <= {limit95}' if limit95 else ''}{'' if met else '   MISSED'}"
            if not met:
                missed.append(name)
        print(f"{name:{width}}  {len(samples):4} {middle:9.{digits(unit)}f} {high:9.{digits(unit)}f}  {unit:5} {said}")
    with open(path, "w") as f:
        json.dump([{"name": n, "unit": u, "n": len(s), "median": statistics.median(s), "p95": p95(s), "samples": s} for n, u, s in ROWS],
                  f, indent=1)
    unmeasured = sorted(set(goals) - measured)
    if unmeasured:
        print("\nnot measured here: " + "; ".join(unmeasured))
    print(f"\n{len(goals) - len(missed) - len(unmeasured)} of {len(goals)} goals met; all samples in {path}")
