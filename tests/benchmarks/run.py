"""Benchmarks against transformers on torch, measured interleaved in this process.

`make bench` runs all of them in a few minutes. Ratios below a target are marked, and nothing
fails: a busy machine is no defect.
"""

import argparse
import json
import os
import sys
from pathlib import Path

THREADS = 2


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", metavar="NAME", action="append", help="names that contain NAME")
    parser.add_argument("--rounds", type=int, default=7, help="measurements of each (7)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    parser.add_argument("--gpu", action="store_true", help="on an NVIDIA GPU")
    parser.add_argument("--write", action="store_true", help="update RESULTS.md")
    return parser.parse_args()


def settle(gpu: bool) -> None:
    """Gives both frameworks the same cores. Must come before either is imported."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if gpu:  # torch needs room beside jax
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        return
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])


def main() -> None:
    """Runs what was asked for and prints a table."""
    args = options()
    settle(args.gpu)
    import table
    import torch

    if not args.gpu:
        torch.set_num_threads(THREADS)
    if args.gpu:
        import gpu as compute

        subjects = [compute]
    else:
        import compute
        import decoding
        import importing
        import loading

        subjects = [compute, decoding, loading, importing]

    def chosen(name: str) -> bool:
        return not args.only or any(part.lower() in name.lower() for part in args.only)

    where = table.machine()
    rows = []
    for subject in subjects:
        for name, measure in subject.rows(chosen, args.rounds):
            print(f"{name} ...", file=sys.stderr, flush=True)
            try:
                row = measure()
            except Exception as error:
                row = table.failed(name, error)
            rows += row if isinstance(row, list) else [row]
    print(f"{where}\nRatios by minima of up to {args.rounds} interleaved rounds.\n")
    print(table.plain(rows))
    if args.json:
        args.json.write_text(json.dumps([row._asdict() | {"met": row.met} for row in rows]))
    if args.write:
        table.write(rows, where=where, section="GPU" if args.gpu else "CPU")


if __name__ == "__main__":
    main()
