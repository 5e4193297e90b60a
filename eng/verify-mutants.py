"""Breaks the device code in known ways and sees whether `attncompose verify` notices. Needs a GPU.

    dotnet publish src/Cli -c Release -r linux-x64 --self-contained -p:TrimmedProgram=true -o PROGRAM
    python3 eng/verify-mutants.py PROGRAM [WORD ...]
    python3 eng/verify-mutants.py --check       # needs no GPU: is each text in the device code?

The texts of the kernels are resources of the published assemblies, so a mutant is a copy of the program in which a piece of
text has another of the same length. It has a cache of kernels of its own and runs over the configurations that have the broken
code; where a barrier is missing, with delays at the others. A mutant that hangs is one that was noticed; one that does not
compile is a fault of this list. The unchanged program must pass. WORDs choose mutants by parts of their names. Exit code 0: all
were noticed.
"""
import concurrent.futures, os, shutil, subprocess, sys, tempfile, time

AT_ONCE = 6
SECONDS = 75  # a mutant takes 5 to 30: a compilation, and configurations until the first failure
LONG_SECONDS = 300  # over the long sequences, so that no slow run passes for one that hangs

BEHIND = "step<false>(n, at[0], softmax, o);\n            }\n            "
BEFORE = "ptx::wait_for_copies<1>();\n            "
BARRIER = "__syncthreads();"
TERMS = "ptx::sync_named(Ring::kConsumerBarrier + consumer, kWarpgroup);"


def dropped(text, before="", after=""):
    return before + text + after, before + " " * len(text) + after


def where(values, count, delays=False):
    return ["--where", values, "--count", str(count)], delays


FAR = ["--suite", "far"], False
SELECTION = ["--suite", "selection"], True
LONG = ["--suite", "long"], False  # at shorter lengths no block's keys go around the ring of the scores
# Each of one kernel text, so that a mutant is compiled once.
WGMMA_DENSE = "d=128 element=BFloat16 floatout=False sparse=False blocks=False selector=None rule=None"
WGMMA_SPARSE = "d=64 element=BFloat16 sparse=True count=0 selector=None rule=None"
WGMMA_GATHERED = "d=128 element=BFloat16 floatout=False sparse=True gather=1 count=0 selector=None rule=None"
DISTANCE = WGMMA_DENSE.replace("rule=None", "rule=Distance")
MMA_DENSE, MMA_SPARSE = "d=40 sparse=False blocks=False rule=None", "d=32 sparse=True rule=None"

