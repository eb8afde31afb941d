#!/usr/bin/env python3
"""Turn the linked image into a UEFI application: elf2pe.py build/ingot.elf build/BOOTX64.EFI

Reads a position-independent x86-64 ELF whose addresses start at 0 (kernel/ingot.ld) and writes a PE32+ file (Microsoft PE
Format, revision of 2024; UEFI 2.10, 2.1.1). Sections keep their addresses. None may be both writable and executable, each
starts on a page, and the file is marked as NX compatible. R_X86_64_RELATIVE relocations become the .reloc section. The
functions' names and addresses go into a section behind it, for backtraces, and image_facts (kernel/image.h) says where.
"""
import struct
import sys

PAGE = 4096
IMAGE_BASE = 0x10000000  # where nothing is; the firmware relocates, and so does the image itself
R_X86_64_RELATIVE = 8
SHT_PROGBITS, SHT_SYMTAB, SHT_RELA, SHT_NOBITS = 1, 2, 4, 8
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR, SHF_TLS = 1, 2, 4, 0x400
STT_FUNC = 2
FACTS_MAGIC = 0x46474E49
SCN_CODE, SCN_DATA, SCN_EXECUTE, SCN_READ, SCN_WRITE = 0x20, 0x40, 0x20000000, 0x40000000, 0x80000000


def fail(message):
    sys.exit(f"elf2pe: {message}")


def align(value, to):
    return (value + to - 1) & ~(to - 1)


class Elf:
    def __init__(self, data):
        self.data = data
        if data[:6] != b"\x7fELF\x02\x01":
            fail("not a 64-bit little-endian ELF")
        kind, machine = struct.unpack_from("<HH", data, 16)
        # ld calls a position-independent program whose first segment is not at 0 an executable
        if kind not in (2, 3) or machine != 62:
            fail("not an x86-64 program")
        self.entry, = struct.unpack_from("<Q", data, 24)
        at, = struct.unpack_from("<Q", data, 40)
        size, count, names = struct.unpack_from("<HHH", data, 58)
        self.sections = []
        for i in range(count):
            name, kind, flags, address, offset, length, link, _, _, _ = struct.unpack_from("<IIQQQQIIQQ", data, at + i * size)
            self.sections.append({"name": name, "kind": kind, "flags": flags, "address": address, "offset": offset,
                                  "bytes": length, "link": link})
        for section in self.sections:
            section["name"] = self.string(self.sections[names], section["name"])

    def string(self, table, at):
        start = table["offset"] + at
        return self.data[start:self.data.index(b"\0", start)].decode()

    def contents(self, section):
        return self.data[section["offset"]:section["offset"] + section["bytes"]]

    def symbols(self):
        for section in self.sections:
            if section["kind"] == SHT_SYMTAB:
                strings = self.sections[section["link"]]
                for name, info, _, where, value, size in struct.iter_unpack("<IBBHQQ", self.contents(section)):
                    yield self.string(strings, name), info & 15, where, value, size


def load(elf):
    """The image's memory from address 0 on, and the PE sections: name, address, end, characteristics."""
    loaded = [s for s in elf.sections if s["flags"] & SHF_ALLOC and s["name"] != ".header" and s["bytes"]
              and not (s["flags"] & SHF_TLS and s["kind"] == SHT_NOBITS)]
    loaded.sort(key=lambda s: s["address"])
    end = max(s["address"] + s["bytes"] for s in loaded)
    memory = bytearray(align(end, PAGE))
    groups = []  # name, start, end in memory, end in file, characteristics
    for s in loaded:
        if s["kind"] != SHT_NOBITS:
            memory[s["address"]:s["address"] + s["bytes"]] = elf.contents(s)
        if s["flags"] & SHF_EXECINSTR:
            name, rights = ".text", SCN_CODE | SCN_EXECUTE | SCN_READ
            if s["flags"] & SHF_WRITE:
                fail(f"{s['name']} is writable and executable")
        elif s["name"] in (".data", ".bss"):
            name, rights = ".data", SCN_DATA | SCN_READ | SCN_WRITE
        elif s["name"] in (".rodata", ".relro", ".tdata", ".tlsinfo", ".rela.dyn", ".dynamic", ".dynsym", ".dynstr", ".hash", ".gnu.hash"):
            name, rights = ".rodata", SCN_DATA | SCN_READ
        else:
            fail(f"section {s['name']} is not in kernel/ingot.ld")
        stop = s["address"] + s["bytes"]
        file_stop = s["address"] if s["kind"] == SHT_NOBITS else stop
        if groups and groups[-1][0] == name:
            groups[-1][2] = stop
            groups[-1][3] = max(groups[-1][3], file_stop)
        else:
            if s["address"] % PAGE:
                fail(f"section {s['name']} does not start on a page")
            groups.append([name, s["address"], stop, file_stop, rights])
    return memory, groups


