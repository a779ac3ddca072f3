"""What keeps an answer coming when engines fail: one small decision per file.

Pure: `now` is monotonic seconds and comes in as an argument, as does chance. Nothing here sends, waits or cancels; the
gateway does, and reports what came of it.
"""
