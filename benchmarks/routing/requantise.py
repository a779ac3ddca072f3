"""The default model in Q4_0, which llama.cpp reads prompts with about 2.4 times as fast as with its own Q4_1 on x86.

    python requantise.py SOURCE.gguf TARGET.gguf        with an interpreter that has the package `gguf`

It imports nothing of this repository: vLLM's environment, which has `gguf`, runs it.
"""

import sys
from pathlib import Path

import gguf

Q4_0_FILE = 2
"""`general.file_type` of a model that is mostly Q4_0."""


def main(source: str, target: str) -> None:
    """Writes `target` whole or not at all. Raises what gguf raises."""
    reader = gguf.GGUFReader(source)
    part = Path(f"{target}.part")
    writer = gguf.GGUFWriter(str(part), str(reader.fields["general.architecture"].contents()))
    for name, entry in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = Q4_0_FILE if name == "general.file_type" else entry.contents()
        inner = entry.types[-1] if entry.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, value, entry.types[0], sub_type=inner)
    kind = gguf.GGMLQuantizationType.Q4_0
    for tensor in reader.tensors:
        if tensor.tensor_type == gguf.GGMLQuantizationType.F32:
            writer.add_tensor(tensor.name, tensor.data)
        else:
            plain = gguf.dequantize(tensor.data, tensor.tensor_type)
            writer.add_tensor(tensor.name, gguf.quantize(plain, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.rename(target)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
