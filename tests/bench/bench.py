#!/usr/bin/env python3
"""make bench: the appliance beside a small Linux guest, in the same QEMU with the same options, in one run.

    tests/bench/bench.py [--rounds 3] [--seconds 4] [boot] [nvme] [http] [idle] [gpu]

Rounds alternate between the two, so that a drift of the machine hits both. Prints a table of medians with ranges and ratios and
writes build/bench.json with every sample. Nothing here passes or fails: a figure is a figure. The Linux guest is described in
tests/bench/guest/build; of fio's engines the best one counts.
"""
import argparse
import json
import os
import pathlib
import re
import select
import socket
import statistics
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))
import appliance  # noqa: E402

HERE = ROOT / "build/bench"
GUEST = ROOT / "build/bench-guest"
SMP, MEM = 2, 1024
CONNECTIONS = (1, 16, 64)

samples = {}  # (figure, system) -> list of values


def note(figure, system, value):
    samples.setdefault((figure, system), []).append(value)
    print(f"    {figure:56} {system:9} {value:,.4g}", flush=True)


def first_reply(port, path, ended):
    """time.monotonic() of the first HTTP 200, with a new attempt every 5 ms; None when `ended` came first.

    Attempts overlap: QEMU's user network takes a connection before the guest has an address and repeats its SYN only after
    seconds, so one that came too early must not hold up the next.
    """
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    attempts = []
    try:
        while not ended():
            while len(attempts) >= 50:
                attempts.pop(0).close()
            try:
                attempts.append(socket.create_connection(("127.0.0.1", port), 1))
                attempts[-1].sendall(request)
            except OSError:
                time.sleep(0.005)
            for attempt in select.select(attempts, [], [], 0.005)[0]:
                try:
                    if attempt.recv(64).startswith(b"HTTP/1.1 200"):
                        return time.monotonic()
                except OSError:
                    pass
                attempts.remove(attempt)
                attempt.close()
        return None
    finally:
        for attempt in attempts:
            attempt.close()


class Machine:
    """One of the two systems in QEMU, its serial console a pipe, with the time of each piece of output."""

    def __init__(self, image, disk, nic="virtio"):
        self.port = appliance.free_port()
        self.text, self.times, self.changed, self.ended = bytearray(), [], threading.Condition(), False
        command = [ROOT / "images/qemu", "--image", image, "--disk", disk, "--smp", SMP, "--mem", MEM, "--nic", nic, "--http", self.port,
                   "--", "-no-reboot", "-vga", "none"]
        self.started = time.monotonic()
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, env={**os.environ, "LD_PRELOAD": str(GUEST / "backlog.so")})
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(10)

    def _read(self):
        while data := os.read(self.process.stdout.fileno(), 65536):
            with self.changed:
                self.text += data
                self.times.append((len(self.text), time.monotonic()))
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def wait(self, pattern, seconds, start=0):
        """(match, time of its last byte) once the console shows the pattern behind byte `start`; TimeoutError otherwise."""
        end = time.monotonic() + seconds
        with self.changed:
            while True:
                found = re.search(pattern, self.text[start:])
                if found:
                    return found, next(t for size, t in self.times if size >= start + found.end())
                left = end - time.monotonic()
                if left <= 0 or self.ended:
                    raise TimeoutError(f"no {pattern!r}; console: {bytes(self.text[-600:])!r}")
                self.changed.wait(left)

    def boot(self):
        """Seconds from the firmware's hand-over to the first HTTP reply, and from QEMU's start to the hand-over."""
        _, handed = self.wait(rb"BdsDxe: starting Boot[^\n]*\n", 120)
        limit = handed + 120
        replied = first_reply(self.port, self.path, lambda: self.ended or time.monotonic() > limit)
        if replied is None:
            raise TimeoutError(f"no HTTP reply; console: {bytes(self.text[-600:])!r}")
        return replied - handed, handed - self.started

    def start(self):
        self.boot()
        self.ready()
        return self

    def poke(self):
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self):
        return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{self.process.pid}/status").read_text())[1]) * 1024


