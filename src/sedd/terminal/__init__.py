"""What a program prints while it works: streams that never fail it, and progress."""
