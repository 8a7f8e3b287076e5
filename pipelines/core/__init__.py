"""The leaf everything may import: markers, keys, seeds, errors, events. Imports only the standard library,
numpy and pydantic, so that planning a run never loads Ray, torch or MuPDF."""
