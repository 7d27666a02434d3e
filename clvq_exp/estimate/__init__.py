"""What a cell needs before it runs: seconds, memory and disk, from sizes alone."""