class Ingot(Machine):
    name = "ingot"
    path = "/livez?verbose"  # JSON made anew for each request

    def __init__(self, disk):
        self.token = "bench-0123456789abcdef"
        image = HERE / "ingot.img"
        if not image.exists() or image.stat().st_mtime < (ROOT / "build/BOOTX64.EFI").stat().st_mtime:
            appliance.make_image(image, f"token = {self.token}\n")
        super().__init__(image, disk)

    request = appliance.Appliance.request
    get = appliance.Appliance.get
    job = appliance.Appliance.job
    result = appliance.Appliance.result

    def ready(self):
        end = time.monotonic() + 60
        while self.get("/readyz", token=False).status != 200:
            if time.monotonic() > end:
                raise TimeoutError("not ready")
            time.sleep(0.05)

    def metric(self, name):
        return float(re.search(rf"^{name}(?:{{[^}}]*}})? (\S+)$", self.get("/metrics").body.decode(), re.M)[1])


class Linux(Machine):
    name = "linux"
    path = "/json"  # constant JSON from nginx's configuration

    def __init__(self, disk, image="serve"):
        self.commands = 0
        super().__init__(GUEST / f"{image}.img", disk)

    def ready(self):
        end = time.monotonic() + 60
        while True:
            try:
                self.wait(rb"GUEST-SHELL", 0.2)
                break
            except TimeoutError:
                if time.monotonic() > end:
                    raise
                self.poke()
        self.shell("true", 20)

    def shell(self, command, seconds):
        """Run a command. Newlines are sent while waiting: the emulated UART can lose the guest's transmit interrupt."""
        self.commands += 1
        tag, start, end = f"@@{self.commands}", len(self.text), time.monotonic() + seconds
        self.process.stdin.write(f"{command}\necho {tag}''E $?\n".encode())
        self.process.stdin.flush()
        while True:
            try:
                found, _ = self.wait((tag + r"E (\d+)\r?\n").encode(), 0.2, start)
                return int(found[1]), bytes(self.text[start:start + found.start()]).decode(errors="replace")
            except TimeoutError:
                if self.ended or time.monotonic() > end:
                    raise
                self.poke()


# ---- suites --------------------------------------------------------------------------------------------------------

def bench_boot(options, disk):
    for _ in range(options.rounds):
        for system in (Ingot, Linux):
            with system(disk) as machine:
                seconds, firmware = machine.boot()
                note("boot: firmware's hand-over to HTTP, s", system.name, seconds)
                note("boot: QEMU start to hand-over, s", system.name, firmware)
                machine.ready()
                if system is Ingot:
                    note("boot: leaving UEFI to HTTP, s", "ingot", machine.metric("ingot_boot_duration_seconds"))
                    memory = machine.metric("ingot_memory_total_bytes") - machine.metric("ingot_memory_free_bytes")
                else:
                    text = machine.shell("cat /proc/meminfo", 20)[1]
                    kib = {k: int(v) for k, v in re.findall(r"(\w+):\s+(\d+) kB", text)}
                    memory = MEM * 2 ** 20 - kib["MemAvailable"] * 1024
                note("memory in use after boot, MB", system.name, memory / 1e6)
                note("QEMU resident, MB", system.name, machine.resident_bytes() / 1e6)


# fio's engines. Pass-through and polled requests cannot be as large as 1 MiB.
FIO = {
    "io_uring": "--ioengine=io_uring --filename=/dev/nvme0n1 --direct=1",
    "io_uring fixed": "--ioengine=io_uring --fixedbufs --registerfiles --filename=/dev/nvme0n1 --direct=1",
    "io_uring polled": "--ioengine=io_uring --hipri --filename=/dev/nvme0n1 --direct=1",
    "libaio": "--ioengine=libaio --filename=/dev/nvme0n1 --direct=1",
}
RANDOM_1, RANDOM_32, SEQUENTIAL = ("nvme: random 4 KiB, depth 1, IOPS", "nvme: random 4 KiB, depth 32, IOPS",
                                   "nvme: sequential 1 MiB, depth 8, GB/s")
SHAPES = {
    RANDOM_1: ("--rw=randread --bs=4k --iodepth=1", ("io_uring", "io_uring polled")),
    RANDOM_32: ("--rw=randread --bs=4k --iodepth=32", ("io_uring fixed", "io_uring polled")),
    SEQUENTIAL: ("--rw=read --bs=1M --iodepth=8", ("io_uring", "libaio")),
}


