"""The DeepSeek-V4 network: parameters by their official names, forward pass, indexer, MTP block.

Written once against a table of steps (`ops`): plain.py defines them, fused.py computes them faster.
Expert matrices are kept stacked (`experts.w13`, `experts.w2`); export.py takes them apart.
"""
import math

import torch
import torch.nn.functional as F

from . import plain
from .config import CONFIG


class FusedOps:
    """The table of steps that fused.py offers, in the form of plain.py."""

    def __init__(self):
        from . import fused
        self.hc_pre, self.hc_post = fused.HcPre.apply, fused.HcPost.apply
        self.norm_rope, self.rope = fused.NormRope.apply, fused.Rope.apply
        self.pool4, self.swiglu = fused.Pool4.apply, fused.Swiglu.apply
        self.attend, self.experts = fused.Attend.apply, fused.Experts.apply


def rope_frequencies(c, compressed):
    n = c["qk_rope_head_dim"]
    base = c["compress_rope_theta"] if compressed else c["rope_theta"]
    f = base ** (-torch.arange(0, n, 2, dtype=torch.float64) / n)
    if not compressed:
        return f
    s = c["rope_scaling"]

    def dim_of(rotations):
        original = s["original_max_position_embeddings"]
        return n * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(base))

    lo = max(math.floor(dim_of(s["beta_fast"])), 0)
    hi = min(math.ceil(dim_of(s["beta_slow"])), n - 1)
    ramp = ((torch.arange(n // 2) - lo) / max(hi - lo, 0.001)).clamp(0, 1)
    return f / s["factor"] * ramp + f * (1 - ramp)


def top_k(scores, k):
    """Indices of the k largest, ties to the lower index (stable, as the oracle sorts)."""
    return torch.argsort(-scores, dim=-1, stable=True)[..., :k]


class Model:
    def __init__(self, weights, config=CONFIG, ops=plain):
        self.w, self.c, self.ops = weights, config, ops
        self.tables = {}
        self.loads = {}        # layer prefix -> tokens per expert of the last forward pass

    # ------------------------------------------------------------------ pieces
    def table(self, length, compressed, step=1):
        key = length, compressed, step
        if key not in self.tables:
            position = torch.arange(length, dtype=torch.float64)[:, None] * step
            angle = position * rope_frequencies(self.c, compressed)
            self.tables[key] = angle.cos().float(), angle.sin().float()
        return self.tables[key]

    def norm(self, x, name):
        return plain.rms(x, self.c["rms_norm_eps"]) * self.w[name + ".weight"]

    def lin(self, x, name):
        return x @ self.w[name + ".weight"].T

    def hc_pre(self, streams, p, norm):
        w, c = self.w, self.c
        return self.ops.hc_pre(streams, streams @ w[p + "_fn"].T, w[p + "_scale"], w[p + "_base"],
                               w[norm + ".weight"], c["rms_norm_eps"], c["hc_eps"],
                               c["hc_sinkhorn_iters"])

    def hc_head(self, streams, p=""):
        """Streams -> one normed vector: hc_pre with its first four controls alone."""
        w, c = self.w, self.c
        z = F.pad(streams @ w[p + "hc_head_fn"].T, (0, 20))
        scale, base = F.pad(w[p + "hc_head_scale"], (0, 2)), F.pad(w[p + "hc_head_base"], (0, 20))
        return self.ops.hc_pre(streams, z, scale, base, w[p + "norm.weight"], c["rms_norm_eps"],
                               c["hc_eps"], c["hc_sinkhorn_iters"])[0]

    # ------------------------------------------------------------------ attention
    def compress(self, x, p, ratio):
        """x [B, T, d] -> rows [B, T // ratio, width], normed and rotated, or None."""
        B, T, _ = x.shape
        if T < ratio:
            return None
        w, M = self.w, T // ratio
        u, g = self.lin(x, p + "wkv"), self.lin(x, p + "wgate")
        if ratio == 4:
            rows = self.ops.pool4(u, g, w[p + "ape"])
        else:
            cut = M * ratio
            u, g = (a[:, :cut].view(B, M, ratio, -1) for a in (u, g))
            rows = (u * (g + w[p + "ape"]).softmax(2)).sum(2)
        cos, sin = self.table(M, True, ratio)
        width = rows.shape[-1]
        rows = self.ops.norm_rope(rows.reshape(B * M, 1, width), w[p + "norm.weight"], cos, sin,
                                  self.c["rms_norm_eps"])
        return rows.view(B, M, width)

    def index_scores(self, x, qr, p):
        """Scores of the compressed rows for every query, [B, T, T // 4]."""
        B, T, _ = x.shape
        c = self.c
        heads, width = c["index_n_heads"], c["index_head_dim"]
        rows = self.compress(x, p + "compressor.", 4)
        q = self.lin(qr, p + "wq_b").view(B * T, heads, width)
        q = self.ops.rope(q, *self.table(T, True), 1.0).view(B, T, heads, width)
        dots = torch.einsum("bthd,bmd->bthm", q, rows).relu()
        weight = self.lin(x, p + "weights_proj") * (width * heads) ** -0.5
        return torch.einsum("bth,bthm->btm", weight, dots)

    def select(self, scores):
        """-> bool [B, T, M]: the rows among the visible ones that the indexer keeps."""
        B, T, M = scores.shape
        seen = torch.arange(M)[None] < ((torch.arange(T) + 1) // 4)[:, None]
        order = top_k(scores.masked_fill(~seen, -torch.inf), self.c["index_topk"])
        return torch.zeros_like(scores, dtype=torch.bool).scatter(2, order, True) & seen

    def attention(self, x, p, ratio, index=None):
        """index: None (all rows), "select" (as in use), or a list that gets the indexer's loss."""
        B, T, d = x.shape
        w, c = self.w, self.c
        H, D, eps = c["num_attention_heads"], c["head_dim"], c["rms_norm_eps"]
        cos, sin = self.table(T, ratio != 0)
        qr = self.norm(self.lin(x, p + "wq_a"), p + "q_norm")
        q = self.lin(qr, p + "wq_b").view(B * T, H, D)
        q = self.ops.norm_rope(q, q.new_empty(0), cos, sin, eps).view(B, T, H, D)
        kv = self.lin(x, p + "wkv").view(B * T, 1, D)
        kv = self.ops.norm_rope(kv, w[p + "kv_norm.weight"], cos, sin, eps).view(B, T, D)
        comp = self.compress(x, p + "compressor.", ratio) if ratio else None
        args = q, kv, comp, w[p + "attn_sink"], c["sliding_window"], ratio
        if ratio == 4 and index == "select" and comp is not None:
            o = plain.attend(*args, self.select(self.index_scores(x, qr, p + "indexer.")))
        else:
            o = self.ops.attend(*args)
        if ratio == 4 and isinstance(index, list):
            index.append(self.index_loss(x.detach(), qr.detach(), q.detach(), comp.detach(), p))
        o = self.ops.rope(o.reshape(B * T, H, D), cos, sin, -1.0)
        groups = o.view(B * T, c["o_groups"], -1).transpose(0, 1)
        wo_a = w[p + "wo_a.weight"].view(c["o_groups"], c["o_lora_rank"], -1)
        low = (groups @ wo_a.transpose(1, 2)).transpose(0, 1).reshape(B, T, -1)
        return self.lin(low, p + "wo_b")

    def index_loss(self, x, qr, q, comp, p):
        """KL from the indexer's choice to the attention on compressed rows, mean over queries."""
        T, M = x.shape[1], comp.shape[1]
        seen = torch.arange(M)[None] < ((torch.arange(T) + 1) // 4)[:, None]
        with torch.no_grad():
            s = torch.einsum("bthd,bmd->bthm", q, comp) * q.shape[-1] ** -0.5
            target = s.masked_fill(~seen[:, None], -1e9).softmax(-1).mean(2)[:, 4:]
        scores = self.index_scores(x, qr, p + "indexer.").masked_fill(~seen, -1e9)
        log_p = scores.log_softmax(-1)[:, 4:]
        return (target * (target.clamp_min(1e-9).log() - log_p)).sum(-1).mean()

    # ------------------------------------------------------------------ experts
    def route(self, x, ids, p):
        w, k = self.w, self.c["num_experts_per_tok"]
        score = F.softplus(self.lin(x, p + "gate")).sqrt()
        if p + "gate.tid2eid" in w:
            chosen = w[p + "gate.tid2eid"][ids]
        else:
            chosen = top_k((score + w[p + "gate.bias"]).detach(), k)
            self.loads[p] = torch.bincount(chosen.flatten(), minlength=score.shape[1])
        weight = score.gather(1, chosen)
        weight = weight / weight.sum(1, keepdim=True)
        return chosen, weight * self.c["routed_scaling_factor"]

    def moe(self, x, ids, p):
        w, limit = self.w, self.c["swiglu_limit"]
        chosen, weight = self.route(x, ids, p)
        y = self.ops.experts(x, w[p + "experts.w13"], w[p + "experts.w2"], chosen, weight, limit)
        s = p + "shared_experts."
        both = torch.cat([w[s + "w1.weight"], w[s + "w3.weight"]])
        return y + self.lin(self.ops.swiglu(x @ both.T, limit), s + "w2")

    # ------------------------------------------------------------------ whole network
    def block(self, streams, ids, p, ratio, index=None):
        """streams [B*T, 4d], ids [B, T]."""
        x, post, comb = self.hc_pre(streams, p + "hc_attn", p + "attn_norm")
        y = self.attention(x.view(*ids.shape, -1), p + "attn.", ratio, index)
        streams = self.ops.hc_post(y.flatten(0, 1), streams, post, comb)
        x, post, comb = self.hc_pre(streams, p + "hc_ffn", p + "ffn_norm")
        y = self.moe(x, ids.flatten(), p + "ffn.")
        return self.ops.hc_post(y, streams, post, comb)

    def trunk(self, ids, index=None):
        streams = self.w["embed.weight"][ids.flatten()].repeat(1, self.c["hc_mult"])
        for i in range(self.c["num_hidden_layers"]):
            streams = self.block(streams, ids, f"layers.{i}.", self.c["compress_ratios"][i], index)
        return streams

    def logits(self, streams):
        return self.lin(self.hc_head(streams), "head")

    def mtp(self, streams, next_ids, head, rows=slice(None)):
        """Logits of the token after next, for some rows: streams of p with the token of p + 1."""
        p, eps = "mtp.0.", self.c["rms_norm_eps"]
        embedded = self.w["embed.weight"][next_ids.flatten()]
        e = self.lin(self.norm(embedded, p + "enorm"), p + "e_proj")
        s = self.norm(streams.view(len(streams), 4, -1), p + "hnorm")
        z = (e[:, None] + self.lin(s, p + "h_proj")).flatten(1)
        z = self.block(z, next_ids, p, 0)
        return self.hc_head(z[rows].contiguous(), p) @ head.T
