"""Firmware files that are missing, damaged or another chip's: named together with the command that adds them, and the appliance serves on."""
import json
import subprocess

import pytest

import appliance
from appliance import BUILD, ROOT
from gpu_model import GpuModel

FOLDER = "/firmware/nvidia/ga102/gsp"
GSP = f"{FOLDER}/gsp-570.144.bin"
LOAD = f"{FOLDER}/booter_load-570.144.bin"


@pytest.fixture(scope="module")
def files(vfio_user):
    """{path on the ESP: file} of a GA102."""
    subprocess.run([ROOT / "setup/firmware", BUILD / "deps"], check=True, timeout=600)
    subprocess.run(["make", "-s", "model", "build/kernels/sm_86.cubin"], cwd=ROOT, check=True, timeout=900)
    return {path: source for source, path in (line.split("=") for line in appliance.gpu_files("ga102"))}


def other(folder, source, change):
    """A changed copy of a file."""
    data = bytearray(open(source, "rb").read())
    path = folder / "changed.bin"
    path.write_bytes(change(data))
    return path


def flip(data):
    data[len(data) // 2] ^= 1
    return data


# what is done to the files; what is said of nvidia0; whether the model, too, sees what is wrong
CASES = {
    "none": (lambda files, folder: {}, rf"{GSP} is not on the boot disk: `make image GPU=ga102` puts it there", False),
    "one missing": (lambda files, folder: {path: file for path, file in files.items() if "booter_unload" not in path},
                    rf"{FOLDER}/booter_unload-570.144.bin is not on the boot disk: `make image GPU=ga102` puts it there", False),
    "cut": (lambda files, folder: {**files, GSP: other(folder, files[GSP], lambda data: data[:-5000])},
            rf"{GSP}: it ends before its section headers do; `make image GPU=ga102` puts a good one on the boot disk", False),
    "another chip's": (lambda files, folder: {**files, LOAD: str(files[LOAD]).replace("ga102", "ad102")}, r"booter_load: ", True),
    "one bit": (lambda files, folder: {**files, GSP: other(folder, files[GSP], flip)}, r"booter_load: it failed with code ", True),
    "no kernels": (lambda files, folder: {path: file for path, file in files.items() if "kernels" not in path},
                   r"no kernels for sm_86: .*/firmware/nvidia/kernels/sm_86.cubin", False),
}


@pytest.mark.parametrize("case", CASES)
def test_firmware_files_of_a_gpu(boot, tmp_path, files, case):
    change, said, is_seen_by_model = CASES[case]
    image = appliance.make_image(tmp_path / "boot.img", "auth = none\n", *[f"{file}={path}" for path, file in change(files, tmp_path).items()])
    model = GpuModel(tmp_path / "gpu", "ga102", expect_refusals=is_seen_by_model)
    vm = boot(image=image, gpu=model).wait_ready()
    devices = {device["name"]: device for device in json.loads(vm.get("/v1/devices", token=None).body)["devices"]}
    assert devices["cpu0"]["usable"]
    vm.wait_serial(said)
    devices = {device["name"]: device for device in json.loads(vm.get("/v1/devices", token=None).body)["devices"]}
    assert not devices["nvidia0"]["usable"] and devices["nvidia0"]["why_not"]
    if is_seen_by_model:
        assert "REFUSED" in model.text()
