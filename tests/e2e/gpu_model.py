"""The GPU device model (build/model/gpu) behind an appliance's QEMU: start it, end it, hold it to having refused nothing.

    vm = Appliance(folder, gpu=GpuModel(folder, "ga102", faults=["frts=hang"]))

The model is the judge as well as the device: what no real GPU would accept it refuses, says why on stderr, and ends with a status other
than 0. An appliance that stops therefore checks its models, unless the test said that refusals are expected.
"""
import pathlib
import signal
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "build/model/gpu"
FIRMWARE = ROOT / "build/deps/firmware"
STATUS = {1: "QEMU broke the protocol", 2: "it could not start", 3: "it refused something that a real GPU would not accept"}
CHIPS = ["ga102", "ad102", "tu102", "gh100", "gb202"]


def sm(chip):
    """The architecture of a chip: "sm_86"."""
    return subprocess.run([str(ROOT / "images/gpufiles"), "--list", "sm", chip], check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def kernels(chip):
    """The GPU code of the image for a chip, or None: Debian's ptxas does not know the newest architectures."""
    file = ROOT / f"build/kernels/{sm(chip)}.cubin"
    return file if file.stat().st_size else None


class GpuModel:
    """Runs from construction to verdict(). options: more of the model's own, as words."""

    def __init__(self, folder, chip, faults=(), options=(), expect_refusals=False):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.chip, self.expect_refusals = chip, expect_refusals
        # Unix socket paths are short: not below pytest's long folders.
        self.socket = tempfile.mktemp(prefix="ingot-gpu-")
        self.trace_path, self.log_path = self.folder / "gpu.trace", self.folder / "gpu.log"
        command = [str(PROGRAM), "--socket", self.socket, "--chip", chip, "--trace", str(self.trace_path), "--firmware", str(FIRMWARE),
                   *map(str, options)]
        if kernels(chip):
            command += ["--cubins", str(kernels(chip))]
        for fault in faults:
            command += ["--fault", fault]
        self.log = open(self.log_path, "wb")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)
        end = time.monotonic() + 30
        while not pathlib.Path(self.socket).exists():
            if self.process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise AssertionError(f"the model of {chip} does not listen:\n{self.text()}")
            time.sleep(0.02)

    def text(self):
        return self.log_path.read_text(errors="replace")

    def trace(self):
        return self.trace_path.read_text(errors="replace") if self.trace_path.exists() else ""

    def kill(self):
        """As a power cut would."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=10)
        self.log.close()
        pathlib.Path(self.socket).unlink(missing_ok=True)

    def verdict(self):
        """End it; what it has to object, or None."""
        if self.log.closed:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.kill()
            return f"the model of {self.chip} did not end when asked to:\n{self.text()[-3000:]}"
        self.kill()
        if self.expect_refusals or status == 0:
            return None
        return f"the model of {self.chip} ended with status {status} ({STATUS.get(status, 'it broke')}):\n{self.text()[-3000:]}"


def list_faults(chip):
    """The faults that the model can play on this chip, in the order of a boot: "name=mode" -> what happens."""
    text = subprocess.run([str(PROGRAM), "--chip", chip, "--list-faults"], check=True, capture_output=True, text=True, timeout=20).stdout
    faults = {}
    for line in text.splitlines():
        name, mode, what = line.split(None, 2)
        faults[f"{name}={mode}"] = what
    return faults
