#!/usr/bin/env python3
"""Write the fuzzers' first inputs into tests/fuzz/seeds: tests/fuzz/make_seeds.py. They are small, and kept in the repository."""
import pathlib
import struct
import sys
import zlib

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
import weights_files as wf  # noqa: E402  (found through the line above)


def write(target, name, data):
    folder = HERE / "seeds" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def gpt(partitions, blocks=12, block=512):
    """A disk of 12 blocks with a table of four entries."""
    entries = b"".join(struct.pack("<16s16sQQQ72s", b"\xa2" * 16, b"\x01" * 16, first, last, 0, name.encode("utf-16-le"))
                       for first, last, name in partitions).ljust(512, b"\0")

    def header(own, other, entries_at):
        raw = bytearray(struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, own, other, 3, blocks - 3, b"\x07" * 16,
                                    entries_at, 4, 128, zlib.crc32(entries)))
        raw[16:20] = struct.pack("<I", zlib.crc32(raw))
        return bytes(raw).ljust(block, b"\0")

    mbr = bytearray(block)
    mbr[450], mbr[510:512] = 0xEE, b"\x55\xaa"
    front = bytes(mbr) + header(1, blocks - 1, 2) + entries
    return front + b"\0" * ((blocks - 5) * block) + entries + header(blocks - 1, 1, blocks - 2)


def fat32(entries, chains, sectors=24, root=2):
    """A file system of one sector per cluster: a reserved sector, one FAT of a sector, 22 clusters."""
    boot = bytearray(512)
    boot[0:11] = b"\xeb\x58\x90SEEDS   "
    struct.pack_into("<HBHB", boot, 11, 512, 1, 1, 1)
    boot[21] = 0xF8
    struct.pack_into("<IIHHI", boot, 32, sectors, 1, 0, 0, root)
    boot[66], boot[71:82], boot[510:512] = 0x29, b"SEED       ", b"\x55\xaa"
    fat = [0] * 128
    fat[0], fat[1] = 0x0FFFFFF8, 0x0FFFFFFF
    for chain in chains:
        for cluster, following in zip(chain, chain[1:] + [0x0FFFFFFF]):
            fat[cluster] = following
    disk = bytearray(bytes(boot) + struct.pack("<128I", *fat) + b"\0" * 512 * (sectors - 2))
    for cluster, raw in entries.items():
        start = 1024 + (cluster - 2) * 512
        disk[start:start + len(raw)] = raw
    return bytes(disk)


def short(name, attributes=0, cluster=0, size=0):
    return struct.pack("<11sBBBHHHHHHHI", name, attributes, 0, 0, 0, 0, 0, cluster >> 16, 0, 0x5B74, cluster & 0xFFFF, size)


def long_name(text, name):
    total = 0
    for byte in name:
        total = ((total & 1) << 7) + (total >> 1) + byte & 0xFF
    units = list(struct.unpack(f"<{len(text)}H", text.encode("utf-16-le")))
    parts = -(-len(units) // 13)
    units += ([0] + [0xFFFF] * 12)[: parts * 13 - len(units)]
    raw = b""
    for part in range(parts, 0, -1):
        u = units[(part - 1) * 13: part * 13]
        raw += struct.pack("<B5HBBB6HH2H", part | (0x40 if part == parts else 0), *u[:5], 0x0F, 0, total, *u[5:11], 0, *u[11:])
    return raw


def elf(sections, bits):
    """Sections by name, their bytes behind the header, the headers last; 32-bit ones with a CRC in sh_info, as NVIDIA's FMC files have it."""
    names, body, headers = b"\0", b"", [b"\0" * (64 if bits == 64 else 40)]
    for name, data in [*sections, (".names", None)]:
        name_at = len(names)
        names += name.encode() + b"\0"
        data = names if data is None else data
        at = (64 if bits == 64 else 52) + len(body)
        body += data
        headers.append(struct.pack("<IIQQQQIIQQ", name_at, 1, 0, 0, at, len(data), 0, 0, 1, 0) if bits == 64 else
                       struct.pack("<10I", name_at, 1, 0, 0, at, len(data), 0, zlib.crc32(data), 4, 0))
    end, count = (64 if bits == 64 else 52) + len(body), len(headers)
    if bits == 64:
        start = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 0, 0, 1, 0, 0, end, 0, 64, 0, 0, 64, count, count - 1)
    else:
        start = struct.pack("<16sHHIIIIIHHHHHH", b"\x7fELF\1\1\1", 0, 0, 1, 0, 0, end, 0, 52, 0, 0, 40, count, count - 1)
    return start + body + b"".join(headers)


