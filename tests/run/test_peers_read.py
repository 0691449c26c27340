#!/usr/bin/env python3
"""Files for other programs, read back by those programs: the packages safetensors and tensorboard.

Looks for the packages in this Python, then in $TARDIGRAD_PEERS_VENV, then in build/peers-venv, which
it makes if Python's registry can be reached. Otherwise it is skipped (exit 77)."""

import os
import subprocess
import sys
import tempfile

PACKAGES = ["safetensors", "tensorboard", "numpy"]
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def has_packages(python):
    code = "import numpy, safetensors.numpy; " \
           "from tensorboard.backend.event_processing import event_accumulator"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        return subprocess.run([python, "-c", code], **quiet).returncode == 0
    except OSError:
        return False


def make_venv(folder):
    """A venv with the packages, or None where venv or the registry is not here."""
    python = os.path.join(folder, "bin", "python")
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--retries", "1",
           "--timeout", "10"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "timeout": 300}
    try:
        if subprocess.run([sys.executable, "-m", "venv", folder], **quiet).returncode != 0:
            return None
        subprocess.run(pip + PACKAGES, **quiet)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return python if has_packages(python) else None


def find_python():
    given = os.environ.get("TARDIGRAD_PEERS_VENV")
    if has_packages(sys.executable):
        return sys.executable
    if given:
        python = os.path.join(given, "bin", "python")
        return python if has_packages(python) else None
    folder = os.path.join(ROOT, "build", "peers-venv")
    python = os.path.join(folder, "bin", "python")
    return python if has_packages(python) else make_venv(folder)


def skip(why):
    print(why)
    sys.exit(77)


def check(what, found, expected):
    if found != expected:
        sys.exit(f"{what}: found {found!r}, expected {expected!r}")


def bits(values, dtype):
    import numpy
    return numpy.array(values, dtype=dtype).tobytes()


def check_safetensors(folder):
    import json
    import numpy
    from safetensors import safe_open
    path = os.path.join(folder, "a.safetensors")
    expected = {
        "layer1.0.weight": ("F32", [1, 2, 3, 1],
                            bits([0.1, -0.0, 1e-45, 3.4028234e38, -1.5, 7.0], "<f4")),
        "counters": ("U64", [2], bits([2**64 - 1, 1], "<u8")),
        "num_batches_tracked": ("I64", [], bits(-2**63, "<i8")),
        "café \"quoted\"": ("F64", [3], bits([0.1, -1e300, 4.9e-324], "<f8")),
        "bytes": ("U8", [5], bytes([0, 1, 127, 128, 255])),
        "empty": ("F32", [0, 7], b""),
        "halves": ("BF16", [2, 1], bits([0x3F80, 0xC049], "<u2")),
    }
    with safe_open(path, framework="numpy") as f:
        check("metadata", f.metadata(), {"format": "pt", "model": "mlp"})
        check("names", sorted(f.keys()), sorted(expected))
        for name, (dtype, shape, data) in expected.items():
            part = f.get_slice(name)
            check(f"dtype of {name}", part.get_dtype(), dtype)
            check(f"shape of {name}", part.get_shape(), shape)
            if dtype == "BF16":  # which numpy has no type for
                continue
            array = numpy.asarray(f.get_tensor(name))
            check(f"shape of {name} in numpy", list(array.shape), shape)
            check(f"bytes of {name}", array.tobytes(), data)
    with open(path, "rb") as f:
        raw = f.read()
    length = int.from_bytes(raw[:8], "little")
    check("header length modulo 8", length % 8, 0)
    lo, hi = json.loads(raw[8:8 + length])["halves"]["data_offsets"]
    check("bytes of halves", raw[8 + length + lo:8 + length + hi], expected["halves"][2])


def check_events(folder):
    import numpy
    from tensorboard.backend.event_processing import event_accumulator, event_file_loader
    points = {
        "train/loss": [(0, 1700000000.125, 2.5), (127, 1700000001.0, 0.1),
                       (128, 1700000002.0, -0.0)],
        "eval/error": [(300, 1700000003.5, 3.4028235e38), (4294967296, 1700000004.0, 1e-45),
                       (9223372036854775807, 1700000005.0, -1.5)],
    }
    path = os.path.join(folder, "events.out.tfevents.1.sample.2")
    events = list(event_file_loader.LegacyEventFileLoader(path).Load())
    check("number of events", len(events), 7)
    check("version", events[0].file_version, "brain.Event:2")
    accumulator = event_accumulator.EventAccumulator(folder, {event_accumulator.SCALARS: 0})
    accumulator.Reload()
    check("tags", sorted(accumulator.Tags()["scalars"]), sorted(points))
    for tag, expected in points.items():
        found = [(p.step, p.wall_time, bits(p.value, "<f4")) for p in accumulator.Scalars(tag)]
        check(tag, found, [(s, t, bits(v, "<f4")) for s, t, v in expected])
    check("a number", float(numpy.float32(accumulator.Scalars("train/loss")[0].value)), 2.5)


def main():
    build = os.environ.get("BUILD", os.path.join(ROOT, "build"))
    writers = [os.path.join(build, "tests", "run", name)
               for name in ("test_safetensors", "test_metrics")]
    if not all(os.access(writer, os.X_OK) for writer in writers):
        skip("test programs are not built: make tests")
    python = find_python()
    if not python:
        skip("python packages safetensors, tensorboard, numpy are not here and cannot be installed")
    if python != sys.executable:
        os.execv(python, [python, os.path.abspath(__file__)])
    with tempfile.TemporaryDirectory() as folder:
        for writer in writers:
            subprocess.run([writer, folder], check=True)
        check_safetensors(folder)
        check_events(folder)
    print("safetensors and tensorboard read what we write")


if __name__ == "__main__":
    main()
