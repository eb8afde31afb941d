"""The unmodified image with NVIDIA GPUs that build/model/gpu plays: bring-up on every chip, the main job on one, everything that can go
wrong on the way, and the way down again.

Every model is a judge too (gpu_model.py): a test passes only when it has refused nothing. Bring-up faults in all their modes are walked
by tests/unit/test_gsp_model.c; here each step goes wrong once in the real machine (INGOT_ALL_FAULTS=1: in all modes).
"""
import hashlib
import os
import re
import time

import pytest

import appliance
import weights_files as wf
from gpu_model import CHIPS, GpuModel, kernels, list_faults

TOKEN = "0123456789abcdef0123456789abcdef"
MATMUL = {"m": 65, "n": 37, "k": 29, "seed": 3}
SMALL = ["--vram", "1024", "--bar1", "1024"]
GPUS_PER_BOOT = 15  # and cpu0: as many devices as there may be
START_SECONDS = 180

pytestmark = pytest.mark.usefixtures("vfio_user")


def gpu_image(folder, *chips, files=None):
    """A boot disk with what these chips need, or with these files instead."""
    return appliance.make_image(folder / "gpu.img", f"token = {TOKEN}\n", *(appliance.gpu_files(*chips) if files is None else files))


def gpus_of(vm):
    return [device for device in vm.get("/v1/devices").json()["devices"] if device["name"].startswith("nvidia")]


def wait_gpus(vm):
    """The GPUs, once the start of each has come to an end."""
    vm.wait_ready(appliance.BOOT_SECONDS + START_SECONDS)
    end = time.monotonic() + START_SECONDS
    while True:
        gpus = gpus_of(vm)
        if not any("being started" in (gpu["why_not"] or "") for gpu in gpus):
            return gpus
        assert time.monotonic() < end, gpus
        time.sleep(0.1)


def result_of(vm, device, **args):
    result = vm.result("matmul", device=device, **{**MATMUL, **args})
    return result["fingerprint"], result["checksum"]


def power_off(vm, seconds=60):
    assert vm.job("power", action="off")["state"] == "succeeded"
    vm.wait_exit(seconds)


# ---- bring-up ----


def test_every_chip(boot, tmp_path):
    """Five chips in one machine: all come up, compute what the CPU computes, and do both once more after a warm restart."""
    vm = boot(image=gpu_image(tmp_path, *CHIPS), token=TOKEN, gpu=list(CHIPS))
    gpus = wait_gpus(vm)
    wanted = result_of(vm, "cpu0")
    functions = {f["used_by"]: f for f in vm.get("/v1/pci").json()["functions"] if f["used_by"]}
    assert [gpu["chip"] for gpu in gpus] == CHIPS
    for gpu in gpus:
        if not kernels(gpu["chip"]):  # with a ptxas older than the chip: up, and says what is missing
            assert not gpu["usable"] and "kernels" in gpu["why_not"], gpu
            continue
        assert gpu["usable"], gpu
        assert gpu["firmware"] == "570.144" and gpu["model"].startswith("NVIDIA ") and gpu["architecture"].startswith("sm_")
        assert gpu["vram_bytes"] == 8 << 30 and 7 << 30 < gpu["memory_bytes"] < 8 << 30
        assert any(bar["size_bytes"] == 8 << 30 for bar in gpu["bars"]) and gpu["link"]["lanes"] == 16
        assert {"graphics0", "copy0"} <= set(gpu["engines"]) and 0 < gpu["start_seconds"] < START_SECONDS
        assert functions[gpu["name"]]["name"] == gpu["pci"] and functions[gpu["name"]]["interrupts"] != "off"
        assert result_of(vm, gpu["name"]) == wanted, gpu
        registers = vm.result("regs", gpu=gpu["name"])
        values = {r["name"]: r["value"] for block in registers["blocks"] for r in block["registers"]}
        assert registers["pci"] == gpu["pci"] and int(values["NV_PFB_PRI_MMU_WPR2_ADDR_HI"], 16) > 0
    end = time.monotonic() + 30  # readings are taken now and then
    while not all(gpu["temperature_celsius"] for gpu in gpus_of(vm) if gpu["usable"]):
        assert time.monotonic() < end, gpus_of(vm)
        time.sleep(0.5)
    log = vm.get("/v1/log").body.decode()
    for index in range(len(CHIPS)):
        steps = re.findall(rf"nvidia{index}: .*\(\d+\.\d ms\)", log)
        assert len(steps) >= 8, steps  # each with its time

    vm.job("power", action="restart")
    vm.wait_serial(r"restarting[\s\S]*Ingot [\s\S]* is being started")
    assert [gpu["usable"] for gpu in wait_gpus(vm)] == [kernels(chip) is not None for chip in CHIPS]
    assert "left running" not in vm.get("/v1/log").body.decode()
    assert result_of(vm, "nvidia0") == wanted
    power_off(vm)
    for model in vm.gpus:
        assert "WPR2 is down" in model.text() or model.chip in ("gh100", "gb202"), model.text()


