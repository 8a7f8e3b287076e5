"""What samples: one small protocol (``protocol``) and its embedded implementation, which decodes with the learner's own
network code in the rollout worker's process (``embedded``)."""
