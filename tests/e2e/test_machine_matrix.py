"""The image on machines of all sizes and kinds: each must come up, answer over HTTP where it has a network, and say what it lacks."""
import re

import pytest

import appliance

# QEMU promises memory that the host need not have: Ingot touches what it uses.
LARGE = ["-object", "memory-backend-ram,id=ram,size=64G,reserve=off"]

MACHINES = {
    "smallest": dict(cpu="qemu64", smp=1, mem=256),
    "largest": dict(cpu="max", smp=16, mem=65536, machine="q35,memory-backend=ram", nic="e1000e", extra=LARGE),
    "large_without_1g_pages": dict(cpu="qemu64", smp=2, mem=65536, machine="q35,memory-backend=ram", extra=LARGE),
    "i440fx_without_screen": dict(cpu="qemu64", smp=3, mem=512, machine="pc", nic="e1000e", extra=["-vga", "none"]),
    "without_hpet": dict(smp=2, mem=512, machine="q35,hpet=off"),
    "odd_memory_three_cores": dict(smp=3, mem=777),
}


@pytest.mark.parametrize("name", MACHINES)
def test_machine(boot, name):
    options = MACHINES[name]
    vm = boot(**options).wait_ready()
    text = vm.serial_text()
    assert re.search(rf"\b{options['smp']} cores?, x2?APIC; up after", text), text
    assert vm.get("/livez").status == 200
    found = re.search(r"memory: (\d+) MiB; processor: (\S.*), (\d+) MHz \((HPET|ACPI timer|CPUID)\)", text)
    assert found and options["mem"] * 0.98 - 16 <= int(found[1]) <= options["mem"], text
    assert 500 < int(found[3]) < 7000
    assert ("no screen" in text) == (name == "i440fx_without_screen")
    if name == "without_hpet":
        assert found[4] == "ACPI timer"
    assert "does not start" not in text and "PANIC" not in text


def test_debian_13_x2apic_and_strict_nx(boot, debian13):
    """A firmware that maps data not executable and code not writable, and a processor with an x2APIC."""
    vm = boot(smp=4, qemu=debian13, firmware="CODE_4M.secboot.strictnx").wait_ready()
    text = vm.serial_text()
    assert re.search(r"4 cores, x2APIC", text), text
    assert "not moved" not in text


def test_without_serial_port(boot, tmp_path):
    vm = boot(serial=False).wait_ready()
    assert re.search(r"console: screen \d+x\d+; no serial port", log_text(vm))
    picture = vm.screendump(tmp_path / "screen.ppm").read_bytes()
    assert 0xd0 in picture[20:], "nothing is drawn on the screen"


def test_without_anything(boot):
    """No screen, no network, no drive: the serial port says so."""
    vm = boot(nic="none", extra=["-vga", "none"])
    vm.wait_serial(r"console: serial port; no screen")
    vm.wait_serial(r"no NVMe drive found")
    vm.wait_serial(r"no network device")


def test_token_is_made_once_and_kept(boot, tmp_path):
    image = appliance.make_image(tmp_path / "boot.img", "")
    options = dict(image=image, vars_file=tmp_path / "vars.fd")
    vm = boot(**options).wait_ready()
    token = vm.wait_serial(r"access token \(made at this first boot\): ([0-9a-f]{32})\b")[1]
    assert vm.get("/v1/devices", token=token).status == 200
    assert vm.get("/v1/devices", token="0" * 32).status == 401
    assert token not in log_text(vm, token)
    vm.stop()

    vm = boot(**options).wait_ready()
    vm.wait_serial(r"the token is the one shown at the first boot")
    assert token not in vm.serial_text()
    assert vm.get("/v1/devices", token=token).status == 200
    vm.stop()

    vm = boot(image=image).wait_ready()  # another machine
    assert vm.wait_serial(r"made at this first boot\): ([0-9a-f]{32})\b")[1] != token


def test_missing_and_huge_configuration(boot, tmp_path):
    vm = boot(image=appliance.make_image(tmp_path / "none.img", None), nic="none")
    vm.wait_serial(r"no network device")
    assert "ingot.conf" not in vm.serial_text().replace("in ingot.conf", "")
    vm.stop()

    text = "# padding\n" * 7000 + "hostname = lost\n"
    vm = boot(image=appliance.make_image(tmp_path / "huge.img", text), nic="none")
    vm.wait_serial(r"warning: ingot.conf: larger than 64 KiB: the rest is ignored")
    vm.wait_serial(r"no network device")


def test_firmware_files(boot, tmp_path):
    blob = tmp_path / "blob.bin"
    blob.write_bytes(bytes(range(256)) * 20000)
    image = appliance.make_image(tmp_path / "boot.img", "auth = none\n", f"{blob}=/firmware/gsp_ga10x.bin", f"{blob}=/firmware/a-second-one.bin")
    vm = boot(image=image, nic="none")
    vm.wait_serial(r"2 firmware files, 10240000 bytes")


def test_firmware_folders(boot, tmp_path):
    """Files in folders count, down to the fourth level; a path that is too long is named; what is too much is left out."""
    small = tmp_path / "small.bin"
    small.write_bytes(b"firmware" * 100)
    empty = tmp_path / "empty.bin"
    empty.write_bytes(b"")
    files = [f"{small}=/firmware/{path}" for path in
             ("top.bin", "nvidia/ga102/gsp/one.bin", "nvidia/ga102/gsp/two.bin", "nvidia/kernels/sm_86.cubin", "1/2/3/4/too-deep.bin")]
    image = appliance.make_image(tmp_path / "boot.img", "auth = none\n", *files, f"{empty}=/firmware/nvidia/empty.bin")
    vm = boot(image=image, nic="none")
    vm.wait_serial(r"4 firmware files, 3200 bytes")

    long_path = f"nvidia/{'x' * 40}/{'y' * 30}.bin"
    image = appliance.make_image(tmp_path / "long.img", "auth = none\n", files[0], f"{small}=/firmware/{long_path}")
    vm = boot(image=image, nic="none")
    vm.wait_serial(r"1 firmware files, 800 bytes")
    vm.wait_serial(r"warning: firmware file nvidia/x{40}/y+: its name is too long")

    image = appliance.make_image(tmp_path / "many.img", "auth = none\n", *[f"{small}=/firmware/d{n % 7}/{n}.bin" for n in range(60)])
    vm = boot(image=image, nic="none")
    vm.wait_serial(r"48 firmware files, 38400 bytes")
    vm.wait_serial(r"warning: more than 48 firmware files: the rest is ignored")


def test_reset_button_shows_the_previous_boots_log(boot):
    vm = boot(nic="none")
    vm.wait_serial(r"no network device that Ingot drives")
    vm.qmp("system_reset")
    vm.wait_serial(r"the previous boot did not end in order; its last \d+ lines")
    vm.wait_serial(r"previous boot: \[ *\d+\.\d+\] no network device that Ingot drives")


def log_text(vm, token=True):
    reply = vm.get("/v1/log", token=token)
    assert reply.status == 200, reply
    return reply.body.decode()
