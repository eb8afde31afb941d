"""NVMe drives of every kind, and drives that fail: QEMU's controllers, blkdebug and nbdkit below them. The appliance goes on serving.

One appliance has most of the drives; a fault on one must not be felt on another. Every drive's file is compared afterwards:
nothing here asks for a write.
"""
import hashlib
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

import pytest

import appliance
import weights_files as wf

MB = 1 << 20
NAME = "m.safetensors"


def make_drive(folder, name, seed, megabytes=4, **options):
    """A disk with one weight file; its path, and the file's SHA-256."""
    tensors = wf.random_tensors(seed=seed, bytes_about=megabytes * MB)
    source = folder / f"{name}.safetensors"
    wf.write_safetensors(source, tensors)
    disk = appliance.make_disk(folder / f"{name}.img", f"{source}=/{NAME}", label=name.upper(), **options)
    return disk, hashlib.sha256(source.read_bytes()).hexdigest()


def place_in(disk, source, at):
    """Where the block that holds byte `at` of a file lies on a disk."""
    data = source.read_bytes()
    start = at // 512 * 512
    return disk.read_bytes().index(data[start:start + 512])


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


class Nbdkit:
    """A drive's file served by nbdkit with filters between. Ends with the test."""

    def __init__(self, folder, disk, *filters, **parameters):
        # Unix socket paths are short: not below pytest's long folders.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ingot-nbd-"))
        self.socket, self.control = self.folder / "nbd", self.folder / "pause"
        command = ["nbdkit", "--foreground", "--readonly", "--unix", self.socket, *[f"--filter={name}" for name in filters], "file", disk]
        if "pause" in filters:
            command.append(f"pause-control={self.control}")
        command += [f"{key.replace('_', '-')}={value}" for key, value in parameters.items()]
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while not self.socket.exists():
            assert self.process.poll() is None and time.monotonic() < end, "nbdkit did not start"
            time.sleep(0.02)

    def drive(self, node):
        return f"if=none,id={node},format=raw,readonly=on,file=nbd+unix:///?socket={self.socket}"

    def pause_control(self, letter):
        """p: pause, r: resume; the filter answers with the letter in upper case once that is so."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(20)
            control.connect(str(self.control))
            control.sendall(letter.encode())
            assert control.recv(1) == letter.upper().encode()

    def stop(self):
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=10)
        for path in (self.socket, self.control):
            path.unlink(missing_ok=True)
        self.folder.rmdir()


@pytest.fixture(scope="module")
def nbdkit(tmp_path_factory):
    running = []

    def start(disk, *filters, **parameters):
        running.append(Nbdkit(tmp_path_factory.mktemp("nbd"), disk, *filters, **parameters))
        return running[-1]

    yield start
    for server in running:
        server.stop()


class Zoo:
    pass


@pytest.fixture(scope="module")
def zoo(boot_shared, nbdkit, tmp_path_factory):
    """An appliance with one drive of each kind. Names follow the order on the bus, which is the order here."""
    folder = tmp_path_factory.mktemp("drives")
    zoo = Zoo()
    zoo.folder, zoo.disks, zoo.sums = folder, {}, {}
    plan = [
        ("plain", {}), ("block4k", {"block": 4096}), ("mdts1", {}), ("bad", {}), ("slow", {}), ("short", {"size": 128}),
        ("ns1", {}), ("ns7", {"block": 4096}), ("meta", {}),
    ]
    for seed, (name, options) in enumerate(plan):
        zoo.disks[name], zoo.sums[name] = make_drive(folder, name, seed, **options)

    bad = folder / "bad.safetensors"
    zoo.bad_at = place_in(zoo.disks["bad"], bad, bad.stat().st_size // 2)
    slow = nbdkit(zoo.disks["slow"], "delay", rdelay="30ms")
    os.truncate(zoo.disks["short"], 66 * MB)  # the table says 128; the file system's start and the file are still there
    zoo.digests = {name: digest(disk) for name, disk in zoo.disks.items()}

    def raw(node, name):
        return ["-drive", f"if=none,id={node},format=raw,file={zoo.disks[name]}"]

    extra = [
        "-blockdev", f"driver=file,node-name=badfile,filename={zoo.disks['bad']}",
        "-blockdev", "driver=blkdebug,node-name=badnode,image=badfile,inject-error.0.event=none,inject-error.0.iotype=read,"
                     f"inject-error.0.errno=5,inject-error.0.sector={zoo.bad_at // 512}",
        "-blockdev", "driver=raw,node-name=bad,file=badnode",
        "-device", "nvme,serial=bad,drive=bad",
        "-drive", slow.drive("slow"), "-device", "nvme,serial=slow,drive=slow",
        *raw("short", "short"), "-device", "nvme,serial=short,drive=short",
        "-device", "nvme-subsys,id=subsys0", "-device", "nvme,serial=several,id=several,subsys=subsys0",
        *raw("ns1", "ns1"), "-device", "nvme-ns,bus=several,drive=ns1,nsid=1",
        *raw("ns7", "ns7"), "-device", "nvme-ns,bus=several,drive=ns7,nsid=7,logical_block_size=4096,physical_block_size=4096",
        *raw("meta", "meta"), "-device", "nvme-ns,bus=several,drive=meta,nsid=9,ms=8",
        "-device", "nvme,serial=empty",
    ]
    zoo.names = {"plain": "nvme0n1", "block4k": "nvme1n1", "mdts1": "nvme2n1", "bad": "nvme3n1", "slow": "nvme4n1", "short": "nvme5n1",
                 "ns1": "nvme6n1", "ns7": "nvme6n7"}
    zoo.vm = boot_shared(disks=[zoo.disks["plain"],
                                (zoo.disks["block4k"], "logical_block_size=4096,physical_block_size=4096"),
                                (zoo.disks["mdts1"], "mdts=1")],
                         extra=extra, smp=2)
    zoo.vm.wait_ready()
    return zoo


def load(vm, disk_name, **args):
    return vm.job("load", file=f"{disk_name}p1:/{NAME}", verify="sha256", **args)


def check_loads(vm, disk_name, sha256):
    job = load(vm, disk_name)
    assert job["state"] == "succeeded", job
    assert job["result"]["sha256"] == sha256
    vm.result("unload", model=job["result"]["model"])


def metric(vm, line_start):
    """The value of the one line of /metrics that starts so."""
    lines = [line for line in vm.get("/metrics").body.decode().splitlines() if line.startswith(line_start)]
    assert len(lines) == 1, (line_start, lines)
    return float(lines[0].split()[-1])


def test_every_drive_is_found(zoo):
    listed = zoo.vm.get("/v1/volumes").json()
    disks = {disk["name"]: disk for disk in listed["disks"]}
    assert sorted(disks) == sorted(zoo.names.values())
    for name, disk_name in zoo.names.items():
        assert disks[disk_name]["size_bytes"] == zoo.disks[name].stat().st_size // 4096 * 4096
        assert disks[disk_name]["block_bytes"] == (4096 if name in ("block4k", "ns7") else 512)


def test_namespace_with_metadata_is_left_out(zoo):
    assert "nvme6n9 is left out: its blocks carry metadata" in zoo.vm.serial_text()


@pytest.mark.parametrize("name", ["plain", "block4k", "mdts1", "slow", "ns1", "ns7"])
def test_file_arrives_whole(zoo, name):
    check_loads(zoo.vm, zoo.names[name], zoo.sums[name])


def test_read_error_names_the_place(zoo):
    """One bad sector: the job fails with the drive's own words, and the rest of the drive can still be read."""
    job = load(zoo.vm, zoo.names["bad"])
    assert job["state"] == "failed", job
    assert "Unrecovered Read Error (2/81h)" in job["error"]["detail"], job
    assert metric(zoo.vm, 'ingot_nvme_commands_total{controller="nvme3",opcode="read",status="error"}') >= 1
    assert metric(zoo.vm, 'ingot_nvme_resets_total{controller="nvme3"}') == 0
    again = load(zoo.vm, zoo.names["bad"])
    assert again["state"] == "failed", again
    check_loads(zoo.vm, zoo.names["plain"], zoo.sums["plain"])
    listing = zoo.vm.get(f"/v1/volumes/{zoo.names['bad']}p1/files").json()
    assert [entry["name"] for entry in listing["entries"]] == [NAME]


