"""Weight files through the load app: what honest files give, and that lying ones are refused in words while the appliance serves on."""
import hashlib
import json
import struct

import pytest

import weights_files as wf
from appliance import make_disk

GOOD_KEYS = {"general.architecture": "llama", "general.name": "tiny", "tokens": [f"tok{i}" for i in range(300)],
             "scores": wf.Typed(wf.ARRAY, (wf.F32, [0.5] * 300)), "nested": wf.Typed(wf.ARRAY, (wf.ARRAY, [(wf.U8, [1, 2, 3])]))}


def every_dtype():
    import numpy as np
    rng = np.random.default_rng(7)
    return [wf.random_tensor(rng, f"t.{name}", name, (3, 8)) for name in wf.SAFETENSORS_BITS]


def every_ggml_type():
    import numpy as np
    rng = np.random.default_rng(8)
    return [wf.random_tensor(rng, f"blk.{name}", name, (2, 256), gguf=True) for name in wf.GGML_TYPES]


def good_files():
    """name: (bytes, tensors)."""
    plain, blocks = wf.random_tensors(1, 3 << 20), wf.random_tensors(2, 3 << 20, gguf=True)
    return {
        "plain.safetensors": (wf.safetensors_bytes_of(wf.safetensors_header(plain, {"format": "pt"}), b"".join(t.data for t in plain)), plain),
        "dtypes.safetensors": (wf.safetensors_bytes_of(wf.safetensors_header(every_dtype()), b"".join(t.data for t in every_dtype())),
                               every_dtype()),
        "odd.safetensors": (wf.safetensors_bytes_of(wf.safetensors_header(plain[-3:]), b"".join(t.data for t in plain[-3:]), pad=False),
                            plain[-3:]),
        "empty.safetensors": (wf.safetensors_bytes_of({}, b""), []),
        "blocks.gguf": (wf.gguf_bytes_of(blocks, GOOD_KEYS), blocks),
        "types.gguf": (wf.gguf_bytes_of(every_ggml_type(), {}, version=2, alignment=4096), every_ggml_type()),
    }


def header(fields="", **tensors):
    """A safetensors header with one good tensor "a" of 4 bytes unless told otherwise."""
    default = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    return {**default, **tensors}


