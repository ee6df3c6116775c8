"""Networks and their training, in plain torch."""
