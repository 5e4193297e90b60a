#!/usr/bin/env python3
"""FlexAttention with the rules of samples/Rules, timed on the problems of `samples/Rules --time LENGTH`, and with the block lists of
`samples/Rules --time-blocks LENGTH`.

    python3 benchmarks/rule_peers.py 32768
    python3 benchmarks/rule_peers.py --blocks 131072

bfloat16, head dim 128, 32 query and 8 key/value heads, N(0,1). A mask rule goes in as a BlockMask of the same mask, whose making is
not in the time; a score rule as score_mod; a block list as a BlockMask in which the mask cuts the diagonal's blocks alone. A line a
rule or list: the median time of a call.
"""
import math
import statistics
import sys

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

HEADS, KEY_HEADS, DIM, WINDOW, CAP = 32, 8, 128, 4096, 20.0
BUCKETS, FARTHEST = 32, 128
BLOCK = 128
DOCUMENTS = [1024, 6144, 2048, 4096, 3072, 8192]
SAMPLES = 7


def documents(length):
    document, number, begin = torch.zeros(length, dtype=torch.int32, device="cuda"), 0, 0
    while begin < length:
        document[begin:] = number
        begin += DOCUMENTS[number % len(DOCUMENTS)]
        number += 1
    return document


def mixed(row, column):
    """BlockPatterns.Hash of samples/Rules, in 32 bits."""
    low = 0xFFFFFFFF
    value = (row * 0x9E3779B1 & low) ^ (column * 0x85EBCA77 & low)
    value = (value ^ value >> 15) * 0x2C1B3C6D & low
    value = (value ^ value >> 12) * 0x297A2D39 & low
    return value ^ value >> 15


PATTERNS = {
    "every block": lambda row, column: column >= 0,
    "random 1/4": lambda row, column: mixed(row, column) % 4 == 0,
    "random 1/2": lambda row, column: mixed(row, column) % 2 == 0,
    "structured 1/4": lambda row, column: (column < 2) | (row - column < 64) | (column % 8 == 0),
    "structured 1/2": lambda row, column: (column < 2) | (row - column < 160) | (column % 4 == 0),
    "eight a row": lambda row, column: (column < 2) | (row - column < 6),
}


def block_mask(length, visits):
    """A list of whole blocks below the diagonal, and of the diagonal's own, which the causal mask cuts."""
    rows = length // BLOCK
    row = torch.arange(rows, dtype=torch.int64, device="cuda")[:, None]
    column = torch.arange(rows, dtype=torch.int64, device="cuda")[None, :]
    full = visits(row, column) & (column < row)
    counts = full.sum(1, dtype=torch.int32)
    indices = torch.argsort(full.to(torch.int8), dim=1, descending=True, stable=True).to(torch.int32)
    diagonal = torch.zeros_like(indices)
    diagonal[:, 0] = row[:, 0].to(torch.int32)
    lists = [torch.ones_like(counts), diagonal, counts, indices]
    return BlockMask.from_kv_blocks(*(x[None, None].contiguous() for x in lists), BLOCK_SIZE=BLOCK, mask_mod=causal)


def causal(b, h, q, k):
    return q >= k


def bucket(distance):
    """RelativeBiasAttention.Bucket of samples/Rules."""
    near = BUCKETS // 2
    octaves = torch.log2(distance.clamp(min=1).float() / near) / math.log2(FARTHEST / near)
    far = (near + (octaves * (BUCKETS - near)).to(torch.int32)).clamp(max=BUCKETS - 1)
    return torch.where(distance < near, distance.clamp(min=0), far)


def main():
    length, of_blocks = int(sys.argv[-1]), "--blocks" in sys.argv
    calls_of_sample = 1 if of_blocks else 5
    tensor = lambda heads: torch.randn(1, heads, length, DIM, device="cuda", dtype=torch.bfloat16)
    query, key, value = tensor(HEADS), tensor(KEY_HEADS), tensor(KEY_HEADS)
    slopes = torch.exp2(-8.0 * torch.arange(1, HEADS + 1, device="cuda") / HEADS)
    document, prefix = documents(length), length // 4
    bias = torch.rand(HEADS, BUCKETS, device="cuda") - 0.5

    masks = {
        "causal": causal,
        "sliding window": lambda b, h, q, k: (q >= k) & (q - k < WINDOW),
        "prefix LM": lambda b, h, q, k: (q >= k) | (k < prefix),
        "documents": lambda b, h, q, k: (q >= k) & (document[q] == document[k]),
    }
    scores = {
        "ALiBi": lambda s, b, h, q, k: s - slopes[h] * (q - k),
        "soft-cap": lambda s, b, h, q, k: CAP * torch.tanh(s / CAP),
        "relative bias": lambda s, b, h, q, k: s + bias[h, bucket(q - k)],
    }

    def make(blocks, score):
        compiled = torch.compile(flex_attention)
        call = lambda: compiled(query, key, value, score_mod=score, block_mask=blocks, enable_gqa=True)
        for _ in range(3):
            call()
        return call

    def measure(call):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(calls_of_sample):
            call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / calls_of_sample

    def blocks_of(mask):
        return create_block_mask(mask, None, None, length, length, device="cuda")

    # All are compiled before the first is timed.
    if of_blocks:
        calls = {name: make(block_mask(length, visits), None) for name, visits in PATTERNS.items()}
    else:
        calls = {name: make(blocks_of(mask), None) for name, mask in masks.items()}
        calls |= {name: make(blocks_of(causal), score) for name, score in scores.items()}
    for name, call in calls.items():
        call()
        print(f"{name:16} {statistics.median(measure(call) for _ in range(SAMPLES)):8.3f} ms", flush=True)


if __name__ == "__main__":
    main()
