"""The sections of the report; see `i2r.report` for what one has to define."""
