"""Muon for the matrices, AdamW for everything else."""
import re

import torch

MUON = re.compile(r"attn\.(wq_a|wq_b|wkv|wo_a|wo_b)\.weight$|attn\.compressor\.(wkv|wgate)\.weight$"
                  r"|experts\.(w13|w2)$|shared_experts\.w[123]\.weight$|mtp\.0\.[eh]_proj\.weight$")
# Four steps that pull the singular values quickly to about one, and a last one that settles them.
STEPS = [(3.4445, -4.7750, 2.0315)] * 4 + [(2.0, -1.5, 0.5)]


def orthogonal(g):
    """g [n, rows, columns], rows <= columns -> nearest matrices with orthonormal rows."""
    x = (g / (g.norm(dim=(1, 2), keepdim=True) + 1e-7)).bfloat16()
    for a, b, c in STEPS:
        s = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(s, s, s, beta=b, alpha=c), x, beta=a)
    return x.float()


class Muon:
    """Momentum, orthogonalised. Equal shapes go through one batched product."""

    def __init__(self, params, groups, rate=0.01, momentum=0.95, decay=0.01):
        self.rate, self.momentum, self.decay = rate, momentum, decay
        self.params = params
        self.stacks = {}            # shape -> [(name, how many matrices)]
        for name, p in params.items():
            m = self.matrices(name, p, groups)
            self.stacks.setdefault(tuple(sorted(m.shape[1:])), []).append((name, len(m)))
        self.groups = groups
        self.buffers = {k: torch.zeros(sum(n for _, n in v), *k) for k, v in self.stacks.items()}

    def matrices(self, name, x, groups):
        """A tensor as a stack of matrices that the network uses as such."""
        if name.endswith("w13"):
            return x.reshape(-1, x.shape[1] // 2, x.shape[2])
        if name.endswith("wo_a.weight"):
            return x.reshape(groups, -1, x.shape[1])
        return x.reshape(-1, *x.shape[-2:])

    def lying(self, m):
        return m if m.shape[1] <= m.shape[2] else m.transpose(1, 2)

    @torch.no_grad()
    def step(self, factor):
        for shape, members in self.stacks.items():
            grads = [self.lying(self.matrices(n, self.params[n].grad, self.groups))
                     if self.params[n].grad is not None else torch.zeros(k, *shape)
                     for n, k in members]
            g, buffer = torch.cat(grads), self.buffers[shape]
            buffer.lerp_(g, 1 - self.momentum)
            update = orthogonal(g.lerp(buffer, self.momentum)) * (0.2 * shape[1] ** 0.5)
            for (name, _), u in zip(members, update.split([k for _, k in members])):
                self.apply(name, u, factor * self.rate)

    def apply(self, name, update, rate):
        p = self.params[name]
        if p.grad is None:
            return
        m = self.lying(self.matrices(name, p.data, self.groups))
        m.mul_(1 - rate * self.decay).sub_(update, alpha=rate)


def build(w, config, rate_muon=0.01, rate_adam=0.003):
    """-> Muon and AdamW over the weights; with rate_muon 0, AdamW over all."""
    trained = {n: p for n, p in w.items() if p.requires_grad}
    matrices = {n: p for n, p in trained.items() if rate_muon and MUON.search(n)}
    rest = [p for n, p in trained.items() if n not in matrices]
    adam = torch.optim.AdamW(rest, lr=rate_adam, betas=(0.9, 0.95), weight_decay=0.0)
    muon = Muon(matrices, config["o_groups"], rate_muon) if matrices else None
    return muon, adam
