#!/usr/bin/env python3
"""Peers of AttnCompose: what a user would pick instead, timed on the same problems.

    python3 benchmarks/peers.py --lengths 8K,32K --keep 0.25,0.5 --json peers.json
    attncompose bench --device cuda --lengths 8K,32K --peers-command "python3 benchmarks/peers.py --serve"

Alone it writes a report of the form of `attncompose bench --json`. With --serve it answers one line of JSON at a time, so that
`bench` can take turns with it, sample by sample, on one GPU.

Peers: scaled_dot_product_attention with its cuDNN backend (each way to call it that may be the fastest), with its
FlashAttention-2 backend, FlexAttention; the reference implementation of Token Sparse Attention around its own kernel
(FlashAttention-2) and the same steps around cuDNN, where the environment's TSA_REFERENCE names a folder with the repository's
`sparse_attn`; torch.topk with a sort. On the CPU, scaled_dot_product_attention. Inputs are N(0,1), made on the device and
rotated so that nothing stays in the L2 cache. A sample is the mean of as many calls, back to back, as take 10 ms; short
problems are captured as CUDA graphs.
"""
import argparse
import contextlib
import datetime
import json
import math
import os
import statistics
import sys
import time
import types

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

SAMPLE_MS = 10.0
WARM_UP_MS = 700.0  # from rest, clocks take so long to settle
MOST_PASSES = 2000
MOST_SETS = 16
CACHES_TO_FILL = 4
LONGEST_GRAPH = 8192
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


class Unavailable(Exception):
    """This peer cannot be had here, for a reason that is no fault."""


def device_of(case):
    return torch.device(ARGUMENTS.device)


def is_cuda():
    return ARGUMENTS.device.startswith("cuda")


def synchronize():
    if is_cuda():
        torch.cuda.synchronize()


class Contender:
    """One peer on one problem: `calls` functions, one for each set of inputs, make a pass."""

    def __init__(self, implementation, make, can_be_captured=True, **differs):
        self.implementation, self.make, self.differs = implementation, make, differs
        self.can_be_captured = can_be_captured
        self.calls, self.graph, self.passes, self.is_short = None, None, 1, False

    def describe(self):
        return dict(implementation=self.implementation, **self.differs)

    def prepare(self, case):
        self.calls = self.make()
        for call in self.calls:
            call()
        self.run_pass()
        synchronize()
        note = ""
        if case["graph"] and is_cuda():
            if self.can_be_captured:
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    self.run_pass()
                self.graph = graph
            else:
                note = "waits for the device inside, so no graph"
        time_of_pass = self.time(1)
        self.is_short = time_of_pass < 2 * SAMPLE_MS
        self.passes = max(1, min(MOST_PASSES, math.ceil(SAMPLE_MS / max(time_of_pass, 1e-6))))
        return note

    def run_pass(self):
        if self.graph is not None:
            self.graph.replay()
            return
        for call in self.calls:
            call()

    def time(self, passes):
        """Milliseconds of a number of passes."""
        if not is_cuda():
            start = time.perf_counter()
            for _ in range(passes):
                self.run_pass()
            return (time.perf_counter() - start) * 1e3
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(passes):
            self.run_pass()
        end.record()
        end.synchronize()
        return start.elapsed_time(end)

    def sample(self):
        # Another contender may have cooled the chip or filled its caches; a long sample warms itself.
        if self.is_short:
            self.time(1)
        return self.time(self.passes) / (self.passes * len(self.calls))


