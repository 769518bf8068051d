"""Two processes of one training, forked by a test."""

import atexit
import os
import socket

import torch


def run_on_two(work, folder):
    """Call ``work(rank, folder)`` in two processes that find each other, and end their group."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # forked, they need not import everything again; with a GPU's threads nothing can be forked
    method = "spawn" if torch.cuda.is_available() else "fork"
    start = torch.multiprocessing.start_processes
    start(_run, (work, port, folder), nprocs=2, start_method=method)
    # gloo's threads abort a process that ends inside its group, now and then
    assert [(folder / f"group{rank}").read_text() for rank in range(2)] == ["left", "left"]


def _run(rank, work, port, folder):
    os.environ |= {"LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    atexit._clear()  # what the test's own process does at its end
    atexit.register(_note_group, folder / f"group{rank}")  # runs after what training registers
    work(rank, folder)
    atexit._run_exitfuncs()  # a forked process ends without them


def _note_group(path):
    path.write_text("joined" if torch.distributed.is_initialized() else "left")