def test_left_running_by_an_earlier_owner(boot, tmp_path):
    vm = boot(image=gpu_image(tmp_path, "ga102"), token=TOKEN, gpu=GpuModel(tmp_path / "gpu", "ga102", options=SMALL + ["--left-running"]))
    assert wait_gpus(vm)[0]["usable"]
    assert re.search(r"nvidia0: .*(left running|WPR2 is up|reset)", vm.serial_text())
    assert result_of(vm, "nvidia0") == result_of(vm, "cpu0")


# ---- the main job ----


def test_main_job_on_the_gpu(boot, tmp_path):
    """From a drive straight into VRAM, statistics and a product, all equal to the CPU device's."""
    file = tmp_path / "weights.safetensors"
    wf.write_safetensors(file, wf.random_tensors(seed=4))
    data = file.read_bytes()
    disk = appliance.make_disk(tmp_path / "disk.img", file)
    vm = boot(image=gpu_image(tmp_path, "ga102"), token=TOKEN, gpu="ga102", disks=[disk])
    assert wait_gpus(vm)[0]["usable"]
    statistics = {}
    for device in "nvidia0", "cpu0":
        used = {d["name"]: d["memory_used_bytes"] for d in vm.get("/v1/devices").json()["devices"]}
        job = vm.job("load", file="nvme0n1p1:/weights.safetensors", device=device)
        assert job["state"] == "succeeded" and job["result"]["device"] == device and job["result"]["bytes"] == len(data), job
        assert job["warnings"] == [], job  # any other way than straight into the device's memory would be said
        now = {d["name"]: d["memory_used_bytes"] for d in vm.get("/v1/devices").json()["devices"]}
        assert {name for name in now if now[name] - used[name] >= len(data)} == {device}  # no second copy of it anywhere
        statistics[device] = vm.result("stats", model=job["result"]["model"])["tensors"]
    assert statistics["nvidia0"] == statistics["cpu0"]
    verified = vm.job("load", file="nvme0n1p1:/weights.safetensors", verify="sha256", device="nvidia0")
    assert verified["result"]["sha256"] == hashlib.sha256(data).hexdigest() and "host memory" in verified["warnings"][0], verified
    assert result_of(vm, "nvidia0", m=130, n=257, k=300) == result_of(vm, "cpu0", m=130, n=257, k=300)
    assert vm.job("selftest", device="nvidia0")["state"] == "succeeded"


# ---- what can go wrong ----


def test_gpu_lost_in_a_job(boot, tmp_path):
    """At its 20000th register access (a start takes some 3000) the GPU falls off the bus: the job ends and says so, the machine serves on.

    (The model itself cannot be killed for this: QEMU 11.1 sometimes ends with an assertion of its own when its server goes away.)
    """
    model = GpuModel(tmp_path / "gpu", "ga102", faults=["lost=fail@20000"], options=SMALL, expect_refusals=True)
    vm = boot(image=gpu_image(tmp_path, "ga102"), token=TOKEN, gpu=model)
    assert wait_gpus(vm)[0]["usable"]
    job = vm.job("bench", device="nvidia0", seconds=60)
    assert job["state"] == "failed" and "fallen off the bus" in job["error"]["detail"], job
    gpu = gpus_of(vm)[0]
    assert not gpu["usable"] and "does not answer" in gpu["why_not"], gpu
    assert vm.get("/v1/devices").json()["default_device"] == "cpu0"
    assert result_of(vm, "cpu0")
    power_off(vm)


def chosen_faults(chip):
    """Each step in one mode, by preference an error: a step that hangs costs its whole deadline."""
    faults = list(list_faults(chip))
    if os.environ.get("INGOT_ALL_FAULTS"):
        return faults
    chosen = {}
    for mode in "fail", "garbage", "hang", "late":
        for fault in faults:
            if fault.endswith("=" + mode):
                chosen.setdefault(fault.partition("=")[0], fault)
    return [fault for fault in faults if fault in chosen.values()]


# What the GPU comes up and computes with all the same: none of these is reset before it starts, lost interrupts are noticed by polling,
# semaphores between queues and the release of a queue are not part of a start, and the rest concerns the way down.
HARMLESS = {"pci.reset=fail", "interrupt=fail", "semaphore=hang", "semaphore=garbage", "release=hang", "rpc.unload=fail",
            "rpc.unload=hang", "fwsec.sb=fail", "fwsec.sb=hang", "booter.unload=fail", "booter.unload=hang"}


def batches():
    known = chosen_faults("ga102")
    others = [fault for fault in chosen_faults("gh100") if fault.startswith(("fsp.", "fmc."))]
    for chip, faults in (("ga102", known), ("gh100", others)):
        for first in range(0, len(faults), GPUS_PER_BOOT):
            yield pytest.param(chip, faults[first:first + GPUS_PER_BOOT], id=f"{chip}-{first // GPUS_PER_BOOT}")


