"""What came of the suites: counts per directory, and the failures against those that are expected, with reasons."""

import collections
import os

EXPECTED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "expected.txt")

Result = collections.namedtuple("Result", "file test failure seconds")
Expected = collections.namedtuple("Expected", "file test reason")


def complete(files, results):
    """The results of all tests that there are; one that left no result has failed."""
    everything = []
    for name, _, _, tests in files:
        done = results.get(name, [])
        everything += [Result(name, one["test"], one["failure"], one["seconds"]) for one in done]
        everything += [Result(name, test, "It was not run.", 0) for test in tests[len(done):]]
    return everything


def read_expected(switch):
    """Entries of expected.txt that hold for the switch: a reason, and below it, indented, `FILE: TEST`."""
    entries, reason, applies = [], [], True
    with open(EXPECTED, encoding="utf-8") as lines:
        for line in lines:
            if not line.strip():
                reason, applies = [], True
            elif line.startswith("#"):
                continue
            elif line.startswith("only "):
                applies = line.split()[1] == switch
            elif not line.startswith(" "):
                reason.append(line.strip())
            elif applies:
                file, _, test = line.strip().partition(": ")
                entries.append(Expected(file, test, " ".join(reason)))
    return entries


def _matches(expected, result):
    file = expected.file
    return (result.file == file or file.endswith("/") and result.file.startswith(file)) and \
        expected.test in ("*", result.test)


def _directory(result):
    return "/".join(result.file.split("/")[:2])


def table(results):
    """Counts per suite and directory, as rows of text."""
    counts = collections.defaultdict(lambda: [0, 0, 0.0])
    for result in results:
        for key in (_directory(result), result.file.split("/")[0], "all"):
            counts[key][0] += 1
            counts[key][1] += result.failure is None
            counts[key][2] += result.seconds
    order = sorted(counts, key=lambda key: (key == "all", key))
    return [(key, str(counts[key][1]), str(counts[key][0] - counts[key][1]), str(counts[key][0]),
             f"{counts[key][2]:.0f}") for key in order]


def tell(switch, results, seconds, markdown=None):
    """Prints the summary; the exit code is 0 only if all tests passed that are not expected to fail."""
    expected = read_expected(switch)
    unexpected, by_reason, unused = [], collections.defaultdict(list), set(expected)
    for result in results:
        entry = next((entry for entry in expected if _matches(entry, result)), None)
        if result.failure is None:
            continue
        if entry is None:
            unexpected.append(result)
        else:
            by_reason[entry.reason].append(result)
            unused.discard(entry)
    ran = {result.file for result in results}
    passed_anyway = [entry for entry in unused
                     if any(name == entry.file or name.startswith(entry.file) for name in ran)]
    passed = sum(result.failure is None for result in results)

    rows = [("directory", "passed", "failed", "tests", "seconds")] + table(results)
    for row in rows:
        print(f"{row[0]:<16}" + "".join(f"{cell:>9}" for cell in row[1:]))
    for result in unexpected:
        print(f"FAILED: {result.file}: {result.test}\n        {result.failure}")
    for reason, failed in by_reason.items():
        print(f"{len(failed)} expected to fail: {reason}")
    for entry in sorted(passed_anyway):
        print(f"expected to fail, and did not: {entry.file}: {entry.test}")
    print(f"It took {seconds:.0f} s.")
    expected_count = sum(map(len, by_reason.values()))
    print(f"{passed} passed, {len(unexpected)} failed, {expected_count} skipped")
    if markdown:
        with open(markdown, "w", encoding="utf-8") as file:
            file.write(_markdown(switch, rows, unexpected, by_reason))
    return 1 if unexpected or not results else 0


def _markdown(switch, rows, unexpected, by_reason):
    lines = [
        "# Conformance", "",
        f"How `{switch}` does in os-ken's OpenFlow switch test suites; `scripts/conformance --switch {switch} "
        "--markdown FILE` writes this file.", "",
        "| " + " | ".join(rows[0][:4]) + " |", "|---|---:|---:|---:|"]
    lines += ["| " + " | ".join(row[:4]) + " |" for row in rows[1:]]
    lines += ["", "## Failures that are expected", ""]
    for reason, failed in by_reason.items():
        lines += [f"{reason} ({len(failed)})", ""]
        lines += sorted({f"- `{result.file}`" for result in failed}) + [""]
    lines += ["## Other failures", ""]
    lines += [f"- `{result.file}`: `{result.test}`: {result.failure}" for result in unexpected] or ["None."]
    return "\n".join(lines) + "\n"
