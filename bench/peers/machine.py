"""The machine of a measurement, and how busy it is."""

import datetime
import os
import platform
import re
import shutil
import subprocess


def machine():
    """Processor and operating system, as text."""
    found = {}
    if shutil.which("lscpu"):
        text = subprocess.run(["lscpu"], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}).stdout
        found = dict(re.findall(r"^([^:\n]+):\s*(.*)$", text, re.MULTILINE))
    flags = found.get("Flags", "").split()
    return {
        "processor": found.get("Model name", platform.processor() or "unknown"),
        "model": found.get("Model", "unknown"),
        "processors": os.cpu_count(),
        "threadsPerCore": found.get("Thread(s) per core", "unknown"),
        "extensions": [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags],
        "system": platform.platform(),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def busy_seconds():
    """Processor seconds used by all processes since boot, with those that the host took (steal)."""
    with open("/proc/stat", encoding="utf8") as stat:
        user, nice, system, _idle, _wait, irq, soft, steal = map(int, stat.readline().split()[1:9])
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def processor_seconds(pid):
    """Processor seconds used by all threads of a living process."""
    with open(f"/proc/{pid}/stat", encoding="utf8") as stat:
        # The name, in parentheses, may hold anything; utime and stime are fields 14 and 15 (proc(5)).
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def available_bytes():
    """Memory that new processes can get without swapping."""
    with open("/proc/meminfo", encoding="utf8") as memory:
        return next(int(line.split()[1]) * 1024 for line in memory if line.startswith("MemAvailable:"))
