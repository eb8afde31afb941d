"""One appliance in QEMU, for the end-to-end tests and the benchmarks: boot it, talk to it over HTTP, look at its consoles.

Everything waits with a deadline, and stop() leaves no process behind. Standard library only.
"""
import http.client
import json
import os
import pathlib
import re
import secrets
import signal
import socket
import subprocess
import tempfile
import time

from gpu_model import GpuModel

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
BOOT_SECONDS = float(os.environ.get("INGOT_BOOT_SECONDS", "90"))  # firmware under emulation on a busy machine


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_disk(out, *files, **options):
    """images/mkdisk with options such as block=4096, esp=True, size=128; files are FILE or FILE=/path."""
    command = [str(ROOT / "images/mkdisk")]
    for name, value in options.items():
        command += [f"--{name}"] + ([] if value is True else [str(value)])
    subprocess.run(command + [str(out)] + [str(f) for f in files], check=True, timeout=300)
    return out


def gpu_files(*chips):
    """What the ESP needs for these NVIDIA chips, as `make image GPU=...` puts it there: FILE=/path."""
    command = [str(ROOT / "images/gpufiles"), "--firmware", str(BUILD / "deps/firmware"), "--kernels", str(BUILD / "kernels"), *chips]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.split()


def make_image(out, conf, *files, efi=BUILD / "BOOTX64.EFI"):
    """A boot disk with this text as its ingot.conf (None: no such file)."""
    entries = [f"{efi}=/EFI/BOOT/BOOTX64.EFI"] + [str(f) for f in files]
    if conf is None:
        return make_disk(out, *entries, esp=True)
    with tempfile.NamedTemporaryFile("wb", suffix=".conf") as text:
        text.write(conf if isinstance(conf, bytes) else conf.encode())
        text.flush()
        return make_disk(out, *entries, f"{text.name}=/ingot.conf", esp=True)


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.headers.get('content-type')} {self.body[:300]!r}>"


