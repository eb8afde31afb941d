"""Fixtures of the end-to-end tests: the real image in QEMU.

    def test_x(boot, disk):
        vm = boot(disks=[disk("a.bin")], smp=4).wait_ready()
"""
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import appliance  # noqa: E402  (found through the line above)


def stop_all(machines):
    """Every one, also when one's GPU model has something to object."""
    objections = []
    for machine in machines:
        try:
            machine.stop()
        except AssertionError as objection:
            objections.append(str(objection))
    assert not objections, "\n".join(objections)


@pytest.fixture
def boot(tmp_path):
    """Start appliances: boot(**options of appliance.Appliance). They end with the test."""
    running = []

    def start(**options):
        machine = appliance.Appliance(tmp_path / f"vm{len(running)}", **options)
        running.append(machine)
        return machine

    yield start
    stop_all(running)


@pytest.fixture(scope="module")
def boot_shared(tmp_path_factory):
    """The same, kept for all tests of a module."""
    running = []

    def start(**options):
        machine = appliance.Appliance(tmp_path_factory.mktemp("vm"), **options)
        running.append(machine)
        return machine

    yield start
    stop_all(running)


@pytest.fixture(autouse=True)
def show_serial_on_failure(request):
    """A failing test prints the end of its appliance's serial console."""
    yield
    report = getattr(request.node, "report_call", None)
    if report is not None and report.failed:
        for value in request.node.funcargs.values():
            if isinstance(value, appliance.Appliance):
                print("serial console, last lines:\n" + value.serial_text()[-3000:])
                for model in value.gpus:
                    print(f"GPU model {model.chip}:\n" + model.text()[-3000:])


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call":
        item.report_call = outcome.get_result()


@pytest.fixture(scope="session")
def vfio_user():
    """A QEMU that can be the client of the GPU model: the system's, or Debian 13 backports', fetched once."""
    subprocess.run([appliance.ROOT / "setup/vfio-user", appliance.BUILD / "deps/debian13-backports"], check=True, timeout=900)


@pytest.fixture(scope="session")
def debian13():
    """The folder with Debian 13's QEMU and firmware, fetched once."""
    folder = appliance.BUILD / "deps/debian13"
    subprocess.run([appliance.ROOT / "setup/debian13", folder], check=True, timeout=900)
    return folder
