"""A local network with one appliance on it and this program as everybody else: QEMU hands us the appliance's Ethernet frames.

    with Lan() as lan:
        vm = boot(nic="none", extra=lan.qemu_options("virtio"))
        request = lan.wait_for(lambda frame: Dhcp.parse(frame) ...)

Frames travel over QEMU's `-netdev socket`: a TCP connection with a 4-byte length before each frame. Standard library only.
"""
import ipaddress
import random
import socket
import struct
import threading
import time

OUR_MAC = bytes.fromhex("02005e000001")
BROADCAST = b"\xff" * 6
MDNS_GROUP = "224.0.0.251"


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packed(address):
    return ipaddress.IPv4Address(address).packed


def text(address):
    return str(ipaddress.IPv4Address(address))


# ---- building frames -------------------------------------------------------------------------------------------------


def arp(operation, sender_mac, sender, target, destination=BROADCAST, target_mac=bytes(6)):
    return (destination + sender_mac + b"\x08\x06" + struct.pack(">HHBBH", 1, 0x0800, 6, 4, operation)
            + sender_mac + packed(sender) + target_mac + packed(target))


def ipv4(protocol, source, target, payload, destination, ttl=64):
    header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), random.randrange(65536), 0x4000, ttl, protocol, 0,
                         packed(source), packed(target))
    header = header[:10] + struct.pack(">H", checksum(header)) + header[12:]
    return destination + OUR_MAC + b"\x08\x00" + header + payload


def udp(source, source_port, target, target_port, payload, destination=BROADCAST, ttl=64):
    length = 8 + len(payload)
    pseudo = packed(source) + packed(target) + struct.pack(">BBH", 0, 17, length)
    head = struct.pack(">HHHH", source_port, target_port, length, 0)
    total = checksum(pseudo + head + payload) or 0xFFFF
    return ipv4(17, source, target, struct.pack(">HHHH", source_port, target_port, length, total) + payload, destination, ttl)


def ping(source, target, destination, identifier=1, sequence=1, payload=b"ingot" * 8):
    head = struct.pack(">BBHHH", 8, 0, 0, identifier, sequence) + payload
    return ipv4(1, source, target, head[:2] + struct.pack(">H", checksum(head)) + head[4:], destination)


# ---- taking frames apart: each returns None when the frame is something else ------------------------------------------


def parse_arp(frame):
    if frame[12:14] != b"\x08\x06" or len(frame) < 42:
        return None
    operation, = struct.unpack(">H", frame[20:22])
    return {"operation": operation, "sender_mac": frame[22:28], "sender": text(frame[28:32]), "target": text(frame[38:42])}


def parse_ip(frame, protocol):
    if frame[12:14] != b"\x08\x00" or len(frame) < 34 or frame[23] != protocol:
        return None
    header = (frame[14] & 15) * 4
    total, = struct.unpack(">H", frame[16:18])
    assert checksum(frame[14:14 + header]) == 0, "IP header checksum"
    return {"source": text(frame[26:30]), "target": text(frame[30:34]), "payload": frame[14 + header:14 + total], "mac": frame[6:12]}


def parse_udp(frame, port=None):
    packet = parse_ip(frame, 17)
    if packet is None:
        return None
    data = packet["payload"]
    source_port, target_port, length, total = struct.unpack(">HHHH", data[:8])
    if port is not None and target_port != port:
        return None
    assert length == len(data)
    if total:
        pseudo = packed(packet["source"]) + packed(packet["target"]) + struct.pack(">BBH", 0, 17, length)
        assert checksum(pseudo + data) == 0, "UDP checksum"
    return {**packet, "source_port": source_port, "target_port": target_port, "payload": data[8:]}


def parse_ping_reply(frame):
    packet = parse_ip(frame, 1)
    if packet is None or packet["payload"][0] != 0:
        return None
    assert checksum(packet["payload"]) == 0, "ICMP checksum"
    return {**packet, "identifier": struct.unpack(">H", packet["payload"][4:6])[0], "data": packet["payload"][8:]}


# ---- DHCP (RFC 2131, 2132) --------------------------------------------------------------------------------------------


def parse_dhcp(frame):
    packet = parse_udp(frame, 67)
    if packet is None:
        return None
    data, options, at = packet["payload"], {}, 240
    while at < len(data) and data[at] != 255:
        if data[at]:
            options[data[at]] = data[at + 2:at + 2 + data[at + 1]]
            at += data[at + 1]
            at += 2
        else:
            at += 1
    return {"xid": data[4:8], "mac": data[28:34], "type": options[53][0], "options": options}


def dhcp_reply(request, kind, server, address, lease=3600, extra=b""):
    body = (bytes([2, 1, 6, 0]) + request["xid"] + struct.pack(">HH", 0, 0x8000) + bytes(4) + packed(address) + packed(server)
            + bytes(4) + request["mac"] + bytes(10) + bytes(192) + b"\x63\x82\x53\x63" + bytes([53, 1, kind])
            + bytes([54, 4]) + packed(server) + bytes([51, 4]) + struct.pack(">I", lease) + bytes([1, 4]) + packed("255.255.255.0")
            + bytes([3, 4]) + packed(server) + extra + b"\xff")
    return udp(server, 67, "255.255.255.255", 68, body)


