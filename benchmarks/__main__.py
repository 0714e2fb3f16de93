"""`python -m benchmarks`: every measurement, one after the other."""

import runpy

for name in ("policy", "store", "plan", "workers"):
    runpy.run_module(f"benchmarks.{name}", run_name="__main__")
