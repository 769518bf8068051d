"""Tar shards written by Python's own library, and a web server that serves a folder of them."""

import functools
import http.server
import io
import json
import tarfile
import threading
from contextlib import contextmanager

from PIL import Image

from tests.support.photos import photo


def encoded(image, kind="PNG"):
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def write_tar(path, members, form=tarfile.USTAR_FORMAT):
    """Write pairs of name and content as a tar file; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def sample(number, label=None, /, **note):
    """Members of a sample: the picture of a number, and where they are given class and notes."""
    key = f"{number:06d}"
    members = [(f"{key}.png", encoded(photo(number)))]
    if label is not None:
        members.append((f"{key}.cls", str(label).encode()))
    if note:
        members.append((f"{key}.json", json.dumps(note).encode()))
    return members


def mask(number, box, size=(48, 36), kind="mask"):
    """Member of a sample: a mask of a filled box."""
    drawn = Image.new("L", size)
    drawn.paste(255, box)
    return [(f"{number:06d}.{kind}.png", encoded(drawn))]


def shard_set(root):
    """A folder of 24 training images in three shards, 6 of each other split in two; 2 classes."""
    numbers = iter(range(100))
    for split, shards, count in (("train", 3, 8), ("val", 2, 3), ("test", 2, 3)):
        for shard in range(shards):
            members = []
            for _ in range(count):
                number = next(numbers)
                box = [number % 5, 3, 20 + number % 20, 30]
                note = {"class": "ab"[number % 2], "width": 48, "height": 36, "boxes": [box]}
                members += sample(number, number % 2, **note)
                members += [] if split == "train" else mask(number, (box[0], 3, 20, 30))
            write_tar(root / f"{split}-{shard:06d}.tar", members)
    return root


class _Handler(http.server.SimpleHTTPRequestHandler):
    asked: list
    answers: list  # for the next requests: None for the file, or what is sent instead

    def do_GET(self):
        self.asked.append(self.path)
        answer = self.answers.pop(0) if self.answers else None
        if answer is None:
            super().do_GET()
        elif isinstance(answer, int):
            self.send_error(answer)
        elif isinstance(answer, str):
            self.send_response(302)
            self.send_header("Location", answer)
            self.end_headers()
        else:  # fewer bytes than the header says, or a header that says no number
            self.send_response(200)
            if isinstance(answer, bytes):
                self.send_header("Content-Length", "4000")
            self.end_headers()
            self.wfile.write(answer)

    def log_message(self, *words):
        pass


@contextmanager
def served(folder):
    """Serve a folder on this machine; gives the address, the paths asked for, and odd answers."""
    handler = type("Handler", (_Handler,), {"asked": [], "answers": []})
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler.asked, handler.answers
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
