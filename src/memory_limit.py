"""Limits the memory of a process. It knows nothing of the work of that process."""

from pathlib import Path
from typing import Final

STATM: Final = Path("/proc/self/statm")
"""The size of the process, on Linux. Without it, no useful limit on memory can be set."""


def limit_memory(further: int) -> None:
    """Limit the address space of this process to its present size and so many `further` bytes: code that asks for more
    gets a MemoryError. Without effect on systems other than Linux."""
    if not STATM.exists():
        return
    import resource  # Unix alone has it

    held = int(STATM.read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    lowest = min(limit for limit in (soft, hard, held + further) if limit != resource.RLIM_INFINITY)
    resource.setrlimit(resource.RLIMIT_AS, (lowest, hard))
