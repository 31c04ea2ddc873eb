"""Whether runs differ, in settings and in held-out bounds."""
