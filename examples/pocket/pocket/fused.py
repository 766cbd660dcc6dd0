"""Autograd around kernels.cpp: each class is one fused step with its backward pass."""
import os
from pathlib import Path

import torch
from torch.autograd import Function
from torch.utils.cpp_extension import load

_here = Path(__file__).parent
kernels = load("pocket_kernels", [str(_here / "kernels.cpp")],
               extra_cflags=["-O3", "-march=native", "-ffast-math"],
               build_directory=os.environ.get("POCKET_BUILD"))


class HcPre(Function):
    @staticmethod
    def forward(ctx, streams, z, scale, base, norm, eps, hc_eps, iters):
        ctx.save_for_backward(streams, z, scale, base, norm)
        ctx.args = eps, hc_eps, iters
        return tuple(kernels.hc_pre(streams, z, scale, base, norm, eps, hc_eps, iters))

    @staticmethod
    def backward(ctx, gy, gpost, gcomb):
        grads = kernels.hc_pre_backward(*ctx.saved_tensors, gy.contiguous(), gpost.contiguous(),
                                        gcomb.contiguous(), *ctx.args)
        return *grads, None, None, None


class HcPost(Function):
    @staticmethod
    def forward(ctx, y, streams, post, comb):
        ctx.save_for_backward(y, streams, post, comb)
        return kernels.hc_post(y, streams, post, comb)

    @staticmethod
    def backward(ctx, go):
        return tuple(kernels.hc_post_backward(*ctx.saved_tensors, go.contiguous()))


class NormRope(Function):
    @staticmethod
    def forward(ctx, x, weight, cos, sin, eps):
        ctx.save_for_backward(x, weight, cos, sin)
        ctx.eps = eps
        return kernels.norm_rope(x, weight, cos, sin, eps)

    @staticmethod
    def backward(ctx, go):
        gx, gw = kernels.norm_rope_backward(*ctx.saved_tensors, go.contiguous(), ctx.eps)
        return gx, gw, None, None, None


class Rope(Function):
    @staticmethod
    def forward(ctx, x, cos, sin, sign):
        ctx.save_for_backward(cos, sin)
        ctx.sign = sign
        return kernels.rope(x.contiguous(), cos, sin, sign)

    @staticmethod
    def backward(ctx, go):
        cos, sin = ctx.saved_tensors
        return kernels.rope(go.contiguous(), cos, sin, -ctx.sign), None, None, None


class Pool4(Function):
    @staticmethod
    def forward(ctx, u, g, ape):
        o = kernels.pool4(u, g, ape)
        ctx.save_for_backward(u, g, ape, o)
        return o

    @staticmethod
    def backward(ctx, go):
        return tuple(kernels.pool4_backward(*ctx.saved_tensors, go.contiguous()))


class Swiglu(Function):
    @staticmethod
    def forward(ctx, h, limit):
        ctx.save_for_backward(h)
        ctx.limit = limit
        return kernels.swiglu(h, h.new_empty(0), limit)

    @staticmethod
    def backward(ctx, go):
        h, = ctx.saved_tensors
        return kernels.swiglu_backward(h, h.new_empty(0), go.contiguous(), ctx.limit)[0], None


