"""The command line: ``main`` knows the commands, one file per command group holds them, and each is imported only
when its command runs."""
