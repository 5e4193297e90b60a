#!/usr/bin/env python3
"""FlexAttention with the rules of samples/Rules, timed on the problems of `samples/Rules --time LENGTH`.

    python3 benchmarks/rule_peers.py 32768

bfloat16, head dim 128, 32 query and 8 key/value heads, N(0,1). A mask rule goes in as a BlockMask of the same mask, whose making is
not in the time; a score rule as score_mod. A line a rule: the median time of a call.
"""
import statistics
import sys

import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

HEADS, KEY_HEADS, DIM, WINDOW, CAP = 32, 8, 128, 4096, 20.0
DOCUMENTS = [1024, 6144, 2048, 4096, 3072, 8192]
SAMPLES, CALLS_OF_SAMPLE = 7, 5


def documents(length):
    document, number, begin = torch.zeros(length, dtype=torch.int32, device="cuda"), 0, 0
    while begin < length:
        document[begin:] = number
        begin += DOCUMENTS[number % len(DOCUMENTS)]
        number += 1
    return document


def main():
    length = int(sys.argv[1])
    tensor = lambda heads: torch.randn(1, heads, length, DIM, device="cuda", dtype=torch.bfloat16)
    query, key, value = tensor(HEADS), tensor(KEY_HEADS), tensor(KEY_HEADS)
    slopes = torch.exp2(-8.0 * torch.arange(1, HEADS + 1, device="cuda") / HEADS)
    document, prefix = documents(length), length // 4

    def causal(b, h, q, k):
        return q >= k

    masks = {
        "causal": causal,
        "sliding window": lambda b, h, q, k: (q >= k) & (q - k < WINDOW),
        "prefix LM": lambda b, h, q, k: (q >= k) | (k < prefix),
        "documents": lambda b, h, q, k: (q >= k) & (document[q] == document[k]),
    }
    scores = {
        "ALiBi": lambda s, b, h, q, k: s - slopes[h] * (q - k),
        "soft-cap": lambda s, b, h, q, k: CAP * torch.tanh(s / CAP),
    }

    def make(mask, score):
        compiled = torch.compile(flex_attention)
        blocks = create_block_mask(mask, None, None, length, length, device="cuda")
        call = lambda: compiled(query, key, value, score_mod=score, block_mask=blocks, enable_gqa=True)
        for _ in range(3):
            call()
        return call

    def measure(call):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(CALLS_OF_SAMPLE):
            call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / CALLS_OF_SAMPLE

    # All are compiled before the first is timed.
    calls = {name: make(mask, None) for name, mask in masks.items()} | {name: make(causal, score) for name, score in scores.items()}
    for name, call in calls.items():
        call()
        print(f"{name:16} {statistics.median(measure(call) for _ in range(SAMPLES)):8.3f} ms", flush=True)


if __name__ == "__main__":
    main()