def nvfw(header, data):
    """The container of NVIDIA's firmware files: its own header, one that depends on the kind, data."""
    return struct.pack("<6I", 0x10de, 1, 0, 24, 24 + len(header), len(data)) + header + data


def booter(signatures, size):
    at = 24 + 36
    words = at + signatures * size
    header = struct.pack("<9I", at, signatures * size, words, words + 4, words + 8, 12, words + 20, words + 24, 36)
    header += b"S" * (signatures * size) + struct.pack("<6I", 0x300, 0, 1, 1, 3, signatures)
    return nvfw(header + struct.pack("<9I", 0, 0x100, 0x300, 0x200, 1, 0x100, 0x200, 0x100, 0), b"I" * 0x500)


def main():
    table = gpt([(3, 5, "first"), (6, 8, "second")])
    write("gpt", "two", b"\1" + table)
    write("gpt", "overlap", b"\1" + gpt([(3, 6, "first"), (6, 8, "second")]))
    write("gpt", "backup", b"\0" + table[:512] + b"\0" * 512 + table[1024:])
    write("gpt", "empty", b"\1" + gpt([]))

    root = short(b"SEED       ", 8) + long_name("A long file name.bin", b"ALONGF~1BIN") + short(b"ALONGF~1BIN", 0, 5, 1500) + short(
        b"DIR        ", 0x10, 3)
    sub = short(b".          ", 0x10, 3) + short(b"..         ", 0x10) + short(b"SMALL   TXT", 1, 9, 3)
    write("fat32", "files", fat32({2: root, 3: sub}, [[2], [3], [5, 6, 8], [9]]))
    write("fat32", "loop", fat32({2: root, 3: sub}, [[2], [3, 4, 3], [5, 6, 5], [9]]))
    inside = gpt([(3, 26, "fat")], blocks=30)
    inside = inside[:1536] + fat32({2: root, 3: sub}, [[2], [3], [5, 6, 8], [9]]) + inside[1536 + 24 * 512:]
    write("fat32", "partition", inside)

    def tensor(name, kind, shape, data):
        return wf.Tensor(name, kind, shape, data)

    tensors = [tensor("a", "F32", (2, 2), b"\0" * 16), tensor("b.weight", "BF16", (3,), b"\0" * 6), tensor("c", "F4", (2,), b"\0")]
    plain = wf.safetensors_bytes_of(wf.safetensors_header(tensors, {"format": "pt"}), b"", pad=False)[8:]
    write("safetensors", "three", struct.pack("<H", 23) + plain)
    write("safetensors", "empty", struct.pack("<H", 0) + b"{}")
    write("safetensors", "whole", b"\xff" + wf.safetensors_bytes_of(wf.safetensors_header(tensors), b"\0" * 23))
    write("safetensors", "escapes", struct.pack("<H", 0) + b' {"__metadata__":{"\\u00e4\\n":"\\ud83d\\ude00"}} ')

    blocks = [tensor("q4", "Q4_0", (2, 32), b"\0" * 36), tensor("f", "F32", (), b"\0" * 4), tensor("k", "Q4_K", (256,), b"\0" * 144)]
    keys = {"general.architecture": "llama", "tokens": ["<s>", "</s>"], "scores": [0.5, 1.0], "n": 7, "yes": True,
            "nested": wf.Typed(wf.ARRAY, (wf.ARRAY, [(wf.U8, [1, 2]), (wf.STRING, ["x"])])), "neg": wf.Typed(wf.I64, -1),
            "long": wf.Typed(wf.ARRAY, (wf.U16, list(range(40))))}
    for name, blob in {"v3": wf.gguf_bytes_of(blocks, keys), "v2": wf.gguf_bytes_of(blocks, {}, version=2),
                       "aligned": wf.gguf_bytes_of(blocks, {"general.name": "x"}, alignment=64), "none": wf.gguf_bytes_of([], {})}.items():
        write("gguf", name, b"\0\0\0" + blob)

    write("config", "all", b"\xef\xbb\xbf# seeds\r\nhostname = box\r\ntoken = 0123456789abcdef\r\nauth = token\r\nnetwork = static\r\n"
          b"address = 192.168.1.20/24 # ours\r\ngateway = 192.168.1.1\r\ndns = 9.9.9.9\r\nntp = pool.ntp.org\r\nport = 8080\r\n"
          b"cors_origin = https://example.org:8443\r\nhosts = a.example, b\r\nrestart_after_panic = 5\r\njob_queue = 9\r\nmdns = off\r\n")

    for name, text in {"load": '{"app":"load","args":{"file":"nvme0n1p1:/m.gguf","device":"cpu0","verify":"sha256"}}',
                       "matmul": '{"app":"matmul","args":{"m":64,"n":64,"k":64,"seed":1,"check":true}}',
                       "stats": '{"app":"stats","args":{"model":"m1"}}', "none": '{"app":"selftest"}',
                       "long": '{"app":"load","args":{"' + "\u20ac" * 30 + '":1}}'}.items():
        write("job_args", name, text.encode())

    def record(function, payload, length=None):
        return struct.pack("<BIHB", 1, function, len(payload) if length is None else length, len(payload)) + payload

    def sequencer(*words):
        return record(0x1002, struct.pack("<2I32x", 64, len(words)) + struct.pack(f"<{len(words)}I", *words))

    call = struct.pack("<BHB", 4, 24, 76)
    write("gsp_queue", "reply", record(76, bytes(24)) + call)
    write("gsp_queue", "large", record(76, bytes(100), 65456) + record(71, bytes(100), 9000) + struct.pack("<BHB", 4, 65000, 76))
    write("gsp_queue", "events", record(0x1006, struct.pack("<3I", 31, 0, 5) + b"a line".ljust(200, b"\0"), 272) + record(0x1004, bytes(48))
          + record(0x101C, b"\1") + record(0x1020, bytes(170)) + record(0x1003, bytes(40)) + b"\3" + record(0x1001, bytes(4)) + b"\6")
    write("gsp_queue", "sequencer", sequencer(0, 16, 7, 1, 16, 0xFF, 9, 2, 16, 0xFF, 9, 1000, 1, 3, 50, 4, 16, 7, 5, 6, 7, 8) + b"\3")
    write("gsp_queue", "poke", b"\0" + struct.pack("<IB", 4096 + 40, 4) + struct.pack("<I", 17) + b"\2" + struct.pack("<I", 3) + b"\3" + b"\7")

    firmware = {"program": b"\0\1" + elf([(".fwimage", b"I" * 100), (".fwversion", b"570.144\0"), (".fwsignature_ga10x", b"S" * 64)], 64),
                "boot_loader": b"\1\0" + nvfw(struct.pack("<21I", 5, 0, 0, 0, 0, 0, 0, 7, 0, 16, 16, 16, 32, 16, 1, 0, 0, 0, 0, 0, 0), b"B" * 64),
                "booter_1": b"\2\0" + booter(1, 16), "booter_2": b"\2\1" + booter(2, 64),
                "loader": b"\3\0" + nvfw(struct.pack("<6I", 0xfd, 0, 0, 32, 32, 16), b"L" * 48),
                "fmc": b"\4\0" + elf([("hash", b"H" * 48), ("signature", b"S" * 96), ("publickey", b"K" * 97), ("image", b"I" * 64)], 32)}
    for name, blob in firmware.items():
        write("gsp_firmware", name, blob)


if __name__ == "__main__":
    main()
