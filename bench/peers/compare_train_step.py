"""Compares one LoRA training step of `cre bench train-step` with PyTorch's (torch_step.py), in rounds or in turns.

Each round runs fresh processes, in this order: ours; then every PyTorch mode as installed; then every mode with tcmalloc preloaded. A
process's figure is the median of its timed steps; the table has the median, smallest and largest figure over the rounds, and ratios taken
within rounds against the mode with the best median. Nothing is dropped: a process that fails is listed, and CPU time used by other
processes is shown.

With --turns N, one process of each variant lives through all turns and makes one step in each, in the opposite order every second turn.
Ratios are taken within turns against every PyTorch variant, and of the best steps. All processes of a shape are in memory together: a
PyTorch process takes about 2.4 GB (110m), 4.1 GB (0.4b) or 7.4 GB (qwen2-0.5b). With 24 GiB name --modes for all shapes but 110m: at most
two for 0.4b, one for qwen2-0.5b. A process is not started, and that is reported, when less than twice the largest peak so far is left.
"""

import argparse
import ctypes.util
import importlib.util
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import turns
from machine import busy_seconds, machine

ROOT = Path(__file__).resolve().parents[2]
CLI = ROOT / "dist" / "cli.js"
TORCH_STEP = Path(__file__).resolve().with_name("torch_step.py")
SHAPES = ["110m", "0.4b", "qwen2-0.5b", "llama2-7b"]
MODES = ["eager-bf16", "sdpa-bf16", "autocast", "autocast-sdpa", "float32", "sdpa-float32"]
OURS = "cre"
MALLOC_NAMES = {"default": "as installed", "tcmalloc": "tcmalloc"}
ALLOCATORS = list(MALLOC_NAMES)
# Share of the processors that other programs may use. They slow PyTorch down far more than ours, so a larger share would flatter us.
QUIET_SHARE = 0.04


def run(command, environment):
    """Runs one process; returns its JSON line with the share of all processors that others used meanwhile, or what went wrong."""
    before, usage = busy_seconds(), resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment})
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
    others = max(0, busy_seconds() - before - own) / (wall * os.cpu_count())
    if done.returncode != 0:
        return {"failed": f"exit {done.returncode}: {done.stderr.strip()[-500:]}", "others": others}
    try:
        return {**json.loads(done.stdout.strip().splitlines()[-1]), "others": others}
    except (json.JSONDecodeError, IndexError):
        return {"failed": f"printed no JSON: {done.stdout[-200:]!r}", "others": others}


def our_command(options, shape):
    command = ["node", str(CLI), "bench", "train-step", "--json", "--shape", shape, "--storage", "bfloat16"]
    command += ["--sequences", str(options.sequences), "--tokens", str(options.tokens)]
    # The command makes two untimed steps of its own first.
    command += ["--on-request"] if options.turns else ["--rounds", str(options.steps)]
    command += answer_and_layers(options)
    return command, {"CRE_THREADS": str(options.threads)}


def torch_command(options, shape, mode, allocator, tcmalloc):
    command = [sys.executable, str(TORCH_STEP), "--shape", shape, "--mode", mode, "--loss", options.loss]
    command += ["--sequences", str(options.sequences), "--tokens", str(options.tokens), "--threads", str(options.threads)]
    command += ["--on-request"] if options.turns else ["--steps", str(options.steps)]
    command += ["--warmup", str(options.warmup), *answer_and_layers(options)]
    return command, {"LD_PRELOAD": tcmalloc} if allocator == "tcmalloc" else {}


def answer_and_layers(options):
    chosen = []
    if options.answer:
        chosen += ["--answer", str(options.answer)]
    if options.layers:
        chosen += ["--layers", str(options.layers)]
    return chosen


def find_tcmalloc():
    """The name of tcmalloc for the dynamic linker (Debian and Ubuntu: package libtcmalloc-minimal4), or None."""
    return ctypes.util.find_library("tcmalloc_minimal") or ctypes.util.find_library("tcmalloc")


def wrong_allocator(result, allocator):
    """A preload without effect is a failure, not a slow result."""
    if allocator and result["allocator"] not in (allocator, "unknown"):
        return f"malloc is {result['allocator']}, expected {allocator}"
    return None


def check(result, allocator):
    """Adds tokens/s."""
    if "failed" in result:
        return result
    if problem := wrong_allocator(result, allocator):
        return {**result, "failed": problem}
    return {**result, "tokensPerSecond": result["tokens"] / statistics.median(result["seconds"])}


def variants_of(options, tcmalloc):
    """ "cre" and the pairs (mode, allocator) that are asked for and possible."""
    allocators = [name for name in options.allocators if tcmalloc or name != "tcmalloc"]
    return [OURS, *((mode, allocator) for allocator in allocators for mode in options.modes)]


def command_of(options, shape, variant, tcmalloc):
    """Command and environment of a process."""
    return our_command(options, shape) if variant == OURS else torch_command(options, shape, *variant, tcmalloc)


