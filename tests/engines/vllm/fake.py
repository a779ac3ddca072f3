"""A program that looks like `vllm` from outside. Modes, in FAKE_VLLM: ready, never, dies, misled, deaf."""

import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HELP = """usage: vllm serve [model_tag] [options]

options:
  --config CONFIG       Read CLI options from a config file. (default: None)
  --api-server-count API_SERVER_COUNT, -asc API_SERVER_COUNT
                        How many API server processes to run.
  --headless            Run in headless mode.
  -h, --help            show this help message and exit

ModelConfig:
  Configuration for the model.

  --dtype {auto,bfloat16,half}
                        Data type:
                        - "auto" follows the model.
                          --not-a-flag is only mentioned here
  --enable-lora, --no-enable-lora
                        LoRA.
  --lora-modules LORA_MODULES [LORA_MODULES ...]
  --allowed-origins ALLOWED_ORIGINS [ALLOWED_ORIGINS ...]
  --middleware MIDDLEWARE
  --max-model-len MAX_MODEL_LEN
  --max-num-seqs MAX_NUM_SEQS
  --kv-events-config KV_EVENTS_CONFIG
  --disable-log-stats   Disable logging statistics. (default: False)
  --served-model-name SERVED_MODEL_NAME [SERVED_MODEL_NAME ...]
  --port PORT           Port number. (default: 8000)
  --host HOST           Host name. (default: None)
  --seed SEED
  --block-size BLOCK_SIZE
  --swap-space SWAP_SPACE
  --enforce-eager, --no-enforce-eager
  --load-format LOAD_FORMAT
"""


def after(flag: str) -> str:
    return sys.argv[sys.argv.index(flag) + 1]


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/health":
            self.answer(503 if os.environ["FAKE_VLLM"] == "never" else 200, b"")
        elif self.path == "/v1/models":
            entry = {"id": after("--served-model-name"), "parent": None}
            self.answer(200, json.dumps({"data": [entry]}).encode())
        else:
            busy = float(os.path.exists(os.environ.get("FAKE_BUSY", "/nowhere")))
            text = f'vllm:num_requests_running{{engine="0"}} {busy}\nvllm:num_requests_waiting{{engine="0"}} 0.0\n'
            self.answer(200, text.encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.answer(200, b"{}")

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def main() -> None:
    if "--version" in sys.argv:
        print("0.99.1+fake")
        return
    if any(word.startswith("--help") for word in sys.argv):
        with open(os.environ["FAKE_ASKED"], "a") as asked:
            asked.write("x")
        print(HELP)
        return
    mode = os.environ["FAKE_VLLM"]
    if mode == "misled":
        print("vllm serve: error: argument --max-model-len: invalid value", file=sys.stderr)
        sys.exit(2)
    if mode == "dies":
        print("(EngineCore pid=7) ERROR 01-01 [core.py:1] ValueError: no room for the KV cache")
        print("RuntimeError: Engine core initialization failed. See root cause above.")
        sys.exit(1)
    if mode == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Two helpers, as vLLM has its engine: one in our group, one that made its own.
    for own in (False, True):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "fake-helper"], start_new_session=own)
    if mode == "never":
        time.sleep(600)
    ThreadingHTTPServer(("127.0.0.1", int(after("--port"))), Answers).serve_forever()


if __name__ == "__main__":
    main()