def relocations(elf, memory, groups):
    """Apply RELATIVE relocations for IMAGE_BASE and return the .reloc section that lets the firmware redo them."""
    pages = {}
    for section in elf.sections:
        if section["kind"] != SHT_RELA or not section["flags"] & SHF_ALLOC:
            continue
        for offset, info, addend in struct.iter_unpack("<QQq", elf.contents(section)):
            if info != R_X86_64_RELATIVE:
                fail(f"relocation of type {info & 0xffffffff} at {offset:#x}: only RELATIVE can be done")
            if any(g[4] & SCN_EXECUTE and g[1] <= offset < g[2] for g in groups):
                fail(f"relocation inside .text at {offset:#x}")
            struct.pack_into("<Q", memory, offset, IMAGE_BASE + addend)
            pages.setdefault(offset & ~(PAGE - 1), []).append(offset & (PAGE - 1))
    out = bytearray()
    for page in sorted(pages):
        entries = [0xA000 | offset for offset in sorted(pages[page])]  # IMAGE_REL_BASED_DIR64
        if len(entries) % 2:
            entries.append(0)  # IMAGE_REL_BASED_ABSOLUTE: padding
        out += struct.pack("<II", page, 8 + 2 * len(entries)) + struct.pack(f"<{len(entries)}H", *entries)
    # A file without any would count as not relocatable.
    return bytes(out) or struct.pack("<IIHH", 0, 12, 0, 0)


def symbol_table(elf):
    functions = sorted({(value, size, name) for name, kind, where, value, size in elf.symbols()
                        if kind == STT_FUNC and where != 0 and size})
    names, offsets = bytearray(), {}
    start = 4 + 12 * len(functions)
    for _, _, name in functions:
        if name not in offsets:
            offsets[name] = start + len(names)
            names += name.encode() + b"\0"
    entries = b"".join(struct.pack("<III", value, size, offsets[name]) for value, size, name in functions)
    return struct.pack("<I", len(functions)) + entries + bytes(names)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], "rb") as f:
        elf = Elf(f.read())
    memory, groups = load(elf)
    reloc = relocations(elf, memory, groups)
    symbols = symbol_table(elf)

    sections = []  # name, address, bytes in memory, contents, characteristics
    for name, start, stop, file_stop, rights in groups:
        sections.append((name, start, stop - start, start, file_stop, rights))
    at = align(groups[-1][2], PAGE)
    tail = bytearray()
    tail_base = at
    for name, contents in ((".reloc", reloc), (".symbols", symbols)):
        tail += bytes(at - tail_base - len(tail)) + contents
        sections.append((name, at, len(contents), at, at + len(contents), SCN_DATA | SCN_READ))
        if name == ".symbols":
            symbols_offset = at
        at = align(at + len(contents), PAGE)
    size_of_image = at

    facts = [value for name, _, where, value, _ in elf.symbols() if name == "image_facts" and where != 0]
    if len(facts) != 1 or struct.unpack_from("<I", memory, facts[0] + 12)[0] != FACTS_MAGIC:
        fail("image_facts is missing")
    struct.pack_into("<III", memory, facts[0], size_of_image, symbols_offset, len(symbols))
    memory += bytes(tail_base - len(memory)) + tail

    body = bytearray()
    table = bytearray()
    headers_size = align(64 + 4 + 20 + 240 + 40 * len(sections), 512)
    for name, address, size, start, file_stop, rights in sections:
        raw = memory[start:file_stop]
        raw += bytes(align(len(raw), 512) - len(raw))
        table += struct.pack("<8sIIIIIIHHI", name.encode(), size, address, len(raw), headers_size + len(body) if raw else 0,
                             0, 0, 0, 0, rights)
        body += raw

    def total(kind):
        return sum(align(s[2], 512) for s in sections if s[5] & kind)

    dos = struct.pack("<2s58xI", b"MZ", 64)
    coff = struct.pack("<4sHHIIIHH", b"PE\0\0", 0x8664, len(sections), 0, 0, 0, 240, 0x0022)  # executable, large addresses
    # DLL characteristics: high-entropy addresses, dynamic base, NX compatible
    optional = struct.pack("<HBBIIIIIQIIHHHHHHIIIIHHQQQQII", 0x20B, 1, 0, total(SCN_CODE), total(SCN_DATA), 0, elf.entry,
                           groups[0][1], IMAGE_BASE, PAGE, 512, 0, 0, 1, 0, 0, 0, 0, size_of_image, headers_size, 0,
                           10, 0x0020 | 0x0040 | 0x0100, 0, 0, 0, 0, 0, 16)
    reloc_address = next(s[1] for s in sections if s[0] == ".reloc")
    directories = b"".join(struct.pack("<II", *((reloc_address, len(reloc)) if i == 5 else (0, 0))) for i in range(16))
    header = dos + coff + optional + directories + table
    if headers_size > groups[0][1]:
        fail("the headers do not fit in front of the first section")
    with open(sys.argv[2], "wb") as f:
        f.write(header + bytes(headers_size - len(header)) + body)


main()
