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
    check_listing(vm)


def check_listing(vm):
    """/v1/pci shows the tree, and lspci finds in its text form what it finds on a Linux machine."""
    functions = {f["name"]: f for f in vm.get("/v1/pci").json()["functions"]}
    drives = {d["pci"]: d["name"] for d in vm.get("/v1/devices").json()["nvme"]}
    assert len(drives) == 3 and {name: f["used_by"] for name, f in functions.items() if f["class_name"] == "NVMe controller"} == drives
    assert [f["class_name"] for f in functions.values() if f["used_by"] == "network"] == ["Ethernet controller"]
    behind_switch = 0
    for name in drives:
        drive = functions[name]
        assert drive["answers"] and drive["memory"] and drive["bus_master"] and drive["power_state"] == 0
        assert drive["link"] == {"gigatransfers_per_second": 2.5, "gigatransfers_per_second_max": 2.5, "lanes": 1, "lanes_max": 1}
        assert drive["bars"][0]["size_bytes"] == 16384 and drive["bars"][0]["address"] % 16384 == 0
        assert {"MSI-X", "PCI Express", "power management"} <= {c["name"] for c in drive["capabilities"]}
        bridges = []
        while drive["bridge"]:
            drive = functions[drive["bridge"]]
            bridges.append(drive["name"])
            assert drive["class_name"] == "PCI bridge"
        assert bridges
        behind_switch += len(bridges) == 3
    assert behind_switch == 1

    text = vm.get("/v1/pci?format=lspci").body.decode()
    spaces = {}
    for block in text.strip().split("\n\n"):
        head, *lines = block.split("\n")
        space = bytes.fromhex("".join(line.partition(":")[2] for line in lines))
        assert [int(line.partition(":")[0], 16) for line in lines] == list(range(0, len(space), 16))
        spaces[head.split(" ")[0]] = space
    assert spaces.keys() == functions.keys()
    for name, space in spaces.items():
        pci = functions[name]
        ids = [f"{int.from_bytes(space[i:i + 2], 'little'):04x}" for i in (0, 2)]
        assert ids == [pci["vendor_id"], pci["device_id"]]
        is_express = "PCI Express" in [c["name"] for c in pci["capabilities"]]
        assert len(space) == (4096 if is_express else 256)
        for capability in pci["capabilities"]:
            width = len(capability["id"]) // 2
            at = int(capability["offset"], 16)
            assert int.from_bytes(space[at:at + width], "little") == int(capability["id"], 16)


def test_without_ecam(boot, weights):
    """A machine from before PCI Express: configuration space through ports."""
    extra = [word for place in PLACES for word in drive(place, weights[place][0], "pci.0")]
    vm = boot(machine="pc", extra=extra).wait_ready()
    vm.wait_serial("no ECAM window; configuration space through ports")
    load_all(vm, weights)
    listed = vm.get("/v1/pci").json()["functions"]
    assert sum(f["used_by"] is not None for f in listed) == 4 and all(f["answers"] for f in listed)
