"""Other load testers on the same engines in the same run: what they report, what was, and what a core of them sends."""