def allocator_of(variant):
    return None if variant == OURS else variant[1]


def compare_in_rounds(options, shape, tcmalloc):
    """Rows and ratios of the table, what makes them doubtful, and {label of the variant: [result of each round]}."""
    variants = variants_of(options, tcmalloc)
    results = {variant: [] for variant in variants}
    for number in range(options.rounds):
        for variant in variants:
            result = check(run(*command_of(options, shape, variant, tcmalloc)), allocator_of(variant))
            results[variant].append(result)
            speed = result.get("failed") or f"{result['tokensPerSecond']:.0f} tokens/s"
            progress = f"{shape}, round {number + 1} of {options.rounds}, {label(variant)}: {speed}"
            print(f"{progress}; others used {result['others']:.0%} of the processors", file=sys.stderr, flush=True)
    named = {label(variant): rounds for variant, rounds in results.items()}
    each = [(f"{shape}, round {n}, {name}", r) for name, rounds in named.items() for n, r in enumerate(rounds, 1)]
    return *summary(shape, results), doubts(each), named


def compare_in_turns(options, shape, tcmalloc):
    """As compare_in_rounds, but with one process of each variant that lives through all turns."""
    variants = {label(variant): variant for variant in variants_of(options, tcmalloc)}
    commands = {name: command_of(options, shape, variant, tcmalloc) for name, variant in variants.items()}
    results = turns.measure_turns(
        commands,
        options.turns,
        ROOT,
        lambda name, ready: wrong_allocator(ready, allocator_of(variants[name])),
        lambda text: print(f"{shape}, {text}", file=sys.stderr, flush=True),
    )
    each = [(f"{shape}, {name}", result) for name, result in results.items()]
    return *turns.summary(shape, results, OURS), doubts(each), {name: [result] for name, result in results.items()}


def label(variant):
    return OURS if variant == OURS else f"torch {variant[0]}, {MALLOC_NAMES[variant[1]]}"


def speeds(results):
    return [result["tokensPerSecond"] for result in results if "failed" not in result]


def summary(shape, results):
    """Rows of the table, and the best PyTorch mode of each allocator with our ratio to it."""
    rows = []
    for variant, rounds in results.items():
        measured = speeds(rounds)
        row = {"shape": shape, "variant": label(variant), "rounds": len(measured), "failed": len(rounds) - len(measured)}
        row["others"] = max(result["others"] for result in rounds)
        if measured:
            middle = statistics.median(measured)
            flops, tokens = next((r["flops"], r["tokens"]) for r in rounds if "failed" not in r)
            row |= {"median": middle, "least": min(measured), "most": max(measured)}
            row |= {"gigaFlops": flops / tokens * middle / 1e9}
            row["peakResidentBytes"] = max(r["peakResidentBytes"] for r in rounds if "failed" not in r)
            row["firstLoss"] = next(r["losses"][0] for r in rounds if "failed" not in r)
        rows.append(row)
    ratios = []
    for allocator in ALLOCATORS:
        measured = {v: speeds(r) for v, r in results.items() if v != OURS and v[1] == allocator and speeds(r)}
        if not measured or not speeds(results[OURS]):
            continue
        best = max(measured, key=lambda variant: statistics.median(measured[variant]))
        pairs = zip(results[OURS], results[best])
        each = [a["tokensPerSecond"] / b["tokensPerSecond"] for a, b in pairs if "failed" not in a and "failed" not in b]
        if each:
            ratio = {"shape": shape, "against": label(best), "median": statistics.median(each), "rounds": len(each)}
            ratios.append({**ratio, "least": min(each), "most": max(each)})
    return rows, ratios


def doubts(results):
    """Everything that makes the results of [(where, result)] doubtful."""
    found = []
    for where, result in results:
        if "failed" in result:
            found.append(f"{where} failed: {result['failed']}")
        if result["others"] > QUIET_SHARE:
            found.append(f"{where}: other processes used {result['others']:.0%} of the processors")
    good = [(where, result) for where, result in results if "failed" not in result]
    # Logits of random weights have a small variance s², which adds about s²/2 to ln V; both sides draw theirs alike.
    reference, expected = good[0] if good else (None, None)
    for where, result in good:
        if abs(result["flops"] / expected["flops"] - 1) > 1e-9:
            found.append(f"{where}: {result['flops']} FLOPs a step, expected {expected['flops']} as in {reference}")
        if not math.isclose(result["losses"][0], expected["losses"][0], abs_tol=0.1):
            first = f"{result['losses'][0]:.3f}"
            found.append(f"{where}: first loss {first}, expected {expected['losses'][0]:.3f} ± 0.1 as in {reference}")
    return found