# Name, assembly, text, what stands there instead, how it is looked for. Several texts and their others are tuples. The first five hang
# on an H200, so they begin first.
MUTANTS = [
    ("wgmma: no wait for free values", "Cuda",
     *dropped("ptx::wait(ring.barrier(Ring::kValuesFree, slot.stage), slot.parity ^ 1);"), where(WGMMA_DENSE, 100, delays=True)),
    ("wgmma: no wait for full keys", "Cuda",
     *dropped("ptx::wait(ring.barrier(Ring::kKeysFull, stage), state.keys.parity);"), where(WGMMA_DENSE, 100, delays=True)),
    ("wgmma: no wait for free keys", "Cuda",
     *dropped("ptx::wait(ring.barrier(Ring::kKeysFree, slot.stage), slot.parity ^ 1);"), where(WGMMA_DENSE, 100, delays=True)),
    # A warp of it is late at each tile too, which does no harm where all arrive.
    ("wgmma: a warp of the producer may be left behind", "Cuda",
     "if (thread % kWarp == 0) ptx::arrive(full, arrivals);\n            return;",
     "if(!thread)ptx::arrive(full,128);\n if(thread>99)__nanosleep(9000);return;",
     (["--suite", "pairs", "--where", "pipeline=pair21"], True)),
    # And it is told late, which does no harm where that is waited for.
    ("wgmma: no wait for what a first tile needs", "Cuda",
     ("ptx::wait(ring.told_barrier(), 0);", "delay_at_random();\n        ptx::store_word(told_barrier()"),
     ("                                  ", "__nanosleep(9000);\n        ptx::store_word(told_barrier()"),
     where(WGMMA_DENSE.replace("rule=None", "rule=Documents"), 60, delays=True)),
    ("nothing", "Cuda", BARRIER, BARRIER, where(WGMMA_SPARSE, 40, delays=True)),
    ("causal offset", "Cuda", "i + key_count - query_count, key_count", "i+1+key_count - query_count, key_count",
     where(WGMMA_DENSE, 60)),
    ("whole tiles off by one", "Cuda", "last_key<kCausal>(begin) + 1, 0)", "last_key<kCausal>(begin) + 2, 0)",
     where(WGMMA_DENSE, 300)),
    ("mma: no zero-fill past the keys", "Cuda", "key_of(at, row) >= rows.key_count) return",
     "key_of(at, row) >  rows.key_count) return",
     where(MMA_DENSE, 100)),
    ("mma: no barrier behind the step", "Cuda", *dropped(BARRIER, BEHIND), where(MMA_SPARSE, 60, delays=True)),
    ("mma: no barrier before the step", "Cuda", *dropped(BARRIER, BEFORE), where(MMA_SPARSE, 60, delays=True)),
    ("wgmma: no zero-fill past the keys", "Cuda", "!kCut || j < rows.key_count", "!kCut || j <=rows.key_count",
     where(WGMMA_DENSE + " vary=True", 60)),
    ("wgmma: no wait for full values", "Cuda",
     *dropped("ptx::wait(ring.barrier(Ring::kValuesFull, state.values.stage), state.values.parity);"),
     where(WGMMA_DENSE, 100, delays=True)),
    ("wgmma: the rules are not asked in a first tile", "Cuda", "is_first_ruled() const { return verdict_of(",
     "is_first_ruled() const {return !verdict_of(", where(WGMMA_DENSE.replace("rule=None", "rule=Documents"), 60)),
    ("wgmma: no barrier behind distance terms", "Cuda", *dropped(TERMS, "}\n        ", "\n        const auto"), where(DISTANCE, 100, delays=True)),
    ("offsets of sequences and heads in 32 bits", "Cuda", "return b * batch + h * head;", "return int(b*batch+h*head) ;", FAR),
    ("wgmma: offsets of rows in 32 bits", "Cuda", "head + position * row_bytes, valid",
     "head+position*int(row_bytes),valid", FAR),
    ("mma: offsets of rows in 32 bits", "Cuda", "(head + key_position(n, at, row) * strides.row) *",
     "(head+key_position(n,at,row)*int(strides.row))  *", FAR),
    ("softmax: the origin stays behind", "Cuda", "peak[b] > fminf(", "1e-9f   > fminf(",
     where(WGMMA_DENSE.replace("BFloat16", "Float16") + " content=Peaked", 100)),
    ("softmax: weights of the origin before", "Cuda", "if (!outgrows(a, peak)) {", "if(!outgrows(a,peak)|1) {", where(WGMMA_DENSE + " content=Sink", 100)),
    ("gather: no zeroes after the rows", "Pipelines", "count + kMostKeyTile - 1", "count                   ",
     where(WGMMA_GATHERED, 100)),
    ("gather: another head's place", "Cuda", "h - source.heads.first", "h                     ", where(WGMMA_GATHERED, 60)),
    ("reversed ties", "Cuda", "ties & lower_lanes", "ties &~lower_lanes", where(WGMMA_SPARSE + " content=Ties", 60)),
    ("budget off by one", "Cuda", "below.count == 0 ? 0 : below.count + 1", "below.count == 0 ? 0 : below.count + 0", where(WGMMA_SPARSE, 60)),
    ("query begin off by one", "Cuda", "taken && i < run_queries", "taken && i <=run_queries", where(WGMMA_SPARSE, 100)),
    ("selection: no barrier of the team", "Cuda", *dropped("team.sync();", "TargetOf target_of) const {\n        "), SELECTION),
    ("selection: a first block alone", "Cuda", "block < team.size ? team.read", "block < 1         ? team.read", SELECTION),
    ("choosing: a block too many", "Cuda", "own < count && before < wanted", "own < count && before <=wanted",
     (["--suite", "pairs", "--where", "selector=FlexPrefill element=BFloat16"], False)),
    ("gate: another head's weights", "Pipelines", "key_gate + static_cast<long long>(h)", "key_gate + static_cast<long long>(g)",
     (["--suite", "pairs", "--where", "selector=GateWeights"], False)),
    ("token rule: no barrier behind the rows", "Cuda", *dropped("__syncthreads();", "end - begin, values);\n            "),
     where("score=Rule", 60, delays=True)),
    ("scores: no wait for free keys", "Cuda", *dropped("ptx::wait(barrier(kFree, place.stage), place.parity ^ 1);"), LONG),
    ("scores: no wait for full keys", "Cuda", *dropped("ptx::wait(barrier(kFull, place.stage), place.parity);"), LONG),
    ("scores: a mask off by one", "Cuda", "kTile - 1 > first_seen + first_row", "kTile - 2 > first_seen + first_row",
     where(WGMMA_SPARSE, 300)),
]


