"""The steps of the network in ordinary PyTorch: the twin that defines what fused.py computes."""
import torch
import torch.nn.functional as F


def sinkhorn(logits, eps, iters):
    m = logits.softmax(-1) + eps
    m = m / (m.sum(-2, keepdim=True) + eps)
    for _ in range(iters - 1):
        m = m / (m.sum(-1, keepdim=True) + eps)
        m = m / (m.sum(-2, keepdim=True) + eps)
    return m


def rms(x, eps):
    return x * (x.square().mean(-1, keepdim=True) + eps).rsqrt()


def hc_pre(streams, z, scale, base, norm, eps, hc_eps, iters):
    z = z * (streams.square().mean(-1, keepdim=True) + eps).rsqrt()
    s = streams.view(len(z), 4, -1)
    pre = (z[:, :4] * scale[0] + base[:4]).sigmoid() + hc_eps
    post = 2 * (z[:, 4:8] * scale[1] + base[4:8]).sigmoid()
    comb = sinkhorn((z[:, 8:] * scale[2] + base[8:]).view(-1, 4, 4), hc_eps, iters)
    x = (pre[:, :, None] * s).sum(1)
    return rms(x, eps) * norm, post, comb.reshape(-1, 16)


def hc_post(y, streams, post, comb):
    s = streams.view(len(y), 4, -1)
    mixed = comb.view(-1, 4, 4).transpose(1, 2) @ s
    return (post[:, :, None] * y[:, None] + mixed).flatten(1)


def rope(x, cos, sin, sign):
    half = cos.shape[1]
    flat = x.shape[-1] - 2 * half
    repeat = len(x) // len(cos)
    c, s = cos.repeat(repeat, 1)[:, None], sin.repeat(repeat, 1)[:, None] * sign
    a, b = x[..., flat::2], x[..., flat + 1::2]
    turned = torch.stack([a * c - b * s, a * s + b * c], -1).flatten(-2)
    return torch.cat([x[..., :flat], turned], -1)


def norm_rope(x, weight, cos, sin, eps):
    y = rms(x, eps)
    return rope(y * weight if weight.numel() else y, cos, sin, 1.0)


def pool4(u, g, ape):
    B, T, D2 = u.shape
    M, D = T // 4, D2 // 2
    u = u[:, :4 * M].view(B, M, 4, D2)
    g = g[:, :4 * M].view(B, M, 4, D2) + ape
    before = F.pad(u[:, :-1, :, :D], (0, 0, 0, 0, 1, 0))
    gate = torch.cat([g.new_full((B, 1, 4, D), -torch.inf), g[:, :-1, :, :D]], 1)
    values = torch.cat([before, u[..., D:]], 2)
    return (values * torch.cat([gate, g[..., D:]], 2).softmax(2)).sum(2)


def swiglu(h, limit):
    gate, up = h.chunk(2, -1)
    return F.silu(gate.clamp(max=limit)) * up.clamp(-limit, limit)


def visible(T, M, window, ratio):
    t = torch.arange(T)[:, None]
    s = torch.arange(T)[None]
    raw = (s <= t) & (s > t - window)
    return torch.cat([raw, torch.arange(M)[None] < (t + 1) // ratio], 1) if M else raw


def attend(q, kv, comp, sink, window, ratio, keep=None):
    """keep [B, T, M]: which compressed rows the indexer left to each query; None: all."""
    B, T, H, D = q.shape
    M = comp.shape[1] if comp is not None else 0
    rows = torch.cat([kv, comp], 1) if M else kv
    mask = visible(T, M, window, ratio)[None].expand(B, -1, -1).clone()
    if keep is not None and M:
        mask[:, :, T:] &= keep
    scores = torch.einsum("bthd,bnd->bhtn", q, rows) * D ** -0.5
    scores = scores.masked_fill(~mask[:, None], -torch.inf)
    scores = torch.cat([scores, sink.view(1, H, 1, 1).expand(B, H, T, 1)], -1)
    return torch.einsum("bhtn,bnd->bthd", scores.softmax(-1)[..., :-1], rows)


def experts(x, w13, w2, chosen, weight, limit):
    y = torch.zeros_like(x)
    for e in range(len(w13)):
        token, slot = (chosen == e).nonzero(as_tuple=True)
        act = swiglu(x[token] @ w13[e].T, limit) * weight[token, slot, None]
        y = y.index_add(0, token, act @ w2[e].T)
    return y
