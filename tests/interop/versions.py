"""The versions of what a script ran with, for its head line."""

import sys
from importlib.metadata import version


def head(*packages):
    print("python", sys.version.split()[0], *(f"{p} {version(p)}" for p in packages), file=sys.stderr)
