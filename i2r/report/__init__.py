"""The report: one HTML file that shows what an experiment holds.

Every module in ``i2r/report/sections`` is a section, found by its path; other packages name theirs
in the entry point group ``i2r.sections``. It defines

``TITLE``
    The heading, also in the table of contents.
``ORDER``
    A number; sections come in its order (the overview has 10, provenance 90).
``draw(source)``
    Takes a `ReportSource` and returns an HTML fragment, or None where the experiment holds
    nothing for this section, which then does not appear.
``list_tables(source)``
    Optional: names and tables of what its figures show and no table of the page has. They become
    CSV files beside the figures.

A section makes its HTML with `i2r.report.html`: ``table(frame, caption)`` for a table that
readers can sort, ``fill(text, **values)`` or ``render("name.html", **values)`` for anything
else, never by putting strings together: names in a layout are anybody's text and are escaped
there. A figure has a caption that says what is shown, how to read it, and the units. What a
section reads should not grow with the number of nuclei: take counts from the ledger
(`ReportSource.results`) and open few fields and crops.
"""