class Attend(Function):
    """Attention over raw rows (a sliding window) and compressed rows, in chunks of queries.

    64 queries a chunk: small enough that the causal half is not computed, large enough for the
    products. q [B, T, H, D], kv [B, T, D], comp [B, M, D] or None.
    """
    chunk = 64

    @staticmethod
    def spans(T, window, ratio):
        for t0 in range(0, T, Attend.chunk):
            t1 = min(T, t0 + Attend.chunk)
            yield t0, t1, max(0, t0 - window + 1), t1 // ratio if ratio else 0

    @staticmethod
    def forward(ctx, q, kv, comp, sink, window, ratio):
        B, T, H, D = q.shape
        ctx.scale, ctx.window, ctx.ratio = D ** -0.5, window, ratio
        out, probs = torch.empty_like(q), []
        for t0, t1, k0, m in Attend.spans(T, window, ratio):
            keys = torch.cat([kv[:, k0:t1], comp[:, :m]], 1) if m else kv[:, k0:t1]
            p = q[:, t0:t1].reshape(B, -1, D) @ keys.transpose(1, 2)
            kernels.softmax(p, sink, H, t0, k0, t1 - k0, window, ratio if m else 0, ctx.scale)
            out[:, t0:t1] = (p @ keys).view(B, t1 - t0, H, D)
            probs.append(p)
        ctx.save_for_backward(q, kv, comp, sink, *probs)
        return out

    @staticmethod
    def backward(ctx, go):
        q, kv, comp, sink, *probs = ctx.saved_tensors
        B, T, H, D = q.shape
        gq, gkv, gsink = torch.empty_like(q), torch.zeros_like(kv), torch.zeros_like(sink)
        gcomp = torch.zeros_like(comp) if comp is not None else None
        for (t0, t1, k0, m), p in zip(Attend.spans(T, ctx.window, ctx.ratio), probs):
            keys = torch.cat([kv[:, k0:t1], comp[:, :m]], 1) if m else kv[:, k0:t1]
            g, qc = go[:, t0:t1].reshape(B, -1, D), q[:, t0:t1].reshape(B, -1, D)
            gs = g @ keys.transpose(1, 2)
            gk = p.transpose(1, 2) @ g
            kernels.softmax_backward(p, gs, gsink, H, ctx.scale)
            gq[:, t0:t1] = (gs @ keys).view(B, t1 - t0, H, D)
            gk.baddbmm_(gs.transpose(1, 2), qc)
            gkv[:, k0:t1] += gk[:, :t1 - k0]
            if m:
                gcomp[:, :m] += gk[:, t1 - k0:]
        return gq, gkv, gcomp, gsink, None, None


class Experts(Function):
    """Routed experts: tokens sorted by expert, one product per expert and matrix.

    x [N, d], w13 [E, 2m, d], w2 [E, d, m], chosen [N, k], weight [N, k].
    """
    @staticmethod
    def forward(ctx, x, w13, w2, chosen, weight, limit):
        k = chosen.shape[1]
        order = torch.argsort(chosen.flatten(), stable=True)
        token = order // k
        counts = torch.bincount(chosen.flatten(), minlength=len(w13)).tolist()
        xs, ws = x[token], weight.flatten()[order].contiguous()
        h = xs.new_empty(len(xs), w13.shape[1])
        for part, src, w in zip(h.split(counts), xs.split(counts), w13):
            torch.mm(src, w.T, out=part)
        act = kernels.swiglu(h, ws, limit)
        ys = torch.empty_like(xs)
        for part, src, w in zip(ys.split(counts), act.split(counts), w2):
            torch.mm(src, w.T, out=part)
        ctx.save_for_backward(xs, w13, w2, h, act, ws, order, token)
        ctx.counts, ctx.limit, ctx.shape = counts, limit, weight.shape
        return torch.zeros_like(x).index_add_(0, token, ys)

    @staticmethod
    def backward(ctx, go):
        xs, w13, w2, h, act, ws, order, token = ctx.saved_tensors
        gys, n = go[token], ctx.counts
        gact, gw2, gw13 = torch.empty_like(act), torch.empty_like(w2), torch.empty_like(w13)
        for e, (g, a, o) in enumerate(zip(gys.split(n), act.split(n), gact.split(n))):
            torch.mm(g, w2[e], out=o)
            torch.mm(g.T, a, out=gw2[e])
        gh, gws = kernels.swiglu_backward(h, ws, gact, ctx.limit)
        gxs = torch.empty_like(xs)
        for e, (g, x, o) in enumerate(zip(gh.split(n), xs.split(n), gxs.split(n))):
            torch.mm(g, w13[e], out=o)
            torch.mm(g.T, x, out=gw13[e])
        gx = torch.zeros_like(go).index_add_(0, token, gxs)
        gweight = torch.empty(order.shape[0]).index_copy_(0, order, gws).view(ctx.shape)
        return gx, gw13, gw2, None, gweight, None
