"""Write weight files: safetensors and GGUF, from the formats' own descriptions and with nothing of Ingot's code.

    import weights_files as wf
    tensors = wf.random_tensors(seed=1, bytes_about=1 << 20)
    wf.write_safetensors(path, tensors, metadata={"format": "pt"})
    wf.write_gguf(path, tensors, metadata={"general.architecture": "llama"})

A tensor is a Tensor: name, type as the format spells it, shape (outermost first), and its bytes. What tests compare with
comes from here as well: sha256 of each tensor, and numpy values of the types that numpy has.

As a program: weights_files.py OUT.safetensors|OUT.gguf [--megabytes N] [--seed N] writes a file of random tensors.
"""
import argparse
import dataclasses
import hashlib
import json
import math
import struct

import numpy as np

# Bits of an element: safetensors README and Dtype.
SAFETENSORS_BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4, "C64": 64, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8,
    "BOOL": 8,
}
# ggml: name: (id, elements in a block, bytes of a block). Sizes as gguf-py's GGML_QUANT_SIZES has them.
GGML_TYPES = {
    "F32": (0, 1, 4), "F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20), "Q5_0": (6, 32, 22), "Q5_1": (7, 32, 24),
    "Q8_0": (8, 32, 34), "Q8_1": (9, 32, 36), "Q2_K": (10, 256, 84), "Q3_K": (11, 256, 110), "Q4_K": (12, 256, 144),
    "Q5_K": (13, 256, 176), "Q6_K": (14, 256, 210), "Q8_K": (15, 256, 292), "IQ2_XXS": (16, 256, 66), "IQ2_XS": (17, 256, 74),
    "IQ3_XXS": (18, 256, 98), "IQ1_S": (19, 256, 50), "IQ4_NL": (20, 32, 18), "IQ3_S": (21, 256, 110), "IQ2_S": (22, 256, 82),
    "IQ4_XS": (23, 256, 136), "I8": (24, 1, 1), "I16": (25, 1, 2), "I32": (26, 1, 4), "I64": (27, 1, 8), "F64": (28, 1, 8),
    "IQ1_M": (29, 256, 56), "BF16": (30, 1, 2), "TQ1_0": (34, 256, 54), "TQ2_0": (35, 256, 66), "MXFP4": (39, 32, 17),
    "NVFP4": (40, 64, 36), "Q1_0": (41, 128, 18), "Q2_0": (42, 64, 18),
}
NUMPY_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4",
               "U16": "<u2", "U8": "u1"}


@dataclasses.dataclass
class Tensor:
    name: str
    type: str
    shape: tuple
    data: bytes

    @property
    def sha256(self):
        return hashlib.sha256(self.data).hexdigest()

    @property
    def elements(self):
        return math.prod(self.shape)

    def values(self):
        """The elements as float64, for types that numpy has, and BF16."""
        if self.type == "BF16":
            return (np.frombuffer(self.data, "<u2").astype("<u4") << 16).view("<f4").astype("f8")
        return np.frombuffer(self.data, NUMPY_TYPES[self.type]).astype("f8")


def safetensors_bytes(type_name, elements):
    bits = SAFETENSORS_BITS[type_name] * elements
    assert bits % 8 == 0, f"{elements} elements of {type_name} do not end at a byte"
    return bits // 8


def ggml_bytes(type_name, elements):
    _, block, size = GGML_TYPES[type_name]
    assert elements % block == 0, f"{elements} elements of {type_name} are not whole blocks"
    return elements // block * size


