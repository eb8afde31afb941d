"""docs/openapi.json against the server: every path, every documented status and every field, in both directions."""
import json
import re

import pytest
from appliance import ROOT
from servers import disk_file, hosted, image, server  # noqa: F401  (fixtures)

DOCUMENT = json.loads((ROOT / "docs/openapi.json").read_text())
LINE_TYPES = {"application/x-ndjson"}


def resolve(schema):
    while "$ref" in schema:
        node = DOCUMENT
        for part in schema["$ref"].removeprefix("#/").split("/"):
            node = node[part]
        schema = node
    return schema


IS_TYPE = {
    "null": lambda v: v is None,
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "array": lambda v: isinstance(v, list),
    "object": lambda v: isinstance(v, dict),
}
KNOWN_WORDS = {"type", "properties", "required", "additionalProperties", "items", "enum", "minimum", "maximum", "description", "format",
               "default", "$ref"}


def check(value, schema, where):
    """The part of JSON Schema that the document uses; a word that this does not know is an error."""
    schema = resolve(schema)
    unknown = set(schema) - KNOWN_WORDS
    assert not unknown, f"{where}: this test does not know {unknown}"
    types = schema.get("type")
    if types is not None:
        types = [types] if isinstance(types, str) else types
        assert any(IS_TYPE[t](value) for t in types), f"{where}: {value!r} is no {types}"
    if "enum" in schema:
        assert value in schema["enum"], f"{where}: {value!r}"
    if "minimum" in schema and value is not None:
        assert value >= schema["minimum"], f"{where}: {value!r}"
    if schema.get("format") == "date-time" and value is not None:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", value), f"{where}: {value!r}"
    if isinstance(value, dict):
        for name in schema.get("required", []):
            assert name in value, f"{where}: {name} is missing in {value!r}"
        for name, member in value.items():
            if name in schema.get("properties", {}):
                check(member, schema["properties"][name], f"{where}.{name}")
            else:
                assert schema.get("additionalProperties", True), f"{where}: {name} is not documented"
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            check(item, schema["items"], f"{where}[{index}]")


def check_reply(template, method, reply):
    operation = DOCUMENT["paths"][template][method.lower()]
    where = f"{method} {template} {reply.status}"
    documented = operation["responses"].get(str(reply.status))
    assert documented, f"{where}: not documented: {reply}"
    if "content" not in documented:
        assert reply.body == b"", where
        return
    media_type = reply.headers["content-type"]
    assert media_type in documented["content"], f"{where}: {media_type}"
    schema = documented["content"][media_type]["schema"]
    for name in documented.get("headers", {}):
        assert name.lower() in reply.headers, f"{where}: no {name}"
    if media_type in LINE_TYPES:
        for line in reply.body.decode().splitlines():
            check(json.loads(line), schema, where)
    elif media_type.endswith("json"):
        check(reply.json(), schema, where)
    if media_type == "application/problem+json":
        assert reply.json()["status"] == reply.status


JOBS, JOB, EVENTS, FILES = "/v1/jobs", "/v1/jobs/{id}", "/v1/jobs/{id}/events", "/v1/volumes/{name}/files"
ORIGIN = {"Origin": "http://evil.example"}


