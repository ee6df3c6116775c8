"""Audit anybody's profiles: what they say besides treatments, and what tests make of that.

`i2r.audit.wells` reads a table once and keeps sums per well, `checks` asks one question each,
`page` writes the answers down.
"""
