"""Medians, their ratios and how far the rounds lie apart."""

import statistics


def summary(scenario, results):
    """A row for each unit: medians by library, the ratio of medians, the span of the
    rounds' own ratios, and whether the goal is met (None: no goal)."""
    rows = []
    for unit in results["ours"][0]:
        medians = {library: statistics.median(run[unit] for run in runs)
                   for library, runs in results.items() if runs and unit in runs[0]}
        row = {"scenario": scenario.name, "title": scenario.title, "unit": unit,
               "medians": medians, "goal": None, "met": None}
        debian, ours = medians.get("debian"), medians["ours"]
        if debian:
            row["ratio"] = ours / debian
            row["span"] = span(results, unit)
        if medians.get("bare"):
            row["of bare"] = ours / medians["bare"]
        goal = scenario.goals.get(unit)
        if goal:
            row["goal"] = str(goal)
            row["met"] = goal.is_met(debian, ours)
        rows.append(row)
    return rows


def span(results, unit):
    ratios = [ours[unit] / debian[unit]
              for ours, debian in zip(results["ours"], results["debian"]) if debian[unit]]
    return [min(ratios), max(ratios)] if ratios else None


def table(rows):
    """For a terminal."""
    lines = [f"{'scenario':<22}{'unit':<14}{'other':>10}{'ours':>10}{'bare':>9}"
             f"{'ratio':>8}  {'rounds':<13}{'of bare':>8}  goal"]
    for row in rows:
        medians = row["medians"]
        cells = [number(medians.get(library)) for library in ("debian", "ours", "bare")]
        apart = "–".join(number(end) for end in row["span"]) if row.get("span") else ""
        verdict = {None: "", True: "met", False: "MISSED"}[row["met"]]
        lines.append(f"{row['scenario']:<22}{row['unit']:<14}{cells[0]:>10}{cells[1]:>10}"
                     f"{cells[2]:>9}{number(row.get('ratio')):>8}  {apart:<13}"
                     f"{number(row.get('of bare')):>8}  {row['goal'] or '':<8} {verdict}")
    return "\n".join(lines)


def markdown(rows):
    """For docs/performance.md: rows with a goal."""
    lines = ["| scenario | unit | Debian's | ours | ours/Debian's (rounds) | ours/framed | goal | |",
             "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        if not row["goal"]:
            continue
        medians = row["medians"]
        apart = ""
        if row.get("span"):
            apart = f" ({'–'.join(number(end) for end in row['span'])})"
        lines.append(f"| {row['title']} | {row['unit']} | {number(medians.get('debian'))} | "
                     f"{number(medians['ours'])} | {number(row.get('ratio'))}{apart} | "
                     f"{number(row.get('of bare'))} | {row['goal']} | "
                     f"{'met' if row['met'] else '**not met**'} |")
    return "\n".join(lines)


def number(value):
    if value is None:
        return ""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
