"""Restart and power-off, asked for over HTTP, while the appliance is at work."""


def test_restart_and_power_off(boot):
    vm = boot().wait_ready()
    # A job that runs for minutes here: it is ended, not waited for.
    long = vm.request("POST", "/v1/jobs", {"app": "matmul", "args": {"m": 4096, "n": 4096, "k": 4096}})
    assert long.status == 202, long
    assert vm.result("power", action="restart") == {"action": "restart", "in_seconds": 1}
    vm.wait_serial(r"stopping(.|\n)*Ingot \S+", seconds=60)
    assert "PANIC" not in vm.serial_text()
    assert "did not end in order" not in vm.serial_text()

    vm.wait_ready()
    assert vm.get("/v1/jobs").json()["jobs"] == []
    assert vm.result("power", action="off")["action"] == "off"
    assert vm.wait_exit(30) == 0


def test_power_refuses_other_actions(boot):
    vm = boot().wait_ready()
    reply = vm.request("POST", "/v1/jobs", {"app": "power", "args": {"action": "explode"}})
    assert reply.status == 400 and reply.json()["field"] == "action", reply
    assert vm.get("/livez").status == 200