def test_drive_smaller_than_its_table(zoo):
    """The table names blocks that are not there: said in the list of volumes; what is there is not made worse."""
    volumes = zoo.vm.get("/v1/volumes").json()["volumes"]
    mine = [volume for volume in volumes if volume["disk"] == zoo.names["short"]]
    assert mine and mine[0]["problem"], volumes
    job = load(zoo.vm, zoo.names["short"])
    assert job["state"] == "failed", job
    check_loads(zoo.vm, zoo.names["plain"], zoo.sums["plain"])


def test_health_of_every_controller(zoo):
    end = time.monotonic() + 30  # readings are taken every ten seconds, when somebody asks
    while True:
        text = zoo.vm.get("/metrics").body.decode()
        known = [index for index in range(8) if f'ingot_nvme_temperature_celsius{{controller="nvme{index}"}}' in text]
        if len(known) == 8:
            return
        assert time.monotonic() < end, known
        time.sleep(0.5)


def test_nothing_was_written(zoo):
    """Last of those that share the appliance."""
    assert {name: digest(disk) for name, disk in zoo.disks.items()} == zoo.digests
    for index in range(8):
        assert metric(zoo.vm, f'ingot_nvme_written_bytes_total{{controller="nvme{index}"}}') == 0


def test_stalled_drive(boot, nbdkit, tmp_path):
    """A drive that stops answering in the middle of a read: the command expires, the controller is reset, the job fails, and when the
    drive is back so is its file. QEMU's own reset waits for the drive too, and takes the whole machine with it, so the drive comes
    back as soon as the reset has begun."""
    plain, plain_sum = make_drive(tmp_path, "plain", 20)
    disk, sha256 = make_drive(tmp_path, "stall", 21)
    before = digest(disk)
    server = nbdkit(disk, "pause")
    vm = boot(disks=[plain], extra=["-drive", server.drive("stall"), "-device", "nvme,serial=stall,drive=stall"]).wait_ready()
    check_loads(vm, "nvme1n1", sha256)

    server.pause_control("p")
    try:
        reply = vm.request("POST", "/v1/jobs", {"app": "load", "args": {"file": f"nvme1n1p1:/{NAME}"}})
        assert reply.status == 202, reply
        job = reply.json()
        assert vm.get("/livez").status == 200
        vm.wait_serial(r"nvme1: \d+ commands past their deadlines", seconds=120)
        vm.wait_serial(r"nvme1: resetting the controller", seconds=60)
    finally:
        server.pause_control("r")
    vm.wait_serial(r"nvme1: running again", seconds=60)
    end = time.monotonic() + 60
    while job["state"] in ("queued", "running"):
        assert time.monotonic() < end, job
        time.sleep(0.1)
        job = vm.get(f"/v1/jobs/{job['id']}").json()
    assert job["state"] == "failed", job
    assert "did not answer in time" in job["error"]["detail"], job
    assert metric(vm, 'ingot_nvme_timeouts_total{controller="nvme1"}') >= 1
    assert metric(vm, 'ingot_nvme_resets_total{controller="nvme1"}') == 1
    assert metric(vm, 'ingot_nvme_resets_total{controller="nvme0"}') == 0
    check_loads(vm, "nvme1n1", sha256)
    check_loads(vm, "nvme0n1", plain_sum)
    assert digest(disk) == before


def test_fewer_queues_than_cores(boot, tmp_path):
    """Four cores on one queue pair: whoever polls completes for all."""
    disk, sha256 = make_drive(tmp_path, "one", 30)
    vm = boot(disks=[(disk, "max_ioqpairs=1")], smp=4).wait_ready()
    vm.wait_serial("nvme0: 1 queue pairs for 4 cores")
    for _ in range(3):
        check_loads(vm, "nvme0n1", sha256)
        assert vm.get("/v1/volumes/nvme0n1p1/files").status == 200
