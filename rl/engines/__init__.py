"""What samples: one small protocol (``protocol``)."""
