"""The commands that people type, run as they type them."""
import json
import os
import re
import subprocess

from appliance import ROOT, free_port


def run(*command, seconds=300, **env):
    return subprocess.run([str(word) for word in command], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=seconds, env={**os.environ, **env})


def test_make_run_does_the_main_job():
    result = run("make", "run", STAY="0", PORT=str(free_port()))
    assert result.returncode == 0, result
    for line in ("the same as this machine's sha256sum says", "39 tensors", "checksum", "open http://"):
        assert line in result.stdout, result.stdout
    assert (ROOT / "build/run/token").stat().st_mode & 0o077 == 0
    token = (ROOT / "build/run/token").read_text()
    assert token not in (ROOT / "build/run/serial.log").read_text(errors="replace")


def test_make_run_with_a_modelled_gpu():
    result = run("make", "run", "GPU=model", STAY="0", PORT=str(free_port()))
    assert result.returncode == 0, result
    for line in ("39 tensors, 50354360 bytes to nvidia0", "39 tensors, 50354360 bytes to cpu0", "nvidia0 and cpu0 have the same results"):
        assert line in result.stdout, result.stdout
    assert " 0 refusals" in (ROOT / "build/run/gpu.log").read_text(errors="replace")
    assert run("make", "image").returncode == 0  # without the GPU's files again, as other tests want it


def test_make_run_leaves_no_machine_behind():
    ps = run("ps", "-eo", "args").stdout
    assert "build/run/boot.img" not in ps
    assert not re.search("^build/model/gpu", ps, re.M)


def test_gdb_finds_symbols_at_the_random_address():
    result = run("images/gdb", "-batch", "-ex", "continue", "-ex", "bt", PORT=str(free_port()))
    assert re.search(r"#0  kernel_main .* at kernel/main.c:\d+", result.stdout), result
    assert re.search(r"efi_main .* at boot/main.c:\d+", result.stdout), result


def test_second_make_is_quick_to_decide():
    assert run("make", "image").returncode == 0
    again = run("make", "image")
    assert again.returncode == 0 and " CC " not in again.stdout, again.stdout


def test_compile_commands():
    out = ROOT / "build/compile_commands.test.json"
    listing = run("make", "--no-print-directory", "-Bnk", "V=1", "build/ingot.elf")
    out.write_text(run_filter(listing.stdout))
    entries = json.loads(out.read_text())
    assert {"kernel/main.c", "nvme/queue.c", "apps/load/load.c"} <= {entry["file"] for entry in entries}
    assert len(entries) > 80


def run_filter(text):
    return subprocess.run([ROOT / "images/compile_commands.py"], input=text, capture_output=True, text=True, timeout=60, check=True).stdout


def test_unreachable_mirror_is_one_clear_line(tmp_path):
    """An apt that cannot fetch: what a machine without a network shows."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "apt-get").write_text("#!/bin/sh\necho 'Debian|Debian|http://127.0.0.1:9/debian/'\n")
    (tools / "apt-get").chmod(0o755)
    result = run("setup/sources", tmp_path / "deps", "yyjson", PATH=f"{tools}:{os.environ['PATH']}")
    assert result.returncode != 0
    assert len(result.stderr.strip().splitlines()) == 1 and "mirror" in result.stderr, result
    assert not list((tmp_path / "deps/tarballs").glob("*"))


def test_wrong_checksum_is_thrown_away(tmp_path):
    """A mirror that serves something else under the right name."""
    served = tmp_path / "mirror/pool/main/y/yyjson"
    served.mkdir(parents=True)
    name = next(line.split()[2] for line in (ROOT / "setup/pins").read_text().splitlines() if line.startswith("yyjson"))
    (served / name.replace("+", "%2b")).write_bytes(b"not the tarball")
    (served / name).write_bytes(b"not the tarball")
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "apt-get").write_text(f"#!/bin/sh\necho 'Debian|Debian|file://{tmp_path}/mirror/'\n")
    (tools / "apt-get").chmod(0o755)
    result = run("setup/sources", tmp_path / "deps", "yyjson", PATH=f"{tools}:{os.environ['PATH']}")
    assert result.returncode != 0 and "checksum" in result.stderr, result
    assert not list((tmp_path / "deps/tarballs").glob("*"))
    assert not (tmp_path / "deps/src/yyjson").exists()
