"""Windows and turns: what one measurement is, and when there are enough of them."""

import statistics
import time

import checks
from source import RigError
from switches import is_warm_over

# After a switch is resumed, and before it is measured: until the core's caches are its own again.
SETTLE_S = 0.2
# Packets that a switch may have in hand when it is stopped: bursts that it gathers, and the one that it is at.
IN_FLIGHT_MAX = 1_024
# Frames of each queue that are looked at while a window lasts.
LOOK_COUNT = 8


def window(switch, seconds):
    """Measures a running switch for a while, on the CPU clocks of its polling threads, and looks at what it sends."""
    start, seen_start = switch.shared.rx(), switch.shared.tx()
    for _ in range(LOOK_COUNT):
        time.sleep(seconds / LOOK_COUNT)
        _look(switch, seen_start)
    end = switch.shared.rx()
    queues = [(before, after) for before, after in zip(start, end) if after.packets > before.packets]
    if len(queues) < switch.worker_count:
        raise RigError(f"{switch.name} received nothing in {seconds} s: its core is taken by something else")
    tsc_hz = switch.shared.tsc_hz()
    # Each queue has a thread, and they run side by side: their rates add up.
    cpu_s = [(after.cpu_ns - before.cpu_ns) / 1e9 for before, after in queues]
    wall_s = [(after.tsc - before.tsc) / tsc_hz for before, after in queues]
    counts = [after.packets - before.packets for before, after in queues]
    return {
        "packets": sum(counts),
        "packets_per_cpu_second": sum(count / of for count, of in zip(counts, cpu_s)),
        "packets_per_second": sum(count / of for count, of in zip(counts, wall_s)),
        "cycles_per_packet": sum(cpu_s) * tsc_hz / sum(counts),
        "cpu_share": sum(cpu_s) / sum(wall_s),
    }


def _look(switch, start):
    """Raises unless the last frame of each queue is as it must be, and all since the start are of the right size."""
    if switch.expected is None:
        return
    for before, sample in zip(start, switch.shared.tx()):
        if sample.packets > before.packets:
            checks.looks(switch.name, sample, switch.expected)
            checks.mean_size(switch.name, before, sample, switch.expected["mean_size"])


def turn(switch, seconds):
    """Resumes a paused switch, measures it, and pauses it again."""
    if switch.has_rested():
        switch.resume()
        switch.wait_until_warm()
        switch.pause()
    received, sent = switch.shared.totals()
    switch.resume()
    time.sleep(SETTLE_S)
    before = switch.counters()
    result = window(switch, seconds)
    after = switch.counters()
    switch.pause()
    received, sent = (now - then for now, then in zip(switch.shared.totals(), (received, sent)))
    if abs(received - sent) > IN_FLIGHT_MAX:
        raise RigError(f"{switch.name} received {received} packets in a turn, and sent {sent}: it loses some")
    own = {name: after[name] - before[name] for name in after}
    if own and not is_warm_over(own["misses"], own["rx_packets"]):
        raise RigError(f"{switch.name} missed {own['misses']} packets while it was measured: it was not warm")
    if "busy_cycles" in own:
        result["own_busy_cycles_per_packet"] = own["busy_cycles"] / max(own["rx_packets"], 1)
        result["emc_hit_ratio"] = own["emc_hits"] / max(own["rx_packets"], 1)
        result["masks_tried_per_packet"] = own["megaflow_probes"] / max(own["rx_packets"], 1)
    return result


def summary(repeats):
    """Medians, and how far the middle half of the values lies apart, relative to the median."""
    cycles = sorted(repeat["cycles_per_packet"] for repeat in repeats)
    median = statistics.median(cycles)
    return {
        "packets_per_cpu_second": statistics.median(r["packets_per_cpu_second"] for r in repeats),
        "packets_per_second": statistics.median(r["packets_per_second"] for r in repeats),
        "cycles_per_packet": median,
        # Noise only ever adds: what is closest to the switch's own cost.
        "cycles_per_packet_best": cycles[0],
        "spread": _quartile_distance(cycles) / median,
        "repeats": repeats,
    }


def _quartile_distance(values):
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return high - low


def in_turns(switches, options):
    """Measures switches one after another, again and again, until their medians can be trusted or the turns are
    used up. Returns the summary of each, by name. All must be paused."""
    repeats = {switch.name: [] for switch in switches}
    for count in range(1, options.repeats_max + 1):
        for switch in switches:
            repeats[switch.name].append(turn(switch, options.window))
        spread = max(summary(values)["spread"] for values in repeats.values())
        if count >= options.repeats and spread <= options.spread_max:
            break
    return {name: summary(values) for name, values in repeats.items()}
