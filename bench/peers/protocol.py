"""The lines by which a living process is measured in turn with others: "step" on standard input, one JSON line for each on standard output."""

import argparse
import json
import os
import resource
import sys
import time


def requests():
    """The numbers, from 1, of the lines of standard input; ends the process with a message at a line other than "step"."""
    lines = iter(lambda: sys.stdin.buffer.readline(100), b"")
    for number, line in enumerate(lines, 1):
        if line.rstrip(b"\r\n") != b"step":
            sys.exit(f'standard input, line {number}: is {line[:40].decode(errors="replace")!r}; expected "step".')
        yield number


def tell(line):
    """Prints JSON; ends the process with a message when nobody reads it."""
    try:
        print(json.dumps(line), flush=True)
    except BrokenPipeError:
        # What is left in the buffer must not fail again at exit (docs.python.org/3/library/signal.html, note on SIGPIPE).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit("standard output was closed: nobody reads the steps.")


class Watch:
    """Wall time and processor time of this process since it was made, in seconds."""

    def __init__(self):
        self.wall, self.processor = time.perf_counter(), time.process_time()

    def read(self):
        return {"seconds": time.perf_counter() - self.wall, "processorSeconds": time.process_time() - self.processor}


def peak_resident():
    return {"peakResidentBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def whole_number(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1")
    return value
