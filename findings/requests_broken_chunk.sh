#!/usr/bin/env bash
# requests: of a download that breaks, up to a whole chunk that did arrive is thrown away.
#
# One would guess: `iter_content(chunk_size)` yields what has arrived before it raises, so that a later request
# can go on from there.
# What happens: it waits for a full chunk, and when the connection breaks the bytes read towards it are dropped with
# the exception. With chunks of a megabyte, a connection that breaks after 150,000 bytes each time never gets on.
# Why it matters: chunk sizes of a megabyte are common advice, and a resumed download of a large file over a bad
# line then stands still, or loses a megabyte at every break.
# What helps: chunks of some kilobytes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q requests==2.32.5 urllib3==2.5.0
no_proxy=127.0.0.1 "$folder/venv/bin/python" - <<'PYTHON'
import sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
import requests, urllib3

SENT, PROMISED = 150_000, 200_000
print(f"requests {requests.__version__}, urllib3 {urllib3.__version__}")


class Breaks(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(PROMISED))
        self.end_headers()
        self.wfile.write(bytes(SENT))  # and the connection ends

    def log_message(self, *args):
        pass


server = HTTPServer(("127.0.0.1", 0), Breaks)
threading.Thread(target=server.serve_forever, daemon=True).start()
changed = False
for chunk in (1 << 20, 1 << 17, 1 << 14, 1 << 10):
    got = 0
    try:
        with requests.get(f"http://127.0.0.1:{server.server_port}", stream=True, timeout=9) as reply:
            for part in reply.iter_content(chunk):
                got += len(part)
        changed = True
    except requests.exceptions.ChunkedEncodingError as error:
        print(f"chunks of {chunk:,}: {SENT:,} bytes arrived, {got:,} were handed out, then {error.args[0].args[0]}")
    changed |= got != SENT // chunk * chunk
print("changed" if changed else "as described")
sys.exit(changed)
PYTHON
