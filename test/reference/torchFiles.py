"""Writes torchFiles.json: small files of torch.save in every container, and the numbers that PyTorch reads from them.

`files`: name -> {base64, expected: {tensor: {shape, values}}, notes}. Values are in row-major order, as PyTorch gives them.
The tar archive (PyTorch before 0.1.2) and the big-endian files are put together here, since no PyTorch of today writes them;
PyTorch's own reader is held to the tar archive's content.

Run: python3 test/reference/torchFiles.py      (PyTorch 1.13 and numpy; CPU, a few seconds)
"""

import argparse
import base64
import collections
import io
import json
import pathlib
import pickle
import struct
import tarfile
import tempfile
import zipfile

import numpy as np
import torch
from torch import nn

FILES = {}


def values(tensor):
    a = tensor.detach().to(torch.float64).contiguous().numpy()
    return {"shape": list(a.shape), "values": a.flatten().tolist()}


def add(name, content, tensors, notes=()):
    FILES[name] = {"base64": base64.b64encode(content).decode(), "expected": {k: values(t) for k, t in tensors.items()}, "notes": list(notes)}
    print(name, len(content), "bytes,", len(tensors), "tensors")


def saved(value, **options):
    out = io.BytesIO()
    torch.save(value, out, **options)
    return out.getvalue()


def no_source(*_):
    """The older stream holds the source of modules' classes, PyTorch's own too; it is optional."""
    raise OSError


torch.serialization.get_source_lines_and_file = no_source
STREAM = dict(_use_new_zipfile_serialization=False)


class Unit(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv = nn.Conv2d(c, c, 1, bias=False)
        self.bn = nn.BatchNorm2d(c)
        self.register_buffer("scratch", torch.zeros(2), persistent=False)

    def forward(self, x):
        return x + self.bn(self.conv(x))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 2, 3), nn.PReLU(2))
        self.unit = Unit(2)
        self.fc = nn.Linear(2, 3)
        self.margin = 0.5

    def forward(self, x):
        return self.fc(self.unit(self.stem(x)).mean((2, 3)))


def members(content):
    with zipfile.ZipFile(io.BytesIO(content)) as z:
        return {i.filename: z.read(i) for i in z.infolist()}


def zipped(entries):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as z:
        for name, content in entries.items():
            z.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    return out.getvalue()


def tar(entries):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:", format=tarfile.PAX_FORMAT) as t:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            t.addfile(info, io.BytesIO(content))
    return out.getvalue()


def oldest():
    """A state as the first releases wrote it: storages, one of them part of another, then tensors, then the dict."""
    numbers = np.arange(12, dtype="<f4")
    p = lambda value: pickle.dumps(value, protocol=2)
    storages = p(1) + p((100, "cpu", torch.FloatStorage)) + struct.pack("<q", 12) + numbers.tobytes() + p([(101, 100, 4, 6)])
    tensors = p(2)
    for key, storage, shape, stride, offset in ((7, 100, (3, 4), (4, 1), 0), (8, 101, (2, 3), (1, 2), 0)):
        tensors += p((key, storage, torch.FloatTensor)) + struct.pack("<i", len(shape)) + b"\0" * 4
        tensors += struct.pack(f"<{len(shape)}q", *shape) + struct.pack(f"<{len(shape)}q", *stride) + struct.pack("<q", offset)

    class Ref:
        def __init__(self, key):
            self.key = key

    class Pickler(pickle.Pickler):
        def persistent_id(self, x):
            return x.key if isinstance(x, Ref) else None

    out = io.BytesIO()
    Pickler(out, protocol=2).dump(collections.OrderedDict([("whole.weight", Ref("7")), ("part.weight", Ref("8"))]))
    content = tar({"storages": storages, "tensors": tensors, "pickle": out.getvalue()})
    with tempfile.NamedTemporaryFile() as f:
        f.write(content)
        f.flush()
        read = torch.load(f.name)
    assert torch.equal(read["whole.weight"], torch.arange(12.0).view(3, 4))
    assert torch.equal(read["part.weight"], torch.arange(4.0, 10.0).view(3, 2).T)
    return content, read


def newer():
    """The function that newer releases rebuild tensors of untyped storages by."""
    name = "_rebuild_tensor_v3"

    def rebuild(*_):
        raise NotImplementedError

    rebuild.__module__, rebuild.__name__, rebuild.__qualname__ = "torch._utils", name, name
    setattr(torch._utils, name, rebuild)

    class Bytes:
        def __init__(self, key, n):
            self.id = ("storage", torch.UntypedStorage, key, "cpu", n)

    class Tensor:
        def __init__(self, *args):
            self.args = args

        def __reduce__(self):
            return rebuild, self.args

    class Pickler(pickle.Pickler):
        def persistent_id(self, x):
            return x.id if isinstance(x, Bytes) else None

    out = io.BytesIO()
    pair = Bytes("0", 12)
    empty = collections.OrderedDict()
    state = {"short": Tensor(pair, 0, (2, 3), (3, 1), False, empty, torch.int16), "float": Tensor(pair, 1, (2,), (1,), True, empty, torch.float32)}
    Pickler(out, protocol=2).dump(state)
    data = np.array([1, -2, 3, 4, 0, 16256], dtype="<i2").tobytes()
    content = zipped({"new/data.pkl": out.getvalue(), "new/byteorder": b"little", "new/data/0": data, "new/version": b"3\n"})
    floats = torch.frombuffer(bytearray(data), dtype=torch.float32)[1:3].clone()
    return content, {"short": torch.frombuffer(bytearray(data), dtype=torch.int16).view(2, 3), "float": floats}


