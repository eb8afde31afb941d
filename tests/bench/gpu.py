#!/usr/bin/env python3
"""Run Ingot's and CUDA's GPU benchmarks in turn on the same box, print them side by side and check the targets.

gpu.py INGOT CUDA [--json FILE]: the programs of tests/bench/gpu_ingot.c and gpu_cuda.cu. Each runs twice, alternating; of each
figure the better median counts, for both alike.
"""
import argparse
import json
import subprocess
import sys
import time

FIRST_RUNS = 11


def figures(program):
    """{name: (unit, median, smallest, largest)}"""
    output = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    rows = (line.split("\t") for line in output.splitlines())
    return {name: (unit, *map(float, values)) for name, unit, *values in rows}


def first_result_ms(program):
    times = []
    for _ in range(FIRST_RUNS):
        start = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        output = subprocess.run([program, "--first"], check=True, capture_output=True, text=True).stdout
        times.append((int(output) - start) / 1e6)
    times.sort()
    return ("ms", times[FIRST_RUNS // 2], times[0], times[-1])


def better(a, b):
    return max(a, b, key=lambda row: row[1] if row[0] == "GB/s" else -row[1])


def measure(programs):
    results = {program: {} for program in programs}
    for _ in range(2):
        for program in programs:
            for name, row in figures(program).items():
                results[program][name] = better(results[program].get(name, row), row)
    for program in programs:
        results[program]["process start to first result"] = first_result_ms(program)
    return results


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("ingot")
    parser.add_argument("cuda")
    parser.add_argument("--json")
    args = parser.parse_args()
    results = measure([args.ingot, args.cuda])
    ingot, cuda = results[args.ingot], results[args.cuda]

    print(f"{'':48} {'Ingot':>34} {'CUDA':>34}  ratio")
    for name in dict.fromkeys([*ingot, *cuda]):
        cells = [f"{row[1]:9.2f} [{row[2]:.2f}-{row[3]:.2f}] {row[0]}" if row else "-" for row in (ingot.get(name), cuda.get(name))]
        ratio = f"{ingot[name][1] / cuda[name][1]:6.3f}" if name in ingot and name in cuda else ""
        print(f"{name:48} {cells[0]:>34} {cells[1]:>34} {ratio}")

    launch, each = "empty kernel, launch to completion", "launches back to back, each submitted"
    first, device = "process start to first result", "device copy 1 GiB, read + written"
    targets = [("launch to completion at most half of CUDA's", ingot[launch][1] <= cuda[launch][1] / 2),
               ("... and below a graph of one kernel", ingot[launch][1] < cuda["graph of one empty kernel"][1]),
               ("twice CUDA's launches per second", ingot[each][1] <= cuda[each][1] / 2),
               ("device copy at least 95% of CUDA's", ingot[device][1] >= 0.95 * cuda[device][1]),
               ("streaming kernel at least 95% of that copy",
                ingot["streaming kernel 1 GiB, read + written"][1] >= 0.95 * cuda[device][1]),
               ("first result in at most half of CUDA's time", ingot[first][1] <= cuda[first][1] / 2)]
    for name in ingot:
        if name.startswith(("host to", "device to")):
            targets.append((f"{name} at least 0.98 of CUDA's", ingot[name][1] >= 0.98 * cuda[name][1]))
    print()
    for what, is_met in targets:
        print(f"{'met   ' if is_met else 'MISSED'} {what}")
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"ingot": ingot, "cuda": cuda}, file, indent=1)
    missed = sum(not is_met for _, is_met in targets)
    print(f"{len(targets) - missed} met, {missed} missed")
    return missed != 0


sys.exit(main())