def bench_nvme(options, disk):
    for _ in range(options.rounds):
        with Ingot(disk) as machine:
            machine.start()
            result = machine.result("bench", test="nvme", seconds=options.seconds)["nvme"]
            note(RANDOM_1, "ingot", result["random_4k_qd1"]["iops"])
            note(RANDOM_32, "ingot", result["random_4k_qd32"]["iops"])
            sequential = result["sequential"]["bytes_per_second"]
            note(SEQUENTIAL, "ingot", sequential / 1e9)
            for _ in range(3):
                loaded = machine.result("load", file="nvme0n1p1:/model.safetensors")
                note("load, GB/s", "ingot", loaded["bytes_per_second"] / 1e9)
                note("load, of the same boot's sequential read", "ingot", loaded["bytes_per_second"] / sequential)
                machine.result("unload", model=loaded["model"])
            loaded = machine.result("load", file="nvme0n1p1:/model.safetensors", verify="sha256")
            note("load while hashing, GB/s", "ingot", loaded["bytes_per_second"] / 1e9)
        with Linux(disk, "storage") as machine:
            machine.start()
            for figure, (shape, engines) in SHAPES.items():
                best = 0
                for engine in engines:
                    status, text = machine.shell(f"fio --name=x --readonly --eta=never {FIO[engine]} {shape} --thread --time_based "
                                                 f"--runtime={options.seconds} --ramp_time=1 --norandommap --size=256m --output-format=json "
                                                 "--output=/tmp/o.json", options.seconds * 4 + 60)
                    if status:
                        raise RuntimeError(f"fio {engine}: {text[-300:]}")
                    text = machine.shell("cat /tmp/o.json", 60)[1]
                    read = json.loads(text[text.index("{"):text.rindex("}") + 1])["jobs"][0]["read"]
                    best = max(best, read["bw_bytes"] / 1e9 if figure == SEQUENTIAL else read["iops"])
                note(figure, "linux", best)


def bench_http(options, disk):
    script = HERE / "report.lua"
    script.write_text('done = function(s, l) io.write(string.format("@@%d %d %d %d\\n", s.requests, s.duration, l:percentile(99), '
                      's.errors.connect + s.errors.read + s.errors.write + s.errors.status + s.errors.timeout)) end\n')
    for _ in range(options.rounds):
        for system in (Ingot, Linux):
            with system(disk) as machine:
                machine.start()
                url = f"http://127.0.0.1:{machine.port}{machine.path}"
                for count in CONNECTIONS:
                    text = subprocess.run(["wrk", "-t1", f"-c{count}", f"-d{options.seconds}s", "-s", script, url], capture_output=True,
                                          text=True, timeout=options.seconds + 60).stdout
                    requests, duration_us, p99_us, errors = map(int, re.search(r"@@(\d+) (\d+) (\d+) (\d+)", text).groups())
                    note(f"http: keep-alive, {count} connections, requests/s", system.name, requests / duration_us * 1e6)
                    note(f"http: keep-alive, {count} connections, p99 ms", system.name, p99_us / 1e3)
                    if errors:
                        note(f"http: keep-alive, {count} connections, errors", system.name, errors)
                for count in CONNECTIONS:
                    text = subprocess.run(["ab", "-q", "-n", "2000" if count > 1 else "500", "-c", str(count), "-s", "5", url],
                                          capture_output=True, text=True, timeout=120).stdout
                    note(f"http: connection per request, {count} at once, requests/s", system.name,
                         float(re.search(r"Requests per second:\s+([\d.]+)", text)[1]))
                    # ab counts a reply whose length changes as failed; what counts here is replies that did not come
                    lost = re.search(r"Connect: (\d+), Receive: (\d+), Length: \d+, Exceptions: (\d+)", text)
                    if lost and any(map(int, lost.groups())):
                        note(f"http: connection per request, {count} at once, lost", system.name, sum(map(int, lost.groups())))


def bench_idle(options, disk):
    for system in (Ingot, Linux):
        with system(disk) as machine:
            machine.start()
            time.sleep(3)
            for _ in range(options.rounds):
                before, start = machine.cpu_seconds(), time.monotonic()
                time.sleep(10)
                note("idle: QEMU's CPU use, %", system.name, 100 * (machine.cpu_seconds() - before) / (time.monotonic() - start))


# ---- report --------------------------------------------------------------------------------------------------------

