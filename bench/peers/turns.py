"""Steps of living processes in turn: a machine whose speed changes treats neighbouring steps more alike than whole processes."""

import json
import os
import statistics
import subprocess
import tempfile
import threading
import time

from machine import available_bytes, busy_seconds, processor_seconds

# Pause after a step until its threads sleep: OpenMP's threads spin for a while, waiting for work.
PAUSE_SECONDS = 0.3
# For a process to exit after its input has ended and its last line is out.
END_SECONDS = 60
# For an answer: ready, a step, or the last line.
ANSWER_SECONDS = 1200


class Failure(Exception):
    """A failure of one process."""


class Stepper:
    """A process that makes a step when asked. The first failure ends it and stays in `result`, with the steps made until then."""

    def __init__(self, command, environment, folder):
        self.command, self.environment, self.folder = command, {**os.environ, **environment}, folder
        self.process = None
        self.result = {"seconds": [], "losses": [], "others": 0.0}
        self.wall = self.other_seconds = 0.0

    def attempt(self, action):
        """Does an action; returns False when it fails or an earlier one did."""
        if "failed" in self.result:
            return False
        try:
            action()
        except Failure as failure:
            count = len(self.result["seconds"])
            self.result["failed"] = f"after step {count}: {failure}" if count else str(failure)
            self.kill()
        return "failed" not in self.result

    def start(self, needed_bytes, refusal):
        """Waits until the process is ready; refusal(its ready line) says why it cannot be used, or None."""
        available = available_bytes()
        if available < needed_bytes:
            have, want = f"{available / 1e9:.1f} GB of memory left", f"{needed_bytes / 1e9:.1f}, twice the largest peak so far"
            raise Failure(f"not started: {have}, expected {want}; name fewer --modes or --allocators")
        self.errors = tempfile.TemporaryFile("w+", encoding="utf8", errors="replace")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors, "text": True}
        self.process = subprocess.Popen(self.command, cwd=self.folder, env=self.environment, **pipes)
        self.result |= self.answer()
        if problem := refusal(self.result):
            raise Failure(problem)

    def step(self):
        pid = self.process.pid
        started, busy, own = time.perf_counter(), busy_seconds(), processor_seconds(pid)
        answer = self.answer("step\n")
        self.result["seconds"].append(answer["seconds"])
        self.result["losses"].append(answer["loss"])
        # Summed before they are compared: the system counts in hundredths of a second, too coarse for one step.
        self.wall += time.perf_counter() - started
        self.other_seconds += busy_seconds() - busy - (processor_seconds(pid) - own)
        self.result["others"] = max(0, self.other_seconds) / (self.wall * os.cpu_count())

    def finish(self):
        """Ends the input and reads the last line: the usual one, with the peak of memory."""
        self.process.stdin.close()
        self.result |= self.answer()
        if (code := self.exit_code()) != 0:
            raise Failure(self.ending(code))

    def answer(self, request=""):
        """The next line of the process, which is JSON."""
        try:
            if request:
                self.process.stdin.write(request)
                self.process.stdin.flush()
        except BrokenPipeError:
            pass  # It has ended; so does its output, below.
        hung = threading.Event()
        watchdog = threading.Timer(ANSWER_SECONDS, lambda: (hung.set(), self.process.kill()))
        watchdog.start()
        try:
            line = self.process.stdout.readline()
        finally:
            watchdog.cancel()
        if not line:
            raise Failure(f"gave no answer in {ANSWER_SECONDS} s" if hung.is_set() else self.ending(self.exit_code()))
        try:
            return json.loads(line)
        except json.JSONDecodeError:
            raise Failure(f"printed no JSON: {line[-200:]!r}") from None

    def exit_code(self):
        try:
            return self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failure(f"was still there {END_SECONDS} s after its last line") from None

    def ending(self, code):
        self.errors.seek(0)
        said = self.errors.read().strip()[-500:] or "it said nothing"
        killed = " (killed; was there too little memory?)" if code == -9 else ""
        return f"exit {code}{killed}: {said}"

    def kill(self):
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass  # A request that was never read.


