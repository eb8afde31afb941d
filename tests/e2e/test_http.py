"""HTTP as its clients meet it: over TCP, against the hosted server and the image. The table of malformed requests is a unit test."""
import concurrent.futures
import http.client
import json
import os
import re
import select
import socket
import subprocess
import time

import pytest
from appliance import ROOT
from servers import disk_file, hosted, image, server  # noqa: F401  (fixtures)


def connect(server, seconds=30):
    return socket.create_connection(("127.0.0.1", server.port), timeout=seconds)


def read_all(connection):
    """Until the server closes."""
    data = b""
    while True:
        piece = connection.recv(65536)
        if not piece:
            return data
        data += piece


def exchange(server, text, half_close=True):
    with connect(server) as connection:
        connection.sendall(text if isinstance(text, bytes) else text.encode())
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        return read_all(connection).decode()


def head(server, extra=""):
    return f"Host: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {server.token}\r\n{extra}"


def statuses(text):
    return [int(s) for s in re.findall(r"^HTTP/1\.1 (\d{3}) ", text, re.M)]


def read_event(stream):
    """The next server-sent event: (name, data); comments are ("", text)."""
    name, data = "", []
    while True:
        line = stream.readline().decode().rstrip("\n")
        if line == "":
            return name, "\n".join(data)
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field in ("data", ""):
            data.append(value)


def test_pipelined_requests_are_answered_in_order(server):
    one = f"GET /livez HTTP/1.1\r\n{head(server)}\r\n"
    two = f"GET /nowhere HTTP/1.1\r\n{head(server)}\r\n"
    text = exchange(server, (one + two) * 25)
    assert statuses(text) == [200, 404] * 25


