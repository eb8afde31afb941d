"""What `make image`, images/mkdisk and images/usb make, read by programs that are not ours."""
import os
import pathlib
import re
import struct
import subprocess

import pytest

from appliance import BUILD, ROOT, make_disk, make_image

MB = 1 << 20


def run(*command, **options):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}, **options)


def partition(image, out):
    """The bytes of partition 1, by sfdisk's reading of the table."""
    dump = run("sfdisk", "-J", image)
    table = __import__("json").loads(dump.stdout)["partitiontable"]
    part, size = table["partitions"][0], table.get("sectorsize", 512)
    with open(image, "rb") as source, open(out, "wb") as target:
        source.seek(part["start"] * size)
        target.write(source.read(part["size"] * size))
    return part


def test_packed_image_by_its_block_map(tmp_path):
    """bmaptool writes the packed image over a stick full of other data: the result is a sound disk with the same files."""
    made = run(ROOT / "images/dist", BUILD / "ingot.img", tmp_path, "ingot")
    assert made.returncode == 0, made
    assert run("sha256sum", "-c", "SHA256SUMS", cwd=tmp_path).returncode == 0
    stick = tmp_path / "stick"
    size = (BUILD / "ingot.img").stat().st_size
    stick.write_bytes(os.urandom(MB) * (size // MB))
    copied = run("bmaptool", "copy", "--bmap", tmp_path / "ingot.img.bmap", tmp_path / "ingot.img.zst", stick)
    assert copied.returncode == 0, copied
    assert "No errors detected" in run("sfdisk", "--verify", stick).stdout
    partition(stick, tmp_path / "esp")
    check = run("fsck.fat", "-n", tmp_path / "esp")
    assert check.returncode == 0, check
    extracted = run("mcopy", "-n", "-i", tmp_path / "esp", "::/EFI/BOOT/BOOTX64.EFI", tmp_path / "out.efi")
    assert extracted.returncode == 0 and (tmp_path / "out.efi").read_bytes() == (BUILD / "BOOTX64.EFI").read_bytes()


def test_image_has_a_valid_table_and_esp(tmp_path):
    image = BUILD / "ingot.img"
    verify = run("sfdisk", "--verify", image)
    assert "No errors detected" in verify.stdout, verify
    part = partition(image, tmp_path / "esp")
    assert part["type"].upper() == "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
    check = run("fsck.fat", "-n", tmp_path / "esp")
    assert check.returncode == 0, check
    assert b"FAT32" in (tmp_path / "esp").read_bytes()[:96]
    for name, path in (("BOOTX64.EFI", BUILD / "BOOTX64.EFI"), ("ingot.conf", ROOT / "images/ingot.conf")):
        inside = "::/EFI/BOOT/BOOTX64.EFI" if name.endswith("EFI") else "::/ingot.conf"
        copy = tmp_path / name
        assert run("mcopy", "-i", tmp_path / "esp", inside, copy).returncode == 0
        assert copy.read_bytes() == path.read_bytes()


def test_efi_image_is_small_and_has_no_writable_code():
    data = (BUILD / "BOOTX64.EFI").read_bytes()
    assert len(data) < 1.5e6
    pe = struct.unpack_from("<I", data, 0x3C)[0]
    assert data[pe:pe + 4] == b"PE\0\0"
    sections, optional_size = struct.unpack_from("<H", data, pe + 6)[0], struct.unpack_from("<H", data, pe + 20)[0]
    optional = pe + 24
    assert struct.unpack_from("<H", data, optional)[0] == 0x20B  # PE32+
    section_alignment, subsystem, flags = (struct.unpack_from("<I", data, optional + 32)[0], struct.unpack_from("<H", data, optional + 68)[0],
                                           struct.unpack_from("<H", data, optional + 70)[0])
    assert section_alignment == 4096
    assert subsystem == 10  # EFI application
    assert flags & 0x100, "not marked NX compatible"
    for n in range(sections):
        at = optional + optional_size + 40 * n
        rights = struct.unpack_from("<I", data, at + 36)[0]
        assert not (rights & 0x20000000 and rights & 0x80000000), f"{data[at:at + 8]} is writable and executable"


@pytest.mark.parametrize("block", [512, 4096])
def test_mkdisk_is_read_back_by_other_tools(tmp_path, block):
    small, nested = tmp_path / "small.bin", tmp_path / "a long name, with spaces.bin"
    small.write_bytes(os.urandom(1))
    nested.write_bytes(os.urandom(3 * MB + 17))
    disk = make_disk(tmp_path / "disk.img", small, f"{nested}=/models/deep/{nested.name}", block=block, label="TEST")
    size = disk.stat().st_size
    with open(disk, "rb") as image:
        image.seek(block)
        assert image.read(8) == b"EFI PART"
        image.seek(size - block)
        assert image.read(8) == b"EFI PART"
        image.seek(MB)
        file_system = image.read(size - 2 * MB)
    (tmp_path / "fs").write_bytes(file_system)
    check = run("fsck.fat", "-n", tmp_path / "fs")
    assert check.returncode == 0, check
    assert run("mcopy", "-i", tmp_path / "fs", "::/small.bin", tmp_path / "out1").returncode == 0
    assert run("mcopy", "-i", tmp_path / "fs", f"::/models/deep/{nested.name}", tmp_path / "out2").returncode == 0
    assert (tmp_path / "out1").read_bytes() == small.read_bytes()
    assert (tmp_path / "out2").read_bytes() == nested.read_bytes()


@pytest.mark.parametrize("arguments,message", [
    (["/nonexistent"], "no such file"),
    (["--size", "1", "LICENSE"], "need at least"),
])
def test_mkdisk_refuses_with_one_line_and_leaves_nothing(tmp_path, arguments, message):
    out = tmp_path / "disk.img"
    result = run(ROOT / "images/mkdisk", out, *arguments, cwd=ROOT)
    assert result.returncode != 0
    assert message in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


# ---- files for GPUs ----

CHIP = re.compile(r'\{"(\w+)", "(\w+)", 0x\w+, 0x\w+,[^}]*\.sm = (\d+)', re.DOTALL)


def gpu_files(tmp_path, *chips):
    """{path on the ESP: source}, with stand-ins for the kernels."""
    kernels = tmp_path / "kernels"
    kernels.mkdir(exist_ok=True)
    for sm in (75, 80, 86, 89, 90, 100, 120):
        (kernels / f"sm_{sm}.cubin").write_bytes(b"cubin")
    result = run(ROOT / "images/gpufiles", "--firmware", BUILD / "deps/firmware", "--kernels", kernels, *chips)
    assert result.returncode == 0, result
    return {target: pathlib.Path(source) for source, target in (line.split("=") for line in result.stdout.splitlines())}


def test_gpu_files_of_every_chip_that_the_driver_knows(tmp_path):
    assert run(ROOT / "setup/firmware", BUILD / "deps").returncode == 0
    chips = CHIP.findall((ROOT / "gpu/nvidia/gsp/chips.c").read_text())
    assert len(chips) >= 24
    for chip, folder, sm in chips:
        files = gpu_files(tmp_path, chip)
        assert all(source.stat().st_size > 0 for source in files.values())
        old = folder in ("tu102", "tu116", "ga100")
        kinds = ["fmc"] if chip.startswith(("gh", "gb")) else ["booter_load", "booter_unload"]
        assert set(files) == {f"/firmware/nvidia/kernels/sm_{sm}.cubin", f"/firmware/nvidia/{'tu102' if old else 'ga102'}/gsp/gsp-570.144.bin",
                              *(f"/firmware/nvidia/{folder}/gsp/{kind}-570.144.bin" for kind in ["bootloader", *kinds, *(["gen_bootloader"] if old else [])])}
    assert set(gpu_files(tmp_path, "all")) == set().union(*(gpu_files(tmp_path, chip) for chip, _, _ in chips))


def test_gpu_files_are_in_the_image_byte_for_byte(tmp_path):
    assert run(ROOT / "setup/firmware", BUILD / "deps").returncode == 0
    files = gpu_files(tmp_path, "TU106,tu116")
    disk = make_disk(tmp_path / "disk.img", *(f"{source}={target}" for target, source in files.items()))
    with open(disk, "rb") as image:
        image.seek(MB)
        (tmp_path / "fs").write_bytes(image.read(disk.stat().st_size - 2 * MB))
    for target, source in files.items():
        assert run("mcopy", "-n", "-i", tmp_path / "fs", f"::{target}", tmp_path / "out").returncode == 0
        assert (tmp_path / "out").read_bytes() == source.read_bytes()
        (tmp_path / "out").unlink()


def test_gpu_files_of_an_unknown_chip():
    result = run(ROOT / "images/gpufiles", "rtx3070")
    assert result.returncode != 0 and result.stdout == ""
    assert result.stderr.startswith("GPU=rtx3070: no such chip; known are: tu102 ") and len(result.stderr.splitlines()) == 1


# ---- the flasher ----

def usb(*arguments, stdin="", env=None):
    return subprocess.run([str(ROOT / "images/usb"), *map(str, arguments)], input=stdin, capture_output=True, text=True, timeout=120,
                          env={**os.environ, **(env or {})})


def test_usb_writes_and_verifies(tmp_path):
    image, stick = make_image(tmp_path / "i.img", "auth = none\n"), tmp_path / "stick"
    with open(stick, "wb") as file:
        file.truncate(image.stat().st_size + 5 * MB)
    result = usb(image, stick, stdin="yes\n", env={"INGOT_USB_TEST": str(stick)})
    assert result.returncode == 0, result
    assert stick.read_bytes()[:image.stat().st_size] == image.read_bytes()
    assert "Everything on" in result.stdout and "Reading back" in result.stdout
    assert "copied" in result.stderr  # dd's progress


def test_usb_writes_nothing_without_yes(tmp_path):
    image, stick = make_image(tmp_path / "i.img", "auth = none\n"), tmp_path / "stick"
    with open(stick, "wb") as file:
        file.truncate(image.stat().st_size)
    for answer in ("", "no\n", "y\n", "YES\n"):
        result = usb(image, stick, stdin=answer, env={"INGOT_USB_TEST": str(stick)})
        assert result.returncode != 0 and "nothing was written" in result.stderr
    assert not any(stick.read_bytes())


def fake_tools(folder, lsblk, findmnt="exit 1"):
    """A PATH whose lsblk and findmnt answer as told."""
    folder.mkdir()
    for name, body in (("lsblk", lsblk), ("findmnt", findmnt)):
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.fixture
def block_device():
    """Any block device node: nothing is opened for writing before the checks that these tests expect to fail."""
    for entry in os.scandir("/sys/block"):
        if os.path.exists(f"/dev/{entry.name}"):
            return f"/dev/{entry.name}"
    # none in this sandbox: a node that no driver answers does as well
    node = f"/tmp/ingot-node-{os.getpid()}"
    subprocess.run(["mknod", node, "b", "240", "0"], check=True)
    return node


@pytest.mark.parametrize("lsblk,findmnt,message", [
    ('case "$*" in *TYPE*) echo part;; esac', "exit 1", "not a whole disk"),
    ('case "$*" in *MOUNTPOINT*) echo "x1 /media/stick";; *TYPE*) echo disk;; esac', "exit 1", "is mounted (/dev/x1 on /media/stick)"),
    ('case "$*" in *MOUNTPOINT*) ;; *"-dno TYPE"*) echo disk;; *TYPE*) printf "disk\\npart\\ncrypt\\n";; esac', "exit 1", "in use by: crypt"),
    ('case "$*" in *-nsro*) basename "$SYSTEM";; *TYPE*) echo disk;; esac', 'echo "$SYSTEM"', "this system runs from"),
])
def test_usb_refuses_disks_in_use(tmp_path, block_device, lsblk, findmnt, message):
    image = make_image(tmp_path / "i.img", "auth = none\n")
    result = usb(image, block_device, stdin="yes\n", env={**fake_tools(tmp_path / "bin", lsblk, findmnt), "SYSTEM": block_device})
    assert result.returncode != 0 and message in result.stderr, result


def test_usb_refuses_what_is_no_disk(tmp_path):
    image = make_image(tmp_path / "i.img", "auth = none\n")
    regular = tmp_path / "regular"
    regular.write_bytes(b"x" * MB)
    assert "not a disk" in usb(image, regular, stdin="yes\n").stderr
    assert "no such device" in usb(image, tmp_path / "missing", stdin="yes\n").stderr
    assert "no such image" in usb(tmp_path / "missing.img", "/dev/null").stderr
    assert "name the stick" in usb(image, "").stderr


def test_make_help_lists_every_command():
    text = run("make", "help", cwd=ROOT).stdout
    for name in re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M):
        if name not in ("force", "unit-binaries", "fuzzers"):
            assert f"make {name}" in text, name
