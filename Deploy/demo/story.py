"""How the demos tell what they do: steps, what was measured, and whether it held."""
import sys
import time

COLOUR = sys.stdout.isatty()


def bold(text):
    return f"\033[1m{text}\033[0m" if COLOUR else text


class Story:
    """Prints each step with what was measured, and remembers whether all held."""

    def __init__(self):
        self.number = 0
        self.failed = []

    def step(self, title):
        self.number += 1
        print(f"\n{bold(f'{self.number}. {title}')}", flush=True)

    def tell(self, text):
        print(f"   {text}", flush=True)

    def check(self, held, text):
        print(f"   {'✔' if held else '✘'} {text}", flush=True)
        if not held:
            self.failed.append(f"step {self.number}: {text}")


def until(ask, seconds=20.0):
    """Seconds until `ask()` is true; None when it never was."""
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        if ask():
            return time.monotonic() - start
        time.sleep(0.01)
    return None


def milliseconds(seconds):
    return "never" if seconds is None else f"{seconds * 1000:.0f} ms"
