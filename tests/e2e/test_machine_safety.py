"""The machine's protections, each broken on purpose (tests/e2e/break.c): the fault must come, and be told rightly on the console."""
import re

import pytest

import appliance

EFI = appliance.BUILD / "break.efi"

# name in break.c: what the first line of the panic says, and the function that must be named as the place
FAULTS = {
    "null_read": (r"page fault: read at 0x8, nothing is mapped there: a null pointer", "machine_break"),
    "null_write": (r"page fault: write at 0, nothing is mapped there: a null pointer", "machine_break"),
    "low_write": (r"page fault: write at 0xfff8, nothing is mapped there", "machine_break"),
    "write_text": (r"page fault: write at 0x[0-9a-f]+, the page is read-only", "machine_break"),
    "write_rodata": (r"page fault: write at 0x[0-9a-f]+, the page is read-only", "machine_break"),
    "write_page_tables": (r"page fault: write at 0x[0-9a-f]+, the page is read-only", "machine_break"),
    "write_config": (r"page fault: write at 0x[0-9a-f]+, the page is read-only", "machine_break"),
    "write_sealed": (r"page fault: write at 0x[0-9a-f]+, the page is read-only", "machine_break"),
    "exec_data": (r"page fault: execution at 0x[0-9a-f]+, the page is not executable", "machine_break"),
    "exec_rodata": (r"page fault: execution at 0x[0-9a-f]+, the page is not executable", "machine_break"),
    "exec_heap": (r"page fault: execution at 0x[0-9a-f]+, the page is not executable", "machine_break"),
    "exec_stack": (r"page fault: execution at 0x[0-9a-f]+, the page is not executable", "machine_break"),
    "stack_overflow": (r"stack overflow: write of the guard page at 0x[0-9a-f]+", "recurse"),
    "stack_overflow_task": (r"stack overflow: write of the guard page at 0x[0-9a-f]+", "recurse"),
    "ssp": (r"stack smashing detected: a local array was overrun in overrun", "overrun"),
    "double_fault": (r"double fault \(exception 8\)", "machine_break"),
    "assert": (r"assertion failed: sink == 12345, in machine_break \(tests/e2e/break.c:\d+\)", "machine_break"),
    "divide": (r"division by zero or overflow \(exception 0\)", "machine_break"),
    "invalid": (r"invalid instruction \(exception 6\)", "machine_break"),
}


def image(folder, conf):
    folder.mkdir(parents=True, exist_ok=True)
    return appliance.make_image(folder / "break.img", conf, efi=EFI)


@pytest.mark.parametrize("name", FAULTS)
def test_fault(boot, tmp_path, name):
    message, function = FAULTS[name]
    vm = boot(image=image(tmp_path, f"auth = none\nrestart_after_panic = 0\nbreak = {name}\n"), nic="none", mem=512)
    vm.wait_serial(r"breaking on purpose: " + name)
    vm.wait_serial(r"stopped \(restart_after_panic = 0\)", seconds=30)
    text = vm.serial_text()
    core, task = ("1", "deep") if name == "stack_overflow_task" else ("0", "main")
    assert re.search(rf"error: PANIC on core {core}, task {task}: {message}", text), text[-3000:]
    # the place, with its offset in the image, or where a call into data came from
    assert re.search(rf"(at|called from|  from) [0-9a-f]{{16}} {function}(\.[a-z]+\.\d+)?\+0x[0-9a-f]+ \(image\+0x[0-9a-f]+\)", text), text[-3000:]
    assert "NOT BROKEN" not in text


def test_backtrace_names_callers_in_order(boot, tmp_path):
    vm = boot(image=image(tmp_path, "restart_after_panic = 0\nbreak = backtrace\n"), nic="none", mem=512)
    vm.wait_serial(r"stopped \(restart_after_panic = 0\)")
    names = re.findall(r"(?:at|  from) [0-9a-f]{16} ([a-z_]+)", vm.serial_text())
    assert names[:5] == ["backtrace_inner", "backtrace_outer", "machine_break", "main_task", "task_first_run"], names


def test_panic_restarts_after_the_delay_and_shows_the_log(boot, tmp_path):
    """The machine comes back by itself, and the next boot tells what the last one saw."""
    vm = boot(image=image(tmp_path, "restart_after_panic = 1\nbreak = invalid\n"), nic="none", mem=512)
    vm.wait_serial(r"restarting in 1 s")
    vm.wait_serial(r"the previous boot did not end in order")
    found = vm.wait_serial(r"previous boot: \[ *\d+\.\d+\] PANIC on core 0, task main: invalid instruction")
    assert found
    assert re.search(r"previous boot: .*breaking on purpose: invalid", vm.serial_text())


def test_restart_on_purpose_leaves_no_previous_log(boot, tmp_path):
    vm = boot(image=image(tmp_path, "break = restart\n"), nic="none", mem=512)
    vm.wait_serial(r"(?s)breaking on purpose: restart.*restarting.*breaking on purpose: restart")
    assert "previous boot" not in vm.serial_text()


def test_power_off(boot, tmp_path):
    vm = boot(image=image(tmp_path, "break = power_off\n"), nic="none", mem=512)
    vm.wait_serial(r"switching off")
    assert vm.wait_exit(30) == 0


def test_restart_with_one_core(boot, tmp_path):
    vm = boot(image=image(tmp_path, "break = restart\n"), nic="none", mem=512, smp=1, extra=["-no-reboot"])
    vm.wait_serial(r"breaking on purpose: restart")
    assert vm.wait_exit(30) == 0


def test_image_base_and_stacks_differ_from_boot_to_boot(boot, tmp_path):
    bases, stacks = set(), set()
    for i in range(3):
        vm = boot(image=image(tmp_path / str(i), "restart_after_panic = 0\nbreak = exec_stack\n"), nic="none", mem=512)
        vm.wait_serial(r"stopped \(restart_after_panic = 0\)")
        bases.add(vm.wait_serial(r"image at (0x[0-9a-f]+)")[1])
        stacks.add(vm.wait_serial(r"execution at (0x[0-9a-f]+)")[1])
        vm.stop()
    assert len(bases) == 3 and len(stacks) == 3, (bases, stacks)


def test_log_escapes_and_console_keeps_up(boot, tmp_path):
    """Hundreds of lines scroll by without loss on the serial port, and nothing in them can command a terminal."""
    vm = boot(image=image(tmp_path, "auth = none\nbreak = noise\n"), nic="none", mem=512)
    vm.wait_serial(r"NOT BROKEN: noise")
    text = vm.serial_text()
    assert re.search(r"escape \\x1b\[31m, newline \\x0a, bell \\x07, stray \\xff\\xc0\\x80, good é€", text)
    assert "\x1b[31m" not in text
    shown = [int(n) for n in re.findall(r"line (\d+) of many", text)]
    dropped = sum(int(n) for n in re.findall(r"\.\.\. (\d+) lines were faster than the console", text))
    assert shown == sorted(set(shown)) and len(shown) + dropped >= 600 and shown[-1] == 599
    picture = vm.screendump(tmp_path / "screen.ppm").read_bytes()
    assert 0xd0 in picture[20:], "nothing is drawn on the screen"


def test_stacks_beyond_the_kept_ones(boot, tmp_path):
    vm = boot(image=image(tmp_path, "auth = none\nbreak = stacks\n"), nic="none", mem=512, smp=4)
    vm.wait_serial(r"stacks are sound")
    assert "PANIC" not in vm.serial_text()
