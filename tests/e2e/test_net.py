"""The network: both NICs, addresses from everywhere, names, links that go and come, frames that make no sense."""
import http.client
import random
import socket
import struct
import time

import pytest

import lan as net
from appliance import free_port

APPLIANCE_MAC = bytes.fromhex("5254004c414e")
NICS = ["virtio", "e1000e"]


@pytest.fixture
def lan():
    with net.Lan() as network:
        yield network


def boot_on(boot, lan, nic="virtio", conf=""):
    vm = boot(nic="none", extra=lan.qemu_options(nic), conf="auth = none\n" + conf)
    vm.wait_serial(r"net: .*link up")
    return vm


def echo(lan, source, target, sizes=(0, 1, 100, 1472)):
    for size in sizes:
        data = random.randbytes(size)
        assert lan.ping(source, target, APPLIANCE_MAC, payload=data)["data"] == data


# ---- user networking: HTTP over both NICs -----------------------------------------------------------------------------


@pytest.mark.parametrize("nic", NICS)
def test_dhcp_connections_and_link(boot, nic):
    vm = boot(nic=nic, conf="auth = none\n").wait_ready()
    vm.wait_serial(r"net: address 10\.0\.2\.15, gateway 10\.0\.2\.2 \(DHCP\)")

    # Many at once. Each asks as soon as it is connected: QEMU forwards with a listen queue of 1, so all the connects together can
    # take longer than a connection may stay silent.
    sockets = []
    for _ in range(32):
        s = socket.create_connection(("127.0.0.1", vm.port), 20)
        s.sendall(b"GET /livez HTTP/1.1\r\nHost: ingot.local\r\n\r\n")
        sockets.append(s)
    for s in sockets:
        assert s.recv(4096).startswith(b"HTTP/1.1 200")
        s.close()
    # More than there are PCBs in a row, each left in TIME_WAIT by the appliance's own close.
    for _ in range(250):
        assert vm.get("/livez", headers={"Connection": "close"}, timeout=20).status == 200
    assert vm.get("/v1/devices").status == 200

    vm.qmp("set_link", name="net0", up=False)
    vm.wait_serial("net: the link is down", 10)
    with pytest.raises((OSError, http.client.HTTPException)):
        vm.get("/livez", timeout=2)
    vm.qmp("set_link", name="net0", up=True)
    vm.wait_serial("net: the link is down(?s:.*)net: the link is up", 10)
    vm.wait_ready(30, "/livez")


def test_static_address_from_ingot_conf(boot):
    port = free_port()
    vm = boot(nic="none", conf="auth = none\nnetwork = static\naddress = 10.0.2.77/24\ngateway = 10.0.2.2\n",
              extra=["-netdev", f"user,id=net0,hostfwd=tcp:127.0.0.1:{port}-10.0.2.77:80", "-device", "virtio-net-pci,netdev=net0,romfile="])
    vm.port = port
    vm.wait_ready()
    vm.wait_serial(r"net: address 10\.0\.2\.77, gateway 10\.0\.2\.2 \(static\)")
    assert "(DHCP)" not in vm.serial_text()


def test_no_nic_boots_to_a_console_that_says_so(boot):
    boot(nic="none").wait_serial("(?i)no network")


def test_second_port_is_used_when_the_first_has_no_link(boot):
    port = free_port()
    vm = boot(nic="none", conf="auth = none\n", extra=[
        "-netdev", "user,id=net0", "-device", "virtio-net-pci,netdev=net0,id=port0,romfile=",
        "-netdev", f"user,id=net1,hostfwd=tcp:127.0.0.1:{port}-:80", "-device", "e1000e,netdev=net1,id=port1,romfile="])
    vm.port = port
    vm.wait_serial("BdsDxe")
    vm.qmp("set_link", name="port0", up=False)  # the firmware is still at work
    vm.wait_ready()
    vm.wait_serial(r"net: e1000e .*link up")


# ---- our own network --------------------------------------------------------------------------------------------------


def serve_time(network, frame):
    """A time server that says 2040; first a forged answer, which does not echo the request, says 2096."""
    request = net.parse_udp(frame, 123)
    if request is None:
        return

    def answer(origin, seconds):
        stamp = struct.pack(">II", (seconds + 2208988800) & 0xFFFFFFFF, 0)
        body = bytes([0x24, 1, 6, 0xEC]) + bytes(8) + b"TEST" + stamp + origin + stamp + stamp
        network.send(net.udp("192.168.7.1", 123, request["source"], request["source_port"], body, APPLIANCE_MAC))

    answer(bytes(8), 4000000000)
    answer(request["payload"][40:48], 2209032000)


def ask(lan, name, kind, source, want, seconds=10):
    """Ask by multicast until a record for which want(record) holds is answered."""
    since, end = lan.count(), time.monotonic() + seconds
    while True:
        lan.send(net.udp(source, 5353, net.MDNS_GROUP, 5353, net.dns_question(name, kind), bytes.fromhex("01005e0000fb"), ttl=255))
        try:
            return lan.wait_for(lambda f: (m := net.parse_mdns(f)) and m["is_answer"] and next(filter(want, m["records"]), None), 1, since)
        except AssertionError:
            assert lan.problem is None and time.monotonic() < end, f"no answer for {name}"


