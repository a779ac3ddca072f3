"""Things that answer a Request.

http        any server with an OpenAI-compatible API, over our own HTTP/1.1 client protocol
llamacpp    llama.cpp as a supervised child process; it is answered through `http`
models      where model files come from, and how they are kept and verified
"""