def provocations(server, ids):
    """(template, method, path, options) of requests that together bring out every documented status."""
    matmul = {"app": "matmul", "args": {"m": 64, "n": 64, "k": 64}}
    ended, model = ids["ended"], ids["model"]
    for template, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            if "401" in operation["responses"]:
                yield template, method, re.sub(r"\{\w+\}", "1", template), {"token": False}
            if "{" not in template and "200" in operation["responses"] and method == "get":
                yield template, method, template, {}
            if "verbose" in str(operation.get("parameters")):
                yield template, method, template + "?verbose", {}
                yield template, method, template + "?unknown=1", {}
    yield FILES, "get", f"/v1/volumes/{server.volume}/files", {}
    yield FILES, "get", f"/v1/volumes/{server.volume}/files?path=/many&limit=10&offset=5", {}
    yield FILES, "get", f"/v1/volumes/{server.volume}/files?path=/many&limit=0", {}
    yield FILES, "get", f"/v1/volumes/{server.volume}/files?path=/nowhere", {}
    yield "/v1/models/{handle}", "get", f"/v1/models/{model}", {}
    yield "/v1/models/{handle}", "get", "/v1/models/none", {}
    yield "/v1/models/{handle}", "delete", "/v1/models/none", {}
    yield "/v1/models/{handle}", "delete", f"/v1/models/{model}", {}
    yield JOBS, "get", JOBS + "?limit=x", {}
    yield JOBS, "post", JOBS, {"body": matmul}
    yield JOBS, "post", JOBS, {"body": {"app": "matmul", "args": {"m": "many"}}}
    yield JOBS, "post", JOBS, {"body": matmul, "headers": ORIGIN}
    yield JOBS, "post", JOBS, {"body": b" " * 65537}
    yield JOBS, "post", JOBS, {"body": b"<a/>", "headers": {"Content-Type": "text/xml"}}
    yield JOB, "get", f"/v1/jobs/{ended}", {}
    yield JOB, "get", f"/v1/jobs/{ids['failed']}", {}
    yield JOB, "get", f"/v1/jobs/{ended}?wait=x", {}
    yield JOB, "get", "/v1/jobs/987654321", {}
    yield JOB, "delete", f"/v1/jobs/{ids['running']}", {}
    yield JOB, "delete", f"/v1/jobs/{ended}", {}
    yield JOB, "delete", f"/v1/jobs/{ended}", {"headers": ORIGIN}
    yield JOB, "delete", "/v1/jobs/987654321", {}
    yield JOBS, "post", JOBS + "?wait=60", {"body": matmul}  # the device is free now
    yield EVENTS, "get", f"/v1/jobs/{ended}/events", {}
    yield EVENTS, "get", "/v1/jobs/987654321/events", {}
    yield "/v1/log", "get", "/v1/log?format=json", {}
    yield "/v1/log", "get", "/v1/log?format=xml", {}
    yield "/v1/pci", "get", "/v1/pci?format=lspci", {}
    yield "/v1/pci", "get", "/v1/pci?format=xml", {}


def test_every_status_and_field(server):
    load = server.job("load", file=f"{server.volume}:/models/m.safetensors", verify="sha256")
    assert load["state"] == "succeeded", load
    failed = server.job("load", file=f"{server.volume}:/nowhere")
    assert failed["state"] == "failed", failed
    running = server.request("POST", JOBS, {"app": "bench", "args": {"seconds": 30}}).json()["id"]
    model = server.get("/v1/models").json()["models"][0]["model"]
    ids = {"ended": load["id"], "failed": failed["id"], "running": running, "model": model}
    seen = set()
    for template, method, path, options in provocations(server, ids):
        reply = server.request(method.upper(), path, **options)
        check_reply(template, method.upper(), reply)
        seen.add((template, method, str(reply.status)))
    documented = {(template, method, status) for template, methods in DOCUMENT["paths"].items() for method, operation in methods.items()
                  for status in operation["responses"] if status != "default"}
    assert documented - seen == set(), "documented, but not seen"


def test_the_document_is_served(hosted):
    assert hosted.get("/openapi.json", token=False).body == (ROOT / "docs/openapi.json").read_bytes()


def test_methods_are_the_documented_ones(hosted):
    """Every path answers OPTIONS with the methods that the document has for it, and 405 to the others."""
    for template, methods in DOCUMENT["paths"].items():
        path = re.sub(r"\{\w+\}", "1", template)
        reply = hosted.request("OPTIONS", path)
        assert reply.status == 204, path
        allowed = set(reply.headers["allow"].split(", ")) - {"HEAD", "OPTIONS"}
        assert allowed == {method.upper() for method in methods}, path
        for method in {"GET", "POST", "DELETE", "PUT", "PATCH"} - allowed:
            reply = hosted.request(method, path)
            assert reply.status == 405 and reply.headers["allow"], (method, path, reply)


@pytest.mark.parametrize("template", [t for t, methods in DOCUMENT["paths"].items() if "get" in methods and "{" not in t])
def test_parameters_are_the_documented_ones(hosted, template):
    """An undocumented query parameter is refused by name, a documented one is known."""
    reply = hosted.get(template + "?colour=red")
    assert reply.status == 400 and reply.json()["field"] == "colour"
    for parameter in DOCUMENT["paths"][template]["get"].get("parameters", []):
        reply = hosted.get(f"{template}?{parameter['name']}=")
        assert "no query parameter" not in reply.body.decode(), parameter
