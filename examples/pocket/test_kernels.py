"""Values and gradients of the fused steps against their plain twins."""
import unittest

import torch

from pocket import plain
from pocket.initial import initial_weights
from pocket.model import FusedOps, Model


def loss_and_gradients(ops, ids, seed=3):
    torch.manual_seed(seed)
    w = initial_weights(seed)
    for name, v in w.items():
        if v.is_floating_point():
            w[name] = (v + 0.05 * torch.randn_like(v)).requires_grad_("bias" not in name)
    model, index = Model(w, ops=ops), []
    streams = model.trunk(ids, index)
    logits = model.logits(streams)
    nxt = ids.roll(-1, 1)
    mtp = model.mtp(streams, nxt, w["head.weight"])
    loss = (torch.nn.functional.cross_entropy(logits, nxt.flatten())
            + torch.nn.functional.cross_entropy(mtp, nxt.flatten()) + sum(index))
    loss.backward()
    return logits.detach(), {n: v.grad for n, v in w.items() if v.grad is not None}


class FusedSteps(unittest.TestCase):
    def test_agree_with_their_plain_twins(self):
        ids = torch.randint(0, 1024, (2, 320), generator=torch.Generator().manual_seed(1))
        logits, grads = loss_and_gradients(plain, ids)
        fused_logits, fused_grads = loss_and_gradients(FusedOps(), ids)
        self.assertLess(((logits - fused_logits).abs().max() / logits.std()).item(), 1e-3)
        self.assertEqual(grads.keys(), fused_grads.keys())
        for name, g in grads.items():
            error = (g - fused_grads[name]).norm() / (g.norm() + 1e-12)
            self.assertLess(error.item(), 2e-3, name)


if __name__ == "__main__":
    unittest.main()
