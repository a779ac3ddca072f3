"""What a request costs: a versioned price book, and exact arithmetic on it.

Money is counted in nano-units, 10^-9 of the book's currency, as whole numbers. Prices of tokens are nano-units per
million tokens, so every price with up to nine decimals is kept as it was written.
"""
