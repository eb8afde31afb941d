#!/usr/bin/env python3
"""Compile gpu/kernels for NVIDIA devices: clang to PTX, ptxas to a cubin per architecture, packed into an assembler file.

The file defines nvidia_builtins[] and nvidia_builtin_count of gpu/nvidia/builtin.h; without ptxas the table is empty. Packed
means the LZ4 block format (lz4_Block_format.md). With --cubin the file is the cubin of one architecture as it is, for the ESP;
it stays empty when there is no ptxas that knows the architecture.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile


def pack(data):
    """Greedy matches through a hash of four bytes, the chain followed a few steps for a longer one."""
    out, at, anchor, last, chain = bytearray(), 0, 0, {}, [-1] * len(data)
    limit = len(data) - 12  # the format wants the last match to start at least 12 bytes before the end

    def more(rest):
        while rest >= 255:
            out.append(255)
            rest -= 255
        out.append(rest)

    def emit(literals, distance, length):
        token_literals, token_match = min(len(literals), 15), min(length - 4, 15) if length else 0
        out.append(token_literals << 4 | token_match)
        if token_literals == 15:
            more(len(literals) - 15)
        out.extend(literals)
        if length:
            out.extend(distance.to_bytes(2, "little"))
            if token_match == 15:
                more(length - 4 - 15)

    def insert(position):
        key = data[position:position + 4]
        chain[position] = last.get(key, -1)
        last[key] = position

    while at < limit:
        best, best_at, candidate, steps = 0, 0, last.get(data[at:at + 4], -1), 16
        while candidate >= 0 and at - candidate < 65536 and steps:
            length = 4
            room = len(data) - 5 - at
            while length < room and data[candidate + length] == data[at + length]:
                length += 1
            if length > best:
                best, best_at = length, candidate
            candidate, steps = chain[candidate], steps - 1
        if best < 4:
            insert(at)
            at += 1
            continue
        emit(data[anchor:at], at - best_at, best)
        for position in range(at, min(at + best, limit)):
            insert(position)
        at += best
        anchor = at
    emit(data[anchor:], 0, 0)
    return bytes(out)


def unpack(packed):
    """The inverse, to be sure."""
    out, at = bytearray(), 0

    def length(value):
        nonlocal at
        if value == 15:
            while True:
                value, at = value + packed[at], at + 1
                if packed[at - 1] != 255:
                    break
        return value

    while True:
        token, at = packed[at], at + 1
        literals = length(token >> 4)
        out += packed[at:at + literals]
        at += literals
        if at == len(packed):
            return bytes(out)
        distance = int.from_bytes(packed[at:at + 2], "little")
        at += 2
        for _ in range(length(token & 15) + 4):
            out.append(out[-distance])


def compile_kernels(clang, ptxas, wanted, sources):
    """{sm: cubin} for the architectures among `wanted` that this ptxas knows."""
    known = set(re.findall(r"sm_(\d+)\b", subprocess.run([ptxas, "--help"], capture_output=True, text=True).stdout))
    with tempfile.TemporaryDirectory() as folder:
        unity, ptx, cubin = (os.path.join(folder, name) for name in ("kernels.c", "kernels.ptx", "kernels.cubin"))
        with open(unity, "w") as file:
            file.writelines(f'#include "{source}"\n' for source in sources)
        # sm_75 is the oldest target; ptxas makes newer instructions of it where it can
        subprocess.run([clang, "--target=nvptx64-nvidia-cuda", "-march=sm_75", "-O3", "-fno-unroll-loops", "-std=gnu11",
                        "-ffreestanding", "-nostdlib", "-Wall", "-Werror", "-I.", "-S", unity, "-o", ptx], check=True)
        with open(ptx) as file:  # nothing in it is newer than PTX 7.0, which older ptxas read too
            text = re.sub(r"^\.version .*$", ".version 7.0", file.read(), count=1, flags=re.MULTILINE)
        with open(ptx, "w") as file:
            file.write(text)
        cubins = {}
        for sm in wanted:
            if str(sm) not in known:
                print(f"  PTXAS   {ptxas} does not know sm_{sm}: no kernels for it", file=sys.stderr)
                continue
            subprocess.run([ptxas, f"-arch=sm_{sm}", "-O3", ptx, "-o", cubin], check=True)
            with open(cubin, "rb") as file:
                cubins[sm] = file.read()
        return cubins


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--clang", default="clang-19")
    parser.add_argument("--ptxas", default="", help="path of ptxas; empty: an empty table")
    parser.add_argument("--sm", default="75,80,86,89,90,100,120")
    parser.add_argument("--name", default="nvidia", help="the table is NAME_builtins[]")
    parser.add_argument("--cubin", action="store_true", help="no table: the bare cubin for the one architecture of --sm")
    parser.add_argument("out")
    parser.add_argument("sources", nargs="*")
    args = parser.parse_args()
    cubins = {}
    if not args.ptxas or not shutil.which(args.clang):
        missing = args.clang if args.ptxas else "ptxas (from the CUDA toolkit, or `make ptxas`)"
        if args.sources:  # without any, an empty table is what was asked for
            print(f"  PTXAS   {missing} is not there: no kernels for NVIDIA devices", file=sys.stderr)
    else:
        cubins = compile_kernels(args.clang, args.ptxas, [int(sm) for sm in args.sm.split(",")], args.sources)
    if args.cubin:
        with open(args.out, "wb") as file:
            file.write(cubins.get(int(args.sm), b""))
        return
    lines, table = [], []
    for sm, data in cubins.items():
        packed = pack(data)
        assert unpack(packed) == data
        lines.append(f"{args.name}_cubin_{sm}:")
        lines += [".byte " + ",".join(map(str, packed[i:i + 64])) for i in range(0, len(packed), 64)]
        table.append(f".long {sm}, 0\n.quad {args.name}_cubin_{sm}, {len(packed)}, {len(data)}")
    text = [".section .rodata", ".balign 16", *lines, ".balign 4", f".global {args.name}_builtin_count",
            f"{args.name}_builtin_count: .long {len(table)}", '.section .data.rel.ro, "aw"', ".balign 8",
            f".global {args.name}_builtins", f"{args.name}_builtins:", *table, ".quad 0", '.section .note.GNU-stack,"",@progbits']
    with open(args.out, "w") as file:
        file.write("\n".join(text) + "\n")


main()
