"""Disks, partition tables and FAT32 volumes as the appliance sees them over HTTP: good ones, and ones that are damaged.

One appliance holds them all, each on an NVMe drive of its own; the file systems come from mkfs.fat and mtools, the damage from here.
"""
import os
import shutil
import struct
import subprocess
import urllib.parse
import zlib

import pytest

from appliance import make_disk

MB = 1 << 20
UMLAUTS = "Ünïcode näme 模型.safetensors"
LONGEST = "x" * 251 + ".bin"


def tool(*command):
    subprocess.run([str(word) for word in command], check=True, timeout=120, capture_output=True,
                   env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C.UTF-8"})


def patch(path, offset, data):
    with open(path, "r+b") as disk:
        disk.seek(offset)
        disk.write(data)


def read(path, offset, size):
    with open(path, "rb") as disk:
        disk.seek(offset)
        return disk.read(size)


def reseal(path, partitions, block=512):
    """Write these (first, last) blocks as the disk's partitions, in both tables, with right checksums."""
    blocks = os.path.getsize(path) // block
    entries = b"".join(struct.pack("<16s16sQQQ72s", b"\xa2" * 16, bytes([i + 1]) * 16, first, last, 0, f"part {i}".encode("utf-16-le"))
                       for i, (first, last) in enumerate(partitions)).ljust(128 * 128, b"\0")
    for header_at in (1, blocks - 1):
        header = bytearray(read(path, header_at * block, 92))
        struct.pack_into("<I", header, 88, zlib.crc32(entries))
        struct.pack_into("<I", header, 16, 0)
        struct.pack_into("<I", header, 16, zlib.crc32(header))
        patch(path, header_at * block, header)
        patch(path, struct.unpack_from("<Q", header, 72)[0] * block, entries)


class Fat:
    """Just enough of a FAT32 volume, by its boot sector, to damage it on purpose."""

    def __init__(self, path, start):
        self.path, self.start = path, start
        boot = read(path, start, 512)
        sector, per_cluster, reserved, fats = struct.unpack_from("<HBHB", boot, 11)
        self.fat = start + reserved * sector
        self.fat_bytes = struct.unpack_from("<I", boot, 36)[0] * sector
        self.data = self.fat + fats * self.fat_bytes
        self.cluster_bytes = sector * per_cluster

    def first_cluster(self, short_name):
        """Of a file or directory in the root, which lies in cluster 2 here."""
        root = read(self.path, self.data, self.cluster_bytes)
        for at in range(0, len(root), 32):
            if root[at:at + 11] == short_name and root[at + 11] != 15:
                return struct.unpack_from("<H", root, at + 26)[0] | struct.unpack_from("<H", root, at + 20)[0] << 16
        raise AssertionError(f"{short_name} is not in the root directory")

    def set_next(self, cluster, value):
        for copy in range(2):
            patch(self.path, self.fat + copy * self.fat_bytes + 4 * cluster, struct.pack("<I", value))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("volumes")


@pytest.fixture(scope="module")
def disks(folder):
    """The drives, by what is the matter with them; nvmeN is the N-th."""
    hello = folder / "hello.txt"
    hello.write_bytes(b"hello, world\n")
    large = folder / "large.bin"
    large.write_bytes(os.urandom(100000))
    made = {}

    def disk(name, *files, **options):
        made[name] = folder / f"{name}.img"
        make_disk(made[name], *(files or (hello,)), **options)
        return made[name]

    disk("good", hello, f"{large}=/Some Folder/deeper/{UMLAUTS}", f"{hello}=/{LONGEST}", *(f"{hello}=/many/file {i}.txt" for i in range(60)),
         label="MODELS")
    disk("block4096", hello, f"{large}=/sub/large.bin", block=4096)

    patch(disk("primary_bad"), 512 + 60, b"\xff")
    both = disk("both_bad")
    patch(both, 512 + 60, b"\xff")
    patch(both, os.path.getsize(both) - 512 + 60, b"\xff")
    cut = disk("cut")
    os.truncate(cut, 32 * MB)
    reseal(disk("overlap"), [(2048, 40000), (40000, 50000), (60000, 60000)])
    reseal(disk("outside"), [(2048, 40000), (10, 20), (50000, 49999), (50001, 1 << 50)])

    damaged = disk("damaged", f"{large}=/LOOP.BIN", f"{large}=/FREE.BIN", f"{large}=/BAD.BIN", f"{large}=/SHORT.BIN", f"{hello}=/GOOD.TXT",
                   f"{hello}=/DIRLOOP/A.TXT", f"{hello}=/DIRFREE/A.TXT")
    fat = Fat(damaged, MB)
    loop = fat.first_cluster(b"LOOP    BIN")
    fat.set_next(loop + 2, loop)
    fat.set_next(fat.first_cluster(b"FREE    BIN") + 3, 0)
    fat.set_next(fat.first_cluster(b"BAD     BIN") + 1, 0x0FFFFFF7)
    fat.set_next(fat.first_cluster(b"SHORT   BIN"), 0x0FFFFFFF)
    for name, following in ((b"DIRLOOP    ", None), (b"DIRFREE    ", 0)):
        cluster = fat.first_cluster(name)
        # A full cluster of entries, so that a reader has to go on to the next one.
        entries = b"".join(b"F%-7dBIN" % i + b"\x20" + b"\0" * 20 for i in range(fat.cluster_bytes // 32))
        patch(damaged, fat.data + (cluster - 2) * fat.cluster_bytes, entries)
        fat.set_next(cluster, cluster if following is None else following)

    made["blank"] = folder / "blank.img"
    with open(made["blank"], "wb") as blank:
        blank.truncate(8 * MB)
    made["fat16"] = folder / "fat16.img"
    shutil.copy(made["overlap"], made["fat16"])
    reseal(made["fat16"], [(2048, 34815)])
    tool("mkfs.fat", "-F", "16", f"--offset={2048}", made["fat16"], 16384)
    made["whole"] = folder / "whole.img"
    with open(made["whole"], "wb") as whole:
        whole.truncate(40 * MB)
    tool("mkfs.fat", "-F", "32", "-s", "1", "-n", "STICK", made["whole"])
    tool("mcopy", "-i", made["whole"], hello, "::/hello.txt")
    made["bad_bpb"] = folder / "bad_bpb.img"
    shutil.copy(made["whole"], made["bad_bpb"])
    patch(made["bad_bpb"], 13, b"\3")  # sectors per cluster
    return made


@pytest.fixture(scope="module")
def vm(boot_shared, disks):
    options = {"block4096": "logical_block_size=4096,physical_block_size=4096"}
    return boot_shared(disks=[(path, options.get(name)) for name, path in disks.items()]).wait_ready()


@pytest.fixture(scope="module")
def volume(vm, disks):
    """volume("good"), volume("overlap", 2): what /v1/volumes says of a partition (None: of the bare disk)."""
    listed = {v["name"]: v for v in vm.get("/v1/volumes").json()["volumes"]}

    def find(disk, partition=1):
        name = f"nvme{list(disks).index(disk)}n1" + (f"p{partition}" if partition else "")
        return listed.get(name)

    return find


@pytest.fixture(scope="module")
def files(vm, volume):
    """files("good", "/dir"): the reply to a listing."""

    def get(disk, path="/", partition=1, **query):
        name = volume(disk, partition)["name"]
        return vm.get(f"/v1/volumes/{name}/files?" + urllib.parse.urlencode({"path": path, **query}))

    return get


def names(reply):
    assert reply.status == 200, reply
    return {entry["name"]: entry for entry in reply.json()["entries"]}


def test_good_volumes(vm, volume, disks):
    good, large_blocks, whole = volume("good"), volume("block4096"), volume("whole", None)
    for found in (good, large_blocks, whole):
        assert found["kind"] == "fat32" and found["readable"] and found["problem"] is None, found
    assert good["label"] == "MODELS" and whole["label"] == "STICK"
    assert good["offset_bytes"] == MB and good["size_bytes"] == os.path.getsize(disks["good"]) - 2 * MB
    assert volume("good", None) is None  # partitions stand for the disk
    blocks = {disk["name"]: disk["block_bytes"] for disk in vm.get("/v1/volumes").json()["disks"]}
    assert blocks["nvme0n1"] == 512 and blocks["nvme1n1"] == 4096 and len(blocks) == len(disks)


def test_listing(files):
    root = names(files("good"))
    assert set(root) == {"hello.txt", "Some Folder", LONGEST, "many"}
    assert root["hello.txt"]["size_bytes"] == 13 and root["hello.txt"]["type"] == "file"
    assert root["Some Folder"]["type"] == "directory"
    inside = names(files("good", "/some FOLDER/Deeper/"))
    assert inside[UMLAUTS]["size_bytes"] == 100000
    assert names(files("block4096", "/sub"))["large.bin"]["size_bytes"] == 100000
    assert set(names(files("whole", "/", None))) == {"hello.txt"}


def test_listing_in_pages(files):
    seen, offset = [], 0
    while offset is not None:
        page = files("good", "/many", offset=offset, limit=17).json()
        seen += [entry["name"] for entry in page["entries"]]
        offset = page["next_offset"]
    assert seen == [f"file {i}.txt" for i in range(60)]


@pytest.mark.parametrize("path, status, word", [
    ("/nothing", 404, "nothing"), ("/hello.txt", 400, "file"), ("/hello.txt/x", 400, "file"), ("/../etc", 400, ".."), ("/many/..", 400, ".."),
    ("/many\\x", 400, "backslash"), ("/a\nb", 400, "path"), ("/" + "y" * 256, 400, "255"), ("many", 400, "absolute"),
])
def test_bad_paths(files, path, status, word):
    reply = files("good", path)
    assert reply.status == status, reply
    assert reply.headers["content-type"] == "application/problem+json"
    assert word in reply.json()["detail"], reply


def test_backup_table_is_used_and_said(vm, volume, files):
    found = volume("primary_bad")
    assert found["readable"] and "backup is in use" in found["problem"] and "checksum" in found["problem"]
    assert "hello.txt" in names(files("primary_bad"))
    assert "backup is in use" in vm.serial_text()


def test_tables_that_cannot_be_used(volume):
    both = volume("both_bad", None)
    assert not both["readable"] and "partition table damaged" in both["problem"]
    assert volume("both_bad") is None
    blank = volume("blank", None)
    assert not blank["readable"] and "no known file system" in blank["problem"]


def test_disk_smaller_than_its_table(volume):
    found = volume("cut")
    assert not found["readable"] and "smaller than its partition table says" in found["problem"]


def test_bad_partitions_spoil_themselves_only(volume):
    assert "overlaps partition 2" in volume("overlap", 1)["problem"]
    assert "overlaps partition 1" in volume("overlap", 2)["problem"]
    assert "too small" in volume("overlap", 3)["problem"] or "no known file system" in volume("overlap", 3)["problem"]
    # Partition 1 was cut below its file system by the new table: that is said as well.
    assert "cut short" in volume("outside", 1)["problem"]
    assert "outside the usable blocks" in volume("outside", 2)["problem"]
    assert "starts at block 50000 but ends at 49999" in volume("outside", 3)["problem"]
    assert "smaller than its partition table" in volume("outside", 4)["problem"]


def test_other_file_systems(volume):
    assert "FAT12 and FAT16 are not supported" in volume("fat16")["problem"]
    assert "sectors per cluster is 3" in volume("bad_bpb", None)["problem"]


@pytest.mark.parametrize("name, word", [
    ("LOOP.BIN", "loops"), ("FREE.BIN", "is free"), ("BAD.BIN", "marked bad"), ("SHORT.BIN", "chain ends after"), ("DIRLOOP/X.BIN", "loops"),
    ("DIRFREE/X.BIN", "is free"),
])
def test_damaged_chains_fail_the_job(vm, volume, name, word):
    path = f"{volume('damaged')['name']}:/{name}"
    job = vm.job("load", file=path)
    assert job["state"] == "failed", job
    assert job["error"]["field"] == "file" and word in job["error"]["detail"], job["error"]


def test_damaged_directories(vm, files):
    for name in ("/DIRLOOP", "/DIRFREE"):
        reply = files("damaged", name)
        assert reply.status == 500 and "corrupt" in reply.json()["detail"], reply
    assert "GOOD.TXT" in names(files("damaged"))
    assert vm.get("/readyz").status == 200


def test_unreadable_volume_says_why(vm, volume):
    job = vm.job("load", file=f"{volume('fat16')['name']}:/x.safetensors")
    assert job["state"] == "failed" and "FAT12 and FAT16" in job["error"]["detail"]
    reply = vm.get(f"/v1/volumes/{volume('fat16')['name']}/files?path=/")
    assert reply.status >= 400 and "FAT12 and FAT16" in reply.json()["detail"], reply
    assert vm.get("/v1/volumes/nvme99n1p1/files?path=/").status == 404


def test_disks_are_not_written_to(vm, disks, folder):
    """After all of the above, the drives hold what they held: nothing here may write."""
    before = {name: zlib.crc32(path.read_bytes()) for name, path in disks.items() if name in ("good", "damaged", "primary_bad")}
    vm.job("load", file="nvme0n1p1:/hello.txt")
    for name, digest in before.items():
        assert zlib.crc32(disks[name].read_bytes()) == digest
    counters = vm.get("/metrics", headers={"Accept": "text/plain"}).body.decode()
    written = [line for line in counters.splitlines() if line.startswith("ingot_nvme_commands_total") and 'opcode="write' in line]
    assert all(line.rsplit(" ", 1)[1] == "0" for line in written), written