# A step of a GPU's bring-up as the log has it: "nvidia0: text (12.3 ms)"; text without numbers and names is the step.
GPU_STEPS = {
    "chip ": "identified, reset, mapped",
    "the card's own firmware": "its own firmware has run",
    "of VRAM; BAR": "BAR1 sized",
    "firmware 570": "firmware read and laid out",
    "VBIOS:": "VBIOS read",
    "FWSEC-FRTS": "FWSEC: WPR2 made",
    "booter_load": "booter: GSP-RM loaded",
    "chain of trust": "FSP: chain of trust",
    "the FMC has": "FMC: registers opened",
    "GSP_INIT_DONE": "GSP-RM initialised",
    "static information": "static information",
    "to give out": "memory set up",
    "with runlists": "engines read",
    "golden context": "golden context",
}


def bench_gpu(options, disk):
    """Bring-up of modelled GPUs, step by step. What the driver and the emulated machine take: the model answers at once where silicon
    computes or trains its memory, so these are no times of real cards."""
    from gpu_model import CHIPS, GpuModel
    subprocess.run([ROOT / "setup/vfio-user", ROOT / "build/deps/debian13-backports"], check=True)
    subprocess.run(["make", "-s", "model-files"], cwd=ROOT, check=True)
    token = "0" * 32
    for chip in CHIPS:
        image = appliance.make_image(HERE / "gpu.img", f"token = {token}\n", *appliance.gpu_files(chip))
        for _ in range(options.rounds):
            with appliance.Appliance(HERE / "gpu", image=image, token=token, gpu=GpuModel(HERE / "gpu", chip), smp=SMP, mem=MEM) as vm:
                vm.wait_ready()
                while "being started" in (vm.get("/v1/devices").json()["devices"][1]["why_not"] or ""):
                    time.sleep(0.1)
                device = vm.get("/v1/devices").json()["devices"][1]
                assert device["usable"], device
                for text, ms in re.findall(r"\] nvidia0: (.*) \((\d+\.\d) ms\)", vm.serial_text()):
                    step = next((name for word, name in GPU_STEPS.items() if word in text), None)
                    if step:
                        note(f"bring-up of {chip}: {step}, ms", "ingot", float(ms))
                note(f"bring-up of {chip}: all, ms", "ingot", device["start_seconds"] * 1e3)


def span(values):
    return f"{statistics.median(values):,.4g} [{min(values):,.4g}-{max(values):,.4g}]"


def report():
    print(f"\n{'medians [range]':58} {'Ingot':28} {'Linux guest':28} ratio")
    for figure in dict.fromkeys(figure for figure, _ in samples):
        ours, theirs = samples.get((figure, "ingot")), samples.get((figure, "linux"))
        ratio = f"{statistics.median(ours) / statistics.median(theirs):.3g}" if ours and theirs else ""
        print(f"{figure:58} {span(ours) if ours else '':28} {span(theirs) if theirs else '':28} {ratio}")
    sizes = {"ingot": (ROOT / "build/BOOTX64.EFI").stat().st_size, "linux": (GUEST / "serve.efi").stat().st_size}
    print(f"{'EFI image, bytes':58} {sizes['ingot']:<28,} {sizes['linux']:<28,} {sizes['ingot'] / sizes['linux']:.3g}")
    version = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True).stdout.splitlines()[0]
    (ROOT / "build/bench.json").write_text(json.dumps({
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "qemu": version, "cores": os.cpu_count(), "smp": SMP, "mem": MEM, "efi_bytes": sizes,
        "samples": [{"figure": figure, "system": system, "values": values, "median": statistics.median(values)}
                    for (figure, system), values in samples.items()]}, indent=1))


def main():
    suites = {"boot": bench_boot, "nvme": bench_nvme, "http": bench_http, "idle": bench_idle, "gpu": bench_gpu}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=", ".join(suites))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of each load")
    options = parser.parse_args()
    HERE.mkdir(parents=True, exist_ok=True)
    if not (GUEST / "storage.img").exists():
        subprocess.run([ROOT / "tests/bench/guest/build", GUEST], check=True)
    disk, model = HERE / "disk.img", HERE / "model.safetensors"
    if not disk.exists():
        subprocess.run([ROOT / "images/mkmodel", model, "--layers", "8", "--width", "1024", "--vocabulary", "32000"], check=True)
        appliance.make_disk(disk, model)
        model.unlink()
    with open(disk, "rb") as file:  # into the host's page cache: QEMU's speed is measured, not a disk's
        while file.read(1 << 24):
            pass
    for name in options.suites or suites:
        print(name, flush=True)
        suites[name](options, disk)
    report()


if __name__ == "__main__":
    main()
