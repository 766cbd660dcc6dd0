"""Drills: segments of tokens, shown again in other orders, that teach nothing but copying."""
import random

import torch


def drill(r: random.Random, first, last, newline, segments=(2, 7), lengths=(2, 9)):
    """-> token ids and loss weights. The changed order forbids copying at a fixed distance."""
    parts = [[r.randrange(first, last) for _ in range(r.randint(*lengths))]
             for _ in range(r.randint(*segments))]
    ids, weights = [], []
    for showing in range(r.randint(2, 3)):
        for part in r.sample(parts, len(parts)):
            ids += part + [newline]
            weights += [0.0] * (len(part) + 1) if not showing else \
                [0.0] + [1.0] * (len(part) - 1) + [0.3]
    return ids, weights


def pad(samples, multiple=32):
    """[(ids, weights)] -> ids [B, T], weights [B, T] (weight of predicting that token)."""
    T = -(-max(len(s[0]) for s in samples) // multiple) * multiple
    ids = torch.zeros(len(samples), T, dtype=torch.long)
    weights = torch.zeros(len(samples), T)
    for i, (a, b) in enumerate(samples):
        ids[i, :len(a)] = torch.tensor(a)
        weights[i, :len(b)] = torch.tensor(b)
    return ids, weights