def test_kept_alive_and_closed(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    for _ in range(50):
        connection.request("GET", "/livez")
        assert connection.getresponse().read() == b"ok\n"
        assert connection.sock is not None
    connection.request("GET", "/livez", headers={"Connection": "close"})
    reply = connection.getresponse()
    assert reply.getheader("Connection") == "close" and reply.read() == b"ok\n"
    connection.close()
    assert statuses(exchange(server, f"GET /livez HTTP/1.0\r\n\r\n", half_close=False)) == [200]


def test_chunked_request(server):
    body = json.dumps({"app": "load", "args": {"file": "none0:/x"}})
    pieces = "".join(f"{len(body[i:i + 7]):x};x=y\r\n{body[i:i + 7]}\r\n" for i in range(0, len(body), 7))
    text = exchange(server, f"POST /v1/jobs HTTP/1.1\r\n{head(server)}Transfer-Encoding: chunked\r\n\r\n{pieces}0\r\nX: y\r\n\r\n"
                            f"GET /livez HTTP/1.1\r\n{head(server)}\r\n")
    assert statuses(text) == [202, 200]


def test_continue(server):
    body = b'{"app":"none"}'
    with connect(server) as connection:
        connection.sendall(f"POST /v1/jobs HTTP/1.1\r\n{head(server)}Expect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        connection.shutdown(socket.SHUT_WR)
        assert statuses(read_all(connection).decode())[0] in (400, 404)


def test_refused_body_still_gets_its_answer(server):
    """More is sent than will be read; the reply must arrive all the same."""
    with connect(server) as connection:
        connection.sendall(f"POST /v1/jobs HTTP/1.1\r\n{head(server)}Content-Length: 10000000\r\n\r\n".encode())
        try:
            for _ in range(20):
                connection.sendall(b"x" * 10000)
        except OSError:
            pass  # the server may have closed by now; its reply is already here
        assert b"HTTP/1.1 413 " in connection.recv(65536)


def test_headers_that_smuggle(server):
    smuggled = f"GET /v1/machine HTTP/1.1\r\n{head(server)}\r\n"
    for bad in ["Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", "Content-Length: 0\r\nContent-Length: 5\r\n",
                "Transfer-Encoding : chunked\r\n", "Content-Length: 0\n", "X: a\r\n b\r\n", "Content-Length: +0\r\n"]:
        text = exchange(server, f"POST /v1/jobs HTTP/1.1\r\n{head(server)}{bad}\r\n{smuggled}")
        assert statuses(text) == [400], (bad, text)
        assert "Connection: close" in text


def test_large_reply_to_a_slow_reader(server):
    with connect(server) as connection:
        connection.sendall(f"GET /openapi.json HTTP/1.1\r\n{head(server)}Connection: close\r\n\r\n".encode())
        data = b""
        while piece := connection.recv(997):
            data += piece
            time.sleep(0.002)
    headers, _, body = data.partition(b"\r\n\r\n")
    assert int(re.search(rb"Content-Length: (\d+)", headers)[1]) == len(body)
    json.loads(body)


def test_many_connections(server):
    """64 at once are served; the next is told to come back; afterwards all is well."""
    request = f"GET /livez HTTP/1.1\r\n{head(server)}\r\n".encode()
    held = []
    try:
        # Each asks as soon as it is connected: QEMU forwards with a listen queue of 1, so all the connects together can take longer
        # than a new connection may stay silent.
        for _ in range(64):
            held.append(connect(server))
            held[-1].sendall(request)
        for connection in held:
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        # Once more, so that none of them has been idle for long enough to make room for a newcomer.
        for connection in held:
            connection.sendall(request)
        for connection in held:
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        with connect(server) as one_more:
            refusal = read_all(one_more).decode()
        assert statuses(refusal) == [503] and "Retry-After: " in refusal
    finally:
        for connection in held:
            connection.close()
    end = time.monotonic() + 20
    while True:
        try:
            if server.get("/livez", timeout=5).status == 200:
                break
        except (OSError, http.client.HTTPException):
            pass
        assert time.monotonic() < end
        time.sleep(0.1)


def test_silent_clients_make_room(server):
    """All connections taken by clients that say nothing: after some seconds a new one gets in."""
    held = [connect(server) for _ in range(64)]
    try:
        end = time.monotonic() + 20
        while True:
            try:
                if server.get("/livez", timeout=5).status == 200:
                    break
            except (OSError, http.client.HTTPException):
                pass
            assert time.monotonic() < end
            time.sleep(0.2)
    finally:
        for connection in held:
            connection.close()


def test_slow_headers_time_out(server):
    """A byte a second does not keep a connection: 408 after ten seconds, while others are served."""
    with connect(server) as slow:
        slow.sendall(b"GET /")
        started = time.monotonic()
        while not select.select([slow], [], [], 0.5)[0]:
            assert time.monotonic() - started < 20
            slow.sendall(b"a")
            assert server.get("/livez").status == 200
        assert slow.recv(4096).startswith(b"HTTP/1.1 408 ")
        assert 8 < time.monotonic() - started < 16


def test_connection_per_request(server):
    def one(_):
        return server.get("/livez", timeout=60).status

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(one, range(300))) == {200}


def test_job_by_wait_and_by_events(server):
    body = {"app": "matmul", "args": {"m": 64, "n": 64, "k": 64}}
    reply = server.request("POST", "/v1/jobs?wait=60", body)
    assert reply.status == 200 and reply.json()["state"] == "succeeded"
    assert reply.headers["location"] == f"/v1/jobs/{reply.json()['id']}"
    submitted = server.request("POST", "/v1/jobs", {"app": "bench", "args": {"seconds": 20}})
    assert submitted.status == 202
    path = submitted.headers["location"]
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", path + "/events", headers={"Authorization": f"Bearer {server.token}"})
    stream = connection.getresponse()
    assert stream.getheader("Content-Type") == "text/event-stream"
    name, data = read_event(stream)
    assert name == "progress" and json.loads(data)["state"] in ("queued", "running")
    cancelled_at = time.monotonic()
    assert server.request("DELETE", path).status == 202
    while name != "end":
        name, data = read_event(stream)
    assert json.loads(data)["state"] == "cancelled"
    assert time.monotonic() - cancelled_at < 5  # 100 ms and what emulation adds
    assert stream.read() == b""
    connection.request("GET", "/livez")  # the connection goes on
    assert connection.getresponse().read() == b"ok\n"
    connection.close()


def test_waiting_client_that_leaves(server):
    """Its job goes on, and nothing is left behind."""
    with connect(server) as connection:
        body = json.dumps({"app": "bench", "args": {"seconds": 20}})
        connection.sendall(f"POST /v1/jobs?wait=60 HTTP/1.1\r\n{head(server)}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        time.sleep(0.5)
    jobs = server.get("/v1/jobs?limit=1000").json()["jobs"]
    assert jobs[-1]["state"] in ("queued", "running")
    assert server.request("DELETE", f"/v1/jobs/{jobs[-1]['id']}").status == 202


def test_directories(server):
    listing = server.get(f"/v1/volumes/{server.volume}/files").json()
    names = {entry["name"]: entry for entry in listing["entries"]}
    assert names["models"]["type"] == "directory" and "Näme & ‹i›.txt" in names
    assert names["Näme & ‹i›.txt"]["size_bytes"] == 6
    seen, offset = [], 0
    while offset is not None:
        page = server.get(f"/v1/volumes/{server.volume}/files?path=%2Fmany&limit=100&offset={offset}").json()
        seen += [entry["name"] for entry in page["entries"] if entry["type"] == "file"]
        offset = page["next_offset"]
    assert sorted(seen) == [f"file-{i:03}.txt" for i in range(250)]
    for path, status in [("/models/m.safetensors", 400), ("/none", 404), ("models", 400), ("/a%00b", 400)]:
        reply = server.get(f"/v1/volumes/{server.volume}/files?path={path}")
        assert reply.status == status and reply.json()["field"] == "path", (path, reply)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        replies = list(pool.map(lambda _: server.get(f"/v1/volumes/{server.volume}/files?path=/many").status, range(30)))
    assert set(replies) <= {200, 503} and 200 in replies


def test_log(server):
    lines = [json.loads(line) for line in server.get("/v1/log?format=json").body.decode().splitlines()]
    assert [line["sequence"] for line in lines] == sorted({line["sequence"] for line in lines})
    later = server.get(f"/v1/log?format=json&from={lines[-1]['sequence'] + 1}").body.decode().splitlines()
    assert all(json.loads(line)["sequence"] > lines[-1]["sequence"] for line in later)
    text = server.get("/v1/log")
    assert text.headers["content-type"].startswith("text/plain") and lines[0]["text"] in text.body.decode()
    assert server.token not in text.body.decode()


# The text format 0.0.4, as Prometheus' documentation describes it.
SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)*)\})? ([-+]?(?:[0-9.]+(?:e[-+]?\d+)?|Inf|NaN))')


