"""Results for people and for machines."""

import json
import os

COLUMNS = ("scenario", "flows", "switch", "megaflows", "masks", "Mpps/CPU s", "Mpps", "cycles/packet", "best", "spread",
           "of io", "to ovs", "target")
OURS = "penstock"


def judge(scenario, flow_count, switches):
    """The ratio of ours to its rival, and whether it is what is wanted."""
    rate, rival = (switches.get(name, {}).get("packets_per_cpu_second") for name in (OURS, scenario.rival))
    target, ratio = scenario.targets[flow_count], rate / rival if rival else None
    return {"rival": scenario.rival, "ratio": ratio, "target": target,
            "is_reached": None if None in (target, ratio) else ratio >= target}


def judge_flatness(flatness, results):
    """The ratio between two scenarios' rates of ours, one for each number of flows that both were measured with."""
    rates = {(result["scenario"], result["flows"]): result["switches"][OURS]["packets_per_cpu_second"] for result in results}
    for (name, flow_count), rate in rates.items():
        of = rates.get((flatness.of, flow_count))
        if name == flatness.name and of:
            yield {"scenario": name, "flows": flow_count, "of": flatness.of, "ratio": rate / of, "target": flatness.share,
                   "is_reached": rate / of >= flatness.share}


def _verdict(judged):
    if judged["is_reached"] is None:
        return "-"
    # Whom it is measured against goes without saying where there is a column for it.
    rival = "" if judged.get("rival", "ovs") == "ovs" else f"{judged['ratio']:.2f} of {judged['rival']}, "
    return f"{rival}{judged['target']:.2f} {'reached' if judged['is_reached'] else 'MISSED'}"


def _ratio(rate, of):
    return f"{rate / of:.2f}" if of else "-"


def _number(count):
    return "-" if count is None else f"{count:,}"


def rows(results):
    """The table's rows, as texts."""
    for result in results:
        limit, peer = (
            result["switches"].get(name, {}).get("packets_per_cpu_second") for name in ("testpmd-io", "ovs")
        )
        for name, summary in result["switches"].items():
            rate = summary["packets_per_cpu_second"]
            yield (
                result["scenario"],
                f"{result['flows']:,}",
                name,
                _number(summary.get("megaflows")),
                _number(summary.get("masks")),
                f"{rate / 1e6:.2f}",
                f"{summary['packets_per_second'] / 1e6:.2f}",
                f"{summary['cycles_per_packet']:.1f}",
                f"{summary['cycles_per_packet_best']:.1f}",
                f"{summary['spread']:.1%}",
                _ratio(rate, limit),
                _ratio(rate, peer),
                _verdict(result["judged"]) if name == OURS else "",
            )


def print_table(results):
    """Prints the results, aligned: texts to the left, numbers to the right."""
    table = [COLUMNS, *rows(results)]
    widths = [max(len(row[column]) for row in table) for column in range(len(COLUMNS))]
    is_text = {0, 2, len(COLUMNS) - 1}
    for row in table:
        cells = (
            cell.ljust(width) if column in is_text else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        )
        print("  ".join(cells).rstrip())


def print_flatness(judged):
    """Prints one ratio between scenarios."""
    print(f"{judged['scenario']} runs at {judged['ratio']:.2f} of {judged['of']}, {_verdict(judged)}")


def write_json(path, document):
    """Writes everything that was measured."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.write("\n")