def tensor(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def gguf_with(info=b"", keys=b"", tensors=0, key_count=0, data=b"", version=3):
    head = b"GGUF" + struct.pack("<IQQ", version, tensors, key_count) + keys + info
    return head + b"\0" * (-len(head) % 32) + data


def bad_files():
    """name: (bytes, words of the reason)."""
    st, key, info = wf.safetensors_bytes_of, wf.gguf_key, wf.gguf_tensor_info
    plain = wf.random_tensors(3, 200000)
    whole = st(wf.safetensors_header(plain), b"".join(t.data for t in plain))
    blocks = wf.random_tensors(4, 200000, gguf=True)
    whole_gguf = wf.gguf_bytes_of(blocks, GOOD_KEYS)
    one = wf.Tensor("a", "F32", (8,), b"\0" * 32)
    return {
        "cut_data.safetensors": (whole[:-100], "do not fit"),
        "cut_header.safetensors": (whole[:200], "cut short"),
        "longer.safetensors": (whole + b"x", "1 bytes at the end of the file belong to no tensor"),
        "absurd.safetensors": (struct.pack("<Q", 1 << 60) + whole[8:], "at most 100000000"),
        "huge_header.safetensors": (struct.pack("<Q", 99999999) + whole[8:], "cut short"),
        "tiny.safetensors": (b"\0" * 9, "neither"),
        "zero_header.safetensors": (struct.pack("<Q", 0) + b"{}", "says it has 0 bytes"),
        "nothing.safetensors": (b"", "neither"),
        "not_json.safetensors": (st(b"{nonsense}", b""), "not valid JSON"),
        "deep.safetensors": (st(b'{"a":' + b"[" * 100000 + b"]" * 100000 + b"}", b""), "not an object"),
        "overlap.safetensors": (st(header(b=tensor(offsets=(2, 6))), b"\0" * 6), "overlaps"),
        "hole.safetensors": (st(header(b=tensor(offsets=(8, 12))), b"\0" * 12), "leaves a hole"),
        "past_end.safetensors": (st(header(b=tensor(offsets=(4, 8))), b"\0" * 4), "do not fit"),
        "overflow.safetensors": (st(header(a=tensor(shape=(2**63, 4))), b"\0" * 4), "more elements"),
        "wrong_size.safetensors": (st(header(a=tensor(shape=(3,))), b"\0" * 4), "come to 12 bytes, its data_offsets to 4"),
        "negative.safetensors": (st(header(a=tensor(shape=(-1,))), b"\0" * 4), "dimension 0"),
        "float_shape.safetensors": (st(header(a=tensor(shape=(1.5,))), b"\0" * 4), "dimension 0"),
        "unknown_type.safetensors": (st(header(a=tensor("F13")), b"\0" * 4), 'dtype "F13"'),
        "twice.safetensors": (st(b'{"a":' + json.dumps(tensor()).encode() + b',"a":' + json.dumps(tensor(offsets=(4, 8))).encode() + b"}",
                                 b"\0" * 8), 'two tensors have the name "a"'),
        "metadata.safetensors": (st({"__metadata__": {"a": 1}, **header()}, b"\0" * 4), "not a string"),
        "cut_data.gguf": (whole_gguf[:-3000], "cut short"),
        "cut_header.gguf": (whole_gguf[:300], "the file ends"),
        "version.gguf": (gguf_with(version=9), "version 9"),
        "big_endian.gguf": (gguf_with(version=0x03000000), "big-endian"),
        "counts.gguf": (gguf_with(tensors=2**63), "which cannot be"),
        "key_counts.gguf": (gguf_with(key_count=2**40), "which cannot be"),
        "long_string.gguf": (gguf_with(keys=wf.gguf_string("k") + struct.pack("<IQ", wf.STRING, 2**62) + b"x" * 64, key_count=1), "the file ends"),
        "long_array.gguf": (gguf_with(keys=wf.gguf_string("k") + struct.pack("<IIQ", wf.ARRAY, wf.U64, 2**61) + b"x" * 64, key_count=1),
                            "the file ends"),
        "deep_array.gguf": (gguf_with(keys=wf.gguf_string("k") + struct.pack("<I", wf.ARRAY) + struct.pack("<IQ", wf.ARRAY, 1) * 1000, key_count=1),
                            "nested"),
        "alignment.gguf": (gguf_with(keys=key("general.alignment", 24), key_count=1), "not a power of two"),
        "duplicate_key.gguf": (gguf_with(keys=key("k", 1) + key("k", 2), key_count=2), 'the key "k" twice'),
        "duplicate.gguf": (gguf_with(info("a", (8,), 0, 0) + info("a", (8,), 0, 32), tensors=2, data=b"\0" * 64), 'two tensors have the name "a"'),
        "overlap.gguf": (gguf_with(info("a", (16,), 0, 0) + info("b", (8,), 0, 32), tensors=2, data=b"\0" * 64), "overlap"),
        "misaligned.gguf": (gguf_with(info("a", (8,), 0, 8), tensors=1, data=b"\0" * 64), "multiple of the alignment"),
        "past_end.gguf": (gguf_with(info("a", (8,), 0, 64), tensors=1, data=b"\0" * 64), "cut short"),
        "dimensions.gguf": (gguf_with(info("a", (1,) * 9, 0, 0), tensors=1, data=b"\0" * 64), "has 9 dimensions"),
        "overflow.gguf": (gguf_with(info("a", (2**32, 2**32), 0, 0), tensors=1, data=b"\0" * 64), "more elements"),
        "part_block.gguf": (gguf_with(info("a", (2, 16), 2, 0), tensors=1, data=b"\0" * 64), "not whole blocks"),
        "removed_type.gguf": (gguf_with(info("a", (32,), 4, 0), tensors=1, data=b"\0" * 64), "ggml type 4"),
        "torch.bin": (b"PK\3\4" + b"\0" * 100, "PyTorch"),
        "text.txt": (b"no weights at all", "neither"),
        "only.gguf": (wf.gguf_bytes_of([one])[:40], "1 tensors, which cannot be"),
    }


@pytest.fixture(scope="module")
def vm(boot_shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    specs = []
    for name, (data, _) in {**good_files(), **bad_files()}.items():
        (folder / name).write_bytes(data)
        specs.append(folder / name)
    disk = make_disk(folder / "disk.img", *specs)
    return boot_shared(disks=[disk]).wait_ready()


@pytest.mark.parametrize("name", good_files())
def test_good_file(vm, name):
    data, tensors = good_files()[name]
    result = vm.result("load", file=f"nvme0n1p1:/{name}", verify="sha256")
    try:
        assert result["bytes"] == len(data) and result["sha256"] == hashlib.sha256(data).hexdigest()
        assert result["format"] == name.rpartition(".")[2]
        found = {t["name"]: t for t in result["tensors"]}
        assert len(result["tensors"]) == len(tensors) == len(found)
        for wanted in tensors:
            got = found[wanted.name]
            assert (got["dtype"], got["shape"], got["bytes"], got["sha256"]) == (wanted.type, list(wanted.shape), len(wanted.data),
                                                                                  wanted.sha256)
        model = vm.get(f"/v1/models/{result['model']}")
        assert model.status == 200, model
    finally:
        vm.result("unload", model=result["model"])


@pytest.mark.parametrize("name", bad_files())
def test_bad_file(vm, name):
    _, words = bad_files()[name]
    job = vm.job("load", file=f"nvme0n1p1:/{name}")
    assert job["state"] == "failed", job
    assert job["error"]["field"] == "file" and words in job["error"]["detail"], job["error"]


def test_nothing_is_left_behind(vm):
    """Failed loads give back what they took: device memory and heap are as before, run after run."""
    def used():
        text = vm.get("/metrics").body.decode()
        return {line.split("{")[0].split(" ")[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                if line.startswith(("ingot_heap_used_bytes", "ingot_gpu_memory_used_bytes"))}

    def round_of_failures():
        for name in ("cut_data.safetensors", "deep.safetensors", "overlap.gguf", "cut_header.gguf", "twice.safetensors"):
            assert vm.job("load", file=f"nvme0n1p1:/{name}")["state"] == "failed"

    for _ in range(52):  # until the history of 256 jobs is full, which is kept on purpose
        round_of_failures()
    before = used()
    assert before, "no memory in the metrics"
    for _ in range(10):
        round_of_failures()
    after = used()
    for key, value in before.items():
        assert after[key] <= value + 65536, (key, before, after)


@pytest.mark.parametrize("path, word", [
    ("nvme0n1p1:/missing.gguf", "there is no"), ("nvme9n1p1:/x", "no volume"), ("nvme0n1p1:missing", "no volume"), ("/etc/passwd", "no volume"),
    ("nvme0n1p1:/../x", ".."), ("nvme0n1p1:/", "directory"), ("nvme0n1p1:/text.txt/x", "file"), ("nvme0n1p1:/" + "é" * 250, "é"),
])
def test_bad_path(vm, path, word):
    job = vm.job("load", file=path)
    assert job["state"] == "failed" and job["error"]["field"] == "file", job
    assert word in job["error"]["detail"], job["error"]