def send_malformed(lan, count):
    """Truncated, mislabelled, badly summed and random frames. The appliance goes on."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    good = [net.ping("192.168.7.1", "192.168.7.20", APPLIANCE_MAC, payload=bytes(100)),
            net.arp(1, net.OUR_MAC, "192.168.7.1", "192.168.7.20"),
            net.udp("192.168.7.1", 5353, net.MDNS_GROUP, 5353, net.dns_question("ingot.local"), bytes.fromhex("01005e0000fb")),
            net.ipv4(6, "192.168.7.1", "192.168.7.20", struct.pack(">HHIIHHHH", 4000, 80, 1, 0, 0x5002, 1000, 0, 0), APPLIANCE_MAC),
            net.ipv4(2, "192.168.7.1", "224.0.0.251", bytes([0x11, 1, 0, 0]) + bytes(4), bytes.fromhex("01005e0000fb"))]
    for i in range(count):
        frame = bytearray(dice.choice(good))
        for _ in range(dice.randrange(1, 6)):
            frame[dice.randrange(12, len(frame))] = dice.randrange(256)
        if i % 3 == 0:
            del frame[dice.randrange(14, len(frame)):]
        if i % 7 == 0:
            frame += dice.randbytes(dice.randrange(0, 1400))
        lan.send(bytes(frame[:1514]))
        if i % 500 == 499:
            assert lan.ping("192.168.7.1", "192.168.7.20", APPLIANCE_MAC, seconds=20)


@pytest.mark.parametrize("nic", NICS)
def test_a_day_on_a_network_with_dhcp(boot, lan, nic):
    """The exchange itself, pings of all sizes, names and services, the clock, then frames that make no sense."""
    lan.answerers.append(serve_time)
    lan.serve_dhcp("192.168.7.1", "192.168.7.20", extra=bytes([42, 4]) + net.packed("192.168.7.1"))
    vm = boot_on(boot, lan, nic, "hostname = kettle\n")
    discover = lan.wait_for(lambda f: (d := net.parse_dhcp(f)) and d["type"] == 1 and d)
    assert discover["options"][12] == b"kettle"
    request = lan.wait_for(lambda f: (d := net.parse_dhcp(f)) and d["type"] == 3 and d)
    assert request["options"][50] == net.packed("192.168.7.20")
    vm.wait_serial(r"net: address 192\.168\.7\.20, gateway 192\.168\.7\.1 \(DHCP\)")
    echo(lan, "192.168.7.1", "192.168.7.20")

    vm.wait_serial(r"net: this machine is kettle\.local")
    record = ask(lan, "kettle.local", 1, "192.168.7.1", lambda r: r[:2] == ("kettle.local", 1))
    assert net.text(record[2]) == "192.168.7.20"
    service = ask(lan, "_http._tcp.local", 12, "192.168.7.1", lambda r: r[:2] == ("kettle._http._tcp.local", 33))
    assert struct.unpack(">H", service[2][4:6])[0] == 80

    vm.wait_serial(r"net: the clock is set to 2040-01-01T12:00:0\dZ by a time server", 30)
    assert "2096" not in vm.serial_text()

    send_malformed(lan, 3000)
    echo(lan, "192.168.7.1", "192.168.7.20")
    assert vm.process.poll() is None and "panic" not in vm.serial_text().lower()


@pytest.mark.parametrize("nic", NICS)
def test_link_local_until_a_dhcp_server_comes(boot, lan, nic):
    """Nobody answers DHCP, and the first link-local address belongs to somebody: the appliance takes another one. A server
    that comes later is found, and its address replaces ours; two names that are taken are passed over."""
    taken = []

    def defend(network, frame):
        probe = net.parse_arp(frame)
        if probe and probe["sender"] == "0.0.0.0" and (not taken or probe["target"] == taken[0]):
            taken[:] = [probe["target"]]
            network.send(net.arp(2, net.OUR_MAC, probe["target"], "0.0.0.0", probe["sender_mac"], probe["sender_mac"]))

    def own_names(network, frame):
        message = net.parse_mdns(frame)
        if message and not message["is_answer"]:
            for name in {name for name, _ in message["questions"]} & {"ingot.local", "ingot-2.local"}:
                network.send(net.udp("169.254.9.9", 5353, net.MDNS_GROUP, 5353, net.dns_answer(name, "169.254.9.9"),
                                     bytes.fromhex("01005e0000fb"), ttl=255))

    lan.answerers += [defend, own_names]
    lan.answer_arp_for("169.254.9.9")
    vm = boot_on(boot, lan, nic)
    used = vm.wait_serial(r"net: address (169\.254\.\d+\.\d+), gateway 0\.0\.0\.0 \(link-local\)", 60).group(1)
    assert taken and used != taken[0] and 1 <= int(used.split(".")[2]) <= 254
    echo(lan, "169.254.9.9", used)
    vm.wait_serial(r"net: this machine is ingot-3\.local", 60)
    record = ask(lan, "ingot-3.local", 1, "169.254.9.9", lambda r: r[:2] == ("ingot-3.local", 1))
    assert net.text(record[2]) == used

    lan.serve_dhcp("192.168.7.1", "192.168.7.21")
    vm.wait_serial(r"net: address 192\.168\.7\.21, gateway 192\.168\.7\.1 \(DHCP\)", 90)
    echo(lan, "192.168.7.1", "192.168.7.21")


def test_configured_address_when_no_server_answers(boot, lan):
    vm = boot_on(boot, lan, conf="address = 192.168.9.5/24\ngateway = 192.168.9.1\nmdns = off\n")
    vm.wait_serial(r"net: no DHCP server answers; using the address in ingot\.conf")
    vm.wait_serial(r"net: address 192\.168\.9\.5, gateway 192\.168\.9\.1 \(static\)")
    lan.answer_arp_for("192.168.9.1")
    since = lan.count()
    lan.send(net.udp("192.168.9.1", 5353, net.MDNS_GROUP, 5353, net.dns_question("ingot.local"), bytes.fromhex("01005e0000fb"), ttl=255))
    echo(lan, "192.168.9.1", "192.168.9.5")
    assert not any(net.parse_mdns(f) for f in lan.frames[since:])  # mdns = off
