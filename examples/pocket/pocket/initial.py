"""Initial values, with the prior that makes copying learnable in minutes.

From ordinary random values a network of this size stays on a plateau where it cannot copy names.
The prior writes an induction circuit into it: the first layer leaves a code of the previous token
in the residual, later layers find the place where the current token stood before and vote for what
followed. Training keeps what is useful and changes the rest.
"""
import math

import torch

from .config import CONFIG
from .model import rope_frequencies


def shapes(c=CONFIG):
    """Official names (experts stacked) -> shapes."""
    d, out = c["hidden_size"], {}
    out["embed.weight"] = out["head.weight"] = (c["vocab_size"], d)
    out["norm.weight"] = (d,)
    for i in range(c["num_hidden_layers"] + 1):
        mtp = i == c["num_hidden_layers"]
        block(out, c, "mtp.0." if mtp else f"layers.{i}.", c["compress_ratios"][i],
              hashed=not mtp and i < c["num_hash_layers"])
    for p in "", "mtp.0.":
        out[p + "hc_head_fn"], out[p + "hc_head_base"] = (4, 4 * d), (4,)
        out[p + "hc_head_scale"] = (1,)
    for n in "e_proj", "h_proj":
        out[f"mtp.0.{n}.weight"] = (d, d)
    for n in "enorm", "hnorm", "norm":
        out[f"mtp.0.{n}.weight"] = (d,)
    return out


