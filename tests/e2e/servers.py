"""The servers that HTTP tests run against: the same sources as a Linux process, and the real image in QEMU.

A test module says `from servers import disk_file, hosted, image, server` and takes one of them; `server` is both, one after the other.
"""
import os
import pathlib
import secrets
import signal
import subprocess

import pytest
import weights_files
from appliance import BUILD, Appliance, make_disk


class Hosted(Appliance):
    """build/hosted/ingot serve, with the requests of Appliance."""

    def __init__(self, folder, disks=(), token=None, auth=True):
        self.folder = pathlib.Path(folder)
        self.token = token or secrets.token_hex(16)
        self.serial_path = self.folder / "hosted.log"
        self.qmp_socket, self.gpus = None, []
        command = [str(BUILD / "hosted/ingot"), "--cores", "2"]
        for disk in disks:
            command += ["--disk", str(disk)]
        self.log = open(self.serial_path, "wb")
        self.process = subprocess.Popen(command + (["--token", self.token] if auth else []) + ["serve"], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=self.log, start_new_session=True, env={**os.environ, "INGOT_LOG": "info"})
        line = self.process.stdout.readline().decode()
        assert line.startswith("http://127.0.0.1:"), line
        self.port = int(line.rstrip("/\n").rpartition(":")[2])

    def stop(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=10)
        self.process.stdout.close()
        self.log.close()

    def qemu_text(self):
        return ""

    volume = "disk0n1p1"


Appliance.volume = "nvme0n1p1"


@pytest.fixture(scope="module")
def disk_file(tmp_path_factory):
    """A FAT32 disk with a small model, a directory of many files and one that is damaged."""
    folder = tmp_path_factory.mktemp("disk")
    model, broken, small = folder / "m.safetensors", folder / "broken.safetensors", folder / "small.txt"
    weights_files.write_safetensors(model, weights_files.random_tensors(bytes_about=1 << 18))
    broken.write_bytes(b"\xff" * 4096)
    small.write_text("hello\n")
    many = [f"{small}=/many/file-{i:03}.txt" for i in range(250)]
    return make_disk(folder / "disk.img", f"{model}=/models/m.safetensors", f"{broken}=/models/broken.safetensors",
                     f"{small}=/Näme & ‹i›.txt", *many)


@pytest.fixture(scope="module")
def hosted(tmp_path_factory, disk_file):
    with Hosted(tmp_path_factory.mktemp("hosted"), disks=[disk_file]) as running:
        yield running.wait_ready(20)


@pytest.fixture(scope="module")
def image(boot_shared, disk_file):
    return boot_shared(disks=[disk_file]).wait_ready()


@pytest.fixture(scope="module", params=["hosted", "image"])
def server(request):
    return request.getfixturevalue(request.param)