def main():
    torch.manual_seed(4)
    net = Net().eval()
    state = net.state_dict()
    for name, options in (("zip", {}), ("stream", STREAM)):
        add(f"module_{name}", saved(net, **options), state)
        add(f"parallel_{name}", saved(nn.DataParallel(net), **options), state, ["names were prefixed 'module.'"])
    script = io.BytesIO()
    torch.jit.save(torch.jit.script(net), script)
    # Its code is not needed to read its numbers.
    add("script", zipped({k: v for k, v in members(script.getvalue()).items() if "/code/" not in k}), torch.jit.load(io.BytesIO(script.getvalue())).state_dict())

    optimizer = torch.optim.Adam(net.parameters())
    net(torch.randn(2, 3, 5, 5)).sum().backward()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    optimizer.step()
    options = argparse.Namespace(lr=0.1, net="small", size=(112, 96), device=torch.device("cuda:0"), folder=pathlib.PurePosixPath("a/b"))
    checkpoint = {"epoch": 3, "best": 0.5, "args": options, "optimizer": optimizer.state_dict(), "ema": before, "model": net.state_dict(),
                  "counts": collections.defaultdict(int, a=1), "shape": torch.Size([1, 2]), "dtype": torch.float16, "scale": np.float32(0.25)}
    add("checkpoint", saved(checkpoint), net.state_dict(), ["the weights are its 'model'", "it holds several states: model, ema", "beside the weights: epoch = 3"])
    add("nested", saved({"epoch": 1, "model": {"state_dict": before, "note": "x"}}), before, ["the weights are its 'model.state_dict'"])

    kinds = {
        "double": torch.tensor([1.5, -2.0, 1e10], dtype=torch.float64),
        "half": torch.tensor([1.5, -2.0, 6e-8], dtype=torch.float16),
        "bfloat16": torch.tensor([1.5, -2.0, 3.140625], dtype=torch.bfloat16),
        "long": torch.tensor([[1], [-2147483648]]),
        "int": torch.tensor([5, -6], dtype=torch.int32),
        "short": torch.tensor([5, -6], dtype=torch.int16),
        "char": torch.tensor([5, -6], dtype=torch.int8),
        "byte": torch.tensor([5, 250], dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "expanded": torch.tensor([[1.0], [2.0]]).expand(2, 4),
        "parameter": nn.Parameter(torch.tensor([3.0, 4.0])),
        "buffer.of.halves": nn.Parameter(torch.tensor([3.0, 4.0]).half()),
    }
    base = torch.arange(24.0).view(2, 3, 4)
    kinds |= {"tied.a": base, "tied.b": base, "permuted": base.permute(2, 0, 1), "tail": base[:, 1:, 1::2]}
    add("kinds_zip", saved(kinds), kinds)
    add("kinds_stream", saved(kinds, **STREAM), kinds)
    numpy = {"epoch": 2, "params": {"w": np.arange(6, dtype=">f4").reshape(2, 3), "f": np.asfortranarray(np.arange(6.0).reshape(2, 3))}}
    add("numpy", saved(numpy), {k: torch.tensor(v.astype("f8")) for k, v in numpy["params"].items()})

    entries = members(saved({"w": kinds["double"], "n": kinds["long"]}))
    folder = next(iter(entries)).split("/")[0]
    for key in ("0", "1"):
        entries[f"{folder}/data/{key}"] = np.frombuffer(entries[f"{folder}/data/{key}"], "<u8").astype(">u8").tobytes()
    add("big_endian_zip", zipped({**entries, f"{folder}/byteorder": b"big"}), {"w": kinds["double"], "n": kinds["long"]})
    stream = saved({"w": kinds["int"]}, **STREAM)
    little, big = struct.pack("<q", 2), struct.pack(">q", 2)
    at = stream.rindex(little)
    add("big_endian_stream", stream[:at] + big + stream[at + 8 :], {"w": kinds["int"]})
    add("tar", *oldest())
    add("untyped", *newer())
    path = pathlib.Path(__file__).with_suffix(".json")
    path.write_text("{\n" + ",\n".join(f" {json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in FILES.items()) + "\n}\n")


main()
