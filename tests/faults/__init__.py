"""Runs that are disturbed from outside, by processes that know nothing of i2r's inside."""