def pytest_generate_tests(metafunc):
    """The model says itself what it can break; it is built by the time tests are collected (tests/run)."""
    if "faults" in metafunc.fixturenames:
        metafunc.parametrize("chip, faults", list(batches()))


def test_faults(boot, tmp_path, chip, faults):
    """One GPU per fault: each says what went wrong or works right, no job gives a wrong result, and the machine serves on."""
    models = [GpuModel(tmp_path / f"gpu{i}", chip, faults=[fault], options=SMALL, expect_refusals="garbage" in fault)
              for i, fault in enumerate(faults)]
    vm = boot(image=gpu_image(tmp_path, chip), token=TOKEN, gpu=models, mem=2048)
    gpus = wait_gpus(vm)
    assert len(gpus) == len(faults)
    wanted = result_of(vm, "cpu0")
    jobs = {}
    for fault, gpu in zip(faults, gpus):
        if gpu["usable"]:
            body = {"app": "matmul", "args": {**MATMUL, "device": gpu["name"]}}
            jobs[fault] = vm.request("POST", "/v1/jobs", body).json()["id"]
    log = vm.get("/v1/log").body.decode()
    problems = []
    for fault, gpu in zip(faults, gpus):
        if fault not in jobs:
            said = gpu["why_not"] or ""
            if len(said) < 10 or f"{gpu['name']}: " not in log or fault in HARMLESS or fault.endswith("=late"):
                problems.append(f"{fault}: not usable: {said!r}")
            continue
        end = time.monotonic() + 60
        while (job := vm.get(f"/v1/jobs/{jobs[fault]}").json())["state"] in ("queued", "running") and fault != "release=hang":
            assert time.monotonic() < end, f"{fault}: {job}"
            time.sleep(0.1)
        result = (job.get("result") or {}).get("fingerprint")
        if job["state"] == "succeeded" and result != wanted[0]:
            problems.append(f"{fault}: a wrong result: {job}")
        if fault == "release=hang":
            vm.request("DELETE", f"/v1/jobs/{jobs[fault]}")
        elif (job["state"] == "succeeded") != (fault in HARMLESS or fault.endswith("=late")):
            problems.append(f"{fault}: usable, and its job {job['state']}: {job.get('error')}")
    assert not problems, "\n".join(problems)
    assert result_of(vm, "cpu0") == wanted
    power_off(vm, 120)
    text = vm.serial_text()
    assert "PANIC" not in text
    for index, fault in enumerate(faults):
        if fault.startswith(("rpc.unload", "fwsec.sb", "booter.unload")) and not fault.endswith("=late"):
            assert re.search(rf"warning: nvidia{index}: (unload|FWSEC-SB|booter_unload)", text), fault


def test_wrong_firmware(boot, tmp_path):
    """No file, half a file, a flipped byte, another chip's file: each is named, with the command that puts the right one there."""
    files = appliance.gpu_files("ga102", "ad102", "tu102", "gh100")
    changed = {}

    def change(path, data):
        copy = tmp_path / f"changed{len(changed)}"
        copy.write_bytes(data)
        changed[path] = f"{copy}={path}"

    def contents(path):
        return open(next(f for f in files if f.endswith("=" + path)).partition("=")[0], "rb").read()

    booter = "/firmware/nvidia/{}/gsp/booter_load-570.144.bin"
    flipped = bytearray(contents(booter.format("ad102")))
    flipped[len(flipped) // 2] ^= 0x10
    change(booter.format("ad102"), bytes(flipped))
    change(booter.format("tu102"), contents(booter.format("tu102"))[:5000])
    change("/firmware/nvidia/gh100/gsp/fmc-570.144.bin", contents(booter.format("ga102")))
    kept = [changed.get(f.partition("=")[2], f) for f in files if f.partition("=")[2] != booter.format("ga102")]
    models = [GpuModel(tmp_path / chip, chip, options=SMALL, expect_refusals=chip == "ad102") for chip in ("ga102", "ad102", "tu102", "gh100")]
    vm = boot(image=gpu_image(tmp_path, files=kept), token=TOKEN, gpu=models, mem=2048)
    gpus = wait_gpus(vm)
    assert [gpu["usable"] for gpu in gpus] == [False] * 4
    assert "booter_load" in gpus[0]["why_not"] and "GPU=ga102" in gpus[0]["why_not"]
    assert "booter_load" in gpus[1]["why_not"]
    for gpu, name in (gpus[2], "booter_load"), (gpus[3], "fmc"):
        assert name in gpu["why_not"] and "make image" in gpu["why_not"], gpu
    assert result_of(vm, "cpu0")
    assert "GPU=ga102" in vm.serial_text()
