"""Writes the model folder: `python3 -m pocket.export CHECKPOINT.pt MODEL_FOLDER`.

Official names and dtypes: BF16 matrices and norms, F32 for control tensors, I64 for tid2eid.
"""
import json
import struct
import sys
from pathlib import Path

import torch

from .config import CONFIG

F32 = ("attn_sink", "ape", "gate.bias", "hc_attn_fn", "hc_attn_base", "hc_attn_scale", "hc_ffn_fn",
       "hc_ffn_base", "hc_ffn_scale", "hc_head_fn", "hc_head_base", "hc_head_scale")
DTYPES = {torch.bfloat16: "BF16", torch.float32: "F32", torch.int64: "I64"}


def official(weights):
    """Stacked experts taken apart, every tensor in its stored type."""
    out = {}
    for name, x in weights.items():
        x = x.detach()
        if name.endswith("experts.w13"):
            for e, (w1, w3) in enumerate(zip(*x.chunk(2, 1))):
                out[f"{name[:-4]}.{e}.w1.weight"], out[f"{name[:-4]}.{e}.w3.weight"] = w1, w3
        elif name.endswith("experts.w2"):
            for e, w2 in enumerate(x):
                out[f"{name[:-3]}.{e}.w2.weight"] = w2
        else:
            out[name] = x
    return {n: x if x.dtype == torch.int64 else x.to(stored(n)).contiguous()
            for n, x in sorted(out.items())}


def stored(name):
    return torch.float32 if name.endswith(F32) else torch.bfloat16


def rounded(weights):
    """The weights as they will be read back: through their stored type."""
    return {n: x if x.dtype == torch.int64 else x.detach().to(stored(n)).float()
            for n, x in weights.items()}


def write_safetensors(path, tensors):
    head, at = {"__metadata__": {"format": "pt"}}, 0
    blobs = [x.view(torch.uint8).numpy().tobytes() if x.dim() else b"" for x in tensors.values()]
    for (name, x), blob in zip(tensors.items(), blobs):
        head[name] = {"dtype": DTYPES[x.dtype], "shape": list(x.shape),
                      "data_offsets": [at, at + len(blob)]}
        at += len(blob)
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    return at


def export(weights, folder):
    folder.mkdir(parents=True, exist_ok=True)
    tensors = official(weights)
    total = write_safetensors(folder / "model.safetensors", tensors)
    index = {"metadata": {"total_size": total},
             "weight_map": {n: "model.safetensors" for n in tensors}}
    for name, content in (("config.json", CONFIG), ("model.safetensors.index.json", index)):
        (folder / name).write_text(json.dumps(content, indent=1) + "\n")


def read_weights(folder):
    """The model folder back in the form of initial.py: float32, experts stacked."""
    data = (Path(folder) / "model.safetensors").read_bytes()
    n, = struct.unpack("<Q", data[:8])
    head, types = json.loads(data[8:8 + n]), {v: k for k, v in DTYPES.items()}
    flat = {}
    for name, entry in head.items():
        if name != "__metadata__":
            a, b = (8 + n + i for i in entry["data_offsets"])
            x = torch.frombuffer(bytearray(data[a:b]), dtype=types[entry["dtype"]])
            x = x.view(entry["shape"])
            flat[name] = x if x.dtype == torch.int64 else x.float()
    return stacked(flat)


def stacked(flat):
    out = {n: x for n, x in flat.items() if ".experts." not in n}
    for p in sorted({n.split("experts.")[0] for n in flat if ".experts." in n}):
        e = range(CONFIG["n_routed_experts"])
        out[p + "experts.w13"] = torch.stack(
            [torch.cat([flat[f"{p}experts.{i}.w1.weight"], flat[f"{p}experts.{i}.w3.weight"]])
             for i in e])
        out[p + "experts.w2"] = torch.stack([flat[f"{p}experts.{i}.w2.weight"] for i in e])
    return out


if __name__ == "__main__":
    export(torch.load(sys.argv[1])["weights"], Path(sys.argv[2]))