def random_tensor(rng, name, type_name, shape, gguf=False):
    """Finite values for floating-point types, so that statistics mean something; any bits for the others."""
    elements = math.prod(shape)
    if type_name in ("F64", "F32", "F16"):
        data = rng.standard_normal(elements, dtype="f4").astype(NUMPY_TYPES[type_name]).tobytes()
    elif type_name == "BF16":
        data = (rng.standard_normal(elements, dtype="f4").view("<u4") >> 16).astype("<u2").tobytes()
    elif type_name in ("Q8_0", "Q4_0") and gguf:
        # A half-precision scale of ordinary size in front of each block.
        size = 32 if type_name == "Q8_0" else 16
        blocks = np.zeros(elements // 32, dtype=[("d", "<f2"), ("q", f"({size},)u1")])
        blocks["d"] = rng.uniform(0.001, 0.1, len(blocks))
        blocks["q"] = rng.integers(0, 256, (len(blocks), size), dtype="u1")
        data = blocks.tobytes()
    else:
        data = rng.bytes(ggml_bytes(type_name, elements) if gguf else safetensors_bytes(type_name, elements))
    return Tensor(name, type_name, tuple(shape), data)


def random_tensors(seed=1, bytes_about=1 << 20, gguf=False):
    """A model in miniature: a big matrix of each common type, some small tensors, a scalar and an empty one."""
    rng = np.random.default_rng(seed)
    types = ["F32", "F16", "BF16"] + (["Q8_0", "Q4_0"] if gguf else ["I64", "U8", "BOOL"])
    tensors = []
    for i, type_name in enumerate(types):
        bits = GGML_TYPES[type_name][2] * 8 / GGML_TYPES[type_name][1] if gguf else SAFETENSORS_BITS[type_name]
        columns = 256
        rows = max(1, int(bytes_about / len(types) / (columns * bits / 8)))
        tensors.append(random_tensor(rng, f"model.layers.{i}.weight", type_name, (rows, columns), gguf))
    tensors.append(random_tensor(rng, "model.norm.weight", "F32", (257,), gguf))
    tensors.append(random_tensor(rng, "model.scale", "F32", (1,) if gguf else (), gguf))
    if not gguf:
        tensors.append(random_tensor(rng, "model.empty", "F16", (0, 16), gguf))
    return tensors


def safetensors_header(tensors, metadata=None):
    header, offset = {}, 0
    if metadata is not None:
        header["__metadata__"] = metadata
    for tensor in tensors:
        header[tensor.name] = {"dtype": tensor.type, "shape": list(tensor.shape), "data_offsets": [offset, offset + len(tensor.data)]}
        offset += len(tensor.data)
    return header


def safetensors_bytes_of(header, data, pad=True):
    """header: a dict, or JSON text as bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    if pad:
        text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def write_safetensors(path, tensors, metadata=None):
    blob = safetensors_bytes_of(safetensors_header(tensors, metadata), b"".join(t.data for t in tensors))
    with open(path, "wb") as out:
        out.write(blob)
    return blob


def gguf_string(text):
    raw = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(raw)) + raw


U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
SCALAR_FORMATS = {U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i", F32: "<f", BOOL: "<?", U64: "<Q", I64: "<q", F64: "<d"}


@dataclasses.dataclass
class Typed:
    """A metadata value whose GGUF type is said outright; an array has (element type, list)."""
    type: int
    value: object


def gguf_value(value):
    """Type and bytes of a metadata value."""
    if isinstance(value, Typed):
        if value.type == STRING:
            return STRING, gguf_string(value.value)
        if value.type == ARRAY:
            element, items = value.value
            return ARRAY, struct.pack("<IQ", element, len(items)) + b"".join(gguf_value(Typed(element, item))[1] for item in items)
        return value.type, struct.pack(SCALAR_FORMATS[value.type], value.value)
    if isinstance(value, bool):
        return gguf_value(Typed(BOOL, value))
    if isinstance(value, int):
        return gguf_value(Typed(U32 if 0 <= value < 2**32 else I64, value))
    if isinstance(value, float):
        return gguf_value(Typed(F32, value))
    if isinstance(value, list):
        element = STRING if value and isinstance(value[0], str) else F32 if value and isinstance(value[0], float) else I32
        return gguf_value(Typed(ARRAY, (element, value)))
    return gguf_value(Typed(STRING, value))


def gguf_key(name, value):
    kind, raw = gguf_value(value)
    return gguf_string(name) + struct.pack("<I", kind) + raw


def gguf_tensor_info(name, shape, type_id, offset):
    return gguf_string(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", n) for n in reversed(shape)) + struct.pack(
        "<IQ", type_id, offset)


def gguf_bytes_of(tensors, metadata=None, version=3, alignment=32):
    metadata = dict(metadata or {})
    if alignment != 32:
        metadata["general.alignment"] = alignment
    infos, data = b"", b""
    for tensor in tensors:
        infos += gguf_tensor_info(tensor.name, tensor.shape, GGML_TYPES[tensor.type][0], len(data))
        data += tensor.data + b"\0" * (-len(tensor.data) % alignment)
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata)) + b"".join(gguf_key(k, v) for k, v in metadata.items()) + infos
    if tensors:
        head += b"\0" * (-len(head) % alignment)
    return head + data


def write_gguf(path, tensors, metadata=None, version=3, alignment=32):
    blob = gguf_bytes_of(tensors, metadata, version, alignment)
    with open(path, "wb") as out:
        out.write(blob)
    return blob


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out")
    parser.add_argument("--megabytes", type=float, default=1)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    gguf = options.out.endswith(".gguf")
    tensors = random_tensors(options.seed, int(options.megabytes * 1e6), gguf)
    write = write_gguf if gguf else write_safetensors
    blob = write(options.out, tensors, {"general.architecture": "test"} if gguf else {"format": "pt"})
    print(f"{options.out}: {len(blob)} bytes, {len(tensors)} tensors, sha256 {hashlib.sha256(blob).hexdigest()}")


if __name__ == "__main__":
    main()