class Appliance:
    """Boots at construction. Use as a context manager, or call stop(). 

    gpu: a chip to model, a GpuModel that runs, or a list of such; models end with the machine.
    """

    def __init__(self, folder, conf="", image=None, disks=(), smp=2, mem=1024, nic="virtio", cpu="max", machine="q35", extra=(),
                 token=None, vars_file=None, serial=True, wrapper=(), qemu=None, firmware=None, gpu=None):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.token = token or secrets.token_hex(16)
        if image is None:
            text = conf if "token" in conf or "auth" in conf else f"token = {self.token}\n{conf}"
            image = make_image(self.folder / "boot.img", text)
        self.port = free_port()
        self.serial_path = self.folder / "serial.log"
        self.serial_path.unlink(missing_ok=True)
        # Unix socket paths are short: not below pytest's long folders.
        self.qmp_path = tempfile.mktemp(prefix="ingot-qmp-")
        command = list(wrapper) + [str(ROOT / "images/qemu"), "--image", str(image), "--smp", str(smp), "--mem", str(mem), "--nic", nic,
                                   "--cpu", cpu, "--machine", machine, "--http", str(self.port), "--qmp", self.qmp_path,
                                   "--serial", str(self.serial_path) if serial else "none"]
        for disk in disks:
            path, options = disk if isinstance(disk, tuple) else (disk, None)
            command += ["--disk", str(path)] + (["--disk-options", options] if options else [])
        if qemu:
            command += ["--qemu", str(qemu)]
        gpus = gpu if isinstance(gpu, (list, tuple)) else [gpu] if gpu else []
        self.gpus = [GpuModel(self.folder / f"gpu{i}", model) if isinstance(model, str) else model for i, model in enumerate(gpus)]
        for model in self.gpus:
            command += ["--gpu", model.socket]
        if len(self.gpus) > 8:
            command += ["--gpu-bus", "root"]
        if firmware:
            command += ["--firmware", firmware]
        if vars_file:
            command += ["--vars", str(vars_file)]
        if extra:
            command += ["--", *map(str, extra)]
        self.log = open(self.folder / "qemu.log", "wb")
        self.started = time.monotonic()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT,
                                        start_new_session=True)
        self.qmp_socket = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=10)
        if self.qmp_socket:
            self.qmp_socket.close()
        self.log.close()
        pathlib.Path(self.qmp_path).unlink(missing_ok=True)
        objections = [model.verdict() for model in self.gpus]
        assert not any(objections), "\n".join(filter(None, objections))

    # ---- consoles ----

    def serial_text(self):
        try:
            return self.serial_path.read_bytes().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def wait_serial(self, pattern, seconds=BOOT_SECONDS):
        """The match of a regular expression in the serial log, once it is there."""
        end = time.monotonic() + seconds
        while True:
            ended = self.process.poll() is not None
            found = re.search(pattern, self.serial_text())
            if found:
                return found
            assert not ended, f"QEMU ended before {pattern!r} appeared:\n{self.qemu_text()}\n{self.serial_text()[-4000:]}"
            assert time.monotonic() < end, f"no {pattern!r} within {seconds} s:\n{self.serial_text()[-4000:]}"
            time.sleep(0.05)

    def qemu_text(self):
        return (self.folder / "qemu.log").read_text(errors="replace")

    def wait_exit(self, seconds=30):
        return self.process.wait(timeout=seconds)

    def qmp(self, command, **arguments):
        if self.qmp_socket is None:
            self.qmp_socket = socket.socket(socket.AF_UNIX)
            self.qmp_socket.settimeout(20)
            self.qmp_socket.connect(self.qmp_path)
            self.qmp_file = self.qmp_socket.makefile("rw")
            json.loads(self.qmp_file.readline())
            self._qmp_call("qmp_capabilities", {})
        return self._qmp_call(command, arguments)

    def _qmp_call(self, command, arguments):
        self.qmp_file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.qmp_file.flush()
        while True:
            answer = json.loads(self.qmp_file.readline())
            if "return" in answer:
                return answer["return"]
            assert "error" not in answer, answer

    def screendump(self, path):
        """The screen console as a PPM picture."""
        self.qmp("screendump", filename=str(path))
        return path

    def cpu_seconds(self):
        """CPU time that the QEMU process has used so far, user and system."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    # ---- HTTP ----

    def request(self, method, path, body=None, headers=None, token=True, timeout=60):
        """One request on a connection of its own. body: bytes, or anything that JSON can carry."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            sent = dict(headers or {})
            if token:
                sent.setdefault("Authorization", f"Bearer {self.token if token is True else token}")
            if body is not None and not isinstance(body, bytes):
                body = json.dumps(body).encode()
                sent.setdefault("Content-Type", "application/json")
            connection.request(method, path, body, sent)
            reply = connection.getresponse()
            return Reply(reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read())
        finally:
            connection.close()

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def wait_ready(self, seconds=BOOT_SECONDS, path="/readyz"):
        """Until the appliance says that it can take its job."""
        end = time.monotonic() + seconds
        last = None
        while time.monotonic() < end:
            assert self.process.poll() is None, f"QEMU ended:\n{self.qemu_text()}\n{self.serial_text()[-4000:]}"
            try:
                last = self.get(path, token=False, timeout=5)
                if last.status == 200:
                    return self
            except (OSError, http.client.HTTPException) as problem:
                last = problem
            time.sleep(0.1)
        raise AssertionError(f"not ready within {seconds} s ({last!r}):\n{self.serial_text()[-4000:]}")

    def job(self, app, wait=120, **args):
        """Run an app and return the job object once it has ended."""
        reply = self.request("POST", f"/v1/jobs?wait={wait}", {"app": app, "args": args}, timeout=wait + 30)
        assert reply.status in (200, 202), reply
        job = reply.json()
        end = time.monotonic() + wait
        while job["state"] in ("queued", "running"):
            assert time.monotonic() < end, f"job {app} did not end within {wait} s: {job}"
            time.sleep(0.05)
            job = self.get(f"/v1/jobs/{job['id']}").json()
        return job

    def result(self, app, **args):
        """Run an app that must succeed, and return its result."""
        job = self.job(app, **args)
        assert job["state"] == "succeeded", job
        return job["result"]
