"""Every path of the code that uses a card, rehearsed (see `tests.gpu.rehearsal`)."""