class Problem:
    """The inputs of a case, and the peers that have an answer to it."""

    def __init__(self, case):
        self.case = case
        self.element = DTYPES[case["dtype"]]
        self.sets = {}
        makers = {"dense": self.dense, "token-sparse": self.token_sparse, "select": self.select}
        contenders = makers.get(case["workload"], list)()
        self.contenders = {c.implementation: c for c in contenders if ARGUMENTS.wanted(c.implementation)}

    def inputs(self, heads, kv_heads, blhd=False):
        """Sets of query, key and value; made once for each shape and storage."""
        key = (heads, kv_heads, blhd)
        if key not in self.sets:
            length, dim = self.case["length"], self.case["head_dim"]
            bytes_of_set = 2 * (heads + kv_heads) * length * dim * self.element.itemsize
            sets = 1
            if is_cuda():
                cache = torch.cuda.get_device_properties(device_of(self.case)).L2_cache_size
                sets = max(1, min(MOST_SETS, CACHES_TO_FILL * cache // bytes_of_set + 1))

            def tensor(count):
                if blhd:
                    return self.normal(1, length, count, dim).transpose(1, 2)
                return self.normal(1, count, length, dim)

            self.sets[key] = [(tensor(heads), tensor(kv_heads), tensor(kv_heads)) for _ in range(sets)]
        return self.sets[key]

    def normal(self, *shape):
        return torch.randn(*shape, device=device_of(self.case), dtype=self.element)

    def dense(self):
        case = self.case
        heads, kv_heads, causal = case["heads"], case["kv_heads"], case["mask"] == "causal"

        def sdpa(backend, q_heads=heads, expanded=False, blhd=False):
            def make():
                sets = self.inputs(q_heads, q_heads if expanded else kv_heads, blhd)

                def call(q, k, v):
                    with sdpa_kernel(backend) if backend is not None else contextlib.nullcontext():
                        return F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=k.shape[1] != q.shape[1])

                return [lambda qkv=qkv: call(*qkv) for qkv in sets]
            return make

        if not is_cuda():
            return [Contender("pytorch-cpu, grouped heads", sdpa(None)),
                    Contender("pytorch-cpu, K and V for every head", sdpa(None, expanded=True), kv_heads=heads)]
        cudnn, flash = SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION
        found = [
            Contender("cudnn, grouped heads", sdpa(cudnn)),
            Contender("cudnn, K and V for every head", sdpa(cudnn, expanded=True), kv_heads=heads),
            Contender("cudnn, grouped heads, [B, L, H, D]", sdpa(cudnn, blhd=True)),
            Contender("flash-attention-2, grouped heads", sdpa(flash)),
            Contender("flex-attention, grouped heads", self.flex(causal)),
        ]
        if case["length"] <= 65536 and heads != 64:
            # What cuDNN's own published figures were measured with.
            found.insert(3, Contender("cudnn, 64 heads, [B, L, H, D]", sdpa(cudnn, 64, blhd=True), heads=64))
        return found

    def flex(self, causal):
        def make():
            from torch.nn.attention.flex_attention import create_block_mask, flex_attention
            length = self.case["length"]
            sets = self.inputs(self.case["heads"], self.case["kv_heads"])
            compiled = torch.compile(flex_attention)
            blocks = create_block_mask(
                lambda b, h, q, k: q >= k, None, None, length, length, device=ARGUMENTS.device) if causal else None
            return [lambda qkv=qkv: compiled(*qkv, block_mask=blocks, enable_gqa=True) for qkv in sets]
        return make

    def token_sparse(self):
        if not is_cuda():
            return []
        return [
            # Keys and values are given to it once for each query head, as its model code does; that is not in the time.
            Contender("tsa-reference, its own kernel (flash-attention-2)", self.reference(SDPBackend.FLASH_ATTENTION), False),
            Contender("tsa-steps-cudnn, the reference's steps around cuDNN", self.reference(SDPBackend.CUDNN_ATTENTION), False),
        ]

    def reference(self, backend):
        """The reference's whole layer: choose, gather, attend, scatter. It chooses at our coverage, and keeps our count."""
        def make():
            cluster_type = load_reference()
            case = self.case
            heads, length, dim = case["heads"], case["length"], case["head_dim"]
            kept = case.get("kept") or length
            q, k, v = self.inputs(heads, heads)[0]
            cluster = cluster_type()
            cluster.window_size, cluster.kernel_size, cluster.min_tokens = 128, 7, 0
            cluster.coverage = case.get("coverage") or max(1e-3, 1 - kept / length)
            cluster.bsz, cluster.num_heads, cluster.q_len, cluster.head_dim = 1, heads, length, dim
            order = torch.rand(heads, length, device=ARGUMENTS.device).argsort(-1)
            indices = order[:, :kept].sort(-1).values[None]

            def layer():
                cluster.get_index(q, k)
                cq, ck, cv = cluster.compress_qkv(q, k, v, indices)
                with sdpa_kernel(backend):
                    o = F.scaled_dot_product_attention(cq, ck, cv, is_causal=True)
                return cluster.decompress_output(o.transpose(1, 2), indices)

            return [layer]
        return make

    def select(self):
        if not is_cuda():
            return []

        def make():
            rows, length, kept = self.case["heads"], self.case["length"], self.case.get("kept") or self.case["length"] // 2
            sets = [torch.rand(rows, length, device=ARGUMENTS.device) for _ in range(MOST_SETS)]
            return [lambda s=s: s.topk(kept, dim=-1).indices.sort(dim=-1).values for s in sets]
        return [Contender("torch-topk, and a sort of the indices", make)]


def load_reference():
    folder = os.environ.get("TSA_REFERENCE")
    if not folder:
        raise Unavailable("TSA_REFERENCE names no folder with the reference's sparse_attn")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    if "flash_attn" not in sys.modules:
        sys.modules["flash_attn"] = types.ModuleType("flash_attn")  # imported by it; its kernel is reached through PyTorch here
    from sparse_attn.token_sparse.sparse_cluster import SparseCluster
    return SparseCluster


def facts():
    found = {"torch": torch.__version__, "threads": str(torch.get_num_threads())}
    if is_cuda():
        properties = torch.cuda.get_device_properties(ARGUMENTS.device)
        found.update(
            device=properties.name, cuda=str(torch.version.cuda), cudnn=str(torch.backends.cudnn.version()),
            cublas_matmul=f"{matmul_tflops():.0f} TFLOP/s")
    with contextlib.suppress(ImportError):
        import triton
        found["triton"] = triton.__version__
    return found


def matmul_tflops(side=8192, times=7, samples=7):
    a = torch.randn(side, side, device=ARGUMENTS.device, dtype=torch.bfloat16)
    b = torch.randn_like(a)
    product = Contender("matmul", lambda: [lambda: a @ b] * times)
    product.prepare({"graph": False})
    end = time.perf_counter() + WARM_UP_MS / 1e3
    while time.perf_counter() < end:
        product.sample()
    return 2 * side**3 / statistics.median(product.sample() for _ in range(samples)) / 1e9


class Server:
    """Answers one request at a time; what fails is an answer too."""

    def __init__(self):
        self.problem = None

    def answer(self, request):
        operation = request["op"]
        if operation == "info":
            return dict(info=facts())
        if operation == "open":
            self.close()
            self.problem = Problem(request["case"])
            return dict(contenders=[c.describe() for c in self.problem.contenders.values()])
        if operation == "close":
            self.close()
            return {}
        contender = self.problem.contenders[request["implementation"]]
        if operation == "prepare":
            return dict(note=contender.prepare(self.problem.case))
        if operation == "sample":
            return dict(ms=contender.sample())
        raise ValueError(f"there is no operation {operation!r}")

    def close(self):
        self.problem = None
        if is_cuda():
            torch.cuda.empty_cache()

    def run(self, lines, reply):
        for line in lines:
            try:
                answer = dict(ok=True, **self.answer(json.loads(line)))
            except Exception as error:  # noqa: BLE001  whatever a peer's library throws is that peer's result
                answer = dict(ok=False, error=f"{type(error).__name__}: {str(error)[:200]}")
            reply(json.dumps(answer))


def serve():
    """Answers on the standard output that the process began with; what libraries print goes to the error stream."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def reply(line):
        replies.write(line + "\n")
        replies.flush()

    Server().run(sys.stdin, reply)


def measure_alone():
    rows = []
    for case in cases():
        server = Server()
        opened = server.answer(dict(op="open", case=case))["contenders"]
        for about in opened:
            row = {**case, **about, "own": False, "samples_ms": []}
            contender = server.problem.contenders[about["implementation"]]
            try:
                row["note"] = contender.prepare(case)
                row["samples_ms"] = [round(contender.sample(), 6) for _ in range(ARGUMENTS.samples)]
                row["ms"] = round(statistics.median(row["samples_ms"]), 6)
            except Exception as error:  # noqa: BLE001
                row["error"] = f"{type(error).__name__}: {str(error)[:200]}"
            rows.append(row)
            print(f"{row['workload']} {row['length']} {row['implementation']}: {row.get('ms', row.get('error'))}", flush=True)
        server.close()
    return rows


def cases():
    for length in ARGUMENTS.lengths:
        case = dict(
            workload="dense", length=length, keep=None, kept=None, coverage=None, heads=ARGUMENTS.heads,
            kv_heads=ARGUMENTS.kv_heads, head_dim=ARGUMENTS.head_dim, dtype=ARGUMENTS.dtype, mask=ARGUMENTS.mask, graph=is_cuda() and length <= LONGEST_GRAPH)
        yield case
        for keep in ARGUMENTS.keep:
            yield {**case, "workload": "token-sparse", "keep": keep, "kept": round(keep * length)}
            yield {**case, "workload": "select", "keep": keep, "kept": round(keep * length)}


def lengths(text):
    units = {"K": 1 << 10, "M": 1 << 20}
    return [int(part[:-1]) * units[part[-1].upper()] if part[-1].upper() in units else int(part) for part in text.split(",")]


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", action="store_true", help="answer `attncompose bench`")
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    parser.add_argument("--peers", default="", help="beginnings of names, comma-separated; all where it is empty")
    parser.add_argument("--lengths", type=lengths, default=[8192])
    parser.add_argument("--keep", type=lambda text: [float(part) for part in text.split(",")], default=[])
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--kv-heads", type=int, default=8)
    parser.add_argument("--head-dim", type=int, default=128)
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    parser.add_argument("--mask", choices=("causal", "full"), default="causal")
    parser.add_argument("--samples", type=int, default=9)
    parser.add_argument("--json", help="where to write the report")
    arguments = parser.parse_args()
    if arguments.samples < 7:
        parser.error("--samples must be at least 7")
    arguments.wanted = lambda name: not arguments.peers or name.startswith(tuple(arguments.peers.split(",")))
    return arguments


def main():
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    if ARGUMENTS.serve:
        serve()
        return
    created = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    report = dict(schema=1, created=created, command=" ".join(sys.argv), machine=facts(), rows=measure_alone())
    if ARGUMENTS.json:
        with open(ARGUMENTS.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=2)
            file.write("\n")


if __name__ == "__main__":
    ARGUMENTS = parse()
    main()
