"""Medians, ratios round by round, shares of the roof, and the table. Pure: numbers in, text out.

SPDX-License-Identifier: Apache-2.0
"""
import statistics

# dtype of ours -> dtypes of peers beside it: 8 bits must beat all, for some peers are faster without them
LIKE = {"bf16": ("bf16",), "int8": ("bf16", "int8"), "int8kv": ("bf16", "int8")}


def ratio(ours, theirs):
    """Median of the ratios of the rounds that both have: machines drift, rounds are side by side."""
    pairs = [(a, b) for a, b in zip(ours, theirs) if a and b]
    return statistics.median(a / b for a, b in pairs) if pairs else None


def median(rates):
    known = [rate for rate in rates if rate]
    return statistics.median(known) if known else None


def roof(work, dtype, peaks):
    """Tokens/s if nothing took time but the products: work is (linear, attention) operations per token."""
    linear = peaks["bf16" if dtype == "bf16" else "int8"]
    attention = peaks["int8" if dtype == "int8kv" else "bf16"]
    return 1 / (work[0] / linear + work[1] / attention)


def fastest_peer(cells, engine, dtypes, peers):
    """The peer's engine with the best median among those with like products; None if there is none."""
    others = [name for name in cells if peers[name] != peers[engine] and dtypes[name] in LIKE[dtypes[engine]]]
    others = [name for name in others if median(cells[name])]
    return max(others, key=lambda name: median(cells[name]), default=None)


def rows(results, dtypes, peers):
    """One dictionary per case and engine. results: [{"case", "model", "layers", "cores", "work", "peaks", "cells":
    {engine: [rate of each round or None]}}]."""
    for result in results:
        cells = result["cells"]
        for engine, rates in cells.items():
            got = median(rates)
            row = {key: result[key] for key in ("case", "model", "layers", "cores")}
            row |= {"engine": engine, "tokens_per_s": got, "rounds": rates, "share": None, "beside": None, "ratio": None}
            if got and result["work"] and result["peaks"]:
                row["share"] = got / roof(result["work"], dtypes[engine], result["peaks"])
            if got and peers[engine] == "penstock":
                row["beside"] = fastest_peer(cells, engine, dtypes, peers)
                row["ratio"] = ratio(rates, cells[row["beside"]]) if row["beside"] else None
            yield row


def _cell(row):
    if row is None or not row["tokens_per_s"]:
        return "–"
    share = f" ({row['share']:.0%})" if row["share"] else ""
    return f"{row['tokens_per_s']:,.0f}{share}" if row["tokens_per_s"] >= 100 else f"{row['tokens_per_s']:.1f}{share}"


def markdown(all_rows, engines, refused, header):
    """A table for each model and number of cores, engines down and cases across; then ratios, then what is missing."""
    lines = [header, "", "Tokens/s, medians; in brackets the share of the roof: the measured peaks of penstock's kernels, "
             "and nothing but linear layers and attention.", ""]
    groups = {}
    for row in all_rows:
        groups.setdefault((row["model"], row["cores"]), []).append(row)
    for (model, cores), group in groups.items():
        cases = list(dict.fromkeys((row["case"], row["layers"]) for row in group))
        lines += [f"### {model}, {cores} core{'s' if cores > 1 else ''}", ""]
        titles = [case + (f", {layers} layers" if layers else "") for case, layers in cases]
        lines += [f"| engine | {' | '.join(titles)} |", "|---" * (len(cases) + 1) + "|"]
        by_cell = {(row["engine"], row["case"], row["layers"]): row for row in group}
        for engine in engines:
            cells = [_cell(by_cell.get((engine, *case))) for case in cases]
            if any(cell != "–" for cell in cells):
                lines.append(f"| {engine} | {' | '.join(cells)} |")
        for engine in engines:
            beside = [by_cell.get((engine, *case)) for case in cases]
            texts = [f"{row['ratio']:.2f} × {row['beside']}" if row and row["ratio"] else "–" for row in beside]
            if any(text != "–" for text in texts):
                lines.append(f"| **{engine} ÷ fastest peer** | {' | '.join(texts)} |")
        lines.append("")
    if refused:
        by_reason = {}
        for what, why in refused.items():
            by_reason.setdefault(why, []).append(what)
        lines += ["Left out:", "", *(f"- {'; '.join(what)}: {why}" for why, what in by_reason.items()), ""]
    return "\n".join(lines)
