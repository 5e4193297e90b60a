"""Runs `attncompose verify` under the four tools of compute-sanitizer, over small configurations that launch every kernel.
Needs a GPU.

    dotnet publish src/Cli -c Release -r linux-x64 --self-contained -p:TrimmedProgram=true -o PROGRAM
    python3 eng/sanitize.py PROGRAM [COUNT] [LOGS]

COUNT random configurations a tool, 150 where it is left out, which have every kernel of the ready pipelines and those with rules,
keys gathered ahead and not; and the small ones of every pair of stages and modifiers.
docs/contributing/verification.md says what the tools do not see. Exit code 0: no report, no failed configuration, and no kernel
that was not launched. Logs go to the folder LOGS where it is given. Kernels are compiled into the folder that ATTNCOMPOSE_CACHE
names, where it is set, so that a run of verify before it leaves little to compile.
"""
import collections, concurrent.futures, os, re, subprocess, sys, tempfile

SECONDS = 400

# Tool, options of the tool, options of verify. Filling the workspace would hide reads of what nobody wrote from initcheck. Calls
# of the driver that fail are not reported: each loaded kernel makes one on purpose, and a tool prints a hundred reports and no more.
TOOLS = [
    ("memcheck", ["--report-api-errors", "no"], []),
    ("racecheck", ["--racecheck-report", "all"], []),
    ("initcheck", [], ["--unpoisoned"]),
    ("synccheck", [], []),
]
# Suite, and which of its configurations: each kernel text in one process only.
PARTS = [("pairs", f"element={element} floatout={output}") for element in ("Float16", "BFloat16") for output in (False, True)]
PARTS += [("random", "floatout=False"), ("random", "floatout=True")]
AT_ONCE = 12

# The last word of a tool that found nothing. Any other, such as of reports that it did not print, is a fault.
CLEAN = re.compile(r"(ERROR SUMMARY: 0 errors|RACECHECK SUMMARY: 0 hazards displayed \(0 errors, 0 warnings\))\s*$")


def reports(log):
    """Each report as (title, place): a line after '=========' that is not indented, and the first place below it."""
    title, place = "", ""
    for line in (line[10:] for line in log.splitlines() if line.startswith("=========")):
        if line.strip() and not line.startswith(" "):
            if title:
                yield title, place
            title, place = line.strip(), ""
        elif not place and line.strip().startswith("at "):
            place = line.strip()
    if title:
        yield title, place


def run(program, count, logs, job):
    (tool, tool_options, options), (suite, where) = job
    begin = [] if tool == "plain" else ["compute-sanitizer", "--tool", tool, *tool_options]
    command = [*begin, os.path.join(program, "attncompose"), "verify", "--device", "cuda", "--small", "--seed", "2",
               "--suite", suite, "--count", str(count), "--where", where, *options]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS)
        log, code = done.stdout, done.returncode
    except subprocess.TimeoutExpired as expired:
        log, code = (expired.stdout or b"").decode(errors="replace"), "none: out of time"
    if logs:
        os.makedirs(logs, exist_ok=True)
        with open(os.path.join(logs, f"{tool}-{suite}-{where.replace('=', '-').replace(' ', '-')}.log"), "w") as file:
            file.write(log)
    faults = collections.Counter()
    for title, place in reports(log):
        if not title.startswith("COMPUTE-SANITIZER") and not CLEAN.match(title):
            faults[f"{re.sub('0x[0-9a-f]+', '0x..', title)} {re.sub('0x[0-9a-f]+', '0x..', place)}".strip()] += 1
    if tool != "plain" and "SUMMARY: " not in log:
        faults["the tool gave no summary"] += 1
    if code != 0:
        faults[f"exit code {code}; {(log.strip().splitlines() or [''])[-1]}"] += 1
    for line in log.splitlines():
        if line.startswith(("FAILED", "  not launched: ")):
            faults[line.strip()[:200]] += 1
    launched = re.search(r"(\d+) of them launched", log)
    done = re.search(r"(\d+) of \d+ configurations", log)
    number = lambda found: int(found.group(1)) if found else 0
    return f"{tool}, {suite} {where}: {number(done)} configurations, {number(launched)} kernels", faults


def main():
    program, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 150
    logs = sys.argv[3] if len(sys.argv) > 3 else None
    failed = False
    with tempfile.TemporaryDirectory() as cache:
        os.environ.setdefault("ATTNCOMPOSE_CACHE", cache)  # so that the kernels are compiled once, without a tool
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            for tools in ([("plain", [], [])], TOOLS):
                jobs = [(tool, part) for part in PARTS for tool in tools]
                for name, faults in pool.map(lambda job: run(program, count // 2, logs, job), jobs):
                    print(f"{name}, {sum(faults.values())} faults", flush=True)
                    for fault, times in faults.most_common(12):
                        print(f"  {times} times: {fault}")
                    failed |= bool(faults)
    sys.exit(1 if failed else 0)


main()
