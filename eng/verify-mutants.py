"""Breaks the device code in known ways and sees whether `attncompose verify` notices. Needs a GPU.

    dotnet publish src/Cli -c Release -r linux-x64 --self-contained -p:TrimmedProgram=true -o PROGRAM
    ATTNCOMPOSE_DELAYS=1 python3 eng/verify-mutants.py PROGRAM [COUNT]

The texts of the kernels are resources of the published assemblies, so a mutant is a copy of the program in which a piece of
text has another of the same length. Four mutants run at a time. A mutant that hangs is one that was noticed. Exit code 0: all
were.
"""
import concurrent.futures, os, shutil, subprocess, sys, tempfile

BEHIND, BEFORE = "step<true>(tile, softmax, o);\n            ", "ptx::wait_for_copies<1>();\n            "
BARRIER = "__syncthreads();"


def dropped(text, before=""):
    return before + text, before + " " * len(text)


MUTANTS = [
    ("causal offset", "Cuda", "i + rows.key_count - rows.query_count, rows", "i+1+rows.key_count - rows.query_count, rows"),
    ("whole tiles off by one", "Cuda", "(last_key(tile_begin) + 1) / kKeyTile", "(last_key(tile_begin) + 2) / kKeyTile"),
    ("mma: no zero-fill past the keys", "Cuda", "+ row >= rows.key_count) return", "+ row >  rows.key_count) return"),
    ("mma: no barrier behind the step", "Cuda", *dropped(BARRIER, BEHIND)),
    ("mma: no barrier before the step", "Cuda", *dropped(BARRIER, BEFORE)),
    ("wgmma: no zero-fill past the keys", "Cuda", "!kCut || j < rows.key_count", "!kCut || j <=rows.key_count"),
    ("wgmma: no wait for free keys", "Cuda", *dropped("ptx::wait(ring.barrier(Ring::kKeysFree, slot.stage), slot.parity ^ 1);")),
    ("wgmma: no wait for free values", "Cuda", *dropped("ptx::wait(ring.barrier(Ring::kValuesFree, slot.stage), slot.parity ^ 1);")),
    ("wgmma: no wait for full values", "Cuda",
     *dropped("ptx::wait(ring.barrier(Ring::kValuesFull, state.values.stage), state.values.parity);")),
    ("wgmma: no barrier behind the queries", "Cuda", *dropped("ptx::sync_named(kConsumerBarrier + consumer, kWarpgroup);")),
    ("gather: no zeroes after the rows", "Pipelines", "count + kMostKeyTile - 1", "count                   "),
    ("gather: another head's place", "Cuda", "h - source.heads.first", "h                     "),
    ("reversed ties", "Cuda", "ties & lower_lanes", "ties &~lower_lanes"),
    ("budget off by one", "Pipelines", "count == 0 ? 0 : count + 1", "count == 0 ? 0 : count + 0"),
    ("query begin off by one", "Cuda", "taken && t < first_query", "taken && t <=first_query"),
]


def run(program, count, mutant):
    name, assembly, text, other = mutant
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, "program")
        shutil.copytree(program, copy)
        path = os.path.join(copy, f"AttnCompose.{assembly}.dll")
        with open(path, "rb") as file:
            data = file.read()
        if len(text) != len(other) or text.encode() not in data:
            return name, False, "its text is not in the device code: mend this list"
        with open(path, "wb") as file:
            file.write(data.replace(text.encode(), other.encode()))
        try:
            done = subprocess.run(
                [os.path.join(copy, "attncompose"), "verify", "--device", "cuda", "--count", count, "--seed", "5"],
                capture_output=True, text=True, timeout=240)
        except subprocess.TimeoutExpired:
            return name, True, "hangs"
        failed = next((line for line in done.stdout.splitlines() if line.startswith("FAILED")), "")
        return name, done.returncode == 1 and failed != "", failed[:120] or done.stderr[-120:]


def main():
    program, count = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "300"
    missed = 0
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for name, noticed, how in pool.map(lambda mutant: run(program, count, mutant), MUTANTS):
            print(f"{'noticed' if noticed else 'MISSED '}  {name}: {how}", flush=True)
            missed += not noticed
    sys.exit(1 if missed else 0)


main()