def parse_metrics(text):
    """{family: (type, {sample with labels: value})}; refuses what Prometheus or promtool's lint would."""
    families, family, seen = {}, None, set()
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split(" ", 3)[2]
            assert family not in families, f"{family} stands twice"
            families[family] = [None, {}]
            assert len(line.split(" ", 3)[3]) > 5
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == family and kind in ("counter", "gauge", "histogram") and families[family][0] is None
            families[family][0] = kind
            assert (kind == "counter") == name.endswith("_total"), name
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            base = re.sub(r"_(bucket|sum|count)$", "", match[1]) if families[family][0] == "histogram" else match[1]
            assert base == family, f"{line} is not of {family}"
            assert (match[1], match[2]) not in seen, f"{line} stands twice"
            seen.add((match[1], match[2]))
            families[family][1][match[1] + ("{" + match[2] + "}" if match[2] else "")] = float(match[3].replace("Inf", "inf"))
    assert all(kind for kind, _ in families.values())
    return families


def test_metrics(server):
    server.get("/v1/devices")  # asks for health readings
    time.sleep(0.5)
    families = parse_metrics(server.get("/metrics").body.decode())
    for name in ["ingot_build_info", "ingot_boot_duration_seconds", "ingot_http_requests_total", "ingot_http_request_duration_seconds",
                 "ingot_jobs_total", "ingot_jobs_queued", "ingot_nvme_commands_total", "ingot_nvme_read_bytes_total",
                 "ingot_nvme_temperature_celsius", "ingot_gpu_memory_used_bytes", "ingot_heap_used_bytes", "ingot_tcp_retransmits_total"]:
        assert name in families and name.startswith("ingot_"), name
    counts = 'ingot_http_requests_total{method="GET",route="/livez",code="200"}'
    before = families["ingot_http_requests_total"][1].get(counts, 0)
    server.get("/livez")
    after = parse_metrics(server.get("/metrics").body.decode())
    assert after["ingot_http_requests_total"][1][counts] == before + 1
    histogram = after["ingot_http_request_duration_seconds"][1]
    for name, total in histogram.items():
        route = re.match(r'ingot_http_request_duration_seconds_count\{route="(.*)"\}', name)
        if route:
            buckets = [v for n, v in histogram.items() if n.startswith(f'ingot_http_request_duration_seconds_bucket{{route="{route[1]}",')]
            assert buckets == sorted(buckets) and buckets[-1] == total, name


