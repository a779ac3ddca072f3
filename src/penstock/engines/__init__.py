"""Things that answer a Request.

http        any server with an OpenAI-compatible API, over our own HTTP/1.1 client protocol
vllm        vLLM as a supervised process, its flags checked against the installed version; answered through `http`
llamacpp    llama.cpp as a supervised child process; it is answered through `http`
process     what supervised processes have in common
discovery   engines started elsewhere: where they are now
lora        vLLM's adapters: list, load, unload
kv_events   what vLLM says of its KV cache, as it happens
kv_blocks   what is in its cache, by those events
models      where model files come from, and how they are kept and verified
"""
