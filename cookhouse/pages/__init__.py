"""What a person looks at: a run (``status --html``), samples (``samples preview``), an evaluation (``report.html``). Each is
one self-contained file: no script, no network, light and dark, readable on a phone. ``kit`` turns a template of this folder
and plain values into text; every template starts from ``page.html`` and its look, ``page.css``."""