def pieces(text, other):
    return [(text, other)] if isinstance(text, str) else list(zip(text, other, strict=True))


def run(program, mutant):
    name, assembly, text, other, (arguments, delays) = mutant
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, "program")
        shutil.copytree(program, copy)
        path = os.path.join(copy, f"AttnCompose.{assembly}.dll")
        with open(path, "rb") as file:
            data = file.read()
        for piece, instead in pieces(text, other):
            if len(piece) != len(instead) or piece.encode() not in data:
                return name, False, "its text is not in the device code: mend this list"
            data = data.replace(piece.encode(), instead.encode())
        with open(path, "wb") as file:
            file.write(data)
        environment = dict(
            os.environ, ATTNCOMPOSE_CACHE=os.path.join(folder, "kernels"), ATTNCOMPOSE_DELAYS="1" if delays else "0")
        command = [os.path.join(copy, "attncompose"), "verify", "--device", "cuda", "--seed", "5", "--fail-fast", *arguments]
        begin, limit = time.monotonic(), LONG_SECONDS if "long" in arguments else SECONDS
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=limit, env=environment)
        except subprocess.TimeoutExpired:
            return name, text != other, f"hangs, or takes longer than {limit} s"
        failed = next((line for line in done.stdout.splitlines() if line.startswith("FAILED")), "")
        took = f"{time.monotonic() - begin:.0f} s, "
        if "KernelCompilationException" in failed:
            return name, False, "does not compile: mend this list"
        if text == other:
            return name, done.returncode == 0, took + (failed[:150] or "passes, as it must")
        return name, done.returncode == 1 and failed != "", took + (failed[:150] or done.stderr[-150:])


def check():
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "src")
    headers = {"Cuda": "", "Pipelines": ""}
    for assembly in headers:
        for folder, _, files in os.walk(os.path.join(root, assembly)):
            for name in sorted(name for name in files if name.endswith(".cuh")):
                with open(os.path.join(folder, name), encoding="utf-8-sig") as file:
                    headers[assembly] += file.read()
    stale = [name for name, assembly, text, other, _ in MUTANTS
             if any(len(piece) != len(instead) or piece not in headers[assembly] for piece, instead in pieces(text, other))]
    for name in stale:
        print(f"the text of '{name}' is not in the device code, or its mutant is of another length")
    sys.exit(1 if stale else 0)


def main():
    if sys.argv[1:] == ["--check"]:
        check()
    program, words = sys.argv[1], sys.argv[2:]
    mutants = [mutant for mutant in MUTANTS if not words or any(word in mutant[0] for word in words)]
    missed = 0
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for name, noticed, how in pool.map(lambda mutant: run(program, mutant), mutants):
            print(f"{'noticed' if noticed else 'MISSED '}  {name}: {how}", flush=True)
            missed += not noticed
    print(f"{len(mutants) - missed} of {len(mutants)} noticed")
    sys.exit(1 if missed else 0)


main()