def cells(rows, ratios):
    """The lines of the table, its head first."""
    lines = [["shape", "variant", "tokens/s", "least–most", "GFLOP/s", "peak MB", "first loss", "others", "rounds", "failed"]]
    for row in rows:
        figures = ["–"] * 5
        if "median" in row:
            spread = f"{row['least']:.0f}–{row['most']:.0f}"
            memory = f"{row['peakResidentBytes'] / 1e6:.0f}"
            figures = [f"{row['median']:.0f}", spread, f"{row['gigaFlops']:.0f}", memory, f"{row['firstLoss']:.3f}"]
        counts = [f"{row['others']:.0%}", str(row["rounds"]), str(row["failed"])]
        lines.append([row["shape"], row["variant"], *figures, *counts])
    for ratio in ratios:
        spread = f"{ratio['least']:.2f}–{ratio['most']:.2f}×"
        name = f"cre ÷ {ratio['against']}"
        lines.append([ratio["shape"], name, f"{ratio['median']:.2f}×", spread, *[""] * 4, str(ratio["rounds"]), ""])
    return lines


def table(lines):
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines)


def whole_number(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1")
    return value


def names_of(known):
    def read(text):
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f'"{name}" is unknown, expected some of {",".join(known)}')
        return names

    return read


def read_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", type=names_of(SHAPES), default=SHAPES[:3], help="with commas (default: all but llama2-7b)")
    parser.add_argument("--modes", type=names_of(MODES), default=MODES[:4], help=f"PyTorch modes, with commas, of {','.join(MODES)} (default: those in bf16)")
    parser.add_argument("--allocators", type=names_of(ALLOCATORS), default=ALLOCATORS, help="of PyTorch, with commas (default: both)")
    parser.add_argument("--rounds", type=whole_number, help="of fresh processes (default: 5)")
    parser.add_argument("--steps", type=whole_number, help="timed steps of a process in a round (default: 3)")
    parser.add_argument("--turns", type=whole_number, help="in place of rounds: N turns, one step of each living process a turn")
    parser.add_argument("--warmup", type=whole_number, default=2, help="PyTorch's untimed steps before them; ours are two")
    parser.add_argument("--answer", type=whole_number, help="tokens of a sequence that carry loss (default: all)")
    parser.add_argument("--layers", type=whole_number, help="other number of layers")
    parser.add_argument("--sequences", type=whole_number, default=16)
    parser.add_argument("--tokens", type=whole_number, default=96, help="tokens of a sequence")
    parser.add_argument("--threads", type=whole_number, default=2)
    parser.add_argument("--loss", choices=["float32", "bfloat16"], default="float32", help="type of PyTorch's logits in the loss")
    parser.add_argument("--json", metavar="FILE", help="also write everything measured; - prints it in place of the table")
    options = parser.parse_args()
    if options.answer and options.answer > options.tokens:
        parser.error(f"--answer {options.answer}: a sequence has {options.tokens} tokens")
    if options.turns and (options.rounds or options.steps):
        parser.error("--turns: a process makes one step a turn, so there are no --rounds and --steps")
    if not options.turns:
        options.rounds, options.steps = options.rounds or 5, options.steps or 3
    return options


def main():
    options = read_options()
    if not importlib.util.find_spec("torch"):
        sys.exit(f"{sys.executable} has no torch: run this with a Python that has it (python -m venv; pip install torch).")
    if not CLI.exists():
        sys.exit(f"{CLI} is missing: npm run build makes it.")
    tcmalloc = find_tcmalloc()
    problems = []
    if not tcmalloc and "tcmalloc" in options.allocators:
        problems.append("tcmalloc was not found (Debian: libtcmalloc-minimal4): PyTorch ran without it only")
    rows, ratios, everything = [], [], {}
    compare = compare_in_turns if options.turns else compare_in_rounds
    for shape in options.shapes:
        more_rows, more_ratios, more_problems, everything[shape] = compare(options, shape, tcmalloc)
        rows, ratios, problems = rows + more_rows, ratios + more_ratios, problems + more_problems
    versions = {r["torch"] for shape in everything.values() for rounds in shape.values() for r in rounds if "torch" in r}
    about = {"machine": machine(), "torch": sorted(versions), "python": platform.python_version(), "options": vars(options)}
    report = json.dumps({**about, "rows": rows, "ratios": ratios, "doubts": problems, "results": everything}, indent=1)
    if options.json == "-":
        print(report)
    else:
        box = about["machine"]
        print(f"{box['processor']} (model {box['model']}), {box['processors']} processors, {' '.join(box['extensions'])}")
        print(f"{box['system']}; torch {', '.join(sorted(versions)) or 'none ran'}; {box['date']}")
        part = f"loss on {options.answer or options.tokens} of {options.tokens} tokens"
        count = f"{options.turns} turns of living processes" if options.turns else f"{options.rounds} rounds"
        print(f"{options.sequences} sequences, {part}, {options.threads} threads, {count}\n")
        print(table(turns.cells(rows, ratios, OURS) if options.turns else cells(rows, ratios)))
        if options.json:
            Path(options.json).write_text(report + "\n", encoding="utf8")
    if problems:
        print("\nNot a result to publish:\n" + "\n".join(f"- {problem}" for problem in problems), file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