def block(out, c, p, ratio, hashed):
    d, D, H, Q = c["hidden_size"], c["head_dim"], c["num_attention_heads"], c["q_lora_rank"]
    G, P, m, E = c["o_groups"], c["o_lora_rank"], c["moe_intermediate_size"], c["n_routed_experts"]
    a, f = p + "attn.", p + "ffn."
    out[a + "attn_sink"] = (H,)
    out[a + "wq_a.weight"], out[a + "q_norm.weight"] = (Q, d), (Q,)
    out[a + "wq_b.weight"] = (H * D, Q)
    out[a + "wkv.weight"], out[a + "kv_norm.weight"] = (D, d), (D,)
    out[a + "wo_a.weight"], out[a + "wo_b.weight"] = (G * P, H // G * D), (d, G * P)
    if ratio:
        compressor(out, a + "compressor.", d, ratio, D)
    if ratio == 4:
        i, e, n = a + "indexer.", c["index_head_dim"], c["index_n_heads"]
        out[i + "wq_b.weight"], out[i + "weights_proj.weight"] = (n * e, Q), (n, d)
        compressor(out, i + "compressor.", d, 4, e)
    out[f + "gate.weight"] = (E, d)
    if hashed:
        out[f + "gate.tid2eid"] = (c["vocab_size"], c["num_experts_per_tok"])
    else:
        out[f + "gate.bias"] = (E,)
    out[f + "experts.w13"], out[f + "experts.w2"] = (E, 2 * m, d), (E, d, m)
    for n, s in ("w1", (m, d)), ("w2", (d, m)), ("w3", (m, d)):
        out[f + f"shared_experts.{n}.weight"] = s
    out[p + "attn_norm.weight"] = out[p + "ffn_norm.weight"] = (d,)
    for s in "attn", "ffn":
        out[p + f"hc_{s}_fn"], out[p + f"hc_{s}_base"] = (24, 4 * d), (24,)
        out[p + f"hc_{s}_scale"] = (3,)


def compressor(out, p, d, ratio, width):
    c = 2 if ratio == 4 else 1
    out[p + "ape"] = (ratio, c * width)
    out[p + "wkv.weight"] = out[p + "wgate.weight"] = (c * width, d)
    out[p + "norm.weight"] = (width,)


def base_value(name, shape, c, g):
    """The ordinary random value of one tensor."""
    def normal(deviation):
        return torch.randn(shape, generator=g) * deviation
    leaf = name.rsplit(".", 2)[-2] if name.endswith(".weight") else name.rsplit(".", 1)[-1]
    if leaf == "tid2eid":
        scores = torch.rand(shape[0], c["n_routed_experts"], generator=g)
        return scores.argsort(1)[:, :shape[1]].contiguous()
    if leaf == "kv_norm" or name.endswith("compressor.norm.weight"):
        return torch.full(shape, 2.0)       # sharper attention at the start
    if "norm" in leaf:
        return torch.ones(shape)
    if leaf in ("attn_sink", "bias"):
        return torch.zeros(shape)
    if leaf == "ape":
        return normal(0.02)
    if leaf.startswith("hc_"):
        return hyper_connection_value(leaf, shape, normal)
    return normal(shape[-1] ** -0.5 * (0.5 if leaf in ("wo_b", "w2") else 1.0))


def hyper_connection_value(leaf, shape, normal):
    if leaf.endswith("_fn"):
        return normal(0.01)
    if leaf.endswith("_scale"):
        return torch.full(shape, 0.1)
    if leaf.startswith("hc_head"):
        return torch.full(shape, -1.1)
    comb = torch.full((4, 4), -2.0).fill_diagonal_(2.0)
    return torch.cat([torch.full((4,), -1.1), torch.zeros(4), comb.flatten()])


def initial_weights(seed=0, c=CONFIG):
    g = torch.Generator().manual_seed(seed)
    w = {n: base_value(n, s, c, g) for n, s in shapes(c).items()}
    add_prior(w, c, g)
    return w


def add_prior(w, c, g):
    d, D, R = c["hidden_size"], c["head_dim"], c["qk_rope_head_dim"]
    n = (D - R) // 2
    u = torch.randn(d, generator=g)
    u /= u.norm()

    def off_u(m):
        return m - (m @ u)[:, None] * u

    def code():
        return off_u(torch.randn(n, d, generator=g) * d ** -0.5)

    embed = off_u(torch.randn(c["vocab_size"], d, generator=g) * 0.5)
    w["head.weight"] = embed * (d ** -0.5 / 0.5)
    w["embed.weight"] = embed + 0.35 * math.sqrt(d) * u
    A = code()
    B = torch.linalg.qr(off_u(torch.randn(n, d, generator=g)).T)[0].T.contiguous()
    for i in range(c["num_hidden_layers"]):
        p = f"layers.{i}.attn."
        wkv, wo_a, wo_b = (w[p + f"{x}.weight"] for x in ("wkv", "wo_a", "wo_b"))
        first = 0 if i == 0 else n          # where in the row stands what the head copies
        if i == 0:
            wkv[:n] = A
            wo_b[:, :n] = B.T
        else:
            find_and_vote(w, p, A, B, code(), n)
        wo_a[:n] *= 0.1
        wo_a[:n, first:first + n] += torch.eye(n)
        if i < 2:
            look_back(w, p, u, c)


def find_and_vote(w, p, A, B, A2, n):
    wq_b, D = w[p + "wq_b.weight"], len(w[p + "wkv.weight"])
    w[p + "wkv.weight"][:n], w[p + "wkv.weight"][n:2 * n] = B, A2
    w[p + "wq_a.weight"][:n] = A
    wq_b[:D] *= 0.1
    wq_b[:n, :n] += 3 * torch.eye(n)
    w[p + "wo_b.weight"][:, :n] = A2.T


def look_back(w, p, u, c):
    """Heads 0 and 1 of a window-only layer attend one and two tokens back."""
    D, R = c["head_dim"], c["qk_rope_head_dim"]
    w[p + "wq_a.weight"][0] += u
    for i, f in enumerate(rope_frequencies(c, False)[:3].tolist()):
        row = D - R + 2 * i
        w[p + "wkv.weight"][row] += 0.5 * u
        w[p + "wkv.weight"][row + 1] *= 0.1
        for h in 0, 1:
            w[p + "wq_b.weight"][h * D + row, 0] += 2 * math.cos(f * (h + 1))
            w[p + "wq_b.weight"][h * D + row + 1, 0] -= 2 * math.sin(f * (h + 1))