def measure_turns(commands, turns, folder, refusal, tell):
    """
    {name: result of its process} after `turns` turns in which every process makes one step, in the opposite order every second turn.
    `commands` is {name: (command, environment)}; refusal(name, ready line) says why a process cannot be used, or None.
    """
    steppers = {name: Stepper(*command, folder) for name, command in commands.items()}
    try:
        for name, stepper in steppers.items():
            # One at a time, while there is memory for the peak of one more and of a step of another one.
            needed = 2 * max(other.result.get("peakResidentBytes", 0) for other in steppers.values())
            ready = stepper.attempt(lambda: stepper.start(needed, lambda line: refusal(name, line)))
            tell(f"{name}: {'ready' if ready else 'failed: ' + stepper.result['failed']}")
        time.sleep(PAUSE_SECONDS)
        for turn in range(turns):
            tell(f"turn {turn + 1} of {turns}: {make_turn(steppers, turn)}")
        for stepper in steppers.values():
            stepper.attempt(stepper.finish)
    finally:
        for stepper in steppers.values():
            stepper.kill()
    return {name: stepper.result for name, stepper in steppers.items()}


def make_turn(steppers, turn):
    """One step of every process that is left, in words."""
    words = []
    for name in sorted(steppers, key=list(steppers).index, reverse=turn % 2 == 1):
        stepper = steppers[name]
        if "failed" in stepper.result:
            continue
        if stepper.attempt(stepper.step):
            words.append(f"{name} {1000 * stepper.result['seconds'][-1]:.0f} ms")
        else:
            words.append(f"{name} failed {stepper.result['failed']}")
        time.sleep(PAUSE_SECONDS)
    return "; ".join(words) or "no process is left"


def quarters(values):
    """Least value, lower quartile, median, upper quartile, most."""
    inner = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return [min(values), *inner, max(values)]


def summary(shape, results, ours):
    """Rows of the table, and our ratio to each other process: speed within turns, and that of the best steps."""
    return [row_of(shape, name, result) for name, result in results.items()], ratios_of(shape, results, ours)


def row_of(shape, name, result):
    """Speeds are tokens/s; "most" is that of the best step."""
    seconds = result["seconds"]
    found = {"shape": shape, "variant": name, "turns": len(seconds), "failed": int("failed" in result), "others": result["others"]}
    if not seconds:
        return found
    speeds = [result["tokens"] / each for each in reversed(quarters(seconds))]
    found |= {"secondsMedian": statistics.median(seconds), "secondsLeast": min(seconds), "secondsMost": max(seconds)}
    found |= spread(speeds) | {"gigaFlops": result["flops"] / found["secondsMedian"] / 1e9}
    return found | {"peakResidentBytes": result["peakResidentBytes"], "firstLoss": result["losses"][0]}


def ratios_of(shape, results, ours):
    found = []
    for name, result in results.items():
        pairs = list(zip(results[ours]["seconds"], result["seconds"]))
        if name == ours or not pairs:
            continue
        each = [theirs / own for own, theirs in pairs]
        best = min(theirs for _, theirs in pairs) / min(own for own, _ in pairs)
        found.append({"shape": shape, "against": name, "turns": len(pairs), **spread(quarters(each)), "bestSteps": best})
    return found


def spread(values):
    return dict(zip(["least", "lowerQuartile", "median", "upperQuartile", "most"], values))


def cells(rows, ratios, ours):
    """The lines of the table, its head first."""
    lines = [["shape", "variant", "tokens/s", "best step", "quartiles", "least–most"]]
    lines[0] += ["ms, least–most", "GFLOP/s", "peak MB", "first loss", "others", "turns", "failed"]
    for row in rows:
        figures = ["–"] * 8
        if "median" in row:
            figures = [f"{row['median']:.0f}", f"{row['most']:.0f}", *spread_cells(row, 0)]
            figures += ["{:.0f}, {:.0f}–{:.0f}".format(*(1000 * row[f"seconds{name}"] for name in ("Median", "Least", "Most")))]
            figures += [f"{row['gigaFlops']:.0f}", f"{row['peakResidentBytes'] / 1e6:.0f}", f"{row['firstLoss']:.3f}"]
        counts = [f"{row['others']:.0%}", str(row["turns"]), str(row["failed"])]
        lines.append([row["shape"], row["variant"], *figures, *counts])
    for ratio in ratios:
        figures = [f"{ratio['median']:.2f}×", f"{ratio['bestSteps']:.2f}×", *(f"{text}×" for text in spread_cells(ratio, 2))]
        lines.append([ratio["shape"], f"{ours} ÷ {ratio['against']}", *figures, *[""] * 5, str(ratio["turns"]), ""])
    return lines


def spread_cells(found, digits):
    pairs = [("lowerQuartile", "upperQuartile"), ("least", "most")]
    return [f"{found[low]:.{digits}f}–{found[high]:.{digits}f}" for low, high in pairs]
