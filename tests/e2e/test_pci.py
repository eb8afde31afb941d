"""PCI devices in places that plain QEMU machines do not have: behind bridges, on a second root bus, and without ECAM."""
import hashlib
import re

import pytest

import weights_files as wf
from appliance import make_disk

PLACES = ["root_port", "switch", "second_root_bus"]


def drive(name, path, bus):
    return ["-drive", f"file={path},format=raw,if=none,id={name}", "-device", f"nvme,drive={name},serial={name},bus={bus}"]


@pytest.fixture
def weights(tmp_path):
    """A drive for each place, each with a weight file of its own: place -> (path, contents)."""
    made = {}
    for seed, place in enumerate(PLACES):
        file = tmp_path / f"{place}.safetensors"
        wf.write_safetensors(file, wf.random_tensors(seed=seed))
        made[place] = (make_disk(tmp_path / f"{place}.img", file), file.read_bytes())
    return made


def load_all(vm, weights):
    """Every drive is found under its name, and what it holds arrives whole: registers, DMA and interrupts pass the bridges."""
    text = vm.serial_text()
    for place, (_, data) in weights.items():
        found = re.search(rf"(nvme\d+): QEMU NVMe Ctrl, serial {place},", text)
        assert found, text
        result = vm.result("load", file=f"{found[1]}n1p1:/{place}.safetensors", verify="sha256")
        assert result["bytes"] == len(data) and result["sha256"] == hashlib.sha256(data).hexdigest()


def test_bridges_and_a_second_root_bus(boot, weights):
    extra = ["-device", "pcie-root-port,id=port1,chassis=1,slot=1",
             "-device", "pcie-root-port,id=port2,chassis=2,slot=2",
             "-device", "x3130-upstream,id=up,bus=port2", "-device", "xio3130-downstream,id=down,bus=up,chassis=3,slot=3",
             "-device", "pxb-pcie,id=pxb,bus_nr=64,bus=pcie.0", "-device", "pcie-root-port,id=port4,chassis=4,slot=4,bus=pxb"]
    for place, bus in zip(PLACES, ("port1", "down", "port4")):
        extra += drive(place, weights[place][0], bus)
    vm = boot(smp=3, extra=extra).wait_ready()
    load_all(vm, weights)
    assert "is no bus of its own" not in vm.serial_text()


def test_without_ecam(boot, weights):
    """A machine from before PCI Express: configuration space through ports."""
    extra = [word for place in PLACES for word in drive(place, weights[place][0], "pci.0")]
    vm = boot(machine="pc", extra=extra).wait_ready()
    vm.wait_serial("no ECAM window; configuration space through ports")
    load_all(vm, weights)
