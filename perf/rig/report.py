"""Results for people and for machines."""

import json
import os

COLUMNS = ("scenario", "flows", "switch", "Mpps/CPU s", "Mpps", "cycles/packet", "best", "spread", "of io", "to ovs")


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
                f"{rate / 1e6:.2f}",
                f"{summary['packets_per_second'] / 1e6:.2f}",
                f"{summary['cycles_per_packet']:.1f}",
                f"{summary['cycles_per_packet_best']:.1f}",
                f"{summary['spread']:.1%}",
                f"{rate / limit:.2f}" if limit else "-",
                f"{rate / peer:.2f}" if peer else "-",
            )


def print_table(results):
    """Prints the results, aligned: texts to the left, numbers to the right."""
    table = [COLUMNS, *rows(results)]
    widths = [max(len(row[column]) for row in table) for column in range(len(COLUMNS))]
    is_text = {0, 2}
    for row in table:
        cells = (
            cell.ljust(width) if column in is_text else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        )
        print("  ".join(cells).rstrip())


def write_json(path, document):
    """Writes everything that was measured."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.write("\n")
