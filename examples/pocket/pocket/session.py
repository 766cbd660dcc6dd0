"""Token by token decoding with caches, for playing episodes; one sequence, no gradients."""
import torch

from . import plain
from .model import Model, top_k


class Session:
    """Keeps every projected row: short episodes make rings and slots not worth their code."""

    def __init__(self, model: Model, capacity=4096):
        self.m, self.length = model, 0
        self.capacity = capacity
        self.cache = [{} for _ in range(model.c["num_hidden_layers"])]

    @torch.no_grad()
    def extend(self, ids):
        """Feeds tokens -> logits of the last one."""
        m, n = self.m, len(ids)
        assert self.length + n <= self.capacity
        ids = torch.tensor(ids)
        streams = m.w["embed.weight"][ids].repeat(1, m.c["hc_mult"])
        for i, cache in enumerate(self.cache):
            streams = self.block(streams, ids, f"layers.{i}.", m.c["compress_ratios"][i], cache)
        self.length += n
        return m.logits(streams[-1:])[0]

    def block(self, streams, ids, p, ratio, cache):
        m = self.m
        x, post, comb = m.hc_pre(streams, p + "hc_attn", p + "attn_norm")
        streams = m.ops.hc_post(self.attention(x, p + "attn.", ratio, cache), streams, post, comb)
        x, post, comb = m.hc_pre(streams, p + "hc_ffn", p + "ffn_norm")
        return m.ops.hc_post(m.moe(x, ids, p + "ffn."), streams, post, comb)

    def append(self, cache, key, rows):
        """Adds rows to a buffer -> all rows so far."""
        if key not in cache:
            cache[key] = rows.new_empty(self.capacity, rows.shape[1])
            cache[key + " length"] = 0
        n = cache[key + " length"]
        cache[key][n:n + len(rows)] = rows
        cache[key + " length"] = n + len(rows)
        return cache[key][:n + len(rows)]

    def compressed(self, x, p, ratio, cache):
        """All complete rows after feeding x, or None."""
        m, w = self.m, self.m.w
        u, g = (self.append(cache, p + n, m.lin(x, p + n)) for n in ("wkv", "wgate"))
        done, end = cache.get(p + "rows length", 0), len(u) // ratio
        if end > done:
            first = max(0, done - 1)                # windows of ratio 4 overlap their predecessor
            cut = slice(first * ratio, end * ratio)
            if ratio == 4:
                rows = plain.pool4(u[cut][None], g[cut][None], w[p + "ape"])[0]
            else:
                a, b = (t[cut].view(end - first, ratio, -1) for t in (u, g))
                rows = (a * (b + w[p + "ape"]).softmax(1)).sum(1)
            cos, sin = (t[first:end].contiguous()
                        for t in m.table(self.capacity // ratio, True, ratio))
            rows = m.ops.norm_rope(rows[:, None].contiguous(), w[p + "norm.weight"], cos, sin,
                                   m.c["rms_norm_eps"])[:, 0]
            self.append(cache, p + "rows", rows[done - first:])
        return cache[p + "rows"][:end] if end else None

    def attention(self, x, p, ratio, cache):
        m, w, c, n = self.m, self.m.w, self.m.c, len(x)
        H, D, eps = c["num_attention_heads"], c["head_dim"], c["rms_norm_eps"]
        t0, t1 = self.length, self.length + n
        cos, sin = (t[t0:t1].contiguous() for t in m.table(self.capacity, ratio != 0))
        qr = m.norm(m.lin(x, p + "wq_a"), p + "q_norm")
        q = m.ops.norm_rope(m.lin(qr, p + "wq_b").view(n, H, D), x.new_empty(0), cos, sin, eps)
        kv = m.lin(x, p + "wkv").view(n, 1, D)
        kv = m.ops.norm_rope(kv, w[p + "kv_norm.weight"], cos, sin, eps)[:, 0]
        rows = self.append(cache, "kv", kv)
        k0 = max(0, t0 - c["sliding_window"] + 1)
        t, s = torch.arange(t0, t1)[:, None], torch.arange(k0, t1)[None]
        mask, rows = (s <= t) & (s > t - c["sliding_window"]), rows[k0:]
        extra = self.compressed(x, p + "compressor.", ratio, cache) if ratio else None
        if extra is not None:
            seen = torch.arange(len(extra))[None] < (t + 1) // ratio
            if ratio == 4:
                seen &= self.selected(x, qr, p + "indexer.", cos, sin, seen, cache)
            mask, rows = torch.cat([mask, seen], 1), torch.cat([rows, extra])
        elif ratio == 4:
            self.compressed(x, p + "indexer.compressor.", 4, cache)
        scores = torch.einsum("thd,nd->htn", q, rows) * D ** -0.5
        scores = scores.masked_fill(~mask, -torch.inf)
        sink = w[p + "attn_sink"].view(H, 1, 1).expand(H, n, 1)
        probs = torch.cat([scores, sink], -1).softmax(-1)[..., :-1]
        o = m.ops.rope(torch.einsum("htn,nd->thd", probs, rows), cos, sin, -1.0)
        wo_a = w[p + "wo_a.weight"].view(c["o_groups"], c["o_lora_rank"], -1)
        low = o.reshape(n, c["o_groups"], -1).transpose(0, 1) @ wo_a.transpose(1, 2)
        return m.lin(low.transpose(0, 1).reshape(n, -1), p + "wo_b")

    def selected(self, x, qr, p, cos, sin, seen, cache):
        """-> bool [n, M]: rows that the indexer keeps."""
        m, c = self.m, self.m.c
        rows = self.compressed(x, p + "compressor.", 4, cache)
        if len(rows) <= c["index_topk"]:
            return torch.ones_like(seen)
        heads, width = c["index_n_heads"], c["index_head_dim"]
        q = m.ops.rope(m.lin(qr, p + "wq_b").view(len(x), heads, width), cos, sin, 1.0)
        dots = torch.einsum("thd,md->thm", q, rows).relu()
        scores = torch.einsum("th,thm->tm", m.lin(x, p + "weights_proj"), dots)
        order = top_k(scores.masked_fill(~seen, -torch.inf), c["index_topk"])
        return torch.zeros_like(seen).scatter(1, order, True)