# ---- DNS messages, as mDNS uses them (RFC 6762) -----------------------------------------------------------------------


def dns_name(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def dns_question(name, kind=1, unicast=False):
    return struct.pack(">HHHHHH", 0, 0, 1, 0, 0, 0) + dns_name(name) + struct.pack(">HH", kind, 0x8001 if unicast else 1)


def dns_answer(name, address, ttl=120):
    return (struct.pack(">HHHHHH", 0, 0x8400, 0, 1, 0, 0) + dns_name(name) + struct.pack(">HHIH", 1, 0x8001, ttl, 4) + packed(address))


def dns_read_name(data, at):
    labels, end, jumps = [], None, 0
    while data[at]:
        if data[at] & 0xC0:
            end = end or at + 2
            at = struct.unpack(">H", data[at:at + 2])[0] & 0x3FFF
            jumps += 1
            assert jumps < 20, "loop of pointers in a DNS name"
        else:
            labels.append(data[at + 1:at + 1 + data[at]].decode())
            at += 1 + data[at]
    return ".".join(labels), end or at + 1


def parse_mdns(frame):
    """Questions as (name, type), records as (name, type, data)."""
    packet = parse_udp(frame, 5353)
    if packet is None:
        return None
    data = packet["payload"]
    _, flags, questions, *records = struct.unpack(">HHHHHH", data[:12])
    at, asked, told = 12, [], []
    for _ in range(questions):
        name, at = dns_read_name(data, at)
        asked.append((name, struct.unpack(">H", data[at:at + 2])[0]))
        at += 4
    for _ in range(sum(records)):
        name, at = dns_read_name(data, at)
        kind, _, _, length = struct.unpack(">HHIH", data[at:at + 10])
        told.append((name, kind, data[at + 10:at + 10 + length]))
        at += 10 + length
    return {**packet, "is_answer": bool(flags & 0x8000), "questions": asked, "records": told}


# ---- the network ------------------------------------------------------------------------------------------------------


class Lan:
    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(60)
        self.frames, self.news, self.connection = [], threading.Condition(), None
        self.answerers = []  # functions (lan, frame), called for each frame as it comes
        self.problem = None
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def qemu_options(self, nic):
        device = {"virtio": "virtio-net-pci,disable-legacy=on", "e1000e": "e1000e"}[nic]
        return ["-netdev", f"socket,id=lan,connect=127.0.0.1:{self.listener.getsockname()[1]}",
                "-device", f"{device},netdev=lan,romfile=,mac=52:54:00:4c:41:4e"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()
        if self.connection:
            self.connection.close()

    def _read(self):
        try:
            self.connection, _ = self.listener.accept()
            stream = self.connection.makefile("rb")
            while True:
                head = stream.read(4)
                if len(head) < 4:
                    return
                frame = stream.read(struct.unpack(">I", head)[0])
                with self.news:
                    self.frames.append(frame)
                    self.news.notify_all()
                for answer in list(self.answerers):
                    answer(self, frame)
        except OSError:
            return
        except Exception as problem:  # a test must see it, not only stderr
            self.problem = problem

    def send(self, frame):
        frame = frame.ljust(60, b"\0")
        self.connection.sendall(struct.pack(">I", len(frame)) + frame)

    def wait_for(self, parse, seconds=30, since=0):
        """What parse(frame) makes of the first frame (from number `since`) for which it returns something true."""
        end = time.monotonic() + seconds
        at = since
        with self.news:
            while True:
                while at < len(self.frames):
                    found = parse(self.frames[at])
                    at += 1
                    if found:
                        return found
                assert self.problem is None, self.problem
                assert self.news.wait(end - time.monotonic()), f"nothing of the kind among {len(self.frames)} frames in {seconds} s"

    def count(self):
        with self.news:
            return len(self.frames)

    def answer_arp_for(self, address):
        """Be the machine with this address."""

        def answer(lan, frame):
            request = parse_arp(frame)
            if request and request["operation"] == 1 and request["target"] == address and request["sender"] != "0.0.0.0":
                lan.send(arp(2, OUR_MAC, address, request["sender"], request["sender_mac"], request["sender_mac"]))

        self.answerers.append(answer)

    def serve_dhcp(self, server, address, extra=b""):
        def answer(lan, frame):
            request = parse_dhcp(frame)
            if request and request["type"] in (1, 3):
                lan.send(dhcp_reply(request, 2 if request["type"] == 1 else 5, server, address, extra=extra))

        self.answerers.append(answer)
        self.answer_arp_for(server)

    def ping(self, source, target, mac, seconds=5, **options):
        """One echo request until it is answered; at most `seconds`."""
        identifier = random.randrange(1, 65536)
        since, end = self.count(), time.monotonic() + seconds
        while True:
            self.send(ping(source, target, mac, identifier=identifier, **options))
            try:
                return self.wait_for(lambda f: (r := parse_ping_reply(f)) and r["identifier"] == identifier and r, 0.5, since)
            except AssertionError:
                assert self.problem is None and time.monotonic() < end, f"{target} does not answer pings"