def test_metrics_of_the_drive(image):
    assert image.result("load", file="nvme0n1p1:/models/m.safetensors")
    image.get("/v1/devices")
    time.sleep(1)
    families = parse_metrics(image.get("/metrics").body.decode())
    assert sum(families["ingot_nvme_read_bytes_total"][1].values()) > 1 << 18
    assert 200 < 273.15 + list(families["ingot_nvme_temperature_celsius"][1].values())[0] < 400
    drive = image.get("/v1/devices").json()["nvme"][0]
    assert drive["alive"] and drive["health"]["media_errors"] == 0


def test_bad_input_leaves_it_serving(server):
    for body in [b"", b"{", b"[]", b"null", b'{"app":', b"\xff\xfe", b'{"app":"load","args":{"file":7}}', b'{"app":"' + b"a" * 5000 + b'"}',
                 b"[" * 5000, b'{"app":"load","args":{"file":"' + b"x" * 4000 + b'"}}']:
        reply = server.request("POST", "/v1/jobs", body, headers={"Content-Type": "application/json"})
        assert 400 <= reply.status < 500 and reply.headers["content-type"] == "application/problem+json", (body[:40], reply)
        assert reply.json()["detail"]
    job = server.job("load", file=f"{server.volume}:/models/broken.safetensors")
    assert job["state"] == "failed" and job["error"]["field"] == "file"
    assert server.get("/readyz", token=False).status == 200


@pytest.mark.parametrize("host, status", [("evil.example", 421), ("ingot.local", 200), ("INGOT:80", 200), ("localhost:1", 200)])
def test_host(server, host, status):
    assert server.get("/livez", headers={"Host": host}).status == status


def test_no_access_control(boot):
    vm = boot(conf="auth = none\n").wait_ready()
    assert vm.get("/v1/machine", token=False).json()["auth"] == "none"
    assert "auth = none" in vm.serial_text()


def test_registers_need_a_gpu(hosted):
    """Without one the regs app says so; with one it is in test_gpu_model.py."""
    job = hosted.job("regs")
    assert job["state"] == "failed" and "no GPU in this machine" in job["error"]["detail"]
    job = hosted.job("regs", gpu="cpu0")
    assert job["state"] == "failed" and "cpu0 has no registers" in job["error"]["detail"] and job["error"]["field"] == "gpu"
    job = hosted.job("regs", gpu="nvidia7")
    assert job["state"] == "failed" and "no device" in job["error"]["detail"]


def report(server, file, token):
    return subprocess.run([ROOT / "images/report", f"127.0.0.1:{server.port}", file], env={**os.environ, "TOKEN": token}, timeout=60,
                          capture_output=True, text=True)


def test_report(server, tmp_path):
    """One command saves everything into one file, without the token, and says so when it may not."""
    file = tmp_path / "report.txt"
    done = report(server, file, server.token)
    assert done.returncode == 0 and done.stderr == "", done
    text = file.read_text()
    for heading in "readiness", "machine", "devices", "PCI functions", "metrics", "log":
        assert f"\n==== {heading} ====\n" in text, heading
    assert "cpu0" in text and "ingot_build_info" in text and "FAT32" in text and server.token not in text
    done = report(server, tmp_path / "none.txt", "wrong")
    assert done.returncode == 1 and "access token is not right" in done.stderr and not (tmp_path / "none.txt").exists()
